use super::*;
use crate::document::TenantDocument;
use serde_json::{Value, json};
use std::sync::LazyLock;

static SYSTEM: LazyLock<SystemDocument> = LazyLock::new(|| {
    serde_json::from_value(json!({
        "shared_ranges": {"microsoft365": ["40.92.0.0/15", "2a01:111:f400::/48"], "google_workspace": ["209.85.128.0/17"]},
        "tls_min_outbound": "1.3",
        "public_mailbox_providers": ["freemail.example"],
        "next_hop_ports": [25, 465, 587, 2525],
    }))
    .unwrap()
});
static BASE: LazyLock<Domain> = LazyLock::new(|| "mitsuke.example".parse().unwrap());
static SOURCES: LazyLock<Vec<IpAddr>> = LazyLock::new(|| vec!["192.0.2.10".parse().unwrap()]);
const NOW: Timestamp = Timestamp(1_800_000_000_000);

fn context() -> CheckContext<'static> {
    CheckContext {
        system: &SYSTEM,
        base: &BASE,
        delivering_addresses: &SOURCES,
        now: NOW,
    }
}

fn problems(document: Value) -> Vec<(String, ProblemKind)> {
    let document: TenantDocument = serde_json::from_value(document).unwrap();
    document.check(&context()).into_iter().map(|p| (p.at, p.kind)).collect()
}

/// A tenant's document with `value` at `path` is refused there with this kind; `None`: accepted.
fn tenant(path: &str, value: Value, expect: Option<ProblemKind>) {
    let got = problems(json!({path: value.clone()}));
    let about: Vec<_> = got.iter().filter(|(at, _)| at.starts_with(path)).map(|(_, kind)| *kind).collect();
    assert_eq!(about.first().copied(), expect, "{path} = {value}: {got:?}");
    assert_eq!(about.len(), got.len(), "{path} = {value}: {got:?}");
}

fn domain(path: &str, value: Value, expect: Option<ProblemKind>) {
    let got = problems(json!({"domains": {"a.example": {path: value.clone()}}}));
    let at = format!("domains.a.example.{path}");
    assert_eq!(got.first().map(|(_, kind)| *kind), expect, "{path} = {value}: {got:?}");
    assert!(got.iter().all(|(place, _)| place.starts_with(&at)), "{path} = {value}: {got:?}");
}

fn row(mut change: Value, expect: Option<ProblemKind>) {
    let fields = change.as_object_mut().unwrap();
    fields.entry("host").or_insert(json!("mail.a.example"));
    domain("inbound_servers", json!([change]), expect);
}

fn system(value: Value, expect: Option<(&str, ProblemKind)>) {
    let document: SystemDocument = serde_json::from_value(value.clone()).unwrap();
    let got: Vec<_> = document.check(&BASE).into_iter().map(|p| (p.at, p.kind)).collect();
    let expect: Vec<_> = expect.into_iter().map(|(at, kind)| (at.to_owned(), kind)).collect();
    assert_eq!(got, expect, "{value}");
}

use ProblemKind::{Conflict, Forbidden, Malformed, Missing, NotAvailable, OutOfRange, Unknown};

#[test]
fn the_empty_documents_are_right() {
    assert_eq!(problems(json!({})), []);
    assert_eq!(problems(json!({"domains": {"a.example": {}}})), []);
    system(json!({}), None);
}

