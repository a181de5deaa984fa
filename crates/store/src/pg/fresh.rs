//! Fresh: which traces has no segment of the search index yet, on any node?
//!
//! In:  records of this node as they are committed; those of others from `track_fresh`, when someone asks.
//! Out: candidates for a search; documents for the next segment of a slot.
//! Invariants: memory is bounded; what did not fit is read from the tables; one stream a slot, each in the order of its numbers.

use mail::QueueId;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use super::control::PgTx;
use crate::StoreError;
use crate::index::live::Live;
use crate::index::plan::Plan;
use crate::tracking::{Record, record};

/// Records handed over by the writer and not absorbed.
const INCOMING_MAX: usize = 2_048;
/// Rows of `track_fresh` read at once.
const ROWS_MAX: i64 = 2_000;

/// Where the writer puts records after their commit.
#[derive(Default)]
pub(super) struct Incoming(Mutex<Vec<(i16, i64, Record)>>);

impl Incoming {
    /// Takes over committed records. What does not fit is dropped: a gap in the numbers sends the reader to the tables.
    pub(super) fn put(&self, records: impl Iterator<Item = (i16, i64, Record)>) {
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for record in records {
            if waiting.len() >= INCOMING_MAX {
                waiting.clear();
            }
            waiting.push(record);
        }
    }

    fn take(&self) -> Vec<(i16, i64, Record)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One slot's stream.
struct Stream {
    live: Live,
    /// Up to which number segments had it when the stream was begun, as `index_meta` says.
    base: i64,
    /// No trace born on this slot above this id is in a segment.
    fresh_above: i64,
}

/// All streams, as this node follows them.
#[derive(Default)]
pub(super) struct Fresh {
    streams: BTreeMap<i16, Stream>,
}

/// The slot whose node gave an id.
fn slot_of(id: QueueId) -> i16 {
    i16::try_from(id.to_i64() >> 18 & 15).unwrap_or(0)
}

/// Name in `index_meta` of the number up to which segments have everything of `slot`.
pub(super) fn known_name(slot: i16) -> String {
    format!("known_{slot}")
}

impl Fresh {
    /// Takes up everything committed before the snapshot of `tx`.
    pub(super) fn catch_up(&mut self, tx: &mut PgTx<'_>, incoming: &Incoming) -> Result<(), StoreError> {
        let arrived = incoming.take();
        let bases = bases(tx)?;
        let newest = newest_in_segments(tx)?;
        let slots: BTreeSet<i16> = tx
            .query_text(
                "SELECT s::int2 FROM generate_series(0, 15) s WHERE EXISTS (SELECT 1 FROM track_fresh f WHERE f.node = s::int2)",
                &[],
            )?
            .iter()
            .map(|row| row.try_get(0))
            .collect::<Result<_, _>>()?;
        // A slot whose records are all in segments needs no memory.
        self.streams.retain(|slot, _| slots.contains(slot));
        for slot in slots {
            let base = bases.get(&slot).copied().unwrap_or(0);
            let stream = self.streams.entry(slot).or_insert_with(|| Stream::new(base, newest));
            if stream.base != base {
                *stream = Stream::new(base, newest);
            }
            let own: Vec<(i64, &Record)> = arrived
                .iter()
                .filter(|(s, _, _)| *s == slot)
                .map(|(_, seq, record)| (*seq, record))
                .collect();
            stream.follow(tx, slot, &own)?;
        }
        Ok(())
    }

    /// Traces that may match, newest first.
    pub(super) fn candidates(&self, plan: &Plan) -> Vec<(i64, u64)> {
        let mut all: Vec<(i64, u64)> = self.streams.values().flat_map(|s| s.live.candidates(plan)).collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        all.dedup_by_key(|(id, _)| *id);
        all
    }

    /// The stream of a slot, for whoever writes its segments.
    pub(super) fn live(&mut self, slot: i16) -> Option<&mut Live> {
        self.streams.get_mut(&slot).map(|s| &mut s.live)
    }

    /// Up to which number segments have everything of a slot, as far as this node knows.
    pub(super) fn base(&self, slot: i16) -> Option<i64> {
        self.streams.get(&slot).map(|s| s.base)
    }

    /// Segments have everything of `slot` up to `known` now.
    pub(super) fn rebase(&mut self, slot: i16, known: i64, newest: i64) {
        if let Some(stream) = self.streams.get_mut(&slot) {
            stream.base = known;
            stream.fresh_above = stream.fresh_above.max(newest);
        }
    }
}

impl Stream {
    fn new(base: i64, fresh_above: i64) -> Self {
        // Whether a trace may have earlier records is decided in `earlier`, which knows where it was born.
        Self {
            live: Live::new(base, i64::MAX),
            base,
            fresh_above,
        }
    }

