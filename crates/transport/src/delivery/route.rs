//! Where does a recipient's mail go? The routing algorithm, pure.
//!
//! In: settings, the message's direction and sender, a recipient. Out: which rows match and in what order they are tried.
//! Standards: domains-and-routing 4.2, 7; RFC 5321 §5.1 for what goes by MX (see `mx`).
//! Invariants: an exact row has no precedence over `*` (unless `routing.match` says so); rows of equal preference take turns, once per
//! message; a disabled row does not exist; nothing in a local part is interpreted.

pub mod outbound;
pub mod turn;

use config::document::{InboundServer, RouteMatch, SubaddressSeparator};
use config::{DomainDocument, Live};
use mail::{Address, Direction, TenantId};
use std::net::IpAddr;
use std::sync::Arc;
use store::spool::Entry;

pub use outbound::{OutboundPlan, TlsLevel, TlsPolicy};
pub use turn::Turns;

/// Log-in at a next hop.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Login {
    /// User name.
    pub user: String,
    /// Sealed with the installation key.
    pub sealed_secret: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A place to try.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// What led here: `row 2 (*)`, `mx 10`, `smarthost for *`, `re-routed`.
    pub route: String,
    /// Name or IP literal (without brackets).
    pub host: String,
    /// Port; 465 speaks TLS from the start.
    pub port: u16,
    /// TLS wanted.
    pub tls: TlsPolicy,
    /// Log-in.
    pub login: Option<Login>,
    /// Local addresses to connect from, in turn; empty: the system's choice.
    pub sources: Vec<IpAddr>,
    /// Connections at a time.
    pub connections_max: u32,
    /// Messages per connection.
    pub per_connection_max: u32,
}

/// Candidates of a recipient, before DNS. Recipients of a message with equal plans share one delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Inbound rows of a domain.
    Rows(Rows),
    /// As the sender's tenant sends out.
    Outbound(OutboundPlan),
    /// Chosen by a person.
    Forced(Arc<Candidate>),
    /// No row matches, or the domain is not ours any more.
    NoRoute,
}

/// Rows of one domain in the order of trying; rows of one group take turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows {
    /// Owner of the domain.
    pub tenant: TenantId,
    /// The domain.
    pub domain: String,
    /// Indices of `domain.inbound_servers`, by group.
    pub groups: Vec<Vec<usize>>,
}

/// Plan of one recipient. `sender_domain`: that of the reverse path.
#[must_use]
pub fn plan(live: &Live, direction: Direction, sender_domain: Option<&str>, entry: &Entry) -> Plan {
    let tenant = live.tenants.get(&entry.tenant).map(Arc::as_ref);
    let own_domain = entry.recipient.domain().and_then(|name| tenant.and_then(|t| t.domains.get(name)));
    if let Some(forced) = entry.forced_next_hop.as_deref() {
        let level = regular_level(live, tenant, own_domain.map(|d| &d.settings), direction, sender_domain, entry);
        let min = outbound::tls_min(&live.system, tenant);
        return forced_candidate(forced, level, min).map_or(Plan::NoRoute, |c| Plan::Forced(Arc::new(c)));
    }
    match direction {
        Direction::Inbound => match own_domain {
            Some(domain) => rows_plan(entry.tenant, &domain.settings, &entry.recipient, domain.name.as_str()),
            None => Plan::NoRoute,
        },
        // What we make ourselves for one of the tenant's own people goes to their server like their other mail.
        Direction::Internal if own_domain.is_some_and(|d| d.state != config::DomainState::Unverified && has_rows(&d.settings)) => {
            match own_domain {
                Some(domain) => rows_plan(entry.tenant, &domain.settings, &entry.recipient, domain.name.as_str()),
                None => Plan::NoRoute,
            }
        }
        Direction::Outbound | Direction::Internal => Plan::Outbound(outbound::plan(&live.system, tenant, sender_domain, &entry.recipient)),
    }
}

fn has_rows(domain: &DomainDocument) -> bool {
    domain.inbound_servers.iter().any(|row| row.enabled)
}

fn rows_plan(tenant: TenantId, settings: &DomainDocument, recipient: &Address, name: &str) -> Plan {
    let groups = groups(settings, recipient);
    if groups.is_empty() {
        Plan::NoRoute
    } else {
        Plan::Rows(Rows {
            tenant,
            domain: name.to_owned(),
            groups,
        })
    }
}

/// Steps 1 and 2 of the algorithm: enabled rows that match the local part, by preference, equal ones together in the order of the list.
#[must_use]
pub fn groups(domain: &DomainDocument, recipient: &Address) -> Vec<Vec<usize>> {
    let local = recipient.local_without_subaddress(domain.subaddress.map(SubaddressSeparator::as_char));
    let is_exact = |row: &InboundServer| row.recipient != "*";
    let mut matching: Vec<(bool, u32, usize)> = domain
        .inbound_servers
        .iter()
        .enumerate()
        .filter(|(_, row)| row.enabled && (!is_exact(row) || row.recipient.to_lowercase() == local))
        .map(|(index, row)| {
            let comes_later = match domain.route_match {
                RouteMatch::Preference => false,
                RouteMatch::MostSpecific => !is_exact(row),
            };
            (comes_later, row.preference, index)
        })
        .collect();
    matching.sort_unstable();
    matching
        .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
        .map(|group| group.iter().map(|(_, _, index)| *index).collect())
        .collect()
}

