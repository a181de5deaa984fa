//! Commit: the line at which we become responsible for a message.
//!
//! In:  a decided message. Out: queue ids, after the one durable transaction that holds messages, entries and records.
//! Standards: RFC 5321 §6.1; domains-and-routing 0.2, 1.1, 9 (free spool).
//! Invariants: a large body is synced and named before the commit that names it; whatever the store cannot do is 4yz; a body that was named
//!   for a commit that failed is an orphan and swept, never removed here, since the outcome of a commit can be unknown.

use super::body::{Collected, CollectedBody};
use super::decide::{Admitted, Parcel};
use super::verify::Verified;
use super::{Receipt, Refused, reason_of, record, trace};
use crate::Desk;
use crate::inbound::reply::Refusal;
use crate::inbound::transaction::{Connection, Transaction};
use crate::queue::retry::Scopes;
use mail::{Direction, LaneId, QueueId, Reason, ReversePath, TenantId, Timestamp};
use store::StoreError;
use store::spool::{Acceptance, Body, Entry, EntryState, SpoolMessage, Variant};
use store::tracking::Record;

/// What the pipeline found.
pub(super) struct Parts<'a> {
    pub(super) connection: &'a Connection,
    pub(super) transaction: &'a mut Transaction,
    pub(super) collected: Collected,
    pub(super) admitted: Admitted,
    pub(super) verified: Verified,
    pub(super) decided: Vec<Parcel>,
    pub(super) size: u64,
}

/// Commits. On Ok the message is ours.
pub(super) async fn run(mut parts: Parts<'_>, desk: &Desk) -> Result<Receipt, Refused> {
    if !desk.inbound.space.has_room(
        &*desk.store.mail,
        &parts.transaction.live.system,
        parts.size,
        desk.clock.monotonic(),
    ) {
        return Err(Refused::about(Refusal::new(Reason::StoreFull), None));
    }
    let at = desk.now();
    let parcels = std::mem::take(&mut parts.decided);
    let named = names(&parcels, &mut parts, desk);
    let bodies = bodies(&mut parts.collected, &named, desk)
        .await
        .map_err(|error| store_refusal(&error))?;
    let mut messages = Vec::with_capacity(parcels.len());
    for ((parcel, (_, queue_id)), body) in parcels.iter().zip(&named).zip(bodies) {
        messages.push(acceptance(&mut parts, parcel, *queue_id, body, at, desk));
    }
    // The queue needs no record; its copy shares the octets.
    let for_queue: Vec<Acceptance> = messages.iter().map(without_record).collect();
    // This session no longer keeps others waiting.
    parts.collected.in_data = store::InData::default();
    desk.store.mail.accept(messages).await.map_err(|error| store_refusal(&error))?;
    desk.queue.accepted(for_queue);
    Ok(Receipt {
        queue_ids: named.into_iter().map(|(_, id)| id).collect(),
    })
}

/// The first message of a tenant continues the trace of the transaction.
fn names(parcels: &[Parcel], parts: &mut Parts<'_>, desk: &Desk) -> Vec<(TenantId, QueueId)> {
    let mut named: Vec<(TenantId, QueueId)> = Vec::with_capacity(parcels.len());
    for parcel in parcels {
        let tenant = parcel.tenant.id;
        let is_second = named.iter().any(|(t, _)| *t == tenant);
        let id = if is_second {
            desk.ids.queue_id(desk.now())
        } else {
            parts.transaction.traces.id(tenant, desk)
        };
        named.push((tenant, id));
    }
    named
}

fn store_refusal(error: &StoreError) -> Refused {
    tracing::error!(%error, "a message could not be committed");
    Refused::about(Refusal::new(reason_of(error)).with_detail(error.to_string()), None)
}

/// The octets of each tenant's message. Bodies are not shared between tenants, even when equal.
async fn bodies(collected: &mut Collected, named: &[(TenantId, QueueId)], desk: &Desk) -> Result<Vec<Body>, StoreError> {
    let body = std::mem::replace(&mut collected.body, CollectedBody::Small(bytes::Bytes::new()));
    let writer = match body {
        CollectedBody::Small(bytes) => return Ok(named.iter().map(|_| Body::Inline(bytes.clone())).collect()),
        CollectedBody::Large(writer) => writer,
    };
    let Some(((first_tenant, first_id), others)) = named.split_first() else {
        return Ok(Vec::new());
    };
    let (id, size) = writer.finish_as(*first_tenant, *first_id).await?;
    let mut bodies = vec![Body::Blob { id, size }];
    for (tenant, queue_id) in others {
        let mut reader = desk.store.blobs.reader(id, *first_tenant, *first_id).await?;
        let mut copy = desk.store.blobs.writer(*tenant, *queue_id);
        while let Some(piece) = reader.next().await? {
            copy.write(&piece).await?;
        }
        let (id, size) = copy.finish().await?;
        bodies.push(Body::Blob { id, size });
    }
    Ok(bodies)
}

