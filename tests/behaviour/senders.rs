//! Outbound senders: settings (domains-and-routing 6.1) and who is sending (6.2).

use super::sending::{
    GOOGLE, MICROSOFT, NO_DOMAIN, OUTSIDE, OWN, UNKNOWN, UNPROVEN, call, checked, mail_of, not_allowed, send, sending, sending_with, went,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::node::ListenerRole;
use serde_json::{Value, json};
use std::time::Duration;
use system::{Plan, World, ask, assert_checked, assert_problem, assert_refused};
use testkit::client::{Client, ClientCertificate};

const FROM: &str = "u@a.example";

async fn own(world: &World) -> String {
    send(world, OWN, FROM, OUTSIDE, &mail_of(FROM, "")).await
}

/// A session on a submission listener, TLS on.
async fn submission(world: &World) -> Client {
    let mut client = Client::connect(world.address(ListenerRole::Submission)).await.unwrap();
    client.hello("device.a.example").await.unwrap();
    client.starttls(None).await.unwrap()
}

async fn log_in(client: &mut Client, user: &str, secret: &str) -> String {
    client
        .say(&format!("AUTH PLAIN {}", STANDARD.encode(format!("\0{user}\0{secret}"))))
        .await
        .unwrap()
}

async fn credential(world: &World, body: Value) -> (String, String) {
    let made = ask(&world.owner, "POST", "/tenants/alpha/relay-credentials", body).await.unwrap();
    (
        made["user_name"].as_str().unwrap().to_owned(),
        made["secret"].as_str().unwrap().to_owned(),
    )
}

/// Off: the domain sends nothing. On: its sources send.
/// covers: domains/6.1/outbound-enabled
#[tokio::test]
async fn enabled() {
    let (world, far) = sending().await;
    went(&world, &own(&world).await, "outbound").await;
    assert_eq!(far.wait(1).await[0].mail.split(' ').nth(1), Some("FROM:<u@a.example>"));
    world.set_domain(json!({"outbound_enabled": false})).await.unwrap();
    assert_refused(&own(&world).await, NO_DOMAIN);
    world.set_domain(json!({"outbound_enabled": true})).await.unwrap();
    went(&world, &own(&world).await, "outbound").await;
    world.stop().await;
}

/// A provider's range is a source only with its preset on, and then only with proof.
/// covers: domains/6.1/outbound-microsoft365-outbound-google-workspace
#[tokio::test]
async fn presets() {
    let (world, _far) = sending().await;
    let settings = ask(&world.owner, "GET", "/tenants/alpha/domains/a.example", json!(null))
        .await
        .unwrap()["settings"]
        .clone();
    let secret = ask(&world.owner, "POST", "/tenants/alpha/proof/secrets", json!({})).await.unwrap()["secret"]
        .as_str()
        .unwrap()
        .to_owned();
    let proven = mail_of(FROM, &format!("X-Mitsuke-Proof: {secret}\r\n"));
    for (preset, range) in [("outbound_microsoft365", MICROSOFT), ("outbound_google_workspace", GOOGLE)] {
        assert_eq!(settings[preset], false, "off by default");
        assert_refused(&send(&world, range, FROM, OUTSIDE, &proven).await, &not_allowed(range));
        world.set_domain(json!({preset: true})).await.unwrap();
        assert_refused(&send(&world, range, FROM, OUTSIDE, &mail_of(FROM, "")).await, UNPROVEN);
        let events = went(&world, &send(&world, range, FROM, OUTSIDE, &proven).await, "outbound").await;
        assert_eq!(
            checked(&events, "source").map(|s| s.replace('-', "_")),
            Some(preset.trim_start_matches("outbound_").to_owned())
        );
        world.set_domain(json!({preset: false})).await.unwrap();
        assert_refused(&send(&world, range, FROM, OUTSIDE, &proven).await, &not_allowed(range));
    }
    world.stop().await;
}

/// Addresses and CIDR, 1,000 at most, not wider than /16 or /32; two tenants may list the same address, the sender domain decides.
/// covers: domains/6.1/outbound-networks
#[tokio::test]
async fn networks() {
    let (world, _far) = sending().await;
    for (network, inside, outside) in [
        ("127.0.3.1/32", "127.0.3.1", "127.0.3.2"),
        ("127.0.7.128/25", "127.0.7.200", "127.0.7.127"),
    ] {
        world.set_domain(json!({"outbound_networks": [network]})).await.unwrap();
        went(&world, &send(&world, inside, FROM, OUTSIDE, &mail_of(FROM, "")).await, "outbound").await;
        assert_refused(
            &send(&world, outside, FROM, OUTSIDE, &mail_of(FROM, "")).await,
            &not_allowed(outside),
        );
    }
    let many = |n: usize| {
        (0..n)
            .map(|i| json!(format!("198.18.{}.{}/32", i / 250, i % 250)))
            .collect::<Vec<Value>>()
    };
    world.set_domain(json!({"outbound_networks": many(1_000)})).await.unwrap();
    assert_checked(
        world.set_domain(json!({"outbound_networks": many(1_001)})).await,
        &[("outbound_networks", "out-of-range")],
    );
    world
        .set_domain(json!({"outbound_networks": ["2001:db8::/32", "198.18.0.0/16", "192.0.2.1/32"]}))
        .await
        .unwrap();
    for (network, kind) in [
        ("2001::/31", "out-of-range"),
        ("198.18.0.0/15", "out-of-range"),
        ("224.0.0.0/24", "forbidden"),
        ("127.0.5.7/32", "forbidden"),
    ] {
        assert_checked(
            world.set_domain(json!({"outbound_networks": [network]})).await,
            &[("outbound_networks[0]", kind)],
        );
    }
    assert_problem(
        world.set_domain(json!({"outbound_networks": ["host.example"]})).await,
        422,
        "malformed",
    );

    world.set_domain(json!({"outbound_networks": ["127.0.3.0/24"]})).await.unwrap();
    let beta = world.tenant("beta").await;
    world.domain("beta", &beta, "b.example", world.peer.address).await;
    let patch = json!({"settings": {"outbound_enabled": true, "outbound_networks": ["127.0.3.1/32"], "outbound_routes": world_route(&world).await}});
    ask(&beta, "PATCH", "/tenants/beta/domains/b.example", patch).await.unwrap();
    went(&world, &own(&world).await, "outbound").await;
    let reply = send(&world, OWN, "w@b.example", OUTSIDE, &mail_of("w@b.example", "")).await;
    ask(&beta, "GET", &format!("/tracking/{}", system::queue_id(&reply)), json!(null))
        .await
        .unwrap();
    let crossed = send(&world, OWN, FROM, OUTSIDE, &mail_of("w@b.example", "")).await;
    assert_refused(&crossed, NO_DOMAIN);
    world.stop().await;
}

async fn world_route(world: &World) -> Value {
    ask(&world.owner, "GET", "/settings/alpha", json!(null)).await.unwrap()["document"]["outbound_routes"].clone()
}

/// A key fingerprint makes any certificate a source, a name only one that a CA vouches for; 50 at most.
/// covers: domains/6.1/outbound-certificates
#[tokio::test]
async fn certificates() {
    let vouched = ClientCertificate::new(&["relay.a.example"]);
    let pretender = ClientCertificate::new(&["relay.a.example"]);
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, &vouched.pem).unwrap();
    let (world, _far) = sending_with(Plan {
        node: format!("[tls]\nroots = [\"{}\"]\n", roots.display()),
        ..Plan::default()
    })
    .await;
    let send_as = async |certificate: &ClientCertificate| {
        call(&world, UNKNOWN, Some(certificate))
            .await
            .deliver(FROM, &[OUTSIDE], &mail_of(FROM, ""))
            .await
            .unwrap()
    };
    assert_refused(&send_as(&vouched).await, &not_allowed(UNKNOWN));
    world
        .set_domain(json!({"outbound_certificates": ["relay.a.example"]}))
        .await
        .unwrap();
    let events = went(&world, &send_as(&vouched).await, "outbound").await;
    assert_eq!(checked(&events, "source"), Some("certificate"));
    assert_refused(&send_as(&pretender).await, &not_allowed(UNKNOWN));
    world
        .set_domain(json!({"outbound_certificates": [pretender.fingerprint]}))
        .await
        .unwrap();
    went(&world, &send_as(&pretender).await, "outbound").await;
    assert_refused(&send_as(&vouched).await, &not_allowed(UNKNOWN));
    let many = |n: usize| (0..n).map(|i| json!(format!("host{i}.a.example"))).collect::<Vec<Value>>();
    world.set_domain(json!({"outbound_certificates": many(50)})).await.unwrap();
    assert_checked(
        world.set_domain(json!({"outbound_certificates": many(51)})).await,
        &[("outbound_certificates", "out-of-range")],
    );
    for bad in ["Relay.A.example", "localhost", "abc", "*"] {
        assert_checked(
            world.set_domain(json!({"outbound_certificates": [bad]})).await,
            &[("outbound_certificates[0]", "malformed")],
        );
    }
    world.stop().await;
}

