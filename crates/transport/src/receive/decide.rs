//! Decide: whose mail is it, and what becomes of each recipient's copy?
//!
//! In:  transaction, facts of the message. Out: the way it goes with its proof; parcels, one per tenant.
//! Standards: domains-and-routing 1.1 (a message for two tenants becomes two), 6.2, 6.3, 9, 10.
//! Invariants: the judging is `policy`'s; here facts are brought and decisions carried out. What is refused after the dot is refused for all.

use super::Refused;
use crate::Desk;
use crate::inbound::mail::reverse_of;
use crate::inbound::reply::Refusal;
use crate::inbound::sources::{Certificate, Judge};
use crate::inbound::transaction::{Connection, Taken, Transaction};
use crate::limits::Scopes;
use config::{LiveDomain, LiveTenant};
use mail::mime::{Facts, Problem, Watched};
use mail::{Direction, Reason, Recipient, TenantId};
use policy::admission::{
    Evidence, PROOF_HEADER, PROVIDER_TENANT_HEADER, Proof, Provider, Source, Verdict, is_microsoft_certificate, settle,
};
use policy::decide::{Decision, Fate, Wish, decide};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use store::StoreError;
use store::control::proof;
use store::spool::Edit;

/// The way a message goes.
pub(super) enum Way {
    /// To the inbound pipeline.
    Inbound,
    /// To the outbound pipeline of a tenant.
    Outbound {
        /// Sender.
        tenant: Arc<LiveTenant>,
        /// Of the tenant.
        source: Source,
        /// What proved it.
        proof: Proof,
    },
}

/// A message that is let in.
pub(super) struct Admitted {
    /// Which way.
    pub(super) way: Way,
    /// Secret headers that are taken out.
    pub(super) edits: Vec<Edit>,
}

/// Copies of one tenant.
pub(super) struct Parcel {
    /// Owner.
    pub(super) tenant: Arc<LiveTenant>,
    /// Which way.
    pub(super) direction: Direction,
    /// Recipients.
    pub(super) copies: Vec<Copied>,
}

/// One recipient's copy.
pub(super) struct Copied {
    /// Where it goes.
    pub(super) recipient: Recipient,
    /// What becomes of it.
    pub(super) fate: Fate,
    /// Recipient check, for tracking.
    pub(super) check: String,
    /// The accepted domain whose queue settings hold: of the recipient inbound, of the sender outbound.
    pub(super) domain: Option<mail::Domain>,
}

/// 6.2, steps 1 (null) and 4 to 6.
pub(super) async fn admit(
    connection: &Connection,
    transaction: &Transaction,
    facts: &Facts,
    size: u64,
    desk: &Desk,
) -> Result<Admitted, Refused> {
    let evidence = evidence(connection, transaction, facts, size);
    let mut verdict = judge(connection, transaction, &evidence, desk);
    if let Verdict::Outbound {
        tenant,
        proof: Proof::SetupWindow,
        ..
    } = verdict
        && !take_from_window(transaction, tenant, desk).await?
    {
        verdict = judge(connection, transaction, &evidence, desk);
    }
    let way = match verdict {
        Verdict::Inbound => Way::Inbound,
        Verdict::Outbound { tenant, source, proof } => {
            let Some(tenant) = transaction.live.tenants.get(&tenant).cloned() else {
                return Err(Refused::about(
                    Refusal::new(Reason::Internal).with_detail("the sender's tenant is gone"),
                    None,
                ));
            };
            note_proof(transaction, tenant.id, source, proof, &evidence, desk);
            Way::Outbound { tenant, source, proof }
        }
        Verdict::Refuse { reason, claimed } => {
            if let (Reason::TenantUnproven, Some(tenant)) = (reason, claimed) {
                note_unproven(tenant, desk);
            }
            return Err(Refused::about(words(reason, connection, transaction, facts), claimed));
        }
    };
    Ok(Admitted {
        way,
        edits: removed(facts),
    })
}

fn evidence<'a>(connection: &Connection, transaction: &Transaction, facts: &'a Facts, size: u64) -> Evidence<'a> {
    // A From field that cannot be read whole names nobody.
    let is_readable = !facts.problems.contains(&Problem::FromUnreadable);
    let is_microsoft = |c: &&Certificate| c.is_verified && c.names.iter().any(|n| is_microsoft_certificate(n));
    Evidence {
        header_from: if is_readable { &facts.from_domains } else { &[] },
        secret_sha256: only(facts, PROOF_HEADER).map(|w| Sha256::digest(w.value.trim().as_bytes()).into()),
        provider_tenant_id: only(facts, PROVIDER_TENANT_HEADER).map(|w| w.value.as_str()),
        certificate_of: connection.certificate.as_ref().filter(is_microsoft).map(|_| Provider::Microsoft365),
        all_recipients_accepted: transaction.recipients.iter().all(|r| r.is_accepted),
        recipients: transaction.recipients.len(),
        size,
    }
}

