//! Acceptance limits at their defaults or set, at the figure and over it, with exemptions and how far they may be raised (domains-and-routing 9).

use config::node::ListenerRole;
use serde_json::{Value, json};
use std::time::Duration;
use system::{SOURCE, STRANGER, TENANT, World, ask, assert_checked, assert_refused, event, message};
use testkit::client::Client;

async fn session(world: &World, source: &str, sender: &str) -> Client {
    let mut client = world.client_from(source).await;
    let reply = client.say(&format!("MAIL FROM:<{sender}>")).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    client
}

/// Says many RCPTs at once; how many were taken before the first refusal, and that refusal.
async fn rcpts(client: &mut Client, to: impl Iterator<Item = String>) -> (usize, Option<String>) {
    let all: Vec<String> = to.map(|t| format!("RCPT TO:<{t}>\r\n")).collect();
    let (mut taken, mut refused) = (0, None);
    for lines in all.chunks(200) {
        client.send(lines.concat().as_bytes()).await.unwrap();
        for _ in lines {
            let reply = client.reply().await.unwrap();
            match &refused {
                None if reply.starts_with("250") => taken += 1,
                None => refused = Some(reply),
                Some(_) => {}
            }
        }
    }
    (taken, refused)
}

async fn state(world: &World, state: &str) {
    ask(
        &world.operator,
        "PATCH",
        &format!("/tenants/{TENANT}"),
        json!({"state": state, "trial_outbound": true, "reason": "test"}),
    )
    .await
    .unwrap();
}

/// 150 MB for a domain, 200 MB as cap that EHLO announces; ranges of both.
/// covers: domains/9/message-size
#[tokio::test]
async fn message_size() {
    let world = World::start().await;
    const MB: u64 = 1_048_576;
    let mut client = world.client().await;
    assert!(client.greeting.contains(&format!("SIZE {}", 200 * MB)), "{}", client.greeting);
    for (size, takes) in [(150 * MB, true), (150 * MB + 1, false)] {
        client.say(&format!("MAIL FROM:<s@sender.example> SIZE={size}")).await.unwrap();
        let reply = client.say("RCPT TO:<u@a.example>").await.unwrap();
        if takes {
            assert!(reply.starts_with("250"), "{reply}");
        } else {
            assert_refused(
                &reply,
                &format!("552 5.3.4 Message size exceeds limit of {} bytes: SIZE.", 150 * MB),
            );
        }
        client.say("RSET").await.unwrap();
    }
    let reply = client
        .say(&format!("MAIL FROM:<s@sender.example> SIZE={}", 200 * MB + 1))
        .await
        .unwrap();
    assert_refused(
        &reply,
        &format!("552 5.3.4 Message size exceeds limit of {} bytes: SIZE.", 200 * MB),
    );
    for wrong in [MB - 1, 200 * MB + 1] {
        assert_checked(
            world.set_domain(json!({"limits": {"message_bytes_max": wrong}})).await,
            &[("message_bytes_max", "out-of-range")],
        );
    }
    assert_checked(
        world.set_system(json!({"limits": {"message_bytes_cap": 500 * MB + 1}})).await,
        &[("message_bytes_cap", "out-of-range")],
    );
    assert_checked(
        world.set_tenant(json!({"limits": {"message_bytes_cap": MB}})).await,
        &[("message_bytes_cap", "unknown")],
    );
    world.set_system(json!({"limits": {"message_bytes_cap": 500 * MB}})).await.unwrap();
    world.set_domain(json!({"limits": {"message_bytes_max": 500 * MB}})).await.unwrap();
    world.stop().await;
}

