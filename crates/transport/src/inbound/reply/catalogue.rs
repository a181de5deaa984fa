//! The table of domains-and-routing 10, whole, in its order. Rows of checks that come later stand here already: the text of a reason
//! is decided once.

use mail::Reason;

/// Which reply of a reason, where the table gives several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The first.
    Usual,
    /// RECIPIENT-DOMAIN: the domain has a null MX.
    NullMx,
    /// MAILBOX-FULL: after 72 h; SEND-LIMIT: for good.
    Permanent,
    /// HARVEST: the session ends.
    Closing,
}

/// One reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The reason.
    pub reason: Reason,
    /// Which of its replies.
    pub form: Form,
    /// Reply code.
    pub code: u16,
    /// Of the enhanced status; its class follows the code.
    pub subject: u16,
    /// Likewise.
    pub detail: u16,
    /// `{}` is what the reason is about.
    pub text: &'static str,
    /// **T**: the tenant may switch between 4yz and 5yz.
    pub switchable: bool,
}

const fn usual(reason: Reason, code: u16, subject: u16, detail: u16, text: &'static str) -> Row {
    Row {
        reason,
        form: Form::Usual,
        code,
        subject,
        detail,
        text,
        switchable: false,
    }
}

const fn switchable(reason: Reason, code: u16, subject: u16, detail: u16, text: &'static str) -> Row {
    Row {
        reason,
        form: Form::Usual,
        code,
        subject,
        detail,
        text,
        switchable: true,
    }
}

const fn other(form: Form, reason: Reason, code: u16, subject: u16, detail: u16, text: &'static str) -> Row {
    Row {
        reason,
        form,
        code,
        subject,
        detail,
        text,
        switchable: false,
    }
}

const RATE: &str = "Rate limit temporarily exceeded:";

