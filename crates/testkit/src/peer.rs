//! A scripted SMTP server: the next hop of tests. It says what its script says, breaks where the script breaks, and keeps what it got.
//!
//! In: a [`Script`], which may be changed while it runs. Out: [`Taken`] transactions, byte for byte.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Where in the dialogue something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Instead of the greeting.
    Greeting,
    /// At EHLO.
    Ehlo,
    /// At STARTTLS, before the handshake.
    StartTls,
    /// At MAIL.
    Mail,
    /// At RCPT.
    Rcpt,
    /// At DATA.
    Data,
    /// In the middle of the message.
    MidData,
    /// At the final dot, before the reply (the message counts as taken).
    AfterDot,
}

/// What happens at a stage.
#[derive(Clone, Debug)]
pub enum Act {
    /// This reply instead of the good one.
    Reply(String),
    /// The connection closes without a word.
    Drop,
    /// Nothing is said, for so long.
    Stall(Duration),
    /// Greeting only: lines without end.
    Endless,
}

/// How the server behaves.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// Extensions beside PIPELINING, such as `8BITMIME`, `DSN`, `SIZE 1000`.
    pub extensions: Vec<String>,
    /// No EHLO, only HELO.
    pub helo_only: bool,
    /// What happens at a stage.
    pub acts: BTreeMap<Stage, Act>,
    /// Replies for single recipients, by address in lower case.
    pub recipients: BTreeMap<String, String>,
    /// STARTTLS is offered with this.
    pub tls: Option<PeerTls>,
    /// TLS from the start.
    pub implicit_tls: bool,
}

/// Certificate of a scripted peer.
#[derive(Clone)]
pub struct PeerTls {
    acceptor: TlsAcceptor,
    /// The certificate, PEM: a trust anchor for whoever is to believe it.
    pub pem: String,
    /// SHA-256 of its key (SPKI, DER), hex.
    pub pin: String,
}

impl std::fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerTls")
    }
}

impl PeerTls {
    /// Self-signed for `names`.
    #[must_use]
    pub fn new(names: &[&str]) -> Self {
        Self::with_versions(names, rustls::ALL_VERSIONS)
    }

    /// The same, speaking only these versions.
    #[must_use]
    pub fn with_versions(names: &[&str], versions: &[&'static rustls::SupportedProtocolVersion]) -> Self {
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let made = rcgen::generate_simple_self_signed(names).expect("certificate");
        let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("certificate");
        use rcgen::PublicKeyData;
        let digest = <sha2::Sha256 as sha2::Digest>::digest(made.signing_key.subject_public_key_info());
        let pin = digest.iter().map(|b| format!("{b:02x}")).collect();
        Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            pem: made.cert.pem(),
            pin,
        }
    }
}

/// One transaction that reached the final dot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// EHLO name.
    pub hello: String,
    /// The MAIL line, whole.
    pub mail: String,
    /// The RCPT lines that were accepted, whole.
    pub rcpts: Vec<String>,
    /// The message, dots unstuffed.
    pub data: Vec<u8>,
    /// Whether TLS was on.
    pub tls: bool,
    /// Log-in line, decoded, when there was one.
    pub auth: Option<String>,
    /// Number of the connection, from 1.
    pub connection: u64,
    /// Address of the client.
    pub client: Option<std::net::IpAddr>,
    /// Whether 250 was said.
    pub acknowledged: bool,
}

#[derive(Debug, Default)]
struct State {
    script: Script,
    taken: Vec<Taken>,
    connections: u64,
    open: u64,
    open_max: u64,
}

/// A running scripted server. It stops when dropped.
#[derive(Debug)]
pub struct Peer {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: Arc<tokio::sync::Notify>,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peer {
    /// Starts on a free port of 127.0.0.1.
    pub async fn start(script: Script) -> Self {
        Self::start_at("127.0.0.1:0".parse().expect("address"), script).await
    }

