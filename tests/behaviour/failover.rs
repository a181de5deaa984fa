//! What a candidate does, and what follows from it: two next hops, of which the first misbehaves (domains-and-routing 4.2).

use serde_json::{Value, json};
use std::time::Duration;
use system::{Plan, World, event, kinds, message, next_hop, queue_id, row, row_with};
use testkit::peer::{Act, Peer, PeerTls, Stage};

/// A world whose domain has two inbound servers, the second only for when the first fails.
struct Two {
    world: World,
    second: Peer,
}

impl Two {
    async fn start() -> Self {
        let world = World::with(Plan {
            zone: "hop.far.example. A 127.0.0.1\n".into(),
            ..Plan::default()
        })
        .await;
        let two = Self {
            second: next_hop().await,
            world,
        };
        two.with_first(json!({})).await;
        two
    }

    /// The first row with other fields.
    async fn with_first(&self, fields: Value) {
        let first = row_with(self.world.peer.address, fields);
        self.world
            .rows(json!([first, row_with(self.second.address, json!({"preference": 20}))]))
            .await;
    }

    fn first(&self) -> &Peer {
        &self.world.peer
    }

    fn acts(&self, stage: Stage, act: Act) {
        self.first().script(|s| {
            s.acts.clear();
            s.recipients.clear();
            s.acts.insert(stage, act);
        });
    }

    fn well_again(&self) {
        self.first().script(|s| {
            s.acts.clear();
            s.recipients.clear();
        });
    }

    /// Recipients of what a hop acknowledged under this subject.
    fn got(hop: &Peer, subject: &str) -> Vec<String> {
        let wanted = format!("Subject: {subject}\r\n");
        let taken = hop
            .taken()
            .into_iter()
            .filter(|t| t.acknowledged && String::from_utf8_lossy(&t.data).contains(&wanted));
        taken.flat_map(|t| t.rcpts).collect()
    }
}

fn reply(text: &str) -> Act {
    Act::Reply(text.into())
}

/// Everything that keeps a candidate from serving, and every 4yz to the message: the second candidate has it at once, in the same attempt.
/// covers: domains/4.2/name-not-resolvable-no-connection-timeout-tls-po domains/4.2/4yz-to-mail-rcpt-or-data
#[tokio::test]
async fn next_candidate_at_once() {
    let two = Two::start().await;
    let cases = [
        ("4yz in greeting", Stage::Greeting, reply("421 4.3.2 not now")),
        ("5yz in greeting", Stage::Greeting, reply("554 5.7.1 go away")),
        ("lost in greeting", Stage::Greeting, Act::Drop),
        ("4yz in EHLO", Stage::Ehlo, reply("450 4.3.2 not now")),
        ("5yz in EHLO", Stage::Ehlo, reply("550 5.7.1 go away")),
        ("lost at EHLO", Stage::Ehlo, Act::Drop),
        ("lost at MAIL", Stage::Mail, Act::Drop),
        ("lost at RCPT", Stage::Rcpt, Act::Drop),
        ("lost at DATA", Stage::Data, Act::Drop),
        ("4yz to MAIL", Stage::Mail, reply("451 4.3.0 not now")),
        ("4yz to RCPT", Stage::Rcpt, reply("450 4.2.1 not now")),
        ("4yz to DATA", Stage::Data, reply("451 4.3.0 not now")),
        ("4yz after the dot", Stage::AfterDot, reply("452 4.3.1 full")),
    ];
    for (what, stage, act) in cases {
        two.acts(stage, act);
        let subject = what.replace(' ', "-");
        let accepted = two.world.send(&subject, &["u@a.example"]).await;
        let events = two.world.events(&accepted, "delivered").await;
        let routes: Vec<&str> = events
            .iter()
            .filter(|e| e["e"] == "attempt")
            .map(|e| e["route"].as_str().unwrap())
            .collect();
        assert_eq!(routes, ["row 1 (*)", "row 2 (*)"], "{what}: {events:?}");
        assert!(!kinds(&events).contains(&"deferred"), "{what}: {events:?}");
        assert_eq!(Two::got(&two.second, &subject), ["RCPT TO:<u@a.example>"], "{what}");
        assert_eq!(Two::got(two.first(), &subject), [""; 0], "{what}");
        two.world.skip(Duration::from_secs(61)).await;
    }
    two.world.stop().await;
}

