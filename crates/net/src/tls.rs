//! How is a connection made private, and what is known about who is at the other end?
//!
//! In: certificate files, trusted roots, streams. Out: encrypted streams with the facts that tracking and policy want.
//! Standards: RFC 8446, RFC 5246, RFC 8996 (nothing below 1.2), RFC 6066 §3 (SNI), RFC 9525 (names), RFC 7672 §3.1.1 (key digests).
//! Invariants: a handshake proves that the other side holds the key of the certificate it shows; whether that certificate is trusted
//! is a fact ([`PeerCertificate::verified`]), and only the levels that ask for it fail on it. No process-wide crypto provider is installed.

mod any;
mod certificate;
mod client;
mod peer;
mod roots;
mod server;

pub use certificate::{CertificateFacts, CertificateFiles, SelfSigned};
pub use client::{ClientLevel, ClientTls};
pub use peer::PeerCertificate;
pub use roots::{Roots, RootsSource};
pub use server::{Reload, ServerTls, ServerTlsSettings};
pub use tokio_rustls::{TlsAcceptor, client::TlsStream as ClientStream, server::TlsStream as ServerStream};

use mail::text::Text;
use rustls::crypto::CryptoProvider;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

/// The oldest version that a side accepts. RFC 8996: there is nothing below 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TlsMin {
    /// TLS 1.2 or 1.3.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

/// What a handshake agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionFacts {
    /// `TLSv1.3`.
    pub version: String,
    /// As IANA names it: `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
}

impl SessionFacts {
    /// Of a connection whose handshake is done.
    #[must_use]
    pub fn of(connection: &rustls::CommonState) -> Self {
        let version = match connection.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => String::from("TLSv1.3"),
            Some(rustls::ProtocolVersion::TLSv1_2) => String::from("TLSv1.2"),
            other => format!("{other:?}"),
        };
        let suite = connection.negotiated_cipher_suite().map(|suite| suite.suite());
        let name = suite.and_then(|suite| suite.as_str().map(str::to_owned)).unwrap_or_default();
        // rustls writes the version into the names of the 1.3 suites; IANA does not.
        let cipher = name
            .strip_prefix("TLS13_")
            .map_or_else(|| name.clone(), |rest| format!("TLS_{rest}"));
        Self { version, cipher }
    }
}

/// Why TLS is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or written.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{path}: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: Text,
    },
    /// The library refuses a setting or a key.
    #[error("set up TLS: {0}")]
    Setup(String),
    /// The name of the server can be no certificate's name.
    #[error("no certificate can be made out to {0:?}")]
    ServerName(String),
    /// The handshake failed: not TLS, no common version, broken off.
    #[error("TLS handshake: {0}")]
    Handshake(String),
    /// The handshake worked, the certificate is not what the level asks for.
    #[error("certificate of {server}: {problem}")]
    Certificate {
        /// As connected to.
        server: String,
        /// Why it does not do.
        problem: String,
    },
}

impl From<&TlsError> for Text {
    fn from(error: &TlsError) -> Self {
        let about = |path: &std::path::Path, why: Self| Self::new("check.about").with("what", path.display().to_string()).with("why", why);
        match error {
            TlsError::File { path, source } => about(path, Self::of_io(source)),
            TlsError::Content { path, problem } => about(path, problem.clone()),
            TlsError::Setup(why) => Self::new("check.pem.setup").with("why", why),
            TlsError::ServerName(_) | TlsError::Handshake(_) | TlsError::Certificate { .. } => Self::verbatim(error.to_string()),
        }
    }
}

/// The one provider of cryptography, handed to every configuration.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

static FROM_12: [&rustls::SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
static FROM_13: [&rustls::SupportedProtocolVersion; 1] = [&rustls::version::TLS13];

fn versions(min: TlsMin) -> &'static [&'static rustls::SupportedProtocolVersion] {
    match min {
        TlsMin::Tls12 => &FROM_12,
        TlsMin::Tls13 => &FROM_13,
    }
}

#[cfg(test)]
mod tests;
