//! TLS where we are the client: opportunistic, verified or pinned.
//!
//! The handshake takes any certificate whose key is proven, at every level; the level is judged right after it, before a byte of ours is sent.
//! So there is one place that judges, resumed sessions are judged like new ones, and the facts are the same whatever the level.

use super::any::AnyServer;
use super::{PeerCertificate, Roots, ServerTls, SessionFacts, TlsError, TlsMin, provider, versions};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What the server's certificate must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientLevel {
    /// Anything: `opportunistic` and `encrypted`.
    AnyCertificate,
    /// Valid, trusted and made out to the name.
    Verified,
    /// One of these keys: SHA-256 of the SubjectPublicKeyInfo, hex in either case, colons allowed.
    Pinned(Vec<String>),
}

/// The client side. Cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    from_12: TlsConnector,
    from_13: TlsConnector,
    roots: Roots,
}

impl ClientTls {
    /// `identity` is shown to servers that ask for a client certificate; some (connectors of Microsoft 365) know their senders by it.
    ///
    /// # Errors
    /// [`TlsError::Setup`].
    pub fn new(roots: Roots, identity: Option<&ServerTls>) -> Result<Self, TlsError> {
        let connector = |min| {
            let config = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(versions(min))
                .map_err(|error| TlsError::Setup(error.to_string()))?
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnyServer));
            let config = match identity {
                Some(server) => config.with_client_cert_resolver(server.identity()),
                None => config.with_no_client_auth(),
            };
            Ok(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self {
            from_12: connector(TlsMin::Tls12)?,
            from_13: connector(TlsMin::Tls13)?,
            roots,
        })
    }

    /// Shakes hands with `server_name` (a host name or an IP literal; the latter sends no SNI) and judges its certificate.
    /// The caller sets the deadline.
    ///
    /// # Errors
    /// [`TlsError::Handshake`], [`TlsError::Certificate`], [`TlsError::ServerName`].
    pub async fn connect<S>(
        &self,
        stream: S,
        server_name: &str,
        level: &ClientLevel,
        min: TlsMin,
    ) -> Result<(TlsStream<S>, SessionFacts, Option<PeerCertificate>), TlsError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let bare = server_name.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::ServerName(server_name.to_owned()))?;
        let connector = match min {
            TlsMin::Tls12 => &self.from_12,
            TlsMin::Tls13 => &self.from_13,
        };
        let stream = connector
            .connect(name.clone(), stream)
            .await
            .map_err(|error| TlsError::Handshake(error.to_string()))?;
        let connection = stream.get_ref().1;
        let facts = SessionFacts::of(connection);
        let peer = PeerCertificate::of_server(connection, &name, &self.roots);
        judge(level, peer.as_ref()).map_err(|problem| TlsError::Certificate {
            server: server_name.to_owned(),
            problem,
        })?;
        Ok((stream, facts, peer))
    }
}

fn judge(level: &ClientLevel, peer: Option<&PeerCertificate>) -> Result<(), String> {
    match (level, peer) {
        (ClientLevel::AnyCertificate, _) => Ok(()),
        (ClientLevel::Verified | ClientLevel::Pinned(_), None) => Err(String::from("unreadable")),
        (ClientLevel::Verified, Some(peer)) => peer.verified.clone(),
        (ClientLevel::Pinned(pins), Some(peer)) => {
            let is_pinned = pins.iter().any(|pin| pin.replace(':', "").eq_ignore_ascii_case(&peer.spki_sha256));
            if is_pinned {
                Ok(())
            } else {
                Err(format!("its key {} is not among the pinned ones", peer.spki_sha256))
            }
        }
    }
}
