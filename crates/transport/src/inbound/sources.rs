//! Sources: for whom may this client send, as the settings stand?
//!
//! In:  the live settings, a client's address, certificate and login. Out: what `policy::admission` asks ([`Judge`]).
//! Standards: domains-and-routing 6.1, 6.3.
//! Invariants: only domains that may send (or are stopped from it) make a source; an address or certificate out of a shared range is nobody's own.

use arc_swap::ArcSwapOption;
use config::document::{ForeignFrom, SystemDocument};
use config::{DomainState, Live, LiveDomain, LiveTenant, TenantState};
use ipnet::IpNet;
use mail::{Domain, TenantId, Timestamp};
use policy::admission::{Client, OwnSource, ProofSettings, Provider, Registry, Sender, Sending};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::limits::Proofs;

/// Whether mail with this domain may leave: `None` when it is no sender at all.
#[must_use]
pub fn sending(tenant: &LiveTenant, domain: &LiveDomain) -> Option<Sending> {
    if !domain.settings.outbound_enabled {
        return None;
    }
    let of_tenant = match tenant.state {
        TenantState::Trial if !tenant.trial_outbound => return None,
        TenantState::Trial | TenantState::Active => Sending::Open,
        TenantState::OutboundSuspended | TenantState::Suspended => Sending::Suspended,
        TenantState::Closing | TenantState::Deleted => return None,
    };
    match domain.state {
        DomainState::Unverified | DomainState::Deleting => None,
        DomainState::Verified | DomainState::Active => Some(of_tenant),
        DomainState::Disabled => Some(Sending::Suspended),
    }
}

/// Domains of a tenant that make sources.
fn senders(tenant: &LiveTenant) -> impl Iterator<Item = (&Arc<LiveDomain>, Sending)> {
    tenant.domains.values().filter_map(|d| sending(tenant, d).map(|s| (d, s)))
}

/// Networks with something attached, looked up by the longest first.
#[derive(Debug)]
struct Networks<T> {
    by_network: HashMap<IpNet, T>,
    /// Prefix lengths in use, longest first.
    lengths_v4: BTreeSet<u8>,
    lengths_v6: BTreeSet<u8>,
}

impl<T> Default for Networks<T> {
    fn default() -> Self {
        Self {
            by_network: HashMap::new(),
            lengths_v4: BTreeSet::new(),
            lengths_v6: BTreeSet::new(),
        }
    }
}

impl<T: Default> Networks<T> {
    fn entry(&mut self, network: IpNet) -> &mut T {
        let network = network.trunc();
        match network {
            IpNet::V4(_) => self.lengths_v4.insert(network.prefix_len()),
            IpNet::V6(_) => self.lengths_v6.insert(network.prefix_len()),
        };
        self.by_network.entry(network).or_default()
    }

    fn around(&self, address: IpAddr) -> impl Iterator<Item = &T> {
        let lengths = if address.is_ipv4() { &self.lengths_v4 } else { &self.lengths_v6 };
        lengths
            .iter()
            .rev()
            .filter_map(move |length| IpNet::new(address, *length).ok().and_then(|n| self.by_network.get(&n.trunc())))
    }
}

/// Who lists which address, certificate and preset.
#[derive(Debug, Default)]
pub struct SourceIndex {
    networks: Networks<Vec<TenantId>>,
    /// Names and fingerprints, lower case.
    certificates: HashMap<String, Vec<TenantId>>,
    shared: Networks<Option<Provider>>,
    presets: HashSet<(TenantId, Provider)>,
    enabled: HashSet<Provider>,
}

