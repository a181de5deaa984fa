//! The index file: where do the segments of the search index stand on the embedded engine?
//!
//! In `index.db`, a file of its own, written by the indexer alone: its writes never stand between a message and its 250, and it may be
//! lost: it is derived from the tracking tables and made again. WAL, `synchronous=NORMAL`: after a power cut it is whole, perhaps older.
//! Invariants: a segment's row is written last, in one transaction with the number up to which all records are indexed.

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::StoreError;
use crate::index::segment::{Head, block_id};
use crate::index::term::INDEX_VERSION;
use crate::index::{SegmentRow, Segments};
use crate::schema::{Engine, index_statements};
use mail::QueueId;

const FILE: &str = "index.db";
/// While it exists, the next start makes the index anew.
const REBUILD: &str = "index.rebuild";
/// Heads held in memory.
const HEADS_MAX: usize = 128;

/// Heads of segments: they never change.
#[derive(Default)]
pub(super) struct Heads(Mutex<HashMap<i64, Arc<Head>>>);

/// Opens for writing; makes it anew when it is missing, damaged, of another version, or ahead of the store (`last_seq`).
pub(super) fn open(data_dir: &Path, last_seq: i64) -> Result<Connection, StoreError> {
    let path = data_dir.join(FILE);
    let must_rebuild = data_dir.join(REBUILD).exists();
    if !must_rebuild && let Ok(connection) = connect(&path) {
        let is_ours =
            number(&connection, "version")? == Some(INDEX_VERSION) && number(&connection, "indexed_seq")?.unwrap_or(0) <= last_seq;
        if is_ours {
            sweep(&connection)?;
            return Ok(connection);
        }
        tracing::info!("the search index of tracking is made anew");
    }
    for suffix in ["", "-wal", "-shm"] {
        match std::fs::remove_file(data_dir.join(format!("{FILE}{suffix}"))) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(StoreError::from_io("remove the old search index", &e)),
        }
    }
    let connection = connect(&path)?;
    let _ = std::fs::remove_file(data_dir.join(REBUILD));
    Ok(connection)
}

/// Asks for a new index at the next start.
pub(super) fn ask_rebuild(data_dir: &Path) {
    if let Err(error) = std::fs::write(data_dir.join(REBUILD), b"") {
        tracing::error!(%error, "cannot mark the search index as damaged");
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "cache_size", -2_000)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    let has_tables = connection
        .prepare("SELECT 1 FROM sqlite_master WHERE name = 'index_meta'")?
        .exists([])?;
    if !has_tables {
        let tx = connection.transaction()?;
        for statement in index_statements(Engine::Sqlite) {
            tx.execute_batch(&statement)?;
        }
        tx.execute("INSERT INTO index_meta (name, value) VALUES ('version', ?1)", [INDEX_VERSION])?;
        tx.commit()?;
    }
    Ok(connection)
}

/// Blocks of segments that have no row: a merge did not end.
fn sweep(connection: &Connection) -> Result<(), StoreError> {
    let newest: i64 = connection.query_row("SELECT COALESCE(MAX(id), 0) FROM term", [], |row| row.get(0))?;
    let known = list(connection)?.iter().map(|row| row.segment).max().unwrap_or(0);
    for orphan in known + 1..=(newest >> 24) {
        remove_rows(connection, orphan)?;
    }
    Ok(())
}

pub(super) fn open_reader(data_dir: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        data_dir.join(FILE),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.pragma_update(None, "cache_size", -2_000)?;
    Ok(connection)
}

pub(super) fn number(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    Ok(connection
        .query_row("SELECT value FROM index_meta WHERE name = ?1", [name], |row| row.get(0))
        .optional()?)
}

/// What a new segment's row says.
pub(super) struct NewSegment<'a> {
    pub(super) segment: i64,
    pub(super) level: i64,
    pub(super) traces: u64,
    pub(super) trace_min: i64,
    pub(super) trace_max: i64,
    pub(super) head: &'a [u8],
}

/// Writes blocks of a segment whose row is not there yet.
pub(super) fn put_blocks(connection: &Connection, segment: i64, blocks: &[(i64, Vec<u8>)]) -> Result<(), StoreError> {
    let tx = connection.unchecked_transaction()?;
    insert_blocks(&tx, segment, blocks)?;
    tx.commit()?;
    Ok(())
}

