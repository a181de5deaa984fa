//! Inbound server rows, field by field: what is refused at saving, and what each field does to mail (domains-and-routing 4.1).

use serde_json::{Value, json};
use std::time::Duration;
use system::{DOMAIN, Plan, TENANT, World, ask, assert_checked, assert_refused, event, message, next_hop, row, row_with, usual_extensions};
use testkit::peer::{Act, Peer, PeerTls, Script, Stage};

/// The rows as they are shown.
async fn shown(world: &World) -> Value {
    let domain = ask(&world.owner, "GET", &format!("/tenants/{TENANT}/domains/{DOMAIN}"), Value::Null)
        .await
        .unwrap();
    domain["settings"]["inbound_servers"].clone()
}

async fn refused(world: &World, rows: Value, expect: &[(&str, &str)]) {
    assert_checked(world.set_domain(json!({"inbound_servers": rows})).await, expect);
}

/// A row is for everyone or for one exact local part, compared without case; other wildcards are refused; whom no row matches is deferred.
/// covers: domains/4.1/recipient
#[tokio::test]
async fn recipient() {
    let world = World::start().await;
    let hop = world.peer.address;
    for pattern in ["j*", "**", "*@a.example", "", "john doe", "john@a.example", "jo\u{0}hn"] {
        refused(
            &world,
            json!([row_with(hop, json!({"recipient": pattern}))]),
            &[("inbound_servers[0].recipient", "malformed")],
        )
        .await;
    }
    world.rows(json!([row(hop)])).await;
    assert_eq!(shown(&world).await[0]["recipient"], "*");
    world.send("anyone", &["someone.else@a.example"]).await;

    world.rows(json!([row_with(hop, json!({"recipient": "John"}))])).await;
    world.send("exact", &["john@a.example"]).await;
    world.send("upper case", &["JOHN@a.example"]).await;
    let taken = world.peer.wait(3).await;
    assert_eq!(taken[2].rcpts, ["RCPT TO:<JOHN@a.example>"], "the local part leaves as it came");
    let mut client = world.client().await;
    client.say("MAIL FROM:<s@sender.example>").await.unwrap();
    assert_refused(
        &client.say("RCPT TO:<johnny@a.example>").await.unwrap(),
        "451 4.3.5 <johnny@a.example>: No route: NO-ROUTE.",
    );
    world.set_domain(json!({"subaddress": "+"})).await.unwrap();
    world.send("sub-address", &["john+list@a.example"]).await;
    assert_eq!(world.peer.wait(4).await[3].rcpts, ["RCPT TO:<john+list@a.example>"]);
    world.stop().await;
}

/// Host and port: a name needs an address, an address must not be a forbidden one, ports are numbers that the operator may narrow; 25 is the default.
/// covers: domains/4.1/host-port
#[tokio::test]
async fn host_and_port() {
    let zone = "only-mx.example. MX 10 mx.far.example.\nhop.far.example. A 127.0.0.1\n";
    let world = World::with(Plan {
        zone: zone.into(),
        ..Plan::default()
    })
    .await;
    let port = world.peer.address.port();
    let at = |host: &str| json!([{"host": host, "port": port}]);
    for (host, kind) in [
        ("only-mx.example", "missing"),
        ("nowhere.example", "missing"),
        ("localhost", "malformed"),
        ("a b.example", "malformed"),
        ("", "malformed"),
        ("0.0.0.0", "forbidden"),
        ("224.0.0.1", "forbidden"),
        ("169.254.169.254", "forbidden"),
        ("10.0.0.1", "forbidden"),
        ("fe80::1", "forbidden"),
    ] {
        let answer = world.set_domain(json!({"inbound_servers": at(host)})).await;
        let problem = answer.expect_err(host);
        assert_eq!(
            (problem.status, &problem.document["problems"][0]["kind"]),
            (422, &json!(kind)),
            "{host}: {}",
            problem.document
        );
    }
    refused(&world, json!([{"host": "127.0.0.1", "port": 0}]), &[("port", "out-of-range")]).await;
    world
        .set_domain(json!({"inbound_servers": [{"host": "127.0.0.1", "port": 65_536}]}))
        .await
        .expect_err("no port");
    let own = world.address(config::node::ListenerRole::Mx);
    let problem = world
        .set_domain(json!({"inbound_servers": [row(own)]}))
        .await
        .expect_err("our own listener");
    assert_eq!(problem.document["problems"][0]["kind"], "forbidden", "{}", problem.document);

    world.set_system(json!({"next_hop_ports": [25, port]})).await.unwrap();
    let problem = world
        .set_domain(json!({"inbound_servers": [{"host": "127.0.0.1", "port": 26}]}))
        .await
        .expect_err("a port the operator does not allow");
    assert_eq!(problem.document["problems"][0]["kind"], "forbidden", "{}", problem.document);
    world.rows(json!([{"host": "127.0.0.1"}])).await;
    assert_eq!(shown(&world).await[0]["port"], 25);

    world.rows(at("hop.far.example")).await;
    let reply = world.send("by name", &["u@a.example"]).await;
    world.peer.wait(1).await;
    let events = world.events(&reply, "delivered").await;
    let attempt = event(&events, "attempt");
    assert_eq!(
        (attempt["host"].as_str(), attempt["address"].as_str()),
        (Some("hop.far.example"), Some(&*format!("127.0.0.1:{port}")))
    );
    world.stop().await;
}