impl SourceIndex {
    fn build(live: &Live) -> Self {
        let mut index = Self::default();
        index.read_shared(&live.system);
        for tenant in live.tenants.values() {
            for (domain, _) in senders(tenant) {
                let settings = &domain.settings;
                for network in &settings.outbound_networks {
                    push_once(index.networks.entry(*network), tenant.id);
                }
                for certificate in &settings.outbound_certificates {
                    push_once(index.certificates.entry(certificate.to_ascii_lowercase()).or_default(), tenant.id);
                }
                let presets = [
                    (settings.outbound_microsoft365, Provider::Microsoft365),
                    (settings.outbound_google_workspace, Provider::GoogleWorkspace),
                ];
                for (_, provider) in presets.into_iter().filter(|(is_on, _)| *is_on) {
                    index.presets.insert((tenant.id, provider));
                    index.enabled.insert(provider);
                }
            }
        }
        index
    }

    fn read_shared(&mut self, system: &SystemDocument) {
        for network in &system.shared_ranges.microsoft365 {
            *self.shared.entry(*network) = Some(Provider::Microsoft365);
        }
        for network in &system.shared_ranges.google_workspace {
            *self.shared.entry(*network) = Some(Provider::GoogleWorkspace);
        }
    }

    /// The shared range an address lies in.
    #[must_use]
    pub fn provider(&self, address: IpAddr) -> Option<Provider> {
        self.shared.around(address).find_map(|p| *p)
    }

    /// Whether an address is an outbound source of some tenant: other connection figures hold for it.
    #[must_use]
    pub fn is_source(&self, address: IpAddr) -> bool {
        match self.provider(address) {
            Some(provider) => self.enabled.contains(&provider),
            None => self.networks.around(address).next().is_some(),
        }
    }

    /// What the connection proves. `certificate`: names and fingerprint of a client certificate; names count only when a CA vouches for it.
    #[must_use]
    pub fn client(&self, address: IpAddr, certificate: Option<&Certificate>, login: Option<TenantId>) -> Client {
        let provider = self.provider(address);
        let mut own: Vec<(TenantId, OwnSource)> = Vec::new();
        if provider.is_none() {
            for tenant in self.networks.around(address).flatten() {
                if !own.iter().any(|(t, _)| t == tenant) {
                    own.push((*tenant, OwnSource::Network));
                }
            }
            for tenant in certificate.into_iter().flat_map(|c| self.registered(c)) {
                if !own.iter().any(|(t, _)| *t == tenant) {
                    own.push((tenant, OwnSource::Certificate));
                }
            }
        }
        Client { login, provider, own }
    }

    fn registered<'a>(&'a self, certificate: &'a Certificate) -> impl Iterator<Item = TenantId> + 'a {
        let names = certificate.names.iter().filter(|_| certificate.is_verified);
        names
            .chain(std::iter::once(&certificate.fingerprint))
            .filter_map(|n| self.certificates.get(n))
            .flatten()
            .copied()
    }
}

fn push_once(list: &mut Vec<TenantId>, tenant: TenantId) {
    if !list.contains(&tenant) {
        list.push(tenant);
    }
}

/// A client certificate whose key was proven in the handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// DNS names, lower case.
    pub names: Vec<String>,
    /// SHA-256 of the key, lower-case hex.
    pub fingerprint: String,
    /// A CA vouches for it, and it is valid today.
    pub is_verified: bool,
}

/// The index of the settings in use; built once per change.
#[derive(Debug, Default)]
pub struct Sources(ArcSwapOption<(Arc<Live>, Arc<SourceIndex>)>);

impl Sources {
    /// The index of `live`.
    #[must_use]
    pub fn of(&self, live: &Arc<Live>) -> Arc<SourceIndex> {
        if let Some(known) = self.0.load().as_deref()
            && Arc::ptr_eq(&known.0, live)
        {
            return Arc::clone(&known.1);
        }
        let index = Arc::new(SourceIndex::build(live));
        self.0.store(Some(Arc::new((Arc::clone(live), Arc::clone(&index)))));
        index
    }
}

/// A relay credential that a session proved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// Its tenant.
    pub tenant: TenantId,
    /// Its name within the tenant.
    pub credential: String,
    /// `<name>@<tenant>`, for tracking.
    pub name: String,
}

