//! Replies at RCPT and at the final dot.

use super::{check, check_operators, mail_from, rcpt, suspend};
use serde_json::json;
use std::time::Duration;
use system::{DOMAIN, Plan, SOURCE, STRANGER, TENANT, World, ask, assert_refused, message, row_with};

/// Not an accepted domain; the operator alone is told.
/// covers: domains/10/no-domain
#[tokio::test]
async fn no_domain() {
    let world = World::start().await;
    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    let reply = rcpt(&mut client, "taro@far.example").await;
    check_operators(
        &world,
        &reply,
        "554 5.7.1 <taro@far.example>: Recipient address rejected: NO-DOMAIN.",
    )
    .await;
    for address in ["u@sub.a.example", "u@[127.0.0.1]", "u%far.example@mx.mitsuke.example"] {
        assert_refused(
            &rcpt(&mut client, address).await,
            &format!("554 5.7.1 <{address}>: Recipient address rejected: NO-DOMAIN."),
        );
    }
    // 6.2: outbound with a foreign reverse path; null reverse path with a foreign header From, at the dot.
    world.outbound(world.peer.address).await;
    let mut source = mail_from(&world, SOURCE, "x@sender.example").await;
    assert_refused(
        &rcpt(&mut source, "y@far.example").await,
        "554 5.7.1 <y@far.example>: Recipient address rejected: NO-DOMAIN.",
    );
    source.say("RSET").await.unwrap();
    let reply = source.deliver("", &["y@far.example"], &message("null")).await.unwrap();
    assert_refused(&reply, "554 5.7.1 <y@far.example>: Recipient address rejected: NO-DOMAIN.");
    world.stop().await;
}

/// A claim that nobody has proven is deferred.
/// covers: domains/10/domain-unverified
#[tokio::test]
async fn domain_unverified() {
    let world = World::with(Plan {
        zone: "c.example. MX 10 mx.c.example.\nmx.c.example. A 127.0.0.1\n".into(),
        ..Plan::default()
    })
    .await;
    ask(
        &world.owner,
        "POST",
        &format!("/tenants/{TENANT}/domains"),
        json!({"name": "c.example"}),
    )
    .await
    .unwrap();
    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    let reply = rcpt(&mut client, "u@c.example").await;
    check(
        &world,
        &world.owner,
        &reply,
        "450 4.7.1 <u@c.example>: Recipient domain not verified yet: DOMAIN-UNVERIFIED.",
    )
    .await;
    world.stop().await;
}

/// A stopped domain, and a suspended tenant.
/// covers: domains/10/domain-disabled
#[tokio::test]
async fn domain_disabled() {
    let world = World::start().await;
    let text = "450 4.3.2 <u@a.example>: Recipient domain not in service: DOMAIN-DISABLED.";
    world.set_domain(json!({"disabled": true})).await.unwrap();
    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    check(&world, &world.owner, &rcpt(&mut client, "u@a.example").await, text).await;
    world.set_domain(json!({"disabled": false})).await.unwrap();
    suspend(&world, "suspended").await;
    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    check(&world, &world.owner, &rcpt(&mut client, "u@a.example").await, text).await;
    world.stop().await;
}

/// No inbound server row matches.
/// covers: domains/10/no-route
#[tokio::test]
async fn no_route() {
    let world = World::start().await;
    for rows in [
        json!([]),
        json!([row_with(world.peer.address, json!({"enabled": false}))]),
        json!([row_with(world.peer.address, json!({"recipient": "v"}))]),
    ] {
        world.rows(rows).await;
        let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
        check(
            &world,
            &world.owner,
            &rcpt(&mut client, "u@a.example").await,
            "451 4.3.5 <u@a.example>: No route: NO-ROUTE.",
        )
        .await;
    }
    world.stop().await;
}

