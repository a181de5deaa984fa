//! `mitsuke server …`: rows of a domain's inbound servers.

use super::Session;
use super::output::Column;
use super::query::escaped;
use crate::say;
use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Map, Value, json};

const COLUMNS: &[Column] = &[
    ("cli.head.row", "row"),
    ("cli.head.recipient", "recipient"),
    ("cli.head.host", "host"),
    ("cli.head.port", "port"),
    ("cli.head.preference", "preference"),
    ("cli.head.tls", "tls"),
    ("cli.head.enabled", "enabled"),
    ("cli.head.note", "note"),
];

/// Inbound servers.
#[derive(Debug, Subcommand)]
pub(crate) enum ServerCommand {
    /// Add a row.
    Add {
        /// Domain.
        domain: String,
        /// `host` or `host:port`.
        host: String,
        #[command(flatten)]
        row: RowArgs,
    },
    /// Change a row (numbers as `list` shows them).
    Set {
        /// Domain.
        domain: String,
        /// Row number, from 1.
        row: usize,
        /// `host` or `host:port`.
        #[arg(long)]
        host: Option<String>,
        #[command(flatten)]
        values: RowArgs,
    },
    /// List rows.
    List {
        /// Domain.
        domain: String,
    },
    /// Remove a row.
    Remove {
        /// Domain.
        domain: String,
        /// Row number, from 1.
        row: usize,
    },
}

/// Values of a row; those not given keep their value or default.
#[derive(Debug, Default, Args)]
pub(crate) struct RowArgs {
    /// `*` or one exact local part.
    #[arg(long)]
    recipient: Option<String>,
    /// 1–100, lower first.
    #[arg(long)]
    preference: Option<u32>,
    /// TLS towards the server: none, opportunistic (default), encrypted (always), verified (with a believed certificate), pinned (with the key of
    /// --pin).
    #[arg(long)]
    tls: Option<String>,
    /// SHA-256 of the server's key, hex (for pinned).
    #[arg(long)]
    pin: Vec<String>,
    /// Connections at most, 1–100.
    #[arg(long)]
    connections: Option<u32>,
    /// In use: true or false.
    #[arg(long)]
    enabled: Option<bool>,
    /// Text.
    #[arg(long)]
    note: Option<String>,
}

impl RowArgs {
    fn apply(self, row: &mut Map<String, Value>, host: Option<&str>) -> Result<()> {
        if let Some(host) = host {
            let (name, port) = split_port(host)?;
            row.insert("host".into(), name.into());
            if let Some(port) = port {
                row.insert("port".into(), port.into());
            }
        }
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                row.insert(name.into(), value);
            }
        };
        set("recipient", self.recipient.map(Into::into));
        set("preference", self.preference.map(Into::into));
        set("tls", self.tls.map(Into::into));
        set("pins", (!self.pin.is_empty()).then(|| self.pin.into()));
        set("connections_max", self.connections.map(Into::into));
        set("enabled", self.enabled.map(Into::into));
        set("note", self.note.map(Into::into));
        Ok(())
    }
}

/// `host`, `host:port`, `[v6]:port`, `v6`.
fn split_port(text: &str) -> Result<(String, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, port) = rest.split_once(']').with_context(|| say::text("cli.error.bracket", &[]))?;
        let port = port.strip_prefix(':').map(str::parse).transpose().with_context(port_range)?;
        return Ok((ip.to_owned(), port));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => Ok((host.to_owned(), Some(port.parse().with_context(port_range)?))),
        _ => Ok((text.to_owned(), None)),
    }
}

fn port_range() -> String {
    say::text("cli.error.port", &[])
}

fn no_row(row: usize) -> String {
    say::text("cli.error.no-row", &[("row", &row.to_string())])
}

impl ServerCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let tenant = escaped(&session.tenant().await?);
        let (Self::Add { domain, .. } | Self::Set { domain, .. } | Self::List { domain } | Self::Remove { domain, .. }) = &self;
        let path = format!("/api/v1/tenants/{tenant}/domains/{}", escaped(domain));
        let view = session.api.get(&path).await?;
        let mut rows = view
            .pointer("/settings/inbound_servers")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        match self {
            Self::List { .. } => return list(session, &rows),
            Self::Add { host, row, .. } => {
                let mut made = Map::new();
                row.apply(&mut made, Some(&host))?;
                rows.push(Value::Object(made));
            }
            Self::Set { row, host, values, .. } => {
                let at = row
                    .checked_sub(1)
                    .and_then(|i| rows.get_mut(i))
                    .and_then(Value::as_object_mut)
                    .with_context(|| no_row(row))?;
                values.apply(at, host.as_deref())?;
            }
            Self::Remove { row, .. } => {
                if row == 0 || row > rows.len() {
                    bail!("{}", no_row(row));
                }
                rows.remove(row - 1);
            }
        }
        let saved = session
            .api
            .json(Method::PATCH, &path, Some(&json!({"settings": {"inbound_servers": rows}})))
            .await?;
        list(
            session,
            saved
                .pointer("/settings/inbound_servers")
                .and_then(Value::as_array)
                .map_or(&[], Vec::as_slice),
        )
    }
}

fn list(session: &Session, rows: &[Value]) -> Result<()> {
    let numbered: Vec<Value> = rows
        .iter()
        .enumerate()
        .map(|(i, row)| {
            let mut row = row.clone();
            if let Some(fields) = row.as_object_mut() {
                fields.insert("row".into(), (i + 1).into());
            }
            row
        })
        .collect();
    session.output.rows(&Value::Array(numbered), COLUMNS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_port() {
        for (text, host, port) in [
            ("mx.example", "mx.example", None),
            ("mx.example:2525", "mx.example", Some(2525)),
            ("[::1]:25", "::1", Some(25)),
            ("2001:db8::1", "2001:db8::1", None),
        ] {
            assert_eq!(split_port(text).unwrap(), (host.to_owned(), port), "{text}");
        }
        assert!(split_port("mx:99999").is_err());
    }
}
