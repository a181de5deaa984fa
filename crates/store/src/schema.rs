//! Schema: how do the tables come to be, and who may open them?
//!
//! In:  numbered texts in `schema/`, one for both engines; the version found in the data.
//! Out: the statements to run, for one engine.
//! Invariants: a migration that was ever released never changes; older data is migrated on start, newer data is refused.

use crate::StoreError;

/// Which engine a text is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// Embedded.
    Sqlite,
    /// PostgreSQL 15+.
    Postgres,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// From 1, without gaps.
    pub number: i64,
    /// Short name, kept in the data.
    pub name: &'static str,
    text: &'static str,
}

/// Every step, in order.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        name: "spool",
        text: include_str!("../schema/0001_spool.sql"),
    },
    Migration {
        number: 2,
        name: "control",
        text: include_str!("../schema/0002_control.sql"),
    },
    Migration {
        number: 3,
        name: "errand",
        text: include_str!("../schema/0003_errand.sql"),
    },
];

/// Tables of one day of tracking.
const DAY: &str = include_str!("../schema/day.sql");

/// Tables of the search index.
const INDEX: &str = include_str!("../schema/index.sql");

/// What records the steps done. Made by the runner of each engine before it looks.
pub const VERSION_TABLE: &str =
    "CREATE TABLE IF NOT EXISTS schema_version (number BIGINT NOT NULL PRIMARY KEY, name TEXT NOT NULL, applied_at BIGINT NOT NULL)";

/// The steps that data at version `found` (0: empty) still needs.
///
/// # Errors
/// [`StoreError::Data`] when the data is newer than this program.
pub fn pending(found: i64) -> Result<&'static [Migration], StoreError> {
    let newest = MIGRATIONS.last().map_or(0, |m| m.number);
    if found > newest {
        return Err(StoreError::Data(format!(
            "the data has version {found}, this program knows versions up to {newest}: start a newer program, or restore a backup made by this one"
        )));
    }
    Ok(MIGRATIONS.get(usize::try_from(found).unwrap_or(0)..).unwrap_or_default())
}

impl Migration {
    /// Its statements for `engine`.
    #[must_use]
    pub fn statements(&self, engine: Engine) -> Vec<String> {
        statements(self.text, engine)
    }
}

/// Statements that make the tables of `day` (idempotent).
#[must_use]
pub fn day_statements(day: i32, engine: Engine) -> Vec<String> {
    statements(&DAY.replace("{{day}}", &day.to_string()), engine)
}

/// Statements that make the tables of the search index, which is derived: its tables are made, or dropped and made again.
#[must_use]
pub fn index_statements(engine: Engine) -> Vec<String> {
    statements(INDEX, engine)
}

/// Cuts a text into statements (each ends with `;` at the end of a line), leaves out those of the other engine, puts in the tokens.
fn statements(text: &str, engine: Engine) -> Vec<String> {
    let plain: Vec<&str> = text.lines().map(|l| l.split_once("--").map_or(l, |(code, _)| code)).collect();
    let (own, other) = match engine {
        Engine::Sqlite => ("{{sqlite}}", "{{postgres}}"),
        Engine::Postgres => ("{{postgres}}", "{{sqlite}}"),
    };
    plain
        .join("\n")
        .split(";\n")
        .map(|s| s.trim().trim_end_matches(';').trim())
        .filter(|s| !s.is_empty() && !s.starts_with(other))
        .map(|s| with_tokens(s.strip_prefix(own).unwrap_or(s).trim_start(), engine))
        .collect()
}

fn with_tokens(statement: &str, engine: Engine) -> String {
    let tokens: &[(&str, &str)] = match engine {
        // STRICT before WITHOUT ROWID needs a comma between them.
        Engine::Sqlite => &[
            ("{{strict}}{{norowid}}", "STRICT, WITHOUT ROWID"),
            ("{{strict}}", "STRICT"),
            ("{{norowid}}", "WITHOUT ROWID"),
            ("{{blob}}", "BLOB"),
            ("{{json}}", "TEXT"),
        ],
        Engine::Postgres => &[("{{strict}}", ""), ("{{norowid}}", ""), ("{{blob}}", "BYTEA"), ("{{json}}", "TEXT")],
    };
    let text = tokens.iter().fold(statement.to_owned(), |t, (token, word)| t.replace(token, word));
    match engine {
        Engine::Postgres => text,
        Engine::Sqlite => replace_words(&text, &["BIGINT", "SMALLINT"], "INTEGER"),
    }
}

/// Replaces whole words.
fn replace_words(text: &str, words: &[&str], by: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    for c in text.chars().chain(std::iter::once('\n')) {
        if c.is_ascii_alphanumeric() || c == '_' {
            word.push(c);
            continue;
        }
        out.push_str(if words.contains(&word.as_str()) { by } else { &word });
        word.clear();
        out.push(c);
    }
    out.pop();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_no_gaps() {
        for (i, m) in MIGRATIONS.iter().enumerate() {
            assert_eq!(m.number, i as i64 + 1, "{}", m.name);
        }
    }

    #[test]
    fn newer_data_is_refused_and_older_migrated() {
        let newest = MIGRATIONS.len() as i64;
        assert_eq!(pending(0).map(<[_]>::len).ok(), Some(MIGRATIONS.len()));
        assert_eq!(pending(newest).map(<[_]>::len).ok(), Some(0));
        assert!(matches!(pending(newest + 1), Err(StoreError::Data(text)) if text.contains("newer")));
    }

    #[test]
    fn statements_differ_by_engine() {
        let text = "-- a; comment\nCREATE TABLE t (\n  a BIGINT NOT NULL PRIMARY KEY, -- why;\n  b {{blob}}, big_BIGINT TEXT\n) {{strict}}{{norowid}};\n{{postgres}} CREATE SEQUENCE s;\n";
        let check = |engine, expect: &[&str]| {
            let made: Vec<String> = statements(text, engine)
                .iter()
                .map(|s| s.split_whitespace().collect::<Vec<_>>().join(" "))
                .collect();
            assert_eq!(made, expect, "{engine:?}");
        };
        check(
            Engine::Sqlite,
            &["CREATE TABLE t ( a INTEGER NOT NULL PRIMARY KEY, b BLOB, big_BIGINT TEXT ) STRICT, WITHOUT ROWID"],
        );
        check(
            Engine::Postgres,
            &[
                "CREATE TABLE t ( a BIGINT NOT NULL PRIMARY KEY, b BYTEA, big_BIGINT TEXT )",
                "CREATE SEQUENCE s",
            ],
        );
    }
}
