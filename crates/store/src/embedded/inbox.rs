//! Inbox: how do many sessions hand their work to the one writer, and how do they hear of it?
//!
//! In:  jobs, each urgent (someone waits for a 250) or patient (rides on the next commit, [`PATIENCE`] at most).
//! Out: batches for the writer; a [`Ticket`] per job, ready when its batch is committed.
//! Invariants: what waits is bounded in bytes ([`UNITS`]); one wake of the writer per batch and one wake from it (the first waiter
//! wakes the others on its own thread, where that costs no system call); a dropped ticket loses no other's wake.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::StoreError;

/// How long patient jobs wait for an urgent one.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long an urgent job waits for the company of sessions in DATA.
const COMPANY: Duration = Duration::from_millis(1);
/// So many jobs are company enough.
const BATCH_MAX: usize = 64;
/// So many patient jobs are committed at once.
const PATIENT_MAX: usize = 256;
/// When the first waiter has not woken the others after so long, the writer does.
const STALLED: Duration = Duration::from_millis(3);
/// What may wait, in units of 1 kB.
const UNITS: usize = 32 * 1024;

/// How soon a job must be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// A session waits with its 250.
    Session,
    /// Someone else waits.
    Urgent,
    Patient,
}

/// One job in a batch, at the ticket's place in it.
pub(crate) struct Queued<J> {
    pub(crate) job: J,
    room: OwnedSemaphorePermit,
}

impl<J> Queued<J> {
    /// The job, and the room it takes until that is dropped.
    pub(crate) fn split(self) -> (J, OwnedSemaphorePermit) {
        (self.job, self.room)
    }
}

/// Where jobs wait.
pub(crate) struct Inbox<J> {
    state: Mutex<State<J>>,
    room: Arc<Semaphore>,
    writer: OnceLock<Thread>,
    /// Sessions between DATA and their commit.
    pub(crate) in_data: Arc<AtomicUsize>,
}

struct State<J> {
    jobs: Vec<Queued<J>>,
    batch: Arc<Batch>,
    urgent: usize,
    /// Of the urgent ones, those of sessions.
    sessions: usize,
    oldest: Option<Instant>,
    writer: Writer,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// At work, or woken already: it will look again by itself.
    Busy,
    Idle,
    /// Just done, and looks again within [`PATIENCE`] by itself: a patient job need not wake it.
    Resting,
    /// Has urgent work and waits for company.
    Gathering,
}

