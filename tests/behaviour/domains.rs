//! Accepted domains: fields and names (domains-and-routing 2.1, 2.2).

use serde_json::{Value, json};
use std::time::Duration;
use system::{DOMAIN, Plan, World, ask, assert_checked, assert_problem, assert_refused, message};
use testkit::peer::{Peer, Script};

const PATH: &str = "/tenants/alpha/domains/a.example";

async fn claim(world: &World, name: &str) -> Result<Value, mitsuke::client::Problem> {
    ask(&world.owner, "POST", "/tenants/alpha/domains", json!({"name": name})).await
}

async fn deliver(world: &World, to: &str) -> String {
    world
        .client()
        .await
        .deliver("s@sender.example", &[to], &message("hello"))
        .await
        .unwrap()
}

/// One exact name each: trimmed, lower-cased, A-labels stored and U-labels shown; wildcards, literals, single labels, public suffixes,
/// names below the base and public mailbox providers are refused; a sub-domain inherits nothing.
/// covers: domains/2.1/domain-name
#[tokio::test]
async fn names() {
    let world = World::start().await;
    let made = claim(&world, "  Büro.EXAMPLE ").await.unwrap();
    assert_eq!(
        (made["name"].as_str(), made["unicode_name"].as_str()),
        (Some("xn--bro-hoa.example"), Some("büro.example"))
    );
    assert_problem(claim(&world, "büro.example").await, 409, "exists");
    let long = format!("{}.example", vec!["a".repeat(60); 5].join("."));
    for (name, kind) in [
        ("*.example.com", "malformed"),
        ("192.0.2.1", "malformed"),
        ("[192.0.2.1]", "malformed"),
        ("[IPv6:2001:db8::1]", "malformed"),
        ("localhost", "malformed"),
        ("", "malformed"),
        ("a..example", "malformed"),
        ("under_score.example", "malformed"),
        ("a b.example", "malformed"),
        ("a@b.example", "malformed"),
        (long.as_str(), "malformed"),
        ("co.jp", "forbidden"),
        ("com", "malformed"),
        ("mitsuke.example", "forbidden"),
        ("x.mitsuke.example", "forbidden"),
        ("gmail.com", "forbidden"),
    ] {
        assert_checked(claim(&world, name).await, &[("name", kind)]);
    }
    world
        .set_system(json!({"public_mailbox_providers": ["freemail.example"]}))
        .await
        .unwrap();
    assert_checked(claim(&world, "freemail.example").await, &[("name", "forbidden")]);
    let sub = deliver(&world, "u@sub.a.example").await;
    assert_refused(&sub, "554 5.7.1 <u@sub.a.example>: Recipient address rejected: NO-DOMAIN.");
    // A name that looks like an accepted one is allowed, and warned of.
    let alike = claim(&world, "а.example").await.unwrap();
    assert_eq!(alike["warnings"], json!(["this name looks like another accepted domain"]));
    assert_eq!(made["warnings"], Value::Null);
    // The letter case of a recipient does not matter.
    assert!(deliver(&world, "u@A.EXAMPLE").await.starts_with("250 "));
    world.stop().await;
}

/// A domain is relayed; hosting accounts here is not available yet.
/// covers: domains/2.1/domain-kind
#[tokio::test]
async fn kind() {
    let world = World::start().await;
    world.set_domain(json!({"kind": "relayed"})).await.unwrap();
    assert_checked(world.set_domain(json!({"kind": "hosted"})).await, &[("kind", "not-available")]);
    assert_problem(world.set_domain(json!({"kind": "parked"})).await, 422, "malformed");
    assert!(deliver(&world, "u@a.example").await.starts_with("250 "));
    world.peer.wait(1).await;
    world.stop().await;
}

