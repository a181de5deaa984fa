//! The queue: list, count, explain, act, pause (domains-and-routing 11.3).

use crate::caller::Caller;
use crate::page::{Page, Paging, page};
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use identity::{Capability, Permission};
use mail::{QueueId, Reason, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use store::control::{audit, pause};
use store::spool::{Entry, EntryFilter, EntryState, QueueRow};
use store::tracking::Scope;
use transport::actions::{self, Action, CandidateState, Selection};
use utoipa::{IntoParams, ToSchema};

/// Entries named one by one in an action.
const ENTRIES_MAX: usize = 1_000;

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
        return Err(D::Error::custom(format!(
            "unknown condition {unknown:?}; known: {}",
            KNOWN.join(", ")
        )));
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

fn entry_view(
    admin: &Admin,
    caller: &Caller,
    entry: Entry,
    sender: String,
    direction: mail::Direction,
    size: u64,
    received_at: Timestamp,
) -> EntryView {
    let word = |v: &dyn erased::Word| v.word();
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

mod erased {
    //! Words of closed sets, as they stand in JSON.
    pub(super) trait Word {
        fn word(&self) -> String;
    }
    impl<T: serde::Serialize> Word for T {
        fn word(&self) -> String {
            serde_json::to_value(self)
                .ok()
                .and_then(|v| v.as_str().map(str::to_owned))
                .unwrap_or_default()
        }
    }
}

/// The scope of the caller over the queue.
async fn scope(admin: &Admin, caller: &Caller, tenant: Option<&str>, access: Permission) -> Result<Scope, Problem> {
    let tenant = match (caller.own_tenant(), tenant) {
        (Some(own), None) => {
            caller.need(Capability::QueueActions, access, Some(own))?;
            Some(own)
        }
        (_, Some(name)) => Some(caller.tenant(admin, name, Capability::QueueActions, access).await?.id),
        (None, None) => {
            caller.need(Capability::QueueActions, access, None)?;
            None
        }
    };
    Ok(Scope {
        tenant,
        domains: caller.domain_names(),
    })
}

fn filter_of(admin: &Admin, params: &FilterParams, scope: &Scope) -> Result<EntryFilter, Problem> {
    let state = match params.state.as_deref() {
        None => None,
        Some("queued") => Some(EntryState::Queued),
        Some("held") => Some(EntryState::Held),
        Some(_) => return Err(Problem::malformed("state is queued or held")),
    };
    Ok(EntryFilter {
        tenant: scope.tenant,
        domains: scope.domains.clone(),
        domain: params
            .domain
            .as_deref()
            .map(mail::Domain::parse)
            .transpose()
            .map_err(|e| Problem::malformed(format!("domain: {e}")))?
            .map(|d| d.to_string()),
        queue_id: params.queue_id.as_deref().map(queue_id).transpose()?,
        sender: params.sender.clone(),
        reason: params
            .reason
            .as_deref()
            .map(str::parse::<Reason>)
            .transpose()
            .map_err(|e| Problem::malformed(format!("reason: {e}")))?,
        next_hop: params.next_hop.clone(),
        state,
        received_before: params.older_than_s.map(|s| admin.desk.now().before(Duration::from_secs(s))),
    })
}

fn queue_id(text: &str) -> Result<QueueId, Problem> {
    text.parse().map_err(|e| Problem::malformed(format!("queue_id: {e}")))
}

/// Entries of the queue.
#[utoipa::path(get, path = "/queue", params(FilterParams, Paging), responses((status = 200, body = Page<EntryView>), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(params): Query<FilterParams>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let scope = scope(&admin, &caller, params.tenant.as_deref(), Permission::Read).await?;
    let filter = filter_of(&admin, &params, &scope)?;
    let list = format!("queue/{:?}", scope.tenant.map(|t| t.0));
    let after = match paging.position(&admin.desk.keys, &list)? {
        None => None,
        Some(text) => text
            .split_once('/')
            .and_then(|(id, n)| Some((id.parse::<QueueId>().ok()?, n.parse::<u32>().ok()?))),
    };
    let limit = paging.limit();
    let rows = admin.desk.store.mail.queue_page(filter, after, limit + 1).await?;
    let rows = page(rows, limit, &admin.desk.keys, &list, |r: &QueueRow| {
        format!("{}/{}", r.entry.queue_id, r.entry.number)
    });
    let items = rows
        .items
        .into_iter()
        .map(|r| {
            entry_view(
                &admin,
                &caller,
                r.entry,
                r.reverse_path.to_string(),
                r.direction,
                r.size,
                r.received_at,
            )
        })
        .collect();
    Ok(Json(Page { items, next: rows.next }))
}

/// How many entries a filter is about.
#[utoipa::path(get, path = "/queue/count", params(FilterParams), responses((status = 200, body = Count), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn count(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(params): Query<FilterParams>,
) -> Result<Json<Count>, Problem> {
    let scope = scope(&admin, &caller, params.tenant.as_deref(), Permission::Read).await?;
    let filter = filter_of(&admin, &params, &scope)?;
    Ok(Json(Count {
        count: admin.desk.store.mail.queue_count(filter).await?,
    }))
}

