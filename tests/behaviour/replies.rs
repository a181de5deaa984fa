//! The reply catalogue: each reply provoked over a socket, looked at letter by letter, found again in tracking and on its page
//! (domains-and-routing 10).

use config::node::ListenerRole;
use mail::Reason;
use mitsuke::client::Api;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::Duration;
use system::{DOMAIN, Plan, SOURCE, STRANGER, TENANT, World, ask, assert_checked, assert_refused, message, queue_id, row_with};
use testkit::client::Client;
use transport::inbound::reply::{CATALOGUE, Form, Refusal};

/// Asserts the reply's form, and that tracking tells `who` of the refusal with the same reason and reply.
async fn check(world: &World, who: &Api, reply: &str, start: &str) {
    assert_refused(reply, start);
    assert!(reply.is_ascii(), "{reply}");
    let told = world.refusal(who, reply).await;
    let reason = start.trim_end_matches('.').rsplit(' ').next().unwrap();
    assert_eq!((told["reason"].as_str(), told["reply"].as_str()), (Some(reason), Some(reply)));
}

/// The operator alone is told.
async fn check_operators(world: &World, reply: &str, start: &str) {
    check(world, &world.operator, reply, start).await;
    let reference = reply.split("ref=").nth(1).unwrap().split(' ').next().unwrap();
    let seen = ask(&world.owner, "GET", &format!("/tracking?reference={reference}"), Value::Null)
        .await
        .unwrap();
    assert_eq!(seen["items"], json!([]), "{reply}");
}

/// A session of `source` with MAIL said; its reply must be 250.
async fn mail_from(world: &World, source: &str, sender: &str) -> Client {
    let mut client = world.client_from(source).await;
    let reply = client.say(&format!("MAIL FROM:<{sender}>")).await.unwrap();
    assert!(reply.starts_with("250 2.1.0 "), "{reply}");
    client
}

async fn rcpt(client: &mut Client, to: &str) -> String {
    client.say(&format!("RCPT TO:<{to}>")).await.unwrap()
}

async fn suspend(world: &World, state: &str) {
    ask(
        &world.operator,
        "PATCH",
        &format!("/tenants/{TENANT}"),
        json!({"state": state, "reason": "test"}),
    )
    .await
    .unwrap();
}

/// 250 names the message; one queue id for each tenant that gets it, and no reference.
/// covers: domains/10/accepted
#[tokio::test]
async fn accepted() {
    let world = World::start().await;
    let beta = world.tenant("beta").await;
    world.domain("beta", &beta, "b.example", world.peer.address).await;
    let reply = world.send("one", &["u@a.example"]).await;
    let id = queue_id(&reply);
    assert_eq!(reply, format!("250 2.0.0 Accepted, queue id {id}"));
    let reply = world.send("two", &["u@a.example", "v@b.example", "w@a.example"]).await;
    let ids: Vec<&str> = reply.strip_prefix("250 2.0.0 Accepted, queue id ").unwrap().split(',').collect();
    assert_eq!(ids.len(), 2, "{reply}");
    for (api, id, other) in [(&world.owner, ids[0], ids[1]), (&beta, ids[1], ids[0])] {
        ask(api, "GET", &format!("/tracking/{id}"), Value::Null).await.unwrap();
        assert_eq!(
            ask(api, "GET", &format!("/tracking/{other}"), Value::Null)
                .await
                .unwrap_err()
                .status,
            404
        );
    }
    let mut taken = world.peer.wait(3).await.split_off(1);
    taken.sort_by_key(|t| t.rcpts.len());
    let rcpts: Vec<usize> = taken.iter().map(|t| t.rcpts.len()).collect();
    assert_eq!(rcpts, [1, 2], "a message for two tenants becomes two");
    world.stop().await;
}

