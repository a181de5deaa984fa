//! What a person may do with entries of the queue: explain, retry now, hold, release, bounce, re-route, change lifetime, discard, pause.
//!
//! In: an action, a selection within a scope, who asks. Out: how many entries it was about and how many it changed.
//! Standards: domains-and-routing 11.3.
//! Invariants: every change is written with a tracking event that names the actor; an entry that is being attempted is acted on after the
//! attempt, by whichever node attempts it; nothing is lost and nothing is sent twice.

mod apply;
pub(crate) mod errand;
mod explain;
mod kept;

pub use explain::explain;
pub use kept::KeptAction;
pub(crate) use kept::{Kept, run_kept};

use crate::Desk;
use crate::delivery::route::parse_next_hop;
use crate::queue::claim::{ActionClaim, EntryKey};
use mail::text::Text;
use mail::{QueueId, TenantId, Timestamp};
use net::guard::Forbidden;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use store::control::ControlError;
use store::control::pause::{self, Pause, PauseKind};
use store::spool::{Entry, EntryFilter};
use store::tracking::Scope;

/// Entries of a filter that are worked on at a time.
const CHUNK_ENTRIES: usize = 500;
/// An entry in the hands of another action is asked for again so often and so soon.
const BUSY_TRIES: u32 = 50;
const BUSY_WAIT: Duration = Duration::from_millis(20);
/// `queue.lifetime`, as a person may set it; the operator from one second.
const LIFETIME_MIN: Duration = Duration::from_secs(3_600);
const LIFETIME_MIN_OPERATOR: Duration = Duration::from_secs(1);
const LIFETIME_MAX: Duration = Duration::from_secs(14 * 86_400);

/// Which entries.
#[derive(Clone, Debug)]
pub enum Selection {
    /// These.
    Entries(Vec<(QueueId, u32)>),
    /// All recipients of one message.
    Message(QueueId),
    /// All that match. Scope conditions are added to it.
    Filter(Box<EntryFilter>),
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Due at once.
    RetryNow,
    /// Not scheduled until released; bounces when the hold ends.
    Hold {
        /// Why, for tracking.
        text: Option<String>,
    },
    /// Ends a hold: due at once.
    Release,
    /// Failed with DSN.
    BounceNow,
    /// To a chosen next hop, `host:port` (IPv6 in brackets), instead of routing.
    Reroute {
        /// Where to.
        next_hop: String,
    },
    /// Given up so long after acceptance; 1 h–14 d.
    ChangeLifetime {
        /// From acceptance on.
        lifetime: Duration,
    },
    /// Removed without DSN.
    Discard {
        /// Why; required.
        text: String,
    },
}

/// What became of an action.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ActionCounts {
    /// Entries it was about.
    pub matched: u64,
    /// Entries changed.
    pub done: u64,
    /// Entries that are being attempted at this moment: acted on when the attempt has ended without delivering. Also those of another node
    /// that has not answered yet: it acts on them as soon as it may.
    pub after_attempt: u64,
    /// Entries that other actions had in hands all the time: nothing was done to them.
    pub busy: u64,
    /// Entries to which the action does not apply (release of what is not held).
    pub not_applicable: u64,
}

/// Why an action was refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    /// The store could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nothing in scope (404).
    #[error("no such entry")]
    NotFound,
    /// `discard` without a reason text.
    #[error("a reason text is required")]
    TextRequired,
    /// Lifetime outside 1 h–14 d.
    #[error("a lifetime is 1 hour to 14 days")]
    Lifetime,
    /// Not `host:port`.
    #[error("a next hop is host:port")]
    NextHopForm,
    /// The next hop may not be connected to.
    #[error("{0}")]
    Forbidden(Forbidden),
    /// The operator does not allow this port.
    #[error("port {0} is not allowed for next hops")]
    Port(u16),
    /// The control plane could not do it.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// What may be paused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PauseTarget {
    /// A recipient domain (lower case A-labels).
    Domain(String),
    /// A next hop, `host:port`.
    NextHop(String),
}

