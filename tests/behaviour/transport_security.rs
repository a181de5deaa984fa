//! Transport security of clients and next hops, and the ways out (domains-and-routing 7).

use serde_json::{Value, json};
use std::time::Duration;
use system::{
    DOMAIN, Plan, SOURCE, STRANGER, TENANT, World, ask, assert_checked, assert_refused, event, message, next_hop, usual_extensions,
};
use testkit::client::{Client, ClientCertificate};
use testkit::peer::{Act, Peer, PeerTls, Script, Stage};

const REQUIRED: &str = "530 5.7.0 Must issue STARTTLS first: TLS-REQUIRED.";

/// What RCPT says to `client` after MAIL from `sender`.
async fn rcpt(client: &mut Client, sender: &str) -> String {
    client.say("RSET").await.unwrap();
    let reply = client.say(&format!("MAIL FROM:<{sender}>")).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    client.say("RCPT TO:<u@a.example>").await.unwrap()
}

fn assert_taken(reply: &str) {
    assert!(reply.starts_with("250 2.1.5 "), "{reply}");
}

/// Rows by client domain, address and network of tenant and domain: the most specific enabled one decides, the default row otherwise.
/// covers: domains/7/tls-peer-inbound
#[tokio::test]
async fn peer_inbound() {
    let known = ClientCertificate::new(&["client.sender.example"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roots.pem");
    std::fs::write(&file, &known.pem).unwrap();
    let node = format!("[tls]\nroots = [{:?}]\n", file.display().to_string());
    let world = World::with(Plan { node, ..Plan::default() }).await;
    let stranger = ClientCertificate::new(&["client.sender.example"]);
    for (row, at, kind) in [
        (
            json!({"client": "not a name", "level": "mandatory"}),
            "peer_inbound[0].client",
            "malformed",
        ),
        (
            json!({"client": "10.0.0.0/33", "level": "mandatory"}),
            "peer_inbound[0].client",
            "malformed",
        ),
    ] {
        assert_checked(world.set_tenant(json!({"peer_inbound": [row]})).await, &[(at, kind)]);
        assert_checked(world.set_domain(json!({"peer_inbound": [row]})).await, &[(at, kind)]);
    }
    world
        .set_tenant(json!({"peer_inbound": [{"client": "*", "level": "sometimes"}]}))
        .await
        .expect_err("no level");

    let mut clear = world.client().await;
    assert_taken(&rcpt(&mut clear, "s@sender.example").await);
    let row = |client: &str, level: &str, enabled: bool| json!({"client": client, "level": level, "enabled": enabled});
    let cases: [(&str, Value, Value, bool); 9] = [
        ("by domain", json!([row("sender.example", "mandatory", true)]), json!([]), false),
        ("of another domain", json!([row("far.example", "mandatory", true)]), json!([]), true),
        ("by suffix", json!([row(".example", "mandatory", true)]), json!([]), false),
        ("by address", json!([row(STRANGER, "mandatory", true)]), json!([]), false),
        ("by network", json!([row("127.0.0.0/24", "mandatory", true)]), json!([]), false),
        (
            "the default row",
            json!([row("*", "mandatory", true), row("10.0.0.0/8", "opportunistic", true)]),
            json!([]),
            false,
        ),
        (
            "the most specific",
            json!([row("*", "mandatory", true), row(STRANGER, "opportunistic", true)]),
            json!([]),
            true,
        ),
        (
            "disabled falls to the default",
            json!([row("*", "mandatory", true), row(STRANGER, "opportunistic", false)]),
            json!([]),
            false,
        ),
        (
            "the domain's before the tenant's",
            json!([row("*", "opportunistic", true)]),
            json!([row("*", "mandatory", true)]),
            false,
        ),
    ];
    for (what, of_tenant, of_domain, passes) in cases {
        world.set_tenant(json!({"peer_inbound": of_tenant})).await.unwrap();
        world.set_domain(json!({"peer_inbound": of_domain})).await.unwrap();
        let reply = rcpt(&mut clear, "s@sender.example").await;
        if passes {
            assert!(reply.starts_with("250"), "{what}: {reply}")
        } else {
            assert!(reply.starts_with(REQUIRED), "{what}: {reply}")
        }
    }
    let mut private = world.client().await.starttls(None).await.unwrap();
    assert_taken(&rcpt(&mut private, "s@sender.example").await);

    world
        .set_domain(json!({"peer_inbound": [row("sender.example", "mandatory-verified", true)]}))
        .await
        .unwrap();
    assert_refused(&rcpt(&mut private, "s@sender.example").await, REQUIRED);
    let mut unverified = world.client().await.starttls(Some(&stranger)).await.unwrap();
    assert_refused(&rcpt(&mut unverified, "s@sender.example").await, REQUIRED);
    let mut verified = world.client().await.starttls(Some(&known)).await.unwrap();
    let reply = verified
        .deliver("s@sender.example", &["u@a.example"], &message("verified"))
        .await
        .unwrap();
    let events = world.events(&reply, "delivered").await;
    let tls = &event(&events, "tls")["tls"];
    assert_eq!(
        (tls["certificate"].as_str(), tls["fingerprint"].as_str()),
        (Some("verified"), Some(&*known.fingerprint))
    );
    assert!(
        tls["version"].as_str().unwrap().starts_with("TLSv1.") && tls["cipher"].as_str().unwrap().starts_with("TLS"),
        "{tls}"
    );
    world.stop().await;
}

/// A world that sends for its domain, and a mail exchanger on port 25 of an address of its own for everything below `far.example`.
async fn outward(exchanger: &str, node: String) -> (World, Peer) {
    let mut zone = String::new();
    for name in ["one.far.example", "two.far.example", "three.far.example"] {
        zone.push_str(&format!("{name}. MX 10 hop.far.example.\n"));
    }
    zone.push_str(&format!("hop.far.example. A {exchanger}\nonly-a.far.example. A {exchanger}\n"));
    let world = World::with(Plan {
        zone,
        node,
        ..Plan::default()
    })
    .await;
    world
        .set_domain(json!({"outbound_enabled": true, "outbound_networks": [format!("{SOURCE}/32")]}))
        .await
        .unwrap();
    let hop = Peer::start_at(
        format!("{exchanger}:25").parse().unwrap(),
        Script {
            extensions: usual_extensions(),
            ..Script::default()
        },
    )
    .await;
    (world, hop)
}

/// Sends to `to` from the tenant; the last attempt, and `delivered` or the reason of the delay.
async fn send_out(world: &World, to: &str) -> (Value, String) {
    let mut client = world.client_from(SOURCE).await;
    let mail = String::from_utf8(message("out"))
        .unwrap()
        .replace("s@sender.example", "u@a.example");
    let reply = client.deliver("u@a.example", &[to], mail.as_bytes()).await.unwrap();
    let id = system::queue_id(&reply);
    let mut events = Vec::new();
    world
        .eventually(to, async || {
            events = world.owner.get(&format!("/api/v1/tracking/{id}")).await.unwrap()["events"]
                .as_array()
                .cloned()
                .unwrap();
            events
                .iter()
                .any(|e| e["e"] == "delivered" || e["e"] == "deferred" || e["e"] == "failed")
        })
        .await;
    let attempt = events.iter().rfind(|e| e["e"] == "attempt").cloned().unwrap_or_default();
    let what = match events.iter().find(|e| e["e"] == "deferred" || e["e"] == "failed") {
        Some(e) => e["reason"].as_str().unwrap().to_owned(),
        None => "delivered".to_owned(),
    };
    // Idle connections end, so that the next one is made under the next settings.
    world.skip(Duration::from_secs(700)).await;
    (attempt, what)
}

/// Levels by recipient domain for what goes by MX; DANE and MTA-STS are refused until they are there.
/// covers: domains/7/tls-peer-outbound
/// refuses: domains/7/tls-peer-outbound
#[tokio::test]
async fn peer_outbound() {
    let believed = PeerTls::new(&["hop.far.example"]);
    let stranger = PeerTls::new(&["hop.far.example"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roots.pem");
    std::fs::write(&file, &believed.pem).unwrap();
    let (world, hop) = outward("127.25.7.1", format!("[tls]\nroots = [{:?}]\n", file.display().to_string())).await;
    for (level, name) in [("dane", "DANE"), ("mta-sts", "MTA-STS")] {
        let rows = json!({"peer_outbound": [{"domain": "*", "level": level}]});
        assert_checked(world.set_tenant(rows.clone()).await, &[("peer_outbound[0].level", "not-available")]);
        assert_checked(world.set_domain(rows).await, &[("peer_outbound[0].level", "not-available")]);
        let smarthost = json!({"to": "smarthost", "host": "127.0.0.1", "port": 25, "tls": level});
        let answer = world
            .set_tenant(json!({"outbound_routes": [{"domain": "*", "target": smarthost}]}))
            .await;
        assert_checked(answer, &[("target.tls", "not-available")]);
        assert!(!name.is_empty());
    }
    assert_checked(
        world
            .set_tenant(json!({"peer_outbound": [{"domain": "*", "level": "pinned"}]}))
            .await,
        &[("pins", "missing")],
    );

    let row = |domain: &str, level: &str| json!({"domain": domain, "level": level});
    let pinned = json!({"domain": "*", "level": "pinned", "pins": [stranger.pin]});
    // What, rows of the tenant and of the domain, what the host offers, to where; outcome and policy.
    type Case<'a> = (&'a str, Value, Value, Option<PeerTls>, &'a str, &'a str, &'a str);
    let cases: Vec<Case<'_>> = vec![
        (
            "nothing said, nothing offered",
            json!([]),
            json!([]),
            None,
            "one",
            "delivered",
            "opportunistic by default",
        ),
        (
            "nothing said, TLS offered",
            json!([]),
            json!([]),
            Some(stranger.clone()),
            "one",
            "delivered",
            "opportunistic by default",
        ),
        (
            "mandatory, nothing offered",
            json!([row("*", "mandatory")]),
            json!([]),
            None,
            "one",
            "TLS-POLICY",
            "encrypted by ",
        ),
        (
            "mandatory, anyone",
            json!([row("*", "mandatory")]),
            json!([]),
            Some(stranger.clone()),
            "one",
            "delivered",
            "encrypted by ",
        ),
        (
            "verified",
            json!([row("*", "verified")]),
            json!([]),
            Some(believed.clone()),
            "one",
            "delivered",
            "verified by ",
        ),
        (
            "verified, stranger",
            json!([row("*", "verified")]),
            json!([]),
            Some(stranger.clone()),
            "one",
            "TLS-POLICY",
            "verified by ",
        ),
        (
            "pinned",
            json!([pinned]),
            json!([]),
            Some(stranger.clone()),
            "one",
            "delivered",
            "pinned by ",
        ),
        (
            "pinned, other key",
            json!([pinned]),
            json!([]),
            Some(believed.clone()),
            "one",
            "TLS-POLICY",
            "pinned by ",
        ),
        (
            "the exact one wins",
            json!([
                row("*", "verified"),
                row(".far.example", "mandatory"),
                row("one.far.example", "opportunistic")
            ]),
            json!([]),
            None,
            "one",
            "delivered",
            "opportunistic by ",
        ),
        (
            "the suffix beats the default",
            json!([row("*", "opportunistic"), row(".far.example", "mandatory")]),
            json!([]),
            None,
            "two",
            "TLS-POLICY",
            "encrypted by ",
        ),
        (
            "the domain's before the tenant's",
            json!([row("*", "mandatory")]),
            json!([row("*", "opportunistic")]),
            None,
            "three",
            "delivered",
            "opportunistic by ",
        ),
        (
            "disabled falls to the default",
            json!([row("*", "opportunistic"), {"domain": "one.far.example", "level": "mandatory", "enabled": false}]),
            json!([]),
            None,
            "one",
            "delivered",
            "opportunistic by ",
        ),
    ];
    for (what, of_tenant, of_domain, tls, to, expect, policy) in cases {
        world.set_tenant(json!({"peer_outbound": of_tenant})).await.unwrap();
        world.set_domain(json!({"peer_outbound": of_domain})).await.unwrap();
        let offered = tls.is_some();
        hop.script(|s| s.tls = tls);
        let (attempt, got) = send_out(&world, &format!("x@{to}.far.example")).await;
        assert_eq!(got, expect, "{what}: {attempt}");
        assert!(attempt["policy"].as_str().unwrap().starts_with(policy), "{what}: {attempt}");
        if got == "delivered" {
            assert_eq!(attempt["tls"].is_object(), offered, "{what}: {attempt}");
        } else {
            let id = ask(&world.owner, "GET", "/queue", Value::Null).await.unwrap()["items"][0]["queue_id"].clone();
            ask(
                &world.owner,
                "POST",
                "/queue/actions",
                json!({"action": "discard", "entries": [{"queue_id": id}], "text": "seen"}),
            )
            .await
            .unwrap();
        }
    }
    world.stop().await;
}

/// The lowest version, of the operator and of the tenant, in both directions; a client with an older one may go on in clear where that is enough.
/// covers: domains/7/tls-min-inbound-tls-min-outbound
#[tokio::test]
async fn lowest_versions() {
    let (world, hop) = outward("127.25.7.2", String::new()).await;
    for name in ["tls_min_inbound", "tls_min_outbound"] {
        for wrong in ["1.0", "1.1", "2"] {
            world.set_tenant(json!({name: wrong})).await.expect_err(wrong);
            world.set_system(json!({name: wrong})).await.expect_err(wrong);
        }
        world.set_system(json!({name: "1.3"})).await.unwrap();
        assert_checked(world.set_tenant(json!({name: "1.2"})).await, &[(name, "out-of-range")]);
        world.set_system(json!({name: null})).await.unwrap();
    }
    let old: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
    let mut client = world.client().await.starttls_with(None, old).await.unwrap();
    assert_taken(&rcpt(&mut client, "s@sender.example").await);

    world.set_system(json!({"tls_min_inbound": "1.3"})).await.unwrap();
    assert!(
        world.client().await.starttls_with(None, old).await.is_err(),
        "no handshake below the lowest version"
    );
    let mut client = world.client().await;
    assert_taken(&rcpt(&mut client, "s@sender.example").await);
    world.client().await.starttls(None).await.unwrap();
    world.set_system(json!({"tls_min_inbound": null})).await.unwrap();

    world
        .set_tenant(json!({"tls_min_inbound": "1.3", "peer_inbound": [{"client": "*", "level": "mandatory"}]}))
        .await
        .unwrap();
    let mut client = world.client().await.starttls_with(None, old).await.unwrap();
    assert_refused(&rcpt(&mut client, "s@sender.example").await, REQUIRED);
    let mut client = world.client().await.starttls(None).await.unwrap();
    assert_taken(&rcpt(&mut client, "s@sender.example").await);
    world.set_tenant(json!({"peer_inbound": []})).await.unwrap();
    let mut client = world.client().await.starttls_with(None, old).await.unwrap();
    assert_taken(&rcpt(&mut client, "s@sender.example").await);

    hop.script(|s| s.tls = Some(PeerTls::with_versions(&["hop.far.example"], old)));
    world
        .set_tenant(json!({"peer_outbound": [{"domain": "*", "level": "mandatory"}]}))
        .await
        .unwrap();
    let (attempt, got) = send_out(&world, "x@one.far.example").await;
    assert_eq!((got.as_str(), attempt["tls"]["version"].as_str()), ("delivered", Some("TLSv1.2")));
    world.set_tenant(json!({"tls_min_outbound": "1.3"})).await.unwrap();
    assert_eq!(send_out(&world, "x@one.far.example").await.1, "TLS-POLICY");
    world
        .set_tenant(json!({"tls_min_outbound": null, "peer_outbound": []}))
        .await
        .unwrap();
    world.set_system(json!({"tls_min_outbound": "1.3"})).await.unwrap();
    let (attempt, got) = send_out(&world, "x@two.far.example").await;
    assert_eq!(
        (got.as_str(), attempt["tls"].is_object()),
        ("delivered", false),
        "in clear where that is enough: {attempt}"
    );
    world.stop().await;
}

/// By MX (order, fallback to the address, dead exchangers), by smarthost with its own TLS and log-in, and from a pool of addresses.
/// covers: domains/7/route-outbound
#[tokio::test]
async fn ways_out() {
    let (world, hop) = outward("127.25.7.3", "delivering_addresses = [\"127.0.21.1\", \"127.0.21.2\"]\n".into()).await;
    world.dns.change(|zone| {
        zone.add("mixed.far.example", "MX", "20 hop.far.example.");
        zone.add("mixed.far.example", "MX", "10 dead.far.example.");
        zone.add("dead.far.example", "A", "127.25.7.99");
    });
    let (attempt, got) = send_out(&world, "x@one.far.example").await;
    assert_eq!(
        (got.as_str(), attempt["route"].as_str(), attempt["address"].as_str()),
        ("delivered", Some("mx 10"), Some("127.25.7.3:25"))
    );
    let (attempt, got) = send_out(&world, "x@only-a.far.example").await;
    assert_eq!(
        (got.as_str(), attempt["host"].as_str()),
        ("delivered", Some("only-a.far.example")),
        "without MX the address of the domain"
    );
    let (attempt, got) = send_out(&world, "x@mixed.far.example").await;
    assert_eq!(
        (got.as_str(), attempt["route"].as_str()),
        ("delivered", Some("mx 20")),
        "the dead one first, then the next"
    );
    let taken = hop.wait(3).await;
    assert_eq!(
        (taken[0].hello.as_str(), taken[0].mail.split(' ').nth(1)),
        ("mx.mitsuke.example", Some("FROM:<u@a.example>"))
    );

    let target = |more: Value| {
        let mut t = json!({"to": "smarthost", "host": "127.0.0.1", "port": 2525});
        more.as_object().unwrap().iter().for_each(|(k, v)| t[k] = v.clone());
        t
    };
    for (route, at, kind) in [
        (
            json!({"domain": "*", "target": target(json!({"host": "169.254.169.254"}))}),
            "target.host",
            "forbidden",
        ),
        (
            json!({"domain": "*", "target": target(json!({"host": "nowhere.example"}))}),
            "target.host",
            "missing",
        ),
        (
            json!({"domain": "*", "target": target(json!({"auth": {"user": "u", "secret": "s"}}))}),
            "target.auth",
            "conflict",
        ),
        (
            json!({"domain": "*", "target": {"to": "mx"}, "source_addresses": ["127.0.21.3"]}),
            "source_addresses[0]",
            "missing",
        ),
        (json!({"domain": "not a name", "target": {"to": "mx"}}), "domain", "malformed"),
    ] {
        let problem = world.set_tenant(json!({"outbound_routes": [route]})).await.expect_err(at);
        assert_eq!(problem.document["problems"][0]["kind"], kind, "{at}: {}", problem.document);
    }

    let extensions = [usual_extensions(), vec!["AUTH PLAIN".to_owned()]].concat();
    let smart = Peer::start(Script {
        extensions,
        tls: Some(PeerTls::new(&["smart.example"])),
        ..Script::default()
    })
    .await;
    let plain = next_hop().await;
    let to_smart =
        target(json!({"port": smart.address.port(), "tls": "mandatory", "auth": {"user": "tenant", "secret": "way-out-secret"}}));
    world
        .set_tenant(json!({"outbound_routes": [
            {"domain": "one.far.example", "target": to_smart},
            {"domain": "two.far.example", "target": {"to": "mx"}, "source_addresses": ["127.0.21.1", "127.0.21.2"]},
            {"domain": "*", "target": target(json!({"port": plain.address.port()}))},
        ]}))
        .await
        .unwrap();
    let shown = ask(&world.owner, "GET", &format!("/settings/{TENANT}"), Value::Null).await.unwrap();
    assert!(!shown.to_string().contains("way-out-secret"), "{shown}");
    assert_eq!(send_out(&world, "x@one.far.example").await.1, "delivered");
    let taken = smart.wait(1).await;
    assert_eq!((taken[0].tls, taken[0].auth.as_deref()), (true, Some(" tenant way-out-secret")));
    assert_eq!(send_out(&world, "x@three.far.example").await.1, "delivered");
    assert_eq!(plain.wait(1).await[0].rcpts, ["RCPT TO:<x@three.far.example>"]);
    for _ in 0..4 {
        assert_eq!(send_out(&world, "x@two.far.example").await.1, "delivered");
    }
    let mut sources: Vec<String> = hop.wait(7).await[3..].iter().map(|t| t.client.unwrap().to_string()).collect();
    sources.sort();
    sources.dedup();
    assert_eq!(sources, ["127.0.21.1", "127.0.21.2"], "the pool takes turns");

    world
        .set_domain(json!({"outbound_routes": [{"domain": "*", "target": {"to": "mx"}}]}))
        .await
        .unwrap();
    send_out(&world, "x@three.far.example").await;
    assert_eq!(
        (hop.wait(8).await.len(), plain.taken().len()),
        (8, 1),
        "the domain's row before the tenant's"
    );
    smart.script(|s| drop(s.acts.insert(Stage::Ehlo, Act::Reply("421 down".into()))));
    assert_eq!(
        send_out(&world, "x@one.far.example").await.1,
        "REMOTE-REPLY",
        "a smarthost that is down is waited for, not gone round"
    );
    assert_eq!(DOMAIN, "a.example");
    world.stop().await;
}