/// A client that is no outbound sender of the domain in its reverse path.
/// covers: domains/10/client-not-allowed
#[tokio::test]
async fn client_not_allowed() {
    let world = World::start().await;
    world.outbound(world.peer.address).await;
    let mut client = mail_from(&world, STRANGER, "u@a.example").await;
    let reply = rcpt(&mut client, "x@far.example").await;
    check(
        &world,
        &world.owner,
        &reply,
        "554 5.7.1 <127.0.0.9>: Relay access denied: CLIENT-NOT-ALLOWED.",
    )
    .await;
    let mut source = mail_from(&world, SOURCE, "u@a.example").await;
    assert!(rcpt(&mut source, "x@far.example").await.starts_with("250"));
    world.stop().await;
}

/// Sending stopped: of the tenant, and of the domain.
/// covers: domains/10/sender-suspended
#[tokio::test]
async fn sender_suspended() {
    let world = World::start().await;
    world.outbound(world.peer.address).await;
    let text = "550 5.7.1 <u@a.example>: Sending suspended: SENDER-SUSPENDED.";
    for state in ["outbound-suspended", "suspended"] {
        suspend(&world, state).await;
        let mut source = mail_from(&world, SOURCE, "u@a.example").await;
        check(&world, &world.owner, &rcpt(&mut source, "x@far.example").await, text).await;
    }
    suspend(&world, "active").await;
    world.set_domain(json!({"disabled": true})).await.unwrap();
    let mut source = mail_from(&world, SOURCE, "u@a.example").await;
    check(&world, &world.owner, &rcpt(&mut source, "x@far.example").await, text).await;
    world.stop().await;
}

/// A shared range without proof of tenant: after the dot.
/// covers: domains/10/tenant-unproven
#[tokio::test]
async fn tenant_unproven() {
    let world = World::start().await;
    world.outbound(world.peer.address).await;
    world
        .set_system(json!({"shared_ranges": {"refresh": false, "microsoft365": ["127.0.40.0/24"]}}))
        .await
        .unwrap();
    world.set_domain(json!({"outbound_microsoft365": true})).await.unwrap();
    let mut client = world.client_from("127.0.40.1").await;
    let mail = String::from_utf8(message("unproven"))
        .unwrap()
        .replace("s@sender.example", "u@a.example");
    let reply = client.deliver("u@a.example", &["x@far.example"], mail.as_bytes()).await.unwrap();
    check(
        &world,
        &world.owner,
        &reply,
        "550 5.7.1 Sender not proven for a.example: TENANT-UNPROVEN.",
    )
    .await;
    world.stop().await;
}

/// Outbound: a domain that does not exist, and one that takes no mail.
/// covers: domains/10/recipient-domain
#[tokio::test]
async fn recipient_domain() {
    let world = World::with(Plan {
        zone: "null.example. MX 0 .\nnull.example. A 127.0.0.1\n".into(),
        ..Plan::default()
    })
    .await;
    world.outbound(world.peer.address).await;
    let mut source = mail_from(&world, SOURCE, "u@a.example").await;
    let reply = rcpt(&mut source, "x@nowhere.example").await;
    check(
        &world,
        &world.owner,
        &reply,
        "550 5.1.2 <x@nowhere.example>: Recipient domain not found: RECIPIENT-DOMAIN.",
    )
    .await;
    let reply = rcpt(&mut source, "x@null.example").await;
    check(
        &world,
        &world.owner,
        &reply,
        "556 5.1.10 <x@null.example>: Recipient domain not found: RECIPIENT-DOMAIN.",
    )
    .await;
    world.stop().await;
}

