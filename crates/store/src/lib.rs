//! Keeps everything durable: spool, tracking, settings, directory, audit. Two engines behind one door.
//!
//! * Embedded: SQLite (WAL, `synchronous=FULL`), one writer thread that groups whatever waits into one commit.
//! * PostgreSQL 15+: one transaction per batch, several nodes by leases and epochs.
//!
//! Hot paths (accept, settle, due entries, tracking) are written twice behind [`MailStore`]; the control plane is one SQL text
//! over [`sql::Tx`]. One contract test suite runs on both.
//!
//! Invariants: `accept` returns Ok only after the commit is synced. A tenant id is part of every row.

pub mod control;
pub mod embedded;
pub mod index;
mod packing;
pub mod pg;
pub mod schema;
pub mod spool;
pub mod sql;
pub mod tracking;

use mail::{LaneId, QueueId, Timestamp};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an operation of the store comes back with, later.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Why the store could not do it. Every one of these is our own fault: 4yz, never 5yz.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine said no.
    #[error("store: {0}")]
    Engine(String),
    /// No room on the device.
    #[error("the device of the store is full")]
    Full,
    /// The engine is not reachable now; waiting helps.
    #[error("store not reachable: {0}")]
    Unavailable(String),
    /// This node's lease is over: another node may own its entries.
    #[error("this node has lost its lease")]
    LeaseLost,
    /// A commit's outcome could not be learnt: treat as not accepted.
    #[error("outcome of the commit unknown")]
    Unknown,
    /// Data on disk is damaged or from a newer version.
    #[error("store data: {0}")]
    Data(String),
    /// Someone else changed it first.
    #[error("changed by someone else in the meantime: revision {current} is the newest")]
    Conflict {
        /// The newest revision.
        current: i64,
    },
}