/// A name that leads to a forbidden address later is skipped at the connection, told of as `NEXT-HOP-FORBIDDEN`; the next candidate gets the mail.
/// covers: domains/4.1/host-port
#[tokio::test]
async fn forbidden_later() {
    let world = World::with(Plan {
        zone: "hop.far.example. A 127.0.0.1\n".into(),
        ..Plan::default()
    })
    .await;
    let second = next_hop().await;
    let port = world.peer.address.port();
    world.rows(json!([{"host": "hop.far.example", "port": port}])).await;
    world.dns.change(|zone| {
        zone.remove("hop.far.example").add("hop.far.example", "A", "169.254.169.254");
    });
    world.skip(Duration::from_secs(120)).await;
    let alone = world.send("forbidden", &["u@a.example"]).await;
    let events = world.events(&alone, "deferred").await;
    assert_eq!(event(&events, "deferred")["reason"], "NEXT-HOP-FORBIDDEN");
    assert!(
        event(&events, "attempt")["reply"].as_str().unwrap().contains("forbidden"),
        "{events:?}"
    );

    world
        .rows(json!([{"host": "hop.far.example", "port": port}, row_with(second.address, json!({"preference": 20}))]))
        .await;
    world.send("the other", &["u@a.example"]).await;
    second.wait(1).await;
    assert_eq!(world.peer.taken().len(), 0);
    world.stop().await;
}

/// Preferences run from 1 to 100, 10 unless said; the lower is tried first.
/// covers: domains/4.1/preference
#[tokio::test]
async fn preference() {
    let world = World::start().await;
    let (ten, five) = (&world.peer, next_hop().await);
    for wrong in [0, 101] {
        refused(
            &world,
            json!([row_with(ten.address, json!({"preference": wrong}))]),
            &[("preference", "out-of-range")],
        )
        .await;
    }
    world
        .rows(json!([row(ten.address), row_with(five.address, json!({"preference": 5}))]))
        .await;
    assert_eq!(shown(&world).await[0]["preference"], 10);
    for n in 0..2 {
        world.send(&format!("n{n}"), &["u@a.example"]).await;
    }
    five.wait(2).await;
    assert_eq!(ten.taken().len(), 0);
    for edge in [1, 100] {
        world.rows(json!([row_with(ten.address, json!({"preference": edge}))])).await;
    }
    world.stop().await;
}

/// What a message met: whether it was delivered, by TLS or in clear; the reason when it was not.
async fn outcome(world: &World, hop: &Peer, what: &str) -> (String, Value) {
    let before = hop.taken().len();
    let reply = world.send(&what.replace(' ', "-"), &["u@a.example"]).await;
    let id = system::queue_id(&reply);
    let mut events = Vec::new();
    world
        .eventually(what, async || {
            events = world.owner.get(&format!("/api/v1/tracking/{id}")).await.unwrap()["events"]
                .as_array()
                .cloned()
                .unwrap();
            events.iter().any(|e| e["e"] == "delivered" || e["e"] == "deferred")
        })
        .await;
    let attempt = events.iter().rfind(|e| e["e"] == "attempt").cloned().unwrap();
    if let Some(deferred) = events.iter().find(|e| e["e"] == "deferred") {
        assert_eq!(hop.taken().len(), before, "{what}");
        ask(
            &world.owner,
            "POST",
            "/queue/actions",
            json!({"action": "discard", "entries": [{"queue_id": id}], "text": "seen"}),
        )
        .await
        .unwrap();
        return (deferred["reason"].as_str().unwrap().to_owned(), attempt);
    }
    let taken = hop.wait(before + 1).await;
    (if taken[before].tls { "TLS" } else { "clear" }.to_owned(), attempt)
}

