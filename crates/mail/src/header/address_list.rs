//! Address lists: who stands in `From`, `To`, `Cc`, `Reply-To`?
//!
//! In: a field value. Out: display name and address of each mailbox, group members among them.
//! Standards: RFC 5322 §3.4 (mailbox, group), §3.2.2 (comments), §4.4 (routes), RFC 6854 (groups in From), RFC 6532 (UTF-8).
//! Invariants: linear work; at most `MAILBOXES_MAX` of one field; an address never holds white space or a control character.

use super::encoded_word::decode_phrase;
use super::{Escapes, unfold};
use crate::charset;

/// Mailboxes read from one field; a list of all employees is longer than what anyone looks at.
pub(super) const MAILBOXES_MAX: usize = 1_000;
const ADDRESS_BYTES_MAX: usize = 512;
const ESC: u8 = 0x1b;

/// One mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mailbox {
    /// Decoded; empty when there is none.
    pub name: String,
    /// `local@domain` as given, without brackets. Not checked: `mail::Address::parse` does that.
    pub address: String,
}

/// Reads a whole list. What has no address in it is left out.
#[must_use]
pub fn mailboxes(raw: &[u8]) -> Vec<Mailbox> {
    let value = unfold(raw);
    let mut out = Vec::new();
    let mut parser = Parser {
        rest: &value,
        is_utf8: std::str::from_utf8(&value).is_ok(),
    };
    while out.len() < MAILBOXES_MAX {
        let Some(element) = parser.element() else { break };
        out.extend(element.into_mailbox());
    }
    out
}

/// What stands between two separators.
#[derive(Default)]
struct Element {
    phrase: Vec<u8>,
    angle: Option<Vec<u8>>,
    comment: Vec<u8>,
}

impl Element {
    fn into_mailbox(self) -> Option<Mailbox> {
        let (address, name) = match self.angle {
            Some(angle) => (angle, self.phrase),
            None => (self.phrase, self.comment),
        };
        let address = clean(&address);
        if !address.contains('@') {
            return None;
        }
        Some(Mailbox {
            name: super::printable(&decode_phrase(&name), 500),
            address,
        })
    }
}

/// White space around dots and `@` goes (RFC 5322 §4.4), and so does a source route.
fn clean(octets: &[u8]) -> String {
    let octets = octets.get(..ADDRESS_BYTES_MAX).unwrap_or(octets);
    let text = charset::decode_raw(octets);
    let mut quoted = false;
    let bare: String = text
        .chars()
        .filter(|c| {
            quoted ^= *c == '"';
            !c.is_control() && (quoted || !c.is_whitespace())
        })
        .collect();
    match bare.strip_prefix('@').and_then(|route| route.split_once(':')) {
        Some((_, address)) => address.to_owned(),
        None => bare,
    }
}

struct Parser<'a> {
    rest: &'a [u8],
    is_utf8: bool,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&b, after) = self.rest.split_first()?;
        self.rest = after;
        Some(b)
    }

    /// The next element; `None` at the end.
    fn element(&mut self) -> Option<Element> {
        if self.rest.is_empty() {
            return None;
        }
        let mut element = Element::default();
        while let Some(b) = self.next() {
            match b {
                // TOLERATES RFC 5322 §3.4: a semicolon between addresses, as some programs write it (docs/quirk.md#address-lists).
                b',' | b';' => break,
                b'(' => self.comment(&mut element.comment),
                b'"' => self.quoted(&mut element.phrase),
                ESC => self.jis(&mut element.phrase),
                b'<' => {
                    let angle = self.angle();
                    // Of two in one element the last is the address that programs show and use.
                    element.angle = Some(angle);
                }
                // A group's name ends here; its members follow as ordinary elements.
                b':' if !element.phrase.contains(&b'@') && element.angle.is_none() => element.phrase.clear(),
                other => element.phrase.push(other),
            }
        }
        Some(element)
    }

    fn comment(&mut self, out: &mut Vec<u8>) {
        let mut depth = 1u32;
        if !out.is_empty() {
            out.push(b' ');
        }
        while let Some(b) = self.next() {
            match b {
                b'\\' => out.extend(self.next()),
                b'(' => {
                    depth += 1;
                    out.push(b);
                }
                b')' => {
                    depth -= 1;
                    if depth == 0 {
                        return;
                    }
                    out.push(b);
                }
                other => out.push(other),
            }
        }
    }

    /// With its quotes, since a quoted local part needs them.
    fn quoted(&mut self, out: &mut Vec<u8>) {
        out.push(b'"');
        self.rest = super::quoted(self.rest, Escapes::Keep, self.is_utf8, out);
        out.push(b'"');
    }

    /// Raw ISO-2022-JP: between its escapes, `"`, `<` and `,` are halves of characters.
    fn jis(&mut self, out: &mut Vec<u8>) {
        let length = super::jis_run(self.rest);
        let (run, rest) = self.rest.split_at(length);
        out.push(ESC);
        out.extend_from_slice(run);
        self.rest = rest;
    }

    fn angle(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(b) = self.next() {
            match b {
                b'>' => break,
                b'"' => self.quoted(&mut out),
                b'(' => self.comment(&mut Vec::new()),
                b'<' => out.clear(),
                other => out.push(other),
            }
        }
        out
    }
}
