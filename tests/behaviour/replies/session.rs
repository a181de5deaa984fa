//! Replies at connect, EHLO, AUTH and MAIL, and those that may come at any time.

use super::{check, check_operators, mail_from, rcpt};
use config::node::ListenerRole;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::time::Duration;
use system::{Plan, SOURCE, STRANGER, TENANT, World, ask, assert_refused, message, queue_id};
use testkit::client::Client;

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
    // What was cut short is listened to for some more seconds, which this clock never brings.
    drop((idle, wrong));

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