/// The hot paths: what both engines do in their own way.
pub trait MailStore: Send + Sync {
    /// Writes messages, entries and records in one transaction and syncs it. On Ok we are responsible.
    fn accept(&self, messages: Vec<spool::Acceptance>) -> Pending<'_, ()>;
    /// Writes what attempts and actions came to. Rides on the next commit, 200 ms at most; returns when committed.
    fn settle(&self, settlements: Vec<spool::Settlement>) -> Pending<'_, ()>;
    /// Appends records (refusals). Rides on the next commit, 200 ms at most; does not wait for it. When the queue for it is full,
    /// counts what it drops.
    fn record(&self, records: Vec<tracking::Record>);
    /// Lanes of this node that have queued or held entries.
    fn lanes(&self) -> Pending<'_, Vec<spool::LaneSummary>>;
    /// Entries of a lane of this node with `due <= until` (queued, and held whose hold has ended), soonest first, after the position `after` = (due, queue id, number).
    fn due(&self, lane: LaneId, until: Timestamp, after: Option<(Timestamp, QueueId, u32)>, limit: usize)
    -> Pending<'_, Vec<spool::Entry>>;
    /// The next due time in a lane of this node after `after`, if any.
    fn next_due(&self, lane: LaneId, after: Timestamp) -> Pending<'_, Option<Timestamp>>;
    /// A message, `None` when gone.
    fn message(&self, queue_id: QueueId) -> Pending<'_, Option<spool::SpoolMessage>>;
    /// Entries of one message, of whichever node.
    fn entries(&self, queue_id: QueueId) -> Pending<'_, Vec<spool::Entry>>;
    /// A page of the queue by queue id, then number, after `after`.
    fn queue_page(&self, filter: spool::EntryFilter, after: Option<(QueueId, u32)>, limit: usize) -> Pending<'_, Vec<spool::QueueRow>>;
    /// How many entries a filter is about.
    fn queue_count(&self, filter: spool::EntryFilter) -> Pending<'_, u64>;
    /// One trace, `None` when there is none in scope.
    fn trace(&self, id: QueueId, scope: tracking::Scope) -> Pending<'_, Option<tracking::Trace>>;
    /// Traces that match, newest first.
    fn search(&self, query: tracking::Query, scope: tracking::Scope, before: Option<QueueId>, limit: usize) -> Pending<'_, tracking::Page>;
    /// Drops tracking older than each tenant's retention: `keep` says the first moment kept, per tenant; others get `default`.
    fn expire_tracking(&self, keep: Vec<(mail::TenantId, Timestamp)>, default: Timestamp) -> Pending<'_, u64>;
    /// Drops the records of these traces that are `tenant`'s. How many went.
    fn forget_traces(&self, tenant: mail::TenantId, traces: Vec<QueueId>) -> Pending<'_, u64>;
    /// Runs a control-plane transaction (see [`Store::write`], which is the typed way).
    fn write_dyn(&self, job: sql::Job) -> Pending<'_, ()>;
    /// Runs a read-only control-plane job on a reader.
    fn read_dyn(&self, job: sql::Job) -> Pending<'_, ()>;
    /// This node's lease: `false` when its entries may belong to another node by now. Looks at a monotonic clock that goes on while
    /// the process is stopped; never waits. Always `true` on the embedded engine.
    fn lease_holds(&self) -> bool;
    /// Counts up whenever this node lost its lease and took a new one. What was loaded under an older number may belong to another node
    /// even when [`MailStore::lease_holds`] says `true` again: look at both before the final dot. Always 1 on the embedded engine.
    fn lease_epoch(&self) -> i64 {
        1
    }
    /// What the owner of an entry is called when it is this node. Always 1 on the embedded engine.
    fn owner(&self) -> i64 {
        1
    }
    /// Which of these entries (queue id, number) another node owns. None on the embedded engine, where there is one node.
    fn strangers(&self, _entries: Vec<(QueueId, u32)>) -> Pending<'_, Vec<(QueueId, u32)>> {
        Box::pin(std::future::ready(Ok(Vec::new())))
    }
    /// Leaves errands for the owners of their entries and wakes them ([`MailStore::arrivals`]).
    fn entrust(&self, errands: Vec<control::errand::Errand>) -> Pending<'_, ()>;
    /// The slot of this node (0–15) for queue ids.
    fn node_slot(&self) -> u8;
    /// Wakes when entries came to this node that its scheduler does not know (take-over, another node's action, an action by API).
    /// The number counts up.
    fn arrivals(&self) -> tokio::sync::watch::Receiver<u64>;
    /// A session says that it is between DATA and the commit; drop it when `accept` has answered. While there are more such sessions than
    /// acceptances waiting, a commit waits for their company, 1 ms at most.
    fn in_data(&self) -> InData;
    /// Which of these messages are in the spool (for the sweep of orphaned blobs).
    fn existing(&self, ids: Vec<QueueId>) -> Pending<'_, Vec<QueueId>>;
    /// Bytes free for the spool and bytes in all, of its device (or of the blob folder's on PostgreSQL).
    fn free_space(&self) -> std::io::Result<(u64, u64)>;
    /// Stops: commits what waits, gives up the lease so that others take over at once.
    fn close(&self) -> Pending<'_, ()>;
}

/// One session between DATA and its commit. Counted while it lives.
#[derive(Debug, Default)]
pub struct InData(Option<Arc<AtomicUsize>>);

impl InData {
    /// Counts one more in `count` until dropped.
    #[must_use]
    pub fn enter(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(Some(Arc::clone(count)))
    }
}

impl Drop for InData {
    fn drop(&mut self) {
        if let Some(count) = self.0.take() {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// The door to everything kept.
#[derive(Clone)]
pub struct Store {
    /// Hot paths.
    pub mail: Arc<dyn MailStore>,
    /// Large bodies.
    pub blobs: Arc<blob::Blobs>,
}

impl Store {
    /// Runs `job` in one read-write transaction of the control plane. Committed and synced when Ok comes back.
    ///
    /// # Errors
    /// Those of the job, or of the engine.
    pub async fn write<T, E>(&self, job: impl FnOnce(&mut dyn sql::Tx) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        sql::run(job, |j| self.mail.write_dyn(j)).await
    }

    /// Runs `job` on a reader. It sees one snapshot.
    ///
    /// # Errors
    /// Those of the job, or of the engine.
    pub async fn read<T, E>(&self, job: impl FnOnce(&mut dyn sql::Tx) -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        sql::run(job, |j| self.mail.read_dyn(j)).await
    }
}

pub mod blob;
