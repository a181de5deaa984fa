//! Actions on entries of the queue through the API, and what keeps mail from going round (domains-and-routing 11.3, 11.4).

use mitsuke::client::{Api, Problem};
use serde_json::{Value, json};
use std::time::Duration;
use system::{DOMAIN, Plan, TENANT, World, ask, assert_problem, event, kinds, next_hop, queue_id, row, row_with};
use testkit::peer::{Act, Peer, Stage};

fn down(hop: &Peer) {
    // On connections that are open already, too.
    let act = Act::Reply("421 4.3.2 down".into());
    hop.script(|s| {
        s.acts
            .extend([Stage::Greeting, Stage::Mail, Stage::Rcpt, Stage::Data].map(|stage| (stage, act.clone())))
    });
}

fn up(hop: &Peer) {
    hop.script(|s| s.acts.clear());
}

/// A world whose next hop is down, and where notifications go.
async fn world() -> (World, Peer) {
    let world = World::start().await;
    let returns = next_hop().await;
    world.smarthost(returns.address).await;
    down(&world.peer);
    (world, returns)
}

/// A message that waits after its first attempt.
async fn waiting(world: &World, subject: &str) -> String {
    let reply = world.send(subject, &["u@a.example"]).await;
    world.entry(&reply, "waits", |e| e["attempts"] == 1).await;
    reply
}

async fn act(who: &Api, action: &str, reply: &str, more: Value) -> Result<Value, Problem> {
    let mut order = json!({"action": action, "entries": [{"queue_id": queue_id(reply)}]});
    more.as_object().unwrap().iter().for_each(|(k, v)| order[k] = v.clone());
    ask(who, "POST", "/queue/actions", order).await
}

async fn done(who: &Api, action: &str, reply: &str, more: Value) {
    let got = act(who, action, reply, more).await.unwrap();
    assert_eq!(
        got,
        json!({"matched": 1, "done": 1, "after_attempt": 0, "busy": 0, "not_applicable": 0}),
        "{action}"
    );
}

/// A key of a role, for some domains.
async fn key(world: &World, role: &str, domains: Value) -> Api {
    let mut new = json!({"name": role, "role": role});
    if domains.is_array() {
        new["domains"] = domains;
    }
    let made = ask(&world.owner, "POST", &format!("/tenants/{TENANT}/keys"), new).await.unwrap();
    world.key(made["secret"].as_str().unwrap())
}

async fn is_gone(world: &World, reply: &str) -> bool {
    ask(&world.owner, "GET", &format!("/queue?queue_id={}", queue_id(reply)), Value::Null)
        .await
        .unwrap()["items"]
        == json!([])
}

/// Last reply, next due time, candidates with health, position; for owner, tenant and domain administrators of its domain.
/// covers: domains/11.3/explain
#[tokio::test]
async fn explain() {
    let (world, _returns) = world().await;
    let second = next_hop().await;
    down(&second);
    world
        .rows(json!([
            row(world.peer.address),
            row_with(second.address, json!({"preference": 20, "connections_max": 7}))
        ]))
        .await;
    let first = waiting(&world, "first").await;
    world.pass(Duration::from_secs(40)).await;
    let later = waiting(&world, "later").await;
    let told = world.explain(&later, 0).await;
    let entry = &told["entry"];
    assert_eq!(
        (entry["state"].as_str(), entry["recipient"].as_str(), entry["sender"].as_str()),
        (Some("queued"), Some("u@a.example"), Some("s@sender.example"))
    );
    assert!(entry["last_reply"].as_str().unwrap().ends_with("421 4.3.2 down"), "{entry}");
    assert!(
        entry["due"].as_str().unwrap() > "2026-11-24T00:05:40" && entry["reason"] == "REMOTE-REPLY",
        "{entry}"
    );
    let candidates: Vec<(&str, u64, &str, u64)> = told["candidates"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            (
                c["route"].as_str().unwrap(),
                c["port"].as_u64().unwrap(),
                c["health"].as_str().unwrap(),
                c["connections_max"].as_u64().unwrap(),
            )
        })
        .collect();
    let ports = (u64::from(world.peer.address.port()), u64::from(second.address.port()));
    assert_eq!(
        candidates,
        [("row 1 (*)", ports.0, "healthy", 20), ("row 2 (*)", ports.1, "healthy", 7)]
    );
    assert_eq!((&told["position"], &told["in_attempt"]), (&json!(1), &json!(false)));
    assert_eq!(world.explain(&first, 0).await["position"], 0);

    let path = format!("/queue/{}/0", queue_id(&later));
    for (role, domains) in [
        ("tenant-admin", Value::Null),
        ("domain-admin", json!([DOMAIN])),
        ("viewer", Value::Null),
    ] {
        ask(&key(&world, role, domains).await, "GET", &path, Value::Null).await.unwrap();
    }
    let beta = world.tenant("beta").await;
    let elsewhere = ask(&beta, "GET", &path, Value::Null).await.unwrap_err();
    let unknown = ask(&beta, "GET", "/queue/0amh21r004ysx/0", Value::Null).await.unwrap_err();
    assert_eq!((elsewhere.status, elsewhere.document), (404, unknown.document));
    world.domain(TENANT, &world.owner, "b.example", world.peer.address).await;
    let other = key(&world, "domain-admin", json!(["b.example"])).await;
    assert_eq!(ask(&other, "GET", &path, Value::Null).await.unwrap_err().status, 404);
    assert_eq!(
        ask(&world.operator, "GET", &path, Value::Null).await.unwrap()["entry"]["tenant"],
        TENANT
    );
    world.stop().await;
}

