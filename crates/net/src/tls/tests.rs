use super::*;
use mail::Timestamp;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn now() -> Timestamp {
    Timestamp(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

/// An authority and what it signs, written as files.
struct Authority {
    folder: TempDir,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

/// What differs between the certificates of the tests.
#[derive(Clone, Copy, PartialEq)]
enum Make {
    Good,
    Expired,
    SelfSigned,
    ServerPurpose,
}

impl Authority {
    fn new() -> Self {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "Test Authority");
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("root.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            folder,
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn roots(&self) -> Roots {
        Roots::load(&RootsSource::Files(vec![self.path("root.pem")])).unwrap()
    }

    /// Writes `<file>.crt` and `<file>.key`.
    fn issue(&self, file: &str, names: &[&str], make: Make) -> CertificateFiles {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("{file}.common.example"));
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = if make == Make::Expired {
            rcgen::date_time_ymd(2021, 1, 1)
        } else {
            rcgen::date_time_ymd(2080, 1, 1)
        };
        if make == Make::ServerPurpose {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        }
        let certificate = if make == Make::SelfSigned {
            params.self_signed(&key)
        } else {
            params.signed_by(&key, &self.issuer)
        }
        .unwrap();
        let files = CertificateFiles {
            names: Vec::new(),
            certificate: self.path(&format!("{file}.crt")),
            key: self.path(&format!("{file}.key")),
        };
        std::fs::write(&files.certificate, certificate.pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    fn server(&self, certificates: Vec<CertificateFiles>) -> ServerTls {
        let self_signed = SelfSigned {
            directory: self.path("tls"),
            names: vec![String::from("host.example"), String::from("*.in.base.example")],
        };
        ServerTls::load(
            ServerTlsSettings {
                certificates,
                self_signed,
                roots: self.roots(),
            },
            now(),
        )
        .unwrap()
    }

    fn client(&self) -> ClientTls {
        ClientTls::new(self.roots(), None).unwrap()
    }
}

type ServerSide = (SessionFacts, Option<PeerCertificate>);
type ClientSide = Result<(SessionFacts, Option<PeerCertificate>), TlsError>;

/// One handshake and a byte each way.
async fn shake(
    server: &ServerTls,
    server_min: TlsMin,
    client: &ClientTls,
    name: &str,
    level: &ClientLevel,
    client_min: TlsMin,
) -> (Option<ServerSide>, ClientSide) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (acceptor, owner) = (server.acceptor(server_min), server.clone());
    let serving = tokio::spawn(async move {
        let mut stream = acceptor.accept(far).await.ok()?;
        let facts = owner.facts(stream.get_ref().1);
        // The client may have left after judging the certificate.
        let _ = stream.write_all(b"x").await;
        let _ = stream.flush().await;
        Some(facts)
    });
    let outcome = match client.connect(near, name, level, client_min).await {
        Ok((mut stream, facts, peer)) => {
            assert_eq!(stream.read_u8().await.unwrap(), b'x');
            Ok((facts, peer))
        }
        Err(error) => Err(error),
    };
    (serving.await.unwrap(), outcome)
}

fn spki(files: &CertificateFiles) -> String {
    certificate::load(files).unwrap().facts.spki_sha256
}

#[tokio::test]
async fn levels_of_the_client() {
    let authority = Authority::new();
    let good = authority.issue("good", &["mx.example", "*.wild.example"], Make::Good);
    let expired = authority.issue("expired", &["expired.example"], Make::Expired);
    let lonely = authority.issue("lonely", &["lonely.example"], Make::SelfSigned);
    let server = authority.server(vec![good.clone(), expired.clone(), lonely.clone()]);
    let client = authority.client();
    let check = async |name: &str, level: ClientLevel, expect: Result<&str, &str>| {
        let (_, outcome) = shake(&server, TlsMin::Tls12, &client, name, &level, TlsMin::Tls12).await;
        let told = match &outcome {
            Ok((_, peer)) => Ok(peer.as_ref().unwrap().verdict()),
            Err(TlsError::Certificate { problem, .. }) => Err(problem.as_str()),
            Err(other) => panic!("{name}: {other}"),
        };
        assert_eq!(told, expect, "{name} {level:?}");
    };
    let untrusted = "not signed by a trusted authority";
    check("mx.example", ClientLevel::AnyCertificate, Ok("verified")).await;
    check("mx.example", ClientLevel::Verified, Ok("verified")).await;
    check("a.wild.example", ClientLevel::Verified, Ok("verified")).await;
    check("other.example", ClientLevel::AnyCertificate, Ok("made out to another name")).await;
    check("other.example", ClientLevel::Verified, Err("made out to another name")).await;
    check("192.0.2.1", ClientLevel::AnyCertificate, Ok("made out to another name")).await;
    check("[2001:db8::1]", ClientLevel::Verified, Err("made out to another name")).await;
    check("expired.example", ClientLevel::AnyCertificate, Ok("expired")).await;
    check("expired.example", ClientLevel::Verified, Err("expired")).await;
    check("lonely.example", ClientLevel::AnyCertificate, Ok(untrusted)).await;
    check("lonely.example", ClientLevel::Verified, Err(untrusted)).await;
    let pin = spki(&lonely);
    check(
        "lonely.example",
        ClientLevel::Pinned(vec![spki(&good), pin.to_uppercase()]),
        Ok(untrusted),
    )
    .await;
    let (_, outcome) = shake(
        &server,
        TlsMin::Tls12,
        &client,
        "lonely.example",
        &ClientLevel::Pinned(vec![spki(&good)]),
        TlsMin::Tls12,
    )
    .await;
    assert!(matches!(outcome, Err(TlsError::Certificate { .. })));
    let (_, outcome) = shake(
        &server,
        TlsMin::Tls12,
        &client,
        "a name with spaces",
        &ClientLevel::AnyCertificate,
        TlsMin::Tls12,
    )
    .await;
    assert!(matches!(outcome, Err(TlsError::ServerName(_))));
}

#[tokio::test]
async fn a_resumed_session_is_judged_like_a_new_one() {
    let authority = Authority::new();
    let server = authority.server(vec![authority.issue("lonely", &["lonely.example"], Make::SelfSigned)]);
    let client = authority.client();
    for _ in 0..3 {
        let (_, outcome) = shake(
            &server,
            TlsMin::Tls12,
            &client,
            "lonely.example",
            &ClientLevel::AnyCertificate,
            TlsMin::Tls12,
        )
        .await;
        assert!(outcome.is_ok());
        let (_, outcome) = shake(
            &server,
            TlsMin::Tls12,
            &client,
            "lonely.example",
            &ClientLevel::Verified,
            TlsMin::Tls12,
        )
        .await;
        assert!(matches!(outcome, Err(TlsError::Certificate { .. })));
    }
}

#[tokio::test]
async fn versions_and_ciphers() {
    let authority = Authority::new();
    let server = authority.server(vec![authority.issue("good", &["mx.example"], Make::Good)]);
    let client = authority.client();
    let check = async |server_min, client_min, expect: &str| {
        let (serving, outcome) = shake(&server, server_min, &client, "mx.example", &ClientLevel::AnyCertificate, client_min).await;
        let (facts, _) = outcome.unwrap();
        assert_eq!(facts, serving.unwrap().0, "both sides tell the same");
        assert_eq!(facts.version, expect);
        assert!(
            facts.cipher.starts_with("TLS_AES_") || facts.cipher.starts_with("TLS_CHACHA20_"),
            "{}",
            facts.cipher
        );
    };
    check(TlsMin::Tls12, TlsMin::Tls12, "TLSv1.3").await;
    check(TlsMin::Tls13, TlsMin::Tls12, "TLSv1.3").await;
    check(TlsMin::Tls12, TlsMin::Tls13, "TLSv1.3").await;

    let only_12 = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(authority.roots().0)
        .with_no_client_auth();
    let try_12 = async |min| {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = rustls_pki_types::ServerName::try_from("mx.example").unwrap();
        let acceptor = server.acceptor(min);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(only_12.clone()));
        let (server_side, client_side) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
        server_side
            .ok()
            .map(|stream| SessionFacts::of(stream.get_ref().1))
            .filter(|_| client_side.is_ok())
    };
    assert_eq!(try_12(TlsMin::Tls13).await, None, "the server asks for 1.3");
    let facts = try_12(TlsMin::Tls12).await.unwrap();
    assert_eq!(facts.version, "TLSv1.2");
    assert!(facts.cipher.starts_with("TLS_ECDHE_ECDSA_"), "{}", facts.cipher);
}

#[tokio::test]
async fn client_certificates_never_fail_the_handshake() {
    let authority = Authority::new();
    let server = authority.server(vec![authority.issue("good", &["mx.example"], Make::Good)]);
    let check = async |identity: Option<ServerTls>, expect: Option<(Vec<&str>, Result<(), &str>)>| {
        let client = ClientTls::new(authority.roots(), identity.as_ref()).unwrap();
        // Twice: the second session is resumed and knows the certificate all the same.
        for _ in 0..2 {
            let (serving, outcome) = shake(&server, TlsMin::Tls12, &client, "mx.example", &ClientLevel::Verified, TlsMin::Tls12).await;
            assert!(outcome.is_ok(), "{outcome:?}");
            let peer = serving.unwrap().1;
            let told = peer.as_ref().map(|peer| {
                (
                    peer.names.iter().map(String::as_str).collect(),
                    peer.verified.as_ref().map(|_| ()).map_err(String::as_str),
                )
            });
            assert_eq!(told, expect);
        }
    };
    let identity = |file: &str, make| Some(authority.server(vec![authority.issue(file, &["Client.example"], make)]));
    check(None, None).await;
    check(
        identity("a", Make::Good),
        Some((vec!["client.example", "a.common.example"], Ok(()))),
    )
    .await;
    check(
        identity("b", Make::ServerPurpose),
        Some((vec!["client.example", "b.common.example"], Ok(()))),
    )
    .await;
    check(
        identity("c", Make::Expired),
        Some((vec!["client.example", "c.common.example"], Err("expired"))),
    )
    .await;
    check(
        identity("d", Make::SelfSigned),
        Some((vec!["client.example", "d.common.example"], Err("not signed by a trusted authority"))),
    )
    .await;
}

#[tokio::test]
async fn a_client_without_the_key_fails() {
    let authority = Authority::new();
    let server = authority.server(vec![authority.issue("good", &["mx.example"], Make::Good)]);
    let (shown, held) = (
        authority.issue("shown", &["client.example"], Make::Good),
        authority.issue("held", &["x.example"], Make::Good),
    );
    let chain = vec![CertificateDer::from_pem_file(&shown.certificate).unwrap()];
    let key = provider()
        .key_provider
        .load_private_key(PrivateKeyDer::from_pem_file(&held.key).unwrap())
        .unwrap();
    let stolen = Arc::new(rustls::sign::CertifiedKey::new(chain, key));
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots().0)
        .with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(stolen)));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = rustls_pki_types::ServerName::try_from("mx.example").unwrap();
    let (acceptor, connector) = (server.acceptor(TlsMin::Tls12), tokio_rustls::TlsConnector::from(Arc::new(config)));
    let (server_side, _) = tokio::join!(acceptor.accept(far), connector.connect(name, near));
    assert!(server_side.is_err());
}

