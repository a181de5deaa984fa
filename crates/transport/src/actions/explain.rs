//! Why does an entry wait? Last reply, next due time, candidates with their health, position.

use super::{ActionError, CandidateState, Explanation, is_within};
use crate::Desk;
use crate::delivery::attempt::hop_key;
use crate::delivery::hop::{Health, by_health};
use crate::delivery::resolve::{Resolved, resolve};
use crate::delivery::route::turn::{Moves, Turned};
use crate::delivery::route::{self, Candidate};
use mail::text::Text;
use mail::{Domain, QueueId, Reason, TenantId, Timestamp};
use std::sync::Arc;
use store::control::pause::{self, Pause, PauseKind};
use store::spool::Entry;
use store::tracking::Scope;

/// Entries before it that are counted.
const POSITION_MAX: usize = 1_000;

/// Why an entry waits.
///
/// # Errors
/// [`ActionError::NotFound`] outside the scope, like for one that does not exist.
pub async fn explain(desk: &Arc<Desk>, queue_id: QueueId, number: u32, scope: &Scope) -> Result<Explanation, ActionError> {
    let entries = desk.store.mail.entries(queue_id).await?;
    let entry = entries
        .into_iter()
        .find(|e| e.number == number && is_within(e, scope))
        .ok_or(ActionError::NotFound)?;
    let message = desk.store.mail.message(queue_id).await?.ok_or(ActionError::NotFound)?;
    let live = desk.live();
    let sender = message.reverse_path.domain().map(Domain::as_str);
    let plan = route::plan(&live, message.direction, sender, &entry);
    let resolved = resolve(desk, &live, message.tenant, &plan, desk.queue.turns(), &mut Turned::new(Moves::Not)).await;
    let (candidates, no_candidate) = match resolved {
        Resolved::Candidates(candidates) => (states(desk, message.tenant, candidates), None),
        Resolved::HandOver(_) => (Vec::new(), Some(Text::new("api.queue.handed-over"))),
        Resolved::Defer(reason, text) => (Vec::new(), Some(why_none(reason, &text))),
        Resolved::Fail(reason, reply) => (Vec::new(), Some(why_none(reason, &reply))),
        Resolved::Loop(text) => (Vec::new(), Some(why_none(Reason::Loop, &text))),
    };
    let pauses = desk.store.read(|tx| pause::all(tx)).await?;
    let paused_since = paused_since(&pauses, &entry, &candidates);
    let position = position(desk, &entry).await?;
    let in_attempt = desk.queue.state().claims.is_attempted((queue_id, number));
    Ok(Explanation {
        entry,
        in_attempt,
        candidates,
        no_candidate,
        position,
        paused_since,
    })
}

fn why_none(reason: Reason, said: &dyn std::fmt::Display) -> Text {
    Text::new("api.queue.no-candidate")
        .with("reason", reason.as_str())
        .with("said", said.to_string())
        .with("why", Text::why(reason))
}

fn states(desk: &Desk, tenant: TenantId, candidates: Vec<Arc<Candidate>>) -> Vec<CandidateState> {
    let state = desk.queue.state();
    let ordered = by_health(candidates, |c: &Arc<Candidate>| state.hops.health(&hop_key(tenant, c)));
    let of = |c: Arc<Candidate>| {
        let hop = hop_key(tenant, &c);
        let health = match state.hops.health(&hop) {
            _ if state.is_hop_paused(tenant, &format!("{}:{}", hop.host, hop.port)) => "paused",
            Health::Healthy => "healthy",
            Health::Failing => "failing",
        };
        let (connections, connections_max) = state.hops.places(&hop, c.connections_max);
        CandidateState {
            route: c.route.clone(),
            host: c.host.clone(),
            port: c.port,
            health: health.into(),
            connections,
            connections_max,
        }
    };
    ordered.into_iter().map(of).collect()
}

fn paused_since(pauses: &[Pause], entry: &Entry, candidates: &[CandidateState]) -> Option<Timestamp> {
    let domain = entry.recipient.domain().map(Domain::as_str);
    let is_about = |p: &&Pause| {
        let is_ours = p.tenant == entry.tenant || p.tenant == TenantId::OPERATOR;
        is_ours
            && match p.kind {
                PauseKind::Domain => domain == Some(&p.subject),
                // One paused candidate of several does not stop the mail.
                PauseKind::NextHop => {
                    !candidates.is_empty()
                        && candidates.iter().all(|c| c.health == "paused")
                        && candidates
                            .iter()
                            .any(|c| format!("{}:{}", c.host.to_ascii_lowercase(), c.port) == p.subject)
                }
            }
    };
    pauses.iter().filter(is_about).map(|p| p.since).min()
}

/// Entries of this node's lane that are due before it.
async fn position(desk: &Desk, entry: &Entry) -> Result<Option<u64>, ActionError> {
    let before = desk.store.mail.due(entry.lane, entry.due, None, POSITION_MAX + 1).await?;
    let place = before.iter().position(|e| (e.queue_id, e.number) == (entry.queue_id, entry.number));
    Ok(match place {
        Some(n) => u64::try_from(n).ok(),
        None if before.len() > POSITION_MAX => None,
        None => u64::try_from(before.len()).ok(),
    })
}
