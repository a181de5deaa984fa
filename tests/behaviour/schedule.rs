//! The queue's schedule, lifetimes, warnings, time-outs, concurrency, downgrades and the cut-over, by the tests' clock (domains-and-routing 11.1).

use serde_json::{Value, json};
use std::time::Duration;
use system::{Plan, SOURCE, World, assert_checked, event, kinds, message, next_hop, queue_id, row, row_with, usual_extensions};
use testkit::peer::{Act, Peer, Script, Stage};

const DOWN: &str = "421 4.3.2 down";

fn down(hop: &Peer) {
    hop.script(|s| drop(s.acts.insert(Stage::Greeting, Act::Reply(DOWN.into()))));
}

/// Milliseconds since 1970 of a time in an answer of the API.
fn millis(value: &Value) -> i64 {
    value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn minutes(n: u64) -> Duration {
    Duration::from_secs(60 * n)
}

/// The waits of a deferred message, in seconds: each is waited for by the clock.
async fn waits(world: &World, reply: &str, count: u64) -> Vec<i64> {
    let mut waits = Vec::new();
    for attempts in 1..=count {
        let entry = world
            .entry(reply, &format!("attempt {attempts}"), |e| e["attempts"] == attempts)
            .await;
        let events = world.events(reply, "deferred").await;
        let last = events.iter().rfind(|e| e["e"] == "deferred").unwrap();
        assert_eq!(millis(&last["due"]), millis(&entry["due"]), "tracking tells the same due time");
        waits.push((millis(&entry["due"]) - millis(&last["at"])) / 1_000);
        if attempts < count {
            let left = u64::try_from(millis(&entry["due"]) - world.clock.now().0).unwrap();
            world.skip(Duration::from_millis(left - 500)).await;
            assert_eq!(
                world.entry(reply, "waits", |_| true).await["attempts"],
                attempts,
                "not before it is due"
            );
            world.clock.advance(Duration::from_secs(1));
        }
    }
    waits
}

/// 5, 10, 20, 40, 80 minutes, then hourly; ±10 %, but never less than the first wait; own lists of operator and domain.
/// covers: domains/11.1/queue-schedule
#[tokio::test]
async fn schedule() {
    let world = World::start().await;
    down(&world.peer);
    let reply = world.send("default", &["u@a.example"]).await;
    let got = waits(&world, &reply, 7).await;
    for (n, (wait, expect)) in got.iter().zip([5, 10, 20, 40, 80, 60, 60]).enumerate() {
        let (low, high) = if n == 0 {
            (expect * 60, expect * 66)
        } else {
            (expect * 54, expect * 66)
        };
        assert!((low..=high).contains(wait), "wait {n} of {expect} min: {wait} s");
    }

    for (answer, at) in [
        (world.set_system(json!({"queue": {"schedule_s": [0]}})).await, "schedule_s[0]"),
        (world.set_system(json!({"queue": {"schedule_s": [86_401]}})).await, "schedule_s[0]"),
        (world.set_domain(json!({"queue": {"schedule_s": [299]}})).await, "schedule_s[0]"),
        (world.set_domain(json!({"queue": {"schedule_s": []}})).await, "schedule_s"),
    ] {
        assert_checked(answer, &[(at, "out-of-range")]);
    }
    assert_checked(
        world.set_tenant(json!({"queue": {"schedule_s": [300]}})).await,
        &[("schedule_s", "unknown")],
    );
    world.set_system(json!({"queue": {"schedule_s": [2, 4]}})).await.unwrap();
    let reply = world.send("operator", &["u@a.example"]).await;
    let got = waits(&world, &reply, 4).await;
    assert!(
        (2..=3).contains(&got[0]) && got[1..].iter().all(|w| (3..=5).contains(w)),
        "the last wait repeats: {got:?}"
    );
    world.set_domain(json!({"queue": {"schedule_s": [400, 60]}})).await.unwrap();
    let reply = world.send("domain", &["u@a.example"]).await;
    let got = waits(&world, &reply, 2).await;
    assert!((400..=440).contains(&got[0]) && (54..=66).contains(&got[1]), "{got:?}");
    world.stop().await;
}

/// Ten days inbound, one outbound, one for the null reverse path; tighter by tenant and domain; at the end the message expires with a notification.
/// covers: domains/11.1/queue-lifetime-inbound-outbound-null
#[tokio::test]
async fn lifetimes() {
    let world = World::start().await;
    let returns = next_hop().await;
    world.outbound(world.peer.address).await;
    down(&world.peer);
    let life = async |source: &str, from: &str, to: &str| {
        let mut client = world.client_from(source).await;
        let mail = String::from_utf8(message("life"))
            .unwrap()
            .replace("s@sender.example", "u@a.example");
        let reply = client.deliver(from, &[to], mail.as_bytes()).await.unwrap();
        let entry = world.entry(&reply, "waits", |e| e["attempts"] == 1).await;
        (millis(&entry["expires_at"]) - millis(&entry["received_at"])) / 1_000
    };
    let stranger = system::STRANGER;
    let lives = async || {
        [
            life(stranger, "s@sender.example", "u@a.example").await,
            life(SOURCE, "u@a.example", "x@far.example").await,
            life(stranger, "", "u@a.example").await,
        ]
    };
    assert_eq!(lives().await, [864_000, 86_400, 86_400]);
    world
        .set_tenant(json!({"queue": {"lifetime_inbound_s": 7_200, "lifetime_outbound_s": 7_201, "lifetime_null_s": 7_202}}))
        .await
        .unwrap();
    assert_eq!(lives().await, [7_200, 7_201, 7_202]);
    world
        .set_domain(json!({"queue": {"lifetime_inbound_s": 3_600, "lifetime_outbound_s": 3_601, "lifetime_null_s": 3_602}}))
        .await
        .unwrap();
    assert_eq!(lives().await, [3_600, 3_601, 3_602]);
    for field in ["lifetime_inbound_s", "lifetime_outbound_s", "lifetime_null_s"] {
        for wrong in [3_599, 14 * 86_400 + 1] {
            assert_checked(world.set_tenant(json!({"queue": {field: wrong}})).await, &[(field, "out-of-range")]);
            assert_checked(world.set_domain(json!({"queue": {field: wrong}})).await, &[(field, "out-of-range")]);
        }
        world.set_system(json!({"queue": {field: 1}})).await.unwrap();
    }
    world.set_system(json!({"queue": null})).await.unwrap();
    world.smarthost(returns.address).await;
    let reply = world.send("expires", &["u@a.example"]).await;
    world.entry(&reply, "waits", |e| e["attempts"] == 1).await;
    world.pass(minutes(61)).await;
    let events = world.events(&reply, "dsn").await;
    assert_eq!(event(&events, "expired")["recipient"], "u@a.example");
    assert_eq!(event(&events, "dsn")["kind"], "failed");
    let mut told = String::new();
    world
        .eventually("a notification", async || {
            let texts = returns.taken().into_iter().map(|t| String::from_utf8_lossy(&t.data).into_owned());
            told = texts.into_iter().find(|t| t.contains("Subject: expires\r\n")).unwrap_or_default();
            !told.is_empty()
        })
        .await;
    assert!(told.contains("Status: 5.4.7\r\n"), "{told}");
    world.stop().await;
}

/// Off inbound, four hours outbound; once; the figure of tenant and domain.
/// covers: domains/11.1/queue-delay-warning
#[tokio::test]
async fn delay_warning() {
    let world = World::start().await;
    let returns = next_hop().await;
    let broken = next_hop().await;
    down(&world.peer);
    down(&broken);
    world.outbound(broken.address).await;
    // Notifications to the tenant's own people go to their server, those to others leave it.
    world
        .set_tenant(json!({"outbound_routes": [
            {"domain": "far.example", "target": {"to": "smarthost", "host": "127.0.0.1", "port": broken.address.port()}},
            {"domain": "*", "target": {"to": "smarthost", "host": "127.0.0.1", "port": returns.address.port()}},
        ]}))
        .await
        .unwrap();
    let inbound = world.send("inbound", &["u@a.example"]).await;
    let mut source = world.client_from(SOURCE).await;
    let mail = String::from_utf8(message("outbound"))
        .unwrap()
        .replace("s@sender.example", "u@a.example");
    let outbound = source.deliver("u@a.example", &["x@far.example"], mail.as_bytes()).await.unwrap();
    world.entry(&outbound, "waits", |e| e["attempts"] == 1).await;
    world.pass(minutes(235)).await;
    let warned = async |reply: &str| {
        let events = world.events(reply, "deferred").await;
        events.iter().filter(|e| e["e"] == "dsn" && e["kind"] == "delayed").count()
    };
    assert_eq!(warned(&outbound).await, 0, "not before four hours");
    // It comes with an attempt: the clock goes on slowly enough for each to end in its time.
    let soon = async |what: &str, reply: &str| {
        let is_told = async || {
            world.skip(minutes(5)).await;
            warned(reply).await == 1
        };
        world.eventually(what, is_told).await;
    };
    soon("the warning", &outbound).await;
    world.pass(minutes(600)).await;
    assert_eq!(
        (warned(&outbound).await, warned(&inbound).await),
        (1, 0),
        "once, and never inbound by default"
    );

    world
        .set_tenant(json!({"queue": {"delay_warning_inbound_s": 7_200}}))
        .await
        .unwrap();
    let by_tenant = world.send("by-tenant", &["u@a.example"]).await;
    world
        .set_domain(json!({"queue": {"delay_warning_inbound_s": 3_600}}))
        .await
        .unwrap();
    let by_domain = world.send("by-domain", &["u@a.example"]).await;
    world.entry(&by_domain, "waits", |e| e["attempts"] == 1).await;
    soon("the domain's", &by_domain).await;
    soon("the tenant's", &by_tenant).await;
    let told: Vec<String> = returns
        .wait(2)
        .await
        .into_iter()
        .map(|t| String::from_utf8(t.data).unwrap())
        .collect();
    assert_eq!(told.len(), 2);
    assert!(
        told[0].contains("Action: delayed\r\n") && told[0].contains("Will-Retry-Until: ") && told[0].contains("Status: 4."),
        "{}",
        told[0]
    );
    world.set_tenant(json!({"queue": {"delay_warning_outbound_s": 0}})).await.unwrap();
    assert_checked(
        world
            .set_tenant(json!({"queue": {"delay_warning_outbound_s": 14 * 86_400 + 1}}))
            .await,
        &[("delay_warning_outbound_s", "out-of-range")],
    );
    world.stop().await;
}

/// 30 s to connect and 60 s for the greeting, by the operator alone.
/// covers: domains/11.1/queue-connect-timeout-greeting-timeout
#[tokio::test]
async fn time_outs() {
    let world = World::start().await;
    for field in ["connect_timeout_s", "greeting_timeout_s"] {
        assert_checked(world.set_system(json!({"queue": {field: 0}})).await, &[(field, "out-of-range")]);
        assert_checked(world.set_tenant(json!({"queue": {field: 5}})).await, &[(field, "unknown")]);
        assert_checked(world.set_domain(json!({"queue": {field: 5}})).await, &[(field, "unknown")]);
    }
    // A listener whose queue is full answers nobody.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = socket.listen(1).unwrap();
    let address = full.local_addr().unwrap();
    let mut waiting = Vec::new();
    while let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_millis(200), tokio::net::TcpStream::connect(address)).await {
        waiting.push(stream);
    }
    world.rows(json!([row(address)])).await;
    let check = async |subject: &str, limit: u64, word: &str| {
        let reply = world.send(subject, &["u@a.example"]).await;
        world
            .eventually("in attempt", async || world.explain(&reply, 0).await["in_attempt"] == true)
            .await;
        world.pass(Duration::from_secs(limit - 2)).await;
        assert_eq!(world.explain(&reply, 0).await["in_attempt"], true, "{subject}: within the time");
        world.pass(Duration::from_secs(4)).await;
        let events = world.events(&reply, "deferred").await;
        let said = event(&events, "attempt")["reply"].as_str().unwrap().to_owned();
        assert!(said.contains(word), "{subject}: {said}");
        system::ask(
            &world.owner,
            "POST",
            "/queue/actions",
            json!({"action": "discard", "entries": [{"queue_id": queue_id(&reply)}], "text": "seen"}),
        )
        .await
        .unwrap();
        world.skip(Duration::from_secs(61)).await;
    };
    check("connect", 30, "no answer from").await;
    world.set_system(json!({"queue": {"connect_timeout_s": 5}})).await.unwrap();
    check("connect sooner", 5, "no answer from").await;
    world
        .peer
        .script(|s| drop(s.acts.insert(Stage::Greeting, Act::Stall(Duration::from_secs(3_600)))));
    world.rows(json!([row(world.peer.address)])).await;
    check("greeting", 60, "greeting").await;
    world.set_system(json!({"queue": {"greeting_timeout_s": 7}})).await.unwrap();
    check("greeting sooner", 7, "greeting").await;
    world.stop().await;
}

