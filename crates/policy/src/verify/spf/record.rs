//! An SPF record, read whole before anything of it is evaluated.
//!
//! Standards: RFC 7208 §4.5 (selection), §4.6 (syntax), §5 and §6 (terms), §12 (grammar).
//! Invariants: one error anywhere makes the whole record a permanent error (§4.6); unknown modifiers are checked and passed over.

use super::macros::{MacroError, MacroString, Place};
use std::net::{Ipv4Addr, Ipv6Addr};

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RecordError {
    #[error("the record has characters other than printable ASCII")]
    Character,
    #[error("{term}: {source}")]
    Macro { term: String, source: MacroError },
    #[error("{0}: no mechanism of SPF")]
    Unknown(String),
    #[error("{0}: not written as SPF wants it")]
    Syntax(String),
    #[error("{0} stands there twice")]
    Twice(&'static str),
}

/// What a mechanism that matches means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Qualifier {
    Pass,
    Fail,
    SoftFail,
    Neutral,
}

/// RFC 7208 §5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    All,
    Include(MacroString),
    A(Option<MacroString>, Prefixes),
    Mx(Option<MacroString>, Prefixes),
    Ptr(Option<MacroString>),
    Ip4(Ipv4Addr, u8),
    Ip6(Ipv6Addr, u8),
    Exists(MacroString),
}

/// `dual-cidr-length`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Prefixes {
    pub(super) v4: u8,
    pub(super) v6: u8,
}

/// One mechanism with its qualifier, and how it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) qualifier: Qualifier,
    pub(super) mechanism: Mechanism,
    pub(super) text: String,
}

/// A whole record.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Record {
    pub(super) directives: Vec<Directive>,
    pub(super) redirect: Option<MacroString>,
    pub(super) explanation: Option<MacroString>,
}

/// RFC 7208 §4.5: the version, followed by a space or nothing. The case of the version does not matter.
pub(super) fn is_spf(text: &str) -> bool {
    match text.split_at_checked(6) {
        Some((version, rest)) => version.eq_ignore_ascii_case("v=spf1") && (rest.is_empty() || rest.starts_with(' ')),
        None => false,
    }
}

impl Record {
    /// Reads a text for which [`is_spf`] holds.
    pub(super) fn parse(text: &str) -> Result<Self, RecordError> {
        // RFC 7208 §3.1: ASCII. §4.6.1: terms are separated by spaces, and by nothing else.
        if !text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Err(RecordError::Character);
        }
        let mut record = Self::default();
        for term in text.split(' ').skip(1).filter(|term| !term.is_empty()) {
            match modifier(term) {
                Some((name, value)) => record.add_modifier(term, name, value)?,
                None => record.directives.push(directive(term)?),
            }
        }
        Ok(record)
    }

    fn add_modifier(&mut self, term: &str, name: &str, value: &str) -> Result<(), RecordError> {
        let wrong = |source| RecordError::Macro {
            term: term.to_owned(),
            source,
        };
        let (slot, name) = match name.to_ascii_lowercase().as_str() {
            "redirect" => (&mut self.redirect, "redirect="),
            "exp" => (&mut self.explanation, "exp="),
            // RFC 7208 §6: unknown modifiers are ignored, if they are written as modifiers are.
            _ => return MacroString::parse(value, Place::Record).map(|_| ()).map_err(wrong),
        };
        let parsed = MacroString::parse_domain(value).map_err(wrong)?;
        // RFC 7208 §6: each at most once.
        if slot.replace(parsed).is_some() {
            Err(RecordError::Twice(name))
        } else {
            Ok(())
        }
    }
}

/// `name "=" macro-string`; a mechanism has `:` or `/` before any `=`.
fn modifier(term: &str) -> Option<(&str, &str)> {
    let (name, value) = term.split_once('=')?;
    is_name(name).then_some((name, value))
}

