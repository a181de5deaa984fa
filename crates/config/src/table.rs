//! Every setting in one table, for people: name, scope, values, default. Printed as docs/generated/settings.md.
//!
//! Invariants: the names are those of the JSON documents and of the node file; a test compares them with the types, so that a setting
//! without its line, or a line without its setting, fails.

/// A line: name, scope, values and limits, default.
type Line = (&'static str, &'static str, &'static str, &'static str);

/// The operator's and the tenants' documents. Scopes: S system, T tenant, D domain.
const DOCUMENTS: &[Line] = &[
    ("language", "T", "`ja`, `en`", "`ja`"),
    ("time_zone", "T", "name of the IANA time zone database", "`Asia/Tokyo`"),
    (
        "contacts.security, contacts.mail_flow, contacts.billing",
        "T",
        "addresses, 20 each",
        "none",
    ),
    (
        "branding.name, branding.logo, branding.colour, branding.support_link",
        "T",
        "100 letters; PNG or WebP in base64, 256 KB; `#rrggbb`; https link",
        "Mitsuke",
    ),
    ("operator_content_access", "T", "`never`, `on-request`, `allowed`", "`on-request`"),
    ("delete_grace_days", "T", "0–90 days", "30"),
    (
        "relay_credentials",
        "T",
        "100: name, domains, networks (100), messages in 10 min, expiry",
        "none",
    ),
    (
        "provider_domains",
        "T",
        "20 names that only the provider uses for this tenant",
        "none",
    ),
    (
        "proof.secret_sha256, proof.microsoft_tenant_ids, proof.setup_window_until",
        "T",
        "2 secrets; 20 ids; at most 60 min ahead",
        "none",
    ),
    (
        "soft_reasons",
        "T",
        "reply codes switched between 4yz and 5yz: IP-BLOCKED IP-DNSBL IP-REPUTATION NO-IPREV SENDER-BLOCKED SPF-FAIL DKIM-FAIL SPAM CONTENT",
        "none",
    ),
    ("dsn_suppress_forged", "T", "no DSN when SPF failed at acceptance", "true"),
    ("directory_guard_percent", "T", "1–50 %; removals up to 20 are never guarded", "10"),
    ("domains", "T", "settings of each domain and claim, by name", "none"),
    ("domains.*.kind", "D", "`relayed`; `hosted` is not available yet", "`relayed`"),
    (
        "domains.*.services",
        "D",
        "`inbound`, `outbound`; `hosting`, `archive` are not available yet",
        "`inbound`",
    ),
    ("domains.*.disabled", "D", "true: state Disabled", "false"),
    (
        "domains.*.hosted_fallthrough, domains.*.own_rules",
        "D",
        "true is not available yet",
        "false",
    ),
    ("domains.*.subaddress", "D", "`+` or `-`", "off"),
    ("domains.*.inbound_servers", "D", "64 rows", "none"),
    ("domains.*.inbound_servers.*.recipient", "D", "`*` or one local part", "`*`"),
    (
        "domains.*.inbound_servers.*.host, .port",
        "D",
        "name with A or AAAA, or address; 1–65535",
        "–, 25",
    ),
    ("domains.*.inbound_servers.*.preference", "D", "1–100, lower first", "10"),
    (
        "domains.*.inbound_servers.*.tls, .pins",
        "D",
        "`none`, `opportunistic`, `encrypted`, `verified`, `pinned` with SHA-256 of keys (10); `dane` is not available yet",
        "`opportunistic`",
    ),
    ("domains.*.inbound_servers.*.tls_min", "D", "`1.2`, `1.3`", "`1.2`"),
    (
        "domains.*.inbound_servers.*.auth",
        "D",
        "user and secret; needs `encrypted` or better",
        "none",
    ),
    (
        "domains.*.inbound_servers.*.connections_max, .per_connection_max",
        "D",
        "1–100; 1–1,000 messages",
        "20; 100",
    ),
    (
        "domains.*.inbound_servers.*.enabled, .note",
        "D",
        "true, false; 1,000 letters",
        "true; empty",
    ),
    ("domains.*.route_match", "D", "`preference`, `most-specific`", "`preference`"),
    (
        "domains.*.recipient_mode",
        "D",
        "`none`, `directory`; `callout`, `hybrid` are not available yet",
        "`none`",
    ),
    ("domains.*.directory_grace_days", "D", "0–30 days", "0"),
    (
        "domains.*.outbound_enabled",
        "D",
        "true, false; of a trial the operator opens it",
        "false",
    ),
    (
        "domains.*.outbound_microsoft365, domains.*.outbound_google_workspace",
        "D",
        "true, false; proof of tenant required",
        "false",
    ),
    (
        "domains.*.outbound_networks",
        "D",
        "1,000; not shorter than /16 or /32, not within a shared range",
        "none",
    ),
    ("domains.*.outbound_certificates", "D", "50 names or SHA-256 of keys", "none"),
    ("domains.*.outbound_submission", "D", "true, false", "false"),
    (
        "domains.*.foreign_from, domains.*.foreign_from_listed",
        "D",
        "`reject`, `listed` (1,000 domains); `forwarded-only` is not available yet",
        "`reject`",
    ),
    (
        "peer_inbound",
        "T, D",
        "1,000 rows: client (domain, address, CIDR, `*`) → `opportunistic`, `mandatory`, `mandatory-verified`",
        "`opportunistic`",
    ),
    (
        "peer_outbound",
        "T, D",
        "1,000 rows: domain → `opportunistic`, `mandatory`, `verified`, `pinned`; `dane`, `mta-sts` are not available yet",
        "`opportunistic`",
    ),
    ("tls_min_inbound, tls_min_outbound", "S, T", "`1.2`, `1.3`; T not below S", "`1.2`"),
    (
        "outbound_routes",
        "T, D",
        "1,000 rows: domain or `*` → MX or smarthost (host, port, TLS, log-in), source addresses (64)",
        "MX",
    ),
    (
        "queue.schedule_s",
        "S, D",
        "1–64 waits in seconds; S 1 s–1 d; D first 300 s–1 d, others 60 s–1 d; jitter ±10 %",
        "5, 10, 20, 40, 80 min, hourly to 24 h, then every 4 h",
    ),
    (
        "queue.lifetime_inbound_s, queue.lifetime_outbound_s, queue.lifetime_null_s",
        "S, T, D",
        "1 h–14 d; S from 1 s",
        "10 d; 1 d; 1 d",
    ),
    (
        "queue.delay_warning_inbound_s, queue.delay_warning_outbound_s",
        "S, T, D",
        "0 (off), 1 h–14 d; S from 1 s",
        "off; 4 h",
    ),
    ("queue.hold_s", "S, T, D", "1 h–14 d; S from 1 s", "14 d"),
    ("queue.connect_timeout_s, queue.greeting_timeout_s", "S", "1–600 s", "30; 60"),
    ("queue.next_hop_concurrency", "S, T", "1–100", "20"),
    ("limits.message_bytes_max", "S, T, D", "1 MB–cap", "150 MB"),
    ("limits.message_bytes_cap", "S", "1 MB–500 MB", "200 MB"),
    ("limits.recipients_max", "S, T", "100–10,000", "1,000"),
    ("limits.hops_max", "S", "10–100", "26"),
    (
        "limits.rate_client_inbound, limits.rate_client_outbound",
        "S, T",
        "messages in seconds; T up to `raise_factor_max` times",
        "2,000 in 60 s; 1,000 in 300 s",
    ),
    (
        "limits.rate_recipient, limits.rate_sender",
        "S, T, D",
        "likewise",
        "200 in 60 s; 500 in 600 s",
    ),
    (
        "limits.rate_trial, limits.rate_tenant",
        "S",
        "messages in seconds",
        "100 in 3,600 s; none",
    ),
    (
        "limits.connections_per_address, limits.connections_per_network",
        "S",
        "1–1,000,000, per address; per /24 or /64",
        "20; 50",
    ),
    (
        "limits.source_connections_per_address, limits.source_connections_per_network",
        "S",
        "the same for outbound sources",
        "50; 100",
    ),
    (
        "limits.messages_per_connection, limits.source_messages_per_connection",
        "S",
        "1–1,000,000",
        "100; 1,000",
    ),
    ("limits.errors_max", "S", "1–1,000 wrong commands", "10"),
    (
        "limits.header_bytes_max, limits.header_fields_max",
        "S",
        "16 KB–16 MB; 100–100,000",
        "512 KB; 2,000",
    ),
    (
        "limits.mime_parts_max, limits.mime_depth_max",
        "S",
        "10–100,000; 5–1,000",
        "10,000; 100",
    ),
    (
        "limits.command_idle_s, limits.data_idle_s, limits.session_s",
        "S",
        "1 s–1 d; 1 s–1 d; 1 s–7 d",
        "300; 180; 3,600",
    ),
    ("limits.raise_factor_max", "S", "1–1,000", "10"),
    (
        "exempt.clients, exempt.senders, exempt.recipients, exempt.sender_domains",
        "S, T",
        "1,000 entries in all (S 100,000)",
        "none",
    ),
    (
        "harvest.session, harvest.ip",
        "S, T",
        "unknown recipients per session; per address in 10 min",
        "10; 50",
    ),
    ("tracking.retention_days", "S, T", "30–2,557 days", "400"),
    ("tracking.transcript_days", "S, T", "other than 0 is not available yet", "0"),
    ("blocked_clients", "S", "networks refused at connect", "none"),
    ("normalise_newlines_of", "S", "networks whose bare CR or LF is made CRLF", "none"),
    (
        "shared_ranges.microsoft365, shared_ranges.google_workspace",
        "S",
        "ranges that all customers of the provider share",
        "none",
    ),
    (
        "shared_ranges.microsoft365_spf, shared_ranges.google_workspace_spf, shared_ranges.refresh",
        "S",
        "names of the SPF records; refresh every 6 h",
        "`spf.protection.outlook.com`; `_spf.google.com`; true",
    ),
    (
        "public_mailbox_providers",
        "S",
        "10,000 names that nobody may claim, beside the built-in ones",
        "none",
    ),
    ("next_hop_ports", "S", "ports of inbound servers and smarthosts", "all"),
    ("claim_lapse_s", "S", "1 s–365 d", "30 d"),
    ("helo_check", "S", "HELO names are checked", "false"),
    (
        "scram",
        "S",
        "SCRAM-SHA-256 is offered, its keys are stored with new credentials",
        "false",
    ),
    ("free_spool_bytes", "S", "octets kept free", "10 % or 5 GB, whichever is smaller"),
];

