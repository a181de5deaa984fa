//! Content transfer encodings, read as they come.
//!
//! In: lines or pieces of encoded text. Out: octets.
//! Standards: RFC 2045 §6.7 (quoted-printable), §6.8 (base64), RFC 2047 §4 (Q).
//! Invariants: any split of the input gives the same output; junk is passed over, as every reader of mail does.

/// Value of a base64 letter; 64: padding; 255: not of the alphabet.
const BASE64: [u8; 256] = base64_table();
const PADDING: u8 = 64;
const FOREIGN: u8 = 255;

const fn base64_table() -> [u8; 256] {
    let mut table = [FOREIGN; 256];
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut at = 0;
    while at < letters.len() {
        #[expect(
            clippy::indexing_slicing,
            clippy::cast_possible_truncation,
            reason = "evaluated at compile time, 64 letters"
        )]
        {
            table[letters[at] as usize] = at as u8;
        }
        at += 1;
    }
    table[b'=' as usize] = PADDING;
    table
}

fn base64_value(letter: u8) -> u8 {
    BASE64.get(usize::from(letter)).copied().unwrap_or(FOREIGN)
}

/// Base64 in pieces.
#[derive(Clone, Debug, Default)]
pub struct Base64 {
    bits: u32,
    letters: u8,
}

impl Base64 {
    /// Appends what `piece` completes.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        let mut rest = piece;
        while let Some((&letter, after)) = rest.split_first() {
            if self.letters == 0
                && let Some(taken) = whole_quanta(rest, out)
            {
                rest = rest.get(taken..).unwrap_or_default();
                continue;
            }
            rest = after;
            match base64_value(letter) {
                FOREIGN => {}
                // Padding ends a quantum; another may follow, as in concatenated parts.
                PADDING => self.finish(out),
                value => {
                    self.bits = self.bits << 6 | u32::from(value);
                    self.letters += 1;
                    if self.letters == 4 {
                        out.extend(self.bits.to_be_bytes().into_iter().skip(1));
                        (self.bits, self.letters) = (0, 0);
                    }
                }
            }
        }
    }

    /// What an unpadded end still holds.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        let [_, a, b, _] = (self.bits << (6 * u32::from(4 - self.letters.min(4)))).to_be_bytes();
        match self.letters {
            2 => out.push(a),
            3 => out.extend([a, b]),
            _ => {}
        }
        (self.bits, self.letters) = (0, 0);
    }
}

/// The common case: a run of clean quanta. `None` when there is none at the front.
fn whole_quanta(from: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let mut taken = 0;
    out.reserve(from.len() / 4 * 3 + 3);
    for quantum in from.chunks_exact(4) {
        let [a, b, c, d] = quantum else { break };
        let (a, b, c, d) = (base64_value(*a), base64_value(*b), base64_value(*c), base64_value(*d));
        if (a | b | c | d) & 0xc0 != 0 {
            break;
        }
        let bits = u32::from(a) << 18 | u32::from(b) << 12 | u32::from(c) << 6 | u32::from(d);
        let [_, x, y, z] = bits.to_be_bytes();
        out.extend_from_slice(&[x, y, z]);
        taken += 4;
    }
    (taken > 0).then_some(taken)
}

/// A whole text of base64.
pub fn base64_lenient(text: &[u8], out: &mut Vec<u8>) {
    let mut decoder = Base64::default();
    decoder.push(text, out);
    decoder.finish(out);
}

/// Quoted-printable, line by line.
#[derive(Clone, Debug, Default)]
pub struct QuotedPrintable {
    /// The beginning of an escape that a split tore off: at most `=` and one digit.
    torn: Vec<u8>,
}

/// Whether a line goes on in the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineBreak {
    /// The line ended with `=`.
    Soft,
    /// A line end that belongs to the text.
    Hard,
}

impl QuotedPrintable {
    /// One line without its line end, or, with `last` false, the first piece of a very long line.
    pub fn line(&mut self, line: &[u8], last: LineEnd, out: &mut Vec<u8>) -> LineBreak {
        let joined;
        let mut rest = if self.torn.is_empty() {
            line
        } else {
            joined = [std::mem::take(&mut self.torn).as_slice(), line].concat();
            &joined
        };
        if last == LineEnd::Here {
            // RFC 2045 §6.7 (3): white space at the end of a line was added on the way.
            rest = rest.trim_ascii_end();
        }
        loop {
            let Some(at) = memchr::memchr(b'=', rest) else {
                out.extend_from_slice(rest);
                return LineBreak::Hard;
            };
            let (plain, escape) = rest.split_at(at);
            out.extend_from_slice(plain);
            match escape {
                [_] if last == LineEnd::Here => return LineBreak::Soft,
                [_] | [_, _] if last == LineEnd::Later => {
                    self.torn = escape.to_vec();
                    return LineBreak::Hard;
                }
                [_, high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                    out.push(hex(*high) << 4 | hex(*low));
                    rest = escape.get(3..).unwrap_or_default();
                }
                // RFC 2045 §6.7: what is no escape stays as it is.
                _ => {
                    out.push(b'=');
                    rest = escape.get(1..).unwrap_or_default();
                }
            }
        }
    }
}

/// Whether the line ends with this piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineEnd {
    /// Yes.
    Here,
    /// More of it follows.
    Later,
}

/// RFC 2047 §4.2: like quoted-printable, `_` is a space, no lines.
pub fn quoted_printable_q(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        match (b, after) {
            (b'_', _) => out.push(b' '),
            (b'=', [high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                out.push(hex(*high) << 4 | hex(*low));
                rest = after.get(2..).unwrap_or_default();
            }
            _ => out.push(b),
        }
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_it_comes() {
        let check = |text: &str, expect: &[u8]| {
            for cut in 0..=text.len() {
                let (mut decoder, mut out) = (Base64::default(), Vec::new());
                decoder.push(text.get(..cut).unwrap().as_bytes(), &mut out);
                decoder.push(text.get(cut..).unwrap().as_bytes(), &mut out);
                decoder.finish(&mut out);
                assert_eq!(out, expect, "{text} cut at {cut}");
            }
        };
        check("", b"");
        check("aGVsbG8gd29ybGQ=", b"hello world");
        check("aGVsbG8gd29ybGQ", b"hello world");
        check("aGVs bG8g\r\nd29!!ybGQ=\r\n", b"hello world");
        check("aGk=aGk=", b"hihi");
        check("a", b"");
        check("====", b"");
    }

    #[test]
    fn quoted_printable_as_it_comes() {
        let check = |line: &str, expect: &[u8], end: LineBreak| {
            for cut in 0..=line.len() {
                let (mut decoder, mut out) = (QuotedPrintable::default(), Vec::new());
                if cut > 0 && !line.contains(' ') {
                    decoder.line(line.get(..cut).unwrap().as_bytes(), LineEnd::Later, &mut out);
                    assert_eq!(decoder.line(line.get(cut..).unwrap().as_bytes(), LineEnd::Here, &mut out), end);
                } else {
                    assert_eq!(decoder.line(line.as_bytes(), LineEnd::Here, &mut out), end);
                }
                assert_eq!(out, expect, "{line} cut at {cut}");
            }
        };
        check("a=3Db", b"a=b", LineBreak::Hard);
        check("a=3db=", b"a=b", LineBreak::Soft);
        check("a  \t", b"a", LineBreak::Hard);
        check("a= ", b"a", LineBreak::Soft);
        check("a=zzb", b"a=zzb", LineBreak::Hard);
        check("a==41", b"a=A", LineBreak::Hard);
        check("a=4", b"a=4", LineBreak::Hard);
    }
}
