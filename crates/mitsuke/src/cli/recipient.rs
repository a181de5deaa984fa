//! `mitsuke recipient …`: lists of who exists.
#![allow(clippy::print_stdout, reason = "an exported list goes to standard output")]

use super::Session;
use super::output::Column;
use super::query::{escaped, with_query};
use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::Method;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

const COLUMNS: &[Column] = &[
    ("address", "address"),
    ("name", "display_name"),
    ("aliases", "aliases"),
    ("groups", "groups"),
    ("enabled", "enabled"),
];
const VERSIONS: &[Column] = &[
    ("version", "version"),
    ("made", "made_at"),
    ("by", "actor"),
    ("file", "origin"),
    ("recipients", "entries"),
    ("added", "difference.added"),
    ("removed", "difference.removed"),
];

/// Recipient lists.
#[derive(Debug, Subcommand)]
pub(crate) enum RecipientCommand {
    /// Import a CSV file: all or nothing. The first line names the columns: address (required), `display_name`, aliases, groups, manager,
    /// language, enabled.
    Import {
        /// Domain.
        domain: String,
        /// File.
        file: PathBuf,
        /// Keep those whom the file does not name.
        #[arg(long)]
        merge: bool,
        /// Only tell the difference.
        #[arg(long)]
        dry_run: bool,
        /// Although the guard against mass removal says no.
        #[arg(long)]
        force: bool,
    },
    /// List recipients.
    List {
        /// Domain.
        domain: String,
        /// From a page before.
        #[arg(long)]
        cursor: Option<String>,
    },
    /// The whole list as CSV.
    Export {
        /// Domain.
        domain: String,
    },
    /// Versions that can be restored.
    Versions {
        /// Domain.
        domain: String,
    },
    /// Put an old version in force again.
    Restore {
        /// Domain.
        domain: String,
        /// Version.
        version: i64,
    },
}

impl RecipientCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let (api, output) = (&session.api, session.output);
        let tenant = escaped(&session.tenant().await?);
        let path = |domain: &str| format!("/api/v1/tenants/{tenant}/domains/{}/recipients", escaped(domain));
        match self {
            Self::Import {
                domain,
                file,
                merge,
                dry_run,
                force,
            } => {
                let bytes = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
                let name = file.file_name().map(|n| n.to_string_lossy().into_owned());
                let query = [
                    ("mode", Some(if merge { "merge" } else { "replace" }.to_owned())),
                    ("dry_run", Some(dry_run.to_string())),
                    ("force", Some(force.to_string())),
                    ("origin", name),
                ];
                let bar = indicatif::ProgressBar::new_spinner().with_message(format!("importing {} bytes", bytes.len()));
                bar.enable_steady_tick(Duration::from_millis(120));
                let told = api
                    .send(
                        Method::POST,
                        &with_query(&format!("{}/import", path(&domain)), &query),
                        "text/csv",
                        bytes,
                    )
                    .await;
                bar.finish_and_clear();
                let told = serde_json::from_slice(&told.map_err(with_rows)?)?;
                output.fields(&told, &[("list", "summary"), ("version in force", "version")])
            }
            Self::List { domain, cursor } => output.rows(&api.get(&with_query(&path(&domain), &[("cursor", cursor)])).await?, COLUMNS),
            Self::Export { domain } => {
                let bytes = api
                    .send(Method::GET, &format!("{}.csv", path(&domain)), "application/json", Vec::new())
                    .await?;
                Ok(std::io::stdout().write_all(&bytes)?)
            }
            Self::Versions { domain } => output.rows(&api.get(&format!("{}/versions", path(&domain))).await?, VERSIONS),
            Self::Restore { domain, version } => {
                let told = api
                    .post(&format!("{}/versions/{version}/restore", path(&domain)), &json!({}))
                    .await?;
                output.fields(&told, &[("list", "summary"), ("version in force", "version")])
            }
        }
    }
}

/// The wrong rows of a refused import, a line each.
fn with_rows(error: anyhow::Error) -> anyhow::Error {
    let rows = error
        .downcast_ref::<crate::client::Problem>()
        .and_then(|p| p.document.get("rows")?.as_array().cloned())
        .unwrap_or_default();
    if rows.is_empty() {
        return error;
    }
    let lines: Vec<String> = rows
        .iter()
        .map(|r| format!("  line {}: {}", r["line"], r["text"].as_str().unwrap_or_default()))
        .collect();
    error.context(format!("wrong rows:\n{}", lines.join("\n")))
}