/// A thousand by default, from 100 to 10,000 for operator and tenant, not for a domain.
/// covers: domains/9/recipients-per-transaction
#[tokio::test]
async fn recipients() {
    let world = World::start().await;
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    let (taken, refused) = rcpts(&mut client, (0..1_001).map(|n| format!("u{n}@a.example"))).await;
    assert_eq!(taken, 1_000);
    assert_refused(&refused.unwrap(), "452 4.5.3 Too many recipients: TOO-MANY-RECIPIENTS.");
    for wrong in [99, 10_001] {
        assert_checked(
            world.set_tenant(json!({"limits": {"recipients_max": wrong}})).await,
            &[("recipients_max", "out-of-range")],
        );
        assert_checked(
            world.set_system(json!({"limits": {"recipients_max": wrong}})).await,
            &[("recipients_max", "out-of-range")],
        );
    }
    assert_checked(
        world.set_domain(json!({"limits": {"recipients_max": 100}})).await,
        &[("recipients_max", "unknown")],
    );
    world.set_tenant(json!({"limits": {"recipients_max": 100}})).await.unwrap();
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    assert_eq!(
        rcpts(&mut client, (0..101).map(|n| format!("u{n}@a.example"))).await.0,
        100,
        "the tenant's own figure"
    );
    world.stop().await;
}

/// More Received fields than the operator's figure, 10 to 100.
/// covers: domains/9/received-fields-hops
#[tokio::test]
async fn hops() {
    let world = World::start().await;
    for wrong in [9, 101] {
        assert_checked(
            world.set_system(json!({"limits": {"hops_max": wrong}})).await,
            &[("hops_max", "out-of-range")],
        );
    }
    assert_checked(
        world.set_tenant(json!({"limits": {"hops_max": 20}})).await,
        &[("hops_max", "unknown")],
    );
    let with = |n: usize| {
        [
            b"Received: by a.sender.example; Tue, 24 Nov 2026 00:00:00 +0000\r\n".repeat(n),
            message("hops"),
        ]
        .concat()
    };
    let mut client = world.client().await;
    for (max, count, passes) in [(26, 26, true), (26, 27, false), (10, 10, true), (10, 11, false)] {
        world.set_system(json!({"limits": {"hops_max": max}})).await.unwrap();
        let reply = client.deliver("s@sender.example", &["u@a.example"], &with(count)).await.unwrap();
        if passes {
            assert!(reply.starts_with("250"), "{reply}")
        } else {
            assert_refused(&reply, "554 5.4.6 Error: too many hops: HOPS.")
        }
    }
    world.stop().await;
}

/// The reverse path is null or of a domain with MX or address; the allow list lets others in, for its tenant only.
/// covers: domains/9/reverse-path
#[tokio::test]
async fn reverse_path() {
    let world = World::start().await;
    let beta = world.tenant("beta").await;
    world.domain("beta", &beta, "b.example", world.peer.address).await;
    let text = "550 5.1.8 <s@nowhere.example>: Sender address rejected: Domain not found: SENDER-DOMAIN.";
    let mut client = world.client().await;
    assert_refused(&client.say("MAIL FROM:<s@nowhere.example>").await.unwrap(), text);
    assert!(client.say("MAIL FROM:<>").await.unwrap().starts_with("250"));
    world
        .set_tenant(json!({"exempt": {"sender_domains": ["nowhere.example"]}}))
        .await
        .unwrap();
    let mut client = session(&world, STRANGER, "s@nowhere.example").await;
    assert!(client.say("RCPT TO:<u@a.example>").await.unwrap().starts_with("250"));
    assert_refused(&client.say("RCPT TO:<u@b.example>").await.unwrap(), text);
    let reply = client.data(&message("allowed")).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    world.peer.wait(1).await;
    world.stop().await;
}

