//! What is wrong with a value: where, why, and what to do. Checks collect these and report them together.

use mail::text::{Lang, Text};
use serde::Serialize;

/// The kind of a problem; stable, part of the API (`reason` of a problem reply).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemKind {
    /// Outside the limits of the spec.
    OutOfRange,
    /// Not of the form asked for.
    Malformed,
    /// No such setting.
    Unknown,
    /// Spec'd, but a later version brings it.
    NotAvailable,
    /// Contradicts another setting.
    Conflict,
    /// Something it names does not exist.
    Missing,
    /// A target that connections may not reach (domains-and-routing 4.1).
    Forbidden,
    /// The domain belongs to a tenant of this installation already.
    DomainAlreadyManaged,
}

impl ProblemKind {
    /// The word, as in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutOfRange => "out-of-range",
            Self::Malformed => "malformed",
            Self::Unknown => "unknown",
            Self::NotAvailable => "not-available",
            Self::Conflict => "conflict",
            Self::Missing => "missing",
            Self::Forbidden => "forbidden",
            Self::DomainAlreadyManaged => "domain-already-managed",
        }
    }
}

/// One problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Path of the value: `domains.example.com.inbound_servers[2].port`.
    pub at: String,
    /// Kind.
    pub kind: ProblemKind,
    /// What is wrong and what to do.
    pub text: Text,
}

impl Problem {
    /// Puts the three together.
    #[must_use]
    pub fn new(at: impl Into<String>, kind: ProblemKind, text: Text) -> Self {
        Self { at: at.into(), kind, text }
    }

    /// The same, its text fixed in this language.
    #[must_use]
    pub fn fixed(&self, lang: Lang) -> Self {
        Self {
            text: self.text.fixed(lang),
            ..self.clone()
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.at, self.text)
    }
}
