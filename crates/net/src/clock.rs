//! What time is it, and when is it time to wake? One clock for the whole process, handed down as an argument.
//!
//! In: the system's clocks, or a clock that a test moves by hand. Out: timestamps, waits, deadlines.
//! Standards: none.
//! Invariants: a wait by duration follows the monotonic clock, so steps of the wall clock neither shorten nor prolong it;
//! a wait for a moment looks at the wall clock again at least every 30 seconds.

use mail::Timestamp;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long a wait for a moment may go without looking at the wall clock, which may have been set.
const WALL_CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// The clock. Cheap to clone; all clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Kind);

#[derive(Clone, Debug)]
enum Kind {
    System { start: Instant },
    Manual(Arc<Mutex<Manual>>),
}

/// A deadline passed before the future was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("deadline passed")]
pub struct Elapsed;

impl Clock {
    /// The clock of the system.
    #[must_use]
    pub fn system() -> Self {
        Self(Kind::System { start: Instant::now() })
    }

    /// A clock that stands still until its second half moves it.
    #[must_use]
    pub fn manual(start: Timestamp) -> (Self, ManualClock) {
        let state = Arc::new(Mutex::new(Manual {
            wall: start,
            elapsed: Duration::ZERO,
            next_sleeper: 0,
            sleepers: BTreeMap::new(),
        }));
        (Self(Kind::Manual(state.clone())), ManualClock(state))
    }

    /// The wall clock's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Kind::System { .. } => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
            }
            Kind::Manual(state) => lock(state).wall,
        }
    }

    /// Time since the clock was made; never goes backwards.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        match &self.0 {
            Kind::System { start } => start.elapsed(),
            Kind::Manual(state) => lock(state).elapsed,
        }
    }

    /// Waits for `wait` of monotonic time.
    pub async fn sleep(&self, wait: Duration) {
        match &self.0 {
            Kind::System { .. } => tokio::time::sleep(wait).await,
            Kind::Manual(state) => ManualSleep::new(state.clone(), wait).await,
        }
    }

    /// Waits until the wall clock shows `moment` or more; a moment in the past is reached at once.
    pub async fn sleep_until(&self, moment: Timestamp) {
        loop {
            let wait = moment.since(self.now());
            if wait.is_zero() {
                return;
            }
            self.sleep(wait.min(WALL_CHECK_INTERVAL)).await;
        }
    }

    /// Runs `future` for at most `limit`. On the system clock this is tokio's timer and nothing else.
    ///
    /// # Errors
    /// [`Elapsed`] when the deadline came first; the future is dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        let mut future = pin!(future);
        match &self.0 {
            Kind::System { .. } => tokio::time::timeout(limit, future.as_mut()).await.map_err(|_| Elapsed),
            Kind::Manual(state) => {
                let mut sleep = ManualSleep::new(state.clone(), limit);
                poll_fn(|context| {
                    if let Poll::Ready(output) = future.as_mut().poll(context) {
                        return Poll::Ready(Ok(output));
                    }
                    Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed))
                })
                .await
            }
        }
    }
}

/// The hand that moves a manual clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Manual>>);

impl ManualClock {
    /// Moves both clocks forward and wakes every sleeper whose time has come. Who sleeps later, sleeps from the new time on.
    pub fn advance(&self, by: Duration) {
        let due: Vec<Waker> = {
            let mut state = lock(&self.0);
            state.elapsed = state.elapsed.saturating_add(by);
            state.wall = state.wall.after(by);
            let elapsed = state.elapsed;
            state
                .sleepers
                .iter()
                .take_while(|((due, _), _)| *due <= elapsed)
                .map(|(_, waker)| waker.clone())
                .collect()
        };
        for waker in due {
            waker.wake();
        }
    }

    /// Sets the wall clock as an operator or NTP would: sleepers by duration notice nothing.
    pub fn step_wall(&self, to: Timestamp) {
        lock(&self.0).wall = to;
    }

    /// The wall clock's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        lock(&self.0).wall
    }

    /// How long until the next sleeper wakes; nothing when nobody sleeps. Lets a test jump instead of guess.
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        let state = lock(&self.0);
        state.sleepers.keys().next().map(|(due, _)| due.saturating_sub(state.elapsed))
    }
}

#[derive(Debug)]
struct Manual {
    wall: Timestamp,
    elapsed: Duration,
    next_sleeper: u64,
    /// By due time, then by number. One entry a sleeper: it leaves when it wakes or is dropped.
    sleepers: BTreeMap<(Duration, u64), Waker>,
}

fn lock(state: &Mutex<Manual>) -> MutexGuard<'_, Manual> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct ManualSleep {
    state: Arc<Mutex<Manual>>,
    key: (Duration, u64),
}

impl ManualSleep {
    fn new(state: Arc<Mutex<Manual>>, wait: Duration) -> Self {
        let key = {
            let mut state = lock(&state);
            state.next_sleeper += 1;
            (state.elapsed.saturating_add(wait), state.next_sleeper)
        };
        Self { state, key }
    }
}

impl Future for ManualSleep {
    type Output = ();
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut state = lock(&self.state);
        if state.elapsed >= self.key.0 {
            state.sleepers.remove(&self.key);
            return Poll::Ready(());
        }
        state.sleepers.insert(self.key, context.waker().clone());
        Poll::Pending
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        lock(&self.state).sleepers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