#[test]
fn tenant_fields() {
    tenant("time_zone", json!("Asia/Tokyo"), None);
    tenant("time_zone", json!("Mars/Olympus"), Some(Malformed));
    tenant("contacts", json!({"security": vec!["a@a.example"; 20]}), None);
    tenant("contacts", json!({"security": vec!["a@a.example"; 21]}), Some(OutOfRange));
    tenant(
        "branding",
        json!({"name": "株式会社", "colour": "#00ff00", "support_link": "https://a.example/help", "logo": "iVBORw0KGgo="}),
        None,
    );
    tenant("branding", json!({"name": "a\nb"}), Some(OutOfRange));
    tenant("branding", json!({"colour": "red"}), Some(Malformed));
    tenant("branding", json!({"support_link": "javascript:alert(1)"}), Some(Malformed));
    tenant("branding", json!({"support_link": "https://a.example/\"onclick"}), Some(Malformed));
    tenant("branding", json!({"logo": "PHN2Zz4="}), Some(Malformed));
    tenant("branding", json!({"logo": "A".repeat(400_000)}), Some(OutOfRange));
    for (days, expect) in [(0, None), (90, None), (91, Some(OutOfRange))] {
        tenant("delete_grace_days", json!(days), expect);
    }
    for (percent, expect) in [(0, Some(OutOfRange)), (1, None), (50, None), (51, Some(OutOfRange))] {
        tenant("directory_guard_percent", json!(percent), expect);
    }
    tenant("soft_reasons", json!(["SPAM"]), Some(NotAvailable));
    tenant("soft_reasons", json!(["NO-DOMAIN"]), Some(OutOfRange));
    tenant("tracking", json!({"retention_days": 29}), Some(OutOfRange));
    tenant("tracking", json!({"retention_days": 2557, "transcript_days": 0}), None);
    tenant("tracking", json!({"transcript_days": 14}), Some(NotAvailable));
    tenant("harvest", json!({"session": 100, "ip": 500}), None);
    tenant("harvest", json!({"session": 101}), Some(OutOfRange));
    tenant("exempt", json!({"clients": vec!["192.0.2.1/32"; 1_000]}), None);
    tenant("exempt", json!({"clients": vec!["192.0.2.1/32"; 1_001]}), Some(OutOfRange));
    tenant("exempt", json!({"senders": ["Ann@A.example"]}), Some(Malformed));
    tenant("exempt", json!({"senders": ["ann@a.example"]}), None);
    tenant("provider_domains", json!(["acme.onmicrosoft.com"]), None);
    tenant("provider_domains", json!(["onmicrosoft.com"]), None);
    tenant("provider_domains", json!(vec!["acme.onmicrosoft.com"; 21]), Some(OutOfRange));
    tenant("provider_domains", json!(["gmail.com"]), Some(Forbidden));
    assert_eq!(
        problems(json!({"provider_domains": ["a.example"], "domains": {"a.example": {}}})),
        [("provider_domains[0]".into(), Conflict)]
    );
}

#[test]
fn credentials_and_proof() {
    let credential = |change: Value| {
        let mut c = json!({"name": "printer", "hash": "$argon2id$v=19$x"});
        c.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        c
    };
    tenant("relay_credentials", json!([credential(json!({}))]), None);
    tenant(
        "relay_credentials",
        json!([credential(json!({"name": "Printer 1"}))]),
        Some(Malformed),
    );
    tenant("relay_credentials", json!([credential(json!({"hash": "plain"}))]), Some(Malformed));
    tenant(
        "relay_credentials",
        json!([credential(json!({"domains": ["b.example"]}))]),
        Some(Missing),
    );
    tenant(
        "relay_credentials",
        json!([credential(json!({})), credential(json!({}))]),
        Some(Conflict),
    );
    let many: Vec<Value> = (0..101).map(|i| credential(json!({"name": format!("p{i}")}))).collect();
    tenant("relay_credentials", json!(many), Some(OutOfRange));
    tenant(
        "proof",
        json!({"secret_sha256": ["0".repeat(64), "f".repeat(64)], "microsoft_tenant_ids": ["01234567-89ab-cdef-0123-456789abcdef"]}),
        None,
    );
    tenant("proof", json!({"secret_sha256": vec!["0".repeat(64); 3]}), Some(OutOfRange));
    tenant("proof", json!({"secret_sha256": ["secret"]}), Some(Malformed));
    tenant("proof", json!({"microsoft_tenant_ids": ["acme"]}), Some(Malformed));
    tenant("proof", json!({"setup_window_until": NOW.0 + 3_600_000}), None);
    tenant("proof", json!({"setup_window_until": NOW.0 + 3_600_001}), Some(OutOfRange));
}

