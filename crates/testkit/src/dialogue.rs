//! Dialogue files: does a protocol machine say what the file says?
//!
//! In:  the text of a `.dlg` file and a [`Party`], which is a machine in memory or a server behind a socket. Out: nothing, or the line that differs.
//! Invariants: reads no file itself; every line of the file is obeyed or an error.
//!
//! ```text
//! # comment
//! O: size-max 1000         a setting of the party, before anything else
//! S: 250 2.1.0 *           the next reply; `*` stands for any text. `250-…` is one line of a longer reply, anything else its last line:
//!                          lines in front of it that the file does not mention are passed over
//! C: EHLO client.example   a line of the client, sent with CRLF; lines that follow each other are sent in one piece
//! R: a\nb\x00              octets of the client as they are, with \r \n \t \\ \xHH
//! A: refuse 550 5.1.1 no   what policy answers to the next question; without: yes
//! Q: rcpt ann@*            a question that policy was asked, in order; those not mentioned are passed over
//! B: Subject: x\r\n        the message that was handed over
//! E: starttls              what happened: starttls, abandoned, close
//! ```
//! Behind the last line nothing more may have been said.

use std::fmt;

/// What a dialogue is played against.
pub trait Party {
    /// Takes a setting.
    fn option(&mut self, text: &str);
    /// Takes a scripted answer of policy.
    fn script(&mut self, text: &str);
    /// Takes octets of the client.
    fn send(&mut self, octets: &[u8]);
    /// The next reply line without its CRLF; `None`: there is none.
    fn reply_line(&mut self) -> Option<String>;
    /// The next question that was asked.
    fn question(&mut self) -> Option<String>;
    /// The next message that was handed over.
    fn message(&mut self) -> Option<Vec<u8>>;
    /// The next thing that happened.
    fn event(&mut self) -> Option<String>;
}

/// A file, read.
#[derive(Clone, Debug)]
pub struct Dialogue {
    steps: Vec<Step>,
}

#[derive(Clone, Debug)]
struct Step {
    line: usize,
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Option,
    Reply,
    ClientLine,
    ClientOctets,
    Answer,
    Question,
    Message,
    Event,
}

/// Where file and party differ, or what in the file can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Of the file, from 1; behind the last one for what should not have been said.
    pub line: usize,
    /// What the file says.
    pub expected: String,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: expected {:?}, found {:?}", self.line, self.expected, self.found)
    }
}

impl std::error::Error for Difference {}

impl Dialogue {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`Difference`] at a line that has no meaning.
    pub fn parse(text: &str) -> Result<Self, Difference> {
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let unknown = || Difference {
                line: index + 1,
                expected: String::from("O: S: C: R: A: Q: B: E: or #"),
                found: line.to_owned(),
            };
            let (tag, text) = line.split_once(':').ok_or_else(unknown)?;
            let kind = match tag {
                "O" => Kind::Option,
                "S" => Kind::Reply,
                "C" => Kind::ClientLine,
                "R" => Kind::ClientOctets,
                "A" => Kind::Answer,
                "Q" => Kind::Question,
                "B" => Kind::Message,
                "E" => Kind::Event,
                _ => return Err(unknown()),
            };
            steps.push(Step {
                line: index + 1,
                kind,
                text: text.strip_prefix(' ').unwrap_or(text).to_owned(),
            });
        }
        Ok(Self { steps })
    }

    /// Whether the file has this setting.
    #[must_use]
    pub fn has_option(&self, name: &str) -> bool {
        self.steps.iter().any(|s| s.kind == Kind::Option && s.text == name)
    }

    /// Plays it.
    ///
    /// # Errors
    /// The first [`Difference`].
    pub fn play(&self, party: &mut dyn Party) -> Result<(), Difference> {
        let mut unsent = Vec::new();
        for step in &self.steps {
            match step.kind {
                Kind::Option => party.option(&step.text),
                Kind::Answer => party.script(&step.text),
                Kind::ClientLine => {
                    unsent.extend_from_slice(step.text.as_bytes());
                    unsent.extend_from_slice(b"\r\n");
                }
                Kind::ClientOctets => unsent.extend(unescape(&step.text)),
                Kind::Reply | Kind::Question | Kind::Message | Kind::Event => {
                    flush(&mut unsent, party);
                    let found = match step.kind {
                        Kind::Reply => reply(&step.text, party),
                        Kind::Question => search(&step.text, || party.question()),
                        Kind::Event => party.event().map_or(Found::Nothing, |e| compare(&step.text, e)),
                        _ => message(&step.text, party),
                    };
                    found.differs(step.line, &step.text)?;
                }
            }
        }
        flush(&mut unsent, party);
        let end = self.steps.last().map_or(1, |s| s.line + 1);
        match party.reply_line() {
            Some(line) => Found::Other(line).differs(end, "nothing"),
            None => Ok(()),
        }
    }
}

