//! Peer rows and outbound routes (domains-and-routing 7).

use super::domain::check_login;
use super::target::TargetHost;
use super::{CheckContext, Findings, is_sha256};
use crate::document::tls::InboundLevel;
use crate::document::{OutboundLevel, OutboundRoute, PeerInbound, PeerOutbound, RouteTarget, TlsMin};
use crate::problem::ProblemKind;
use ipnet::IpNet;
use mail::Domain;
use mail::text::Text;
use std::collections::HashSet;
use std::net::IpAddr;

const ROWS_MAX: usize = 1_000;
const PINS_MAX: usize = 10;
const SOURCES_MAX: usize = 64;

/// A lower scope asks for the same version or a higher one.
pub(super) fn check_min(f: &mut Findings, name: &str, own: Option<TlsMin>, above: Option<TlsMin>) {
    if own.zip(above).is_some_and(|(own, above)| own < above) {
        f.tell(name, ProblemKind::OutOfRange, Text::new("check.tls-min"));
    }
}

pub(super) fn check_pins(f: &mut Findings, pins: &[String], is_pinned: bool) {
    f.count("pins", pins.len(), PINS_MAX);
    f.each("pins", pins, |f, pin| {
        if !is_sha256(pin) {
            f.tell("", ProblemKind::Malformed, Text::new("check.pin"));
        }
    });
    match (is_pinned, pins.is_empty()) {
        (true, true) => f.tell("pins", ProblemKind::Missing, Text::new("check.pin-missing")),
        (false, false) => f.tell("pins", ProblemKind::Conflict, Text::new("check.pin-unused")),
        (true, false) | (false, true) => {}
    }
}

/// `*`, a domain, or `.suffix` for the names below it.
fn is_domain_pattern(text: &str) -> bool {
    text == "*" || Domain::parse(text.strip_prefix('.').unwrap_or(text)).is_ok_and(|d| d.as_str() == text.strip_prefix('.').unwrap_or(text))
}

fn is_client_pattern(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok() || is_domain_pattern(text)
}

pub(super) fn check_peers_inbound(f: &mut Findings, rows: &[PeerInbound]) {
    f.count("peer_inbound", rows.len(), ROWS_MAX);
    let mut seen = HashSet::new();
    f.each("peer_inbound", rows, |f, row| {
        if !is_client_pattern(&row.client) {
            f.tell("client", ProblemKind::Malformed, Text::new("check.client-pattern"));
        }
        if !seen.insert(row.client.clone()) {
            f.tell("client", ProblemKind::Conflict, Text::new("check.client-twice"));
        }
        match row.level {
            InboundLevel::Opportunistic | InboundLevel::Mandatory | InboundLevel::MandatoryVerified => {}
        }
    });
}

pub(super) fn check_level(f: &mut Findings, name: &str, level: OutboundLevel, pins: &[String]) {
    match level {
        OutboundLevel::Dane => f.not_available(name, Text::new("check.feature.dane")),
        OutboundLevel::MtaSts => f.not_available(name, Text::new("check.feature.mta-sts")),
        OutboundLevel::Opportunistic | OutboundLevel::Mandatory | OutboundLevel::Verified | OutboundLevel::Pinned => {}
    }
    check_pins(f, pins, level == OutboundLevel::Pinned);
}

pub(super) fn check_peers_outbound(f: &mut Findings, rows: &[PeerOutbound]) {
    f.count("peer_outbound", rows.len(), ROWS_MAX);
    let mut seen = HashSet::new();
    f.each("peer_outbound", rows, |f, row| {
        if !is_domain_pattern(&row.domain) {
            f.tell("domain", ProblemKind::Malformed, Text::new("check.domain-pattern"));
        }
        if !seen.insert(row.domain.clone()) {
            f.tell("domain", ProblemKind::Conflict, Text::new("check.domain-twice"));
        }
        check_level(f, "level", row.level, &row.pins);
    });
}

pub(super) fn check_routes(f: &mut Findings, rows: &[OutboundRoute], context: &CheckContext<'_>) {
    f.count("outbound_routes", rows.len(), ROWS_MAX);
    let mut seen = HashSet::new();
    f.each("outbound_routes", rows, |f, row| {
        if !is_domain_pattern(&row.domain) {
            f.tell("domain", ProblemKind::Malformed, Text::new("check.domain-pattern"));
        }
        if !seen.insert(row.domain.clone()) {
            f.tell("domain", ProblemKind::Conflict, Text::new("check.domain-twice"));
        }
        f.count("source_addresses", row.source_addresses.len(), SOURCES_MAX);
        f.each("source_addresses", &row.source_addresses, |f, address| {
            if !context.delivering_addresses.contains(address) {
                f.tell("", ProblemKind::Missing, Text::new("check.source-address"));
            }
        });
        if let RouteTarget::Smarthost {
            host,
            port,
            tls,
            pins,
            auth,
        } = &row.target
        {
            f.within("target", |f| {
                check_host_port(f, host, *port, context);
                check_level(f, "tls", *tls, pins);
                if let Some(auth) = auth {
                    check_login(f, auth, *tls != OutboundLevel::Opportunistic);
                }
            });
        }
    });
}

pub(super) fn check_host_port(f: &mut Findings, host: &str, port: u16, context: &CheckContext<'_>) {
    if TargetHost::parse(host).is_none() {
        f.tell("host", ProblemKind::Malformed, Text::new("check.host"));
    }
    let ports = &context.system.next_hop_ports;
    if port == 0 {
        f.tell("port", ProblemKind::OutOfRange, Text::new("check.port"));
    } else if !ports.is_empty() && !ports.contains(&port) {
        f.tell(
            "port",
            ProblemKind::Forbidden,
            Text::new("check.ports").with("ports", ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ")),
        );
    }
}