/// Connections to one next hop, by operator and tenant, never by the domain.
/// covers: domains/11.1/queue-next-hop-concurrency
#[tokio::test]
async fn concurrency() {
    let world = World::start().await;
    for wrong in [0, 101] {
        assert_checked(
            world.set_system(json!({"queue": {"next_hop_concurrency": wrong}})).await,
            &[("next_hop_concurrency", "out-of-range")],
        );
        assert_checked(
            world.set_tenant(json!({"queue": {"next_hop_concurrency": wrong}})).await,
            &[("next_hop_concurrency", "out-of-range")],
        );
    }
    assert_checked(
        world.set_domain(json!({"queue": {"next_hop_concurrency": 5}})).await,
        &[("next_hop_concurrency", "unknown")],
    );
    let check = async |most: u64| {
        let hop = Peer::start(Script {
            extensions: usual_extensions(),
            ..Script::default()
        })
        .await;
        hop.script(|s| drop(s.acts.insert(Stage::Mail, Act::Stall(Duration::from_millis(40)))));
        world.rows(json!([row(hop.address)])).await;
        let mut client = world.client().await;
        for n in 0..12 {
            client
                .deliver("s@sender.example", &["u@a.example"], &message(&format!("n{n}")))
                .await
                .unwrap();
        }
        hop.wait(12).await;
        let open = hop.connections().1;
        assert!(open <= most && (open == most || most > 4), "{open} at a time of {most}");
    };
    world.set_system(json!({"queue": {"next_hop_concurrency": 3}})).await.unwrap();
    check(3).await;
    world.set_tenant(json!({"queue": {"next_hop_concurrency": 1}})).await.unwrap();
    check(1).await;
    world.stop().await;
}