#[tokio::test]
async fn what_is_not_tls_fails_without_waiting() {
    let authority = Authority::new();
    let server = authority.server(Vec::new());
    let (mut near, far) = tokio::io::duplex(1024);
    near.write_all(b"EHLO client.example\r\n").await.unwrap();
    assert!(server.acceptor(TlsMin::Tls12).accept(far).await.is_err());
    let (mut near, far) = tokio::io::duplex(1024);
    near.write_all(b"220 mx.example ESMTP\r\n").await.unwrap();
    let outcome = authority
        .client()
        .connect(far, "mx.example", &ClientLevel::AnyCertificate, TlsMin::Tls12)
        .await;
    assert!(matches!(outcome, Err(TlsError::Handshake(_))));
}

#[test]
fn a_certificate_of_our_own_is_made_once() {
    let authority = Authority::new();
    let first = authority.server(Vec::new()).certificates().remove(0);
    assert!(first.is_self_signed);
    assert_eq!(first.names, ["host.example", "*.in.base.example"]);
    assert!(first.not_after > now().after(std::time::Duration::from_secs(9 * 365 * 86_400)));
    let mode = |name: &str| std::fs::metadata(authority.path("tls").join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("self-signed.key"), mode("self-signed.crt")), (0o600, 0o644));
    assert_eq!(
        authority.server(Vec::new()).certificates().remove(0),
        first,
        "the next start keeps it"
    );

    let other_names = SelfSigned {
        directory: authority.path("tls"),
        names: vec![String::from("new.example")],
    };
    other_names.ensure(now()).unwrap();
    let second = certificate::load(&other_names.files()).unwrap().facts;
    assert_eq!(second.names, ["new.example"]);
    std::fs::write(other_names.files().key, "half a key").unwrap();
    other_names.ensure(now()).unwrap();
    assert_ne!(
        certificate::load(&other_names.files()).unwrap().facts.spki_sha256,
        second.spki_sha256,
        "a broken pair is made anew"
    );
    let near_its_end = now().after(std::time::Duration::from_secs(10 * 365 * 86_400));
    let before = spki(&other_names.files());
    other_names.ensure(near_its_end).unwrap();
    assert_ne!(spki(&other_names.files()), before, "so is one near its end");
}