/// Inbound only accepted domains, outbound only domains that take mail.
/// covers: domains/9/recipient-domain
#[tokio::test]
async fn recipient_domain() {
    let world = World::with(system::Plan {
        zone: "null.example. MX 0 .\nonly-a.example. A 127.0.0.1\n".into(),
        ..system::Plan::default()
    })
    .await;
    world.outbound(world.peer.address).await;
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    assert_refused(
        &client.say("RCPT TO:<x@far.example>").await.unwrap(),
        "554 5.7.1 <x@far.example>: Recipient address rejected: NO-DOMAIN.",
    );
    let mut source = session(&world, SOURCE, "u@a.example").await;
    for good in ["x@far.example", "x@only-a.example", "v@a.example"] {
        assert!(source.say(&format!("RCPT TO:<{good}>")).await.unwrap().starts_with("250"), "{good}");
    }
    for (bad, code) in [("x@nowhere.example", "550 5.1.2"), ("x@null.example", "556 5.1.10")] {
        let reply = source.say(&format!("RCPT TO:<{bad}>")).await.unwrap();
        assert_refused(&reply, &format!("{code} <{bad}>: Recipient domain not found: RECIPIENT-DOMAIN."));
    }
    world.stop().await;
}

const OVER: &str = "450 4.7.1 Rate limit temporarily exceeded:";

/// 2,000 a minute from one address inbound; 1,000 in five minutes outbound; raised up to ten times, exempt by address.
/// covers: domains/9/rate-per-client-address
#[tokio::test]
async fn rate_per_client() {
    let world = World::start().await;
    let who = |from: usize, n: usize| (from..from + n).map(|i| format!("u{i}@a.example"));
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    assert_eq!(rcpts(&mut client, who(0, 1_000)).await, (1_000, None));
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    let (taken, _) = rcpts(&mut client, who(1_000, 1_000)).await;
    assert_eq!(taken, 1_000);
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    assert_refused(
        &client.say("RCPT TO:<one.more@a.example>").await.unwrap(),
        &format!("{OVER} RATE-IP."),
    );
    let mut other = session(&world, "127.0.0.8", "s@sender.example").await;
    assert!(
        other.say("RCPT TO:<one.more@a.example>").await.unwrap().starts_with("250"),
        "another address has its own"
    );

    for (field, own, ten) in [
        ("rate_client_inbound", (2_000, 60), 20_000),
        ("rate_client_outbound", (1_000, 300), 10_000),
    ] {
        world
            .set_tenant(json!({"limits": {field: {"messages": ten, "per_s": own.1}}}))
            .await
            .unwrap();
        assert_checked(
            world
                .set_tenant(json!({"limits": {field: {"messages": ten + 1, "per_s": own.1}}}))
                .await,
            &[(field, "out-of-range")],
        );
        assert_checked(
            world.set_domain(json!({"limits": {field: {"messages": 1, "per_s": 60}}})).await,
            &[(field, "unknown")],
        );
    }
    world.set_tenant(json!({"limits": {"rate_client_inbound": {"messages": 1, "per_s": 600}, "rate_client_outbound": {"messages": 1, "per_s": 600}}})).await.unwrap();
    world.outbound(world.peer.address).await;
    for (source, sender, to) in [
        (STRANGER, "s@sender.example", "u@a.example"),
        (SOURCE, "u@a.example", "x@far.example"),
    ] {
        let mut client = session(&world, source, sender).await;
        let (taken, refused) = rcpts(&mut client, (0..2).map(|_| to.to_owned())).await;
        assert_eq!(taken, 1, "the tenant's own figure");
        assert_refused(&refused.unwrap(), &format!("{OVER} RATE-IP."));
        world
            .set_tenant(json!({"exempt": {"clients": [format!("{source}/32")]}}))
            .await
            .unwrap();
        let mut client = session(&world, source, sender).await;
        assert_eq!(rcpts(&mut client, (0..5).map(|_| to.to_owned())).await.0, 5, "exempt");
        world.set_tenant(json!({"exempt": {"clients": []}})).await.unwrap();
    }
    let entries: Vec<String> = (0..1_001).map(|n| format!("10.1.{}.{}/32", n / 256, n % 256)).collect();
    assert_checked(
        world.set_tenant(json!({"exempt": {"clients": entries}})).await,
        &[("exempt", "out-of-range")],
    );
    world.stop().await;
}

