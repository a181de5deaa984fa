//! RCPT TO: is this recipient taken?
//!
//! In:  a recipient. Out: taken (perhaps under another address), or a refusal.
//! Standards: RFC 5321 §4.1.1.3, §4.5.1; domains-and-routing 1.1, 2.4, 6.2, 7, 8, 9, 10 (stage RCPT).
//! Order, cheapest and most telling first:
//! 1. recipients of the transaction, harvest block;
//! 2. way: admission's gate by where the recipient is (`NO-DOMAIN`, `CLIENT-NOT-ALLOWED`, `SENDER-SUSPENDED`);
//! 3. inbound: state of tenant and domain, transport security, sender domain, declared size, route; outbound: the recipient's domain in DNS,
//!    declared size;
//! 4. existence, the only look-up in a list;
//! 5. rates, last, so that they count what is taken and nothing else.
//!
//! DEVIATES RFC 5321 §4.5.1: `postmaster` at our own host name is taken only where that name is an accepted domain; the operator has no mailbox here.

use super::mail::{is_sender_allowed, reverse_of};
use super::peer;
use super::recipients::{Existence, HARVEST_IP, existence};
use super::reply::{Form, Refusal};
use super::session::Session;
use super::transaction::{Taken, Transaction};
use crate::delivery::route;
use crate::limits::Scopes;
use ::mail::{Address, Reason, Recipient, TenantId};
use config::{DomainState, LiveDomain, LiveTenant, TenantState};
use net::resolver::{DnsError, MailDomain};
use policy::admission::{Course, Gate, Place, Reverse, gate};
use proto::smtp::server::Answer;
use std::sync::Arc;

type Owner = (Arc<LiveTenant>, Arc<LiveDomain>);

/// A refusal and who is concerned.
pub(super) struct Refused {
    refusal: Refusal,
    tenant: Option<TenantId>,
    is_unknown: bool,
}

impl Refused {
    fn new(refusal: Refusal, tenant: Option<TenantId>) -> Self {
        Self {
            refusal,
            tenant,
            is_unknown: false,
        }
    }
}

impl Session {
    pub(super) async fn judge_rcpt(&mut self, recipient: Recipient) -> Answer {
        // Taken out while it is judged, so that nothing else can change it.
        let Some(mut transaction) = self.transaction.take() else {
            return self.internal("RCPT outside a transaction");
        };
        let refused = match self.take_recipient(&transaction, &recipient).await {
            Ok(taken) => {
                transaction.recipients.push(taken);
                None
            }
            Err(refused) => Some(refused),
        };
        self.transaction = Some(transaction);
        match refused {
            None => Answer::Accept,
            Some(refused) if refused.is_unknown => self.unknown_recipient(&refused, &recipient.address),
            Some(refused) => self.refusal(&refused.refusal, refused.tenant, Some(&recipient.address)),
        }
    }

    async fn take_recipient(&self, transaction: &Transaction, recipient: &Recipient) -> Result<Taken, Refused> {
        let address = &recipient.address;
        let owner = address.domain().and_then(|d| transaction.live.domains.get(d)).cloned();
        let sender = transaction.sender_tenant().and_then(|t| transaction.live.tenants.get(&t)).cloned();
        let concerned = sender.as_ref().or(owner.as_ref().map(|(t, _)| t));
        let scopes = Scopes {
            system: &transaction.live.system,
            tenant: concerned.map(|t| &**t),
            domain: None,
        };
        let recipients_max = scopes.limit(|l| l.recipients_max).unwrap_or(u32::MAX);
        if transaction.recipients.len() >= usize::try_from(recipients_max).unwrap_or(usize::MAX) {
            let refusal = Refusal::new(Reason::TooManyRecipients).with_detail(format!("recipients per transaction {recipients_max}"));
            return Err(Refused::new(refusal, concerned.map(|t| t.id)));
        }
        match (
            gate(&transaction.course, &transaction.client, place(owner.as_ref(), address)),
            owner,
        ) {
            (Gate::Inbound, Some(owner)) => self.take_inbound(transaction, recipient, owner).await,
            (Gate::Inbound, None) => Err(Refused::new(Refusal::address(Reason::NoDomain, address), None)),
            (Gate::Outbound, owner) => self.take_outbound(transaction, recipient, sender.as_deref(), owner).await,
            (Gate::Refuse(reason), _) => {
                let (refusal, tenant) = self.gate_refusal(transaction, reason, address);
                Err(Refused::new(refusal, tenant))
            }
        }
    }

