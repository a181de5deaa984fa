//! `mitsuke domain …`

use super::Session;
use super::output::{Column, Output};
use super::query::{escaped, with_query};
use crate::say;
use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::Method;
use serde_json::{Value, json};

const COLUMNS: &[Column] = &[
    ("cli.head.domain", "unicode_name"),
    ("cli.head.state", "state"),
    ("cli.head.meaning", "label"),
    ("cli.head.verified-by", "verified_by"),
    ("cli.head.verified-at", "verified_at"),
];
const FIELDS: &[Column] = &[
    ("cli.head.domain", "name"),
    ("cli.head.state", "state"),
    ("cli.head.verified-by", "verified_by"),
    ("cli.head.verified-at", "verified_at"),
    ("cli.head.txt-record-for-proof", "txt_record"),
    ("cli.head.or-best-mx", "mx"),
    ("cli.head.claim-lapses-at", "lapses_at"),
    ("cli.head.purged-at", "purge_at"),
    ("cli.head.last-look-at-dns", "checked_at"),
    ("cli.head.found", "found"),
    ("cli.head.warnings", "warnings"),
    ("cli.head.recipient-check", "settings.recipient_mode"),
    ("cli.head.outbound", "settings.outbound_enabled"),
];

/// Accepted domains.
#[derive(Debug, Subcommand)]
pub(crate) enum DomainCommand {
    /// Claim a name; the TXT record that proves it is printed.
    Add {
        /// Exact name.
        name: String,
        /// Settings as JSON (see `domain set`).
        #[arg(long, default_value = "{}")]
        settings: String,
    },
    /// List domains.
    List {
        /// From a page before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// Show one with its state and proof.
    Show {
        /// Name.
        name: String,
    },
    /// Change settings: a JSON merge patch such as '{"recipient_mode":"directory"}'.
    Set {
        /// Name.
        name: String,
        /// Merge patch.
        patch: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Look at DNS now.
    Check {
        /// Name.
        name: String,
    },
    /// A new token; the old one ends.
    Token {
        /// Name.
        name: String,
    },
    /// Prove a name by hand (operator), with a reason.
    Confirm {
        /// Name.
        name: String,
        /// Why it is proven.
        #[arg(long)]
        reason: String,
    },
    /// Take out of service; mail is deferred.
    Disable {
        /// Name.
        name: String,
    },
    /// Put into service again.
    Enable {
        /// Name.
        name: String,
    },
    /// Begin deletion with grace; shows what should be known first.
    Delete {
        /// Name.
        name: String,
        /// The name once more.
        #[arg(long)]
        confirm: Option<String>,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// End the grace: as it was.
    Restore {
        /// Name.
        name: String,
    },
}

impl DomainCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let (api, output) = (&session.api, session.output);
        let base = format!("/api/v1/tenants/{}/domains", escaped(&session.tenant().await?));
        let path = |name: &str| format!("{base}/{}", escaped(name));
        let patch = |name: &str, settings: Value, reason: &str| (path(name), json!({"settings": settings, "reason": reason}));
        match self {
            Self::Add { name, settings } => {
                let settings: Value = serde_json::from_str(&settings).with_context(|| say::text("cli.error.settings-json", &[]))?;
                show(output, &api.post(&base, &json!({"name": name, "settings": settings})).await?)
            }
            Self::List { cursor } => list(output, api.get(&with_query(&base, &[("cursor", cursor)])).await?),
            Self::Show { name } => show(output, &api.get(&path(&name)).await?),
            Self::Set { name, patch: text, reason } => {
                let (at, body) = patch(
                    &name,
                    serde_json::from_str(&text).with_context(|| say::text("cli.error.patch-json", &[]))?,
                    &reason,
                );
                show(output, &api.json(Method::PATCH, &at, Some(&body)).await?)
            }
            Self::Check { name } => show(output, &api.post(&format!("{}/check", path(&name)), &json!({})).await?),
            Self::Token { name } => show(output, &api.post(&format!("{}/token", path(&name)), &json!({})).await?),
            Self::Confirm { name, reason } => show(
                output,
                &api.post(&format!("{}/confirm", path(&name)), &json!({"reason": reason})).await?,
            ),
            Self::Disable { name } => {
                let (at, body) = patch(&name, json!({"disabled": true}), "disabled");
                show(output, &api.json(Method::PATCH, &at, Some(&body)).await?)
            }
            Self::Enable { name } => {
                let (at, body) = patch(&name, json!({"disabled": false}), "enabled");
                show(output, &api.json(Method::PATCH, &at, Some(&body)).await?)
            }
            Self::Delete { name, confirm: None, .. } => {
                let told = api.get(&format!("{}/before-deletion", path(&name))).await?;
                output.fields(
                    &told,
                    &[
                        ("cli.head.mx-is-ours", "mx_is_ours"),
                        ("cli.head.outbound-last-24-h", "outbound_last_24h"),
                        ("cli.head.in-the-queue", "queued"),
                        ("cli.head.held", "held"),
                        ("cli.head.in-quarantine", "quarantined"),
                        ("cli.head.days-of-grace", "grace_days"),
                    ],
                )?;
                output.done(&Value::Null, &say::text("cli.done.nothing-deleted", &[("name", &name)]))
            }
            Self::Delete {
                name,
                confirm: Some(confirm),
                reason,
            } => {
                api.json(Method::DELETE, &path(&name), Some(&json!({"confirm": confirm, "reason": reason})))
                    .await?;
                output.done(&Value::Null, &say::text("cli.done.deletion-begun", &[("name", &name)]))
            }
            Self::Restore { name } => show(output, &api.post(&format!("{}/restore", path(&name)), &json!({})).await?),
        }
    }
}

/// Domains, with the meaning of their states in the reader's language.
fn list(output: Output, mut page: Value) -> Result<()> {
    if !output.is_json() {
        let label = format!("label_{}", say::lang().as_str());
        for row in page.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            row["label"] = row.get(&label).cloned().unwrap_or_default();
        }
    }
    output.rows(&page, COLUMNS)
}

