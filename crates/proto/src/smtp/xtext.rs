//! xtext and the forms of UTF-8 addresses in ORCPT: any octets as printable ASCII, and back.
//!
//! In:  the value of ENVID, ORCPT or AUTH. Out: what it stands for.
//! Standards: RFC 3461 §4 (xtext), RFC 6533 §3 (utf-8-addr-xtext, utf-8-addr-unitext). Deviations: none.
//! Invariants: what is encoded never holds a space, an equals sign or a control character.

/// `+XX` for everything but printable ASCII without `+` and `=`.
pub fn encode(plain: &[u8], out: &mut Vec<u8>) {
    for &b in plain {
        if matches!(b, b'!'..=b'~') && b != b'+' && b != b'=' {
            out.push(b);
        } else {
            out.extend_from_slice(&[b'+', HEX_DIGITS[usize::from(b >> 4)], HEX_DIGITS[usize::from(b & 15)]]);
        }
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The octets; `None` when it is no xtext.
#[must_use]
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(b) = octets.next() {
        match b {
            b'+' => plain.push(hex(octets.next()?)? << 4 | hex(octets.next()?)?),
            b'=' => return None,
            b'!'..=b'~' => plain.push(b),
            _ => return None,
        }
    }
    Some(plain)
}

/// RFC 3461 §4: hexadecimal digits are upper case. TOLERATES: lower case too (docs/quirk.md#xtext-lower-case).
fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// As text of printable characters, as ENVID and ORCPT must be once decoded.
#[must_use]
pub fn decode_printable(text: &str) -> Option<String> {
    let plain = String::from_utf8(decode(text)?).ok()?;
    plain.bytes().all(|b| matches!(b, b' '..=b'~')).then_some(plain)
}

/// An atom of RFC 3461 §4.2: `rfc822`, `utf-8`, `x400`.
#[must_use]
pub fn is_address_type(kind: &str) -> bool {
    !kind.is_empty() && kind.len() <= 32 && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// Which of the two forms of RFC 6533 §3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Utf8Form {
    /// ASCII only, for peers without SMTPUTF8.
    Xtext,
    /// UTF-8 as it is.
    Unitext,
}

/// `\x{HEX}` for what may not stand there as it is.
pub fn encode_utf8_address(address: &str, form: Utf8Form, out: &mut Vec<u8>) {
    for c in address.chars() {
        let plain = match c {
            '\\' | '+' | '=' => false,
            '!'..='~' => true,
            _ => form == Utf8Form::Unitext && !c.is_ascii() && !c.is_control(),
        };
        if plain {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        } else {
            // RFC 6533 §3: at least two digits, upper case.
            out.extend_from_slice(format!("\\x{{{:02X}}}", u32::from(c)).as_bytes());
        }
    }
}

/// The address; `None` when it is in neither form, or holds a control character.
#[must_use]
pub fn decode_utf8_address(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = rest.get(c.len_utf8()..).unwrap_or_default();
        let decoded = match c {
            '\\' => {
                let (digits, left) = rest.strip_prefix("x{")?.split_once('}')?;
                rest = left;
                let fits = (2..=6).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_hexdigit());
                char::from_u32(fits.then(|| u32::from_str_radix(digits, 16).ok()).flatten()?)?
            }
            '+' | '=' | ' ' => return None,
            c => c,
        };
        if decoded.is_control() {
            return None;
        }
        plain.push(decoded);
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn xtext() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(decode(text).as_deref(), expect.map(str::as_bytes), "{text}");
        check("QQ314159", Some("QQ314159"));
        check("a+2Bb+3D", Some("a+b="));
        check("a+2bb", Some("a+b"));
        check("a+2", None);
        check("a+GG", None);
        check("a=b", None);
        check("a b", None);
        assert_eq!(decode_printable("a+0D+0ARCPT"), None, "a decoded CRLF is refused");
    }

    #[test]
    fn utf8_addresses() {
        let check = |text: &str, expect: Option<&str>| assert_eq!(decode_utf8_address(text).as_deref(), expect, "{text}");
        check("\\x{592A}\\x{90CE}@example.jp", Some("太郎@example.jp"));
        check("太郎@example.jp", Some("太郎@example.jp"));
        check("a\\x{2B}b@example.jp", Some("a+b@example.jp"));
        check("\\x{0A}@example.jp", None);
        check("\\x{D800}@example.jp", None);
        check("\\x{}@example.jp", None);
        check("a+b@example.jp", None);
        check("\\y@example.jp", None);
    }

    proptest! {
        #[test]
        fn xtext_comes_back(plain in proptest::collection::vec(any::<u8>(), 0..80)) {
            let mut text = Vec::new();
            encode(&plain, &mut text);
            prop_assert!(text.iter().all(|b| matches!(b, b'!'..=b'~') && *b != b'='));
            prop_assert_eq!(decode(std::str::from_utf8(&text).unwrap()), Some(plain));
        }

        #[test]
        fn utf8_addresses_come_back(plain in "[^\\p{Cc}]{0,40}", unitext in any::<bool>()) {
            let form = if unitext { Utf8Form::Unitext } else { Utf8Form::Xtext };
            let mut text = Vec::new();
            encode_utf8_address(&plain, form, &mut text);
            let text = String::from_utf8(text).unwrap();
            prop_assert!(unitext || text.is_ascii());
            prop_assert_eq!(decode_utf8_address(&text), Some(plain));
        }
    }
}