/// 200 a minute to one recipient; raised by tenant and domain; exempt recipients and senders, for the tenant's own mail only.
/// covers: domains/9/rate-per-recipient
#[tokio::test]
async fn rate_per_recipient() {
    let world = World::start().await;
    let beta = world.tenant("beta").await;
    world.domain("beta", &beta, "b.example", world.peer.address).await;
    let many = |to: &str, n: usize| std::iter::repeat_n(to.to_owned(), n);
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    let (taken, refused) = rcpts(&mut client, many("u@a.example", 201)).await;
    assert_eq!(taken, 200);
    assert_refused(&refused.unwrap(), &format!("{OVER} RATE-RECIPIENT."));
    assert!(
        client.say("RCPT TO:<v@a.example>").await.unwrap().starts_with("250"),
        "another recipient has their own"
    );
    world.skip(Duration::from_secs(31)).await;
    assert!(
        rcpts(&mut client, many("u@a.example", 100)).await.0 >= 100,
        "the bucket fills with time"
    );

    for (fits, set) in [(2_000, true), (2_001, false)] {
        let limits = json!({"limits": {"rate_recipient": {"messages": fits, "per_s": 60}}});
        for answer in [world.set_tenant(limits.clone()).await, world.set_domain(limits).await] {
            if set {
                drop(answer.unwrap())
            } else {
                assert_checked(answer, &[("rate_recipient", "out-of-range")])
            }
        }
    }
    world
        .set_domain(json!({"limits": {"rate_recipient": {"messages": 3, "per_s": 600}}}))
        .await
        .unwrap();
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    assert_eq!(rcpts(&mut client, many("w@a.example", 5)).await.0, 3);
    for exempt in [
        json!({"recipients": ["w@a.example"]}),
        json!({"recipients": [], "senders": ["s@sender.example"]}),
    ] {
        world.set_tenant(json!({"exempt": exempt})).await.unwrap();
        let mut client = session(&world, STRANGER, "s@sender.example").await;
        assert_eq!(rcpts(&mut client, many("w@a.example", 5)).await.0, 5, "{exempt}");
    }
    beta.json(
        hyper::Method::PATCH,
        "/api/v1/tenants/beta/domains/b.example",
        Some(&json!({"settings": {"limits": {"rate_recipient": {"messages": 3, "per_s": 600}}}})),
    )
    .await
    .unwrap();
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    assert_eq!(
        rcpts(&mut client, many("w@b.example", 5)).await.0,
        3,
        "one tenant's list is not another's"
    );
    world.stop().await;
}

/// 500 in ten minutes from one sender, outbound only; raised by tenant and domain; exempt senders.
/// covers: domains/9/rate-per-sender
#[tokio::test]
async fn rate_per_sender() {
    let world = World::start().await;
    world.outbound(world.peer.address).await;
    let many = |n: usize| (0..n).map(|i| format!("x{i}@far.example"));
    let mut source = session(&world, SOURCE, "u@a.example").await;
    let (taken, refused) = rcpts(&mut source, many(501)).await;
    assert_eq!(taken, 500);
    assert_refused(&refused.unwrap(), &format!("{OVER} RATE-SENDER."));
    let mut source = session(&world, SOURCE, "v@a.example").await;
    assert_eq!(rcpts(&mut source, many(10)).await.0, 10, "another sender has their own");
    for (fits, set) in [(5_000, true), (5_001, false)] {
        let limits = json!({"limits": {"rate_sender": {"messages": fits, "per_s": 600}}});
        for answer in [world.set_tenant(limits.clone()).await, world.set_domain(limits).await] {
            if set {
                drop(answer.unwrap())
            } else {
                assert_checked(answer, &[("rate_sender", "out-of-range")])
            }
        }
    }
    world
        .set_domain(json!({"limits": {"rate_sender": {"messages": 2, "per_s": 600}}}))
        .await
        .unwrap();
    let mut source = session(&world, SOURCE, "w@a.example").await;
    assert_eq!(rcpts(&mut source, many(5)).await.0, 2);
    world.set_tenant(json!({"exempt": {"senders": ["w@a.example"]}})).await.unwrap();
    let mut source = session(&world, SOURCE, "w@a.example").await;
    assert_eq!(rcpts(&mut source, many(5)).await.0, 5);
    world.stop().await;
}