/// Who is not in the list does not exist; who guesses on is slowed, sent away and shut out.
/// covers: domains/10/user-unknown domains/10/harvest
#[tokio::test]
async fn unknown_users() {
    let world = World::start().await;
    let path = format!("/api/v1/tenants/{TENANT}/domains/{DOMAIN}/recipients/import");
    world
        .owner
        .send(hyper::Method::POST, &path, "text/csv", b"address\r\nknown@a.example\r\n".to_vec())
        .await
        .unwrap();
    world.set_domain(json!({"recipient_mode": "directory"})).await.unwrap();
    world.set_system(json!({"harvest": {"session": 2, "ip": 7}})).await.unwrap();
    let unknown = |n: usize| format!("550 5.1.1 <guess{n}@a.example>: Recipient address rejected: User unknown: USER-UNKNOWN.");
    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    assert!(rcpt(&mut client, "Known@a.example").await.starts_with("250"));
    for n in 1..=2 {
        check(
            &world,
            &world.owner,
            &rcpt(&mut client, &format!("guess{n}@a.example")).await,
            &unknown(n),
        )
        .await;
    }
    assert_refused(&rcpt(&mut client, "guess3@a.example").await, &unknown(3));
    client.send(b"RCPT TO:<guess4@a.example>\r\n").await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(100), client.reply()).await;
    assert!(early.is_err(), "over the session's figure each reply waits 5 s");
    world.skip(Duration::from_secs(5)).await;
    assert_refused(&client.reply().await.unwrap(), &unknown(4));
    client.send(b"RCPT TO:<guess5@a.example>\r\n").await.unwrap();
    world.skip(Duration::from_secs(6)).await;
    check(
        &world,
        &world.owner,
        &client.reply().await.unwrap(),
        "421 4.7.1 Too many unknown recipients: HARVEST.",
    )
    .await;
    client.reply().await.expect_err("over twice the figure the session ends");

    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    for n in 6..=7 {
        assert_refused(&rcpt(&mut client, &format!("guess{n}@a.example")).await, &unknown(n));
    }
    assert_refused(&rcpt(&mut client, "guess8@a.example").await, &unknown(8));
    drop(client);
    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    let reply = rcpt(&mut client, "known@a.example").await;
    check(&world, &world.owner, &reply, "450 4.7.1 Too many unknown recipients: HARVEST.").await;
    let mut other = mail_from(&world, "127.0.0.8", "s@sender.example").await;
    assert!(
        rcpt(&mut other, "known@a.example").await.starts_with("250"),
        "others are not concerned"
    );
    world.skip(Duration::from_secs(3_601)).await;
    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    assert!(rcpt(&mut client, "known@a.example").await.starts_with("250"), "after an hour");
    world.stop().await;
}

/// The recipient beyond the figure; those before it are served.
/// covers: domains/10/too-many-recipients
#[tokio::test]
async fn too_many_recipients() {
    let world = World::start().await;
    world.set_system(json!({"limits": {"recipients_max": 100}})).await.unwrap();
    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    for n in 0..100 {
        assert!(rcpt(&mut client, &format!("u{n}@a.example")).await.starts_with("250"));
    }
    let reply = rcpt(&mut client, "u100@a.example").await;
    check(&world, &world.owner, &reply, "452 4.5.3 Too many recipients: TOO-MANY-RECIPIENTS.").await;
    assert!(client.data(&message("many")).await.unwrap().starts_with("250"));
    assert_eq!(world.peer.wait(1).await[0].rcpts.len(), 100);
    world.stop().await;
}

