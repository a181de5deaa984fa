//! Which settings does the specification name that a later version brings? Whoever sets one is told so, not that it is misspelt.
//!
//! In: a name that no document has. Out: whether it is one of them.
//! Invariants: none of these is a setting of this version (a test compares them with the documents); one that becomes a setting leaves.

/// Settings by chapter: `group: name name …`.
const NAMES: &[&str] = &[
    // Inbound protection.
    "scan: budget",
    "conn: greeting_delay helo iprev reputation_level dnsbl country greylist tarpit ban",
    "auth: trusted_relays ip_match exceptions dns_budget cleartext",
    "spf: action",
    "dkim: action required use_parent",
    "dmarc: action reports",
    "arc: trusted_sealers seal",
    "av: clamd icap timeout fail_mode heuristics signature_age",
    "enc: sources words tries ask_recipient",
    "spam: level suspicious_from reject_score weights learn uribl rspamd query_cache tag",
    "bulk: marketing social forum other exceptions",
    "phish: level brands qr new_host_days",
    "bec: level partners people exceptions authorised_senders first_contact_days",
    "url: rewrite parts exempt on_dangerous on_highly_suspicious on_suspicious on_untested page lifetime",
    "quarantine: personal_days domain_days request_days preview",
    "digest: schedule zone only_new instant rows actions sign_in networks link_days language",
    // Outbound control.
    "outbound: known_sender from_enforcement cover_internal",
    "limit: minute hour day recipients over exempt",
    "anomaly: level",
    "rules: second_admin",
    "hold: approvers anonymous comment deny_as deny_by expiry link_decision on_expiry partial remind result_notice sender_notice withdraw",
    "self: channel confirm expiry notice_group on_expiry open_files then_review when",
    "delay: actions after_review colleague_stop exclude minutes notice sender_override undo",
    "bcc: count exclude mode threshold visible_to",
    "zip: cipher extension external_only file_name hide_names limit name_encoding notice notice_control notice_delay password prefix \
     prefix_remove skip_encrypted when",
    "link: allow auth controls count encrypted_files expiry grace internal min_size password place quota when when_full",
    "attach: proof",
    "dlp: template",
    "disclaimer: merge once place text when",
    // Mailboxes, archive.
    "lock: source_failures account_failures same_password known_network upstream_failures",
    "abuse: points",
    "over_quota: defer",
    "autoreply: strict",
    "forward: external per_hour",
    "lmtp: trusted",
    "recover: days expunged_days",
    "archive: as_sent forward_domains four_eyes include_quarantined required scope transparency tsa_url",
    "journal: max_size",
    // Identity.
    "login: method exceptions create group_roles address_failures",
    "upstream: protocol host port user_form",
    "oidc: issuer client_id client_secret secret_expires address_claim",
    "ldap: servers base filter bind",
    "saml: metadata",
    "mfa: require methods remember provider grace fresh failures",
    "session: idle absolute bind max",
    "password: self_reset",
    "directory: priority attributes keep",
    // Trust.
    "suppression: apply after days",
    "ruf: send",
    "fbl: header",
    "reputation: adapt pool",
    "tls: mta_sts dane",
    // Domains and routing.
    "callout: positive_ttl negative_ttl unavailable concurrency",
];

/// Words that stand for a whole group or feature, as people write them. Not every group is here: `limit` is a misspelt `limits`.
const WORDS: &[&str] = &[
    "abuse",
    "anomaly",
    "arc",
    "archive",
    "autoreply",
    "av",
    "bcc",
    "bec",
    "bulk",
    "callout",
    "conn",
    "content_rules",
    "dane",
    "delay",
    "digest",
    "disclaimer",
    "dkim",
    "dlp",
    "dmarc",
    "dnsbl",
    "enc",
    "fbl",
    "greylist",
    "greylisting",
    "hold",
    "iprev",
    "journal",
    "ldap",
    "lists",
    "lock",
    "login",
    "mfa",
    "mta_sts",
    "oidc",
    "phish",
    "phishing",
    "quarantine",
    "reputation",
    "ruf",
    "saml",
    "session",
    "spam",
    "spf",
    "suppression",
    "tarpit",
    "url",
    "virus",
    "zip",
];

/// Whether `name`, which no document has, is a setting that a later version brings: `conn.greylist`, `conn_greylist`, `conn`, `greylisting`.
#[must_use]
pub fn is_later(name: &str) -> bool {
    let name = name.replace(['.', '-'], "_");
    WORDS.contains(&name.as_str())
        || all().any(|(group, setting)| name.strip_prefix(group).and_then(|n| n.strip_prefix('_')) == Some(setting))
}

fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMES
        .iter()
        .filter_map(|line| line.split_once(':'))
        .flat_map(|(group, names)| names.split_whitespace().map(move |name| (group, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_in_any_way() {
        let check = |name: &str, expect: bool| assert_eq!(is_later(name), expect, "{name}");
        for name in [
            "conn.greylist",
            "conn_greylist",
            "conn-greylist",
            "conn",
            "greylisting",
            "dnsbl",
            "dmarc",
            "dmarc.action",
        ] {
            check(name, true);
        }
        for name in [
            "url_on_suspicious",
            "zip.prefix_remove",
            "over_quota.defer",
            "callout",
            "callout_positive_ttl",
            "saml",
        ] {
            check(name, true);
        }
        for name in [
            "",
            "_",
            "limit",
            "conn_",
            "conn_grey",
            "greylist_conn",
            "inbound_server",
            "languages",
            "action",
        ] {
            check(name, false);
        }
    }

    #[test]
    fn none_is_a_setting_of_this_version() {
        let table = crate::settings_table();
        let documents = table.split("## Node file").next().unwrap_or_default();
        let first_cells = documents.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next());
        let told: Vec<&str> = first_cells
            .flat_map(|cell| cell.split(", "))
            .map(|name| name.trim_matches('`').trim_start_matches("domains.*."))
            .collect();
        assert!(told.contains(&"inbound_servers"), "{told:?}");
        let words = WORDS.iter().map(|w| (*w).to_owned());
        let names = all().flat_map(|(group, name)| [format!("{group}.{name}"), format!("{group}_{name}")]);
        for name in words.chain(names) {
            let is_there = told
                .iter()
                .any(|t| *t == name || t.split_once('.').is_some_and(|(first, _)| first == name));
            assert!(!is_there, "{name} is a setting");
        }
    }
}