/// Step 3: the rows as candidates in the order of trying. `turned` keeps the turns taken by this message, so that a set of rows moves once.
pub fn candidates(live: &Live, rows: &Rows, turns: &Turns, turned: &mut turn::Turned) -> Vec<Arc<Candidate>> {
    let Some(tenant) = live.tenants.get(&rows.tenant) else {
        return Vec::new();
    };
    let Some(domain) = tenant.domains.get(rows.domain.as_str()) else {
        return Vec::new();
    };
    let servers = &domain.settings.inbound_servers;
    let tls_min = outbound::tls_min(&live.system, Some(tenant));
    let concurrency = crate::queue::retry::Scopes::new(&live.system, Some(tenant), Some(&rows.domain)).next_hop_concurrency_set();
    let mut out = Vec::new();
    for group in &rows.groups {
        let shift = if group.len() > 1 {
            turned.shift(turns, &rows.domain, servers, group)
        } else {
            0
        };
        for position in 0..group.len() {
            let Some(index) = group.get((position + shift) % group.len()) else {
                continue;
            };
            let Some(row) = servers.get(*index) else { continue };
            let mut candidate = row_candidate(*index, row, tls_min);
            candidate.connections_max = candidate.connections_max.min(concurrency.unwrap_or(u32::MAX));
            out.push(Arc::new(candidate));
        }
    }
    out
}

fn row_candidate(index: usize, row: &InboundServer, tls_min: config::document::TlsMin) -> Candidate {
    let number = index + 1;
    Candidate {
        route: format!("row {number} ({})", row.recipient),
        host: row.host.trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: row.port,
        tls: TlsPolicy {
            level: TlsLevel::of_row(row),
            min: tls_min.max(row.tls_min),
            source: outbound::source_text(&TlsLevel::of_row(row), &format!("row {number}")),
        },
        login: row.auth.as_ref().map(|a| Login {
            user: a.user.clone(),
            sealed_secret: a.secret.clone(),
        }),
        sources: Vec::new(),
        connections_max: row.connections_max.clamp(1, 100),
        per_connection_max: row.per_connection_max.clamp(1, 1_000),
    }
}

/// `host:port`, `[::1]:25`, or a host alone (port 25).
#[must_use]
pub fn parse_next_hop(text: &str) -> Option<(String, u16)> {
    let text = text.trim();
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, if rest.is_empty() { "25" } else { rest.strip_prefix(':')? })
        }
        None => text.split_once(':').unwrap_or((text, "25")),
    };
    let port: u16 = port.parse().ok().filter(|p| *p > 0)?;
    if host.parse::<IpAddr>().is_ok() {
        return Some((host.to_owned(), port));
    }
    mail::Domain::parse(host).ok().map(|d| (d.as_str().to_owned(), port))
}

/// The TLS level that the mail would have had on its usual way: another host does not make a weaker protection good enough.
fn regular_level(
    live: &Live,
    tenant: Option<&config::LiveTenant>,
    own_domain: Option<&DomainDocument>,
    direction: Direction,
    sender_domain: Option<&str>,
    entry: &Entry,
) -> TlsLevel {
    match own_domain.filter(|_| direction != Direction::Outbound) {
        Some(domain) => {
            let rows = groups(domain, &entry.recipient).into_iter().flatten();
            let levels = rows.filter_map(|row| domain.inbound_servers.get(row)).map(TlsLevel::of_row);
            levels.max_by_key(strength).unwrap_or(TlsLevel::Opportunistic)
        }
        None => match outbound::plan(&live.system, tenant, sender_domain, &entry.recipient) {
            OutboundPlan::Mx { tls, .. } | OutboundPlan::Literal { tls, .. } => tls.level,
            OutboundPlan::Smarthost(candidate) => candidate.tls.level.clone(),
        },
    }
}

fn strength(level: &TlsLevel) -> u8 {
    match level {
        TlsLevel::None => 0,
        TlsLevel::Opportunistic => 1,
        TlsLevel::Encrypted => 2,
        TlsLevel::Verified => 3,
        TlsLevel::Pinned(_) => 4,
    }
}

/// A next hop chosen by a person. In clear only where the usual way allows it; pins belong to the usual host, so another one must be verified.
fn forced_candidate(text: &str, level: TlsLevel, min: config::document::TlsMin) -> Option<Candidate> {
    let (host, port) = parse_next_hop(text)?;
    let (level, source) = match level {
        TlsLevel::None | TlsLevel::Opportunistic => (TlsLevel::Opportunistic, "opportunistic, re-routed"),
        TlsLevel::Encrypted => (TlsLevel::Encrypted, "encrypted, re-routed"),
        TlsLevel::Verified | TlsLevel::Pinned(_) => (TlsLevel::Verified, "verified, re-routed"),
    };
    let tls = TlsPolicy {
        level,
        min,
        source: source.into(),
    };
    Some(Candidate {
        route: "re-routed".into(),
        host,
        port,
        tls,
        login: None,
        sources: Vec::new(),
        connections_max: 20,
        per_connection_max: 100,
    })
}

#[cfg(test)]
mod tests;
