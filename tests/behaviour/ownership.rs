//! Ownership: how a claim is proven, when it is looked at, what its states mean for mail (domains-and-routing 2.2–2.4).

use mitsuke::client::Api;
use serde_json::{Value, json};
use std::time::Duration;
use system::{DOMAIN, Plan, TENANT, World, ask, assert_problem, assert_refused, message};
use testkit::zone::Record;

const PATH: &str = "/tenants/alpha/domains/a.example";

/// A world with a claim on a.example that nothing proves, and the record that would.
async fn claimed() -> (World, Api, String) {
    let world = World::with(Plan {
        with_domain: false,
        ..Plan::default()
    })
    .await;
    let owner = world.tenant(TENANT).await;
    // The usual zone points the MX to alpha already, which would prove it.
    zone(&world, &[("MX", "10 mx.elsewhere.example")]);
    let settings = json!({"inbound_servers": [{"host": "127.0.0.1", "port": world.peer.address.port()}]});
    let made = ask(
        &owner,
        "POST",
        "/tenants/alpha/domains",
        json!({"name": DOMAIN, "settings": settings}),
    )
    .await
    .unwrap();
    let record = made["txt_record"].as_str().unwrap().to_owned();
    (world, owner, record)
}

/// Replaces all records of a.example; its name server stays.
fn zone(world: &World, records: &[(&str, &str)]) {
    world.dns.change(|zone| {
        zone.remove(DOMAIN).add(DOMAIN, "NS", "ns.example.");
        for (kind, value) in records {
            zone.add(DOMAIN, kind, value);
        }
    });
}

async fn check(world: &World, owner: &Api) -> Value {
    world.clock.advance(Duration::from_secs(11));
    ask(owner, "POST", &format!("{PATH}/check"), json!({})).await.unwrap()
}

async fn view(owner: &Api) -> Value {
    ask(owner, "GET", PATH, json!(null)).await.unwrap()
}

async fn deliver(world: &World) -> String {
    world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &message("hello"))
        .await
        .unwrap()
}

