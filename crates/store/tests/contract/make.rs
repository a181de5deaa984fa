//! Makes what the suite keeps.

use bytes::Bytes;
use mail::{
    Address, BlobId, Direction, Disposition, Domain, IdSource, LaneId, MailParams, Notify, QueueId, Reason, ReversePath, TenantId,
    Timestamp,
};
use store::spool::{Acceptance, Body, Change, Entry, EntryState, Origin, Settlement, SpoolMessage, Variant};
use store::tracking::{Event, Record};

/// 2026-11-24T12:00:00Z.
pub(crate) const NOON: Timestamp = Timestamp(1_795_521_600_000);
pub(crate) const ACME: TenantId = TenantId(7);
#[allow(dead_code, reason = "not every suite has two tenants")]
pub(crate) const OTHER: TenantId = TenantId(8);

/// Gives ids as one node would.
pub(crate) struct Maker {
    ids: IdSource,
    pub(crate) now: Timestamp,
}

impl Maker {
    pub(crate) fn new(slot: u8) -> Self {
        Self {
            ids: IdSource::new(slot),
            now: NOON,
        }
    }

    pub(crate) fn id(&self) -> QueueId {
        self.ids.queue_id(self.now)
    }

    /// A message of `tenant` to `recipients`, all due at once.
    pub(crate) fn mail(&self, tenant: TenantId, recipients: &[&str]) -> Acceptance {
        let queue_id = self.id();
        let entries = recipients
            .iter()
            .enumerate()
            .map(|(n, to)| entry(queue_id, n as u32, tenant, to, self.now))
            .collect();
        let body = Bytes::from(format!("Subject: {queue_id}\r\n\r\nこんにちは\0\r\n"));
        Acceptance {
            message: SpoolMessage {
                queue_id,
                tenant,
                direction: Direction::Inbound,
                reverse_path: ReversePath::Address(address("Sender@sender.example")),
                params: MailParams {
                    size: Some(99),
                    envid: Some("env=1".into()),
                    smtputf8: true,
                    ..MailParams::default()
                },
                needs_smtputf8: false,
                has_eight_bit: true,
                received_at: self.now,
                size: body.len() as u64,
                variants: vec![Variant {
                    prefix: Bytes::from_static(b"Received: x\r\n"),
                    edits: vec![],
                }],
                body: Body::Inline(body),
                dsn_suppressed: true,
                cause: None,
            },
            entries,
            record: accepted(queue_id, tenant, self.now, recipients, &format!("件名 {queue_id}")),
        }
    }
}

pub(crate) fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

pub(crate) fn lane(tenant: TenantId, to: &str) -> LaneId {
    LaneId::of(tenant, address(to).domain().map(Domain::as_str).unwrap_or_default())
}

pub(crate) fn entry(queue_id: QueueId, number: u32, tenant: TenantId, to: &str, due: Timestamp) -> Entry {
    Entry {
        queue_id,
        number,
        tenant,
        lane: lane(tenant, to),
        recipient: address(to),
        orcpt: Some(format!("rfc822;{to}")),
        notify: Notify::When {
            success: true,
            failure: true,
            delay: false,
        },
        variant: 0,
        state: EntryState::Queued,
        due,
        expires_at: Timestamp(due.0 + 864_000_000),
        delay_notice_at: Some(Timestamp(due.0 + 14_400_000)),
        attempts: 0,
        reason: None,
        last_reply: None,
        forced_next_hop: None,
    }
}

pub(crate) fn accepted(trace: QueueId, tenant: TenantId, at: Timestamp, recipients: &[&str], subject: &str) -> Record {
    let mut events = vec![
        Event::Connected {
            client: "192.0.2.7".parse().unwrap(),
            ptr: None,
            iprev: "none".into(),
            country: None,
            asn: None,
            listener: "127.0.0.1:2525 mx".into(),
        },
        Event::MailFrom {
            hello: "client.example".into(),
            reverse_path: "Sender@sender.example".into(),
            login: None,
        },
        Event::Accepted {
            size: 40,
            message_id: Some(format!("<{trace}@sender.example>")),
            from: vec!["Sender@sender.example".into()],
            reply_to: vec![],
            to: recipients.iter().map(ToString::to_string).collect(),
            subject: Some(subject.into()),
            date: None,
            attachments: vec![],
            url_hosts: vec!["www.example.org".into()],
        },
    ];
    for to in recipients {
        events.push(Event::Rcpt {
            recipient: (*to).into(),
            check: "none".into(),
        });
        events.push(Event::Decided {
            recipient: (*to).into(),
            disposition: Disposition::Relay,
            reason: None,
            revision: 3,
        });
        events.push(Event::Queued {
            recipient: (*to).into(),
            due: at,
        });
    }
    Record {
        trace,
        tenant,
        direction: Some(Direction::Inbound),
        at,
        events,
    }
}

/// A settlement with a record that tells of `event`.
pub(crate) fn settlement(a: &Acceptance, origin: Origin, changes: Vec<(u32, Change)>, at: Timestamp, event: Event) -> Settlement {
    let record = Record {
        trace: a.message.queue_id,
        tenant: a.message.tenant,
        direction: Some(Direction::Inbound),
        at,
        events: vec![event],
    };
    Settlement {
        queue_id: a.message.queue_id,
        origin,
        changes,
        born: vec![],
        record,
    }
}

pub(crate) fn delivered(a: &Acceptance, number: usize, at: Timestamp) -> Settlement {
    let event = Event::Delivered {
        recipient: a.entries[number].recipient.to_string(),
        host: "mx.example.net".into(),
        reply: "250 ok".into(),
        delay_ms: 5,
    };
    settlement(a, Origin::Attempt, vec![(number as u32, Change::Remove)], at, event)
}

pub(crate) fn deferred(a: &Acceptance, number: usize, due: Timestamp) -> Settlement {
    let mut entry = a.entries[number].clone();
    entry.due = due;
    entry.attempts += 1;
    entry.reason = Some(Reason::NextHopFailed);
    entry.last_reply = Some("mx.example.net: 451 later\0".into());
    let event = Event::Deferred {
        recipient: entry.recipient.to_string(),
        reason: Reason::NextHopFailed,
        reply: "451 later".into(),
        due,
    };
    settlement(
        a,
        Origin::Attempt,
        vec![(number as u32, Change::Replace(Box::new(entry)))],
        due,
        event,
    )
}

pub(crate) fn held(a: &Acceptance, number: usize, until: Timestamp) -> Settlement {
    let mut entry = a.entries[number].clone();
    entry.due = until;
    entry.state = EntryState::Held;
    entry.reason = Some(Reason::Admin);
    let event = Event::Held {
        recipient: entry.recipient.to_string(),
        by: "admin".into(),
        reason: Some(Reason::Admin),
        text: None,
    };
    settlement(
        a,
        Origin::Person,
        vec![(number as u32, Change::Replace(Box::new(entry)))],
        until,
        event,
    )
}

/// A name for a body that nobody wrote.
#[allow(dead_code, reason = "not every suite has large bodies")]
pub(crate) fn blob() -> BlobId {
    BlobId([0xab; 32])
}
