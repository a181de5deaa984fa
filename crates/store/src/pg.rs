//! PostgreSQL engine: everything in one database that several nodes share.
//!
//! * One writer thread ([`writer`]) makes one transaction of whatever waits ([`batch`]); it alone may write mail for this node.
//! * One keeper thread ([`keeper`]) keeps the lease ([`lease`]) and takes over from dead nodes; hot reads ([`read`]) share its runtime.
//! * Threads for the control plane, lists and searches ([`control`], [`queue`], [`search`]); one for the search index and blob files.
//!
//! Large bodies lie in a folder that all nodes share. Any PostgreSQL 15 or newer does; nothing but plain SQL and advisory locks is used.
//! Layout: docs/format/spool.md, docs/format/tracking.md. Invariants: those of the parts.

mod batch;
mod boottime;
mod control;
mod days;
mod fresh;
mod keeper;
mod lease;
mod migrate;
mod place;
mod queue;
mod read;
mod search;
mod session;
#[cfg(test)]
mod tests;
mod tls;
mod value;
mod writer;

use mail::{LaneId, QueueId, TenantId, Timestamp};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{oneshot, watch};
use tokio_postgres::Config;

use crate::blob::Blobs;
use crate::control::errand::{self, Errand};
use crate::embedded::inbox::{Inbox, Urgency};
use crate::embedded::space;
use crate::spool::{Acceptance, Entry, EntryFilter, LaneSummary, Origin, QueueRow, Settlement, SpoolMessage};
use crate::tracking::{Page, Query, Record, Scope, Trace};
use crate::{InData, MailStore, Pending, Store, StoreError, sql};
use batch::{Job, Orphan};
use control::{Desk, Desks};
use lease::{Lease, Timing};
use read::MailReader;
use search::{Index, Retention};
use session::{Purpose, Session};
use tls::{Proof, Tls};
use writer::Outlets;

/// A node's lease when nothing else is said: entries of a dead node are taken over so long after its last heartbeat, and a second.
pub const LEASE: Duration = Duration::from_secs(12);

/// Where and as whom the store is opened.
#[derive(Clone)]
pub struct PgOptions {
    /// `postgresql://user:password@host:port/database?sslmode=…`. `sslmode`: `disable`, `prefer` (default), `require`, `verify-full`;
    /// `sslrootcert`: PEM file of roots.
    pub url: String,
    /// Folder of large bodies, the same for all nodes; made when missing.
    pub blobs_dir: PathBuf,
    /// What time it is. Leases go by the database's clock.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// This node's name, different from every other's: a node that starts again finds its entries by it.
    pub node_name: String,
    /// How long the lease is; [`LEASE`].
    pub lease: Duration,
}

/// How to connect.
pub(crate) struct Door {
    config: Config,
    tls: Tls,
}

impl Door {
    fn new(url: &str) -> Result<Self, StoreError> {
        let (plain, proof) = without_proof(url);
        let mut config = Config::from_str(&plain).map_err(|e| StoreError::Data(format!("address of PostgreSQL: {}", why(&e))))?;
        if config.get_application_name().is_none() {
            config.application_name("mitsuke");
        }
        Ok(Self {
            config,
            tls: Tls::new(&proof)?,
        })
    }
}

/// The driver's reason. Never the address itself, which may hold a password.
fn why(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Takes out what the driver does not know: `sslmode=verify-…` and `sslrootcert`.
fn without_proof(url: &str) -> (String, Proof) {
    let Some((base, query)) = url.split_once('?') else {
        return (url.to_owned(), Proof::None);
    };
    let mut proof = Proof::None;
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|p| !p.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", "verify-full" | "verify-ca")) => {
                if proof == Proof::None {
                    proof = Proof::Full { roots: None };
                }
            }
            Some(("sslrootcert", file)) => {
                proof = Proof::Full {
                    roots: Some(file.replace("%2F", "/").replace("%2f", "/")),
                }
            }
            Some(_) | None => kept.push(pair),
        }
    }
    // Whoever wants the server proven does not want to go on in clear because it, or someone in between, offers no TLS.
    if proof != Proof::None {
        kept.retain(|pair| !pair.starts_with("sslmode="));
        kept.push("sslmode=require");
    }
    (format!("{base}?{}", kept.join("&")), proof)
}

/// A runtime for one thread.
fn runtime() -> Result<Runtime, StoreError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| StoreError::Engine(format!("start a runtime of the store: {e}")))
}

fn start(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StoreError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|e| StoreError::Engine(format!("start a thread of the store: {e}")))
}

