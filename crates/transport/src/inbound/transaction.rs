//! Connection and transaction: two lifetimes, two types. What is known of each, and what tracking is told of it.
//!
//! In:  facts as the session learns them. Out: the same, for judging and for the pipeline; records of what was refused.
//! Standards: domains-and-routing 13; RFC 5321 §4.1.4.
//! Invariants: a transaction keeps the settings with which it began; what belongs to one tenant never stands in another's trace;
//!   events of refusals are bounded and counted beyond that.

use super::reply::Refusal;
use super::sources::{Certificate, Login, SourceIndex};
use crate::Desk;
use config::{Live, LiveDomain, LiveTenant};
use mail::{Direction, MailParams, QueueId, Reason, Recipient, Reference, Reply, ReversePath, TenantId};
use policy::admission::{Client, Course};
use policy::verify::iprev::Iprev;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use store::tracking::{Event, Record, TlsFacts};

/// Events of refusals kept for one tenant's trace; further ones are counted into the last alike.
const REFUSED_EVENTS_MAX: usize = 50;
/// Recipients told of with a refusal after the final dot.
const NOTED_EVENTS_MAX: usize = 100;

/// What is known of a connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The client, behind a balancer as the balancer says.
    pub client: SocketAddr,
    /// `address:port role`.
    pub listener: Arc<str>,
    /// TLS with the client.
    pub tls: Option<TlsFacts>,
    /// Its certificate.
    pub certificate: Option<Certificate>,
    /// Who logged in.
    pub login: Option<Login>,
    /// Its reverse DNS, once looked up (RFC 8601 §2.7.3).
    pub iprev: Option<Iprev>,
    /// What it called itself, and whether by EHLO.
    pub hello: (Box<str>, bool),
}

impl Connection {
    /// Address of the client.
    #[must_use]
    pub fn ip(&self) -> IpAddr {
        self.client.ip()
    }

    /// Name of the client, confirmed forward.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.iprev.as_ref().and_then(|i| i.confirmed.first()).map(String::as_str)
    }

    /// Whether what is said is private.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// The first events of every trace.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        let mut events = Vec::with_capacity(8);
        events.push(Event::Connected {
            client: self.ip(),
            ptr: self.name().map(str::to_owned),
            iprev: self.iprev.as_ref().map_or("none", |i| i.result.as_str()).to_owned(),
            country: None,
            asn: None,
            listener: self.listener.to_string(),
        });
        if let Some(tls) = &self.tls {
            events.push(Event::Tls { tls: tls.clone() });
        }
        events
    }
}

/// A recipient that was accepted at RCPT.
#[derive(Clone, Debug)]
pub struct Taken {
    /// As the client named it.
    pub recipient: Recipient,
    /// Who gets it instead, when the mail is inbound: contacts of the tenant for `postmaster` and `abuse` without a mailbox.
    pub contacts: Vec<Recipient>,
    /// Owner of its domain, when that is an accepted one.
    pub owner: Option<(Arc<LiveTenant>, Arc<LiveDomain>)>,
    /// It passed the inbound checks.
    pub is_accepted: bool,
    /// Recipient check, for tracking.
    pub check: String,
}

/// From MAIL to the reply after the final dot.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Settings, kept to the end.
    pub live: Arc<Live>,
    /// Their index.
    pub index: Arc<SourceIndex>,
    /// What the connection proves under them.
    pub client: Client,
    /// MAIL FROM.
    pub reverse_path: ReversePath,
    /// Its parameters.
    pub params: MailParams,
    /// Which way it goes, as far as the envelope tells.
    pub course: Course,
    /// The reverse path's domain has neither MX nor address, but some tenant takes mail from it all the same.
    pub sender_missing: bool,
    /// RCPT TO, accepted.
    pub recipients: Vec<Taken>,
    /// What tracking is told.
    pub traces: Traces,
}

impl Transaction {
    /// The tenant that the envelope makes the sender, as far as it does.
    #[must_use]
    pub fn sender_tenant(&self) -> Option<TenantId> {
        use policy::admission::Undecided;
        match &self.course {
            Course::Outbound { tenant, .. } | Course::Undecided(Undecided::Foreign { tenant, .. }) => Some(*tenant),
            Course::Undecided(Undecided::Shared { candidates, .. }) => candidates.first().map(|s| s.tenant),
            Course::Refused { claimed, .. } => *claimed,
            Course::Undecided(Undecided::Null) => self.client.login.or_else(|| self.client.own.first().map(|(t, _)| *t)),
            Course::Inbound { .. } => None,
        }
    }

    /// Which way, for tracking of what is refused before it is settled.
    #[must_use]
    pub fn direction(&self) -> Option<Direction> {
        match &self.course {
            Course::Inbound { .. } => Some(Direction::Inbound),
            Course::Outbound { .. } | Course::Refused { .. } => Some(Direction::Outbound),
            Course::Undecided(_) => None,
        }
    }

