//! Reading: the questions of queue and trace, on a reader's connection.
//!
//! Invariants: pages come from indexes, never from loading all; a row that does not parse is [`StoreError::Data`], not a guess.

use bytes::Bytes;
use mail::{Address, BlobId, LaneId, QueueId, Reason, ReversePath, TenantId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::hot::OWNER;
use crate::StoreError;
use crate::spool::code::{direction_from, head_from, notify_from, state_from};
use crate::spool::{Body, Entry, LaneSummary, QueueRow, SpoolMessage};
use crate::tracking::{Record, record};

/// Columns of an entry, in the order that [`entry_of`] reads.
pub(super) const ENTRY: &str = "e.queue_id, e.number, e.tenant, e.lane, e.due, e.state, e.variant, e.notify, e.attempts, e.expires_at, \
     e.delay_notice_at, e.recipient, e.orcpt, e.reason, e.last_reply, e.forced_next_hop";
const ENTRY_COLUMNS: usize = 16;

fn parse<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, StoreError>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e| StoreError::Data(format!("{what} of an entry: {e}")))
}

fn entry_of(row: &Row<'_>) -> Result<Entry, StoreError> {
    let reason: Option<String> = row.get(13)?;
    let recipient = row.get_ref(11)?.as_str().map_err(|e| StoreError::Data(e.to_string()))?;
    Ok(Entry {
        queue_id: QueueId::from_i64(row.get(0)?),
        number: row.get(1)?,
        tenant: TenantId(row.get(2)?),
        lane: LaneId(row.get(3)?),
        due: Timestamp(row.get(4)?),
        state: state_from(row.get(5)?)?,
        variant: row.get(6)?,
        notify: notify_from(row.get(7)?)?,
        attempts: row.get(8)?,
        expires_at: Timestamp(row.get(9)?),
        delay_notice_at: row.get::<_, Option<i64>>(10)?.map(Timestamp),
        recipient: Address::parse(recipient).map_err(|e| StoreError::Data(format!("recipient of an entry: {e}")))?,
        orcpt: row.get(12)?,
        reason: reason.map(|r| parse::<Reason>("reason", &r)).transpose()?,
        last_reply: row.get(14)?,
        forced_next_hop: row.get(15)?,
    })
}

fn path_of(text: &str) -> Result<ReversePath, StoreError> {
    ReversePath::parse(text).map_err(|e| StoreError::Data(format!("reverse path of a message: {e}")))
}

/// Runs a query and reads each row with `read`.
pub(super) fn rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
    read: impl Fn(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(read(row)?);
    }
    Ok(out)
}

pub(super) fn lanes(connection: &Connection) -> Result<Vec<LaneSummary>, StoreError> {
    // One walk over the index alone; the tenant of a lane from any of its entries.
    let sql = "SELECT g.lane, (SELECT tenant FROM entry WHERE owner = ?1 AND lane = g.lane LIMIT 1), g.first_due, g.entries \
               FROM (SELECT lane, MIN(due) AS first_due, COUNT(*) AS entries FROM entry WHERE owner = ?1 GROUP BY lane) g";
    rows(connection, sql, [OWNER], |row| {
        Ok(LaneSummary {
            lane: LaneId(row.get(0)?),
            tenant: TenantId(row.get(1)?),
            first_due: Timestamp(row.get(2)?),
            entries: row.get::<_, i64>(3)?.unsigned_abs(),
        })
    })
}

pub(super) fn due(
    connection: &Connection,
    lane: LaneId,
    until: Timestamp,
    after: Option<(Timestamp, QueueId, u32)>,
    limit: usize,
) -> Result<Vec<Entry>, StoreError> {
    let sql = format!(
        "SELECT {ENTRY} FROM entry e WHERE e.owner = ?1 AND e.lane = ?2 AND e.due <= ?3 AND (e.due, e.queue_id, e.number) > (?4, ?5, ?6) \
         ORDER BY e.due, e.queue_id, e.number LIMIT ?7"
    );
    let (due, id, number) = after.map_or((i64::MIN, -1, -1), |(due, id, number)| (due.0, id.to_i64(), i64::from(number)));
    rows(
        connection,
        &sql,
        params![OWNER, lane.0, until.0, due, id, number, limit_of(limit)],
        entry_of,
    )
}

pub(super) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

pub(super) fn next_due(connection: &Connection, lane: LaneId, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT due FROM entry WHERE owner = ?1 AND lane = ?2 AND due > ?3 ORDER BY due LIMIT 1")?;
    Ok(statement
        .query_row(params![OWNER, lane.0, after.0], |row| row.get(0))
        .optional()?
        .map(Timestamp))
}

