//! Who may do what? The matrix of domains-and-routing 1.2, and nothing else decides.
//!
//! In:  an actor, a capability, a target. Out: none, read or write.
//! Invariants: another tenant's target gives none, whatever the role; nobody grants more than they hold.
//! Groups, people and archive grants do not exist yet: roles that reach objects only through them reach nothing.

use crate::actor::{Actor, Role, Standing};
use mail::{Domain, TenantId};

/// Rows of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Tenants, system settings.
    Tenants,
    /// Add or delete domains.
    DomainsAddDelete,
    /// Domain, routing, senders.
    DomainSettings,
    /// Grant roles.
    GrantRoles,
    /// Rules and lists.
    Rules,
    /// Quarantine: list.
    QuarantineList,
    /// Quarantine: content, release.
    QuarantineContent,
    /// Queue actions.
    QueueActions,
    /// Tracking.
    Tracking,
    /// Archive.
    Archive,
    /// Audit log.
    AuditLog,
}

impl Capability {
    /// Every row.
    pub const ALL: [Self; 11] = [
        Self::Tenants,
        Self::DomainsAddDelete,
        Self::DomainSettings,
        Self::GrantRoles,
        Self::Rules,
        Self::QuarantineList,
        Self::QuarantineContent,
        Self::QueueActions,
        Self::Tracking,
        Self::Archive,
        Self::AuditLog,
    ];
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Not even whether it exists.
    None,
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// Whether the tenant agreed that the operator's side sees its settings (`tenant.operator_content_access`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consent {
    /// Allowed, or asked for and given.
    Given,
    /// Not.
    NotGiven,
}

/// What is to be touched.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    /// Whose it is; [`TenantId::OPERATOR`] for the operator's own.
    pub tenant: TenantId,
    /// The domain it belongs to; `None` for what belongs to the tenant as a whole.
    pub domain: Option<&'a Domain>,
    /// Consent of that tenant.
    pub consent: Consent,
}

impl<'a> Target<'a> {
    /// Something of the tenant as a whole.
    #[must_use]
    pub fn tenant(tenant: TenantId) -> Self {
        Self {
            tenant,
            domain: None,
            consent: Consent::NotGiven,
        }
    }

    /// Something of one domain.
    #[must_use]
    pub fn domain(tenant: TenantId, domain: &'a Domain) -> Self {
        Self {
            tenant,
            domain: Some(domain),
            consent: Consent::NotGiven,
        }
    }

    /// The same with the tenant's consent.
    #[must_use]
    pub fn with(self, consent: Consent) -> Self {
        Self { consent, ..self }
    }
}

/// How much of a message an actor sees in tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Detail {
    /// Everything of its target.
    Full,
    /// Without subject, attachment names and URLs.
    NoSubject,
}

/// A cell of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    No,
    All(Permission),
    /// Of the operator's own objects (tenant 0) only.
    System(Permission),
    WithConsent(Permission),
    OwnDomains(Permission),
    OwnGroups(Permission),
    OwnObjects(Permission),
}

/// Who may.
#[must_use]
pub fn may(actor: &Actor, capability: Capability, target: Target<'_>) -> Permission {
    if !reaches_tenant(actor, target.tenant) {
        return Permission::None;
    }
    let in_domains = |listed: &[Domain]| target.domain.is_some_and(|d| listed.contains(d));
    if actor.domains.as_deref().is_some_and(|listed| !in_domains(listed)) {
        return Permission::None;
    }
    let granted = match cell(actor.role, capability) {
        Cell::No | Cell::OwnGroups(_) | Cell::OwnObjects(_) => Permission::None,
        Cell::All(p) => p,
        Cell::System(p) if target.tenant == TenantId::OPERATOR => p,
        Cell::WithConsent(p) if target.consent == Consent::Given => p,
        // A list of domains is what makes these roles: without one they reach none.
        Cell::OwnDomains(p) if actor.domains.is_some() => p,
        Cell::System(_) | Cell::WithConsent(_) | Cell::OwnDomains(_) => Permission::None,
    };
    match actor.standing {
        Standing::Full => granted,
        Standing::ReadOnly => granted.min(Permission::Read),
    }
}

/// Whether the actor may give someone `role` over `domains` (`None`: the whole tenant) of `tenant`.
#[must_use]
pub fn may_grant(actor: &Actor, tenant: TenantId, role: Role, domains: Option<&[Domain]>) -> bool {
    if !reaches_tenant(actor, tenant) || actor.standing != Standing::Full || cell(actor.role, Capability::GrantRoles) == Cell::No {
        return false;
    }
    if actor.role.is_operators() {
        // The operator makes the owners of tenants, and its own people.
        return if tenant == TenantId::OPERATOR {
            role.is_operators()
        } else {
            role == Role::Owner
        };
    }
    let within_own = actor
        .domains
        .as_deref()
        .is_none_or(|own| domains.is_some_and(|given| !given.is_empty() && given.iter().all(|d| own.contains(d))));
    let domain_role_has_domains = role != Role::DomainAdmin || domains.is_some_and(|given| !given.is_empty());
    let held = |c: &Capability| strength(cell(role, *c)) <= strength(cell(actor.role, *c));
    within_own
        && domain_role_has_domains
        && !role.is_operators()
        && (role != Role::Owner || actor.role == Role::Owner)
        // The archive is granted by its own roles.
        && Capability::ALL.iter().filter(|c| **c != Capability::Archive).all(held)
}