/// A trial takes 100 an hour per recipient domain and sends as many per sender domain; a tenant's ceiling holds for both; neither has exemptions.
/// covers: domains/9/trial-tenant
#[tokio::test]
async fn trial_and_ceiling() {
    let world = World::start().await;
    world.outbound(world.peer.address).await;
    world
        .set_tenant(json!({"exempt": {"clients": [format!("{STRANGER}/32"), format!("{SOURCE}/32")]}}))
        .await
        .unwrap();
    let inbound = |n: usize| (0..n).map(|i| format!("u{i}@a.example"));
    let outbound = |n: usize| (0..n).map(|i| format!("x{i}@far.example"));
    state(&world, "trial").await;
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    let (taken, refused) = rcpts(&mut client, inbound(101)).await;
    assert_eq!(taken, 100);
    assert_refused(&refused.unwrap(), &format!("{OVER} RATE-TRIAL."));
    let mut source = session(&world, SOURCE, "u@a.example").await;
    let (taken, refused) = rcpts(&mut source, outbound(101)).await;
    assert_eq!(taken, 100);
    assert_refused(&refused.unwrap(), &format!("{OVER} RATE-TRIAL."));
    state(&world, "active").await;
    world
        .set_system(json!({"limits": {"rate_tenant": {"messages": 10, "per_s": 3_600}}}))
        .await
        .unwrap();
    let mut client = session(&world, STRANGER, "s@sender.example").await;
    assert_eq!(rcpts(&mut client, inbound(6)).await.0, 6);
    let mut source = session(&world, SOURCE, "u@a.example").await;
    let (taken, refused) = rcpts(&mut source, outbound(5)).await;
    assert_eq!(taken, 4, "one ceiling for both directions");
    assert_refused(&refused.unwrap(), &format!("{OVER} RATE-TENANT."));
    for field in ["rate_trial", "rate_tenant"] {
        assert_checked(
            world.set_tenant(json!({"limits": {field: {"messages": 1, "per_s": 60}}})).await,
            &[(field, "unknown")],
        );
    }
    world.stop().await;
}

/// Opens connections until one is turned away; how many were let in.
async fn let_in(world: &World, sources: &[&str], each: usize) -> (Vec<Client>, Option<String>) {
    let mut open = Vec::new();
    for source in sources {
        for _ in 0..each {
            let client = Client::connect_from(source.parse().unwrap(), world.address(ListenerRole::Mx))
                .await
                .unwrap();
            if !client.greeting.starts_with("220") {
                return (open, Some(client.greeting));
            }
            open.push(client);
        }
    }
    (open, None)
}

/// 20 from one address and 50 from one network; 50 and 100 for outbound sources; the operator's list is exempt.
/// covers: domains/9/connections-per-address-per-24-or-64
#[tokio::test]
async fn connections() {
    let world = World::start().await;
    const TEXT: &str = "421 4.7.0 Too many connections or messages: CONN-LIMIT.";
    let (open, refused) = let_in(&world, &["127.1.1.1"], 21).await;
    assert_eq!(open.len(), 20);
    assert_refused(&refused.unwrap(), TEXT);
    let (more, refused) = let_in(&world, &["127.1.1.2", "127.1.1.3", "127.1.1.4"], 15).await;
    assert_eq!(open.len() + more.len(), 50);
    assert_refused(&refused.unwrap(), TEXT);
    drop((open, more));

    world
        .set_domain(json!({"outbound_enabled": true, "outbound_networks": ["127.2.2.0/24"]}))
        .await
        .unwrap();
    let (open, refused) = let_in(&world, &["127.2.2.1"], 51).await;
    assert_eq!((open.len(), refused.is_some()), (50, true));
    let (more, refused) = let_in(&world, &["127.2.2.2", "127.2.2.3"], 26).await;
    assert_eq!((open.len() + more.len(), refused.is_some()), (100, true));
    drop((open, more));

    world.set_system(json!({"exempt": {"clients": ["127.3.3.0/24"]}})).await.unwrap();
    let (open, refused) = let_in(&world, &["127.3.3.1"], 60).await;
    assert_eq!((open.len(), refused), (60, None));
    assert_checked(
        world.set_tenant(json!({"limits": {"connections_per_address": 9}})).await,
        &[("connections_per_address", "unknown")],
    );
    world.stop().await;
}