/// Services say what a domain is for and do not steer the mail flow; inbound unless said; hosting and archive are not available yet.
/// covers: domains/2.1/domain-services
#[tokio::test]
async fn services() {
    let world = World::start().await;
    assert_eq!(
        ask(&world.owner, "GET", PATH, json!(null)).await.unwrap()["settings"]["services"],
        json!(["inbound"])
    );
    world.set_domain(json!({"services": ["outbound"]})).await.unwrap();
    assert!(
        deliver(&world, "u@a.example").await.starts_with("250 "),
        "services do not steer the mail flow"
    );
    world.set_domain(json!({"services": ["inbound", "outbound"]})).await.unwrap();
    assert_checked(
        world.set_domain(json!({"services": ["inbound", "hosting"]})).await,
        &[("services[1]", "not-available")],
    );
    assert_checked(
        world.set_domain(json!({"services": ["archive"]})).await,
        &[("services[0]", "not-available")],
    );
    assert_checked(
        world.set_domain(json!({"services": ["inbound", "inbound"]})).await,
        &[("services", "conflict")],
    );
    assert_problem(world.set_domain(json!({"services": ["spam"]})).await, 422, "malformed");
    world.stop().await;
}

/// Split delivery needs hosted accounts, which are not available yet.
/// refuses: domains/2.1/domain-hosted-fallthrough
#[tokio::test]
async fn split_delivery() {
    let world = World::start().await;
    assert_checked(
        world.set_domain(json!({"hosted_fallthrough": true})).await,
        &[("hosted_fallthrough", "not-available")],
    );
    world.set_domain(json!({"hosted_fallthrough": false})).await.unwrap();
    world.stop().await;
}

/// Up to 64 rows; a domain without any (outbound only) makes mail to it wait.
/// covers: domains/2.1/domain-inbound-servers
#[tokio::test]
async fn inbound_servers() {
    let world = World::start().await;
    let row = json!({"host": "127.0.0.1", "port": world.peer.address.port()});
    world.set_domain(json!({"inbound_servers": vec![row.clone(); 64]})).await.unwrap();
    assert_checked(
        world.set_domain(json!({"inbound_servers": vec![row.clone(); 65]})).await,
        &[("inbound_servers", "out-of-range")],
    );
    assert!(deliver(&world, "u@a.example").await.starts_with("250 "));
    assert_eq!(world.peer.wait(1).await.len(), 1, "one delivery, however many rows");
    world
        .set_domain(json!({"inbound_servers": [], "services": ["outbound"], "outbound_enabled": true}))
        .await
        .unwrap();
    assert_refused(
        &deliver(&world, "u@a.example").await,
        "451 4.3.5 <u@a.example>: No route: NO-ROUTE.",
    );
    world.stop().await;
}

/// Sending and the recipient check are off until switched on.
/// covers: domains/2.1/outbound-enabled-recipient-mode
#[tokio::test]
async fn off_until_switched_on() {
    let world = World::start().await;
    let settings = ask(&world.owner, "GET", PATH, json!(null)).await.unwrap()["settings"].clone();
    assert_eq!(
        (&settings["outbound_enabled"], &settings["recipient_mode"]),
        (&json!(false), &json!("none"))
    );
    world.set_domain(json!({"outbound_networks": ["127.0.3.0/24"]})).await.unwrap();
    let send = async || {
        world
            .client_from("127.0.3.1")
            .await
            .deliver("u@a.example", &["v@far.example"], &message("out"))
            .await
            .unwrap()
    };
    assert_refused(&send().await, "554 5.7.1 <v@far.example>: Recipient address rejected: NO-DOMAIN.");
    assert!(deliver(&world, "anyone@a.example").await.starts_with("250 "));
    world
        .set_domain(json!({"outbound_enabled": true, "recipient_mode": "directory"}))
        .await
        .unwrap();
    let own = String::from_utf8(message("out"))
        .unwrap()
        .replace("s@sender.example", "u@a.example")
        .into_bytes();
    let reply = world
        .client_from("127.0.3.1")
        .await
        .deliver("u@a.example", &["v@far.example"], &own)
        .await
        .unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    let file = b"address\nu@a.example\n".to_vec();
    world
        .owner
        .send(hyper::Method::POST, &format!("/api/v1{PATH}/recipients/import"), "text/csv", file)
        .await
        .unwrap();
    assert_refused(
        &deliver(&world, "anyone@a.example").await,
        "550 5.1.1 <anyone@a.example>: Recipient address rejected: User unknown: USER-UNKNOWN.",
    );
    world.stop().await;
}