/// A log-in sends for domains with submission on, on 587 and 465 alike; off by default; it opens submission only.
/// covers: domains/6.1/outbound-submission
#[tokio::test]
async fn submission_by_log_in() {
    let (world, _far) = sending().await;
    let (user, secret) = credential(&world, json!({"name": "printer"})).await;
    let mut client = submission(&world).await;
    assert!(log_in(&mut client, &user, &secret).await.starts_with("235 2.7.0 "));
    let refused = client.deliver(FROM, &[OUTSIDE], &mail_of(FROM, "")).await.unwrap();
    assert_refused(&refused, &not_allowed("127.0.0.1"));
    world.set_domain(json!({"outbound_submission": true})).await.unwrap();
    let events = went(
        &world,
        &client.deliver(FROM, &[OUTSIDE], &mail_of(FROM, "")).await.unwrap(),
        "outbound",
    )
    .await;
    assert_eq!(
        (checked(&events, "source"), checked(&events, "proof")),
        (Some("login"), Some("login"))
    );
    assert!(
        events.iter().any(|e| e["e"] == "mail-from" && e["login"] == "printer@alpha"),
        "{events:?}"
    );
    let mut implicit = Client::connect_tls(world.address(ListenerRole::Submissions), None).await.unwrap();
    implicit.hello("device.a.example").await.unwrap();
    assert!(log_in(&mut implicit, &user, &secret).await.starts_with("235 2.7.0 "));
    went(
        &world,
        &implicit.deliver(FROM, &[OUTSIDE], &mail_of(FROM, "")).await.unwrap(),
        "outbound",
    )
    .await;
    let foreign = implicit.deliver("x@other.example", &[OUTSIDE], &mail_of(FROM, "")).await.unwrap();
    assert_refused(&foreign, NO_DOMAIN);
    let mut mx = call(&world, UNKNOWN, None).await.starttls(None).await.unwrap();
    assert!(
        log_in(&mut mx, &user, &secret).await.starts_with("50"),
        "no log-in at the mx listener"
    );
    world.stop().await;
}

