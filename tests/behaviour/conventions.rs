//! Conventions: scopes of settings, defaults, names, sizes (domains-and-routing 0).

use serde_json::json;
use std::time::Duration;
use system::{DOMAIN, Plan, TENANT, World, ask, assert_checked, assert_problem, assert_refused, message};

/// A domain tightens what the tenant and the operator set, and only for itself; it cannot loosen, nor set what belongs to a scope above.
/// covers: domains/0/s-t-d-g-u-r
#[tokio::test]
async fn a_lower_scope_tightens() {
    let world = World::start().await;
    world.domain(TENANT, &world.owner, "b.example", world.peer.address).await;
    world.set_domain(json!({"limits": {"message_bytes_max": 2_000_000}})).await.unwrap();
    let mut client = world.client().await;
    let big = "MAIL FROM:<s@sender.example> SIZE=2000001";
    assert!(client.say(big).await.unwrap().starts_with("250"));
    let reply = client.say("RCPT TO:<u@a.example>").await.unwrap();
    assert_refused(&reply, "552 5.3.4 Message size exceeds limit of 2000000 bytes: SIZE.");
    assert!(
        client.say("RCPT TO:<u@b.example>").await.unwrap().starts_with("250"),
        "the other domain keeps the upper figure"
    );

    let cap = json!({"limits": {"message_bytes_max": 200 * 1_048_576 + 1}});
    assert_checked(world.set_domain(cap).await, &[("limits.message_bytes_max", "out-of-range")]);
    assert_checked(
        world.set_domain(json!({"limits": {"hops_max": 30}})).await,
        &[("limits.hops_max", "unknown")],
    );
    assert_checked(
        world.set_tenant(json!({"limits": {"connections_per_address": 30}})).await,
        &[("limits.connections_per_address", "unknown")],
    );
    world.set_system(json!({"tls_min_inbound": "1.3"})).await.unwrap();
    assert_checked(
        world.set_tenant(json!({"tls_min_inbound": "1.2"})).await,
        &[("tls_min_inbound", "out-of-range")],
    );
    // Groups and users have no settings here yet: no place where they could be written and ignored.
    for scope in ["groups", "users"] {
        assert_checked(world.set_domain(json!({scope: {}})).await, &[("domains.a.example", "unknown")]);
    }
    world.stop().await;
}

/// Without a setting the figures of the original hold: what EHLO announces, one row's fields, the first retry after 5 minutes.
/// covers: domains/0/original
#[tokio::test]
async fn defaults_are_the_originals() {
    let world = World::start().await;
    let mut client = world.client().await;
    assert!(client.greeting.contains("250-SIZE 209715200"), "{}", client.greeting);
    let domain = ask(&world.owner, "GET", "/tenants/alpha/domains/a.example", json!(null))
        .await
        .unwrap();
    let settings = &domain["settings"];
    for (field, expect) in [
        ("kind", json!("relayed")),
        ("recipient_mode", json!("none")),
        ("outbound_enabled", json!(false)),
        ("own_rules", json!(false)),
    ] {
        assert_eq!(settings[field], expect, "{field}");
    }
    let row = &settings["inbound_servers"][0];
    for (field, expect) in [
        ("recipient", json!("*")),
        ("preference", json!(10)),
        ("tls", json!("opportunistic")),
        ("tls_min", json!("1.2")),
        ("connections_max", json!(20)),
        ("per_connection_max", json!(100)),
        ("enabled", json!(true)),
    ] {
        assert_eq!(row[field], expect, "{field}");
    }
    world
        .peer
        .script(|s| drop(s.recipients.insert("u@a.example".into(), "450 4.2.0 later".into())));
    let reply = client
        .deliver("s@sender.example", &["u@a.example"], &message("five minutes"))
        .await
        .unwrap();
    let events = world.events(&reply, "deferred").await;
    let deferred = events.iter().find(|e| e["e"] == "deferred").unwrap();
    let due = deferred["due"].as_str().unwrap_or_else(|| panic!("{deferred}"));
    let (earliest, latest) = ("2026-11-24T00:05:00.000Z", "2026-11-24T00:05:30.000Z");
    assert!(
        earliest <= due && due <= latest,
        "5 min, never shortened by jitter, at most 10 % more: {due}"
    );
    world.stop().await;
}

