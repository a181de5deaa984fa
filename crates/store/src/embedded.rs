//! Embedded engine: everything in one SQLite file, nothing to install.
//!
//! * One writer thread ([`writer`]) groups whatever waits into one commit (WAL, `synchronous=FULL`); its answers come after COMMIT.
//! * Two readers ([`readers`]) for mail and settings and two for people's lists and searches, with connections of their own; one indexer ([`indexer`]) for the search index of tracking, in its own file.
//! * A lock file keeps every other process out of the data directory.
//!
//! Layout: docs/format/spool.md, docs/format/tracking.md. Crash at any point: SQLite's WAL has whole commits or nothing of them.

mod fault;
mod file;
mod hot;
pub(crate) mod inbox;
mod index_file;
mod indexer;
mod list;
mod read;
mod readers;
mod retention;
pub(crate) mod space;
mod tx;
mod writer;

pub use file::quick_check;

use mail::{LaneId, QueueId, TenantId, Timestamp};
use rusqlite::Connection;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::blob::Blobs;
use crate::control::errand::{self, Errand};
use crate::index::live::{Incoming, Live};
use crate::index::{Records, plan, search};
use crate::spool::{Acceptance, Body, Entry, EntryFilter, LaneSummary, Origin, QueueRow, Settlement, SpoolMessage};
use crate::tracking::{Page, Query, Record, Scope, Trace};
use crate::{InData, MailStore, Pending, Store, StoreError, sql};
use hot::{Hot, Orphan};
use inbox::{Inbox, Urgency};
use index_file::FileSegments;
use indexer::{Indexer, Shared};
use readers::Readers;
use writer::{Job, Outlets, Told};

/// Where and with what clock the store is opened.
#[derive(Clone)]
pub struct OpenOptions {
    /// Folder of `mitsuke.db`; made when missing.
    pub data_dir: PathBuf,
    /// Folder of large bodies; made when missing.
    pub blobs_dir: PathBuf,
    /// What time it is.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
}

impl OpenOptions {
    /// Both folders below `data_dir`.
    #[must_use]
    pub fn below(data_dir: &Path, now: Arc<dyn Fn() -> Timestamp + Send + Sync>) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            blobs_dir: data_dir.join("blobs"),
            now,
        }
    }
}

impl Store {
    /// Opens the embedded engine: takes the lock, migrates, starts its threads. Blocks; needs no runtime.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when another process has it, [`StoreError::Data`] when the file is damaged or newer than this program.
    pub fn open_embedded(options: &OpenOptions) -> Result<Self, StoreError> {
        let blobs = Arc::new(Blobs::open(&options.blobs_dir)?);
        let mail = Arc::new(Embedded::open(options, &blobs)?);
        Ok(Self { mail, blobs })
    }
}

/// The engine.
struct Embedded {
    inbox: Arc<Inbox<Job>>,
    /// For mail and settings: answers at once.
    readers: Readers,
    /// For people's lists and searches, which may take long.
    lookers: Readers,
    shared: Arc<Shared>,
    threads: Mutex<Threads>,
    dropped_records: AtomicU64,
    arrivals: tokio::sync::watch::Sender<u64>,
    data_dir: PathBuf,
}

/// Stopped in this order: writer, remover, indexer. The lock goes last.
#[derive(Default)]
struct Threads {
    writer: Option<JoinHandle<()>>,
    remover: Option<JoinHandle<()>>,
    indexer: Option<JoinHandle<()>>,
    lock: Option<File>,
}

/// A reader's question about tracking needs the index beside the tables.
const CATCH_UP: Duration = Duration::from_millis(50);
/// A search right after the start finds what a crash left outside the index, if it is not more than this takes to read.
const START_BUDGET: Duration = Duration::from_millis(300);
const ORPHANS_WAITING_MAX: usize = 4_096;

impl Embedded {
    fn open(options: &OpenOptions, blobs: &Arc<Blobs>) -> Result<Self, StoreError> {
        let lock = file::lock(&options.data_dir)?;
        let (connection, path) = file::open_writer(&options.data_dir, (options.now)())?;
        let last_seq = Hot::new(&connection)?.next_seq() - 1;
        let index = index_file::open(&options.data_dir, last_seq)?;
        let known = index_file::number(&index, "indexed_seq")?.unwrap_or(0);
        let newest = index_file::list(&index)?.iter().map(|s| s.trace_max.to_i64()).max().unwrap_or(0);
        let incoming = Arc::new(Incoming::default());
        let shared = Arc::new(Shared::new(Arc::clone(&incoming), Live::new(known, newest)));
        let tables = file::open_reader(&path)?;
        shared.catch_up(&tables, START_BUDGET)?;
        let readers = Readers::start("read", &path, &options.data_dir)?;
        let lookers = Readers::start("look", &path, &options.data_dir)?;
        let inbox = Arc::new(Inbox::new());
        let (orphans, remover) = start_remover(blobs)?;
        let arrivals = tokio::sync::watch::Sender::new(0);
        let mut threads = Threads {
            lock: Some(lock),
            remover: Some(remover),
            ..Threads::default()
        };
        let (inbox_in, outlets) = (
            Arc::clone(&inbox),
            Outlets {
                incoming,
                orphans,
                arrivals: arrivals.clone(),
            },
        );
        threads.writer = Some(start("store-write", move || writer::run(&connection, &inbox_in, &outlets))?);
        let indexer = Indexer {
            shared: Arc::clone(&shared),
            tables,
            index,
            data_dir: options.data_dir.clone(),
        };
        threads.indexer = Some(start("store-index", move || indexer.run())?);
        Ok(Self {
            inbox,
            readers,
            lookers,
            shared,
            threads: Mutex::new(threads),
            dropped_records: AtomicU64::new(0),
            arrivals,
            data_dir: options.data_dir.clone(),
        })
    }