/// Each rate has its own reason; two messages pass, the third does not until the bucket fills.
/// covers: domains/10/rate-ip-recipient-sender-tenant-trial
#[tokio::test]
async fn rates() {
    let world = World::start().await;
    world.outbound(world.peer.address).await;
    let two = json!({"messages": 2, "per_s": 60});
    let wide = json!({"messages": 10_000, "per_s": 60});
    for (field, reason, source) in [
        ("rate_client_inbound", "RATE-IP", STRANGER),
        ("rate_recipient", "RATE-RECIPIENT", STRANGER),
        ("rate_tenant", "RATE-TENANT", STRANGER),
        ("rate_trial", "RATE-TRIAL", STRANGER),
        ("rate_client_outbound", "RATE-IP", SOURCE),
        ("rate_sender", "RATE-SENDER", SOURCE),
        ("rate_tenant", "RATE-TENANT", SOURCE),
        ("rate_trial", "RATE-TRIAL", SOURCE),
    ] {
        let mut limits = json!({"rate_client_inbound": wide, "rate_recipient": wide, "rate_tenant": wide, "rate_trial": wide, "rate_client_outbound": wide, "rate_sender": wide});
        limits[field] = two.clone();
        world.set_system(json!({"limits": limits})).await.unwrap();
        let state = if field == "rate_trial" { "trial" } else { "active" };
        ask(
            &world.operator,
            "PATCH",
            &format!("/tenants/{TENANT}"),
            json!({"state": state, "trial_outbound": true, "reason": "test"}),
        )
        .await
        .unwrap();
        world.skip(Duration::from_secs(120)).await;
        let (sender, to) = if source == SOURCE {
            ("u@a.example", "x@far.example")
        } else {
            ("s@sender.example", "u@a.example")
        };
        let mut client = mail_from(&world, source, sender).await;
        for n in 0..2 {
            assert!(rcpt(&mut client, to).await.starts_with("250"), "{field} {n}");
        }
        let reply = rcpt(&mut client, to).await;
        check(
            &world,
            &world.owner,
            &reply,
            &format!("450 4.7.1 Rate limit temporarily exceeded: {reason}."),
        )
        .await;
        let told = world.refusal(&world.owner, &reply).await;
        assert_eq!(told["detail"], "2 messages in 60 s", "{field}: limit and value are told");
        world.skip(Duration::from_secs(31)).await;
        assert!(
            rcpt(&mut client, to).await.starts_with("250"),
            "{field}: half the time, half the bucket"
        );
    }
    world.stop().await;
}

/// Too many hops by count, and the fifth pass of one message through here.
/// covers: domains/10/hops-loop
#[tokio::test]
async fn hops_and_loop() {
    let world = World::start().await;
    let received = |n: usize| {
        "Received: from a.sender.example by b.sender.example; Tue, 24 Nov 2026 00:00:00 +0000\r\n"
            .repeat(n)
            .into_bytes()
    };
    let mut client = world.client().await;
    let reply = client
        .deliver("s@sender.example", &["u@a.example"], &[received(26), message("26")].concat())
        .await
        .unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let reply = client
        .deliver("s@sender.example", &["u@a.example"], &[received(27), message("27")].concat())
        .await
        .unwrap();
    check(&world, &world.owner, &reply, "554 5.4.6 Error: too many hops: HOPS.").await;

    let mut bytes = message("round");
    for pass in 1..=4 {
        let reply = client.deliver("s@sender.example", &["u@a.example"], &bytes).await.unwrap();
        assert!(reply.starts_with("250"), "pass {pass}: {reply}");
        bytes = world.peer.wait(1 + pass).await[pass].data.clone();
    }
    let reply = client.deliver("s@sender.example", &["u@a.example"], &bytes).await.unwrap();
    check(&world, &world.owner, &reply, "554 5.4.6 Mail loop detected: LOOP.").await;
    let forged = String::from_utf8(bytes)
        .unwrap()
        .replace("round", "forged")
        .replace("mx.mitsuke.example", "mx.other.example");
    let reply = client
        .deliver("s@sender.example", &["u@a.example"], forged.as_bytes())
        .await
        .unwrap();
    assert!(reply.starts_with("250") || reply.contains("LOOP"), "{reply}");
    world.stop().await;
}