/// An access name has 2 to 32 of a-z0-9-, first a letter, is unique and fixed; it makes the service names below the base.
/// covers: domains/0/base-tenant
#[tokio::test]
async fn names_of_tenants() {
    let world = World::with(Plan {
        with_domain: false,
        ..Plan::default()
    })
    .await;
    let longest = "a".repeat(32);
    for name in ["ab", "a-1", "z9", longest.as_str()] {
        let made = ask(&world.operator, "POST", "/tenants", json!({"name": name})).await.unwrap();
        assert_eq!(made["name"], name);
        assert_eq!(made["mx"], format!("{name}.in.mitsuke.example"));
        assert_eq!(made["smarthost"], format!("{name}.out.mitsuke.example"));
    }
    let too_long = "a".repeat(33);
    for name in [
        "",
        "a",
        "1a",
        "-ab",
        "Ab",
        "a_b",
        "a b",
        "a.b",
        "あい",
        "ab\u{0}",
        too_long.as_str(),
    ] {
        assert_problem(
            ask(&world.operator, "POST", "/tenants", json!({"name": name})).await,
            400,
            "malformed",
        );
    }
    assert_problem(ask(&world.operator, "POST", "/tenants", json!({"name": "ab"})).await, 409, "exists");
    assert_problem(
        ask(&world.operator, "PATCH", "/tenants/ab", json!({"name": "new"})).await,
        422,
        "unknown",
    );
    assert_eq!(ask(&world.operator, "GET", "/tenants/ab", json!(null)).await.unwrap()["name"], "ab");
    world.stop().await;
}

/// 1 MB is 1,048,576 octets of DATA, counted with the MIME encoding: exactly so many pass, one more does not; what is LATER is refused.
/// covers: domains/0/1-mb-later
#[tokio::test]
async fn a_megabyte() {
    const MB: usize = 1_048_576;
    let world = World::start().await;
    world.set_domain(json!({"limits": {"message_bytes_max": MB}})).await.unwrap();
    let sized = |size: usize| {
        let mut sent = message("size");
        while sent.len() < size {
            let line = (size - sent.len()).min(72);
            // No rest of one octet, which could not be a line.
            let line = if size - sent.len() - line == 1 { line - 1 } else { line };
            sent.extend(std::iter::repeat_n(b'x', line - 2));
            sent.extend_from_slice(b"\r\n");
        }
        assert_eq!(sent.len(), size);
        sent
    };
    let mut client = world.client().await;
    let reply = client.deliver("s@sender.example", &["u@a.example"], &sized(MB)).await.unwrap();
    assert!(reply.starts_with("250 2.0.0 Accepted, queue id "), "{reply}");
    let accepted = world
        .events(&reply, "accepted")
        .await
        .into_iter()
        .find(|e| e["e"] == "accepted")
        .unwrap();
    assert_eq!(accepted["size"], MB);
    let reply = client.deliver("s@sender.example", &["u@a.example"], &sized(MB + 1)).await.unwrap();
    assert_refused(&reply, "552 5.3.4 Message size exceeds limit of 1048576 bytes: SIZE.");
    assert_checked(
        world.set_domain(json!({"limits": {"message_bytes_max": MB - 1}})).await,
        &[("limits.message_bytes_max", "out-of-range")],
    );
    assert_checked(world.set_domain(json!({"kind": "hosted"})).await, &[("kind", "not-available")]);
    world.stop().await;
}

/// Times are UTC with their zone; our own faults are 4yz; what was promised is there after a restart.
#[tokio::test]
async fn a_promise_outlives_a_restart() {
    let mut world = World::start().await;
    world
        .peer
        .script(|s| drop(s.recipients.insert("u@a.example".into(), "450 4.2.0 later".into())));
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &message("restart"))
        .await
        .unwrap();
    world.events(&reply, "deferred").await;
    world.restart().await;
    // The API's port is another one now.
    let key = ask(
        &world.operator,
        "POST",
        "/tenants/alpha/keys",
        json!({"name": "again", "role": "owner"}),
    )
    .await
    .unwrap();
    world.owner = world.key(key["secret"].as_str().unwrap());
    world.peer.script(|s| s.recipients.clear());
    world.pass(Duration::from_secs(340)).await;
    world.peer.wait(1).await;
    let events = world.events(&reply, "delivered").await;
    assert!(
        events.iter().all(|e| e["at"].as_str().is_some_and(|at| at.ends_with('Z'))),
        "{events:?}"
    );
    let domain = ask(&world.owner, "GET", "/tenants/alpha/domains", json!(null)).await.unwrap();
    assert_eq!(domain["items"][0]["name"], DOMAIN);
    world.stop().await;
}