/// Why an entry waits.
#[utoipa::path(get, path = "/queue/{queue_id}/{number}", params(("queue_id" = String, Path), ("number" = u32, Path)), responses((status = 200, body = ExplanationView), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn explain(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((id, number)): Path<(String, u32)>,
) -> Result<Json<ExplanationView>, Problem> {
    let scope = scope(&admin, &caller, None, Permission::Read).await?;
    let id = queue_id(&id)?;
    let told = actions::explain(&admin.desk, id, number, &scope).await?;
    let message = admin
        .desk
        .store
        .mail
        .message(id)
        .await?
        .ok_or_else(|| Problem::not_found("entry"))?;
    Ok(Json(ExplanationView {
        entry: entry_view(
            &admin,
            &caller,
            told.entry,
            message.reverse_path.to_string(),
            message.direction,
            message.size,
            message.received_at,
        ),
        in_attempt: told.in_attempt,
        candidates: told
            .candidates
            .into_iter()
            .map(
                |CandidateState {
                     route,
                     host,
                     port,
                     health,
                     connections,
                     connections_max,
                 }| CandidateView {
                    route,
                    host,
                    port,
                    health,
                    connections,
                    connections_max,
                },
            )
            .collect(),
        no_candidate: told.no_candidate,
        position: told.position,
        paused_since: told.paused_since.map(Timestamp::to_rfc3339),
    }))
}

/// Does something to entries.
#[utoipa::path(post, path = "/queue/actions", request_body = ActionOrder, responses((status = 200, body = ActionView), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn act(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Json(order): Json<ActionOrder>,
) -> Result<Json<ActionView>, Problem> {
    let tenant = order.filter.as_ref().and_then(|f| f.tenant.clone());
    let scope = scope(&admin, &caller, tenant.as_deref(), Permission::Write).await?;
    let action = action_of(&order)?;
    // 11.3: these change where mail goes, or lose it: not for domain administrators.
    if matches!(
        action,
        Action::Reroute { .. } | Action::ChangeLifetime { .. } | Action::Discard { .. }
    ) {
        caller.whole_tenant()?;
    }
    let selection = selection_of(&admin, &order, &scope)?;
    if order.dry_run {
        let matched = actions::count(&admin.desk, &selection, &scope).await?;
        return Ok(Json(ActionView {
            matched,
            done: 0,
            after_attempt: 0,
            busy: 0,
            not_applicable: 0,
        }));
    }
    let about = format!("{selection:?}").chars().take(1_000).collect::<String>();
    let counts = actions::act(&admin.desk, selection, &scope, action, caller.name()).await?;
    let mut entry = caller.audit(
        scope.tenant.unwrap_or(TenantId::OPERATOR),
        admin.desk.now(),
        "queue.action",
        "queue",
        &order.action,
    );
    entry.reason = order.text.unwrap_or_default();
    entry.changes = vec![
        audit::Change::new("selection", None, Some(about)),
        audit::Change::new("entries", Some(counts.matched.to_string()), Some(counts.done.to_string())),
    ];
    admin.desk.store.write(move |tx| audit::append(tx, &entry)).await?;
    Ok(Json(ActionView {
        matched: counts.matched,
        done: counts.done,
        after_attempt: counts.after_attempt,
        busy: counts.busy,
        not_applicable: counts.not_applicable,
    }))
}

fn action_of(order: &ActionOrder) -> Result<Action, Problem> {
    let text = || order.text.clone().filter(|t| !t.trim().is_empty());
    Ok(match order.action.as_str() {
        "retry" => Action::RetryNow,
        "hold" => Action::Hold { text: text() },
        "release" => Action::Release,
        "bounce" => Action::BounceNow,
        "reroute" => Action::Reroute {
            next_hop: order
                .next_hop
                .clone()
                .ok_or_else(|| Problem::malformed("reroute needs next_hop (host:port)"))?,
        },
        "lifetime" => Action::ChangeLifetime {
            lifetime: Duration::from_secs(order.lifetime_s.ok_or_else(|| Problem::malformed("lifetime needs lifetime_s"))?),
        },
        "discard" => Action::Discard {
            text: text().ok_or_else(|| Problem::malformed("discard needs a reason text: nobody is told otherwise"))?,
        },
        _ => {
            return Err(Problem::malformed(
                "action is retry, hold, release, bounce, reroute, lifetime or discard",
            ));
        }
    })
}

