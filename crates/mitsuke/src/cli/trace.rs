//! `mitsuke trace …`: what happened to mail.

use super::Session;
use super::output::{say, shown};
use super::query::{escaped, with_query};
use crate::say as words;
use anyhow::Result;
use clap::Args;
use serde_json::Value;

/// Follow one message by its queue id, or search.
#[derive(Debug, Args)]
pub(crate) struct Trace {
    /// Queue id: the whole life of one message.
    id: Option<String>,
    /// Not before (RFC 3339 or a date).
    #[arg(long)]
    since: Option<String>,
    /// Before.
    #[arg(long)]
    until: Option<String>,
    /// inbound, outbound, internal.
    #[arg(long)]
    direction: Option<String>,
    /// Reverse path: address, `*@domain`, `*@*.domain`; several separated by commas.
    #[arg(long)]
    sender: Option<String>,
    /// Header From, likewise.
    #[arg(long)]
    from: Option<String>,
    /// Recipient, likewise.
    #[arg(long)]
    recipient: Option<String>,
    /// Header To and Cc, likewise.
    #[arg(long)]
    to: Option<String>,
    /// Words of the subject.
    #[arg(long)]
    subject: Option<String>,
    /// Message-ID.
    #[arg(long)]
    message_id: Option<String>,
    /// Reference of a refusal.
    #[arg(long)]
    reference: Option<String>,
    /// Client address or CIDR.
    #[arg(long)]
    client: Option<String>,
    /// EHLO name.
    #[arg(long)]
    hello: Option<String>,
    /// Host of a next hop.
    #[arg(long)]
    next_hop: Option<String>,
    /// deliver, relay, hold, quarantine, reject, defer, discard.
    #[arg(long)]
    disposition: Option<String>,
    /// queued, delivered, deferred, failed, expired, held, deleted, refused.
    #[arg(long)]
    state: Option<String>,
    /// Reason code.
    #[arg(long)]
    reason: Option<String>,
    /// Octets at least.
    #[arg(long)]
    size_min: Option<u64>,
    /// Octets at most.
    #[arg(long)]
    size_max: Option<u64>,
    /// Came by TLS: true or false.
    #[arg(long)]
    tls: Option<bool>,
    /// Words of an attachment's name.
    #[arg(long)]
    attachment: Option<String>,
    /// SHA-256 of an attachment.
    #[arg(long)]
    sha256: Option<String>,
    /// Host of a link.
    #[arg(long)]
    url_host: Option<String>,
    /// Authenticated as.
    #[arg(long)]
    login: Option<String>,
    /// Rows (1–500).
    #[arg(long)]
    limit: Option<usize>,
    /// From a page before.
    #[arg(long)]
    cursor: Option<String>,
}

impl Trace {
    pub(crate) async fn run(self, session: &Session) -> Result<()> {
        if let Some(id) = &self.id {
            let trace = session.api.get(&format!("/api/v1/tracking/{}", escaped(id))).await?;
            return if session.output.is_json() {
                session.output.value(&trace)
            } else {
                story(&trace)
            };
        }
        let query = [
            ("tenant", session.tenant_given().map(str::to_owned)),
            ("since", self.since),
            ("until", self.until),
            ("direction", self.direction),
            ("reverse_path", self.sender),
            ("from", self.from),
            ("recipient", self.recipient),
            ("to", self.to),
            ("subject", self.subject),
            ("message_id", self.message_id),
            ("reference", self.reference),
            ("client", self.client),
            ("hello", self.hello),
            ("next_hop", self.next_hop),
            ("disposition", self.disposition),
            ("state", self.state),
            ("reason", self.reason),
            ("size_min", self.size_min.map(|s| s.to_string())),
            ("size_max", self.size_max.map(|s| s.to_string())),
            ("tls", self.tls.map(|t| t.to_string())),
            ("attachment", self.attachment),
            ("sha256", self.sha256),
            ("url_host", self.url_host),
            ("login", self.login),
            ("limit", self.limit.map(|l| l.to_string())),
            ("cursor", self.cursor),
        ];
        let page = session.api.get(&with_query("/api/v1/tracking", &query)).await?;
        let rows: Vec<Value> = page
            .get("items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .map(summary)
            .collect();
        let shown = serde_json::json!({"items": rows, "next": page.get("next")});
        if session.output.is_json() {
            return session.output.value(&page);
        }
        session.output.rows(
            &shown,
            &[
                ("cli.head.id", "id"),
                ("cli.head.time", "at"),
                ("cli.head.direction", "direction"),
                ("cli.head.sender", "sender"),
                ("cli.head.recipients", "recipients"),
                ("cli.head.subject", "subject"),
                ("cli.head.state", "state"),
            ],
        )
    }
}

fn events(trace: &Value) -> impl DoubleEndedIterator<Item = &Value> {
    trace.get("events").and_then(Value::as_array).map_or(&[][..], Vec::as_slice).iter()
}

fn text(value: &Value, field: &str) -> String {
    match value.get(field) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(s)) => s.clone(),
        Some(other) => other.to_string(),
    }
}