/// A candidate as it stands now.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct CandidateState {
    /// Row or route.
    pub route: String,
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `healthy`, `failing` (tried last), `paused`.
    pub health: String,
    /// Connections open or being opened now, and how many may be.
    pub connections: u32,
    /// How many may be.
    pub connections_max: u32,
}

/// Why an entry waits.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The entry: state, due, expiry, last reply, reason.
    pub entry: Entry,
    /// It is being attempted right now.
    pub in_attempt: bool,
    /// Candidates in the order in which they would be tried.
    pub candidates: Vec<CandidateState>,
    /// Why there are none, when there are none.
    pub no_candidate: Option<Text>,
    /// Entries of the same lane that are due before it; `None`: over 1,000.
    pub position: Option<u64>,
    /// Domain or next hop is paused since.
    pub paused_since: Option<Timestamp>,
}

/// How many entries a selection is about, within the scope.
///
/// # Errors
/// [`ActionError`].
pub async fn count(desk: &Desk, selection: &Selection, scope: &Scope) -> Result<u64, ActionError> {
    match selection {
        Selection::Filter(filter) => Ok(desk.store.mail.queue_count(within(filter, scope)).await?),
        Selection::Message(queue_id) => count_of(of_message(desk, *queue_id, None, scope).await?.len()),
        Selection::Entries(list) => {
            let mut found = 0;
            for (queue_id, numbers) in by_message(list) {
                found += of_message(desk, queue_id, Some(&numbers), scope).await?.len();
            }
            count_of(found)
        }
    }
}

fn count_of(n: usize) -> Result<u64, ActionError> {
    Ok(u64::try_from(n).unwrap_or(u64::MAX))
}

/// What is to be done, for whom, to whose entries.
struct Wish {
    action: Action,
    actor: String,
    whose: Whose,
}

/// Entries of which nodes an action is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Of every node: those of others are left to them.
    Everyones,
    /// Of this node.
    Ours,
}

/// Does `action` to the selected entries within the scope. `actor` stands in tracking (`admin@example.com`, `api key ops`).
/// It goes on to its end when the caller no longer waits: the entries that it has in hands must come out of them.
///
/// # Errors
/// [`ActionError`]; what was done until then stays done.
pub async fn act(desk: &Arc<Desk>, selection: Selection, scope: &Scope, action: Action, actor: &str) -> Result<ActionCounts, ActionError> {
    let (at, scope) = (Arc::clone(desk), scope.clone());
    let wish = Wish {
        action,
        actor: actor.to_owned(),
        whose: Whose::Everyones,
    };
    match tokio::spawn(async move { act_on(&at, selection, &scope, &wish).await }).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StoreError::Engine(format!("the action broke off: {error}")).into()),
    }
}

async fn act_on(desk: &Arc<Desk>, selection: Selection, scope: &Scope, wish: &Wish) -> Result<ActionCounts, ActionError> {
    check(desk, scope, &wish.action).await?;
    let mut counts = ActionCounts::default();
    match selection {
        Selection::Message(queue_id) => {
            let entries = of_message(desk, queue_id, None, scope).await?;
            chunk(desk, entries, wish, &mut counts).await?;
        }
        Selection::Entries(list) => {
            for (queue_id, numbers) in by_message(&list) {
                let entries = of_message(desk, queue_id, Some(&numbers), scope).await?;
                chunk(desk, entries, wish, &mut counts).await?;
            }
        }
        Selection::Filter(filter) => {
            let filter = within(&filter, scope);
            let mut after = None;
            loop {
                let rows = desk.store.mail.queue_page(filter.clone(), after, CHUNK_ENTRIES).await?;
                let is_last = rows.len() < CHUNK_ENTRIES;
                after = rows.last().map(|r| (r.entry.queue_id, r.entry.number)).or(after);
                chunk(desk, rows.into_iter().map(|r| r.entry).collect(), wish, &mut counts).await?;
                if is_last {
                    // An empty filter is an answer, not a mistake.
                    return Ok(counts);
                }
            }
        }
    }
    if counts.matched == 0 {
        Err(ActionError::NotFound)
    } else {
        Ok(counts)
    }
}