/// A domain, with what DNS said in words; `--json` shows the report as it is.
fn show(output: Output, domain: &Value) -> Result<()> {
    if output.is_json() {
        return output.value(domain);
    }
    let mut domain = domain.clone();
    domain["found"] = answers(&domain["report"]).into();
    output.fields(&domain, FIELDS)
}

/// `mx at ns1.example: 10 a.example`, for each record that was asked for.
fn answers(report: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let servers = report["servers"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut told: Vec<String> = servers
        .iter()
        .map(|row| {
            let found = row["found"].as_array().map(Vec::as_slice).unwrap_or_default();
            let found = found.iter().filter_map(text).collect::<Vec<_>>().join(" | ");
            let what = text(&row["error"]).unwrap_or(if found.is_empty() {
                say::text("cli.dns.nothing", &[])
            } else {
                found
            });
            let name = |field: &str| text(&row[field]).unwrap_or_default();
            let (record, server) = (name("record").to_uppercase(), name("server"));
            say::text("cli.dns.answer", &[("record", &record), ("server", &server), ("what", &what)])
        })
        .collect();
    told.extend(text(&report["error"]));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dns_said_is_told_in_words() {
        let report = json!({"error": null, "servers": [
            {"record": "txt", "server": "ns1.example", "found": [], "error": null},
            {"record": "mx", "server": "ns1.example", "found": ["10 a.example", "20 b.example"], "error": null},
            {"record": "mx", "server": "ns2.example", "found": [], "error": "no answer"},
        ]});
        assert_eq!(
            answers(&report),
            [
                "TXT at ns1.example: nothing",
                "MX at ns1.example: 10 a.example | 20 b.example",
                "MX at ns2.example: no answer"
            ]
        );
        assert_eq!(answers(&json!({"error": "no such name"})), ["no such name"]);
        assert!(answers(&Value::Null).is_empty());
    }
}
