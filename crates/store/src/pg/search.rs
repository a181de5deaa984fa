//! Search: how does the index that both engines share stand in PostgreSQL, and who writes it?
//!
//! In:  queries; committed records. Out: pages; segments, written by the node whose slot the records are of, those of dead nodes by any.
//! Invariants: whoever writes segments holds one advisory lock, so that their numbers follow their commits; a search sees one snapshot;
//! the index is derived: what goes wrong here costs no mail.

use mail::{QueueId, TenantId, Timestamp};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use super::control::{Desk, PgTx};
use super::days;
use super::fresh::{Fresh, Incoming, known_name, records_of};
use crate::StoreError;
use crate::index::segment::{Doc, Head, Written, block_id, build};
use crate::index::{Records, SegmentRow, Segments, merge, plan, search};
use crate::tracking::{Page, Query, Record, Scope, Trace};

/// Advisory lock under which segments are written.
pub(super) const INDEX_LOCK: i64 = 0x6d69_7473_0004;
/// Heads of segments held in memory.
const HEADS_MAX: usize = 256;

type Heads = Mutex<HashMap<i64, Arc<Head>>>;

/// The index as this node knows it.
#[derive(Default)]
pub(super) struct Index {
    pub(super) incoming: Incoming,
    fresh: Mutex<Fresh>,
    heads: Heads,
}

impl Index {
    pub(super) fn search(
        &self,
        tx: &mut PgTx<'_>,
        query: &Query,
        scope: &Scope,
        before: Option<QueueId>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let Some(plan) = plan::plan(query, scope, before) else {
            return Ok(Page {
                traces: Vec::new(),
                next: None,
            });
        };
        let live = {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            fresh.catch_up(tx, &self.incoming)?;
            fresh.candidates(&plan)
        };
        let tx = RefCell::new(tx);
        search::search(
            query,
            scope,
            &plan,
            live,
            &mut PgSegments {
                tx: &tx,
                heads: &self.heads,
            },
            &mut PgRecords { tx: &tx },
            limit,
        )
    }

    /// Takes up what was committed; writes segments and merges them when it is time.
    pub(super) fn tend(&self, desk: &mut Desk, own: i16, is_closing: bool) -> Result<(), StoreError> {
        let (mut flushes, merges) = desk.read(|tx| {
            let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
            fresh.catch_up(tx, &self.incoming)?;
            let mut flushes = Vec::new();
            for slot in abandoned(tx)? {
                flushes.extend(flush_of(&mut fresh, slot, true));
            }
            flushes.extend(flush_of(&mut fresh, own, is_closing));
            let tx = RefCell::new(tx);
            let rows = PgSegments {
                tx: &tx,
                heads: &self.heads,
            }
            .list()?;
            Ok((flushes, merge::due(&rows).is_some()))
        })?;
        for flush in flushes.drain(..) {
            if desk.own_write(INDEX_LOCK, |tx| write_flush(tx, &flush))? {
                let newest = flush.docs.iter().map(|d| d.id).max().unwrap_or(0);
                let mut fresh = self.fresh.lock().unwrap_or_else(PoisonError::into_inner);
                fresh.rebase(flush.slot, flush.done, newest);
                if let Some(live) = fresh.live(flush.slot) {
                    live.flushed(&flush.docs, flush.known);
                }
            }
        }
        if merges {
            desk.own_write(INDEX_LOCK, |tx| merge_once(tx, &self.heads))?;
        }
        Ok(())
    }
}

/// What one new segment is made of.
struct Flush {
    slot: i16,
    docs: Vec<Doc>,
    /// Segments have everything up to here afterwards.
    done: i64,
    /// What was known when the documents were made.
    known: i64,
    /// What segments had before.
    base: i64,
}

fn flush_of(fresh: &mut Fresh, slot: i16, is_closing: bool) -> Option<Flush> {
    let base = fresh.base(slot)?;
    let live = fresh.live(slot)?;
    let (docs, done) = live.to_flush(is_closing)?;
    Some(Flush {
        slot,
        docs,
        done,
        known: live.known_seq(),
        base,
    })
}

