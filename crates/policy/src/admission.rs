//! Admission: who is sending, and which way does the mail go?
//!
//! In:  what the connection proves ([`Client`]), the reverse path, where the recipients are, evidence of the header section, a [`Registry`].
//! Out: a [`Course`] at MAIL, a [`Gate`] per recipient, a [`Verdict`] after the final dot. Never a reply text.
//! Standards: domains-and-routing 6.2 (steps 0–6) and 6.3. DKIM and ARC as proof come with their checks.
//! Invariants: an address in a shared range proves nothing by itself, nor does a certificate presented from there;
//!   a client that is no source gets nothing but inbound mail through; nothing is decided for a tenant that the reverse path or header From does not name.
//!
//! One reading of 6.2 that its text leaves open: a source of tenant B whose reverse path belongs to tenant A is treated as the stranger it is for A
//! (inbound when all recipients are in accepted domains, otherwise `CLIENT-NOT-ALLOWED`), since a host that nobody listed is treated so as well.

mod proof;

pub use proof::{
    Evidence, PROOF_HEADER, PROVIDER_TENANT_HEADER, Proof, ProofSettings, SETUP_BYTES_MAX, SETUP_MESSAGES_MAX, is_microsoft_certificate,
    prove,
};

use mail::{Domain, Reason, TenantId};

/// A provider whose addresses serve all its customers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Provider {
    /// Microsoft 365.
    Microsoft365,
    /// Google Workspace.
    GoogleWorkspace,
}

/// What makes a client a source that speaks for one tenant by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnSource {
    /// An address of `outbound.networks`, outside every shared range.
    Network,
    /// A name or key of `outbound.certificates`, outside every shared range.
    Certificate,
}

/// How a client came to be a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// AUTH.
    Login,
    /// Network or certificate of the tenant.
    Own(OwnSource),
    /// The preset of a provider; needs proof of tenant.
    Provider(Provider),
}

impl Source {
    /// As tracking shows it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Own(OwnSource::Network) => "network",
            Self::Own(OwnSource::Certificate) => "certificate",
            Self::Provider(Provider::Microsoft365) => "microsoft365",
            Self::Provider(Provider::GoogleWorkspace) => "google-workspace",
        }
    }
}

/// What the connection proves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Tenant of the login.
    pub login: Option<TenantId>,
    /// The shared range the address lies in.
    pub provider: Option<Provider>,
    /// Tenants whose own source it is. Empty when the address lies in a shared range.
    pub own: Vec<(TenantId, OwnSource)>,
}

impl Client {
    fn own_source_of(&self, tenant: TenantId) -> Option<Source> {
        self.own.iter().find(|(t, _)| *t == tenant).map(|(_, s)| Source::Own(*s))
    }

    /// The one tenant that the connection speaks for, when it is exactly one (step 2).
    fn sole_owner(&self) -> Option<(TenantId, Source)> {
        if let Some(tenant) = self.login {
            return Some((tenant, Source::Login));
        }
        let (first, source) = self.own.first()?;
        self.own.iter().all(|(t, _)| t == first).then_some((*first, Source::Own(*source)))
    }
}

/// Whether a tenant's domain may send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sending {
    /// Yes.
    Open,
    /// Stopped: `SENDER-SUSPENDED`.
    Suspended,
}

/// A tenant that may send with some domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// Who.
    pub tenant: TenantId,
    /// Whether now.
    pub sending: Sending,
}

/// What admission asks of the settings.
pub trait Registry {
    /// Tenants that may send with this domain: the owner of a verified domain with outbound on, or those that list it among
    /// `provider_domains`. Empty: foreign.
    fn senders(&self, domain: &Domain) -> Vec<Sender>;
    /// Whether the login of this session may send with this domain.
    fn login_may_send(&self, domain: &Domain) -> bool;
    /// Whether this tenant has the preset of this provider on.
    fn enables(&self, tenant: TenantId, provider: Provider) -> bool;
    /// Whether any tenant has.
    fn anyone_enables(&self, provider: Provider) -> bool;
    /// Whether `foreign_from` of the sender's domain is `listed`. `None` and provider domains, which have no setting of their own: of any
    /// domain of the tenant that sends.
    fn lists_foreign(&self, tenant: TenantId, sender: Option<&Domain>) -> bool;
    /// Whether that list names this header From domain.
    fn foreign_listed(&self, tenant: TenantId, sender: Option<&Domain>, from: &Domain) -> bool;
    /// What proves this tenant.
    fn proof(&self, tenant: TenantId) -> ProofSettings<'_>;
}

