//! What became of each recipient, and what is written of it: one transaction with the changes, the events and the notifications born of it.
//!
//! In: a message, the fate of some of its entries, what was tried. Out: a [`Settlement`].
//! Standards: domains-and-routing 11, 13; RFC 3464 by way of `report`.
//! Invariants: an entry leaves the spool only with an event that says why; a notification is born in the transaction that needs it.

use crate::Desk;
use crate::queue::{expire, retry::Scopes};
use crate::report::{self, Story};
use config::{Live, LiveTenant};
use mail::dsn;
use mail::{Direction, EnhancedStatus, LaneId, Reason, Reply, TenantId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use store::spool::{Acceptance, Change, Entry, EntryState, Origin, Settlement, SpoolMessage};
use store::tracking::{Event, Record};

/// How soon an entry whose next hop is paused is looked at again, unless the pause ends before.
const PAUSED_LOOK: Duration = Duration::from_secs(300);
/// Kept of a reply with the entry.
const LAST_REPLY_CHARS_MAX: usize = 1_000;

/// What became of one recipient in one attempt.
#[derive(Debug)]
pub enum Fate {
    /// The next hop took it.
    Delivered {
        /// Which.
        host: String,
        /// Its reply.
        reply: Reply,
        /// Whether it makes notifications itself (RFC 3461).
        has_dsn: bool,
    },
    /// 5yz, from a host or from us.
    Failed {
        /// Why.
        reason: Reason,
        /// Who said so; `None`: we.
        host: Option<String>,
        /// What.
        reply: Reply,
    },
    /// Not now.
    Deferred {
        /// Why.
        reason: Reason,
        /// Who said so.
        host: Option<String>,
        /// What.
        text: String,
    },
    /// The way is paused: no attempt was made.
    Paused,
    /// Held by us: a loop.
    Held {
        /// Why.
        reason: Reason,
        /// For people.
        text: String,
    },
    /// The lifetime is over and no attempt could be made.
    Expired,
    /// The hold is over.
    HoldEnded,
    /// A person wants it back at the sender.
    Bounced {
        /// Who.
        by: String,
    },
    /// Only the warning is due; the entry waits on.
    Warned,
    /// Into the inbound pipeline of another tenant, as this message.
    HandedOver {
        /// The new message; `None`: it is part of another recipient's.
        born: Option<Box<Acceptance>>,
        /// Its name.
        queue_id: mail::QueueId,
    },
}

/// A settlement with what the queue needs to know of it.
#[derive(Debug)]
pub struct Settled {
    /// To be written.
    pub settlement: Settlement,
    /// Further changes of other messages that belong to the same transaction.
    pub others: Vec<Settlement>,
    /// When entries of this message are due again.
    pub due: Vec<(LaneId, TenantId, Timestamp)>,
}

/// Puts together what is written of an attempt. `attempts`: what was tried, in order.
pub async fn settle(desk: &Desk, live: &Live, message: &SpoolMessage, fates: Vec<(Entry, Fate)>, attempts: Vec<Event>) -> Settled {
    let now = desk.now();
    let mut book = Book::new(live, message, now);
    book.events = attempts;
    for (entry, fate) in fates {
        book.enter(entry, fate);
    }
    let Book {
        events,
        changes,
        stories,
        mut born,
        due,
        ..
    } = book;
    let told = report::tell(desk, live, message, stories, now).await;
    let mut events = events;
    events.extend(told.events);
    born.extend(told.born);
    let record = Record {
        trace: message.queue_id,
        tenant: message.tenant,
        direction: Some(message.direction),
        at: now,
        events,
    };
    Settled {
        settlement: Settlement {
            queue_id: message.queue_id,
            origin: Origin::Attempt,
            changes,
            born,
            record,
        },
        others: told.replaced,
        due,
    }
}

struct Book<'a> {
    live: &'a Live,
    message: &'a SpoolMessage,
    tenant: Option<&'a LiveTenant>,
    now: Timestamp,
    events: Vec<Event>,
    changes: Vec<(u32, Change)>,
    stories: Vec<Story>,
    born: Vec<Acceptance>,
    due: Vec<(LaneId, TenantId, Timestamp)>,
}