/// Rules of a domain are not available yet.
/// refuses: domains/2.1/domain-own-rules
#[tokio::test]
async fn own_rules() {
    let world = World::start().await;
    assert_checked(
        world.set_domain(json!({"own_rules": true})).await,
        &[("own_rules", "not-available")],
    );
    world.set_domain(json!({"own_rules": false})).await.unwrap();
    world.stop().await;
}

/// The sub-address is part of the name while off, and is stripped for list and routing while on; the recipient itself stays as it was written.
/// covers: domains/2.1/domain-subaddress
#[tokio::test]
async fn subaddress() {
    let exact = Peer::start(Script {
        extensions: system::usual_extensions(),
        ..Script::default()
    })
    .await;
    let world = World::start().await;
    let rows = json!([
        {"host": "127.0.0.1", "port": world.peer.address.port(), "preference": 20},
        {"recipient": "john", "host": "127.0.0.1", "port": exact.address.port(), "preference": 10},
    ]);
    let file = b"address\nu@a.example\njohn@a.example\n".to_vec();
    world
        .owner
        .send(hyper::Method::POST, &format!("/api/v1{PATH}/recipients/import"), "text/csv", file)
        .await
        .unwrap();
    world
        .set_domain(json!({"inbound_servers": rows, "recipient_mode": "directory"}))
        .await
        .unwrap();
    let unknown = |address: &str| format!("550 5.1.1 <{address}>: Recipient address rejected: User unknown: USER-UNKNOWN.");
    for (separator, known, strange) in [
        (Value::Null, "john", "john+x"),
        (json!("+"), "john+x", "john-x"),
        (json!("-"), "john-x", "john+x"),
    ] {
        world.set_domain(json!({"subaddress": separator})).await.unwrap();
        let before = exact.taken().len();
        let reply = deliver(&world, &format!("{known}@a.example")).await;
        assert!(reply.starts_with("250 "), "{separator}: {reply}");
        let taken = exact.wait(before + 1).await;
        assert!(
            taken[before].rcpts[0].contains(&format!("<{known}@a.example>")),
            "{separator}: {:?}",
            taken[before].rcpts
        );
        assert_refused(
            &deliver(&world, &format!("{strange}@a.example")).await,
            &unknown(&format!("{strange}@a.example")),
        );
    }
    assert_problem(world.set_domain(json!({"subaddress": "_"})).await, 422, "malformed");
    world.stop().await;
}

/// The grace of a deletion is 30 days, or 0 to 90 as the tenant says.
/// covers: domains/2.1/domain-delete-grace
#[tokio::test]
async fn delete_grace() {
    let world = World::start().await;
    assert_checked(
        world.set_tenant(json!({"delete_grace_days": 91})).await,
        &[("delete_grace_days", "out-of-range")],
    );
    let before = ask(&world.owner, "GET", &format!("{PATH}/before-deletion"), json!(null))
        .await
        .unwrap();
    assert_eq!(before["grace_days"], 30);
    for (days, purge) in [
        (Some(90), "2027-02-22T00:00:00.000Z"),
        (Some(1), "2026-11-25T00:00:00.000Z"),
        (None, "2026-12-24T00:00:00.000Z"),
    ] {
        world.set_tenant(json!({"delete_grace_days": days})).await.unwrap();
        ask(&world.owner, "DELETE", PATH, json!({"confirm": DOMAIN})).await.unwrap();
        assert_eq!(ask(&world.owner, "GET", PATH, json!(null)).await.unwrap()["purge_at"], purge);
        ask(&world.owner, "POST", &format!("{PATH}/restore"), json!({})).await.unwrap();
    }
    world.set_tenant(json!({"delete_grace_days": 0})).await.unwrap();
    ask(&world.owner, "DELETE", PATH, json!({"confirm": DOMAIN})).await.unwrap();
    world.pass(Duration::from_secs(10)).await;
    world
        .soon("the domain is purged", async || {
            ask(&world.owner, "GET", PATH, json!(null)).await.is_err()
        })
        .await;
    world.stop().await;
}