/// 100 messages on one connection, more for outbound sources; ten wrong commands.
/// covers: domains/9/messages-per-connection-wrong-commands
#[tokio::test]
async fn per_connection() {
    let world = World::start().await;
    const TEXT: &str = "421 4.7.0 Too many connections or messages: CONN-LIMIT.";
    let mut client = world.client().await;
    for n in 0..100 {
        let reply = client
            .deliver("s@sender.example", &[&format!("u{n}@a.example")], &message("m"))
            .await
            .unwrap();
        assert!(reply.starts_with("250"), "{n}: {reply}");
    }
    assert_refused(&client.say("MAIL FROM:<s@sender.example>").await.unwrap(), TEXT);
    world
        .set_system(json!({"limits": {"messages_per_connection": 1, "source_messages_per_connection": 3, "errors_max": 2}}))
        .await
        .unwrap();
    world.outbound(world.peer.address).await;
    for (source, sender, to, figure) in [
        (STRANGER, "s@sender.example", "u@a.example", 1),
        (SOURCE, "u@a.example", "v@a.example", 3),
    ] {
        let mut client = world.client_from(source).await;
        for _ in 0..figure {
            let mail = String::from_utf8(message("m"))
                .unwrap()
                .replace("<s@sender.example>", &format!("<{sender}>"));
            let reply = client.deliver(sender, &[to], mail.as_bytes()).await.unwrap();
            assert!(reply.starts_with("250"), "{reply}");
        }
        assert_refused(&client.say(&format!("MAIL FROM:<{sender}>")).await.unwrap(), TEXT);
    }
    // A refused sender counts as a message, or one session could have us ask DNS for ever.
    let mut client = world.client().await;
    let refused = client.say("MAIL FROM:<s@nowhere.example>").await.unwrap();
    assert!(refused.starts_with("550 5.1.8 "), "{refused}");
    assert_refused(&client.say("MAIL FROM:<s@sender.example>").await.unwrap(), TEXT);
    let mut client = world.client().await;
    for wrong in ["RCPT TO:<u@a.example>", "XYZZY"] {
        assert!(client.say(wrong).await.unwrap().starts_with("50"));
    }
    assert_refused(&client.say("XYZZY").await.unwrap(), "421 4.7.0 Too many errors: TOO-MANY-ERRORS.");
    world.stop().await;
}

/// Sessions in DATA go on after a stop was asked for; what they are told at their end is counted and written all the same.
#[tokio::test]
async fn refusals_counted_while_stopping_are_written() {
    let mut world = World::start().await;
    let mut clients = Vec::new();
    for _ in 0..12 {
        let mut client = session(&world, STRANGER, "s@sender.example").await;
        assert!(client.say("RCPT TO:<u@a.example>").await.unwrap().starts_with("250"));
        assert!(client.say("DATA").await.unwrap().starts_with("354"));
        clients.push(client);
    }
    let goodbye = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut last = Vec::new();
        for mut client in clients {
            client.send(&[message("late"), b".\r\n".to_vec()].concat()).await.unwrap();
            assert!(client.reply().await.unwrap().starts_with("250"));
            last.push(client.reply().await.unwrap());
        }
        last
    };
    let (last, ()) = tokio::join!(goodbye, world.restart());
    for reply in &last {
        assert_refused(reply, "421 4.3.2 Service closing: SHUTDOWN.");
        world.refusal(&world.operator, reply).await;
    }
    let counted = world.refusal(&world.operator, &last[11]).await;
    assert!(counted["count"].as_u64() > Some(1), "{counted}");
    world.stop().await;
}

