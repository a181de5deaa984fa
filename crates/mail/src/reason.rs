//! Reason codes: why, machine-readable. Stable in replies, tracking, API and statistics; texts may be reworded.
//!
//! Source: domains-and-routing 10. The text of each reply stands in `transport::inbound::reply` and nowhere else.

use crate::text::Text;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Why something was refused, deferred, held or failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Reason {
    /// `ACCEPTED` of the reply catalogue.
    #[serde(rename = "ACCEPTED")]
    Accepted,
    /// `CONN-LIMIT` of the reply catalogue.
    #[serde(rename = "CONN-LIMIT")]
    ConnLimit,
    /// `IP-BLOCKED-SYSTEM` of the reply catalogue.
    #[serde(rename = "IP-BLOCKED-SYSTEM")]
    IpBlockedSystem,
    /// `EARLY-TALK` of the reply catalogue.
    #[serde(rename = "EARLY-TALK")]
    EarlyTalk,
    /// `SHUTDOWN` of the reply catalogue.
    #[serde(rename = "SHUTDOWN")]
    Shutdown,
    /// `TIMEOUT` of the reply catalogue.
    #[serde(rename = "TIMEOUT")]
    Timeout,
    /// `TOO-MANY-ERRORS` of the reply catalogue.
    #[serde(rename = "TOO-MANY-ERRORS")]
    TooManyErrors,
    /// `SYNTAX` of the reply catalogue.
    #[serde(rename = "SYNTAX")]
    Syntax,
    /// `HELO-INVALID` of the reply catalogue.
    #[serde(rename = "HELO-INVALID")]
    HeloInvalid,
    /// `TLS-REQUIRED` of the reply catalogue.
    #[serde(rename = "TLS-REQUIRED")]
    TlsRequired,
    /// `AUTH-REQUIRED` of the reply catalogue.
    #[serde(rename = "AUTH-REQUIRED")]
    AuthRequired,
    /// `AUTH-FAILED` of the reply catalogue.
    #[serde(rename = "AUTH-FAILED")]
    AuthFailed,
    /// `SENDER-DOMAIN` of the reply catalogue.
    #[serde(rename = "SENDER-DOMAIN")]
    SenderDomain,
    /// `DNS-TEMP` of the reply catalogue.
    #[serde(rename = "DNS-TEMP")]
    DnsTemp,
    /// `UTF8-ADDRESS` of the reply catalogue.
    #[serde(rename = "UTF8-ADDRESS")]
    Utf8Address,
    /// `SIZE` of the reply catalogue.
    #[serde(rename = "SIZE")]
    Size,
    /// `NO-DOMAIN` of the reply catalogue.
    #[serde(rename = "NO-DOMAIN")]
    NoDomain,
    /// `DOMAIN-UNVERIFIED` of the reply catalogue.
    #[serde(rename = "DOMAIN-UNVERIFIED")]
    DomainUnverified,
    /// `DOMAIN-DISABLED` of the reply catalogue.
    #[serde(rename = "DOMAIN-DISABLED")]
    DomainDisabled,
    /// `NO-ROUTE` of the reply catalogue.
    #[serde(rename = "NO-ROUTE")]
    NoRoute,
    /// `CLIENT-NOT-ALLOWED` of the reply catalogue.
    #[serde(rename = "CLIENT-NOT-ALLOWED")]
    ClientNotAllowed,
    /// `SENDER-SUSPENDED` of the reply catalogue.
    #[serde(rename = "SENDER-SUSPENDED")]
    SenderSuspended,
    /// `TENANT-UNPROVEN` of the reply catalogue.
    #[serde(rename = "TENANT-UNPROVEN")]
    TenantUnproven,
    /// `RECIPIENT-DOMAIN` of the reply catalogue.
    #[serde(rename = "RECIPIENT-DOMAIN")]
    RecipientDomain,
    /// `USER-UNKNOWN` of the reply catalogue.
    #[serde(rename = "USER-UNKNOWN")]
    UserUnknown,
    /// `SUPPRESSED` of the reply catalogue.
    #[serde(rename = "SUPPRESSED")]
    Suppressed,
    /// `USER-DISABLED` of the reply catalogue.
    #[serde(rename = "USER-DISABLED")]
    UserDisabled,
    /// `MAILBOX-FULL` of the reply catalogue.
    #[serde(rename = "MAILBOX-FULL")]
    MailboxFull,
    /// `SEND-LIMIT` of the reply catalogue.
    #[serde(rename = "SEND-LIMIT")]
    SendLimit,
    /// `FROM-NOT-ALLOWED` of the reply catalogue.
    #[serde(rename = "FROM-NOT-ALLOWED")]
    FromNotAllowed,
    /// `TOO-MANY-RECIPIENTS` of the reply catalogue.
    #[serde(rename = "TOO-MANY-RECIPIENTS")]
    TooManyRecipients,
    /// `RATE-IP` of the reply catalogue.
    #[serde(rename = "RATE-IP")]
    RateIp,
    /// `RATE-RECIPIENT` of the reply catalogue.
    #[serde(rename = "RATE-RECIPIENT")]
    RateRecipient,
    /// `RATE-SENDER` of the reply catalogue.
    #[serde(rename = "RATE-SENDER")]
    RateSender,
    /// `RATE-TENANT` of the reply catalogue.
    #[serde(rename = "RATE-TENANT")]
    RateTenant,
    /// `RATE-TRIAL` of the reply catalogue.
    #[serde(rename = "RATE-TRIAL")]
    RateTrial,
    /// `HARVEST` of the reply catalogue.
    #[serde(rename = "HARVEST")]
    Harvest,
    /// `IP-BLOCKED` of the reply catalogue.
    #[serde(rename = "IP-BLOCKED")]
    IpBlocked,
    /// `IP-DNSBL` of the reply catalogue.
    #[serde(rename = "IP-DNSBL")]
    IpDnsbl,
    /// `IP-REPUTATION` of the reply catalogue.
    #[serde(rename = "IP-REPUTATION")]
    IpReputation,
    /// `NO-IPREV` of the reply catalogue.
    #[serde(rename = "NO-IPREV")]
    NoIprev,
    /// `GREYLIST` of the reply catalogue.
    #[serde(rename = "GREYLIST")]
    Greylist,
    /// `SENDER-BLOCKED` of the reply catalogue.
    #[serde(rename = "SENDER-BLOCKED")]
    SenderBlocked,
    /// `HOPS` of the reply catalogue.
    #[serde(rename = "HOPS")]
    Hops,
    /// `LOOP` of the reply catalogue.
    #[serde(rename = "LOOP")]
    Loop,
    /// `BARE-NEWLINE` of the reply catalogue.
    #[serde(rename = "BARE-NEWLINE")]
    BareNewline,
    /// `MALFORMED` of the reply catalogue.
    #[serde(rename = "MALFORMED")]
    Malformed,
    /// `SPF-FAIL` of the reply catalogue.
    #[serde(rename = "SPF-FAIL")]
    SpfFail,
    /// `DKIM-FAIL` of the reply catalogue.
    #[serde(rename = "DKIM-FAIL")]
    DkimFail,
    /// `DMARC-REJECT` of the reply catalogue.
    #[serde(rename = "DMARC-REJECT")]
    DmarcReject,
    /// `VIRUS` of the reply catalogue.
    #[serde(rename = "VIRUS")]
    Virus,
    /// `SPAM` of the reply catalogue.
    #[serde(rename = "SPAM")]
    Spam,
    /// `CONTENT` of the reply catalogue.
    #[serde(rename = "CONTENT")]
    Content,
    /// `SCAN-UNAVAILABLE` of the reply catalogue.
    #[serde(rename = "SCAN-UNAVAILABLE")]
    ScanUnavailable,
    /// `INTERNAL` of the reply catalogue.
    #[serde(rename = "INTERNAL")]
    Internal,
    /// `STORE-FULL` of the reply catalogue.
    #[serde(rename = "STORE-FULL")]
    StoreFull,
    /// A candidate was skipped: forbidden target (4.1).
    #[serde(rename = "NEXT-HOP-FORBIDDEN")]
    NextHopForbidden,
    /// The next hop could not be used.
    #[serde(rename = "NEXT-HOP-FAILED")]
    NextHopFailed,
    /// The TLS level of the route was not reached.
    #[serde(rename = "TLS-POLICY")]
    TlsPolicy,
    /// The next hop said so.
    #[serde(rename = "REMOTE-REPLY")]
    RemoteReply,
    /// Lifetime over (5.4.7).
    #[serde(rename = "EXPIRED")]
    Expired,
    /// A person decided so.
    #[serde(rename = "ADMIN")]
    Admin,
    /// No DSN: null reverse path or NOTIFY.
    #[serde(rename = "DSN-NONE")]
    DsnNone,
    /// No DSN: sender likely forged, or too many.
    #[serde(rename = "DSN-SUPPRESSED")]
    DsnSuppressed,
    /// Connection lost after the final dot; the host may have taken it.
    #[serde(rename = "LOST-AFTER-DOT")]
    LostAfterDot,
    /// Recipients disagree after DATA: what should be refused is held.
    #[serde(rename = "REJECT-NOT-POSSIBLE")]
    RejectNotPossible,
    /// Domain or next hop paused by a person.
    #[serde(rename = "PAUSED")]
    Paused,
    /// Outbound message over a MIME limit: held.
    #[serde(rename = "TOO-MANY-MIME")]
    TooManyMime,
}

