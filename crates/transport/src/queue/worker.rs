//! Attempts, one job after the other.
//!
//! In: the next job of the schedule. Out: an outcome for the settler. Standards: domains-and-routing 4.2, 11.
//! Invariants: a job ends in an outcome, in the schedule again (its next hop is full), or is forgotten when its entries are no longer ours;
//! claims and shares are given back in every case.

use super::Place;
use super::claim::EntryKey;
use super::expire::{self, Due, Way};
use super::schedule::Class;
use super::settler::{Ended, Outcome};
use super::state::{Job, LANE_ATTEMPTS_MAX};
use crate::Desk;
use crate::delivery::attempt::{Attempt, hop_key};
use crate::delivery::connect::Deadlines;
use crate::delivery::hop::by_health;
use crate::delivery::resolve::{Resolved, resolve};
use crate::delivery::route::turn::{Moves, Turned};
use crate::delivery::route::{self, Candidate, Plan};
use crate::outcome::{self, Fate};
use config::Live;
use mail::{Domain, LaneId, QueueId, TenantId};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;
use store::StoreError;
use store::spool::{Entry, SpoolMessage};
use store::tracking::Event;

/// How long a worker stays without work.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// When the entries of an attempt that panicked are looked at again.
const PANICKED_LOOK: Duration = Duration::from_secs(300);
/// Where a job whose message cannot be read is looked at again.
const UNREADABLE_LOOK: Duration = Duration::from_secs(5);

/// Works until there is nothing to do for a while, or shutdown.
pub(crate) async fn run(desk: Arc<Desk>) {
    while let Some(job) = next(&desk).await {
        let left = Left::of(&job);
        if let Err(panic) = caught(attempt(&desk, job)).await {
            tracing::error!(%panic, queue_id = %left.queue_id, "an attempt panicked, its entries are looked at again later");
            left.give_up(&desk);
        }
    }
    desk.queue.0.workers.fetch_sub(1, Ordering::AcqRel);
    // Work that came while this worker was leaving must find another.
    if desk.queue.state().schedule.is_open() && !desk.shutdown.is_requested() {
        desk.queue.wake_worker();
    }
}

/// What a job leaves behind when its attempt panics.
struct Left {
    number: u64,
    queue_id: QueueId,
    tenant: TenantId,
    lane: LaneId,
    class: Class,
    held_bytes: usize,
    numbers: Vec<u32>,
}

impl Left {
    fn of(job: &Job) -> Self {
        let numbers = job.entries.iter().map(|e| e.number).collect();
        Self {
            number: job.number,
            queue_id: job.queue_id,
            tenant: job.tenant,
            lane: job.lane,
            class: job.class,
            held_bytes: job.held_bytes,
            numbers,
        }
    }

    fn give_up(self, desk: &Desk) {
        let now = desk.now();
        // Some of them may go their own way in another job by now.
        desk.queue.let_go_of(self.number, self.numbers.iter().map(|n| (self.queue_id, *n)));
        let mut state = desk.queue.state();
        state.share_ended(self.tenant, self.lane, self.class, self.held_bytes, now);
        state.lanes.note(self.lane, self.tenant, now.after(PANICKED_LOOK));
    }
}

/// Runs an attempt to its end; a panic in it becomes an error with its message.
async fn caught(attempt: impl Future<Output = ()>) -> Result<(), String> {
    let mut attempt = std::pin::pin!(attempt);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| attempt.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .copied()
                .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
            Poll::Ready(Err(text.unwrap_or("no message").to_owned()))
        }
    })
    .await
}

async fn next(desk: &Desk) -> Option<Job> {
    let queue = &desk.queue;
    loop {
        let woken = queue.0.work.notified();
        let mut woken = std::pin::pin!(woken);
        woken.as_mut().enable();
        if desk.shutdown.is_requested() {
            return None;
        }
        if let Some(job) = start(desk) {
            return Some(job);
        }
        queue.0.idle.fetch_add(1, Ordering::AcqRel);
        let outcome = tokio::select! {
            () = &mut woken => true,
            () = desk.shutdown.requested() => true,
            () = tokio::time::sleep(IDLE_MAX) => false,
        };
        queue.0.idle.fetch_sub(1, Ordering::AcqRel);
        if !outcome {
            return start(desk);
        }
    }
}

