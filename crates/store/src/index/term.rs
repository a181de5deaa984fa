//! Terms: which hashes stand for the fields of a trace?
//!
//! In:  events. Out: 40-bit numbers. FNV-1a over the field's number and the folded value, mixed, upper 40 bits: stable across versions
//! and machines, since they are stored. A change of meaning needs a new [`INDEX_VERSION`], which makes the index anew.
//! Invariants: every condition of `Query` that a trace fulfils has its term among the trace's terms.

use mail::{Direction, Disposition, Domain, Reason, Reference, TenantId};
use std::borrow::Cow;
use std::net::IpAddr;

use super::fold::{Piece, fold, pieces};
use crate::tracking::state::State;
use crate::tracking::{Event, Record};

/// Version of the terms and of the segment layout.
pub const INDEX_VERSION: i64 = 1;

/// Bits of a term.
pub const TERM_BITS: u32 = 40;

/// What a value is. The numbers are stored within the hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Owner.
    Tenant = 1,
    /// Which way.
    Direction = 2,
    /// Reverse path, whole. The next two: its domain; each parent of its domain.
    ReversePath = 3,
    /// See above.
    ReversePathDomain = 4,
    /// See above.
    ReversePathUnder = 5,
    /// Header From, likewise.
    From = 6,
    /// See above.
    FromDomain = 7,
    /// See above.
    FromUnder = 8,
    /// Recipient, likewise.
    Recipient = 9,
    /// See above.
    RecipientDomain = 10,
    /// See above.
    RecipientUnder = 11,
    /// Header To and Cc, likewise.
    To = 12,
    /// See above.
    ToDomain = 13,
    /// See above.
    ToUnder = 14,
    /// Word, character or pair of characters of the subject.
    Subject = 15,
    /// Message-ID without brackets.
    MessageId = 16,
    /// Reference of a refusal.
    Reference = 17,
    /// Client address, cut to a length.
    Client = 18,
    /// Country.
    Country = 19,
    /// EHLO name.
    Hello = 20,
    /// Host of a next hop.
    NextHop = 21,
    /// Fate of a recipient.
    Disposition = 22,
    /// State of a recipient.
    State = 23,
    /// Reason of an event.
    Reason = 24,
    /// By TLS or in clear.
    Tls = 25,
    /// Word, character or pair of an attachment's name.
    Attachment = 26,
    /// SHA-256 of an attachment.
    Sha256 = 27,
    /// Host of a link.
    UrlHost = 28,
    /// Authenticated as.
    Login = 29,
}

/// Field numbers of an address: itself, its domain, the parents of its domain.
pub type AddressFields = (Field, Field, Field);

/// Reverse path.
pub const REVERSE_PATH: AddressFields = (Field::ReversePath, Field::ReversePathDomain, Field::ReversePathUnder);
/// Header From.
pub const FROM: AddressFields = (Field::From, Field::FromDomain, Field::FromUnder);
/// Recipient.
pub const RECIPIENT: AddressFields = (Field::Recipient, Field::RecipientDomain, Field::RecipientUnder);
/// Header To and Cc.
pub const TO: AddressFields = (Field::To, Field::ToDomain, Field::ToUnder);

/// The term of a value that is folded already.
#[must_use]
pub fn term(field: Field, value: &[u8]) -> u64 {
    let mut h: u64 = 0xcbf2_9ce4_8422_2325 ^ (field as u64);
    h = h.wrapping_mul(0x0100_0000_01b3);
    for b in value {
        h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
    }
    // FNV's upper bits move little for short values; this finisher (MurmurHash3's) spreads them.
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h >> (64 - TERM_BITS)
}

/// An address or host as it is compared: lower case, the domain as A-labels.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    if text.is_ascii() {
        return Cow::Owned(text.to_ascii_lowercase());
    }
    let lower = text.to_lowercase();
    let (local, host) = match lower.rfind('@') {
        Some(at) => lower.split_at(at + 1),
        None => ("", lower.as_str()),
    };
    match Domain::parse(host) {
        Ok(domain) => Cow::Owned(format!("{local}{domain}")),
        Err(_) => Cow::Owned(lower.clone()),
    }
}

/// Message-ID as it is compared.
#[must_use]
pub fn plain_message_id(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('<').and_then(|t| t.strip_suffix('>')).unwrap_or(text)
}