fn selection_of(admin: &Admin, order: &ActionOrder, scope: &Scope) -> Result<Selection, Problem> {
    match (&order.filter, order.entries.as_slice()) {
        (Some(filter), []) => Ok(Selection::Filter(Box::new(filter_of(admin, filter, scope)?))),
        (None, [one]) if one.number.is_none() => Ok(Selection::Message(queue_id(&one.queue_id)?)),
        (None, some) if !some.is_empty() && some.len() <= ENTRIES_MAX => some
            .iter()
            .map(|e| {
                Ok((
                    queue_id(&e.queue_id)?,
                    e.number
                        .ok_or_else(|| Problem::malformed("several entries: each with its number"))?,
                ))
            })
            .collect::<Result<_, Problem>>()
            .map(Selection::Entries),
        _ => Err(Problem::malformed(format!("give entries (1–{ENTRIES_MAX}) or a filter, not both"))),
    }
}

async fn pause_owner(admin: &Admin, caller: &Caller, tenant: &str, access: Permission) -> Result<TenantId, Problem> {
    if tenant == "system" {
        caller.need(Capability::Tenants, access, None)?;
        return Ok(TenantId::OPERATOR);
    }
    Ok(caller.tenant(admin, tenant, Capability::QueueActions, access).await?.id)
}

/// What is paused, written as the queue compares it: a domain in A-labels, a next hop as `host:port`.
fn pause_subject(kind: pause::PauseKind, text: &str) -> Result<String, Problem> {
    match kind {
        pause::PauseKind::Domain => Ok(mail::Domain::parse(text.trim())
            .map_err(|e| Problem::malformed(e.to_string()))?
            .to_string()),
        pause::PauseKind::NextHop => actions::next_hop_subject(text).map_err(Problem::from),
    }
}

fn pause_kind(word: &str) -> Result<pause::PauseKind, Problem> {
    pause::PauseKind::parse(word).ok_or_else(|| Problem::malformed("kind is domain or next-hop"))
}

/// Paused domains and next hops.
#[utoipa::path(get, path = "/tenants/{tenant}/pauses", params(("tenant" = String, Path)), responses((status = 200, body = Vec<PauseView>), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn pauses(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<PauseView>>, Problem> {
    let id = pause_owner(&admin, &caller, &tenant, Permission::Read).await?;
    let list = admin.desk.store.read(move |tx| pause::list(tx, id)).await?;
    let view = |p: pause::Pause| PauseView {
        kind: p.kind.as_str().into(),
        subject: p.subject,
        since: p.since.to_rfc3339(),
        actor: p.actor,
        reason: p.reason,
    };
    Ok(Json(list.into_iter().map(view).collect()))
}

/// No attempts to a domain or next hop until resumed.
#[utoipa::path(post, path = "/tenants/{tenant}/pauses", params(("tenant" = String, Path)), request_body = PauseOrder, responses((status = 204), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn pause(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
    Json(order): Json<PauseOrder>,
) -> Result<StatusCode, Problem> {
    let id = pause_owner(&admin, &caller, &tenant, Permission::Write).await?;
    let kind = pause_kind(&order.kind)?;
    let subject = pause_subject(kind, &order.subject)?;
    if kind == pause::PauseKind::Domain {
        let domain = mail::Domain::parse(&subject).map_err(|e| Problem::malformed(e.to_string()))?;
        caller.within(&domain)?;
    } else {
        caller.whole_tenant()?;
    }
    let mut entry = caller.audit(id, admin.desk.now(), "queue.pause", kind.as_str(), &subject);
    entry.reason.clone_from(&order.reason);
    let set = pause::Pause {
        tenant: id,
        kind,
        subject,
        since: entry.at,
        actor: caller.name().to_owned(),
        reason: order.reason,
    };
    admin
        .desk
        .store
        .write(move |tx| {
            pause::set(tx, &set)?;
            audit::append(tx, &entry)
        })
        .await?;
    admin.refresh().await?;
    admin.desk.queue.look_anew();
    Ok(StatusCode::NO_CONTENT)
}

/// Attempts go on.
#[utoipa::path(delete, path = "/tenants/{tenant}/pauses/{kind}/{subject}", params(("tenant" = String, Path), ("kind" = String, Path), ("subject" = String, Path)), responses((status = 204), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn resume(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, kind, subject)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    let id = pause_owner(&admin, &caller, &tenant, Permission::Write).await?;
    let kind = pause_kind(&kind)?;
    let subject = pause_subject(kind, &subject)?;
    if kind == pause::PauseKind::Domain {
        caller.within(&mail::Domain::parse(&subject).map_err(|e| Problem::malformed(e.to_string()))?)?;
    } else {
        caller.whole_tenant()?;
    }
    let entry = caller.audit(id, admin.desk.now(), "queue.resume", kind.as_str(), &subject);
    admin
        .desk
        .store
        .write(move |tx| {
            pause::end(tx, id, kind, &subject)?;
            audit::append(tx, &entry)?;
            Ok::<_, store::control::ControlError>(())
        })
        .await?;
    admin.refresh().await?;
    admin.desk.queue.look_anew();
    Ok(StatusCode::NO_CONTENT)
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