pub(super) fn entries(connection: &Connection, queue_id: QueueId) -> Result<Vec<Entry>, StoreError> {
    let sql = format!("SELECT {ENTRY} FROM entry e WHERE e.queue_id = ?1 ORDER BY e.number");
    rows(connection, &sql, [queue_id.to_i64()], entry_of)
}

pub(super) fn queue_row(row: &Row<'_>) -> Result<QueueRow, StoreError> {
    let path: String = row.get(ENTRY_COLUMNS)?;
    Ok(QueueRow {
        entry: entry_of(row)?,
        reverse_path: path_of(&path)?,
        direction: direction_from(row.get(ENTRY_COLUMNS + 1)?)?,
        size: row.get::<_, i64>(ENTRY_COLUMNS + 2)?.unsigned_abs(),
        received_at: Timestamp(row.get(ENTRY_COLUMNS + 3)?),
    })
}

pub(super) fn message(connection: &Connection, queue_id: QueueId) -> Result<Option<SpoolMessage>, StoreError> {
    let sql = "SELECT tenant, direction, received_at, size, blob, reverse_path, head, body FROM message WHERE queue_id = ?1";
    let found = rows(connection, sql, [queue_id.to_i64()], |row| {
        let head = head_from(row.get_ref(6)?.as_blob().map_err(|e| StoreError::Data(e.to_string()))?)?;
        let size = row.get::<_, i64>(3)?.unsigned_abs();
        let body = match row.get::<_, Option<[u8; 32]>>(4)? {
            Some(hash) => Body::Blob { id: BlobId(hash), size },
            None => Body::Inline(Bytes::from(row.get::<_, Vec<u8>>(7)?)),
        };
        let path: String = row.get(5)?;
        Ok(SpoolMessage {
            queue_id,
            tenant: TenantId(row.get(0)?),
            direction: direction_from(row.get(1)?)?,
            reverse_path: path_of(&path)?,
            params: head.params,
            needs_smtputf8: head.needs_smtputf8,
            has_eight_bit: head.has_eight_bit,
            received_at: Timestamp(row.get(2)?),
            size,
            variants: head.variants,
            body,
            dsn_suppressed: head.dsn_suppressed,
            cause: head.cause,
        })
    })?;
    Ok(found.into_iter().next())
}

pub(super) fn existing(connection: &Connection, ids: &[QueueId]) -> Result<Vec<QueueId>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM message WHERE queue_id = ?1")?;
    let mut out = Vec::new();
    for id in ids {
        if statement.exists([id.to_i64()])? {
            out.push(*id);
        }
    }
    Ok(out)
}

/// Records of a trace with numbers below `below`.
pub(super) fn records(connection: &Connection, trace: QueueId, below: i64) -> Result<Vec<(i64, Record)>, StoreError> {
    let sql = format!(
        "SELECT seq, tenant, record FROM track_{} WHERE trace = ?1 AND seq < ?2 ORDER BY seq",
        trace.time().day()
    );
    let read = |row: &Row<'_>| {
        let blob = row.get_ref(2)?.as_blob().map_err(|e| StoreError::Data(e.to_string()))?;
        Ok((row.get(0)?, record::from_blob(trace, TenantId(row.get(1)?), blob)?))
    };
    match rows(connection, &sql, params![trace.to_i64(), below], read) {
        // The day has no tables (yet, or any more).
        Err(StoreError::Engine(text)) if text.contains("no such table") => Ok(Vec::new()),
        other => other,
    }
}

/// Records of all days with `from < seq <= to`, in the order of their numbers.
pub(super) fn records_between(
    connection: &Connection,
    days: impl Iterator<Item = i32>,
    from: i64,
    to: i64,
) -> Result<Vec<(i64, Record)>, StoreError> {
    let mut out = Vec::new();
    for day in days {
        let sql = format!("SELECT seq, trace, tenant, record FROM track_{day} WHERE seq > ?1 AND seq <= ?2");
        out.extend(rows(connection, &sql, [from, to], |row| {
            let blob = row.get_ref(3)?.as_blob().map_err(|e| StoreError::Data(e.to_string()))?;
            Ok((
                row.get(0)?,
                record::from_blob(QueueId::from_i64(row.get(1)?), TenantId(row.get(2)?), blob)?,
            ))
        })?);
    }
    out.sort_by_key(|(seq, _)| *seq);
    Ok(out)
}
