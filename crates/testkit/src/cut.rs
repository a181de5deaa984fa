//! A TCP proxy that cuts a connection at a chosen place of what the client says.
//!
//! In:  where to connect to; what to look for: a marker, then an end after it; what to do there.
//! Out: a port on loopback. Everything else passes.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What happens when the place is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The end is not passed on; both sides are closed.
    Before,
    /// The end is passed on; both sides are closed at once, without the answer.
    After,
    /// The end is passed on; both sides are closed so much later, without an answer.
    Unanswered(Duration),
    /// The client's side is closed; the server gets the end so much later.
    Late(Duration),
    /// Nothing passes any more, in either direction, and nothing is closed.
    Silent,
}

/// What to look for, and what to do.
#[derive(Clone, Debug)]
pub struct Trap {
    /// Must have gone by on the connection.
    pub marker: Vec<u8>,
    /// The place.
    pub end: Vec<u8>,
    /// What happens there.
    pub cut: Cut,
}

/// The proxy. Ends when dropped.
#[derive(Debug)]
pub struct Cutter {
    port: u16,
    trap: Arc<Mutex<Option<Trap>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Cutter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Cutter {
    /// Starts it in front of `server`.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let trap: Arc<Mutex<Option<Trap>>> = Arc::default();
        let held = Arc::clone(&trap);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let held = Arc::clone(&held);
                tokio::spawn(async move {
                    if let Ok(upstream) = TcpStream::connect(server).await {
                        let _ = pass(client, upstream, &held).await;
                    }
                });
            }
        });
        Ok(Self { port, trap, task })
    }

    /// Where to connect.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Sets the trap; it snaps once.
    pub fn set(&self, trap: Trap) {
        *self.trap.lock().unwrap_or_else(PoisonError::into_inner) = Some(trap);
    }

    /// Whether the trap has snapped.
    #[must_use]
    pub fn has_snapped(&self) -> bool {
        self.trap.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

fn find(needle: &[u8], hay: &[u8]) -> Option<usize> {
    hay.windows(needle.len().max(1)).position(|w| w == needle)
}

/// Bytes kept to find what is split between two reads.
const TAIL: usize = 256;

async fn pass(client: TcpStream, server: TcpStream, trap: &Mutex<Option<Trap>>) -> io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let swallows = Arc::new(AtomicBool::new(false));
    let is_swallowed = Arc::clone(&swallows);
    let back = tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let n = from_server.read(&mut buffer).await.unwrap_or(0);
            if n == 0 {
                return;
            }
            let passes = !is_swallowed.load(Ordering::Acquire);
            if passes && to_client.write_all(buffer.get(..n).unwrap_or_default()).await.is_err() {
                return;
            }
        }
    });
    let mut buffer = vec![0; 256 * 1024];
    let mut tail: Vec<u8> = Vec::new();
    let mut has_marker: Option<Vec<u8>> = None;
    loop {
        let n = from_client.read(&mut buffer).await?;
        if n == 0 {
            break;
        }
        let read = buffer.get(..n).unwrap_or_default();
        let mut seen = tail.clone();
        seen.extend_from_slice(read);
        let set = trap.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(set) = set {
            let from = match (&has_marker, find(&set.marker, &seen)) {
                (Some(known), _) if *known == set.marker => Some(0),
                (_, at) => at,
            };
            if let Some(from) = from {
                has_marker = Some(set.marker.clone());
                if let Some(at) = find(&set.end, seen.get(from..).unwrap_or_default()) {
                    *trap.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    // What of it came with an earlier read has passed already.
                    let at = (from + at).saturating_sub(tail.len());
                    let (before, end) = read.split_at(at.min(read.len()));
                    to_server.write_all(before).await?;
                    match set.cut {
                        Cut::Before => {}
                        Cut::After => to_server.write_all(end).await?,
                        Cut::Unanswered(wait) => {
                            swallows.store(true, Ordering::Release);
                            to_server.write_all(end).await?;
                            tokio::time::sleep(wait).await;
                        }
                        Cut::Late(wait) => {
                            back.abort();
                            let _ = back.await;
                            drop(from_client);
                            tokio::time::sleep(wait).await;
                            let _ = to_server.write_all(end).await;
                            tokio::time::sleep(wait).await;
                            return Ok(());
                        }
                        Cut::Silent => {
                            swallows.store(true, Ordering::Release);
                            std::future::pending().await
                        }
                    }
                    break;
                }
            }
        }
        to_server.write_all(read).await?;
        let keep = seen.len().saturating_sub(TAIL);
        tail = seen.split_off(keep);
    }
    back.abort();
    Ok(())
}
