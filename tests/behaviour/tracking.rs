//! Tracking: every kind of event with its main fields, search by each field, who sees what, and how long (domains-and-routing 13).

use serde_json::{Value, json};
use std::time::Duration;
use system::{
    DOMAIN, Plan, SOURCE, STRANGER, TENANT, World, ask, assert_checked, assert_refused, event, kinds, message, next_hop, queue_id,
};
use testkit::peer::{Act, Stage};

async fn search(who: &mitsuke::client::Api, query: &str) -> Vec<String> {
    let page = ask(who, "GET", &format!("/tracking?{query}"), Value::Null)
        .await
        .unwrap_or_else(|p| panic!("{query}: {}", p.document));
    page["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Client address, reverse name, iprev, listener, TLS facts; a refusal with reason and reference, at connect too.
/// covers: domains/13/connected-tls-refused
#[tokio::test]
async fn connected_tls_refused() {
    // Names of loopback addresses are never asked of resolvers: the node file's own zone has them here.
    let record =
        |name: &str| format!("[[dns.static]]\nname = \"{name}.in-addr.arpa\"\ntype = \"PTR\"\nvalue = \"client.sender.example\"\n");
    let own = record("9.0.0.127") + &record("8.0.0.127");
    let zone = "client.sender.example. A 127.0.0.9\n";
    let world = World::with(Plan {
        zone: zone.into(),
        edit: Some(Box::new(move |text| text + &own)),
        ..Plan::default()
    })
    .await;
    let listener = format!("{} mx", world.address(config::node::ListenerRole::Mx));
    let mut client = world.client().await.starttls(None).await.unwrap();
    let reply = client.deliver("s@sender.example", &["u@a.example"], &message("one")).await.unwrap();
    let events = world.events(&reply, "delivered").await;
    let connected = event(&events, "connected");
    assert_eq!(
        (
            connected["client"].as_str(),
            connected["ptr"].as_str(),
            connected["iprev"].as_str(),
            connected["listener"].as_str()
        ),
        (Some(STRANGER), Some("client.sender.example"), Some("pass"), Some(&*listener))
    );
    let tls = &event(&events, "tls")["tls"];
    assert!(
        tls["version"].as_str().unwrap().starts_with("TLSv1.") && tls["cipher"].is_string() && tls["certificate"] == "none",
        "{tls}"
    );
    let mut client = world.client_from("127.0.0.8").await;
    let reply = client.deliver("s@sender.example", &["u@a.example"], &message("two")).await.unwrap();
    let events = world.events(&reply, "delivered").await;
    assert_eq!(
        (event(&events, "connected")["iprev"].as_str(), kinds(&events).contains(&"tls")),
        (Some("fail"), false)
    );

    client.say("MAIL FROM:<s@sender.example>").await.unwrap();
    world.set_domain(json!({"limits": {"message_bytes_max": 1_048_576}})).await.unwrap();
    let mut client = world.client().await;
    client.say("MAIL FROM:<s@sender.example> SIZE=2000000").await.unwrap();
    let refused = client.say("RCPT TO:<u@a.example>").await.unwrap();
    assert_refused(&refused, "552 5.3.4 Message size exceeds limit of 1048576 bytes: SIZE.");
    let told = world.refusal(&world.owner, &refused).await;
    assert_eq!(
        (
            told["reason"].as_str(),
            told["reply"].as_str(),
            told["recipient"].as_str(),
            &told["count"]
        ),
        (Some("SIZE"), Some(&*refused), Some("u@a.example"), &json!(1))
    );
    world.set_system(json!({"blocked_clients": ["127.0.9.1/32"]})).await.unwrap();
    let blocked = testkit::client::Client::connect_from("127.0.9.1".parse().unwrap(), world.address(config::node::ListenerRole::Mx))
        .await
        .unwrap();
    world.refusal(&world.operator, &blocked.greeting).await;
    assert_eq!(
        search(&world.owner, "client=127.0.9.1").await,
        [""; 0],
        "connect-stage events belong to the operator"
    );
    assert_eq!(search(&world.operator, "client=127.0.9.1").await.len(), 1);
    world.stop().await;
}

/// EHLO name, reverse path, login, recipient and what its check said.
/// covers: domains/13/mail-from-rcpt
#[tokio::test]
async fn mail_from_rcpt() {
    let world = World::start().await;
    let path = format!("/api/v1/tenants/{TENANT}/domains/{DOMAIN}/recipients/import");
    world
        .owner
        .send(hyper::Method::POST, &path, "text/csv", b"address\r\nknown@a.example\r\n".to_vec())
        .await
        .unwrap();
    let reply = world.send("none", &["u@a.example"]).await;
    let events = world.events(&reply, "queued").await;
    assert_eq!(event(&events, "rcpt")["check"], "none");
    world.set_domain(json!({"recipient_mode": "directory"})).await.unwrap();
    let mut client = world.client().await;
    client.say("MAIL FROM:<S@Sender.example>").await.unwrap();
    let refused = client.say("RCPT TO:<unknown@a.example>").await.unwrap();
    client.say("RCPT TO:<known@a.example>").await.unwrap();
    let reply = client.data(&message("list")).await.unwrap();
    let events = world.events(&reply, "queued").await;
    let from = event(&events, "mail-from");
    assert_eq!(
        (from["hello"].as_str(), from["reverse_path"].as_str(), from["login"].as_str()),
        (Some("client.sender.example"), Some("S@sender.example"), None)
    );
    let rcpt = event(&events, "rcpt");
    assert_eq!(rcpt["recipient"], "known@a.example");
    assert!(
        rcpt["check"].as_str().unwrap().starts_with("directory"),
        "mode, answer, age: {rcpt}"
    );
    let told = world.refusal(&world.owner, &refused).await;
    assert_eq!(
        (told["reason"].as_str(), told["recipient"].as_str()),
        (Some("USER-UNKNOWN"), Some("unknown@a.example"))
    );
    assert!(told["detail"].as_str().unwrap().starts_with("directory"), "{told}");
    assert!(kinds(&events).contains(&"refused"), "one transaction, one trace: {events:?}");
    world.stop().await;
}

fn rich() -> Vec<u8> {
    "From: =?utf-8?b?6KaL6ZmE?= <from@sender.example>\r\nReply-To: <answer@sender.example>\r\nTo: <u@a.example>\r\nCc: <cc@far.example>\r\n\
         Subject: =?utf-8?b?5pyI5qyh5aCx5ZGK77yx77yp?= report\r\nDate: Tue, 24 Nov 2026 00:00:00 +0900\r\nMessage-ID: <rich@sender.example>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nsee https://links.example/path and http://Other.example:8080/\r\n\
         --b\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename*=utf-8''%E8%A6%8B%E7%A9%8D.pdf\r\nContent-Transfer-Encoding: base64\r\n\r\nJVBERi0xLjQKJUVPRgo=\r\n--b--\r\n"
        .as_bytes()
        .to_vec()
}

/// Size, identity and header fields, attachments by true type with digest, hosts of links.
/// covers: domains/13/accepted
#[tokio::test]
async fn accepted() {
    use sha2::Digest;
    let world = World::start().await;
    let mut client = world.client().await;
    let reply = client.deliver("s@sender.example", &["u@a.example"], &rich()).await.unwrap();
    let events = world.events(&reply, "delivered").await;
    let accepted = event(&events, "accepted");
    assert_eq!(accepted["size"], rich().len());
    for (field, value) in [
        ("message_id", json!("<rich@sender.example>")),
        ("from", json!(["from@sender.example"])),
        ("reply_to", json!(["answer@sender.example"])),
        ("to", json!(["u@a.example", "cc@far.example"])),
        ("subject", json!("月次報告ＱＩ report")),
        ("date", json!("Tue, 24 Nov 2026 00:00:00 +0900")),
        ("url_hosts", json!(["links.example", "other.example"])),
    ] {
        assert_eq!(accepted[field], value, "{field}: {accepted}");
    }
    let content = b"%PDF-1.4\n%EOF\n";
    let attachment = &accepted["attachments"][0];
    let digest: String = sha2::Sha256::digest(content).iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(
        (attachment["name"].as_str(), &attachment["size"], attachment["sha256"].as_str()),
        (Some("見積.pdf"), &json!(content.len()), Some(&*digest))
    );
    assert!(
        attachment["true_type"].as_str().unwrap().contains("pdf"),
        "by content: {attachment}"
    );

    // The operator sees the message without subject, attachment names and URLs.
    let seen = ask(&world.operator, "GET", &format!("/tracking/{}", queue_id(&reply)), Value::Null)
        .await
        .unwrap();
    let text = seen.to_string();
    assert!(text.contains("s@sender.example") && seen["tenant"] == TENANT, "{text}");
    for hidden in ["月次", "report", "見積", "links.example"] {
        assert!(!text.contains(hidden), "{hidden}: {text}");
    }
    for query in ["subject=report", "attachment=report", "url_host=links.example"] {
        assert_eq!(
            ask(&world.operator, "GET", &format!("/tracking?{query}"), Value::Null)
                .await
                .unwrap_err()
                .status,
            403,
            "{query}"
        );
    }
    world.stop().await;
}

/// Results with evidence, the fate of each recipient with the revision that decided, and what was changed.
/// covers: domains/13/checked-decided-modified
#[tokio::test]
async fn checked_decided_modified() {
    let world = World::start().await;
    let reply = world.send("spf", &["u@a.example", "v@a.example"]).await;
    let events = world.events(&reply, "delivered").await;
    let spf = event(&events, "checked");
    assert_eq!((spf["check"].as_str(), spf["result"].as_str()), (Some("spf"), Some("pass")));
    assert!(spf["evidence"].as_str().unwrap().contains("ip4:127.0.0.9"), "{spf}");
    let decided: Vec<(&str, &str)> = events
        .iter()
        .filter(|e| e["e"] == "decided")
        .map(|e| (e["recipient"].as_str().unwrap(), e["disposition"].as_str().unwrap()))
        .collect();
    assert_eq!(decided, [("u@a.example", "relay"), ("v@a.example", "relay")]);
    let revision = ask(&world.owner, "GET", &format!("/settings/{TENANT}"), Value::Null).await.unwrap()["revision"].clone();
    assert_eq!(event(&events, "decided")["revision"], revision);

    world.outbound(world.peer.address).await;
    let secret = ask(&world.owner, "POST", &format!("/tenants/{TENANT}/proof/secrets"), json!({}))
        .await
        .unwrap();
    let mail = format!(
        "X-Mitsuke-Proof: {}\r\nFrom: <u@a.example>\r\nSubject: proof\r\n\r\nx\r\n",
        secret["secret"].as_str().unwrap()
    );
    let mut source = world.client_from(SOURCE).await;
    let reply = source.deliver("u@a.example", &["x@far.example"], mail.as_bytes()).await.unwrap();
    let events = world.events(&reply, "delivered").await;
    let checks: Vec<&str> = events
        .iter()
        .filter(|e| e["e"] == "checked")
        .map(|e| e["check"].as_str().unwrap())
        .collect();
    assert_eq!(checks, ["source", "proof"], "{events:?}");
    assert!(
        event(&events, "modified")["what"]
            .as_str()
            .unwrap()
            .to_lowercase()
            .contains("x-mitsuke-proof")
    );
    let sent = world.peer.wait(2).await.pop().unwrap();
    assert!(
        !String::from_utf8_lossy(&sent.data).contains("X-Mitsuke-Proof"),
        "the secret leaves with nobody"
    );
    assert!(!json!(events).to_string().contains(secret["secret"].as_str().unwrap()));
    world.stop().await;
}

/// Who held, released and deleted, how and why; quarantine is refused until it is there.
/// covers: domains/13/quarantined-held-released-deleted
#[tokio::test]
async fn held_released_deleted() {
    let world = World::start().await;
    world
        .peer
        .script(|s| drop(s.acts.insert(Stage::Greeting, Act::Reply("421 down".into()))));
    let reply = world.send("held", &["u@a.example"]).await;
    world.entry(&reply, "waits", |e| e["attempts"] == 1).await;
    for (action, text) in [("hold", "a look first"), ("release", ""), ("discard", "not wanted")] {
        let order = json!({"action": action, "text": text, "entries": [{"queue_id": queue_id(&reply)}]});
        world
            .eventually(action, async || {
                ask(&world.owner, "POST", "/queue/actions", order.clone())
                    .await
                    .is_ok_and(|a| a["done"] == 1 || a["after_attempt"] == 1)
            })
            .await;
        world.pass(Duration::from_secs(1)).await;
    }
    let events = world.events(&reply, "deleted").await;
    for (kind, text) in [("held", Some("a look first")), ("released", None), ("deleted", Some("not wanted"))] {
        let told = event(&events, kind);
        assert_eq!(
            (told["recipient"].as_str(), told["text"].as_str()),
            (Some("u@a.example"), text),
            "{told}"
        );
        assert!(told["by"].as_str().unwrap().contains("owner"), "who: {told}");
    }
    for state in ["held", "deleted"] {
        let found = search(&world.owner, &format!("state={state}")).await;
        assert_eq!(
            found.contains(&queue_id(&reply)),
            state == "deleted",
            "{state}: the state it has now"
        );
    }
    assert_eq!(world.set_tenant(json!({"quarantine": {"days": 30}})).await.unwrap_err().status, 422);
    world.stop().await;
}

/// Next hop, TLS, reply, delay and next due time of each attempt and outcome.
/// covers: domains/13/queued-attempt-deferred-delivered-failed-expired
#[tokio::test]
async fn outcomes() {
    let world = World::start().await;
    let returns = next_hop().await;
    world.smarthost(returns.address).await;
    world.peer.script(|s| {
        s.tls = Some(testkit::peer::PeerTls::new(&["hop.far.example"]));
        s.recipients.insert("later@a.example".into(), "450 4.2.1 busy".into());
        s.recipients.insert("never@a.example".into(), "550 5.1.1 nobody".into());
    });
    world.set_domain(json!({"queue": {"lifetime_inbound_s": 3_600}})).await.unwrap();
    let reply = world.send("three", &["now@a.example", "later@a.example", "never@a.example"]).await;
    world.pass(Duration::from_secs(3_700)).await;
    let events = world.events(&reply, "expired").await;
    let of = |kind: &str, who: &str| {
        events
            .iter()
            .find(|e| e["e"] == kind && e["recipient"] == who)
            .unwrap_or_else(|| panic!("{kind} {who}: {events:?}"))
    };
    assert_eq!(of("queued", "now@a.example")["due"], "2026-11-24T00:00:00.000Z");
    let attempt = event(&events, "attempt");
    assert_eq!(
        (attempt["route"].as_str(), attempt["address"].as_str(), attempt["policy"].as_str()),
        (
            Some("row 1 (*)"),
            Some(&*world.peer.address.to_string()),
            Some("opportunistic by row 1")
        )
    );
    assert!(attempt["tls"]["version"].is_string() && attempt["took_ms"].is_u64(), "{attempt}");
    let delivered = of("delivered", "now@a.example");
    assert_eq!(
        (delivered["host"].as_str(), delivered["reply"].as_str()),
        (Some("127.0.0.1"), Some("250 2.0.0 taken"))
    );
    assert!(delivered["delay_ms"].is_i64() || delivered["delay_ms"].is_u64());
    let deferred = of("deferred", "later@a.example");
    assert!(
        deferred["reply"].as_str().unwrap().contains("450 4.2.1 busy") && deferred["due"].as_str().unwrap() > "2026-11-24T00:05",
        "{deferred}"
    );
    assert!(
        of("failed", "never@a.example")["reply"]
            .as_str()
            .unwrap()
            .contains("550 5.1.1 nobody")
    );
    assert!(
        of("expired", "later@a.example")["reply"]
            .as_str()
            .unwrap()
            .contains("450 4.2.1 busy")
    );
    world.stop().await;
}

/// A notification and its cause name each other; notices, digests and links are of later issues and cannot be switched on.
/// covers: domains/13/dsn-notice-digest-clicked-downloaded
#[tokio::test]
async fn notifications() {
    let world = World::start().await;
    let returns = next_hop().await;
    world.smarthost(returns.address).await;
    world
        .peer
        .script(|s| drop(s.acts.insert(Stage::Rcpt, Act::Reply("550 5.1.1 nobody".into()))));
    let reply = world.send("cause", &["u@a.example"]).await;
    let events = world.events(&reply, "dsn").await;
    let own = event(&events, "dsn")["queue_id"].as_str().unwrap().to_owned();
    let of = world.events(&format!("queue id {own}"), "delivered").await;
    assert_eq!(
        (event(&of, "dsn")["cause"].as_str(), event(&of, "dsn")["kind"].as_str()),
        (Some(&*queue_id(&reply)), Some("failed"))
    );
    let cause = ask(&world.owner, "GET", &format!("/tracking/{}", queue_id(&reply)), Value::Null)
        .await
        .unwrap();
    let born = ask(&world.owner, "GET", &format!("/tracking/{own}"), Value::Null).await.unwrap();
    assert_eq!(
        (&cause["related"], &born["related"], &born["direction"]),
        (&json!([own]), &json!([queue_id(&reply)]), &json!("internal"))
    );
    for field in ["digest", "notices", "clicks"] {
        assert_eq!(
            world.set_tenant(json!({field: {"retention_days": 400}})).await.unwrap_err().status,
            422,
            "{field}"
        );
    }
    assert_checked(
        world.set_tenant(json!({"tracking": {"transcript_days": 14}})).await,
        &[("transcript_days", "not-available")],
    );
    world.stop().await;
}

/// Each field of the search finds the one message that has it, and not the other.
/// covers: domains/13/accepted domains/13/mail-from-rcpt domains/13/queued-attempt-deferred-delivered-failed-expired
#[tokio::test]
async fn searched_by_each_field() {
    let world = World::start().await;
    world.outbound(world.peer.address).await;
    let mut client = world.client().await.starttls(None).await.unwrap();
    client.hello("mail.sender.example").await.unwrap();
    let one = queue_id(&client.deliver("s@sender.example", &["u@a.example"], &rich()).await.unwrap());
    let mut source = world.client_from(SOURCE).await;
    let mail = String::from_utf8(message("other words"))
        .unwrap()
        .replace("<s@sender.example>", "<w@a.example>")
        .replace("u@a.example", "z@far.example");
    world.pass(Duration::from_secs(3_600)).await;
    let mut source2 = world.client_from(SOURCE).await;
    drop(source.say("QUIT").await);
    let other = queue_id(&source2.deliver("w@a.example", &["x@far.example"], mail.as_bytes()).await.unwrap());
    world
        .peer
        .script(|s| drop(s.recipients.insert("never@a.example".into(), "550 5.1.1 nobody".into())));
    for id in [&one, &other] {
        world.events(&format!("queue id {id}"), "delivered").await;
    }
    let digest = {
        use sha2::Digest;
        sha2::Sha256::digest(b"%PDF-1.4\n%EOF\n")
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
    };
    let size = rich().len();
    let queries = [
        ("until=2026-11-24T00:30:00Z".to_owned(), "since=2026-11-24T00:30:00Z".to_owned()),
        ("direction=inbound".into(), "direction=outbound".into()),
        ("reverse_path=s@sender.example".into(), "reverse_path=w@a.example".into()),
        (
            "reverse_path=*@sender.example".into(),
            "reverse_path=nobody@a.example,W@A.example".into(),
        ),
        (
            "reverse_path=*@*.example,*@sender.example&direction=inbound".into(),
            "reverse_path=*@a.example".into(),
        ),
        ("from=from@sender.example".into(), "from=*@a.example".into()),
        ("recipient=u@a.example".into(), "recipient=*@far.example".into()),
        ("to=cc@far.example".into(), "to=z@far.example".into()),
        ("subject=%E6%9C%88%E6%AC%A1".into(), "subject=words".into()),
        ("subject=QI%20REPORT".into(), "subject=Other%20WORDS".into()),
        (
            "message_id=rich@sender.example".into(),
            "message_id=%3Cother-words@sender.example%3E".into(),
        ),
        (format!("queue_id={one}"), format!("queue_id={other}")),
        ("client=127.0.0.9".into(), "client=127.0.0.5".into()),
        ("client=127.0.0.8/30&direction=inbound".into(), "client=127.0.0.4/31".into()),
        ("hello=mail.sender.example".into(), "hello=client.sender.example".into()),
        (
            "next_hop=127.0.0.1&direction=inbound".into(),
            "next_hop=127.0.0.1&direction=outbound".into(),
        ),
        (
            "disposition=relay&direction=inbound".into(),
            "disposition=relay&direction=outbound".into(),
        ),
        (
            "state=delivered&direction=inbound".into(),
            "state=delivered&direction=outbound".into(),
        ),
        (format!("size_min={size}"), format!("size_max={}", size - 1)),
        ("tls=true".into(), "tls=false".into()),
        ("attachment=%E8%A6%8B%E7%A9%8D".into(), "subject=words".into()),
        (format!("sha256={digest}"), "subject=words".into()),
        ("url_host=LINKS.example".into(), "subject=words".into()),
    ];
    for (finds_one, finds_other) in &queries {
        let mut found = Vec::new();
        world
            .eventually(finds_one, async || {
                found = search(&world.owner, finds_one).await;
                !found.is_empty()
            })
            .await;
        assert_eq!(found, std::slice::from_ref(&one), "{finds_one}");
        assert_eq!(
            search(&world.owner, finds_other).await,
            std::slice::from_ref(&other),
            "{finds_other}"
        );
    }
    for nothing in [
        "reason=LOOP",
        "country=JP",
        "login=nobody",
        "state=failed",
        "disposition=hold",
        "subject=absent",
        "reference=0000000000000000",
    ] {
        assert_eq!(search(&world.owner, nothing).await, [""; 0], "{nothing}");
    }
    let reply = world.send("reasoned", &["never@a.example"]).await;
    world.events(&reply, "failed").await;
    assert_eq!(search(&world.owner, "reason=REMOTE-REPLY&state=failed").await, [queue_id(&reply)]);
    for wrong in ["since=yesterday", "client=abc", "direction=up", "reason=NONE", "state=lost"] {
        let problem = ask(&world.owner, "GET", &format!("/tracking?{wrong}"), Value::Null)
            .await
            .expect_err(wrong);
        assert!((400..=422).contains(&problem.status), "{wrong}");
    }
    let many: Vec<String> = (0..101).map(|n| format!("u{n}@a.example")).collect();
    ask(&world.owner, "GET", &format!("/tracking?recipient={}", many.join(",")), Value::Null)
        .await
        .expect_err("100 values each");
    assert_eq!(
        search(
            &world.owner,
            &format!("recipient={}", [&many[..99], &["u@a.example".to_owned()]].concat().join(","))
        )
        .await,
        std::slice::from_ref(&one)
    );

    // Isolation: another tenant finds nothing, by whatever field.
    let beta = world.tenant("beta").await;
    for (finds_one, finds_other) in &queries {
        for query in [finds_one, finds_other] {
            assert_eq!(search(&beta, query).await, [""; 0], "{query}");
        }
    }
    assert_eq!(
        ask(&beta, "GET", &format!("/tracking/{one}"), Value::Null)
            .await
            .unwrap_err()
            .status,
        404
    );
    world.stop().await;
}

/// Copies for two tenants are two traces; neither sees the other's recipient. A domain administrator sees the own domain.
/// covers: domains/13/mail-from-rcpt
#[tokio::test]
async fn who_sees_what() {
    let world = World::start().await;
    let beta = world.tenant("beta").await;
    world.domain("beta", &beta, "b.example", world.peer.address).await;
    let reply = world.send("shared", &["u@a.example", "v@b.example"]).await;
    let ids: Vec<&str> = reply.split("queue id ").nth(1).unwrap().split(',').collect();
    for (api, id, own, others) in [
        (&world.owner, ids[0], "u@a.example", "v@b.example"),
        (&beta, ids[1], "v@b.example", "u@a.example"),
    ] {
        let mut seen = Value::Null;
        world
            .eventually("delivered", async || {
                seen = ask(api, "GET", &format!("/tracking/{id}"), Value::Null).await.unwrap();
                seen.to_string().contains("\"delivered\"")
            })
            .await;
        let mut text = seen.to_string();
        text = text.replace("\"to\":[\"u@a.example\"]", "");
        assert!(text.contains(own) && !text.contains(others), "{text}");
    }
    let admin = |domain: &str| json!({"name": "admin", "role": "domain-admin", "domains": [domain]});
    world.domain(TENANT, &world.owner, "c.a.example", world.peer.address).await;
    for (domain, sees) in [("a.example", true), ("c.a.example", false)] {
        let made = ask(&world.owner, "POST", &format!("/tenants/{TENANT}/keys"), admin(domain))
            .await
            .unwrap();
        let api = world.key(made["secret"].as_str().unwrap());
        assert_eq!(
            ask(&api, "GET", &format!("/tracking/{}", ids[0]), Value::Null).await.is_ok(),
            sees,
            "{domain}"
        );
        assert_eq!(search(&api, "recipient=u@a.example").await.len(), usize::from(sees), "{domain}");
    }
    world.stop().await;
}

/// What is older than the retention is gone, at the earliest after the figure set; 30 days to 7 years.
/// covers: domains/13/accepted
#[tokio::test]
async fn retention() {
    let world = World::start().await;
    for wrong in [29, 2_558] {
        assert_checked(
            world.set_tenant(json!({"tracking": {"retention_days": wrong}})).await,
            &[("retention_days", "out-of-range")],
        );
    }
    world.set_tenant(json!({"tracking": {"retention_days": 30}})).await.unwrap();
    let old = world.send("old", &["u@a.example"]).await;
    world.events(&old, "delivered").await;
    world.pass(Duration::from_secs(29 * 86_400)).await;
    let new = world.send("new", &["u@a.example"]).await;
    world.events(&new, "delivered").await;
    ask(&world.owner, "GET", &format!("/tracking/{}", queue_id(&old)), Value::Null)
        .await
        .expect("within the retention");
    world.pass(Duration::from_secs(3 * 86_400)).await;
    world
        .eventually("the old one is gone", async || {
            ask(&world.owner, "GET", &format!("/tracking/{}", queue_id(&old)), Value::Null)
                .await
                .is_err()
        })
        .await;
    assert_eq!(search(&world.owner, "recipient=u@a.example").await, [queue_id(&new)]);
    world.stop().await;
}