/// Slots with records that no live node will ever write to the index.
fn abandoned(tx: &mut PgTx<'_>) -> Result<Vec<i16>, StoreError> {
    let rows = tx.query_text(
        "SELECT s::int2 FROM generate_series(0, 15) s WHERE EXISTS (SELECT 1 FROM track_fresh f WHERE f.node = s::int2) \
         AND NOT EXISTS (SELECT 1 FROM node n WHERE n.slot = s::int2)",
        &[],
    )?;
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// `false`: someone else wrote it.
fn write_flush(tx: &mut PgTx<'_>, flush: &Flush) -> Result<bool, StoreError> {
    let rows = tx.query_text("SELECT value FROM index_meta WHERE name = $1", &[&known_name(flush.slot)])?;
    let known: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    if known != flush.base {
        return Ok(false);
    }
    let written = build(&flush.docs);
    let segment = next_segment(tx)?;
    put_blocks(tx, segment, &written.blocks)?;
    let (min, max) = (flush.docs.first().map_or(0, |d| d.id), flush.docs.last().map_or(0, |d| d.id));
    put_segment(tx, segment, 0, flush.docs.len() as u64, (min, max), &written.head)?;
    tx.query_text(
        "INSERT INTO index_meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        &[&known_name(flush.slot), &flush.done],
    )?;
    tx.query_text("DELETE FROM track_fresh WHERE node = $1 AND seq <= $2", &[&flush.slot, &flush.done])?;
    Ok(true)
}

fn next_segment(tx: &mut PgTx<'_>) -> Result<i64, StoreError> {
    let rows = tx.query_text("SELECT nextval('segment_seq')", &[])?;
    Ok(rows.first().map_or(Ok(1), |row| row.try_get(0))?)
}

fn put_blocks(tx: &mut PgTx<'_>, segment: i64, blocks: &[(i64, Vec<u8>)]) -> Result<(), StoreError> {
    for some in blocks.chunks(512) {
        let ids: Vec<i64> = some.iter().map(|(number, _)| block_id(segment, *number)).collect();
        let blobs: Vec<&[u8]> = some.iter().map(|(_, block)| block.as_slice()).collect();
        tx.query_text(
            "INSERT INTO term (id, block) SELECT * FROM unnest($1::int8[], $2::bytea[])",
            &[&ids, &blobs],
        )?;
    }
    Ok(())
}

fn put_segment(tx: &mut PgTx<'_>, segment: i64, level: i16, traces: u64, span: (i64, i64), head: &[u8]) -> Result<(), StoreError> {
    let traces = i64::try_from(traces).unwrap_or(i64::MAX);
    tx.query_text(
        "INSERT INTO segment (segment, level, traces, trace_min, trace_max, head) VALUES ($1, $2, $3, $4, $5, $6)",
        &[&segment, &level, &traces, &span.0, &span.1, &head],
    )?;
    Ok(())
}

fn remove_segment(tx: &mut PgTx<'_>, segment: i64) -> Result<(), StoreError> {
    tx.query_text(
        "DELETE FROM term WHERE id >= $1 AND id < $2",
        &[&block_id(segment, 0), &block_id(segment + 1, 0)],
    )?;
    tx.query_text("DELETE FROM segment WHERE segment = $1", &[&segment])?;
    Ok(())
}

fn merge_once(tx: &mut PgTx<'_>, heads: &Heads) -> Result<(), StoreError> {
    let tx = RefCell::new(tx);
    let mut segments = PgSegments { tx: &tx, heads };
    let Some(sources) = merge::due(&segments.list()?) else {
        return Ok(());
    };
    let segment = next_segment(&mut tx.borrow_mut())?;
    let merged = merge::merge(&sources, &mut segments, &mut |blocks| {
        put_blocks(&mut tx.borrow_mut(), segment, &blocks)
    })?;
    let Written { head, blocks } = merged.rest;
    let tx = &mut tx.borrow_mut();
    put_blocks(tx, segment, &blocks)?;
    let level = sources.iter().map(|s| s.level).max().unwrap_or(0) + 1;
    put_segment(
        tx,
        segment,
        i16::try_from(level).unwrap_or(i16::MAX),
        merged.traces,
        (merged.trace_min, merged.trace_max),
        &head,
    )?;
    sources.iter().try_for_each(|s| remove_segment(tx, s.segment))
}

/// Segments in the snapshot of a transaction.
struct PgSegments<'c, 't, 'd> {
    tx: &'c RefCell<&'t mut PgTx<'d>>,
    heads: &'c Heads,
}