    /// The recipients that a tenant may see: as their owner its own, as the sender or the operator all.
    pub fn recipients_seen_by(&self, tenant: TenantId) -> impl Iterator<Item = Event> + '_ {
        let is_own = move |r: &&Taken| r.owner.as_ref().is_some_and(|(t, _)| t.id == tenant);
        let sees_all = tenant == TenantId::OPERATOR || self.sender_tenant() == Some(tenant);
        let event = |r: &Taken| Event::Rcpt {
            recipient: r.recipient.address.to_string(),
            check: r.check.clone(),
        };
        self.recipients.iter().filter(move |r| sees_all || is_own(r)).map(event)
    }

    /// MAIL FROM as an event.
    #[must_use]
    pub fn mail_from(&self, connection: &Connection) -> Event {
        Event::MailFrom {
            hello: connection.hello.0.to_string(),
            reverse_path: self.reverse_path.to_string(),
            login: connection.login.as_ref().map(|l| l.name.clone()),
        }
    }
}

/// Traces of one transaction (or, before MAIL, of the session): one per tenant concerned, named when first needed.
#[derive(Clone, Debug, Default)]
pub struct Traces(Vec<TenantTrace>);

#[derive(Clone, Debug)]
struct TenantTrace {
    tenant: TenantId,
    id: QueueId,
    /// The first events are written.
    is_begun: bool,
    refused: Vec<Event>,
    refused_total: usize,
}

impl Traces {
    /// The name of a tenant's trace, which becomes the queue id of its message.
    pub fn id(&mut self, tenant: TenantId, desk: &Desk) -> QueueId {
        self.of(tenant, desk).id
    }

    /// What a tenant's record of the accepted message begins with: nothing that was written before.
    #[must_use]
    pub fn is_begun(&self, tenant: TenantId) -> bool {
        self.0.iter().any(|t| t.tenant == tenant && t.is_begun)
    }

    /// Takes the refusals of a tenant that are not written yet.
    pub fn take_refused(&mut self, tenant: TenantId) -> Vec<Event> {
        self.0
            .iter_mut()
            .find(|t| t.tenant == tenant)
            .map(|t| std::mem::take(&mut t.refused))
            .unwrap_or_default()
    }

    /// Notes a refusal.
    pub fn refuse(&mut self, tenant: TenantId, event: Event, desk: &Desk) {
        let trace = self.of(tenant, desk);
        trace.refused_total += 1;
        if trace.refused_total > REFUSED_EVENTS_MAX
            && let Event::Refused { reason, .. } = &event
            && let Some(Event::Refused { count, .. }) = trace
                .refused
                .iter_mut()
                .rev()
                .find(|e| matches!(e, Event::Refused { reason: r, .. } if r == reason))
        {
            *count = count.saturating_add(1);
            return;
        }
        trace.refused.push(event);
    }

    /// Notes what leads to a refusal after the final dot: recipients that had been accepted.
    pub fn note(&mut self, tenant: TenantId, events: impl Iterator<Item = Event>, desk: &Desk) {
        self.of(tenant, desk).refused.extend(events.take(NOTED_EVENTS_MAX));
    }

    /// Writes what was refused since the last time. `first` are the events with which a trace begins.
    pub fn flush(&mut self, desk: &Desk, direction: Option<Direction>, first: impl Fn() -> Vec<Event>) {
        if self.0.iter().all(|t| t.refused.is_empty()) {
            return;
        }
        let at = desk.now();
        let mut records = Vec::new();
        for trace in self.0.iter_mut().filter(|t| !t.refused.is_empty()) {
            let mut events = if trace.is_begun { Vec::new() } else { first() };
            trace.is_begun = true;
            events.append(&mut trace.refused);
            records.push(Record {
                trace: trace.id,
                tenant: trace.tenant,
                direction,
                at,
                events,
            });
        }
        desk.store.mail.record(records);
    }

    fn of(&mut self, tenant: TenantId, desk: &Desk) -> &mut TenantTrace {
        let place = self.0.iter().position(|t| t.tenant == tenant).unwrap_or_else(|| {
            let id = desk.ids.queue_id(desk.now());
            self.0.push(TenantTrace {
                tenant,
                id,
                is_begun: false,
                refused: Vec::new(),
                refused_total: 0,
            });
            self.0.len() - 1
        });
        &mut self.0[place]
    }
}

/// Whose trace a refusal stands in: connect-stage and NO-DOMAIN events belong to the operator alone.
#[must_use]
pub fn owner_of(reason: Reason, tenant: Option<TenantId>) -> TenantId {
    let is_operators = matches!(reason, Reason::NoDomain | Reason::IpBlockedSystem | Reason::EarlyTalk);
    tenant.filter(|_| !is_operators).unwrap_or(TenantId::OPERATOR)
}

/// A refusal as an event.
#[must_use]
pub fn refused(refusal: &Refusal, reply: &Reply, reference: Reference, recipient: Option<String>) -> Event {
    Event::Refused {
        reason: refusal.reason,
        reply: reply.to_string(),
        reference: Some(reference),
        recipient,
        detail: refusal.detail.as_deref().map(str::to_owned),
        count: 1,
    }
}
