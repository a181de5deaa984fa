//! Transport security and outbound routes (domains-and-routing 7).

use super::ServerAuth;
use serde::{Deserialize, Serialize};

/// Lowest TLS version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsMin {
    /// TLS 1.2.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    Tls13,
}

/// Required of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InboundLevel {
    /// May come in clear.
    #[default]
    Opportunistic,
    /// TLS, `TLS-REQUIRED` otherwise.
    Mandatory,
    /// TLS and a client certificate by a CA.
    MandatoryVerified,
}

/// Required of a next hop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutboundLevel {
    /// If offered.
    #[default]
    Opportunistic,
    /// Any certificate.
    Mandatory,
    /// By a CA, for the host's name.
    Verified,
    /// A key of the row.
    Pinned,
    /// Not available yet.
    Dane,
    /// Not available yet.
    MtaSts,
}

/// A row of `tls.peer_inbound`. The most specific enabled row wins: address, longer network, domain of the reverse path, longer domain, `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerInbound {
    /// Client domain (of the reverse path), address or CIDR; `*`: default row.
    pub client: String,
    /// What is required.
    pub level: InboundLevel,
    /// On or off.
    #[serde(default = "on")]
    pub enabled: bool,
}

/// A row of `tls.peer_outbound`. The most specific enabled row wins: exact domain, longer suffix (`.example`), `*`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerOutbound {
    /// Recipient domain, or `*`: default row.
    pub domain: String,
    /// What is required.
    pub level: OutboundLevel,
    /// SHA-256 of keys, hex; for `pinned`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<String>,
    /// On or off.
    #[serde(default = "on")]
    pub enabled: bool,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "to", deny_unknown_fields)]
pub enum RouteTarget {
    /// As DNS says.
    Mx,
    /// A server that takes mail for everyone.
    Smarthost {
        /// FQDN or IP literal.
        host: String,
        /// Port; 465 speaks TLS from the start.
        port: u16,
        /// TLS level.
        #[serde(default)]
        tls: OutboundLevel,
        /// Keys for `pinned`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pins: Vec<String>,
        /// Log-in; needs `mandatory` or better.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        auth: Option<ServerAuth>,
    },
}

/// A row of `route.outbound`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundRoute {
    /// Recipient domain or `*`.
    pub domain: String,
    /// Where to.
    pub target: RouteTarget,
    /// Source addresses, taken in turn; empty: the system's choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub source_addresses: Vec<std::net::IpAddr>,
}

fn on() -> bool {
    true
}