/// A SCRAM exchange with a wrong proof. What the proof was does not matter: it is told from no other.
async fn wrong_scram(client: &mut Client, user: &str) -> String {
    let first = STANDARD.encode(format!("n,,n={user},r=abcdefgh"));
    let challenge = client.say(&format!("AUTH SCRAM-SHA-256 {first}")).await.unwrap();
    let challenge = challenge.strip_prefix("334 ").unwrap_or_else(|| panic!("{challenge}"));
    let challenge = String::from_utf8(STANDARD.decode(challenge.trim()).unwrap()).unwrap();
    let nonce = challenge.split(',').next().unwrap();
    let last = format!("c=biws,{nonce},p={}", STANDARD.encode([0; 32]));
    client.say(&STANDARD.encode(last)).await.unwrap()
}

/// Each wrong SCRAM exchange counts for lock-out, although no secret is seen that could be told from the last.
#[tokio::test]
async fn wrong_scram_locks() {
    let (world, _far) = sending().await;
    world.set_system(json!({"scram": true})).await.unwrap();
    let (user, secret) = credential(&world, json!({"name": "printer"})).await;
    let failed = "535 5.7.8 Authentication failed: AUTH-FAILED.";
    for tries in [5, 4] {
        let mut client = submission(&world).await;
        for _ in 0..tries {
            assert_refused(&wrong_scram(&mut client, &user).await, failed);
        }
    }
    assert!(
        log_in(&mut submission(&world).await, &user, &secret).await.starts_with("235 "),
        "nine do not lock"
    );
    world.clock.advance(Duration::from_secs(3_600));
    for _ in 0..2 {
        let mut client = submission(&world).await;
        for _ in 0..5 {
            assert_refused(&wrong_scram(&mut client, &user).await, failed);
        }
    }
    assert_refused(&log_in(&mut submission(&world).await, &user, &secret).await, failed);
    world.stop().await;
}

