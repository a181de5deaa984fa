//! Domain names as mail uses them: lower case, A-labels, no trailing dot.

use crate::text::Text;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A domain name of at least one label, lower case, IDNA-converted to A-labels, at most 253 octets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing between the dots, or nothing at all.
    #[error("a domain name may not be empty or have an empty label")]
    Empty,
    /// RFC 1035 §2.3.4: 63 octets a label, 253 the whole (without the root).
    #[error("a domain name has at most 253 octets and 63 a label")]
    TooLong,
    /// A character that no host name has.
    #[error("a domain name consists of letters, digits, hyphens and dots")]
    Character,
}

impl From<DomainError> for Text {
    fn from(error: DomainError) -> Self {
        Self::new(match error {
            DomainError::Empty => "check.domain.empty",
            DomainError::TooLong => "check.domain.long",
            DomainError::Character => "check.domain.character",
        })
    }
}

impl Domain {
    /// Lower-cases, converts U-labels (RFC 5891) and checks lengths and characters. `_` is allowed, since DNS has it.
    ///
    /// # Errors
    /// [`DomainError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let plain = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_'));
        let ascii: std::borrow::Cow<'_, str> = if plain {
            text.into()
        } else if text.is_ascii() {
            text.to_ascii_lowercase().into()
        } else {
            idna::domain_to_ascii(text).map_err(|_| DomainError::Character)?.into()
        };
        if ascii.is_empty() {
            return Err(DomainError::Empty);
        }
        if ascii.len() > 253 {
            return Err(DomainError::TooLong);
        }
        for label in ascii.split('.') {
            if label.is_empty() {
                return Err(DomainError::Empty);
            }
            if label.len() > 63 {
                return Err(DomainError::TooLong);
            }
            if label.starts_with('-') || label.ends_with('-') || !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            {
                return Err(DomainError::Character);
            }
        }
        Ok(Self(ascii.into()))
    }

    /// Lower case A-labels.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As people read it: U-labels where they decode.
    #[must_use]
    pub fn to_unicode(&self) -> String {
        idna::domain_to_unicode(&self.0).0
    }

    /// `a.example` is within `example` and within itself.
    #[must_use]
    pub fn is_within(&self, parent: &str) -> bool {
        self.0
            .strip_suffix(parent)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = DomainError;
    fn from_str(text: &str) -> Result<Self, DomainError> {
        Self::parse(text)
    }
}

impl Serialize for Domain {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl std::borrow::Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        let check = |text: &str, expect: Result<&str, DomainError>| {
            assert_eq!(Domain::parse(text).as_ref().map(Domain::as_str).map_err(|e| *e), expect, "{text}")
        };
        check("Example.COM.", Ok("example.com"));
        check("見附.example", Ok("xn--nw2ao4w.example"));
        check("", Err(DomainError::Empty));
        check("a..b", Err(DomainError::Empty));
        check("-a.example", Err(DomainError::Character));
        check("a b.example", Err(DomainError::Character));
        check(&"a".repeat(64), Err(DomainError::TooLong));
        check("_dmarc.example", Ok("_dmarc.example"));
    }
}
