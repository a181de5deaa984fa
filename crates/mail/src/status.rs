//! Replies of SMTP as values that cannot contradict themselves.
//!
//! The class digit of an enhanced status (RFC 3463) always follows the reply code (RFC 5321 §4.2).

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// Whether waiting helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// 2yz and 3yz.
    Success,
    /// 4yz.
    Transient,
    /// 5yz.
    Permanent,
}

/// Three digits, 200 to 599.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReplyCode(pub u16);

impl ReplyCode {
    /// Anything outside 200–599 counts as transient: an unreadable reply must never destroy mail.
    #[must_use]
    pub fn class(self) -> Class {
        match self.0 {
            200..=399 => Class::Success,
            500..=599 => Class::Permanent,
            _ => Class::Transient,
        }
    }
}

/// `class.subject.detail` of RFC 3463.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EnhancedStatus {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about.
    pub subject: u16,
    /// More exactly.
    pub detail: u16,
}

impl EnhancedStatus {
    /// `x.y.z`; `None` when the text is something else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let class = parts.next()?.parse().ok().filter(|c| matches!(c, 2 | 4 | 5))?;
        let subject = number(parts.next()?)?;
        let detail = number(parts.next()?)?;
        parts.next().is_none().then_some(Self { class, subject, detail })
    }
}

fn number(text: &str) -> Option<u16> {
    (text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

impl fmt::Display for EnhancedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// A reply: code, enhanced status, text of one or more lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Three digits.
    pub code: ReplyCode,
    /// RFC 2034; absent in greetings, EHLO and 354.
    pub enhanced: Option<EnhancedStatus>,
    /// Without code, enhanced status and line ends; lines are separated by `\n`.
    pub text: Cow<'static, str>,
}

impl Reply {
    /// The class digit of the enhanced status is taken from the code.
    #[must_use]
    pub const fn new(code: u16, subject: u16, detail: u16, text: &'static str) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "one digit")]
        let class = (code / 100) as u8;
        Self {
            code: ReplyCode(code),
            enhanced: Some(EnhancedStatus { class, subject, detail }),
            text: Cow::Borrowed(text),
        }
    }

    /// Without an enhanced status.
    #[must_use]
    pub const fn bare(code: u16, text: &'static str) -> Self {
        Self {
            code: ReplyCode(code),
            enhanced: None,
            text: Cow::Borrowed(text),
        }
    }

    /// The same reply with another text.
    #[must_use]
    pub fn with_text(mut self, text: impl Into<Cow<'static, str>>) -> Self {
        self.text = text.into();
        self
    }

    /// Whether waiting helps.
    #[must_use]
    pub fn class(&self) -> Class {
        self.code.class()
    }

    /// Appends the wire form: every line with code, separator, enhanced status, text, CRLF.
    /// A line over 512 octets is cut (RFC 5321 §4.5.3.1.5); control characters become `?`, so no text can forge a second line.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut lines = self.text.split('\n').peekable();
        while let Some(line) = lines.next() {
            let start = out.len();
            out.extend_from_slice(self.code.0.to_string().as_bytes());
            out.push(if lines.peek().is_some() { b'-' } else { b' ' });
            if let Some(e) = self.enhanced {
                out.extend_from_slice(e.to_string().as_bytes());
                out.push(b' ');
            }
            out.extend(line.bytes().map(|b| if b.is_ascii_control() { b'?' } else { b }));
            out.truncate(start + 510);
            while out.last() == Some(&b' ') {
                out.pop();
            }
            out.extend_from_slice(b"\r\n");
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code.0)?;
        if let Some(e) = self.enhanced {
            write!(f, " {e}")?;
        }
        if self.text.is_empty() {
            Ok(())
        } else {
            write!(f, " {}", self.text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn class_digit_follows_the_code_and_lines_are_cut() {
        let reply = Reply::new(452, 5, 3, "too many\nsecond\u{7}");
        let mut out = Vec::new();
        reply.write_to(&mut out);
        assert_eq!(out, b"452-4.5.3 too many\r\n452 4.5.3 second?\r\n");
        let mut long = Vec::new();
        Reply::new(550, 1, 1, "").with_text("x".repeat(2000)).write_to(&mut long);
        assert_eq!(long.len(), 512);
    }

    #[test]
    fn enhanced_status_parses_or_is_none() {
        assert_eq!(EnhancedStatus::parse("5.1.1").map(|e| e.to_string()).as_deref(), Some("5.1.1"));
        for bad in ["3.1.1", "5.1", "5.1.1.1", "5.1.x", "5.1000.1", ""] {
            assert_eq!(EnhancedStatus::parse(bad), None, "{bad}");
        }
    }
}
