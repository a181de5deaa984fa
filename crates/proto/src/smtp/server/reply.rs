//! The replies that the machine writes itself: success, and what is wrong by syntax or order.
//!
//! In:  what happened. Out: [`Reply`] constants, the EHLO reply. Every reply with another reason code than SYNTAX is `transport::inbound::reply`'s.
//! Standards: RFC 5321 §4.2, RFC 2034, RFC 3463; domains-and-routing 10. Invariants: texts are short, stable and ASCII.

use super::{HelloKind, Settings};
use mail::Reply;

pub(super) const MAIL_OK: Reply = Reply::new(250, 1, 0, "Ok");
pub(super) const RCPT_OK: Reply = Reply::new(250, 1, 5, "Ok");
pub(super) const OK: Reply = Reply::new(250, 0, 0, "Ok");
pub(super) const ACCEPTED: Reply = Reply::new(250, 0, 0, "Accepted");
pub(super) const START_MAIL_INPUT: Reply = Reply::bare(354, "End data with <CR><LF>.<CR><LF>");
pub(super) const READY_FOR_TLS: Reply = Reply::new(220, 0, 0, "Ready to start TLS");
pub(super) const BYE: Reply = Reply::new(221, 0, 0, "Bye");
/// RFC 5321 §3.5.3: 252 tells nothing of who exists.
pub(super) const CANNOT_VERIFY: Reply = Reply::new(252, 0, 0, "Cannot verify, send mail and see");
pub(super) const HELP: Reply = Reply::new(214, 0, 0, "EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT STARTTLS AUTH");
pub(super) const AUTHENTICATED: Reply = Reply::new(235, 7, 0, "Authentication succeeded");

pub(super) const LINE_TOO_LONG: Reply = Reply::new(500, 5, 2, "Syntax or sequence error: SYNTAX. Line too long");
/// RFC 4954 §6.
pub(super) const AUTH_LINE_TOO_LONG: Reply = Reply::new(
    500,
    5,
    6,
    "Syntax or sequence error: SYNTAX. Authentication exchange line is too long",
);
pub(super) const LINE_FORM: Reply = Reply::new(
    500,
    5,
    2,
    "Syntax or sequence error: SYNTAX. A line is UTF-8 without control characters and ends with CRLF",
);
pub(super) const UNKNOWN_COMMAND: Reply = Reply::new(500, 5, 2, "Syntax or sequence error: SYNTAX. Unknown command");
pub(super) const NOT_IMPLEMENTED: Reply = Reply::new(502, 5, 1, "Syntax or sequence error: SYNTAX. Command not implemented");
pub(super) const NO_ARGUMENT: Reply = Reply::new(501, 5, 4, "Syntax or sequence error: SYNTAX. The command takes no argument");
pub(super) const HELLO_FORM: Reply = Reply::new(501, 5, 4, "Syntax or sequence error: SYNTAX. Form: EHLO domain or [address]");
pub(super) const MAIL_FORM: Reply = Reply::new(501, 5, 4, "Syntax or sequence error: SYNTAX. Form: MAIL FROM:<address> parameters");
pub(super) const RCPT_FORM: Reply = Reply::new(501, 5, 4, "Syntax or sequence error: SYNTAX. Form: RCPT TO:<address> parameters");
pub(super) const ADDRESS_FORM: Reply = Reply::new(501, 5, 4, "Syntax or sequence error: SYNTAX. Unusable address");
pub(super) const PARAMETER_VALUE: Reply = Reply::new(
    501,
    5,
    4,
    "Syntax or sequence error: SYNTAX. Parameter with an unusable value, or twice",
);
pub(super) const PARAMETER_UNKNOWN: Reply = Reply::new(555, 5, 4, "Syntax or sequence error: SYNTAX. Parameter not recognised");
pub(super) const BDAT_FORM: Reply = Reply::new(501, 5, 4, "Syntax or sequence error: SYNTAX. Form: BDAT octets [LAST]");
pub(super) const VRFY_FORM: Reply = Reply::new(501, 5, 4, "Syntax or sequence error: SYNTAX. Form: VRFY name");
pub(super) const AUTH_FORM: Reply = Reply::new(
    501,
    5,
    4,
    "Syntax or sequence error: SYNTAX. Form: AUTH mechanism [initial-response]",
);
pub(super) const AUTH_RESPONSE_FORM: Reply = Reply::new(
    501,
    5,
    2,
    "Syntax or sequence error: SYNTAX. The response does not fit the mechanism",
);
pub(super) const AUTH_CANCELLED: Reply = Reply::new(501, 7, 0, "Syntax or sequence error: SYNTAX. Authentication cancelled");
pub(super) const AUTH_MECHANISM: Reply = Reply::new(504, 5, 4, "Syntax or sequence error: SYNTAX. Authentication mechanism not offered");
pub(super) const HELLO_FIRST: Reply = Reply::new(503, 5, 1, "Syntax or sequence error: SYNTAX. Send EHLO first");
pub(super) const MAIL_FIRST: Reply = Reply::new(503, 5, 1, "Syntax or sequence error: SYNTAX. Send MAIL first");
pub(super) const RCPT_FIRST: Reply = Reply::new(503, 5, 1, "Syntax or sequence error: SYNTAX. No valid recipients");
pub(super) const MAIL_NESTED: Reply = Reply::new(503, 5, 1, "Syntax or sequence error: SYNTAX. A transaction is open");
pub(super) const CHUNKS_BEGUN: Reply = Reply::new(503, 5, 1, "Syntax or sequence error: SYNTAX. Chunks have begun");
pub(super) const TLS_ALREADY: Reply = Reply::new(503, 5, 1, "Syntax or sequence error: SYNTAX. TLS is active");
pub(super) const TLS_PIPELINED: Reply = Reply::new(
    503,
    5,
    1,
    "Syntax or sequence error: SYNTAX. Nothing may follow STARTTLS before its reply",
);
pub(super) const AUTH_NOT_NOW: Reply = Reply::new(503, 5, 1, "Syntax or sequence error: SYNTAX. AUTH once, outside of a transaction");
pub(super) const IDLING: Reply = Reply::new(503, 5, 1, "Syntax or sequence error: SYNTAX. Too many commands without mail");
/// Only when the driver answers what was not asked: a fault of ours, so 4yz.
pub(super) const LOCAL_ERROR: Reply = Reply::new(421, 3, 0, "Local error: INTERNAL");

