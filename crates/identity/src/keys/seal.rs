//! Secrets that must be read again: sealed with AES-256-GCM under the tenant's key.
//!
//! Form: `sealed:1:` and base64 of nonce (12 octets), ciphertext, tag (16). The tenant is authenticated with it, so that a sealed secret
//! of one tenant means nothing in another's settings.

use super::{Keys, Purpose};
use crate::RandomError;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::TenantId;
use zeroize::Zeroizing;

const HEADING: &str = "sealed:1:";

/// Why a secret was not sealed or not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not a sealed secret of this tenant and installation.
    #[error("not a secret sealed by this installation for this tenant")]
    Foreign,
    /// The cipher refused; it never does for secrets of usual size.
    #[error("sealing failed")]
    Cipher,
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Whether a text has the form of a sealed secret.
#[must_use]
pub fn is_sealed(text: &str) -> bool {
    text.starts_with(HEADING)
}

impl Keys {
    /// Seals a secret for the tenant's settings.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, tenant: TenantId, secret: &str) -> Result<String, SealError> {
        let mut nonce = [0; NONCE_LEN];
        crate::fill_random(&mut nonce)?;
        let mut sealed = Zeroizing::new(secret.as_bytes().to_vec());
        self.cipher(tenant)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(tenant.0.to_be_bytes()), &mut *sealed)
            .map_err(|_| SealError::Cipher)?;
        Ok(format!("{HEADING}{}", STANDARD.encode([nonce.as_slice(), &sealed].concat())))
    }

    /// Opens a sealed secret.
    ///
    /// # Errors
    /// [`SealError::Foreign`] for everything that was not sealed here for this tenant.
    pub fn unseal(&self, tenant: TenantId, sealed: &str) -> Result<Zeroizing<String>, SealError> {
        let text = sealed.strip_prefix(HEADING).ok_or(SealError::Foreign)?;
        let mut bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| SealError::Foreign)?);
        let (nonce, body) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(SealError::Foreign)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Foreign)?;
        let plain = self
            .cipher(tenant)?
            .open_in_place(nonce, Aad::from(tenant.0.to_be_bytes()), body)
            .map_err(|_| SealError::Foreign)?;
        std::str::from_utf8(plain)
            .map(|t| Zeroizing::new(t.to_owned()))
            .map_err(|_| SealError::Foreign)
    }

    fn cipher(&self, tenant: TenantId) -> Result<LessSafeKey, SealError> {
        let key = self.derive(tenant, Purpose::Seal);
        UnboundKey::new(&AES_256_GCM, key.as_ref())
            .map(LessSafeKey::new)
            .map_err(|_| SealError::Cipher)
    }
}
