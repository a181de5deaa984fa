//! Deletion of a domain: before, grace, end (domains-and-routing 2.5).

use serde_json::{Value, json};
use std::time::Duration;
use system::{DOMAIN, World, ask, assert_problem, assert_refused, message};
use testkit::peer::{Peer, Script};

const PATH: &str = "/tenants/alpha/domains/a.example";
const DAY: Duration = Duration::from_secs(86_400);

async fn deliver(world: &World, subject: &str) -> String {
    world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &message(subject))
        .await
        .unwrap()
}

async fn delete(world: &World) -> Value {
    ask(&world.owner, "DELETE", PATH, json!({"confirm": DOMAIN, "reason": "moved away"}))
        .await
        .unwrap();
    ask(&world.owner, "GET", PATH, json!(null)).await.unwrap()
}

/// Before a deletion one is shown whose the MX is, what was sent lately, what waits and is held; the name must be typed.
/// covers: domains/2.5/before
#[tokio::test]
async fn before() {
    let far = Peer::start(Script {
        extensions: system::usual_extensions(),
        ..Script::default()
    })
    .await;
    let world = World::start().await;
    let route = json!([{"domain": "*", "target": {"to": "smarthost", "host": "127.0.0.1", "port": far.address.port()}}]);
    world
        .set_domain(json!({"outbound_enabled": true, "outbound_networks": ["127.0.3.0/24"], "outbound_routes": route}))
        .await
        .unwrap();
    let own = String::from_utf8(message("out"))
        .unwrap()
        .replace("s@sender.example", "u@a.example")
        .into_bytes();
    for _ in 0..2 {
        let reply = world
            .client_from("127.0.3.1")
            .await
            .deliver("u@a.example", &["v@far.example"], &own)
            .await
            .unwrap();
        world.events(&reply, "delivered").await;
    }
    world
        .peer
        .script(|s| drop(s.recipients.insert("u@a.example".into(), "450 4.2.0 later".into())));
    let mut ids = Vec::new();
    for n in 0..3 {
        let reply = deliver(&world, &format!("waits {n}")).await;
        world.events(&reply, "deferred").await;
        ids.push(system::queue_id(&reply));
    }
    ask(
        &world.owner,
        "POST",
        "/queue/actions",
        json!({"action": "hold", "entries": [{"queue_id": ids[0]}]}),
    )
    .await
    .unwrap();
    let seen = ask(&world.owner, "GET", &format!("{PATH}/before-deletion"), json!(null))
        .await
        .unwrap();
    assert_eq!(seen["mx_is_ours"], true);
    assert_eq!(seen["outbound_last_24h"], 2);
    assert_eq!((seen["queued"].as_u64(), seen["held"].as_u64()), (Some(3), Some(1)));
    assert_eq!((seen["quarantined"].as_u64(), seen["grace_days"].as_u64()), (Some(0), Some(30)));
    world.dns.change(|zone| {
        zone.remove(DOMAIN).add(DOMAIN, "MX", "10 mx.elsewhere.example");
    });
    world.clock.advance(2 * DAY);
    let seen = ask(&world.owner, "GET", &format!("{PATH}/before-deletion"), json!(null))
        .await
        .unwrap();
    assert_eq!(
        (seen["mx_is_ours"].as_bool(), seen["outbound_last_24h"].as_u64()),
        (Some(false), Some(0))
    );
    for confirm in ["", "a", "b.example", "alpha"] {
        let refused = ask(&world.owner, "DELETE", PATH, json!({"confirm": confirm})).await;
        assert_problem(refused, 400, "malformed");
    }
    assert_eq!(ask(&world.owner, "GET", PATH, json!(null)).await.unwrap()["state"], "active");
    world.stop().await;
}

