//! Reading a body: piece by piece; the last one is given out only when the hash of all is the body's name.

use bytes::Bytes;
use mail::BlobId;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::{PIECE, blocking};
use crate::StoreError;

/// A body being read, from its beginning.
pub struct BlobReader {
    id: BlobId,
    open: Option<Open>,
    size: u64,
}

struct Open {
    file: File,
    hash: Sha256,
    left: u64,
}

impl std::fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobReader")
            .field("id", &self.id)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

impl BlobReader {
    pub(super) async fn open(path: PathBuf, id: BlobId) -> Result<Self, StoreError> {
        let (file, size) = blocking(move || {
            let file = File::open(&path).map_err(|e| match e.kind() {
                io::ErrorKind::NotFound => StoreError::Data(format!("the body {} is missing", path.display())),
                _ => StoreError::from_io(&format!("open {}", path.display()), &e),
            })?;
            let size = file.metadata().map_err(|e| StoreError::from_io("look at a body", &e))?.len();
            Ok((file, size))
        })
        .await?;
        Ok(Self {
            id,
            open: Some(Open {
                file,
                hash: Sha256::new(),
                left: size,
            }),
            size,
        })
    }

    /// Octets in all.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// [`StoreError::Data`] when the body is not what was written; of the file system. No piece follows an error.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        let id = self.id;
        let (open, piece) = blocking(move || {
            let want = usize::try_from(open.left).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; want];
            open.file
                .read_exact(&mut piece)
                .map_err(|e| StoreError::from_io("read a body", &e))?;
            open.hash.update(&piece);
            open.left -= want as u64;
            if open.left > 0 {
                return Ok((Some(open), piece));
            }
            let hash: [u8; 32] = open.hash.finalize().into();
            if hash != id.0 {
                return Err(StoreError::Data(format!("the body {id} has changed on disk")));
            }
            Ok((None, piece))
        })
        .await?;
        self.open = open;
        Ok((!piece.is_empty()).then(|| Bytes::from(piece)))
    }
}
