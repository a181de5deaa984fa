//! Who is at the other end? Facts about a certificate that was shown and whose key was proven.

use super::{Roots, provider};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Names that are read from one certificate at most.
const NAMES_MAX: usize = 1_000;

/// Facts about the other side's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerCertificate {
    /// DNS names of the subject alternative names, lower case; the common name after them when it is not among them.
    pub names: Vec<String>,
    /// SHA-256 of the key (SubjectPublicKeyInfo), lower-case hex. RFC 7672 §3.1.1 and `pinned` speak of this.
    pub spki_sha256: String,
    /// Whether it is valid today and signed by a trusted root; for servers also whether it is made out to the name asked for.
    pub verified: Result<(), String>,
    /// Subject, as people write it.
    pub subject: String,
}

impl PeerCertificate {
    /// Of the client at a finished handshake; nothing when it showed no certificate or one that cannot be read (it proves nothing then).
    #[must_use]
    pub fn of_client(connection: &rustls::CommonState, roots: &Roots) -> Option<Self> {
        let (certificate, intermediates) = connection.peer_certificates()?.split_first()?;
        read(certificate, verify_client(certificate, intermediates, roots))
    }

    /// Of the server `name` at a finished handshake.
    #[must_use]
    pub fn of_server(connection: &rustls::CommonState, name: &ServerName<'_>, roots: &Roots) -> Option<Self> {
        let (certificate, intermediates) = connection.peer_certificates()?.split_first()?;
        read(certificate, verify_server(certificate, intermediates, name, roots))
    }

    /// As [`TlsFacts`](SessionFacts) of tracking says it: `verified`, or why not.
    #[must_use]
    pub fn verdict(&self) -> &str {
        match &self.verified {
            Ok(()) => "verified",
            Err(problem) => problem,
        }
    }
}

fn verify_server(
    certificate: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    name: &ServerName<'_>,
    roots: &Roots,
) -> Result<(), String> {
    let parsed = ParsedCertificate::try_from(certificate).map_err(|error| problem(&error))?;
    let algorithms = provider().signature_verification_algorithms;
    verify_server_cert_signed_by_trust_anchor(&parsed, &roots.0, intermediates, UnixTime::now(), algorithms.all)
        .map_err(|error| problem(&error))?;
    verify_server_name(&parsed, name).map_err(|error| problem(&error))
}

/// TOLERATES RFC 5280 §4.2.1.12: public authorities stopped issuing certificates for clients, so mail servers show the one they have, made out
/// for servers. Either purpose does (docs/quirk.md#client-certificate-purpose).
fn verify_client(certificate: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>], roots: &Roots) -> Result<(), String> {
    let parsed = ParsedCertificate::try_from(certificate).map_err(|error| problem(&error))?;
    let algorithms = provider().signature_verification_algorithms;
    let as_server = verify_server_cert_signed_by_trust_anchor(&parsed, &roots.0, intermediates, UnixTime::now(), algorithms.all);
    let Err(first) = as_server else { return Ok(()) };
    let as_client = WebPkiClientVerifier::builder_with_provider(roots.0.clone(), provider())
        .build()
        .is_ok_and(|verifier| verifier.verify_client_cert(certificate, intermediates, UnixTime::now()).is_ok());
    if as_client { Ok(()) } else { Err(problem(&first)) }
}

fn problem(error: &rustls::Error) -> String {
    use rustls::CertificateError as E;
    let rustls::Error::InvalidCertificate(error) = error else {
        return error.to_string();
    };
    let text = match error {
        E::Expired | E::ExpiredContext { .. } => "expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "not valid yet",
        E::UnknownIssuer => "not signed by a trusted authority",
        E::NotValidForName | E::NotValidForNameContext { .. } => "made out to another name",
        E::Revoked => "revoked",
        E::BadEncoding => "unreadable",
        E::BadSignature => "signature does not match",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => "made out for another purpose",
        other => return other.to_string(),
    };
    text.to_owned()
}

fn read(certificate: &CertificateDer<'_>, verified: Result<(), String>) -> Option<PeerCertificate> {
    // What webpki cannot read had no signature checked in the handshake.
    ParsedCertificate::try_from(certificate).ok()?;
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    Some(PeerCertificate {
        names: names(&parsed),
        spki_sha256: hex(&Sha256::digest(parsed.public_key().raw)),
        verified,
        subject: parsed.subject().to_string(),
    })
}

/// DNS names, then the common name.
pub(super) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let alternative = certificate.subject_alternative_name().ok().flatten();
    for general in alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .take(NAMES_MAX)
    {
        if let GeneralName::DNSName(name) = general {
            names.push(name.to_ascii_lowercase());
        }
    }
    let common = certificate
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .map(str::to_ascii_lowercase);
    if let Some(common) = common.filter(|common| !names.contains(common)) {
        names.push(common);
    }
    names
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
