//! The file: how is `mitsuke.db` opened, guarded and brought to this program's schema?
//!
//! In:  the data directory. Out: connections with our settings; the lock that keeps everybody else out.
//! Invariants: one process at a time (lock file); WAL with `synchronous=FULL`; a SQLite with the WAL-reset defect is refused.

use mail::Timestamp;
use rusqlite::{Connection, OpenFlags};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::StoreError;
use crate::schema::{self, Engine};

/// Name of the file in the data directory.
pub(super) const FILE: &str = "mitsuke.db";

/// 3.7.0 to 3.51.2 can lose committed transactions after a WAL reset.
const SQLITE_VERSION_MIN: i32 = 3_051_003;

/// A checkpoint after so many pages: each page is written once into the file for many changes in the WAL.
const CHECKPOINT_PAGES: u32 = 4_000;

/// Takes the lock of `data_dir`. It is held while the file lives.
pub(super) fn lock(data_dir: &Path) -> Result<File, StoreError> {
    std::fs::create_dir_all(data_dir).map_err(|e| StoreError::from_io(&format!("make {}", data_dir.display()), &e))?;
    let path = data_dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| StoreError::from_io(&format!("open {}", path.display()), &e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Unavailable(format!(
            "{} is in use by another process: stop it first, or give this one another data directory",
            data_dir.display()
        ))),
        Err(std::fs::TryLockError::Error(e)) => Err(StoreError::from_io(&format!("lock {}", path.display()), &e)),
    }
}

/// Opens the write connection and migrates. Errors name the file.
pub(super) fn open_writer(data_dir: &Path, now: Timestamp) -> Result<(Connection, PathBuf), StoreError> {
    if rusqlite::version_number() < SQLITE_VERSION_MIN {
        return Err(StoreError::Data(format!(
            "SQLite {} can lose committed mail; 3.51.3 or newer is needed",
            rusqlite::version()
        )));
    }
    let path = data_dir.join(FILE);
    let connection = prepare_writer(&path, now).map_err(|e| named(&path, e))?;
    Ok((connection, path))
}

fn prepare_writer(path: &Path, now: Timestamp) -> Result<Connection, StoreError> {
    let mut connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    settle_connection(&connection, -8_000)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Data(format!(
            "journal mode is {mode}, WAL is needed: is this a network file system?"
        )));
    }
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.set_prepared_statement_cache_capacity(256);
    migrate(&mut connection, now)?;
    Ok(connection)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    settle_connection(&connection, -2_000)?;
    connection.set_prepared_statement_cache_capacity(128);
    Ok(connection)
}

fn settle_connection(connection: &Connection, cache_kib_negative: i64) -> Result<(), StoreError> {
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.pragma_update(None, "cache_size", cache_kib_negative)?;
    connection.pragma_update(None, "foreign_keys", "ON")?;
    // Sorting in memory: spilling would write mail data outside our file.
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    Ok(())
}

/// Says which file an error is about.
fn named(path: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Data(text) => StoreError::Data(format!("{}: {text}", path.display())),
        StoreError::Engine(text) => StoreError::Engine(format!("{}: {text}", path.display())),
        StoreError::Unavailable(text) => StoreError::Unavailable(format!("{}: {text}", path.display())),
        other @ (StoreError::Full | StoreError::LeaseLost | StoreError::Unknown | StoreError::Conflict { .. }) => other,
    }
}

fn migrate(connection: &mut Connection, now: Timestamp) -> Result<(), StoreError> {
    connection.execute_batch(schema::VERSION_TABLE)?;
    let found: i64 = connection.query_row("SELECT COALESCE(MAX(number), 0) FROM schema_version", [], |row| row.get(0))?;
    for step in schema::pending(found)? {
        let tx = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for statement in step.statements(Engine::Sqlite) {
            tx.execute_batch(&statement)?;
        }
        tx.execute(
            "INSERT INTO schema_version (number, name, applied_at) VALUES (?1, ?2, ?3)",
            (step.number, step.name, now.0),
        )?;
        tx.commit()?;
        tracing::info!(step = step.name, number = step.number, "schema migrated");
    }
    Ok(())
}

/// Looks through the whole file (`mitsuke check --deep`): `Ok` lists what is wrong, empty when nothing is.
///
/// # Errors
/// When the file cannot be opened.
pub fn quick_check(data_dir: &Path) -> Result<Vec<String>, StoreError> {
    let path = data_dir.join(FILE);
    let run = || -> Result<Vec<String>, StoreError> {
        let connection = open_reader(&path)?;
        let mut statement = connection.prepare("PRAGMA quick_check(100)")?;
        let found = statement
            .query_map([], |row| row.get::<_, String>(0))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(found.into_iter().filter(|line| line != "ok").collect())
    };
    run().map_err(|e| named(&path, e))
}