fn insert_blocks(connection: &Connection, segment: i64, blocks: &[(i64, Vec<u8>)]) -> Result<(), StoreError> {
    let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO term (id, block) VALUES (?1, ?2)")?;
    for (number, block) in blocks {
        insert.execute(params![block_id(segment, *number), block])?;
    }
    Ok(())
}

/// Ends a segment: last blocks, row, the number of the last record indexed (when it moves), rows of the segments that it replaces.
pub(super) fn put_segment(
    connection: &Connection,
    new: &NewSegment<'_>,
    blocks: &[(i64, Vec<u8>)],
    indexed_seq: Option<i64>,
    replaces: &[SegmentRow],
) -> Result<(), StoreError> {
    let tx = connection.unchecked_transaction()?;
    insert_blocks(&tx, new.segment, blocks)?;
    tx.execute(
        "INSERT INTO segment (segment, level, traces, trace_min, trace_max, head) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            new.segment,
            new.level,
            i64::try_from(new.traces).unwrap_or(i64::MAX),
            new.trace_min,
            new.trace_max,
            new.head
        ],
    )?;
    if let Some(seq) = indexed_seq {
        set_number(&tx, "indexed_seq", seq)?;
    }
    for old in replaces {
        remove_rows(&tx, old.segment)?;
    }
    tx.commit()?;
    Ok(())
}

pub(super) fn set_number(connection: &Connection, name: &str, value: i64) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO index_meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        params![name, value],
    )?;
    Ok(())
}

fn remove_rows(connection: &Connection, segment: i64) -> Result<(), StoreError> {
    connection.execute("DELETE FROM segment WHERE segment = ?1", [segment])?;
    connection.execute(
        "DELETE FROM term WHERE id >= ?1 AND id < ?2",
        [block_id(segment, 0), block_id(segment + 1, 0)],
    )?;
    Ok(())
}

/// Removes segments whose every trace is older than `before`.
pub(super) fn drop_before(connection: &Connection, before: QueueId) -> Result<(), StoreError> {
    let tx = connection.unchecked_transaction()?;
    for row in list(&tx)?.into_iter().filter(|r| r.trace_max < before) {
        remove_rows(&tx, row.segment)?;
    }
    tx.commit()?;
    Ok(())
}

pub(super) fn list(connection: &Connection) -> Result<Vec<SegmentRow>, StoreError> {
    super::read::rows(
        connection,
        "SELECT segment, level, traces, trace_min, trace_max FROM segment ORDER BY segment",
        [],
        |row| {
            Ok(SegmentRow {
                segment: row.get(0)?,
                level: row.get(1)?,
                traces: row.get::<_, i64>(2)?.unsigned_abs(),
                trace_min: QueueId::from_i64(row.get(3)?),
                trace_max: QueueId::from_i64(row.get(4)?),
            })
        },
    )
}

/// Segments as one connection sees them; inside a read transaction: one snapshot.
pub(super) struct FileSegments<'c> {
    pub(super) connection: &'c Connection,
    pub(super) heads: &'c Heads,
}

impl Segments for FileSegments<'_> {
    fn list(&mut self) -> Result<Vec<SegmentRow>, StoreError> {
        list(self.connection)
    }

    fn head(&mut self, segment: i64) -> Result<Arc<Head>, StoreError> {
        if let Some(head) = self.heads.0.lock().unwrap_or_else(PoisonError::into_inner).get(&segment) {
            return Ok(Arc::clone(head));
        }
        let mut statement = self.connection.prepare_cached("SELECT head FROM segment WHERE segment = ?1")?;
        let blob: Option<Vec<u8>> = statement.query_row([segment], |row| row.get(0)).optional()?;
        let head = Arc::new(Head::from_blob(&blob.ok_or_else(|| missing("segment", segment))?)?);
        let mut heads = self.heads.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heads.len() >= HEADS_MAX {
            heads.clear();
        }
        heads.insert(segment, Arc::clone(&head));
        Ok(head)
    }

    fn block(&mut self, id: i64) -> Result<Vec<u8>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT block FROM term WHERE id = ?1")?;
        let block: Option<Vec<u8>> = statement.query_row([id], |row| row.get(0)).optional()?;
        block.ok_or_else(|| missing("block", id))
    }
}

fn missing(what: &str, id: i64) -> StoreError {
    StoreError::Data(format!("{what} {id} of the search index is missing"))
}
