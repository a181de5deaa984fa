//! `mitsuke proof …`: proof of tenant for shared senders.

use super::Session;
use super::query::escaped;
use crate::say;
use anyhow::Result;
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

/// Proof of tenant.
#[derive(Debug, Subcommand)]
pub(crate) enum ProofCommand {
    /// Show what proves the tenant and what was seen.
    Show,
    /// Make a secret for the header X-Mitsuke-Proof (two are valid at a time).
    Secret,
    /// End a secret, named by the hex digits that `show` prints.
    EndSecret {
        /// At least 8 hex digits.
        prefix: String,
    },
    /// Open the set-up window.
    Open {
        /// 1–60.
        #[arg(long, default_value_t = 60)]
        minutes: u64,
    },
    /// Close it.
    Close,
}

impl ProofCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let (api, output) = (&session.api, session.output);
        let path = format!("/api/v1/tenants/{}/proof", escaped(&session.tenant().await?));
        match self {
            Self::Show => output.fields(
                &api.get(&path).await?,
                &[
                    ("cli.head.secrets-sha-256-begins", "secrets"),
                    ("cli.head.microsoft-tenant-ids", "microsoft_tenant_ids"),
                    ("cli.head.set-up-window-until", "window_until"),
                    ("cli.head.messages-in-it", "window_used"),
                    ("cli.head.seen", "seen"),
                ],
            ),
            Self::Secret => output.fields(
                &api.post(&format!("{path}/secrets"), &json!({})).await?,
                &[("cli.head.header", "header"), ("cli.head.secret-shown-once", "secret")],
            ),
            Self::EndSecret { prefix } => {
                api.json(Method::DELETE, &format!("{path}/secrets/{}", escaped(&prefix)), None)
                    .await?;
                output.done(&Value::Null, &say::text("cli.done.ended", &[]))
            }
            Self::Open { minutes } => {
                api.post(&format!("{path}/window"), &json!({"minutes": minutes})).await?;
                output.done(
                    &Value::Null,
                    &say::text("cli.done.window-open", &[("minutes", &minutes.to_string())]),
                )
            }
            Self::Close => {
                api.json(Method::DELETE, &format!("{path}/window"), None).await?;
                output.done(&Value::Null, &say::text("cli.done.window-closed", &[]))
            }
        }
    }
}
