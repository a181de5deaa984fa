//! Decide: whose mail is it, and what becomes of each recipient's copy?
//!
//! In:  transaction, facts of the message. Out: the way it goes with its proof; parcels, one per tenant.
//! Standards: domains-and-routing 1.1 (a message for two tenants becomes two), 6.2, 6.3, 9, 10.
//! Invariants: the judging is `policy`'s; here facts are brought and decisions carried out. What is refused after the dot is refused for all.

use super::Refused;
use crate::Desk;
use crate::inbound::mail::reverse_of;
use crate::inbound::reply::Refusal;
use crate::inbound::sources::Judge;
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
pub(super) fn admit(
    connection: &Connection,
    transaction: &Transaction,
    facts: &Facts,
    size: u64,
    desk: &Desk,
) -> Result<Admitted, Refused> {
    let id = only(facts, PROVIDER_TENANT_HEADER).map(|w| w.value.as_str());
    // A From field that cannot be read whole names nobody.
    let is_readable = !facts.problems.contains(&Problem::FromUnreadable);
    let evidence = Evidence {
        header_from: if is_readable { &facts.from_domains } else { &[] },
        secret_sha256: only(facts, PROOF_HEADER).map(|w| Sha256::digest(w.value.trim().as_bytes()).into()),
        provider_tenant_id: id,
        certificate_of: connection
            .certificate
            .as_ref()
            .filter(|c| c.is_verified && c.names.iter().any(|n| is_microsoft_certificate(n)))
            .map(|_| Provider::Microsoft365),
        all_recipients_accepted: transaction.recipients.iter().all(|r| r.is_accepted),
        recipients: transaction.recipients.len(),
        size,
    };
    let now = desk.now();
    let judge = Judge {
        live: &transaction.live,
        index: &transaction.index,
        login: connection.login.as_ref(),
        proofs: &desk.rates.proofs,
        now,
    };
    let way = match settle(
        &transaction.course,
        &transaction.client,
        reverse_of(&transaction.reverse_path),
        &evidence,
        &judge,
    ) {
        Verdict::Inbound => Way::Inbound,
        Verdict::Outbound { tenant, source, proof } => {
            let Some(tenant) = transaction.live.tenants.get(&tenant).cloned() else {
                return Err(Refused::about(
                    Refusal::new(Reason::Internal).with_detail("the sender's tenant is gone"),
                    None,
                ));
            };
            if let (Proof::SetupWindow, Some(until)) = (proof, tenant.settings.proof.setup_window_until) {
                desk.rates.proofs.setup_passed(tenant.id, until, now);
            }
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

/// One parcel per tenant, recipients in their order.
fn parcels(transaction: &Transaction, admitted: &Admitted, fates: &[Fate]) -> Result<Vec<Parcel>, Refused> {
    let mut parcels: Vec<Parcel> = Vec::with_capacity(1);
    for (taken, fate) in transaction.recipients.iter().zip(fates) {
        let (tenant, direction, domain) = match (&admitted.way, &taken.owner) {
            (Way::Outbound { tenant, .. }, _) => (
                tenant,
                Direction::Outbound,
                sender_domain(transaction, tenant).map(|d| d.name.clone()),
            ),
            (Way::Inbound, Some((tenant, domain))) => (tenant, Direction::Inbound, Some(domain.name.clone())),
            (Way::Inbound, None) => {
                return Err(Refused::about(
                    Refusal::new(Reason::Internal).with_detail("an inbound recipient without an owner"),
                    None,
                ));
            }
        };
        let place = parcels.iter().position(|p| p.tenant.id == tenant.id).unwrap_or_else(|| {
            parcels.push(Parcel {
                tenant: Arc::clone(tenant),
                direction,
                copies: Vec::with_capacity(1),
            });
            parcels.len() - 1
        });
        let copy = |recipient: &Recipient| Copied {
            recipient: recipient.clone(),
            fate: *fate,
            check: taken.check.clone(),
            domain: domain.clone(),
        };
        let Some(parcel) = parcels.get_mut(place) else { continue };
        match direction {
            Direction::Inbound if !taken.contacts.is_empty() => parcel.copies.extend(taken.contacts.iter().map(copy)),
            Direction::Inbound | Direction::Outbound | Direction::Internal => parcel.copies.push(copy(&taken.recipient)),
        }
    }
    Ok(parcels)
}

#[cfg(test)]
mod tests;
