//! What is generated, and from what. `--check` fails when a committed file is not what would be written now.

use crate::{coverage, files};
use anyhow::{Context, Result, bail};
use std::process::Command;

/// Write, or only compare.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write the files.
    Write,
    /// Fail on drift.
    Check,
}

/// Makes every generated file.
pub(crate) fn run(mode: Mode) -> Result<()> {
    let made = [
        ("docs/generated/spec-coverage.md", coverage::page()?),
        ("docs/generated/settings.md", binary(&["generate", "settings"])?),
        ("docs/generated/replies.md", binary(&["generate", "replies"])?),
        ("docs/generated/cli.md", binary(&["--lang", "en", "generate", "cli"])?),
        ("docs/generated/cli.ja.md", binary(&["--lang", "ja", "generate", "cli"])?),
        ("crates/admin/openapi.json", binary(&["generate", "openapi"])?),
    ];
    let mut drift = Vec::new();
    for (path, text) in made {
        let full = files::root().join(path);
        let before = std::fs::read_to_string(&full).unwrap_or_default();
        if before == text {
            continue;
        }
        match mode {
            Mode::Write => std::fs::write(&full, text).with_context(|| format!("write {path}"))?,
            Mode::Check => drift.push(path),
        }
    }
    if !drift.is_empty() {
        bail!("not what would be generated now: {drift:?}; run `make gen` and commit the result");
    }
    Ok(())
}

/// What the built binary says of itself.
fn binary(arguments: &[&str]) -> Result<String> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| files::root().join("target"), |t| files::root().join(t));
    let out = Command::new(target.join("debug/mitsuke"))
        .args(arguments)
        .output()
        .context("run the built binary (cargo build -p mitsuke)")?;
    if !out.status.success() {
        bail!("mitsuke {}: {}", arguments.join(" "), String::from_utf8_lossy(&out.stderr));
    }
    Ok(String::from_utf8(out.stdout)?)
}