    /// Starts at an address; port 0 takes a free one.
    ///
    /// # Panics
    /// When the address cannot be bound.
    pub async fn start_at(address: SocketAddr, script: Script) -> Self {
        let listener = TcpListener::bind(address).await.expect("bind");
        let address = listener.local_addr().expect("address");
        let state = Arc::new(Mutex::new(State {
            script,
            ..State::default()
        }));
        let changed = Arc::new(tokio::sync::Notify::new());
        let (inner, notify) = (Arc::clone(&state), Arc::clone(&changed));
        let task = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let number = {
                    let mut s = lock(&inner);
                    s.connections += 1;
                    s.open += 1;
                    s.open_max = s.open_max.max(s.open);
                    s.connections
                };
                let (state, notify) = (Arc::clone(&inner), Arc::clone(&notify));
                sessions.spawn(async move {
                    drop(serve(stream, number, &state, &notify).await);
                    lock(&state).open -= 1;
                });
                while sessions.try_join_next().is_some() {}
            }
        });
        Self {
            address,
            state,
            changed,
            task: Some(task),
        }
    }

    /// Stops listening and breaks every connection.
    pub fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }

    /// Changes the script for commands that come from now on.
    pub fn script(&self, change: impl FnOnce(&mut Script)) {
        change(&mut lock(&self.state).script);
    }

    /// What was taken so far.
    #[must_use]
    pub fn taken(&self) -> Vec<Taken> {
        lock(&self.state).taken.clone()
    }

    /// Connections so far, and the most that were open at a time.
    #[must_use]
    pub fn connections(&self) -> (u64, u64) {
        let s = lock(&self.state);
        (s.connections, s.open_max)
    }

    /// Waits until `count` transactions were taken, 5 minutes at most: for thousands of messages.
    ///
    /// # Panics
    /// When fewer came.
    pub async fn wait_long(&self, count: usize) -> Vec<Taken> {
        for _ in 0..15 {
            if self.count() >= count || tokio::time::timeout(Duration::from_secs(20), self.reached(count)).await.is_ok() {
                break;
            }
        }
        let taken = self.taken();
        assert!(taken.len() >= count, "the next hop got {} of {count} messages", taken.len());
        taken
    }

    fn count(&self) -> usize {
        lock(&self.state).taken.len()
    }

    async fn reached(&self, count: usize) {
        loop {
            let woken = self.changed.notified();
            if self.count() >= count {
                return;
            }
            woken.await;
        }
    }

    /// Waits until `count` transactions were taken, 20 s at most; what was taken.
    ///
    /// # Panics
    /// When fewer came.
    pub async fn wait(&self, count: usize) -> Vec<Taken> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let woken = self.changed.notified();
            let taken = self.taken();
            if taken.len() >= count {
                return taken;
            }
            assert!(
                tokio::time::timeout_at(deadline, woken).await.is_ok() || self.taken().len() >= count,
                "the next hop got {} of {count} messages",
                self.taken().len()
            );
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Wire {
    async fn line(&mut self) -> std::io::Result<String> {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|w| w == b"\r\n") {
                let rest = self.buffer.split_off(at + 2);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Ok(String::from_utf8_lossy(line.get(..at).unwrap_or_default()).into_owned());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 65_536];
        let n = self.stream.read(&mut chunk).await?;
        if n == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(chunk.get(..n).unwrap_or_default());
        Ok(())
    }

    async fn say(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(format!("{text}\r\n").as_bytes()).await
    }
}

fn gone() -> std::io::Error {
    std::io::ErrorKind::ConnectionAborted.into()
}

/// The act of a stage: `Some(reply)` to say, `None` to go on as usual, `Err` to hang up.
async fn act(wire: &mut Wire, state: &Mutex<State>, stage: Stage) -> std::io::Result<Option<String>> {
    let act = lock(state).script.acts.get(&stage).cloned();
    match act {
        None => Ok(None),
        Some(Act::Reply(reply)) => Ok(Some(reply)),
        Some(Act::Drop) => Err(gone()),
        Some(Act::Stall(wait)) => {
            tokio::time::sleep(wait).await;
            Ok(None)
        }
        Some(Act::Endless) => loop {
            wire.say(&format!("220-{}", "x".repeat(400))).await?;
        },
    }
}

fn decode64(text: &str) -> Vec<u8> {
    const TABLE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut out, mut bits, mut n) = (Vec::new(), 0u32, 0u32);
    for value in text.bytes().filter_map(|b| TABLE.iter().position(|t| *t == b)) {
        bits = (bits << 6 | u32::try_from(value).unwrap_or(0)) & 0xff_ffff;
        n += 6;
        if n >= 8 {
            n -= 8;
            out.push(u8::try_from(bits >> n & 255).unwrap_or(0));
        }
    }
    out
}

