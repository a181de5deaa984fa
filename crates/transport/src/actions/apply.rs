//! One action on entries of one message: what changes, and what is told of it.

use super::{Action, ActionCounts};
use crate::Desk;
use crate::outcome::{self, Fate, Settled, scopes};
use crate::queue::settler::{Ended, Outcome};
use config::Live;
use mail::{Reason, Timestamp};
use std::sync::Arc;
use store::StoreError;
use store::spool::{Change, Entry, EntryState, Origin, Settlement, SpoolMessage};
use store::tracking::{Event, Record};
use tokio::sync::oneshot;

/// Tells when the change is written.
type Done = oneshot::Receiver<Result<(), StoreError>>;

/// Applies `action` to entries that are claimed; their claims are released when it is written. `None`: nothing changes.
pub(super) async fn message(
    desk: &Arc<Desk>,
    queue_id: mail::QueueId,
    numbers: &[u32],
    action: &Action,
    actor: &str,
    counts: &mut ActionCounts,
) -> Result<Option<Done>, StoreError> {
    let mut entries = desk.store.mail.entries(queue_id).await?;
    entries.retain(|e| numbers.contains(&e.number));
    let Some(message) = desk.store.mail.message(queue_id).await? else {
        return Ok(None);
    };
    let live = desk.live();
    let now = desk.now();
    let mut book = Book {
        live: &live,
        message: &message,
        now,
        actor,
        changes: Vec::new(),
        events: Vec::new(),
        due: Vec::new(),
        bounced: Vec::new(),
    };
    for entry in entries {
        match book.apply(entry, action) {
            Applied::Done => counts.done += 1,
            Applied::Not => counts.not_applicable += 1,
        }
    }
    let Book {
        changes,
        events,
        due,
        bounced,
        ..
    } = book;
    let settled = if bounced.is_empty() {
        if changes.is_empty() {
            return Ok(None);
        }
        let record = Record {
            trace: queue_id,
            tenant: message.tenant,
            direction: Some(message.direction),
            at: now,
            events,
        };
        Settled {
            settlement: Settlement {
                queue_id,
                origin: Origin::Person,
                changes,
                born: Vec::new(),
                record,
            },
            others: Vec::new(),
            due,
        }
    } else {
        let mut settled = outcome::settle(desk, &live, &message, bounced, events).await;
        settled.settlement.origin = Origin::Person;
        settled
    };
    let keys = numbers.iter().map(|n| (queue_id, *n)).collect();
    let (done, wait) = oneshot::channel();
    desk.queue
        .ended(Ended::Outcome(Box::new(Outcome {
            settled,
            keys,
            done: Some(done),
        })))
        .await;
    Ok(Some(wait))
}

enum Applied {
    Done,
    Not,
}

struct Book<'a> {
    live: &'a Live,
    message: &'a SpoolMessage,
    now: Timestamp,
    actor: &'a str,
    changes: Vec<(u32, Change)>,
    events: Vec<Event>,
    due: Vec<(mail::LaneId, mail::TenantId, Timestamp)>,
    bounced: Vec<(Entry, Fate)>,
}

impl Book<'_> {
    fn apply(&mut self, mut entry: Entry, action: &Action) -> Applied {
        let recipient = entry.recipient.to_string();
        let by = self.actor.to_owned();
        match (action, entry.state) {
            (Action::RetryNow, EntryState::Queued) => {
                entry.due = self.now;
                self.note("retry-now");
            }
            (Action::Hold { text }, EntryState::Queued) => {
                entry.state = EntryState::Held;
                entry.reason = Some(Reason::Admin);
                entry.due = self.scopes(&entry).hold_until(self.now);
                self.events.push(Event::Held {
                    recipient,
                    by,
                    reason: Some(Reason::Admin),
                    text: text.clone(),
                });
            }
            (Action::Release, EntryState::Held) => {
                entry.state = EntryState::Queued;
                entry.reason = None;
                entry.due = self.now;
                // Time in hold is no time of delivery: the lifetime begins anew.
                let has_null_path = self.message.reverse_path.address().is_none();
                entry.expires_at = entry
                    .expires_at
                    .max(self.scopes(&entry).expires_at(self.now, self.message.direction, has_null_path));
                self.events.push(Event::Released { recipient, by });
            }
            (Action::BounceNow, EntryState::Queued | EntryState::Held) => {
                self.bounced.push((entry, Fate::Bounced { by }));
                return Applied::Done;
            }
            (Action::Reroute { next_hop }, EntryState::Queued | EntryState::Held) => {
                entry.forced_next_hop = Some(next_hop.trim().to_owned());
                if entry.state == EntryState::Queued {
                    entry.due = self.now;
                }
                self.events.push(Event::Rerouted {
                    recipient,
                    by,
                    next_hop: next_hop.trim().to_owned(),
                });
            }
            (Action::ChangeLifetime { lifetime }, EntryState::Queued | EntryState::Held) => {
                entry.expires_at = self.message.received_at.after(*lifetime);
                if entry.state == EntryState::Queued {
                    entry.due = entry.due.min(entry.expires_at.max(self.now));
                }
                self.note(&format!("lifetime {} s", lifetime.as_secs()));
            }
            (Action::Discard { text }, EntryState::Queued | EntryState::Held) => {
                self.events.push(Event::Deleted {
                    recipient,
                    by,
                    text: text.clone(),
                });
                self.changes.push((entry.number, Change::Remove));
                return Applied::Done;
            }
            (Action::RetryNow | Action::Hold { .. }, EntryState::Held) | (Action::Release, EntryState::Queued) => return Applied::Not,
        }
        self.due.push((entry.lane, entry.tenant, entry.due));
        self.changes.push((entry.number, Change::Replace(Box::new(entry))));
        Applied::Done
    }

    fn note(&mut self, what: &str) {
        self.events.push(Event::Checked {
            check: "action".into(),
            result: what.into(),
            evidence: Some(format!("by {}", self.actor)),
        });
    }

    fn scopes(&self, entry: &Entry) -> crate::queue::retry::Scopes<'_> {
        scopes(
            self.live,
            self.live.tenants.get(&self.message.tenant).map(Arc::as_ref),
            self.message,
            entry,
        )
    }
}
