//! One command line of a client: which command, with which argument?
//!
//! In:  the line without its CRLF. Out: [`Command`], or the reply that says what is wrong.
//! Standards: RFC 5321 §4.1.1, RFC 3030, RFC 3207, RFC 4954. TOLERATES: spaces behind the argument (docs/quirk.md#trailing-space).
//! Invariants: what comes out holds no control character.

use super::reply;
use crate::sasl::Mechanism;
use crate::smtp::limits::HELLO_BYTES_MAX;
use mail::Reply;

/// A command whose argument has been cut out, and for some already read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'l> {
    /// With a usable name.
    Helo(&'l str),
    /// With a usable name or address literal.
    Ehlo(&'l str),
    /// What follows `MAIL FROM:`.
    Mail(&'l str),
    /// What follows `RCPT TO:`.
    Rcpt(&'l str),
    /// The text comes next.
    Data,
    /// So many octets come next.
    Bdat(Bdat),
    /// Forget the transaction.
    Rset,
    /// Nothing.
    Noop,
    /// Does someone exist?
    Vrfy,
    /// What do you understand?
    Help,
    /// The end.
    Quit,
    /// TLS from here on.
    StartTls,
    /// Log in.
    Auth(&'l str),
}

/// Argument of BDAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bdat {
    /// Octets that follow the line.
    pub octets: u64,
    /// Whether LAST stands behind the count.
    pub chunk: ChunkKind,
}

/// Whether the message goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// More chunks follow.
    More,
    /// LAST: the message is complete.
    Last,
}

impl<'l> Command<'l> {
    /// Reads a line.
    ///
    /// # Errors
    /// The reply to give.
    pub fn parse(line: &'l [u8]) -> Result<Self, Reply> {
        let text = std::str::from_utf8(line).map_err(|_| reply::LINE_FORM)?;
        if text.bytes().any(|b| b.is_ascii_control()) {
            return Err(reply::LINE_FORM);
        }
        let text = text.trim_end_matches(' ');
        let (verb, argument) = text.split_once(' ').unwrap_or((text, ""));
        let argument = argument.trim_start_matches(' ');
        let mut upper = [0; 8];
        match upper_case(verb, &mut upper) {
            b"EHLO" => hello(argument).map(Self::Ehlo),
            b"HELO" => hello(argument).map(Self::Helo),
            b"MAIL" => after(argument, "FROM:").map(Self::Mail).ok_or(reply::MAIL_FORM),
            b"RCPT" => after(argument, "TO:").map(Self::Rcpt).ok_or(reply::RCPT_FORM),
            b"DATA" => bare(argument, Self::Data),
            b"BDAT" => bdat(argument).map(Self::Bdat),
            b"RSET" => bare(argument, Self::Rset),
            b"NOOP" => Ok(Self::Noop),
            b"QUIT" => bare(argument, Self::Quit),
            b"STARTTLS" => bare(argument, Self::StartTls),
            b"AUTH" => Ok(Self::Auth(argument)),
            b"HELP" => Ok(Self::Help),
            b"VRFY" if argument.is_empty() => Err(reply::VRFY_FORM),
            b"VRFY" => Ok(Self::Vrfy),
            // RFC 5321 §4.2.4: 502 for commands that exist but not here; §F.1, §F.6 for the old ones.
            b"EXPN" | b"TURN" | b"ETRN" | b"ATRN" | b"SEND" | b"SOML" | b"SAML" => Err(reply::NOT_IMPLEMENTED),
            _ => Err(reply::UNKNOWN_COMMAND),
        }
    }
}

/// RFC 5321 §2.4: verbs know no case. Longer words than any verb stay unknown.
fn upper_case<'b>(verb: &str, buffer: &'b mut [u8; 8]) -> &'b [u8] {
    let Some(upper) = buffer.get_mut(..verb.len()) else { return b"" };
    upper.copy_from_slice(verb.as_bytes());
    upper.make_ascii_uppercase();
    upper
}

fn bare<'l>(argument: &str, command: Command<'l>) -> Result<Command<'l>, Reply> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(reply::NO_ARGUMENT)
    }
}

/// TOLERATES RFC 5321 §3.3: spaces behind the colon, which many programs write (docs/quirk.md#space-behind-colon).
fn after<'l>(argument: &'l str, word: &str) -> Option<&'l str> {
    let (start, rest) = argument.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then(|| rest.trim_start_matches(' '))
}

/// TOLERATES RFC 5321 §4.1.2: names that are no host name, such as those with `_` (docs/quirk.md#hello-name). Whether the name is believed is policy.
fn hello(argument: &str) -> Result<&str, Reply> {
    let usable = !argument.is_empty()
        && argument.len() <= HELLO_BYTES_MAX
        && argument.bytes().all(|b| b.is_ascii_graphic() && !b"<>()\"\\,;@".contains(&b))
        && argument.starts_with('[') == argument.ends_with(']');
    if usable { Ok(argument) } else { Err(reply::HELLO_FORM) }
}

fn bdat(argument: &str) -> Result<Bdat, Reply> {
    let (count, word) = argument.split_once(' ').unwrap_or((argument, ""));
    let octets = digits(count).ok_or(reply::BDAT_FORM)?;
    let chunk = match word.trim_start_matches(' ') {
        "" => ChunkKind::More,
        word if word.eq_ignore_ascii_case("LAST") => ChunkKind::Last,
        _ => return Err(reply::BDAT_FORM),
    };
    Ok(Bdat { octets, chunk })
}

/// One to twenty digits that fit (RFC 1870 §4, RFC 3030 §2).
fn digits(text: &str) -> Option<u64> {
    (text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit()))
        .then(|| text.parse().ok())
        .flatten()
}

/// Argument of AUTH: mechanism and initial response (still in base64).
///
/// # Errors
/// The reply to give.
pub fn auth_argument(argument: &str) -> Result<(Mechanism, Option<&str>), Reply> {
    let (name, response) = match argument.split_once(' ') {
        Some((name, response)) => (name, Some(response.trim_start_matches(' '))),
        None => (argument, None),
    };
    if name.is_empty() || response.is_some_and(|r| r.contains(' ')) {
        return Err(reply::AUTH_FORM);
    }
    Ok((Mechanism::parse(name).ok_or(reply::AUTH_MECHANISM)?, response))
}
