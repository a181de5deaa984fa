//! Trace fields: what do we put in front of a message, and how often has it been here?
//!
//! In: how a message came, a queue id, the time, the installation's stamp key. Out: a folded `Received:` field; counts over a header section.
//! Standards: RFC 5321 §4.4 (form, hops), RFC 3848 and RFC 6531 §4.3 (`with`), RFC 5322 §3.6.7 and §3.3 (date).
//! Invariants: the field is ASCII unless the message came with SMTPUTF8; nothing a client says can end a line, a comment or the field.
//!
//! The stamp: `(mitsuke-stamp <32 hex digits>)` behind the queue id, HMAC-SHA-256 cut to 128 bits over queue id and date as printed.
//! Only this installation can make one, so that strangers' fields neither count as our passes nor hide them. A stamp that occurs
//! twice counts once: each pass has a queue id of its own, and a copied field is no pass.

use crate::header::{Field, fields};
use crate::{Address, Domain, QueueId, Timestamp};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How many fields that look like ours are checked; a hostile header section can hold thousands.
const STAMPS_CHECKED_MAX: usize = 100;
const STAMP_BYTES: usize = 16;
const STAMP_MARK: &str = "(mitsuke-stamp ";
/// RFC 5321 §4.5.3.1.2.
const NAME_BYTES_MAX: usize = 255;

/// How the message was handed to us: what stands behind `with`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts of one session, each a letter of the protocol's name"
)]
pub struct Transmission {
    /// EHLO, not HELO.
    pub extended: bool,
    /// Within TLS.
    pub tls: bool,
    /// After AUTH.
    pub authenticated: bool,
    /// MAIL FROM had SMTPUTF8.
    pub smtputf8: bool,
}

impl Transmission {
    /// RFC 3848, RFC 6531 §4.3: the registered name of the protocol.
    #[must_use]
    pub fn protocol(self) -> &'static str {
        match (self.smtputf8, self.extended, self.tls, self.authenticated) {
            (true, _, false, false) => "UTF8SMTP",
            (true, _, true, false) => "UTF8SMTPS",
            (true, _, false, true) => "UTF8SMTPA",
            (true, _, true, true) => "UTF8SMTPSA",
            (false, true, false, false) => "ESMTP",
            (false, true, true, false) => "ESMTPS",
            (false, true, false, true) => "ESMTPA",
            (false, true, true, true) => "ESMTPSA",
            // AUTH and STARTTLS need EHLO; a HELO afterwards does not undo them, but has no name of its own.
            (false, false, _, _) => "SMTP",
        }
    }
}

/// Who handed it to us.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// What it called itself.
    pub hello: &'a str,
    /// Its address.
    pub address: IpAddr,
    /// Its name, only when confirmed forward (iprev pass).
    pub name: Option<&'a str>,
    /// TLS version and cipher suite, both as we name them in tracking.
    pub tls: Option<(&'a str, &'a str)>,
    /// How.
    pub transmission: Transmission,
}

/// What the field tells.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// From whom; `None` for what was made here (DSN, notice).
    pub client: Option<Client<'a>>,
    /// Our host name.
    pub by: &'a str,
    /// Our name for the message.
    pub queue_id: QueueId,
    /// The recipient, only when there is exactly one: the field must not tell blind copies (RFC 5321 §7.2).
    pub recipient: Option<&'a Address>,
    /// When.
    pub at: Timestamp,
}

impl Received<'_> {
    /// The whole field, folded, with CRLF at its end.
    #[must_use]
    pub fn to_field(&self, key: &StampKey) -> String {
        let mut out = String::with_capacity(512);
        let mut utf8 = false;
        match self.client {
            Some(client) => {
                utf8 = client.transmission.smtputf8;
                push_client(&mut out, client);
                out.push_str("\r\n\tby ");
                push_name(&mut out, self.by);
                out.push_str(" (Mitsuke) with ");
                out.push_str(client.transmission.protocol());
            }
            None => {
                out.push_str("Received: by ");
                push_name(&mut out, self.by);
                out.push_str(" (Mitsuke)");
            }
        }
        let id = self.queue_id.to_string();
        let date = self.at.to_rfc5322();
        out.push_str("\r\n\tid ");
        out.push_str(&id);
        out.push(' ');
        out.push_str(STAMP_MARK);
        push_hex(&mut out, &key.stamp(&id, &date));
        out.push(')');
        // An address in UTF-8 may stand here only in an internationalised message (RFC 6531 §3.7.3).
        if let Some(recipient) = self.recipient.filter(|r| utf8 || !r.needs_smtputf8()) {
            out.push_str("\r\n\tfor <");
            out.push_str(&recipient.to_string());
            out.push('>');
        }
        out.push_str(";\r\n\t");
        out.push_str(&date);
        out.push_str("\r\n");
        out
    }
}

