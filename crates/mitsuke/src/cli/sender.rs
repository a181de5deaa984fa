//! `mitsuke sender …`: who may send for a domain.

use super::Session;
use super::output::Column;
use super::query::escaped;
use anyhow::Result;
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

const FIELDS: &[Column] = &[
    ("cli.head.outbound", "settings.outbound_enabled"),
    ("cli.head.networks", "settings.outbound_networks"),
    ("cli.head.certificates", "settings.outbound_certificates"),
    ("cli.head.submission-with-log-in", "settings.outbound_submission"),
    ("cli.head.microsoft-365", "settings.outbound_microsoft365"),
    ("cli.head.google-workspace", "settings.outbound_google_workspace"),
    ("cli.head.foreign-from", "settings.foreign_from"),
];

/// Outbound senders.
#[derive(Debug, Subcommand)]
pub(crate) enum SenderCommand {
    /// Show who may send.
    Show {
        /// Domain.
        domain: String,
    },
    /// Switch outbound mail on or off.
    Outbound {
        /// Domain.
        domain: String,
        /// on or off.
        #[arg(value_parser = ["on", "off"])]
        state: String,
    },
    /// Add a network, a certificate (name or key fingerprint), or log-in.
    Add {
        /// Domain.
        domain: String,
        /// Address or CIDR.
        #[arg(long)]
        network: Vec<String>,
        /// Name or SHA-256 of the key.
        #[arg(long)]
        certificate: Vec<String>,
        /// SMTP AUTH with relay credentials.
        #[arg(long)]
        submission: bool,
    },
    /// Remove them.
    Remove {
        /// Domain.
        domain: String,
        /// Address or CIDR.
        #[arg(long)]
        network: Vec<String>,
        /// Name or fingerprint.
        #[arg(long)]
        certificate: Vec<String>,
        /// Log-in.
        #[arg(long)]
        submission: bool,
    },
}

fn texts(view: &Value, field: &str) -> Vec<String> {
    let list = view.pointer(&format!("/settings/{field}")).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// An address alone is a network of one.
fn network(text: &str) -> String {
    match text.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(ip)) => format!("{ip}/32"),
        Ok(std::net::IpAddr::V6(ip)) => format!("{ip}/128"),
        Err(_) => text.to_owned(),
    }
}

impl SenderCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let tenant = escaped(&session.tenant().await?);
        let (Self::Show { domain } | Self::Outbound { domain, .. } | Self::Add { domain, .. } | Self::Remove { domain, .. }) = &self;
        let path = format!("/api/v1/tenants/{tenant}/domains/{}", escaped(domain));
        let view = session.api.get(&path).await?;
        let (mut networks, mut certificates) = (texts(&view, "outbound_networks"), texts(&view, "outbound_certificates"));
        let settings = match self {
            Self::Show { .. } => return session.output.fields(&view, FIELDS),
            Self::Outbound { state, .. } => json!({"outbound_enabled": state == "on"}),
            Self::Add {
                network: n,
                certificate: c,
                submission,
                ..
            } => {
                networks.extend(n.iter().map(|n| network(n)));
                certificates.extend(c);
                let mut settings = json!({"outbound_networks": networks, "outbound_certificates": certificates});
                if submission {
                    settings["outbound_submission"] = true.into();
                }
                settings
            }
            Self::Remove {
                network: n,
                certificate: c,
                submission,
                ..
            } => {
                let gone: Vec<String> = n.iter().map(|n| network(n)).collect();
                networks.retain(|x| !gone.contains(x));
                certificates.retain(|x| !c.contains(x));
                let mut settings = json!({"outbound_networks": networks, "outbound_certificates": certificates});
                if submission {
                    settings["outbound_submission"] = false.into();
                }
                settings
            }
        };
        session.output.fields(
            &session.api.json(Method::PATCH, &path, Some(&json!({"settings": settings}))).await?,
            FIELDS,
        )
    }
}
