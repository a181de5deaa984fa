//! What do we tell the sender? Notifications of failure, delay and relaying, born in the transaction that needs them.
//!
//! In: a message and the stories of some of its recipients. Out: finished notifications as messages to accept, events, what they replace.
//! Standards: RFC 3461 §4 and §6, RFC 3464, RFC 3834 §5; domains-and-routing 11.2.
//! Invariants: never an answer to a null reverse path, never one for a notification; at most ten a sender and hour, then one combined, then none.

pub mod limit;
mod original;

use crate::Desk;
use crate::queue::retry::Scopes;
use config::Live;
use config::document::Language;
use limit::Permit;
use mail::dsn::{self, Kind, Original, RecipientStatus, Report, Reported};
use mail::text::Lang;
use mail::{Address, Direction, EnhancedStatus, LaneId, MailParams, Notify, QueueId, Reason, Ret, ReversePath, TenantId, Timestamp};
use original::OriginalBytes;
use std::sync::Arc;
use store::spool::{Acceptance, Body, Change, Entry, EntryState, INLINE_BYTES_MAX, Origin, Settlement, SpoolMessage, Variant};
use store::tracking::{Event, Record};

/// A notification stays within a spool row; a larger original comes back as its header section.
const FULL_BYTES_MAX: usize = INLINE_BYTES_MAX - dsn::HEADER_BYTES_MAX;

/// What is to be told of one recipient.
#[derive(Clone, Debug)]
pub struct Story {
    /// The recipient.
    pub entry: Entry,
    /// What became of it.
    pub kind: Kind,
    /// RFC 3463.
    pub status: EnhancedStatus,
    /// Who said so.
    pub host: Option<String>,
    /// What was said.
    pub text: Option<String>,
    /// Our reason.
    pub reason: Option<Reason>,
}

impl Story {
    /// Without words yet.
    #[must_use]
    pub fn new(entry: Entry, kind: Kind, status: EnhancedStatus) -> Self {
        Self {
            entry,
            kind,
            status,
            host: None,
            text: None,
            reason: None,
        }
    }

    /// Who said what.
    #[must_use]
    pub fn said(mut self, host: Option<String>, text: String) -> Self {
        self.host = host;
        self.text = Some(text);
        self
    }

    /// Our reason.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    /// Whether the sender wants to hear it (RFC 3461 §4.1).
    fn is_wanted(&self) -> bool {
        match self.kind {
            Kind::Failed => self.entry.notify.on_failure(),
            Kind::Delayed => self.entry.notify.on_delay(),
            Kind::Delivered | Kind::Relayed => self.entry.notify.on_success(),
        }
    }
}

/// What came of telling.
#[derive(Debug, Default)]
pub struct Told {
    /// Notifications to accept.
    pub born: Vec<Acceptance>,
    /// For the record of the message that is told of.
    pub events: Vec<Event>,
    /// A combined notification that a newer one replaces.
    pub replaced: Vec<Settlement>,
}

/// One message that is told of, owned, so that a combined notification can be made anew.
#[derive(Clone, Debug)]
pub struct Tale {
    queue_id: QueueId,
    arrived_at: Timestamp,
    envid: Option<String>,
    subject: Option<String>,
    message_id: Option<String>,
    stories: Vec<Story>,
}

