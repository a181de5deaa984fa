//! An SMTP session seen from the server: which reply, and what to ask policy, for the octets that came?
//!
//! In:  octets of the client ([`Server::poll`]), answers of policy ([`Server::answer`]), the end of a TLS handshake ([`Server::tls_started`]).
//! Out: replies in `out`, unstuffed message octets in `body`, and an [`Action`] that says what the driver does next.
//! Standards: RFC 5321; RFC 1870, 2034, 2920, 3030 (without BINARYMIME), 3207, 3461, 4954, 6152, 6531. Texts with a reason code and a reference
//!   are the driver's; only those of SYNTAX (500, 501, 502, 503, 504, 555) and of success stand here, in `reply`.
//! Invariants: no I/O, no clock, no waiting; buffers are bounded by `command_bytes_max` and [`BODY_CHUNK_BYTES`]; the same octets give the same
//!   replies however they are cut into packets; only CRLF.CRLF ends DATA; nothing said before STARTTLS is believed after it.
//!
//! Driver: `match server.poll(..)`: `NeedInput` → flush `out`, read more; `Ask(question)` → judge, `server.answer(..)`; `BodyChunk` → drain `body`;
//! `Abandoned` → forget the transaction; `StartTls` → flush, handshake, `server.tls_started()`; `Close` → flush, hang up.
//! `out` needs flushing at `NeedInput`, `StartTls` and `Close` only, so the replies of a pipelined group leave in one write.

pub mod body;
pub mod command;
pub mod path;

mod answer;
mod content;
mod login;
mod machine;
mod order;
mod reply;

use crate::sasl::ScramKeys;
use mail::{MailParams, Recipient, Reply, ReversePath};
use zeroize::Zeroizing;

pub use crate::sasl::Mechanism;
pub use crate::smtp::limits::BODY_CHUNK_BYTES;
pub use machine::Server;

/// What a listener offers and allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Our name in the greeting, in EHLO and as the domain of a bare `<postmaster>`.
    pub hostname: String,
    /// What the listener is for.
    pub role: Role,
    /// Whether STARTTLS is offered while the session is in clear.
    pub starttls: bool,
    /// The session began with TLS (port 465).
    pub implicit_tls: bool,
    /// Offered after TLS only; empty: AUTH is unknown here.
    pub auth: Vec<Mechanism>,
    /// Announced by SIZE and enforced, octets.
    pub size_max: u64,
    /// A command line with its CRLF, octets.
    pub command_bytes_max: usize,
    /// A line of text with its CRLF, octets.
    pub text_line_max: usize,
    /// Wrong commands before the session ends.
    pub errors_max: u32,
    /// What becomes of a bare CR or LF.
    pub bare_newline: BareNewline,
}

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Port 25: anyone may speak.
    Mx,
    /// Ports 587 and 465: MAIL needs TLS and a login.
    Submission,
}

/// What becomes of a bare CR or LF.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BareNewline {
    /// The message is refused at its end, a command at once.
    Refuse,
    /// Each becomes CRLF; the end of data is CRLF.CRLF all the same.
    Normalise,
}

/// What the driver does next.
#[derive(Debug)]
pub enum Action {
    /// Flush `out`, read more octets, poll again.
    NeedInput,
    /// Judge, then [`Server::answer`]; poll again.
    Ask(Question),
    /// At least [`BODY_CHUNK_BYTES`] stand in `body`: take them and poll again.
    BodyChunk,
    /// RSET, a new EHLO or STARTTLS ended the open transaction: forget it and poll again. No answer is awaited.
    Abandoned,
    /// 220 stands in `out` and `input` is empty: flush, shake hands, [`Server::tls_started`], poll again. A failed handshake ends the connection.
    StartTls,
    /// Flush `out` and hang up. An open transaction is forgotten.
    Close,
}

