//! Reads a TOML table key by key, and collects every problem instead of stopping at the first.
//!
//! Invariants: a key that nobody asked for is a problem; a problem says the line it is in.

use crate::problem::{Problem, ProblemKind};
use mail::text::Text;
use std::str::FromStr;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where problems go.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    file: &'t str,
    text: &'t str,
    pub(super) found: Vec<Problem>,
}

impl<'t> Problems<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self {
            file,
            text,
            found: Vec::new(),
        }
    }

    /// A problem of `path`, in the line of octet `at`.
    pub(super) fn tell(&mut self, path: &str, at: usize, kind: ProblemKind, text: Text) {
        let line = self.text.bytes().take(at).filter(|b| *b == b'\n').count() + 1;
        self.found.push(Problem::new(format!("{}:{line}: {path}", self.file), kind, text));
    }
}

/// A value, and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) at: usize,
}

/// A noun of what belongs in a place, as a text of its own.
fn wanted(expected: &Text) -> Text {
    Text::new("check.expected").with("expected", expected.clone())
}

/// A table that is being read.
pub(super) struct Section<'a, 'i> {
    pub(super) path: String,
    pub(super) at: usize,
    entries: Vec<(&'a str, usize, &'a Spanned<DeValue<'i>>)>,
}

impl<'a, 'i> Section<'a, 'i> {
    pub(super) fn new(path: &str, at: usize, table: &'a DeTable<'i>) -> Self {
        let entries = table
            .iter()
            .map(|(key, value)| (key.get_ref().as_ref(), key.span().start, value))
            .collect();
        Self {
            path: path.to_owned(),
            at,
            entries,
        }
    }

    fn path_of(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    fn take(&mut self, key: &str) -> Option<&'a Spanned<DeValue<'i>>> {
        let place = self.entries.iter().position(|(name, _, _)| *name == key)?;
        Some(self.entries.swap_remove(place).2)
    }

    /// Whether the key stands here and was not read yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|(name, _, _)| *name == key)
    }

    /// Tells of a problem with `key`.
    pub(super) fn tell(&self, problems: &mut Problems<'_>, key: &str, at: usize, kind: ProblemKind, text: Text) {
        problems.tell(&self.path_of(key), at, kind, text);
    }

    /// A string.
    pub(super) fn text(&mut self, problems: &mut Problems<'_>, key: &str) -> Option<Placed<&'a str>> {
        let value = self.take(key)?;
        let at = value.span().start;
        match value.get_ref().as_str() {
            Some(text) => Some(Placed { value: text, at }),
            None => {
                self.tell(problems, key, at, ProblemKind::Malformed, Text::new("check.node.text"));
                None
            }
        }
    }

    /// A string that reads as a `T`.
    pub(super) fn parsed<T: FromStr>(&mut self, problems: &mut Problems<'_>, key: &str, expected: Text) -> Option<Placed<T>> {
        let text = self.text(problems, key)?;
        match text.value.parse() {
            Ok(value) => Some(Placed { value, at: text.at }),
            Err(_) => {
                self.tell(
                    problems,
                    key,
                    text.at,
                    ProblemKind::Malformed,
                    Text::new("check.expected-not")
                        .with("expected", expected)
                        .with("have", format!("{:?}", text.value)),
                );
                None
            }
        }
    }

    /// A whole number.
    pub(super) fn number<T: FromStr>(&mut self, problems: &mut Problems<'_>, key: &str, expected: Text) -> Option<Placed<T>> {
        let value = self.take(key)?;
        let at = value.span().start;
        let number = value
            .get_ref()
            .as_integer()
            .filter(|n| n.radix() == 10)
            .and_then(|n| n.as_str().parse().ok());
        if number.is_none() {
            self.tell(problems, key, at, ProblemKind::OutOfRange, wanted(&expected));
        }
        number.map(|value| Placed { value, at })
    }

    /// `true` or `false`.
    pub(super) fn switch(&mut self, problems: &mut Problems<'_>, key: &str) -> Option<Placed<bool>> {
        let value = self.take(key)?;
        let at = value.span().start;
        let switch = value.get_ref().as_bool();
        if switch.is_none() {
            self.tell(problems, key, at, ProblemKind::Malformed, Text::new("check.node.switch"));
        }
        switch.map(|value| Placed { value, at })
    }

    /// A list of strings that each read as a `T`.
    pub(super) fn list<T: FromStr>(&mut self, problems: &mut Problems<'_>, key: &str, expected: Text) -> Vec<Placed<T>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.tell(
                problems,
                key,
                value.span().start,
                ProblemKind::Malformed,
                Text::new("check.node.list"),
            );
            return Vec::new();
        };
        let mut read = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let at = item.span().start;
            match item.get_ref().as_str().and_then(|text| text.parse().ok()) {
                Some(value) => read.push(Placed { value, at }),
                None => self.tell(problems, &format!("{key}[{i}]"), at, ProblemKind::Malformed, wanted(&expected)),
            }
        }
        read
    }

    /// A table `[key]`; an empty one when there is none.
    pub(super) fn table(&mut self, problems: &mut Problems<'_>, key: &str) -> Section<'a, 'i> {
        let path = self.path_of(key);
        let none = || Section {
            path: path.clone(),
            at: 0,
            entries: Vec::new(),
        };
        let Some(value) = self.take(key) else { return none() };
        let at = value.span().start;
        match value.get_ref().as_table() {
            Some(table) => Section::new(&path, at, table),
            None => {
                problems.tell(
                    &path,
                    at,
                    ProblemKind::Malformed,
                    Text::new("check.node.section").with("path", format!("[{path}]")),
                );
                none()
            }
        }
    }

    /// Tables `[[key]]`; `None` when there are none.
    pub(super) fn tables(&mut self, problems: &mut Problems<'_>, key: &str) -> Option<Vec<Section<'a, 'i>>> {
        let path = self.path_of(key);
        let value = self.take(key)?;
        let Some(items) = value.get_ref().as_array() else {
            problems.tell(
                &path,
                value.span().start,
                ProblemKind::Malformed,
                Text::new("check.node.sections").with("path", format!("[[{path}]]")),
            );
            return Some(Vec::new());
        };
        let mut read = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let at = item.span().start;
            match item.get_ref().as_table() {
                Some(table) => read.push(Section::new(&format!("{path}[{i}]"), at, table)),
                None => problems.tell(
                    &format!("{path}[{i}]"),
                    at,
                    ProblemKind::Malformed,
                    Text::new("check.node.section").with("path", format!("[[{path}]]")),
                ),
            }
        }
        Some(read)
    }

    /// Whatever was not asked for does not exist.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        for (key, at, _) in &self.entries {
            problems.tell(&self.path_of(key), *at, ProblemKind::Unknown, Text::new("check.node.unknown"));
        }
    }
}