/// Retry: due at once. Hold: not scheduled until released; after its time it bounces.
/// covers: domains/11.3/retry-now-hold-release
#[tokio::test]
async fn retry_hold_release() {
    let (world, returns) = world().await;
    let admin = key(&world, "domain-admin", json!([DOMAIN])).await;
    let reply = waiting(&world, "retry").await;
    done(&admin, "retry", &reply, json!({})).await;
    world.entry(&reply, "tried again", |e| e["attempts"] == 2).await;
    up(&world.peer);
    done(&world.owner, "retry", &reply, json!({})).await;
    world.events(&reply, "delivered").await;

    down(&world.peer);
    let reply = waiting(&world, "hold").await;
    up(&world.peer);
    done(&admin, "hold", &reply, json!({"text": "let me look"})).await;
    let entry = world.entry(&reply, "held", |e| e["state"] == "held").await;
    assert_eq!(&entry["due"].as_str().unwrap()[..10], "2026-12-08", "14 days");
    world.pass(Duration::from_secs(86_400)).await;
    assert_eq!(world.peer.taken().len(), 1, "not scheduled");
    let got = act(&world.owner, "retry", &reply, json!({})).await.unwrap();
    assert_eq!(got["not_applicable"], 1, "what is held is not retried");
    done(&admin, "release", &reply, json!({})).await;
    let events = world.events(&reply, "delivered").await;
    let held = event(&events, "held");
    assert_eq!(
        (held["text"].as_str(), held["reason"].as_str()),
        (Some("let me look"), Some("ADMIN"))
    );
    assert_eq!(
        (held["by"].as_str(), event(&events, "released")["by"].as_str()),
        (held["by"].as_str(), held["by"].as_str()),
        "who is told"
    );
    assert!(!held["by"].as_str().unwrap().is_empty() && held["by"] != "system", "{held}");

    world.set_domain(json!({"queue": {"hold_s": 3_600}})).await.unwrap();
    down(&world.peer);
    let reply = waiting(&world, "forgotten").await;
    done(&world.owner, "hold", &reply, json!({})).await;
    world.pass(Duration::from_secs(3_700)).await;
    let events = world.events(&reply, "dsn").await;
    assert!(kinds(&events).contains(&"expired") && is_gone(&world, &reply).await, "{events:?}");
    let told = String::from_utf8(returns.wait(1).await[0].data.clone()).unwrap();
    assert!(told.contains("Action: failed\r\n") && told.contains("Subject: forgotten"), "{told}");
    world.stop().await;
}