impl Reason {
    /// Every reason, in the order of the catalogue.
    pub const ALL: &'static [Self] = &[
        Self::Accepted,
        Self::ConnLimit,
        Self::IpBlockedSystem,
        Self::EarlyTalk,
        Self::Shutdown,
        Self::Timeout,
        Self::TooManyErrors,
        Self::Syntax,
        Self::HeloInvalid,
        Self::TlsRequired,
        Self::AuthRequired,
        Self::AuthFailed,
        Self::SenderDomain,
        Self::DnsTemp,
        Self::Utf8Address,
        Self::Size,
        Self::NoDomain,
        Self::DomainUnverified,
        Self::DomainDisabled,
        Self::NoRoute,
        Self::ClientNotAllowed,
        Self::SenderSuspended,
        Self::TenantUnproven,
        Self::RecipientDomain,
        Self::UserUnknown,
        Self::Suppressed,
        Self::UserDisabled,
        Self::MailboxFull,
        Self::SendLimit,
        Self::FromNotAllowed,
        Self::TooManyRecipients,
        Self::RateIp,
        Self::RateRecipient,
        Self::RateSender,
        Self::RateTenant,
        Self::RateTrial,
        Self::Harvest,
        Self::IpBlocked,
        Self::IpDnsbl,
        Self::IpReputation,
        Self::NoIprev,
        Self::Greylist,
        Self::SenderBlocked,
        Self::Hops,
        Self::Loop,
        Self::BareNewline,
        Self::Malformed,
        Self::SpfFail,
        Self::DkimFail,
        Self::DmarcReject,
        Self::Virus,
        Self::Spam,
        Self::Content,
        Self::ScanUnavailable,
        Self::Internal,
        Self::StoreFull,
        Self::NextHopForbidden,
        Self::NextHopFailed,
        Self::TlsPolicy,
        Self::RemoteReply,
        Self::Expired,
        Self::Admin,
        Self::DsnNone,
        Self::DsnSuppressed,
        Self::LostAfterDot,
        Self::RejectNotPossible,
        Self::Paused,
        Self::TooManyMime,
    ];

    /// The code as it stands in replies.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "ACCEPTED",
            Self::ConnLimit => "CONN-LIMIT",
            Self::IpBlockedSystem => "IP-BLOCKED-SYSTEM",
            Self::EarlyTalk => "EARLY-TALK",
            Self::Shutdown => "SHUTDOWN",
            Self::Timeout => "TIMEOUT",
            Self::TooManyErrors => "TOO-MANY-ERRORS",
            Self::Syntax => "SYNTAX",
            Self::HeloInvalid => "HELO-INVALID",
            Self::TlsRequired => "TLS-REQUIRED",
            Self::AuthRequired => "AUTH-REQUIRED",
            Self::AuthFailed => "AUTH-FAILED",
            Self::SenderDomain => "SENDER-DOMAIN",
            Self::DnsTemp => "DNS-TEMP",
            Self::Utf8Address => "UTF8-ADDRESS",
            Self::Size => "SIZE",
            Self::NoDomain => "NO-DOMAIN",
            Self::DomainUnverified => "DOMAIN-UNVERIFIED",
            Self::DomainDisabled => "DOMAIN-DISABLED",
            Self::NoRoute => "NO-ROUTE",
            Self::ClientNotAllowed => "CLIENT-NOT-ALLOWED",
            Self::SenderSuspended => "SENDER-SUSPENDED",
            Self::TenantUnproven => "TENANT-UNPROVEN",
            Self::RecipientDomain => "RECIPIENT-DOMAIN",
            Self::UserUnknown => "USER-UNKNOWN",
            Self::Suppressed => "SUPPRESSED",
            Self::UserDisabled => "USER-DISABLED",
            Self::MailboxFull => "MAILBOX-FULL",
            Self::SendLimit => "SEND-LIMIT",
            Self::FromNotAllowed => "FROM-NOT-ALLOWED",
            Self::TooManyRecipients => "TOO-MANY-RECIPIENTS",
            Self::RateIp => "RATE-IP",
            Self::RateRecipient => "RATE-RECIPIENT",
            Self::RateSender => "RATE-SENDER",
            Self::RateTenant => "RATE-TENANT",
            Self::RateTrial => "RATE-TRIAL",
            Self::Harvest => "HARVEST",
            Self::IpBlocked => "IP-BLOCKED",
            Self::IpDnsbl => "IP-DNSBL",
            Self::IpReputation => "IP-REPUTATION",
            Self::NoIprev => "NO-IPREV",
            Self::Greylist => "GREYLIST",
            Self::SenderBlocked => "SENDER-BLOCKED",
            Self::Hops => "HOPS",
            Self::Loop => "LOOP",
            Self::BareNewline => "BARE-NEWLINE",
            Self::Malformed => "MALFORMED",
            Self::SpfFail => "SPF-FAIL",
            Self::DkimFail => "DKIM-FAIL",
            Self::DmarcReject => "DMARC-REJECT",
            Self::Virus => "VIRUS",
            Self::Spam => "SPAM",
            Self::Content => "CONTENT",
            Self::ScanUnavailable => "SCAN-UNAVAILABLE",
            Self::Internal => "INTERNAL",
            Self::StoreFull => "STORE-FULL",
            Self::NextHopForbidden => "NEXT-HOP-FORBIDDEN",
            Self::NextHopFailed => "NEXT-HOP-FAILED",
            Self::TlsPolicy => "TLS-POLICY",
            Self::RemoteReply => "REMOTE-REPLY",
            Self::Expired => "EXPIRED",
            Self::Admin => "ADMIN",
            Self::DsnNone => "DSN-NONE",
            Self::DsnSuppressed => "DSN-SUPPRESSED",
            Self::LostAfterDot => "LOST-AFTER-DOT",
            Self::RejectNotPossible => "REJECT-NOT-POSSIBLE",
            Self::Paused => "PAUSED",
            Self::TooManyMime => "TOO-MANY-MIME",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is no reason code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such reason code")]
pub struct UnknownReason;

impl From<UnknownReason> for Text {
    fn from(_: UnknownReason) -> Self {
        Self::new("check.reason")
    }
}

impl FromStr for Reason {
    type Err = UnknownReason;
    fn from_str(text: &str) -> Result<Self, UnknownReason> {
        Self::ALL
            .iter()
            .copied()
            .find(|r| r.as_str().eq_ignore_ascii_case(text))
            .ok_or(UnknownReason)
    }
}
