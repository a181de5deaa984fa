//! Who acts: a name, a role, a target, and the way it came.

use mail::{Domain, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use store::control::audit::{AuditEntry, AuditResult, Channel};

/// Roles of domains-and-routing 1.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Runs the installation.
    Operator,
    /// Helps the operator.
    Support,
    /// Owns the tenant.
    Owner,
    /// Runs the tenant.
    TenantAdmin,
    /// Runs listed domains.
    DomainAdmin,
    /// Runs listed groups.
    GroupAdmin,
    /// Looks back.
    Auditor,
    /// Looks.
    Viewer,
    /// A person with mail.
    User,
}

impl Role {
    /// Every role, strongest first within its side.
    pub const ALL: [Self; 9] = [
        Self::Operator,
        Self::Support,
        Self::Owner,
        Self::TenantAdmin,
        Self::DomainAdmin,
        Self::GroupAdmin,
        Self::Auditor,
        Self::Viewer,
        Self::User,
    ];

    /// The word, as stored and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Support => "support",
            Self::Owner => "owner",
            Self::TenantAdmin => "tenant-admin",
            Self::DomainAdmin => "domain-admin",
            Self::GroupAdmin => "group-admin",
            Self::Auditor => "auditor",
            Self::Viewer => "viewer",
            Self::User => "user",
        }
    }

    /// From the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|r| r.as_str() == text)
    }

    /// Whether it belongs to the operator's side.
    #[must_use]
    pub fn is_operators(self) -> bool {
        matches!(self, Self::Operator | Self::Support)
    }
}

/// How an actor proved to be who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoginMethod {
    /// Key of the API.
    ApiKey,
    /// User id at the other end of the local socket.
    PeerUid,
    /// The program itself.
    Internal,
}

impl LoginMethod {
    /// The word in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKey => "api-key",
            Self::PeerUid => "peer-uid",
            Self::Internal => "none",
        }
    }
}

/// What the state of the tenant leaves its people (domains-and-routing 1.1, column Console).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Everything.
    Full,
    /// Suspended or closing: read and export.
    ReadOnly,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// Name, as the audit log shows it.
    pub name: String,
    /// Its tenant; `None`: the operator's side.
    pub tenant: Option<TenantId>,
    /// Role.
    pub role: Role,
    /// Target: the listed domains, or with `None` everything of the tenant, future domains too.
    pub domains: Option<Vec<Domain>>,
    /// What the tenant's state leaves it.
    pub standing: Standing,
    /// How it proved to be that.
    pub login: LoginMethod,
    /// By which way it came.
    pub channel: Channel,
    /// From where.
    pub client: Option<IpAddr>,
}

impl Actor {
    /// The operator on this host: root or the owner of the process, known by the uid at the other end of the local socket.
    #[must_use]
    pub fn local_operator(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            tenant: None,
            role: Role::Operator,
            domains: None,
            standing: Standing::Full,
            login: LoginMethod::PeerUid,
            channel: Channel::CommandLine,
            client: None,
        }
    }

    /// An audit entry of what this actor does in the log of `tenant`, done, without changes; the caller fills in the rest.
    #[must_use]
    pub fn audit_entry(&self, tenant: TenantId, at: Timestamp, action: &str, object_kind: &str, object: &str) -> AuditEntry {
        AuditEntry {
            actor: self.name.clone(),
            role: self.role.as_str().into(),
            login_method: self.login.as_str().into(),
            client_address: self.client.map(|ip| ip.to_string()),
            channel: self.channel,
            result: AuditResult::Done,
            ..AuditEntry::system(tenant, at, action, object_kind, object)
        }
    }
}
