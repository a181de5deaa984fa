//! A tenant's document, whole (domains-and-routing 1.1, 6, 7, 8, 9, 11, 13).

use super::tls::{check_min, check_peers_inbound, check_peers_outbound, check_routes};
use super::{CheckContext, Findings, Scope, domain, is_plain, is_sha256, limits, name, queue};
use crate::document::{Branding, Contacts, Proof, RelayCredential, SystemDocument, TenantDocument, TlsMin, TrackingSettings};
use crate::problem::{Problem, ProblemKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::Reason;
use mail::text::Text;
use std::collections::HashSet;
use std::time::Duration;

const CONTACTS_MAX: usize = 20;
const CREDENTIALS_MAX: usize = 100;
const CREDENTIAL_NETWORKS_MAX: usize = 100;
const PROVIDER_DOMAINS_MAX: usize = 20;
const LOGO_BYTES_MAX: usize = 256 * 1_024;
const SETUP_WINDOW_MAX: Duration = Duration::from_secs(3_600);
const URL_BYTES_MAX: usize = 2_048;

/// Reply codes marked **T** in the reply catalogue: a tenant may switch them between 4yz and 5yz.
const SWITCHABLE: &[Reason] = &[
    Reason::IpBlocked,
    Reason::IpDnsbl,
    Reason::IpReputation,
    Reason::NoIprev,
    Reason::SenderBlocked,
    Reason::SpfFail,
    Reason::DkimFail,
    Reason::Spam,
    Reason::Content,
];

impl TenantDocument {
    /// Every problem of the document; none: it may be saved, once [`TenantDocument::targets`] were looked at.
    #[must_use]
    pub fn check(&self, context: &CheckContext<'_>) -> Vec<Problem> {
        let mut findings = Findings::new();
        let f = &mut findings;
        if self.time_zone.as_ref().is_some_and(|zone| jiff::tz::TimeZone::get(zone).is_err()) {
            f.tell("time_zone", ProblemKind::Malformed, Text::new("check.time-zone"));
        }
        f.within("contacts", |f| check_contacts(f, &self.contacts));
        f.within("branding", |f| check_branding(f, &self.branding));
        f.range("delete_grace_days", self.delete_grace_days, 0..=90);
        f.count("relay_credentials", self.relay_credentials.len(), CREDENTIALS_MAX);
        let mut names = HashSet::new();
        f.each("relay_credentials", &self.relay_credentials, |f, c| {
            if !names.insert(c.name.clone()) {
                f.tell("name", ProblemKind::Conflict, Text::new("check.credential-twice"));
            }
            check_credential(f, c, self);
        });
        f.count("provider_domains", self.provider_domains.len(), PROVIDER_DOMAINS_MAX);
        f.each("provider_domains", &self.provider_domains, |f, domain| {
            if let Some((kind, text)) = name::refusal(domain, context) {
                f.tell("", kind, text);
            } else if self.domains.contains_key(domain) {
                f.tell("", ProblemKind::Conflict, Text::new("check.provider-domain"));
            }
        });
        f.within("proof", |f| check_proof(f, &self.proof, context));
        check_peers_inbound(f, &self.peer_inbound);
        check_peers_outbound(f, &self.peer_outbound);
        check_min(f, "tls_min_inbound", self.tls_min_inbound, context.system.tls_min_inbound);
        check_min(f, "tls_min_outbound", self.tls_min_outbound, context.system.tls_min_outbound);
        check_routes(f, &self.outbound_routes, context);
        queue::check(f, &self.queue, Scope::Tenant);
        f.within("limits", |f| limits::check(f, &self.limits, Scope::Tenant, context));
        limits::check_exempt(f, &self.exempt, Scope::Tenant);
        limits::check_harvest(f, &self.harvest, Scope::Tenant, context.system);
        f.range("directory_guard_percent", self.directory_guard_percent, 1..=50);
        f.each("soft_reasons", &self.soft_reasons, |f, reason| {
            if SWITCHABLE.contains(reason) {
                f.not_available("", Text::new("check.feature.soft-reason").with("reason", reason.as_str()));
            } else {
                f.tell(
                    "",
                    ProblemKind::OutOfRange,
                    Text::new("check.soft-reason").with("reason", reason.as_str()),
                );
            }
        });
        f.count("soft_reasons", self.soft_reasons.len(), SWITCHABLE.len());
        check_tracking(f, &self.tracking);
        for (name, document) in &self.domains {
            f.within(&format!("domains.{name}"), |f| {
                if let Some((kind, text)) = name::refusal(name, context) {
                    f.found.push(Problem::new(f.path.clone(), kind, text));
                }
                domain::check(f, document, context);
            });
        }
        findings.found
    }

    /// The document as it takes effect under these settings of the operator, which may have become stricter since it was saved.
    #[must_use]
    pub fn bounded(mut self, system: &SystemDocument) -> Self {
        self.limits.bound(system);
        self.domains.values_mut().for_each(|d| d.limits.bound(system));
        let stricter = |own: Option<TlsMin>, above: Option<TlsMin>| own.max(above);
        self.tls_min_inbound = stricter(self.tls_min_inbound, system.tls_min_inbound);
        self.tls_min_outbound = stricter(self.tls_min_outbound, system.tls_min_outbound);
        self
    }
}

fn check_contacts(f: &mut Findings, contacts: &Contacts) {
    f.count("security", contacts.security.len(), CONTACTS_MAX);
    f.count("mail_flow", contacts.mail_flow.len(), CONTACTS_MAX);
    f.count("billing", contacts.billing.len(), CONTACTS_MAX);
}

fn check_branding(f: &mut Findings, branding: &Branding) {
    if branding.name.as_ref().is_some_and(|n| n.is_empty() || !is_plain(n, 100)) {
        f.tell("name", ProblemKind::OutOfRange, Text::new("check.brand-name"));
    }
    if branding.colour.as_ref().is_some_and(|c| !Branding::is_colour(c)) {
        f.tell("colour", ProblemKind::Malformed, Text::new("check.colour"));
    }
    let is_link = |link: &String| {
        link.len() <= URL_BYTES_MAX
            && link.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
            && link.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>\\`".contains(&b))
    };
    if branding.support_link.as_ref().is_some_and(|link| !is_link(link)) {
        f.tell("support_link", ProblemKind::Malformed, Text::new("check.link"));
    }
    if let Some(logo) = &branding.logo {
        if logo.len() > LOGO_BYTES_MAX * 4 / 3 + 4 {
            f.tell("logo", ProblemKind::OutOfRange, Text::new("check.logo-size"));
        } else if !STANDARD
            .decode(logo)
            .is_ok_and(|bytes| bytes.len() <= LOGO_BYTES_MAX && is_picture(&bytes))
        {
            f.tell("logo", ProblemKind::Malformed, Text::new("check.logo"));
        }
    }
}

fn is_picture(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\x89PNG\r\n\x1a\n") || (bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP"))
}

fn check_credential(f: &mut Findings, c: &RelayCredential, tenant: &TenantDocument) {
    if !(1..=64).contains(&c.name.len())
        || !c
            .name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b))
    {
        f.tell("name", ProblemKind::Malformed, Text::new("check.credential-name"));
    }
    if !c.hash.starts_with("$argon2id$") || c.hash.len() > 512 {
        f.tell("hash", ProblemKind::Malformed, Text::new("check.made-by-program"));
    }
    f.each("domains", &c.domains, |f, domain| {
        if !tenant.domains.contains_key(domain) {
            f.tell("", ProblemKind::Missing, Text::new("check.not-own-domain"));
        }
    });
    f.count("networks", c.networks.len(), CREDENTIAL_NETWORKS_MAX);
    f.range("messages_per_10_min", c.messages_per_10_min, 1..=1_000_000);
}

fn check_proof(f: &mut Findings, proof: &Proof, context: &CheckContext<'_>) {
    f.count("secret_sha256", proof.secret_sha256.len(), 2);
    f.each("secret_sha256", &proof.secret_sha256, |f, hash| {
        if !is_sha256(hash) {
            f.tell("", ProblemKind::Malformed, Text::new("check.made-by-program"));
        }
    });
    f.count("microsoft_tenant_ids", proof.microsoft_tenant_ids.len(), 20);
    f.each("microsoft_tenant_ids", &proof.microsoft_tenant_ids, |f, id| {
        let parts: Vec<&str> = id.split('-').collect();
        let is_guid = parts.iter().map(|p| p.len()).eq([8, 4, 4, 4, 12])
            && parts
                .iter()
                .all(|p| p.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        if !is_guid {
            f.tell("", ProblemKind::Malformed, Text::new("check.guid"));
        }
    });
    if proof
        .setup_window_until
        .is_some_and(|until| until > context.now.after(SETUP_WINDOW_MAX))
    {
        f.tell("setup_window_until", ProblemKind::OutOfRange, Text::new("check.window"));
    }
}

pub(super) fn check_tracking(f: &mut Findings, tracking: &TrackingSettings) {
    f.within("tracking", |f| {
        f.range("retention_days", tracking.retention_days, 30..=2_557);
        if tracking.transcript_days.is_some_and(|days| days != 0) {
            f.not_available("transcript_days", Text::new("check.feature.transcript"));
        }
    });
}
