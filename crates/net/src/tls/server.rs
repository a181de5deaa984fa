//! TLS where we are the server: which certificate for which name, and files that change while we run.
//!
//! Invariants: one broken file leaves the certificates in use as they are; client certificates are asked for and never fail a handshake
//! by being absent, expired, self-signed or unreadable.

use super::any::AnyClient;
use super::certificate::{Loaded, Stamp, load, stamp};
use super::{CertificateFacts, CertificateFiles, PeerCertificate, Roots, SelfSigned, SessionFacts, TlsError, TlsMin, provider, versions};
use arc_swap::ArcSwap;
use mail::Timestamp;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SignatureScheme};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio_rustls::TlsAcceptor;

/// What the server side is made of.
#[derive(Clone, Debug)]
pub struct ServerTlsSettings {
    /// Certificates by file. The first one is shown to clients that name nothing we know.
    pub certificates: Vec<CertificateFiles>,
    /// Made and shown when there is no other.
    pub self_signed: SelfSigned,
    /// Who vouches for client certificates.
    pub roots: Roots,
}

/// What a look at the files brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reload {
    /// All as before.
    Unchanged,
    /// New certificates are shown from now on.
    Reloaded,
    /// The files changed and cannot be used; the old certificates stay.
    Failed(String),
}

/// The server side. Cheap to clone.
#[derive(Clone)]
pub struct ServerTls(Arc<Shared>);

struct Shared {
    files: Vec<CertificateFiles>,
    /// As last looked at, whether or not they could be used.
    stamps: Mutex<Vec<Stamp>>,
    table: Arc<Table>,
    roots: Roots,
    from_12: TlsAcceptor,
    from_13: TlsAcceptor,
}

impl ServerTls {
    /// Reads all certificates, making our own first where none is configured.
    ///
    /// # Errors
    /// [`TlsError`]: at start every file must be right.
    pub fn load(settings: ServerTlsSettings, now: Timestamp) -> Result<Self, TlsError> {
        let files = if settings.certificates.is_empty() {
            vec![settings.self_signed.ensure(now)?]
        } else {
            settings.certificates
        };
        let stamps = stamps(&files);
        let table = Arc::new(Table(ArcSwap::from_pointee(Certificates::load(&files)?)));
        let (from_12, from_13) = (acceptor(TlsMin::Tls12, &table)?, acceptor(TlsMin::Tls13, &table)?);
        Ok(Self(Arc::new(Shared {
            files,
            stamps: Mutex::new(stamps),
            table,
            roots: settings.roots,
            from_12,
            from_13,
        })))
    }

    /// What makes TLS of an accepted stream. Stays valid over reloads; cheap.
    #[must_use]
    pub fn acceptor(&self, min: TlsMin) -> TlsAcceptor {
        match min {
            TlsMin::Tls12 => self.0.from_12.clone(),
            TlsMin::Tls13 => self.0.from_13.clone(),
        }
    }

    /// Facts about a finished handshake and the client's certificate, if it showed one.
    #[must_use]
    pub fn facts(&self, connection: &rustls::CommonState) -> (SessionFacts, Option<PeerCertificate>) {
        (SessionFacts::of(connection), PeerCertificate::of_client(connection, &self.0.roots))
    }

    /// Looks whether files changed and takes them over. A few system calls when nothing did; a task calls it every few seconds.
    #[must_use]
    pub fn reload_if_changed(&self) -> Reload {
        let mut known = self.0.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let found = stamps(&self.0.files);
        if *known == found {
            return Reload::Unchanged;
        }
        // Taken before reading: a file that changes meanwhile is read again next time. Certificate and key change one after the other,
        // so the first look may find a pair that does not fit; the second look mends it.
        *known = found;
        match Certificates::load(&self.0.files) {
            Ok(certificates) => {
                self.0.table.0.store(Arc::new(certificates));
                Reload::Reloaded
            }
            Err(error) => Reload::Failed(error.to_string()),
        }
    }

    /// The certificates in use, the default first.
    #[must_use]
    pub fn certificates(&self) -> Vec<CertificateFacts> {
        self.0.table.0.load().all.iter().map(|loaded| loaded.facts.clone()).collect()
    }

    /// The default certificate, which we also show as a client to servers that ask.
    pub(super) fn identity(&self) -> Arc<dyn rustls::client::ResolvesClientCert> {
        self.0.table.clone()
    }
}

fn stamps(files: &[CertificateFiles]) -> Vec<Stamp> {
    files.iter().flat_map(|file| [stamp(&file.certificate), stamp(&file.key)]).collect()
}

fn acceptor(min: TlsMin, table: &Arc<Table>) -> Result<TlsAcceptor, TlsError> {
    let setup = |error: rustls::Error| TlsError::Setup(error.to_string());
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions(min))
        .map_err(setup)?
        .with_client_cert_verifier(Arc::new(AnyClient))
        .with_cert_resolver(table.clone());
    // Tickets keep nothing on our side, so ten thousand idle clients cost no memory for resumption.
    config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(setup)?;
    config.send_tls13_tickets = 1;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// All certificates and which name gets which.
#[derive(Debug)]
struct Certificates {
    all: Vec<Loaded>,
    by_name: HashMap<String, usize>,
}

impl Certificates {
    fn load(files: &[CertificateFiles]) -> Result<Self, TlsError> {
        let all: Vec<Loaded> = files.iter().map(load).collect::<Result<_, _>>()?;
        let mut by_name = HashMap::new();
        for (place, loaded) in all.iter().enumerate() {
            for name in &loaded.facts.names {
                by_name.entry(name.clone()).or_insert(place);
            }
        }
        Ok(Self { all, by_name })
    }

    /// RFC 9525 §6.3: an exact name first, then `*` for its left-most label, then the default.
    fn pick(&self, server_name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let name = server_name.map(str::to_ascii_lowercase);
        let place = name.as_deref().and_then(|name| {
            let wildcard = || {
                name.split_once('.')
                    .and_then(|(_, parent)| self.by_name.get(&format!("*.{parent}")))
            };
            self.by_name.get(name).or_else(wildcard)
        });
        self.all.get(place.copied().unwrap_or(0)).map(|loaded| loaded.key.clone())
    }
}

#[derive(Debug)]
struct Table(ArcSwap<Certificates>);

impl ResolvesServerCert for Table {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load().pick(hello.server_name())
    }
}

impl rustls::client::ResolvesClientCert for Table {
    fn resolve(&self, _root_hints: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        // A key the server cannot use would fail the handshake; without a certificate it may go on.
        self.0.load().pick(None).filter(|key| key.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
