//! How a tenant sends out: rows of `route.outbound` and `tls.peer_outbound`.
//!
//! In: settings, sender domain, recipient. Out: MX or smarthost, the TLS policy, source addresses.
//! Standards: domains-and-routing 7. The most specific enabled row wins: exact domain, longer suffix (`.example`), `*`; of equally specific
//! rows the domain's before the tenant's.

use super::{Candidate, Login};
use config::document::{InboundServer, OutboundLevel, OutboundRoute, PeerOutbound, RouteTarget, ServerTls, TlsMin};
use config::{LiveTenant, SystemDocument};
use mail::Address;
use std::net::IpAddr;
use std::sync::Arc;

/// What a next hop must offer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TlsLevel {
    /// In clear.
    None,
    /// If offered, any certificate; in clear when it fails.
    Opportunistic,
    /// Any certificate, never in clear.
    Encrypted,
    /// By a CA and for the host's name.
    Verified,
    /// One of these keys (SHA-256 of the SPKI, hex).
    Pinned(Vec<String>),
}

impl TlsLevel {
    /// Of an inbound row. `dane` is refused at saving; should it stand there all the same, nothing weaker than `verified` will do.
    #[must_use]
    pub fn of_row(row: &InboundServer) -> Self {
        match row.tls {
            ServerTls::None => Self::None,
            ServerTls::Opportunistic => Self::Opportunistic,
            ServerTls::Encrypted => Self::Encrypted,
            ServerTls::Verified | ServerTls::Dane => Self::Verified,
            ServerTls::Pinned => Self::Pinned(row.pins.clone()),
        }
    }

    fn of_outbound(level: OutboundLevel, pins: &[String]) -> Self {
        match level {
            OutboundLevel::Opportunistic => Self::Opportunistic,
            OutboundLevel::Mandatory => Self::Encrypted,
            OutboundLevel::Verified | OutboundLevel::Dane | OutboundLevel::MtaSts => Self::Verified,
            OutboundLevel::Pinned => Self::Pinned(pins.to_vec()),
        }
    }

    /// Whether mail may go in clear.
    #[must_use]
    pub fn may_be_clear(&self) -> bool {
        matches!(self, Self::None | Self::Opportunistic)
    }

    /// Its word.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opportunistic => "opportunistic",
            Self::Encrypted => "encrypted",
            Self::Verified => "verified",
            Self::Pinned(_) => "pinned",
        }
    }
}

/// TLS wanted of a hop, and who wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsPolicy {
    /// Level.
    pub level: TlsLevel,
    /// Lowest version.
    pub min: TlsMin,
    /// For tracking: `pinned by row 3`.
    pub source: String,
}

impl std::hash::Hash for TlsPolicy {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.level.hash(state);
        (self.min == TlsMin::Tls13).hash(state);
        self.source.hash(state);
    }
}

/// Text of a policy's source.
#[must_use]
pub fn source_text(level: &TlsLevel, by: &str) -> String {
    format!("{} by {by}", level.as_str())
}

/// How a recipient's mail leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboundPlan {
    /// As DNS says.
    Mx {
        /// Recipient domain.
        domain: String,
        /// TLS.
        tls: TlsPolicy,
        /// Local addresses.
        sources: Vec<IpAddr>,
    },
    /// To an address literal (RFC 5321 §4.1.3), without DNS.
    Literal {
        /// The address.
        address: IpAddr,
        /// TLS.
        tls: TlsPolicy,
        /// Local addresses.
        sources: Vec<IpAddr>,
    },
    /// To a server that takes mail for everyone.
    Smarthost(Arc<Candidate>),
}