#[test]
fn limits_by_scope() {
    const MB: u64 = 1_048_576;
    domain("limits", json!({"message_bytes_max": MB}), None);
    domain("limits", json!({"message_bytes_max": MB - 1}), Some(OutOfRange));
    domain("limits", json!({"message_bytes_max": 200 * MB}), None);
    domain("limits", json!({"message_bytes_max": 200 * MB + 1}), Some(OutOfRange));
    tenant("limits", json!({"recipients_max": 99}), Some(OutOfRange));
    tenant("limits", json!({"recipients_max": 10_000}), None);
    domain("limits", json!({"recipients_max": 500}), Some(Unknown));
    domain("limits", json!({"rate_recipient": {"messages": 2_000, "per_s": 60}}), None);
    domain(
        "limits",
        json!({"rate_recipient": {"messages": 2_001, "per_s": 60}}),
        Some(OutOfRange),
    );
    domain("limits", json!({"rate_recipient": {"messages": 0, "per_s": 60}}), Some(OutOfRange));
    domain(
        "limits",
        json!({"rate_client_inbound": {"messages": 1, "per_s": 60}}),
        Some(Unknown),
    );
    tenant("limits", json!({"rate_client_inbound": {"messages": 20_000, "per_s": 60}}), None);
    tenant(
        "limits",
        json!({"rate_client_outbound": {"messages": 10_001, "per_s": 300}}),
        Some(OutOfRange),
    );
    for field in [
        "hops_max",
        "errors_max",
        "connections_per_address",
        "mime_parts_max",
        "session_s",
        "raise_factor_max",
        "message_bytes_cap",
    ] {
        tenant("limits", json!({field: 50}), Some(Unknown));
        domain("limits", json!({field: 50}), Some(Unknown));
    }
    system(json!({"limits": {"hops_max": 9}}), Some(("limits.hops_max", OutOfRange)));
    system(
        json!({"limits": {"message_bytes_cap": 500 * MB, "message_bytes_max": 400 * MB}}),
        None,
    );
    system(
        json!({"limits": {"message_bytes_cap": 501 * MB}}),
        Some(("limits.message_bytes_cap", OutOfRange)),
    );
    system(
        json!({"limits": {"message_bytes_max": 201 * MB}}),
        Some(("limits.message_bytes_max", OutOfRange)),
    );
    system(
        json!({"limits": {"message_bytes_cap": 10 * MB}}),
        Some(("limits.message_bytes_max", Conflict)),
    );
    system(json!({"limits": {"command_idle_s": 1, "data_idle_s": 1, "session_s": 1}}), None);
}

#[test]
fn what_the_operator_lowered_later_takes_effect() {
    let document: TenantDocument = serde_json::from_value(json!({
        "limits": {"rate_sender": {"messages": 5_000, "per_s": 600}, "message_bytes_max": 200 << 20},
        "tls_min_inbound": "1.3",
        "domains": {"a.example": {"limits": {"rate_recipient": {"messages": 100, "per_s": 60}, "message_bytes_max": 2 << 20}}},
    }))
    .unwrap();
    assert_eq!(document.check(&context()), []);
    let system: SystemDocument = serde_json::from_value(json!({
        "limits": {"rate_sender": {"messages": 10, "per_s": 60}, "raise_factor_max": 2, "message_bytes_cap": 10 << 20},
        "tls_min_outbound": "1.3",
    }))
    .unwrap();
    let bounded = serde_json::to_value(document.bounded(&system)).unwrap();
    assert_eq!(bounded["limits"]["rate_sender"], json!({"messages": 20, "per_s": 60}));
    assert_eq!(bounded["limits"]["message_bytes_max"], json!(10 << 20));
    assert_eq!(
        bounded["domains"]["a.example"]["limits"]["rate_recipient"],
        json!({"messages": 100, "per_s": 60})
    );
    assert_eq!(bounded["domains"]["a.example"]["limits"]["message_bytes_max"], json!(2 << 20));
    assert_eq!(
        (&bounded["tls_min_inbound"], &bounded["tls_min_outbound"]),
        (&json!("1.3"), &json!("1.3"))
    );
}

#[test]
fn queue_by_scope() {
    system(
        json!({"queue": {"schedule_s": [1, 2], "lifetime_inbound_s": 1, "hold_s": 1, "connect_timeout_s": 1}}),
        None,
    );
    system(json!({"queue": {"schedule_s": []}}), Some(("queue.schedule_s", OutOfRange)));
    system(
        json!({"queue": {"schedule_s": [86_401]}}),
        Some(("queue.schedule_s[0]", OutOfRange)),
    );
    system(
        json!({"queue": {"next_hop_concurrency": 101}}),
        Some(("queue.next_hop_concurrency", OutOfRange)),
    );
    domain("queue", json!({"schedule_s": [300, 60]}), None);
    domain("queue", json!({"schedule_s": [299]}), Some(OutOfRange));
    domain("queue", json!({"lifetime_inbound_s": 3_599}), Some(OutOfRange));
    domain("queue", json!({"lifetime_inbound_s": 14 * 86_400}), None);
    domain("queue", json!({"lifetime_inbound_s": 14 * 86_400 + 1}), Some(OutOfRange));
    domain("queue", json!({"delay_warning_outbound_s": 0}), None);
    domain("queue", json!({"connect_timeout_s": 30}), Some(Unknown));
    domain("queue", json!({"next_hop_concurrency": 5}), Some(Unknown));
    tenant("queue", json!({"schedule_s": [300]}), Some(Unknown));
    tenant("queue", json!({"next_hop_concurrency": 5}), None);
}

