//! Notifications as they arrive at a real next hop: form, languages, what the sender asked for, and when there is none (domains-and-routing 11.2).

use base64::Engine;
use serde_json::{Value, json};
use std::time::Duration;
use system::{SOURCE, World, event, kinds, message, next_hop, queue_id, usual_extensions};
use testkit::peer::{Act, Peer, Script, Stage, Taken};

/// A notification, taken apart.
#[derive(Debug)]
struct Told {
    header: String,
    /// The part for people.
    people: String,
    /// Fields of the message, then of each recipient.
    groups: Vec<Vec<(String, String)>>,
    /// Type and content of the original.
    original: Option<(String, String)>,
}

impl Told {
    fn of(taken: &Taken) -> Self {
        assert!(taken.mail.starts_with("MAIL FROM:<>"), "null reverse path: {}", taken.mail);
        let text = String::from_utf8(taken.data.clone()).unwrap();
        assert!(
            text.is_ascii() && text.split("\r\n").all(|l| l.len() <= 998 && !l.contains('\n')),
            "{text}"
        );
        let (header, body) = text.split_once("\r\n\r\n").unwrap();
        let header = header.replace("\r\n\t", " ").replace("\r\n ", " ");
        let boundary = header.split("boundary=\"").nth(1).unwrap().split('"').next().unwrap();
        let parts: Vec<(String, String)> = body
            .split(&format!("--{boundary}\r\n"))
            .skip(1)
            .map(|part| {
                let part = part.split(&format!("\r\n--{boundary}--")).next().unwrap();
                let (head, body) = part.split_once("\r\n\r\n").unwrap();
                (head.to_owned(), body.strip_suffix("\r\n").unwrap_or(body).to_owned())
            })
            .collect();
        assert!(
            parts[0].0.contains("text/plain; charset=utf-8") && parts[0].0.contains("base64"),
            "{}",
            parts[0].0
        );
        let people = base64::engine::general_purpose::STANDARD
            .decode(parts[0].1.replace("\r\n", ""))
            .unwrap();
        assert!(parts[1].0.contains("message/delivery-status"), "{}", parts[1].0);
        let field = |line: &str| {
            line.split_once(": ")
                .map(|(n, v)| (n.to_owned(), v.to_owned()))
                .unwrap_or_else(|| panic!("no field: {line}"))
        };
        let unfolded = parts[1].1.replace("\r\n ", " ");
        let groups = unfolded
            .split("\r\n\r\n")
            .map(|g| g.trim_matches(['\r', '\n']).split("\r\n").map(field).collect())
            .collect();
        let original = parts.get(2).map(|(head, body)| {
            (
                head.split("Content-Type: ")
                    .nth(1)
                    .unwrap()
                    .split("\r\n")
                    .next()
                    .unwrap()
                    .to_owned(),
                body.clone(),
            )
        });
        Self {
            header,
            people: String::from_utf8(people).unwrap(),
            groups,
            original,
        }
    }

