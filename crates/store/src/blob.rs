//! Large bodies: a folder of files named by SHA-256, written durably before the commit that names them.
//!
//! Order of writes: temporary file, hash while streaming, fdatasync, rename to `<tenant>/<hh>/<hash>-<queue id>`, fsync of the folder, commit.
//! A crash before the commit leaves an orphan, which is swept at start and daily. Bodies are not shared between messages or tenants.
//! Layout in words: docs/format/blobs.md.
//!
//! Invariants: memory does not grow with the message; file work runs on the blocking pool; a body is read back only whole and unchanged
//! (the last piece is given out after its hash was compared).

mod read;
mod sweep;
mod write;

pub use read::BlobReader;
pub use sweep::Sweep;
pub use write::BlobWriter;

use mail::{BlobId, QueueId, TenantId};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::StoreError;

/// Bytes read or written at once.
const PIECE: usize = 128 * 1024;
/// Folder of what is being written.
const TEMPORARY: &str = "tmp";

/// The folder.
#[derive(Debug)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// Opens the folder, makes it when missing.
    ///
    /// # Errors
    /// Of the file system.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let temporary = root.join(TEMPORARY);
        std::fs::create_dir_all(&temporary).map_err(|e| StoreError::from_io(&format!("make {}", temporary.display()), &e))?;
        Ok(Self { root: root.to_owned() })
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Begins a body of `queue_id`. Nothing is on disk until the first piece is full.
    #[must_use]
    pub fn writer(&self, tenant: TenantId, queue_id: QueueId) -> BlobWriter {
        BlobWriter::new(self.root.clone(), tenant, queue_id)
    }

    /// Opens a body for reading.
    ///
    /// # Errors
    /// [`StoreError::Data`] when it is not there, else of the file system.
    pub async fn reader(&self, id: BlobId, tenant: TenantId, queue_id: QueueId) -> Result<BlobReader, StoreError> {
        let path = self.path(id, tenant, queue_id);
        BlobReader::open(path, id).await
    }

    /// Removes a body; one that is gone already is no error.
    ///
    /// # Errors
    /// Of the file system.
    pub async fn remove(&self, id: BlobId, tenant: TenantId, queue_id: QueueId) -> Result<(), StoreError> {
        let path = self.path(id, tenant, queue_id);
        blocking(move || remove_file(&path)).await
    }

    /// The same, for threads of the engine.
    pub(crate) fn remove_now(&self, id: BlobId, tenant: TenantId, queue_id: QueueId) -> Result<(), StoreError> {
        remove_file(&self.path(id, tenant, queue_id))
    }

    /// Bytes free and in all on the folder's device.
    ///
    /// # Errors
    /// Of the file system.
    pub fn free_space(&self) -> io::Result<(u64, u64)> {
        crate::embedded::space::of(&self.root)
    }

    fn path(&self, id: BlobId, tenant: TenantId, queue_id: QueueId) -> PathBuf {
        path_of(&self.root, id, tenant, queue_id)
    }
}

fn path_of(root: &Path, id: BlobId, tenant: TenantId, queue_id: QueueId) -> PathBuf {
    let hash = id.to_string();
    root.join(tenant.0.to_string())
        .join(hash.get(..2).unwrap_or("00"))
        .join(format!("{hash}-{queue_id}"))
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StoreError::from_io(&format!("remove {}", path.display()), &e)),
    }
}

/// Makes a new name in `folder` survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Runs file work on the blocking pool.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, StoreError> + Send + 'static) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| StoreError::Engine(format!("file work: {e}")))?
}
