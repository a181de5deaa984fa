//! Addresses: what stands in MAIL FROM and RCPT TO.
//!
//! In: text between the angle brackets. Out: local part as given (case kept), domain as lower case A-labels or an address literal.
//! Standards: RFC 5321 §4.1.2 (Mailbox), RFC 6531 §3.3 (UTF-8), RFC 5321 §4.1.3 (address literals).
//! Invariants: nothing in a local part is ever interpreted as a route (`a%b@d`, `a!b@d` are plain names); source routes are stripped by the grammar in `proto`.

use crate::text::Text;
use crate::{Domain, DomainError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// RFC 5321 §4.5.3.1.1.
pub const LOCAL_PART_BYTES_MAX: usize = 64;

/// The right-hand side of an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Name(Domain),
    Literal(IpAddr),
}

/// `local@domain`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    local: Box<str>,
    host: Host,
}

/// Why a text is no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// There is no `@`, or nothing before it.
    #[error("an address has a local part and a domain: name@domain")]
    Form,
    /// Over 64 octets (RFC 5321 §4.5.3.1.1), 128 for UTF-8 of people's names.
    #[error("the part before the @ is too long")]
    LocalTooLong,
    /// A character that needs quoting, or a control character.
    #[error("the part before the @ has a character that is not allowed there")]
    LocalCharacter,
    /// The domain is none.
    #[error("domain: {0}")]
    Domain(#[from] DomainError),
    /// `[` without a usable address behind it.
    #[error("an address literal is an IP address in square brackets")]
    Literal,
}

impl From<AddressError> for Text {
    fn from(error: AddressError) -> Self {
        match error {
            AddressError::Form => Self::new("check.address.form"),
            AddressError::LocalTooLong => Self::new("check.address.local-long"),
            AddressError::LocalCharacter => Self::new("check.address.local-character"),
            AddressError::Domain(why) => Self::new("check.address.domain").with("why", why),
            AddressError::Literal => Self::new("check.address.literal"),
        }
    }
}

impl Address {
    /// Reads `local@domain`, with quoted local parts, UTF-8 and address literals.
    ///
    /// # Errors
    /// [`AddressError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let at = text.rfind('@').ok_or(AddressError::Form)?;
        let (local, rest) = text.split_at(at);
        let host = rest.get(1..).unwrap_or_default();
        check_local(local)?;
        let host = match host.strip_prefix('[') {
            Some(literal) => Host::Literal(parse_literal(literal.strip_suffix(']').ok_or(AddressError::Literal)?)?),
            None => Host::Name(Domain::parse(host)?),
        };
        Ok(Self { local: local.into(), host })
    }

    /// From parts that are already known to be right, such as `postmaster` at an accepted domain.
    ///
    /// # Errors
    /// As [`Address::parse`] for the local part.
    pub fn new(local: &str, domain: Domain) -> Result<Self, AddressError> {
        check_local(local)?;
        Ok(Self {
            local: local.into(),
            host: Host::Name(domain),
        })
    }

    /// As given: case and quotes kept.
    #[must_use]
    pub fn local(&self) -> &str {
        &self.local
    }

    /// The domain, unless the address has an IP literal.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        match &self.host {
            Host::Name(domain) => Some(domain),
            Host::Literal(_) => None,
        }
    }

    /// The literal, when there is one.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Name(_) => None,
            Host::Literal(ip) => Some(*ip),
        }
    }

    /// Whether it needs SMTPUTF8 on the wire (RFC 6531). The domain never does, it is kept as A-labels.
    #[must_use]
    pub fn needs_smtputf8(&self) -> bool {
        !self.local.is_ascii()
    }

    /// For comparing and looking up: everything lower case, quotes taken away where they mean nothing.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}@{}", self.local_key(), self.host)
    }

    /// The local part for comparing: lower case, without needless quotes.
    #[must_use]
    pub fn local_key(&self) -> String {
        unquote(&self.local).to_lowercase()
    }

    /// The local part without its sub-address, for comparing: `ann+news` is `ann` with separator `+`.
    #[must_use]
    pub fn local_without_subaddress(&self, separator: Option<char>) -> String {
        let key = self.local_key();
        match separator.and_then(|s| key.find(s)) {
            Some(at) if at > 0 => key.get(..at).unwrap_or(&key).to_owned(),
            _ => key,
        }
    }
}

fn unquote(local: &str) -> String {
    let Some(inner) = local.strip_prefix('"').and_then(|l| l.strip_suffix('"')) else {
        return local.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        out.push(if c == '\\' { chars.next().unwrap_or('\\') } else { c });
    }
    out
}

