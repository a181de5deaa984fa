//! Texts for the user of the command line: which language does this process speak, and what does a key say in it?
//!
//! In: arguments and environment, once at the start. Out: texts of the catalogue (`cli.…`).
//! Invariants: the language never changes while the process runs; before it is chosen, and in tests, it is English.

use mail::text::{self, Lang};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::OnceLock;

static CHOSEN: OnceLock<Lang> = OnceLock::new();

/// Variables that name a language; the first that is not empty decides, as POSIX has it for the last three.
const VARIABLES: [&str; 4] = ["MITSUKE_LANG", "LC_ALL", "LC_MESSAGES", "LANG"];

/// Sets the language of this process, once; a second choice changes nothing.
pub fn choose(lang: Lang) {
    CHOSEN.get_or_init(|| lang);
}

/// The language of this process.
#[must_use]
pub fn lang() -> Lang {
    CHOSEN.get().copied().unwrap_or(Lang::En)
}

/// The language that arguments and environment ask for. The arguments are looked at before they are parsed, since help is written
/// while parsing; a wrong `--lang` is told by the parser.
#[must_use]
pub fn wanted(arguments: &[OsString], variable: impl Fn(&str) -> Option<OsString>) -> Lang {
    if let Some(lang) = argument(arguments) {
        return lang;
    }
    let set = VARIABLES.into_iter().filter_map(variable).find(|value| !value.is_empty());
    match set {
        Some(value) if value.to_string_lossy().to_ascii_lowercase().starts_with("ja") => Lang::Ja,
        _ => Lang::En,
    }
}

fn argument(arguments: &[OsString]) -> Option<Lang> {
    let mut arguments = arguments
        .iter()
        .skip(1)
        .map(OsString::as_os_str)
        .take_while(|a| *a != OsStr::new("--"));
    let mut found = None;
    while let Some(argument) = arguments.next() {
        let argument = argument.to_str().unwrap_or_default();
        let value = match argument.strip_prefix("--lang") {
            Some("") => arguments.next().and_then(OsStr::to_str),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        found = found.or_else(|| Lang::ALL.into_iter().find(|l| Some(l.as_str()) == value));
    }
    found
}

/// The text of a key in the language of this process.
#[must_use]
pub fn text(key: &str, values: &[(&str, &str)]) -> String {
    text::get(lang(), key, values)
}

/// As [`text`], about a file or folder: the place `{file}`.
#[must_use]
pub fn about_file(key: &str, file: &Path) -> String {
    text(key, &[("file", &file.display().to_string())])
}

/// The columns of a screen that a text takes: ideographs, kana and full-width forms take two.
#[must_use]
pub fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// As [`columns`], of one character.
#[must_use]
pub fn columns_of(c: char) -> usize {
    match u32::from(c) {
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    #[test]
    fn the_first_that_names_a_language_decides() {
        for (arguments, variables, lang) in [
            ("", "", Lang::En),
            ("", "LANG=ja_JP.UTF-8", Lang::Ja),
            ("", "LANG=C.UTF-8", Lang::En),
            ("", "LANG=ja_JP.UTF-8 LC_MESSAGES=en_GB", Lang::En),
            ("", "LANG=en_GB LC_MESSAGES=ja_JP", Lang::Ja),
            ("", "LC_ALL=C LC_MESSAGES=ja_JP", Lang::En),
            ("", "LC_ALL= LANG=ja", Lang::Ja),
            ("", "MITSUKE_LANG=ja LC_ALL=C", Lang::Ja),
            ("", "MITSUKE_LANG=en LANG=ja_JP", Lang::En),
            ("queue list --lang ja", "MITSUKE_LANG=en", Lang::Ja),
            ("--lang=en queue list", "LANG=ja_JP", Lang::En),
            ("--lang fr", "LANG=ja_JP", Lang::Ja),
            ("--language ja", "", Lang::En),
            ("trace -- --lang ja", "", Lang::En),
            ("queue list --lang", "", Lang::En),
        ] {
            let typed: Vec<OsString> = std::iter::once("mitsuke")
                .chain(arguments.split_whitespace())
                .map(Into::into)
                .collect();
            let set: BTreeMap<&str, &str> = variables.split_whitespace().filter_map(|v| v.split_once('=')).collect();
            assert_eq!(
                wanted(&typed, |name| set.get(name).map(Into::into)),
                lang,
                "{arguments} {variables}"
            );
        }
    }

    #[test]
    fn wide_characters_take_two_columns() {
        for (text, width) in [("", 0), ("abc", 3), ("宛先", 4), ("受付ID", 6), ("（略）", 6), ("→", 1)] {
            assert_eq!(columns(text), width, "{text}");
        }
    }

    /// Every `"cli.…"` in the sources has a text, and every such text is used; those of help are looked at in `cli::help`.
    #[test]
    fn sources_and_catalogue_agree() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut used = BTreeSet::new();
        let mut folders = vec![here.join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let source = std::fs::read_to_string(&path).unwrap();
                    used.extend(source.split('"').filter(|s| s.starts_with("cli.") && is_key(s)).map(str::to_owned));
                }
            }
        }
        let english = std::fs::read_to_string(here.join("../../locales/en.json")).unwrap();
        let english: BTreeMap<String, String> = serde_json::from_str(&english).unwrap();
        let known: BTreeSet<String> = english
            .into_keys()
            .filter(|k| k.starts_with("cli.") && !["cli.help", "cli.arg."].iter().any(|p| k.starts_with(p)))
            .collect();
        let used: BTreeSet<String> = used
            .into_iter()
            .filter(|k| !["cli.help", "cli.arg"].contains(&k.as_str()))
            .collect();
        assert_eq!(used.difference(&known).collect::<Vec<_>>(), Vec::<&String>::new(), "no text");
        assert_eq!(known.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new(), "not used");
    }

    fn is_key(text: &str) -> bool {
        !text.ends_with('.')
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b))
    }
}
