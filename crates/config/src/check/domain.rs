//! Settings of one domain (domains-and-routing 2.1, 4.1, 6.1, 8).

use super::tls::{check_host_port, check_peers_inbound, check_peers_outbound, check_pins, check_routes};
use super::{CheckContext, Findings, Scope, is_plain, is_sha256, limits, queue};
use crate::document::{DomainDocument, DomainKind, DomainService, ForeignFrom, InboundServer, RecipientMode, ServerAuth, ServerTls};
use crate::problem::ProblemKind;
use ipnet::IpNet;
use mail::Domain;
use mail::text::Text;

const ROWS_MAX: usize = 64;
const NETWORKS_MAX: usize = 1_000;
const CERTIFICATES_MAX: usize = 50;
const LISTED_MAX: usize = 1_000;
const NOTE_LETTERS_MAX: usize = 1_000;
const LOGIN_BYTES_MAX: usize = 255;

pub(super) fn check(f: &mut Findings, d: &DomainDocument, context: &CheckContext<'_>) {
    check_kind(f, d);
    f.count("inbound_servers", d.inbound_servers.len(), ROWS_MAX);
    f.each("inbound_servers", &d.inbound_servers, |f, row| check_row(f, row, context));
    match d.recipient_mode {
        RecipientMode::None | RecipientMode::Directory => {}
        RecipientMode::Callout => f.not_available("recipient_mode", Text::new("check.feature.callout")),
        RecipientMode::Hybrid => f.not_available("recipient_mode", Text::new("check.feature.hybrid")),
    }
    f.range("directory_grace_days", Some(d.directory_grace_days), 0..=30);
    check_senders(f, d, context);
    check_peers_inbound(f, &d.peer_inbound);
    check_peers_outbound(f, &d.peer_outbound);
    check_routes(f, &d.outbound_routes, context);
    queue::check(f, &d.queue, Scope::Domain);
    f.within("limits", |f| limits::check(f, &d.limits, Scope::Domain, context));
}

fn check_kind(f: &mut Findings, d: &DomainDocument) {
    match d.kind {
        DomainKind::Relayed => {}
        DomainKind::Hosted => f.not_available("kind", Text::new("check.feature.hosted-domain")),
    }
    f.each("services", &d.services, |f, service| match service {
        DomainService::Inbound | DomainService::Outbound => {}
        DomainService::Hosting => f.not_available("", Text::new("check.feature.hosting")),
        DomainService::Archive => f.not_available("", Text::new("check.feature.archive")),
    });
    if (1..d.services.len()).any(|i| {
        d.services
            .get(..i)
            .is_some_and(|before| d.services.get(i).is_some_and(|s| before.contains(s)))
    }) {
        f.tell("services", ProblemKind::Conflict, Text::new("check.service-twice"));
    }
    if d.hosted_fallthrough {
        f.not_available("hosted_fallthrough", Text::new("check.feature.split-delivery"));
    }
    if d.own_rules {
        f.not_available("own_rules", Text::new("check.feature.domain-rules"));
    }
}

fn check_row(f: &mut Findings, row: &InboundServer, context: &CheckContext<'_>) {
    if row.recipient != "*" && (row.recipient.contains('*') || !is_local_part(&row.recipient)) {
        f.tell("recipient", ProblemKind::Malformed, Text::new("check.row-recipient"));
    }
    check_host_port(f, &row.host, row.port, context);
    f.range("preference", Some(row.preference), 1..=100);
    match row.tls {
        ServerTls::Dane => f.not_available("tls", Text::new("check.feature.dane")),
        ServerTls::None | ServerTls::Opportunistic | ServerTls::Encrypted | ServerTls::Verified | ServerTls::Pinned => {}
    }
    if row.tls == ServerTls::None && row.port == 465 {
        f.tell("tls", ProblemKind::Conflict, Text::new("check.tls-465"));
    }
    check_pins(f, &row.pins, row.tls == ServerTls::Pinned);
    if let Some(auth) = &row.auth {
        check_login(f, auth, !matches!(row.tls, ServerTls::None | ServerTls::Opportunistic));
    }
    f.range("connections_max", Some(row.connections_max), 1..=100);
    f.range("per_connection_max", Some(row.per_connection_max), 1..=1_000);
    if !is_plain(&row.note, NOTE_LETTERS_MAX) {
        f.tell(
            "note",
            ProblemKind::OutOfRange,
            Text::new("check.letters").with("max", NOTE_LETTERS_MAX),
        );
    }
}

