//! Writes what attempts came to, in the order in which they ended, many at a time.
//!
//! In: outcomes. Out: commits; then the entries are out of hands. Standards: none.
//! Invariants: an outcome is written again until the store takes it, so that what was delivered is never attempted anew; only a lost lease
//! ends that, since the entries are another node's then.

use super::claim::EntryKey;
use crate::Desk;
use crate::actions::KeptAction;
use crate::outcome::Settled;
use mail::{LaneId, TenantId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use store::spool::{Acceptance, Origin, Settlement};
use tokio::sync::{mpsc, oneshot};

/// Outcomes written in one transaction.
const BATCH_MAX: usize = 512;
/// Waits between tries while the store is away.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LAST: Duration = Duration::from_secs(5);
/// Where an entry that could not be written is looked at again.
const DAMAGED_LOOK: Duration = Duration::from_secs(300);
/// When the store is asked for new messages whose commit failed in part.
const DAMAGED_LOOK_SOON: Duration = Duration::from_secs(6);

/// What has ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// An attempt or an action.
    Outcome(Box<Outcome>),
    /// Nothing follows.
    Stop,
}

/// One outcome.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What is written.
    pub(crate) settled: Settled,
    /// Entries that are out of hands then.
    pub(crate) keys: Vec<EntryKey>,
    /// Told when it is written.
    pub(crate) done: Option<oneshot::Sender<Result<(), StoreError>>>,
}

/// Writes until [`Ended::Stop`].
pub(crate) async fn run(desk: Arc<Desk>, mut outcomes: mpsc::Receiver<Ended>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    loop {
        if outcomes.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        let mut is_last = false;
        let mut ended: Vec<Outcome> = Vec::with_capacity(batch.len());
        for item in batch.drain(..) {
            match item {
                Ended::Outcome(outcome) => ended.push(*outcome),
                Ended::Stop => is_last = true,
            }
        }
        if !ended.is_empty() {
            write(&desk, ended).await;
        }
        if is_last {
            return;
        }
    }
}

async fn write(desk: &Arc<Desk>, ended: Vec<Outcome>) {
    let mut settlements = Vec::with_capacity(ended.len());
    let mut after = Vec::with_capacity(ended.len());
    for outcome in ended {
        let Outcome { settled, keys, done } = outcome;
        let Settled { settlement, others, due } = settled;
        let born = settlement.born.clone();
        let origin = settlement.origin;
        settlements.extend(others);
        settlements.push(settlement);
        after.push(After {
            keys,
            due,
            born,
            done,
            origin,
        });
    }
    let result = persist(desk, settlements).await;
    finish(desk, after, &result);
}

/// What follows the commit.
struct After {
    keys: Vec<EntryKey>,
    due: Vec<(LaneId, TenantId, Timestamp)>,
    born: Vec<Acceptance>,
    done: Option<oneshot::Sender<Result<(), StoreError>>>,
    origin: Origin,
}

/// Writes until it is written, or can never be.
async fn persist(desk: &Desk, settlements: Vec<Settlement>) -> Result<(), StoreError> {
    let mut wait = RETRY_FIRST;
    let mut is_warned = false;
    loop {
        match desk.store.mail.settle(settlements.clone()).await {
            Ok(()) => return Ok(()),
            Err(StoreError::LeaseLost) => return Err(StoreError::LeaseLost),
            Err(StoreError::Unknown) if is_written(desk, &settlements).await => return Ok(()),
            Err(error @ (StoreError::Data(_) | StoreError::Conflict { .. })) => return one_by_one(desk, settlements, error).await,
            Err(error) => {
                if !is_warned {
                    tracing::error!(%error, outcomes = settlements.len(), "outcomes cannot be written, trying on");
                    is_warned = true;
                }
            }
        }
        if desk.shutdown.is_requested() && wait >= RETRY_LAST {
            return Err(StoreError::Unavailable("shutdown".into()));
        }
        desk.clock.sleep(wait).await;
        wait = (wait * 2).min(RETRY_LAST);
    }
}

/// After a commit of unknown outcome: new messages tell it; without any, writing again changes nothing but the record.
async fn is_written(desk: &Desk, settlements: &[Settlement]) -> bool {
    let Some(born) = settlements.iter().flat_map(|s| &s.born).next() else {
        return false;
    };
    matches!(desk.store.mail.message(born.message.queue_id).await, Ok(Some(_)))
}

/// One that cannot be written must not keep the others from it.
async fn one_by_one(desk: &Desk, settlements: Vec<Settlement>, error: StoreError) -> Result<(), StoreError> {
    if settlements.len() == 1 {
        tracing::error!(%error, queue_id = ?settlements.first().map(|s| s.queue_id.to_string()), "an outcome cannot be written");
        return Err(error);
    }
    for settlement in settlements {
        // What passes is waited out here too: an outcome that is not written would be attempted again.
        match Box::pin(persist(desk, vec![settlement])).await {
            Ok(()) | Err(StoreError::Data(_) | StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn finish(desk: &Arc<Desk>, after: Vec<After>, result: &Result<(), StoreError>) {
    let queue = &desk.queue;
    let now = desk.now();
    let mut kept: Vec<(EntryKey, Vec<KeptAction>)> = Vec::new();
    let mut born = Vec::new();
    let mut waiting = Vec::new();
    {
        let mut state = queue.state();
        for item in after {
            for key in item.keys {
                match item.origin {
                    Origin::Person => state.acted_on(key, now),
                    Origin::Attempt => {}
                }
                let actions = state.claims.release(key);
                if !actions.is_empty() {
                    kept.push((key, actions));
                }
            }
            for (lane, tenant, due) in item.due {
                let due = if matches!(result, Ok(()) | Err(StoreError::LeaseLost)) {
                    due
                } else {
                    due.max(now.after(DAMAGED_LOOK))
                };
                state.lanes.note(lane, tenant, due);
            }
            if result.is_ok() {
                born.extend(item.born);
            } else {
                // Whether they exist, the store knows.
                item.born
                    .iter()
                    .flat_map(|b| &b.entries)
                    .for_each(|e| state.lanes.note(e.lane, e.tenant, now.after(DAMAGED_LOOK_SOON)));
            }
            waiting.extend(item.done);
        }
    }
    queue.wake_loader();
    if !born.is_empty() {
        queue.accepted(born);
    }
    for done in waiting {
        // Who asked may have gone.
        let _ = done.send(result.clone());
    }
    queue.keep_actions(kept);
}