/// MAIL FROM as admission sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reverse<'a> {
    /// `<>`.
    Null,
    /// An address with an IP literal: never registered.
    Literal,
    /// An address in a domain.
    Domain(&'a Domain),
}

/// Which way a transaction goes, as far as the envelope tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Course {
    /// The client is no source for this reverse path. Recipients outside accepted domains are refused with `otherwise`.
    Inbound {
        /// `CLIENT-NOT-ALLOWED` or `NO-DOMAIN`.
        otherwise: Reason,
    },
    /// Steps 1–3 are done: the sender is this tenant.
    Outbound {
        /// Sender.
        tenant: TenantId,
        /// Of the tenant.
        source: Source,
    },
    /// The header section decides; recipients in accepted domains pass the inbound checks meanwhile.
    Undecided(Undecided),
    /// Every recipient is refused.
    Refused {
        /// Why.
        reason: Reason,
        /// Whose tracking tells of it.
        claimed: Option<TenantId>,
    },
}

/// What the header section is waited for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Undecided {
    /// Null reverse path of a source: header From names the tenant.
    Null,
    /// Foreign reverse path of a source of exactly one tenant that lists foreign header From domains.
    Foreign {
        /// That tenant.
        tenant: TenantId,
        /// Its source.
        source: Source,
    },
    /// From a shared range: proof of tenant.
    Shared {
        /// The range.
        provider: Provider,
        /// Tenants that the reverse path can mean; more than one only for a name listed twice among provider domains.
        candidates: Vec<Sender>,
    },
}

/// Where a recipient is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In an accepted domain that takes mail now and has a route.
    Accepted,
    /// In a registered domain that takes none now (unverified, disabled, without a route …).
    Registered,
    /// Elsewhere.
    Elsewhere,
}

/// What a recipient has to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Inbound checks: domain state, route, existence.
    Inbound,
    /// Outbound checks: the recipient's domain takes mail.
    Outbound,
    /// Refused.
    Refuse(Reason),
}

/// What becomes of the transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the inbound pipeline.
    Inbound,
    /// To the outbound pipeline of a tenant.
    Outbound {
        /// Sender.
        tenant: TenantId,
        /// Of the tenant.
        source: Source,
        /// What proved the tenant.
        proof: Proof,
    },
    /// Refused after the final dot.
    Refuse {
        /// Why.
        reason: Reason,
        /// Whose tracking tells of it, without content.
        claimed: Option<TenantId>,
    },
}

/// Steps 0–3 at MAIL.
#[must_use]
pub fn course(client: &Client, reverse: Reverse<'_>, registry: &dyn Registry) -> Course {
    let senders = match reverse {
        Reverse::Null => return null_course(client, registry),
        Reverse::Literal => Vec::new(),
        Reverse::Domain(domain) => registry.senders(domain),
    };
    if senders.is_empty() {
        return foreign_course(client, registry);
    }
    if let Some(login) = client.login {
        // Step 3: a login is a source of its own tenant alone, for the domains it may send with.
        let may = matches!(reverse, Reverse::Domain(domain) if registry.login_may_send(domain));
        return match senders.iter().find(|s| s.tenant == login) {
            Some(sender) if may => settled(*sender, Source::Login),
            Some(_) | None => Course::Refused {
                reason: Reason::ClientNotAllowed,
                claimed: Some(login),
            },
        };
    }
    if let Some((sender, source)) = senders
        .iter()
        .find_map(|s| client.own_source_of(s.tenant).map(|source| (*s, source)))
    {
        return settled(sender, source);
    }
    if let Some(provider) = client.provider {
        let candidates: Vec<Sender> = senders.into_iter().filter(|s| registry.enables(s.tenant, provider)).collect();
        if !candidates.is_empty() {
            return Course::Undecided(Undecided::Shared { provider, candidates });
        }
    }
    Course::Inbound {
        otherwise: Reason::ClientNotAllowed,
    }
}

fn settled(sender: Sender, source: Source) -> Course {
    match sender.sending {
        Sending::Open => Course::Outbound {
            tenant: sender.tenant,
            source,
        },
        Sending::Suspended => Course::Refused {
            reason: Reason::SenderSuspended,
            claimed: Some(sender.tenant),
        },
    }
}