/// Threads for lists, searches and reading jobs.
const READERS: usize = 2;
/// Wakes the nodes that own entries of these messages.
const TOUCH: &str = "UPDATE node SET touched = touched + 1 WHERE epoch IN (SELECT owner FROM entry WHERE queue_id = ANY($1::int8[]))";
/// Between looks at what is to be indexed.
const TEND_INTERVAL: Duration = Duration::from_secs(1);
const ORPHANS_WAITING_MAX: usize = 4_096;

impl Store {
    /// Opens the PostgreSQL engine: migrates, takes a place among the nodes, starts its threads. Blocks; needs no runtime.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the database is not reachable or 16 nodes are live, [`StoreError::Data`] when it is too old, its
    /// data newer than this program, or the address malformed.
    pub fn open_postgres(options: &PgOptions) -> Result<Self, StoreError> {
        let blobs = Arc::new(Blobs::open(&options.blobs_dir)?);
        let mail = Arc::new(Postgres::open(options, &blobs)?);
        Ok(Self { mail, blobs })
    }
}

/// Whether the database at `url` can be used, without taking part: reachable, new enough, its data not newer than this program, and
/// `blobs_dir` the folder that its nodes use. Blocks; needs no runtime.
///
/// # Errors
/// As [`Store::open_postgres`].
pub fn probe(url: &str, blobs_dir: &Path) -> Result<(), StoreError> {
    let door = Door::new(url)?;
    // On a thread of its own, so that callers inside a runtime may ask.
    let asking = || {
        runtime()?.block_on(async {
            let session = Session::open(&door.config, &door.tls, Purpose::Control).await?;
            session.warn_when_unsafe().await?;
            migrate::look(&session, blobs_dir).await
        })
    };
    let asked = std::thread::scope(|scope| scope.spawn(asking).join());
    asked.unwrap_or_else(|_| Err(StoreError::Engine("the look at the database was cut short".into())))
}

/// The engine.
struct Postgres {
    inbox: Arc<Inbox<Job>>,
    lease: Arc<Lease>,
    is_reachable: Arc<AtomicBool>,
    reader: MailReader,
    /// Writing jobs: one at a time.
    control: Desks,
    readers: Desks,
    index: Arc<Index>,
    keeper_stop: watch::Sender<bool>,
    gives_up_lease: Arc<AtomicBool>,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
    dropped_records: AtomicU64,
    blobs_dir: PathBuf,
}

impl Postgres {
    fn open(options: &PgOptions, blobs: &Arc<Blobs>) -> Result<Self, StoreError> {
        let door = Arc::new(Door::new(&options.url)?);
        let lease = Lease::new(
            options.node_name.clone(),
            Timing {
                lease: options.lease.max(Duration::from_millis(600)),
            },
        );
        let is_reachable = Arc::new(AtomicBool::new(true));
        let (keeper_stop, stopped) = watch::channel(false);
        let (home, keeper) = start_keeper(&door, &lease, &is_reachable, stopped, options)?;
        let (orphans, waiting) = sync_channel(ORPHANS_WAITING_MAX);
        let index = Arc::new(Index::default());
        let inbox = Arc::new(Inbox::new());
        let gives_up_lease = Arc::new(AtomicBool::new(false));
        let outlets = Outlets {
            door: Arc::clone(&door),
            lease: Arc::clone(&lease),
            is_reachable: Arc::clone(&is_reachable),
            orphans,
            index: Arc::clone(&index),
        };
        let runtime = runtime()?;
        let (inbox_in, gives_up) = (Arc::clone(&inbox), Arc::clone(&gives_up_lease));
        let writer = start("store-write", move || writer::work(&runtime, &inbox_in, outlets, &gives_up))?;
        let tender = start_tender(&door, blobs, &index, &lease, waiting)?;
        Ok(Self {
            inbox,
            lease,
            is_reachable,
            reader: MailReader::new(Arc::clone(&door), home),
            control: Desks::start(&door, "store-control", 1)?,
            readers: Desks::start(&door, "store-read", READERS)?,
            index,
            keeper_stop,
            gives_up_lease,
            threads: Arc::new(Mutex::new(vec![writer, keeper, tender])),
            dropped_records: AtomicU64::new(0),
            blobs_dir: options.blobs_dir.clone(),
        })
    }

    async fn submit(&self, job: Job, urgency: Urgency) -> Result<(), StoreError> {
        let bytes = job.bytes();
        self.inbox.submit(job, bytes, urgency).await?.await
    }

