//! The part for people: both languages, one below the other. Plain text; its words stand in `locales/`.

use super::{Kind, RecipientStatus, Report, Reported};
use crate::EnhancedStatus;
use crate::header::printable;
use crate::text::{Lang, get};

const RECIPIENTS_MAX: usize = 50;
const MESSAGES_MAX: usize = 100;
const REPLY_CHARS_MAX: usize = 1_000;
const SUBJECT_CHARS_MAX: usize = 200;

pub(super) fn text(report: &Report<'_>) -> String {
    let mut out = String::new();
    paragraph(report, report.first, &mut out);
    out.push_str("\r\n------------------------------------------------------------\r\n\r\n");
    paragraph(report, report.first.other(), &mut out);
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push_str("\r\n");
}

fn paragraph(report: &Report<'_>, lang: Lang, out: &mut String) {
    match report.messages {
        [message] => {
            line(out, &get(lang, &format!("dsn.{}.intro", report.kind().as_str()), &[]));
            message_lines(message, lang, out);
        }
        several => {
            line(out, &get(lang, "dsn.combined.intro", &[("count", &several.len().to_string())]));
            for message in several.iter().take(MESSAGES_MAX) {
                message_lines(message, lang, out);
            }
            if let Some(more) = several.len().checked_sub(MESSAGES_MAX).filter(|more| *more > 0) {
                line(out, &get(lang, "dsn.more-messages", &[("count", &more.to_string())]));
            }
        }
    }
    line(out, "");
    line(out, &get(lang, "dsn.footer", &[("host", report.reporting_mta)]));
}

fn message_lines(message: &Reported<'_>, lang: Lang, out: &mut String) {
    line(out, "");
    if let Some(subject) = message.subject {
        line(
            out,
            &get(lang, "dsn.header.subject", &[("subject", &printable(subject, SUBJECT_CHARS_MAX))]),
        );
    }
    if let Some(id) = message.message_id {
        line(
            out,
            &get(lang, "dsn.header.message-id", &[("message_id", &printable(id, SUBJECT_CHARS_MAX))]),
        );
    }
    if let Some(envid) = message.envid {
        line(
            out,
            &get(lang, "dsn.header.envid", &[("envid", &printable(envid, SUBJECT_CHARS_MAX))]),
        );
    }
    let queue_id = message.queue_id.to_string();
    line(
        out,
        &get(
            lang,
            "dsn.header.queue-id",
            &[("queue_id", &queue_id), ("date", &message.arrived_at.to_rfc5322())],
        ),
    );
    for recipient in message.recipients.iter().take(RECIPIENTS_MAX) {
        line(out, "");
        recipient_lines(recipient, lang, out);
    }
    if let Some(more) = message.recipients.len().checked_sub(RECIPIENTS_MAX).filter(|more| *more > 0) {
        line(out, "");
        line(out, &get(lang, "dsn.more-recipients", &[("count", &more.to_string())]));
    }
}

fn recipient_lines(recipient: &RecipientStatus<'_>, lang: Lang, out: &mut String) {
    line(out, &format!("<{}>", recipient.final_recipient));
    let asked = recipient
        .original_recipient
        .and_then(|o| o.split_once(';'))
        .map(|(_, address)| address.trim());
    if let Some(address) = asked.filter(|a| !a.eq_ignore_ascii_case(&recipient.final_recipient.to_string())) {
        line(
            out,
            &get(
                lang,
                "dsn.recipient.original",
                &[("address", &printable(address, SUBJECT_CHARS_MAX))],
            ),
        );
    }
    let has_cause = match recipient.kind {
        Kind::Failed | Kind::Delayed => true,
        Kind::Delivered | Kind::Relayed => false,
    };
    if has_cause {
        line(out, &format!("  {}", get(lang, why(recipient.status), &[])));
    }
    if let Some(reply) = recipient.diagnostic {
        line(
            out,
            &match recipient.remote_mta {
                Some(host) => get(lang, "dsn.recipient.host", &[("host", &printable(host, SUBJECT_CHARS_MAX))]),
                None => get(lang, "dsn.recipient.reply-local", &[]),
            },
        );
        line(
            out,
            &get(lang, "dsn.recipient.reply", &[("reply", &printable(reply, REPLY_CHARS_MAX))]),
        );
    }
    line(
        out,
        &get(lang, "dsn.recipient.status", &[("status", &recipient.status.to_string())]),
    );
    if let Some(reason) = recipient.reason {
        line(out, &get(lang, "dsn.recipient.reason", &[("reason", reason.as_str())]));
    }
    if let Some(at) = recipient.last_attempt {
        line(out, &get(lang, "dsn.recipient.last-attempt", &[("date", &at.to_rfc5322())]));
    }
    if let Some(until) = recipient.will_retry_until.filter(|_| recipient.kind == Kind::Delayed) {
        line(out, &get(lang, "dsn.recipient.retry-until", &[("date", &until.to_rfc5322())]));
    }
}

/// One plain sentence for what RFC 3463 says in three numbers.
fn why(status: EnhancedStatus) -> &'static str {
    match (status.subject, status.detail) {
        (1, 2 | 10) => "dsn.why.bad-domain",
        (1, 0 | 1 | 3 | 6) => "dsn.why.bad-address",
        (2, _) => "dsn.why.mailbox",
        (3, 4) => "dsn.why.size",
        (4, 6) => "dsn.why.loop",
        (4, 7) => "dsn.why.expired",
        (4, _) => "dsn.why.network",
        (6, 7 | 8) => "dsn.why.utf8",
        (7, _) => "dsn.why.policy",
        _ => "dsn.why.other",
    }
}