/// Prefix lengths that have terms of their own.
#[must_use]
pub fn client_lengths(address: IpAddr) -> &'static [u8] {
    match address {
        IpAddr::V4(_) => &[8, 16, 24, 32],
        IpAddr::V6(_) => &[16, 24, 32, 40, 48, 56, 64, 128],
    }
}

/// The term of an address cut to `length` bits.
#[must_use]
pub fn client_term(address: IpAddr, length: u8) -> u64 {
    let mut value = Vec::with_capacity(18);
    match address {
        IpAddr::V4(v4) => {
            let bits = u32::from(v4) & u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            value.extend_from_slice(&[4, length]);
            value.extend_from_slice(&bits.to_be_bytes());
        }
        IpAddr::V6(v6) => {
            let bits = u128::from(v6) & u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
            value.extend_from_slice(&[6, length]);
            value.extend_from_slice(&bits.to_be_bytes());
        }
    }
    term(Field::Client, &value)
}

/// The owner's term.
#[must_use]
pub fn tenant_term(tenant: TenantId) -> u64 {
    term(Field::Tenant, &tenant.0.to_be_bytes())
}

/// The direction's term.
#[must_use]
pub fn direction_term(direction: Direction) -> u64 {
    term(
        Field::Direction,
        &[u8::try_from(crate::spool::code::direction_code(direction)).unwrap_or(0)],
    )
}

/// The disposition's term.
#[must_use]
pub fn disposition_term(disposition: Disposition) -> u64 {
    let name: &[u8] = match disposition {
        Disposition::Deliver => b"deliver",
        Disposition::Relay => b"relay",
        Disposition::Hold => b"hold",
        Disposition::Quarantine => b"quarantine",
        Disposition::Reject => b"reject",
        Disposition::Defer => b"defer",
        Disposition::Discard => b"discard",
    };
    term(Field::Disposition, name)
}

/// The state's term.
#[must_use]
pub fn state_term(state: State) -> u64 {
    term(Field::State, state.as_str().as_bytes())
}

/// The reason's term.
#[must_use]
pub fn reason_term(reason: Reason) -> u64 {
    term(Field::Reason, reason.as_str().as_bytes())
}

/// Came by TLS, or in clear.
#[must_use]
pub fn tls_term(by_tls: bool) -> u64 {
    term(Field::Tls, &[u8::from(by_tls)])
}

/// The reference's term.
#[must_use]
pub fn reference_term(reference: Reference) -> u64 {
    term(Field::Reference, &reference.0)
}

/// Terms of folded pieces: words; single characters and pairs of runs.
pub fn piece_terms(field: Field, pieces: &[Piece], out: &mut Vec<u64>) {
    for piece in pieces {
        match piece {
            Piece::Word(word) => out.push(term(field, word.as_bytes())),
            Piece::Run(run) => run_terms(field, run, out, true),
        }
    }
}

/// `with_singles`: also each character alone, so that a search for one character finds.
fn run_terms(field: Field, run: &str, out: &mut Vec<u64>, with_singles: bool) {
    let ends: Vec<usize> = run.char_indices().map(|(at, _)| at).chain(std::iter::once(run.len())).collect();
    for window in ends.windows(2) {
        if let ([from, to], true) = (window, with_singles) {
            out.push(term(field, run.get(*from..*to).unwrap_or_default().as_bytes()));
        }
    }
    for window in ends.windows(3) {
        if let [from, _, to] = window {
            out.push(term(field, run.get(*from..*to).unwrap_or_default().as_bytes()));
        }
    }
}

/// Terms that a search for `pieces` needs, all of them: a run of two or more by its pairs alone.
#[must_use]
pub fn wanted_piece_terms(field: Field, pieces: &[Piece]) -> Vec<u64> {
    let mut out = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Word(word) => out.push(term(field, word.as_bytes())),
            Piece::Run(run) => run_terms(field, run, &mut out, run.chars().nth(1).is_none()),
        }
    }
    out
}

fn address_terms(fields: AddressFields, address: &str, out: &mut Vec<u64>) {
    let address = plain(address);
    out.push(term(fields.0, address.as_bytes()));
    let Some((_, domain)) = address.rsplit_once('@') else { return };
    out.push(term(fields.1, domain.as_bytes()));
    let mut rest = domain;
    while let Some((_, parent)) = rest.split_once('.') {
        out.push(term(fields.2, parent.as_bytes()));
        rest = parent;
    }
}