/// The token stands in a TXT record of the domain itself: strings of one record are joined, other records ignored, case counts; a token of
/// another tenant, an old token, a sub-domain or an answer without bounds proves nothing. Each server's answer and TTL are shown.
/// covers: domains/2.3/txt
#[tokio::test]
async fn by_txt() {
    let (world, owner, record) = claimed().await;
    let token = record.strip_prefix("mitsuke=").unwrap();
    assert!(token.len() == 32 && token.bytes().all(|b| b.is_ascii_alphanumeric()), "{record}");
    let beta = world.tenant("beta").await;
    let other = ask(&beta, "POST", "/tenants/beta/domains", json!({"name": DOMAIN})).await.unwrap()["txt_record"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_ne!(other, record, "random per tenant");
    let swapped: String = record
        .chars()
        .map(|c| {
            if c.is_ascii_lowercase() {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect();
    for wrong in [
        swapped.as_str(),
        token,
        &record[..record.len() - 1],
        &format!("{record}x"),
        &format!(" {record}"),
        "v=spf1 -all",
    ] {
        zone(&world, &[("TXT", &format!("\"{wrong}\""))]);
        assert_eq!(check(&world, &owner).await["state"], "unverified", "{wrong}");
    }
    zone(&world, &[]);
    world.dns.change(|zone| {
        zone.add("_mitsuke.a.example", "TXT", &format!("\"{record}\""))
            .add("www.a.example", "TXT", &format!("\"{record}\""));
    });
    assert_eq!(check(&world, &owner).await["state"], "unverified", "a sub-domain is another name");

    // More than 100 records are no answer.
    zone(&world, &[("TXT", &format!("\"{record}\""))]);
    world.dns.change(|zone| {
        for n in 0..100 {
            zone.add(DOMAIN, "TXT", &format!("\"filler {n}\""));
        }
    });
    let seen = check(&world, &owner).await;
    assert_eq!(
        (&seen["state"], &seen["report"]["is_certain"]),
        (&json!("unverified"), &json!(false)),
        "{seen}"
    );

    // A new token ends the old one.
    let renewed = ask(&owner, "POST", &format!("{PATH}/token"), json!({})).await.unwrap()["txt_record"]
        .as_str()
        .unwrap()
        .to_owned();
    zone(&world, &[("TXT", &format!("\"{record}\""))]);
    assert_eq!(check(&world, &owner).await["state"], "unverified", "the old token");
    let (front, back) = renewed.split_at(11);
    zone(&world, &[("TXT", "\"v=spf1 -all\"")]);
    world.dns.change(|zone| {
        let strings = vec![front.as_bytes().to_vec(), back.as_bytes().to_vec()];
        zone.add_record(DOMAIN, 77, Record::Txt(strings))
            .add(DOMAIN, "MX", "10 mx.elsewhere.example");
    });
    let seen = check(&world, &owner).await;
    assert_eq!(
        (&seen["state"], &seen["verified_by"]),
        (&json!("verified"), &json!("txt")),
        "{seen}"
    );
    let server = seen["report"]["servers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["record"] == "txt")
        .unwrap()
        .clone();
    assert_eq!(
        (&server["server"], &server["error"]),
        (&json!("ns.example"), &Value::Null),
        "{server}"
    );
    assert!(
        server["found"].as_array().unwrap().contains(&json!(renewed)) && server["ttl"].as_u64().is_some_and(|ttl| ttl == 60 || ttl == 77),
        "{server}"
    );
    assert_eq!(
        ask(&beta, "GET", "/tenants/beta/domains/a.example", json!(null))
            .await
            .unwrap_err()
            .status,
        404,
        "the other claim ended"
    );
    world.stop().await;
}

/// The best-preference MX is the tenant's own name; a shared name, another tenant's or a worse preference proves nothing.
/// covers: domains/2.3/mx
#[tokio::test]
async fn by_mx() {
    let (world, owner, _) = claimed().await;
    world.tenant("beta").await;
    for wrong in [
        &["10 mx.mitsuke.example"][..],
        &["10 in.mitsuke.example"],
        &["10 beta.in.mitsuke.example"],
        &["10 alpha.out.mitsuke.example"],
        &["10 x.alpha.in.mitsuke.example"],
        &["10 mx.elsewhere.example", "20 alpha.in.mitsuke.example"],
    ] {
        zone(&world, &wrong.iter().map(|mx| ("MX", *mx)).collect::<Vec<_>>());
        assert_eq!(check(&world, &owner).await["state"], "unverified", "{wrong:?}");
    }
    zone(&world, &[("MX", "20 mx.elsewhere.example"), ("MX", "10 ALPHA.in.mitsuke.example")]);
    let seen = check(&world, &owner).await;
    assert_eq!(
        (&seen["state"], &seen["verified_by"], &seen["mx"]),
        (&json!("active"), &json!("mx"), &json!("alpha.in.mitsuke.example")),
        "{seen}"
    );
    world.stop().await;
}

/// The operator confirms by hand, with a reason that stands in the audit log; nobody else can, and nothing goes without a reason.
/// covers: domains/2.3/operator
#[tokio::test]
async fn by_the_operator() {
    let (world, owner, _) = claimed().await;
    let path = format!("{PATH}/confirm");
    assert_problem(ask(&world.operator, "POST", &path, json!({"reason": "  "})).await, 400, "malformed");
    assert_problem(ask(&owner, "POST", &path, json!({"reason": "me"})).await, 403, "forbidden");
    let seen = ask(&world.operator, "POST", &path, json!({"reason": "by telephone"}))
        .await
        .unwrap();
    assert_eq!(
        (&seen["state"], &seen["verified_by"], &seen["verified_reason"]),
        (&json!("verified"), &json!("operator"), &json!("by telephone")),
        "{seen}"
    );
    let log = ask(&owner, "GET", "/audit?action=domain.confirm", json!(null)).await.unwrap();
    let entry = &log["items"][0];
    assert_eq!(
        (&entry["reason"], &entry["object"], &entry["role"]),
        (&json!("by telephone"), &json!(DOMAIN), &json!("operator")),
        "{log}"
    );
    assert!(deliver(&world).await.starts_with("250 "));
    assert_problem(
        ask(&world.operator, "POST", &path, json!({"reason": "again"})).await,
        409,
        "wrong-state",
    );
    world.stop().await;
}

/// Seconds since the world's beginning of a time that the API tells.
fn seconds(at: &Value) -> i64 {
    let text = at.as_str().unwrap_or("2026-11-24T00:00:00");
    let number = |from: usize| text.get(from..from + 2).and_then(|n| n.parse::<i64>().ok()).unwrap();
    (number(8) - 24) * 86_400 + number(11) * 3_600 + number(14) * 60 + number(17)
}

/// DNS is looked at every minute for an hour, every ten minutes to a day, then hourly; "check now" once in ten seconds.
#[tokio::test]
async fn when_dns_is_looked_at() {
    let (world, owner, _) = claimed().await;
    let questions = || {
        let is_token = |a: &&testkit::dns::Asked| a.name == DOMAIN && a.type_number == 16;
        world.dns.asked().iter().filter(is_token).count()
    };
    let now = || (world.clock.now().0 - system::BEGINNING.0) / 1_000;
    let looked_at = async || seconds(&view(&owner).await["checked_at"]);
    // The engine looks around every five seconds: it is waited for so long, and the look itself is exact from there on.
    let look_after = async |last: i64| {
        for _ in 0..8 {
            for _ in 0..20 {
                let at = looked_at().await;
                if at > last {
                    return at;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            world.clock.advance(Duration::from_secs(1));
        }
        panic!("no look after second {last}, it is {}", now());
    };
    let pass_to = |second: i64| world.clock.advance(Duration::from_secs(u64::try_from(second - now()).unwrap()));
    let first = look_after(0).await;
    assert!(first <= 6, "a claim is noticed within five seconds, not at {first}");
    let each = questions();
    assert!(each > 0);
    let step = async |last: i64, wait: i64| {
        let before = questions();
        pass_to(last + wait - 1);
        assert_eq!(looked_at().await, last, "not before its time");
        pass_to(last + wait);
        let at = look_after(last).await;
        assert!((wait..=wait + 6).contains(&(at - last)), "{wait} s after {last}, not at {at}");
        assert_eq!(questions() - before, each, "one look");
        at
    };
    let mut last = first;
    for _ in 0..3 {
        last = step(last, 60).await;
    }
    pass_to(3_660);
    last = look_after(last).await;
    last = step(last, 600).await;
    last = step(last, 600).await;
    pass_to(86_460);
    last = look_after(last).await;
    step(last, 3_600).await;

    world.clock.advance(Duration::from_secs(10));
    ask(&owner, "POST", &format!("{PATH}/check"), json!({})).await.unwrap();
    assert_problem(ask(&owner, "POST", &format!("{PATH}/check"), json!({})).await, 429, "too-soon");
    world.clock.advance(Duration::from_secs(10));
    ask(&owner, "POST", &format!("{PATH}/check"), json!({})).await.unwrap();
    world.stop().await;
}

/// A claim that nobody proves lapses after 30 days (or what the operator set), told 7 days before.
#[tokio::test]
async fn a_claim_lapses() {
    let (world, owner, _) = claimed().await;
    assert_eq!(view(&owner).await["lapses_at"], "2026-12-24T00:00:00.000Z");
    let told = async |action: &str| {
        ask(&owner, "GET", &format!("/audit?action={action}"), json!(null)).await.unwrap()["items"]
            .as_array()
            .unwrap()
            .len()
    };
    world.clock.advance(Duration::from_secs(5));
    world
        .soon("a first look", async || !view(&owner).await["checked_at"].is_null())
        .await;
    world.pass(Duration::from_secs(22 * 86_400)).await;
    assert_eq!(told("domain.claim-lapses-soon").await, 0);
    world.clock.advance(Duration::from_secs(86_400 + 3_600));
    world.soon("the notice", async || told("domain.claim-lapses-soon").await == 1).await;
    world.clock.advance(Duration::from_secs(7 * 86_400));
    world
        .soon("the claim is gone", async || ask(&owner, "GET", PATH, json!(null)).await.is_err())
        .await;
    assert_eq!((told("domain.claim-lapses-soon").await, told("domain.claim-lapsed").await), (1, 1));
    world.set_system(json!({"claim_lapse_s": 60})).await.unwrap();
    ask(&owner, "POST", "/tenants/alpha/domains", json!({"name": DOMAIN}))
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(61));
    world
        .soon("the second claim is gone", async || {
            ask(&owner, "GET", PATH, json!(null)).await.is_err()
        })
        .await;
    world.stop().await;
}

/// Mail for a claim waits outside and makes it be looked at, once a minute at most; mail from it is refused; it is never routed.
/// covers: domains/2.4/unverified
#[tokio::test]
async fn unverified() {
    let (world, owner, record) = claimed().await;
    let seen = view(&owner).await;
    assert_eq!(
        (&seen["state"], &seen["label_ja"], &seen["label_en"]),
        (&json!("unverified"), &json!("設定が必要"), &json!("Configuration required"))
    );
    assert_refused(
        &deliver(&world).await,
        "450 4.7.1 <u@a.example>: Recipient domain not verified yet: DOMAIN-UNVERIFIED.",
    );
    let patch = json!({"settings": {"outbound_enabled": true, "outbound_networks": ["127.0.3.0/24"]}});
    ask(&owner, "PATCH", PATH, patch).await.unwrap();
    let out = world
        .client_from("127.0.3.1")
        .await
        .deliver("u@a.example", &["v@far.example"], &message("out"))
        .await
        .unwrap();
    assert_refused(&out, "554 5.7.1 <v@far.example>: Recipient address rejected: NO-DOMAIN.");
    // Late on the second day looks are hourly; a message brings one at once.
    world.clock.advance(Duration::from_secs(2 * 86_400));
    world
        .soon("a look on day 2", async || {
            view(&owner).await["checked_at"]
                .as_str()
                .is_some_and(|at| at.starts_with("2026-11-26T00:00:"))
        })
        .await;
    zone(&world, &[("TXT", &format!("\"{record}\"")), ("MX", "10 mx.elsewhere.example")]);
    world.clock.advance(Duration::from_secs(120));
    assert_refused(
        &deliver(&world).await,
        "450 4.7.1 <u@a.example>: Recipient domain not verified yet: DOMAIN-UNVERIFIED.",
    );
    world.clock.advance(Duration::from_secs(5));
    world
        .soon("the message made it be looked at", async || view(&owner).await["state"] == "active")
        .await;
    assert!(deliver(&world).await.starts_with("250 "));
    assert_eq!(world.peer.wait(1).await.len(), 1, "nothing was routed before");
    world.stop().await;
}

/// Verified is proven and not complete: mail passes as in Active. The proof may go afterwards.
/// covers: domains/2.4/verified
#[tokio::test]
async fn verified() {
    let (world, owner, record) = claimed().await;
    zone(&world, &[("TXT", &format!("\"{record}\""))]);
    let seen = check(&world, &owner).await;
    assert_eq!(
        (&seen["state"], &seen["label_ja"], &seen["label_en"]),
        (&json!("verified"), &json!("設定が必要"), &json!("Configuration required")),
        "{seen}"
    );
    assert!(deliver(&world).await.starts_with("250 "));
    world.peer.wait(1).await;
    zone(&world, &[]);
    let seen = check(&world, &owner).await;
    assert_eq!(seen["state"], "verified", "the record's absence alone never un-verifies");
    assert!(deliver(&world).await.starts_with("250 "));
    let log = ask(&owner, "GET", "/audit?action=domain.proof-lost", json!(null)).await.unwrap();
    assert_eq!(log["items"][0]["object"], DOMAIN, "the loss of both proofs is told: {log}");
    world.stop().await;
}

/// Active is proven and complete; mail passes both ways when outbound is on.
/// covers: domains/2.4/active
#[tokio::test]
async fn active() {
    let world = World::start().await;
    let seen = view(&world.owner).await;
    assert_eq!(
        (&seen["state"], &seen["label_ja"], &seen["label_en"]),
        (&json!("active"), &json!("完了"), &json!("Completed")),
        "{seen}"
    );
    assert!(deliver(&world).await.starts_with("250 "));
    let own = String::from_utf8(message("out"))
        .unwrap()
        .replace("s@sender.example", "u@a.example")
        .into_bytes();
    let out = async || {
        world
            .client_from("127.0.3.1")
            .await
            .deliver("u@a.example", &["v@far.example"], &own)
            .await
            .unwrap()
    };
    world.set_domain(json!({"outbound_networks": ["127.0.3.0/24"]})).await.unwrap();
    assert_refused(&out().await, "554 5.7.1 <v@far.example>: Recipient address rejected: NO-DOMAIN.");
    world.set_domain(json!({"outbound_enabled": true})).await.unwrap();
    assert!(out().await.starts_with("250 "));
    world.stop().await;
}

/// Disabled by a person: mail waits outside, sending is refused, and enabling brings both back.
/// covers: domains/2.4/disabled
#[tokio::test]
async fn disabled() {
    let world = World::start().await;
    world
        .set_domain(json!({"disabled": true, "outbound_enabled": true, "outbound_networks": ["127.0.3.0/24"]}))
        .await
        .unwrap();
    let seen = view(&world.owner).await;
    assert_eq!(
        (&seen["state"], &seen["label_ja"], &seen["label_en"]),
        (&json!("disabled"), &json!("停止中"), &json!("Disabled"))
    );
    assert_refused(
        &deliver(&world).await,
        "450 4.3.2 <u@a.example>: Recipient domain not in service: DOMAIN-DISABLED.",
    );
    let own = String::from_utf8(message("out"))
        .unwrap()
        .replace("s@sender.example", "u@a.example")
        .into_bytes();
    let out = world
        .client_from("127.0.3.1")
        .await
        .deliver("u@a.example", &["v@far.example"], &own)
        .await
        .unwrap();
    assert_refused(&out, "550 5.7.1 <u@a.example>: Sending suspended: SENDER-SUSPENDED.");
    world.set_domain(json!({"disabled": false})).await.unwrap();
    assert_eq!(view(&world.owner).await["state"], "active");
    assert!(deliver(&world).await.starts_with("250 "));
    world.stop().await;
}

/// Deleting refuses mail both ways until restore or the end of the grace; Deleted is as if the domain had never been.
/// covers: domains/2.4/deleting-deleted
#[tokio::test]
async fn deleting_and_deleted() {
    let world = World::start().await;
    world
        .set_domain(json!({"outbound_enabled": true, "outbound_networks": ["127.0.3.0/24"]}))
        .await
        .unwrap();
    let own = String::from_utf8(message("out"))
        .unwrap()
        .replace("s@sender.example", "u@a.example")
        .into_bytes();
    let refused = async || {
        assert_refused(
            &deliver(&world).await,
            "554 5.7.1 <u@a.example>: Recipient address rejected: NO-DOMAIN.",
        );
        let out = world
            .client_from("127.0.3.1")
            .await
            .deliver("u@a.example", &["v@far.example"], &own)
            .await
            .unwrap();
        assert_refused(&out, "554 5.7.1 <v@far.example>: Recipient address rejected: NO-DOMAIN.");
    };
    ask(&world.owner, "DELETE", PATH, json!({"confirm": DOMAIN})).await.unwrap();
    let seen = view(&world.owner).await;
    assert_eq!(
        (&seen["state"], &seen["label_ja"], &seen["label_en"]),
        (&json!("deleting"), &json!("削除待ち"), &json!("Deleting"))
    );
    refused().await;
    ask(&world.owner, "POST", &format!("{PATH}/restore"), json!({})).await.unwrap();
    assert!(deliver(&world).await.starts_with("250 "));
    ask(&world.owner, "DELETE", PATH, json!({"confirm": DOMAIN})).await.unwrap();
    world.pass(Duration::from_secs(30 * 86_400 + 60)).await;
    world
        .soon("the domain is gone", async || {
            ask(&world.owner, "GET", PATH, json!(null)).await.is_err()
        })
        .await;
    refused().await;
    world.stop().await;
}
