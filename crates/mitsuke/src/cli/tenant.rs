//! `mitsuke tenant …`

use super::Session;
use super::output::Column;
use super::query::{escaped, with_query};
use anyhow::Result;
use clap::Subcommand;
use hyper::Method;
use serde_json::json;

const COLUMNS: &[Column] = &[
    ("cli.head.name", "name"),
    ("cli.head.title", "title"),
    ("cli.head.state", "state"),
    ("cli.head.mx", "mx"),
    ("cli.head.smarthost", "smarthost"),
    ("cli.head.since", "created_at"),
];

/// Organisations.
#[derive(Debug, Subcommand)]
pub(crate) enum TenantCommand {
    /// Make a tenant, and its first owner's key.
    Add {
        /// Access name: 2–32 of a-z 0-9 -, first a letter; fixed.
        name: String,
        /// Name for people.
        #[arg(long, default_value = "")]
        title: String,
        /// Begin as a trial.
        #[arg(long)]
        trial: bool,
    },
    /// List tenants.
    List {
        /// From a page before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one.
    Show {
        /// Access name.
        name: String,
    },
    /// Change state: trial, active, outbound-suspended, suspended, closing.
    State {
        /// Access name.
        name: String,
        /// New state.
        state: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        /// Days of grace for closing (0–90).
        #[arg(long)]
        grace_days: Option<u64>,
    },
    /// Open outbound mail of a trial.
    OpenOutbound {
        /// Access name.
        name: String,
    },
}

impl TenantCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let (api, output) = (&session.api, session.output);
        match self {
            Self::Add { name, title, trial } => {
                let state = if trial { "trial" } else { "active" };
                let made = api
                    .post("/api/v1/tenants", &json!({"name": name, "title": title, "state": state}))
                    .await?;
                let key = api
                    .post(
                        &format!("/api/v1/tenants/{}/keys", escaped(&name)),
                        &json!({"name": "first owner", "role": "owner"}),
                    )
                    .await?;
                let both = json!({"tenant": made, "key": key});
                output.fields(
                    &both,
                    &[
                        ("cli.head.tenant", "tenant.name"),
                        ("cli.head.state", "tenant.state"),
                        ("cli.head.mx-target", "tenant.mx"),
                        ("cli.head.smarthost", "tenant.smarthost"),
                        ("cli.head.owner-s-api-key-shown-once", "key.secret"),
                    ],
                )
            }
            Self::List { cursor } => output.rows(&api.get(&with_query("/api/v1/tenants", &[("cursor", cursor)])).await?, COLUMNS),
            Self::Show { name } => output.fields(&api.get(&format!("/api/v1/tenants/{}", escaped(&name))).await?, COLUMNS),
            Self::State {
                name,
                state,
                reason,
                grace_days,
            } => {
                let body = json!({"state": state, "reason": reason, "grace_days": grace_days});
                output.fields(
                    &api.json(Method::PATCH, &format!("/api/v1/tenants/{}", escaped(&name)), Some(&body))
                        .await?,
                    COLUMNS,
                )
            }
            Self::OpenOutbound { name } => {
                let body = json!({"trial_outbound": true});
                output.fields(
                    &api.json(Method::PATCH, &format!("/api/v1/tenants/{}", escaped(&name)), Some(&body))
                        .await?,
                    COLUMNS,
                )
            }
        }
    }
}
