//! Texts for people: is every key that the code says in the catalogue, with a value for each place, and is every key of the catalogue said?
//!
//! In: `locales/en.json` (a test of `mail` compares it with the other language) and the sources. Out: keys and places on one side only.

use crate::files;
use anyhow::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

const CATALOGUE: &str = "locales/en.json";
/// First parts of keys that stand whole in the code. Others are put together, of a reason code for instance.
const WHOLE: [&str; 2] = ["api.", "check."];

/// Compares both sides.
pub(crate) fn check(tracked: &[PathBuf], wrong: &mut Vec<String>) -> Result<()> {
    let catalogue = files::read(Path::new(CATALOGUE))?;
    let known: BTreeMap<&str, BTreeSet<&str>> = catalogue
        .lines()
        .filter_map(|line| line.trim().strip_prefix('"')?.split_once('"'))
        .map(|(key, text)| (key, places_in(text)))
        .collect();
    let mut said = BTreeSet::new();
    let sources = tracked
        .iter()
        .filter(|p| p.extension().is_some_and(|e| e == "rs") && p.starts_with("crates"));
    for path in sources {
        let text = files::read(path)?;
        for key in keys_in(&text) {
            if !known.contains_key(key) {
                wrong.push(format!("{}: {CATALOGUE} has no text {key:?}", path.display()));
            }
            said.insert(key.to_owned());
        }
        for (key, given) in values_in(&text) {
            if known.get(key).is_some_and(|places| *places != given) {
                wrong.push(format!("{}: values {given:?} of {key:?} are not its places", path.display()));
            }
        }
    }
    let unsaid = known
        .keys()
        .filter(|key| WHOLE.iter().any(|first| key.starts_with(first)) && !said.contains(**key));
    wrong.extend(unsaid.map(|key| format!("{CATALOGUE}: nothing says {key:?}")));
    Ok(())
}

/// Literals that look like keys, and whatever literal is given to `Text::new`.
fn keys_in(source: &str) -> Vec<&str> {
    let looks_like_key = |word: &str| {
        WHOLE
            .iter()
            .any(|first| word.strip_prefix(first).is_some_and(|rest| !rest.is_empty()))
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.".contains(&b))
            && !word.ends_with('.')
    };
    let literals = source.split('"').skip(1).filter(|word| looks_like_key(word));
    let given = source
        .split("Text::new(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    literals.chain(given).collect()
}

fn places_in(text: &str) -> BTreeSet<&str> {
    let places = text.split('{').skip(1).filter_map(|rest| rest.split_once('}'));
    places.map(|(name, _)| name).collect()
}

/// Each `Text::new("key")` with the names of the `.with("name", …)` behind it.
fn values_in(source: &str) -> Vec<(&str, BTreeSet<&str>)> {
    const MADE: &str = "Text::new(\"";
    source
        .match_indices(MADE)
        .filter_map(|(at, _)| {
            let (key, mut rest) = source.get(at + MADE.len()..)?.split_once("\")")?;
            let mut given = BTreeSet::new();
            while let Some(call) = rest.trim_start().strip_prefix(".with(") {
                given.insert(call.split('"').nth(1)?);
                rest = behind_call(call)?;
            }
            Some((key, given))
        })
        .collect()
}

/// What stands behind the parenthesis that closes the call; those in literals do not count.
fn behind_call(arguments: &str) -> Option<&str> {
    let (mut depth, mut is_literal, mut is_escaped) = (1_u32, false, false);
    for (at, letter) in arguments.char_indices() {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' if is_literal => is_escaped = true,
            '"' => is_literal = !is_literal,
            '(' if !is_literal => depth += 1,
            ')' if !is_literal => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return arguments.get(at + 1..);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{keys_in, values_in};

    #[test]
    fn values_are_found() {
        let source = "Text::new(\"a\")\n  .with(\"x\", f(\"\\\")\", g()))\n  .with(\"y\", Text::new(\"b\").with(\"z\", 1)); Text::new(\"c\"); Text::new(d).with(\"e\", 1)";
        let found: Vec<(&str, Vec<&str>)> = values_in(source).into_iter().map(|(k, v)| (k, v.into_iter().collect())).collect();
        assert_eq!(found, [("a", vec!["x", "y"]), ("b", vec!["z"]), ("c", vec![])]);
    }

    #[test]
    fn keys_are_found() {
        let source = "Text::new(\"api.x.y-z\"); f(\"check.a\"); Text::new(\n  \"plain words\"); g(\"check. \", \"api.\", \"apis.b\", \"api.{x}\"); Text::new(key)";
        assert_eq!(keys_in(source), ["api.x.y-z", "check.a", "api.x.y-z", "plain words"]);
    }
}
