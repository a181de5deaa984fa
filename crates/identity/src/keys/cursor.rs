//! Cursors of the API: opaque, signed, good for one tenant and one list only.
//!
//! Form: base64url of the position, then 16 octets of HMAC-SHA-256 over the list's name, a zero octet and the position.

use super::{Keys, Purpose};
use crate::{is_same, mac};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mail::TenantId;

const TAG_BYTES: usize = 16;
const POSITION_BYTES_MAX: usize = 1_024;

impl Keys {
    /// Signs a position in the list `list` of a tenant.
    #[must_use]
    pub fn sign_cursor(&self, tenant: TenantId, list: &str, position: &[u8]) -> String {
        let tag = self.cursor_tag(tenant, list, position);
        let tag = tag.get(..TAG_BYTES).unwrap_or_default();
        URL_SAFE_NO_PAD.encode([position, tag].concat())
    }

    /// The position of a cursor; `None` when it was not made here for this tenant and list.
    #[must_use]
    pub fn open_cursor(&self, tenant: TenantId, list: &str, cursor: &str) -> Option<Vec<u8>> {
        if cursor.len() > 2 * (POSITION_BYTES_MAX + TAG_BYTES) {
            return None;
        }
        let mut bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let tag = bytes.split_off(bytes.len().checked_sub(TAG_BYTES)?);
        let expected = self.cursor_tag(tenant, list, &bytes);
        is_same(expected.get(..TAG_BYTES)?, &tag).then_some(bytes)
    }

    fn cursor_tag(&self, tenant: TenantId, list: &str, position: &[u8]) -> [u8; 32] {
        let key = self.derive(tenant, Purpose::Cursor);
        mac(key.as_ref(), &[list.as_bytes(), &[0], position].concat())
    }
}
