//! Charsets: which characters do these octets mean?
//!
//! In: octets with a label, or raw octets without one. Out: text; what cannot be read becomes U+FFFD, never nothing.
//! Standards: WHATWG Encoding (by `encoding_rs`) for the tables, RFC 1468 and RFC 2237 for ISO-2022-JP, RFC 2152 is not read.
//! Invariants: never panics, output is at most 3 times the input and a constant.
//!
//! ISO-2022-JP is turned into EUC-JP first and read by that table, because real mail breaks it in ways a strict decoder punishes
//! with loss: a missing closing escape, half-width kana in eight bits or by SO/SI, JIS X 0212 (docs/quirk.md#iso-2022-jp).

use encoding_rs::{EUC_JP, Encoding, SHIFT_JIS, UTF_8, WINDOWS_1252};
use std::borrow::Cow;

/// A charset that we can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// ISO-2022-JP and everything sold under similar names.
    Iso2022Jp,
    /// One of the tables.
    Table(&'static Encoding),
}

/// Labels that mail uses and the WHATWG table does not know.
const MORE_LABELS: &[(&str, Charset)] = &[
    ("cp932", Charset::Table(SHIFT_JIS)),
    ("ms932", Charset::Table(SHIFT_JIS)),
    ("cp943", Charset::Table(SHIFT_JIS)),
    ("cp943c", Charset::Table(SHIFT_JIS)),
    ("windows-932", Charset::Table(SHIFT_JIS)),
    ("mskanji", Charset::Table(SHIFT_JIS)),
    ("shift-jis-2004", Charset::Table(SHIFT_JIS)),
    ("shift_jisx0213", Charset::Table(SHIFT_JIS)),
    ("x-ms-cp932", Charset::Table(SHIFT_JIS)),
    ("sjis-win", Charset::Table(SHIFT_JIS)),
    ("eucjp", Charset::Table(EUC_JP)),
    ("eucjp-win", Charset::Table(EUC_JP)),
    ("eucjp-ms", Charset::Table(EUC_JP)),
    ("euc-jp-ms", Charset::Table(EUC_JP)),
    ("cp51932", Charset::Table(EUC_JP)),
    ("cp20932", Charset::Table(EUC_JP)),
    ("ujis", Charset::Table(EUC_JP)),
    ("cp50220", Charset::Iso2022Jp),
    ("cp50221", Charset::Iso2022Jp),
    ("cp50222", Charset::Iso2022Jp),
    ("jis", Charset::Iso2022Jp),
    ("jis7", Charset::Iso2022Jp),
    ("jis8", Charset::Iso2022Jp),
    ("utf8mb4", Charset::Table(UTF_8)),
    ("cp65001", Charset::Table(UTF_8)),
    ("utf_8", Charset::Table(UTF_8)),
    ("utf-8n", Charset::Table(UTF_8)),
    ("cp936", Charset::Table(encoding_rs::GBK)),
    ("ms936", Charset::Table(encoding_rs::GBK)),
    ("cp949", Charset::Table(encoding_rs::EUC_KR)),
    ("ms949", Charset::Table(encoding_rs::EUC_KR)),
    ("cp950", Charset::Table(encoding_rs::BIG5)),
    ("utf-16le-bom", Charset::Table(encoding_rs::UTF_16LE)),
];

impl Charset {
    /// By its label, case and quotes ignored. `None`: unknown to us.
    #[must_use]
    pub fn for_label(label: &str) -> Option<Self> {
        let label = label.trim().trim_matches(['"', '\'']).trim();
        if label.len() > 40 {
            return None;
        }
        let lower = label.to_ascii_lowercase();
        if lower.starts_with("iso-2022-jp") || lower.starts_with("iso2022jp") || lower.starts_with("csiso2022jp") {
            return Some(Self::Iso2022Jp);
        }
        if let Some((_, charset)) = MORE_LABELS.iter().find(|(l, _)| *l == lower) {
            return Some(*charset);
        }
        // The `replacement` encoding of the WHATWG turns a whole text into one U+FFFD; mail would rather be guessed at.
        Encoding::for_label_no_replacement(lower.as_bytes()).map(|e| {
            if e == encoding_rs::ISO_2022_JP {
                Self::Iso2022Jp
            } else {
                Self::Table(e)
            }
        })
    }

    /// Reads all octets; unreadable ones become U+FFFD.
    #[must_use]
    pub fn decode(self, octets: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Iso2022Jp => Cow::Owned(EUC_JP.decode_without_bom_handling(&iso_2022_jp_to_euc(octets)).0.into_owned()),
            Self::Table(encoding) => encoding.decode_with_bom_removal(octets).0,
        }
    }
}

/// By label when it is known, by guess when not.
#[must_use]
pub fn decode<'a>(label: Option<&str>, octets: &'a [u8]) -> Cow<'a, str> {
    match label.and_then(Charset::for_label) {
        Some(charset) => charset.decode(octets),
        None => decode_raw(octets),
    }
}

/// Octets without any label, as raw header fields have them. TOLERATES RFC 6532 §3.2: charsets other than UTF-8 (docs/quirk.md#raw-headers).
#[must_use]
pub fn decode_raw(octets: &[u8]) -> Cow<'_, str> {
    guess(octets).decode(octets)
}

