//! Reads due entries from the store, page by page, lane by lane, tenants by turns.
//!
//! In: the calendar of lanes. Out: jobs. Standards: domains-and-routing 1.1.
//! Invariants: at most [`WINDOW_JOBS_MAX`] jobs from the store are in memory, and no tenant takes the last room for itself.

use super::lanes::{PageEnd, Position, Read};
use super::schedule::has_share;
use super::state::{LANE_WINDOW_JOBS, WINDOW_JOBS_MAX};
use crate::Desk;
use mail::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;
use store::spool::Entry;

/// Entries of one page.
const PAGE_ENTRIES: usize = 64;
/// After a failure of the store.
const FAILED_LOOK: Duration = Duration::from_secs(2);
/// Longest sleep: the wall clock may be set meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(30);
/// Least time between two looks at all lanes.
const RESCAN_EVERY: Duration = Duration::from_secs(1);

/// Reads until shutdown.
pub(crate) async fn run(desk: Arc<Desk>) {
    let mut arrivals = desk.store.mail.arrivals();
    let mut is_stale = true;
    let mut scanned_at: Option<Duration> = None;
    loop {
        if is_stale && scanned_at.is_none_or(|at| desk.clock.monotonic().saturating_sub(at) >= RESCAN_EVERY) {
            scanned_at = Some(desk.clock.monotonic());
            let generation = *arrivals.borrow_and_update();
            is_stale = scan(&desk, generation).await.is_err();
        }
        while let Some(read) = next(&desk) {
            if desk.shutdown.is_requested() {
                return;
            }
            page(&desk, read).await;
        }
        let wait = wait(&desk, is_stale);
        tokio::select! {
            () = desk.shutdown.requested() => return,
            () = desk.queue.0.calendar.notified() => {}
            changed = arrivals.changed() => {
                is_stale = true;
                if changed.is_err() {
                    // The store is closed: nothing more arrives.
                    desk.shutdown.requested().await;
                    return;
                }
            }
            () = desk.clock.sleep(wait) => {}
        }
    }
}

fn wait(desk: &Desk, is_stale: bool) -> Duration {
    let now = desk.now();
    let next = desk.queue.state().lanes.next_wake();
    let until_next = next.map_or(SLEEP_MAX, |at| at.since(now).max(Duration::from_millis(1)));
    // A lane that is due and may not be read (its tenant has its share in memory) is looked at again soon, not at once.
    let until_next = if next.is_some_and(|at| at <= now) {
        Duration::from_millis(50)
    } else {
        until_next
    };
    until_next.min(SLEEP_MAX).min(if is_stale { RESCAN_EVERY } else { SLEEP_MAX })
}

/// Looks at all lanes: at start, and when entries came that we do not know.
async fn scan(desk: &Desk, generation: u64) -> Result<(), StoreError> {
    // Before the look: what is read under a newer lease than it says is only read once more.
    let lease_epoch = desk.store.mail.lease_epoch();
    let lanes = desk
        .store
        .mail
        .lanes()
        .await
        .inspect_err(|error| tracing::warn!(%error, "lanes cannot be read"))?;
    let mut state = desk.queue.state();
    state.generation = generation;
    state.lease_epoch = lease_epoch;
    for lane in lanes {
        state.lanes.note(lane.lane, lane.tenant, lane.first_due);
    }
    Ok(())
}

fn next(desk: &Desk) -> Option<Read> {
    let now = desk.now();
    let may = |_, own: usize, all: usize| has_share(own, WINDOW_JOBS_MAX.saturating_sub(all));
    desk.queue.state().lanes.read_next(now, may)
}

async fn page(desk: &Desk, read: Read) {
    let now = desk.now();
    // What is read is ours as far as this lease says.
    let lease_epoch = desk.store.mail.lease_epoch();
    let is_paused = {
        let mut state = desk.queue.state();
        state.claims.read_begins();
        state.paused_lanes.contains(&read.lane)
    };
    let result = if is_paused {
        Ok((Vec::new(), PageEnd::Failed(now.after(super::keeper::BLOCKED_LOOK))))
    } else {
        fetch(desk, read, now).await
    };
    let (entries, end) = result.unwrap_or_else(|error| {
        tracing::warn!(%error, "due entries cannot be read");
        (Vec::new(), PageEnd::Failed(now.after(FAILED_LOOK)))
    });
    let jobs = {
        let mut state = desk.queue.state();
        state.lease_epoch = lease_epoch;
        let jobs = state.take_page(read.lane, read.tenant, entries, now);
        state.claims.read_ends();
        state.lanes.read(read.lane, jobs, end, now, LANE_WINDOW_JOBS);
        jobs
    };
    if jobs > 0 {
        desk.queue.wake_worker();
    }
}

async fn fetch(desk: &Desk, read: Read, now: Timestamp) -> Result<(Vec<Entry>, PageEnd), StoreError> {
    let entries = desk.store.mail.due(read.lane, now, read.after, PAGE_ENTRIES).await?;
    let position = |e: &Entry| -> Position { (e.due, e.queue_id, e.number) };
    let end = match entries.last() {
        Some(last) if entries.len() >= PAGE_ENTRIES => PageEnd::More(position(last)),
        Some(_) | None => PageEnd::End(desk.store.mail.next_due(read.lane, now).await?),
    };
    Ok((entries, end))
}