/// Command lines up to 2,048 octets, text lines up to 64 KB although 998 is the rule.
/// covers: domains/9/command-line-text-line
#[tokio::test]
async fn lines() {
    let world = World::start().await;
    let mut client = world.client().await;
    let noop = |octets: usize| format!("NOOP {}", "x".repeat(octets - 7));
    assert!(client.say(&noop(2_048)).await.unwrap().starts_with("250"));
    assert!(
        client
            .say(&noop(2_049))
            .await
            .unwrap()
            .starts_with("500 5.5.2 Syntax or sequence error: SYNTAX.")
    );
    let with_line = |octets: usize| [message("line"), vec![b'y'; octets - 2], b"\r\n".to_vec()].concat();
    for (n, octets) in [1_000, 65_536].into_iter().enumerate() {
        let sent = with_line(octets);
        let reply = client.deliver("s@sender.example", &["u@a.example"], &sent).await.unwrap();
        assert!(reply.starts_with("250"), "{octets}: {reply}");
        assert!(world.peer.wait(n + 1).await[n].data.ends_with(&sent), "unchanged");
    }
    let reply = client
        .deliver("s@sender.example", &["u@a.example"], &with_line(65_537))
        .await
        .unwrap();
    assert_refused(&reply, "550 5.6.0 Malformed message: MALFORMED.");
    assert!(
        client
            .deliver("s@sender.example", &["u@a.example"], &message("next"))
            .await
            .unwrap()
            .starts_with("250"),
        "the session goes on"
    );
    world.stop().await;
}

fn nested(depth: usize) -> Vec<u8> {
    let mut text = String::from("From: <u@a.example>\r\nSubject: nested\r\nMIME-Version: 1.0\r\n");
    for n in 0..depth {
        text.push_str(&format!("Content-Type: multipart/mixed; boundary=\"b{n}\"\r\n\r\n--b{n}\r\n"));
    }
    text.push_str("Content-Type: text/plain\r\n\r\ntext\r\n");
    for n in (0..depth).rev() {
        text.push_str(&format!("--b{n}--\r\n"));
    }
    text.into_bytes()
}

fn parts(count: usize) -> Vec<u8> {
    let part = "--b\r\nContent-Type: text/plain\r\n\r\nx\r\n".repeat(count);
    format!(
        "From: <u@a.example>\r\nSubject: parts\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{part}--b--\r\n"
    )
    .into_bytes()
}