/// Too many connections, and too many messages on one.
/// covers: domains/10/conn-limit
#[tokio::test]
async fn conn_limit() {
    let world = World::start().await;
    world
        .set_system(json!({"limits": {"connections_per_address": 2, "messages_per_connection": 2}}))
        .await
        .unwrap();
    let mut first = world.client().await;
    let _second = world.client().await;
    let third = Client::connect_from(STRANGER.parse().unwrap(), world.address(ListenerRole::Mx))
        .await
        .unwrap();
    check_operators(&world, &third.greeting, "421 4.7.0 Too many connections or messages: CONN-LIMIT.").await;
    for n in 0..2 {
        let reply = first
            .deliver("s@sender.example", &["u@a.example"], &message(&format!("n{n}")))
            .await
            .unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    let reply = first.say("MAIL FROM:<s@sender.example>").await.unwrap();
    check_operators(&world, &reply, "421 4.7.0 Too many connections or messages: CONN-LIMIT.").await;
    first.say("NOOP").await.expect_err("the session is over");
    world.stop().await;
}

/// The operator's deny list refuses at connect.
/// covers: domains/10/ip-blocked-system
#[tokio::test]
async fn ip_blocked_system() {
    let world = World::start().await;
    world.set_system(json!({"blocked_clients": ["127.0.9.0/24"]})).await.unwrap();
    let blocked = Client::connect_from("127.0.9.7".parse().unwrap(), world.address(ListenerRole::Mx))
        .await
        .unwrap();
    check_operators(&world, &blocked.greeting, "554 5.7.1 Client address rejected: IP-BLOCKED-SYSTEM.").await;
    world.client_from("127.0.10.7").await;
    world.stop().await;
}

/// Who speaks before the greeting is refused; who waits is not delayed.
/// covers: domains/10/early-talk
#[tokio::test]
async fn early_talk() {
    let world = World::start().await;
    // Blocking, so that the octets are there before the server's task runs.
    let mut early = std::net::TcpStream::connect(world.address(ListenerRole::Mx)).unwrap();
    early.write_all(b"EHLO early.example\r\nMAIL FROM:<>\r\n").unwrap();
    let told = tokio::task::spawn_blocking(move || {
        let mut text = String::new();
        early.read_to_string(&mut text).map(|_| text)
    });
    let text = told.await.unwrap().unwrap();
    check_operators(&world, text.trim_end(), "554 5.5.0 Client spoke before the greeting: EARLY-TALK.").await;
    world.stop().await;
}

/// Idle too long, too many wrong commands, and the server going down: 421 and the end.
/// covers: domains/10/shutdown-timeout-too-many-errors
#[tokio::test]
async fn closing() {
    let mut world = World::start().await;
    let mut idle = world.client().await;
    world.skip(Duration::from_secs(301)).await;
    let reply = idle.reply().await.unwrap();
    check_operators(&world, &reply, "421 4.4.2 Timeout: TIMEOUT.").await;
    idle.reply().await.expect_err("closed");

    let mut wrong = world.client().await;
    for _ in 0..10 {
        let reply = wrong.say("XYZZY").await.unwrap();
        assert!(reply.starts_with("500 5.5.2 Syntax or sequence error: SYNTAX."), "{reply}");
    }
    let reply = wrong.say("XYZZY").await.unwrap();
    check_operators(&world, &reply, "421 4.7.0 Too many errors: TOO-MANY-ERRORS.").await;
    wrong.reply().await.expect_err("closed");

    let mut open = world.client().await;
    let server = world.running.take().unwrap();
    let farewell = async move { open.reply().await.unwrap() };
    let (stopped, reply) = tokio::join!(server.stop(), farewell);
    stopped.unwrap();
    assert_refused(&reply, "421 4.3.2 Service closing: SHUTDOWN.");
}

/// Wrong syntax, wrong order, unknown parameters: the codes of RFC 5321, without a reference.
/// covers: domains/10/syntax
#[tokio::test]
async fn syntax() {
    let world = World::start().await;
    world.set_system(json!({"limits": {"errors_max": 100}})).await.unwrap();
    let mut client = Client::connect_from(STRANGER.parse().unwrap(), world.address(ListenerRole::Mx))
        .await
        .unwrap();
    let long = "x".repeat(3_000);
    for (line, start) in [
        ("MAIL FROM:<s@sender.example>", "503 5.5.1"),
        ("EHLO", "501 5.5.4"),
        ("XYZZY", "500 5.5.2"),
        (long.as_str(), "500 5.5.2"),
        ("EXPN all", "502 5.5.1"),
        ("EHLO client.sender.example", ""),
        ("RCPT TO:<u@a.example>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("MAIL TO:<s@sender.example>", "501 5.5.4"),
        ("MAIL FROM:s@sender.example", "501 5.5.4"),
        ("MAIL FROM:<s@sender.example> COLOUR=blue", "555 5.5.4"),
        ("MAIL FROM:<s@sender.example> SIZE=x", "501 5.5.4"),
        ("MAIL FROM:<s@sender.example>", ""),
        ("MAIL FROM:<s@sender.example>", "503 5.5.1"),
        ("RCPT FROM:<u@a.example>", "501 5.5.4"),
        ("RCPT TO:<u@a.example> COLOUR=blue", "555 5.5.4"),
        ("RCPT TO:<u@a.example> NOTIFY=NEVER,DELAY", "501 5.5.4"),
        ("DATA", "503 5.5.1"),
    ] {
        let reply = client.say(line).await.unwrap();
        if start.is_empty() {
            assert!(reply.starts_with("250"), "{line}: {reply}");
        } else {
            assert!(
                reply.starts_with(&format!("{start} Syntax or sequence error: SYNTAX. ")),
                "{line}: {reply}"
            );
            assert!(reply.len() <= 510 && reply.is_ascii() && !reply.contains("ref="), "{line}: {reply}");
        }
    }
    assert!(client.say("VRFY u@a.example").await.unwrap().starts_with("252 2.0.0 "));
    world.stop().await;
}

/// With the check on, a name that DNS does not know is refused; off (default) it is not.
/// covers: domains/10/helo-invalid
#[tokio::test]
async fn helo_invalid() {
    let world = World::start().await;
    let mut client = world.client().await;
    assert!(client.hello("nowhere.example").await.unwrap().starts_with("250"));
    world.set_system(json!({"helo_check": true})).await.unwrap();
    for wrong in ["nowhere.example", "localhost", "[192.0.2.1]", "127.0.0.9"] {
        let reply = client.hello(wrong).await.unwrap();
        check_operators(&world, &reply, "550 5.7.1 EHLO name rejected: HELO-INVALID.").await;
    }
    for right in ["mx.sender.example", "[127.0.0.9]"] {
        assert!(client.hello(right).await.unwrap().starts_with("250"), "{right}");
    }
    world.stop().await;
}

/// A peer that must use TLS, and a submission port without log-in.
/// covers: domains/10/tls-required-auth-required
#[tokio::test]
async fn tls_and_auth_required() {
    let world = World::start().await;
    world
        .set_tenant(json!({"peer_inbound": [{"client": "sender.example", "level": "mandatory"}]}))
        .await
        .unwrap();
    let mut client = mail_from(&world, STRANGER, "s@sender.example").await;
    let reply = rcpt(&mut client, "u@a.example").await;
    check(&world, &world.owner, &reply, "530 5.7.0 Must issue STARTTLS first: TLS-REQUIRED.").await;
    let mut client = world.client().await.starttls(None).await.unwrap();
    assert!(
        client
            .deliver("s@sender.example", &["u@a.example"], &message("private"))
            .await
            .unwrap()
            .starts_with("250")
    );

    world.outbound(world.peer.address).await;
    world
        .set_tenant(json!({"peer_inbound": [{"client": "*", "level": "mandatory"}]}))
        .await
        .unwrap();
    let mut source = world.client_from(SOURCE).await;
    let reply = source.say("MAIL FROM:<u@a.example>").await.unwrap();
    check(&world, &world.owner, &reply, "530 5.7.0 Must issue STARTTLS first: TLS-REQUIRED.").await;

    let mut submission = Client::connect(world.address(ListenerRole::Submission)).await.unwrap();
    let said = submission.hello("client.sender.example").await.unwrap();
    assert!(said.contains("STARTTLS") && !said.contains("AUTH"), "no AUTH in clear: {said}");
    let reply = submission.say("MAIL FROM:<u@a.example>").await.unwrap();
    check_operators(&world, &reply, "530 5.7.0 Must issue STARTTLS first: TLS-REQUIRED.").await;
    let mut submission = submission.starttls(None).await.unwrap();
    let reply = submission.say("MAIL FROM:<u@a.example>").await.unwrap();
    check_operators(&world, &reply, "530 5.7.0 Authentication required: AUTH-REQUIRED.").await;
    let mut implicit = Client::connect_tls(world.address(ListenerRole::Submissions), None).await.unwrap();
    implicit.hello("client.sender.example").await.unwrap();
    let reply = implicit.say("MAIL FROM:<u@a.example>").await.unwrap();
    check_operators(&world, &reply, "530 5.7.0 Authentication required: AUTH-REQUIRED.").await;
    world.stop().await;
}

/// One answer for an unknown user, a wrong secret, a foreign identity and an expired credential.
/// covers: domains/10/auth-failed
#[tokio::test]
async fn auth_failed() {
    use base64::Engine;
    let world = World::start().await;
    world.outbound(world.peer.address).await;
    world.set_domain(json!({"outbound_submission": true})).await.unwrap();
    let path = format!("/tenants/{TENANT}/relay-credentials");
    let made = ask(&world.owner, "POST", &path, json!({"name": "printer"})).await.unwrap();
    let secret = made["secret"].as_str().unwrap();
    let late = ask(
        &world.owner,
        "POST",
        &path,
        json!({"name": "late", "expires_at": "2026-11-24T00:00:01Z"}),
    )
    .await
    .unwrap();
    world.skip(Duration::from_secs(2)).await;
    let plain = |authzid: &str, user: &str, secret: &str| {
        format!(
            "AUTH PLAIN {}",
            base64::engine::general_purpose::STANDARD.encode(format!("{authzid}\0{user}\0{secret}"))
        )
    };
    let mut client = Client::connect_tls(world.address(ListenerRole::Submissions), None).await.unwrap();
    client.hello("client.sender.example").await.unwrap();
    let mut texts = std::collections::BTreeSet::new();
    for line in [
        plain("", "printer@alpha", "wrong"),
        plain("", "nobody@alpha", secret),
        plain("", "printer@nowhere", secret),
        plain("other@alpha", "printer@alpha", secret),
        plain("", "late@alpha", late["secret"].as_str().unwrap()),
    ] {
        let reply = client.say(&line).await.unwrap();
        check_operators(&world, &reply, "535 5.7.8 Authentication failed: AUTH-FAILED.").await;
        texts.insert(reply.split(" ref=").next().unwrap().to_owned());
    }
    assert_eq!(texts.len(), 1);
    let reply = client.say(&plain("", "printer@alpha", secret)).await.unwrap();
    assert!(reply.starts_with("235 2.7.0 "), "{reply}");
    world.stop().await;
}

/// A reverse path whose domain has neither MX nor address.
/// covers: domains/10/sender-domain
#[tokio::test]
async fn sender_domain() {
    let world = World::with(Plan {
        zone: "txt-only.example. TXT \"nothing\"\n".into(),
        ..Plan::default()
    })
    .await;
    let mut client = world.client().await;
    for domain in ["nowhere.example", "txt-only.example"] {
        let reply = client.say(&format!("MAIL FROM:<s@{domain}>")).await.unwrap();
        check_operators(
            &world,
            &reply,
            &format!("550 5.1.8 <s@{domain}>: Sender address rejected: Domain not found: SENDER-DOMAIN."),
        )
        .await;
    }
    for good in ["", "s@mx.sender.example", "s@sender.example"] {
        assert!(
            client.say(&format!("MAIL FROM:<{good}>")).await.unwrap().starts_with("250"),
            "{good}"
        );
        client.say("RSET").await.unwrap();
    }
    world.stop().await;
}

/// DNS that fails is our trouble or its own, never the sender's: 451 at MAIL and at RCPT.
/// covers: domains/10/dns-temp
#[tokio::test]
async fn dns_temp() {
    let world = World::with(Plan {
        zone: "broken.example. FAULT servfail\n".into(),
        ..Plan::default()
    })
    .await;
    let mut client = world.client().await;
    let reply = client.say("MAIL FROM:<s@broken.example>").await.unwrap();
    check_operators(&world, &reply, "451 4.4.3 <s@broken.example>: DNS lookup failed: DNS-TEMP.").await;
    world.outbound(world.peer.address).await;
    let mut source = mail_from(&world, SOURCE, "u@a.example").await;
    let reply = rcpt(&mut source, "x@broken.example").await;
    check(
        &world,
        &world.owner,
        &reply,
        "451 4.4.3 <x@broken.example>: DNS lookup failed: DNS-TEMP.",
    )
    .await;
    world.stop().await;
}

/// An address outside ASCII where SMTPUTF8 was not asked for; its echo is escaped.
/// covers: domains/10/utf8-address
#[tokio::test]
async fn utf8_address() {
    let world = World::start().await;
    let mut client = world.client().await;
    let reply = client.say("MAIL FROM:<見附@sender.example>").await.unwrap();
    check_operators(
        &world,
        &reply,
        "553 5.6.7 <\\u{898b}\\u{9644}@sender.example>: needs SMTPUTF8: UTF8-ADDRESS.",
    )
    .await;
    client.say("MAIL FROM:<s@sender.example>").await.unwrap();
    let reply = rcpt(&mut client, "ü@a.example").await;
    assert_refused(&reply, "553 5.6.7 <\\u{fc}@a.example>: needs SMTPUTF8: UTF8-ADDRESS.");
    client.say("RSET").await.unwrap();
    assert!(
        client
            .say("MAIL FROM:<見附@sender.example> SMTPUTF8")
            .await
            .unwrap()
            .starts_with("250")
    );
    assert!(rcpt(&mut client, "ü@a.example").await.starts_with("250"));
    world.stop().await;
}

/// Too large by declaration at MAIL (the cap) and at RCPT (the domain's figure), and by count at the dot.
/// covers: domains/10/size
#[tokio::test]
async fn size() {
    let world = World::start().await;
    const MB: u64 = 1_048_576;
    world
        .set_system(json!({"limits": {"message_bytes_cap": 2 * MB, "message_bytes_max": 2 * MB}}))
        .await
        .unwrap();
    world.set_domain(json!({"limits": {"message_bytes_max": MB}})).await.unwrap();
    let mut client = world.client().await;
    assert!(
        client.greeting.contains("SIZE 2097152"),
        "EHLO announces the cap: {}",
        client.greeting
    );
    let reply = client
        .say(&format!("MAIL FROM:<s@sender.example> SIZE={}", 2 * MB + 1))
        .await
        .unwrap();
    check_operators(&world, &reply, "552 5.3.4 Message size exceeds limit of 2097152 bytes: SIZE.").await;
    client.say(&format!("MAIL FROM:<s@sender.example> SIZE={}", MB + 1)).await.unwrap();
    let reply = rcpt(&mut client, "u@a.example").await;
    check(
        &world,
        &world.owner,
        &reply,
        "552 5.3.4 Message size exceeds limit of 1048576 bytes: SIZE.",
    )
    .await;
    client.say("RSET").await.unwrap();
    let filled = |octets: u64| {
        let mut text = message("filled");
        while u64::try_from(text.len()).unwrap() + 80 <= octets {
            text.extend_from_slice(format!("{}\r\n", "x".repeat(76)).as_bytes());
        }
        let left = usize::try_from(octets).unwrap() - text.len();
        text.extend_from_slice(format!("{}\r\n", "y".repeat(left - 2)).as_bytes());
        text
    };
    let reply = client.deliver("s@sender.example", &["u@a.example"], &filled(MB)).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let reply = client.deliver("s@sender.example", &["u@a.example"], &filled(MB + 1)).await.unwrap();
    check(
        &world,
        &world.owner,
        &reply,
        "552 5.3.4 Message size exceeds limit of 1048576 bytes: SIZE.",
    )
    .await;
    let reply = client
        .deliver("s@sender.example", &["u@a.example"], &filled(2 * MB + 1))
        .await
        .unwrap();
    check(
        &world,
        &world.owner,
        &reply,
        "552 5.3.4 Message size exceeds limit of 2097152 bytes: SIZE.",
    )
    .await;
    world.stop().await;
}

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

/// Every reply: one line of at most 512 octets in ASCII whose reference leads to its page, however long and strange the address.
/// covers: domains/10/no-domain
#[tokio::test]
async fn form_and_page() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.say("MAIL FROM:<s@sender.example> SMTPUTF8").await.unwrap();
    let local = "x".repeat(64);
    let label = "y".repeat(60);
    for address in [
        format!("{local}@{label}.{label}.{label}.example"),
        format!("{}@{label}.{label}.{label}.example", "見".repeat(21)),
        "\"a\\\"b<script>\"@far.example".to_owned(),
        "a=?utf-8?q?b?=@far.example".to_owned(),
    ] {
        let reply = rcpt(&mut client, &address).await;
        assert!(
            reply.starts_with("554 5.7.1 <") && reply.is_ascii() && reply.len() + 2 <= 512,
            "{reply}"
        );
        let echoed = reply
            .strip_prefix("554 5.7.1 <")
            .unwrap()
            .split(">: Recipient address rejected: NO-DOMAIN. ref=")
            .next()
            .unwrap();
        assert!(echoed.len() <= 254, "{echoed}");
        let url = reply.rsplit(' ').next().unwrap();
        world.refusal(&world.operator, &reply).await;
        let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        for (language, words) in [("ja", "lang=\"ja\""), ("en", "lang=\"en\"")] {
            let page = http_get(host, &format!("/{path}"), language).await;
            assert!(
                page.starts_with("HTTP/1.1 200") && page.contains(words) && page.contains("NO-DOMAIN"),
                "{page}"
            );
            assert!(
                !page.contains("far.example") && !page.contains("<script>"),
                "no address is shown: {page}"
            );
        }
    }
    world.stop().await;
}

async fn http_get(host: &str, path: &str, language: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Language: {language}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

/// What a later check would say is in the catalogue already, word for word.
fn is_in_catalogue(reason: Reason, replies: &[(&str, &str)]) {
    let rows: Vec<_> = CATALOGUE.iter().filter(|r| r.reason == reason).collect();
    assert_eq!(rows.len(), replies.len(), "{reason}");
    for (row, (status, text)) in rows.iter().zip(replies) {
        assert_eq!(
            (
                format!("{} {}.{}.{}", row.code, row.code / 100, row.subject, row.detail).as_str(),
                row.text
            ),
            (*status, *text),
            "{reason}"
        );
        let made = Refusal::new(reason)
            .with_form(row.form)
            .reply(mail::Reference::random(), "https://gate.example", &[])
            .to_string();
        assert!(made.contains(&format!(" {reason}. ref=")), "{made}");
    }
}

/// Settings of later checks are refused at saving, and nothing switches their replies; their texts stand.
/// refuses: domains/10/suppressed domains/10/user-disabled-mailbox-full domains/10/send-limit-from-not-allowed domains/10/ip-blocked
/// refuses: domains/10/ip-dnsbl domains/10/ip-reputation domains/10/no-iprev domains/10/greylist domains/10/sender-blocked
/// refuses: domains/10/spf-fail-dkim-fail domains/10/dmarc-reject domains/10/virus-spam-content domains/10/scan-unavailable-internal
#[tokio::test]
async fn later_replies() {
    let world = World::start().await;
    for field in [
        "suppression",
        "send_limit",
        "blocked_clients",
        "dnsbl",
        "reputation",
        "iprev",
        "greylist",
        "blocked_senders",
        "spf",
        "dkim",
        "dmarc",
        "virus",
        "spam",
        "content",
        "scanner",
    ] {
        for answer in [
            world.set_tenant(json!({field: {"action": "reject"}})).await,
            world.set_domain(json!({field: {"action": "reject"}})).await,
        ] {
            let problem = answer.expect_err(field);
            assert_eq!(
                (problem.status, &problem.document["reason"]),
                (422, &json!("unknown")),
                "{field}: {}",
                problem.document
            );
        }
    }
    assert_checked(world.set_domain(json!({"kind": "hosted"})).await, &[("kind", "not-available")]);
    for reason in [
        "IP-BLOCKED",
        "IP-DNSBL",
        "IP-REPUTATION",
        "NO-IPREV",
        "SENDER-BLOCKED",
        "SPF-FAIL",
        "DKIM-FAIL",
        "SPAM",
        "CONTENT",
    ] {
        assert_checked(
            world.set_tenant(json!({"soft_reasons": [reason]})).await,
            &[("soft_reasons[0]", "not-available")],
        );
    }
    assert_checked(
        world.set_tenant(json!({"soft_reasons": ["NO-DOMAIN"]})).await,
        &[("soft_reasons[0]", "out-of-range")],
    );

    is_in_catalogue(
        Reason::Suppressed,
        &[("550 5.1.1", "{}: Recipient suppressed after earlier failures:")],
    );
    is_in_catalogue(Reason::UserDisabled, &[("550 5.2.1", "{}: Recipient disabled:")]);
    is_in_catalogue(
        Reason::MailboxFull,
        &[("452 4.2.2", "{}: Mailbox full:"), ("552 5.2.2", "{}: Mailbox full:")],
    );
    is_in_catalogue(
        Reason::SendLimit,
        &[("450 4.7.1", "Send limit reached:"), ("550 5.7.1", "Send limit reached:")],
    );
    is_in_catalogue(Reason::FromNotAllowed, &[("550 5.7.1", "header From not permitted:")]);
    is_in_catalogue(Reason::IpBlocked, &[("550 5.7.1", "{}: Client address rejected:")]);
    is_in_catalogue(Reason::IpReputation, &[("450 4.7.1", "{}: Temporarily rejected:")]);
    is_in_catalogue(Reason::NoIprev, &[("450 4.7.25", "{}: Reverse DNS rejected:")]);
    is_in_catalogue(Reason::Greylist, &[("451 4.7.1", "Greylisted, try again in {} s:")]);
    is_in_catalogue(Reason::SenderBlocked, &[("550 5.7.1", "{}: Sender address rejected:")]);
    is_in_catalogue(Reason::SpfFail, &[("550 5.7.23", "SPF check failed for {}:")]);
    is_in_catalogue(Reason::DkimFail, &[("550 5.7.20", "No passing DKIM signature for {}:")]);
    is_in_catalogue(Reason::DmarcReject, &[("550 5.7.1", "Rejected by DMARC policy of {}:")]);
    is_in_catalogue(Reason::Virus, &[("550 5.7.1", "Malicious content:")]);
    is_in_catalogue(Reason::Spam, &[("550 5.7.1", "Classified as spam:")]);
    is_in_catalogue(Reason::Content, &[("550 5.7.1", "Rejected by recipient policy:")]);
    is_in_catalogue(Reason::ScanUnavailable, &[("451 4.3.0", "Content check unavailable:")]);
    let listed = Refusal::listed("192.0.2.1".parse().unwrap(), &mail::Domain::parse("bl.example").unwrap());
    let made = listed.reply(mail::Reference::random(), "https://gate.example", &[]).to_string();
    assert!(
        made.starts_with("550 5.7.1 <192.0.2.1>: Listed by bl.example: IP-DNSBL. ref="),
        "{made}"
    );
    assert_eq!(
        CATALOGUE.iter().find(|r| r.reason == Reason::IpDnsbl).map(|r| r.form),
        Some(Form::Usual)
    );
    world.stop().await;
}
