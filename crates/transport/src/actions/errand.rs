//! Which node does an action? The one that owns the entry, since only it knows whether it is attempting it.
//!
//! In: entries of other nodes and what a person wants with them; errands that other nodes left for this one. Out: outcomes.
//! Standards: domains-and-routing 11.3.
//! Invariants: an action is done where the claims of its entry are, so that it never crosses an attempt; the one who asks waits a moment for
//! the outcome, not for attempts; an errand that cannot be written down is refused at once.

use super::{Action, ActionCounts, ActionError, Selection, act};
use crate::Desk;
use crate::queue::claim::EntryKey;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use store::control::errand::{self, Errand, Outcome};
use store::spool::Entry;
use store::tracking::Scope;
use tokio::task::JoinSet;

/// How long the outcome is waited for; the owner looks every second.
const OUTCOME_WAIT: Duration = Duration::from_secs(4);
const OUTCOME_LOOK: Duration = Duration::from_millis(100);
/// Errands taken up at a time, and how many of them are done side by side.
const ERRANDS_MAX: usize = 256;
const SIDE_BY_SIDE: usize = 32;
/// When they are looked for again after a failure, or after one whose entry another action had in hands.
const AGAIN: Duration = Duration::from_secs(2);
/// When they are looked for without a wake.
const LOOK: Duration = Duration::from_secs(30);
/// So old, nobody waits for it any more and no node was there to do it.
const AGE_MAX: Duration = Duration::from_secs(86_400);

/// Parts entries into this node's and others'.
pub(super) async fn apart(desk: &Desk, entries: Vec<Entry>) -> Result<(Vec<Entry>, Vec<Entry>), StoreError> {
    let keys: Vec<EntryKey> = entries.iter().map(|e| (e.queue_id, e.number)).collect();
    let strangers: HashSet<EntryKey> = desk.store.mail.strangers(keys).await?.into_iter().collect();
    Ok(entries.into_iter().partition(|e| !strangers.contains(&(e.queue_id, e.number))))
}

/// Has the owners of `entries` do `action`, and counts what came of it.
pub(super) async fn entrust(
    desk: &Desk,
    entries: &[Entry],
    action: &Action,
    actor: &str,
    counts: &mut ActionCounts,
) -> Result<(), ActionError> {
    let text = serde_json::to_string(action).map_err(|e| StoreError::Data(e.to_string()))?;
    let now = desk.now();
    let ids: Vec<i64> = entries.iter().map(|_| desk.ids.queue_id(now).to_i64()).collect();
    let Some(batch) = ids.first().copied() else { return Ok(()) };
    let make = |(id, entry): (&i64, &Entry)| Errand {
        id: *id,
        batch,
        tenant: entry.tenant,
        queue_id: entry.queue_id,
        number: entry.number,
        action: text.clone(),
        actor: actor.to_owned(),
        asked_at: now,
    };
    desk.store.mail.entrust(ids.iter().zip(entries).map(make).collect()).await?;
    let begin = desk.clock.monotonic();
    let outcomes = loop {
        let outcomes = desk.store.read(move |tx| errand::outcomes(tx, batch)).await?;
        if outcomes.iter().all(Option::is_some) || desk.clock.monotonic().saturating_sub(begin) >= OUTCOME_WAIT {
            break outcomes;
        }
        tokio::select! {
            () = desk.shutdown.requested() => break outcomes,
            () = desk.clock.sleep(OUTCOME_LOOK) => {}
        }
    };
    let mut has_failed = false;
    for outcome in outcomes {
        match outcome {
            Some(Outcome::Done) => counts.done += 1,
            // The owner does it as soon as it may.
            None => counts.after_attempt += 1,
            Some(Outcome::NotApplicable) => counts.not_applicable += 1,
            Some(Outcome::Gone) => {}
            Some(Outcome::Failed) => has_failed = true,
        }
    }
    desk.store.write(move |tx| errand::forget(tx, batch)).await?;
    if has_failed {
        return Err(StoreError::Unavailable("another node could not do it, see its log".into()).into());
    }
    Ok(())
}

