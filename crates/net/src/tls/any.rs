//! Takes any certificate, and has the handshake signed with its key. Whether the certificate is trusted is judged after the handshake.
//!
//! Standards: RFC 8446 §4.4.3, RFC 5246 §7.4.8 (proof of the key).
//! Invariants: a server's key is always proven; a client's as far as its certificate can be read.

use super::provider;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

type Signed = Result<HandshakeSignatureValid, rustls::Error>;
type Verify = fn(&[u8], &CertificateDer<'_>, &DigitallySignedStruct, &rustls::crypto::WebPkiSupportedAlgorithms) -> Signed;

const TLS_12: Verify = rustls::crypto::verify_tls12_signature;
const TLS_13: Verify = rustls::crypto::verify_tls13_signature;

fn signed(verify: Verify, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct) -> Signed {
    verify(message, certificate, signature, &provider().signature_verification_algorithms)
}

fn schemes() -> Vec<SignatureScheme> {
    provider().signature_verification_algorithms.supported_schemes()
}

/// Any server.
#[derive(Debug)]
pub(super) struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct) -> Signed {
        signed(TLS_12, message, certificate, signature)
    }

    fn verify_tls13_signature(&self, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct) -> Signed {
        signed(TLS_13, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}

/// Any client, with a certificate or without. One that cannot be read is as good as absent
/// ([`super::PeerCertificate::of_client`] says nothing about it).
#[derive(Debug)]
pub(super) struct AnyClient;

impl AnyClient {
    fn signed(verify: Verify, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct) -> Signed {
        if ParsedCertificate::try_from(certificate).is_err() {
            return Ok(HandshakeSignatureValid::assertion());
        }
        signed(verify, message, certificate, signature)
    }
}

impl ClientCertVerifier for AnyClient {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct) -> Signed {
        Self::signed(TLS_12, message, certificate, signature)
    }

    fn verify_tls13_signature(&self, message: &[u8], certificate: &CertificateDer<'_>, signature: &DigitallySignedStruct) -> Signed {
        Self::signed(TLS_13, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        schemes()
    }
}