/// In the grace new mail is refused both ways, what is queued runs to its end, and one action brings everything back without a new proof.
/// covers: domains/2.5/grace
#[tokio::test]
async fn grace() {
    let world = World::start().await;
    world
        .set_domain(json!({"outbound_enabled": true, "outbound_networks": ["127.0.3.0/24"]}))
        .await
        .unwrap();
    world
        .peer
        .script(|s| drop(s.recipients.insert("u@a.example".into(), "450 4.2.0 later".into())));
    let waiting = deliver(&world, "waits").await;
    world.events(&waiting, "deferred").await;
    let deleting = delete(&world).await;
    assert_eq!(
        (
            deleting["state"].as_str(),
            deleting["label_ja"].as_str(),
            deleting["label_en"].as_str()
        ),
        (Some("deleting"), Some("削除待ち"), Some("Deleting"))
    );
    assert_refused(
        &deliver(&world, "new").await,
        "554 5.7.1 <u@a.example>: Recipient address rejected: NO-DOMAIN.",
    );
    let out = world
        .client_from("127.0.3.1")
        .await
        .deliver("u@a.example", &["v@far.example"], &message("out"))
        .await
        .unwrap();
    assert_refused(&out, "554 5.7.1 <v@far.example>: Recipient address rejected: NO-DOMAIN.");
    world.peer.script(|s| s.recipients.clear());
    world.pass(Duration::from_secs(340)).await;
    world.peer.wait(1).await;
    world.events(&waiting, "delivered").await;
    assert_problem(
        ask(&world.owner, "DELETE", PATH, json!({"confirm": DOMAIN})).await,
        409,
        "wrong-state",
    );
    // Nobody else gets the name meanwhile.
    let beta = world.tenant("beta").await;
    assert_problem(
        ask(&beta, "POST", "/tenants/beta/domains", json!({"name": DOMAIN})).await,
        409,
        "domain-already-managed",
    );
    world.dns.change(|zone| {
        zone.remove(DOMAIN);
    });
    let restored = ask(&world.owner, "POST", &format!("{PATH}/restore"), json!({})).await.unwrap();
    assert_eq!(restored["state"], "active", "as it was, without new verification");
    assert!(deliver(&world, "back").await.starts_with("250 "));
    assert_problem(
        ask(&world.owner, "POST", &format!("{PATH}/restore"), json!({})).await,
        409,
        "wrong-state",
    );
    let log = ask(&world.owner, "GET", "/audit?domain=a.example", json!(null)).await.unwrap();
    let told = |action: &str| {
        log["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|e| e["action"] == action)
            .cloned()
            .unwrap_or_else(|| panic!("{action} is not in {log}"))
    };
    assert_eq!(
        (&told("domain.delete")["reason"], &told("domain.delete")["actor"]),
        (&json!("moved away"), &json!("owner"))
    );
    told("domain.restore");
    world.stop().await;
}

/// At the end settings, lists, tracking and proof of the domain are gone and the name is free.
/// covers: domains/2.5/end
#[tokio::test]
async fn end() {
    let world = World::start().await;
    let file = b"address\nu@a.example\n".to_vec();
    world
        .owner
        .send(hyper::Method::POST, &format!("/api/v1{PATH}/recipients/import"), "text/csv", file)
        .await
        .unwrap();
    world
        .set_domain(json!({"recipient_mode": "directory", "subaddress": "+"}))
        .await
        .unwrap();
    let reply = deliver(&world, "tracked").await;
    world.events(&reply, "delivered").await;
    let found = async || {
        ask(&world.owner, "GET", "/tracking?recipient=u@a.example", json!(null))
            .await
            .unwrap()["items"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(found().await, 1);
    let old_token = ask(&world.owner, "GET", PATH, json!(null)).await.unwrap()["txt_record"].clone();
    delete(&world).await;
    world.pass(30 * DAY - Duration::from_secs(60)).await;
    assert_eq!(ask(&world.owner, "GET", PATH, json!(null)).await.unwrap()["state"], "deleting");
    world.pass(Duration::from_secs(120)).await;
    world
        .soon("the domain is purged", async || {
            ask(&world.owner, "GET", PATH, json!(null)).await.is_err()
        })
        .await;
    assert_problem(ask(&world.owner, "GET", PATH, json!(null)).await, 404, "not-found");
    let settings = ask(&world.owner, "GET", "/settings/alpha", json!(null)).await.unwrap();
    assert!(settings["document"]["domains"].as_object().unwrap().is_empty(), "{settings}");
    world.soon("tracking of the domain is purged", async || found().await == 0).await;
    let log = ask(&world.owner, "GET", "/audit?action=domain.purged", json!(null)).await.unwrap();
    assert_eq!(log["items"][0]["object"], DOMAIN, "{log}");
    assert_refused(
        &deliver(&world, "late").await,
        "554 5.7.1 <u@a.example>: Recipient address rejected: NO-DOMAIN.",
    );

    // The name is free: another tenant begins from nothing, and the old token proves nothing.
    let beta = world.tenant("beta").await;
    let made = ask(&beta, "POST", "/tenants/beta/domains", json!({"name": DOMAIN})).await.unwrap();
    assert_ne!(made["txt_record"], old_token);
    assert_eq!(
        (&made["state"], &made["settings"]["recipient_mode"], &made["settings"]["subaddress"]),
        (&json!("unverified"), &json!("none"), &Value::Null)
    );
    let list = ask(&beta, "GET", "/tenants/beta/domains/a.example/recipients", json!(null))
        .await
        .unwrap();
    assert_eq!(list["items"], json!([]));
    world.stop().await;
}

/// An unproven claim has no grace: it ends at once.
#[tokio::test]
async fn an_unproven_claim_ends_at_once() {
    let world = World::start().await;
    ask(&world.owner, "POST", "/tenants/alpha/domains", json!({"name": "c.example"}))
        .await
        .unwrap();
    ask(
        &world.owner,
        "DELETE",
        "/tenants/alpha/domains/c.example",
        json!({"confirm": "c.example"}),
    )
    .await
    .unwrap();
    assert_problem(
        ask(&world.owner, "GET", "/tenants/alpha/domains/c.example", json!(null)).await,
        404,
        "not-found",
    );
    world.stop().await;
}