/// A credential has a secret of 32 characters that is shown once, domains, networks, a limit, an end and a last use; 100 a tenant.
/// covers: domains/6.1/outbound-relay-credentials
#[tokio::test]
async fn relay_credentials() {
    let (world, _far) = sending().await;
    world.domain("alpha", &world.owner, "b.example", world.peer.address).await;
    world.set_domain(json!({"outbound_submission": true})).await.unwrap();
    ask(
        &world.owner,
        "PATCH",
        "/tenants/alpha/domains/b.example",
        json!({"settings": {"outbound_enabled": true, "outbound_submission": true}}),
    )
    .await
    .unwrap();
    let body = json!({"name": "scanner", "domains": ["a.example"], "networks": ["127.0.0.1"], "messages_per_10_min": 2, "expires_at": "2026-11-25T00:00:00Z"});
    let (user, secret) = credential(&world, body.clone()).await;
    assert_eq!(user, "scanner@alpha");
    assert!(secret.len() == 32 && secret.bytes().all(|b| b.is_ascii_alphanumeric()), "{secret}");
    assert_problem(
        ask(&world.owner, "POST", "/tenants/alpha/relay-credentials", body).await,
        409,
        "exists",
    );
    for text in [
        ask(&world.owner, "GET", "/tenants/alpha/relay-credentials", json!(null))
            .await
            .unwrap()
            .to_string(),
        ask(&world.owner, "GET", "/settings/alpha", json!(null)).await.unwrap().to_string(),
        ask(&world.owner, "GET", "/audit", json!(null)).await.unwrap().to_string(),
    ] {
        assert!(!text.contains(&secret) && !text.contains("$argon2id$"), "shown once: {text}");
    }
    let failed = "535 5.7.8 Authentication failed: AUTH-FAILED.";
    let mut client = submission(&world).await;
    for (user, secret) in [
        (user.as_str(), "wrong"),
        ("nobody@alpha", secret.as_str()),
        ("scanner@beta", secret.as_str()),
        ("scanner", secret.as_str()),
    ] {
        assert_refused(&log_in(&mut client, user, secret).await, failed);
    }
    let mut client = submission(&world).await;
    assert!(log_in(&mut client, &user, &secret).await.starts_with("235 "));
    for _ in 0..2 {
        assert!(
            client
                .deliver(FROM, &[OUTSIDE], &mail_of(FROM, ""))
                .await
                .unwrap()
                .starts_with("250 ")
        );
    }
    let over = client.deliver(FROM, &[OUTSIDE], &mail_of(FROM, "")).await.unwrap();
    assert_refused(&over, "450 4.7.1 Rate limit temporarily exceeded: RATE-SENDER.");
    let other = client
        .deliver("w@b.example", &[OUTSIDE], &mail_of("w@b.example", ""))
        .await
        .unwrap();
    assert_refused(&other, &not_allowed("127.0.0.1"));
    world.clock.advance(Duration::from_secs(60));
    let mut shown = json!(null);
    world
        .soon("the last use is shown", async || {
            shown = ask(&world.owner, "GET", "/tenants/alpha/relay-credentials", json!(null))
                .await
                .unwrap()[0]
                .clone();
            shown["last_used_from"] == "127.0.0.1"
        })
        .await;
    assert_eq!(shown["last_used_at"], "2026-11-24T00:00:00.000Z", "{shown}");

    let elsewhere = json!({"name": "elsewhere", "networks": ["192.0.2.0/24"]});
    let (user_elsewhere, secret_elsewhere) = credential(&world, elsewhere).await;
    let mut client = submission(&world).await;
    assert_refused(&log_in(&mut client, &user_elsewhere, &secret_elsewhere).await, failed);
    world.clock.advance(Duration::from_secs(86_400));
    let mut client = submission(&world).await;
    assert_refused(&log_in(&mut client, &user, &secret).await, failed);
    let (user, secret) = credential(&world, json!({"name": "short-lived"})).await;
    ask(&world.owner, "DELETE", "/tenants/alpha/relay-credentials/short-lived", json!(null))
        .await
        .unwrap();
    assert_refused(&log_in(&mut client, &user, &secret).await, failed);
    for name in ["", "Upper", "a b", &"x".repeat(65)] {
        let made = ask(&world.owner, "POST", "/tenants/alpha/relay-credentials", json!({"name": name})).await;
        assert_eq!(made.unwrap_err().status, 422, "{name:?}");
    }
    world.stop().await;
}

