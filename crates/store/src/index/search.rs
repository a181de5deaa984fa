//! Search: which traces match, newest first?
//!
//! In:  plan, candidates in memory, segments of one snapshot, the records behind. Out: a page.
//! Segments are opened only when the next candidate may be in them. Invariants: each trace on a page was checked with all its records;
//! one call reads at most [`CHECKS_MAX`] traces: a page may come back short with `next` set, and the caller asks on.

use mail::QueueId;
use std::collections::BinaryHeap;
use std::sync::Arc;

use super::matches::{Matcher, is_in_scope, redact};
use super::plan::Plan;
use super::posting::Set;
use super::segment::{CHUNK, Head, block_id, find_in_block, read_chunk};
use super::{Records, SegmentRow, Segments};
use crate::StoreError;
use crate::tracking::{Page, Query, Record, Scope, Trace};

/// Candidates read and checked in one call.
pub const CHECKS_MAX: usize = 10_000;
/// Traces on a page.
pub const PAGE_MAX: usize = 1_000;

/// Runs a search. `live`: candidates in memory, taken before the snapshot of `segments`, newest first.
///
/// # Errors
/// Of the engine; [`StoreError::Data`] for damaged rows.
pub fn search(
    query: &Query,
    scope: &Scope,
    plan: &Plan,
    live: Vec<(i64, u64)>,
    segments: &mut dyn Segments,
    records: &mut dyn Records,
    limit: usize,
) -> Result<Page, StoreError> {
    let limit = limit.clamp(1, PAGE_MAX);
    let matcher = Matcher::new(query);
    let mut merge = Newest::new(plan, live, segments)?;
    let mut page = Page {
        traces: Vec::new(),
        next: None,
    };
    let mut checks = 0;
    while let Some(id) = merge.next(segments)? {
        let id = QueueId::from_i64(id);
        checks += 1;
        if let Some(mut trace) = whole(id, scope, records.records(id)?.into_iter().map(|(_, r)| r).collect())
            && matcher.is_met_by(&trace, scope)
        {
            if scope.tenant.is_none() {
                redact(&mut trace);
            }
            page.traces.push(trace);
        }
        if page.traces.len() >= limit || checks >= CHECKS_MAX {
            page.next = Some(id);
            break;
        }
    }
    Ok(page)
}

/// A trace of those of its records that a scope's tenant owns; `None` when there are none.
#[must_use]
pub fn whole(id: QueueId, scope: &Scope, mut records: Vec<Record>) -> Option<Trace> {
    if let Some(tenant) = scope.tenant {
        records.retain(|r| r.tenant == tenant);
    }
    let tenant = records.first()?.tenant;
    let direction = records.iter().find_map(|r| r.direction);
    Some(Trace {
        id,
        tenant,
        direction,
        records,
    })
}

/// One trace as a reader of `scope` sees it.
#[must_use]
pub fn one(id: QueueId, scope: &Scope, records: Vec<Record>) -> Option<Trace> {
    let mut trace = whole(id, scope, records).filter(|trace| is_in_scope(trace, scope))?;
    if scope.tenant.is_none() {
        redact(&mut trace);
    }
    Some(trace)
}

/// Candidates of all sources, newest first, each once.
struct Newest<'p> {
    plan: &'p Plan,
    /// Not opened yet; the one with the newest trace last.
    closed: Vec<SegmentRow>,
    open: Vec<Cursor>,
    /// (id, place in `open`); the place of memory is `usize::MAX`.
    heap: BinaryHeap<(i64, usize)>,
    live: std::vec::IntoIter<(i64, u64)>,
    last: Option<i64>,
}

const LIVE: usize = usize::MAX;

impl<'p> Newest<'p> {
    fn new(plan: &'p Plan, live: Vec<(i64, u64)>, segments: &mut dyn Segments) -> Result<Self, StoreError> {
        let mut closed: Vec<SegmentRow> = segments
            .list()?
            .into_iter()
            .filter(|row| row.trace_max >= plan.from && row.trace_min < plan.to)
            .collect();
        closed.sort_by_key(|row| row.trace_max);
        let mut merge = Self {
            plan,
            closed,
            open: Vec::new(),
            heap: BinaryHeap::new(),
            live: live.into_iter(),
            last: None,
        };
        merge.push_live();
        Ok(merge)
    }