    fn follow(&mut self, tx: &mut PgTx<'_>, slot: i16, own: &[(i64, &Record)]) -> Result<(), StoreError> {
        // Numbers of one writer have no gaps, so that records that follow directly need not be read again.
        for (seq, record) in own {
            if *seq == self.live.known_seq() + 1 {
                self.absorb(tx, slot, *seq, record)?;
            }
        }
        loop {
            let rows = tx.query_text(
                "SELECT seq, trace FROM track_fresh WHERE node = $1 AND seq > $2 ORDER BY seq LIMIT $3",
                &[&slot, &self.live.known_seq(), &ROWS_MAX],
            )?;
            let mut wanted: BTreeMap<i32, Vec<i64>> = BTreeMap::new();
            for row in &rows {
                let (seq, trace): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
                wanted.entry(QueueId::from_i64(trace).time().day()).or_default().push(seq);
            }
            let mut found = BTreeMap::new();
            for (day, numbers) in wanted {
                for (seq, record) in read_numbers(tx, day, slot, &numbers)? {
                    found.insert(seq, record);
                }
            }
            for (seq, record) in found {
                self.absorb(tx, slot, seq, &record)?;
            }
            if let Some(last) = rows.last() {
                // Their day may be dropped already.
                self.live.know(last.try_get(0)?);
            }
            if (rows.len() as i64) < ROWS_MAX {
                return Ok(());
            }
        }
    }

    fn absorb(&mut self, tx: &mut PgTx<'_>, slot: i16, seq: i64, record: &Record) -> Result<(), StoreError> {
        let fresh_above = self.fresh_above;
        self.live.absorb(seq, record, &mut |trace, below| {
            if slot_of(trace) == slot && trace.to_i64() > fresh_above {
                return Ok(Vec::new());
            }
            let all = records_of(tx, trace)?;
            Ok(all
                .into_iter()
                .filter(|(node, seq, _)| *node != slot || *seq < below)
                .map(|(_, _, r)| r)
                .collect())
        })
    }
}

fn bases(tx: &mut PgTx<'_>) -> Result<BTreeMap<i16, i64>, StoreError> {
    let rows = tx.query_text("SELECT name, value FROM index_meta WHERE starts_with(name, 'known_')", &[])?;
    let mut out = BTreeMap::new();
    for row in rows {
        let name: &str = row.try_get(0)?;
        if let Some(slot) = name.strip_prefix("known_").and_then(|s| s.parse().ok()) {
            out.insert(slot, row.try_get(1)?);
        }
    }
    Ok(out)
}

fn newest_in_segments(tx: &mut PgTx<'_>) -> Result<i64, StoreError> {
    let rows = tx.query_text("SELECT COALESCE(max(trace_max), 0) FROM segment", &[])?;
    Ok(rows.first().map_or(Ok(0), |row| row.try_get(0))?)
}

/// Whether a day has tables, in the snapshot of `tx`.
fn has_day(tx: &mut PgTx<'_>, day: i32) -> Result<bool, StoreError> {
    let has = tx.query_text(
        "SELECT 1 FROM track_day WHERE day = $1 AND to_regclass($2) IS NOT NULL",
        &[&i64::from(day), &format!("track_{day}")],
    )?;
    Ok(!has.is_empty())
}

fn read_numbers(tx: &mut PgTx<'_>, day: i32, slot: i16, numbers: &[i64]) -> Result<Vec<(i64, Record)>, StoreError> {
    if !has_day(tx, day)? {
        return Ok(Vec::new());
    }
    let text = format!("SELECT seq, trace, tenant, record FROM track_{day} WHERE node = $1 AND seq = ANY($2::int8[]) ORDER BY seq");
    tx.query_text(&text, &[&slot, &numbers])?
        .iter()
        .map(|row| {
            let trace = QueueId::from_i64(row.try_get(1)?);
            Ok((
                row.try_get(0)?,
                record::from_blob(trace, mail::TenantId(row.try_get(2)?), row.try_get(3)?)?,
            ))
        })
        .collect()
}

/// All records of a trace as (slot, number, record), in the order in which they were written.
pub(super) fn records_of(tx: &mut PgTx<'_>, trace: QueueId) -> Result<Vec<(i16, i64, Record)>, StoreError> {
    let day = trace.time().day();
    if !has_day(tx, day)? {
        return Ok(Vec::new());
    }
    let rows = tx.query_text(
        &format!("SELECT node, seq, tenant, record FROM track_{day} WHERE trace = $1 ORDER BY seq"),
        &[&trace.to_i64()],
    )?;
    let mut all = Vec::with_capacity(rows.len());
    for row in &rows {
        let told = record::from_blob(trace, mail::TenantId(row.try_get(2)?), row.try_get(3)?)?;
        all.push((row.try_get::<_, i16>(0)?, row.try_get::<_, i64>(1)?, told));
    }
    // Numbers order what one node wrote; between nodes it is the moment.
    if all.windows(2).any(|w| matches!(w, [a, b] if a.0 != b.0)) {
        all.sort_by_key(|(_, seq, told)| (told.at, *seq));
    }
    Ok(all)
}