fn check_local(local: &str) -> Result<(), AddressError> {
    if local.is_empty() {
        return Err(AddressError::Form);
    }
    // TOLERATES RFC 5321 §4.5.3.1.1: the limit counts octets; names in UTF-8 get twice as many (docs/quirk.md#utf8-local-part).
    let max = if local.is_ascii() {
        LOCAL_PART_BYTES_MAX
    } else {
        2 * LOCAL_PART_BYTES_MAX
    };
    if local.len() > max {
        return Err(AddressError::LocalTooLong);
    }
    if let Some(inner) = local.strip_prefix('"') {
        let inner = inner.strip_suffix('"').ok_or(AddressError::LocalCharacter)?;
        let mut chars = inner.chars();
        while let Some(c) = chars.next() {
            let ok = match c {
                '"' => false,
                '\\' => chars.next().is_some_and(|c| !c.is_control()),
                c => !c.is_control(),
            };
            if !ok {
                return Err(AddressError::LocalCharacter);
            }
        }
        return Ok(());
    }
    // TOLERATES RFC 5321 §4.1.2: dots at the ends or doubled, as Japanese mobile carriers gave them out (docs/quirk.md#dots).
    let ok = local.chars().all(|c| {
        if c.is_ascii() {
            c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c)
        } else {
            !c.is_control() && !c.is_whitespace()
        }
    });
    if ok { Ok(()) } else { Err(AddressError::LocalCharacter) }
}

fn parse_literal(text: &str) -> Result<IpAddr, AddressError> {
    let bare = text
        .get(..5)
        .filter(|p| p.eq_ignore_ascii_case("IPv6:"))
        .and_then(|_| text.get(5..));
    match bare {
        Some(six) => six.parse().map(IpAddr::V6).map_err(|_| AddressError::Literal),
        None => text.parse().map(IpAddr::V4).map_err(|_| AddressError::Literal),
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(domain) => domain.fmt(f),
            Self::Literal(IpAddr::V4(ip)) => write!(f, "[{ip}]"),
            Self::Literal(IpAddr::V6(ip)) => write!(f, "[IPv6:{ip}]"),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local, self.host)
    }
}

impl FromStr for Address {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        Self::parse(text)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// MAIL FROM: where failures are told; null for notifications (RFC 5321 §4.5.5).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReversePath {
    /// `<>`: never answered.
    Null,
    /// Someone to tell.
    Address(Address),
}

impl ReversePath {
    /// The address, unless null.
    #[must_use]
    pub fn address(&self) -> Option<&Address> {
        match self {
            Self::Null => None,
            Self::Address(address) => Some(address),
        }
    }

    /// The domain, unless null or a literal.
    #[must_use]
    pub fn domain(&self) -> Option<&Domain> {
        self.address().and_then(Address::domain)
    }

    /// From its stored text: empty means null.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            Ok(Self::Null)
        } else {
            Address::parse(text).map(Self::Address)
        }
    }
}

/// Without angle brackets; null is empty.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Address(address) => address.fmt(f),
        }
    }
}

impl Serialize for ReversePath {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReversePath {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: Result<&str, AddressError>) {
        let got = Address::parse(text).map(|a| a.to_string());
        assert_eq!(got.as_deref().map_err(|e| *e), expect, "{text}");
    }

    #[test]
    fn addresses() {
        check("taro@example.com", Ok("taro@example.com"));
        check("Taro.Yamada@EXAMPLE.com", Ok("Taro.Yamada@example.com"));
        check("\"a b\"@example.com", Ok("\"a b\"@example.com"));
        check("a%b@example.com", Ok("a%b@example.com"));
        check("太郎@例え.example", Ok("太郎@xn--r8jz45g.example"));
        check("a@[192.0.2.1]", Ok("a@[192.0.2.1]"));
        check("a@[IPv6:2001:db8::1]", Ok("a@[IPv6:2001:db8::1]"));
        check("docomo..name.@example.ne.jp", Ok("docomo..name.@example.ne.jp"));
        check("nodomain", Err(AddressError::Form));
        check("@example.com", Err(AddressError::Form));
        check("a b@example.com", Err(AddressError::LocalCharacter));
        check("\"a\"b\"@example.com", Err(AddressError::LocalCharacter));
        check("a@[300.1.1.1]", Err(AddressError::Literal));
        check(&format!("{}@example.com", "a".repeat(65)), Err(AddressError::LocalTooLong));
    }

    #[test]
    fn keys_ignore_case_and_needless_quotes() {
        let a = Address::parse("\"Taro\"@Example.com").unwrap();
        assert_eq!(a.key(), "taro@example.com");
        let b = Address::parse("ann+news@example.com").unwrap();
        assert_eq!(b.local_without_subaddress(Some('+')), "ann");
        assert_eq!(b.local_without_subaddress(None), "ann+news");
    }
}
