//! Delivery status notifications: how do we tell the sender what became of a message?
//!
//! In: one message or several, what became of each recipient, addresses, date, Message-ID and boundary given by the caller.
//! Out: a whole message in CRLF lines of at most 998 octets, and what it needs of the next hop.
//! Standards: RFC 3464 (form), RFC 3461 §6 (when and what), RFC 6522 (multipart/report), RFC 6533 (UTF-8 addresses), RFC 3834 §5.
//! Invariants: the null reverse path is the caller's; nothing from outside can add a field, a line or a part; seven-bit, unless the
//! original has eight-bit octets and comes back whole.

mod encode;
mod human;
mod machine;

use crate::text::{self, Lang};
use crate::{Address, EnhancedStatus, QueueId, Reason, Timestamp};
use encode::{Part, base64_lines, encoded_words, push_part, quoted_printable};

/// RFC 3461 §4.3 lets us choose the header section instead when the message is large.
pub const FULL_BYTES_MAX: usize = 1024 * 1024;
/// domains-and-routing 11.2.
pub const HEADER_BYTES_MAX: usize = 64 * 1024;
const LINE_BYTES_MAX: usize = 998;

/// What became of a recipient (RFC 3464 §2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Delivered to a mailbox.
    Delivered,
    /// Handed to a system that makes no notifications of success (RFC 3461 §6.2.3).
    Relayed,
    /// Still tried.
    Delayed,
    /// Given up.
    Failed,
}

impl Kind {
    /// The `Action` of RFC 3464 §2.3.3; also the kind of the tracking event.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
            Self::Delayed => "delayed",
            Self::Failed => "failed",
        }
    }
}

/// What is told of one recipient.
#[derive(Clone, Debug)]
pub struct RecipientStatus<'a> {
    /// What became of it.
    pub kind: Kind,
    /// ORCPT as `type;address`, decoded; told only when the client gave it (RFC 3464 §2.3.1).
    pub original_recipient: Option<&'a str>,
    /// Where it was sent.
    pub final_recipient: &'a Address,
    /// RFC 3463.
    pub status: EnhancedStatus,
    /// Host that said so; `None`: we did.
    pub remote_mta: Option<&'a str>,
    /// Its reply, or our error.
    pub diagnostic: Option<&'a str>,
    /// Only for delays.
    pub will_retry_until: Option<Timestamp>,
    /// Our reason code.
    pub reason: Option<Reason>,
    /// When it was last tried.
    pub last_attempt: Option<Timestamp>,
}

/// What comes back of the message itself.
#[derive(Clone, Copy, Debug)]
pub enum Original<'a> {
    /// Nothing.
    None,
    /// The header section, or more: what stands behind it is cut off (RET=HDRS, successes, delays).
    Header(&'a [u8]),
    /// All of it (RET=FULL); falls back to the header section when it is over [`FULL_BYTES_MAX`] or has lines that may not be sent.
    Full(&'a [u8]),
}

/// One message that is reported.
#[derive(Clone, Debug)]
pub struct Reported<'a> {
    /// Our name for it.
    pub queue_id: QueueId,
    /// When we accepted it.
    pub arrived_at: Timestamp,
    /// ENVID, decoded.
    pub envid: Option<&'a str>,
    /// Its subject, decoded.
    pub subject: Option<&'a str>,
    /// Its Message-ID field.
    pub message_id: Option<&'a str>,
    /// At least one.
    pub recipients: Vec<RecipientStatus<'a>>,
    /// What comes back of it; ignored when several messages are combined.
    pub original: Original<'a>,
}

/// A notification to be made.
#[derive(Clone, Debug)]
pub struct Report<'a> {
    /// From: the mailer daemon.
    pub from: &'a Address,
    /// To: the reverse path of the messages.
    pub to: &'a Address,
    /// Date.
    pub at: Timestamp,
    /// Message-ID, without brackets.
    pub message_id: &'a str,
    /// Letters and digits that nobody can guess.
    pub boundary: &'a str,
    /// Our host name.
    pub reporting_mta: &'a str,
    /// Which language stands first.
    pub first: Lang,
    /// One, or several that are combined (domains-and-routing 11.2).
    pub messages: &'a [Reported<'a>],
}

/// A finished notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dsn {
    /// Header section and body.
    pub bytes: Vec<u8>,
    /// Its own header section has UTF-8 (the sender's address): the next hop must offer SMTPUTF8.
    pub needs_smtputf8: bool,
    /// The next hop must offer 8BITMIME.
    pub has_eight_bit: bool,
}