#[test]
fn what_a_later_version_brings() {
    domain("kind", json!("hosted"), Some(NotAvailable));
    domain("services", json!(["inbound", "outbound"]), None);
    domain("services", json!(["hosting"]), Some(NotAvailable));
    domain("services", json!(["archive"]), Some(NotAvailable));
    domain("services", json!(["inbound", "inbound"]), Some(Conflict));
    domain("hosted_fallthrough", json!(true), Some(NotAvailable));
    domain("own_rules", json!(true), Some(NotAvailable));
    domain("recipient_mode", json!("directory"), None);
    domain("recipient_mode", json!("callout"), Some(NotAvailable));
    domain("recipient_mode", json!("hybrid"), Some(NotAvailable));
    domain("foreign_from", json!("forwarded-only"), Some(NotAvailable));
    row(json!({"tls": "dane"}), Some(NotAvailable));
    for level in ["dane", "mta-sts"] {
        tenant("peer_outbound", json!([{"domain": "*", "level": level}]), Some(NotAvailable));
    }
}

#[test]
fn inbound_servers() {
    row(json!({}), None);
    row(json!({"host": "192.0.2.1"}), None);
    row(json!({"host": "[2001:db8::1]"}), None);
    for host in ["", "mail", "a b.example", "300.1.1.1", "http://a.example"] {
        row(json!({"host": host}), Some(Malformed));
    }
    row(json!({"port": 0}), Some(OutOfRange));
    row(json!({"port": 2525}), None);
    row(json!({"port": 26}), Some(Forbidden));
    row(json!({"recipient": "john"}), None);
    row(json!({"recipient": "j*"}), Some(Malformed));
    row(json!({"recipient": "john@a.example"}), Some(Malformed));
    row(json!({"recipient": ""}), Some(Malformed));
    for (preference, expect) in [(0, Some(OutOfRange)), (1, None), (100, None), (101, Some(OutOfRange))] {
        row(json!({"preference": preference}), expect);
    }
    row(json!({"tls": "pinned"}), Some(Missing));
    row(json!({"tls": "pinned", "pins": ["a".repeat(64)]}), None);
    row(json!({"tls": "pinned", "pins": ["a"]}), Some(Malformed));
    row(json!({"pins": ["a".repeat(64)]}), Some(Conflict));
    let auth = json!({"user": "u", "secret": "s"});
    row(json!({"auth": auth}), Some(Conflict));
    row(json!({"auth": auth, "tls": "none"}), Some(Conflict));
    row(json!({"auth": auth, "tls": "encrypted"}), None);
    row(
        json!({"auth": {"user": "u\r\nMAIL", "secret": "s"}, "tls": "verified"}),
        Some(Malformed),
    );
    row(json!({"tls": "none", "port": 465}), Some(Conflict));
    row(json!({"connections_max": 101}), Some(OutOfRange));
    row(json!({"per_connection_max": 0}), Some(OutOfRange));
    domain("inbound_servers", json!(vec![json!({"host": "m.a.example"}); 64]), None);
    domain("inbound_servers", json!(vec![json!({"host": "m.a.example"}); 65]), Some(OutOfRange));
    domain("directory_grace_days", json!(31), Some(OutOfRange));
}

#[test]
fn outbound_senders() {
    let networks = |list: &[&str], expect| domain("outbound_networks", json!(list), expect);
    networks(&["192.0.2.0/24", "2001:db8::/32", "10.0.0.0/16"], None);
    networks(&["10.0.0.0/15"], Some(OutOfRange));
    networks(&["2001:db8::/31"], Some(OutOfRange));
    networks(&["40.93.1.0/24"], Some(Forbidden));
    networks(&["209.85.0.0/16"], Some(Forbidden));
    networks(&["224.0.0.0/24"], Some(Forbidden));
    domain("outbound_networks", json!(vec!["192.0.2.1/32"; 1_001]), Some(OutOfRange));
    domain("outbound_certificates", json!(["mail.a.example", "0".repeat(64)]), None);
    domain("outbound_certificates", json!(["Mail"]), Some(Malformed));
    domain("outbound_certificates", json!(vec!["mail.a.example"; 51]), Some(OutOfRange));
    domain("foreign_from", json!("listed"), Some(Missing));
}

