//! `mitsuke recipient …`: lists of who exists.
#![allow(clippy::print_stdout, reason = "an exported list goes to standard output")]

use super::Session;
use super::output::Column;
use super::query::{escaped, with_query};
use crate::say;
use anyhow::{Context, Result};
use clap::Subcommand;
use hyper::Method;
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

const COLUMNS: &[Column] = &[
    ("cli.head.address", "address"),
    ("cli.head.name", "display_name"),
    ("cli.head.aliases", "aliases"),
    ("cli.head.groups", "groups"),
    ("cli.head.enabled", "enabled"),
];
const VERSIONS: &[Column] = &[
    ("cli.head.version", "version"),
    ("cli.head.made", "made_at"),
    ("cli.head.by", "actor"),
    ("cli.head.file", "origin"),
    ("cli.head.recipients", "entries"),
    ("cli.head.added", "difference.added"),
    ("cli.head.removed", "difference.removed"),
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
                let bytes = std::fs::read(&file).with_context(|| say::about_file("cli.error.read", &file))?;
                let name = file.file_name().map(|n| n.to_string_lossy().into_owned());
                let query = [
                    ("mode", Some(if merge { "merge" } else { "replace" }.to_owned())),
                    ("dry_run", Some(dry_run.to_string())),
                    ("force", Some(force.to_string())),
                    ("origin", name),
                ];
                let bar = indicatif::ProgressBar::new_spinner()
                    .with_message(say::text("cli.progress.importing", &[("bytes", &bytes.len().to_string())]));
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
                output.fields(&told, &[("cli.head.list", "summary"), ("cli.head.version-in-force", "version")])
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
                output.fields(&told, &[("cli.head.list", "summary"), ("cli.head.version-in-force", "version")])
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
        .map(|r| {
            let (line, text) = (r["line"].to_string(), r["text"].as_str().unwrap_or_default());
            say::text("cli.error.wrong-row", &[("line", &line), ("text", text)])
        })
        .collect();
    error.context(format!("{}\n{}", say::text("cli.error.wrong-rows", &[]), lines.join("\n")))
}