/// A name without address, a closed port, a server that stays silent, one that does not meet the TLS policy: next candidate at once.
/// covers: domains/4.2/name-not-resolvable-no-connection-timeout-tls-po
#[tokio::test]
async fn unreachable_candidates() {
    let two = Two::start().await;
    let check = async |what: &str, silent: bool| {
        let subject = what.replace(' ', "-");
        let before = two.first().connections().0;
        let accepted = two.world.send(&subject, &["u@a.example"]).await;
        if silent {
            two.world
                .eventually("the first is asked", async || two.first().connections().0 > before)
                .await;
            assert_eq!(Two::got(&two.second, &subject), [""; 0]);
            two.world.pass(Duration::from_secs(58)).await;
            assert_eq!(Two::got(&two.second, &subject), [""; 0], "{what}: within the time of the greeting");
            two.world.pass(Duration::from_secs(4)).await;
        }
        let events = two.world.events(&accepted, "delivered").await;
        let attempts: Vec<&Value> = events.iter().filter(|e| e["e"] == "attempt").collect();
        assert_eq!(attempts.len(), 2, "{what}: {events:?}");
        assert_eq!(Two::got(&two.second, &subject), ["RCPT TO:<u@a.example>"], "{what}");
        two.world.skip(Duration::from_secs(61)).await;
        attempts[0]["reply"].as_str().unwrap().to_owned()
    };

    two.with_first(json!({"host": "hop.far.example"})).await;
    two.world.dns.change(|zone| {
        zone.remove("hop.far.example");
    });
    two.world.skip(Duration::from_secs(120)).await;
    let told = check("no such name", false).await;
    assert!(told.contains("hop.far.example does not exist"), "{told}");
    two.world.dns.change(|zone| {
        zone.add("hop.far.example", "FAULT", "servfail");
    });
    two.world.skip(Duration::from_secs(120)).await;
    check("DNS fails", false).await;

    let closed = next_hop().await.address;
    two.world
        .rows(json!([row(closed), row_with(two.second.address, json!({"preference": 20}))]))
        .await;
    let told = check("closed port", false).await;
    assert!(told.contains("refused"), "{told}");

    two.with_first(json!({"tls": "encrypted"})).await;
    let told = check("no TLS", false).await;
    assert!(told.contains("does not offer STARTTLS"), "{told}");

    two.with_first(json!({})).await;
    two.acts(Stage::Greeting, Act::Stall(Duration::from_secs(3_600)));
    check("silence", true).await;
    assert_eq!(two.first().taken().len(), 0);
    two.world.stop().await;
}

/// 4yz and 5yz to single recipients: each goes its own way, and nobody gets two copies.
/// covers: domains/4.2/4yz-to-mail-rcpt-or-data domains/4.2/5yz-to-mail-rcpt-or-data
#[tokio::test]
async fn recipients_part() {
    let two = Two::start().await;
    let returns = next_hop().await;
    two.world.smarthost(returns.address).await;
    two.first().script(|s| {
        s.recipients.insert("later@a.example".into(), "450 4.2.0 later".into());
        s.recipients.insert("never@a.example".into(), "550 5.1.1 nobody".into());
    });
    let accepted = two
        .world
        .send("parted", &["now@a.example", "later@a.example", "never@a.example"])
        .await;
    let taken = returns.wait(1).await;
    assert_eq!(Two::got(two.first(), "parted"), ["RCPT TO:<now@a.example>"]);
    assert_eq!(Two::got(&two.second, "parted"), ["RCPT TO:<later@a.example>"]);
    assert_eq!(
        (taken[0].mail.split(' ').nth(1), &*taken[0].rcpts[0]),
        (Some("FROM:<>"), "RCPT TO:<s@sender.example>")
    );
    let events = two.world.events(&accepted, "dsn").await;
    let failed = event(&events, "failed");
    assert_eq!(
        (failed["recipient"].as_str(), failed["reason"].as_str()),
        (Some("never@a.example"), Some("REMOTE-REPLY"))
    );
    assert!(failed["reply"].as_str().unwrap().ends_with("550 5.1.1 nobody"), "{failed}");
    two.world.stop().await;
}

