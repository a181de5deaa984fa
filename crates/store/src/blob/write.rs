//! Writing a body: piece by piece, hashed on the way, given its name only when it is whole and synced.

use mail::{BlobId, QueueId, TenantId};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{PIECE, TEMPORARY, blocking, path_of, sync_folder};
use crate::StoreError;

/// A body on its way to disk. Dropped before [`BlobWriter::finish`]: nothing remains.
pub struct BlobWriter {
    root: PathBuf,
    tenant: TenantId,
    queue_id: QueueId,
    piece: Vec<u8>,
    unfinished: Option<Unfinished>,
    size: u64,
    has_failed: bool,
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobWriter")
            .field("queue_id", &self.queue_id)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl BlobWriter {
    pub(super) fn new(root: PathBuf, tenant: TenantId, queue_id: QueueId) -> Self {
        Self {
            root,
            tenant,
            queue_id,
            piece: Vec::new(),
            unfinished: None,
            size: 0,
            has_failed: false,
        }
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes more bytes. Not to be called again after an error or when cancelled half-way: then only `finish` with an error is left.
    ///
    /// # Errors
    /// [`StoreError::Full`], or of the file system.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            if self.piece.capacity() == 0 {
                self.piece.reserve_exact(PIECE);
            }
            let (now, later) = bytes.split_at(bytes.len().min(PIECE - self.piece.len()));
            self.piece.extend_from_slice(now);
            self.size += now.len() as u64;
            bytes = later;
            if self.piece.len() == PIECE {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        if self.has_failed {
            return Err(StoreError::Engine("the body was not written whole".into()));
        }
        // Until the blocking part has come back, the body counts as failed: a cancelled wait must not leave a hole.
        self.has_failed = true;
        let piece = std::mem::take(&mut self.piece);
        let unfinished = self.unfinished.take();
        let (root, queue_id) = (self.root.clone(), self.queue_id);
        let (unfinished, mut piece) = blocking(move || {
            let mut unfinished = match unfinished {
                Some(unfinished) => unfinished,
                None => Unfinished::create(&root, queue_id).map_err(|e| StoreError::from_io("make a temporary body", &e))?,
            };
            unfinished.append(&piece).map_err(|e| StoreError::from_io("write a body", &e))?;
            Ok((unfinished, piece))
        })
        .await?;
        piece.clear();
        self.piece = piece;
        self.unfinished = Some(unfinished);
        self.has_failed = false;
        Ok(())
    }

    /// As [`finish`](Self::finish), for another owner and message than it was begun for: both are known for sure only after the final dot.
    ///
    /// # Errors
    /// As [`finish`](Self::finish).
    pub async fn finish_as(mut self, tenant: TenantId, queue_id: QueueId) -> Result<(BlobId, u64), StoreError> {
        self.tenant = tenant;
        self.queue_id = queue_id;
        self.finish().await
    }

    /// Syncs the body and gives it its name. After this it survives a power cut; a commit must follow, else it is swept.
    ///
    /// # Errors
    /// [`StoreError::Full`], or of the file system.
    pub async fn finish(mut self) -> Result<(BlobId, u64), StoreError> {
        self.flush().await?;
        let Some(unfinished) = self.unfinished.take() else {
            return Err(StoreError::Engine("the body was not written whole".into()));
        };
        let (root, tenant, queue_id, size) = (self.root.clone(), self.tenant, self.queue_id, self.size);
        let id = blocking(move || {
            unfinished
                .finish(&root, tenant, queue_id)
                .map_err(|e| StoreError::from_io("finish a body", &e))
        })
        .await?;
        Ok((id, size))
    }
}

/// The temporary file; removed when dropped.
struct Unfinished {
    file: File,
    path: Option<PathBuf>,
    hash: Sha256,
}

impl Unfinished {
    fn create(root: &Path, queue_id: QueueId) -> io::Result<Self> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|e| io::Error::other(e.to_string()))?;
        let path = root.join(TEMPORARY).join(format!("{queue_id}-{:016x}", u64::from_le_bytes(random)));
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self {
            file,
            path: Some(path),
            hash: Sha256::new(),
        })
    }

    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.hash.update(piece);
        self.file.write_all(piece)
    }

    fn finish(mut self, root: &Path, tenant: TenantId, queue_id: QueueId) -> io::Result<BlobId> {
        self.file.sync_data()?;
        let id = BlobId(std::mem::take(&mut self.hash).finalize().into());
        let to = path_of(root, id, tenant, queue_id);
        let folder = to.parent().unwrap_or(root);
        if !folder.is_dir() {
            std::fs::create_dir_all(folder)?;
            // The new folders' own names, up to the root.
            for parent in folder.ancestors().skip(1).take_while(|p| p.starts_with(root)) {
                sync_folder(parent)?;
            }
        }
        if let Some(from) = self.path.as_deref() {
            std::fs::rename(from, &to)?;
        }
        self.path = None;
        sync_folder(folder)?;
        Ok(id)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}
