//! Live: traces that no segment has yet, searched in memory.
//!
//! In:  records as they are committed ([`Incoming`]), in the order of their numbers. Out: candidates for a search; documents for the
//! next segment, with the number up to which all records are then in segments.
//! Invariants: memory is bounded ([`INCOMING_MAX`], [`FLUSH`] + [`KEEP`] traces): what does not fit is read again from the tables;
//! a trace whose earlier records are in a segment is taken up with all its records, so that its newest copy is whole.

use mail::QueueId;
use std::collections::BTreeMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use super::plan::Plan;
use super::segment::Doc;
use super::term::{record_terms, state_term, term, tls_term};
use crate::StoreError;
use crate::tracking::state::{State, said};
use crate::tracking::{Event, Record};

/// Traces of a new segment.
pub const FLUSH: usize = 4_096;
/// The newest traces stay: most hear of their delivery within moments.
pub const KEEP: usize = 1_024;
/// Records handed over and not absorbed.
const INCOMING_MAX: usize = 2_048;
/// The indexer is woken when so many wait.
const WAKE_AT: usize = 256;

/// Where the writer puts records after their commit.
#[derive(Default)]
pub struct Incoming {
    state: Mutex<Waiting>,
    indexer: OnceLock<Thread>,
}

#[derive(Default)]
struct Waiting {
    records: Vec<(i64, Brief)>,
    /// Some did not fit: they must be read from the tables.
    has_gap: bool,
}

impl Incoming {
    /// The thread to wake.
    pub fn set_indexer(&self, thread: Thread) {
        let _ = self.indexer.set(thread);
    }

    /// Takes over committed records. Never waits.
    pub fn put(&self, records: Vec<(i64, Brief)>) {
        if records.is_empty() {
            return;
        }
        let wake = {
            let mut waiting = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let before = waiting.records.len();
            if waiting.has_gap || before + records.len() > INCOMING_MAX {
                waiting.has_gap = true;
                waiting.records.clear();
                true
            } else {
                waiting.records.extend(records);
                before < WAKE_AT && waiting.records.len() >= WAKE_AT
            }
        };
        if wake && let Some(thread) = self.indexer.get() {
            thread.unpark();
        }
    }

    /// What waits; `true`: some are missing, read the tables from the last known number on.
    pub fn take(&self) -> (Vec<(i64, Brief)>, bool) {
        let mut waiting = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let has_gap = std::mem::replace(&mut waiting.has_gap, false);
        (std::mem::take(&mut waiting.records), has_gap)
    }

    /// Wakes the indexer (to stop).
    pub fn wake(&self) {
        if let Some(thread) = self.indexer.get() {
            thread.unpark();
        }
    }
}

/// What the index takes from one record.
#[derive(Clone, Debug)]
pub struct Brief {
    /// The trace.
    pub trace: QueueId,
    size: Option<u64>,
    is_connected: bool,
    is_tls: bool,
    /// Last word on each recipient, by hash.
    states: Vec<(u64, State)>,
    /// Sorted, each once.
    terms: Vec<u64>,
}

impl Brief {
    /// Reads a record. Done where the record was made: it is at hand there, and need not be kept.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let mut brief = Self {
            trace: record.trace,
            size: None,
            is_connected: false,
            is_tls: false,
            states: Vec::new(),
            terms: Vec::with_capacity(64),
        };
        record_terms(record, &mut brief.terms);
        brief.terms.sort_unstable();
        brief.terms.dedup();
        for event in &record.events {
            match event {
                Event::Connected { .. } => brief.is_connected = true,
                Event::Tls { .. } => brief.is_tls = true,
                Event::Accepted { size, .. } => brief.size = Some(*size),
                _ => {}
            }
            if let Some((recipient, state)) = said(event) {
                // Any stable hash does; the field's number only seeds it.
                let key = term(super::term::Field::Recipient, recipient.unwrap_or_default().as_bytes());
                set_state(&mut brief.states, key, state);
            }
        }
        brief
    }
}

fn set_state(states: &mut Vec<(u64, State)>, key: u64, state: State) {
    match states.iter_mut().find(|(k, _)| *k == key) {
        Some((_, known)) => *known = state,
        None => states.push((key, state)),
    }
}

/// Traces not in segments yet.
#[derive(Default)]
pub struct Live {
    traces: BTreeMap<i64, LiveTrace>,
    /// Every record up to this number was absorbed.
    known_seq: i64,
    /// No trace above this id has a record in a segment.
    fresh_above: i64,
}

#[derive(Default)]
struct LiveTrace {
    /// The first record of it that no segment has.
    unindexed_from: i64,
    last_seq: i64,
    size: u64,
    is_connected: bool,
    is_tls: bool,
    /// Last word on each recipient, by hash.
    states: Vec<(u64, State)>,
    /// Sorted, each once.
    terms: Vec<u64>,
}

/// Reads the records of a trace with numbers below the given one.
pub type Earlier<'e> = dyn FnMut(QueueId, i64) -> Result<Vec<Record>, StoreError> + 'e;

impl Live {
    /// Nothing absorbed; segments have all up to `known_seq`, and no trace above `fresh_above`.
    #[must_use]
    pub fn new(known_seq: i64, fresh_above: i64) -> Self {
        Self {
            traces: BTreeMap::new(),
            known_seq,
            fresh_above,
        }
    }