    async fn submit(&self, job: Job, bytes: usize, urgency: Urgency) -> Result<(), StoreError> {
        self.inbox.submit(job, bytes, urgency).await?.await
    }

    /// Work of the engine itself, on the writer.
    async fn own(&self, work: writer::Own) -> Result<(), StoreError> {
        self.submit(Job::Own(work), 0, Urgency::Patient).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.readers.ask(move |reading| question(&reading.tables)).await
    }

    async fn look<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.lookers.ask(move |reading| question(&reading.tables)).await
    }

    /// Segments with only older traces may go.
    fn drop_index_before(&self, before: Timestamp) {
        self.shared.drop_before.store(QueueId::first_at(before).to_i64(), Ordering::Release);
        self.shared.incoming.wake();
    }

    /// Commits what waits, stops the threads, moves the WAL into the file, gives the lock back.
    fn stop(&self) {
        self.inbox.close();
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in [threads.writer.take(), threads.remover.take()].into_iter().flatten() {
            let _ = thread.join();
        }
        self.readers.stop();
        self.lookers.stop();
        self.shared.stop.store(true, Ordering::Release);
        self.shared.incoming.wake();
        if let Some(indexer) = threads.indexer.take() {
            indexer.thread().unpark();
            let _ = indexer.join();
        }
        drop(threads.lock.take());
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|e| StoreError::from_io("start a thread of the store", &e))
}

/// Removes blob files of messages that are gone; ends when the writer has ended.
fn start_remover(blobs: &Arc<Blobs>) -> Result<(SyncSender<Orphan>, JoinHandle<()>), StoreError> {
    let (sender, receiver) = sync_channel::<Orphan>(ORPHANS_WAITING_MAX);
    let blobs = Arc::clone(blobs);
    let thread = start("store-remove", move || {
        while let Ok((tenant, id, queue_id)) = receiver.recv() {
            if let Err(error) = blobs.remove_now(id, tenant, queue_id) {
                tracing::warn!(%error, %queue_id, "a body that is no longer needed could not be removed; the sweep tries again");
            }
        }
    })?;
    Ok((sender, thread))
}

/// About how much memory an acceptance holds while it waits.
fn weight(messages: &[Acceptance]) -> usize {
    messages
        .iter()
        .map(|a| match &a.message.body {
            Body::Inline(bytes) => bytes.len() + 512 * a.entries.len(),
            Body::Blob { .. } => 512 * a.entries.len(),
        })
        .sum()
}

/// Makes records ready for the writer, and lets go of their texts on the thread that made them.
fn ready<'r>(records: impl Iterator<Item = &'r mut Record>) -> Result<Vec<Option<Told>>, StoreError> {
    let mut out = Vec::new();
    for record in records {
        out.push(Told::of(record)?);
        record.events = Vec::new();
    }
    Ok(out)
}

struct Tables<'c>(&'c Connection);

impl Records for Tables<'_> {
    fn records(&mut self, trace: QueueId) -> Result<Vec<(i64, Record)>, StoreError> {
        read::records(self.0, trace, i64::MAX)
    }
}

