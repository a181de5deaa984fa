//! What is written and read about the queue.

use crate::Admin;
use crate::caller::Caller;
use mail::{Direction, Timestamp};
use serde::{Deserialize, Serialize};
use store::control::pause::Pause;
use store::spool::Entry;
use transport::actions::{ActionCounts, CandidateState};
use utoipa::{IntoParams, ToSchema};

/// One recipient of a message in the queue.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct EntryView {
    /// Queue id.
    pub queue_id: String,
    /// Number of the recipient within the message.
    pub number: u32,
    /// Tenant; for the operator only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// `inbound outbound internal`.
    pub direction: String,
    /// Reverse path; empty: null.
    pub sender: String,
    /// Recipient.
    pub recipient: String,
    /// `queued` or `held`.
    pub state: String,
    /// Octets.
    pub size: u64,
    /// Since when.
    pub received_at: String,
    /// Next attempt; for held ones the end of the hold.
    pub due: String,
    /// When it is given up.
    pub expires_at: String,
    /// Attempts made.
    pub attempts: u32,
    /// Why it waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Last remote reply or error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_reply: Option<String>,
    /// Next hop chosen by a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forced_next_hop: Option<String>,
}

/// Which entries. All given conditions hold together.
#[derive(Clone, Debug, Default, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct FilterParams {
    /// Tenant's name (operator only).
    pub tenant: Option<String>,
    /// Recipient domain.
    pub domain: Option<String>,
    /// Queue id.
    pub queue_id: Option<String>,
    /// Reverse path, or `*@domain`.
    pub sender: Option<String>,
    /// Reason code.
    pub reason: Option<String>,
    /// Host of the next hop.
    pub next_hop: Option<String>,
    /// `queued` or `held`.
    pub state: Option<String>,
    /// In the queue for at least so many seconds.
    pub older_than_s: Option<u64>,
}

/// One entry.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EntryName {
    /// Queue id.
    pub queue_id: String,
    /// Number of the recipient; absent: all recipients.
    pub number: Option<u32>,
}

/// What to do with which entries.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionOrder {
    /// `retry hold release bounce reroute lifetime discard`.
    pub action: String,
    /// These.
    #[serde(default)]
    pub entries: Vec<EntryName>,
    /// Or all that match.
    #[serde(default, deserialize_with = "known_conditions")]
    pub filter: Option<FilterParams>,
    /// `reroute`: `host:port`.
    pub next_hop: Option<String>,
    /// `lifetime`: seconds from acceptance, 1 h–14 d.
    pub lifetime_s: Option<u64>,
    /// `discard`: why (required); `hold`: why.
    pub text: Option<String>,
    /// Only count.
    #[serde(default)]
    pub dry_run: bool,
}

/// A filter of an action. A misspelt condition would make it about everything, so it is refused; `{}` says everything on purpose.
fn known_conditions<'de, D: serde::Deserializer<'de>>(input: D) -> Result<Option<FilterParams>, D::Error> {
    use serde::de::Error;
    const KNOWN: [&str; 8] = [
        "tenant",
        "domain",
        "queue_id",
        "sender",
        "reason",
        "next_hop",
        "state",
        "older_than_s",
    ];
    let Some(given) = Option::<serde_json::Map<String, serde_json::Value>>::deserialize(input)? else {
        return Ok(None);
    };
    if let Some(unknown) = given.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        return Err(D::Error::unknown_field(unknown, &KNOWN));
    }
    serde_json::from_value(given.into()).map(Some).map_err(D::Error::custom)
}

/// What became of an action.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct ActionView {
    /// Entries it was about.
    pub matched: u64,
    /// Entries changed.
    pub done: u64,
    /// Being attempted at this moment, or another node's that has not answered yet: acted on afterwards.
    pub after_attempt: u64,
    /// Other actions had them in hands: nothing was done to them, ask again.
    pub busy: u64,
    /// The action does not apply to them.
    pub not_applicable: u64,
}