/// What the writer gets.
pub(crate) struct Taken<J> {
    pub(crate) jobs: Vec<Queued<J>>,
    pub(crate) batch: Arc<Batch>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<J> Inbox<J> {
    pub(crate) fn new() -> Self {
        let state = State {
            jobs: Vec::new(),
            batch: Arc::default(),
            urgent: 0,
            sessions: 0,
            oldest: None,
            writer: Writer::Busy,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            room: Arc::new(Semaphore::new(UNITS)),
            writer: OnceLock::new(),
            in_data: Arc::default(),
        }
    }

    /// Hands over a job of about `bytes`; waits while there is no room. The ticket tells when it is committed.
    pub(crate) async fn submit(&self, job: J, bytes: usize, urgency: Urgency) -> Result<Ticket, StoreError> {
        let units = u32::try_from((bytes / 1024 + 1).min(UNITS)).unwrap_or(1);
        let room = match Arc::clone(&self.room).try_acquire_many_owned(units) {
            Ok(room) => room,
            Err(_) => Arc::clone(&self.room).acquire_many_owned(units).await.map_err(|_| closed())?,
        };
        self.push(job, room, urgency)
    }

    /// Hands over a patient job that nobody waits for. Gives it back when there is no room.
    pub(crate) fn post(&self, job: J, bytes: usize) -> Result<(), J> {
        let units = u32::try_from((bytes / 1024 + 1).min(UNITS)).unwrap_or(1);
        match Arc::clone(&self.room).try_acquire_many_owned(units) {
            Ok(room) => {
                let _ = self.push(job, room, Urgency::Patient);
                Ok(())
            }
            Err(_) => Err(job),
        }
    }

    fn push(&self, job: J, room: OwnedSemaphorePermit, urgency: Urgency) -> Result<Ticket, StoreError> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(closed());
        }
        let index = state.jobs.len();
        let batch = Arc::clone(&state.batch);
        state.jobs.push(Queued { job, room });
        match urgency {
            Urgency::Session => {
                state.urgent += 1;
                state.sessions += 1;
            }
            Urgency::Urgent => state.urgent += 1,
            Urgency::Patient if state.oldest.is_none() => state.oldest = Some(Instant::now()),
            Urgency::Patient => {}
        }
        let wake = match state.writer {
            Writer::Busy => false,
            Writer::Idle => state.urgent > 0 || index == 0 || index >= PATIENT_MAX,
            Writer::Resting => state.urgent > 0 || index >= PATIENT_MAX,
            Writer::Gathering => index >= BATCH_MAX || self.is_complete(state.sessions),
        };
        if wake {
            state.writer = Writer::Busy;
        }
        drop(state);
        if wake && let Some(writer) = self.writer.get() {
            writer.unpark();
        }
        Ok(Ticket { batch, index })
    }

    /// Whether no other session is in DATA: those counted hold their mark until their commit.
    fn is_complete(&self, sessions: usize) -> bool {
        self.in_data.load(Ordering::Relaxed) <= sessions
    }

    /// No further jobs; what waits is still committed.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// For the writer: blocks until a batch should be committed. `None`: closed and empty. `last`: the batch finished before, whose
    /// waiters may not all be awake yet.
    pub(crate) fn take(&self, last: Option<Arc<Batch>>) -> Option<Taken<J>> {
        let _ = self.writer.set(std::thread::current());
        let mut gathering_until: Option<Instant> = None;
        let resting_until = Instant::now() + PATIENCE;
        let mut last = last.map(|batch| (batch, Instant::now() + STALLED));
        loop {
            if let Some((batch, until)) = last.take() {
                if Instant::now() < until {
                    last = batch.has_sleepers().then_some((batch, until))
                } else {
                    batch.wake_all()
                }
            }
            let mut state = lock(&self.state);
            if state.jobs.is_empty() && state.closed {
                return None;
            }
            let now = Instant::now();
            let (writer, wait) = if state.urgent > 0 && !state.closed {
                let until = *gathering_until.get_or_insert(now + COMPANY);
                let alone = self.is_complete(state.sessions);
                if alone || state.jobs.len() >= BATCH_MAX || now >= until {
                    (Writer::Busy, None)
                } else {
                    (Writer::Gathering, Some(until - now))
                }
            } else if state.closed || state.jobs.len() >= PATIENT_MAX {
                (Writer::Busy, None)
            } else {
                match state.oldest.map(|since| PATIENCE.saturating_sub(now - since)) {
                    Some(Duration::ZERO) => (Writer::Busy, None),
                    Some(left) => (Writer::Idle, Some(left)),
                    None if now < resting_until => (Writer::Resting, Some(resting_until - now)),
                    None => (Writer::Idle, Some(Duration::MAX)),
                }
            };
            state.writer = writer;
            match wait {
                None => {
                    state.urgent = 0;
                    state.sessions = 0;
                    state.oldest = None;
                    return Some(Taken {
                        jobs: std::mem::take(&mut state.jobs),
                        batch: std::mem::take(&mut state.batch),
                    });
                }
                Some(wait) => {
                    drop(state);
                    let wait = if last.is_some() { wait.min(STALLED) } else { wait };
                    if wait == Duration::MAX {
                        std::thread::park()
                    } else {
                        std::thread::park_timeout(wait)
                    }
                }
            }
        }
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closing".into())
}

/// The jobs that one commit decides.
#[derive(Default)]
pub(crate) struct Batch {
    state: Mutex<BatchState>,
}

#[derive(Default)]
struct BatchState {
    outcomes: Option<Vec<Result<(), StoreError>>>,
    wakers: Vec<Option<Waker>>,
}

impl Batch {
    /// Tells what became of each job, in their order.
    pub(crate) fn finish(&self, outcomes: Vec<Result<(), StoreError>>) {
        let first = {
            let mut state = lock(&self.state);
            state.outcomes = Some(outcomes);
            state.wakers.iter_mut().find_map(Option::take)
        };
        if let Some(waker) = first {
            waker.wake();
        }
    }

    fn has_sleepers(&self) -> bool {
        lock(&self.state).wakers.iter().any(Option::is_some)
    }

