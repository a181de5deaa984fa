//! What no compiler looks at: who may use whom, sizes, head comments, RFC references, links, names, texts.

use crate::{files, texts};
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What each room may use (ARCHITECTURE.md). `mitsuke` and tests may use everything.
const MAY_USE: &[(&str, &[&str])] = &[
    ("mail", &[]),
    ("proto", &["mail"]),
    ("policy", &["mail"]),
    ("config", &["mail"]),
    ("net", &["mail"]),
    ("store", &["mail"]),
    ("identity", &["mail", "config", "net", "store"]),
    ("transport", &["mail", "proto", "policy", "config", "net", "store", "identity"]),
    ("admin", &["mail", "policy", "config", "net", "store", "identity", "transport"]),
    ("testkit", &["mail", "net", "proto"]),
];

/// Crates that do no I/O: they may not depend on a runtime.
const PURE: &[&str] = &["mail", "proto", "policy"];

const LINES_MAX: usize = 500;

/// Every check; all that is wrong is told at once.
pub(crate) fn run() -> Result<()> {
    let tracked = files::tracked()?;
    let mut wrong = Vec::new();
    directions(&mut wrong)?;
    sources(&tracked, &mut wrong)?;
    rfc_references(&tracked, &mut wrong)?;
    links(&tracked, &mut wrong)?;
    decisions(&tracked, &mut wrong)?;
    texts::check(&tracked, &mut wrong)?;
    if wrong.is_empty() {
        println!("tidy: {} files, nothing to mend", tracked.len());
        return Ok(());
    }
    bail!("{} things to mend:\n  {}", wrong.len(), wrong.join("\n  "));
}

fn directions(wrong: &mut Vec<String>) -> Result<()> {
    let rooms: Vec<&str> = MAY_USE.iter().map(|(room, _)| *room).chain(["mitsuke"]).collect();
    for (room, may) in MAY_USE {
        let manifest = files::read(&PathBuf::from(format!("crates/{room}/Cargo.toml")))?;
        let dependencies = manifest
            .split("[dependencies]")
            .nth(1)
            .and_then(|t| t.split("\n[").next())
            .unwrap_or_default();
        for name in dependencies
            .lines()
            .filter_map(|l| l.split(['.', ' ', '=']).next())
            .filter(|n| !n.is_empty())
        {
            if rooms.contains(&name) && !may.contains(&name) {
                wrong.push(format!("crates/{room}/Cargo.toml: {room} may not use {name}"));
            }
            if PURE.contains(room) && ["tokio", "hyper", "axum", "rusqlite"].contains(&name) {
                wrong.push(format!("crates/{room}/Cargo.toml: {room} is pure and may not use {name}"));
            }
        }
    }
    Ok(())
}

/// Files that may be longer, with the reason: `xtask/tidy.txt`, `path reason` a line.
fn longer() -> Result<BTreeMap<PathBuf, String>> {
    let text = files::read(Path::new("xtask/tidy.txt"))?;
    Ok(text
        .lines()
        .filter_map(|l| l.split_once(' '))
        .map(|(p, why)| (PathBuf::from(p), why.to_owned()))
        .collect())
}

fn sources(tracked: &[PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    let longer = longer()?;
    for path in tracked.iter().filter(|p| p.extension().is_some_and(|e| e == "rs")) {
        let text = files::read(path)?;
        let shown = path.display();
        let is_test = path.starts_with("tests") || path.ends_with("tests.rs") || path.components().any(|c| c.as_os_str() == "tests");
        if text.lines().count() > LINES_MAX && !is_test && !longer.contains_key(path) {
            wrong.push(format!(
                "{shown}: {} lines; cut it, or give the reason in xtask/tidy.txt",
                text.lines().count()
            ));
        }
        if !is_test && !text.starts_with("//!") {
            wrong.push(format!("{shown}: no head comment (what question does it answer?)"));
        }
        let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
        if ["common", "util", "utils", "helper", "helpers", "misc", "manager"].contains(&stem) {
            wrong.push(format!("{shown}: a file is named by what it is, not {stem}"));
        }
        for (number, line) in text.lines().enumerate() {
            let at = number + 1;
            let marks = [
                concat!("to", "do!("),
                concat!("unimplemen", "ted!("),
                concat!("FIX", "ME"),
                concat!("#[ig", "nore"),
            ];
            if let Some(mark) = marks.iter().find(|m| line.contains(**m)) {
                wrong.push(format!("{shown}:{at}: {mark} stays behind"));
            }
        }
    }
    Ok(())
}

/// `RFC 5321 §4.5.2` stands in docs/rfc.md as `5321`.
fn rfc_references(tracked: &[PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    let listed = files::read(Path::new("docs/rfc.md"))?;
    for path in tracked
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs") && p.starts_with("crates"))
    {
        let text = files::read(path)?;
        for (at, _) in text.match_indices("RFC ") {
            let number: String = text
                .get(at + 4..)
                .unwrap_or_default()
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            if !number.is_empty() && !listed.contains(&number) {
                wrong.push(format!("{}: RFC {number} is not in docs/rfc.md", path.display()));
            }
        }
    }
    wrong.dedup();
    Ok(())
}

fn links(tracked: &[PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    for path in tracked.iter().filter(|p| p.extension().is_some_and(|e| e == "md")) {
        let text = files::read(path)?;
        for target in text.split("](").skip(1).filter_map(|t| t.split(')').next()) {
            let target = target.split('#').next().unwrap_or_default();
            if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let base = path.parent().unwrap_or(Path::new(""));
            if !files::root().join(base).join(target).exists() {
                wrong.push(format!("{}: link to {target} leads nowhere", path.display()));
            }
        }
    }
    Ok(())
}

fn decisions(tracked: &[PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    for path in tracked.iter().filter(|p| p.starts_with("docs/decision")) {
        let text = files::read(path)?;
        if !text.contains("Status:") || !text.contains("Date:") {
            wrong.push(format!("{}: a decision has `Status:` and `Date:`", path.display()));
        }
    }
    Ok(())
}