fn judge(connection: &Connection, transaction: &Transaction, evidence: &Evidence<'_>, desk: &Desk) -> Verdict {
    let judge = Judge {
        live: &transaction.live,
        index: &transaction.index,
        login: connection.login.as_ref(),
        proofs: &desk.rates.proofs,
        now: desk.now(),
    };
    settle(
        &transaction.course,
        &transaction.client,
        reverse_of(&transaction.reverse_path),
        evidence,
        &judge,
    )
}

/// Takes one message of the set-up window, of which all nodes together have twenty.
async fn take_from_window(transaction: &Transaction, tenant: TenantId, desk: &Desk) -> Result<bool, Refused> {
    let until = transaction
        .live
        .tenants
        .get(&tenant)
        .and_then(|t| t.settings.proof.setup_window_until);
    let Some(until) = until else { return Ok(false) };
    let taken = desk
        .store
        .write(move |tx| proof::take_from_window(tx, tenant, until))
        .await
        .map_err(|error: StoreError| {
            tracing::error!(%error, "a set-up window could not be counted");
            Refused::about(Refusal::new(super::reason_of(&error)).with_detail(error.to_string()), Some(tenant))
        })?;
    match taken {
        true => desk.rates.proofs.setup_passed(tenant, until, desk.now()),
        false => desk.rates.proofs.setup_used_up(tenant, until),
    }
    Ok(taken)
}

/// What enrolment and health checks want to know: which proof was seen, and which provider tenant sent through the window.
fn note_proof(transaction: &Transaction, tenant: TenantId, source: Source, proof: Proof, evidence: &Evidence<'_>, desk: &Desk) {
    let Some(domain) = transaction.reverse_path.domain().or_else(|| evidence.header_from.first()) else {
        return;
    };
    let (at, now) = (desk.now(), desk.clock.monotonic());
    let see = |kind, detail: &str| desk.inbound.sightings.proof(tenant, domain, kind, detail, at, now);
    match proof {
        Proof::SecretHeader => see("header", source.as_str()),
        Proof::Certificate => see("certificate", ""),
        Proof::Address => see("address", ""),
        Proof::ProviderTenantId | Proof::SetupWindow => {}
        Proof::None | Proof::Login => return,
    }
    if let (Some(Provider::Microsoft365), Some(id)) = (evidence.certificate_of, evidence.provider_tenant_id) {
        see("tenant-id", &mail::header::printable(id, 100));
    }
}

/// The one occurrence of a field; twice is as good as never.
fn only<'a>(facts: &'a Facts, name: &str) -> Option<&'a Watched> {
    let mut found = facts.watched.iter().filter(|w| w.name == name);
    let first = found.next()?;
    found.next().is_none().then_some(first)
}

/// The secret leaves with nobody.
fn removed(facts: &Facts) -> Vec<Edit> {
    let of_field = |w: &Watched| Edit {
        from: w.from,
        to: w.to,
        insert: String::new(),
    };
    facts.watched.iter().filter(|w| w.name == PROOF_HEADER).map(of_field).collect()
}

fn note_unproven(tenant: TenantId, desk: &Desk) {
    if desk.rates.proofs.unproven(tenant, desk.clock.monotonic()) {
        tracing::warn!(tenant = tenant.0, "ten unproven messages in ten minutes claim to be this tenant's");
    }
}

/// What each refusal of admission is about.
fn words(reason: Reason, connection: &Connection, transaction: &Transaction, facts: &Facts) -> Refusal {
    let sender = transaction.reverse_path.domain().or_else(|| facts.from_domains.first());
    match (reason, sender, transaction.recipients.first()) {
        (Reason::TenantUnproven, Some(domain), _) => Refusal::domain(reason, domain),
        (Reason::ClientNotAllowed, ..) => Refusal::client(reason, connection.ip()),
        (Reason::SenderSuspended, Some(domain), _) => Refusal::text(reason, domain.as_str()),
        (Reason::NoDomain, _, Some(first)) => Refusal::address(reason, &first.recipient.address),
        _ => Refusal::new(reason),
    }
}

