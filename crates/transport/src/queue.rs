//! The queue: when is which entry tried?
//!
//! In: freshly committed messages. Out: entries that are due.

use store::spool::Acceptance;
use tokio::sync::mpsc;

/// Batches of accepted messages that may wait for the scheduler; beyond it the scheduler reads them from the store.
const HANDOVER_BATCHES_MAX: usize = 1024;

/// The receiving side's end of the queue.
#[derive(Clone, Debug)]
pub struct QueueHandle {
    sender: mpsc::Sender<Vec<Acceptance>>,
}

impl QueueHandle {
    /// A handle and what it feeds.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Vec<Acceptance>>) {
        let (sender, receiver) = mpsc::channel(HANDOVER_BATCHES_MAX);
        (Self { sender }, receiver)
    }

    /// Tells of messages that were committed. Never waits: what does not fit is found in the store.
    pub fn accepted(&self, messages: Vec<Acceptance>) {
        // A full or closed channel loses nothing: the entries are committed and will be read from the store.
        let _ = self.sender.try_send(messages);
    }
}