#[test]
fn transport_security_and_routes() {
    tenant("tls_min_inbound", json!("1.2"), None);
    tenant("tls_min_outbound", json!("1.2"), Some(OutOfRange));
    for client in ["*", "192.0.2.1", "192.0.2.0/24", "a.example", ".example"] {
        tenant("peer_inbound", json!([{"client": client, "level": "mandatory"}]), None);
    }
    tenant("peer_inbound", json!([{"client": "a*", "level": "mandatory"}]), Some(Malformed));
    tenant(
        "peer_inbound",
        json!(vec![json!({"client": "*", "level": "mandatory"}); 2]),
        Some(Conflict),
    );
    tenant("peer_outbound", json!([{"domain": "a.example", "level": "pinned"}]), Some(Missing));
    tenant(
        "peer_outbound",
        json!([{"domain": "A.example", "level": "verified"}]),
        Some(Malformed),
    );
    let smarthost = |change: Value| {
        let mut target = json!({"to": "smarthost", "host": "smart.example", "port": 587, "tls": "mandatory"});
        target.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        json!([{"domain": "*", "target": target}])
    };
    tenant("outbound_routes", smarthost(json!({})), None);
    tenant("outbound_routes", smarthost(json!({"host": "smart"})), Some(Malformed));
    tenant("outbound_routes", smarthost(json!({"port": 26})), Some(Forbidden));
    tenant(
        "outbound_routes",
        smarthost(json!({"tls": "opportunistic", "auth": {"user": "u", "secret": "s"}})),
        Some(Conflict),
    );
    tenant("outbound_routes", smarthost(json!({"auth": {"user": "u", "secret": "s"}})), None);
    tenant(
        "outbound_routes",
        json!([{"domain": "*", "target": {"to": "mx"}, "source_addresses": ["192.0.2.10"]}]),
        None,
    );
    tenant(
        "outbound_routes",
        json!([{"domain": "*", "target": {"to": "mx"}, "source_addresses": ["192.0.2.11"]}]),
        Some(Missing),
    );
}

#[test]
fn names() {
    let check = |typed: &str, expect: Result<&str, ProblemKind>| {
        let got = check_name(typed, &context()).map(|d| d.to_string()).map_err(|p| p.kind);
        assert_eq!(got.as_deref().map_err(|k| *k), expect, "{typed}");
    };
    check("  Example.COM ", Ok("example.com"));
    check("例え.jp", Ok("xn--r8jz45g.jp"));
    check("sub.example.co.jp", Ok("sub.example.co.jp"));
    check("*.example.com", Err(Malformed));
    check("example", Err(Malformed));
    check("192.0.2.1", Err(Malformed));
    check("[192.0.2.1]", Err(Malformed));
    check("[IPv6:2001:db8::1]", Err(Malformed));
    check("2001:db8::1", Err(Malformed));
    check("co.jp", Err(Forbidden));
    check("mitsuke.example", Err(Forbidden));
    check("acme.in.mitsuke.example", Err(Forbidden));
    check("notmitsuke.example", Ok("notmitsuke.example"));
    check("gmail.com", Err(Forbidden));
    check("freemail.example", Err(Forbidden));
    check("_dmarc.example.com", Err(Malformed));
    check(&format!("{}.example", "a.".repeat(130)), Err(Malformed));
    check("", Err(Malformed));
    assert_eq!(problems(json!({"domains": {"co.jp": {}}})), [("domains.co.jp".into(), Forbidden)]);
}

#[test]
fn homographs() {
    let check = |a: &str, b: &str, expect: bool| assert_eq!(looks_like(&a.parse().unwrap(), &b.parse().unwrap()), expect, "{a} {b}");
    check("example.com", "exаmple.com", true);
    check("paypal.example", "paypa1.example", true);
    check("modern.example", "modem.example", true);
    check("example.com", "example.com", false);
    check("example.com", "examples.com", false);
}