/// The node file. A change needs a restart, except of the contents of certificate files.
const NODE: &[Line] = &[
    ("base", "node", "domain name", "`mitsuke.localhost`"),
    ("hostname", "node", "domain name", "the system's"),
    ("public_url", "node", "http or https address", "the web listener's"),
    ("data_dir", "node", "folder", "`data`"),
    (
        "store",
        "node",
        "`embedded` or `postgresql://…`, with `sslmode` (`disable`, `prefer`, `require`, `verify-full`) and `sslrootcert`",
        "`embedded`",
    ),
    ("blobs", "node", "folder", "`blobs` in `data_dir`"),
    (
        "control_socket",
        "node",
        "path of at most 107 octets",
        "`control.sock` in `data_dir`",
    ),
    ("delivering_addresses", "node", "addresses", "the default route's"),
    (
        "listeners.address, .role, .tls, .proxy_networks",
        "node",
        "100: address with port; `mx`, `submission`, `submissions`, `api`, `web`; true, false (api, web); networks of balancers (mail)",
        "five on loopback: 2525, 2587, 2465, 8025, 8026",
    ),
    (
        "tls.certificate, tls.key, tls.files",
        "node",
        "PEM files, one pair or several",
        "self-signed, made on first run",
    ),
    ("tls.roots", "node", "PEM files of further trust anchors", "the system's alone"),
    ("dns.resolvers", "node", "addresses with or without port", "the system's"),
    ("dns.validating", "node", "not available yet", "none"),
    ("dns.authoritative_port", "node", "1–65535", "53"),
    (
        "dns.static.name, .type, .value, .ttl",
        "node",
        "10,000 records: A, AAAA, MX, TXT, PTR, NS, ZONE",
        "none",
    ),
    ("net.allowed_private", "node", "networks with or without a port", "none"),
    ("content.origin", "node", "not available yet", "the console's own"),
];