/// RFC 7208 §12: `ALPHA *( ALPHA / DIGIT / "-" / "_" / "." )`.
fn is_name(text: &str) -> bool {
    text.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn directive(term: &str) -> Result<Directive, RecordError> {
    let (qualifier, rest) = match term.split_at_checked(1) {
        Some(("+", rest)) => (Qualifier::Pass, rest),
        Some(("-", rest)) => (Qualifier::Fail, rest),
        Some(("~", rest)) => (Qualifier::SoftFail, rest),
        Some(("?", rest)) => (Qualifier::Neutral, rest),
        _ => (Qualifier::Pass, term),
    };
    let name_length = rest.find([':', '/']).unwrap_or(rest.len());
    let (name, argument) = rest.split_at_checked(name_length).unwrap_or((rest, ""));
    Ok(Directive {
        qualifier,
        mechanism: mechanism(term, name, argument)?,
        text: term.to_owned(),
    })
}

fn mechanism(term: &str, name: &str, argument: &str) -> Result<Mechanism, RecordError> {
    let syntax = || RecordError::Syntax(term.to_owned());
    let wrong = |source| RecordError::Macro {
        term: term.to_owned(),
        source,
    };
    let domain = |text: &str| MacroString::parse_domain(text).map_err(wrong);
    let value = argument.strip_prefix(':');
    match name.to_ascii_lowercase().as_str() {
        "all" if argument.is_empty() => Ok(Mechanism::All),
        "include" => Ok(Mechanism::Include(domain(value.ok_or_else(syntax)?)?)),
        "exists" => Ok(Mechanism::Exists(domain(value.ok_or_else(syntax)?)?)),
        "ptr" if argument.is_empty() => Ok(Mechanism::Ptr(None)),
        "ptr" => Ok(Mechanism::Ptr(Some(domain(value.ok_or_else(syntax)?)?))),
        kind @ ("a" | "mx") => {
            let (target, prefixes) = split_prefixes(argument).ok_or_else(syntax)?;
            let target = match target.strip_prefix(':') {
                Some(text) => Some(domain(text)?),
                None if target.is_empty() => None,
                None => return Err(syntax()),
            };
            Ok(if kind == "a" {
                Mechanism::A(target, prefixes)
            } else {
                Mechanism::Mx(target, prefixes)
            })
        }
        "ip4" => {
            let (network, prefix) = network(value.ok_or_else(syntax)?, 32).ok_or_else(syntax)?;
            Ok(Mechanism::Ip4(network.parse().map_err(|_| syntax())?, prefix))
        }
        "ip6" => {
            let (network, prefix) = network(value.ok_or_else(syntax)?, 128).ok_or_else(syntax)?;
            Ok(Mechanism::Ip6(network.parse().map_err(|_| syntax())?, prefix))
        }
        "all" => Err(syntax()),
        _ => Err(RecordError::Unknown(term.to_owned())),
    }
}

/// `192.0.2.0/24` into its halves.
fn network(text: &str, prefix_max: u8) -> Option<(&str, u8)> {
    match text.split_once('/') {
        Some((network, length)) => Some((network, prefix(length, prefix_max)?)),
        None => Some((text, prefix_max)),
    }
}

/// RFC 7208 §12: `"0" / %x31-39 0*1DIGIT` and the like: no leading zero.
fn prefix(text: &str, max: u8) -> Option<u8> {
    let is_canonical = text == "0" || (text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0'));
    text.parse().ok().filter(|length| is_canonical && *length <= max)
}

/// Cuts `/24`, `//64` or `/24//64` from the end. A slash before that belongs to the domain and its macros.
fn split_prefixes(argument: &str) -> Option<(&str, Prefixes)> {
    let is_length = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut prefixes = Prefixes { v4: 32, v6: 128 };
    let mut rest = argument;
    if let Some((before, length)) = rest.rsplit_once("//").filter(|(_, length)| is_length(length)) {
        prefixes.v6 = prefix(length, 128)?;
        rest = before;
    }
    if let Some((before, length)) = rest
        .rsplit_once('/')
        .filter(|(before, length)| is_length(length) && !before.ends_with('/'))
    {
        prefixes.v4 = prefix(length, 32)?;
        rest = before;
    }
    Some((rest, prefixes))
}
