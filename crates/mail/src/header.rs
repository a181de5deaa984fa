//! Header sections: which fields stand there, where exactly, and what do they say?
//!
//! In: the octets of a header section, however broken. Out: fields with byte ranges, unfolded text, decoded words, parameters, addresses.
//! Standards: RFC 5322 §2.2 and §3.4, RFC 2047, RFC 2231, RFC 6532 (raw UTF-8).
//! Invariants: never panics; work and memory grow linearly with the input; byte ranges are exact, so that a field can be cut out.

mod address_list;
mod encoded_word;
mod parameter;

pub use address_list::{Mailbox, mailboxes};
pub use encoded_word::{decode_phrase, decode_text};
pub use parameter::Parameterized;

use memchr::memchr;
use std::borrow::Cow;

/// One field of a header section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// As given, without the colon and without spaces before it.
    pub name: &'a [u8],
    /// Everything behind the colon up to the end of the last folded line, without its line end.
    pub raw: &'a [u8],
    /// Offset of the first octet of the name within the section.
    pub from: usize,
    /// One after the line end of the last folded line.
    pub to: usize,
}

impl<'a> Field<'a> {
    /// Whether the field has this name; case means nothing (RFC 5322 §1.2.2).
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name.as_bytes())
    }

    /// The value on one line, without spaces at its ends.
    #[must_use]
    pub fn unfolded(&self) -> Cow<'a, [u8]> {
        unfold(self.raw)
    }
}

/// RFC 5322 §2.2.3: line ends before white space go; a line end elsewhere (bare CR, NUL) becomes a space, so that no value holds one.
#[must_use]
pub fn unfold(raw: &[u8]) -> Cow<'_, [u8]> {
    let raw = raw.trim_ascii();
    if !raw.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)) {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        match b {
            b'\r' if after.first() == Some(&b'\n') => {}
            b'\n' if matches!(after.first(), Some(b' ' | b'\t')) => {}
            b'\r' | b'\n' | 0 => out.push(b' '),
            other => out.push(other),
        }
    }
    Cow::Owned(out)
}

/// The fields of a section in order. Lines that are neither a field nor the continuation of one are passed over.
#[must_use]
pub fn fields(section: &[u8]) -> Fields<'_> {
    Fields {
        section,
        at: 0,
        junk: false,
    }
}

/// Iterator of [`fields`]. It ends at an empty line or at the end of the section.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    section: &'a [u8],
    at: usize,
    junk: bool,
}

impl Fields<'_> {
    /// Whether a line was passed over that belongs to no field.
    #[must_use]
    pub fn has_junk(&self) -> bool {
        self.junk
    }

    fn line_end(&self, from: usize) -> usize {
        let rest = self.section.get(from..).unwrap_or_default();
        memchr(b'\n', rest).map_or(self.section.len(), |n| from + n + 1)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        loop {
            let from = self.at;
            let mut end = self.line_end(from);
            let first = self.section.get(from..end)?;
            if first.is_empty() || matches!(first, b"\n" | b"\r\n") {
                return None;
            }
            self.at = end;
            let Some((name, value_from)) = field_name(first) else {
                self.junk = true;
                continue;
            };
            while matches!(self.section.get(end), Some(b' ' | b'\t')) {
                end = self.line_end(end);
            }
            self.at = end;
            let raw = trim_line_end(self.section.get(from + value_from..end).unwrap_or_default());
            return Some(Field { name, raw, from, to: end });
        }
    }
}

/// Without one line end: CRLF or LF.
pub(crate) fn trim_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// RFC 5322 §3.6.8: printable US-ASCII without the colon; RFC 5322 §4.5: white space may stand before the colon.
fn field_name(line: &[u8]) -> Option<(&[u8], usize)> {
    let colon = memchr(b':', line)?;
    let name = line.get(..colon)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some((name, colon + 1))
}

/// `after` stands behind an ESC of raw ISO-2022-JP: how many octets go with it and are no syntax. Two-byte characters run up to the next escape.
fn jis_run(after: &[u8]) -> usize {
    match after {
        [b'$', b'B' | b'@' | b'(', ..] => memchr(0x1b, after).unwrap_or(after.len()),
        [b'(', b'B' | b'J' | b'H' | b'I', ..] => 2,
        _ => 0,
    }
}

/// What becomes of the backslashes of a quoted string.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escapes {
    Keep,
    Drop,
}

/// Copies a quoted string whose opening quote is gone; gives what stands behind the closing one.
///
/// A backslash escapes only `"` and `\`. In what is not UTF-8 it may be the second octet of a character in Shift_JIS.
fn quoted<'a>(from: &'a [u8], escapes: Escapes, is_utf8: bool, out: &mut Vec<u8>) -> &'a [u8] {
    let mut rest = from;
    while let Some((&b, after)) = rest.split_first() {
        let taken = match (b, after.first()) {
            (b'"', _) => return after,
            (0x1b, _) => 1 + jis_run(after),
            (0x81..=0x9f | 0xe0..=0xfc, Some(0x40..=0x7e | 0x80..=0xfc)) if !is_utf8 => 2,
            (b'\\', Some(b'"' | b'\\')) => {
                if escapes == Escapes::Drop {
                    rest = after;
                }
                if escapes == Escapes::Drop { 1 } else { 2 }
            }
            _ => 1,
        };
        let (shown, next) = rest.split_at(taken.min(rest.len()));
        out.extend_from_slice(shown);
        rest = next;
    }
    rest
}

/// The first field of that name.
#[must_use]
pub fn find<'a>(section: &'a [u8], name: &str) -> Option<Field<'a>> {
    fields(section).find(|f| f.is(name))
}

/// Text for people and logs: control characters become spaces, at most `chars_max` characters.
#[must_use]
pub fn printable(text: &str, chars_max: usize) -> String {
    text.chars().take(chars_max).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests;
