//! A plain SMTP client for tests: says a line, gets a reply. Knows no policy and no mercy.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A connection to an SMTP server.
pub struct Client {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
    /// The greeting, and after [`Client::hello`] the EHLO reply.
    pub greeting: String,
    /// The server's certificate (DER), when TLS is on.
    pub server_certificate: Option<Vec<u8>>,
}

/// A self-signed certificate for `names` and its key, both PEM: files for a server.
///
/// # Panics
/// When the name is no name.
#[must_use]
pub fn pem_pair(names: &[&str]) -> (String, String) {
    let made = rcgen::generate_simple_self_signed(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).expect("certificate");
    (made.cert.pem(), made.signing_key.serialize_pem())
}

/// A certificate that a test client shows.
#[derive(Clone)]
pub struct ClientCertificate {
    chain: rustls_pki_types::CertificateDer<'static>,
    key: Arc<rustls_pki_types::PrivateKeyDer<'static>>,
    /// SHA-256 of its key (SPKI), hex.
    pub fingerprint: String,
    /// PEM.
    pub pem: String,
}

impl ClientCertificate {
    /// Self-signed for `names`.
    ///
    /// # Panics
    /// When the name is no name.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        use rcgen::PublicKeyData;
        let made = rcgen::generate_simple_self_signed(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).expect("certificate");
        let digest = <sha2::Sha256 as sha2::Digest>::digest(made.signing_key.subject_public_key_info());
        Self {
            chain: made.cert.der().clone(),
            key: Arc::new(rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into())),
            fingerprint: digest.iter().map(|b| format!("{b:02x}")).collect(),
            pem: made.cert.pem(),
        }
    }
}