impl Segments for PgSegments<'_, '_, '_> {
    fn list(&mut self) -> Result<Vec<SegmentRow>, StoreError> {
        let rows = self
            .tx
            .borrow_mut()
            .query_text("SELECT segment, level, traces, trace_min, trace_max FROM segment", &[])?;
        rows.iter()
            .map(|row| {
                Ok(SegmentRow {
                    segment: row.try_get(0)?,
                    level: i64::from(row.try_get::<_, i16>(1)?),
                    traces: u64::try_from(row.try_get::<_, i64>(2)?).unwrap_or(0),
                    trace_min: QueueId::from_i64(row.try_get(3)?),
                    trace_max: QueueId::from_i64(row.try_get(4)?),
                })
            })
            .collect()
    }

    fn head(&mut self, segment: i64) -> Result<Arc<Head>, StoreError> {
        let mut heads = self.heads.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(head) = heads.get(&segment) {
            return Ok(Arc::clone(head));
        }
        let rows = self
            .tx
            .borrow_mut()
            .query_text("SELECT head FROM segment WHERE segment = $1", &[&segment])?;
        let row = rows
            .first()
            .ok_or_else(|| StoreError::Data(format!("segment {segment} of the search index is missing")))?;
        let head = Arc::new(Head::from_blob(row.try_get(0)?)?);
        if heads.len() >= HEADS_MAX {
            heads.clear();
        }
        heads.insert(segment, Arc::clone(&head));
        Ok(head)
    }

    fn block(&mut self, id: i64) -> Result<Vec<u8>, StoreError> {
        let rows = self.tx.borrow_mut().query_text("SELECT block FROM term WHERE id = $1", &[&id])?;
        let row = rows
            .first()
            .ok_or_else(|| StoreError::Data(format!("block {id} of the search index is missing")))?;
        Ok(row.try_get(0)?)
    }
}

struct PgRecords<'c, 't, 'd> {
    tx: &'c RefCell<&'t mut PgTx<'d>>,
}

impl Records for PgRecords<'_, '_, '_> {
    fn records(&mut self, trace: QueueId) -> Result<Vec<(i64, Record)>, StoreError> {
        Ok(records_of(&mut self.tx.borrow_mut(), trace)?
            .into_iter()
            .map(|(_, seq, told)| (seq, told))
            .collect())
    }
}

/// One trace as far as `scope` sees it.
pub(super) fn trace(tx: &mut PgTx<'_>, id: QueueId, scope: &Scope) -> Result<Option<Trace>, StoreError> {
    let records = records_of(tx, id)?.into_iter().map(|(_, _, told)| told).collect();
    Ok(search::one(id, scope, records))
}

/// What retention asks for, by whole days (UTC) of the traces' birth.
pub(super) struct Retention {
    keep: BTreeMap<TenantId, Timestamp>,
    default: Timestamp,
}

/// Stands in `track_purge` for all tenants without a retention of their own.
const OTHERS: i64 = -1;

impl Retention {
    pub(super) fn new(keep: Vec<(TenantId, Timestamp)>, default: Timestamp) -> Self {
        Self {
            keep: keep.into_iter().collect(),
            default,
        }
    }

    fn is_kept_by_nobody(&self, day: i32) -> bool {
        is_over(day, self.default) && self.keep.values().all(|from| is_over(day, *from))
    }

