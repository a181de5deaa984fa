//! Values with parameters: `Content-Type`, `Content-Disposition`.
//!
//! In: a field value. Out: the bare value in lower case, and its parameters decoded.
//! Standards: RFC 2045 §5.1, RFC 2231 §3 and §4, RFC 2183.
//! Invariants: bounded number of parameters and segments; of two equal names the first counts, as most readers do.

use super::encoded_word::decode_text;
use super::{Escapes, unfold};
use crate::charset;

const PARAMETERS_MAX: usize = 200;
const SEGMENTS_MAX: usize = 100;

/// A value and its parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameterized {
    /// In front of the first `;`, lower case, without comments: `text/plain`, `attachment`.
    pub value: String,
    parameters: Vec<(String, Vec<u8>)>,
}

impl Parameterized {
    /// Reads what it can.
    #[must_use]
    pub fn parse(raw: &[u8]) -> Self {
        let text = unfold(raw);
        let mut scan = Scan {
            rest: &text,
            is_utf8: std::str::from_utf8(&text).is_ok(),
        };
        let value = scan.take_until(b";");
        let value = String::from_utf8_lossy(value.trim_ascii()).to_ascii_lowercase();
        // TOLERATES RFC 2045 §5.1: no semicolon between the value and its first parameter (docs/quirk.md#file-names).
        let value = match value.split_once([' ', '\t']) {
            Some((bare, parameter)) if bare.contains('/') && parameter.contains('=') => {
                let at = memchr::memchr2(b' ', b'\t', text.trim_ascii_start()).unwrap_or(0);
                scan.rest = text.trim_ascii_start().get(at..).unwrap_or_default();
                bare.to_owned()
            }
            _ => value,
        };
        let mut parameters = Vec::new();
        while scan.step() && parameters.len() < PARAMETERS_MAX {
            let name = scan.take_until(b"=;");
            let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
            let value = if scan.rest.first() == Some(&b'=') {
                scan.step();
                scan.value()
            } else {
                Vec::new()
            };
            if !name.is_empty() && name.len() <= 100 {
                parameters.push((name, value));
            }
        }
        Self { value, parameters }
    }

    /// The octets of a parameter as given, without quotes.
    #[must_use]
    pub fn raw(&self, name: &str) -> Option<&[u8]> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_slice())
    }

    /// The text of a parameter: extended (RFC 2231) before plain; a plain one may hold encoded words or raw octets.
    ///
    /// TOLERATES RFC 2047 §5: encoded words in a quoted parameter (docs/quirk.md#file-names).
    #[must_use]
    pub fn text(&self, name: &str) -> Option<String> {
        if self.parameters.is_empty() {
            return None;
        }
        self.extended(name).or_else(|| self.raw(name).map(decode_text))
    }

    /// RFC 2231 §3 (continuations) and §4 (charset and percent-encoding).
    fn extended(&self, name: &str) -> Option<String> {
        if let Some(value) = self.raw(&format!("{name}*")) {
            let (label, octets) = split_charset(value);
            return Some(decode_extended(label, &percent_decode(octets)));
        }
        let mut octets = Vec::new();
        let mut label = None;
        let mut any_encoded = false;
        for number in 0..SEGMENTS_MAX {
            let encoded = self.raw(&format!("{name}*{number}*"));
            let segment = encoded.or_else(|| self.raw(&format!("{name}*{number}")));
            let Some(mut segment) = segment else { break };
            if number == 0 && encoded.is_some() {
                (label, segment) = split_charset(segment);
            }
            any_encoded |= encoded.is_some();
            if encoded.is_some() {
                octets.extend(percent_decode(segment))
            } else {
                octets.extend_from_slice(segment)
            }
        }
        if octets.is_empty() {
            return None;
        }
        Some(if any_encoded {
            decode_extended(label, &octets)
        } else {
            decode_text(&octets)
        })
    }
}

fn decode_extended(label: Option<&str>, octets: &[u8]) -> String {
    if memchr::memmem::find(octets, b"=?").is_some() {
        return decode_text(octets);
    }
    charset::decode(label, octets).into_owned()
}

/// `charset'language'octets`; without the quotes there is no charset.
fn split_charset(value: &[u8]) -> (Option<&str>, &[u8]) {
    let mut parts = value.splitn(3, |b| *b == b'\'');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(label), Some(_), Some(octets)) => (std::str::from_utf8(label).ok().filter(|l| !l.is_empty()), octets),
        _ => (None, value),
    }
}

fn percent_decode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&b, after)) = rest.split_first() {
        let digits = match (b, after) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)),
            _ => None,
        };
        match digits {
            Some((high, low)) => {
                out.push(high << 4 | low);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                out.push(b);
                rest = after;
            }
        }
    }
    out
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

struct Scan<'a> {
    rest: &'a [u8],
    is_utf8: bool,
}

impl<'a> Scan<'a> {
    fn step(&mut self) -> bool {
        match self.rest.split_first() {
            Some((_, after)) => {
                self.rest = after;
                true
            }
            None => false,
        }
    }

    /// Up to one of `ends`, comments left out when there are any.
    fn take_until(&mut self, ends: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(&b) = self.rest.first() {
            if ends.contains(&b) {
                break;
            }
            if b == b'(' {
                self.rest = skip_comment(self.rest);
                continue;
            }
            out.push(b);
            self.step();
        }
        out
    }

    /// A token or a quoted string.
    fn value(&mut self) -> Vec<u8> {
        while matches!(self.rest.first(), Some(b' ' | b'\t')) {
            self.step();
        }
        if self.rest.first() != Some(&b'"') {
            // TOLERATES RFC 2045 §5.1: spaces and brackets in an unquoted file name (docs/quirk.md#file-names).
            let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
            let (value, rest) = self.rest.split_at(end);
            self.rest = rest;
            return value.trim_ascii().to_vec();
        }
        self.step();
        let mut out = Vec::new();
        self.rest = super::quoted(self.rest, Escapes::Drop, self.is_utf8, &mut out);
        let end = memchr::memchr(b';', self.rest).unwrap_or(self.rest.len());
        self.rest = self.rest.get(end..).unwrap_or_default();
        out
    }
}

/// RFC 5322 §3.2.2: comments nest; an open one runs to the end.
fn skip_comment(from: &[u8]) -> &[u8] {
    let mut depth = 0u32;
    let mut rest = from;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        match b {
            b'\\' => rest = after.get(1..).unwrap_or_default(),
            b'(' => depth += 1,
            b')' => {
                depth -= 1;
                if depth == 0 {
                    break;
                }
            }
            _ => {}
        }
    }
    rest
}