/// Does what other nodes leave for this one, until shutdown. One task of the queue.
pub(crate) async fn run(desk: Arc<Desk>) {
    let mut arrivals = desk.store.mail.arrivals();
    loop {
        arrivals.borrow_and_update();
        let is_over = match round(&desk).await {
            Ok(is_over) => is_over,
            Err(error) => {
                tracing::warn!(%error, "errands of other nodes cannot be read or answered, trying again");
                false
            }
        };
        tokio::select! {
            () = desk.shutdown.requested() => return,
            changed = arrivals.changed() => {
                if changed.is_err() {
                    // The store is closed: nothing more arrives.
                    return desk.shutdown.requested().await;
                }
            }
            // A wake can be lost when the entries change hands at that moment.
            () = desk.clock.sleep(if is_over { LOOK } else { AGAIN }) => {}
        }
    }
}

/// Whether nothing is left.
async fn round(desk: &Arc<Desk>) -> Result<bool, StoreError> {
    let owner = desk.store.mail.owner();
    let errands = desk.store.read(move |tx| errand::mine(tx, owner, ERRANDS_MAX)).await?;
    if errands.is_empty() {
        return Ok(true);
    }
    let mut left = errands.into_iter();
    let mut tasks: JoinSet<(Errand, Option<Outcome>)> = JoinSet::new();
    let (mut answers, mut is_over) = (Vec::new(), true);
    loop {
        while tasks.len() < SIDE_BY_SIDE
            && let Some(errand) = left.next()
        {
            let desk = Arc::clone(desk);
            tasks.spawn(async move {
                let outcome = run_one(&desk, &errand).await;
                (errand, outcome)
            });
        }
        match tasks.join_next().await {
            Some(Ok((errand, Some(outcome)))) => answers.push((errand, outcome)),
            // Asked for again by the next round.
            Some(Ok((_, None)) | Err(_)) => is_over = false,
            None => break,
        }
    }
    is_over &= answers.len() < ERRANDS_MAX;
    let old = desk.now().before(AGE_MAX);
    desk.store
        .write(move |tx| {
            for (errand, outcome) in &answers {
                errand::answer(tx, errand, *outcome)?;
            }
            errand::prune(tx, old).map(drop)
        })
        .await?;
    Ok(is_over)
}

/// `None`: not now.
async fn run_one(desk: &Arc<Desk>, errand: &Errand) -> Option<Outcome> {
    let action: Action = match serde_json::from_str(&errand.action) {
        Ok(action) => action,
        Err(error) => {
            tracing::error!(%error, "an errand of another node is not understood");
            return Some(Outcome::Failed);
        }
    };
    // Who may ask for what, the node that was asked has looked at.
    let everyone = Scope {
        tenant: None,
        domains: None,
    };
    let key = (errand.queue_id, errand.number);
    // Kept in memory it would be lost with this node: it stays open until the attempt has ended.
    if desk.queue.state().claims.is_attempted(key) {
        return None;
    }
    match act(desk, Selection::Entries(vec![key]), &everyone, action, &errand.actor).await {
        Ok(ActionCounts { done: 1.., .. }) => Some(Outcome::Done),
        Ok(ActionCounts { after_attempt: 1.., .. }) => None,
        Ok(ActionCounts { not_applicable: 1.., .. }) => Some(Outcome::NotApplicable),
        Ok(ActionCounts { busy: 1.., .. })
        | Err(ActionError::Store(StoreError::LeaseLost | StoreError::Unavailable(_) | StoreError::Unknown | StoreError::Full)) => None,
        Ok(_) | Err(ActionError::NotFound) => Some(Outcome::Gone),
        Err(error) => {
            tracing::error!(%error, queue_id = %errand.queue_id, "an errand of another node failed");
            Some(Outcome::Failed)
        }
    }
}
