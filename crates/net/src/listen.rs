//! How do connections come in? Bound sockets and the accept loop that every door shares.
//!
//! In: an address. Out: accepted streams, with the client's address in its plain form.
//! Standards: RFC 4291 §2.5.5.2 (IPv4-mapped addresses are shown as IPv4).
//! Invariants: an error of accept never ends a listener; only shutdown does.

use crate::task::Shutdown;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that the kernel holds for us while we are busy; it cuts this to `net.core.somaxconn`.
const BACKLOG_CONNECTIONS: u32 = 4096;
/// How long to wait when the process or the system has no descriptor left: closing sessions bring some back.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Binds a listening socket.
///
/// # Errors
/// As the system says: in use, not allowed, no such address.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG_CONNECTIONS)
}

/// Accepts until shutdown is asked for and hands each stream to `accepted`, which must not wait: it spawns.
pub async fn serve(listener: TcpListener, shutdown: Shutdown, mut accepted: impl FnMut(TcpStream, SocketAddr) + Send) {
    let mut is_exhausted = false;
    loop {
        let outcome = tokio::select! {
            () = shutdown.requested() => return,
            outcome = listener.accept() => outcome,
        };
        match outcome {
            Ok((stream, client)) => {
                is_exhausted = false;
                // Without it, small replies wait for the client's delayed acknowledgement. A stream that is already dead fails at its first read.
                let _ = stream.set_nodelay(true);
                accepted(stream, plain(client));
            }
            Err(error) if is_exhaustion(&error) => {
                if !is_exhausted {
                    tracing::error!(%error, "cannot accept connections, waiting for descriptors");
                }
                is_exhausted = true;
                tokio::time::sleep(EXHAUSTED_PAUSE).await;
            }
            // accept(2): errors of the connection that was waiting (reset before we took it, network trouble) concern nobody else.
            Err(error) => tracing::debug!(%error, "a connection was gone before it was accepted"),
        }
    }
}

/// `::ffff:192.0.2.1` as `192.0.2.1`.
#[must_use]
pub fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// EMFILE 24, ENFILE 23, ENOMEM 12, ENOBUFS 105 (Linux): nothing wrong with the connection, we have no room.
fn is_exhaustion(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(12 | 23 | 24 | 105))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_addresses() {
        let check = |text: &str, expect: &str| assert_eq!(plain(text.parse().unwrap()), expect.parse().unwrap(), "{text}");
        check("[::ffff:192.0.2.1]:25", "192.0.2.1:25");
        check("[2001:db8::1]:25", "[2001:db8::1]:25");
        check("192.0.2.1:25", "192.0.2.1:25");
    }

    #[test]
    fn exhaustion_is_told_from_lost_connections() {
        let check = |code: i32, expect: bool| assert_eq!(is_exhaustion(&io::Error::from_raw_os_error(code)), expect, "{code}");
        check(24, true);
        check(23, true);
        check(103, false);
        check(104, false);
    }

    #[tokio::test]
    async fn accepts_until_shutdown() {
        let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let (trigger, shutdown) = Shutdown::new();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(4);
        let loop_task = tokio::spawn(serve(listener, shutdown, move |stream, client| {
            sender.try_send((stream.nodelay().unwrap(), client)).unwrap();
        }));
        let client = TcpStream::connect(address).await.unwrap();
        assert_eq!(receiver.recv().await, Some((true, client.local_addr().unwrap())));
        trigger.request();
        loop_task.await.unwrap();
        assert!(TcpStream::connect(address).await.is_err());
    }
}
