//! Rates: has this client, recipient, sender, tenant sent enough for now?
//!
//! In:  one recipient with the scopes it lies in. Out: one message taken from every bucket, or the reason of the first that is empty.
//! Standards: domains-and-routing 9: each recipient counts as one message; exempt lists hold for the tenant's own mail.
//! Invariants: nothing is taken when one bucket has no room. Where a tenant set a figure for itself, its own bucket counts it;
//!   otherwise the client's use at all tenants counts together.

use super::reply::Refusal;
use super::session::Session;
use super::transaction::Transaction;
use crate::limits::{Bucket, Scopes};
use config::document::{Exempt, Rate};
use config::{LiveDomain, LiveTenant, TenantState};
use mail::{Address, Reason, TenantId};
use std::net::IpAddr;

/// Buckets of one recipient, with the reason each gives.
struct Wanted<'a> {
    buckets: Vec<(Bucket<'a>, Rate)>,
    reasons: Vec<Reason>,
}

impl<'a> Wanted<'a> {
    fn push(&mut self, reason: Reason, bucket: Bucket<'a>, rate: Option<Rate>) {
        if let Some(rate) = rate {
            self.buckets.push((bucket, rate));
            self.reasons.push(reason);
        }
    }
}

impl Session {
    /// Takes an inbound recipient's share.
    pub(super) fn inbound_rate(
        &self,
        transaction: &Transaction,
        tenant: &LiveTenant,
        domain: &LiveDomain,
        recipient: &Address,
    ) -> Option<Refusal> {
        let scopes = Scopes {
            system: &transaction.live.system,
            tenant: Some(tenant),
            domain: Some(domain),
        };
        let key = recipient.key();
        let mut wanted = Wanted {
            buckets: Vec::with_capacity(4),
            reasons: Vec::with_capacity(4),
        };
        if !self.is_exempt(transaction, Some(tenant), recipient) {
            let ip = self.connection.ip();
            let own = if scopes.own(|l| l.rate_client_inbound).is_some() {
                tenant.id
            } else {
                TenantId::OPERATOR
            };
            wanted.push(
                Reason::RateIp,
                Bucket::ClientInbound(own, ip),
                scopes.limit(|l| l.rate_client_inbound),
            );
            wanted.push(
                Reason::RateRecipient,
                Bucket::Recipient(tenant.id, &key),
                scopes.limit(|l| l.rate_recipient),
            );
        }
        if tenant.state == TenantState::Trial {
            wanted.push(
                Reason::RateTrial,
                Bucket::TrialInbound(tenant.id, domain.name.as_str()),
                scopes.limit(|l| l.rate_trial),
            );
        }
        wanted.push(Reason::RateTenant, Bucket::Tenant(tenant.id), scopes.limit(|l| l.rate_tenant));
        self.take(&wanted)
    }

    /// Takes an outbound recipient's share. `tenant`: the sender, as far as known before the header section.
    pub(super) fn outbound_rate(&self, transaction: &Transaction, tenant: Option<&LiveTenant>, recipient: &Address) -> Option<Refusal> {
        let sender_domain = transaction.reverse_path.domain();
        let domain = sender_domain.and_then(|d| tenant.and_then(|t| t.domains.get(d))).map(|d| &**d);
        let scopes = Scopes {
            system: &transaction.live.system,
            tenant,
            domain,
        };
        let owner = tenant.map_or(TenantId::OPERATOR, |t| t.id);
        let sender = transaction.reverse_path.address().map_or_else(String::new, Address::key);
        let mut wanted = Wanted {
            buckets: Vec::with_capacity(6),
            reasons: Vec::with_capacity(6),
        };
        if !self.is_exempt(transaction, tenant, recipient) {
            let ip = self.connection.ip();
            let own = if scopes.own(|l| l.rate_client_outbound).is_some() {
                owner
            } else {
                TenantId::OPERATOR
            };
            wanted.push(
                Reason::RateIp,
                Bucket::ClientOutbound(own, ip),
                scopes.limit(|l| l.rate_client_outbound),
            );
            wanted.push(Reason::RateSender, Bucket::Sender(owner, &sender), scopes.limit(|l| l.rate_sender));
        }
        let credential = self.connection.login.as_ref().and_then(|login| {
            let row = tenant?.settings.relay_credentials.iter().find(|c| c.name == login.credential)?;
            Some((
                login.credential.as_str(),
                Rate {
                    messages: row.messages_per_10_min?,
                    per_s: 600,
                },
            ))
        });
        if let Some((name, rate)) = credential {
            wanted.push(Reason::RateSender, Bucket::Credential(owner, name), Some(rate));
        }
        if let Some(trial) = sender_domain.filter(|_| tenant.is_some_and(|t| t.state == TenantState::Trial)) {
            wanted.push(
                Reason::RateTrial,
                Bucket::TrialOutbound(owner, trial.as_str()),
                scopes.limit(|l| l.rate_trial),
            );
        }
        wanted.push(
            Reason::RateTenant,
            Bucket::Tenant(owner),
            tenant.and_then(|_| scopes.limit(|l| l.rate_tenant)),
        );
        self.take(&wanted)
    }

    fn take(&self, wanted: &Wanted<'_>) -> Option<Refusal> {
        let place = self.desk.rates.buckets.take(&wanted.buckets, self.desk.clock.monotonic()).err()?;
        let reason = wanted.reasons.get(place).copied().unwrap_or(Reason::RateIp);
        let detail = wanted
            .buckets
            .get(place)
            .map(|(_, rate)| format!("{} messages in {} s", rate.messages, rate.per_s));
        Some(Refusal::new(reason).with_detail(detail.unwrap_or_default()))
    }

    fn is_exempt(&self, transaction: &Transaction, tenant: Option<&LiveTenant>, recipient: &Address) -> bool {
        let ip = self.connection.ip();
        let sender = transaction.reverse_path.address();
        lists(&transaction.live.system.exempt, ip, sender, recipient)
            || tenant.is_some_and(|t| lists(&t.settings.exempt, ip, sender, recipient))
    }
}

fn lists(exempt: &Exempt, ip: IpAddr, sender: Option<&Address>, recipient: &Address) -> bool {
    exempt.clients.iter().any(|n| n.contains(&ip))
        || (!exempt.senders.is_empty() && sender.is_some_and(|s| exempt.senders.contains(&s.key())))
        || (!exempt.recipients.is_empty() && exempt.recipients.contains(&recipient.key()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exempt_by_client_sender_or_recipient() {
        let exempt = Exempt {
            clients: vec!["192.0.2.0/24".parse().unwrap()],
            senders: vec!["news@shop.example".into()],
            recipients: vec!["ann@example.com".into()],
            sender_domains: Vec::new(),
        };
        let address = |text: &str| Address::parse(text).unwrap();
        let check = |ip: &str, sender: &str, recipient: &str, expect: bool| {
            assert_eq!(
                lists(&exempt, ip.parse().unwrap(), Some(&address(sender)), &address(recipient)),
                expect,
                "{ip} {sender} {recipient}"
            );
        };
        check("192.0.2.9", "a@b.example", "c@d.example", true);
        check("198.51.100.9", "News@SHOP.example", "c@d.example", true);
        check("198.51.100.9", "a@b.example", "Ann@example.com", true);
        check("198.51.100.9", "a@b.example", "c@d.example", false);
    }
}
