//! Dot-stuffing: message octets to DATA octets, in chunks of any size.
//!
//! In:  the message in pieces. Out: the same with leading dots doubled, and the end of data.
//! Standards: RFC 5321 §4.5.2. STRICTER RFC 5321 §2.3.8: a message with a bare CR or LF is not sent at all (docs/quirk.md#smuggling).
//! Invariants: what the receiver unstuffs is what we were given, with a CRLF added when the last line had none.

/// The message has a bare CR or LF: it must not leave. It can't have come in that way either, so this is our own fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message has a bare CR or LF")]
pub struct BareNewlineFound;

/// The state between two pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuffer {
    last: Last,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    LineEnd,
    CarriageReturn,
    Text,
}

impl Default for Stuffer {
    fn default() -> Self {
        Self::new()
    }
}

impl Stuffer {
    /// At the start of the message.
    #[must_use]
    pub fn new() -> Self {
        Self { last: Last::LineEnd }
    }

    /// Appends the stuffed form of the next piece.
    ///
    /// # Errors
    /// [`BareNewlineFound`]: drop the connection without the final dot.
    pub fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), BareNewlineFound> {
        let mut rest = piece;
        // Octets of `rest` that are checked and go out unchanged.
        let mut run = 0;
        while let Some(&next) = rest.get(run) {
            match (self.last, next) {
                (Last::CarriageReturn, b'\n') => {
                    self.last = Last::LineEnd;
                    run += 1;
                }
                (Last::CarriageReturn, _) | (_, b'\n') => return Err(BareNewlineFound),
                (_, b'\r') => {
                    self.last = Last::CarriageReturn;
                    run += 1;
                }
                (Last::LineEnd, b'.') => {
                    let (done, left) = rest.split_at(run);
                    out.extend_from_slice(done);
                    out.push(b'.');
                    rest = left;
                    run = 1;
                    self.last = Last::Text;
                }
                (Last::LineEnd | Last::Text, _) => {
                    let tail = rest.get(run..).unwrap_or_default();
                    run += memchr::memchr2(b'\r', b'\n', tail).unwrap_or(tail.len());
                    self.last = Last::Text;
                }
            }
        }
        out.extend_from_slice(rest);
        Ok(())
    }

    /// Appends the end of data.
    ///
    /// # Errors
    /// [`BareNewlineFound`] when the message ends with a lone CR.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), BareNewlineFound> {
        match self.last {
            Last::LineEnd => out.extend_from_slice(b".\r\n"),
            // RFC 5321 §4.1.1.4: the CRLF before the dot belongs to the message; the last line gets the one it lacks.
            Last::Text => out.extend_from_slice(b"\r\n.\r\n"),
            Last::CarriageReturn => return Err(BareNewlineFound),
        }
        Ok(())
    }
}

/// For whole messages in memory: stuffed, with the end of data.
///
/// # Errors
/// As [`Stuffer::write`].
pub fn end_of_data(message: &[u8], out: &mut Vec<u8>) -> Result<(), BareNewlineFound> {
    let mut stuffer = Stuffer::new();
    stuffer.write(message, out)?;
    stuffer.finish(out)
}
