//! The wire: octets of a client, in clear or within TLS.
//!
//! In:  an accepted stream. Out: reads into a buffer that exists only while there is something in it; whole writes.
//! Invariants: an idle connection holds no buffer of ours; every wait of this room is bounded by its caller.

use bytes::BytesMut;
use net::tls::ServerStream;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

/// Octets taken by one read at most. The array lives on the stack during the call only.
const READ_BYTES: usize = 32 * 1024;
/// Octets taken of a client that is being hung up on.
const THROWN_AWAY_BYTES_MAX: usize = 256 * 1024;
/// A reply buffer that grew beyond this is not kept.
const OUT_KEPT_BYTES: usize = 1024;

/// A connection.
pub(super) enum Wire {
    /// In clear.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<ServerStream<TcpStream>>),
    /// Between the two, or lost in the handshake.
    Gone,
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}

impl Wire {
    /// Appends what has come to `input`; zero octets mean that the client is gone. While it waits, an empty `input` owns no memory.
    pub(super) async fn read(&mut self, input: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|context| {
            let mut room = [const { MaybeUninit::<u8>::uninit() }; READ_BYTES];
            let mut buffer = ReadBuf::uninit(&mut room);
            let outcome = match self {
                Self::Plain(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, &mut buffer),
                Self::Gone => Poll::Ready(Err(gone())),
            };
            match outcome {
                Poll::Ready(Ok(())) => {
                    input.extend_from_slice(buffer.filled());
                    Poll::Ready(Ok(buffer.filled().len()))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => {
                    if input.is_empty() && input.capacity() > 0 {
                        *input = BytesMut::new();
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Writes all of `out` and empties it: one call for one group of replies.
    pub(super) async fn write(&mut self, out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Self::Plain(stream) => stream.write_all(out).await?,
            Self::Tls(stream) => {
                stream.write_all(out).await?;
                stream.flush().await?;
            }
            Self::Gone => return Err(gone()),
        }
        out.clear();
        if out.capacity() > OUT_KEPT_BYTES {
            *out = Vec::new();
        }
        Ok(())
    }

    /// Ends it from our side. In clear the system does so when the stream is dropped; TLS says it first.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) | Self::Gone => Ok(()),
            Self::Tls(stream) => stream.shutdown().await,
        }
    }

    /// Ends it in the middle of what the client says. What it still sends is taken and thrown away up to a bound: octets that nobody
    /// read would turn the end of the connection into a reset, and a reset can destroy our last reply on its way.
    pub(super) async fn cut_short(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(stream) => poll_fn(|context| Pin::new(&mut *stream).poll_shutdown(context)).await?,
            Self::Tls(stream) => stream.shutdown().await?,
            Self::Gone => return Ok(()),
        }
        let mut thrown_away = BytesMut::new();
        let mut left = THROWN_AWAY_BYTES_MAX;
        while left > 0 {
            let read = self.read(&mut thrown_away).await?;
            if read == 0 {
                break;
            }
            left = left.saturating_sub(read);
            thrown_away.clear();
        }
        Ok(())
    }

    /// Whether something has come already. Looks once; the reactor must have had its turn since the connection was accepted.
    pub(super) fn has_spoken(&self) -> bool {
        match self {
            // Whatever is taken here is not needed: who spoke too early is refused.
            Self::Plain(stream) => matches!(stream.try_read(&mut [0; 1]), Ok(1..)),
            Self::Tls(_) | Self::Gone => false,
        }
    }
}