/// UTF-8 when it is valid; then the Japanese charsets, whichever reads it without a fault and with the more likely characters;
/// else windows-1252, which can read anything.
#[must_use]
pub fn guess(octets: &[u8]) -> Charset {
    if octets.is_ascii() {
        return if has_jis_escape(octets) {
            Charset::Iso2022Jp
        } else {
            Charset::Table(UTF_8)
        };
    }
    if std::str::from_utf8(octets).is_ok() {
        return Charset::Table(UTF_8);
    }
    if has_jis_escape(octets) {
        return Charset::Iso2022Jp;
    }
    let octets = octets.get(..GUESS_BYTES_MAX).unwrap_or(octets);
    let best = [SHIFT_JIS, EUC_JP]
        .into_iter()
        .filter_map(|e| likelihood(e, octets).map(|points| (points, e)))
        .max_by_key(|(points, _)| *points);
    match best {
        Some((points, encoding)) if points > 0 => Charset::Table(encoding),
        _ if utf8_share(octets) => Charset::Table(UTF_8),
        _ => Charset::Table(WINDOWS_1252),
    }
}

const GUESS_BYTES_MAX: usize = 16 * 1024;
const ESC: u8 = 0x1b;

fn has_jis_escape(octets: &[u8]) -> bool {
    memchr::memchr_iter(ESC, octets).any(|at| matches!(octets.get(at + 1..at + 3), Some([b'$', b'B' | b'@' | b'('] | [b'(', b'I' | b'J'])))
}

/// UTF-8 that was cut or hurt in a few places is still UTF-8.
fn utf8_share(octets: &[u8]) -> bool {
    let high = octets.iter().filter(|b| **b > 127).count();
    let text = String::from_utf8_lossy(octets);
    let good: usize = text.chars().filter(|c| !c.is_ascii() && *c != '\u{fffd}').map(char::len_utf8).sum();
    good * 10 >= high * 8
}

/// How Japanese it looks: `None` when there are faults; Latin text read as Japanese comes out at or below zero.
fn likelihood(encoding: &'static Encoding, octets: &[u8]) -> Option<i64> {
    let text = encoding.decode_without_bom_handling_and_without_replacement(octets).or_else(|| {
        // A limit may have cut the last character in two.
        encoding.decode_without_bom_handling_and_without_replacement(octets.get(..octets.len().checked_sub(1)?)?)
    })?;
    let points = |c: char| match u32::from(c) {
        0x3041..=0x3096 | 0x30a1..=0x30fe => 4,
        0x3001..=0x3011 | 0xff01..=0xff5e => 3,
        // JIS X 0208 level 1 reads as lead octets 88–97 of Shift_JIS and is what people write.
        0x4e00..=0x9fff => {
            let level_one = SHIFT_JIS
                .encode(c.encode_utf8(&mut [0; 4]))
                .0
                .first()
                .is_some_and(|lead| *lead < 0x98);
            if level_one { 2 } else { -2 }
        }
        // Half-width kana come in runs when meant; EUC-JP read as Shift_JIS is full of them.
        0xff61..=0xff9f => 1,
        0x80..=0x9f | 0xe000..=0xf8ff => -6,
        0..=0x7f => 0,
        _ => -1,
    };
    Some(text.chars().map(points).sum::<i64>() * 2 / i64::try_from(text.chars().filter(|c| !c.is_ascii()).count().max(1)).unwrap_or(1))
}

/// What the escapes of ISO-2022-JP have switched to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Set {
    Ascii,
    Kana,
    Jis0208,
    Jis0212,
}

/// TOLERATES RFC 1468: no return to ASCII at the end of a line or text, eight-bit and SO/SI half-width kana, JIS X 0212
/// (docs/quirk.md#iso-2022-jp).
fn iso_2022_jp_to_euc(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() + 16);
    let mut set = Set::Ascii;
    let mut before_shift = Set::Ascii;
    let mut rest = octets;
    while let Some((&b, after)) = rest.split_first() {
        if let Some((next, length)) = escape(rest) {
            set = next;
            rest = rest.get(length..).unwrap_or_default();
            continue;
        }
        rest = after;
        match (b, set) {
            (0x0e, _) => (before_shift, set) = (set, Set::Kana),
            (0x0f, _) => set = before_shift,
            // RFC 1468: a line ends in ASCII; where the escape is missing, the end of the line stands for it.
            (b'\r' | b'\n', _) => {
                set = Set::Ascii;
                out.push(b);
            }
            (0x21..=0x5f, Set::Kana) => out.extend([0x8e, b | 0x80]),
            (0xa1..=0xdf, Set::Ascii | Set::Kana) => out.extend([0x8e, b]),
            (0x21..=0x7e, Set::Jis0208 | Set::Jis0212) => match after.first() {
                Some(&trail @ 0x21..=0x7e) => {
                    rest = after.get(1..).unwrap_or_default();
                    if set == Set::Jis0212 {
                        out.push(0x8f);
                    }
                    out.extend([b | 0x80, trail | 0x80]);
                }
                // Half a character.
                _ => out.push(0xff),
            },
            (other, _) => out.push(other),
        }
    }
    out
}

/// The escape at the front and its length.
fn escape(octets: &[u8]) -> Option<(Set, usize)> {
    match octets {
        [ESC, b'(', b'B' | b'J' | b'H', ..] => Some((Set::Ascii, 3)),
        [ESC, b'(' | b')', b'I', ..] => Some((Set::Kana, 3)),
        [ESC, b'$', b'B' | b'@', ..] => Some((Set::Jis0208, 3)),
        [ESC, b'$', b'(', b'D', ..] => Some((Set::Jis0212, 4)),
        [ESC, b'$', b'(', b'B' | b'@' | b'O' | b'Q', ..] => Some((Set::Jis0208, 4)),
        // The announcement of JIS X 0208-1990, always followed by its designation.
        [ESC, b'&', b'@', ..] => Some((Set::Ascii, 3)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
