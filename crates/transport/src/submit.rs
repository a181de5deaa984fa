//! Mail that enters inside: between two tenants of this installation whose domains have us as their public mail exchanger.
//!
//! In: an outbound message and recipients in another tenant's domain. Out: a new inbound message of that tenant, born in the transaction in
//! which the outbound entries leave; or what the inbound door would have said.
//! Standards: domains-and-routing 1.1 (a copy per tenant, with a queue id of its own; the recipient's inbound pipeline), 2.4, 8, 9, 11.4.
//! Invariants: there is no SMTP hop inside; nothing enters that a session would have refused; hops and own passes count on.

use crate::Desk;
use crate::inbound::recipients::{Existence, existence};
use crate::limits::system;
use crate::outcome::Fate;
use crate::queue::retry::Scopes;
use crate::report::lane_of;
use config::{DomainState, Live, LiveDomain, LiveTenant, TenantState};
use mail::mime::{Facts, Limits, Scanner};
use mail::trace::{Received, passes};
use mail::{Address, Direction, Disposition, QueueId, Reason, Reply, ReversePath, TenantId, Timestamp};
use std::sync::Arc;
use store::StoreError;
use store::spool::{Acceptance, Body, Entry, EntryState, SpoolMessage, Variant};
use store::tracking::{AttachmentFacts, Event, Record};

/// domains-and-routing 11.4.
const OWN_PASSES_MAX: usize = 4;

/// Hands entries over to `tenant`. One fate per entry.
pub async fn hand_over(
    desk: &Desk,
    live: &Live,
    message: &SpoolMessage,
    variant: u16,
    tenant: TenantId,
    entries: Vec<Entry>,
) -> Vec<(Entry, Fate)> {
    let Some(tenant) = live.tenants.get(&tenant) else {
        return all(entries, &defer(Reason::NoRoute, "the tenant is gone"));
    };
    let Some(variant) = message.variants.get(usize::from(variant)) else {
        return all(entries, &defer(Reason::Internal, "a variant is missing"));
    };
    let mut fates = Vec::with_capacity(entries.len());
    let mut taken: Vec<(Entry, Vec<Address>, String)> = Vec::new();
    for entry in entries {
        match check(desk, live, tenant, message, &entry).await {
            Ok((addresses, how)) => taken.push((entry, addresses, how)),
            Err(verdict) => fates.push((entry, verdict.into_fate())),
        }
    }
    if taken.is_empty() {
        return fates;
    }
    let queue_id = desk.ids.queue_id(desk.now());
    let scanned = match copy(desk, live, message, tenant.id, queue_id).await {
        Ok(scanned) => scanned,
        Err(error) => {
            tracing::error!(%error, queue_id = %message.queue_id, "message cannot be handed over");
            fates.extend(all(
                taken.into_iter().map(|(e, ..)| e).collect(),
                &defer(Reason::Internal, "local error"),
            ));
            return fates;
        }
    };
    if let Some(verdict) = trace_verdict(desk, live, &scanned.facts, &variant.prefix) {
        fates.extend(taken.into_iter().map(|(e, ..)| (e, verdict.clone().into_fate())));
        return fates;
    }
    let birth = Birth {
        desk,
        live,
        tenant,
        message,
        variant,
        queue_id,
        at: desk.now(),
    };
    let acceptance = birth.accept(&taken, scanned);
    let mut born = Some(Box::new(acceptance));
    fates.extend(taken.into_iter().map(|(entry, ..)| {
        (
            entry,
            Fate::HandedOver {
                born: born.take(),
                queue_id,
            },
        )
    }));
    fates
}