    /// Ends what runs. With `gives_up_lease` others take over at once, else when the lease ends.
    fn shut(&self, gives_up_lease: bool) {
        self.gives_up_lease.store(gives_up_lease, Ordering::Release);
        self.inbox.close();
        self.control.close();
        self.readers.close();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Not closed: the process ends in disorder, or a test plays dead. The lease ends by itself.
        self.shut(false);
        let _ = self.keeper_stop.send(true);
    }
}

/// Migrates and takes a place, then keeps it. Comes back when the place is taken.
fn start_keeper(
    door: &Arc<Door>,
    lease: &Arc<Lease>,
    is_reachable: &Arc<AtomicBool>,
    stopped: watch::Receiver<bool>,
    options: &PgOptions,
) -> Result<(Handle, JoinHandle<()>), StoreError> {
    let (ready, opened) = sync_channel(1);
    let (door, lease, is_reachable) = (Arc::clone(door), Arc::clone(lease), Arc::clone(is_reachable));
    let (now, blobs_dir) = ((options.now)(), options.blobs_dir.clone());
    let runtime = runtime()?;
    let handle = runtime.handle().clone();
    let thread = start("store-lease", move || {
        let kept = async {
            let taken = async {
                let schema = Session::open(&door.config, &door.tls, Purpose::Schema).await?;
                schema.warn_when_unsafe().await?;
                migrate::migrate(&schema, now).await?;
                lease.settle_down(&migrate::share_folder(&schema, &blobs_dir).await?);
                drop(schema);
                let session = Session::open(&door.config, &door.tls, Purpose::Mail).await?;
                lease.beat(&session).await?;
                Ok::<_, StoreError>(session)
            };
            match taken.await {
                Ok(session) => {
                    let _ = ready.send(Ok(()));
                    keeper::keep(door, lease, is_reachable, session, stopped).await;
                }
                Err(error) => {
                    let _ = ready.send(Err(error));
                }
            }
        };
        runtime.block_on(kept);
    })?;
    opened.recv().map_err(|_| StoreError::Engine("the lease's thread ended".into()))??;
    Ok((handle, thread))
}

/// Blob files that are no longer needed, and the search index. Ends when the writer has ended.
fn start_tender(
    door: &Arc<Door>,
    blobs: &Arc<Blobs>,
    index: &Arc<Index>,
    lease: &Arc<Lease>,
    orphans: Receiver<Orphan>,
) -> Result<JoinHandle<()>, StoreError> {
    let mut desk = Desk::new(Arc::clone(door))?;
    let (blobs, index, lease) = (Arc::clone(blobs), Arc::clone(index), Arc::clone(lease));
    start("store-tend", move || {
        let mut next = Instant::now() + TEND_INTERVAL;
        loop {
            match orphans.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok((tenant, id, queue_id)) => {
                    if let Err(error) = blobs.remove_now(id, tenant, queue_id) {
                        tracing::warn!(%error, %queue_id, "a body that is no longer needed could not be removed; the sweep tries again");
                    }
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    // What is left out is found in `track_fresh` by whoever takes the slot.
                    if let Err(error) = index.tend(&mut desk, i16::from(lease.slot()), true) {
                        tracing::debug!(%error, "the search index is brought up to date by the next start");
                    }
                    return;
                }
            }
            next = Instant::now() + TEND_INTERVAL;
            if let Err(error) = index.tend(&mut desk, i16::from(lease.slot()), false) {
                tracing::debug!(%error, "the search index could not be brought up to date; tried again");
            }
        }
    })
}