/// What becomes of each copy.
pub(super) fn run(transaction: &Transaction, admitted: &Admitted, facts: &Facts, size: u64) -> Result<Vec<Parcel>, Refused> {
    let wishes: Vec<Wish> = transaction
        .recipients
        .iter()
        .map(|r| wish(transaction, admitted, r, facts, size))
        .collect();
    match decide(&wishes) {
        Decision::Accept(fates) => parcels(transaction, admitted, &fates),
        Decision::Refuse(reason) => {
            let refusal = match (reason, transaction.recipients.first()) {
                (Reason::Size, Some(first)) => Refusal::number(reason, bytes_max(transaction, admitted, first)),
                _ => Refusal::new(reason).with_detail(format!("{:?}", facts.problems)),
            };
            Err(Refused::about(refusal, None))
        }
    }
}

fn wish(transaction: &Transaction, admitted: &Admitted, recipient: &Taken, facts: &Facts, size: u64) -> Wish {
    if size > bytes_max(transaction, admitted, recipient) {
        return Wish::Refuse(Reason::Size);
    }
    if !facts.is_over_limit() {
        return Wish::Pass;
    }
    let is_header = facts
        .problems
        .iter()
        .any(|p| matches!(p, Problem::HeaderTooLarge | Problem::TooManyFields));
    match admitted.way {
        Way::Inbound => Wish::Refuse(Reason::Malformed),
        Way::Outbound { .. } if is_header => Wish::Hold(Reason::Malformed),
        Way::Outbound { .. } => Wish::Hold(Reason::TooManyMime),
    }
}

/// The size limit of the domain that receives or sends.
fn bytes_max(transaction: &Transaction, admitted: &Admitted, recipient: &Taken) -> u64 {
    let system = &transaction.live.system;
    let scopes = match (&admitted.way, &recipient.owner) {
        (Way::Inbound, Some((tenant, domain))) => Scopes {
            system,
            tenant: Some(tenant),
            domain: Some(domain),
        },
        (Way::Inbound, None) => Scopes {
            system,
            tenant: None,
            domain: None,
        },
        (Way::Outbound { tenant, .. }, _) => Scopes {
            system,
            tenant: Some(tenant),
            domain: sender_domain(transaction, tenant),
        },
    };
    scopes.limit(|l| l.message_bytes_max).unwrap_or(u64::MAX)
}

fn sender_domain<'a>(transaction: &Transaction, tenant: &'a LiveTenant) -> Option<&'a LiveDomain> {
    transaction.reverse_path.domain().and_then(|d| tenant.domains.get(d)).map(|d| &**d)
}

/// One parcel per tenant, recipients in their order. Contacts outside the tenant's own domains have no inbound server: what goes to them
/// is a parcel of its own, sent on as mail of ours.
fn parcels(transaction: &Transaction, admitted: &Admitted, fates: &[Fate]) -> Result<Vec<Parcel>, Refused> {
    let mut parcels: Vec<Parcel> = Vec::with_capacity(1);
    for (taken, fate) in transaction.recipients.iter().zip(fates) {
        let (tenant, domain) = match (&admitted.way, &taken.owner) {
            (Way::Outbound { tenant, .. }, _) => (tenant, sender_domain(transaction, tenant).map(|d| d.name.clone())),
            (Way::Inbound, Some((tenant, domain))) => (tenant, Some(domain.name.clone())),
            (Way::Inbound, None) => {
                return Err(Refused::about(
                    Refusal::new(Reason::Internal).with_detail("an inbound recipient without an owner"),
                    None,
                ));
            }
        };
        let mut put = |direction: Direction, recipient: &Recipient| {
            let copy = Copied {
                recipient: recipient.clone(),
                fate: *fate,
                check: taken.check.clone(),
                domain: domain.clone(),
            };
            match parcels.iter_mut().find(|p| p.tenant.id == tenant.id && p.direction == direction) {
                Some(parcel) => parcel.copies.push(copy),
                None => parcels.push(Parcel {
                    tenant: Arc::clone(tenant),
                    direction,
                    copies: vec![copy],
                }),
            }
        };
        match admitted.way {
            Way::Outbound { .. } => put(Direction::Outbound, &taken.recipient),
            Way::Inbound if taken.contacts.is_empty() => put(Direction::Inbound, &taken.recipient),
            Way::Inbound => {
                for contact in &taken.contacts {
                    let is_own = contact.address.domain().is_some_and(|d| tenant.domains.contains_key(d));
                    put(if is_own { Direction::Inbound } else { Direction::Internal }, contact);
                }
            }
        }
    }
    Ok(parcels)
}

#[cfg(test)]
mod tests;