impl ActionView {
    /// Of a dry run.
    pub(super) fn dry(matched: u64) -> Self {
        Self {
            matched,
            done: 0,
            after_attempt: 0,
            busy: 0,
            not_applicable: 0,
        }
    }
}

impl From<ActionCounts> for ActionView {
    fn from(counts: ActionCounts) -> Self {
        Self {
            matched: counts.matched,
            done: counts.done,
            after_attempt: counts.after_attempt,
            busy: counts.busy,
            not_applicable: counts.not_applicable,
        }
    }
}

/// How many.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct Count {
    /// Entries.
    pub count: u64,
}

/// A candidate as it stands now.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CandidateView {
    /// Row or route.
    pub route: String,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `healthy failing paused`.
    pub health: String,
    /// Connections now.
    pub connections: u32,
    /// Connections at most.
    pub connections_max: u32,
}

impl From<CandidateState> for CandidateView {
    fn from(c: CandidateState) -> Self {
        Self {
            route: c.route,
            host: c.host,
            port: c.port,
            health: c.health,
            connections: c.connections,
            connections_max: c.connections_max,
        }
    }
}

/// Why an entry waits.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ExplanationView {
    /// The entry.
    pub entry: EntryView,
    /// It is being attempted right now.
    pub in_attempt: bool,
    /// Candidates in the order in which they would be tried.
    pub candidates: Vec<CandidateView>,
    /// Why there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_candidate: Option<String>,
    /// Entries of the same domain that are due before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u64>,
    /// Paused since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<String>,
}

/// A pause.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct PauseView {
    /// `domain` or `next-hop`.
    pub kind: String,
    /// Which.
    pub subject: String,
    /// Since when.
    pub since: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

impl From<Pause> for PauseView {
    fn from(p: Pause) -> Self {
        Self {
            kind: p.kind.as_str().into(),
            subject: p.subject,
            since: p.since.to_rfc3339(),
            actor: p.actor,
            reason: p.reason,
        }
    }
}

/// What to pause.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseOrder {
    /// `domain` or `next-hop`.
    pub kind: String,
    /// Recipient domain, or next hop as `host:port` (port 25 unless said).
    pub subject: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// An entry as the caller sees it.
pub(super) fn entry_view(
    admin: &Admin,
    caller: &Caller,
    entry: Entry,
    sender: String,
    direction: Direction,
    size: u64,
    received_at: Timestamp,
) -> EntryView {
    EntryView {
        queue_id: entry.queue_id.to_string(),
        number: entry.number,
        tenant: caller
            .own_tenant()
            .is_none()
            .then(|| admin.desk.live().tenants.get(&entry.tenant).map(|t| t.name.clone()))
            .flatten(),
        direction: word(&direction),
        sender,
        recipient: entry.recipient.to_string(),
        state: word(&entry.state),
        size,
        received_at: received_at.to_rfc3339(),
        due: entry.due.to_rfc3339(),
        expires_at: entry.expires_at.to_rfc3339(),
        attempts: entry.attempts,
        reason: entry.reason.map(|r| r.to_string()),
        last_reply: entry.last_reply,
        forced_next_hop: entry.forced_next_hop,
    }
}

/// The word of a closed set, as it stands in JSON.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_filter_is_refused() {
        let order = |filter: &str| serde_json::from_str::<ActionOrder>(&format!("{{\"action\":\"discard\",\"filter\":{filter}}}"));
        assert!(order("{\"domain\":\"a.example\"}").is_ok_and(|o| o.filter.is_some_and(|f| f.domain.as_deref() == Some("a.example"))));
        assert!(order("null").is_ok_and(|o| o.filter.is_none()));
        for bad in ["{\"domian\":\"a.example\"}", "{\"domain\":\"a.example\",\"X\":null}"] {
            assert!(order(bad).is_err(), "{bad}");
        }
    }
}