/// Without MX and address, or with a null MX, a proven name stays Verified; a DNS failure changes nothing.
#[tokio::test]
async fn a_name_needs_an_address() {
    let world = World::with(Plan {
        zone: "c.example. NS ns.example.\n".into(),
        ..Plan::default()
    })
    .await;
    let made = claim(&world, "c.example").await.unwrap();
    let token = made["txt_record"].as_str().unwrap().to_owned();
    world.dns.change(|zone| {
        zone.add("c.example", "TXT", &format!("\"{token}\""));
    });
    let path = "/tenants/alpha/domains/c.example";
    let check = async || {
        world.clock.advance(Duration::from_secs(61));
        ask(&world.owner, "POST", &format!("{path}/check"), json!({})).await.unwrap()
    };
    let seen = check().await;
    assert_eq!(
        (&seen["state"], &seen["label_ja"], &seen["report"]["address"]),
        (&json!("verified"), &json!("設定が必要"), &json!("absent"))
    );
    world.dns.change(|zone| {
        zone.add("c.example", "A", "192.0.2.1");
    });
    let seen = check().await;
    assert_eq!(
        (&seen["state"], &seen["label_en"]),
        (&json!("active"), &json!("Completed")),
        "{seen}"
    );
    world.dns.change(|zone| {
        zone.add("c.example", "FAULT", "servfail");
    });
    assert_eq!(check().await["state"], "active", "a DNS failure changes nothing");
    world.dns.change(|zone| {
        zone.remove("c.example")
            .add("c.example", "MX", "0 .")
            .add("c.example", "NS", "ns.example.");
    });
    let seen = check().await;
    assert_eq!(
        (&seen["state"], &seen["report"]["address"]),
        (&json!("verified"), &json!("null-mx"))
    );
    let log = ask(&world.owner, "GET", "/audit?domain=c.example", json!(null)).await.unwrap();
    let actions: Vec<&str> = log["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|e| e["action"].as_str())
        .collect();
    assert!(
        actions.contains(&"domain.no-address") && actions.contains(&"domain.active"),
        "{actions:?}"
    );
    world.stop().await;
}

/// A proven name is one tenant's: others are told that it is managed, in both languages, without the holder's name; the first to prove a
/// claim gets it and the other claims end.
#[tokio::test]
async fn one_holder() {
    let world = World::start().await;
    let beta = world.tenant("beta").await;
    let taken = assert_problem(
        ask(&beta, "POST", "/tenants/beta/domains", json!({"name": DOMAIN})).await,
        409,
        "domain-already-managed",
    );
    assert_eq!(taken["detail"], "This domain cannot be added: it is already managed.");
    let key = ask(&beta, "POST", "/tenants/beta/keys", json!({"name": "ja", "role": "owner"}))
        .await
        .unwrap();
    let bearer = format!("Bearer {}", key["secret"].as_str().unwrap());
    let body = json!({"name": DOMAIN}).to_string();
    let (_, japanese) = system::ask_in(&world, "ja", &bearer, "POST", "/tenants/beta/domains", "application/json", &body).await;
    assert_eq!(
        japanese["detail"],
        "管理対象ドメインを追加できません。このドメインはすでに管理されています。"
    );
    assert!(!taken.to_string().contains("alpha"), "{taken}");

    claim(&world, "b.example").await.unwrap();
    let made = ask(&beta, "POST", "/tenants/beta/domains", json!({"name": "b.example"}))
        .await
        .unwrap();
    let token = made["txt_record"].as_str().unwrap().to_owned();
    world.dns.change(|zone| {
        zone.remove("b.example")
            .add("b.example", "NS", "ns.example.")
            .add("b.example", "TXT", &format!("\"{token}\""));
    });
    let proven = ask(&beta, "POST", "/tenants/beta/domains/b.example/check", json!({}))
        .await
        .unwrap();
    assert_eq!(proven["state"], "verified", "{proven}");
    assert_problem(
        ask(&world.owner, "GET", "/tenants/alpha/domains/b.example", json!(null)).await,
        404,
        "not-found",
    );
    let log = ask(&world.owner, "GET", "/audit?action=domain.claim-ended", json!(null))
        .await
        .unwrap();
    assert_eq!(log["items"][0]["object"], "b.example", "the other claimant is told: {log}");
    world.stop().await;
}