/// Octets and number of header fields, MIME parts and nesting: refused inbound, held outbound.
/// covers: domains/9/header-section-fields-mime-parts-nesting
#[tokio::test]
async fn structure() {
    let world = World::start().await;
    world.outbound(world.peer.address).await;
    world
        .set_system(json!({"limits": {"mime_parts_max": 50, "mime_depth_max": 10}}))
        .await
        .unwrap();
    let fields = |n: usize| {
        [
            b"From: <u@a.example>\r\nSubject: fields\r\n".to_vec(),
            b"X-A: b\r\n".repeat(n),
            b"\r\nx\r\n".to_vec(),
        ]
        .concat()
    };
    let octets = |n: usize| {
        let line = format!("X-Long: {}\r\n", "z".repeat(1_014));
        [
            b"From: <u@a.example>\r\nSubject: octets\r\n".to_vec(),
            line.repeat(n).into_bytes(),
            b"\r\nx\r\n".to_vec(),
        ]
        .concat()
    };
    let cases = [
        ("fields", fields(1_998), fields(2_001), "MALFORMED"),
        ("octets", octets(510), octets(513), "MALFORMED"),
        ("parts", parts(45), parts(51), "TOO-MANY-MIME"),
        ("nesting", nested(9), nested(12), "TOO-MANY-MIME"),
    ];
    for (what, within, over, held) in cases {
        let mut client = world.client().await;
        let reply = client.deliver("s@sender.example", &["u@a.example"], &within).await.unwrap();
        assert!(reply.starts_with("250"), "{what}: {reply}");
        let reply = client.deliver("s@sender.example", &["u@a.example"], &over).await.unwrap();
        assert_refused(&reply, "550 5.6.0 Malformed message: MALFORMED.");
        let mut source = world.client_from(SOURCE).await;
        let reply = source.deliver("u@a.example", &["x@far.example"], &over).await.unwrap();
        assert!(reply.starts_with("250"), "{what}: {reply}");
        let events = world.events(&reply, "held").await;
        assert_eq!(
            (event(&events, "held")["reason"].as_str(), event(&events, "held")["by"].as_str()),
            (Some(held), Some("system")),
            "{what}"
        );
        assert_eq!(event(&events, "decided")["disposition"], "hold", "{what}");
    }
    let page = ask(&world.owner, "GET", "/queue?state=held", Value::Null).await.unwrap();
    assert_eq!(page["items"].as_array().unwrap().len(), 4);
    for (field, wrong) in [
        ("header_bytes_max", 1),
        ("header_fields_max", 1),
        ("mime_parts_max", 1),
        ("mime_depth_max", 1),
    ] {
        assert_checked(
            world.set_system(json!({"limits": {field: wrong}})).await,
            &[(field, "out-of-range")],
        );
        assert_checked(world.set_tenant(json!({"limits": {field: 1_000}})).await, &[(field, "unknown")]);
    }
    world.stop().await;
}

/// Five minutes for a command, three within DATA, an hour for the session; each by the operator's figure.
/// covers: domains/9/idle-per-command-data-block-session
#[tokio::test]
async fn idle() {
    let world = World::start().await;
    const TEXT: &str = "421 4.4.2 Timeout: TIMEOUT.";
    let mut client = world.client().await;
    world.skip(Duration::from_secs(298)).await;
    assert!(client.say("NOOP").await.unwrap().starts_with("250"), "within five minutes");
    world.skip(Duration::from_secs(301)).await;
    assert_refused(&client.reply().await.unwrap(), TEXT);

    let mut client = session(&world, STRANGER, "s@sender.example").await;
    client.say("RCPT TO:<u@a.example>").await.unwrap();
    assert!(client.say("DATA").await.unwrap().starts_with("354"));
    client.send(b"Subject: slow\r\n\r\n").await.unwrap();
    world.skip(Duration::from_secs(178)).await;
    client.send(b"still there\r\n").await.unwrap();
    world.skip(Duration::from_secs(178)).await;
    client.send(b"and now no more\r\n").await.unwrap();
    world.skip(Duration::from_secs(190)).await;
    assert_refused(&client.reply().await.unwrap(), TEXT);
    client.reply().await.expect_err("closed");

    let mut client = world.client().await;
    for _ in 0..14 {
        world.skip(Duration::from_secs(250)).await;
        assert!(client.say("NOOP").await.unwrap().starts_with("250"));
    }
    world.skip(Duration::from_secs(110)).await;
    assert_refused(&client.reply().await.unwrap(), TEXT);

    world
        .set_system(json!({"limits": {"command_idle_s": 2, "data_idle_s": 1, "session_s": 3}}))
        .await
        .unwrap();
    let mut client = world.client().await;
    world.skip(Duration::from_secs(2)).await;
    assert_refused(&client.reply().await.unwrap(), TEXT);
    assert_eq!(world.peer.taken().len(), 0);
    world.stop().await;
}
