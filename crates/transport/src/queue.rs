//! The queue: when is which entry tried, and by whose turn?
//!
//! In: freshly committed messages ([`QueueHandle::accepted`]), due entries of the store, what attempts come to. Out: attempts.
//! Standards: RFC 5321 §4.5.4 (strategies for sending); domains-and-routing 1.1, 11.
//! Invariants: no entry is attempted twice at a time; memory does not grow with the backlog; one tenant's backlog delays another's by at
//! most one scheduling round.
//!
//! Parts: `schedule` (whose turn), `lanes` (which lane of the store to read), `claim` (in whose hands), `retry` and `expire` (when) are pure;
//! `worker` attempts, `settler` writes, `loader` reads pages, `keeper` looks after pauses, probes, idle connections and blocked lanes.

pub mod claim;
pub mod expire;
mod keeper;
pub mod lanes;
mod loader;
pub mod retry;
pub mod schedule;
pub(crate) mod settler;
pub mod state;
mod worker;

use crate::Desk;
use crate::actions::{Kept, KeptAction};
use crate::delivery::hop::HopKey;
use crate::delivery::route::{Candidate, Turns};
use crate::delivery::wire::{Pool, Wire};
use crate::report::limit::ReportLimits;
use mail::TenantId;
use net::clock::Clock;
use settler::Ended;
use state::State;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use store::spool::Acceptance;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

/// Outcomes that may wait to be written; beyond it attempts wait.
const OUTCOMES_MAX: usize = 2_048;
/// Actions that may wait for the one who does them after an attempt.
const KEPT_MAX: usize = 10_000;
/// How long attempts under way may take once shutdown is asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(20);

/// The end of the queue that everyone holds. Cheap to clone.
#[derive(Clone)]
pub struct QueueHandle(Arc<Shared>);

/// The end of the queue that [`run`] takes.
#[derive(Debug)]
pub struct QueueSeat {
    outcomes: mpsc::Receiver<Ended>,
    kept: mpsc::Receiver<Kept>,
}

/// What a look at the queue shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFigures {
    /// Jobs that wait for their turn, in memory.
    pub ready: usize,
    /// Attempts under way.
    pub running: usize,
    /// Lanes with something that waits.
    pub lanes: usize,
    /// Bytes of fresh bodies in memory.
    pub fresh_bytes: usize,
}

/// A place at a next hop: given back when dropped, however an attempt ends.
#[derive(Debug)]
pub(crate) struct Place {
    queue: QueueHandle,
    hop: HopKey,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.queue.state().give_back(&self.hop);
    }
}

struct Shared {
    state: Mutex<State>,
    pool: Mutex<Pool>,
    turns: Turns,
    reports: ReportLimits,
    outcomes: mpsc::Sender<Ended>,
    kept: mpsc::Sender<Kept>,
    /// Wakes one idle worker.
    work: Notify,
    /// Workers that wait for work.
    idle: AtomicUsize,
    /// Workers in all.
    workers: AtomicUsize,
    /// Wakes the one who starts workers.
    growth: Notify,
    /// Wakes the loader: the calendar changed.
    calendar: Notify,
    /// Wakes the keeper: pauses changed.
    upkeep: Notify,
    sources: AtomicUsize,
    clock: OnceLock<Clock>,
}

impl std::fmt::Debug for QueueHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("QueueHandle")
    }
}

impl QueueHandle {
    /// A handle for the desk, and the seat for [`run`].
    #[must_use]
    pub fn new() -> (Self, QueueSeat) {
        let (outcomes, outcomes_seat) = mpsc::channel(OUTCOMES_MAX);
        let (kept, kept_seat) = mpsc::channel(KEPT_MAX);
        let shared = Shared {
            state: Mutex::new(State::new()),
            pool: Mutex::default(),
            turns: Turns::default(),
            reports: ReportLimits::default(),
            outcomes,
            kept,
            work: Notify::new(),
            idle: AtomicUsize::new(0),
            workers: AtomicUsize::new(0),
            growth: Notify::new(),
            calendar: Notify::new(),
            upkeep: Notify::new(),
            sources: AtomicUsize::new(0),
            clock: OnceLock::new(),
        };
        (
            Self(Arc::new(shared)),
            QueueSeat {
                outcomes: outcomes_seat,
                kept: kept_seat,
            },
        )
    }

    /// Tells of messages that were committed. Never waits: what does not fit into memory is found in the store.
    pub fn accepted(&self, messages: Vec<Acceptance>) {
        // Before the queue runs, the time of the commit is what there is.
        let clock_now = self.0.clock.get().map(Clock::now);
        let mut jobs = 0;
        {
            let mut state = self.state();
            for message in messages {
                let now = clock_now.unwrap_or(message.message.received_at);
                jobs += state.accept(message, now);
            }
        }
        if jobs > 0 {
            self.wake_worker();
        } else {
            self.0.calendar.notify_one();
        }
    }

    /// Pauses or entries were changed by a person on this node: look anew.
    pub fn look_anew(&self) {
        self.0.upkeep.notify_one();
    }

    /// What the queue has in memory.
    #[must_use]
    pub fn figures(&self) -> QueueFigures {
        let state = self.state();
        QueueFigures {
            ready: state.schedule.ready(),
            running: state.schedule.running(),
            lanes: state.lanes.len(),
            fresh_bytes: state.fresh_bytes,
        }
    }

    /// Counts of notifications per sender.
    pub(crate) fn reports(&self) -> &ReportLimits {
        &self.0.reports
    }

