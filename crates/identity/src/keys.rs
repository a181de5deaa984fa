//! The installation key: which secret stands behind sealed secrets, cursors and stamps, and where is it?
//!
//! In:  `installation.key` in the data directory, mode 0600, made on first run:
//! ```text
//! mitsuke-key-1 <64 hexadecimal digits>\n
//! ```
//! Written as `installation.key.new`, synced, renamed, folder synced: a crash leaves no half key.
//! Out: keys per tenant and purpose (HKDF, RFC 5869), never the key itself.
//! Invariants: the same key on every node of an installation (its fingerprint stands in the store); a key is used for one purpose.

mod cursor;
mod file;
mod seal;

pub use file::KeyFileError;
pub use seal::{SealError, is_sealed};

use crate::mac;
use mail::TenantId;
use std::path::Path;
use zeroize::Zeroizing;

/// Name of the key file in the data directory.
pub const KEY_FILE: &str = "installation.key";

/// What a derived key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Secrets stored encrypted (log-in at next hops).
    Seal,
    /// Cursors of the API.
    Cursor,
    /// Received stamps of ours, for counting passes.
    Stamp,
    /// Remembered log-ins, in memory only.
    LoginCache,
    /// Signed links in notices.
    Link,
}

impl Purpose {
    /// Part of the derivation: never changes.
    fn label(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Cursor => "cursor",
            Self::Stamp => "stamp",
            Self::LoginCache => "login-cache",
            Self::Link => "link",
        }
    }
}

/// The installation key. Wiped when dropped, never printed.
pub struct Keys {
    /// HKDF's pseudo-random key.
    root: Zeroizing<[u8; 32]>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys(..)")
    }
}

impl Keys {
    /// Reads the key file of the data directory, or makes it.
    ///
    /// # Errors
    /// [`KeyFileError`] when it is damaged, readable by others, or cannot be written.
    pub fn open_or_create(data_dir: &Path) -> Result<Self, KeyFileError> {
        file::open_or_create(data_dir).map(|secret| Self::from_secret(&secret))
    }

    /// From the secret itself.
    #[must_use]
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        // RFC 5869 §2.2, extract.
        Self {
            root: Zeroizing::new(mac(b"mitsuke installation key 1", secret)),
        }
    }

    /// Tells keys apart without telling them: what the store remembers of the installation.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.expand(b"fingerprint").iter().take(8).map(|b| format!("{b:02x}")).collect()
    }

    /// The key of a tenant for a purpose.
    #[must_use]
    pub fn derive(&self, tenant: TenantId, purpose: Purpose) -> Zeroizing<[u8; 32]> {
        let mut info = purpose.label().as_bytes().to_vec();
        info.push(0);
        info.extend(tenant.0.to_be_bytes());
        self.expand(&info)
    }

    /// The key of our Received stamps: one for the installation, since a message passes tenants.
    #[must_use]
    pub fn stamp_key(&self) -> [u8; 32] {
        *self.derive(TenantId::OPERATOR, Purpose::Stamp)
    }

    /// RFC 5869 §2.3, expand, for one block.
    fn expand(&self, info: &[u8]) -> Zeroizing<[u8; 32]> {
        let mut block = info.to_vec();
        block.push(1);
        Zeroizing::new(mac(self.root.as_ref(), &block))
    }
}

#[cfg(test)]
mod tests;