#[tokio::test]
async fn files_that_change_are_taken_over() {
    let authority = Authority::new();
    let files = authority.issue("live", &["mx.example"], Make::Good);
    let server = authority.server(vec![files.clone()]);
    let client = authority.client();
    let shown = async || {
        let (_, outcome) = shake(
            &server,
            TlsMin::Tls12,
            &client,
            "mx.example",
            &ClientLevel::AnyCertificate,
            TlsMin::Tls12,
        )
        .await;
        outcome.unwrap().1.unwrap().spki_sha256
    };
    let old = spki(&files);
    assert_eq!(server.reload_if_changed(), Reload::Unchanged);
    replace(
        &files.certificate,
        b"-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n",
    );
    assert!(matches!(server.reload_if_changed(), Reload::Failed(problem) if problem.contains("live.crt")));
    assert_eq!(server.reload_if_changed(), Reload::Unchanged, "a failure is told once");
    assert_eq!(server.certificates()[0].spki_sha256, old);
    authority.issue("live", &["mx.example"], Make::Good);
    let new = spki(&files);
    assert_eq!(server.reload_if_changed(), Reload::Reloaded);
    assert_eq!(shown().await, new);
    std::fs::remove_file(&files.key).unwrap();
    assert!(matches!(server.reload_if_changed(), Reload::Failed(_)));
    assert_eq!(shown().await, new);
}

/// As renewal programs do it: a new file under the old name.
fn replace(path: &Path, bytes: &[u8]) {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, bytes).unwrap();
    std::fs::rename(&temporary, path).unwrap();
}

#[test]
fn files_that_are_wrong_are_refused_at_start() {
    let authority = Authority::new();
    let (one, two) = (
        authority.issue("one", &["one.example"], Make::Good),
        authority.issue("two", &["two.example"], Make::Good),
    );
    let load = |certificate: &Path, key: &Path| {
        let files = CertificateFiles {
            names: Vec::new(),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        certificate::load(&files).err().map(|error| error.to_string())
    };
    assert_eq!(load(&one.certificate, &one.key), None);
    assert!(load(&one.certificate, &two.key).unwrap().contains("two.key"), "does not fit");
    assert!(load(&one.key, &one.key).unwrap().contains("holds no certificate"));
    assert!(load(&one.certificate, &one.certificate).unwrap().contains("holds no private key"));
    assert!(load(&authority.path("absent"), &one.key).unwrap().contains("absent"));
    assert!(Roots::load(&RootsSource::Files(vec![one.key])).is_err());
    assert_eq!(authority.roots().count(), 1);
}