/// Tells the sender, as far as it may and wants to be told.
pub async fn tell(desk: &Desk, live: &Live, message: &SpoolMessage, stories: Vec<Story>, now: Timestamp) -> Told {
    let mut told = Told::default();
    let (wanted, unwanted): (Vec<Story>, Vec<Story>) = stories.into_iter().partition(Story::is_wanted);
    let none = |kind: &str| Event::Dsn {
        kind: kind.into(),
        queue_id: None,
        cause: None,
    };
    if unwanted.iter().any(|s| s.kind == Kind::Failed) {
        told.events.push(none("dsn-none"));
    }
    let Some(worst) = wanted.iter().map(|s| s.kind).max() else {
        return told;
    };
    // RFC 5321 §4.5.5: what has a null reverse path is never answered; that holds for every notification of ours.
    let ReversePath::Address(to) = &message.reverse_path else {
        told.events.push(none("dsn-none"));
        return told;
    };
    if message.direction == Direction::Internal {
        told.events.push(none("dsn-none"));
        return told;
    }
    if message.dsn_suppressed {
        told.events.push(none("dsn-suppressed"));
        return told;
    }
    let original = original::read(desk, message, wanted.first().map_or(0, |s| s.entry.variant), FULL_BYTES_MAX).await;
    let tale = Tale {
        queue_id: message.queue_id,
        arrived_at: message.received_at,
        envid: message.params.envid.clone(),
        subject: original.subject(),
        message_id: original.message_id(),
        stories: wanted,
    };
    let maker = Maker {
        desk,
        live,
        tenant: message.tenant,
        to,
        now,
    };
    let permit = desk.queue.reports().permit(message.tenant, &to.key(), now);
    match permit {
        Permit::One => {
            let what = original.as_original(message.params.ret.unwrap_or(Ret::Headers), worst);
            if let Some(acceptance) = maker.make(std::slice::from_ref(&tale), what, message.queue_id, now) {
                told.events.push(Event::Dsn {
                    kind: worst.as_str().into(),
                    queue_id: Some(acceptance.message.queue_id),
                    cause: None,
                });
                told.born.push(acceptance);
            }
        }
        Permit::Combine => maker.combine(tale, worst, &mut told),
        Permit::Suppress => told.events.push(none("dsn-suppressed")),
    }
    told
}

struct Maker<'a> {
    desk: &'a Desk,
    live: &'a Live,
    tenant: TenantId,
    to: &'a Address,
    now: Timestamp,
}

impl Maker<'_> {
    /// The eleventh and later ones of an hour stand in one notification that leaves when the hour is over.
    fn combine(&self, tale: Tale, worst: Kind, told: &mut Told) {
        let cause = tale.queue_id;
        let made = self
            .desk
            .queue
            .reports()
            .combine(self.tenant, &self.to.key(), tale, |tales, replaces, until| {
                let acceptance = self.make(tales, Original::None, cause, until)?;
                Some((acceptance.message.queue_id, (acceptance, replaces)))
            });
        let Some((acceptance, replaces)) = made else { return };
        let queue_id = acceptance.message.queue_id;
        told.events.push(Event::Dsn {
            kind: worst.as_str().into(),
            queue_id: Some(queue_id),
            cause: None,
        });
        if let Some(old) = replaces {
            let event = Event::Deleted {
                recipient: self.to.to_string(),
                by: "system".into(),
                text: format!("replaced by {queue_id}"),
            };
            let record = Record {
                trace: old,
                tenant: self.tenant,
                direction: Some(Direction::Internal),
                at: self.now,
                events: vec![event],
            };
            told.replaced.push(Settlement {
                queue_id: old,
                origin: Origin::Attempt,
                changes: vec![(0, Change::Remove)],
                born: Vec::new(),
                record,
            });
        }
        told.born.push(acceptance);
    }

    /// A notification as a message of its own: null reverse path, one recipient, linked to its cause.
    fn make(&self, tales: &[Tale], original: Original<'_>, cause: QueueId, due: Timestamp) -> Option<Acceptance> {
        let desk = self.desk;
        let queue_id = desk.ids.queue_id(self.now);
        let hostname = &desk.node.hostname;
        let from = Address::new("MAILER-DAEMON", hostname.clone()).ok()?;
        let first = match self.live.tenants.get(&self.tenant).map(|t| t.settings.language) {
            Some(Language::En) => Lang::En,
            Some(Language::Ja) | None => Lang::Ja,
        };
        let messages: Vec<Reported<'_>> = tales.iter().map(|t| t.reported(original, self.now)).collect();
        let message_id = format!("{queue_id}@{hostname}");
        let boundary = mail::Reference::random().to_string();
        let report = Report {
            from: &from,
            to: self.to,
            at: self.now,
            message_id: &message_id,
            boundary: &boundary,
            reporting_mta: hostname.as_str(),
            first,
            messages: &messages,
        };
        let dsn = report.build();
        let received = mail::trace::Received {
            client: None,
            by: hostname.as_str(),
            queue_id,
            recipient: Some(self.to),
            at: self.now,
        };
        let prefix = received.to_field(&desk.stamp_key).into_bytes().into();
        let size = u64::try_from(dsn.bytes.len()).unwrap_or(u64::MAX);
        let worst = tales.iter().flat_map(|t| &t.stories).map(|s| s.kind).max().unwrap_or(Kind::Failed);
        let lane = lane_of(self.tenant, self.to);
        let message = SpoolMessage {
            queue_id,
            tenant: self.tenant,
            direction: Direction::Internal,
            reverse_path: ReversePath::Null,
            params: MailParams::default(),
            needs_smtputf8: dsn.needs_smtputf8,
            has_eight_bit: dsn.has_eight_bit,
            received_at: self.now,
            size,
            variants: vec![Variant { prefix, edits: Vec::new() }],
            body: Body::Inline(dsn.bytes.into()),
            dsn_suppressed: false,
            cause: Some(cause),
        };
        let scopes = Scopes::new(&self.live.system, self.live.tenants.get(&self.tenant).map(Arc::as_ref), None);
        let entry = Entry {
            queue_id,
            number: 0,
            tenant: self.tenant,
            lane,
            recipient: self.to.clone(),
            orcpt: None,
            notify: Notify::Default,
            variant: 0,
            state: EntryState::Queued,
            due,
            expires_at: scopes.expires_at(due, Direction::Internal, true),
            delay_notice_at: None,
            attempts: 0,
            reason: None,
            last_reply: None,
            forced_next_hop: None,
        };
        let recipient = self.to.to_string();
        let events = vec![
            Event::Dsn {
                kind: worst.as_str().into(),
                queue_id: None,
                cause: Some(cause),
            },
            Event::MailFrom {
                hello: hostname.to_string(),
                reverse_path: String::new(),
                login: None,
            },
            accepted_event(size, &report),
            Event::Queued { recipient, due },
        ];
        let record = Record {
            trace: queue_id,
            tenant: self.tenant,
            direction: Some(Direction::Internal),
            at: self.now,
            events,
        };
        Some(Acceptance {
            message,
            entries: vec![entry],
            record,
        })
    }
}

