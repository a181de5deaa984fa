//! Record: what does tracking say of an accepted message, from connect to queued?
//!
//! In:  everything the pipeline found. Out: one record, written in the same transaction as the message.
//! Standards: domains-and-routing 13.
//! Invariants: nothing of another tenant's recipients; bounded by what the scanner bounds.

use super::commit::Parts;
use super::decide::{Parcel, Way};
use mail::mime::Facts;
use mail::{Disposition, QueueId, Reason, Timestamp};
use store::spool::{Entry, EntryState};
use store::tracking::{AttachmentFacts, Event, Record};

/// The record of one tenant's message. `begun`: its first events were written with a refusal before.
pub(super) fn of(parts: &mut Parts<'_>, parcel: &Parcel, entries: &[Entry], queue_id: QueueId, at: Timestamp) -> Record {
    let tenant = parcel.tenant.id;
    let mut events = Vec::new();
    if !parts.transaction.traces.is_begun(tenant) {
        events = parts.connection.events();
        events.push(parts.transaction.mail_from(parts.connection));
    }
    events.reserve(4 + 3 * entries.len());
    events.append(&mut parts.transaction.traces.take_refused(tenant));
    events.extend(parcel.copies.iter().map(|c| Event::Rcpt {
        recipient: c.recipient.address.to_string(),
        check: c.check.clone(),
    }));
    events.push(accepted(&parts.collected.facts, parts.size));
    checked(parts, &mut events);
    let revision = parcel.tenant.revision;
    for (copy, entry) in parcel.copies.iter().zip(entries) {
        let recipient = copy.recipient.address.to_string();
        events.push(Event::Decided {
            recipient: recipient.clone(),
            disposition: copy.fate.disposition,
            reason: copy.fate.reason,
            revision,
        });
        events.push(match entry.state {
            EntryState::Queued => Event::Queued { recipient, due: entry.due },
            EntryState::Held => Event::Held {
                recipient,
                by: "system".into(),
                reason: copy.fate.reason,
                text: None,
            },
        });
    }
    if !parts.admitted.edits.is_empty() {
        events.push(Event::Modified {
            what: format!("removed {}", policy::admission::PROOF_HEADER),
        });
    }
    Record {
        trace: queue_id,
        tenant,
        direction: Some(parcel.direction),
        at,
        events,
    }
}

fn accepted(facts: &Facts, size: u64) -> Event {
    Event::Accepted {
        size,
        message_id: facts.message_id.clone(),
        from: facts.from.clone(),
        reply_to: facts.reply_to.clone(),
        to: facts.to.clone(),
        subject: facts.subject.clone(),
        date: facts.date.clone(),
        attachments: facts
            .attachments
            .iter()
            .map(|a| AttachmentFacts {
                name: a.name.clone(),
                true_type: a.true_type.to_owned(),
                size: a.size,
                sha256: a.sha256.clone(),
            })
            .collect(),
        url_hosts: facts.url_hosts.clone(),
    }
}

fn checked(parts: &Parts<'_>, events: &mut Vec<Event>) {
    let check = |name: &str, result: &str, evidence: Option<String>| Event::Checked {
        check: name.into(),
        result: result.into(),
        evidence,
    };
    if let Way::Outbound { source, proof, .. } = &parts.admitted.way {
        events.push(check("source", source.as_str(), None));
        events.push(check("proof", proof.as_str(), None));
    }
    if let Some(spf) = &parts.verified.spf {
        events.push(check("spf", spf.result, spf.evidence.clone()));
    }
    if !parts.collected.facts.problems.is_empty() {
        let problems: Vec<String> = parts.collected.facts.problems.iter().map(|p| format!("{p:?}")).collect();
        let result = if parts.collected.facts.is_over_limit() {
            "over-limit"
        } else {
            "irregular"
        };
        events.push(check("mime", result, Some(problems.join(", "))));
    }
}

/// Whether a fate keeps the copy from being scheduled.
pub(super) fn is_held(disposition: Disposition) -> bool {
    match disposition {
        Disposition::Hold | Disposition::Quarantine => true,
        Disposition::Deliver | Disposition::Relay | Disposition::Reject | Disposition::Defer | Disposition::Discard => false,
    }
}

/// Why an entry waits, for the queue's list.
pub(super) fn waiting_reason(disposition: Disposition, reason: Option<Reason>) -> Option<Reason> {
    reason.filter(|_| is_held(disposition))
}
