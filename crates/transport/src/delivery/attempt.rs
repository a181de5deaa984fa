//! One attempt: candidate after candidate, until every recipient has its fate.
//!
//! In: a message, recipients with the same plan and variant, candidates in order. Out: a [`Fate`] per recipient and an event per try.
//! Standards: domains-and-routing 4.2, the algorithm's steps 4 to 6 and its table.
//! Invariants: one acceptance ends the attempt for a recipient; a 5yz ends it; what a host may have taken is not offered to another at once.

use super::connect::{self, Deadlines, FailureKind, NoConnection, Privacy};
use super::dialogue::{self, End, Said, Transaction};
use super::effect::Effect;
use super::hop::HopKey;
use super::route::Candidate;
use super::wire::Wire;
use crate::Desk;
use crate::outcome::Fate;
use crate::queue::{Place, QueueHandle};
use mail::{Reason, Reply, TenantId};
use std::sync::Arc;
use std::time::Duration;
use store::spool::{Entry, SpoolMessage, Variant};
use store::tracking::{Event, TlsFacts};

/// Recipients of one transaction; RFC 5321 §4.5.3.1.8: every server takes as many.
const RECIPIENTS_MAX: usize = 100;
/// How long a further candidate is waited for when all its places are taken.
const PLACE_WAIT: Duration = Duration::from_secs(30);
/// How often it is looked at meanwhile.
const PLACE_LOOK: Duration = Duration::from_millis(100);

/// What an attempt came to.
#[derive(Debug, Default)]
pub struct Tried {
    /// Fates, for every recipient unless the lease was lost.
    pub fates: Vec<(Entry, Fate)>,
    /// One per candidate tried.
    pub events: Vec<Event>,
    /// The entries are no longer ours.
    pub is_lease_lost: bool,
}

/// What everything in an attempt needs.
pub struct Attempt<'a> {
    /// Shared parts.
    pub desk: &'a Desk,
    /// Places and connections.
    pub queue: &'a QueueHandle,
    /// The message.
    pub message: &'a SpoolMessage,
    /// What the recipients get of it.
    pub variant: &'a Variant,
    /// In order.
    pub candidates: &'a [Arc<Candidate>],
    /// Settings.
    pub deadlines: Deadlines,
    /// Lease under which the entries were read.
    pub lease_epoch: i64,
}

/// A recipient on its way through the candidates.
struct Open {
    entry: Entry,
    /// What the last candidate said.
    last: Option<(String, Said)>,
    /// Every candidate so far lacked SMTPUTF8.
    lacks_utf8: bool,
}

