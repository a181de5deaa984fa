//! Settings documents: what is stored as revisions, one document per tenant, one for the operator.
//!
//! In: JSON from API, CLI or import. Out: these types, after [`TenantDocument::check`] / [`SystemDocument::check`] found no problem.
//! Absent values mean "as the scope above says". Source of names, limits and defaults: domains-and-routing.

use ipnet::IpNet;
use mail::{Address, Domain, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub mod domain;
pub mod limits;
pub mod queue;
pub mod tls;

pub use domain::{
    DomainDocument, DomainKind, DomainService, ForeignFrom, InboundServer, RecipientMode, RouteMatch, ServerAuth, ServerTls,
    SubaddressSeparator,
};
pub use limits::{Exempt, Harvest, Limits, Rate};
pub use queue::QueueSettings;
pub use tls::{OutboundLevel, OutboundRoute, PeerInbound, PeerOutbound, RouteTarget, TlsMin};

/// `ja` or `en`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Language {
    /// Japanese (default).
    #[default]
    Ja,
    /// English.
    En,
}

/// `tenant.operator_content_access`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperatorContentAccess {
    /// Never.
    Never,
    /// With consent.
    #[default]
    OnRequest,
    /// Always, audited.
    Allowed,
}

/// `tenant.contacts`: alert addresses, 20 each.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Contacts {
    /// Security.
    pub security: Vec<Address>,
    /// Mail flow.
    pub mail_flow: Vec<Address>,
    /// Billing.
    pub billing: Vec<Address>,
}

/// `tenant.branding`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Branding {
    /// Name on public pages.
    pub name: Option<String>,
    /// PNG or WebP as base64, 256 KB decoded.
    pub logo: Option<String>,
    /// `#rrggbb`.
    pub colour: Option<String>,
    /// https link.
    pub support_link: Option<String>,
}

impl Branding {
    /// Whether the text is a colour, `#rrggbb`: nothing else may become a part of a style.
    #[must_use]
    pub fn is_colour(text: &str) -> bool {
        text.strip_prefix('#')
            .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
    }
}

/// `outbound.relay_credentials`: for a server or device, never for a person. User name: `<name>@<tenant>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayCredential {
    /// Unique within the tenant, 1–64 of `a-z0-9-._`.
    pub name: String,
    /// Argon2id hash (PHC string). Never shown.
    pub hash: String,
    /// SCRAM-SHA-256 keys `iterations:salt:stored:server` (base64), when `system.scram` was on at creation.
    #[serde(default)]
    pub scram: Option<String>,
    /// Domains it may send for; empty: every domain of the tenant with outbound on.
    #[serde(default)]
    pub domains: Vec<Domain>,
    /// Networks it may come from; empty: anywhere.
    #[serde(default)]
    pub networks: Vec<IpNet>,
    /// Messages per 10 minutes, below the limits of the tenant.
    #[serde(default)]
    pub messages_per_10_min: Option<u32>,
    /// Not after.
    #[serde(default)]
    pub expires_at: Option<Timestamp>,
}

/// Proof of tenant (domains-and-routing 6.3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Proof {
    /// SHA-256 (hex) of the secrets valid in `X-Mitsuke-Proof`, at most two.
    pub secret_sha256: Vec<String>,
    /// `X-MS-Exchange-CrossTenant-Id` values of this tenant, at most 20.
    pub microsoft_tenant_ids: Vec<String>,
    /// Set-up window: until when unproven mail from shared ranges passes (at most 60 min ahead), and how many messages are left (20).
    pub setup_window_until: Option<Timestamp>,
}

/// `tracking.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrackingSettings {
    /// Days, 30–2,557; default 400.
    pub retention_days: Option<u32>,
    /// Days of dialogue transcripts, 0–90. Not available yet unless 0.
    pub transcript_days: Option<u32>,
}

