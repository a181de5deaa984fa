//! `mitsuke settings …`: documents and revisions.

use super::Session;
use super::output::Column;
use super::query::{escaped, with_query};
use crate::say;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use hyper::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

const REVISIONS: &[Column] = &[
    ("cli.head.revision", "revision"),
    ("cli.head.saved", "saved_at"),
    ("cli.head.by", "actor"),
    ("cli.head.why", "reason"),
];
const DIFFERENCE: &[Column] = &[("cli.head.field", "field"), ("cli.head.old", "old"), ("cli.head.new", "new")];

/// Settings documents.
#[derive(Debug, Subcommand)]
pub(crate) enum SettingsCommand {
    /// Print the document (secrets masked).
    Show {
        #[command(flatten)]
        whose: Whose,
    },
    /// Change parts: a JSON merge patch.
    Set {
        /// Merge patch such as '{"queue":{"lifetime_outbound_s":172800}}'.
        patch: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Replace the document with a file.
    Replace {
        /// JSON file.
        file: PathBuf,
        /// Revision you have seen; a later save by someone else is a conflict.
        #[arg(long)]
        base: Option<i64>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Revisions, newest first.
    Revisions {
        /// From a page before.
        #[arg(long)]
        cursor: Option<String>,
        #[command(flatten)]
        whose: Whose,
    },
    /// What differs between two revisions.
    Diff {
        /// Older.
        from: i64,
        /// Newer (default: the newest).
        to: Option<i64>,
        #[command(flatten)]
        whose: Whose,
    },
    /// Make an old revision the newest again.
    Restore {
        /// Revision.
        revision: i64,
        #[command(flatten)]
        whose: Whose,
    },
}

/// Whose document.
#[derive(Debug, Args)]
pub(crate) struct Whose {
    /// The operator's own.
    #[arg(long)]
    system: bool,
}

impl SettingsCommand {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        let (api, output) = (&session.api, session.output);
        let (Self::Show { whose }
        | Self::Set { whose, .. }
        | Self::Replace { whose, .. }
        | Self::Revisions { whose, .. }
        | Self::Diff { whose, .. }
        | Self::Restore { whose, .. }) = &self;
        let path = if whose.system {
            "/api/v1/settings/system".into()
        } else {
            format!("/api/v1/settings/{}", escaped(&session.tenant().await?))
        };
        let saved = |told: &Value| output.fields(told, &[("cli.head.revision", "revision"), ("cli.head.active-since", "active_at")]);
        match self {
            Self::Show { .. } => output.value(&api.get(&path).await?),
            Self::Set { patch, reason, .. } => {
                let document: Value = serde_json::from_str(&patch).with_context(|| say::text("cli.error.patch-json", &[]))?;
                saved(
                    &api.json(Method::PATCH, &path, Some(&json!({"document": document, "reason": reason})))
                        .await?,
                )
            }
            Self::Replace { file, base, .. } => {
                let text = std::fs::read_to_string(&file).with_context(|| say::about_file("cli.error.read", &file))?;
                let document: Value = serde_json::from_str(&text).with_context(|| say::text("cli.error.file-json", &[]))?;
                let document = document.get("document").cloned().unwrap_or(document);
                saved(
                    &api.json(Method::PUT, &path, Some(&json!({"document": document, "base": base})))
                        .await?,
                )
            }
            Self::Revisions { cursor, .. } => output.rows(
                &api.get(&with_query(&format!("{path}/revisions"), &[("cursor", cursor)])).await?,
                REVISIONS,
            ),
            Self::Diff { from, to, .. } => {
                let query = [("from", Some(from.to_string())), ("to", to.map(|t| t.to_string()))];
                let told = api.get(&with_query(&format!("{path}/difference"), &query)).await?;
                output.rows(&if output.is_json() { told } else { shortened(told) }, DIFFERENCE)
            }
            Self::Restore { revision, .. } => saved(&api.post(&format!("{path}/revisions/{revision}/restore"), &json!({})).await?),
        }
    }
}

/// Longer values are cut in tables; `--json` shows them whole.
const VALUE_CHARS_MAX: usize = 60;

fn shortened(mut told: Value) -> Value {
    let rows = if told.is_array() { Some(&mut told) } else { told.get_mut("items") };
    for row in rows.and_then(Value::as_array_mut).into_iter().flatten() {
        for side in ["old", "new"] {
            let Some(value) = row.get_mut(side) else { continue };
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            if text.chars().count() > VALUE_CHARS_MAX {
                *value = (text.chars().take(VALUE_CHARS_MAX).collect::<String>() + "…").into();
            }
        }
    }
    told
}