    fn gate_refusal(&self, transaction: &Transaction, reason: Reason, address: &Address) -> (Refusal, Option<TenantId>) {
        let claimed = match (&transaction.course, reverse_of(&transaction.reverse_path)) {
            (Course::Inbound { .. }, Reverse::Domain(domain)) => transaction.live.domains.get(domain).map(|(t, _)| t.id),
            (Course::Inbound { .. } | Course::Outbound { .. } | Course::Undecided(_) | Course::Refused { .. }, _) => {
                transaction.sender_tenant()
            }
        };
        let refusal = match reason {
            Reason::ClientNotAllowed => Refusal::client(reason, self.connection.ip()),
            Reason::SenderSuspended => Refusal::text(reason, &transaction.reverse_path.to_string()),
            _ => Refusal::address(reason, address),
        };
        (refusal, claimed)
    }

    async fn take_inbound(&self, transaction: &Transaction, recipient: &Recipient, owner: Owner) -> Result<Taken, Refused> {
        let (tenant, domain) = (&owner.0, &owner.1);
        let address = &recipient.address;
        let refuse = |refusal| Refused::new(refusal, Some(tenant.id));
        if self
            .desk
            .rates
            .harvest
            .is_blocked(self.connection.ip(), self.desk.clock.monotonic())
        {
            return Err(refuse(Refusal::new(Reason::Harvest)));
        }
        if let Some(reason) = not_in_service(tenant, domain) {
            if reason == Reason::DomainUnverified
                && let Err(error) = crate::claims::nudge(&self.desk.store, &domain.name, self.desk.now()).await
            {
                tracing::warn!(%error, domain = %domain.name, "a claim could not be made due");
            }
            return Err(refuse(Refusal::address(reason, address)));
        }
        let level = peer::level(tenant, Some(domain), self.connection.ip(), transaction.reverse_path.domain());
        if !peer::is_met(level, tenant, &self.connection) {
            return Err(refuse(Refusal::new(Reason::TlsRequired)));
        }
        if let Some(sender) = transaction.reverse_path.address().filter(|_| transaction.sender_missing)
            && !is_sender_allowed(&transaction.live, tenant, sender)
        {
            return Err(refuse(Refusal::address(Reason::SenderDomain, sender)));
        }
        let scopes = Scopes {
            system: &transaction.live.system,
            tenant: Some(tenant),
            domain: Some(domain),
        };
        let bytes_max = scopes.limit(|l| l.message_bytes_max).unwrap_or(u64::MAX);
        if transaction.params.size.is_some_and(|size| size > bytes_max) {
            return Err(refuse(Refusal::number(Reason::Size, bytes_max)));
        }
        if route::groups(&domain.settings, address).is_empty() {
            return Err(refuse(Refusal::address(Reason::NoRoute, address)));
        }
        let existence = existence(&self.desk, tenant, domain, address).await.map_err(|error| {
            tracing::error!(%error, "recipient list cannot be read");
            refuse(Refusal::new(Reason::Internal).with_detail(error.to_string()))
        })?;
        let (check, contacts) = match existence {
            Existence::Exists(check) => (check, Vec::new()),
            Existence::Contacts(check) => (check, contacts(tenant, recipient)),
            Existence::Unknown(check) => {
                let refusal = Refusal::address(Reason::UserUnknown, address).with_detail(check);
                return Err(Refused {
                    refusal,
                    tenant: Some(tenant.id),
                    is_unknown: true,
                });
            }
        };
        if let Some(refusal) = self.inbound_rate(transaction, tenant, domain, address) {
            return Err(refuse(refusal));
        }
        Ok(Taken {
            recipient: recipient.clone(),
            contacts,
            owner: Some(owner),
            is_accepted: true,
            check,
        })
    }

