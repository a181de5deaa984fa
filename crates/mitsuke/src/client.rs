//! The command line's way to the API: over the local socket, or over HTTP(S) with a key.
//!
//! In: method, path, body. Out: JSON or text, or the problem that the API tells (RFC 9457).
//! Invariants: an answer is at most [`ANSWER_BYTES_MAX`] long; every wait has a deadline.

use crate::say;
use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// 256 MB: a whole list of recipients.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Long work is a job that is asked for again; nothing else may take this long.
const ANSWER_WAIT: Duration = Duration::from_secs(120);

/// Where the API is.
#[derive(Clone, Debug)]
pub enum Door {
    /// The socket on this host: its owner is the operator.
    Socket(PathBuf),
    /// `http://host:port` or `https://host`, with a key.
    Url {
        /// Without a trailing slash.
        url: String,
        /// API key.
        key: String,
    },
}

/// Speaks to the API.
#[derive(Clone, Debug)]
pub struct Api {
    door: Door,
    /// A key over the local socket, instead of the user's own rights.
    key: Option<String>,
    /// Roots of a private authority, believed besides the system's.
    authority: Option<PathBuf>,
}

/// What the API answers with when it does not do it.
#[derive(Debug, thiserror::Error)]
#[error("{title}{}{}", if detail.is_empty() { "" } else { ": " }, detail)]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Short.
    pub title: String,
    /// With what to do.
    pub detail: String,
    /// The whole problem document.
    pub document: Value,
}

impl Api {
    /// At this door.
    #[must_use]
    pub fn new(door: Door) -> Self {
        Self {
            door,
            key: None,
            authority: None,
        }
    }

    /// The same door, with a key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self {
            key: Some(key.to_owned()),
            ..self.clone()
        }
    }

    /// The same door; certificates of this authority (a PEM file) are believed too.
    #[must_use]
    pub fn with_authority(self, file: PathBuf) -> Self {
        Self {
            authority: Some(file),
            ..self
        }
    }

    /// GET.
    ///
    /// # Errors
    /// When the server cannot be reached, or [`Problem`].
    pub async fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, None).await
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.json(Method::POST, path, Some(body)).await
    }

    /// Any method with a JSON body.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn json(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let bytes = body.map_or_else(Vec::new, |b| b.to_string().into_bytes());
        let text = self.send(method, path, "application/json", bytes).await?;
        if text.is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice(&text).with_context(|| say::text("cli.error.answer-json", &[]))
        }
    }

    /// Sends any bytes, returns the answer's bytes.
    ///
    /// # Errors
    /// As [`Api::get`].
    pub async fn send(&self, method: Method, path: &str, media: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        tokio::time::timeout(ANSWER_WAIT, self.exchange(method, path, media, body))
            .await
            .map_err(|_| {
                anyhow!(
                    "{}",
                    say::text("cli.error.answer-late", &[("seconds", &ANSWER_WAIT.as_secs().to_string())])
                )
            })?
    }

    async fn exchange(&self, method: Method, path: &str, media: &str, body: Vec<u8>) -> Result<Vec<u8>> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", self.host())
            .header("content-type", media)
            .header("accept", "application/json")
            // RFC 9110 §12.5.4
            .header("accept-language", say::lang().as_str());
        let key = match &self.door {
            Door::Url { key, .. } => self.key.as_ref().or(Some(key)),
            Door::Socket(_) => self.key.as_ref(),
        };
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .with_context(|| say::text("cli.error.path", &[]))?;
        let answer = match &self.door {
            Door::Socket(path) => {
                let stream = tokio::net::UnixStream::connect(path)
                    .await
                    .with_context(|| say::about_file("cli.error.no-socket", path))?;
                talk(TokioIo::new(stream), request).await?
            }
            Door::Url { url, .. } => self.over_url(url, request).await?,
        };
        let status = answer.status();
        let bytes = Limited::new(answer.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await
            .map_err(|e| anyhow!("{}", say::text("cli.error.answer-broken", &[("text", &e.to_string())])))?
            .to_bytes();
        if status.is_success() {
            Ok(bytes.to_vec())
        } else {
            let mut problem = problem(status, &bytes);
            if status == StatusCode::FORBIDDEN && key.is_none() {
                problem.detail.push_str(&say::text("cli.error.socket-forbidden", &[]));
            }
            Err(problem.into())
        }
    }

    async fn over_url(&self, url: &str, request: Request<Full<Bytes>>) -> Result<hyper::Response<hyper::body::Incoming>> {
        let scheme_wanted = || say::text("cli.error.url-scheme", &[]);
        let about_url = |key: &str| say::text(key, &[("url", url)]);
        let (scheme, rest) = url.split_once("://").with_context(scheme_wanted)?;
        anyhow::ensure!(["http", "https"].contains(&scheme), "{}", scheme_wanted());
        let authority = rest.trim_end_matches('/');
        let (host, port) = match authority.rsplit_once(':').filter(|(_, p)| p.bytes().all(|b| b.is_ascii_digit())) {
            Some((host, port)) => (
                host.trim_matches(['[', ']']),
                port.parse::<u16>().with_context(|| say::text("cli.error.port", &[]))?,
            ),
            None => (authority.trim_matches(['[', ']']), if scheme == "https" { 443 } else { 80 }),
        };
        let stream = tokio::net::TcpStream::connect((host, port))
            .await
            .with_context(|| about_url("cli.error.no-url"))?;
        match scheme {
            "http" => {
                // A key in clear on a network is a key given away.
                if !stream.peer_addr()?.ip().is_loopback() {
                    bail!("{}", say::text("cli.error.http-loopback", &[]));
                }
                talk(TokioIo::new(stream), request).await.map_err(|e| {
                    // A TLS server answers with an alert, which is no HTTP, or hangs up.
                    let is_no_http = e
                        .downcast_ref::<hyper::Error>()
                        .is_some_and(|e| e.is_parse() || e.is_incomplete_message());
                    if is_no_http { e.context(about_url("cli.error.no-http")) } else { e }
                })
            }
            "https" => {
                let extra = self.authority.clone().into_iter().collect();
                let roots = net::tls::Roots::load(&net::tls::RootsSource::System { extra })?;
                let (stream, _, _) = net::tls::ClientTls::new(roots, None)?
                    .connect(stream, host, &net::tls::ClientLevel::Verified, net::tls::TlsMin::Tls12)
                    .await
                    .map_err(|e| {
                        let key = match &e {
                            net::tls::TlsError::Handshake(_) => "cli.error.no-tls",
                            _ => "cli.error.certificate",
                        };
                        anyhow::Error::from(e).context(about_url(key))
                    })?;
                talk(TokioIo::new(stream), request).await
            }
            _ => bail!("{}", scheme_wanted()),
        }
    }

    fn host(&self) -> String {
        match &self.door {
            Door::Socket(_) => "localhost".into(),
            Door::Url { url, .. } => url.split("://").nth(1).unwrap_or_default().to_owned(),
        }
    }
}

