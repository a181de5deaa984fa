//! Merge: how do several segments become one?
//!
//! In:  segments, older first. Out: one segment, block by block. Of a trace that several have, the newest copy alone remains: what has
//! changed since (a state, say) is forgotten with the older ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::segment::{Builder, Entries, Head, TRACES_MAX, Written, block_id, read_chunk};
use super::{SegmentRow, Segments};
use crate::StoreError;

/// So many segments of one level become one of the next.
pub const FAN_IN: usize = 8;
/// Segments of this level are merged no further.
pub const LEVEL_MAX: i64 = 2;
/// Blocks handed on at once.
const BLOCKS_AT_ONCE: usize = 64;

/// The segments to merge now, if any: the oldest ones of a level that has enough.
#[must_use]
pub fn due(rows: &[SegmentRow]) -> Option<Vec<SegmentRow>> {
    let mut levels: BTreeMap<i64, Vec<SegmentRow>> = BTreeMap::new();
    for row in rows {
        levels.entry(row.level).or_default().push(*row);
    }
    levels
        .into_iter()
        .filter(|(level, rows)| *level < LEVEL_MAX && rows.len() >= FAN_IN)
        .find_map(|(_, mut rows)| {
            rows.sort_by_key(|r| r.segment);
            rows.truncate(FAN_IN);
            let traces: u64 = rows.iter().map(|r| r.traces).sum();
            (traces <= TRACES_MAX as u64).then_some(rows)
        })
}

/// What came of a merge: head and last blocks, and what the row says.
pub struct Merged {
    /// Head and the blocks not handed on yet.
    pub rest: Written,
    /// Traces in it.
    pub traces: u64,
    /// Oldest trace.
    pub trace_min: i64,
    /// Newest trace.
    pub trace_max: i64,
}

/// Takes blocks of the new segment as they are made.
pub type Sink<'s> = dyn FnMut(Vec<(i64, Vec<u8>)>) -> Result<(), StoreError> + 's;

const GONE: u32 = u32::MAX;

/// Merges `sources` (older first); hands blocks to `sink` as they are made.
///
/// # Errors
/// Of the engine or the sink; [`StoreError::Data`] for damaged segments.
pub fn merge(sources: &[SegmentRow], segments: &mut dyn Segments, sink: &mut Sink<'_>) -> Result<Merged, StoreError> {
    let mut streams = Vec::new();
    let mut all: Vec<(i64, usize, u32, u64)> = Vec::new();
    for (n, row) in sources.iter().enumerate() {
        let head = segments.head(row.segment)?;
        let mut ordinal = 0u32;
        for chunk in 0..head.chunk_ids.len() {
            let number = Head::chunk_block(u32::try_from(chunk * super::segment::CHUNK).unwrap_or(u32::MAX));
            for (id, size) in read_chunk(&segments.block(block_id(row.segment, number))?)? {
                all.push((id, usize::MAX - n, ordinal, size));
                ordinal += 1;
            }
        }
        streams.push(Stream::new(row.segment, head, ordinal));
    }
    all.sort_unstable();
    let mut kept: Vec<(i64, u64)> = Vec::with_capacity(all.len());
    for (id, from, ordinal, size) in all {
        // Of equal ids the one of the newest source comes first.
        if kept.last().is_some_and(|(last, _)| *last == id) {
            continue;
        }
        let place = u32::try_from(kept.len()).unwrap_or(GONE);
        if let Some(slot) = streams.get_mut(usize::MAX - from).and_then(|s| s.places.get_mut(ordinal as usize)) {
            *slot = place;
        }
        kept.push((id, size));
    }
    let mut builder = Builder::default();
    builder.traces(&mut kept.iter().copied());
    let mut merged = Merged {
        rest: Written::default(),
        traces: kept.len() as u64,
        trace_min: kept.first().map_or(0, |t| t.0),
        trace_max: kept.last().map_or(0, |t| t.0),
    };
    drop(kept);
    merge_terms(&mut streams, segments, &mut builder, sink)?;
    merged.rest = builder.finish();
    Ok(merged)
}

fn merge_terms(streams: &mut [Stream], segments: &mut dyn Segments, builder: &mut Builder, sink: &mut Sink<'_>) -> Result<(), StoreError> {
    for stream in streams.iter_mut() {
        stream.advance(segments)?;
    }
    let mut ordinals: Vec<u32> = Vec::new();
    let mut terms = 0usize;
    while let Some(term) = streams.iter().filter_map(|s| s.term).min() {
        ordinals.clear();
        for stream in streams.iter_mut().filter(|s| s.term == Some(term)) {
            stream.take_into(&mut ordinals)?;
            stream.advance(segments)?;
        }
        ordinals.sort_unstable();
        if !ordinals.is_empty() {
            builder.term(term, &ordinals);
        }
        terms += 1;
        if terms.is_multiple_of(BLOCKS_AT_ONCE * 256) {
            sink(builder.take_blocks())?;
        }
    }
    Ok(())
}

/// The terms of one source, ascending.
struct Stream {
    segment: i64,
    head: Arc<Head>,
    /// New place of each old ordinal.
    places: Vec<u32>,
    next_block: usize,
    block: Vec<u8>,
    at: usize,
    before: u64,
    term: Option<u64>,
    posting: std::ops::Range<usize>,
}

impl Stream {
    fn new(segment: i64, head: Arc<Head>, traces: u32) -> Self {
        let places = vec![GONE; traces as usize];
        Self {
            segment,
            head,
            places,
            next_block: 0,
            block: Vec::new(),
            at: 0,
            before: 0,
            term: None,
            posting: 0..0,
        }
    }

    fn advance(&mut self, segments: &mut dyn Segments) -> Result<(), StoreError> {
        if self.at >= self.block.len() {
            let Some(first) = self.head.block_terms.get(self.next_block) else {
                self.term = None;
                return Ok(());
            };
            self.block = segments.block(block_id(self.segment, self.next_block as i64))?;
            self.before = *first;
            self.at = 0;
            self.next_block += 1;
        }
        let mut entries = Entries::new(self.block.get(self.at..).unwrap_or_default(), self.before);
        let (term, _) = entries
            .next_entry()?
            .ok_or_else(|| StoreError::Data("a block of the search index is empty".into()))?;
        let end = self.block.len() - entries.left();
        self.posting = self.at..end;
        self.at = end;
        self.term = Some(term);
        Ok(())
    }

    /// Adds the new places of the traces that have the current term.
    fn take_into(&mut self, out: &mut Vec<u32>) -> Result<(), StoreError> {
        let mut entries = Entries::new(self.block.get(self.posting.clone()).unwrap_or_default(), self.before);
        if let Some((term, posting)) = entries.next_entry()? {
            self.before = term;
            posting.each(&mut |ordinal| {
                if let Some(place) = self.places.get(ordinal as usize).filter(|p| **p != GONE) {
                    out.push(*place);
                }
            })?;
        }
        Ok(())
    }
}