/// One line for a list: who, to whom, about what, and how far it came.
fn summary(trace: &Value) -> Value {
    let of = |kind: &str, field: &str| -> Vec<String> { events(trace).filter(|e| text(e, "e") == kind).map(|e| text(e, field)).collect() };
    const FATES: [&str; 8] = ["refused", "queued", "held", "deferred", "delivered", "failed", "expired", "deleted"];
    let last = events(trace)
        .map(|e| text(e, "e"))
        .rfind(|kind| FATES.contains(&kind.as_str()))
        .unwrap_or_default();
    let reason = events(trace)
        .filter_map(|e| e.get("reason")?.as_str())
        .next_back()
        .map(|r| format!(" ({r})"))
        .unwrap_or_default();
    // Of a refused transaction only the refusals name the recipients.
    let mut recipients = ["rcpt", "queued", "refused"]
        .iter()
        .map(|kind| of(kind, "recipient"))
        .find(|found| !found.iter().all(String::is_empty))
        .unwrap_or_default();
    recipients.retain(|r| !r.is_empty());
    let mut seen = std::collections::BTreeSet::new();
    recipients.retain(|r| seen.insert(r.clone()));
    serde_json::json!({
        "id": text(trace, "id"), "at": text(trace, "at"), "direction": text(trace, "direction"),
        "sender": of("mail-from", "reverse_path").first(), "recipients": recipients,
        "subject": of("accepted", "subject").first(), "state": format!("{last}{}", if last == "delivered" { String::new() } else { reason }),
    })
}

/// The kinds of events, and the keys of what they are called.
const EVENTS: [(&str, &str); 19] = [
    ("accepted", "cli.event.accepted"),
    ("attempt", "cli.event.attempt"),
    ("checked", "cli.event.checked"),
    ("connected", "cli.event.connected"),
    ("decided", "cli.event.decided"),
    ("deferred", "cli.event.deferred"),
    ("deleted", "cli.event.deleted"),
    ("delivered", "cli.event.delivered"),
    ("dsn", "cli.event.dsn"),
    ("expired", "cli.event.expired"),
    ("failed", "cli.event.failed"),
    ("held", "cli.event.held"),
    ("mail-from", "cli.event.mail-from"),
    ("modified", "cli.event.modified"),
    ("queued", "cli.event.queued"),
    ("rcpt", "cli.event.rcpt"),
    ("refused", "cli.event.refused"),
    ("released", "cli.event.released"),
    ("rerouted", "cli.event.rerouted"),
];

/// `受付 accepted`; in English the kind says it.
fn called(kind: &str) -> String {
    let name = EVENTS
        .iter()
        .find(|(k, _)| *k == kind)
        .map_or_else(|| kind.to_owned(), |(_, key)| words::text(key, &[]));
    if name == kind {
        return format!("{kind:<10}");
    }
    let space = " ".repeat(10_usize.saturating_sub(words::columns(&name)));
    format!("{name}{space} {kind:<10}")
}

/// The whole life of one message, a line an event.
fn story(trace: &Value) -> Result<()> {
    say(&format!(
        "{}  {}  {}",
        text(trace, "id"),
        text(trace, "direction"),
        text(trace, "tenant")
    ))?;
    for event in events(trace) {
        let fields: Vec<String> = event
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, value)| !matches!(name.as_str(), "e" | "at") && !value.is_null())
            .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        say(&format!(
            "{}  {} {}",
            text(event, "at"),
            called(&text(event, "e")),
            shown(&fields.join("  "))
        ))?;
    }
    if let Some(related) = trace.get("related").and_then(Value::as_array) {
        let ids: Vec<&str> = related.iter().filter_map(Value::as_str).collect();
        say(&words::text("cli.trace.related", &[("ids", &ids.join(", "))]))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_names_recipients_of_refusals_too() {
        let line = |events: Value| summary(&json!({"id": "Q", "at": "t", "direction": "inbound", "events": events}));
        let refused = line(json!([
            {"e": "mail-from", "reverse_path": "a@x.example"},
            {"e": "refused", "reason": "UNKNOWN-RECIPIENT", "recipient": "nobody@y.example"},
            {"e": "refused", "reason": "UNKNOWN-RECIPIENT", "recipient": "nobody@y.example"},
        ]));
        assert_eq!(refused["recipients"], json!(["nobody@y.example"]));
        assert_eq!(refused["state"], "refused (UNKNOWN-RECIPIENT)");
        let early = line(json!([{"e": "refused", "reason": "EARLY-TALK", "recipient": null}]));
        assert_eq!(early["recipients"], json!([]));
        let taken = line(json!([
            {"e": "rcpt", "recipient": "b@y.example"},
            {"e": "refused", "reason": "UNKNOWN-RECIPIENT", "recipient": "nobody@y.example"},
            {"e": "accepted", "subject": "Hello"},
            {"e": "queued", "recipient": "b@y.example"},
        ]));
        assert_eq!(
            (&taken["recipients"], &taken["subject"]),
            (&json!(["b@y.example"]), &json!("Hello"))
        );
    }
}
