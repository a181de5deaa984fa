//! Peers: what transport security must this client have? The rows of `tls.peer_inbound`.
//!
//! In:  rows of domain and tenant, the client's address, the domain of the reverse path. Out: the level of the row that wins.
//! Standards: domains-and-routing 7.
//! Invariants: the most specific enabled row wins: address, longer network, exact domain, longer suffix (`.example`), `*`; of equal ones the domain's.

use super::transaction::Connection;
use config::document::tls::InboundLevel;
use config::document::{PeerInbound, TlsMin};
use config::{LiveDomain, LiveTenant};
use ipnet::IpNet;
use mail::Domain;
use std::net::IpAddr;

/// How well a row fits; greater wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    Default,
    Suffix(usize),
    Exact,
    Network(u8),
}

/// The level asked of a client.
#[must_use]
pub(super) fn level(tenant: &LiveTenant, domain: Option<&LiveDomain>, client: IpAddr, sender: Option<&Domain>) -> InboundLevel {
    let of_domain = domain.map(|d| d.settings.peer_inbound.as_slice()).unwrap_or_default();
    of_rows(of_domain, &tenant.settings.peer_inbound, client, sender)
}

fn of_rows(of_domain: &[PeerInbound], of_tenant: &[PeerInbound], client: IpAddr, sender: Option<&Domain>) -> InboundLevel {
    let mut best: Option<(Fit, InboundLevel)> = None;
    // The domain's rows come first, and an equal fit does not replace an earlier one.
    for row in of_domain.iter().chain(of_tenant).filter(|r| r.enabled) {
        let Some(fit) = fit(&row.client, client, sender) else { continue };
        if best.is_none_or(|(known, _)| fit > known) {
            best = Some((fit, row.level));
        }
    }
    best.map(|(_, level)| level).unwrap_or_default()
}

/// Whether the connection has that level. TLS below the tenant's lowest version is as good as none.
#[must_use]
pub(super) fn is_met(level: InboundLevel, tenant: &LiveTenant, connection: &Connection) -> bool {
    let min = tenant.settings.tls_min_inbound.unwrap_or_default();
    let is_private = connection
        .tls
        .as_ref()
        .is_some_and(|tls| min == TlsMin::Tls12 || tls.version == "TLSv1.3");
    match level {
        InboundLevel::Opportunistic => true,
        InboundLevel::Mandatory => is_private,
        InboundLevel::MandatoryVerified => is_private && connection.certificate.as_ref().is_some_and(|c| c.is_verified),
    }
}

fn fit(row: &str, client: IpAddr, sender: Option<&Domain>) -> Option<Fit> {
    if row == "*" {
        return Some(Fit::Default);
    }
    if let Ok(network) = row.parse::<IpNet>().or_else(|_| row.parse::<IpAddr>().map(IpNet::from)) {
        return network.contains(&client).then_some(Fit::Network(network.prefix_len()));
    }
    let sender = sender?;
    if let Some(suffix) = row.strip_prefix('.') {
        return sender.is_within(suffix).then_some(Fit::Suffix(suffix.len()));
    }
    (sender.as_str() == row).then_some(Fit::Exact)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(client: &str, level: InboundLevel) -> PeerInbound {
        PeerInbound {
            client: client.into(),
            level,
            enabled: true,
        }
    }

    #[test]
    fn the_most_specific_row_wins() {
        use InboundLevel::{Mandatory, MandatoryVerified, Opportunistic};
        let rows = [
            row("*", Mandatory),
            row("bank.example", MandatoryVerified),
            row(".example", Opportunistic),
            row("192.0.2.0/24", Mandatory),
            row("192.0.2.7", Opportunistic),
        ];
        let check = |client: &str, sender: &str, expect| {
            let sender = Domain::parse(sender).ok();
            assert_eq!(
                of_rows(&[], &rows, client.parse().unwrap(), sender.as_ref()),
                expect,
                "{client} {sender:?}"
            );
        };
        check("198.51.100.1", "other.test", Mandatory);
        check("198.51.100.1", "bank.example", MandatoryVerified);
        check("198.51.100.1", "shop.example", Opportunistic);
        check("192.0.2.1", "bank.example", Mandatory);
        check("192.0.2.7", "bank.example", Opportunistic);
        check("2001:db8::1", "", Mandatory);
    }

    #[test]
    fn disabled_rows_fall_to_the_default_and_the_domain_goes_first() {
        let off = PeerInbound {
            enabled: false,
            ..row("bank.example", InboundLevel::MandatoryVerified)
        };
        let bank = Domain::parse("bank.example").ok();
        let client = "192.0.2.1".parse().unwrap();
        assert_eq!(
            of_rows(&[], &[off, row("*", InboundLevel::Mandatory)], client, bank.as_ref()),
            InboundLevel::Mandatory
        );
        assert_eq!(of_rows(&[], &[], client, bank.as_ref()), InboundLevel::Opportunistic);
        let (domain, tenant) = ([row("*", InboundLevel::Opportunistic)], [row("*", InboundLevel::Mandatory)]);
        assert_eq!(of_rows(&domain, &tenant, client, None), InboundLevel::Opportunistic);
    }
}