/// Plan for one recipient.
#[must_use]
pub fn plan(system: &SystemDocument, tenant: Option<&LiveTenant>, sender_domain: Option<&str>, recipient: &Address) -> OutboundPlan {
    let domain = sender_domain
        .and_then(|d| tenant.and_then(|t| t.domains.get(d)))
        .map(|d| &d.settings);
    let name = recipient.domain().map_or_else(String::new, |d| d.as_str().to_owned());
    let routes = domain
        .map_or(&[][..], |d| &d.outbound_routes)
        .iter()
        .chain(tenant.map_or(&[][..], |t| &t.settings.outbound_routes));
    let route = most_specific(routes, &name, |r: &OutboundRoute| &r.domain);
    let peers = domain
        .map_or(&[][..], |d| &d.peer_outbound)
        .iter()
        .chain(tenant.map_or(&[][..], |t| &t.settings.peer_outbound));
    let peer = most_specific(peers.filter(|p| p.enabled), &name, |p: &PeerOutbound| &p.domain);
    let min = tls_min(system, tenant);
    let sources = route.map(|r| r.source_addresses.clone()).unwrap_or_default();
    if let Some(RouteTarget::Smarthost {
        host,
        port,
        tls,
        pins,
        auth,
    }) = route.map(|r| &r.target)
    {
        let by = format!("route {}", route.map_or("*", |r| &r.domain));
        let level = TlsLevel::of_outbound(*tls, pins);
        return OutboundPlan::Smarthost(Arc::new(Candidate {
            route: format!("smarthost for {}", route.map_or("*", |r| &r.domain)),
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: *port,
            tls: TlsPolicy {
                source: source_text(&level, &by),
                level,
                min,
            },
            login: auth.as_ref().map(|a| Login {
                user: a.user.clone(),
                sealed_secret: a.secret.clone(),
            }),
            sources,
            connections_max: concurrency(system, tenant),
            per_connection_max: PER_CONNECTION_MAX,
        }));
    }
    let tls = match peer {
        Some(peer) => {
            let level = TlsLevel::of_outbound(peer.level, &peer.pins);
            TlsPolicy {
                source: source_text(&level, &format!("peer {}", peer.domain)),
                level,
                min,
            }
        }
        None => TlsPolicy {
            level: TlsLevel::Opportunistic,
            min,
            source: source_text(&TlsLevel::Opportunistic, "default"),
        },
    };
    match recipient.literal() {
        Some(address) => OutboundPlan::Literal { address, tls, sources },
        None => OutboundPlan::Mx {
            domain: name,
            tls,
            sources,
        },
    }
}

/// Messages over one connection to a public exchanger or smarthost.
pub const PER_CONNECTION_MAX: u32 = 100;

/// Connections to one next hop where no row says it.
#[must_use]
pub fn concurrency(system: &SystemDocument, tenant: Option<&LiveTenant>) -> u32 {
    crate::queue::retry::Scopes::new(system, tenant, None).next_hop_concurrency()
}

/// Lowest TLS version towards next hops.
#[must_use]
pub fn tls_min(system: &SystemDocument, tenant: Option<&LiveTenant>) -> TlsMin {
    let of_system = system.tls_min_outbound.unwrap_or_default();
    of_system.max(tenant.and_then(|t| t.settings.tls_min_outbound).unwrap_or_default())
}

/// The most specific row; of equal ones the first.
fn most_specific<'r, R: 'r>(rows: impl Iterator<Item = &'r R>, domain: &str, pattern: impl Fn(&R) -> &str) -> Option<&'r R> {
    let mut best: Option<(usize, &R)> = None;
    for row in rows {
        let rank = rank(pattern(row), domain);
        if rank > 0 && best.is_none_or(|(b, _)| rank > b) {
            best = Some((rank, row));
        }
    }
    best.map(|(_, row)| row)
}

/// 0: does not match; more is more specific.
fn rank(pattern: &str, domain: &str) -> usize {
    let pattern = pattern.to_ascii_lowercase();
    if pattern == "*" {
        return 1;
    }
    if pattern == domain && !domain.is_empty() {
        return usize::MAX;
    }
    let suffix = pattern.strip_prefix('*').unwrap_or(&pattern);
    if suffix.len() > 1 && suffix.starts_with('.') && domain.ends_with(suffix) {
        1 + suffix.len()
    } else {
        0
    }
}

/// Whether a row's pattern is about `domain`.
#[cfg(test)]
pub(super) fn matches(pattern: &str, domain: &str) -> bool {
    rank(pattern, domain) > 0
}