/// How much of a message the actor sees in tracking.
#[must_use]
pub fn tracking_detail(actor: &Actor) -> Detail {
    if actor.role.is_operators() {
        Detail::NoSubject
    } else {
        Detail::Full
    }
}

fn reaches_tenant(actor: &Actor, tenant: TenantId) -> bool {
    match actor.tenant {
        None => actor.role.is_operators(),
        Some(own) => !actor.role.is_operators() && own == tenant && own != TenantId::OPERATOR,
    }
}

fn strength(cell: Cell) -> Permission {
    match cell {
        Cell::No => Permission::None,
        Cell::All(p) | Cell::System(p) | Cell::WithConsent(p) | Cell::OwnDomains(p) | Cell::OwnGroups(p) | Cell::OwnObjects(p) => p,
    }
}

fn cell(role: Role, capability: Capability) -> Cell {
    use Permission::{Read, Write};
    use Role::{Auditor, DomainAdmin, GroupAdmin, Operator, Owner, Support, TenantAdmin, User, Viewer};
    match capability {
        Capability::Tenants => match role {
            Operator => Cell::All(Write),
            Support => Cell::All(Read),
            Owner | TenantAdmin | DomainAdmin | GroupAdmin | Auditor | Viewer | User => Cell::No,
        },
        Capability::DomainsAddDelete => match role {
            Owner | TenantAdmin => Cell::All(Write),
            Operator | Support | DomainAdmin | GroupAdmin | Auditor | Viewer | User => Cell::No,
        },
        Capability::DomainSettings => match role {
            Operator => Cell::WithConsent(Write),
            Owner | TenantAdmin => Cell::All(Write),
            DomainAdmin => Cell::OwnDomains(Write),
            Viewer => Cell::All(Read),
            Support | GroupAdmin | Auditor | User => Cell::No,
        },
        Capability::GrantRoles => match role {
            Operator | Owner | TenantAdmin => Cell::All(Write),
            DomainAdmin => Cell::OwnDomains(Write),
            Support | GroupAdmin | Auditor | Viewer | User => Cell::No,
        },
        Capability::Rules => match role {
            Operator => Cell::System(Write),
            Owner | TenantAdmin => Cell::All(Write),
            DomainAdmin => Cell::OwnDomains(Write),
            GroupAdmin => Cell::OwnGroups(Write),
            Viewer => Cell::All(Read),
            User => Cell::OwnObjects(Write),
            Support | Auditor => Cell::No,
        },
        // Operator and Support see counts; those stand in the statistics, not in the list.
        Capability::QuarantineList => match role {
            Owner | TenantAdmin => Cell::All(Write),
            DomainAdmin => Cell::OwnDomains(Write),
            GroupAdmin => Cell::OwnGroups(Write),
            Viewer => Cell::All(Read),
            User => Cell::OwnObjects(Read),
            Operator | Support | Auditor => Cell::No,
        },
        Capability::QuarantineContent => match role {
            Owner | TenantAdmin => Cell::All(Write),
            DomainAdmin => Cell::OwnDomains(Write),
            GroupAdmin => Cell::OwnGroups(Write),
            User => Cell::OwnObjects(Write),
            // The operator's break-glass needs a log-in with a second factor; a key has none.
            Operator | Support | Auditor | Viewer => Cell::No,
        },
        Capability::QueueActions => match role {
            Operator | Owner | TenantAdmin => Cell::All(Write),
            Support | Viewer => Cell::All(Read),
            DomainAdmin => Cell::OwnDomains(Write),
            GroupAdmin | Auditor | User => Cell::No,
        },
        Capability::Tracking => match role {
            Operator | Support | Owner | TenantAdmin | Auditor | Viewer => Cell::All(Read),
            DomainAdmin => Cell::OwnDomains(Read),
            GroupAdmin => Cell::OwnGroups(Read),
            User => Cell::OwnObjects(Read),
        },
        Capability::Archive => match role {
            User => Cell::OwnObjects(Read),
            Operator | Support | Owner | TenantAdmin | DomainAdmin | GroupAdmin | Auditor | Viewer => Cell::No,
        },
        Capability::AuditLog => match role {
            Operator => Cell::System(Read),
            Support => Cell::System(Read),
            Owner | TenantAdmin | Auditor => Cell::All(Read),
            DomainAdmin => Cell::OwnDomains(Read),
            User => Cell::OwnObjects(Read),
            GroupAdmin | Viewer => Cell::No,
        },
    }
}

#[cfg(test)]
mod tests;