#[test]
fn targets_are_the_enabled_rows() {
    let document: TenantDocument = serde_json::from_value(json!({
        "outbound_routes": [{"domain": "*", "target": {"to": "smarthost", "host": "192.0.2.1", "port": 25}}],
        "domains": {"a.example": {"inbound_servers": [{"host": "m1.a.example"}, {"host": "m2.a.example", "enabled": false}]}},
    }))
    .unwrap();
    let got: Vec<_> = document.targets().into_iter().map(|t| t.at).collect();
    assert_eq!(got, ["outbound_routes[0].target.host", "domains.a.example.inbound_servers[0].host"]);
}

/// Everything that a check says has words in both languages, and every place in them is filled.
#[test]
fn problems_speak_both_languages() {
    use mail::text::Lang;
    let document: TenantDocument = serde_json::from_value(json!({
        "time_zone": "Mars", "branding": {"colour": "red"}, "delete_grace_days": 91, "limits": {"hops_max": 5},
        "soft_reasons": ["SPAM", "NO-DOMAIN"], "exempt": {"senders": ["A@A.example", "x"]},
        "domains": {"co.jp": {"kind": "hosted", "recipient_mode": "callout", "inbound_servers": [{"host": "m", "port": 26, "note": "\n"}]}},
    }))
    .unwrap();
    let found = document.check(&context());
    assert!(found.len() >= 12, "{found:?}");
    for problem in &found {
        let (english, japanese) = (problem.text.render(Lang::En), problem.text.render(Lang::Ja));
        assert!(!english.starts_with("check.") && english.is_ascii(), "{}: {english}", problem.at);
        assert!(japanese.ends_with('。') || japanese.contains(": "), "{}: {japanese}", problem.at);
        assert!(
            !english.contains(['{', '}']) && !japanese.contains(['{', '}']),
            "{}: {english}",
            problem.at
        );
        assert_eq!(problem.fixed(Lang::Ja).text.to_string(), japanese);
    }
    let of = |at: &str| found.iter().find(|p| p.at == at).map(|p| p.text.render(Lang::Ja)).unwrap();
    assert_eq!(of("delete_grace_days"), "0～90 で指定してください（指定された値: 91）。");
    assert_eq!(of("limits.hops_max"), "この設定を変更できるのは運用者だけです。");
    assert_eq!(
        of("domains.co.jp.kind"),
        "メールボックスを収容するドメイン（hosted）はまだ利用できません。"
    );
}

/// Any JSON of about the right form: what a hostile client may send.
fn any_document() -> impl proptest::strategy::Strategy<Value = Value> {
    use proptest::prelude::*;
    let text = prop_oneof![
        ".{0,40}",
        Just("*".to_owned()),
        Just("192.0.2.1".to_owned()),
        Just("::/0".to_owned()),
        Just("a.example".to_owned())
    ];
    let number = prop_oneof![any::<u64>(), Just(0), Just(u64::MAX)];
    (text.clone(), text.clone(), text, number, any::<u16>(), any::<u32>()).prop_map(|(a, b, c, n, port, small)| {
        json!({
            "time_zone": a, "branding": {"name": b, "logo": c, "colour": a, "support_link": b},
            "peer_inbound": [{"client": a, "level": "mandatory"}], "peer_outbound": [{"domain": b, "level": "pinned", "pins": [c]}],
            "outbound_routes": [{"domain": c, "target": {"to": "smarthost", "host": a, "port": port}}],
            "queue": {"schedule_s": [n, n], "lifetime_inbound_s": n}, "exempt": {"senders": [a], "recipients": [b]},
            "limits": {"message_bytes_max": n, "rate_recipient": {"messages": small, "per_s": small}, "recipients_max": small},
            "domains": {"a.example": {
                "inbound_servers": [{"host": b, "port": port, "recipient": c, "preference": small, "note": a}],
                "outbound_certificates": [a], "directory_grace_days": small, "limits": {"rate_sender": {"messages": small, "per_s": port}},
            }},
        })
    })
}

proptest::proptest! {
    #[test]
    fn no_document_makes_it_panic(document in any_document(), name in ".{0,60}") {
        let document: TenantDocument = serde_json::from_value(document).unwrap();
        drop(document.check(&context()));
        drop(document.targets());
        drop(check_name(&name, &context()));
        let other = name.parse::<Domain>();
        if let Ok(other) = other {
            assert!(!looks_like(&other, &other));
            let _either = looks_like(&other, &BASE);
        }
    }
}
