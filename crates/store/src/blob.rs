//! Large bodies: a folder of files named by SHA-256, written durably before the commit that names them.
//!
//! Order of writes: temporary file, hash while streaming, fdatasync, rename to `blobs/<tenant>/<hh>/<hash>-<queue id>`, fsync of the folder, commit.
//! A crash before the commit leaves an orphan, which is swept at start and daily. Bodies are not shared between messages or tenants.

use mail::{BlobId, QueueId, TenantId};
use std::path::PathBuf;

/// The folder.
#[derive(Debug)]
pub struct Blobs {
    root: PathBuf,
}
