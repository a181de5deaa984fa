//! Texts for people: what does this key say in this language?
//!
//! In: a language, a key, values for the `{name}` places. Out: plain text; the caller escapes it for where it goes.
//! Invariants: both languages have the same keys and places (a test compares them); a value is never read for places of its own;
//! an unknown key gives the key, so that a missing text is seen and breaks nothing.

mod keyed;
mod noun;

pub use keyed::{Text, Value};
pub use noun::Noun;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A language of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    /// Japanese.
    Ja,
    /// English.
    En,
}

impl Lang {
    /// Both, Japanese first.
    pub const ALL: [Self; 2] = [Self::Ja, Self::En];

    /// `ja` or `en` (RFC 5646), as in HTML and settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ja => "ja",
            Self::En => "en",
        }
    }

    /// The other one, for texts in both.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Ja => Self::En,
            Self::En => Self::Ja,
        }
    }

    /// What a reader prefers, by `Accept-Language` (RFC 9110 §12.5.4). `None`: neither is named.
    #[must_use]
    pub fn preferred(accept_language: &str) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for range in accept_language.split(',').take(20) {
            let mut parts = range.split(';');
            let tag = parts.next().unwrap_or_default().trim();
            let primary = tag.split('-').next().unwrap_or_default();
            let Some(lang) = Self::ALL.into_iter().find(|l| primary.eq_ignore_ascii_case(l.as_str())) else {
                continue;
            };
            let weight = parts.find_map(|p| p.trim().strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            if weight > 0.0 && best.is_none_or(|(w, _)| weight > w) {
                best = Some((weight, lang));
            }
        }
        best.map(|(_, lang)| lang)
    }
}

type Catalogue = BTreeMap<String, String>;

static JA: LazyLock<Catalogue> = LazyLock::new(|| read(include_str!("../../../locales/ja.json")));
static EN: LazyLock<Catalogue> = LazyLock::new(|| read(include_str!("../../../locales/en.json")));

/// The files are part of the program; a test reads them. An unreadable one shows keys instead of texts.
fn read(json: &str) -> Catalogue {
    serde_json::from_str(json).unwrap_or_default()
}

fn catalogue(lang: Lang) -> &'static Catalogue {
    match lang {
        Lang::Ja => &JA,
        Lang::En => &EN,
    }
}

/// Whether there is a text for the key.
#[must_use]
pub fn has(lang: Lang, key: &str) -> bool {
    catalogue(lang).contains_key(key)
}

/// The text of `key` with each `{name}` replaced by its value.
#[must_use]
pub fn get(lang: Lang, key: &str, values: &[(&str, &str)]) -> String {
    let Some(text) = catalogue(lang).get(key) else {
        return key.to_owned();
    };
    let mut out = String::with_capacity(text.len() + 32);
    let mut rest = text.as_str();
    while let Some((plain, place)) = rest.split_once('{') {
        out.push_str(plain);
        let known = place
            .split_once('}')
            .and_then(|(name, after)| values.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value, after)));
        match known {
            Some((value, after)) => {
                out.push_str(value);
                rest = after;
            }
            None => {
                out.push('{');
                rest = place;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn places(text: &str) -> BTreeSet<&str> {
        text.split('{')
            .skip(1)
            .filter_map(|t| t.split_once('}'))
            .map(|(name, _)| name)
            .collect()
    }

    #[test]
    fn both_languages_have_the_same_keys_and_places() {
        let keys = |lang| catalogue(lang).keys().collect::<BTreeSet<_>>();
        assert_eq!(keys(Lang::Ja), keys(Lang::En));
        assert!(!JA.is_empty());
        for (key, text) in EN.iter() {
            assert_eq!(places(text), places(&JA[key]), "{key}");
            assert!(!text.trim().is_empty() && !JA[key].trim().is_empty(), "{key}");
        }
    }

    #[test]
    fn files_are_sorted_and_name_each_key_once() {
        for (lang, json) in [
            (Lang::Ja, include_str!("../../../locales/ja.json")),
            (Lang::En, include_str!("../../../locales/en.json")),
        ] {
            let keys: Vec<_> = json
                .lines()
                .filter_map(|l| l.trim().strip_prefix('"')?.split_once('"'))
                .map(|(key, _)| key)
                .collect();
            let sorted: BTreeSet<_> = keys.iter().copied().collect();
            assert_eq!(
                keys,
                sorted.into_iter().collect::<Vec<_>>(),
                "{lang:?}: one key a line, sorted, each once"
            );
            assert_eq!(keys.len(), catalogue(lang).len());
        }
    }

    #[test]
    fn values_stand_in_their_places_only() {
        assert_eq!(
            get(Lang::En, "dsn.header.subject", &[("subject", "{subject} {x}")]),
            "Subject: {subject} {x}"
        );
        assert_eq!(get(Lang::Ja, "dsn.header.subject", &[("other", "x")]), "件名: {subject}");
        assert_eq!(get(Lang::En, "no.such.key", &[]), "no.such.key");
        assert!(has(Lang::Ja, "dsn.failed.intro") && !has(Lang::Ja, "no.such.key"));
    }

    #[test]
    fn preferred_languages() {
        let check = |header: &str, expect: Option<Lang>| assert_eq!(Lang::preferred(header), expect, "{header}");
        check("ja,en-US;q=0.7", Some(Lang::Ja));
        check("en-GB,en;q=0.9,ja;q=0.8", Some(Lang::En));
        check("de, ja-JP;q=0.5", Some(Lang::Ja));
        check("ja;q=0, en;q=0.1", Some(Lang::En));
        check("fr", None);
        check("", None);
    }
}