/// The settings, as admission asks for them.
#[derive(Clone, Copy)]
pub struct Judge<'a> {
    /// Settings of the transaction.
    pub live: &'a Live,
    /// Their index.
    pub index: &'a SourceIndex,
    /// Login of the session.
    pub login: Option<&'a Login>,
    /// Set-up windows.
    pub proofs: &'a Proofs,
    /// Now.
    pub now: Timestamp,
}

impl Judge<'_> {
    fn foreign<'a>(&'a self, tenant: TenantId, sender: Option<&Domain>) -> impl Iterator<Item = &'a LiveDomain> {
        let tenant = self.live.tenants.get(&tenant);
        let own = sender.and_then(|s| tenant.and_then(|t| t.domains.get(s)));
        let all = tenant
            .filter(|_| own.is_none())
            .into_iter()
            .flat_map(|t| senders(t))
            // What a domain lists, it lists for logins that may send for it.
            .filter(|(d, _)| self.login.is_none() || self.login_may_send(&d.name))
            .map(|(d, _)| &**d);
        let listed = |d: &&LiveDomain| match d.settings.foreign_from {
            ForeignFrom::Listed => true,
            ForeignFrom::Reject | ForeignFrom::ForwardedOnly => false,
        };
        own.map(|d| &**d).into_iter().chain(all).filter(listed)
    }
}

impl Registry for Judge<'_> {
    fn senders(&self, domain: &Domain) -> Vec<Sender> {
        if let Some((tenant, settings)) = self.live.domains.get(domain) {
            return sending(tenant, settings)
                .map(|sending| Sender {
                    tenant: tenant.id,
                    sending,
                })
                .into_iter()
                .collect();
        }
        let lists = self.live.provider_domains.get(domain).map(Vec::as_slice).unwrap_or_default();
        let open = |t: &LiveTenant| {
            let mut states = senders(t).map(|(_, s)| s);
            let first = states.next()?;
            Some(if first == Sending::Open || states.any(|s| s == Sending::Open) {
                Sending::Open
            } else {
                Sending::Suspended
            })
        };
        lists
            .iter()
            .filter_map(|t| open(t).map(|sending| Sender { tenant: t.id, sending }))
            .collect()
    }

    fn login_may_send(&self, domain: &Domain) -> bool {
        let Some(login) = self.login else { return false };
        let Some(tenant) = self.live.tenants.get(&login.tenant) else {
            return false;
        };
        let Some(credential) = tenant.settings.relay_credentials.iter().find(|c| c.name == login.credential) else {
            return false;
        };
        match tenant.domains.get(domain) {
            Some(d) => {
                d.settings.outbound_submission
                    && sending(tenant, d).is_some()
                    && (credential.domains.is_empty() || credential.domains.contains(domain))
            }
            None => {
                credential.domains.is_empty()
                    && tenant.settings.provider_domains.contains(domain)
                    && senders(tenant).any(|(d, _)| d.settings.outbound_submission)
            }
        }
    }

    fn enables(&self, tenant: TenantId, provider: Provider) -> bool {
        self.index.presets.contains(&(tenant, provider))
    }

    fn anyone_enables(&self, provider: Provider) -> bool {
        self.index.enabled.contains(&provider)
    }

    fn lists_foreign(&self, tenant: TenantId, sender: Option<&Domain>) -> bool {
        self.foreign(tenant, sender).next().is_some()
    }

    fn foreign_listed(&self, tenant: TenantId, sender: Option<&Domain>, from: &Domain) -> bool {
        self.foreign(tenant, sender).any(|d| d.settings.foreign_from_listed.contains(from))
    }

    fn proof(&self, tenant: TenantId) -> ProofSettings<'_> {
        let Some(live) = self.live.tenants.get(&tenant) else {
            return ProofSettings::default();
        };
        let proof = &live.settings.proof;
        ProofSettings {
            secret_sha256: &proof.secret_sha256,
            microsoft_tenant_ids: &proof.microsoft_tenant_ids,
            setup_messages_left: self.proofs.setup_left(tenant, proof.setup_window_until, self.now),
        }
    }
}

#[cfg(test)]
mod tests;
