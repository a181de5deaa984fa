//! Accepting connections for a router, with who is at the other end.

use crate::caller::Peer;
use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use net::task::Shutdown;
use net::tls::{ServerTls, TlsMin};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tower::ServiceExt;

/// Connections at a time; further ones wait.
const CONNECTIONS_MAX: usize = 512;
/// For the request line and fields.
const HEADER_WAIT: Duration = Duration::from_secs(15);
/// For a handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(15);
/// After an accept error such as too many open files.
const PAUSE: Duration = Duration::from_millis(200);

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
            drop(seat);
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
