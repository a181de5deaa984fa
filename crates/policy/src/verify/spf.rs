//! May this client send mail in the name of this domain? (SPF)
//!
//! In: client address, HELO name, reverse path, DNS. Out: one of seven results, with the record and the mechanism that decided.
//! Standards: RFC 7208 §4 (evaluation and limits), §5 (mechanisms), §6 (modifiers); macros in `macros.rs`, syntax in `record.rs`.
//! Invariants: at most 10 terms that ask DNS, 2 of them in vain, 10 names each of MX and PTR (§4.6.4), so a record cannot cost more than about 120 questions.
//! A DNS failure is TempError, never a negative answer. The whole is bounded in time by the caller.

mod evaluate;
mod macros;
mod record;

use super::Dns;
use mail::{ReversePath, Timestamp};
use std::net::IpAddr;

/// RFC 7208 §2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpfResult {
    /// No record, or no domain that could have one.
    None,
    /// The domain says nothing about this client.
    Neutral,
    /// The client is authorised.
    Pass,
    /// The client is not authorised.
    Fail,
    /// The client is probably not authorised.
    SoftFail,
    /// DNS failed; it may be otherwise later.
    TempError,
    /// The record cannot be used.
    PermError,
}

impl SpfResult {
    /// As Received-SPF and Authentication-Results write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Neutral => "neutral",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// Which name is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// RFC 7208 §2.3: the HELO name.
    Hello,
    /// RFC 7208 §2.4: the domain of the reverse path; the HELO name when that is null.
    MailFrom,
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub struct SpfQuery<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Its HELO or EHLO name as given.
    pub hello: &'a str,
    /// The reverse path as `local@domain`; empty when null.
    pub sender: &'a str,
    /// Our own name, for explanations.
    pub receiver: &'a str,
    /// For explanations.
    pub now: Timestamp,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpfOutcome {
    /// The result.
    pub result: SpfResult,
    /// The name that was checked.
    pub identity: Identity,
    /// The domain that was checked; empty when there was none to check.
    pub domain: String,
    /// The record of that domain, as found.
    pub record: Option<String>,
    /// The mechanism that decided, as written, those of included records after the `include` that led there: `include:a.example > ip4:192.0.2.0/24`.
    pub mechanism: Option<String>,
    /// With Fail: what the domain wants its sender to be told. Text from outside.
    pub explanation: Option<String>,
    /// With TempError and PermError: what went wrong.
    pub problem: Option<String>,
}

/// The reverse path as [`SpfQuery::sender`] wants it.
#[must_use]
pub fn sender_of(path: &ReversePath) -> String {
    path.address().map(ToString::to_string).unwrap_or_default()
}

/// Checks the reverse path, or the HELO name when it is null (RFC 7208 §2.4).
pub async fn check_mail_from(dns: &dyn Dns, query: &SpfQuery<'_>) -> SpfOutcome {
    let (local, domain) = match query.sender.rsplit_once('@') {
        Some((local, domain)) => (local, domain),
        None if query.sender.is_empty() => ("", query.hello),
        None => ("", query.sender),
    };
    evaluate::check(dns, query, Identity::MailFrom, local, domain).await
}

/// Checks the HELO name (RFC 7208 §2.3).
pub async fn check_hello(dns: &dyn Dns, query: &SpfQuery<'_>) -> SpfOutcome {
    evaluate::check(dns, query, Identity::Hello, "", query.hello).await
}

#[cfg(test)]
mod tests;