fn accepted_event(size: u64, report: &Report<'_>) -> Event {
    Event::Accepted {
        size,
        message_id: Some(format!("<{}>", report.message_id)),
        from: vec![report.from.to_string()],
        reply_to: Vec::new(),
        to: vec![report.to.to_string()],
        subject: Some(report.subject()),
        date: None,
        attachments: Vec::new(),
        url_hosts: Vec::new(),
    }
}

/// The lane of a recipient.
#[must_use]
pub fn lane_of(tenant: TenantId, recipient: &Address) -> LaneId {
    match (recipient.domain(), recipient.literal()) {
        (Some(domain), _) => LaneId::of(tenant, domain.as_str()),
        (None, Some(ip)) => LaneId::of(tenant, &format!("[{ip}]")),
        (None, None) => LaneId::of(tenant, ""),
    }
}

impl Tale {
    fn reported<'a>(&'a self, original: Original<'a>, now: Timestamp) -> Reported<'a> {
        let recipients = self.stories.iter().map(|s| RecipientStatus {
            kind: s.kind,
            original_recipient: s.entry.orcpt.as_deref(),
            final_recipient: &s.entry.recipient,
            status: s.status,
            remote_mta: s.host.as_deref(),
            diagnostic: s.text.as_deref(),
            will_retry_until: (s.kind == Kind::Delayed).then_some(s.entry.expires_at),
            reason: s.reason,
            last_attempt: Some(now),
        });
        Reported {
            queue_id: self.queue_id,
            arrived_at: self.arrived_at,
            envid: self.envid.as_deref(),
            subject: self.subject.as_deref(),
            message_id: self.message_id.as_deref(),
            recipients: recipients.collect(),
            original,
        }
    }
}

impl OriginalBytes {
    /// RFC 3461 §4.3: RET speaks of failures; everything else brings the header section back.
    fn as_original(&self, ret: Ret, worst: Kind) -> Original<'_> {
        match (ret, worst) {
            (Ret::Full, Kind::Failed) if self.is_whole => Original::Full(&self.bytes),
            (Ret::Full | Ret::Headers, _) => Original::Header(&self.bytes),
        }
    }
}
