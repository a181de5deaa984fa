//! Who asks, and whether they may.
//!
//! In: an API key in `Authorization: Bearer`, or the uid at the other end of the local socket. Out: a [`Caller`], or 401.
//! Invariants: another tenant's object gives 404, like one that does not exist; 403 only inside the own tenant.

use crate::{Admin, Problem};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use config::Live;
use config::document::OperatorContentAccess;
use identity::may::may_grant;
use identity::{Actor, Capability, Consent, Permission, Role, Target, may};
use mail::text::{Noun, Text};
use mail::{Domain, TenantId, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;
use store::control::audit::{AuditEntry, Channel};
use store::control::tenant::{self, Tenant};

/// The other end of a request's connection; put there by the listener.
#[derive(Clone, Copy, Debug)]
pub enum Peer {
    /// The local socket.
    Socket {
        /// User at its other end.
        uid: u32,
    },
    /// A network connection.
    Network {
        /// Address.
        address: IpAddr,
    },
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    who: Actor,
    live: Arc<Live>,
}

impl FromRequestParts<Arc<Admin>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Problem> {
        let peer = parts.extensions.get::<Peer>().copied();
        let live = admin.desk.live();
        let unknown = || Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", Text::new("api.key-needed"));
        if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
            let key = value.to_str().ok().and_then(|v| v.strip_prefix("Bearer ")).ok_or_else(unknown)?;
            let (client, channel) = match peer {
                Some(Peer::Network { address }) => (Some(address), Channel::Api),
                Some(Peer::Socket { .. }) | None => (None, Channel::CommandLine),
            };
            let who = identity::api_key::authenticate(&admin.desk.store, key, client, channel, admin.desk.now()).await?;
            return who
                .map(|who| Self { who, live })
                .ok_or_else(|| Problem::new(StatusCode::UNAUTHORIZED, "unauthorized", Text::new("api.key-bad")));
        }
        match peer {
            Some(Peer::Socket { uid }) if uid == 0 || uid == admin.own_uid => Ok(Self {
                who: Actor::local_operator(format!("local user {uid}")),
                live,
            }),
            Some(Peer::Socket { .. } | Peer::Network { .. }) | None => Err(unknown()),
        }
    }
}

impl Caller {
    /// Name, as the audit log shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.who.name
    }

    /// Role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.who.role
    }

    /// Its tenant; `None`: the operator's side.
    #[must_use]
    pub fn own_tenant(&self) -> Option<TenantId> {
        self.who.tenant
    }

    /// Names of the domains it is limited to; `None`: everything of its tenant.
    #[must_use]
    pub fn domain_names(&self) -> Option<Vec<String>> {
        self.who.domains.as_ref().map(|d| d.iter().map(Domain::to_string).collect())
    }

    fn consent(&self, tenant: TenantId) -> Consent {
        match self.live.tenants.get(&tenant).map(|t| t.settings.operator_content_access) {
            Some(OperatorContentAccess::Allowed) => Consent::Given,
            Some(OperatorContentAccess::OnRequest | OperatorContentAccess::Never) | None => Consent::NotGiven,
        }
    }

    /// What it may do at all with things of this kind in `tenant` (`None`: the operator's own); limited ones within their domains.
    fn permission(&self, capability: Capability, tenant: Option<TenantId>) -> Permission {
        let id = tenant.unwrap_or(TenantId::OPERATOR);
        let target = match self.who.domains.as_deref().and_then(<[Domain]>::first) {
            Some(domain) => Target::domain(id, domain),
            None => Target::tenant(id),
        };
        may(&self.who, capability, target.with(self.consent(id)))
    }

    /// Whether it may.
    ///
    /// # Errors
    /// 403.
    pub fn need(&self, capability: Capability, permission: Permission, tenant: Option<TenantId>) -> Result<(), Problem> {
        if self.permission(capability, tenant) >= permission {
            return Ok(());
        }
        Err(Problem::forbidden(Text::new("api.role").with("role", self.who.role.as_str())))
    }

    /// The tenant of this name, if it exists for the caller.
    ///
    /// # Errors
    /// 404.
    pub async fn any_tenant(&self, admin: &Admin, name: &str) -> Result<Tenant, Problem> {
        let name = name.to_owned();
        let found = admin.desk.store.read(move |tx| tenant::by_name(tx, &name)).await?;
        found
            .filter(|t| self.who.tenant.is_none_or(|own| own == t.id))
            .ok_or_else(|| Problem::not_found(Noun::Tenant))
    }

    /// The tenant of this name, if the caller may do this there.
    ///
    /// # Errors
    /// 404, or 403 inside the own tenant.
    pub async fn tenant(&self, admin: &Admin, name: &str, capability: Capability, permission: Permission) -> Result<Tenant, Problem> {
        let found = self.any_tenant(admin, name).await?;
        self.need(capability, permission, Some(found.id))?;
        Ok(found)
    }

    /// Whether this domain is among those it is limited to.
    ///
    /// # Errors
    /// 404: a domain out of reach is like one that does not exist.
    pub fn within(&self, domain: &Domain) -> Result<(), Problem> {
        if self.who.domains.as_ref().is_none_or(|own| own.contains(domain)) {
            Ok(())
        } else {
            Err(Problem::not_found(Noun::Domain))
        }
    }

    /// Whether it stands for the whole tenant.
    ///
    /// # Errors
    /// 403.
    pub fn whole_tenant(&self) -> Result<(), Problem> {
        if self.who.domains.is_none() {
            Ok(())
        } else {
            Err(Problem::forbidden(Text::new("api.whole-tenant")))
        }
    }

    /// Whether a key over these domains is within its own reach.
    #[must_use]
    pub fn covers(&self, domains: Option<&[Domain]>) -> bool {
        let Some(own) = self.who.domains.as_ref() else { return true };
        domains.is_some_and(|d| d.iter().all(|d| own.contains(d)))
    }

    /// Whether it may give someone this role.
    ///
    /// # Errors
    /// 403.
    pub fn may_grant(&self, tenant: TenantId, role: Role, domains: Option<&[Domain]>) -> Result<(), Problem> {
        if may_grant(&self.who, tenant, role, domains) {
            Ok(())
        } else {
            Err(Problem::forbidden(Text::new("api.grant")))
        }
    }

    /// An audit entry of what it does; the caller of this fills in the rest.
    #[must_use]
    pub fn audit(&self, tenant: TenantId, at: Timestamp, action: &str, object_kind: &str, object: &str) -> AuditEntry {
        self.who.audit_entry(tenant, at, action, object_kind, object)
    }
}
