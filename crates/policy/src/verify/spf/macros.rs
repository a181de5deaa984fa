//! The little language of domain names and explanations in SPF records.
//!
//! In: text with `%{…}`. Out: parsed once, expanded often.
//! Standards: RFC 7208 §7.
//! Invariants: a text that parses expands without failing; an expansion's length is bounded by the text's and the inputs'.

use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

/// What is wrong with a macro or a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum MacroError {
    /// `%` without what must follow.
    #[error("a % that begins no macro")]
    Percent,
    /// Letter, digits or delimiters that are none.
    #[error("a macro that does not exist")]
    Macro,
    /// RFC 7208 §7.1: `c`, `r`, `t` are for explanations.
    #[error("a macro that is for explanations only")]
    OnlyInExplanation,
    /// Not printable ASCII.
    #[error("a character that may not be there")]
    Character,
    /// RFC 7208 §7.1: a domain ends in a name with a letter in it, or in a macro.
    #[error("a domain that is none")]
    Domain,
}

/// Where the text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In a record.
    Record,
    /// In the text that `exp` leads to: spaces and more letters are allowed.
    Explanation,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Macro(Macro),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Macro {
    /// Lower case.
    letter: u8,
    /// Upper-case letter: URL-escaped.
    is_escaped: bool,
    /// Parts to keep from the right; all when absent.
    keep: Option<usize>,
    is_reversed: bool,
    delimiters: Vec<char>,
}

/// A parsed macro string.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MacroString(Vec<Piece>);

/// What macros stand for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    pub(super) client: IpAddr,
    pub(super) hello: &'a str,
    /// Local part of the sender.
    pub(super) local: &'a str,
    /// Domain of the sender.
    pub(super) sender_domain: &'a str,
    /// Domain whose record is looked at.
    pub(super) domain: &'a str,
    /// Confirmed name of the client, for `p`.
    pub(super) confirmed: &'a str,
    pub(super) receiver: &'a str,
    /// Seconds since 1970.
    pub(super) seconds: i64,
}

impl MacroString {
    pub(super) fn parse(text: &str, place: Place) -> Result<Self, MacroError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let after = rest.get(first.len_utf8()..).unwrap_or("");
            rest = match first {
                '%' => {
                    let second = after.chars().next().ok_or(MacroError::Percent)?;
                    let tail = after.get(second.len_utf8()..).unwrap_or("");
                    match second {
                        '%' => literal.push('%'),
                        '_' => literal.push(' '),
                        '-' => literal.push_str("%20"),
                        '{' => {
                            let (inside, tail) = tail.split_once('}').ok_or(MacroError::Percent)?;
                            if !literal.is_empty() {
                                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                            }
                            pieces.push(Piece::Macro(parse_macro(inside, place)?));
                            rest = tail;
                            continue;
                        }
                        _ => return Err(MacroError::Percent),
                    }
                    tail
                }
                ' ' if place == Place::Explanation => {
                    literal.push(' ');
                    after
                }
                '!'..='~' => {
                    literal.push(first);
                    after
                }
                _ => return Err(MacroError::Character),
            };
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Self(pieces))
    }

    /// A `domain-spec`: a macro string with the end of a domain.
    pub(super) fn parse_domain(text: &str) -> Result<Self, MacroError> {
        let parsed = Self::parse(text, Place::Record)?;
        let ends_in_macro = ["%%", "%_", "%-"].iter().any(|end| text.ends_with(end)) || matches!(parsed.0.last(), Some(Piece::Macro(_)));
        if ends_in_macro || has_top_label(text) {
            Ok(parsed)
        } else {
            Err(MacroError::Domain)
        }
    }

    /// Whether the client's confirmed name is needed, which costs look-ups.
    pub(super) fn needs_confirmed_name(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Macro(one) if one.letter == b'p'))
    }

    pub(super) fn expand(&self, values: &Values<'_>) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Macro(one) => one.expand_into(values, &mut text),
            }
        }
        text
    }

    /// As a domain name: without the root's dot, shortened from the left to what DNS can carry (RFC 7208 §7.3).
    pub(super) fn expand_domain(&self, values: &Values<'_>) -> String {
        let mut text = self.expand(values);
        text.truncate(text.strip_suffix('.').unwrap_or(&text).len());
        while text.len() > 253 {
            match text.split_once('.') {
                Some((_, rest)) => text = rest.to_owned(),
                None => break,
            }
        }
        text
    }
}

