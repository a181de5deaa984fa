//! Replies of a next hop: which code, which enhanced status, what text?
//!
//! In:  octets as they come. Out: one [`Reply`] at a time, text as UTF-8 without control characters, lines separated by `\n`.
//! Standards: RFC 5321 §4.2, RFC 2034. Invariants: at most [`REPLY_LINES_MAX`] lines of [`REPLY_LINE_KEPT_BYTES_MAX`] kept octets.

use crate::smtp::limits::{REPLY_LINE_BYTES_MAX, REPLY_LINE_KEPT_BYTES_MAX, REPLY_LINES_MAX};
use bytes::{Buf, BytesMut};
use mail::{EnhancedStatus, Reply, ReplyCode};

/// Why a next hop can't be understood. All of them are faults of the connection: waiting may help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line does not begin with a code from 200 to 599 and a separator, or the code changes from line to line.
    #[error("the server's reply does not have the form of SMTP")]
    Malformed,
    /// Too many lines, or one without end.
    #[error("the server's reply does not end")]
    Endless,
}

/// Puts replies together.
#[derive(Debug, Default)]
pub struct ReplyReader {
    code: Option<u16>,
    enhanced: Option<EnhancedStatus>,
    text: String,
    lines: usize,
    /// Octets of a line over the kept limit that have been thrown away; the line's end has yet to come.
    skipped: usize,
    /// The kept start of such a line.
    kept: Vec<u8>,
}

impl ReplyReader {
    /// Before the greeting.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes whole lines from `input`; `None` while the reply has not ended. What follows the reply stays in `input`.
    ///
    /// # Errors
    /// [`ReplyError`]: the connection is of no more use.
    pub fn read(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, ReplyError> {
        loop {
            // TOLERATES RFC 5321 §2.3.8: a reply line may end with a bare LF (docs/quirk.md#reply-bare-lf).
            let Some(end) = memchr::memchr(b'\n', input) else {
                self.keep_start(input)?;
                return Ok(None);
            };
            let last = if self.kept.is_empty() {
                let line = input.get(..end).unwrap_or_default();
                self.line(line)?
            } else {
                let mut line = std::mem::take(&mut self.kept);
                let room = REPLY_LINE_KEPT_BYTES_MAX.saturating_sub(line.len()).min(end);
                line.extend_from_slice(input.get(..room).unwrap_or_default());
                self.skipped = 0;
                self.line(&line)?
            };
            input.advance(end + 1);
            if last {
                return Ok(Some(self.finish()));
            }
        }
    }

    fn keep_start(&mut self, input: &mut BytesMut) -> Result<(), ReplyError> {
        if input.len() + self.kept.len() <= REPLY_LINE_KEPT_BYTES_MAX {
            return Ok(());
        }
        let room = REPLY_LINE_KEPT_BYTES_MAX.saturating_sub(self.kept.len()).min(input.len());
        self.kept.extend_from_slice(input.get(..room).unwrap_or_default());
        self.skipped += input.len() - room;
        input.clear();
        if self.skipped > REPLY_LINE_BYTES_MAX {
            Err(ReplyError::Endless)
        } else {
            Ok(())
        }
    }

    /// Whether it was the last line of the reply.
    fn line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.get(..REPLY_LINE_KEPT_BYTES_MAX).unwrap_or(line);
        self.lines += 1;
        if self.lines > REPLY_LINES_MAX {
            return Err(ReplyError::Endless);
        }
        let (digits, rest) = line.split_first_chunk::<3>().ok_or(ReplyError::Malformed)?;
        let code = code(*digits).ok_or(ReplyError::Malformed)?;
        let (last, rest) = match rest.split_first() {
            // RFC 5321 §4.2.1: the text may be missing altogether.
            None => (true, rest),
            Some((b' ', rest)) => (true, rest),
            Some((b'-', rest)) => (false, rest),
            Some(_) => return Err(ReplyError::Malformed),
        };
        match self.code {
            None => self.code = Some(code),
            Some(first) if first == code => self.text.push('\n'),
            Some(_) => return Err(ReplyError::Malformed),
        }
        let text = String::from_utf8_lossy(rest);
        let text = self.without_status(&text, code);
        self.text.extend(text.chars().map(|c| if c.is_control() { '?' } else { c }));
        Ok(last)
    }

    /// RFC 2034 §4: each line repeats the enhanced status; its class must be that of the code.
    fn without_status<'t>(&mut self, text: &'t str, code: u16) -> &'t str {
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let status = EnhancedStatus::parse(word).filter(|s| u16::from(s.class) == code / 100);
        match status {
            Some(status) if self.lines == 1 => {
                self.enhanced = Some(status);
                rest
            }
            Some(status) if self.enhanced == Some(status) => rest,
            Some(_) | None => text,
        }
    }

    fn finish(&mut self) -> Reply {
        self.lines = 0;
        let code = self.code.take().unwrap_or_default();
        Reply {
            code: ReplyCode(code),
            enhanced: self.enhanced.take(),
            text: std::mem::take(&mut self.text).into(),
        }
    }
}

fn code(digits: [u8; 3]) -> Option<u16> {
    digits
        .iter()
        .all(u8::is_ascii_digit)
        .then(|| digits.iter().fold(0, |n, d| n * 10 + u16::from(d - b'0')))
        .filter(|c| (200..600).contains(c))
}
