//! Checks: is a settings document within the limits of domains-and-routing, and if not, where and why?
//!
//! In:  a document as read from JSON, the operator's settings, the node file. Out: every problem, with its path.
//! Invariants: nothing is accepted that would be ignored: what a later version brings is refused as not available; a lower scope tightens,
//! and goes beyond the operator's figure only where the spec says "raise", up to `raise_factor_max` times.
//!
//! Not here, since it needs DNS: whether a next hop has an address ([`TenantDocument::targets`] lists them for the caller).

mod domain;
mod limits;
pub mod name;
mod queue;
mod system;
mod target;
mod tenant;
mod tls;

pub use name::{check_name, looks_like};
pub use target::{Target, TargetHost};

use crate::document::SystemDocument;
use crate::problem::{Problem, ProblemKind};
use mail::text::Text;
use mail::{Domain, Timestamp};
use std::fmt::Display;
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// What a document is checked against.
#[derive(Clone, Copy, Debug)]
pub struct CheckContext<'a> {
    /// The operator's settings in force.
    pub system: &'a SystemDocument,
    /// `<base>`.
    pub base: &'a Domain,
    /// Addresses from which the nodes send; empty: whatever the system chooses.
    pub delivering_addresses: &'a [IpAddr],
    /// Now.
    pub now: Timestamp,
}

/// Whose figures are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    System,
    Tenant,
    Domain,
}

/// Collects problems below a path.
struct Findings {
    path: String,
    found: Vec<Problem>,
}

impl Findings {
    fn new() -> Self {
        Self {
            path: String::new(),
            found: Vec::new(),
        }
    }

    /// Looks at the part `name` of the place where we are.
    fn within(&mut self, name: &str, look: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        if length > 0 && !name.is_empty() && !name.starts_with('[') {
            self.path.push('.');
        }
        self.path.push_str(name);
        look(self);
        self.path.truncate(length);
    }

    /// Looks at every item of a list.
    fn each<T>(&mut self, name: &str, items: &[T], mut look: impl FnMut(&mut Self, &T)) {
        self.within(name, |f| {
            for (i, item) in items.iter().enumerate() {
                f.within(&format!("[{i}]"), |f| look(f, item));
            }
        });
    }

    fn tell(&mut self, name: &str, kind: ProblemKind, text: Text) {
        self.within(name, |f| f.found.push(Problem::new(f.path.clone(), kind, text)));
    }

    fn not_available(&mut self, name: &str, what: Text) {
        self.tell(name, ProblemKind::NotAvailable, Text::new("check.not-available").with("what", what));
    }

    fn count(&mut self, name: &str, have: usize, max: usize) {
        if have > max {
            self.tell(
                name,
                ProblemKind::OutOfRange,
                Text::new("check.count").with("max", max).with("have", have),
            );
        }
    }

    fn range<T: PartialOrd + Display>(&mut self, name: &str, value: Option<T>, range: RangeInclusive<T>) {
        if let Some(value) = value
            && !range.contains(&value)
        {
            self.tell(
                name,
                ProblemKind::OutOfRange,
                Text::new("check.range")
                    .with("min", range.start().to_string())
                    .with("max", range.end().to_string())
                    .with("have", value.to_string()),
            );
        }
    }

    /// A value that another scope sets; `who`: key of a noun.
    fn not_here<T>(&mut self, name: &str, value: Option<T>, who: &'static str) {
        if value.is_some() {
            self.tell(name, ProblemKind::Unknown, Text::new("check.not-here").with("who", Text::new(who)));
        }
    }
}

/// A text for people: no control characters, not too long.
fn is_plain(text: &str, letters_max: usize) -> bool {
    text.chars().count() <= letters_max && !text.chars().any(char::is_control)
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests;