/// RFC 7208 §7.1: `macro-letter transformers *delimiter`.
fn parse_macro(inside: &str, place: Place) -> Result<Macro, MacroError> {
    let mut letters = inside.chars().peekable();
    let letter = letters.next().filter(char::is_ascii).ok_or(MacroError::Macro)?;
    let is_escaped = letter.is_ascii_uppercase();
    let letter = u8::try_from(letter.to_ascii_lowercase()).map_err(|_| MacroError::Macro)?;
    match letter {
        b's' | b'l' | b'o' | b'd' | b'i' | b'p' | b'v' | b'h' => {}
        b'c' | b'r' | b't' if place == Place::Explanation => {}
        b'c' | b'r' | b't' => return Err(MacroError::OnlyInExplanation),
        _ => return Err(MacroError::Macro),
    }
    let mut digits = String::new();
    while let Some(digit) = letters.next_if(char::is_ascii_digit) {
        digits.push(digit);
    }
    // More parts than a name can have mean all of them.
    let keep = if digits.is_empty() {
        None
    } else {
        Some(digits.parse::<usize>().unwrap_or(usize::MAX))
    };
    if keep == Some(0) {
        return Err(MacroError::Macro);
    }
    let is_reversed = letters.next_if(|letter| letter.eq_ignore_ascii_case(&'r')).is_some();
    let delimiters: Vec<char> = letters.collect();
    if delimiters
        .iter()
        .any(|delimiter| !matches!(delimiter, '.' | '-' | '+' | ',' | '/' | '_' | '='))
    {
        return Err(MacroError::Macro);
    }
    Ok(Macro {
        letter,
        is_escaped,
        keep,
        is_reversed,
        delimiters,
    })
}

impl Macro {
    fn expand_into(&self, values: &Values<'_>, text: &mut String) {
        let value = self.value(values);
        let is_delimiter = |letter: char| {
            if self.delimiters.is_empty() {
                letter == '.'
            } else {
                self.delimiters.contains(&letter)
            }
        };
        let is_plain = self.keep.is_none() && !self.is_reversed && self.delimiters.is_empty();
        let transformed: Cow<'_, str> = if is_plain {
            value
        } else {
            let mut parts: Vec<&str> = value.split(is_delimiter).collect();
            if self.is_reversed {
                parts.reverse();
            }
            let skip = self.keep.map_or(0, |keep| parts.len().saturating_sub(keep));
            Cow::Owned(parts.get(skip..).unwrap_or_default().join("."))
        };
        if self.is_escaped {
            escape_into(&transformed, text);
        } else {
            text.push_str(&transformed);
        }
    }

    /// RFC 7208 §7.2.
    fn value<'a>(&self, values: &Values<'a>) -> Cow<'a, str> {
        match self.letter {
            b's' => format!("{}@{}", values.local, values.sender_domain).into(),
            b'l' => values.local.into(),
            b'o' => values.sender_domain.into(),
            b'd' => values.domain.into(),
            b'i' => dotted(values.client).into(),
            b'p' => values.confirmed.into(),
            b'v' if values.client.is_ipv4() => "in-addr".into(),
            b'v' => "ip6".into(),
            b'h' => values.hello.into(),
            b'c' => values.client.to_string().into(),
            b'r' => values.receiver.into(),
            b't' => values.seconds.to_string().into(),
            _ => "".into(),
        }
    }
}

/// RFC 7208 §7.3: IPv6 as dotted nibbles.
fn dotted(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let nibbles: Vec<String> = v6
                .octets()
                .iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .map(|nibble| format!("{nibble:x}"))
                .collect();
            nibbles.join(".")
        }
    }
}

