//! `mitsuke key …`: API keys.

use super::Session;
use super::output::Column;
use super::query::{escaped, with_query};
use crate::say;
use anyhow::{Result, bail};
use clap::Subcommand;
use hyper::Method;
use identity::Role;
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("cli.head.id", "id"),
    ("cli.head.name", "name"),
    ("cli.head.role", "role"),
    ("cli.head.domains", "domains"),
    ("cli.head.made", "created_at"),
    ("cli.head.last-used", "last_used_at"),
    ("cli.head.expires", "expires_at"),
];

/// API keys.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make one; its secret is shown this once.
    Add {
        /// What is it for?
        name: String,
        /// owner, tenant-admin, domain-admin, group-admin, auditor, viewer, user (with --system: operator, support).
        #[arg(long)]
        role: String,
        /// Only these domains.
        #[arg(long)]
        domain: Vec<String>,
        /// Not after.
        #[arg(long)]
        expires: Option<String>,
        /// A key of the operator.
        #[arg(long)]
        system: bool,
    },
    /// List keys.
    List {
        /// From a page before.
        #[arg(long)]
        cursor: Option<String>,
        /// The operator's.
        #[arg(long)]
        system: bool,
    },
    /// End one at once.
    Revoke {
        /// Id, as `list` shows it.
        id: String,
        /// The operator's.
        #[arg(long)]
        system: bool,
    },
}

/// What to say of a role that the owner of the key cannot give.
fn wrong_role(role: &str, is_system: bool) -> Option<String> {
    let roles: Vec<&str> = Role::ALL
        .iter()
        .filter(|r| r.is_operators() == is_system)
        .map(|r| r.as_str())
        .collect();
    let key = if is_system { "cli.error.role-system" } else { "cli.error.role" };
    (!roles.contains(&role)).then(|| say::text(key, &[("role", role), ("roles", &roles.join(", "))]))
}

impl KeyCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let (Self::Add { system, .. } | Self::List { system, .. } | Self::Revoke { system, .. }) = &self;
        let is_system = *system;
        let owner = if is_system {
            "system".to_owned()
        } else {
            escaped(&session.tenant().await?)
        };
        let path = format!("/api/v1/tenants/{owner}/keys");
        match self {
            Self::Add {
                name,
                role,
                domain,
                expires,
                ..
            } => {
                if let Some(told) = wrong_role(&role, is_system) {
                    bail!("{told}");
                }
                let domains = (!domain.is_empty()).then_some(domain);
                let made = session
                    .api
                    .post(
                        &path,
                        &json!({"name": name, "role": role, "domains": domains, "expires_at": expires}),
                    )
                    .await?;
                session.output.fields(
                    &made,
                    &[
                        ("cli.head.id", "key.id"),
                        ("cli.head.role", "key.role"),
                        ("cli.head.secret-shown-once", "secret"),
                    ],
                )
            }
            Self::List { cursor, .. } => session
                .output
                .rows(&session.api.get(&with_query(&path, &[("cursor", cursor)])).await?, COLUMNS),
            Self::Revoke { id, .. } => {
                session.api.json(Method::DELETE, &format!("{path}/{}", escaped(&id)), None).await?;
                session.output.done(&Value::Null, &say::text("cli.done.ended", &[]))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_role_is_answered_with_the_right_ones() {
        for (role, is_system, roles) in [
            ("viewer", false, None),
            ("operator", true, None),
            (
                "boss",
                false,
                Some("owner, tenant-admin, domain-admin, group-admin, auditor, viewer, user"),
            ),
            ("operator", false, Some("owner, tenant-admin")),
            ("owner", true, Some("operator, support")),
        ] {
            let told = wrong_role(role, is_system);
            assert_eq!(told.is_some(), roles.is_some(), "{role}");
            assert!(told.unwrap_or_default().contains(roles.unwrap_or_default()), "{role} {is_system}");
        }
    }
}