/// What the door would have said.
#[derive(Clone, Debug)]
enum Verdict {
    Fail(Reason, Reply),
    Defer(Reason, &'static str),
}

impl Verdict {
    fn into_fate(self) -> Fate {
        match self {
            Self::Fail(reason, reply) => Fate::Failed { reason, host: None, reply },
            Self::Defer(reason, text) => Fate::Deferred {
                reason,
                host: None,
                text: text.into(),
            },
        }
    }
}

fn defer(reason: Reason, text: &'static str) -> Verdict {
    Verdict::Defer(reason, text)
}

fn all(entries: Vec<Entry>, verdict: &Verdict) -> Vec<(Entry, Fate)> {
    entries.into_iter().map(|entry| (entry, verdict.clone().into_fate())).collect()
}

/// The checks of RCPT that are about the recipient: who gets it, and how that was found.
async fn check(
    desk: &Desk,
    live: &Live,
    tenant: &LiveTenant,
    message: &SpoolMessage,
    entry: &Entry,
) -> Result<(Vec<Address>, String), Verdict> {
    let address = &entry.recipient;
    let Some(domain) = address.domain().and_then(|d| tenant.domains.get(d)) else {
        return Err(Verdict::Fail(
            Reason::NoDomain,
            Reply::new(554, 7, 1, "Recipient address rejected: not an accepted domain"),
        ));
    };
    in_service(tenant, domain)?;
    let limits = crate::limits::Scopes {
        system: &live.system,
        tenant: Some(tenant),
        domain: Some(domain),
    };
    if message.size > limits.limit(|l| l.message_bytes_max).unwrap_or(u64::MAX) {
        return Err(Verdict::Fail(
            Reason::Size,
            Reply::new(552, 3, 4, "Message size exceeds the limit of the recipient's domain"),
        ));
    }
    if crate::delivery::route::groups(&domain.settings, address).is_empty() {
        return Err(defer(Reason::NoRoute, "no inbound server row of the recipient's domain matches"));
    }
    match existence(desk, tenant, domain, address).await {
        Ok(Existence::Exists(how)) => Ok((vec![address.clone()], how)),
        Ok(Existence::Contacts(how)) => {
            let contacts = &tenant.settings.contacts.mail_flow;
            Ok((
                if contacts.is_empty() {
                    vec![address.clone()]
                } else {
                    contacts.clone()
                },
                how,
            ))
        }
        Ok(Existence::Unknown(_)) => Err(Verdict::Fail(
            Reason::UserUnknown,
            Reply::new(550, 1, 1, "Recipient address rejected: User unknown"),
        )),
        Err(error) => {
            tracing::error!(%error, "recipient list cannot be read");
            Err(defer(Reason::Internal, "recipient list cannot be read"))
        }
    }
}

/// domains-and-routing 1.1 and 2.4, inbound.
fn in_service(tenant: &LiveTenant, domain: &LiveDomain) -> Result<(), Verdict> {
    match (tenant.state, domain.state) {
        (TenantState::Closing | TenantState::Deleted, _) | (_, DomainState::Deleting) => Err(Verdict::Fail(
            Reason::NoDomain,
            Reply::new(554, 7, 1, "Recipient address rejected: domain is being deleted"),
        )),
        (_, DomainState::Unverified) => Err(defer(Reason::DomainUnverified, "recipient domain not verified yet")),
        (TenantState::Suspended, _) | (_, DomainState::Disabled) => Err(defer(Reason::DomainDisabled, "recipient domain not in service")),
        (TenantState::Trial | TenantState::Active | TenantState::OutboundSuspended, DomainState::Verified | DomainState::Active) => Ok(()),
    }
}

/// Hops and passes: those of the message as it came, and the one that we put in front when it came.
fn trace_verdict(desk: &Desk, live: &Live, facts: &Facts, prefix: &[u8]) -> Option<Verdict> {
    let (came, ours) = (facts.passes(&desk.stamp_key), passes(prefix, &desk.stamp_key));
    let hops_max: u32 = system(&live.system, |l| l.hops_max);
    if came.own + ours.own > OWN_PASSES_MAX {
        return Some(Verdict::Fail(Reason::Loop, Reply::new(554, 4, 6, "Mail loop detected")));
    }
    let is_over = came.received + ours.received > usize::try_from(hops_max).unwrap_or(usize::MAX);
    is_over.then(|| Verdict::Fail(Reason::Hops, Reply::new(554, 4, 6, "Error: too many hops")))
}

struct Scanned {
    body: Body,
    facts: Facts,
}

/// The other tenant's own copy of the body (bodies are never shared), looked at on the way for tracking.
async fn copy(desk: &Desk, live: &Live, message: &SpoolMessage, tenant: TenantId, queue_id: QueueId) -> Result<Scanned, StoreError> {
    let mut scanner = Scanner::new(limits(live), &[]);
    let body = match &message.body {
        Body::Inline(bytes) => {
            scanner.push(bytes);
            Body::Inline(bytes.clone())
        }
        Body::Blob { id, .. } => {
            let mut reader = desk.store.blobs.reader(*id, message.tenant, message.queue_id).await?;
            let mut writer = desk.store.blobs.writer(tenant, queue_id);
            while let Some(piece) = reader.next().await? {
                scanner.push(&piece);
                writer.write(&piece).await?;
            }
            let (id, size) = writer.finish().await?;
            Body::Blob { id, size }
        }
    };
    Ok(Scanned {
        body,
        facts: scanner.finish(),
    })
}

fn limits(live: &Live) -> Limits {
    let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Limits {
        header_bytes_max: usize::try_from(system(&live.system, |l| l.header_bytes_max)).unwrap_or(usize::MAX),
        fields_max: count(system(&live.system, |l| l.header_fields_max)),
        parts_max: count(system(&live.system, |l| l.mime_parts_max)),
        depth_max: count(system(&live.system, |l| l.mime_depth_max)),
    }
}

type Taken = (Entry, Vec<Address>, String);

/// What the new message is made of.
struct Birth<'a> {
    desk: &'a Desk,
    live: &'a Live,
    tenant: &'a Arc<LiveTenant>,
    message: &'a SpoolMessage,
    variant: &'a Variant,
    queue_id: QueueId,
    at: Timestamp,
}