impl<'a> Book<'a> {
    fn new(live: &'a Live, message: &'a SpoolMessage, now: Timestamp) -> Self {
        let tenant = live.tenants.get(&message.tenant).map(Arc::as_ref);
        Self {
            live,
            message,
            tenant,
            now,
            events: Vec::new(),
            changes: Vec::new(),
            stories: Vec::new(),
            born: Vec::new(),
            due: Vec::new(),
        }
    }

    fn enter(&mut self, entry: Entry, fate: Fate) {
        let recipient = entry.recipient.to_string();
        match fate {
            Fate::Delivered { host, reply, has_dsn } => {
                let delay_ms = self.now.0.saturating_sub(self.message.received_at.0);
                self.events.push(Event::Delivered {
                    recipient,
                    host: host.clone(),
                    reply: reply.to_string(),
                    delay_ms,
                });
                self.changes.push((entry.number, Change::Remove));
                // RFC 3461 §6.2.3: success was asked for and the next hop cannot tell it: we tell that it was relayed.
                if entry.notify.on_success() && !has_dsn {
                    let status = EnhancedStatus {
                        class: 2,
                        subject: 0,
                        detail: 0,
                    };
                    self.stories
                        .push(Story::new(entry, dsn::Kind::Relayed, status).said(Some(host), reply.to_string()));
                }
            }
            Fate::Failed { reason, host, reply } => {
                let text = with_host(host.as_deref(), &reply.to_string());
                self.events.push(Event::Failed {
                    recipient,
                    reason,
                    reply: text,
                });
                let status = status_of(&reply, 5);
                self.failed(entry, reason, status, host, reply.to_string());
            }
            Fate::Deferred { reason, host, text } => self.deferred(entry, reason, host, text),
            Fate::Paused => self.paused(entry),
            Fate::Held { reason, text } => self.held(entry, reason, text),
            Fate::Expired => self.expired(entry),
            Fate::HoldEnded => {
                let text = "hold ended without a decision".to_owned();
                self.events.push(Event::Expired {
                    recipient,
                    reply: text.clone(),
                });
                let reason = entry.reason.unwrap_or(Reason::Expired);
                self.failed(
                    entry,
                    reason,
                    EnhancedStatus {
                        class: 5,
                        subject: 7,
                        detail: 1,
                    },
                    None,
                    text,
                );
            }
            Fate::Bounced { by } => {
                let text = entry
                    .last_reply
                    .clone()
                    .unwrap_or_else(|| "returned to its sender by an administrator".into());
                self.events.push(Event::Failed {
                    recipient,
                    reason: Reason::Admin,
                    reply: format!("bounced by {by}: {text}"),
                });
                self.failed(
                    entry,
                    Reason::Admin,
                    EnhancedStatus {
                        class: 5,
                        subject: 7,
                        detail: 1,
                    },
                    None,
                    text,
                );
            }
            Fate::Warned => {
                let text = entry.last_reply.clone().unwrap_or_else(|| "waiting for the next hop".into());
                self.wait_on(entry, text, None);
            }
            Fate::HandedOver { born, queue_id } => {
                let delay_ms = self.now.0.saturating_sub(self.message.received_at.0);
                let reply = format!("handed over inside as {queue_id}");
                self.events.push(Event::Delivered {
                    recipient,
                    host: "internal".into(),
                    reply,
                    delay_ms,
                });
                self.changes.push((entry.number, Change::Remove));
                self.born.extend(born.map(|b| *b));
            }
        }
    }

    fn failed(&mut self, entry: Entry, reason: Reason, status: EnhancedStatus, host: Option<String>, text: String) {
        self.changes.push((entry.number, Change::Remove));
        self.stories
            .push(Story::new(entry, dsn::Kind::Failed, status).said(host, text).because(reason));
    }

    fn expired(&mut self, entry: Entry) {
        // A person's bounce that another node was asked for.
        if entry.reason == Some(Reason::Admin) {
            return self.enter(entry, Fate::Bounced { by: "a person".into() });
        }
        let text = entry.last_reply.clone().unwrap_or_else(|| "no attempt was possible".into());
        self.events.push(Event::Expired {
            recipient: entry.recipient.to_string(),
            reply: text.clone(),
        });
        // RFC 3463 §3.5: X.4.7, delivery time expired.
        self.failed(
            entry,
            Reason::Expired,
            EnhancedStatus {
                class: 5,
                subject: 4,
                detail: 7,
            },
            None,
            text,
        );
    }

