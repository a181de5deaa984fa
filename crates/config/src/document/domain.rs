//! `domain.*`, inbound servers, outbound senders and recipient check of one domain (domains-and-routing 2.1, 4.1, 6.1, 8).

use super::{Limits, OutboundRoute, PeerInbound, PeerOutbound, QueueSettings, TlsMin};
use ipnet::IpNet;
use mail::Domain;
use serde::{Deserialize, Serialize};

/// `domain.kind`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainKind {
    /// Next hop elsewhere.
    #[default]
    Relayed,
    /// Accounts here. Not available yet.
    Hosted,
}

/// `domain.services`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DomainService {
    /// Mail from outside.
    Inbound,
    /// Mail to outside.
    Outbound,
    /// Accounts. Not available yet.
    Hosting,
    /// Archive. Not available yet.
    Archive,
}

/// `domain.subaddress`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SubaddressSeparator {
    /// `+`
    #[serde(rename = "+")]
    Plus,
    /// `-`
    #[serde(rename = "-")]
    Hyphen,
}

impl SubaddressSeparator {
    /// The character.
    #[must_use]
    pub fn as_char(self) -> char {
        match self {
            Self::Plus => '+',
            Self::Hyphen => '-',
        }
    }
}

/// `tls` of an inbound server row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServerTls {
    /// In clear.
    None,
    /// If offered, any certificate; in clear when it fails.
    #[default]
    Opportunistic,
    /// Any certificate, never in clear.
    Encrypted,
    /// By a CA and for the host's name.
    Verified,
    /// A key fingerprint of the row.
    Pinned,
    /// TLSA. Not available yet.
    Dane,
}

/// `auth` of a row: user name and sealed secret. The secret is never shown again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerAuth {
    /// User name.
    pub user: String,
    /// Sealed with the installation key (`identity::seal`); on input plain, replaced at saving.
    pub secret: String,
}

/// One row of `domain.inbound_servers`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InboundServer {
    /// `*` or one exact local part.
    #[serde(default = "any")]
    pub recipient: String,
    /// FQDN or IP literal.
    pub host: String,
    /// 1–65535; 465 speaks TLS from the start.
    #[serde(default = "smtp_port")]
    pub port: u16,
    /// 1–100, lower first.
    #[serde(default = "preference")]
    pub preference: u32,
    /// TLS level.
    #[serde(default)]
    pub tls: ServerTls,
    /// SHA-256 of the key (SPKI), hex; for `pinned`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
    /// 1.2 or 1.3.
    #[serde(default)]
    pub tls_min: TlsMin,
    /// Log-in at the next hop; needs `encrypted` or better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<ServerAuth>,
    /// 1–100.
    #[serde(default = "connections_max")]
    pub connections_max: u32,
    /// 1–1,000 messages.
    #[serde(default = "per_connection_max")]
    pub per_connection_max: u32,
    /// On or off.
    #[serde(default = "on")]
    pub enabled: bool,
    /// Text.
    #[serde(default)]
    pub note: String,
}

fn any() -> String {
    "*".into()
}
fn smtp_port() -> u16 {
    25
}
fn preference() -> u32 {
    10
}
fn connections_max() -> u32 {
    20
}
fn per_connection_max() -> u32 {
    100
}
fn on() -> bool {
    true
}

/// `routing.match`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RouteMatch {
    /// By preference alone.
    #[default]
    Preference,
    /// Exact rows first, `*` rows after them.
    MostSpecific,
}

/// `recipient.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecipientMode {
    /// Everyone exists.
    #[default]
    None,
    /// Who is in the list exists.
    Directory,
    /// The next hop is asked. Not available yet.
    Callout,
    /// List, then the next hop. Not available yet.
    Hybrid,
}

/// `outbound.foreign_from`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ForeignFrom {
    /// `NO-DOMAIN` (default until forwarded mail can be proven).
    #[default]
    Reject,
    /// Forwarded mail passes. Not available yet.
    ForwardedOnly,
    /// Header From domains of a list pass.
    Listed,
}

/// Settings of one domain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DomainDocument {
    /// `domain.kind`.
    pub kind: DomainKind,
    /// `domain.services`; empty on input means inbound.
    pub services: Vec<DomainService>,
    /// Stopped by a person: state Disabled.
    pub disabled: bool,
    /// `domain.hosted_fallthrough`. Not available yet unless off.
    pub hosted_fallthrough: bool,
    /// `domain.own_rules`. Not available yet unless off.
    pub own_rules: bool,
    /// `domain.subaddress`; absent: off.
    pub subaddress: Option<SubaddressSeparator>,
    /// `domain.inbound_servers`, at most 64 rows.
    pub inbound_servers: Vec<InboundServer>,
    /// `routing.match`.
    pub route_match: RouteMatch,
    /// `recipient.mode`.
    pub recipient_mode: RecipientMode,
    /// `directory.grace`: days 0–30.
    pub directory_grace_days: u32,
    /// `outbound.enabled`.
    pub outbound_enabled: bool,
    /// `outbound.microsoft365`.
    pub outbound_microsoft365: bool,
    /// `outbound.google_workspace`.
    pub outbound_google_workspace: bool,
    /// `outbound.networks`, at most 1,000.
    pub outbound_networks: Vec<IpNet>,
    /// `outbound.certificates`: names or key fingerprints (SHA-256 hex), at most 50.
    pub outbound_certificates: Vec<String>,
    /// `outbound.submission`.
    pub outbound_submission: bool,
    /// `outbound.foreign_from`.
    pub foreign_from: ForeignFrom,
    /// Its list, at most 1,000.
    pub foreign_from_listed: Vec<Domain>,
    /// `tls.peer_inbound` of the domain.
    pub peer_inbound: Vec<PeerInbound>,
    /// `tls.peer_outbound` of the domain (as sender).
    pub peer_outbound: Vec<PeerOutbound>,
    /// `route.outbound` of the domain (as sender).
    pub outbound_routes: Vec<OutboundRoute>,
    /// `queue.*` of the domain.
    pub queue: QueueSettings,
    /// Chapter 9 of the domain.
    pub limits: Limits,
}