/// Accepts whatever certificate the server shows: tests look at mail, not at the server's name.
#[derive(Debug)]
struct Anyone(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &rustls_pki_types::CertificateDer<'_>,
        _: &[rustls_pki_types::CertificateDer<'_>],
        _: &rustls_pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        m: &[u8],
        c: &rustls_pki_types::CertificateDer<'_>,
        d: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(m, c, d, &self.0.signature_verification_algorithms)
    }
    fn verify_tls13_signature(
        &self,
        m: &[u8],
        c: &rustls_pki_types::CertificateDer<'_>,
        d: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(m, c, d, &self.0.signature_verification_algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Client {
    /// Connects from any address and reads the greeting.
    ///
    /// # Errors
    /// When nothing is there.
    pub async fn connect(to: SocketAddr) -> std::io::Result<Self> {
        Self::with_stream(Box::new(TcpStream::connect(to).await?)).await
    }

    /// Connects from `source` (an address of 127.0.0.0/8) and reads the greeting.
    ///
    /// # Errors
    /// When nothing is there.
    pub async fn connect_from(source: IpAddr, to: SocketAddr) -> std::io::Result<Self> {
        Self::with_stream(Box::new(raw_from(source, to).await?)).await
    }

    /// Connects with TLS from the start.
    ///
    /// # Errors
    /// When nothing is there or the handshake fails.
    pub async fn connect_tls(to: SocketAddr, certificate: Option<&ClientCertificate>) -> std::io::Result<Self> {
        let (stream, shown) = handshake(Box::new(TcpStream::connect(to).await?), certificate, rustls::DEFAULT_VERSIONS).await?;
        let mut client = Self::with_stream(stream).await?;
        client.server_certificate = shown;
        Ok(client)
    }

    async fn with_stream(stream: Box<dyn Stream>) -> std::io::Result<Self> {
        let mut client = Self {
            stream,
            buffer: Vec::new(),
            greeting: String::new(),
            server_certificate: None,
        };
        client.greeting = client.reply().await?;
        Ok(client)
    }

    /// STARTTLS and EHLO again.
    ///
    /// # Errors
    /// When it is refused or the handshake fails.
    pub async fn starttls(self, certificate: Option<&ClientCertificate>) -> std::io::Result<Self> {
        self.starttls_with(certificate, rustls::DEFAULT_VERSIONS).await
    }

    /// The same, speaking only these versions.
    ///
    /// # Errors
    /// When it is refused or the handshake fails.
    pub async fn starttls_with(
        mut self,
        certificate: Option<&ClientCertificate>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> std::io::Result<Self> {
        let reply = self.say("STARTTLS").await?;
        if !reply.starts_with("220") {
            return Err(std::io::Error::other(reply));
        }
        (self.stream, self.server_certificate) = handshake(self.stream, certificate, versions).await?;
        self.hello("client.example").await?;
        Ok(self)
    }

    /// EHLO; the whole reply.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn hello(&mut self, name: &str) -> std::io::Result<String> {
        self.greeting = self.say(&format!("EHLO {name}")).await?;
        Ok(self.greeting.clone())
    }

    /// Sends a line, returns the reply: lines joined by `\n`.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn say(&mut self, line: &str) -> std::io::Result<String> {
        self.send(format!("{line}\r\n").as_bytes()).await?;
        self.reply().await
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// Reads one reply, 60 s at most.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn reply(&mut self) -> std::io::Result<String> {
        tokio::time::timeout(Duration::from_secs(60), self.read_reply())
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
    }

    async fn read_reply(&mut self) -> std::io::Result<String> {
        let mut reply = String::new();
        loop {
            while let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let rest = self.buffer.split_off(at + 2);
                let line = std::mem::replace(&mut self.buffer, rest);
                let line = String::from_utf8_lossy(line.get(..at).unwrap_or_default()).into_owned();
                let last = line.as_bytes().get(3) != Some(&b'-');
                reply.push_str(&line);
                if last {
                    return Ok(reply);
                }
                reply.push('\n');
            }
            let mut chunk = [0; 4096];
            let n = self.stream.read(&mut chunk).await?;
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
        }
    }

    /// MAIL, RCPT for each, DATA, the message (dot-stuffed here), the dot. The reply to the first command that failed, or to the dot.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn deliver(&mut self, from: &str, to: &[&str], message: &[u8]) -> std::io::Result<String> {
        let reply = self.say(&format!("MAIL FROM:<{from}>")).await?;
        if !reply.starts_with("250") {
            return Ok(reply);
        }
        for rcpt in to {
            let reply = self.say(&format!("RCPT TO:<{rcpt}>")).await?;
            if !reply.starts_with("250") {
                self.say("RSET").await?;
                return Ok(reply);
            }
        }
        self.data(message).await
    }

    /// DATA, the message (dot-stuffed here), the dot; the last reply.
    ///
    /// # Errors
    /// When the connection ends.
    pub async fn data(&mut self, message: &[u8]) -> std::io::Result<String> {
        let reply = self.say("DATA").await?;
        if !reply.starts_with("354") {
            return Ok(reply);
        }
        let mut wire = Vec::with_capacity(message.len() + 16);
        for line in message.split_inclusive(|b| *b == b'\n') {
            if line.starts_with(b".") {
                wire.push(b'.');
            }
            wire.extend_from_slice(line);
        }
        if !wire.ends_with(b"\r\n") && !wire.is_empty() {
            wire.extend_from_slice(b"\r\n");
        }
        wire.extend_from_slice(b".\r\n");
        self.send(&wire).await?;
        self.reply().await
    }
}

/// A TCP connection from a chosen address.
///
/// # Errors
/// When nothing is there.
pub async fn raw_from(source: IpAddr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(source, 0))?;
    socket.connect(to).await
}

async fn handshake(
    stream: Box<dyn Stream>,
    certificate: Option<&ClientCertificate>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<(Box<dyn Stream>, Option<Vec<u8>>)> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(std::io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)));
    let config = match certificate {
        Some(c) => builder
            .with_client_auth_cert(vec![c.chain.clone()], c.key.clone_key())
            .map_err(std::io::Error::other)?,
        None => builder.with_no_client_auth(),
    };
    let name = rustls_pki_types::ServerName::try_from("mx.example").map_err(std::io::Error::other)?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
    let shown = stream.get_ref().1.peer_certificates().and_then(|c| c.first()).map(|c| c.to_vec());
    Ok((Box::new(stream), shown))
}