    fn field(&self, group: usize, name: &str) -> Option<&str> {
        self.groups[group].iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// A world whose notifications to `sender.example` reach the second peer.
async fn world() -> (World, Peer) {
    let world = World::start().await;
    let returns = next_hop().await;
    world.smarthost(returns.address).await;
    (world, returns)
}

fn answer(world: &World, stage: Stage, text: &str) {
    world.peer.script(|s| drop(s.acts.insert(stage, Act::Reply(text.into()))));
}

/// Sends with parameters of MAIL and RCPT.
async fn send(world: &World, mail: &str, to: &str, subject: &str) -> String {
    let mut client = world.client().await;
    let reply = client.say(&format!("MAIL FROM:<s@sender.example>{mail}")).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let reply = client.say(&format!("RCPT TO:{to}")).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    client.data(&message(subject)).await.unwrap()
}

/// Failed by 5yz: every field of RFC 3464, both languages, the reply of the host, our reason, the header section of the message.
/// covers: domains/11.2/failed-5yz-expired-5-4-7-delay-warning
#[tokio::test]
async fn failed() {
    let (world, returns) = world().await;
    answer(&world, Stage::Rcpt, "550 5.1.1 <u@a.example> no such user here");
    let reply = send(&world, "", "<u@a.example>", "to nobody").await;
    let told = Told::of(&returns.wait(1).await[0]);
    assert_eq!(returns.taken()[0].rcpts[0].split(' ').nth(1), Some("TO:<s@sender.example>"));
    for line in [
        "To: <s@sender.example>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "In-Reply-To: <to-nobody@sender.example>",
        "Content-Type: multipart/report; report-type=delivery-status;",
    ] {
        assert!(told.header.contains(line), "{line}: {}", told.header);
    }
    assert!(told.header.contains("<MAILER-DAEMON@mx.mitsuke.example>"), "{}", told.header);
    assert_eq!(told.groups.len(), 2);
    assert_eq!(told.field(0, "Reporting-MTA"), Some("dns; mx.mitsuke.example"));
    assert_eq!(told.field(0, "Arrival-Date"), Some("Tue, 24 Nov 2026 00:00:00 +0000"));
    assert_eq!(told.field(0, "X-Mitsuke-Queue-Id"), Some(&*queue_id(&reply)));
    assert_eq!(told.field(0, "Original-Envelope-Id"), None, "only when it was given");
    for (name, value) in [
        ("Final-Recipient", "rfc822; u@a.example"),
        ("Action", "failed"),
        ("Status", "5.1.1"),
        ("Remote-MTA", "dns; 127.0.0.1"),
        ("Diagnostic-Code", "smtp; 550 5.1.1 <u@a.example> no such user here"),
        ("X-Mitsuke-Reason", "REMOTE-REPLY"),
    ] {
        assert_eq!(told.field(1, name), Some(value), "{:?}", told.groups);
    }
    assert_eq!(told.field(1, "Original-Recipient"), None);
    let (kind, original) = told.original.as_ref().unwrap();
    assert_eq!(kind, "text/rfc822-headers");
    assert!(
        original.contains("Subject: to nobody\r\n")
            && original.contains("Message-ID: <to-nobody@sender.example>")
            && !original.contains("Hello."),
        "{original}"
    );
    let (japanese, english) = (
        told.people.find("配送").or_else(|| told.people.find("届け")).unwrap(),
        told.people.find("could not be delivered").unwrap(),
    );
    assert!(japanese < english, "the tenant's language first: {}", told.people);
    for word in [
        "550 5.1.1 <u@a.example> no such user here",
        "127.0.0.1",
        "REMOTE-REPLY",
        "to nobody",
        &queue_id(&reply),
    ] {
        assert_eq!(told.people.matches(word).count(), 2, "{word} in both languages: {}", told.people);
    }

    world.set_tenant(json!({"language": "en"})).await.unwrap();
    send(&world, "", "<u@a.example>", "again").await;
    let told = Told::of(&returns.wait(2).await[1]);
    assert!(
        told.people.find("could not be delivered").unwrap() < told.people.find('い').unwrap(),
        "{}",
        told.people
    );
    world.stop().await;
}

/// A header section of more than 64 KB comes back cut to whole lines.
/// covers: domains/11.2/failed-5yz-expired-5-4-7-delay-warning
#[tokio::test]
async fn long_header() {
    let (world, returns) = world().await;
    answer(&world, Stage::Mail, "550 5.7.1 no");
    let long = [
        b"X-Filler: 0123456789012345678901234567890123456789\r\n".repeat(1_500),
        message("long"),
    ]
    .concat();
    let mut client = world.client().await;
    let reply = client.deliver("s@sender.example", &["u@a.example"], &long).await.unwrap();
    world.events(&reply, "dsn").await;
    let (_, original) = Told::of(&returns.wait(1).await[0]).original.unwrap();
    assert!(original.len() <= 64 * 1024 && original.len() > 60 * 1024, "{}", original.len());
    assert!(original.ends_with("0123456789"), "whole lines");
    world.stop().await;
}

/// The lifetime over: 5.4.7. A delay: told once, with the time until which is tried.
/// covers: domains/11.2/failed-5yz-expired-5-4-7-delay-warning
#[tokio::test]
async fn expired_and_delayed() {
    let (world, returns) = world().await;
    world
        .set_domain(json!({"queue": {"lifetime_inbound_s": 14_400, "delay_warning_inbound_s": 3_600}}))
        .await
        .unwrap();
    answer(&world, Stage::Greeting, "421 4.3.2 down for repair");
    let reply = send(&world, "", "<u@a.example>", "late").await;
    world.events(&reply, "deferred").await;
    world.pass(Duration::from_secs(14_000)).await;
    let delayed = Told::of(&returns.wait(1).await[0]);
    assert_eq!(returns.taken().len(), 1, "told once");
    assert_eq!(
        (delayed.field(1, "Action"), delayed.field(1, "Will-Retry-Until")),
        (Some("delayed"), Some("Tue, 24 Nov 2026 04:00:00 +0000"))
    );
    assert!(delayed.field(1, "Status").unwrap().starts_with("4."), "{:?}", delayed.groups);
    assert!(
        delayed.people.contains("has not been delivered") && delayed.people.contains("down for repair"),
        "{}",
        delayed.people
    );
    world.pass(Duration::from_secs(900)).await;
    let expired = Told::of(&returns.wait(2).await[1]);
    assert_eq!(
        (
            expired.field(1, "Action"),
            expired.field(1, "Status"),
            expired.field(1, "X-Mitsuke-Reason")
        ),
        (Some("failed"), Some("5.4.7"), Some("EXPIRED"))
    );
    assert_eq!(expired.field(1, "Will-Retry-Until"), None);
    assert!(expired.people.contains("down for repair"), "{}", expired.people);
    let events = world.events(&reply, "expired").await;
    let told: Vec<&str> = events
        .iter()
        .filter(|e| e["e"] == "dsn")
        .map(|e| e["kind"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["delayed", "failed"]);
    world.stop().await;
}

/// NOTIFY, RET, ENVID and ORCPT go on to a next hop that has DSN, and are obeyed here; without it a notification of relaying is sent.
/// covers: domains/11.2/notify-ret-envid-orcpt
#[tokio::test]
async fn as_asked() {
    let (world, returns) = world().await;
    let said = world.client().await.greeting;
    assert!(said.contains("DSN"), "{said}");
    let reply = send(
        &world,
        " RET=HDRS ENVID=QQ+2B1",
        "<u@a.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Old+2Bname@a.example",
        "on",
    )
    .await;
    world.events(&reply, "delivered").await;
    let taken = world.peer.wait(1).await;
    assert!(
        taken[0].mail.contains(" RET=HDRS") && taken[0].mail.contains(" ENVID=QQ+2B1"),
        "{}",
        taken[0].mail
    );
    assert_eq!(
        taken[0].rcpts,
        ["RCPT TO:<u@a.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Old+2Bname@a.example"]
    );
    assert_eq!(returns.taken().len(), 0, "the next hop tells of success itself");

    let without: Vec<String> = usual_extensions().into_iter().filter(|e| e != "DSN").collect();
    world.peer.script(|s| s.extensions = without.clone());
    world.pass(Duration::from_secs(700)).await;
    let reply = send(
        &world,
        " RET=FULL ENVID=QQ+2B2",
        "<u@a.example> NOTIFY=SUCCESS ORCPT=rfc822;Old@a.example",
        "relayed",
    )
    .await;
    let told = Told::of(&returns.wait(1).await[0]);
    assert_eq!(
        (told.field(0, "Original-Envelope-Id"), told.field(1, "Original-Recipient")),
        (Some("QQ+2"), Some("rfc822; Old@a.example"))
    );
    assert_eq!((told.field(1, "Action"), told.field(1, "Status")), (Some("relayed"), Some("2.0.0")));
    assert_eq!(
        told.original.as_ref().map(|o| o.0.as_str()),
        Some("text/rfc822-headers"),
        "the whole message comes back with failures only"
    );
    assert!(
        !world.peer.wait(2).await[1].mail.contains("RET="),
        "nothing is asked of a host that does not know it"
    );
    assert_eq!(event(&world.events(&reply, "dsn").await, "dsn")["kind"], "relayed");

    answer(&world, Stage::Rcpt, "550 5.1.1 nobody");
    world.pass(Duration::from_secs(700)).await;
    send(&world, " RET=FULL", "<u@a.example> NOTIFY=FAILURE", "whole").await;
    let told = Told::of(&returns.wait(2).await[1]);
    let (kind, original) = told.original.unwrap();
    assert!(
        kind == "message/rfc822" && original.contains("Subject: whole") && original.contains("Hello.\r\n.dots stay"),
        "{kind} {original}"
    );

    for (n, notify) in ["NEVER", "SUCCESS", "DELAY"].into_iter().enumerate() {
        let reply = send(&world, "", &format!("<u@a.example> NOTIFY={notify}"), &format!("none{n}")).await;
        let events = world.events(&reply, "dsn").await;
        assert_eq!(event(&events, "dsn")["kind"], "dsn-none", "{notify}");
    }
    assert_eq!(returns.taken().len(), 2);
    world.stop().await;
}

/// What has a null reverse path is never answered; neither is one of our own notifications.
/// covers: domains/11.2/null-reverse-path-category-spam-phishing-bec-vir
/// refuses: domains/11.2/null-reverse-path-category-spam-phishing-bec-vir
#[tokio::test]
async fn never_for_null() {
    let (world, returns) = world().await;
    answer(&world, Stage::Rcpt, "550 5.1.1 nobody");
    let mut client = world.client().await;
    let reply = client.deliver("", &["u@a.example"], &message("bounce")).await.unwrap();
    let events = world.events(&reply, "dsn").await;
    assert!(kinds(&events).contains(&"failed"));
    assert_eq!(event(&events, "dsn")["kind"], "dsn-none");
    // A notification that itself fails ends there.
    returns.script(|s| drop(s.acts.insert(Stage::Rcpt, Act::Reply("550 5.1.1 nobody either".into()))));
    let reply = send(&world, "", "<u@a.example>", "first").await;
    let events = world.events(&reply, "dsn").await;
    let own = event(&events, "dsn")["queue_id"].as_str().unwrap().to_owned();
    let events = world.events(&format!("queue id {own}"), "failed").await;
    let told: Vec<&Value> = events.iter().filter(|e| e["e"] == "dsn").collect();
    assert_eq!(
        (told.len(), &told[0]["cause"], &told[1]["kind"]),
        (2, &json!(queue_id(&reply)), &json!("dsn-none")),
        "{events:?}"
    );
    for category in ["spam", "phishing", "bec", "virus"] {
        let problem = world
            .set_tenant(json!({category: "bounce"}))
            .await
            .expect_err("categories come with content checks");
        assert_eq!(problem.document["reason"], "not-available", "{}", problem.document);
    }
    world.stop().await;
}

/// SPF Fail at acceptance: the sender is likely forged and gets nothing; the tenant may switch that off.
/// covers: domains/11.2/spf-fail-or-dmarc-fail-at-acceptance
#[tokio::test]
async fn likely_forged() {
    let (world, returns) = world().await;
    answer(&world, Stage::Rcpt, "550 5.1.1 nobody");
    let deliver = async |source: &str| {
        let mut client = world.client_from(source).await;
        let reply = client
            .deliver("s@sender.example", &["u@a.example"], &message("forged"))
            .await
            .unwrap();
        let events = world.events(&reply, "dsn").await;
        let spf = events.iter().find(|e| e["check"] == "spf").unwrap()["result"]
            .as_str()
            .unwrap()
            .to_owned();
        (spf, event(&events, "dsn")["kind"].as_str().unwrap().to_owned())
    };
    assert_eq!(deliver("127.0.0.8").await, ("fail".into(), "dsn-suppressed".into()));
    assert_eq!(returns.taken().len(), 0);
    assert_eq!(deliver(system::STRANGER).await, ("pass".into(), "failed".into()));
    world.set_tenant(json!({"dsn_suppress_forged": false})).await.unwrap();
    assert_eq!(deliver("127.0.0.8").await, ("fail".into(), "failed".into()));
    returns.wait(2).await;
    let problem = world.set_tenant(json!({"dmarc": true})).await.expect_err("DMARC comes later");
    assert_eq!(problem.document["reason"], "not-available");
    world.stop().await;
}

/// Ten for one reverse path in an hour, the next hundred in one at the end of the hour, then none; another sender is not concerned.
/// covers: domains/11.2/more-than-10-per-reverse-path-and-hour
#[tokio::test]
async fn ten_an_hour() {
    let (world, returns) = world().await;
    world
        .set_system(json!({"limits": {"messages_per_connection": 1_000}}))
        .await
        .unwrap();
    answer(&world, Stage::Rcpt, "550 5.1.1 nobody");
    let mut client = world.client().await;
    let mut ids = Vec::new();
    for n in 0..112 {
        let reply = client
            .deliver("s@sender.example", &["u@a.example"], &message(&format!("n{n}.")))
            .await
            .unwrap();
        ids.push(queue_id(&reply));
    }
    let mut suppressed = Vec::new();
    for id in &ids {
        if event(&world.events(&format!("queue id {id}"), "dsn").await, "dsn")["kind"] == "dsn-suppressed" {
            suppressed.push(id.clone());
        }
    }
    let singles: Vec<String> = returns
        .wait(10)
        .await
        .iter()
        .map(|t| Told::of(t).field(0, "X-Mitsuke-Queue-Id").unwrap().to_owned())
        .collect();
    assert_eq!((singles.len(), suppressed.len()), (10, 2));
    client
        .deliver("other@sender.example", &["u@a.example"], &message("other"))
        .await
        .unwrap();
    returns.wait(11).await;
    world.pass(Duration::from_secs(3_700)).await;
    let taken = returns.wait(12).await;
    assert_eq!(taken.len(), 12, "one for the hundred");
    let combined = Told::of(&taken[11]);
    assert_eq!(combined.groups.len(), 101);
    assert!(
        combined.original.is_none() && combined.people.contains("100"),
        "{}",
        combined.people
    );
    let of_group = |g: &Vec<(String, String)>| g.iter().find(|(n, _)| n == "X-Mitsuke-Queue-Id").map(|(_, v)| v.clone());
    let mut told: Vec<String> = combined.groups[1..]
        .iter()
        .filter_map(of_group)
        .chain(singles)
        .chain(suppressed)
        .collect();
    told.sort();
    ids.sort();
    assert_eq!(told, ids, "each is told of once, or suppressed");
    client = world.client().await;
    client
        .deliver("s@sender.example", &["u@a.example"], &message("next hour"))
        .await
        .unwrap();
    returns.wait(13).await;
    world.stop().await;
}

/// An outbound failure is told to the tenant's own sender, by the tenant's own server.
/// covers: domains/11.2/failed-5yz-expired-5-4-7-delay-warning
#[tokio::test]
async fn outbound_failure() {
    let world = World::start().await;
    let far = Peer::start(Script {
        extensions: usual_extensions(),
        ..Script::default()
    })
    .await;
    far.script(|s| drop(s.acts.insert(Stage::AfterDot, Act::Reply("554 5.7.1 we do not want this".into()))));
    world.outbound(far.address).await;
    let mut source = world.client_from(SOURCE).await;
    let mail = String::from_utf8(message("unwanted"))
        .unwrap()
        .replace("s@sender.example", "u@a.example");
    let reply = source.deliver("u@a.example", &["x@far.example"], mail.as_bytes()).await.unwrap();
    let told = Told::of(&world.peer.wait(1).await[0]);
    assert_eq!(
        (told.field(1, "Status"), told.field(1, "Final-Recipient")),
        (Some("5.7.1"), Some("rfc822; x@far.example"))
    );
    assert_eq!(event(&world.events(&reply, "dsn").await, "dsn")["kind"], "failed");
    world.stop().await;
}