/// A next hop without 8BITMIME or SMTPUTF8: 5.6.3 until re-encoding is there; another candidate that has SMTPUTF8, else 5.6.7; without SIZE and CHUNKING it is sent.
/// covers: domains/11.1/queue-schedule
#[tokio::test]
async fn downgrades() {
    let world = World::start().await;
    let returns = next_hop().await;
    world.smarthost(returns.address).await;
    let plain = Peer::start(Script::default()).await;
    world.rows(json!([row(plain.address)])).await;
    world.send("without SIZE and CHUNKING", &["u@a.example"]).await;
    let taken = plain.wait(1).await;
    assert_eq!(taken[0].mail, "MAIL FROM:<s@sender.example>");

    let send = async |parameters: &str, to: &str, mail: &str| {
        let mut client = world.client().await;
        client.say(&format!("MAIL FROM:<s@sender.example>{parameters}")).await.unwrap();
        let reply = client.say(&format!("RCPT TO:<{to}>")).await.unwrap();
        assert!(reply.starts_with("250"), "{reply}");
        client.data(mail.as_bytes()).await.unwrap()
    };
    let eight = "From: <s@sender.example>\r\nSubject: eight\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n見附\r\n";
    let reply = send(" BODY=8BITMIME", "u@a.example", eight).await;
    let events = world.events(&reply, "dsn").await;
    assert!(event(&events, "failed")["reply"].as_str().unwrap().contains("5.6.3"), "{events:?}");
    let told = String::from_utf8(returns.wait(1).await[0].data.clone()).unwrap();
    assert!(told.contains("Status: 5.6.3\r\n") && !told.contains("Remote-MTA"), "{told}");

    let utf8 = "From: <s@sender.example>\r\nSubject: 見附\r\n\r\nhello\r\n";
    for (n, (parameters, to)) in [(" SMTPUTF8", "ü@a.example"), (" SMTPUTF8", "u@a.example")].into_iter().enumerate() {
        let reply = send(parameters, to, utf8).await;
        let events = world.events(&reply, "dsn").await;
        assert_eq!(event(&events, "failed")["reason"], "UTF8-ADDRESS", "{to}");
        let told = String::from_utf8_lossy(&returns.wait(2 + n).await[1 + n].data).into_owned();
        assert!(told.contains("Status: 5.6.7\r\n"), "{told}");
    }
    let able = next_hop().await;
    world
        .rows(json!([row(plain.address), row_with(able.address, json!({"preference": 20}))]))
        .await;
    let reply = send(" SMTPUTF8", "ü@a.example", utf8).await;
    let events = world.events(&reply, "delivered").await;
    assert_eq!(kinds(&events).iter().filter(|k| **k == "attempt").count(), 2);
    let taken = able.wait(1).await;
    assert!(
        taken[0].mail.contains(" SMTPUTF8") && taken[0].data.ends_with(utf8.as_bytes()),
        "{}",
        taken[0].mail
    );
    assert_eq!(plain.taken().len(), 1);
    world.stop().await;
}