    fn wake_all(&self) {
        let wakers = std::mem::take(&mut lock(&self.state).wakers);
        Self::pass_on(wakers);
    }

    /// Wakes the others, once.
    fn pass_on(wakers: Vec<Option<Waker>>) {
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

/// Waits for the commit of one job.
pub(crate) struct Ticket {
    batch: Arc<Batch>,
    index: usize,
}

impl Future for Ticket {
    type Output = Result<(), StoreError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.batch.state);
        let Some(outcomes) = state.outcomes.as_mut() else {
            if state.wakers.len() <= self.index {
                state.wakers.resize(self.index + 1, None);
            }
            if let Some(slot) = state.wakers.get_mut(self.index) {
                match slot {
                    Some(known) => known.clone_from(cx.waker()),
                    None => *slot = Some(cx.waker().clone()),
                }
            }
            return Poll::Pending;
        };
        let outcome = outcomes
            .get_mut(self.index)
            .map_or(Err(StoreError::Unknown), |slot| std::mem::replace(slot, Ok(())));
        let others = std::mem::take(&mut state.wakers);
        drop(state);
        Batch::pass_on(others);
        Poll::Ready(outcome)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = lock(&self.batch.state);
        if state.outcomes.is_some() {
            let others = std::mem::take(&mut state.wakers);
            drop(state);
            Batch::pass_on(others);
        } else if let Some(slot) = state.wakers.get_mut(self.index) {
            *slot = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    #[test]
    fn each_ticket_gets_its_own_outcome() {
        let inbox = Arc::new(Inbox::new());
        let worker = {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || {
                let mut seen = 0;
                while let Some(taken) = inbox.take(None) {
                    seen += taken.jobs.len();
                    let outcomes = taken
                        .jobs
                        .iter()
                        .map(|q: &Queued<u32>| if q.job.is_multiple_of(2) { Ok(()) } else { Err(StoreError::Full) })
                        .collect();
                    taken.batch.finish(outcomes);
                }
                seen
            })
        };
        runtime().block_on(async {
            for round in 0..50u32 {
                let mut tickets = Vec::new();
                for n in 0..20 {
                    tickets.push((
                        n,
                        inbox
                            .submit(n, 100, if round % 2 == 0 { Urgency::Urgent } else { Urgency::Patient })
                            .await
                            .unwrap(),
                    ));
                }
                // A dropped ticket must not swallow the wake of those behind it.
                tickets.remove(0);
                if round % 2 == 1 {
                    drop(inbox.submit(2, 100, Urgency::Urgent).await.unwrap());
                }
                for (n, ticket) in tickets {
                    assert_eq!(ticket.await.is_ok(), n % 2 == 0, "{n}");
                }
            }
        });
        inbox.close();
        assert_eq!(worker.join().unwrap(), 50 * 20 + 25);
        assert!(inbox.post(1, 10).is_ok(), "room there is, but it is closed");
        assert!(matches!(
            runtime().block_on(inbox.submit(1, 1, Urgency::Urgent)),
            Err(StoreError::Unavailable(_))
        ));
    }

    #[test]
    fn a_first_waiter_that_is_not_polled_does_not_stall_the_others() {
        let inbox: Arc<Inbox<u32>> = Arc::new(Inbox::new());
        let worker = {
            let inbox = Arc::clone(&inbox);
            std::thread::spawn(move || {
                let mut last = None;
                while let Some(taken) = inbox.take(last.take()) {
                    taken.batch.finish(taken.jobs.iter().map(|_| Ok(())).collect());
                    last = Some(taken.batch);
                }
            })
        };
        runtime().block_on(async {
            let mut first = inbox.submit(1, 1, Urgency::Patient).await.unwrap();
            let second = inbox.submit(2, 1, Urgency::Patient).await.unwrap();
            std::future::poll_fn(|cx| {
                let _ = Pin::new(&mut first).poll(cx);
                Poll::Ready(())
            })
            .await;
            assert!(second.await.is_ok());
            assert!(first.await.is_ok());
        });
        inbox.close();
        worker.join().unwrap();
    }

    #[test]
    fn what_waits_is_bounded() {
        let inbox: Inbox<u32> = Inbox::new();
        for n in 0..32 {
            assert!(inbox.post(n, 1024 * 1024 - 1).is_ok(), "{n}");
        }
        assert_eq!(inbox.post(99, 1), Err(99));
    }
}
