//! One connection to a next hop: octets in and out, replies, deadlines. What is said when, `dialogue` knows.
//!
//! In: commands as octets. Out: replies. Standards: RFC 5321 §4.5.3.2 (timeouts).
//! Invariants: every wait has a deadline; a reply costs bounded memory, however long the server makes it.

use super::route::Candidate;
use bytes::BytesMut;
use mail::{Reply, TenantId};
use net::clock::Clock;
use proto::smtp::client::{Capabilities, ReplyReader};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use store::tracking::TlsFacts;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// RFC 5321 §4.5.3.2: minimum waits of a client.
pub mod timeout {
    use std::time::Duration;
    /// §4.5.3.2.2 and §4.5.3.2.3: MAIL and RCPT; we give EHLO, STARTTLS and AUTH the same.
    pub const COMMAND: Duration = Duration::from_secs(300);
    /// §4.5.3.2.4: 354.
    pub const DATA_INITIATION: Duration = Duration::from_secs(120);
    /// §4.5.3.2.5: each chunk written.
    pub const DATA_BLOCK: Duration = Duration::from_secs(180);
    /// §4.5.3.2.6: the reply to the final dot.
    pub const FINAL_DOT: Duration = Duration::from_secs(600);
    /// How long a goodbye may take.
    pub const QUIT: Duration = Duration::from_secs(2);
}

/// Room for reading; replies are short.
const READ_BYTES: usize = 4 * 1024;

/// The connection is of no more use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Loss {
    /// Closed or broken.
    #[error("connection lost: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("no answer in {0} s")]
    Timeout(u64),
    /// Not SMTP, or without end.
    #[error("{0}")]
    Reply(String),
}

/// The stream, in clear or private.
#[derive(Debug)]
pub enum Stream {
    /// In clear.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<net::tls::ClientStream<TcpStream>>),
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    stream: Stream,
    input: BytesMut,
    reader: ReplyReader,
    clock: Clock,
    /// Buffer for what is sent, kept between messages.
    pub out: Vec<u8>,
    /// What the server offers.
    pub capabilities: Capabilities,
    /// Where it leads.
    pub address: SocketAddr,
    /// TLS, when it is on.
    pub tls: Option<TlsFacts>,
    /// Messages sent over it.
    pub messages: u32,
    /// A transaction was left open: RSET comes before the next MAIL.
    pub needs_reset: bool,
    idle_since: Duration,
}

impl Wire {
    /// After connecting.
    #[must_use]
    pub fn new(stream: TcpStream, address: SocketAddr, clock: Clock) -> Self {
        Self {
            stream: Stream::Plain(stream),
            input: BytesMut::new(),
            reader: ReplyReader::new(),
            clock,
            out: Vec::new(),
            capabilities: Capabilities::default(),
            address,
            tls: None,
            messages: 0,
            needs_reset: false,
            idle_since: Duration::ZERO,
        }
    }

    /// The stream in clear, to be wrapped in TLS; `None` when something of the server is still unread or it is wrapped already.
    /// STRICTER RFC 3207 §5: what a server says between its 220 and the handshake would be said by whoever sits between us.
    #[must_use]
    pub fn into_plain(self) -> Option<(TcpStream, SocketAddr)> {
        match self.stream {
            Stream::Plain(stream) if self.input.is_empty() => Some((stream, self.address)),
            Stream::Plain(_) | Stream::Tls(_) => None,
        }
    }

    /// The same connection within TLS; knowledge starts anew (RFC 3207 §4.2).
    #[must_use]
    pub fn secured(stream: net::tls::ClientStream<TcpStream>, address: SocketAddr, tls: TlsFacts, clock: Clock) -> Self {
        Self {
            stream: Stream::Tls(Box::new(stream)),
            input: BytesMut::new(),
            reader: ReplyReader::new(),
            clock,
            out: Vec::new(),
            capabilities: Capabilities::default(),
            address,
            tls: Some(tls),
            messages: 0,
            needs_reset: false,
            idle_since: Duration::ZERO,
        }
    }

    /// Writes what stands in `out` and empties it.
    ///
    /// # Errors
    /// [`Loss`].
    pub async fn flush(&mut self, limit: Duration) -> Result<(), Loss> {
        let bytes = std::mem::take(&mut self.out);
        let result = self.write(&bytes, limit).await;
        self.out = bytes;
        self.out.clear();
        result
    }

    async fn write(&mut self, bytes: &[u8], limit: Duration) -> Result<(), Loss> {
        let stream = &mut self.stream;
        let writing = async {
            match stream {
                Stream::Plain(s) => s.write_all(bytes).await,
                Stream::Tls(s) => {
                    s.write_all(bytes).await?;
                    s.flush().await
                }
            }
        };
        match self.clock.timeout(limit, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(Loss::Broken(error.to_string())),
            Err(_) => Err(Loss::Timeout(limit.as_secs())),
        }
    }

