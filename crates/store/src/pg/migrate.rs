//! Migration: how does a database come to the schema of this program?
//!
//! In:  a connection. Out: every step done that was missing, in one transaction, under one advisory lock.
//! Invariants: newer data is refused; nodes that start together migrate once.

use std::fmt::Write as _;
use tokio_postgres::Client;

use super::session::Session;
use crate::StoreError;
use crate::index::term::INDEX_VERSION;
use crate::schema::{Engine, VERSION_TABLE, index_statements, pending};
use mail::Timestamp;

/// Advisory lock under which the schema changes.
const SCHEMA_LOCK: i64 = 0x6d69_7473_0000;

pub(super) async fn migrate(session: &Session, now: Timestamp) -> Result<(), StoreError> {
    let client = &session.client;
    client
        .batch_execute(&format!("BEGIN; SELECT pg_advisory_xact_lock({SCHEMA_LOCK})"))
        .await?;
    let done = async {
        steps(client, now).await?;
        index(client).await
    };
    match done.await {
        Ok(()) => Ok(client.batch_execute("COMMIT").await?),
        Err(error) => {
            client.batch_execute("ROLLBACK").await?;
            Err(error)
        }
    }
}

async fn steps(client: &Client, now: Timestamp) -> Result<(), StoreError> {
    client.batch_execute(VERSION_TABLE).await?;
    let found: i64 = client
        .query_one("SELECT COALESCE(max(number), 0) FROM schema_version", &[])
        .await?
        .try_get(0)?;
    for step in pending(found)? {
        for statement in step.statements(Engine::Postgres) {
            client.batch_execute(&statement).await?;
        }
        client
            .execute(
                "INSERT INTO schema_version (number, name, applied_at) VALUES ($1, $2, $3)",
                &[&step.number, &step.name, &now.0],
            )
            .await?;
        tracing::info!(number = step.number, name = step.name, "the database was migrated");
    }
    Ok(())
}

/// The search index is derived: one of another version is made anew from the records.
async fn index(client: &Client) -> Result<(), StoreError> {
    let is_there: bool = client
        .query_one("SELECT to_regclass('index_meta') IS NOT NULL", &[])
        .await?
        .try_get(0)?;
    if is_there {
        let row = client.query_opt("SELECT value FROM index_meta WHERE name = 'version'", &[]).await?;
        let version: i64 = row.map_or(Ok(0), |row| row.try_get(0))?;
        if version == INDEX_VERSION {
            return Ok(());
        }
        tracing::info!(version, "the search index is of another version and is made anew");
        client.batch_execute("DROP TABLE index_meta, segment, term").await?;
    }
    for statement in index_statements(Engine::Postgres) {
        client.batch_execute(&statement).await?;
    }
    client
        .execute("INSERT INTO index_meta (name, value) VALUES ('version', $1)", &[&INDEX_VERSION])
        .await?;
    let mut again = String::new();
    for row in client.query("SELECT day FROM track_day ORDER BY day", &[]).await? {
        let day: i64 = row.try_get(0)?;
        let _ = write!(
            again,
            "INSERT INTO track_fresh SELECT node, seq, trace FROM track_{day} ON CONFLICT DO NOTHING;"
        );
    }
    Ok(client.batch_execute(&again).await?)
}