/// Bounce: failed with a notification. Pause of a domain and of a next hop: no attempts meanwhile, all at once when resumed.
/// covers: domains/11.3/bounce-now-pause-or-resume-a-domain-or-next-hop
#[tokio::test]
async fn bounce_and_pause() {
    let (world, returns) = world().await;
    let admin = key(&world, "domain-admin", json!([DOMAIN])).await;
    let reply = waiting(&world, "bounce").await;
    done(&admin, "bounce", &reply, json!({})).await;
    let events = world.events(&reply, "dsn").await;
    assert_eq!(event(&events, "failed")["reason"], "ADMIN");
    // The notification is found by its subject like any other message.
    let notification = event(&events, "dsn")["queue_id"].as_str().unwrap().to_owned();
    let trace = ask(&world.owner, "GET", &format!("/tracking/{notification}"), Value::Null)
        .await
        .unwrap();
    let accepted = event(trace["events"].as_array().unwrap(), "accepted");
    assert_eq!(accepted["subject"], "メールを配送できませんでした / Message could not be delivered");
    let told = String::from_utf8(returns.wait(1).await[0].data.clone()).unwrap();
    assert!(
        told.contains("Action: failed\r\n") && told.contains("X-Mitsuke-Reason: ADMIN\r\n"),
        "{told}"
    );
    assert!(is_gone(&world, &reply).await);

    up(&world.peer);
    let pauses = format!("/tenants/{TENANT}/pauses");
    let hop = world.peer.address.to_string();
    for (n, (kind, subject)) in [("domain", DOMAIN), ("next-hop", hop.as_str())].into_iter().enumerate() {
        ask(
            &world.owner,
            "POST",
            &pauses,
            json!({"kind": kind, "subject": subject, "reason": "moving"}),
        )
        .await
        .unwrap();
        let listed = ask(&world.owner, "GET", &pauses, Value::Null).await.unwrap();
        assert_eq!(
            (
                listed[0]["kind"].as_str(),
                listed[0]["subject"].as_str(),
                listed[0]["reason"].as_str()
            ),
            (Some(kind), Some(subject), Some("moving"))
        );
        world.pass(Duration::from_secs(2)).await;
        let replies = [
            world.send(&format!("paused{n}a"), &["u@a.example"]).await,
            world.send(&format!("paused{n}b"), &["u@a.example"]).await,
        ];
        world.pass(Duration::from_secs(1_200)).await;
        let connections = world.peer.connections().0;
        let told = world.explain(&replies[0], 0).await;
        assert!(told["paused_since"].is_string() && told["entry"]["attempts"] == 0, "{kind}: {told}");
        assert_eq!(world.peer.taken().len(), 2 * n, "{kind}");
        ask(&world.owner, "DELETE", &format!("{pauses}/{kind}/{subject}"), Value::Null)
            .await
            .unwrap();
        for reply in &replies {
            world.events(reply, "delivered").await;
        }
        assert!(world.peer.connections().0 > connections, "{kind}");
    }
    assert_eq!(
        ask(&admin, "POST", &pauses, json!({"kind": "domain", "subject": "far.example"}))
            .await
            .unwrap_err()
            .status,
        404,
        "not its domain"
    );
    ask(&admin, "POST", &pauses, json!({"kind": "domain", "subject": DOMAIN}))
        .await
        .unwrap();
    ask(&admin, "DELETE", &format!("{pauses}/domain/{DOMAIN}"), Value::Null)
        .await
        .unwrap();
    world.stop().await;
}