impl MailStore for Postgres {
    fn accept(&self, messages: Vec<Acceptance>) -> Pending<'_, ()> {
        if !self.is_reachable.load(Ordering::Acquire) {
            return Box::pin(std::future::ready(Err(StoreError::Unavailable(
                "no connection to PostgreSQL".into(),
            ))));
        }
        Box::pin(self.submit(Job::Accept(messages), Urgency::Session))
    }

    fn settle(&self, settlements: Vec<Settlement>) -> Pending<'_, ()> {
        let urgency = if settlements.iter().any(|s| s.origin == Origin::Person) {
            Urgency::Urgent
        } else {
            Urgency::Patient
        };
        Box::pin(self.submit(Job::Settle(settlements), urgency))
    }

    fn record(&self, records: Vec<Record>) {
        let count = records.len() as u64;
        let job = Job::Record(records);
        let bytes = job.bytes();
        if self.inbox.post(job, bytes).is_err() {
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
        Box::pin(self.reader.lanes(self.lease.epoch()))
    }

    fn due(&self, lane: LaneId, until: Timestamp, after: Option<(Timestamp, QueueId, u32)>, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(self.reader.due(self.lease.epoch(), lane, until, after, limit))
    }

    fn next_due(&self, lane: LaneId, after: Timestamp) -> Pending<'_, Option<Timestamp>> {
        Box::pin(self.reader.next_due(self.lease.epoch(), lane, after))
    }

    fn message(&self, queue_id: QueueId) -> Pending<'_, Option<SpoolMessage>> {
        Box::pin(self.reader.message(queue_id))
    }

    fn entries(&self, queue_id: QueueId) -> Pending<'_, Vec<Entry>> {
        Box::pin(self.reader.entries(queue_id))
    }

    fn queue_page(&self, filter: EntryFilter, after: Option<(QueueId, u32)>, limit: usize) -> Pending<'_, Vec<QueueRow>> {
        Box::pin(self.readers.ask(move |desk| desk.read(|tx| queue::page(tx, &filter, after, limit))))
    }

    fn queue_count(&self, filter: EntryFilter) -> Pending<'_, u64> {
        Box::pin(self.readers.ask(move |desk| desk.read(|tx| queue::count(tx, &filter))))
    }

    fn trace(&self, id: QueueId, scope: Scope) -> Pending<'_, Option<Trace>> {
        Box::pin(self.readers.ask(move |desk| desk.read(|tx| search::trace(tx, id, &scope))))
    }

    fn search(&self, query: Query, scope: Scope, before: Option<QueueId>, limit: usize) -> Pending<'_, Page> {
        let index = Arc::clone(&self.index);
        Box::pin(
            self.readers
                .ask(move |desk| desk.read(|tx| index.search(tx, &query, &scope, before, limit))),
        )
    }

    fn expire_tracking(&self, keep: Vec<(TenantId, Timestamp)>, default: Timestamp) -> Pending<'_, u64> {
        let retention = Retention::new(keep, default);
        Box::pin(self.readers.ask(move |desk| search::expire(desk, &retention)))
    }

    fn forget_traces(&self, tenant: TenantId, traces: Vec<QueueId>) -> Pending<'_, u64> {
        Box::pin(self.readers.ask(move |desk| search::forget(desk, tenant, &traces)))
    }

    fn write_dyn(&self, job: sql::Job) -> Pending<'_, ()> {
        Box::pin(self.control.ask(move |desk| desk.write(|tx| job(tx))))
    }

    fn read_dyn(&self, job: sql::Job) -> Pending<'_, ()> {
        Box::pin(self.readers.ask(move |desk| desk.read(|tx| job(tx))))
    }

    fn lease_holds(&self) -> bool {
        self.lease.holds()
    }

    fn lease_epoch(&self) -> i64 {
        self.lease.generation()
    }

    fn owner(&self) -> i64 {
        self.lease.epoch()
    }

    fn strangers(&self, entries: Vec<(QueueId, u32)>) -> Pending<'_, Vec<(QueueId, u32)>> {
        Box::pin(async move { self.reader.strangers(&entries, self.lease.epoch()).await })
    }

    fn entrust(&self, errands: Vec<Errand>) -> Pending<'_, ()> {
        Box::pin(self.control.ask(move |desk| {
            desk.write(|tx| {
                errand::add(tx, &errands)?;
                let ids: Vec<i64> = errands.iter().map(|e| e.queue_id.to_i64()).collect();
                tx.query_text(TOUCH, &[&ids]).map(drop)
            })
        }))
    }

    fn node_slot(&self) -> u8 {
        self.lease.slot()
    }

    fn arrivals(&self) -> watch::Receiver<u64> {
        self.lease.arrivals.subscribe()
    }

    fn in_data(&self) -> InData {
        InData::enter(&self.inbox.in_data)
    }

    fn existing(&self, ids: Vec<QueueId>) -> Pending<'_, Vec<QueueId>> {
        Box::pin(async move { self.reader.existing(&ids).await })
    }

    fn free_space(&self) -> std::io::Result<(u64, u64)> {
        space::of(&self.blobs_dir)
    }

    fn close(&self) -> Pending<'_, ()> {
        Box::pin(async {
            self.shut(true);
            let _ = self.keeper_stop.send(true);
            let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
            let (done, ended) = oneshot::channel();
            start("store-close", move || {
                for thread in threads {
                    let _ = thread.join();
                }
                let _ = done.send(());
            })?;
            ended.await.map_err(|_| StoreError::Engine("closing was cut short".into()))
        })
    }
}
