//! Commands of a client as octets.
//!
//! In:  values that can't hold control characters, and what the peer offers. Out: command lines with CRLF.
//! Standards: RFC 5321 §4.1.1; RFC 1870, 3030, 3461, 4954, 6152, 6531, 6533. Deviations: none.
//! Invariants: a parameter is written only when the peer offers its extension; every line ends with the only CRLF in it.

use super::Capabilities;
use crate::sasl::Mechanism;
use crate::smtp::xtext;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::{BodyType, MailParams, Notify, Recipient, Ret, ReversePath};
use std::io::Write;

/// `EHLO <name>`.
pub fn ehlo(out: &mut Vec<u8>, name: &str) {
    line(out, format_args!("EHLO {}", Plain(name)));
}

/// `HELO <name>`, for peers that do not know EHLO.
pub fn helo(out: &mut Vec<u8>, name: &str) {
    line(out, format_args!("HELO {}", Plain(name)));
}

/// `STARTTLS`.
pub fn starttls(out: &mut Vec<u8>) {
    out.extend_from_slice(b"STARTTLS\r\n");
}

/// `MAIL FROM`, with what the peer offers of the parameters; `size_bytes` is what we will send.
pub fn mail(out: &mut Vec<u8>, path: &ReversePath, params: &MailParams, size_bytes: u64, peer: &Capabilities) {
    write(out, format_args!("MAIL FROM:<{path}>"));
    if peer.size.is_some() {
        write(out, format_args!(" SIZE={size_bytes}"));
    }
    if peer.eight_bit_mime && params.body == BodyType::EightBitMime {
        out.extend_from_slice(b" BODY=8BITMIME");
    }
    if peer.smtputf8 && params.smtputf8 {
        out.extend_from_slice(b" SMTPUTF8");
    }
    if peer.dsn {
        match params.ret {
            Some(Ret::Full) => out.extend_from_slice(b" RET=FULL"),
            Some(Ret::Headers) => out.extend_from_slice(b" RET=HDRS"),
            None => {}
        }
        if let Some(envid) = params.envid.as_deref().filter(|e| !e.is_empty()) {
            out.extend_from_slice(b" ENVID=");
            xtext::encode(envid.as_bytes(), out);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// `RCPT TO`, with NOTIFY and ORCPT when the peer offers DSN.
pub fn rcpt(out: &mut Vec<u8>, recipient: &Recipient, peer: &Capabilities) {
    write(out, format_args!("RCPT TO:<{}>", recipient.address));
    if peer.dsn {
        match recipient.notify {
            Notify::Default => {}
            Notify::Never => out.extend_from_slice(b" NOTIFY=NEVER"),
            Notify::When { success, failure, delay } => {
                let mut separator = " NOTIFY=";
                for (wanted, word) in [(success, "SUCCESS"), (failure, "FAILURE"), (delay, "DELAY")] {
                    if wanted {
                        write(out, format_args!("{separator}{word}"));
                        separator = ",";
                    }
                }
            }
        }
        if let Some((kind, address)) = recipient.orcpt.as_deref().and_then(|o| o.split_once(';')) {
            orcpt(out, kind, address, peer);
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn orcpt(out: &mut Vec<u8>, kind: &str, address: &str, peer: &Capabilities) {
    if !xtext::is_address_type(kind) {
        return;
    }
    if address.is_ascii() && !kind.eq_ignore_ascii_case("utf-8") {
        write(out, format_args!(" ORCPT={kind};"));
        xtext::encode(address.as_bytes(), out);
    } else {
        // RFC 6533 §3: UTF-8 addresses have a type of their own, in ASCII for peers without SMTPUTF8.
        out.extend_from_slice(b" ORCPT=utf-8;");
        let form = if peer.smtputf8 {
            xtext::Utf8Form::Unitext
        } else {
            xtext::Utf8Form::Xtext
        };
        xtext::encode_utf8_address(address, form, out);
    }
}

/// `DATA`.
pub fn data(out: &mut Vec<u8>) {
    out.extend_from_slice(b"DATA\r\n");
}

/// `BDAT`; the octets of the chunk follow unstuffed.
pub fn bdat(out: &mut Vec<u8>, chunk_bytes: usize, chunk: Chunk) {
    match chunk {
        Chunk::More => line(out, format_args!("BDAT {chunk_bytes}")),
        Chunk::Last => line(out, format_args!("BDAT {chunk_bytes} LAST")),
    }
}

/// Whether more of the message follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// Another BDAT will come.
    More,
    /// The message is complete with it.
    Last,
}

/// `RSET`.
pub fn rset(out: &mut Vec<u8>) {
    out.extend_from_slice(b"RSET\r\n");
}

/// `QUIT`.
pub fn quit(out: &mut Vec<u8>) {
    out.extend_from_slice(b"QUIT\r\n");
}

/// `AUTH`, with the initial response when the mechanism has one.
pub fn auth(out: &mut Vec<u8>, mechanism: Mechanism, initial_response: Option<&[u8]>) {
    write(out, format_args!("AUTH {}", mechanism.as_str()));
    match initial_response {
        None => {}
        // RFC 4954 §4: an empty one is written as `=`.
        Some([]) => out.extend_from_slice(b" ="),
        Some(response) => write(out, format_args!(" {}", STANDARD.encode(response))),
    }
    out.extend_from_slice(b"\r\n");
}

/// A response to 334.
pub fn auth_response(out: &mut Vec<u8>, response: &[u8]) {
    line(out, format_args!("{}", STANDARD.encode(response)));
}

/// Gives up an exchange (RFC 4954 §4).
pub fn auth_cancel(out: &mut Vec<u8>) {
    out.extend_from_slice(b"*\r\n");
}

/// Host names come from our own settings; whatever stands there, it stays one word.
struct Plain<'t>(&'t str);

impl std::fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0
            .chars()
            .try_for_each(|c| std::fmt::Write::write_char(f, if c.is_ascii_graphic() { c } else { '-' }))
    }
}

fn line(out: &mut Vec<u8>, words: std::fmt::Arguments<'_>) {
    write(out, words);
    out.extend_from_slice(b"\r\n");
}

fn write(out: &mut Vec<u8>, words: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(words);
}