/// RFC 3986 §2.3: all but the unreserved characters.
fn escape_into(value: &str, text: &mut String) {
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

/// RFC 7208 §7.1: `"." toplabel [ "." ]` at the end of literal text.
fn has_top_label(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let Some((_, label)) = text.rsplit_once('.') else { return false };
    let is_alphanumeric = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    is_alphanumeric(label.chars().next())
        && is_alphanumeric(label.chars().next_back())
        && label.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '-')
        && label.chars().any(|letter| letter.is_ascii_alphabetic() || letter == '-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(client: &str) -> Values<'static> {
        Values {
            client: client.parse().unwrap(),
            hello: "mail.example.org",
            local: "strong-bad",
            sender_domain: "email.example.com",
            domain: "email.example.com",
            confirmed: "mx.example.org",
            receiver: "mx.receiver.example",
            seconds: 1_800_000_000,
        }
    }

    /// RFC 7208 §7.4 and its neighbourhood.
    #[test]
    fn expansion() {
        let check = |client: &str, text: &str, expect: &str| {
            assert_eq!(
                MacroString::parse(text, Place::Explanation).map(|parsed| parsed.expand(&values(client))),
                Ok(expect.to_owned()),
                "{text}"
            );
        };
        let v4 = "192.0.2.3";
        check(v4, "%{s}", "strong-bad@email.example.com");
        check(v4, "%{o}", "email.example.com");
        check(v4, "%{d4}", "email.example.com");
        check(v4, "%{d3}", "email.example.com");
        check(v4, "%{d2}", "example.com");
        check(v4, "%{d1}", "com");
        check(v4, "%{dr}", "com.example.email");
        check(v4, "%{d2r}", "example.email");
        check(v4, "%{l}", "strong-bad");
        check(v4, "%{l-}", "strong.bad");
        check(v4, "%{lr}", "strong-bad");
        check(v4, "%{lr-}", "bad.strong");
        check(v4, "%{l1r-}", "strong");
        check(v4, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com");
        check(v4, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com");
        check(
            v4,
            "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}",
            "bad.strong.lp.3.2.0.192.in-addr._spf.example.com",
        );
        check(
            "2001:db8::cb01",
            "%{ir}.%{v}",
            "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6",
        );
        check("2001:db8::cb01", "%{c}", "2001:db8::cb01");
        check(v4, "%{S}", "strong-bad%40email.example.com");
        check(
            v4,
            "%% %_ %- %{r} %{t} %{h} %{p}",
            "%   %20 mx.receiver.example 1800000000 mail.example.org mx.example.org",
        );
        check(v4, "%{d99999999999999999999999999}", "email.example.com");
    }

    #[test]
    fn what_is_no_macro() {
        let check = |text: &str, expect: MacroError| assert_eq!(MacroString::parse(text, Place::Record), Err(expect), "{text}");
        check("%", MacroError::Percent);
        check("%(o)", MacroError::Percent);
        check("%{o", MacroError::Percent);
        check("%{}", MacroError::Macro);
        check("%{q}", MacroError::Macro);
        check("%{é}", MacroError::Macro);
        check("%{d0}", MacroError::Macro);
        check("%{dr2}", MacroError::Macro);
        check("%{d;}", MacroError::Macro);
        check("%{c}", MacroError::OnlyInExplanation);
        check("a b", MacroError::Character);
        check("é", MacroError::Character);
    }

    #[test]
    fn domains() {
        let check = |text: &str, expect: bool| assert_eq!(MacroString::parse_domain(text).is_ok(), expect, "{text}");
        check("example.com", true);
        check("example.com.", true);
        check("%{d}", true);
        check("a.%{d}", true);
        check("a.b%-", true);
        check("com", false);
        check("example.123", false);
        check("example.1-2", true);
        check("example.-a", false);
        check("example.a-", false);
        check("example.c_m", false);
        check("%{d}.", false);
        check("", false);
    }

    #[test]
    fn long_expansions_lose_labels_on_the_left() {
        let text = format!("{}%{{d}}", "abcdefghi.".repeat(30));
        let expanded = MacroString::parse_domain(&text).unwrap().expand_domain(&values("192.0.2.3"));
        assert!(
            expanded.len() <= 253 && expanded.ends_with("abcdefghi.email.example.com"),
            "{expanded}"
        );
    }
}
