//! Sweeping: which files belong to no message? Written before a commit that never came, or not removed after one that did.

use mail::{BlobId, QueueId};
use std::fs::{DirEntry, read_dir};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::{Blobs, TEMPORARY, blocking, remove_file};
use crate::{Store, StoreError};

/// A file of the folder.
#[derive(Clone, Debug)]
struct Found {
    queue_id: QueueId,
    path: PathBuf,
}

/// What a sweep came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sweep {
    /// Files of messages in the spool.
    pub kept: u64,
    /// Files removed.
    pub removed: u64,
}

/// Files asked about at once.
const BATCH: usize = 1_000;

impl Store {
    /// Removes blob files older than `min_age` whose message is not in the spool, and temporary files as old. At start, before mail is
    /// taken, `min_age` may be zero; later it must be longer than a message may take from DATA to its commit (2 h do).
    ///
    /// # Errors
    /// Of the engine or the file system.
    pub async fn sweep_blobs(&self, min_age: Duration) -> Result<Sweep, StoreError> {
        let blobs = std::sync::Arc::clone(&self.blobs);
        let found = blocking(move || blobs.list(min_age).map_err(|e| StoreError::from_io("list the bodies", &e))).await?;
        let mut sweep = Sweep::default();
        for batch in found.chunks(BATCH) {
            let there = self.mail.existing(batch.iter().map(|f| f.queue_id).collect()).await?;
            let orphans: Vec<PathBuf> = batch
                .iter()
                .filter(|f| !there.contains(&f.queue_id))
                .map(|f| f.path.clone())
                .collect();
            sweep.kept += (batch.len() - orphans.len()) as u64;
            sweep.removed += orphans.len() as u64;
            blocking(move || orphans.iter().try_for_each(|path| remove_file(path))).await?;
        }
        Ok(sweep)
    }
}

impl Blobs {
    /// Named bodies at least `min_age` old; removes temporary files as old.
    fn list(&self, min_age: Duration) -> io::Result<Vec<Found>> {
        let mut out = Vec::new();
        for tenant in entries(&self.root)? {
            if tenant.file_name() == TEMPORARY {
                for file in entries(&tenant.path())?.into_iter().filter(|f| is_old(f, min_age)) {
                    let _ = std::fs::remove_file(file.path());
                }
                continue;
            }
            for folder in entries(&tenant.path())? {
                out.extend(entries(&folder.path())?.iter().filter(|f| is_old(f, min_age)).filter_map(found));
            }
        }
        Ok(out)
    }
}

/// Entries of a folder; none when it is gone or is no folder of ours.
fn entries(folder: &std::path::Path) -> io::Result<Vec<DirEntry>> {
    match read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn is_old(file: &DirEntry, min_age: Duration) -> bool {
    let written = file.metadata().and_then(|m| m.modified());
    written.is_ok_and(|at| SystemTime::now().duration_since(at).unwrap_or_default() >= min_age)
}

/// A file that is named like a body: others are not touched.
fn found(file: &DirEntry) -> Option<Found> {
    let name = file.file_name();
    let (hash, queue_id) = name.to_str()?.split_once('-')?;
    hash.parse::<BlobId>().ok()?;
    Some(Found {
        queue_id: queue_id.parse().ok()?,
        path: file.path(),
    })
}