    fn deferred(&mut self, mut entry: Entry, reason: Reason, host: Option<String>, text: String) {
        entry.attempts = entry.attempts.saturating_add(1);
        entry.last_reply = Some(with_host(host.as_deref(), &text));
        entry.reason = Some(reason);
        if expire::is_last(&entry, self.now) {
            self.expired(entry);
            return;
        }
        entry.due = self
            .scopes(&entry)
            .next_due(self.now, entry.attempts, entry.expires_at, crate::delivery::resolve::random_u64());
        let reply = entry.last_reply.clone().unwrap_or_default();
        self.events.push(Event::Deferred {
            recipient: entry.recipient.to_string(),
            reason,
            reply,
            due: entry.due,
        });
        self.wait_on(entry, text, host);
    }

    /// The entry stays; the sender is warned when that is due.
    fn wait_on(&mut self, mut entry: Entry, text: String, host: Option<String>) {
        if expire::is_warning_due(&entry, self.now) {
            entry.delay_notice_at = None;
            let status = EnhancedStatus {
                class: 4,
                subject: 4,
                detail: 1,
            };
            let mut story = Story::new(entry.clone(), dsn::Kind::Delayed, status).said(host, text);
            story.reason = entry.reason;
            self.stories.push(story);
        }
        self.due.push((entry.lane, entry.tenant, entry.due));
        self.changes.push((entry.number, Change::Replace(Box::new(entry))));
    }

    fn paused(&mut self, mut entry: Entry) {
        if expire::is_last(&entry, self.now) {
            self.expired(entry);
            return;
        }
        let is_new = entry.reason != Some(Reason::Paused);
        entry.reason = Some(Reason::Paused);
        entry.due = self.now.after(PAUSED_LOOK).min(entry.expires_at);
        if is_new {
            let reply = "paused by a person".to_owned();
            self.events.push(Event::Deferred {
                recipient: entry.recipient.to_string(),
                reason: Reason::Paused,
                reply,
                due: entry.due,
            });
        }
        self.wait_on(entry, "delivery is paused".into(), None);
    }

    fn held(&mut self, mut entry: Entry, reason: Reason, text: String) {
        tracing::error!(queue_id = %entry.queue_id, %reason, "message held");
        let recipient = entry.recipient.to_string();
        self.events.push(Event::Held {
            recipient,
            by: "system".into(),
            reason: Some(reason),
            text: Some(text.clone()),
        });
        entry.state = EntryState::Held;
        entry.reason = Some(reason);
        entry.last_reply = Some(clip(&text));
        entry.due = self.scopes(&entry).hold_until(self.now);
        self.due.push((entry.lane, entry.tenant, entry.due));
        self.changes.push((entry.number, Change::Replace(Box::new(entry))));
    }

    /// Inbound: settings of the recipient's domain; otherwise of the sender's.
    fn scopes(&self, entry: &Entry) -> Scopes<'_> {
        scopes(self.live, self.tenant, self.message, entry)
    }
}

/// Queue settings that hold for an entry.
#[must_use]
pub fn scopes<'a>(live: &'a Live, tenant: Option<&'a LiveTenant>, message: &SpoolMessage, entry: &Entry) -> Scopes<'a> {
    let domain = match message.direction {
        Direction::Inbound => entry.recipient.domain(),
        Direction::Outbound | Direction::Internal => message.reverse_path.domain(),
    };
    Scopes::new(&live.system, tenant, domain.map(mail::Domain::as_str))
}

/// The enhanced status of a reply, or the general one of its class (RFC 3463 §3.1).
#[must_use]
pub fn status_of(reply: &Reply, class: u8) -> EnhancedStatus {
    reply.enhanced.filter(|s| s.class == class).unwrap_or(EnhancedStatus {
        class,
        subject: 0,
        detail: 0,
    })
}

/// The host in front, cut.
fn with_host(host: Option<&str>, text: &str) -> String {
    match host {
        Some(host) => clip(&format!("{host}: {text}")),
        None => clip(text),
    }
}

fn clip(text: &str) -> String {
    mail::header::printable(text, LAST_REPLY_CHARS_MAX)
}