/// The challenge of AUTH LOGIN for the name, in base64.
pub(super) const LOGIN_USERNAME: &str = "VXNlcm5hbWU6";
/// The challenge of AUTH LOGIN for the password, in base64.
pub(super) const LOGIN_PASSWORD: &str = "UGFzc3dvcmQ6";

pub(super) fn greeting(settings: &Settings, out: &mut Vec<u8>) {
    put(out, &[b"220 ", settings.hostname.as_bytes(), b" ESMTP\r\n"]);
}

/// A 334 with what the client has to answer, base64 already.
pub(super) fn challenge(text: &str, out: &mut Vec<u8>) {
    put(out, &[b"334 ", text.as_bytes(), b"\r\n"]);
}

/// RFC 3030 §2: the reply to a chunk that is not the last.
pub(super) fn chunk_received(octets: u64, out: &mut Vec<u8>) {
    put(out, &[b"250 2.0.0 ", octets.to_string().as_bytes(), b" octets received\r\n"]);
}

/// RFC 5321 §4.1.1.1.
pub(super) fn hello(kind: HelloKind, settings: &Settings, transport: Transport, out: &mut Vec<u8>) {
    let name = settings.hostname.as_bytes();
    if kind == HelloKind::Helo {
        return put(out, &[b"250 ", name, b"\r\n"]);
    }
    put(
        out,
        &[
            b"250-",
            name,
            b"\r\n250-PIPELINING\r\n250-SIZE ",
            settings.size_max.to_string().as_bytes(),
            b"\r\n",
        ],
    );
    match transport {
        Transport::Clear if settings.starttls => out.extend_from_slice(b"250-STARTTLS\r\n"),
        Transport::Clear => {}
        // RFC 4954 §4: a mechanism that gives the password away is offered only under TLS; we offer none without.
        Transport::Tls => auth(settings, out),
    }
    out.extend_from_slice(b"250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-CHUNKING\r\n250 DSN\r\n");
}

fn auth(settings: &Settings, out: &mut Vec<u8>) {
    if settings.auth.is_empty() {
        return;
    }
    out.extend_from_slice(b"250-AUTH");
    for mechanism in &settings.auth {
        put(out, &[b" ", mechanism.as_str().as_bytes()]);
    }
    out.extend_from_slice(b"\r\n");
}

/// What carries the session now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transport {
    Clear,
    Tls,
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}
