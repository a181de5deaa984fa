//! Proof of tenant: which of a provider's customers is this?
//!
//! In:  header fields and certificate of one message, what a tenant has enrolled. Out: the proof that holds, or none.
//! Standards: domains-and-routing 6.3.
//! Invariants: secrets are compared as SHA-256 in constant time; a proof header that occurs twice proves nothing (the caller gives none then);
//!   a provider's tenant id counts only behind that provider's verified certificate, since anyone can write the header.

use super::Provider;
use mail::Domain;
use subtle::ConstantTimeEq;

/// The secret header; removed on acceptance, whatever it proved.
pub const PROOF_HEADER: &str = "X-Mitsuke-Proof";
/// Microsoft's name for its customer.
pub const PROVIDER_TENANT_HEADER: &str = "X-MS-Exchange-CrossTenant-Id";
/// Messages that pass unproven in one set-up window.
pub const SETUP_MESSAGES_MAX: u32 = 20;
/// Octets of such a message.
pub const SETUP_BYTES_MAX: u64 = 100 * 1024;

/// What proved the tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing yet.
    None,
    /// AUTH.
    Login,
    /// The address alone, outside shared ranges.
    Address,
    /// A registered client certificate.
    Certificate,
    /// `X-Mitsuke-Proof`.
    SecretHeader,
    /// `X-MS-Exchange-CrossTenant-Id` behind Microsoft's certificate.
    ProviderTenantId,
    /// An open set-up window.
    SetupWindow,
}

impl Proof {
    /// As tracking shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Login => "login",
            Self::Address => "address",
            Self::Certificate => "certificate",
            Self::SecretHeader => "secret-header",
            Self::ProviderTenantId => "provider-tenant-id",
            Self::SetupWindow => "setup-window",
        }
    }
}

/// What a message shows after the final dot.
#[derive(Clone, Copy, Debug, Default)]
pub struct Evidence<'a> {
    /// Domains of header From; empty when there is none to read.
    pub header_from: &'a [Domain],
    /// SHA-256 of the value of the only proof header.
    pub secret_sha256: Option<[u8; 32]>,
    /// Value of the only tenant id header.
    pub provider_tenant_id: Option<&'a str>,
    /// The provider that the client certificate, verified by a CA, names.
    pub certificate_of: Option<Provider>,
    /// All recipients lie in accepted domains, and passed the inbound checks.
    pub all_recipients_accepted: bool,
    /// Recipients.
    pub recipients: usize,
    /// Octets.
    pub size: u64,
}

/// What a tenant has enrolled.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProofSettings<'a> {
    /// SHA-256 of the valid secrets, hex.
    pub secret_sha256: &'a [String],
    /// Ids of the tenant at Microsoft.
    pub microsoft_tenant_ids: &'a [String],
    /// Messages that may still pass unproven; 0 when no window is open.
    pub setup_messages_left: u32,
}

/// The proof that holds for mail from a shared range.
#[must_use]
pub fn prove(provider: Provider, settings: ProofSettings<'_>, evidence: &Evidence<'_>) -> Option<Proof> {
    if evidence
        .secret_sha256
        .is_some_and(|shown| settings.secret_sha256.iter().any(|hex| is_hex_of(hex, &shown)))
    {
        return Some(Proof::SecretHeader);
    }
    let by_id = provider == Provider::Microsoft365
        && evidence.certificate_of == Some(Provider::Microsoft365)
        && evidence
            .provider_tenant_id
            .is_some_and(|id| settings.microsoft_tenant_ids.iter().any(|own| own.eq_ignore_ascii_case(id)));
    if by_id {
        return Some(Proof::ProviderTenantId);
    }
    let by_window = settings.setup_messages_left > 0 && evidence.recipients == 1 && evidence.size <= SETUP_BYTES_MAX;
    by_window.then_some(Proof::SetupWindow)
}

/// Whether a certificate name is Microsoft's for sending mail of its customers.
#[must_use]
pub fn is_microsoft_certificate(name: &str) -> bool {
    const NAME: &str = "mail.protection.outlook.com";
    let name = name.strip_prefix("*.").unwrap_or(name);
    match name.len().checked_sub(NAME.len()) {
        Some(at) if name.is_char_boundary(at) => {
            let (front, end) = name.split_at(at);
            end.eq_ignore_ascii_case(NAME) && (front.is_empty() || front.ends_with('.'))
        }
        Some(_) | None => false,
    }
}

fn is_hex_of(hex: &str, digest: &[u8; 32]) -> bool {
    let mut enrolled = [0u8; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return false;
    }
    for (byte, pair) in enrolled.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
        match std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok()) {
            Some(b) => *byte = b,
            None => return false,
        }
    }
    enrolled.ct_eq(digest).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microsoft_names() {
        let check = |name: &str, expect: bool| assert_eq!(is_microsoft_certificate(name), expect, "{name}");
        check("mail.protection.outlook.com", true);
        check("*.mail.protection.outlook.com", true);
        check("Example-com.mail.protection.OUTLOOK.com", true);
        check("evilmail.protection.outlook.com", false);
        check("protection.outlook.com", false);
        check("mail.protection.outlook.com.evil.example", false);
        check("", false);
        check("見mail.protection.outlook.com", false);
    }

    #[test]
    fn hex_must_be_whole_and_equal() {
        let digest = [0xab; 32];
        assert!(is_hex_of(&"ab".repeat(32), &digest));
        assert!(is_hex_of(&"AB".repeat(32), &digest));
        assert!(!is_hex_of(&"ab".repeat(31), &digest));
        assert!(!is_hex_of(&format!("{}ac", "ab".repeat(31)), &digest));
        assert!(!is_hex_of("", &digest));
        assert!(!is_hex_of(&"zz".repeat(32), &digest));
    }
}