/// The next job whose entries are still there to be tried.
fn start(desk: &Desk) -> Option<Job> {
    let mut state = desk.queue.state();
    while let Some(start) = state.schedule.start_next() {
        let mut job = start.job;
        let number = job.number;
        job.entries.retain(|e| state.claims.begin((e.queue_id, e.number), number));
        if job.entries.is_empty() {
            state.job_ended(&job, desk.now());
            continue;
        }
        let has_more = state.schedule.is_open();
        drop(state);
        if has_more {
            desk.queue.wake_worker();
        }
        return Some(job);
    }
    None
}

async fn attempt(desk: &Arc<Desk>, mut job: Job) {
    let message = match ready(desk, &mut job).await {
        Ok(Some(message)) if !job.entries.is_empty() => message,
        Ok(_) => return gone(desk, &job),
        Err(error) => {
            tracing::warn!(%error, queue_id = %job.queue_id, "message cannot be read");
            return later(desk, &job);
        }
    };
    let live = desk.live();
    let mut fates = judge(desk, &mut job.entries);
    if job.entries.is_empty() {
        return settle(desk, &live, job, &message, fates, Vec::new()).await;
    }
    let (plan, number) = share(desk, &live, &message, &mut job);
    let Some(variant) = message.variants.get(usize::from(number)) else {
        tracing::error!(queue_id = %message.queue_id, "a variant is missing");
        later(desk, &job);
        // What is over is over without its variant too.
        return write(desk, &live, &message, fates, Vec::new()).await;
    };
    let candidates = match course(desk, &live, &message, (&plan, number), &mut job).await {
        Course::Try(candidates) => candidates,
        Course::Done(done) => {
            fates.extend(done);
            return settle(desk, &live, job, &message, fates, Vec::new()).await;
        }
    };
    let Some((mut job, place)) = candidates.first().and_then(|first| placed(desk, job, first, &message)) else {
        // Back in line for the place; what was judged on the way is written all the same.
        return write(desk, &live, &message, fates, Vec::new()).await;
    };
    let deadlines = Deadlines::of(&live.system);
    let run = Attempt {
        desk,
        queue: &desk.queue,
        message: &message,
        variant,
        candidates: &candidates,
        deadlines,
        lease_epoch: job.lease_epoch,
    };
    let tried = run.run(std::mem::take(&mut job.entries), place).await;
    if tried.is_lease_lost {
        tracing::warn!(queue_id = %message.queue_id, "lease lost before the final dot, entries left to their new owner");
    }
    fates.extend(tried.fates);
    settle_tried(desk, job, &message, fates, tried.events, tried.is_lease_lost).await;
}

/// Where a job goes.
enum Course {
    /// To these, at least one.
    Try(Vec<Arc<Candidate>>),
    /// Nowhere: what becomes of its recipients without an attempt.
    Done(Vec<(Entry, Fate)>),
}

async fn course(desk: &Desk, live: &Live, message: &SpoolMessage, (plan, variant): (&Plan, u16), job: &mut Job) -> Course {
    let moves = if job.entries.iter().all(|e| e.attempts == 0) {
        Moves::Once
    } else {
        Moves::Not
    };
    let mut turned = job.turned.take().unwrap_or_else(|| Turned::new(moves));
    let resolved = resolve(desk, live, message.tenant, plan, desk.queue.turns(), &mut turned).await;
    job.turned = Some(turned);
    Course::Done(match resolved {
        Resolved::Candidates(candidates) => {
            let candidates = usable(desk, message.tenant, candidates);
            if !candidates.is_empty() {
                return Course::Try(candidates);
            }
            all(job, |_| Fate::Paused)
        }
        Resolved::HandOver(tenant) => {
            let entries = std::mem::take(&mut job.entries);
            crate::submit::hand_over(desk, live, message, variant, tenant, entries).await
        }
        Resolved::Defer(reason, text) => all(job, |_| Fate::Deferred {
            reason,
            host: None,
            text: text.clone(),
        }),
        Resolved::Fail(reason, reply) => all(job, |_| Fate::Failed {
            reason,
            host: None,
            reply: reply.clone(),
        }),
        Resolved::Loop(text) => all(job, |_| Fate::Held {
            reason: mail::Reason::Loop,
            text: text.clone(),
        }),
    })
}