fn acceptance(parts: &mut Parts<'_>, parcel: &Parcel, queue_id: QueueId, body: Body, at: Timestamp, desk: &Desk) -> Acceptance {
    let entries = entries(parts, parcel, queue_id, at);
    let record = record::of(parts, parcel, &entries, queue_id, at);
    let message = message(parts, parcel, queue_id, body, at, desk);
    Acceptance { message, entries, record }
}

fn message(parts: &Parts<'_>, parcel: &Parcel, queue_id: QueueId, body: Body, at: Timestamp, desk: &Desk) -> SpoolMessage {
    let transaction = &*parts.transaction;
    let facts = &parts.collected.facts;
    let only = match parcel.copies.as_slice() {
        [only] if transaction.recipients.len() == 1 => Some(&only.recipient.address),
        _ => None,
    };
    let prefix = trace::prefix(parts.connection, transaction, queue_id, only, at, desk);
    let has_utf8_address = transaction.reverse_path.address().is_some_and(mail::Address::needs_smtputf8)
        || parcel.copies.iter().any(|c| c.recipient.address.needs_smtputf8());
    let is_inbound = match parcel.direction {
        Direction::Inbound | Direction::Internal => true,
        Direction::Outbound => false,
    };
    SpoolMessage {
        queue_id,
        tenant: parcel.tenant.id,
        direction: parcel.direction,
        reverse_path: transaction.reverse_path.clone(),
        params: transaction.params.clone(),
        // TOLERATES RFC 6532 §3.4: a header section in raw UTF-8 that came without SMTPUTF8 goes on without it (docs/quirk.md#raw-utf8-header).
        needs_smtputf8: has_utf8_address || (transaction.params.smtputf8 && facts.header_has_utf8),
        has_eight_bit: facts.has_eight_bit || facts.header_has_utf8,
        received_at: at,
        size: parts.size,
        variants: vec![Variant {
            prefix,
            edits: parts.admitted.edits.clone(),
        }],
        body,
        dsn_suppressed: is_inbound && parts.verified.is_likely_forged() && parcel.tenant.settings.dsn_suppress_forged.unwrap_or(true),
        cause: None,
    }
}

fn entries(parts: &Parts<'_>, parcel: &Parcel, queue_id: QueueId, at: Timestamp) -> Vec<Entry> {
    let has_null_path = matches!(parts.transaction.reverse_path, ReversePath::Null);
    let entry = |(number, copy): (usize, &super::decide::Copied)| {
        let scopes = Scopes::new(
            &parts.transaction.live.system,
            Some(&*parcel.tenant),
            copy.domain.as_ref().map(mail::Domain::as_str),
        );
        let is_held = record::is_held(copy.fate.disposition);
        let address = &copy.recipient.address;
        let lane = address.domain().map_or_else(|| address.to_string(), |d| d.as_str().to_owned());
        Entry {
            queue_id,
            number: u32::try_from(number).unwrap_or(u32::MAX),
            tenant: parcel.tenant.id,
            lane: LaneId::of(parcel.tenant.id, &lane),
            recipient: address.clone(),
            orcpt: copy.recipient.orcpt.clone(),
            notify: copy.recipient.notify,
            variant: 0,
            state: if is_held { EntryState::Held } else { EntryState::Queued },
            due: if is_held { scopes.hold_until(at) } else { at },
            expires_at: scopes.expires_at(at, parcel.direction, has_null_path),
            delay_notice_at: scopes.delay_notice_at(at, parcel.direction, has_null_path),
            attempts: 0,
            reason: record::waiting_reason(copy.fate.disposition, copy.fate.reason),
            last_reply: None,
            forced_next_hop: None,
        }
    };
    parcel.copies.iter().enumerate().map(entry).collect()
}

fn without_record(acceptance: &Acceptance) -> Acceptance {
    let Record {
        trace,
        tenant,
        direction,
        at,
        ..
    } = acceptance.record;
    let record = Record {
        trace,
        tenant,
        direction,
        at,
        events: Vec::new(),
    };
    Acceptance {
        message: acceptance.message.clone(),
        entries: acceptance.entries.clone(),
        record,
    }
}
