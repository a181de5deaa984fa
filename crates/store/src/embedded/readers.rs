//! Readers: a few threads with read-only connections, each answering one question at a time from one snapshot.
//!
//! Invariants: waiting questions are bounded; a panic in a question costs that question, not the thread.

use rusqlite::Connection;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{Semaphore, oneshot};

use super::{file, index_file};
use crate::StoreError;

/// Threads of a pool.
const THREADS: usize = 2;
const WAITING_MAX: usize = 256;

/// A reader's connections.
pub(super) struct Reading {
    /// `mitsuke.db`.
    pub(super) tables: Connection,
    /// `index.db`.
    pub(super) index: Connection,
}

type Question = Box<dyn FnOnce(&Reading) + Send>;

pub(super) struct Readers {
    questions: Mutex<Option<Sender<Question>>>,
    room: Arc<Semaphore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Readers {
    pub(super) fn start(name: &str, path: &Path, data_dir: &Path) -> Result<Self, StoreError> {
        let (sender, receiver) = channel::<Question>();
        let receiver = Arc::new(Mutex::new(receiver));
        let mut threads = Vec::new();
        for n in 0..THREADS {
            let reading = Reading {
                tables: file::open_reader(path)?,
                index: index_file::open_reader(data_dir)?,
            };
            let receiver = Arc::clone(&receiver);
            let thread = std::thread::Builder::new()
                .name(format!("store-{name}-{n}"))
                .spawn(move || answer(&reading, &receiver))
                .map_err(|e| StoreError::from_io("start a reader", &e))?;
            threads.push(thread);
        }
        Ok(Self {
            questions: Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(WAITING_MAX)),
            threads: Mutex::new(threads),
        })
    }

    /// Asks, and waits for the answer.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reading) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable("the store is closing".into());
        let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let boxed: Question = Box::new(move |reading| {
            let _room = room;
            if !reply.is_closed() {
                let _ = reply.send(question(reading));
            }
        });
        let sent = match self.questions.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            Some(sender) => sender.send(boxed).is_ok(),
            None => false,
        };
        if !sent {
            return Err(closed());
        }
        answer.await.map_err(|_| StoreError::Engine("the reader gave no answer".into()))?
    }

    /// Stops; what is asked already is answered.
    pub(super) fn stop(&self) {
        drop(self.questions.lock().unwrap_or_else(PoisonError::into_inner).take());
        for thread in std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner)) {
            let _ = thread.join();
        }
    }
}

fn answer(reading: &Reading, questions: &Mutex<Receiver<Question>>) {
    loop {
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(question) = next else { return };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| question(reading))).is_err() {
            tracing::error!("a question to the store panicked");
        }
        for connection in [&reading.tables, &reading.index] {
            if !connection.is_autocommit() {
                let _ = connection.execute_batch("ROLLBACK");
            }
        }
    }
}
