//! Indexer: the thread that brings records into the search index when the machine has a moment.
//!
//! In:  records after their commit (or the tables, after a start or a flood). Out: segments in `index.db`, merged now and then.
//! Invariants: only this thread writes `index.db`; a trace leaves memory only after its segment is committed; idle, it sleeps.

use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::hot::days_of;
use super::index_file::{self, FileSegments, Heads, NewSegment};
use super::read;
use crate::StoreError;
use crate::index::live::{Brief, Incoming, Live};
use crate::index::merge;
use crate::index::segment::build;

/// Numbers of records read from the tables at once.
const STRIDE: i64 = 4_000;
/// After an error the indexer rests so long.
const REST: Duration = Duration::from_secs(10);

/// What indexer and searches share.
pub(super) struct Shared {
    pub(super) incoming: Arc<Incoming>,
    state: Mutex<State>,
    pub(super) stop: AtomicBool,
    /// Drop segments that are older than this id (0: none).
    pub(super) drop_before: std::sync::atomic::AtomicI64,
    pub(super) heads: Heads,
}

pub(super) struct State {
    pub(super) live: Live,
    /// The tables have records that memory and segments do not.
    is_behind: bool,
}

impl Shared {
    pub(super) fn new(incoming: Arc<Incoming>, live: Live) -> Self {
        Self {
            incoming,
            state: Mutex::new(State { live, is_behind: true }),
            stop: AtomicBool::new(false),
            drop_before: std::sync::atomic::AtomicI64::new(0),
            heads: Heads::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up what was committed until now, for `budget` at most when there is much. Whether all of it is taken up.
    pub(super) fn catch_up(&self, connection: &Connection, budget: Duration) -> Result<bool, StoreError> {
        let until = Instant::now() + budget;
        loop {
            let mut state = self.lock();
            let (records, has_gap) = self.incoming.take();
            state.is_behind |= has_gap;
            if !state.is_behind {
                for (seq, brief) in records {
                    state.take_up(connection, seq, brief)?;
                }
                return Ok(true);
            }
            // What was handed over stands in the tables too, and is read from there in its order.
            drop(records);
            state.stride(connection)?;
            if state.is_behind && Instant::now() >= until {
                return Ok(false);
            }
        }
    }
}

impl State {
    fn take_up(&mut self, connection: &Connection, seq: i64, brief: Brief) -> Result<(), StoreError> {
        let earlier = &mut |trace, below| Ok(read::records(connection, trace, below)?.into_iter().map(|(_, r)| r).collect());
        match self.live.absorb_brief(seq, brief, earlier) {
            Ok(()) => Ok(()),
            Err(e) => {
                // Nothing is lost: the tables are read again from the last known number on.
                self.is_behind = true;
                Err(e)
            }
        }
    }

    /// Reads on in the tables.
    fn stride(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let tx = connection.unchecked_transaction()?;
        let days = days_of(&tx)?;
        let from = self.live.known_seq();
        let mut first_left: Option<i64> = None;
        let mut last = from;
        for day in &days {
            let (next, max): (Option<i64>, Option<i64>) = tx.query_row(
                &format!("SELECT (SELECT MIN(seq) FROM track_{day} WHERE seq > ?1), (SELECT MAX(seq) FROM track_{day})"),
                [from],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )?;
            first_left = [first_left, next].into_iter().flatten().min();
            last = last.max(max.unwrap_or(0));
        }
        let Some(first) = first_left else {
            self.is_behind = false;
            return Ok(());
        };
        let to = first.saturating_add(STRIDE);
        for (seq, record) in read::records_between(&tx, days.into_iter(), from, to)? {
            self.take_up(&tx, seq, Brief::of(&record))?;
        }
        self.live.know(to.min(last));
        self.is_behind = to < last;
        Ok(())
    }
}

/// The thread's own things.
pub(super) struct Indexer {
    pub(super) shared: Arc<Shared>,
    pub(super) tables: Connection,
    pub(super) index: Connection,
    pub(super) data_dir: PathBuf,
}

impl Indexer {
    /// Runs until told to stop, then writes what is in memory, so that the next start has nothing to read.
    pub(super) fn run(self) {
        self.shared.incoming.set_indexer(std::thread::current());
        loop {
            let is_stopping = self.shared.stop.load(Ordering::Acquire);
            match self.round(is_stopping) {
                Ok(true) if is_stopping => return,
                Ok(true) => std::thread::park(),
                Ok(false) => {}
                Err(error) => {
                    if matches!(error, StoreError::Data(_)) {
                        index_file::ask_rebuild(&self.data_dir);
                    }
                    tracing::error!(%error, "the search index of tracking could not be written; mail is not concerned");
                    if is_stopping {
                        return;
                    }
                    std::thread::park_timeout(REST);
                }
            }
        }
    }

    /// One round; whether there is nothing left to do.
    fn round(&self, is_stopping: bool) -> Result<bool, StoreError> {
        let is_done = self.shared.catch_up(&self.tables, Duration::from_millis(5))?;
        let before = self.shared.drop_before.swap(0, Ordering::AcqRel);
        if before > 0 {
            index_file::drop_before(&self.index, mail::QueueId::from_i64(before))?;
        }
        let has_flushed = self.flush(is_stopping && is_done)?;
        let has_merged = !is_stopping && self.merge()?;
        Ok(is_done && !has_flushed && !has_merged)
    }

    fn flush(&self, is_closing: bool) -> Result<bool, StoreError> {
        let (docs, done, known) = {
            let state = self.shared.lock();
            match state.live.to_flush(is_closing) {
                Some((docs, done)) => (docs, done, state.live.known_seq()),
                None => return Ok(false),
            }
        };
        let written = build(&docs);
        let segment = self.next_segment()?;
        let new = NewSegment {
            segment,
            level: 0,
            traces: docs.len() as u64,
            trace_min: docs.first().map_or(0, |d| d.id),
            trace_max: docs.last().map_or(0, |d| d.id),
            head: &written.head,
        };
        index_file::put_segment(&self.index, &new, &written.blocks, Some(done), &[])?;
        self.shared.lock().live.flushed(&docs, known);
        Ok(true)
    }

    fn merge(&self) -> Result<bool, StoreError> {
        let Some(sources) = merge::due(&index_file::list(&self.index)?) else {
            return Ok(false);
        };
        let segment = self.next_segment()?;
        let mut segments = FileSegments {
            connection: &self.index,
            heads: &self.shared.heads,
        };
        let merged = merge::merge(&sources, &mut segments, &mut |blocks| {
            index_file::put_blocks(&self.index, segment, &blocks)
        })?;
        let new = NewSegment {
            segment,
            level: sources.first().map_or(0, |s| s.level) + 1,
            traces: merged.traces,
            trace_min: merged.trace_min,
            trace_max: merged.trace_max,
            head: &merged.rest.head,
        };
        index_file::put_segment(&self.index, &new, &merged.rest.blocks, None, &sources)?;
        Ok(true)
    }

    /// Numbers are not used again while their segment may stand in a snapshot or in memory.
    fn next_segment(&self) -> Result<i64, StoreError> {
        let last = index_file::number(&self.index, "last_segment")?.unwrap_or(0);
        index_file::set_number(&self.index, "last_segment", last + 1)?;
        Ok(last + 1)
    }
}