impl MailStore for Embedded {
    fn accept(&self, mut messages: Vec<Acceptance>) -> Pending<'_, ()> {
        let bytes = weight(&messages);
        match ready(messages.iter_mut().map(|m| &mut m.record)) {
            Ok(told) => Box::pin(self.submit(Job::Accept(messages, told), bytes, Urgency::Session)),
            Err(e) => Box::pin(std::future::ready(Err(e))),
        }
    }

    fn settle(&self, mut settlements: Vec<Settlement>) -> Pending<'_, ()> {
        let bytes = settlements.iter().map(|s| 512 * s.changes.len() + weight(&s.born)).sum();
        // A person waits for an answer; an attempt's outcome rides on the next commit.
        let urgency = if settlements.iter().any(|s| s.origin == Origin::Person) {
            Urgency::Urgent
        } else {
            Urgency::Patient
        };
        let records = settlements
            .iter_mut()
            .flat_map(|s| s.born.iter_mut().map(|b| &mut b.record).chain(std::iter::once(&mut s.record)));
        match ready(records) {
            Ok(told) => Box::pin(self.submit(Job::Settle(settlements, told), bytes, urgency)),
            Err(e) => Box::pin(std::future::ready(Err(e))),
        }
    }

    fn record(&self, mut records: Vec<Record>) {
        let (count, bytes) = (records.len() as u64, records.len() * 1024);
        let posted = match ready(records.iter_mut()) {
            Ok(told) => self.inbox.post(Job::Record(told), bytes).is_ok(),
            Err(_) => false,
        };
        if !posted {
            let before = self.dropped_records.fetch_add(count, Ordering::Relaxed);
            if before == 0 || (before / 10_000) != (before + count) / 10_000 {
                tracing::warn!(
                    dropped = before + count,
                    "tracking records dropped: more refusals than the store can write"
                );
            }
        }
    }

    fn lanes(&self) -> Pending<'_, Vec<LaneSummary>> {
        Box::pin(self.ask(read::lanes))
    }

    fn due(&self, lane: LaneId, until: Timestamp, after: Option<(Timestamp, QueueId, u32)>, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(self.ask(move |c| read::due(c, lane, until, after, limit)))
    }

    fn next_due(&self, lane: LaneId, after: Timestamp) -> Pending<'_, Option<Timestamp>> {
        Box::pin(self.ask(move |c| read::next_due(c, lane, after)))
    }

    fn message(&self, queue_id: QueueId) -> Pending<'_, Option<SpoolMessage>> {
        Box::pin(self.ask(move |c| read::message(c, queue_id)))
    }

    fn entries(&self, queue_id: QueueId) -> Pending<'_, Vec<Entry>> {
        Box::pin(self.ask(move |c| read::entries(c, queue_id)))
    }

    fn queue_page(&self, filter: EntryFilter, after: Option<(QueueId, u32)>, limit: usize) -> Pending<'_, Vec<QueueRow>> {
        Box::pin(self.look(move |c| list::page(c, &filter, after, limit)))
    }

    fn queue_count(&self, filter: EntryFilter) -> Pending<'_, u64> {
        Box::pin(self.look(move |c| list::count(c, &filter)))
    }

    fn trace(&self, id: QueueId, scope: Scope) -> Pending<'_, Option<Trace>> {
        Box::pin(self.look(move |c| {
            let records = read::records(c, id, i64::MAX)?.into_iter().map(|(_, r)| r).collect();
            Ok(search::one(id, &scope, records))
        }))
    }

    fn search(&self, query: Query, scope: Scope, before: Option<QueueId>, limit: usize) -> Pending<'_, Page> {
        let shared = Arc::clone(&self.shared);
        Box::pin(self.lookers.ask(move |reading| {
            let Some(plan) = plan::plan(&query, &scope, before) else {
                return Ok(Page {
                    traces: Vec::new(),
                    next: None,
                });
            };
            shared.catch_up(&reading.tables, CATCH_UP)?;
            let live = shared.lock().live.candidates(&plan);
            // Memory first, then the snapshot: what leaves memory in between is in the snapshot.
            let snapshot = reading.index.unchecked_transaction()?;
            let mut segments = FileSegments {
                connection: &snapshot,
                heads: &shared.heads,
            };
            search::search(&query, &scope, &plan, live, &mut segments, &mut Tables(&reading.tables), limit)
        }))
    }

    fn expire_tracking(&self, keep: Vec<(TenantId, Timestamp)>, default: Timestamp) -> Pending<'_, u64> {
        Box::pin(retention::expire(self, keep, default))
    }

    fn forget_traces(&self, tenant: TenantId, traces: Vec<QueueId>) -> Pending<'_, u64> {
        Box::pin(retention::forget(self, tenant, traces))
    }

    fn write_dyn(&self, job: sql::Job) -> Pending<'_, ()> {
        Box::pin(self.submit(Job::Control(job), 0, Urgency::Urgent))
    }

    fn read_dyn(&self, job: sql::Job) -> Pending<'_, ()> {
        Box::pin(self.ask(move |c| {
            let snapshot = c.unchecked_transaction()?;
            job(&mut tx::SqliteTx(&snapshot))
        }))
    }

    fn lease_holds(&self) -> bool {
        true
    }

    fn node_slot(&self) -> u8 {
        0
    }

    fn arrivals(&self) -> tokio::sync::watch::Receiver<u64> {
        self.arrivals.subscribe()
    }

    fn in_data(&self) -> InData {
        InData::enter(&self.inbox.in_data)
    }

    fn entrust(&self, errands: Vec<Errand>) -> Pending<'_, ()> {
        Box::pin(async move {
            self.write_dyn(Box::new(move |tx| errand::add(tx, &errands))).await?;
            self.arrivals.send_modify(|n| *n += 1);
            Ok(())
        })
    }

    fn existing(&self, ids: Vec<QueueId>) -> Pending<'_, Vec<QueueId>> {
        Box::pin(self.ask(move |c| read::existing(c, &ids)))
    }

    fn free_space(&self) -> std::io::Result<(u64, u64)> {
        space::of(&self.data_dir)
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            // Joining threads blocks: done once, at the end, when nothing else needs this thread.
            self.stop();
            Ok(())
        })
    }
}