    async fn take_outbound(
        &self,
        transaction: &Transaction,
        recipient: &Recipient,
        sender: Option<&LiveTenant>,
        owner: Option<Owner>,
    ) -> Result<Taken, Refused> {
        let address = &recipient.address;
        let refuse = |refusal| Refused::new(refusal, sender.map(|t| t.id));
        let domain = address
            .domain()
            .ok_or_else(|| refuse(Refusal::address(Reason::RecipientDomain, address)))?;
        match self.desk.resolver.has_mail_address(domain).await {
            Ok(MailDomain::Mx | MailDomain::AddressOnly) => {}
            // RFC 7505 §4.2.
            Ok(MailDomain::NullMx) => return Err(refuse(Refusal::address(Reason::RecipientDomain, address).with_form(Form::NullMx))),
            Ok(MailDomain::Nothing) | Err(DnsError::NoSuchName) => return Err(refuse(Refusal::address(Reason::RecipientDomain, address))),
            Err(error @ DnsError::Temp(_)) => {
                return Err(refuse(Refusal::address(Reason::DnsTemp, address).with_detail(error.to_string())));
            }
        }
        let own_domain = transaction
            .reverse_path
            .domain()
            .and_then(|d| sender.and_then(|t| t.domains.get(d)))
            .map(|d| &**d);
        let scopes = Scopes {
            system: &transaction.live.system,
            tenant: sender,
            domain: own_domain,
        };
        let bytes_max = scopes.limit(|l| l.message_bytes_max).unwrap_or(u64::MAX);
        if transaction.params.size.is_some_and(|size| size > bytes_max) {
            return Err(refuse(Refusal::number(Reason::Size, bytes_max)));
        }
        if let Some(refusal) = self.outbound_rate(transaction, sender, address) {
            return Err(refuse(refusal));
        }
        Ok(Taken {
            recipient: recipient.clone(),
            contacts: Vec::new(),
            owner,
            is_accepted: false,
            check: "outbound".into(),
        })
    }

    /// Counts a guess; over twice `harvest.session` the session ends.
    fn unknown_recipient(&mut self, refused: &Refused, address: &Address) -> Answer {
        self.unknown_recipients += 1;
        let live = self.transaction.as_ref().map_or_else(|| self.desk.live(), |t| Arc::clone(&t.live));
        let own = refused.tenant.and_then(|t| live.tenants.get(&t)).map(|t| &t.settings.harvest);
        let per_client = own.and_then(|h| h.ip).or(live.system.harvest.ip).unwrap_or(HARVEST_IP);
        if let Some(of_tenant) = own.and_then(|h| h.session) {
            self.limits.harvest_session = of_tenant;
        }
        self.desk
            .rates
            .harvest
            .unknown(self.connection.ip(), per_client, self.desk.clock.monotonic());
        if self.unknown_recipients > self.limits.harvest_session.saturating_mul(2) {
            let refusal = Refusal::new(Reason::Harvest)
                .with_form(Form::Closing)
                .with_detail(format!("unknown recipients {}", self.unknown_recipients));
            return Answer::RefuseAndClose(self.refuse(&refusal, refused.tenant, Some(address)));
        }
        self.refusal(&refused.refusal, refused.tenant, Some(address))
    }

    /// Our own fault.
    pub(super) fn internal(&mut self, what: &str) -> Answer {
        tracing::error!(what, client = %self.connection.client, "a session came to a state that cannot be");
        self.refusal(&Refusal::new(Reason::Internal).with_detail(what), None, None)
    }
}

/// Where a recipient is, for admission. A domain that is only out of service keeps its mail waiting, whatever way it comes.
fn place(owner: Option<&Owner>, address: &Address) -> Place {
    let Some((tenant, domain)) = owner else { return Place::Elsewhere };
    match not_in_service(tenant, domain) {
        Some(Reason::DomainDisabled) => Place::Accepted,
        Some(_) => Place::Registered,
        None if route::groups(&domain.settings, address).is_empty() => Place::Registered,
        None => Place::Accepted,
    }
}

/// Domains-and-routing 1.1 and 2.4, inbound.
fn not_in_service(tenant: &LiveTenant, domain: &LiveDomain) -> Option<Reason> {
    match (tenant.state, domain.state) {
        (TenantState::Closing | TenantState::Deleted, _) | (_, DomainState::Deleting) => Some(Reason::NoDomain),
        (_, DomainState::Unverified) => Some(Reason::DomainUnverified),
        (TenantState::Suspended, _) | (_, DomainState::Disabled) => Some(Reason::DomainDisabled),
        (TenantState::Trial | TenantState::Active | TenantState::OutboundSuspended, DomainState::Verified | DomainState::Active) => None,
    }
}

/// `postmaster` and `abuse` without a mailbox: the mail-flow contacts; with none of them, the domain's servers as for anyone.
fn contacts(tenant: &LiveTenant, recipient: &Recipient) -> Vec<Recipient> {
    let contacts = &tenant.settings.contacts.mail_flow;
    let orcpt = recipient.orcpt.clone().or_else(|| Some(format!("rfc822;{}", recipient.address)));
    contacts
        .iter()
        .map(|address| Recipient {
            address: address.clone(),
            notify: recipient.notify,
            orcpt: orcpt.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
