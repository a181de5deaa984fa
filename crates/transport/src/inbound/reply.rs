//! Replies: what is the client told, in which words? The only place where the text of a refusal stands.
//!
//! In:  a [`Refusal`] (reason and what it is about), the reference given to it, the tenant's switches. Out: a [`Reply`] of the form
//!      `<code> <enhanced> <text> <REASON>. ref=<ref> <public url>/r/<ref>`.
//! Standards: domains-and-routing 10; RFC 5321 §4.2, RFC 2034, RFC 3463.
//! Invariants: ASCII, one line of at most 512 octets with its code and CRLF, whose reference is never cut off; addresses are echoed escaped
//!   and cut at 254 octets; nothing tells of our inside. Texts of SYNTAX and of success are the session machine's; of 2yz only ACCEPTED is here.

mod catalogue;

pub use catalogue::{CATALOGUE, Form, Row};

use mail::{Address, Domain, QueueId, Reason, Reference, Reply};
use std::fmt::Write as _;
use std::net::IpAddr;

/// Octets of an echoed address.
const ECHO_BYTES_MAX: usize = 254;
/// RFC 5321 §4.5.3.1.5, less code, space, enhanced status (`5.7.25 `) and CRLF.
const TEXT_BYTES_MAX: usize = 512 - 4 - 7 - 2;

/// Why something is refused, and what the reason is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub reason: Reason,
    /// Which reply of the reason, where it has several.
    pub form: Form,
    /// Already escaped, for the place in the text.
    about: Option<Box<str>>,
    /// For tracking, never for the client: `rate-ip 2000/60 s`.
    pub detail: Option<Box<str>>,
}

impl Refusal {
    /// About nothing in particular.
    #[must_use]
    pub fn new(reason: Reason) -> Self {
        Self {
            reason,
            form: Form::Usual,
            about: None,
            detail: None,
        }
    }

    /// About an address, which is echoed.
    #[must_use]
    pub fn address(reason: Reason, address: &Address) -> Self {
        Self::about(reason, &format!("<{}>", escaped(&address.to_string())))
    }

    /// About an address as the client wrote it.
    #[must_use]
    pub fn text(reason: Reason, text: &str) -> Self {
        Self::about(reason, &format!("<{}>", escaped(text)))
    }

    /// About the client.
    #[must_use]
    pub fn client(reason: Reason, client: IpAddr) -> Self {
        Self::about(reason, &format!("<{client}>"))
    }

    /// About a domain or zone.
    #[must_use]
    pub fn domain(reason: Reason, domain: &Domain) -> Self {
        Self::about(reason, domain.as_str())
    }

    /// IP-DNSBL: the client, and the zone that lists it.
    #[must_use]
    pub fn listed(client: IpAddr, zone: &Domain) -> Self {
        Self::about(Reason::IpDnsbl, &format!("<{client}>: Listed by {zone}"))
    }

    /// About a number: octets, seconds.
    #[must_use]
    pub fn number(reason: Reason, number: u64) -> Self {
        Self::about(reason, &number.to_string())
    }

    fn about(reason: Reason, about: &str) -> Self {
        Self {
            about: Some(about.into()),
            ..Self::new(reason)
        }
    }

    /// Another reply of the same reason.
    #[must_use]
    pub fn with_form(mut self, form: Form) -> Self {
        self.form = form;
        self
    }

    /// With what tracking is told besides.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into().into());
        self
    }

    /// The reply. `switched` are the reasons that the tenant moved between 4yz and 5yz; only those marked **T** move.
    #[must_use]
    pub fn reply(&self, reference: Reference, public_url: &str, switched: &[Reason]) -> Reply {
        let row = catalogue::row(self.reason, self.form);
        let code = if row.switchable && switched.contains(&self.reason) {
            switched_code(row.code)
        } else {
            row.code
        };
        let mut tail = String::with_capacity(96);
        // Writing to a string cannot fail.
        let _ = write!(tail, " {}. ref={reference} {public_url}/r/{reference}", self.reason);
        let room = TEXT_BYTES_MAX.saturating_sub(tail.len());
        let mut text = match (&self.about, row.text.split_once("{}")) {
            (Some(about), Some((before, after))) => {
                let about_room = room.saturating_sub(before.len() + after.len());
                format!("{before}{}{after}", cut(about, about_room))
            }
            (None, Some((before, after))) => format!("{before}{}", after.trim_start_matches(": ")),
            (_, None) => row.text.to_owned(),
        };
        text.truncate(room);
        text.push_str(&tail);
        Reply::new(code, row.subject, row.detail, "").with_text(text)
    }
}

/// `250 2.0.0 Accepted, queue id …`: one id per tenant, separated by commas.
#[must_use]
pub fn accepted(ids: impl Iterator<Item = QueueId>) -> Reply {
    let mut text = String::from("Accepted, queue id ");
    for (place, id) in ids.enumerate() {
        // Writing to a string cannot fail.
        let _ = if place == 0 { write!(text, "{id}") } else { write!(text, ",{id}") };
    }
    Reply::new(250, 0, 0, "").with_text(text)
}

/// 550 becomes 450 and back; the enhanced status follows the code.
fn switched_code(code: u16) -> u16 {
    match code {
        450 | 451 => 550,
        _ => 450,
    }
}

/// Printable ASCII stays; everything else is written as `\u{…}`, and the whole is cut at 254 octets, never within an escape.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(ECHO_BYTES_MAX));
    for c in text.chars() {
        let before = out.len();
        match c {
            ' '..='~' if c != '\\' => out.push(c),
            _ => out.extend(c.escape_unicode()),
        }
        if out.len() > ECHO_BYTES_MAX {
            out.truncate(before);
            break;
        }
    }
    out
}

/// Cut to `room` octets; the closing bracket of an address stays. The text is ASCII.
fn cut(about: &str, room: usize) -> String {
    if about.len() <= room {
        return about.to_owned();
    }
    let closing = if about.ends_with('>') { ">" } else { "" };
    let kept = about.get(..room.saturating_sub(closing.len())).unwrap_or_default();
    format!("{kept}{closing}")
}

#[cfg(test)]
mod tests;
