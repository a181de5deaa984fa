//! Faults: what does an error of SQLite or of the file system mean for the product?
//!
//! In:  `rusqlite::Error`, `std::io::Error`. Out: [`StoreError`]: full, damaged, busy, or the engine's own words.

use rusqlite::ffi;

use crate::StoreError;

impl StoreError {
    /// A file operation failed while doing `what`.
    pub(crate) fn from_io(what: &str, error: &std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            _ => Self::Engine(format!("{what}: {error}")),
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error().map(|e| e.extended_code) else {
            return Self::Engine(error.to_string());
        };
        match code & 0xff {
            ffi::SQLITE_FULL => Self::Full,
            // The shared-memory file could not grow.
            ffi::SQLITE_IOERR if code == ffi::SQLITE_IOERR_SHMSIZE => Self::Full,
            ffi::SQLITE_CORRUPT | ffi::SQLITE_NOTADB => Self::Data(error.to_string()),
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => Self::Unavailable(error.to_string()),
            ffi::SQLITE_CONSTRAINT if matches!(code, ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY) => {
                Self::Engine(format!("unique: {error}"))
            }
            _ => Self::Engine(error.to_string()),
        }
    }
}