fn push_client(out: &mut String, client: Client<'_>) {
    out.push_str("Received: from ");
    push_name(out, client.hello);
    out.push_str(" (");
    if let Some(name) = client.name {
        push_name(out, name);
        out.push(' ');
    }
    match client.address {
        IpAddr::V4(ip) => out.push_str(&format!("[{ip}])")),
        IpAddr::V6(ip) => out.push_str(&format!("[IPv6:{ip}])")),
    }
    if let Some((version, cipher)) = client.tls {
        out.push_str("\r\n\t(using ");
        push_name(out, version);
        out.push_str(" with cipher ");
        push_name(out, cipher);
        out.push(')');
    }
}

/// A name from outside: letters, digits and what host names and literals need; everything else becomes `?`.
fn push_name(out: &mut String, name: &str) {
    let ascii = if name.is_ascii() { None } else { Domain::parse(name).ok() };
    let name = ascii.as_ref().map_or(name, Domain::as_str);
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-._:[]".contains(c) {
            c
        } else {
            '?'
        }
    };
    let start = out.len();
    out.extend(name.chars().take(NAME_BYTES_MAX).map(safe));
    if out.len() == start {
        out.push_str("unknown");
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    for b in bytes {
        for digit in [b >> 4, b & 15] {
            out.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
}

/// The key of our stamps, derived by the caller from the installation key. Never shown.
#[derive(Clone)]
pub struct StampKey(Hmac<Sha256>);

impl StampKey {
    /// From secret octets; 32 are right.
    #[must_use]
    pub fn new(secret: &[u8]) -> Self {
        // HMAC takes a key of any length (RFC 2104 §2); the fallback cannot be reached and is still no guessable stamp.
        Self(Hmac::new_from_slice(secret).unwrap_or_else(|_| Hmac::new(&Default::default())))
    }

    fn mac(&self, id: &str, date: &str) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(b"mitsuke received stamp 1\0");
        mac.update(id.as_bytes());
        mac.update(b"\0");
        mac.update(date.as_bytes());
        mac
    }

    fn stamp(&self, id: &str, date: &str) -> [u8; STAMP_BYTES] {
        let mut stamp = [0; STAMP_BYTES];
        stamp
            .iter_mut()
            .zip(self.mac(id, date).finalize().into_bytes())
            .for_each(|(to, from)| *to = from);
        stamp
    }
}

impl std::fmt::Debug for StampKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StampKey(..)")
    }
}

/// How often a message has been handed on, and how often through here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Passes {
    /// `Received:` fields (RFC 5321 §6.3).
    pub received: usize,
    /// Different valid stamps of this installation.
    pub own: usize,
}

/// Counts over a header section.
#[must_use]
pub fn passes(header: &[u8], key: &StampKey) -> Passes {
    let mut own = BTreeSet::new();
    let mut received = 0;
    let mut checked = 0;
    for field in fields(header).filter(is_received) {
        received += 1;
        if checked < STAMPS_CHECKED_MAX && memchr::memmem::find(field.raw, STAMP_MARK.as_bytes()).is_some() {
            checked += 1;
            own.extend(stamped_id(&field, key));
        }
    }
    Passes { received, own: own.len() }
}

/// `Received:` fields of a header section.
#[must_use]
pub fn received_count(header: &[u8]) -> usize {
    fields(header).filter(is_received).count()
}

/// Different valid stamps of this installation in a header section.
#[must_use]
pub fn stamp_count(header: &[u8], key: &StampKey) -> usize {
    passes(header, key).own
}

fn is_received(field: &Field<'_>) -> bool {
    field.is("Received")
}

/// The queue id of a field that we made, whatever a later hop did to its folding.
fn stamped_id(field: &Field<'_>, key: &StampKey) -> Option<QueueId> {
    let value = field.unfolded();
    let text = std::str::from_utf8(&value).ok()?;
    let (before, after) = text.split_once(STAMP_MARK)?;
    let (stamp, rest) = after.split_once(')')?;
    let id: QueueId = before
        .trim_end()
        .rsplit_once([' ', '\t'])
        .filter(|(words, _)| words.ends_with("id"))?
        .1
        .parse()
        .ok()?;
    let date = rest.rsplit_once(';')?.1.trim();
    let given = parse_hex(stamp)?;
    key.mac(&id.to_string(), date).verify_truncated_left(&given).ok().map(|()| id)
}

fn parse_hex(text: &str) -> Option<[u8; STAMP_BYTES]> {
    let mut out = [0; STAMP_BYTES];
    if text.len() != 2 * STAMP_BYTES {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let text = std::str::from_utf8(pair)
            .ok()
            .filter(|t| t.bytes().all(|b| b.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(text, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