    /// Removes from `day`, of which somebody keeps something, the records of those who do not. Once for each, which is remembered.
    fn thin_out(&self, tx: &mut PgTx<'_>, day: i32) -> Result<u64, StoreError> {
        let named: Vec<i64> = self.keep.keys().map(|t| t.0).collect();
        let mut over: Vec<i64> = self
            .keep
            .iter()
            .filter(|(_, from)| is_over(day, **from))
            .map(|(tenant, _)| tenant.0)
            .collect();
        over.extend(is_over(day, self.default).then_some(OTHERS));
        let mut gone = 0;
        for tenant in over {
            let marked = tx.query_text(
                "INSERT INTO track_purge (day, tenant) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING day",
                &[&i64::from(day), &tenant],
            )?;
            if marked.is_empty() {
                continue;
            }
            let removed = if tenant == OTHERS {
                tx.query_text(&counted_delete(day, "tenant <> ALL($1::int8[])"), &[&named])?
            } else {
                tx.query_text(&counted_delete(day, "tenant = $1"), &[&tenant])?
            };
            let n: i64 = removed.first().map_or(Ok(0), |row| row.try_get(0))?;
            gone += u64::try_from(n).unwrap_or(0);
        }
        Ok(gone)
    }
}

fn counted_delete(day: i32, condition: &str) -> String {
    format!("WITH gone AS (DELETE FROM track_{day} WHERE {condition} RETURNING 1) SELECT count(*) FROM gone")
}

/// Whether the whole of `day` lies before `first_kept`.
fn is_over(day: i32, first_kept: Timestamp) -> bool {
    (i64::from(day) + 1).saturating_mul(86_400_000) <= first_kept.0
}

/// Removes segments whose traces all lie before `day`.
fn drop_segments(tx: &mut PgTx<'_>, day: i32) -> Result<(), StoreError> {
    let first = QueueId::first_at(Timestamp(i64::from(day) * 86_400_000)).to_i64();
    let old = tx.query_text("SELECT segment FROM segment WHERE trace_max < $1", &[&first])?;
    old.iter().try_for_each(|row| remove_segment(tx, row.try_get(0)?))
}

/// Drops days that nobody keeps, then what is left of tenants with shorter retention. How many records went.
pub(super) fn expire(desk: &mut Desk, retention: &Retention) -> Result<u64, StoreError> {
    let all = desk.on_session(|session| Box::pin(days::all(session)))?;
    let (whole, rest): (Vec<i32>, Vec<i32>) = all.into_iter().partition(|day| retention.is_kept_by_nobody(*day));
    let mut gone = 0;
    for day in &whole {
        gone += desk.on_session(|session| Box::pin(days::remove(session, *day)))?;
    }
    if let Some(last) = whole.last() {
        desk.own_write(INDEX_LOCK, |tx| drop_segments(tx, *last + 1))?;
    }
    for day in rest {
        gone += desk.read_write(|tx| retention.thin_out(tx, day))?;
    }
    Ok(gone)
}

/// Drops the records of some traces of one tenant; their index entries lead to nothing from then on. How many records went.
pub(super) fn forget(desk: &mut Desk, tenant: TenantId, traces: &[QueueId]) -> Result<u64, StoreError> {
    let days = desk.on_session(|session| Box::pin(days::all(session)))?;
    let mut of_day: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
    for trace in traces.iter().filter(|t| days.contains(&t.time().day())) {
        of_day.entry(trace.time().day()).or_default().push(trace.to_i64());
    }
    desk.read_write(|tx| {
        let mut gone = 0;
        for (day, ids) in &of_day {
            let removed = tx.query_text(&counted_delete(*day, "trace = ANY($1::int8[]) AND tenant = $2"), &[ids, &tenant.0])?;
            let n: i64 = removed.first().map_or(Ok(0), |row| row.try_get(0))?;
            gone += u64::try_from(n).unwrap_or(0);
        }
        Ok(gone)
    })
}
