//! Message octets of DATA and BDAT: where does the message end, what stands in it, what is wrong with it?
//!
//! In:  octets as they come. Out: the message with one leading dot of each line taken away, its size, a [`Violation`] if any.
//! Standards: RFC 5321 §4.5.2 (dots), §2.3.8 (line ends); RFC 3030 (BDAT has no dots); RFC 1870 §5 (what counts as size).
//! Invariants: only CRLF.CRLF ends DATA, whatever else is wrong; after a violation nothing more is given out, so memory stays bounded;
//!   what is given out holds neither bare CR nor bare LF.

use super::{BareNewline, Violation};

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimits {
    /// What becomes of a bare CR or LF.
    pub bare_newline: BareNewline,
    /// A line with its CRLF, octets.
    pub text_line_max: usize,
    /// The whole, octets.
    pub size_max: u64,
}

/// How the end is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// DATA: by a line with a single dot; leading dots are doubled.
    Dot,
    /// BDAT: by count, outside of this reader.
    Counted,
}

/// Where the reader stands between two octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart(Behind),
    /// A dot at the start of a line, not given out.
    Dot(Behind),
    /// And a CR behind it.
    DotCr(Behind),
    Text,
    /// A CR that has not been given out.
    Cr,
}

/// What stands before a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Behind {
    /// The start of the message or CRLF.
    TrueLineEnd,
    /// A bare CR or LF that we made a line end.
    Normalised,
}

/// Reads one body.
#[derive(Debug)]
pub struct BodyReader {
    limits: BodyLimits,
    framing: Framing,
    state: State,
    size: u64,
    line_bytes: usize,
    violation: Option<Violation>,
}

impl BodyReader {
    /// Before the first octet.
    #[must_use]
    pub fn new(framing: Framing, limits: BodyLimits) -> Self {
        Self {
            limits,
            framing,
            state: State::LineStart(Behind::TrueLineEnd),
            size: 0,
            line_bytes: 0,
            violation: None,
        }
    }

    /// Octets of the message so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The first thing that was wrong.
    #[must_use]
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Takes octets. `Some(n)`: the end of DATA stood at `n`, what follows is no message. `None`: all were taken.
    pub fn read(&mut self, input: &[u8], body: &mut Vec<u8>) -> Option<usize> {
        let mut at = 0;
        // From here to `at` stands message that has been looked at but not given out: runs of whole lines are copied at once.
        let mut run = 0;
        while let Some(&octet) = input.get(at) {
            match (self.state, octet) {
                (State::LineStart(behind), b'.') if self.framing == Framing::Dot => {
                    self.give(input.get(run..at), body);
                    at += 1;
                    run = at;
                    self.state = State::Dot(behind);
                }
                (State::Dot(behind), b'\r') => {
                    at += 1;
                    run = at;
                    self.state = State::DotCr(behind);
                }
                // RFC 5321 §4.1.1.4: the end is CRLF.CRLF and nothing else.
                (State::DotCr(Behind::TrueLineEnd), b'\n') => return Some(at + 1),
                (State::DotCr(Behind::Normalised) | State::Cr, b'\n') => {
                    at += 1;
                    run = at;
                    self.line_end(body);
                }
                (State::DotCr(_) | State::Cr, _) => self.bare(body),
                (State::LineStart(_) | State::Text | State::Dot(_), b'\n') => {
                    self.give(input.get(run..at), body);
                    at += 1;
                    run = at;
                    self.bare(body);
                }
                (State::LineStart(_) | State::Text, b'\r') if input.get(at + 1) == Some(&b'\n') => {
                    at += 2;
                    self.count_line_end();
                }
                (State::LineStart(_) | State::Text, b'\r') => {
                    self.give(input.get(run..at), body);
                    at += 1;
                    run = at;
                    self.state = State::Cr;
                }
                // RFC 5321 §4.5.2: behind a leading dot, which is taken away, stands text like any other.
                (State::LineStart(_) | State::Text | State::Dot(_), _) => {
                    let rest = input.get(at..).unwrap_or_default();
                    let text_bytes = memchr::memchr2(b'\r', b'\n', rest).unwrap_or(rest.len());
                    at += text_bytes;
                    self.count_text(text_bytes);
                }
            }
        }
        self.give(input.get(run..at), body);
        None
    }

    /// At the end of the last chunk of BDAT.
    pub fn finish_chunks(&mut self, body: &mut Vec<u8>) {
        match self.state {
            State::Cr => self.bare(body),
            // RFC 3030 lets the last line lack its CRLF, DATA does not; every message is kept in the form that DATA has.
            State::Text => self.line_end(body),
            State::LineStart(_) | State::Dot(_) | State::DotCr(_) => {}
        }
    }

    fn give(&self, octets: Option<&[u8]>, body: &mut Vec<u8>) {
        if self.violation.is_none() {
            body.extend_from_slice(octets.unwrap_or_default());
        }
    }

    fn line_end(&mut self, body: &mut Vec<u8>) {
        self.count_line_end();
        self.give(Some(b"\r\n"), body);
    }

    /// STRICTER RFC 5321 §2.3.8: a bare CR or LF is no line end; the message is refused (docs/quirk.md#smuggling).
    fn bare(&mut self, body: &mut Vec<u8>) {
        match self.limits.bare_newline {
            BareNewline::Refuse => {
                self.violation.get_or_insert(Violation::BareNewline);
                self.state = State::Text;
            }
            BareNewline::Normalise => {
                self.line_end(body);
                self.state = State::LineStart(Behind::Normalised);
            }
        }
    }

    fn count_line_end(&mut self) {
        self.state = State::LineStart(Behind::TrueLineEnd);
        self.line_bytes = 0;
        self.size = self.size.saturating_add(2);
        if self.size > self.limits.size_max {
            self.violation.get_or_insert(Violation::TooLarge);
        }
    }

    fn count_text(&mut self, text_bytes: usize) {
        self.state = State::Text;
        let line_room = self.limits.text_line_max.saturating_sub(2).saturating_sub(self.line_bytes);
        let size_room = usize::try_from(self.limits.size_max.saturating_sub(self.size)).unwrap_or(usize::MAX);
        if text_bytes > line_room.min(size_room) {
            // What a reader of single octets would have met first.
            let first = if line_room < size_room {
                Violation::LineTooLong
            } else {
                Violation::TooLarge
            };
            self.violation.get_or_insert(first);
        }
        self.line_bytes = self.line_bytes.saturating_add(text_bytes);
        self.size = self.size.saturating_add(text_bytes as u64);
    }
}

#[cfg(test)]
mod tests;
