//! Encoded words: `=?charset?B?…?=` in field values, and raw octets beside them.
//!
//! In: an unfolded or folded value. Out: text.
//! Standards: RFC 2047 §2 and §6, RFC 2231 §5 (language in the charset part), RFC 6532 (raw UTF-8).
//! Invariants: linear work; nothing is lost: what is no encoded word stays as it is.

use super::Escapes;
use crate::charset;
use crate::mime::decode::{base64_lenient, quoted_printable_q};

/// RFC 2047 §2 allows 75; real words are longer when a program breaks lines by characters.
const WORD_BYTES_MAX: usize = 4 * 1024;

/// Decodes a whole unstructured value: `Subject`, a display name, a file name.
///
/// TOLERATES RFC 2047 §5 and §6.2: words without space between them or inside quotes, characters torn across adjacent words
/// (docs/quirk.md#encoded-words).
#[must_use]
pub fn decode_text(raw: &[u8]) -> String {
    let value = super::unfold(raw);
    if memchr::memmem::find(&value, b"=?").is_none() {
        return charset::decode_raw(&value).into_owned();
    }
    let mut out = String::with_capacity(value.len());
    let mut run = Run::default();
    let mut rest: &[u8] = &value;
    while !rest.is_empty() {
        let start = memchr::memmem::find(rest, b"=?").unwrap_or(rest.len());
        let (plain, tail) = rest.split_at(start);
        match Word::parse(tail) {
            Some((word, length)) => {
                // RFC 2047 §6.2: white space between two encoded words is not shown.
                if !(run.is_open() && plain.iter().all(u8::is_ascii_whitespace)) {
                    run.flush(&mut out);
                    out.push_str(&charset::decode_raw(plain));
                }
                run.push(word, &mut out);
                rest = tail.get(length..).unwrap_or_default();
            }
            None => {
                let step = (start + 2).min(rest.len());
                run.flush(&mut out);
                let (shown, after) = rest.split_at(step);
                out.push_str(&charset::decode_raw(shown));
                rest = after;
            }
        }
    }
    run.flush(&mut out);
    out
}

/// A phrase as it stands before an address: quotes go, words are decoded.
#[must_use]
pub fn decode_phrase(raw: &[u8]) -> String {
    if !raw.contains(&b'"') {
        return decode_text(raw).trim().to_owned();
    }
    let is_utf8 = std::str::from_utf8(raw).is_ok();
    let mut bare = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        match b {
            b'"' => rest = super::quoted(after, Escapes::Drop, is_utf8, &mut bare),
            0x1b => {
                let (run, behind) = after.split_at(super::jis_run(after));
                bare.push(b);
                bare.extend_from_slice(run);
                rest = behind;
            }
            other => bare.push(other),
        }
    }
    decode_text(&bare).trim().to_owned()
}

/// Adjacent words of one charset are decoded together, because senders tear characters apart.
#[derive(Default)]
struct Run {
    charset: String,
    octets: Vec<u8>,
    open: bool,
}

impl Run {
    fn is_open(&self) -> bool {
        self.open
    }

    fn push(&mut self, word: Word<'_>, out: &mut String) {
        let label = word.charset.split('*').next().unwrap_or_default();
        if self.open && !self.charset.eq_ignore_ascii_case(label) {
            self.flush(out);
        }
        self.open = true;
        label.clone_into(&mut self.charset);
        match word.encoding {
            Encoding::B => base64_lenient(word.text, &mut self.octets),
            Encoding::Q => quoted_printable_q(word.text, &mut self.octets),
        }
    }

    fn flush(&mut self, out: &mut String) {
        if self.open {
            let text = charset::decode(Some(&self.charset), &self.octets);
            // A decoded line end must never become one.
            out.extend(text.chars().map(|c| if matches!(c, '\r' | '\n' | '\0') { ' ' } else { c }));
            self.octets.clear();
            self.open = false;
        }
    }
}

enum Encoding {
    B,
    Q,
}

struct Word<'a> {
    charset: &'a str,
    encoding: Encoding,
    text: &'a [u8],
}

impl<'a> Word<'a> {
    /// The word at the front of `from` (which begins with `=?`) and its length.
    fn parse(from: &'a [u8]) -> Option<(Self, usize)> {
        let body = from.strip_prefix(b"=?")?;
        let window = body.get(..WORD_BYTES_MAX).unwrap_or(body);
        let first = memchr::memchr(b'?', window.get(..64).unwrap_or(window))?;
        let charset = std::str::from_utf8(window.get(..first)?).ok()?;
        if charset.is_empty() || !charset.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let encoding = match window.get(first + 1)? {
            b'B' | b'b' => Encoding::B,
            b'Q' | b'q' => Encoding::Q,
            _ => return None,
        };
        if window.get(first + 2) != Some(&b'?') {
            return None;
        }
        let text_from = first + 3;
        let length = memchr::memmem::find(window.get(text_from..)?, b"?=")?;
        let text = window.get(text_from..text_from + length)?;
        Some((Self { charset, encoding, text }, 2 + text_from + length + 2))
    }
}