impl Attempt<'_> {
    /// Tries all candidates. `first` is a place at the first one.
    pub(crate) async fn run(&self, entries: Vec<Entry>, first: Place) -> Tried {
        let mut tried = Tried::default();
        let mut held = Some(first);
        let mut rest = entries;
        while !rest.is_empty() && !tried.is_lease_lost {
            let later = rest.split_off(rest.len().min(RECIPIENTS_MAX));
            let now = std::mem::replace(&mut rest, later);
            self.group(now, held.take(), &mut tried).await;
        }
        tried
    }

    fn hop(&self, candidate: &Candidate) -> HopKey {
        hop_key(self.message.tenant, candidate)
    }

    async fn group(&self, entries: Vec<Entry>, mut held: Option<Place>, tried: &mut Tried) {
        let mut open: Vec<Open> = entries
            .into_iter()
            .map(|entry| Open {
                entry,
                last: None,
                lacks_utf8: true,
            })
            .collect();
        let mut only_own = true;
        for candidate in self.candidates {
            if open.is_empty() {
                break;
            }
            let place = match held.take() {
                Some(place) => Some(place),
                None => self.place(candidate).await,
            };
            let Some(place) = place else {
                only_own = false;
                let text = "all connections to this next hop are in use".to_owned();
                let said = Said {
                    effect: Effect::Next,
                    reason: Reason::NextHopFailed,
                    reply: None,
                    text,
                };
                open.iter_mut().for_each(|o| o.last = Some((candidate.host.clone(), said.clone())));
                continue;
            };
            let before = tried.fates.len();
            let kind = self.candidate(candidate, &mut open, tried).await;
            let took = tried
                .fates
                .iter()
                .skip(before)
                .any(|(_, fate)| matches!(fate, Fate::Delivered { .. }));
            if took {
                self.queue.hop_succeeded(&self.hop(candidate), candidate.connections_max);
            }
            drop(place);
            only_own &= kind == Some(FailureKind::OwnListener);
            if tried.is_lease_lost {
                return;
            }
        }
        for recipient in open {
            tried.fates.push(self.unserved(recipient, only_own));
        }
    }

    /// No candidate took it.
    fn unserved(&self, recipient: Open, only_own: bool) -> (Entry, Fate) {
        let Open { entry, last, lacks_utf8 } = recipient;
        let fate = match last {
            None => Fate::Deferred {
                reason: Reason::NoRoute,
                host: None,
                text: "no candidate".into(),
            },
            Some((_, said)) if only_own => Fate::Held {
                reason: Reason::Loop,
                text: format!("every candidate is our own listener: {}", said.text),
            },
            Some((host, said)) if lacks_utf8 => {
                let reply = said
                    .reply
                    .unwrap_or_else(|| Reply::new(553, 6, 7, "the next hop does not offer SMTPUTF8"));
                Fate::Failed {
                    reason: Reason::Utf8Address,
                    host: Some(host),
                    reply,
                }
            }
            Some((host, said)) => Fate::Deferred {
                reason: said.reason,
                host: Some(host),
                text: said.text,
            },
        };
        (entry, fate)
    }

    /// Waits for a place at a further candidate.
    async fn place(&self, candidate: &Candidate) -> Option<Place> {
        let hop = self.hop(candidate);
        let begin = self.desk.clock.monotonic();
        loop {
            let taken = self.queue.take_place(&hop, candidate.connections_max, self.desk.clock.monotonic());
            if taken.is_some() {
                return taken;
            }
            if self.desk.clock.monotonic().saturating_sub(begin) >= PLACE_WAIT || self.desk.shutdown.is_requested() {
                return None;
            }
            self.desk.clock.sleep(PLACE_LOOK).await;
        }
    }

    /// One candidate. What kind of failure it was when there was no connection.
    async fn candidate(&self, candidate: &Arc<Candidate>, open: &mut Vec<Open>, tried: &mut Tried) -> Option<FailureKind> {
        let mut privacy = Privacy::Policy;
        let mut may_reuse = true;
        loop {
            let begin = self.desk.clock.monotonic();
            let wire = match self.wire(candidate, privacy, may_reuse).await {
                Ok(wire) => wire,
                Err(failure) => {
                    tried.events.push(self.event(
                        candidate,
                        open,
                        failure.address.map(|a| a.to_string()),
                        failure.tls.clone(),
                        &failure.text,
                        begin,
                    ));
                    if failure.kind == FailureKind::TryClear && privacy == Privacy::Policy {
                        (privacy, may_reuse) = (Privacy::Clear, false);
                        continue;
                    }
                    return Some(self.no_connection(candidate, open, *failure));
                }
            };
            let (address, tls) = (wire.address.to_string(), wire.tls.clone());
            let has_dsn = wire.capabilities.dsn;
            let transaction = self.transaction(candidate, wire, open).await;
            match transaction.end {
                End::Stale => {
                    may_reuse = false;
                    continue;
                }
                End::LeaseLost => tried.is_lease_lost = true,
                End::Usable | End::Broken => {}
            }
            tried
                .events
                .push(self.event(candidate, open, Some(address), tls, &transaction.last, begin));
            if !tried.is_lease_lost {
                distribute(candidate, open, transaction.said, has_dsn, tried);
            }
            return None;
        }
    }

    async fn wire(&self, candidate: &Arc<Candidate>, privacy: Privacy, may_reuse: bool) -> Result<Wire, Box<NoConnection>> {
        let now = self.desk.clock.monotonic();
        if may_reuse && let Some(wire) = self.queue.idle_wire(self.message.tenant, candidate, now) {
            return Ok(wire);
        }
        let turn = self.queue.next_source();
        let hop = self.hop(candidate);
        let opened = connect::open(self.desk, self.message.tenant, candidate, privacy, self.deadlines, turn).await;
        match &opened {
            Ok(_) => self.queue.hop_succeeded(&hop, candidate.connections_max),
            Err(failure) if failure.kind == FailureKind::Connect => self.queue.hop_failed(&hop, self.desk.clock.monotonic()),
            Err(_) => {}
        }
        opened
    }

    fn no_connection(&self, candidate: &Candidate, open: &mut [Open], failure: NoConnection) -> FailureKind {
        let said = Said {
            effect: Effect::Next,
            reason: failure.reason,
            reply: failure.reply,
            text: failure.text,
        };
        for recipient in open {
            recipient.lacks_utf8 = false;
            recipient.last = Some((candidate.host.clone(), said.clone()));
        }
        failure.kind
    }

    async fn transaction(&self, candidate: &Arc<Candidate>, mut wire: Wire, open: &[Open]) -> Transaction {
        let entries: Vec<&Entry> = open.iter().map(|o| &o.entry).collect();
        let transaction = dialogue::send(self.desk, self.lease_epoch, &mut wire, self.message, self.variant, &entries).await;
        if transaction.end == End::Usable {
            if wire.messages < candidate.per_connection_max {
                self.queue
                    .keep_wire(self.message.tenant, candidate, wire, self.desk.clock.monotonic());
            } else {
                wire.quit().await;
            }
        }
        transaction
    }

    fn event(
        &self,
        candidate: &Candidate,
        open: &[Open],
        address: Option<String>,
        tls: Option<TlsFacts>,
        reply: &str,
        begin: Duration,
    ) -> Event {
        let took = self.desk.clock.monotonic().saturating_sub(begin);
        Event::Attempt {
            recipients: open.iter().map(|o| o.entry.recipient.to_string()).collect(),
            route: candidate.route.clone(),
            host: candidate.host.clone(),
            address,
            tls,
            policy: candidate.tls.source.clone(),
            reply: mail::header::printable(reply, 1_000),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

/// Gives each recipient what the candidate said; who is to be tried elsewhere stays in `open`.
fn distribute(candidate: &Candidate, open: &mut Vec<Open>, said: Vec<Said>, has_dsn: bool, tried: &mut Tried) {
    let host = || candidate.host.clone();
    let recipients = std::mem::take(open);
    for (mut recipient, said) in recipients.into_iter().zip(said) {
        let fate = match said.effect {
            Effect::Proceed => {
                let reply = said.reply.unwrap_or_else(|| Reply::bare(250, ""));
                Fate::Delivered {
                    host: host(),
                    reply,
                    has_dsn,
                }
            }
            Effect::Fail => {
                let reply = said.reply.unwrap_or_else(|| Reply::bare(550, ""));
                // What we conclude from its capabilities the host has not said.
                Fate::Failed {
                    reason: said.reason,
                    host: (said.reason == Reason::RemoteReply).then(host),
                    reply,
                }
            }
            Effect::Defer => Fate::Deferred {
                reason: said.reason,
                host: Some(host()),
                text: said.text,
            },
            Effect::Next => {
                recipient.lacks_utf8 &= said.reason == Reason::Utf8Address;
                recipient.last = Some((host(), said));
                open.push(recipient);
                continue;
            }
        };
        tried.fates.push((recipient.entry, fate));
    }
}

/// The key of a candidate's places and health.
#[must_use]
pub fn hop_key(tenant: TenantId, candidate: &Candidate) -> HopKey {
    HopKey {
        tenant,
        host: candidate.host.to_ascii_lowercase(),
        port: candidate.port,
    }
}