/// A provider's name for the tenant is good as reverse path and header From, never as an accepted domain; 20 at most.
/// covers: domains/6.1/outbound-provider-domains
#[tokio::test]
async fn provider_domains() {
    let (world, far) = sending().await;
    let name = "name.onmicrosoft.com";
    let reverse = "u@name.onmicrosoft.com";
    world.dns.change(|zone| {
        zone.add(name, "MX", "10 mx.other.example");
    });
    assert_refused(&send(&world, OWN, reverse, OUTSIDE, &mail_of(reverse, "")).await, NO_DOMAIN);
    world.set_tenant(json!({"provider_domains": [name]})).await.unwrap();
    for (reverse, from) in [(reverse, reverse), (FROM, reverse), (reverse, FROM)] {
        went(&world, &send(&world, OWN, reverse, OUTSIDE, &mail_of(from, "")).await, "outbound").await;
    }
    assert_eq!(far.wait(3).await.len(), 3);
    let inbound = send(&world, UNKNOWN, "s@sender.example", reverse, &mail_of(FROM, "")).await;
    assert_refused(
        &inbound,
        "554 5.7.1 <u@name.onmicrosoft.com>: Recipient address rejected: NO-DOMAIN.",
    );
    assert_checked(
        world.set_tenant(json!({"provider_domains": ["a.example"]})).await,
        &[("provider_domains[0]", "conflict")],
    );
    let many = |n: usize| (0..n).map(|i| json!(format!("n{i}.onmicrosoft.com"))).collect::<Vec<Value>>();
    world.set_tenant(json!({"provider_domains": many(20)})).await.unwrap();
    assert_checked(
        world.set_tenant(json!({"provider_domains": many(21)})).await,
        &[("provider_domains", "out-of-range")],
    );
    world.stop().await;
}

/// A header From that is not the tenant's is refused, or let through from a list of up to 1,000; proof of forwarded mail is not available yet.
/// covers: domains/6.1/outbound-foreign-from
#[tokio::test]
async fn foreign_from() {
    let (world, _far) = sending().await;
    let settings = ask(&world.owner, "GET", "/tenants/alpha/domains/a.example", json!(null))
        .await
        .unwrap()["settings"]
        .clone();
    assert_eq!(settings["foreign_from"], "reject");
    let foreign = async |reverse: &str, from: &str| send(&world, OWN, reverse, OUTSIDE, &mail_of(from, "")).await;
    assert_refused(&foreign(FROM, "x@other.example").await, NO_DOMAIN);
    assert_checked(
        world.set_domain(json!({"foreign_from": "forwarded-only"})).await,
        &[("foreign_from", "not-available")],
    );
    assert_checked(
        world.set_domain(json!({"foreign_from": "listed"})).await,
        &[("foreign_from_listed", "missing")],
    );
    assert_checked(
        world.set_domain(json!({"foreign_from_listed": ["other.example"]})).await,
        &[("foreign_from_listed", "conflict")],
    );
    world
        .set_domain(json!({"foreign_from": "listed", "foreign_from_listed": ["other.example"]}))
        .await
        .unwrap();
    went(&world, &foreign(FROM, "x@other.example").await, "outbound").await;
    went(&world, &foreign("x@other.example", "x@other.example").await, "outbound").await;
    assert_refused(&foreign(FROM, "x@sub.other.example").await, NO_DOMAIN);
    assert_refused(&foreign(FROM, "x@third.example").await, NO_DOMAIN);
    let many = |n: usize| (0..n).map(|i| json!(format!("n{i}.example"))).collect::<Vec<Value>>();
    world.set_domain(json!({"foreign_from_listed": many(1_000)})).await.unwrap();
    assert_checked(
        world.set_domain(json!({"foreign_from_listed": many(1_001)})).await,
        &[("foreign_from_listed", "out-of-range")],
    );
    world.stop().await;
}