/// The newest settings decide when it is tried again.
async fn settle_tried(
    desk: &Arc<Desk>,
    job: Job,
    message: &SpoolMessage,
    fates: Vec<(Entry, Fate)>,
    events: Vec<Event>,
    is_lease_lost: bool,
) {
    if is_lease_lost {
        // Entries that were taken before the lease was lost are written if the store lets us; the others are another node's.
        let written: std::collections::HashSet<u32> = fates.iter().map(|(e, _)| e.number).collect();
        let lost = job.numbers.iter().filter(|n| !written.contains(n));
        desk.queue.let_go(lost.map(|n| (job.queue_id, *n)));
    }
    let live = desk.live();
    settle(desk, &live, job, message, fates, events).await;
}

/// The message, and the entries anew when something changed in the store since they were read.
async fn ready(desk: &Desk, job: &mut Job) -> Result<Option<Arc<SpoolMessage>>, StoreError> {
    if desk.store.mail.lease_epoch() != job.lease_epoch {
        // Read under a lease that was lost: whose they are now, a new look at the lane tells.
        let lost: Vec<Entry> = job.entries.drain(..).collect();
        desk.queue.let_go(lost.iter().map(|e| (e.queue_id, e.number)));
        for entry in &lost {
            desk.queue.state().lanes.note(job.lane, job.tenant, entry.due);
        }
    }
    let generation = desk.queue.state().generation;
    if generation != job.generation {
        let stored = desk.store.mail.entries(job.queue_id).await?;
        let (mut kept, mut dropped) = (Vec::new(), Vec::new());
        for old in job.entries.drain(..) {
            match stored.iter().find(|e| e.number == old.number) {
                Some(new) if expire::judge(new, desk.now(), Way::Open) != Due::NotYet => kept.push(new.clone()),
                Some(new) => dropped.push((old.number, Some(new.due))),
                None => dropped.push((old.number, None)),
            }
        }
        job.entries = kept;
        job.generation = generation;
        desk.queue.let_go(dropped.iter().map(|(number, _)| (job.queue_id, *number)));
        for due in dropped.iter().filter_map(|(_, due)| *due) {
            desk.queue.state().lanes.note(job.lane, job.tenant, due);
        }
    }
    job.numbers = job.entries.iter().map(|e| e.number).collect();
    match job.message.take() {
        Some(message) => Ok(Some(message)),
        None => Ok(desk.store.mail.message(job.queue_id).await?.map(Arc::new)),
    }
}

/// Takes out what is over before it can be tried.
fn judge(desk: &Desk, entries: &mut Vec<Entry>) -> Vec<(Entry, Fate)> {
    let now = desk.now();
    let mut fates = Vec::new();
    for entry in std::mem::take(entries) {
        match expire::judge(&entry, now, Way::Open) {
            Due::Expire => fates.push((entry, Fate::Expired)),
            Due::HoldEnded => fates.push((entry, Fate::HoldEnded)),
            // Not yet: the clock was set back since it was read; an attempt does no harm.
            Due::Attempt | Due::NotYet => entries.push(entry),
        }
    }
    fates
}

/// Leaves in the job the recipients that share plan and variant with the first one; the others become jobs of their own.
fn share(desk: &Desk, live: &Live, message: &Arc<SpoolMessage>, job: &mut Job) -> (Plan, u16) {
    let sender = message.reverse_path.domain().map(Domain::as_str);
    let plan_of = |entry: &Entry| (route::plan(live, message.direction, sender, entry), entry.variant);
    let Some(first) = job.entries.first().map(plan_of) else {
        return (Plan::NoRoute, 0);
    };
    if job.entries.len() == 1 {
        return first;
    }
    let (same, others): (Vec<Entry>, Vec<Entry>) = std::mem::take(&mut job.entries).into_iter().partition(|e| plan_of(e) == first);
    job.entries = same;
    if !others.is_empty() {
        let moves = if others.iter().all(|e| e.attempts == 0) {
            Moves::Once
        } else {
            Moves::Not
        };
        let turned = job.turned.get_or_insert_with(|| Turned::new(moves)).clone();
        split(desk, job, others, turned, message);
    }
    job.numbers = job.entries.iter().map(|e| e.number).collect();
    first
}

