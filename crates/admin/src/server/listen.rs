//! Accepting connections for a router, with who is at the other end.
//!
//! Invariants: there are so many seats and no more, and one client has a part of them: it cannot keep the others out. The local socket
//! has seats of its own.

use crate::caller::Peer;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use net::task::Shutdown;
use net::tls::{ServerTls, TlsMin};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// Connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 512;
/// Of one client (IPv4 address, IPv6 /64) at a time; further ones are closed.
const CONNECTIONS_PER_CLIENT: usize = 64;
/// For the request line and fields.
const HEADER_WAIT: Duration = Duration::from_secs(15);
/// For a handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(15);
/// After an accept error such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

/// How many connections each client has open. Only clients with open ones are in it, so it is no larger than the seats.
#[derive(Clone, Debug, Default)]
struct Clients(Arc<Mutex<HashMap<IpAddr, usize>>>);

impl Clients {
    /// A place for this client; `None`: it has its part already.
    fn enter(&self, address: IpAddr) -> Option<Place> {
        let client = client_of(address);
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(client).or_default();
        if *count >= CONNECTIONS_PER_CLIENT {
            return None;
        }
        *count += 1;
        Some(Place {
            clients: self.clone(),
            client,
        })
    }
}

/// Whoever has one address of an IPv6 /64 has all of them.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// An open connection of a client; dropped, it is free again.
struct Place {
    clients: Clients,
    client: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.clients.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&self.client) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&self.client);
            }
        }
    }
}

async fn connection<S>(stream: S, peer: Peer, router: Router, shutdown: Shutdown)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request.map(axum::body::Body::new))
    });
    let mut server = hyper::server::conn::http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_WAIT)
        .max_buf_size(64 * 1024);
    let serving = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    tokio::select! {
        ended = &mut serving => drop(ended),
        () = shutdown.requested() => {
            serving.as_mut().graceful_shutdown();
            drop(tokio::time::timeout(Duration::from_secs(5), serving).await);
        }
    }
}

/// Serves a TCP listener until shutdown, with TLS when `tls` is given.
pub async fn serve_network(listener: TcpListener, tls: Option<ServerTls>, router: Router, shutdown: Shutdown) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let clients = Clients::default();
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.requested() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(e) => {
                tracing::warn!(error = %e, "could not accept a connection to the API");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(place) = clients.enter(address.ip()) else {
            tracing::debug!(client = %address.ip(), "this client has all its connections to the API already");
            continue;
        };
        let (router, shutdown, tls) = (router.clone(), shutdown.clone(), tls.clone());
        tokio::spawn(async move {
            let peer = Peer::Network {
                address: address.ip().to_canonical(),
            };
            match tls {
                None => connection(stream, peer, router, shutdown).await,
                Some(tls) => {
                    let shaking = tls.acceptor(TlsMin::Tls12).accept(stream);
                    if let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_WAIT, shaking).await {
                        connection(stream, peer, router, shutdown).await;
                    }
                }
            }
            drop((seat, place));
        });
    }
}

/// Serves the local socket until shutdown.
pub async fn serve_socket(listener: UnixListener, router: Router, shutdown: Shutdown) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shutdown.requested() => return,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        // A socket whose peer cannot be known opens nothing.
        let Ok(credentials) = stream.peer_cred() else { continue };
        let (router, shutdown) = (router.clone(), shutdown.clone());
        tokio::spawn(async move {
            connection(stream, Peer::Socket { uid: credentials.uid() }, router, shutdown).await;
            drop(seat);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    #[test]
    fn one_client_has_its_part() {
        let clients = Clients::default();
        let v6 = |last: u16| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, last));
        let full: Vec<_> = (0..CONNECTIONS_PER_CLIENT)
            .map(|i| clients.enter(v6(u16::try_from(i).unwrap())).unwrap())
            .collect();
        assert!(clients.enter(v6(1)).is_none(), "a /64 is one client");
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        assert_eq!(client_of(mapped.into()), IpAddr::from(Ipv4Addr::LOCALHOST));
        assert!(clients.enter(Ipv4Addr::LOCALHOST.into()).is_some(), "others are not kept out");
        drop(full);
        assert!(clients.enter(v6(1)).is_some());
        assert!(clients.0.lock().unwrap().is_empty(), "who has gone is forgotten");
    }

    /// Over real sockets: a client with its part gets a closed connection, another address an answer.
    #[tokio::test]
    async fn the_rest_is_closed_and_others_are_served() {
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (trigger, shutdown) = Shutdown::new();
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let serving = tokio::spawn(serve_network(listener, None, router, shutdown));
        let ask = async |address: [u8; 4]| {
            let mut stream = TcpStream::connect((IpAddr::from(address), port)).await?;
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            Ok::<_, std::io::Error>(answer)
        };
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS_PER_CLIENT {
            held.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        let refused = ask([127, 0, 0, 1]).await;
        assert!(refused.as_ref().map_or(true, String::is_empty), "{refused:?}");
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut other = other.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        other
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        other.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("here"), "{answer}");
        drop(held);
        let mut served = false;
        for _ in 0..100 {
            served = ask([127, 0, 0, 1]).await.is_ok_and(|a| a.ends_with("here"));
            if served {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(served, "places of closed connections are free again");
        trigger.request();
        serving.await.unwrap();
    }
}