fn null_course(client: &Client, registry: &dyn Registry) -> Course {
    let is_source = client.login.is_some() || !client.own.is_empty() || client.provider.is_some_and(|p| registry.anyone_enables(p));
    if is_source {
        Course::Undecided(Undecided::Null)
    } else {
        Course::Inbound {
            otherwise: Reason::NoDomain,
        }
    }
}

/// Step 2.
fn foreign_course(client: &Client, registry: &dyn Registry) -> Course {
    match client.sole_owner() {
        Some((tenant, source)) if registry.lists_foreign(tenant, None) => Course::Undecided(Undecided::Foreign { tenant, source }),
        Some((tenant, Source::Login)) => Course::Refused {
            reason: Reason::NoDomain,
            claimed: Some(tenant),
        },
        Some((_, Source::Own(_) | Source::Provider(_))) | None => Course::Inbound {
            otherwise: Reason::NoDomain,
        },
    }
}

/// At RCPT: what this recipient has to pass.
#[must_use]
pub fn gate(course: &Course, client: &Client, place: Place) -> Gate {
    match (course, place) {
        (Course::Refused { reason, .. }, _) => Gate::Refuse(*reason),
        (Course::Inbound { .. }, Place::Accepted | Place::Registered) => Gate::Inbound,
        (Course::Inbound { otherwise }, Place::Elsewhere) => Gate::Refuse(*otherwise),
        (Course::Outbound { .. }, _) => Gate::Outbound,
        (Course::Undecided(_), Place::Accepted) if client.login.is_none() => Gate::Inbound,
        (Course::Undecided(Undecided::Shared { candidates, .. }), _) if candidates.iter().all(|s| s.sending == Sending::Suspended) => {
            Gate::Refuse(Reason::SenderSuspended)
        }
        (Course::Undecided(_), _) => Gate::Outbound,
    }
}

/// Steps 1 (null), 4, 5 and 6, after the final dot.
#[must_use]
pub fn settle(course: &Course, client: &Client, reverse: Reverse<'_>, evidence: &Evidence<'_>, registry: &dyn Registry) -> Verdict {
    match course {
        Course::Inbound { .. } => Verdict::Inbound,
        Course::Refused { reason, claimed } => Verdict::Refuse {
            reason: *reason,
            claimed: *claimed,
        },
        Course::Outbound { tenant, source } => settle_own(*tenant, *source, reverse, evidence, registry),
        Course::Undecided(Undecided::Foreign { tenant, source }) => {
            if evidence.all_recipients_accepted && client.login.is_none() {
                return Verdict::Inbound;
            }
            settle_listed(*tenant, *source, None, evidence, registry)
        }
        Course::Undecided(Undecided::Shared { provider, candidates }) => settle_shared(*provider, candidates, reverse, evidence, registry),
        Course::Undecided(Undecided::Null) => settle_null(client, evidence, registry),
    }
}

/// Step 4: every header From domain belongs to the tenant.
fn is_from_own(tenant: TenantId, evidence: &Evidence<'_>, registry: &dyn Registry) -> bool {
    !evidence.header_from.is_empty()
        && evidence
            .header_from
            .iter()
            .all(|d| registry.senders(d).iter().any(|s| s.tenant == tenant))
}

/// Step 5. Beside a listed domain the tenant's own may stand; of a login those that it may send for.
fn settle_listed(tenant: TenantId, source: Source, sender: Option<&Domain>, evidence: &Evidence<'_>, registry: &dyn Registry) -> Verdict {
    let is_own = |d: &Domain| registry.senders(d).iter().any(|s| s.tenant == tenant);
    let refuse = |reason| Verdict::Refuse {
        reason,
        claimed: Some(tenant),
    };
    if source == Source::Login && evidence.header_from.iter().any(|d| is_own(d) && !registry.login_may_send(d)) {
        return refuse(Reason::ClientNotAllowed);
    }
    let listed = !evidence.header_from.is_empty()
        && registry.lists_foreign(tenant, sender)
        && evidence
            .header_from
            .iter()
            .all(|d| registry.foreign_listed(tenant, sender, d) || is_own(d));
    if !listed {
        return refuse(Reason::NoDomain);
    }
    let proof = own_proof(source);
    Verdict::Outbound { tenant, source, proof }
}

