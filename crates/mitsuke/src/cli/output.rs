//! Tables for people, JSON for programs.
//!
//! Invariants: text from outside cannot move the cursor or colour the screen: control characters are shown as `?`.
//! Whoever reads may have enough: a closed pipe is an error to end with, not a panic.

use crate::say as words;
use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::Write;

/// A line on standard output.
pub(crate) fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stdout().lock(), "{line}")?)
}

/// How to print.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
}

/// A column: the key of its head, and the field of a row that it shows (`a.b` for fields within fields).
pub(crate) type Column = (&'static str, &'static str);

impl Output {
    /// JSON or tables.
    #[must_use]
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether JSON is asked for.
    #[must_use]
    pub fn is_json(self) -> bool {
        self.json
    }

    /// A page of rows: `items` and `next`, or a plain array.
    pub(crate) fn rows(self, page: &Value, columns: &[Column]) -> Result<()> {
        if self.json {
            return self.value(page);
        }
        let items = page.get("items").unwrap_or(page).as_array().cloned().unwrap_or_default();
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(columns.iter().map(|(head, _)| words::text(head, &[]).to_uppercase()));
        for item in &items {
            table.add_row(columns.iter().map(|(_, field)| cell(item, field)));
        }
        say(&table.to_string())?;
        if let Some(next) = page.get("next").and_then(Value::as_str) {
            say(&format!("\n{}", words::text("cli.list.more", &[("cursor", next)])))?;
        } else if items.is_empty() {
            say(&words::text("cli.list.none", &[]))?;
        }
        Ok(())
    }

    /// Fields of one object, a line each.
    pub(crate) fn fields(self, value: &Value, columns: &[Column]) -> Result<()> {
        if self.json {
            return self.value(value);
        }
        let heads: Vec<String> = columns.iter().map(|(head, _)| words::text(head, &[])).collect();
        let width = heads.iter().map(|head| words::columns(head)).max().unwrap_or(0);
        for (head, (_, field)) in heads.iter().zip(columns) {
            let text = cell(value, field);
            if !text.is_empty() {
                let space = " ".repeat(width - words::columns(head));
                say(&format!("{head}{space}  {text}"))?;
            }
        }
        Ok(())
    }

    /// JSON, indented.
    pub(crate) fn value(self, value: &Value) -> Result<()> {
        say(&serde_json::to_string_pretty(value)?)
    }

    /// A sentence for people; nothing for programs, which get `value`.
    pub(crate) fn done(self, value: &Value, sentence: &str) -> Result<()> {
        if self.json {
            return self.value(value);
        }
        say(&shown(sentence))
    }
}

fn cell(item: &Value, field: &str) -> String {
    let value = field.split('.').try_fold(item, |v, name| v.get(name));
    shown(&match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => list
            .iter()
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            .collect::<Vec<_>>()
            .join(", "),
        Some(other) => other.to_string(),
    })
}

/// Text as it may go to a screen.
pub(crate) fn shown(text: &str) -> String {
    text.chars()
        .map(|c| {
            let moves = c.is_control() && c != '\n';
            let turns = ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c);
            if moves || turns { '?' } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_show_fields_and_never_control_characters() {
        let item = json!({"a": {"b": ["x", 1]}, "evil": "a\u{1b}[2Jb\u{202e}", "n": null});
        assert_eq!(cell(&item, "a.b"), "x, 1");
        assert_eq!(cell(&item, "evil"), "a?[2Jb?");
        assert_eq!(cell(&item, "n"), "");
        assert_eq!(cell(&item, "missing.x"), "");
    }
}