/// What would be wrong for every entry.
async fn check(desk: &Desk, scope: &Scope, action: &Action) -> Result<(), ActionError> {
    match action {
        Action::Discard { text } if text.trim().is_empty() => Err(ActionError::TextRequired),
        Action::ChangeLifetime { lifetime } => {
            let min = if scope.tenant.is_none() {
                LIFETIME_MIN_OPERATOR
            } else {
                LIFETIME_MIN
            };
            if (min..=LIFETIME_MAX).contains(lifetime) {
                Ok(())
            } else {
                Err(ActionError::Lifetime)
            }
        }
        Action::Reroute { next_hop } => check_next_hop(desk, next_hop).await,
        Action::RetryNow | Action::Hold { .. } | Action::Release | Action::BounceNow | Action::Discard { .. } => Ok(()),
    }
}

/// domains-and-routing 4.1: forbidden targets, here and again at each connection. A name that does not resolve now is not forbidden.
async fn check_next_hop(desk: &Desk, text: &str) -> Result<(), ActionError> {
    let (host, port) = parse_next_hop(text).ok_or(ActionError::NextHopForm)?;
    let live = desk.live();
    if !live.system.next_hop_ports.is_empty() && !live.system.next_hop_ports.contains(&port) {
        return Err(ActionError::Port(port));
    }
    let addresses: Vec<IpAddr> = desk.resolver.addresses(&host).await.unwrap_or_default();
    let verdicts: Vec<Result<(), Forbidden>> = addresses
        .into_iter()
        .map(|ip| desk.guard.check(SocketAddr::new(ip, port)))
        .collect();
    match verdicts.iter().find_map(|v| v.as_ref().err()) {
        Some(forbidden) if verdicts.iter().all(Result::is_err) => Err(ActionError::Forbidden(*forbidden)),
        Some(_) | None => Ok(()),
    }
}

async fn chunk(desk: &Arc<Desk>, entries: Vec<Entry>, wish: &Wish, counts: &mut ActionCounts) -> Result<(), ActionError> {
    let (action, actor) = (&wish.action, wish.actor.as_str());
    let (entries, mut others) = errand::apart(desk, entries).await?;
    if wish.whose == Whose::Ours {
        others.clear();
    }
    counts.matched += u64::try_from(entries.len() + others.len()).unwrap_or(0);
    let mut claimed: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        match claim(desk, (entry.queue_id, entry.number), action, actor).await {
            ActionClaim::Granted => claimed.push(entry),
            ActionClaim::Kept => counts.after_attempt += 1,
            ActionClaim::Busy(_) => counts.busy += 1,
        }
    }
    // What was read before the claim may have changed until it: read again, now that nobody else may change it here.
    let mut by_id: Vec<(QueueId, Vec<u32>)> = Vec::new();
    for entry in &claimed {
        match by_id.iter_mut().find(|(id, _)| *id == entry.queue_id) {
            Some((_, numbers)) => numbers.push(entry.number),
            None => by_id.push((entry.queue_id, vec![entry.number])),
        }
    }
    let mut waiting = Vec::with_capacity(by_id.len());
    let mut failed = None;
    for (queue_id, numbers) in by_id {
        let keys: Vec<EntryKey> = numbers.iter().map(|n| (queue_id, *n)).collect();
        match apply::message(desk, queue_id, &numbers, action, actor, counts).await {
            Ok(Some(done)) => waiting.push(done),
            Ok(None) => release(desk, &keys),
            Err(error) => {
                release(desk, &keys);
                failed = Some(error);
            }
        }
    }
    for done in waiting {
        match done.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => failed = Some(error),
            Err(_) => failed = Some(StoreError::Unavailable("the queue has stopped".into())),
        }
    }
    desk.queue.wake_loader();
    match failed {
        Some(error) => Err(error.into()),
        None => errand::entrust(desk, &others, action, actor, counts).await,
    }
}

fn release(desk: &Desk, keys: &[EntryKey]) {
    let mut state = desk.queue.state();
    for key in keys {
        drop(state.claims.release(*key));
    }
}

