//! `mitsuke sink`: a small SMTP server that takes everything and keeps nothing (or writes it to a folder). The demonstration's inbound server.
//!
//! Not a product server: no limits beyond those that keep it alive, loopback only.

use crate::say;
use anyhow::{Context, Result, bail};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A message larger than this ends the session.
const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Serves until the process ends.
///
/// # Errors
/// When the address is not of this machine or is taken.
pub async fn run(listen: SocketAddr, folder: Option<PathBuf>) -> Result<()> {
    if !listen.ip().is_loopback() {
        bail!("{}", say::text("cli.sink.loopback", &[]));
    }
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| say::text("cli.sink.listen", &[("address", &listen.to_string())]))?;
    // Files of an earlier run stay: counting goes on behind them.
    let mut number = folder.as_deref().map_or(0, last_number);
    loop {
        let (stream, _) = listener.accept().await?;
        number += 1;
        tokio::spawn(serve(stream, number, folder.clone()));
    }
}

/// The highest session number among the files of `folder`.
fn last_number(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    files
        .filter_map(|file| file.file_name().to_str()?.split_once('-')?.0.parse().ok())
        .max()
        .unwrap_or(0)
}

async fn serve(stream: TcpStream, number: u64, folder: Option<PathBuf>) -> Result<()> {
    let mut wire = BufReader::new(stream);
    wire.write_all(b"220 sink.example ESMTP sink\r\n").await?;
    let mut count = 0u64;
    loop {
        let mut line = String::new();
        if wire.read_line(&mut line).await? == 0 || line.len() > 4096 {
            return Ok(());
        }
        let verb = line.trim_end().split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                wire.write_all(b"250-sink.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n")
                    .await?
            }
            "DATA" => {
                wire.write_all(b"354 go on\r\n").await?;
                let message = message(&mut wire).await?;
                count += 1;
                if let Some(folder) = &folder {
                    tokio::fs::create_dir_all(folder).await?;
                    tokio::fs::write(folder.join(format!("{number:06}-{count:03}.eml")), message).await?;
                }
                wire.write_all(b"250 2.0.0 taken\r\n").await?;
            }
            "QUIT" => {
                wire.write_all(b"221 2.0.0 bye\r\n").await?;
                return Ok(());
            }
            _ => wire.write_all(b"250 2.0.0 ok\r\n").await?,
        }
    }
}

async fn message(wire: &mut BufReader<TcpStream>) -> Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        if wire.read_until(b'\n', &mut line).await? == 0 || message.len() > MESSAGE_BYTES_MAX {
            bail!("the connection ended within the message");
        }
        if line == b".\r\n" {
            return Ok(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_an_earlier_run_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last_number(&folder.path().join("not-there")), 0);
        assert_eq!(last_number(folder.path()), 0);
        for name in ["000002-001.eml", "000011-002.eml", "000003-009.eml", "notes.txt", "x-1.eml"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(last_number(folder.path()), 11);
    }
}
