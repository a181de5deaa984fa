//! Writing parts: base64, quoted-printable, encoded words, folded fields.
//!
//! Standards: RFC 2045 §6, RFC 2047 §2, RFC 5322 §2.2.3.
//! Invariants: CRLF lines of at most 76 octets (fields: 998); any input.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const ENCODED_LINE_BYTES_MAX: usize = 76;
/// A word of a folded field that is longer is cut; nothing real is.
const WORD_BYTES_MAX: usize = 900;

/// One part of the report.
pub(super) struct Part {
    pub(super) content_type: String,
    pub(super) encoding: &'static str,
    pub(super) description: &'static str,
    /// Encoded already.
    pub(super) body: Vec<u8>,
}

pub(super) fn push_part(boundary: &str, part: &Part, out: &mut Vec<u8>) {
    let Part {
        content_type,
        encoding,
        description,
        body,
    } = part;
    let head = format!(
        "--{boundary}\r\nContent-Description: {description}\r\nContent-Type: {content_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    );
    out.extend_from_slice(head.as_bytes());
    out.extend_from_slice(body);
    out.extend_from_slice(b"\r\n");
}

pub(super) fn base64_lines(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() / 3 * 4 + octets.len() / 28 + 8);
    for line in octets.chunks(ENCODED_LINE_BYTES_MAX / 4 * 3) {
        out.extend_from_slice(STANDARD.encode(line).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

/// CRLF stays a line end; every other control character is escaped.
pub(super) fn quoted_printable(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() * 2);
    let mut column = 0;
    let mut rest = octets;
    while let Some((&b, after)) = rest.split_first() {
        if rest.starts_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
            column = 0;
            rest = rest.get(2..).unwrap_or_default();
            continue;
        }
        rest = after;
        // RFC 2045 §6.7 (3): white space at the end of a line would be lost.
        let ends_line = after.is_empty() || after.starts_with(b"\r\n");
        let plain = matches!(b, b'!'..=b'<' | b'>'..=b'~') || (matches!(b, b' ' | b'\t') && !ends_line);
        let width = if plain { 1 } else { 3 };
        if column + width > ENCODED_LINE_BYTES_MAX - 1 {
            out.extend_from_slice(b"=\r\n");
            column = 0;
        }
        if plain {
            out.push(b)
        } else {
            out.extend_from_slice(format!("={b:02X}").as_bytes())
        }
        column += width;
    }
    out
}

/// ASCII as it is; anything else as words of whole characters, folded (RFC 2047 §2: 75 characters a word, §5: no character torn).
pub(super) fn encoded_words(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.is_ascii() && text.len() <= 60 && !text.contains("=?") {
        return text;
    }
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if word.len() + c.len_utf8() > 45 {
            words.push(std::mem::take(&mut word));
        }
        word.push(c);
    }
    words.push(word);
    words
        .iter()
        .map(|w| format!("=?utf-8?B?{}?=", STANDARD.encode(w)))
        .collect::<Vec<_>>()
        .join("\r\n ")
}

/// `Name: value`, folded at spaces; control characters become spaces, so that a value is one field whatever it holds.
pub(super) fn push_field(name: &str, value: &str, out: &mut String) {
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    for word in value.split(|c: char| c.is_control() || c == ' ').filter(|w| !w.is_empty()) {
        let word = cut(word, WORD_BYTES_MAX);
        if column + 1 + word.len() > ENCODED_LINE_BYTES_MAX && column > name.len() + 1 {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + word.len();
    }
    out.push_str("\r\n");
}

/// At most `bytes_max`, no character torn.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or(text)
}

/// For fields that must be ASCII.
pub(super) fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}