fn split(desk: &Desk, job: &Job, entries: Vec<Entry>, turned: Turned, message: &Arc<SpoolMessage>) {
    let mut state = desk.queue.state();
    let number = state.job_number();
    let mut ready = Vec::with_capacity(entries.len());
    let mut kept = Vec::new();
    for entry in entries {
        let key = (entry.queue_id, entry.number);
        let actions = state.claims.put_back(key, number);
        if actions.is_empty() {
            ready.push(entry);
        } else {
            kept.push((key, actions));
        }
    }
    if !ready.is_empty() {
        state.job_split(job);
        let new = Job {
            number,
            queue_id: job.queue_id,
            tenant: job.tenant,
            lane: job.lane,
            class: job.class,
            numbers: ready.iter().map(|e| e.number).collect(),
            entries: ready,
            message: (job.class == Class::Fresh).then(|| Arc::clone(message)),
            held_bytes: 0,
            generation: job.generation,
            lease_epoch: job.lease_epoch,
            turned: Some(turned),
        };
        state.schedule.push_front(job.tenant, job.lane, job.class, LANE_ATTEMPTS_MAX, new);
    }
    drop(state);
    desk.queue.wake_worker();
    desk.queue.keep_actions(kept);
}

/// Without paused ones; failing ones last.
fn usable(desk: &Desk, tenant: TenantId, candidates: Vec<Arc<Candidate>>) -> Vec<Arc<Candidate>> {
    let state = desk.queue.state();
    let open = candidates
        .into_iter()
        .filter(|c| !state.is_hop_paused(tenant, &format!("{}:{}", c.host.to_ascii_lowercase(), c.port)));
    by_health(open.collect(), |c: &Arc<Candidate>| state.hops.health(&hop_key(tenant, c)))
}

/// Takes a place at the first candidate, or puts the job where it waits for one.
fn placed(desk: &Desk, mut job: Job, first: &Candidate, message: &Arc<SpoolMessage>) -> Option<(Job, Place)> {
    let hop = hop_key(message.tenant, first);
    let now = desk.clock.monotonic();
    let mut state = desk.queue.state();
    if state.hops.take(&hop, first.connections_max, now) {
        drop(state);
        return Some((job, desk.queue.place(hop)));
    }
    state.schedule.done(job.tenant, job.lane);
    let number = job.number;
    let mut kept = Vec::new();
    job.entries.retain(|e| {
        let key = (e.queue_id, e.number);
        let actions = state.claims.put_back(key, number);
        let stays = actions.is_empty();
        if !stays {
            kept.push((key, actions));
        }
        stays
    });
    if job.entries.is_empty() {
        state.job_forgotten(&job, desk.now());
    } else {
        if job.held_bytes > 0 {
            job.message = Some(Arc::clone(message));
        }
        state.hops.wait(&hop, job, now);
    }
    drop(state);
    desk.queue.keep_actions(kept);
    None
}

fn all(job: &mut Job, fate: impl Fn(&Entry) -> Fate) -> Vec<(Entry, Fate)> {
    std::mem::take(&mut job.entries)
        .into_iter()
        .map(|e| {
            let f = fate(&e);
            (e, f)
        })
        .collect()
}

/// The job has ended: its outcome is written, its share is free.
async fn settle(desk: &Arc<Desk>, live: &Live, job: Job, message: &SpoolMessage, fates: Vec<(Entry, Fate)>, events: Vec<Event>) {
    desk.queue.state().job_ended(&job, desk.now());
    write(desk, live, message, fates, events).await;
}

async fn write(desk: &Arc<Desk>, live: &Live, message: &SpoolMessage, fates: Vec<(Entry, Fate)>, events: Vec<Event>) {
    if fates.is_empty() && events.is_empty() {
        return;
    }
    let keys: Vec<EntryKey> = fates.iter().map(|(e, _)| (e.queue_id, e.number)).collect();
    let settled = outcome::settle(desk, live, message, fates, events).await;
    desk.queue
        .ended(Ended::Outcome(Box::new(Outcome { settled, keys, done: None })))
        .await;
}

/// The message is gone (discarded): nothing is left to do.
fn gone(desk: &Desk, job: &Job) {
    desk.queue.state().job_ended(job, desk.now());
    desk.queue.let_go(job.numbers.iter().map(|n| (job.queue_id, *n)));
}

/// It cannot be read now: the store is asked again.
fn later(desk: &Desk, job: &Job) {
    let now = desk.now();
    desk.queue.let_go(job.keys());
    {
        let mut state = desk.queue.state();
        state.job_ended(job, now);
        state.lanes.note(job.lane, job.tenant, now.after(UNREADABLE_LOOK));
    }
    desk.queue.wake_loader();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_ends_its_attempt_only() {
        assert_eq!(caught(async { panic!("on {}", "purpose") }).await, Err("on purpose".to_owned()));
        assert_eq!(caught(async { tokio::task::yield_now().await }).await, Ok(()));
    }
}
