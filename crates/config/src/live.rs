//! The settings as the mail flow sees them: checked, indexed by domain, swapped whole.
//!
//! A mail transaction keeps the `Arc<Live>` with which it began; delivery attempts take the newest. A change rebuilds one tenant's
//! `Arc<LiveTenant>` and the maps around it, never another tenant.

use crate::document::{DomainDocument, SystemDocument, TenantDocument};
use mail::{Domain, TenantId, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;

/// `tenant.state` (domains-and-routing 1.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TenantState {
    /// 100 messages an hour and domain; outbound closed until the operator opens it.
    Trial,
    /// All open.
    #[default]
    Active,
    /// Outbound rejected.
    OutboundSuspended,
    /// Inbound deferred, outbound rejected.
    Suspended,
    /// Grace before deletion.
    Closing,
    /// Gone.
    Deleted,
}

/// State of a domain (domains-and-routing 2.4). Disabled is a setting; the others follow from proof and checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainState {
    /// Claimed, not proven.
    Unverified,
    /// Proven.
    Verified,
    /// Proven, and the required checks of 2.2 are green.
    Active,
    /// Stopped by a person.
    Disabled,
    /// Grace before deletion.
    Deleting,
}

/// A domain with its owner's settings.
#[derive(Clone, Debug)]
pub struct LiveDomain {
    /// Name.
    pub name: Domain,
    /// State.
    pub state: DomainState,
    /// Settings.
    pub settings: DomainDocument,
}

/// A tenant, checked.
#[derive(Clone, Debug)]
pub struct LiveTenant {
    /// Number.
    pub id: TenantId,
    /// `<tenant>`: access name.
    pub name: String,
    /// State.
    pub state: TenantState,
    /// The operator opened outbound mail of a trial.
    pub trial_outbound: bool,
    /// Revision of the settings.
    pub revision: i64,
    /// Settings.
    pub settings: TenantDocument,
    /// Domains by name.
    pub domains: HashMap<Domain, Arc<LiveDomain>>,
}

/// Everything, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Revision of the operator's settings.
    pub system_revision: i64,
    /// The operator's settings.
    pub system: Arc<SystemDocument>,
    /// Tenants by number.
    pub tenants: HashMap<TenantId, Arc<LiveTenant>>,
    /// Who answers for a domain: the verified owner, or with none the claimants' first.
    pub domains: HashMap<Domain, (Arc<LiveTenant>, Arc<LiveDomain>)>,
    /// Tenants that list a name among `provider_domains`.
    pub provider_domains: HashMap<Domain, Vec<Arc<LiveTenant>>>,
    /// When this was loaded.
    pub loaded_at: Option<Timestamp>,
}