enum Found {
    Match,
    Other(String),
    Nothing,
}

impl Found {
    fn differs(self, line: usize, expected: &str) -> Result<(), Difference> {
        let found = match self {
            Self::Match => return Ok(()),
            Self::Other(found) => found,
            Self::Nothing => String::from("nothing"),
        };
        Err(Difference {
            line,
            expected: expected.to_owned(),
            found,
        })
    }
}

fn flush(unsent: &mut Vec<u8>, party: &mut dyn Party) {
    if !unsent.is_empty() {
        party.send(unsent);
        unsent.clear();
    }
}

fn compare(pattern: &str, found: String) -> Found {
    if matches(pattern, &found) {
        Found::Match
    } else {
        Found::Other(found)
    }
}

fn is_continued(line: &str) -> bool {
    line.as_bytes().get(3) == Some(&b'-')
}

fn reply(pattern: &str, party: &mut dyn Party) -> Found {
    while let Some(line) = party.reply_line() {
        if is_continued(pattern) || !is_continued(&line) {
            return compare(pattern, line);
        }
    }
    Found::Nothing
}

fn search(pattern: &str, mut next: impl FnMut() -> Option<String>) -> Found {
    let mut last = Found::Nothing;
    while let Some(text) = next() {
        last = compare(pattern, text);
        if matches!(last, Found::Match) {
            break;
        }
    }
    last
}

fn message(pattern: &str, party: &mut dyn Party) -> Found {
    match party.message() {
        Some(message) if message == unescape(pattern) => Found::Match,
        Some(message) => Found::Other(message.escape_ascii().to_string()),
        None => Found::Nothing,
    }
}

/// Whether `text` is of the form `pattern`, in which `*` stands for any text.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    true
}

/// `\r \n \t \\ \xHH`; a backslash before anything else stands for itself.
#[must_use]
pub fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        octets.extend_from_slice(before.as_bytes());
        let (octet, taken) = match escape.as_bytes() {
            [_, b'r', ..] => (b'\r', 2),
            [_, b'n', ..] => (b'\n', 2),
            [_, b't', ..] => (b'\t', 2),
            [_, b'\\', ..] => (b'\\', 2),
            [_, b'x', ..] => escape
                .get(2..4)
                .and_then(|hex| u8::from_str_radix(hex, 16).ok())
                .map_or((b'\\', 1), |octet| (octet, 4)),
            _ => (b'\\', 1),
        };
        octets.push(octet);
        rest = escape.get(taken..).unwrap_or_default();
    }
    octets.extend_from_slice(rest.as_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check = |pattern: &str, text: &str, expect: bool| assert_eq!(matches(pattern, text), expect, "{pattern} {text}");
        check("250 *", "250 2.0.0 Ok", true);
        check("250*", "250", true);
        check("*Ok", "250 2.0.0 Ok", true);
        check("250 * Ok", "250 2.0.0 Ok", true);
        check("250 * Ok", "250 Ok", false);
        check("250 2.0.0 Ok", "250 2.0.0 Ok!", false);
        check("*a*a", "a", false);
    }

    #[test]
    fn escapes() {
        assert_eq!(unescape("a\\r\\n\\x00\\\\\\q"), b"a\r\n\0\\\\q");
    }

    struct Echo(Vec<String>);

    impl Party for Echo {
        fn option(&mut self, _: &str) {}
        fn script(&mut self, _: &str) {}
        fn send(&mut self, octets: &[u8]) {
            self.0
                .extend(String::from_utf8_lossy(octets).lines().map(|line| format!("250 {line}")));
        }
        fn reply_line(&mut self) -> Option<String> {
            (!self.0.is_empty()).then(|| self.0.remove(0))
        }
        fn question(&mut self) -> Option<String> {
            None
        }
        fn message(&mut self) -> Option<Vec<u8>> {
            None
        }
        fn event(&mut self) -> Option<String> {
            None
        }
    }

    fn play(text: &str) -> Result<(), usize> {
        Dialogue::parse(text)
            .and_then(|d| d.play(&mut Echo(Vec::new())))
            .map_err(|d| d.line)
    }

    #[test]
    fn a_difference_names_its_line() {
        assert_eq!(play("# c\nC: a\nC: b\nS: 250 a\nS: 250 *\n"), Ok(()));
        assert_eq!(play("C: a\nS: 250 b\n"), Err(2));
        assert_eq!(play("C: a\nS: 250 a\nS: 250 a\n"), Err(3));
        assert_eq!(play("C: a\nC: b\nS: 250 a\n"), Err(4), "what was not expected is found at the end");
        assert_eq!(play("X: a\n"), Err(1));
    }
}
