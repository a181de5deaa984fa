//! Targets: which hosts would a document make us connect to? The caller resolves the names and asks `net::guard` about every address.

use crate::document::{OutboundRoute, RouteTarget, TenantDocument};
use mail::Domain;
use std::net::IpAddr;

/// A host as written in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetHost {
    /// A name; it needs A or AAAA at saving.
    Name(Domain),
    /// An address.
    Address(IpAddr),
}

/// A host and port that the document names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Path of the host, for problems.
    pub at: String,
    /// Host.
    pub host: TargetHost,
    /// Port.
    pub port: u16,
}

impl TargetHost {
    /// Reads a host: an IP literal with or without brackets, or a name of two labels at least.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse() {
            return Some(Self::Address(address));
        }
        let name = Domain::parse(text).ok()?;
        // All-numeric last labels are mistyped addresses (RFC 3696 §2).
        let is_numeric = name
            .as_str()
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
        (name.as_str().contains('.') && !is_numeric).then_some(Self::Name(name))
    }
}

impl TenantDocument {
    /// Every host that an enabled row names, with its path.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        let mut found = Vec::new();
        let mut add = |at: String, host: &str, port: u16| {
            if let Some(host) = TargetHost::parse(host) {
                found.push(Target { at, host, port });
            }
        };
        let smarthosts = |path: &str, routes: &[OutboundRoute], add: &mut dyn FnMut(String, &str, u16)| {
            for (i, route) in routes.iter().enumerate() {
                if let RouteTarget::Smarthost { host, port, .. } = &route.target {
                    add(format!("{path}outbound_routes[{i}].target.host"), host, *port);
                }
            }
        };
        smarthosts("", &self.outbound_routes, &mut add);
        for (name, domain) in &self.domains {
            for (i, row) in domain.inbound_servers.iter().enumerate().filter(|(_, row)| row.enabled) {
                add(format!("domains.{name}.inbound_servers[{i}].host"), &row.host, row.port);
            }
            smarthosts(&format!("domains.{name}."), &domain.outbound_routes, &mut add);
        }
        found
    }
}