/// Bare CR or LF, and what is too broken to be passed on.
/// covers: domains/10/bare-newline-malformed
#[tokio::test]
async fn bare_newline_and_malformed() {
    let world = World::start().await;
    for bad in [
        "a\nb",
        "a\rb",
        "a\n.\nb",
        "a\r.\rb",
        "a\r\n.\nMAIL FROM:<x@sender.example>",
        "a\n.\r\nMAIL FROM:<x@sender.example>",
        "a\r\n.\rb",
        "\u{0}\n",
    ] {
        let mut client = world.client().await;
        client
            .send(b"MAIL FROM:<s@sender.example>\r\nRCPT TO:<u@a.example>\r\nDATA\r\n")
            .await
            .unwrap();
        for code in ["250", "250", "354"] {
            let reply = client.reply().await.unwrap();
            assert!(reply.starts_with(code), "{reply}");
        }
        client.send(format!("Subject: bad\r\n\r\n{bad}\r\n.\r\n").as_bytes()).await.unwrap();
        let reply = client.reply().await.unwrap();
        check(&world, &world.owner, &reply, "550 5.5.2 Bare CR or LF in message: BARE-NEWLINE.").await;
        assert!(
            client.say("NOOP").await.unwrap().starts_with("250 2.0.0"),
            "what was smuggled is no command: {bad:?}"
        );
        world.skip(Duration::from_secs(2)).await;
    }
    let mut client = world.client().await;
    let long = [b"Subject: long\r\n\r\n".to_vec(), vec![b'x'; 70_000], b"\r\n".to_vec()].concat();
    let reply = client.deliver("s@sender.example", &["u@a.example"], &long).await.unwrap();
    check(&world, &world.owner, &reply, "550 5.6.0 Malformed message: MALFORMED.").await;
    let fields = [b"X-A: b\r\n".repeat(2_001), message("fields")].concat();
    let reply = client.deliver("s@sender.example", &["u@a.example"], &fields).await.unwrap();
    check(&world, &world.owner, &reply, "550 5.6.0 Malformed message: MALFORMED.").await;
    assert_eq!(world.peer.taken().len(), 0, "nothing of it reached the next hop");
    world.stop().await;
}

/// A fault of ours is 451 and says nothing of our inside; afterwards the server goes on.
/// covers: domains/10/scan-unavailable-internal
#[tokio::test]
async fn internal() {
    let world = World::start().await;
    let blobs = world.server().desk.node.blobs.clone();
    let aside = blobs.with_extension("aside");
    std::fs::rename(&blobs, &aside).unwrap();
    std::fs::write(&blobs, "in the way").unwrap();
    let large = [message("large"), b"0123456789abcdef\r\n".repeat(40_000)].concat();
    let mut client = world.client().await;
    let reply = client.deliver("s@sender.example", &["u@a.example"], &large).await.unwrap();
    check(&world, &world.owner, &reply, "451 4.3.0 Local error: INTERNAL.").await;
    std::fs::remove_file(&blobs).unwrap();
    std::fs::rename(&aside, &blobs).unwrap();
    let reply = client.deliver("s@sender.example", &["u@a.example"], &large).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    assert!(world.peer.wait(1).await[0].data.ends_with(&large));
    world.stop().await;
}

/// Too little free space: 452 at MAIL, and mail again when there is room.
/// covers: domains/10/store-full domains/9/free-spool
#[tokio::test]
async fn store_full() {
    let world = World::start().await;
    world.set_system(json!({"free_spool_bytes": 1_u64 << 60})).await.unwrap();
    let mut client = world.client().await;
    let reply = client.say("MAIL FROM:<s@sender.example>").await.unwrap();
    check_operators(&world, &reply, "452 4.3.1 Insufficient storage: STORE-FULL.").await;
    world.set_system(json!({"free_spool_bytes": 1})).await.unwrap();
    let mut client = world.client().await;
    client.say("MAIL FROM:<s@sender.example>").await.unwrap();
    rcpt(&mut client, "u@a.example").await;
    assert!(client.say("DATA").await.unwrap().starts_with("354"));
    world.set_system(json!({"free_spool_bytes": 1_u64 << 60})).await.unwrap();
    world.skip(Duration::from_secs(1)).await;
    client.send(&[message("in the middle"), b".\r\n".to_vec()].concat()).await.unwrap();
    let reply = client.reply().await.unwrap();
    check(&world, &world.owner, &reply, "452 4.3.1 Insufficient storage: STORE-FULL.").await;
    world.set_system(json!({"free_spool_bytes": 1})).await.unwrap();
    world.skip(Duration::from_secs(1)).await;
    world.send("room again", &["u@a.example"]).await;
    world.peer.wait(1).await;
    world.stop().await;
}