    /// Turns among equal rows.
    pub(crate) fn turns(&self) -> &Turns {
        &self.0.turns
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes a worker; starts one when none is idle. The woken one wakes the next while there is work.
    pub(crate) fn wake_worker(&self) {
        if self.0.idle.load(Ordering::Acquire) > 0 {
            self.0.work.notify_one();
        } else {
            self.0.growth.notify_one();
        }
    }

    /// Wakes the reader of the store.
    pub(crate) fn wake_loader(&self) {
        self.0.calendar.notify_one();
    }

    pub(crate) fn take_place(&self, hop: &HopKey, max: u32, now: Duration) -> Option<Place> {
        self.state().hops.take(hop, max, now).then(|| self.place(hop.clone()))
    }

    /// For a place that is taken already.
    fn place(&self, hop: HopKey) -> Place {
        Place { queue: self.clone(), hop }
    }

    pub(crate) fn hop_succeeded(&self, hop: &HopKey, max: u32) {
        self.state().hop_succeeded(hop, max);
    }

    pub(crate) fn hop_failed(&self, hop: &HopKey, now: Duration) {
        self.state().hops.failed(hop, now);
    }

    pub(crate) fn idle_wire(&self, tenant: TenantId, candidate: &Arc<Candidate>, now: Duration) -> Option<Wire> {
        self.pool().take(&(tenant, Arc::clone(candidate)), now)
    }

    pub(crate) fn keep_wire(&self, tenant: TenantId, candidate: &Arc<Candidate>, wire: Wire, now: Duration) {
        // One too many is dropped without a goodbye: RFC 5321 §3.8 lets a client do so when it must.
        drop(self.pool().keep((tenant, Arc::clone(candidate)), wire, now));
    }

    /// Moves through source addresses.
    pub(crate) fn next_source(&self) -> usize {
        self.0.sources.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes entries out of everyone's hands; actions that waited for that are done now.
    pub(crate) fn let_go(&self, keys: impl Iterator<Item = claim::EntryKey>) {
        let kept = {
            let mut state = self.state();
            keys.map(|key| (key, state.claims.release(key)))
                .filter(|(_, actions)| !actions.is_empty())
                .collect()
        };
        self.keep_actions(kept);
    }

    /// As [`Queue::let_go`], of those that are in the hands of this job.
    pub(crate) fn let_go_of(&self, job: u64, keys: impl Iterator<Item = claim::EntryKey>) {
        let kept = {
            let mut state = self.state();
            keys.map(|key| (key, state.claims.release_of(key, job)))
                .filter(|(_, actions)| !actions.is_empty())
                .collect()
        };
        self.keep_actions(kept);
    }

    /// Actions that waited for the end of an attempt are done now.
    pub(crate) fn keep_actions(&self, kept: Vec<(claim::EntryKey, Vec<KeptAction>)>) {
        for (key, actions) in kept {
            for action in actions {
                if self.0.kept.try_send(Kept::Action(key, action)).is_err() {
                    tracing::error!(queue_id = %key.0, "an action that waited for the end of an attempt was dropped, too many wait");
                }
            }
        }
    }

    /// A pause of a next hop is over: who waits for it is due.
    fn resume_paused(&self) {
        // A full channel means that such work is waiting already; the entries are due again within minutes in any case.
        let _ = self.0.kept.try_send(Kept::Resume);
    }

    /// Hands an outcome over to be written; waits when too many wait.
    pub(crate) async fn ended(&self, ended: Ended) {
        if let Err(error) = self.0.outcomes.send(ended).await {
            // The settler is gone only after shutdown; what was delivered then counts as in flight.
            tracing::error!(%error, "an outcome could not be written");
        }
    }
}

/// Runs the queue until shutdown; returns when the attempts under way have ended and their outcomes are written.
pub async fn run(desk: Arc<Desk>, seat: QueueSeat) {
    let QueueSeat { outcomes, kept } = seat;
    let queue = desk.queue.clone();
    {
        let mut state = queue.state();
        state.began_at = desk.now();
        state.lease_epoch = desk.store.mail.lease_epoch();
    }
    // A second run of the same handle keeps the first clock; there is only one in a process.
    let _ = queue.0.clock.set(desk.clock.clone());
    let settling = tokio::spawn(settler::run(Arc::clone(&desk), outcomes));
    let mut tasks: JoinSet<()> = JoinSet::new();
    tasks.spawn(loader::run(Arc::clone(&desk)));
    tasks.spawn(keeper::run(Arc::clone(&desk)));
    tasks.spawn(crate::actions::run_kept(Arc::clone(&desk), kept));
    tasks.spawn(crate::actions::errand::run(Arc::clone(&desk)));
    loop {
        tokio::select! {
            () = desk.shutdown.requested() => break,
            () = queue.0.growth.notified() => grow(&desk, &queue, &mut tasks),
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a task of the queue failed");
                }
            }
        }
    }
    // Idle workers end by themselves; those in an attempt end after it.
    let waiting = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_GRACE, waiting).await.is_err() {
        tracing::warn!(tasks = tasks.len(), "attempts broken off at shutdown");
        tasks.shutdown().await;
    }
    queue.ended(Ended::Stop).await;
    if let Err(error) = settling.await {
        tracing::error!(%error, "the writer of outcomes failed");
    }
    let wires = queue.pool().drain();
    drop(wires);
}

/// Starts a worker when there is work and nobody to do it.
fn grow(desk: &Arc<Desk>, queue: &QueueHandle, tasks: &mut JoinSet<()>) {
    let workers = queue.0.workers.load(Ordering::Acquire);
    if queue.0.idle.load(Ordering::Acquire) > 0 {
        queue.0.work.notify_one();
    } else if workers < state::ATTEMPTS_MAX && queue.state().schedule.is_open() {
        queue.0.workers.fetch_add(1, Ordering::AcqRel);
        tasks.spawn(worker::run(Arc::clone(desk)));
    }
}