    fn push_live(&mut self) {
        let sizes = self.plan.sizes;
        if let Some((id, _)) = self.live.find(|(_, size)| is_in(sizes, *size)) {
            self.heap.push((id, LIVE));
        }
    }

    fn next(&mut self, segments: &mut dyn Segments) -> Result<Option<i64>, StoreError> {
        loop {
            while let Some(row) = self.closed.last()
                && self.heap.peek().is_none_or(|(id, _)| row.trace_max.to_i64() >= *id)
            {
                let row = *row;
                self.closed.pop();
                if let Some(mut cursor) = Cursor::open(row.segment, self.plan, segments)?
                    && let Some(id) = cursor.next(self.plan, segments)?
                {
                    self.heap.push((id, self.open.len()));
                    self.open.push(cursor);
                }
            }
            let Some((id, place)) = self.heap.pop() else { return Ok(None) };
            if place == LIVE {
                self.push_live();
            } else if let Some(cursor) = self.open.get_mut(place)
                && let Some(next) = cursor.next(self.plan, segments)?
            {
                self.heap.push((next, place));
            }
            if self.last != Some(id) {
                self.last = Some(id);
                return Ok(Some(id));
            }
        }
    }
}

fn is_in(sizes: Option<(u64, u64)>, size: u64) -> bool {
    sizes.is_none_or(|(min, max)| (min..=max).contains(&size))
}

/// Candidates of one segment, newest first.
struct Cursor {
    segment: i64,
    set: Set,
    bound: u32,
    chunk: Vec<(i64, u64)>,
    chunk_from: Option<u32>,
}

impl Cursor {
    /// `None`: no trace here can match.
    fn open(segment: i64, plan: &Plan, segments: &mut dyn Segments) -> Result<Option<Self>, StoreError> {
        let head = segments.head(segment)?;
        let mut met: Option<Set> = None;
        // The owner's group comes first: a segment without the tenant costs one look.
        for group in &plan.groups {
            let mut sets = Vec::new();
            for term in group {
                sets.extend(look_up(segment, &head, *term, segments)?);
            }
            let set = match sets.pop() {
                Some(only) if sets.is_empty() => only,
                Some(last) => {
                    sets.push(last);
                    Set::join(sets)
                }
                None => return Ok(None),
            };
            let narrowed = match met.take() {
                Some(before) => before.meet(set),
                None => set,
            };
            if narrowed.is_empty() {
                return Ok(None);
            }
            met = Some(narrowed);
        }
        let bound = head.ordinal_bound(plan.to);
        Ok(Some(Self {
            segment,
            set: met.unwrap_or_else(|| Set::all(head.traces)),
            bound,
            chunk: Vec::new(),
            chunk_from: None,
        }))
    }

    fn next(&mut self, plan: &Plan, segments: &mut dyn Segments) -> Result<Option<i64>, StoreError> {
        while let Some(ordinal) = self.set.last_below(self.bound) {
            self.bound = ordinal;
            let from = ordinal - ordinal % CHUNK as u32;
            if self.chunk_from != Some(from) {
                self.chunk = read_chunk(&segments.block(block_id(self.segment, Head::chunk_block(ordinal)))?)?;
                self.chunk_from = Some(from);
            }
            let (id, size) = *self
                .chunk
                .get((ordinal - from) as usize)
                .ok_or_else(|| StoreError::Data("a chunk of the search index is too short".into()))?;
            if id < plan.from.to_i64() {
                return Ok(None);
            }
            if id < plan.to.to_i64() && is_in(plan.sizes, size) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }
}

fn look_up(segment: i64, head: &Arc<Head>, term: u64, segments: &mut dyn Segments) -> Result<Option<Set>, StoreError> {
    let Some(number) = head.block_of(term) else { return Ok(None) };
    let first = usize::try_from(number)
        .ok()
        .and_then(|n| head.block_terms.get(n))
        .copied()
        .unwrap_or(0);
    find_in_block(&segments.block(block_id(segment, number))?, first, term)
}