/// The providers' ranges are read from their published SPF records every 6 hours; the last good copy stays while DNS fails, and a shrink by
/// half waits for the operator.
/// covers: domains/6.1/outbound-shared-ranges
#[tokio::test]
async fn shared_ranges() {
    let zone = "spf.protection.outlook.com. TXT \"v=spf1 ip4:127.0.5.0/24 ip4:127.0.15.0/24 ip6:2001:db8:5::/48 include:spfd.outlook.example -all\"\n\
        spfd.outlook.example. TXT \"v=spf1 ip4:127.0.25.0/24 ip4:127.0.35.0/24 -all\"\n\
        _spf.google.com. TXT \"v=spf1 include:_netblocks.google.example ~all\"\n_netblocks.google.example. TXT \"v=spf1 ip4:127.0.6.0/24 ~all\"\n";
    let world = World::with(Plan {
        zone: zone.into(),
        ..Plan::default()
    })
    .await;
    world
        .set_domain(json!({"outbound_enabled": true, "outbound_microsoft365": true, "outbound_google_workspace": true}))
        .await
        .unwrap();
    let ranges = async || ask(&world.operator, "GET", "/settings/system", json!(null)).await.unwrap()["document"]["shared_ranges"].clone();
    let microsoft = async || ranges().await["microsoft365"].as_array().unwrap().len();
    world.clock.advance(Duration::from_secs(61));
    world.soon("the ranges are read", async || microsoft().await == 5).await;
    assert_eq!(ranges().await["google_workspace"], json!(["127.0.6.0/24"]));
    for client in ["127.0.5.1", "127.0.35.1", GOOGLE] {
        assert_refused(&send(&world, client, FROM, OUTSIDE, &mail_of(FROM, "")).await, UNPROVEN);
    }
    let revisions = async || {
        ask(&world.operator, "GET", "/settings/system/revisions", json!(null))
            .await
            .unwrap()["items"]
            .as_array()
            .unwrap()
            .len()
    };
    let before = revisions().await;

    world.dns.change(|zone| {
        zone.add("spfd.outlook.example", "FAULT", "servfail");
    });
    world.clock.advance(Duration::from_secs(6 * 3_600 + 61));
    let asked = world.dns.count("spfd.outlook.example");
    world.clock.advance(Duration::from_secs(1_801));
    world
        .soon("they are asked for again", async || world.dns.count("spfd.outlook.example") > asked)
        .await;
    assert_eq!((microsoft().await, revisions().await), (5, before), "the last good copy is kept");

    world.dns.change(|zone| {
        zone.remove("spf.protection.outlook.com").remove("spfd.outlook.example");
        zone.add("spf.protection.outlook.com", "TXT", "\"v=spf1 ip4:127.0.5.0/24 -all\"");
    });
    let told = async || {
        ask(&world.operator, "GET", "/audit?tenant=system", json!(null)).await.unwrap()["items"]
            .to_string()
            .contains("shrank")
    };
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(6 * 3_600 + 61));
        world.pass(Duration::from_secs(2)).await;
    }
    world.soon("the operator is told", told).await;
    assert_eq!(microsoft().await, 5, "a shrink by half waits for the operator");
    world
        .set_system(json!({"shared_ranges": {"microsoft365": ["127.0.5.0/24"], "refresh": false}}))
        .await
        .unwrap();
    assert_refused(
        &send(&world, "127.0.35.1", FROM, OUTSIDE, &mail_of(FROM, "")).await,
        &not_allowed("127.0.35.1"),
    );
    assert_problem(
        world.set_system(json!({"shared_ranges": {"microsoft365_spf": "not a name"}})).await,
        422,
        "malformed",
    );
    world.stop().await;
}