/// 5yz to MAIL, RCPT, DATA or the dot: failed with a notification; the second candidate never hears of it.
/// covers: domains/4.2/5yz-to-mail-rcpt-or-data
#[tokio::test]
async fn failed_for_good() {
    let two = Two::start().await;
    let returns = next_hop().await;
    two.world.smarthost(returns.address).await;
    for (n, (stage, text)) in [
        (Stage::Mail, "550 5.7.1 not from you"),
        (Stage::Rcpt, "550 5.1.1 nobody"),
        (Stage::Data, "554 5.6.0 no data"),
        (Stage::AfterDot, "554 5.7.1 bad message"),
    ]
    .into_iter()
    .enumerate()
    {
        two.acts(stage, reply(text));
        let accepted = two.world.send(&format!("failed{n}"), &["u@a.example"]).await;
        let events = two.world.events(&accepted, "dsn").await;
        assert_eq!(event(&events, "failed")["reason"], "REMOTE-REPLY", "{text}");
        assert_eq!(event(&events, "dsn")["kind"], "failed", "{text}");
        let returned = String::from_utf8(returns.wait(n + 1).await[n].data.clone()).unwrap();
        assert!(returned.contains(&format!("Diagnostic-Code: smtp; {text}")), "{returned}");
        let left = system::ask(
            &two.world.owner,
            "GET",
            &format!("/queue?queue_id={}", queue_id(&accepted)),
            Value::Null,
        )
        .await
        .unwrap();
        assert_eq!(left["items"], json!([]), "{text}");
    }
    assert_eq!(two.second.taken().len(), 0);
    two.world.stop().await;
}

/// The connection is lost after the final dot: the host may have it, so nobody else is asked; it is deferred and tried again by the schedule.
/// covers: domains/4.2/connection-lost-after-the-final-dot
#[tokio::test]
async fn lost_after_the_dot() {
    let two = Two::start().await;
    two.acts(Stage::AfterDot, Act::Drop);
    let accepted = two.world.send("lost", &["u@a.example"]).await;
    let events = two.world.events(&accepted, "deferred").await;
    assert_eq!(event(&events, "deferred")["reason"], "LOST-AFTER-DOT");
    assert_eq!(kinds(&events).iter().filter(|k| **k == "attempt").count(), 1, "{events:?}");
    two.well_again();
    two.world.pass(Duration::from_secs(290)).await;
    assert_eq!(
        (two.first().taken().len(), two.second.taken().len()),
        (1, 0),
        "not before the first wait is over"
    );
    two.world.pass(Duration::from_secs(45)).await;
    two.world.events(&accepted, "delivered").await;
    assert_eq!(
        Two::got(two.first(), "lost").len() + Two::got(&two.second, "lost").len(),
        1,
        "one acceptance"
    );
    assert_eq!(two.second.taken().len(), 0);
    two.world.stop().await;
}