/// Re-route to a chosen next hop, never to a forbidden one; lifetimes from 1 h to 14 d; discard with a reason text and without a notification.
/// covers: domains/11.3/re-route-change-lifetime-discard
#[tokio::test]
async fn reroute_lifetime_discard() {
    let (world, returns) = world().await;
    let other = next_hop().await;
    let reply = waiting(&world, "reroute").await;
    let own = world.address(config::node::ListenerRole::Mx).to_string();
    for forbidden in ["169.254.169.254:25", "0.0.0.0:25", "224.0.0.1:25", "10.0.0.1:25", own.as_str()] {
        let problem = act(&world.owner, "reroute", &reply, json!({"next_hop": forbidden}))
            .await
            .expect_err(forbidden);
        assert!(
            problem.status == 422 && problem.detail.contains("forbidden"),
            "{forbidden}: {}",
            problem.document
        );
    }
    for wrong in ["", "a b:25", "127.0.0.1:0", "127.0.0.1:x"] {
        let problem = act(&world.owner, "reroute", &reply, json!({"next_hop": wrong}))
            .await
            .expect_err(wrong);
        assert!((400..=422).contains(&problem.status), "{}", problem.document);
    }
    done(&world.owner, "reroute", &reply, json!({"next_hop": other.address.to_string()})).await;
    let events = world.events(&reply, "delivered").await;
    assert_eq!(other.wait(1).await[0].rcpts, ["RCPT TO:<u@a.example>"]);
    assert_eq!(event(&events, "rerouted")["next_hop"], other.address.to_string());
    assert!(
        events.iter().any(|e| e["e"] == "attempt" && e["route"] == "re-routed"),
        "{events:?}"
    );

    let reply = waiting(&world, "lifetime").await;
    for wrong in [3_599, 14 * 86_400 + 1] {
        let problem = act(&world.owner, "lifetime", &reply, json!({"lifetime_s": wrong}))
            .await
            .expect_err("out of range");
        assert!((400..=422).contains(&problem.status), "{}", problem.document);
    }
    done(&world.owner, "lifetime", &reply, json!({"lifetime_s": 14 * 86_400})).await;
    let entry = world.entry(&reply, "14 days", |_| true).await;
    assert_eq!(&entry["expires_at"].as_str().unwrap()[..10], "2026-12-08");
    done(&world.owner, "lifetime", &reply, json!({"lifetime_s": 3_600})).await;
    world.pass(Duration::from_secs(3_700)).await;
    world.events(&reply, "expired").await;
    assert_eq!(returns.wait(1).await.len(), 1);

    let reply = waiting(&world, "discard").await;
    for text in [json!({}), json!({"text": ""}), json!({"text": "  "})] {
        let problem = act(&world.owner, "discard", &reply, text).await.expect_err("no text");
        assert!((400..=422).contains(&problem.status), "{}", problem.document);
    }
    let admin = key(&world, "domain-admin", json!([DOMAIN])).await;
    for (action, more) in [
        ("reroute", json!({"next_hop": other.address.to_string()})),
        ("lifetime", json!({"lifetime_s": 7_200})),
        ("discard", json!({"text": "x"})),
    ] {
        assert_eq!(
            act(&admin, action, &reply, more).await.unwrap_err().status,
            403,
            "{action} is not for domain administrators"
        );
    }
    assert_problem(
        act(&key(&world, "viewer", Value::Null).await, "retry", &reply, json!({})).await,
        403,
        "forbidden",
    );
    done(&world.owner, "discard", &reply, json!({"text": "asked for by the sender"})).await;
    assert!(is_gone(&world, &reply).await);
    let events = world.events(&reply, "deleted").await;
    assert_eq!(event(&events, "deleted")["text"], "asked for by the sender");
    assert!(!kinds(&events).contains(&"dsn"), "nobody is told: {events:?}");
    assert_eq!(returns.taken().len(), 1);
    world.stop().await;
}

