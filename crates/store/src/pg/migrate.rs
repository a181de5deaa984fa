//! Migration: how does a database come to the schema of this program?
//!
//! In:  a connection. Out: every step done that was missing, in one transaction, under one advisory lock; proof that the folder of large
//! bodies is the one that the other nodes use: a file in it and a row of `meta` have the same random text.
//! Invariants: newer data is refused; nodes that start together migrate once.

use std::fmt::Write as _;
use std::path::Path;
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

/// File in the folder of large bodies, and name in `meta`.
const FOLDER_MARK: &str = "installation";
const FOLDER_NAME: &str = "blob_folder";

/// Marks a new folder as that of this database, or finds that it is. The mark names the installation.
pub(super) async fn share_folder(session: &Session, folder: &Path) -> Result<String, StoreError> {
    let client = &session.client;
    let file = folder.join(FOLDER_MARK);
    let own = match read_mark(&file)? {
        Some(text) => text,
        None => new_mark()?,
    };
    client
        .execute(
            "INSERT INTO meta (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
            &[&FOLDER_NAME, &own],
        )
        .await?;
    let kept: String = client
        .query_one("SELECT value FROM meta WHERE name = $1", &[&FOLDER_NAME])
        .await?
        .try_get(0)?;
    if kept == own {
        std::fs::write(&file, &own).map_err(|e| StoreError::from_io(&format!("write {}", file.display()), &e))?;
        return Ok(own);
    }
    Err(foreign_folder(folder))
}

/// The same without changing anything. A database that was never used is fine.
pub(super) async fn look(session: &Session, folder: &Path) -> Result<(), StoreError> {
    let client = &session.client;
    let is_there: bool = client
        .query_one("SELECT to_regclass('schema_version') IS NOT NULL", &[])
        .await?
        .try_get(0)?;
    if !is_there {
        return Ok(());
    }
    pending(
        client
            .query_one("SELECT COALESCE(max(number), 0) FROM schema_version", &[])
            .await?
            .try_get(0)?,
    )?;
    let row = client.query_opt("SELECT value FROM meta WHERE name = $1", &[&FOLDER_NAME]).await?;
    let kept: Option<String> = row.map(|row| row.try_get(0)).transpose()?;
    if kept.is_some() && read_mark(&folder.join(FOLDER_MARK))? != kept {
        return Err(foreign_folder(folder));
    }
    Ok(())
}

fn foreign_folder(folder: &Path) -> StoreError {
    StoreError::Data(format!(
        "{} is not the folder of large bodies that the other nodes of this database use: share that folder, or set `blobs` to where it is",
        folder.display()
    ))
}

fn read_mark(file: &Path) -> Result<Option<String>, StoreError> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::from_io(&format!("read {}", file.display()), &e)),
    }
}

fn new_mark() -> Result<String, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| StoreError::Engine(e.to_string()))?;
    Ok(bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    }))
}