/// A tenant's settings, whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantDocument {
    /// `tenant.language`.
    pub language: Language,
    /// `tenant.time_zone`; absent: Asia/Tokyo.
    pub time_zone: Option<String>,
    /// `tenant.contacts`.
    pub contacts: Contacts,
    /// `tenant.branding`.
    pub branding: Branding,
    /// `tenant.operator_content_access`.
    pub operator_content_access: OperatorContentAccess,
    /// `domain.delete_grace`, days 0–90; default 30.
    pub delete_grace_days: Option<u32>,
    /// `outbound.relay_credentials`, at most 100.
    pub relay_credentials: Vec<RelayCredential>,
    /// `outbound.provider_domains`, at most 20.
    pub provider_domains: Vec<Domain>,
    /// Proof of tenant.
    pub proof: Proof,
    /// `tls.peer_inbound` rows.
    pub peer_inbound: Vec<PeerInbound>,
    /// `tls.peer_outbound` rows.
    pub peer_outbound: Vec<PeerOutbound>,
    /// `tls.min_inbound`, `tls.min_outbound`.
    pub tls_min_inbound: Option<TlsMin>,
    /// See above.
    pub tls_min_outbound: Option<TlsMin>,
    /// `route.outbound` rows.
    pub outbound_routes: Vec<OutboundRoute>,
    /// `queue.*` of the tenant.
    pub queue: QueueSettings,
    /// Chapter 9, raised or lowered.
    pub limits: Limits,
    /// Exempt from rates, 1,000 entries.
    pub exempt: Exempt,
    /// `harvest.*`.
    pub harvest: Harvest,
    /// `directory.guard`: percent, 1–50; default 10.
    pub directory_guard_percent: Option<u32>,
    /// Suppress DSNs when SPF failed at acceptance; default on.
    pub dsn_suppress_forged: Option<bool>,
    /// Reasons (reply codes marked **T**) that the tenant switched between 4yz and 5yz.
    pub soft_reasons: Vec<mail::Reason>,
    /// `tracking.*`.
    pub tracking: TrackingSettings,
    /// Accepted domains and claims.
    pub domains: BTreeMap<Domain, DomainDocument>,
}

/// A provider's published ranges (`outbound.shared_ranges`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedRanges {
    /// SPF names the ranges of Microsoft 365 are read from; default `spf.protection.outlook.com`.
    pub microsoft365_spf: Option<String>,
    /// Likewise Google Workspace; default `_spf.google.com`.
    pub google_workspace_spf: Option<String>,
    /// Last good ranges.
    pub microsoft365: Vec<IpNet>,
    /// Last good ranges.
    pub google_workspace: Vec<IpNet>,
    /// Refresh every 6 h; default on.
    pub refresh: Option<bool>,
}

/// The operator's settings, whole.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SystemDocument {
    /// Chapter 9.
    pub limits: Limits,
    /// S list: exempt from connection limits and rates.
    pub exempt: Exempt,
    /// Clients refused at connect (`IP-BLOCKED-SYSTEM`).
    pub blocked_clients: Vec<IpNet>,
    /// Clients whose bare CR/LF are made CRLF instead of refused.
    pub normalise_newlines_of: Vec<IpNet>,
    /// `harvest.*`.
    pub harvest: Harvest,
    /// `queue.*`.
    pub queue: QueueSettings,
    /// `tls.min_inbound`, `tls.min_outbound`.
    pub tls_min_inbound: Option<TlsMin>,
    /// See above.
    pub tls_min_outbound: Option<TlsMin>,
    /// `outbound.shared_ranges`.
    pub shared_ranges: SharedRanges,
    /// Public mailbox providers whose names nobody may claim.
    pub public_mailbox_providers: Vec<Domain>,
    /// Ports that inbound servers and smarthosts may use; empty: all.
    pub next_hop_ports: Vec<u16>,
    /// `domain.claim_lapse`, days; default 30. Seconds for trying out: `claim_lapse_s`.
    pub claim_lapse_s: Option<u64>,
    /// HELO names are checked (`HELO-INVALID`); default off.
    pub helo_check: Option<bool>,
    /// SCRAM-SHA-256 is offered and its keys are stored at creation of credentials; default off.
    pub scram: Option<bool>,
    /// Retention of operator's own events, days; default 400.
    pub tracking: TrackingSettings,
    /// Bytes kept free: `STORE-FULL` below; default: 10 % or 5 GB, whichever is smaller.
    pub free_spool_bytes: Option<u64>,
}
