//! Days: how do the tables of one day of tracking come and go on PostgreSQL?
//!
//! In:  a day. Out: its tables, made or dropped under one advisory lock, so that nodes do not trip over each other.

use std::collections::BTreeSet;

use super::session::{Fault, Session};
use crate::schema::{Engine, day_statements};

/// Advisory lock under which the tables of days come and go.
const DAY_LOCK: i64 = 0x6d69_7473_0002;

/// Days that have tables.
pub(super) async fn all(session: &Session) -> Result<BTreeSet<i32>, Fault> {
    let statement = session.prepared("SELECT day FROM track_day").await?;
    let rows = session.client.query(&statement, &[]).await?;
    rows.iter()
        .map(|row| Ok(i32::try_from(row.try_get::<_, i64>(0)?).unwrap_or(i32::MAX)))
        .collect()
}

/// Whether `day` has tables.
pub(super) async fn exists(session: &Session, day: i32) -> Result<bool, Fault> {
    Ok(session
        .client
        .query_opt("SELECT 1 FROM track_day WHERE day = $1", &[&i64::from(day)])
        .await?
        .is_some())
}

/// Makes the tables of `day` unless they are there.
pub(super) async fn make(session: &Session, day: i32) -> Result<(), Fault> {
    if exists(session, day).await? {
        return Ok(());
    }
    let mut text = format!("BEGIN; SELECT pg_advisory_xact_lock({DAY_LOCK});");
    for statement in day_statements(day, Engine::Postgres) {
        text.push_str(&statement);
        text.push(';');
    }
    text.push_str(&format!(
        "INSERT INTO track_day (day) VALUES ({day}) ON CONFLICT DO NOTHING; COMMIT"
    ));
    in_transaction(session, &text).await
}

/// Drops the tables of `day`; how many records they had.
pub(super) async fn remove(session: &Session, day: i32) -> Result<u64, Fault> {
    let count: i64 = session
        .client
        .query_one(&format!("SELECT count(*) FROM track_{day}"), &[])
        .await?
        .try_get(0)?;
    let text = format!(
        "BEGIN; SELECT pg_advisory_xact_lock({DAY_LOCK}); DROP TABLE IF EXISTS track_{day}; DELETE FROM track_day WHERE day = {day}; \
         DELETE FROM track_purge WHERE day = {day}; COMMIT"
    );
    in_transaction(session, &text).await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

async fn in_transaction(session: &Session, text: &str) -> Result<(), Fault> {
    if let Err(error) = session.client.batch_execute(text).await {
        let fault = Fault::from(error);
        if !fault.is_lost() {
            session.client.batch_execute("ROLLBACK").await?;
        }
        return Err(fault);
    }
    Ok(())
}