/// A filter by domain, next hop, sender, reason, state and age shows its count first; a selection; all of it in the audit log.
/// covers: domains/11.3/re-route-change-lifetime-discard domains/11.3/bounce-now-pause-or-resume-a-domain-or-next-hop
#[tokio::test]
async fn filters() {
    let (world, _returns) = world().await;
    world.domain(TENANT, &world.owner, "b.example", world.peer.address).await;
    let mut client = world.client().await;
    let mut replies = Vec::new();
    for (from, to) in [
        ("s@sender.example", "u@a.example"),
        ("s@sender.example", "u@b.example"),
        ("", "u@a.example"),
        ("t@sender.example", "v@a.example"),
    ] {
        let reply = client.deliver(from, &[to], &system::message("filtered")).await.unwrap();
        world.entry(&reply, "waits", |e| e["attempts"] == 1).await;
        replies.push(reply);
        world.pass(Duration::from_secs(10)).await;
    }
    done(&world.owner, "hold", &replies[3], json!({})).await;
    for (filter, count) in [
        (json!({"domain": "a.example"}), 3),
        (json!({"domain": "b.example"}), 1),
        (json!({"sender": "s@sender.example"}), 2),
        (json!({"sender": "*@sender.example"}), 3),
        (json!({"reason": "REMOTE-REPLY"}), 3),
        (json!({"reason": "ADMIN"}), 1),
        (json!({"state": "held"}), 1),
        (json!({"next_hop": "127.0.0.1"}), 4),
        (json!({"next_hop": "127.0.0.2"}), 0),
        (json!({"older_than_s": 25}), 2),
        (json!({"domain": "a.example", "sender": "s@sender.example"}), 1),
    ] {
        let query: Vec<String> = filter
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| format!("{k}={}", v.as_str().map_or_else(|| v.to_string(), str::to_owned)))
            .collect();
        let counted = ask(&world.owner, "GET", &format!("/queue/count?{}", query.join("&")), Value::Null)
            .await
            .unwrap();
        assert_eq!(counted["count"], count, "{filter}");
        let dry = ask(
            &world.owner,
            "POST",
            "/queue/actions",
            json!({"action": "discard", "text": "x", "filter": filter, "dry_run": true}),
        )
        .await
        .unwrap();
        assert_eq!((&dry["matched"], &dry["done"]), (&json!(count), &json!(0)), "{filter}");
        let listed = ask(&world.owner, "GET", &format!("/queue?{}", query.join("&")), Value::Null)
            .await
            .unwrap();
        assert_eq!(listed["items"].as_array().unwrap().len(), count, "{filter}");
    }
    let beta = world.tenant("beta").await;
    let nothing = ask(
        &beta,
        "POST",
        "/queue/actions",
        json!({"action": "discard", "text": "x", "filter": {"domain": DOMAIN}}),
    )
    .await
    .unwrap();
    assert_eq!(nothing["matched"], 0, "another tenant's entries are not there");
    let misspelt = json!({"action": "discard", "text": "x", "filter": {"sendr": "s@sender.example"}});
    let problem = ask(&world.owner, "POST", "/queue/actions", misspelt).await.unwrap_err();
    assert!(
        (400..=422).contains(&problem.status),
        "a slip must not be about everything: {}",
        problem.document
    );
    let got = ask(
        &world.owner,
        "POST",
        "/queue/actions",
        json!({"action": "discard", "text": "cleared", "filter": {"sender": "s@sender.example"}}),
    )
    .await
    .unwrap();
    assert_eq!((&got["matched"], &got["done"]), (&json!(2), &json!(2)));
    let rest: Vec<Value> = replies[2..].iter().map(|r| json!({"queue_id": queue_id(r), "number": 0})).collect();
    let got = ask(&world.owner, "POST", "/queue/actions", json!({"action": "bounce", "entries": rest}))
        .await
        .unwrap();
    assert_eq!(got["done"], 2, "a selection");
    let audit = ask(&world.owner, "GET", "/audit", Value::Null).await.unwrap();
    let actions: Vec<&Value> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|e| e["action"] == "queue.action")
        .collect();
    let objects: Vec<&str> = actions.iter().map(|e| e["object"].as_str().unwrap()).collect();
    assert_eq!(objects, ["bounce", "discard", "hold"], "dry runs are no actions: {audit}");
    assert_eq!(actions[1]["reason"], "cleared");
    let is_empty = async || ask(&world.owner, "GET", "/queue", Value::Null).await.unwrap()["items"] == json!([]);
    world.eventually("nothing is left but notifications, which leave", is_empty).await;
    world.stop().await;
}

/// The only candidate is our own listener: held as LOOP, and released when the row is mended.
/// covers: domains/11.3/retry-now-hold-release
#[tokio::test]
async fn own_listener() {
    let world = World::with(Plan {
        zone: "hop.far.example. A 127.0.0.50\n".into(),
        ..Plan::default()
    })
    .await;
    let own = world.address(config::node::ListenerRole::Mx);
    world.rows(json!([{"host": "hop.far.example", "port": own.port()}])).await;
    world.dns.change(|zone| {
        zone.remove("hop.far.example").add("hop.far.example", "A", "127.0.0.1");
    });
    world.pass(Duration::from_secs(120)).await;
    let reply = world.send("round", &["u@a.example"]).await;
    let events = world.events(&reply, "held").await;
    assert_eq!(
        (event(&events, "held")["reason"].as_str(), event(&events, "held")["by"].as_str()),
        (Some("LOOP"), Some("system"))
    );
    let entry = world.entry(&reply, "held", |e| e["state"] == "held").await;
    assert_eq!(entry["reason"], "LOOP");
    world.rows(json!([row(world.peer.address)])).await;
    done(&world.owner, "release", &reply, json!({})).await;
    world.peer.wait(1).await;
    world.stop().await;
}