    /// Every record up to this number was absorbed.
    #[must_use]
    pub fn known_seq(&self) -> i64 {
        self.known_seq
    }

    /// Every record up to `seq` was offered (there may be none).
    pub fn know(&mut self, seq: i64) {
        self.known_seq = self.known_seq.max(seq);
    }

    /// Traces in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// None in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Takes up a record. One that is known already is left out.
    ///
    /// # Errors
    /// Those of `earlier`.
    pub fn absorb(&mut self, seq: i64, record: &Record, earlier: &mut Earlier<'_>) -> Result<(), StoreError> {
        self.absorb_brief(seq, Brief::of(record), earlier)
    }

    /// Takes up what was read of a record already.
    ///
    /// # Errors
    /// Those of `earlier`.
    pub fn absorb_brief(&mut self, seq: i64, brief: Brief, earlier: &mut Earlier<'_>) -> Result<(), StoreError> {
        if seq <= self.known_seq {
            return Ok(());
        }
        let id = brief.trace.to_i64();
        if id <= self.fresh_above && !self.traces.contains_key(&id) {
            let mut trace = LiveTrace {
                unindexed_from: seq,
                last_seq: seq,
                ..LiveTrace::default()
            };
            for old in earlier(brief.trace, seq)? {
                trace.add(Brief::of(&old));
            }
            self.traces.insert(id, trace);
        }
        let trace = self.traces.entry(id).or_insert_with(|| LiveTrace {
            unindexed_from: seq,
            ..LiveTrace::default()
        });
        trace.last_seq = seq;
        trace.add(brief);
        self.known_seq = seq;
        Ok(())
    }

    /// Traces that may match, newest first, with their sizes.
    #[must_use]
    pub fn candidates(&self, plan: &Plan) -> Vec<(i64, u64)> {
        if plan.from >= plan.to {
            return Vec::new();
        }
        self.traces
            .range(plan.from.to_i64()..plan.to.to_i64())
            .rev()
            .filter(|(_, trace)| plan.groups.iter().all(|group| group.iter().any(|t| trace.has(*t))))
            .map(|(id, trace)| (*id, trace.size))
            .collect()
    }

    /// Documents for the next segment, if there are enough (or any, when closing): the traces whose first record is oldest.
    /// With them: the number up to which all records are in segments once they are written.
    #[must_use]
    pub fn to_flush(&self, is_closing: bool) -> Option<(Vec<Doc>, i64)> {
        let keep = if is_closing { 0 } else { KEEP };
        if self.traces.is_empty() || (!is_closing && self.traces.len() < FLUSH + keep) {
            return None;
        }
        let mut order: Vec<(i64, i64)> = self.traces.iter().map(|(id, t)| (t.unindexed_from, *id)).collect();
        order.sort_unstable();
        let (flushed, kept) = order.split_at(order.len().saturating_sub(keep));
        let done = kept.first().map_or(self.known_seq, |(seq, _)| seq - 1);
        let mut docs: Vec<Doc> = flushed
            .iter()
            .filter_map(|(_, id)| self.traces.get(id).map(|t| t.doc(*id)))
            .collect();
        docs.sort_unstable_by_key(|d| d.id);
        Some((docs, done))
    }

    /// `docs` are in a segment now, as they were when `known_seq` was known.
    pub fn flushed(&mut self, docs: &[Doc], known_seq: i64) {
        for doc in docs {
            self.fresh_above = self.fresh_above.max(doc.id);
            match self.traces.get_mut(&doc.id) {
                Some(trace) if trace.last_seq > known_seq => trace.unindexed_from = known_seq + 1,
                Some(_) => drop(self.traces.remove(&doc.id)),
                None => {}
            }
        }
    }
}

impl LiveTrace {
    fn add(&mut self, brief: Brief) {
        if self.terms.is_empty() {
            self.terms = brief.terms;
            self.terms.shrink_to_fit();
        } else {
            let known = self.terms.len();
            self.terms.extend(
                brief
                    .terms
                    .iter()
                    .filter(|t| self.terms.binary_search(t).is_err())
                    .copied()
                    .collect::<Vec<_>>(),
            );
            if self.terms.len() > known {
                self.terms.sort_unstable();
            }
        }
        self.is_connected |= brief.is_connected;
        self.is_tls |= brief.is_tls;
        self.size = brief.size.unwrap_or(self.size);
        for (key, state) in brief.states {
            set_state(&mut self.states, key, state);
        }
    }

    /// Terms that depend on all records.
    fn late_terms(&self) -> impl Iterator<Item = u64> {
        let tls = if self.is_tls {
            Some(true)
        } else if self.is_connected {
            Some(false)
        } else {
            None
        };
        self.states.iter().map(|(_, state)| state_term(*state)).chain(tls.map(tls_term))
    }

    fn has(&self, wanted: u64) -> bool {
        self.terms.binary_search(&wanted).is_ok() || self.late_terms().any(|t| t == wanted)
    }

    fn doc(&self, id: i64) -> Doc {
        Doc {
            id,
            size: self.size,
            terms: self.terms.iter().copied().chain(self.late_terms()).collect(),
        }
    }
}