fn is_local_part(text: &str) -> bool {
    Domain::parse("local.invalid").is_ok_and(|d| mail::Address::new(text, d).is_ok())
}

/// A log-in at a next hop. The secret may be sealed already: then it is longer.
pub(super) fn check_login(f: &mut Findings, auth: &ServerAuth, is_encrypted: bool) {
    if !is_encrypted {
        f.tell("auth", ProblemKind::Conflict, Text::new("check.login-clear"));
    }
    f.within("auth", |f| {
        if auth.user.is_empty() || auth.user.len() > LOGIN_BYTES_MAX || auth.user.contains(['\0', '\r', '\n']) {
            f.tell(
                "user",
                ProblemKind::Malformed,
                Text::new("check.login").with("max", LOGIN_BYTES_MAX),
            );
        }
        if auth.secret.is_empty() || auth.secret.len() > 4 * LOGIN_BYTES_MAX || auth.secret.contains(['\0', '\r', '\n']) {
            f.tell(
                "secret",
                ProblemKind::Malformed,
                Text::new("check.login").with("max", LOGIN_BYTES_MAX),
            );
        }
    });
}

fn check_senders(f: &mut Findings, d: &DomainDocument, context: &CheckContext<'_>) {
    f.count("outbound_networks", d.outbound_networks.len(), NETWORKS_MAX);
    f.each("outbound_networks", &d.outbound_networks, |f, network| {
        check_network(f, *network, context)
    });
    f.count("outbound_certificates", d.outbound_certificates.len(), CERTIFICATES_MAX);
    f.each("outbound_certificates", &d.outbound_certificates, |f, text| {
        if !is_sha256(text) && !Domain::parse(text).is_ok_and(|name| name.as_str() == text && text.contains('.')) {
            f.tell("", ProblemKind::Malformed, Text::new("check.certificate"));
        }
    });
    match d.foreign_from {
        ForeignFrom::Reject => {}
        ForeignFrom::ForwardedOnly => f.not_available("foreign_from", Text::new("check.feature.forwarded-proof")),
        ForeignFrom::Listed if d.foreign_from_listed.is_empty() => {
            f.tell("foreign_from_listed", ProblemKind::Missing, Text::new("check.list-empty"))
        }
        ForeignFrom::Listed => {}
    }
    if d.foreign_from != ForeignFrom::Listed && !d.foreign_from_listed.is_empty() {
        f.tell("foreign_from_listed", ProblemKind::Conflict, Text::new("check.foreign-list"));
    }
    f.count("foreign_from_listed", d.foreign_from_listed.len(), LISTED_MAX);
}

fn check_network(f: &mut Findings, network: IpNet, context: &CheckContext<'_>) {
    let shortest = match network {
        IpNet::V4(_) => 16,
        IpNet::V6(_) => 32,
    };
    if network.prefix_len() < shortest {
        f.tell("", ProblemKind::OutOfRange, Text::new("check.network-short"));
    }
    if network.network().is_unspecified() || network.network().is_multicast() {
        f.tell("", ProblemKind::Forbidden, Text::new("check.network-client"));
    }
    let shared = &context.system.shared_ranges;
    let is_shared = |range: &IpNet| range.contains(&network) || network.contains(range);
    if shared.microsoft365.iter().any(is_shared) {
        f.tell("", ProblemKind::Forbidden, Text::new("check.shared-microsoft"));
    }
    if shared.google_workspace.iter().any(is_shared) {
        f.tell("", ProblemKind::Forbidden, Text::new("check.shared-google"));
    }
}
