//! A load whose every message is known from outside: made from its number, logged when it was promised, checked byte for byte when it arrives.

use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Marks where our message begins, behind what servers put in front.
const MARK: &str = "X-Load-Number: ";

/// Message `number`: every tenth is larger than 256 KB, the others some kilobytes.
pub fn message(number: u64) -> Vec<u8> {
    let size = if number % 10 == 3 {
        270_000 + usize::try_from(number % 7).unwrap_or(0) * 30_000
    } else {
        1_000 + usize::try_from(number % 13).unwrap_or(0) * 700
    };
    let mut out = format!("{MARK}{number}\r\nFrom: <s@sender.example>\r\nTo: <u@a.example>\r\nSubject: load {number}\r\n\r\n").into_bytes();
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while out.len() < size {
        for _ in 0..9 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            out.extend_from_slice(format!("{:x} ", state & 0xff_ffff).as_bytes());
        }
        // Lines that begin with dots must come out as they went in.
        out.extend_from_slice(if state & 7 == 0 { b"\r\n..\r\n" } else { b"\r\n" });
    }
    out
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One arrival at the sink.
#[derive(Clone, Copy, Debug)]
pub struct Arrival {
    /// When the sink had said 250.
    pub at: Instant,
    /// Whether the bytes were those of the number.
    pub is_intact: bool,
}

/// What arrived.
#[derive(Debug, Default)]
pub struct Arrivals(Mutex<HashMap<u64, Vec<Arrival>>>);

impl Arrivals {
    /// All arrivals by number.
    pub fn all(&self) -> HashMap<u64, Vec<Arrival>> {
        lock(&self.0).clone()
    }

    /// Of these, which have not arrived.
    pub fn missing(&self, promised: &HashMap<u64, Instant>) -> Vec<u64> {
        let arrived = lock(&self.0);
        promised.keys().filter(|n| !arrived.contains_key(n)).copied().collect()
    }
}

/// A sink that compares what it gets with what was made.
pub async fn sink() -> (SocketAddr, Arc<Arrivals>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("sink");
    let address = listener.local_addr().expect("address");
    let arrivals = Arc::new(Arrivals::default());
    let kept = Arc::clone(&arrivals);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(take(stream, Arc::clone(&kept)));
        }
    });
    (address, arrivals)
}

async fn take(stream: TcpStream, arrivals: Arc<Arrivals>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut wire = BufReader::with_capacity(64 * 1024, stream);
    wire.write_all(b"220 sink.example ESMTP\r\n").await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        if wire.read_until(b'\n', &mut line).await? == 0 {
            return Ok(());
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_slice() {
            b"EHLO" => wire.write_all(b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n").await?,
            b"DATA" => {
                wire.write_all(b"354 go on\r\n").await?;
                let mut body = Vec::new();
                loop {
                    line.clear();
                    if wire.read_until(b'\n', &mut line).await? == 0 {
                        return Ok(());
                    }
                    if line == b".\r\n" {
                        break;
                    }
                    body.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
                }
                wire.write_all(b"250 2.0.0 taken\r\n").await?;
                note(&body, &arrivals);
            }
            b"QUIT" => return wire.write_all(b"221 bye\r\n").await,
            _ => wire.write_all(b"250 ok\r\n").await?,
        }
    }
}

fn note(body: &[u8], arrivals: &Arrivals) {
    let begin = body.windows(MARK.len()).position(|w| w == MARK.as_bytes());
    let ours = begin.and_then(|at| body.get(at..)).unwrap_or_default();
    let digits: String = ours
        .get(MARK.len()..)
        .unwrap_or_default()
        .iter()
        .take_while(|b| b.is_ascii_digit())
        .map(|b| char::from(*b))
        .collect();
    let number = digits.parse().unwrap_or(u64::MAX);
    let is_intact = Sha256::digest(ours) == Sha256::digest(message(number));
    lock(&arrivals.0).entry(number).or_default().push(Arrival {
        at: Instant::now(),
        is_intact,
    });
}

/// Clients that send without end.
pub struct Load {
    promised: Arc<Mutex<HashMap<u64, Instant>>>,
    sent: Arc<AtomicU64>,
    is_on: Arc<AtomicBool>,
}

impl Load {
    /// `sessions` clients, taking the servers in turn. A client whose connection breaks begins anew with another message.
    pub fn start(servers: Vec<SocketAddr>, sessions: usize) -> Self {
        let load = Self {
            promised: Arc::default(),
            sent: Arc::default(),
            is_on: Arc::new(AtomicBool::new(true)),
        };
        for client in 0..sessions {
            let (promised, sent, is_on, servers) = (
                Arc::clone(&load.promised),
                Arc::clone(&load.sent),
                Arc::clone(&load.is_on),
                servers.clone(),
            );
            tokio::spawn(async move {
                let mut turn = client;
                while is_on.load(Ordering::Relaxed) {
                    turn += 1;
                    let server = servers.get(turn % servers.len()).copied().expect("a server");
                    let session = session(server, &promised, &sent, &is_on);
                    if !matches!(tokio::time::timeout(Duration::from_secs(60), session).await, Ok(Ok(()))) {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        load
    }

    /// What was promised so far, and when.
    pub fn promised(&self) -> HashMap<u64, Instant> {
        lock(&self.promised).clone()
    }

    /// Lets the clients finish what they are at.
    pub async fn stop(&self) {
        self.is_on.store(false, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

async fn session(server: SocketAddr, promised: &Mutex<HashMap<u64, Instant>>, sent: &AtomicU64, is_on: &AtomicBool) -> std::io::Result<()> {
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let mut wire = BufReader::new(stream);
    reply(&mut wire).await?;
    wire.write_all(b"EHLO client.sender.example\r\n").await?;
    reply(&mut wire).await?;
    for _ in 0..10 {
        if !is_on.load(Ordering::Relaxed) {
            break;
        }
        let number = sent.fetch_add(1, Ordering::Relaxed);
        wire.write_all(b"MAIL FROM:<s@sender.example>\r\n").await?;
        expect(reply(&mut wire).await?, '2')?;
        wire.write_all(b"RCPT TO:<u@a.example>\r\n").await?;
        expect(reply(&mut wire).await?, '2')?;
        wire.write_all(b"DATA\r\n").await?;
        expect(reply(&mut wire).await?, '3')?;
        let mut stuffed = Vec::new();
        for line in message(number).split_inclusive(|b| *b == b'\n') {
            if line.starts_with(b".") {
                stuffed.push(b'.');
            }
            stuffed.extend_from_slice(line);
        }
        stuffed.extend_from_slice(b".\r\n");
        wire.write_all(&stuffed).await?;
        let said = reply(&mut wire).await?;
        if said.starts_with('2') {
            lock(promised).insert(number, Instant::now());
        }
        expect(said, '2')?;
    }
    wire.write_all(b"QUIT\r\n").await?;
    wire.read_to_end(&mut Vec::new()).await?;
    Ok(())
}

fn expect(reply: String, class: char) -> std::io::Result<()> {
    if reply.starts_with(class) {
        Ok(())
    } else {
        Err(std::io::Error::other(reply))
    }
}

async fn reply(wire: &mut BufReader<TcpStream>) -> std::io::Result<String> {
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line);
        }
    }
}
