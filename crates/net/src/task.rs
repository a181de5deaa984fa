//! Who runs here, and how does everyone stop? Named tasks and the one signal that ends them.
//!
//! In: futures with a name. Out: a log line for each one that panics, and the names of those that would not stop.
//! Standards: none.
//! Invariants: a panic ends its own task only; every long-lived loop waits on [`Shutdown`] besides its work.

use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;

/// Asks every task that holds a [`Shutdown`] to end. Dropping it asks as well.
#[derive(Debug)]
pub struct ShutdownTrigger(watch::Sender<bool>);

/// Tells a task when to end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A trigger and what listens to it.
    #[must_use]
    pub fn new() -> (ShutdownTrigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (ShutdownTrigger(sender), Self(receiver))
    }

    /// Returns when the process is to end; at once if it already is.
    pub async fn requested(&self) {
        // An error means that the trigger is gone: nobody is left who could ask, so this is the end as well.
        let _ = self.0.clone().wait_for(|requested| *requested).await;
    }

    /// Whether the process is to end.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl ShutdownTrigger {
    /// Asks all to end. Asking twice changes nothing.
    pub fn request(&self) {
        self.0.send_replace(true);
    }
}

/// The tasks of the process, by name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Tasks(Arc<Registry>);

#[derive(Debug)]
struct Registry {
    running: Mutex<Running>,
    count: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct Running {
    next: u64,
    by_number: HashMap<u64, Entry>,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    abort: Option<tokio::task::AbortHandle>,
}

type Name = std::borrow::Cow<'static, str>;

impl Default for Tasks {
    fn default() -> Self {
        Self::new()
    }
}

impl Tasks {
    /// No task yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Registry {
            running: Mutex::default(),
            count: watch::channel(0).0,
        }))
    }

    /// Starts `future` under `name`. A panic in it is logged as an error and ends this task alone.
    pub fn spawn<F>(&self, name: impl Into<Name>, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let name = name.into();
        let seat = self.0.seat(name.clone());
        let number = seat.number;
        let handle = tokio::spawn(async move {
            let _seat = seat;
            if let Err(message) = caught(future).await {
                tracing::error!(task = %name, panic = %message, "task panicked");
            }
        });
        // The task may be over already; then its entry is gone and there is nothing to abort.
        if let Some(entry) = self.0.lock().by_number.get_mut(&number) {
            entry.abort = Some(handle.abort_handle());
        }
    }

    /// Number of tasks that run.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.0.count.borrow()
    }

    /// Names of the tasks that run, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.0.lock().by_number.values().map(|entry| entry.name.to_string()).collect();
        names.sort();
        names
    }

    /// Waits until every task has ended, at most `limit` of real time. Those that have not by then are aborted and returned by name.
    pub async fn join(&self, limit: Duration) -> Vec<String> {
        let mut count = self.0.count.subscribe();
        // The sender lives in `self`, so waiting ends by the count or by the limit.
        if tokio::time::timeout(limit, count.wait_for(|running| *running == 0)).await.is_ok() {
            return Vec::new();
        }
        let left = self.names();
        for entry in self.0.lock().by_number.values() {
            if let Some(abort) = &entry.abort {
                abort.abort();
            }
        }
        left
    }
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seat(self: &Arc<Self>, name: Name) -> Seat {
        let mut running = self.lock();
        running.next += 1;
        let number = running.next;
        running.by_number.insert(number, Entry { name, abort: None });
        self.count.send_replace(running.by_number.len());
        drop(running);
        Seat {
            registry: self.clone(),
            number,
        }
    }
}

/// A task's place in the registry; leaves with the task, however it ends.
struct Seat {
    registry: Arc<Registry>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut running = self.registry.lock();
        running.by_number.remove(&self.number);
        self.registry.count.send_replace(running.by_number.len());
    }
}

/// Polls `future` to its end; a panic in it becomes an error with its message.
async fn caught<F: Future<Output = ()>>(future: F) -> Result<(), String> {
    let mut future = pin!(future);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(payload) => Poll::Ready(Err(panic_message(payload.as_ref()))),
    })
    .await
}

fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_reaches_waiting_and_late_tasks() {
        let (trigger, shutdown) = Shutdown::new();
        assert!(!shutdown.is_requested());
        let tasks = Tasks::new();
        let early = shutdown.clone();
        tasks.spawn("early", async move { early.requested().await });
        assert_eq!(tasks.names(), ["early"]);
        trigger.request();
        let late = shutdown.clone();
        tasks.spawn("late", async move { late.requested().await });
        assert_eq!(tasks.join(Duration::from_secs(10)).await, Vec::<String>::new());
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_dropped_trigger_is_a_request() {
        let (trigger, shutdown) = Shutdown::new();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_panic_stays_in_its_task() {
        let tasks = Tasks::new();
        tasks.spawn("broken", async { panic!("on purpose") });
        assert_eq!(tasks.join(Duration::from_secs(10)).await, Vec::<String>::new());
        assert_eq!(tasks.count(), 0);
        assert_eq!(caught(async { panic!("on {}", "purpose") }).await, Err("on purpose".to_owned()));
    }

    #[tokio::test]
    async fn who_does_not_stop_is_named_and_aborted() {
        let tasks = Tasks::new();
        tasks.spawn("stubborn", std::future::pending());
        assert_eq!(tasks.join(Duration::from_millis(5)).await, ["stubborn"]);
        assert_eq!(tasks.join(Duration::from_secs(10)).await, Vec::<String>::new());
    }
}