/// The page.
#[must_use]
pub fn settings_table() -> String {
    let mut page = String::from(
        "# Settings\n\nGenerated from the program.\n\n## Documents\n\nSaved as revisions through the API, live within 5 seconds, no restart. \
         Scope S stands in the operator's document, T in the tenant's, D below `domains.<name>`. Absent: as the scope above says.\n\n",
    );
    add(&mut page, DOCUMENTS);
    page.push_str(
        "\n## Node file\n\nTOML, unknown keys are refused. Changes take a restart; certificate files are read again when they change.\n\n",
    );
    add(&mut page, NODE);
    page
}

fn add(page: &mut String, lines: &[Line]) {
    page.push_str("| name | scope | values and limits | default |\n|---|---|---|---|\n");
    for (name, scope, values, default) in lines {
        let name: Vec<String> = name.split(", ").map(|n| format!("`{n}`")).collect();
        page.push_str(&format!("| {} | {scope} | {values} | {default} |\n", name.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::{DomainDocument, SystemDocument, TenantDocument};
    use std::collections::BTreeSet;

    /// Top-level names, and those of the small sections.
    fn fields(document: serde_json::Value, prefix: &str, into: &mut BTreeSet<String>) {
        for (name, value) in document.as_object().unwrap() {
            match value {
                serde_json::Value::Object(inner) if !inner.is_empty() => fields(value.clone(), &format!("{prefix}{name}."), into),
                _ => drop(into.insert(format!("{prefix}{name}"))),
            }
        }
    }

    #[test]
    fn every_setting_has_its_line() {
        let mut expect = BTreeSet::new();
        fields(serde_json::to_value(TenantDocument::default()).unwrap(), "", &mut expect);
        fields(serde_json::to_value(SystemDocument::default()).unwrap(), "", &mut expect);
        let mut of_domain = BTreeSet::new();
        fields(serde_json::to_value(DomainDocument::default()).unwrap(), "", &mut of_domain);
        // What a domain shares with its tenant has one line for both.
        expect.extend(
            of_domain
                .into_iter()
                .filter(|f| !expect.contains(f))
                .map(|f| format!("domains.*.{f}"))
                .collect::<Vec<_>>(),
        );
        let told: BTreeSet<String> = DOCUMENTS
            .iter()
            .flat_map(|(name, ..)| name.split(", "))
            .filter(|n| !n.starts_with("domains.*.inbound_servers.") && !n.starts_with('.'))
            .map(str::to_owned)
            .collect();
        let missing: Vec<_> = expect.difference(&told).collect();
        let unknown: Vec<_> = told.difference(&expect).collect();
        assert!(
            missing.is_empty() && unknown.is_empty(),
            "without a line: {missing:?}\nwithout a setting: {unknown:?}"
        );
    }
}