fn settle_own(tenant: TenantId, source: Source, reverse: Reverse<'_>, evidence: &Evidence<'_>, registry: &dyn Registry) -> Verdict {
    if is_from_own(tenant, evidence, registry) {
        return Verdict::Outbound {
            tenant,
            source,
            proof: own_proof(source),
        };
    }
    settle_listed(tenant, source, sender_domain(reverse), evidence, registry)
}

fn sender_domain(reverse: Reverse<'_>) -> Option<&Domain> {
    match reverse {
        Reverse::Domain(domain) => Some(domain),
        Reverse::Literal | Reverse::Null => None,
    }
}

/// Step 6.
fn settle_shared(
    provider: Provider,
    candidates: &[Sender],
    reverse: Reverse<'_>,
    evidence: &Evidence<'_>,
    registry: &dyn Registry,
) -> Verdict {
    let proven = candidates
        .iter()
        .find_map(|s| prove(provider, registry.proof(s.tenant), evidence).map(|proof| (*s, proof)));
    let Some((sender, proof)) = proven else {
        if evidence.all_recipients_accepted {
            return Verdict::Inbound;
        }
        let claimed = candidates.first().map(|s| s.tenant);
        return Verdict::Refuse {
            reason: Reason::TenantUnproven,
            claimed,
        };
    };
    if sender.sending == Sending::Suspended {
        return Verdict::Refuse {
            reason: Reason::SenderSuspended,
            claimed: Some(sender.tenant),
        };
    }
    let verdict = settle_own(sender.tenant, Source::Provider(provider), reverse, evidence, registry);
    match verdict {
        Verdict::Outbound { tenant, source, .. } => Verdict::Outbound { tenant, source, proof },
        Verdict::Inbound | Verdict::Refuse { .. } => verdict,
    }
}

/// Null reverse path: header From names the tenant, the client must be its source.
fn settle_null(client: &Client, evidence: &Evidence<'_>, registry: &dyn Registry) -> Verdict {
    let may_be_inbound = evidence.all_recipients_accepted && client.login.is_none();
    let senders: Vec<Sender> = match evidence.header_from.split_first() {
        Some((first, _)) => registry
            .senders(first)
            .into_iter()
            .filter(|s| is_from_own(s.tenant, evidence, registry))
            .collect(),
        None => Vec::new(),
    };
    if senders.is_empty() {
        if may_be_inbound {
            return Verdict::Inbound;
        }
        return match client.sole_owner() {
            Some((tenant, source)) => settle_listed(tenant, source, None, evidence, registry),
            None => Verdict::Refuse {
                reason: Reason::NoDomain,
                claimed: None,
            },
        };
    }
    let by_login = |s: &&Sender| client.login == Some(s.tenant) && evidence.header_from.iter().all(|d| registry.login_may_send(d));
    let own = match client.login {
        Some(_) => senders.iter().find(by_login).map(|s| (*s, Source::Login)),
        None => senders
            .iter()
            .find_map(|s| client.own_source_of(s.tenant).map(|source| (*s, source))),
    };
    if let Some((sender, source)) = own {
        return match sender.sending {
            Sending::Open => Verdict::Outbound {
                tenant: sender.tenant,
                source,
                proof: own_proof(source),
            },
            Sending::Suspended => Verdict::Refuse {
                reason: Reason::SenderSuspended,
                claimed: Some(sender.tenant),
            },
        };
    }
    let shared: Vec<Sender> = match client.provider.filter(|_| client.login.is_none()) {
        Some(provider) => senders.iter().copied().filter(|s| registry.enables(s.tenant, provider)).collect(),
        None => Vec::new(),
    };
    match client.provider {
        Some(provider) if !shared.is_empty() => settle_shared(provider, &shared, Reverse::Null, evidence, registry),
        Some(_) | None if may_be_inbound => Verdict::Inbound,
        Some(_) | None => Verdict::Refuse {
            reason: Reason::ClientNotAllowed,
            claimed: senders.first().map(|s| s.tenant),
        },
    }
}

fn own_proof(source: Source) -> Proof {
    match source {
        Source::Login => Proof::Login,
        Source::Own(OwnSource::Network) => Proof::Address,
        Source::Own(OwnSource::Certificate) => Proof::Certificate,
        // Replaced by what was shown; a shared range never proves anything itself.
        Source::Provider(_) => Proof::None,
    }
}

#[cfg(test)]
mod tests;