/// Every level against next hops with a believed certificate, a self-signed one and none; DANE is refused until it is there.
/// covers: domains/4.1/tls
/// refuses: domains/4.1/tls
#[tokio::test]
async fn tls_levels() {
    let believed = PeerTls::new(&["hop.far.example"]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("roots.pem");
    std::fs::write(&file, &believed.pem).unwrap();
    let zone = "hop.far.example. A 127.0.0.1\nother.far.example. A 127.0.0.1\n";
    let node = format!("[tls]\nroots = [{:?}]\n", file.display().to_string());
    let world = World::with(Plan {
        node,
        zone: zone.into(),
        ..Plan::default()
    })
    .await;
    let stranger = PeerTls::new(&["hop.far.example"]);
    let script = |tls: Option<PeerTls>| Script {
        extensions: usual_extensions(),
        tls,
        ..Script::default()
    };
    let (good, bad, none) = (
        Peer::start(script(Some(believed.clone()))).await,
        Peer::start(script(Some(stranger.clone()))).await,
        Peer::start(script(None)).await,
    );

    refused(
        &world,
        json!([row_with(good.address, json!({"tls": "dane"}))]),
        &[("tls", "not-available")],
    )
    .await;
    refused(
        &world,
        json!([row_with(good.address, json!({"tls": "pinned"}))]),
        &[("pins", "missing")],
    )
    .await;
    refused(
        &world,
        json!([row_with(good.address, json!({"tls": "pinned", "pins": ["abc"]}))]),
        &[("pins[0]", "malformed")],
    )
    .await;
    refused(
        &world,
        json!([row_with(good.address, json!({"tls": "verified", "pins": [believed.pin]}))]),
        &[("pins", "conflict")],
    )
    .await;
    world
        .set_domain(json!({"inbound_servers": [row_with(good.address, json!({"tls": "sometimes"}))]}))
        .await
        .expect_err("no level");

    let pins = |pin: &str| json!({"tls": "pinned", "pins": [pin]});
    let level = |l: &str| json!({"tls": l});
    let cases = [
        ("none", level("none"), &good, "hop.far.example", "clear"),
        ("default", json!({}), &good, "hop.far.example", "TLS"),
        ("opportunistic, stranger", level("opportunistic"), &bad, "hop.far.example", "TLS"),
        (
            "opportunistic, nothing offered",
            level("opportunistic"),
            &none,
            "hop.far.example",
            "clear",
        ),
        ("encrypted, stranger", level("encrypted"), &bad, "hop.far.example", "TLS"),
        (
            "encrypted, nothing offered",
            level("encrypted"),
            &none,
            "hop.far.example",
            "TLS-POLICY",
        ),
        ("verified", level("verified"), &good, "hop.far.example", "TLS"),
        ("verified, other name", level("verified"), &good, "other.far.example", "TLS-POLICY"),
        ("verified, stranger", level("verified"), &bad, "hop.far.example", "TLS-POLICY"),
        (
            "verified, nothing offered",
            level("verified"),
            &none,
            "hop.far.example",
            "TLS-POLICY",
        ),
        ("pinned", pins(&stranger.pin), &bad, "other.far.example", "TLS"),
        ("pinned, other key", pins(&stranger.pin), &good, "hop.far.example", "TLS-POLICY"),
        (
            "pinned, nothing offered",
            pins(&stranger.pin),
            &none,
            "hop.far.example",
            "TLS-POLICY",
        ),
    ];
    for (what, fields, hop, host, expect) in cases {
        let mut row = row_with(hop.address, fields.clone());
        row["host"] = json!(host);
        world.rows(json!([row])).await;
        let (got, attempt) = outcome(&world, hop, what).await;
        assert_eq!(got, expect, "{what}: {attempt}");
        let word = fields["tls"].as_str().unwrap_or("opportunistic");
        assert_eq!(attempt["policy"], format!("{word} by row 1"), "{what}");
        assert_eq!(attempt["tls"].is_object(), expect == "TLS", "{what}: {attempt}");
        world.skip(Duration::from_secs(61)).await;
    }
    world.stop().await;
}

/// Port 465 speaks TLS from the start, and never less.
/// covers: domains/4.1/tls
#[tokio::test]
async fn port_465() {
    let world = World::start().await;
    let tls = PeerTls::new(&["hop.far.example"]);
    let script = Script {
        extensions: usual_extensions(),
        tls: Some(tls),
        implicit_tls: true,
        ..Script::default()
    };
    let hop = Peer::start_at("127.46.5.1:465".parse().unwrap(), script).await;
    refused(
        &world,
        json!([row_with(hop.address, json!({"tls": "none"}))]),
        &[("tls", "conflict")],
    )
    .await;
    world.rows(json!([row(hop.address)])).await;
    world.send("implicit", &["u@a.example"]).await;
    assert!(hop.wait(1).await[0].tls);
    world.skip(Duration::from_secs(700)).await;
    hop.script(|s| s.implicit_tls = false);
    let reply = world.send("no TLS there", &["u@a.example"]).await;
    world.skip(Duration::from_secs(61)).await;
    let events = world.events(&reply, "deferred").await;
    assert_eq!(event(&events, "deferred")["reason"], "TLS-POLICY", "{events:?}");
    assert_eq!(hop.taken().len(), 1);
    world.stop().await;
}

/// The lowest version is 1.2 or 1.3: below it there is no TLS, so that a strict row defers and an opportunistic one goes in clear.
/// covers: domains/4.1/tls-min
#[tokio::test]
async fn tls_min() {
    let world = World::start().await;
    for wrong in ["1.0", "1.1", "1.4", ""] {
        world
            .set_domain(json!({"inbound_servers": [row_with(world.peer.address, json!({"tls_min": wrong}))]}))
            .await
            .expect_err(wrong);
    }
    let with = |versions: &[&'static rustls::SupportedProtocolVersion]| Script {
        extensions: usual_extensions(),
        tls: Some(PeerTls::with_versions(&["hop.far.example"], versions)),
        ..Script::default()
    };
    let (old, new) = (
        Peer::start(with(&[&rustls::version::TLS12])).await,
        Peer::start(with(&[&rustls::version::TLS13])).await,
    );
    for (what, hop, fields, expect, version) in [
        ("1.2 by default", &old, json!({"tls": "encrypted"}), "TLS", "TLSv1.2"),
        ("1.3 for who has it", &new, json!({"tls": "encrypted"}), "TLS", "TLSv1.3"),
        (
            "1.3 asked of 1.3",
            &new,
            json!({"tls": "encrypted", "tls_min": "1.3"}),
            "TLS",
            "TLSv1.3",
        ),
        (
            "1.3 asked of 1.2",
            &old,
            json!({"tls": "encrypted", "tls_min": "1.3"}),
            "TLS-POLICY",
            "",
        ),
        (
            "1.3 wished of 1.2",
            &old,
            json!({"tls": "opportunistic", "tls_min": "1.3"}),
            "clear",
            "",
        ),
    ] {
        world.rows(json!([row_with(hop.address, fields)])).await;
        let (got, attempt) = outcome(&world, hop, what).await;
        assert_eq!(got, expect, "{what}: {attempt}");
        assert_eq!(attempt["tls"]["version"].as_str().unwrap_or_default(), version, "{what}: {attempt}");
        world.skip(Duration::from_secs(61)).await;
    }
    world.stop().await;
}

/// A log-in needs a level that never falls back to clear; the secret is used, and never shown again.
/// covers: domains/4.1/auth
#[tokio::test]
async fn auth() {
    let world = World::start().await;
    let extensions = [usual_extensions(), vec!["AUTH PLAIN LOGIN".to_owned()]].concat();
    let hop = Peer::start(Script {
        extensions,
        tls: Some(PeerTls::new(&["hop.far.example"])),
        ..Script::default()
    })
    .await;
    let login = json!({"user": "gate", "secret": "s3cr3t-of-the-hop"});
    for level in ["none", "opportunistic"] {
        refused(
            &world,
            json!([row_with(hop.address, json!({"tls": level, "auth": login}))]),
            &[("auth", "conflict")],
        )
        .await;
    }
    world
        .rows(json!([row_with(hop.address, json!({"tls": "encrypted", "auth": login}))]))
        .await;
    let reply = world.send("with login", &["u@a.example"]).await;
    let taken = hop.wait(1).await;
    assert_eq!(taken[0].auth.as_deref(), Some(" gate s3cr3t-of-the-hop"));
    let events = world.events(&reply, "delivered").await;
    assert!(!json!(events).to_string().contains("s3cr3t"), "{events:?}");

    let mut rows = shown(&world).await;
    assert_eq!(rows[0]["auth"]["user"], "gate");
    assert!(!rows.to_string().contains("s3cr3t"), "{rows}");
    let audit = ask(&world.owner, "GET", "/audit", Value::Null).await.unwrap();
    assert!(!audit.to_string().contains("s3cr3t"), "{audit}");
    rows[0]["note"] = json!("the masked secret comes back and stays what it was");
    rows[0]["preference"] = json!(11);
    world.rows(rows).await;
    world.skip(Duration::from_secs(700)).await;
    world.send("still with login", &["u@a.example"]).await;
    assert_eq!(hop.wait(2).await[1].auth.as_deref(), Some(" gate s3cr3t-of-the-hop"));
    world.stop().await;
}

/// Connections at a time, messages per connection, on and off, a note: ranges, and what they do.
/// covers: domains/4.1/connections-max-per-connection-max-enabled-note
#[tokio::test]
async fn figures() {
    let world = World::start().await;
    let hop = world.peer.address;
    for (field, wrong) in [
        ("connections_max", json!(0)),
        ("connections_max", json!(101)),
        ("per_connection_max", json!(0)),
        ("per_connection_max", json!(1_001)),
    ] {
        refused(&world, json!([row_with(hop, json!({field: wrong}))]), &[(field, "out-of-range")]).await;
    }
    refused(
        &world,
        json!([row_with(hop, json!({"note": "a\u{7}b"}))]),
        &[("note", "out-of-range")],
    )
    .await;
    world.rows(json!([row_with(hop, json!({"note": "第一サーバー"}))])).await;
    let rows = shown(&world).await;
    assert_eq!(
        (
            &rows[0]["connections_max"],
            &rows[0]["per_connection_max"],
            &rows[0]["enabled"],
            &rows[0]["note"]
        ),
        (&json!(20), &json!(100), &json!(true), &json!("第一サーバー"))
    );

    world.rows(json!([row_with(hop, json!({"per_connection_max": 2}))])).await;
    for n in 0..5 {
        world.send(&format!("n{n}"), &["u@a.example"]).await;
        world.peer.wait(n + 1).await;
    }
    let connections: Vec<u64> = world.peer.taken().iter().map(|t| t.connection).collect();
    assert_eq!(connections, [1, 1, 2, 2, 3]);

    let second = next_hop().await;
    world
        .rows(json!([
            row_with(hop, json!({"enabled": false, "preference": 1})),
            row(second.address)
        ]))
        .await;
    world.send("the first is off", &["u@a.example"]).await;
    second.wait(1).await;
    assert_eq!(world.peer.taken().len(), 5);

    let narrow = Peer::start(Script {
        extensions: usual_extensions(),
        ..Script::default()
    })
    .await;
    narrow.script(|s| drop(s.acts.insert(Stage::Mail, Act::Stall(Duration::from_millis(30)))));
    world.rows(json!([row_with(narrow.address, json!({"connections_max": 2}))])).await;
    let mut client = world.client().await;
    for n in 0..8 {
        client
            .deliver("s@sender.example", &["u@a.example"], &message(&format!("narrow{n}")))
            .await
            .unwrap();
    }
    narrow.wait(8).await;
    assert_eq!(narrow.connections().1, 2, "connections at a time");
    world.stop().await;
}