/// Terms of one record, without those of state, TLS and size, which depend on all records of a trace.
pub fn record_terms(record: &Record, out: &mut Vec<u64>) {
    out.push(tenant_term(record.tenant));
    if let Some(direction) = record.direction {
        out.push(direction_term(direction));
    }
    // Most events of a record are about one recipient: its terms are made once.
    let mut last = None;
    for event in &record.events {
        let recipient = recipient_of(event);
        if let Some(recipient) = recipient.filter(|r| last != Some(*r)) {
            address_terms(RECIPIENT, recipient, out);
            last = Some(recipient);
        }
        event_terms(event, out);
    }
}

/// The recipient that an event is about.
pub(crate) fn recipient_of(event: &Event) -> Option<&str> {
    match event {
        Event::Refused { recipient, .. } => recipient.as_deref(),
        Event::Rcpt { recipient, .. }
        | Event::Queued { recipient, .. }
        | Event::Released { recipient, .. }
        | Event::Deleted { recipient, .. }
        | Event::Expired { recipient, .. }
        | Event::Decided { recipient, .. }
        | Event::Held { recipient, .. }
        | Event::Rerouted { recipient, .. }
        | Event::Delivered { recipient, .. }
        | Event::Deferred { recipient, .. }
        | Event::Failed { recipient, .. } => Some(recipient),
        Event::Connected { .. }
        | Event::Tls { .. }
        | Event::MailFrom { .. }
        | Event::Accepted { .. }
        | Event::Checked { .. }
        | Event::Modified { .. }
        | Event::Attempt { .. }
        | Event::Dsn { .. } => None,
    }
}

fn event_terms(event: &Event, out: &mut Vec<u64>) {
    match event {
        Event::Connected { client, country, .. } => {
            let client = client.to_canonical();
            out.extend(client_lengths(client).iter().map(|length| client_term(client, *length)));
            out.extend(country.iter().map(|c| term(Field::Country, c.to_ascii_uppercase().as_bytes())));
        }
        Event::Refused { reason, reference, .. } => {
            out.push(reason_term(*reason));
            out.extend(reference.iter().map(|r| reference_term(*r)));
        }
        Event::MailFrom {
            hello,
            reverse_path,
            login,
        } => {
            out.push(term(Field::Hello, plain(hello).as_bytes()));
            address_terms(REVERSE_PATH, reverse_path, out);
            out.extend(login.iter().map(|l| term(Field::Login, plain(l).as_bytes())));
        }
        Event::Accepted {
            message_id,
            from,
            to,
            subject,
            attachments,
            url_hosts,
            ..
        } => {
            out.extend(message_id.iter().map(|m| term(Field::MessageId, plain_message_id(m).as_bytes())));
            from.iter().for_each(|a| address_terms(FROM, a, out));
            to.iter().for_each(|a| address_terms(TO, a, out));
            subject.iter().for_each(|s| piece_terms(Field::Subject, &pieces(&fold(s)), out));
            for attachment in attachments {
                piece_terms(Field::Attachment, &pieces(&fold(&attachment.name)), out);
                out.push(term(Field::Sha256, plain(&attachment.sha256).as_bytes()));
            }
            out.extend(url_hosts.iter().map(|h| term(Field::UrlHost, plain(h).as_bytes())));
        }
        Event::Decided { disposition, reason, .. } => {
            out.push(disposition_term(*disposition));
            out.extend(reason.iter().map(|r| reason_term(*r)));
        }
        Event::Held { reason, .. } => out.extend(reason.iter().map(|r| reason_term(*r))),
        Event::Attempt { host, .. } | Event::Delivered { host, .. } => out.push(term(Field::NextHop, plain(host).as_bytes())),
        Event::Deferred { reason, .. } | Event::Failed { reason, .. } => out.push(reason_term(*reason)),
        Event::Expired { .. } => out.push(reason_term(Reason::Expired)),
        Event::Rcpt { .. }
        | Event::Queued { .. }
        | Event::Released { .. }
        | Event::Deleted { .. }
        | Event::Rerouted { .. }
        | Event::Tls { .. }
        | Event::Checked { .. }
        | Event::Modified { .. }
        | Event::Dsn { .. } => {}
    }
}