/// Every refusal that the product can give.
pub const CATALOGUE: &[Row] = &[
    usual(Reason::ConnLimit, 421, 7, 0, "Too many connections or messages:"),
    usual(Reason::IpBlockedSystem, 554, 7, 1, "Client address rejected:"),
    usual(Reason::EarlyTalk, 554, 5, 0, "Client spoke before the greeting:"),
    usual(Reason::Shutdown, 421, 3, 2, "Service closing:"),
    usual(Reason::Timeout, 421, 4, 2, "Timeout:"),
    usual(Reason::TooManyErrors, 421, 7, 0, "Too many errors:"),
    usual(Reason::HeloInvalid, 550, 7, 1, "EHLO name rejected:"),
    usual(Reason::TlsRequired, 530, 7, 0, "Must issue STARTTLS first:"),
    usual(Reason::AuthRequired, 530, 7, 0, "Authentication required:"),
    usual(Reason::AuthFailed, 535, 7, 8, "Authentication failed:"),
    usual(Reason::SenderDomain, 550, 1, 8, "{}: Sender address rejected: Domain not found:"),
    usual(Reason::DnsTemp, 451, 4, 3, "{}: DNS lookup failed:"),
    usual(Reason::Utf8Address, 553, 6, 7, "{}: needs SMTPUTF8:"),
    usual(Reason::Size, 552, 3, 4, "Message size exceeds limit of {} bytes:"),
    usual(Reason::NoDomain, 554, 7, 1, "{}: Recipient address rejected:"),
    usual(Reason::DomainUnverified, 450, 7, 1, "{}: Recipient domain not verified yet:"),
    usual(Reason::DomainDisabled, 450, 3, 2, "{}: Recipient domain not in service:"),
    usual(Reason::NoRoute, 451, 3, 5, "{}: No route:"),
    usual(Reason::ClientNotAllowed, 554, 7, 1, "{}: Relay access denied:"),
    usual(Reason::SenderSuspended, 550, 7, 1, "{}: Sending suspended:"),
    usual(Reason::TenantUnproven, 550, 7, 1, "Sender not proven for {}:"),
    usual(Reason::RecipientDomain, 550, 1, 2, "{}: Recipient domain not found:"),
    other(Form::NullMx, Reason::RecipientDomain, 556, 1, 10, "{}: Recipient domain not found:"),
    usual(Reason::UserUnknown, 550, 1, 1, "{}: Recipient address rejected: User unknown:"),
    usual(Reason::Suppressed, 550, 1, 1, "{}: Recipient suppressed after earlier failures:"),
    usual(Reason::UserDisabled, 550, 2, 1, "{}: Recipient disabled:"),
    usual(Reason::MailboxFull, 452, 2, 2, "{}: Mailbox full:"),
    other(Form::Permanent, Reason::MailboxFull, 552, 2, 2, "{}: Mailbox full:"),
    usual(Reason::SendLimit, 450, 7, 1, "Send limit reached:"),
    other(Form::Permanent, Reason::SendLimit, 550, 7, 1, "Send limit reached:"),
    usual(Reason::FromNotAllowed, 550, 7, 1, "header From not permitted:"),
    usual(Reason::TooManyRecipients, 452, 5, 3, "Too many recipients:"),
    usual(Reason::RateIp, 450, 7, 1, RATE),
    usual(Reason::RateRecipient, 450, 7, 1, RATE),
    usual(Reason::RateSender, 450, 7, 1, RATE),
    usual(Reason::RateTenant, 450, 7, 1, RATE),
    usual(Reason::RateTrial, 450, 7, 1, RATE),
    usual(Reason::Harvest, 450, 7, 1, "Too many unknown recipients:"),
    other(Form::Closing, Reason::Harvest, 421, 7, 1, "Too many unknown recipients:"),
    switchable(Reason::IpBlocked, 550, 7, 1, "{}: Client address rejected:"),
    switchable(Reason::IpDnsbl, 550, 7, 1, "{}:"),
    switchable(Reason::IpReputation, 450, 7, 1, "{}: Temporarily rejected:"),
    switchable(Reason::NoIprev, 450, 7, 25, "{}: Reverse DNS rejected:"),
    usual(Reason::Greylist, 451, 7, 1, "Greylisted, try again in {} s:"),
    switchable(Reason::SenderBlocked, 550, 7, 1, "{}: Sender address rejected:"),
    usual(Reason::Hops, 554, 4, 6, "Error: too many hops:"),
    usual(Reason::Loop, 554, 4, 6, "Mail loop detected:"),
    usual(Reason::BareNewline, 550, 5, 2, "Bare CR or LF in message:"),
    usual(Reason::Malformed, 550, 6, 0, "Malformed message:"),
    switchable(Reason::SpfFail, 550, 7, 23, "SPF check failed for {}:"),
    switchable(Reason::DkimFail, 550, 7, 20, "No passing DKIM signature for {}:"),
    usual(Reason::DmarcReject, 550, 7, 1, "Rejected by DMARC policy of {}:"),
    usual(Reason::Virus, 550, 7, 1, "Malicious content:"),
    switchable(Reason::Spam, 550, 7, 1, "Classified as spam:"),
    switchable(Reason::Content, 550, 7, 1, "Rejected by recipient policy:"),
    usual(Reason::ScanUnavailable, 451, 3, 0, "Content check unavailable:"),
    usual(Reason::Internal, 451, 3, 0, "Local error:"),
    usual(Reason::StoreFull, 452, 3, 1, "Insufficient storage:"),
];

/// The row of a reason. Reasons that are no refusal of a session (what tracking alone tells) are our own fault when they get here.
pub(super) fn row(reason: Reason, form: Form) -> Row {
    let exact = CATALOGUE.iter().find(|r| r.reason == reason && r.form == form);
    let first = exact.or_else(|| CATALOGUE.iter().find(|r| r.reason == reason));
    first.copied().unwrap_or(usual(reason, 451, 3, 0, "Local error:"))
}
