//! Reading and making the key file.

use super::KEY_FILE;
use crate::RandomError;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const HEADING: &str = "mitsuke-key-1 ";

/// Why there is no installation key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// Reading or writing failed.
    #[error("installation key {path}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others than its owner may read it.
    #[error("installation key {path} may be read by others: set its mode to 0600")]
    Mode {
        /// Which file.
        path: PathBuf,
    },
    /// Not of the form written.
    #[error("installation key {path} is damaged: restore it from the backup; without it stored secrets cannot be read")]
    Damaged {
        /// Which file.
        path: PathBuf,
    },
    /// No random bytes for a new one.
    #[error(transparent)]
    Random(#[from] RandomError),
}

pub(super) fn open_or_create(data_dir: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let path = data_dir.join(KEY_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) => read(&path, &Zeroizing::new(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => create(data_dir, &path),
        Err(source) => Err(KeyFileError::File { path, source }),
    }
}

fn read(path: &Path, text: &str) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let mode = std::fs::metadata(path)
        .map_err(|source| KeyFileError::File { path: path.into(), source })?
        .mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.into() });
    }
    let damaged = || KeyFileError::Damaged { path: path.into() };
    let digits = text
        .strip_prefix(HEADING)
        .map(str::trim_end)
        .filter(|d| d.len() == 64 && d.is_ascii())
        .ok_or_else(damaged)?;
    let mut secret = Zeroizing::new([0; 32]);
    for (octet, pair) in secret.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *octet = std::str::from_utf8(pair)
            .ok()
            .and_then(|p| u8::from_str_radix(p, 16).ok())
            .ok_or_else(damaged)?;
    }
    Ok(secret)
}

fn create(data_dir: &Path, path: &Path) -> Result<Zeroizing<[u8; 32]>, KeyFileError> {
    let mut secret = Zeroizing::new([0; 32]);
    crate::fill_random(secret.as_mut())?;
    let digits: Zeroizing<String> = Zeroizing::new(secret.iter().map(|b| format!("{b:02x}")).collect());
    let text = Zeroizing::new(format!("{HEADING}{}\n", digits.as_str()));
    write(data_dir, path, text.as_bytes()).map_err(|source| KeyFileError::File { path: path.into(), source })?;
    Ok(secret)
}

fn write(data_dir: &Path, path: &Path, text: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(data_dir)?;
    let new = path.with_extension("key.new");
    if let Err(e) = std::fs::remove_file(&new)
        && e.kind() != ErrorKind::NotFound
    {
        return Err(e);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(data_dir)?.sync_all()
}