async fn claim(desk: &Desk, key: EntryKey, action: &Action, actor: &str) -> ActionClaim<KeptAction> {
    let mut kept = KeptAction {
        action: action.clone(),
        actor: actor.to_owned(),
    };
    for _ in 0..BUSY_TRIES {
        let found = desk.queue.state().claims.action(key, kept);
        match found {
            ActionClaim::Busy(back) => kept = back,
            ActionClaim::Granted | ActionClaim::Kept => return found,
        }
        desk.clock.sleep(BUSY_WAIT).await;
    }
    ActionClaim::Busy(kept)
}

/// Entries of a message within the scope.
async fn of_message(desk: &Desk, queue_id: QueueId, numbers: Option<&[u32]>, scope: &Scope) -> Result<Vec<Entry>, StoreError> {
    let mut entries = desk.store.mail.entries(queue_id).await?;
    entries.retain(|e| numbers.is_none_or(|n| n.contains(&e.number)) && is_within(e, scope));
    Ok(entries)
}

fn is_within(entry: &Entry, scope: &Scope) -> bool {
    let domain = entry.recipient.domain().map(mail::Domain::as_str);
    scope.tenant.is_none_or(|t| t == entry.tenant)
        && scope
            .domains
            .as_ref()
            .is_none_or(|list| domain.is_some_and(|d| list.iter().any(|l| l == d)))
}

/// The filter, never wider than the scope.
fn within(filter: &EntryFilter, scope: &Scope) -> EntryFilter {
    let mut filter = filter.clone();
    if scope.tenant.is_some() {
        filter.tenant = scope.tenant;
    }
    filter.domains = match (filter.domains, &scope.domains) {
        (Some(own), Some(allowed)) => Some(own.into_iter().filter(|d| allowed.contains(d)).collect()),
        (own, None) => own,
        (None, Some(allowed)) => Some(allowed.clone()),
    };
    filter
}

fn by_message(list: &[EntryKey]) -> Vec<(QueueId, Vec<u32>)> {
    let mut list = list.to_vec();
    list.sort_unstable();
    list.dedup();
    list.chunk_by(|a, b| a.0 == b.0)
        .filter_map(|c| Some((c.first()?.0, c.iter().map(|(_, n)| *n).collect())))
        .collect()
}

/// Begins a pause; `false` when it was paused already. `tenant`: [`TenantId::OPERATOR`] for everyone's mail. The caller has checked
/// that the domain or next hop is the tenant's business, and writes the audit entry.
///
/// # Errors
/// [`ActionError`].
pub async fn set_pause(desk: &Desk, tenant: TenantId, target: &PauseTarget, actor: &str, reason: &str) -> Result<bool, ActionError> {
    let (kind, subject) = subject_of(target)?;
    let pause = Pause {
        tenant,
        kind,
        subject,
        since: desk.now(),
        actor: actor.to_owned(),
        reason: reason.to_owned(),
    };
    let is_new = desk.store.write(move |tx| pause::set(tx, &pause)).await?;
    desk.queue.look_anew();
    Ok(is_new)
}

/// Ends a pause: what waited for it is due at once.
///
/// # Errors
/// [`ActionError`].
pub async fn end_pause(desk: &Desk, tenant: TenantId, target: &PauseTarget) -> Result<(), ActionError> {
    let (kind, subject) = subject_of(target)?;
    let ended: Result<(), ControlError> = desk.store.write(move |tx| pause::end(tx, tenant, kind, &subject)).await;
    match ended {
        Ok(()) => {}
        Err(ControlError::NotFound(_)) => return Err(ActionError::NotFound),
        Err(error) => return Err(error.into()),
    }
    desk.queue.look_anew();
    Ok(())
}

fn subject_of(target: &PauseTarget) -> Result<(PauseKind, String), ActionError> {
    match target {
        PauseTarget::Domain(domain) => Ok((PauseKind::Domain, domain.to_ascii_lowercase())),
        PauseTarget::NextHop(text) => Ok((PauseKind::NextHop, next_hop_subject(text)?)),
    }
}

/// A next hop as pauses name it: `host:port`, lower case, port 25 unless said.
///
/// # Errors
/// [`ActionError::NextHopForm`].
pub fn next_hop_subject(text: &str) -> Result<String, ActionError> {
    let (host, port) = parse_next_hop(text).ok_or(ActionError::NextHopForm)?;
    Ok(format!("{}:{port}", host.to_ascii_lowercase()))
}