async fn serve(stream: TcpStream, number: u64, state: &Mutex<State>, changed: &tokio::sync::Notify) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let client = stream.peer_addr().ok().map(|a| a.ip());
    let (implicit, tls) = {
        let s = lock(state);
        (s.script.implicit_tls, s.script.tls.clone())
    };
    let mut secured = false;
    let stream: Box<dyn Stream> = match tls.filter(|_| implicit) {
        Some(tls) => {
            secured = true;
            Box::new(tls.acceptor.accept(stream).await?)
        }
        None => Box::new(stream),
    };
    let mut wire = Wire {
        stream,
        buffer: Vec::new(),
    };
    let greeting = act(&mut wire, state, Stage::Greeting)
        .await?
        .unwrap_or_else(|| "220 peer.example ESMTP".into());
    wire.say(&greeting).await?;
    let mut now = Taken {
        connection: number,
        client,
        tls: secured,
        ..Taken::default()
    };
    loop {
        let line = wire.line().await?;
        let upper = line.to_ascii_uppercase();
        let verb = upper.split(' ').next().unwrap_or_default();
        match verb {
            "EHLO" | "HELO" => {
                now.hello = line.get(5..).unwrap_or_default().into();
                let reply = act(&mut wire, state, Stage::Ehlo).await?;
                let script = lock(state).script.clone();
                if let Some(reply) = reply {
                    wire.say(&reply).await?;
                } else if verb == "EHLO" && script.helo_only {
                    wire.say("502 5.5.1 not implemented").await?;
                } else if verb == "HELO" {
                    wire.say("250 peer.example").await?;
                } else {
                    let mut text = String::from("250-peer.example\r\n250-PIPELINING\r\n");
                    for e in &script.extensions {
                        text.push_str(&format!("250-{e}\r\n"));
                    }
                    if script.tls.is_some() && !now.tls {
                        text.push_str("250-STARTTLS\r\n");
                    }
                    text.push_str("250 ENHANCEDSTATUSCODES");
                    wire.say(&text).await?;
                }
            }
            "STARTTLS" => {
                if let Some(reply) = act(&mut wire, state, Stage::StartTls).await? {
                    wire.say(&reply).await?;
                    continue;
                }
                let Some(tls) = lock(state).script.tls.clone() else {
                    wire.say("502 5.5.1 no").await?;
                    continue;
                };
                wire.say("220 2.0.0 go ahead").await?;
                let stream = tls.acceptor.accept(wire.stream).await?;
                wire = Wire {
                    stream: Box::new(stream),
                    buffer: Vec::new(),
                };
                now.tls = true;
            }
            "AUTH" => {
                let argument = line.split(' ').nth(2).map(str::to_owned);
                let argument = match argument {
                    Some(a) => a,
                    None => {
                        wire.say("334 ").await?;
                        wire.line().await?
                    }
                };
                now.auth = Some(String::from_utf8_lossy(&decode64(&argument)).replace('\0', " "));
                wire.say("235 2.7.0 ok").await?;
            }
            "MAIL" => {
                (now.mail, now.rcpts) = (line, Vec::new());
                let reply = act(&mut wire, state, Stage::Mail).await?.unwrap_or_else(|| "250 2.1.0 ok".into());
                wire.say(&reply).await?;
            }
            "RCPT" => {
                let special = act(&mut wire, state, Stage::Rcpt).await?;
                let address = upper.split(['<', '>']).nth(1).unwrap_or_default().to_lowercase();
                let special = special.or_else(|| lock(state).script.recipients.get(&address).cloned());
                let reply = special.unwrap_or_else(|| "250 2.1.5 ok".into());
                if reply.starts_with('2') {
                    now.rcpts.push(line);
                }
                wire.say(&reply).await?;
            }
            "DATA" => {
                let special = act(&mut wire, state, Stage::Data).await?;
                if now.rcpts.is_empty() {
                    wire.say("503 5.5.1 no recipients").await?;
                    continue;
                }
                if let Some(reply) = special {
                    wire.say(&reply).await?;
                    continue;
                }
                wire.say("354 go on").await?;
                take(&mut wire, &mut now, state, changed).await?;
            }
            "RSET" | "NOOP" => wire.say("250 2.0.0 ok").await?,
            "QUIT" => return wire.say("221 2.0.0 bye").await,
            _ => wire.say("500 5.5.2 what?").await?,
        }
    }
}

async fn take(wire: &mut Wire, now: &mut Taken, state: &Mutex<State>, changed: &tokio::sync::Notify) -> std::io::Result<()> {
    let mut data = Vec::new();
    let broken = lock(state).script.acts.contains_key(&Stage::MidData);
    if broken {
        wire.fill().await?;
        act(wire, state, Stage::MidData).await?;
    }
    let mut seen = 0;
    let end = loop {
        let start = seen.max(4) - 4;
        if wire.buffer.starts_with(b".\r\n") {
            break 0;
        }
        if let Some(at) = wire.buffer.get(start..).and_then(|b| b.windows(5).position(|w| w == b"\r\n.\r\n")) {
            break start + at + 2;
        }
        seen = wire.buffer.len();
        wire.fill().await?;
    };
    let rest = wire.buffer.split_off(end + 3);
    let raw = std::mem::replace(&mut wire.buffer, rest);
    for line in raw.get(..end).unwrap_or_default().split_inclusive(|b| *b == b'\n') {
        data.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
    }
    now.data = data;
    now.acknowledged = false;
    lock(state).taken.push(now.clone());
    changed.notify_waiters();
    let reply = act(wire, state, Stage::AfterDot).await?.unwrap_or_else(|| "250 2.0.0 taken".into());
    wire.say(&reply).await?;
    if reply.starts_with('2') {
        let mut s = lock(state);
        let found = s
            .taken
            .iter_mut()
            .rev()
            .find(|t| t.connection == now.connection && t.data == now.data);
        if let Some(t) = found {
            t.acknowledged = true;
        }
    }
    changed.notify_waiters();
    Ok(())
}
