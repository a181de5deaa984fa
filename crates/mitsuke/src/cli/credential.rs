//! `mitsuke credential …`: relay credentials of servers and devices.

use super::Session;
use super::output::Column;
use super::query::escaped;
use crate::say;
use anyhow::Result;
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("cli.head.name", "name"),
    ("cli.head.user-name", "user_name"),
    ("cli.head.domains", "domains"),
    ("cli.head.networks", "networks"),
    ("cli.head.expires", "expires_at"),
    ("cli.head.last-used", "last_used_at"),
    ("cli.head.from", "last_used_from"),
];

/// Relay credentials.
#[derive(Debug, Subcommand)]
pub(crate) enum CredentialCommand {
    /// Make one; its secret is shown this once.
    Add {
        /// Name: 1–64 of a-z 0-9 - . _
        name: String,
        /// Domains it may send for (default: all with outbound on).
        #[arg(long)]
        domain: Vec<String>,
        /// Networks it may come from (default: anywhere).
        #[arg(long)]
        network: Vec<String>,
        /// Messages per 10 minutes.
        #[arg(long)]
        limit: Option<u32>,
        /// Not after (RFC 3339 or a date).
        #[arg(long)]
        expires: Option<String>,
    },
    /// List them with their last use.
    List,
    /// End one.
    Remove {
        /// Name.
        name: String,
    },
}

impl CredentialCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let path = format!("/api/v1/tenants/{}/relay-credentials", escaped(&session.tenant().await?));
        match self {
            Self::Add {
                name,
                domain,
                network,
                limit,
                expires,
            } => {
                let body =
                    json!({"name": name, "domains": domain, "networks": network, "messages_per_10_min": limit, "expires_at": expires});
                let made = session.api.post(&path, &body).await?;
                session.output.fields(
                    &made,
                    &[("cli.head.user-name", "user_name"), ("cli.head.secret-shown-once", "secret")],
                )
            }
            Self::List => session.output.rows(&session.api.get(&path).await?, COLUMNS),
            Self::Remove { name } => {
                session
                    .api
                    .json(Method::DELETE, &format!("{path}/{}", escaped(&name)), None)
                    .await?;
                session
                    .output
                    .done(&Value::Null, &say::text("cli.done.name-ended", &[("name", &name)]))
            }
        }
    }
}
