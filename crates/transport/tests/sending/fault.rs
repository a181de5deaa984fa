//! A store that fails on purpose, in front of a real one.

use mail::{LaneId, QueueId, TenantId, Timestamp};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use store::control::errand::Errand;
use store::spool::{Acceptance, Entry, EntryFilter, LaneSummary, QueueRow, Settlement, SpoolMessage};
use store::tracking::{Page, Query, Record, Scope, Trace};
use store::{InData, MailStore, Pending, Store, StoreError, sql};

/// What goes wrong.
#[derive(Default)]
pub(crate) struct Faults {
    /// The next look at the lease, right before a final dot, panics.
    pub(crate) lease_panics: AtomicBool,
    /// What settlements are answered, one call after the other; `None`: they are written.
    pub(crate) settle: Mutex<VecDeque<Option<StoreError>>>,
    /// Settlements are answered only while it is open.
    pub(crate) is_shut: AtomicBool,
    /// Settlements asked for in one call, at most so far.
    pub(crate) together: AtomicUsize,
}

pub(crate) struct Faulty {
    inner: Arc<dyn MailStore>,
    faults: Arc<Faults>,
}

impl Faulty {
    pub(crate) fn before(store: Store, faults: &Arc<Faults>) -> Store {
        let faults = Arc::clone(faults);
        Store {
            mail: Arc::new(Self { inner: store.mail, faults }),
            blobs: store.blobs,
        }
    }
}

impl MailStore for Faulty {
    fn settle(&self, settlements: Vec<Settlement>) -> Pending<'_, ()> {
        Box::pin(async move {
            self.faults.together.fetch_max(settlements.len(), Ordering::AcqRel);
            while self.faults.is_shut.load(Ordering::Acquire) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let fault = self.faults.settle.lock().unwrap().pop_front();
            match fault.flatten() {
                Some(error) => Err(error),
                None => self.inner.settle(settlements).await,
            }
        })
    }
    fn lease_holds(&self) -> bool {
        assert!(!self.faults.lease_panics.swap(false, Ordering::AcqRel), "on purpose");
        self.inner.lease_holds()
    }

    fn accept(&self, messages: Vec<Acceptance>) -> Pending<'_, ()> {
        self.inner.accept(messages)
    }
    fn record(&self, records: Vec<Record>) {
        self.inner.record(records);
    }
    fn lanes(&self) -> Pending<'_, Vec<LaneSummary>> {
        self.inner.lanes()
    }
    fn due(&self, lane: LaneId, until: Timestamp, after: Option<(Timestamp, QueueId, u32)>, limit: usize) -> Pending<'_, Vec<Entry>> {
        self.inner.due(lane, until, after, limit)
    }
    fn next_due(&self, lane: LaneId, after: Timestamp) -> Pending<'_, Option<Timestamp>> {
        self.inner.next_due(lane, after)
    }
    fn message(&self, queue_id: QueueId) -> Pending<'_, Option<SpoolMessage>> {
        self.inner.message(queue_id)
    }
    fn entries(&self, queue_id: QueueId) -> Pending<'_, Vec<Entry>> {
        self.inner.entries(queue_id)
    }
    fn queue_page(&self, filter: EntryFilter, after: Option<(QueueId, u32)>, limit: usize) -> Pending<'_, Vec<QueueRow>> {
        self.inner.queue_page(filter, after, limit)
    }
    fn queue_count(&self, filter: EntryFilter) -> Pending<'_, u64> {
        self.inner.queue_count(filter)
    }
    fn trace(&self, id: QueueId, scope: Scope) -> Pending<'_, Option<Trace>> {
        self.inner.trace(id, scope)
    }
    fn search(&self, query: Query, scope: Scope, before: Option<QueueId>, limit: usize) -> Pending<'_, Page> {
        self.inner.search(query, scope, before, limit)
    }
    fn expire_tracking(&self, keep: Vec<(TenantId, Timestamp)>, default: Timestamp) -> Pending<'_, u64> {
        self.inner.expire_tracking(keep, default)
    }
    fn forget_traces(&self, tenant: TenantId, traces: Vec<QueueId>) -> Pending<'_, u64> {
        self.inner.forget_traces(tenant, traces)
    }
    fn write_dyn(&self, job: sql::Job) -> Pending<'_, ()> {
        self.inner.write_dyn(job)
    }
    fn read_dyn(&self, job: sql::Job) -> Pending<'_, ()> {
        self.inner.read_dyn(job)
    }
    fn lease_epoch(&self) -> i64 {
        self.inner.lease_epoch()
    }
    fn owner(&self) -> i64 {
        self.inner.owner()
    }
    fn strangers(&self, entries: Vec<(QueueId, u32)>) -> Pending<'_, Vec<(QueueId, u32)>> {
        self.inner.strangers(entries)
    }
    fn entrust(&self, errands: Vec<Errand>) -> Pending<'_, ()> {
        self.inner.entrust(errands)
    }
    fn node_slot(&self) -> u8 {
        self.inner.node_slot()
    }
    fn arrivals(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.arrivals()
    }
    fn in_data(&self) -> InData {
        self.inner.in_data()
    }
    fn existing(&self, ids: Vec<QueueId>) -> Pending<'_, Vec<QueueId>> {
        self.inner.existing(ids)
    }
    fn free_space(&self) -> std::io::Result<(u64, u64)> {
        self.inner.free_space()
    }
    fn close(&self) -> Pending<'_, ()> {
        self.inner.close()
    }
}