/// The old server stops, the host is changed, and the first retry reaches the new one: nothing is lost, nothing sent twice.
/// covers: domains/11.1/queue-schedule
#[tokio::test]
async fn cut_over() {
    let world = World::with(Plan::default()).await;
    let (mut old, new) = (next_hop().await, next_hop().await);
    world.rows(json!([row(old.address)])).await;
    let mut client = world.client().await;
    let mut send = async |n: usize| {
        client
            .deliver("s@sender.example", &["u@a.example"], &message(&format!("cut{n}.")))
            .await
            .unwrap()
    };
    for n in 0..10 {
        assert!(send(n).await.starts_with("250"));
    }
    old.wait(10).await;
    old.stop();
    let mut waiting = Vec::new();
    for n in 10..30 {
        waiting.push(send(n).await);
    }
    for reply in &waiting {
        assert!(reply.starts_with("250"), "{reply}");
        world.events(reply, "deferred").await;
    }
    world.rows(json!([row(new.address)])).await;
    for n in 30..35 {
        assert!(send(n).await.starts_with("250"));
    }
    new.wait(5).await;
    world.pass(Duration::from_secs(335)).await;
    new.wait(25).await;
    for reply in &waiting {
        let events = world.events(reply, "delivered").await;
        assert_eq!(kinds(&events).iter().filter(|k| **k == "attempt").count(), 2, "the first retry");
    }
    let mut subjects: Vec<String> = old
        .taken()
        .iter()
        .chain(&new.taken())
        .map(|t| {
            let text = String::from_utf8_lossy(&t.data).into_owned();
            text.split("Subject: cut").nth(1).unwrap().split('.').next().unwrap().to_owned()
        })
        .collect();
    subjects.sort_by_key(|s| s.parse::<u32>().unwrap());
    assert_eq!(subjects, (0..35).map(|n| n.to_string()).collect::<Vec<_>>());
    world.stop().await;
}