impl Birth<'_> {
    fn accept(&self, taken: &[Taken], scanned: Scanned) -> Acceptance {
        let message = self.message;
        let only = match taken {
            [(_, addresses, _)] => addresses.first().filter(|_| addresses.len() == 1),
            _ => None,
        };
        let received = Received {
            client: None,
            by: self.desk.node.hostname.as_str(),
            queue_id: self.queue_id,
            recipient: only,
            at: self.at,
        };
        let mut prefix = received.to_field(&self.desk.stamp_key).into_bytes();
        prefix.extend_from_slice(&self.variant.prefix);
        let entries = self.entries(taken);
        let record = self.record(taken, &entries, &scanned.facts);
        let new = SpoolMessage {
            queue_id: self.queue_id,
            tenant: self.tenant.id,
            direction: Direction::Inbound,
            reverse_path: message.reverse_path.clone(),
            params: message.params.clone(),
            needs_smtputf8: message.needs_smtputf8,
            has_eight_bit: message.has_eight_bit,
            received_at: self.at,
            size: message.size,
            variants: vec![Variant {
                prefix: prefix.into(),
                edits: self.variant.edits.clone(),
            }],
            body: scanned.body,
            dsn_suppressed: false,
            cause: Some(message.queue_id),
        };
        Acceptance {
            message: new,
            entries,
            record,
        }
    }

    fn entries(&self, taken: &[Taken]) -> Vec<Entry> {
        let has_null_path = matches!(self.message.reverse_path, ReversePath::Null);
        let mut out = Vec::new();
        for (old, addresses, _) in taken {
            for address in addresses {
                let scopes = Scopes::new(
                    &self.live.system,
                    Some(self.tenant),
                    old.recipient.domain().map(mail::Domain::as_str),
                );
                let is_other = *address != old.recipient;
                out.push(Entry {
                    queue_id: self.queue_id,
                    number: u32::try_from(out.len()).unwrap_or(u32::MAX),
                    tenant: self.tenant.id,
                    lane: lane_of(self.tenant.id, address),
                    recipient: address.clone(),
                    orcpt: old.orcpt.clone().or_else(|| is_other.then(|| format!("rfc822;{}", old.recipient))),
                    notify: old.notify,
                    variant: 0,
                    state: EntryState::Queued,
                    due: self.at,
                    expires_at: scopes.expires_at(self.at, Direction::Inbound, has_null_path),
                    delay_notice_at: scopes.delay_notice_at(self.at, Direction::Inbound, has_null_path),
                    attempts: 0,
                    reason: None,
                    last_reply: None,
                    forced_next_hop: None,
                });
            }
        }
        out
    }

    fn record(&self, taken: &[Taken], entries: &[Entry], facts: &Facts) -> Record {
        let hello = self.desk.node.hostname.to_string();
        let mut events = vec![Event::MailFrom {
            hello,
            reverse_path: self.message.reverse_path.to_string(),
            login: None,
        }];
        events.extend(taken.iter().map(|(e, _, how)| Event::Rcpt {
            recipient: e.recipient.to_string(),
            check: how.clone(),
        }));
        events.push(accepted(self.message.size, facts));
        // The sender's tenant is not named: only that the mail came from inside.
        events.push(Event::Checked {
            check: "source".into(),
            result: "internal".into(),
            evidence: None,
        });
        for entry in entries {
            let recipient = entry.recipient.to_string();
            let revision = self.tenant.revision;
            events.push(Event::Decided {
                recipient: recipient.clone(),
                disposition: Disposition::Relay,
                reason: None,
                revision,
            });
            events.push(Event::Queued { recipient, due: entry.due });
        }
        Record {
            trace: self.queue_id,
            tenant: self.tenant.id,
            direction: Some(Direction::Inbound),
            at: self.at,
            events,
        }
    }
}

fn accepted(size: u64, facts: &Facts) -> Event {
    let attachment = |a: &mail::mime::Attachment| AttachmentFacts {
        name: a.name.clone(),
        true_type: a.true_type.to_owned(),
        size: a.size,
        sha256: a.sha256.clone(),
    };
    Event::Accepted {
        size,
        message_id: facts.message_id.clone(),
        from: facts.from.clone(),
        reply_to: facts.reply_to.clone(),
        to: facts.to.clone(),
        subject: facts.subject.clone(),
        date: facts.date.clone(),
        attachments: facts.attachments.iter().map(attachment).collect(),
        url_hosts: facts.url_hosts.clone(),
    }
}