fn problem(status: StatusCode, bytes: &[u8]) -> Problem {
    let document: Value = serde_json::from_slice(bytes).unwrap_or(Value::Null);
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let title = text("title");
    Problem {
        status: status.as_u16(),
        title: if title.is_empty() { status.to_string() } else { title },
        detail: text("detail"),
        document,
    }
}

async fn talk<S>(io: TokioIo<S>, request: Request<Full<Bytes>>) -> Result<hyper::Response<hyper::body::Incoming>>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use net::tls::{Roots, RootsSource, SelfSigned, ServerTls, ServerTlsSettings, TlsMin};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\nconnection: close\r\n\r\n{\"a\":\"b\"}  ";

    fn at(scheme: &str, port: u16) -> Api {
        Api::new(Door::Url {
            url: format!("{scheme}://localhost:{port}"),
            key: "mtk_x".into(),
        })
    }

    /// Answers one request in clear; what was asked comes back.
    async fn plain() -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let n = stream.read(&mut asked).await.unwrap();
            drop(stream.write_all(ANSWER).await);
            String::from_utf8_lossy(&asked[..n]).into_owned()
        });
        (port, asked)
    }

    /// Answers requests in TLS with a certificate of its own, which is the file.
    async fn tls(folder: &std::path::Path) -> (u16, PathBuf) {
        let self_signed = SelfSigned {
            directory: folder.to_owned(),
            names: vec!["localhost".into()],
        };
        let file = self_signed.files().certificate;
        let settings = ServerTlsSettings {
            certificates: Vec::new(),
            self_signed,
            roots: Roots::load(&RootsSource::Files(Vec::new())).unwrap(),
        };
        let tls = ServerTls::load(settings, mail::Timestamp(jiff::Timestamp::now().as_millisecond())).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = tls.acceptor(TlsMin::Tls12).accept(stream).await else {
                    continue;
                };
                let mut asked = vec![0; 4096];
                if stream.read(&mut asked).await.is_ok_and(|n| n > 0) {
                    drop(stream.write_all(ANSWER).await);
                    drop(stream.shutdown().await);
                }
            }
        });
        (port, file)
    }

    #[tokio::test]
    async fn the_language_is_named_in_every_request() {
        let (port, asked) = plain().await;
        assert_eq!(at("http", port).get("/x").await.unwrap()["a"], "b");
        let asked = asked.await.unwrap();
        assert!(
            asked.contains("accept-language: en\r\n") && asked.contains("authorization: Bearer mtk_x\r\n"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn the_wrong_scheme_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let (port, _) = tls(folder.path()).await;
        let told = format!("{:#}", at("http", port).get("/x").await.unwrap_err());
        assert!(told.contains("is it a TLS port? try https://"), "{told}");
        let (port, _) = plain().await;
        let told = format!("{:#}", at("https", port).get("/x").await.unwrap_err());
        assert!(told.contains("http:// speaks to a port without TLS"), "{told}");
        let told = format!("{:#}", at("ftp", port).get("/x").await.unwrap_err());
        assert!(told.contains("begins with http:// or https://"), "{told}");
    }

    #[tokio::test]
    async fn a_private_authority_is_believed_when_named() {
        let folder = tempfile::tempdir().unwrap();
        let (port, file) = tls(folder.path()).await;
        let told = format!("{:#}", at("https", port).get("/x").await.unwrap_err());
        assert!(told.contains("--ca names the file"), "{told}");
        assert_eq!(at("https", port).with_authority(file).get("/x").await.unwrap()["a"], "b");
        let told = format!(
            "{:#}",
            at("https", port)
                .with_authority("/nonexistent.pem".into())
                .get("/x")
                .await
                .unwrap_err()
        );
        assert!(told.contains("/nonexistent.pem"), "{told}");
    }
}
