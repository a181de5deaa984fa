//! Retention: how does tracking older than each tenant's span go away without standing in the way of mail?
//!
//! By whole days (UTC) of the trace's birth, in slices that ride on other commits. A day that nobody keeps is emptied and its tables
//! dropped; from a day that some keep, the others' records are deleted once, which is remembered in `track_purge`.

use mail::{QueueId, TenantId, Timestamp};
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Embedded;
use super::hot::{Hot, days_of, set_meta_number};
use super::read;
use crate::StoreError;

/// Rows deleted, or numbers looked at, in one slice.
const SLICE: i64 = 2_000;
const DAY_MS: i64 = 86_400_000;
/// Stands for all tenants without a retention of their own.
const OTHERS: i64 = -1;

/// What goes of one day.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Everything, and the tables.
    Whole,
    /// One tenant's records.
    Tenant(i64),
    /// Records of all but these.
    AllBut(Vec<i64>),
}

/// What to do about `day`.
fn parts(day: i32, keep: &[(TenantId, Timestamp)], default: Timestamp) -> Vec<Part> {
    let end = (i64::from(day) + 1).saturating_mul(DAY_MS);
    let is_over = |first_kept: Timestamp| end <= first_kept.0;
    if is_over(default) && keep.iter().all(|(_, t)| is_over(*t)) {
        return vec![Part::Whole];
    }
    let mut out: Vec<Part> = keep
        .iter()
        .filter(|(_, t)| is_over(*t))
        .map(|(tenant, _)| Part::Tenant(tenant.0))
        .collect();
    if is_over(default) {
        out.push(Part::AllBut(keep.iter().map(|(tenant, _)| tenant.0).collect()));
    }
    out
}

/// Does it; how many records went.
pub(super) async fn expire(store: &Embedded, keep: Vec<(TenantId, Timestamp)>, default: Timestamp) -> Result<u64, StoreError> {
    let (days, purged) = store
        .ask(|connection| {
            let purged: Vec<(i32, i64)> = read::rows(connection, "SELECT day, tenant FROM track_purge", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            Ok((days_of(connection)?, purged))
        })
        .await?;
    let mut gone = 0;
    let mut oldest_kept = None;
    for day in days {
        for part in parts(day, &keep, default) {
            let mark = match &part {
                Part::Whole => None,
                Part::Tenant(tenant) => Some(*tenant),
                Part::AllBut(_) => Some(OTHERS),
            };
            if mark.is_none_or(|mark| !purged.contains(&(day, mark))) {
                gone += expire_part(store, day, part, mark).await?;
            }
            if mark.is_none() {
                oldest_kept = Some(day + 1);
            }
        }
    }
    if let Some(day) = oldest_kept {
        store.drop_index_before(Timestamp(i64::from(day) * DAY_MS));
    }
    Ok(gone)
}

async fn expire_part(store: &Embedded, day: i32, part: Part, mark: Option<i64>) -> Result<u64, StoreError> {
    let mut gone = 0;
    let mut from = i64::MIN;
    loop {
        let counted = Arc::new(AtomicU64::new(0));
        let next = Arc::new(std::sync::Mutex::new(None));
        let (counted_in, next_in, part) = (Arc::clone(&counted), Arc::clone(&next), part.clone());
        store
            .own(Box::new(move |hot| {
                let (rows, then) = slice(hot, day, &part, mark, from)?;
                counted_in.store(rows, Ordering::Relaxed);
                *next_in.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = then;
                Ok(())
            }))
            .await?;
        gone += counted.load(Ordering::Relaxed);
        match next.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            Some(then) => from = then,
            None => return Ok(gone),
        }
    }
}

/// One slice of numbers above `from`; rows deleted, and where the next slice begins.
fn slice(hot: &mut Hot<'_>, day: i32, part: &Part, mark: Option<i64>, from: i64) -> Result<(u64, Option<i64>), StoreError> {
    if !hot.days().contains(&day) {
        return Ok((0, None));
    }
    let connection = hot.connection;
    let last: Option<i64> = connection.query_row(
        &format!("SELECT MAX(seq) FROM (SELECT seq FROM track_{day} WHERE seq > ?1 ORDER BY seq LIMIT {SLICE})"),
        [from],
        |row| row.get(0),
    )?;
    if let Some(last) = last {
        return Ok((delete(connection, day, part, from, last)?, Some(last)));
    }
    match mark {
        Some(mark) => {
            connection.execute(
                "INSERT INTO track_purge (day, tenant) VALUES (?1, ?2) ON CONFLICT DO NOTHING",
                (day, mark),
            )?;
        }
        None => {
            // Numbers are never given twice, even when the newest records go.
            set_meta_number(connection, "next_seq", hot.next_seq())?;
            hot.forget_day(day);
            connection.execute("DELETE FROM track_day WHERE day = ?1", [day])?;
            connection.execute("DELETE FROM track_purge WHERE day = ?1", [day])?;
            connection.execute_batch(&format!("DROP TABLE track_{day}"))?;
        }
    }
    Ok((0, None))
}

fn delete(connection: &Connection, day: i32, part: &Part, from: i64, to: i64) -> Result<u64, StoreError> {
    let condition = match part {
        Part::Whole => String::from("TRUE"),
        Part::Tenant(tenant) => format!("tenant = {tenant}"),
        Part::AllBut(tenants) => {
            let list: Vec<String> = tenants.iter().map(ToString::to_string).collect();
            format!("tenant NOT IN ({})", list.join(", "))
        }
    };
    Ok(connection.execute(
        &format!("DELETE FROM track_{day} WHERE seq > ?1 AND seq <= ?2 AND {condition}"),
        [from, to],
    )? as u64)
}

/// Drops the records of some traces of one tenant; their index entries lead to nothing from then on. How many records went.
pub(super) async fn forget(store: &Embedded, tenant: TenantId, traces: Vec<QueueId>) -> Result<u64, StoreError> {
    let counted = Arc::new(AtomicU64::new(0));
    let counted_in = Arc::clone(&counted);
    store
        .own(Box::new(move |hot| {
            for trace in &traces {
                let day = trace.time().day();
                if hot.days().contains(&day) {
                    let sql = format!("DELETE FROM track_{day} WHERE trace = ?1 AND tenant = ?2");
                    let rows = hot.connection.prepare_cached(&sql)?.execute((trace.to_i64(), tenant.0))?;
                    counted_in.fetch_add(rows as u64, Ordering::Relaxed);
                }
            }
            Ok(())
        }))
        .await?;
    Ok(counted.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_day() {
        let at = |day: i64| Timestamp(day * DAY_MS);
        let check = |keep: &[(i64, i64)], default: i64, expect: &[Part]| {
            let keep: Vec<_> = keep.iter().map(|(t, day)| (TenantId(*t), at(*day))).collect();
            assert_eq!(parts(10, &keep, at(default)), expect, "{keep:?} {default}");
        };
        check(&[], 10, &[]);
        check(&[], 11, &[Part::Whole]);
        check(&[(1, 5)], 11, &[Part::AllBut(vec![1])]);
        check(&[(1, 11), (2, 3)], 4, &[Part::Tenant(1)]);
        check(&[(1, 11)], 12, &[Part::Whole]);
    }
}