/// What policy is asked. The values are given away: the machine keeps only counts.
#[derive(Debug)]
pub enum Question {
    /// HELO or EHLO with its argument, in syntax only. Accept writes the EHLO reply.
    Hello(HelloKind, String),
    /// MAIL FROM.
    Mail(ReversePath, MailParams),
    /// RCPT TO; a bare `<postmaster>` stands at our own host name.
    Rcpt(Recipient),
    /// DATA before its 354, or the first BDAT before its octets. A refusal ends the transaction.
    Data,
    /// The body is complete (its rest stands in `body`). Accept, refuse: the transaction ends either way.
    EndOfData {
        /// Octets after unstuffing, RFC 1870 §5.
        size: u64,
        /// Then the body is cut short and must be refused.
        violation: Option<Violation>,
        /// By BDAT; then a violation may come before the LAST chunk.
        chunking: bool,
    },
    /// AUTH PLAIN or LOGIN. Answers: `Authenticated`, `Refuse`, `RefuseAndClose`.
    AuthPlain {
        /// Empty unless the client wants to act for another.
        authzid: String,
        /// Who.
        user: String,
        /// Wiped when dropped.
        password: Zeroizing<String>,
    },
    /// SCRAM has begun: answer with `ScramKeys` (for an unknown user [`ScramKeys::decoy`], so that nobody learns who exists) or a refusal.
    AuthScramStart {
        /// Who.
        user: String,
    },
    /// The client has proven the password of `user`. Answers: `Authenticated`, `Refuse`, `RefuseAndClose`.
    AuthScramProven {
        /// Empty unless the client wants to act for another.
        authzid: String,
        /// Who.
        user: String,
    },
    /// The command is refused by protocol, but the text of the reply is the driver's. Answers: `Refuse`, `RefuseAndClose`.
    Violation(Violation, Option<String>),
}

/// What was wrong, where the reply has a reason code other than SYNTAX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Violation {
    /// At the end of data: a bare CR or LF. `BARE-NEWLINE`.
    BareNewline,
    /// At the end of data: a line over `text_line_max`. `MALFORMED`.
    LineTooLong,
    /// At MAIL (SIZE=) or at the end of data (counted): over `size_max`. `SIZE`.
    TooLarge,
    /// At MAIL or RCPT: UTF-8 without SMTPUTF8; the text is the address. `UTF8-ADDRESS`.
    Utf8Address,
    /// At MAIL or AUTH: the session is in clear. `TLS-REQUIRED`.
    TlsRequired,
    /// At MAIL on a submission listener. `AUTH-REQUIRED`.
    AuthRequired,
    /// The SCRAM proof was wrong; the text is the user. `AUTH-FAILED`.
    AuthFailed,
    /// Over `errors_max`; whatever is answered, the session ends. `TOO-MANY-ERRORS`.
    TooManyErrors,
}

/// How the client greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HelloKind {
    /// Without extensions.
    Helo,
    /// With extensions.
    Ehlo,
}

/// What policy says.
#[derive(Debug)]
pub enum Answer {
    /// With the usual reply.
    Accept,
    /// With this reply; at HELO and EHLO, whose reply has a form, the same as `Accept`.
    AcceptWith(Reply),
    /// The session goes on.
    Refuse(Reply),
    /// The session ends behind the reply.
    RefuseAndClose(Reply),
    /// To [`Question::AuthScramStart`]; `nonce` from [`crate::sasl::nonce`].
    ScramKeys {
        /// What is stored of the password, or a decoy.
        keys: ScramKeys,
        /// Printable, without comma.
        nonce: String,
    },
    /// To [`Question::AuthPlain`] and [`Question::AuthScramProven`].
    Authenticated {
        /// The name under which the session goes on.
        login: String,
    },
}

/// What the machine knows of the open transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// SIZE=, octets.
    pub declared_size: Option<u64>,
    /// SMTPUTF8 was given.
    pub smtputf8: bool,
    /// Accepted so far.
    pub recipients: u32,
}

#[cfg(test)]
mod tests;