    /// The next reply; all of it has to come within `limit`.
    ///
    /// # Errors
    /// [`Loss`].
    pub async fn reply(&mut self, limit: Duration) -> Result<Reply, Loss> {
        // What came along with the last reply needs neither a read nor a timer.
        if !self.input.is_empty()
            && let Some(reply) = self.reader.read(&mut self.input).map_err(|e| Loss::Reply(e.to_string()))?
        {
            return Ok(reply);
        }
        let clock = self.clock.clone();
        match clock.timeout(limit, self.read_reply()).await {
            Ok(result) => result,
            Err(_) => Err(Loss::Timeout(limit.as_secs())),
        }
    }

    async fn read_reply(&mut self) -> Result<Reply, Loss> {
        loop {
            self.input.reserve(READ_BYTES);
            let count = match &mut self.stream {
                Stream::Plain(s) => s.read_buf(&mut self.input).await,
                Stream::Tls(s) => s.read_buf(&mut self.input).await,
            };
            match count {
                Ok(0) => return Err(Loss::Broken("closed by the server".into())),
                Ok(_) => {}
                Err(error) => return Err(Loss::Broken(error.to_string())),
            }
            if let Some(reply) = self.reader.read(&mut self.input).map_err(|e| Loss::Reply(e.to_string()))? {
                return Ok(reply);
            }
        }
    }

    /// Whether an idle connection still looks usable: open, and nothing was said meanwhile. Costs no system call when the server is quiet.
    fn is_quiet(&self) -> bool {
        if !self.input.is_empty() {
            return false;
        }
        let tcp = match &self.stream {
            Stream::Plain(s) => s,
            Stream::Tls(s) => s.get_ref().0,
        };
        let mut probe = [0_u8; 1];
        matches!(tcp.try_read(&mut probe), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Says goodbye and hangs up.
    pub async fn quit(mut self) {
        self.out.clear();
        proto::smtp::client::quit(&mut self.out);
        if self.flush(timeout::QUIT).await.is_ok() {
            // RFC 5321 §4.1.1.10: the client waits for the reply to QUIT; not for long.
            let _ = self.reply(timeout::QUIT).await;
        }
    }
}

/// Whose idle connections, to where, with what TLS and login. Tenants never share a connection.
pub type PoolKey = (TenantId, Arc<Candidate>);

/// Connections kept for the next message. Newest first.
#[derive(Debug, Default)]
pub struct Pool {
    idle: HashMap<PoolKey, Vec<Wire>>,
    count: usize,
}

/// How long a connection is kept without a message.
pub const IDLE_MAX: Duration = Duration::from_secs(5);
/// Idle connections kept, over all.
const IDLE_CONNECTIONS_MAX: usize = 1_000;

impl Pool {
    /// The newest idle connection that still looks usable.
    #[must_use]
    pub fn take(&mut self, key: &PoolKey, now: Duration) -> Option<Wire> {
        let list = self.idle.get_mut(key)?;
        let mut found = None;
        while let Some(wire) = list.pop() {
            self.count -= 1;
            if now.saturating_sub(wire.idle_since) < IDLE_MAX && wire.is_quiet() {
                found = Some(wire);
                break;
            }
        }
        if list.is_empty() {
            self.idle.remove(key);
        }
        found
    }

    /// Keeps a connection; gives it back when there is no room.
    #[must_use]
    pub fn keep(&mut self, key: PoolKey, mut wire: Wire, now: Duration) -> Option<Wire> {
        if self.count >= IDLE_CONNECTIONS_MAX {
            return Some(wire);
        }
        wire.idle_since = now;
        self.count += 1;
        self.idle.entry(key).or_default().push(wire);
        None
    }

    /// Connections that were idle for too long.
    #[must_use]
    pub fn expired(&mut self, now: Duration) -> Vec<Wire> {
        let mut gone = Vec::new();
        for list in self.idle.values_mut() {
            // Oldest first.
            let count = list.iter().take_while(|w| now.saturating_sub(w.idle_since) >= IDLE_MAX).count();
            gone.extend(list.drain(..count));
        }
        self.idle.retain(|_, list| !list.is_empty());
        self.count -= gone.len();
        gone
    }

    /// All of them, at the end.
    #[must_use]
    pub fn drain(&mut self) -> Vec<Wire> {
        self.count = 0;
        self.idle.drain().flat_map(|(_, list)| list).collect()
    }
}
