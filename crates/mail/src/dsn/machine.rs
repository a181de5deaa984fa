//! The part for programs: message/delivery-status.
//!
//! Standards: RFC 3464 §2, RFC 6533 §3 and §4 (message/global-delivery-status when an address is in UTF-8).

use super::encode::{Part, ascii, cut, push_field, quoted_printable};
use super::{Kind, RecipientStatus, Report};
use crate::header::printable;

const DIAGNOSTIC_CHARS_MAX: usize = 2_000;

/// Which character set the part is written in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Ascii,
    Utf8,
}

pub(super) fn part(report: &Report<'_>) -> Part {
    let mut recipients = report.messages.iter().flat_map(|m| &m.recipients);
    let is_utf8 = recipients.any(|r| r.final_recipient.needs_smtputf8() || r.original_recipient.is_some_and(|o| !o.is_ascii()));
    let form = if is_utf8 { Form::Utf8 } else { Form::Ascii };
    let text = fields(report, form);
    let description = "Delivery report";
    match form {
        Form::Ascii => Part {
            content_type: String::from("message/delivery-status"),
            encoding: "7bit",
            description,
            body: text.into_bytes(),
        },
        // RFC 6533 §3: may be encoded, so that the report needs neither 8BITMIME nor SMTPUTF8.
        Form::Utf8 => Part {
            content_type: String::from("message/global-delivery-status"),
            encoding: "quoted-printable",
            description,
            body: quoted_printable(text.as_bytes()),
        },
    }
}

fn fields(report: &Report<'_>, form: Form) -> String {
    let mut out = String::new();
    push_field("Reporting-MTA", &format!("dns; {}", ascii(report.reporting_mta)), &mut out);
    if let [message] = report.messages {
        // RFC 3464 §2.2.1: as given, xtext decoded (RFC 3461 §4.4).
        if let Some(envid) = message.envid {
            push_field("Original-Envelope-Id", &ascii(envid), &mut out);
        }
        push_field("X-Mitsuke-Queue-Id", &message.queue_id.to_string(), &mut out);
        push_field("Arrival-Date", &message.arrived_at.to_rfc5322(), &mut out);
    }
    for message in report.messages {
        for recipient in &message.recipients {
            out.push_str("\r\n");
            if report.messages.len() > 1 {
                // Of combined messages, each recipient tells which one it is about.
                push_field("X-Mitsuke-Queue-Id", &message.queue_id.to_string(), &mut out);
                push_field("X-Mitsuke-Arrival-Date", &message.arrived_at.to_rfc5322(), &mut out);
            }
            recipient_fields(recipient, form, &mut out);
        }
    }
    out
}

fn recipient_fields(recipient: &RecipientStatus<'_>, form: Form, out: &mut String) {
    // RFC 3464 §2.3.1: exactly what ORCPT gave, with its type.
    if let Some((kind, address)) = recipient.original_recipient.and_then(|o| o.split_once(';')) {
        push_field(
            "Original-Recipient",
            &format!("{}; {}", ascii(kind.trim()), cut(address.trim(), 800)),
            out,
        );
    }
    let address = recipient.final_recipient;
    let kind = if address.needs_smtputf8() { "utf-8" } else { "rfc822" };
    push_field("Final-Recipient", &format!("{kind}; {address}"), out);
    push_field("Action", recipient.kind.as_str(), out);
    push_field("Status", &recipient.status.to_string(), out);
    if let Some(host) = recipient.remote_mta {
        push_field("Remote-MTA", &format!("dns; {}", ascii(host)), out);
    }
    if let Some(reply) = recipient.diagnostic {
        let reply = printable(reply, DIAGNOSTIC_CHARS_MAX);
        let reply = if form == Form::Ascii { ascii(&reply) } else { reply };
        // RFC 3464 §2.3.6: a reply of SMTP, or words of our own.
        let kind = if recipient.remote_mta.is_some() { "smtp" } else { "x-mitsuke" };
        push_field("Diagnostic-Code", &format!("{kind}; {reply}"), out);
    }
    if let Some(at) = recipient.last_attempt {
        push_field("Last-Attempt-Date", &at.to_rfc5322(), out);
    }
    // RFC 3464 §2.3.9: only for delays.
    if let Some(until) = recipient.will_retry_until.filter(|_| recipient.kind == Kind::Delayed) {
        push_field("Will-Retry-Until", &until.to_rfc5322(), out);
    }
    if let Some(reason) = recipient.reason {
        push_field("X-Mitsuke-Reason", reason.as_str(), out);
    }
}