impl Report<'_> {
    /// Writes it.
    #[must_use]
    pub fn build(&self) -> Dsn {
        let original = match self.messages {
            [message] => original_part(message.original),
            _ => None,
        };
        let human = Part {
            content_type: String::from("text/plain; charset=utf-8"),
            encoding: "base64",
            description: "Notification",
            body: base64_lines(human::text(self).as_bytes()),
        };
        let parts: Vec<Part> = [Some(human), Some(machine::part(self)), original].into_iter().flatten().collect();
        let boundary = free_boundary(self.boundary, &parts);
        let mut out = Vec::with_capacity(4_096 + parts.iter().map(|p| p.body.len()).sum::<usize>());
        self.push_header(&boundary, &parts, &mut out);
        for part in &parts {
            push_part(&boundary, part, &mut out);
        }
        out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
        let has_eight_bit = parts.iter().any(|p| !p.body.is_ascii());
        Dsn {
            bytes: out,
            needs_smtputf8: self.to.needs_smtputf8() || self.from.needs_smtputf8(),
            has_eight_bit,
        }
    }

    /// The worst that is told: it gives the subject.
    fn kind(&self) -> Kind {
        self.messages
            .iter()
            .flat_map(|m| &m.recipients)
            .map(|r| r.kind)
            .max()
            .unwrap_or(Kind::Failed)
    }

    /// The subject, in both languages.
    #[must_use]
    pub fn subject(&self) -> String {
        let subject = |lang| match self.messages {
            [_] => text::get(lang, &format!("dsn.{}.subject", self.kind().as_str()), &[]),
            several => text::get(lang, "dsn.combined.subject", &[("count", &several.len().to_string())]),
        };
        format!("{} / {}", subject(self.first), subject(self.first.other()))
    }

    fn push_header(&self, boundary: &str, parts: &[Part], out: &mut Vec<u8>) {
        let name = encoded_words(&text::get(self.first, "dsn.sender-name", &[]));
        let encoding = if parts.iter().all(|p| p.body.is_ascii()) { "7bit" } else { "8bit" };
        let mut head = format!(
            "From: {name} <{}>\r\nTo: <{}>\r\nSubject: {}\r\nDate: {}\r\nMessage-ID: <{}>\r\n",
            self.from,
            self.to,
            encoded_words(&self.subject()),
            self.at.to_rfc5322(),
            self.message_id,
        );
        if let [message] = self.messages
            && let Some(id) = message.message_id.filter(|id| is_message_id(id))
        {
            head.push_str(&format!("In-Reply-To: {id}\r\nReferences: {id}\r\n"));
        }
        // RFC 3834 §5: nobody shall answer this; §3.1.7: auto-replied, as it is caused by a message.
        head.push_str("Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n");
        head.push_str(&format!(
            "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"{boundary}\"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
        ));
        head.push_str("This is a MIME-encapsulated delivery status notification.\r\n\r\n");
        out.extend_from_slice(head.as_bytes());
    }
}

/// Printable ASCII in brackets and not long: safe to repeat in our own header section.
fn is_message_id(id: &str) -> bool {
    id.len() <= 250 && id.starts_with('<') && id.ends_with('>') && id.bytes().all(|b| b.is_ascii_graphic())
}

/// RFC 2046 §5.1.1: a boundary must not occur in what it separates.
fn free_boundary(wished: &str, parts: &[Part]) -> String {
    let mut boundary: String = wished.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    if boundary.is_empty() {
        boundary.push_str("mitsuke");
    }
    // Each step is longer than what was found; a body of a million octets can't hold all of them.
    while boundary.len() < 69 && parts.iter().any(|p| memchr::memmem::find(&p.body, boundary.as_bytes()).is_some()) {
        boundary.push('x');
    }
    boundary
}

fn original_part(original: Original<'_>) -> Option<Part> {
    match original {
        Original::None => None,
        Original::Header(octets) => Some(header_part(octets)),
        Original::Full(octets) => Some(full_part(octets).unwrap_or_else(|| header_part(octets))),
    }
}

/// RFC 6522 §4 (text/rfc822-headers), RFC 6533 §6 (message/global-headers).
fn header_part(octets: &[u8]) -> Part {
    let section = header_section(octets);
    let is_utf8 = !section.is_ascii() && std::str::from_utf8(section).is_ok();
    let content_type = String::from(if is_utf8 { "message/global-headers" } else { "text/rfc822-headers" });
    let clean = section.is_ascii() && has_sendable_lines(section);
    let (encoding, body) = if clean {
        ("7bit", section.to_vec())
    } else {
        ("quoted-printable", quoted_printable(section))
    };
    Part {
        content_type,
        encoding,
        description: "Header of the original message",
        body,
    }
}

/// RFC 2046 §5.2.1: message/rfc822 may not be encoded; message/global may (RFC 6532 §3.7).
fn full_part(octets: &[u8]) -> Option<Part> {
    if octets.len() > FULL_BYTES_MAX || !has_sendable_lines(octets) {
        return None;
    }
    let description = "Original message";
    let header = header_section(octets);
    if !header.is_ascii() && std::str::from_utf8(header).is_ok() {
        return Some(Part {
            content_type: String::from("message/global"),
            encoding: "base64",
            description,
            body: base64_lines(octets),
        });
    }
    let encoding = if octets.is_ascii() { "7bit" } else { "8bit" };
    Some(Part {
        content_type: String::from("message/rfc822"),
        encoding,
        description,
        body: octets.to_vec(),
    })
}

/// Up to the empty line, whole lines, at most [`HEADER_BYTES_MAX`].
fn header_section(octets: &[u8]) -> &[u8] {
    let window = octets.get(..HEADER_BYTES_MAX).unwrap_or(octets);
    if window.starts_with(b"\r\n") {
        return b"";
    }
    let end = memchr::memmem::find(window, b"\r\n\r\n").map(|at| at + 2);
    let end = end.unwrap_or_else(|| match window.len() == octets.len() {
        true => window.len(),
        false => memchr::memrchr(b'\n', window).map_or(window.len(), |at| at + 1),
    });
    window.get(..end).unwrap_or(window)
}

/// No NUL, no bare CR or LF, no line over 998 octets (RFC 5321 §4.5.3.1.6, RFC 5322 §2.1.1).
fn has_sendable_lines(octets: &[u8]) -> bool {
    octets.split_inclusive(|b| *b == b'\n').all(|line| {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        text.len() <= LINE_BYTES_MAX && !text.iter().any(|b| matches!(b, 0 | b'\r' | b'\n'))
    })
}

#[cfg(test)]
mod tests;