/// STARTTLS that is refused, breaks off or does not come to terms, under `opportunistic`: the same candidate again in clear.
/// covers: domains/4.2/starttls-fails-under-opportunistic
#[tokio::test]
async fn starttls_fails() {
    let two = Two::start().await;
    two.first().script(|s| s.tls = Some(PeerTls::new(&["hop.far.example"])));
    let check = async |what: &str, patience: Duration| {
        let subject = what.replace(' ', "-");
        let before = two.first().connections().0;
        let accepted = two.world.send(&subject, &["u@a.example"]).await;
        two.world
            .eventually("the first is asked", async || two.first().connections().0 > before)
            .await;
        two.world.pass(patience).await;
        let events = two.world.events(&accepted, "delivered").await;
        let routes: Vec<&str> = events
            .iter()
            .filter(|e| e["e"] == "attempt")
            .map(|e| e["route"].as_str().unwrap())
            .collect();
        assert_eq!(routes, ["row 1 (*)", "row 1 (*)"], "{what}: {events:?}");
        let taken = two.first().taken().pop().unwrap();
        assert!(!taken.tls && String::from_utf8_lossy(&taken.data).contains(&subject), "{what}");
        two.world.skip(Duration::from_secs(700)).await;
    };
    two.acts(Stage::StartTls, reply("454 4.7.0 not now"));
    check("STARTTLS refused", Duration::ZERO).await;
    two.acts(Stage::StartTls, Act::Drop);
    check("STARTTLS broken off", Duration::ZERO).await;
    two.acts(Stage::StartTls, reply("220 2.0.0 and then nothing of the kind"));
    check("no handshake", Duration::from_secs(310)).await;
    two.well_again();
    two.first()
        .script(|s| s.tls = Some(PeerTls::with_versions(&["hop.far.example"], &[&rustls::version::TLS12])));
    two.with_first(json!({"tls_min": "1.3"})).await;
    check("older version", Duration::ZERO).await;
    assert_eq!(two.second.taken().len(), 0);
    two.world.stop().await;
}

/// After five failed connections within a minute a candidate is tried last until a probe gets through; alone, it is tried all the same.
/// covers: domains/4.2/name-not-resolvable-no-connection-timeout-tls-po
#[tokio::test]
async fn tried_last_after_an_outage() {
    let two = Two::start().await;
    two.acts(Stage::Greeting, Act::Drop);
    for n in 0..5 {
        let accepted = two.world.send(&format!("outage{n}"), &["u@a.example"]).await;
        two.world.events(&accepted, "delivered").await;
    }
    let before = two.first().connections().0;
    let accepted = two.world.send("after", &["u@a.example"]).await;
    let events = two.world.events(&accepted, "delivered").await;
    assert_eq!(event(&events, "attempt")["route"], "row 2 (*)");
    assert_eq!(
        two.first().connections().0,
        before,
        "the failing one is not asked while the other serves"
    );

    two.world.rows(json!([row(two.first().address)])).await;
    let accepted = two.world.send("alone", &["u@a.example"]).await;
    let events = two.world.events(&accepted, "deferred").await;
    assert_eq!(
        event(&events, "attempt")["route"],
        "row 1 (*)",
        "never skipped when it is the only one"
    );

    two.well_again();
    two.with_first(json!({})).await;
    two.world.pass(Duration::from_secs(70)).await;
    two.world
        .eventually("the probe gets through", async || two.first().connections().0 > before + 1)
        .await;
    two.world.pass(Duration::from_secs(2)).await;
    two.world.send("healthy", &["u@a.example"]).await;
    two.world
        .eventually("the first serves again", async || Two::got(two.first(), "healthy").len() == 1)
        .await;
    two.world.stop().await;
}

/// A message larger than any buffer is cut off in the middle by the first hop and reaches the second whole.
/// covers: domains/4.2/name-not-resolvable-no-connection-timeout-tls-po
#[tokio::test]
async fn large_message_cut_off() {
    let two = Two::start().await;
    two.acts(Stage::MidData, Act::Drop);
    // More than the socket buffers on the way hold: otherwise the dot may be under way before the loss is seen.
    let large = [
        message("large"),
        b"0123456789012345678901234567890123456789012345678901234567890\r\n".repeat(260_000),
    ]
    .concat();
    let mut client = two.world.client().await;
    let accepted = client.deliver("s@sender.example", &["u@a.example"], &large).await.unwrap();
    let taken = two.second.wait(1).await;
    assert!(taken[0].data.ends_with(&large), "byte for byte");
    let events = two.world.events(&accepted, "delivered").await;
    assert_eq!(kinds(&events).iter().filter(|k| **k == "attempt").count(), 2);
    assert_eq!(two.first().taken().len(), 0);
    two.world.stop().await;
}
