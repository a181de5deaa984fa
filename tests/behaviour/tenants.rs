//! Tenants: settings and states (domains-and-routing 1.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mail::text::Lang;
use serde_json::{Value, json};
use std::time::Duration;
use system::{Plan, World, ask, assert_checked, assert_problem, assert_refused, message};
use testkit::peer::{Peer, Script};

const OUTSIDE: &str = "v@far.example";
/// A network of the tenant: its own server.
const SERVER: &str = "127.0.3.1";

/// A world in which a.example sends from [`SERVER`] and far.example is at a next hop of its own.
async fn sending_world() -> (World, Peer) {
    let far = Peer::start(Script {
        extensions: system::usual_extensions(),
        ..Script::default()
    })
    .await;
    let world = World::start().await;
    world
        .set_system(json!({"limits": {"rate_client_outbound": {"messages": 100_000, "per_s": 60}}}))
        .await
        .unwrap();
    let route = json!([{"domain": "*", "target": {"to": "smarthost", "host": "127.0.0.1", "port": far.address.port()}}]);
    world
        .set_domain(json!({"outbound_enabled": true, "outbound_networks": ["127.0.3.0/24"], "outbound_routes": route}))
        .await
        .unwrap();
    (world, far)
}

async fn set_state(world: &World, state: &str) -> Value {
    ask(
        &world.operator,
        "PATCH",
        "/tenants/alpha",
        json!({"state": state, "reason": "tried"}),
    )
    .await
    .unwrap()
}

fn own_mail() -> Vec<u8> {
    String::from_utf8(message("out"))
        .unwrap()
        .replace("s@sender.example", "u@a.example")
        .into_bytes()
}

async fn inbound(world: &World) -> String {
    world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &message("in"))
        .await
        .unwrap()
}

async fn outbound(world: &World) -> String {
    world
        .client_from(SERVER)
        .await
        .deliver("u@a.example", &[OUTSIDE], &own_mail())
        .await
        .unwrap()
}

/// Language and zone are Japanese and Asia/Tokyo unless set; the language leads in notifications, the zone stands at times on public pages.
/// covers: domains/1.1/tenant-language-tenant-time-zone
#[tokio::test]
async fn language_and_zone() {
    let world = World::start().await;
    let settings = ask(&world.owner, "GET", "/settings/alpha", json!(null)).await.unwrap();
    assert_eq!(settings["document"]["language"], "ja");
    assert_checked(
        world.set_tenant(json!({"time_zone": "Mars/Olympus"})).await,
        &[("time_zone", "malformed")],
    );
    assert_problem(world.set_tenant(json!({"language": "fr"})).await, 422, "malformed");

    let page = |reply: String| {
        let path = format!("/r/{}", reply.rsplit("/r/").next().unwrap());
        let web = world.address(config::node::ListenerRole::Web);
        async move { system::page(&web.to_string(), &path, None).await }
    };
    ask(&world.operator, "PATCH", "/tenants/alpha", json!({"state": "suspended"}))
        .await
        .unwrap();
    let reply = inbound(&world).await;
    world.refusal(&world.operator, &reply).await;
    let tokyo = page(reply.clone()).await;
    assert!(tokyo.contains("2026-11-24 09:00") && tokyo.contains("Asia/Tokyo"), "{tokyo}");
    assert!(tokyo.contains("lang=\"ja\""), "nothing asked for: the tenant's language: {tokyo}");
    ask(&world.operator, "PATCH", "/tenants/alpha", json!({"state": "active"}))
        .await
        .unwrap();
    world
        .set_tenant(json!({"language": "en", "time_zone": "Europe/Berlin"}))
        .await
        .unwrap();
    let berlin = page(reply).await;
    assert!(
        berlin.contains("2026-11-24 01:00") && berlin.contains("Europe/Berlin") && berlin.contains("lang=\"en\""),
        "{berlin}"
    );

    let words = |lang| mail::text::get(lang, "dsn.failed.intro", &[]).chars().take(12).collect::<String>();
    let (ja, en) = (words(Lang::Ja), words(Lang::En));
    for (language, first, second) in [("ja", &ja, &en), ("en", &en, &ja)] {
        let (world, far) = sending_world().await;
        far.script(|s| drop(s.recipients.insert(OUTSIDE.into(), "550 5.1.1 nobody".into())));
        world.set_tenant(json!({"language": language})).await.unwrap();
        let reply = outbound(&world).await;
        world.events(&reply, "dsn").await;
        let notice = world.peer.wait(1).await.remove(0);
        let text = readable(&notice.data);
        let place = |word: &String| text.find(word.as_str()).unwrap_or_else(|| panic!("{word} is missing in {text}"));
        assert!(place(first) < place(second), "{language}: {text}");
        world.stop().await;
    }
    world.stop().await;
}

/// The text of a notification: base64 and quoted-printable parts decoded, white space as single spaces.
fn readable(data: &[u8]) -> String {
    let text = String::from_utf8_lossy(data).replace("\r\n", "\n");
    let mut out = Vec::new();
    for part in text.split("\n--") {
        let (head, body) = part.split_once("\n\n").unwrap_or((part, ""));
        if head.contains("base64") {
            out.extend(STANDARD.decode(body.split_whitespace().collect::<String>()).unwrap_or_default());
        } else if head.contains("quoted-printable") {
            let mut pieces = body.replace("=\n", "").into_bytes().into_iter();
            while let Some(byte) = pieces.next() {
                let hex = if byte == b'=' { pieces.next().zip(pieces.next()) } else { None };
                let digit = |d: u8| char::from(d).to_digit(16).and_then(|d| u8::try_from(d).ok()).unwrap_or(0);
                out.push(hex.map_or(byte, |(a, b)| 16 * digit(a) + digit(b)));
            }
        } else {
            out.extend_from_slice(body.as_bytes());
        }
        out.push(b'\n');
    }
    String::from_utf8_lossy(&out).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Domains and addresses end at the operator's figure; storage has no use yet, so a figure for it is refused.
/// covers: domains/1.1/tenant-domains-max-addresses-max-storage-max
#[tokio::test]
async fn ceilings() {
    let world = World::start().await;
    ask(
        &world.operator,
        "PATCH",
        "/tenants/alpha",
        json!({"domains_max": 2, "addresses_max": 3}),
    )
    .await
    .unwrap();
    ask(&world.owner, "POST", "/tenants/alpha/domains", json!({"name": "b.example"}))
        .await
        .unwrap();
    let third = ask(&world.owner, "POST", "/tenants/alpha/domains", json!({"name": "c.example"})).await;
    assert!(
        assert_problem(third, 422, "limit-reached")["detail"]
            .as_str()
            .unwrap()
            .contains("at most 2 domains")
    );
    let path = "/api/v1/tenants/alpha/domains/a.example/recipients/import";
    let import = async |rows: &str| {
        system::problem_of(
            world
                .owner
                .send(hyper::Method::POST, path, "text/csv", format!("address\n{rows}").into_bytes())
                .await
                .map(|_| json!(null)),
        )
    };
    assert_problem(
        import("a@a.example\nb@a.example\nc@a.example\nd@a.example\n").await,
        422,
        "limit-reached",
    );
    import("a@a.example\nb@a.example\nc@a.example\n").await.unwrap();
    for storage in [json!({"storage_max": 1_000_000}), json!({"name": "beta", "storage_max": 1})] {
        let (method, path) = if storage["name"].is_null() {
            ("PATCH", "/tenants/alpha")
        } else {
            ("POST", "/tenants")
        };
        assert_problem(ask(&world.operator, method, path, storage).await, 422, "not-available");
    }
    // The tenant itself does not move its ceilings.
    assert_problem(
        ask(&world.owner, "PATCH", "/tenants/alpha", json!({"domains_max": 9})).await,
        403,
        "forbidden",
    );
    world.stop().await;
}

/// Twenty contacts of each kind; those for mail flow get what is for postmaster when nobody has that address.
/// covers: domains/1.1/tenant-contacts
#[tokio::test]
async fn contacts() {
    let world = World::start().await;
    let many = |n: usize| (0..n).map(|i| json!(format!("c{i}@a.example"))).collect::<Vec<Value>>();
    for kind in ["security", "mail_flow", "billing"] {
        world.set_tenant(json!({"contacts": {kind: many(20)}})).await.unwrap();
        let name = format!("contacts.{kind}");
        assert_checked(
            world.set_tenant(json!({"contacts": {kind: many(21)}})).await,
            &[(name.as_str(), "out-of-range")],
        );
        assert_problem(
            world.set_tenant(json!({"contacts": {kind: ["no address"]}})).await,
            422,
            "malformed",
        );
    }
    world
        .set_tenant(json!({"contacts": {"mail_flow": ["flow@a.example"]}}))
        .await
        .unwrap();
    let file = b"address\nu@a.example\n".to_vec();
    world
        .owner
        .send(
            hyper::Method::POST,
            "/api/v1/tenants/alpha/domains/a.example/recipients/import",
            "text/csv",
            file,
        )
        .await
        .unwrap();
    world.set_domain(json!({"recipient_mode": "directory"})).await.unwrap();
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["postmaster@a.example"], &message("contacts"))
        .await
        .unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    let taken = world.peer.wait(1).await;
    assert_eq!(taken[0].rcpts.len(), 1);
    assert!(taken[0].rcpts[0].starts_with("RCPT TO:<flow@a.example>"), "{:?}", taken[0].rcpts);
    world.stop().await;
}

/// Name, colour, logo and link stand on public pages, escaped; a logo is a PNG or WebP of at most 256 KB.
/// covers: domains/1.1/tenant-branding
#[tokio::test]
async fn branding() {
    let world = World::start().await;
    let png = "iVBORw0KGgo=";
    let good = json!({"branding": {"name": "見本 <b>&", "colour": "#a01234", "logo": png, "support_link": "https://help.example/x"}});
    world.set_tenant(good).await.unwrap();
    let large = {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.resize(256 * 1_024 + 1, 0);
        STANDARD.encode(&bytes)
    };
    for (field, value, kind) in [
        ("colour", "red", "malformed"),
        ("colour", "#12345;", "malformed"),
        ("logo", "R0lGODlhAQABAA==", "malformed"),
        ("logo", large.as_str(), "malformed"),
        ("support_link", "http://help.example", "malformed"),
        ("support_link", "javascript:alert(1)", "malformed"),
        ("support_link", "https://x\"onclick=y", "malformed"),
        ("name", "two\nlines", "out-of-range"),
    ] {
        let at = format!("branding.{field}");
        assert_checked(world.set_tenant(json!({"branding": {field: value}})).await, &[(at.as_str(), kind)]);
    }
    set_state(&world, "suspended").await;
    let reply = inbound(&world).await;
    world.refusal(&world.operator, &reply).await;
    let web = mitsuke::client::Api::new(mitsuke::client::Door::Url {
        url: format!("http://{}", world.address(config::node::ListenerRole::Web)),
        key: "none".into(),
    });
    let page = web
        .send(
            hyper::Method::GET,
            &format!("/r/{}", reply.rsplit("/r/").next().unwrap()),
            "text/html",
            Vec::new(),
        )
        .await
        .unwrap();
    let page = String::from_utf8(page).unwrap();
    for part in [
        "見本 &lt;b&gt;&amp;",
        "#a01234",
        "data:image/png;base64,iVBORw0KGgo=",
        "href=\"https://help.example/x\"",
    ] {
        assert!(page.contains(part), "{part} is missing: {page}");
    }
    assert!(!page.contains("<b>") && !page.contains("u@a.example"), "{page}");
    world.stop().await;
}

/// The operator sees a tenant's domain settings only where the tenant allows it, and never a subject.
/// covers: domains/1.1/tenant-operator-content-access
#[tokio::test]
async fn access_of_the_operator() {
    let world = World::start().await;
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &message("secret plan"))
        .await
        .unwrap();
    world.events(&reply, "delivered").await;
    let path = format!("/tracking/{}", system::queue_id(&reply));
    for (access, status) in [(None, 403), (Some("never"), 403), (Some("allowed"), 200), (Some("on-request"), 403)] {
        if let Some(access) = access {
            world.set_tenant(json!({"operator_content_access": access})).await.unwrap();
        }
        let seen = ask(&world.operator, "GET", "/tenants/alpha/domains/a.example", json!(null)).await;
        match status {
            200 => assert_eq!(seen.unwrap()["name"], "a.example"),
            _ => drop(assert_problem(seen, 403, "forbidden")),
        }
        let trace = ask(&world.operator, "GET", &path, json!(null)).await.unwrap();
        assert!(!trace.to_string().contains("secret plan"), "{access:?}: {trace}");
    }
    assert!(
        ask(&world.owner, "GET", &path, json!(null))
            .await
            .unwrap()
            .to_string()
            .contains("secret plan")
    );
    assert_problem(
        world.set_tenant(json!({"operator_content_access": "sometimes"})).await,
        422,
        "malformed",
    );
    world.stop().await;
}

/// A trial takes 100 messages an hour for each recipient domain; it sends once the operator opened it, then 100 an hour for each sender domain.
/// covers: domains/1.1/trial
#[tokio::test]
async fn trial() {
    let (world, far) = sending_world().await;
    let made = set_state(&world, "trial").await;
    assert_eq!(
        (made["state"].as_str(), made["trial_outbound"].as_bool()),
        (Some("trial"), Some(false))
    );
    assert_refused(
        &outbound(&world).await,
        "554 5.7.1 <v@far.example>: Recipient address rejected: NO-DOMAIN.",
    );

    let mut client = world.client().await;
    client.say("MAIL FROM:<s@sender.example>").await.unwrap();
    for n in 0..100 {
        let reply = client.say(&format!("RCPT TO:<u{n}@a.example>")).await.unwrap();
        assert!(reply.starts_with("250 "), "{n}: {reply}");
    }
    let over = client.say("RCPT TO:<u100@a.example>").await.unwrap();
    assert_refused(&over, "450 4.7.1 Rate limit temporarily exceeded: RATE-TRIAL.");
    let refusal = world.refusal(&world.owner, &over).await;
    assert_eq!(
        (refusal["reason"].as_str(), refusal["recipient"].as_str()),
        (Some("RATE-TRIAL"), Some("u100@a.example"))
    );
    world.clock.advance(Duration::from_secs(3_600));
    let after = inbound(&world).await;
    assert!(after.starts_with("250 "), "an hour later: {after}");

    ask(&world.operator, "PATCH", "/tenants/alpha", json!({"trial_outbound": true}))
        .await
        .unwrap();
    assert!(outbound(&world).await.starts_with("250 "));
    far.wait(1).await;
    let mut client = world.client_from(SERVER).await;
    client.say("MAIL FROM:<u@a.example>").await.unwrap();
    for n in 0..99 {
        let reply = client.say(&format!("RCPT TO:<v{n}@far.example>")).await.unwrap();
        assert!(reply.starts_with("250 "), "{n}: {reply}");
    }
    let over = client.say("RCPT TO:<v99@far.example>").await.unwrap();
    assert_refused(&over, "450 4.7.1 Rate limit temporarily exceeded: RATE-TRIAL.");
    world.stop().await;
}

/// An active tenant's mail passes both ways, and its owner may change things.
/// covers: domains/1.1/active
#[tokio::test]
async fn active() {
    let (world, far) = sending_world().await;
    assert_eq!(
        ask(&world.owner, "GET", "/tenants/alpha", json!(null)).await.unwrap()["state"],
        "active"
    );
    assert!(inbound(&world).await.starts_with("250 2.0.0 Accepted, queue id "));
    assert!(outbound(&world).await.starts_with("250 2.0.0 Accepted, queue id "));
    assert_eq!(far.wait(1).await[0].rcpts.len(), 1);
    world.peer.wait(1).await;
    world.set_domain(json!({"subaddress": "+"})).await.unwrap();
    world.stop().await;
}

/// Outbound suspended: mail still comes in, sending is refused, the settings stay open to the owner.
/// covers: domains/1.1/outbound-suspended
#[tokio::test]
async fn outbound_suspended() {
    let (world, _far) = sending_world().await;
    set_state(&world, "outbound-suspended").await;
    assert!(inbound(&world).await.starts_with("250 "));
    assert_refused(
        &outbound(&world).await,
        "550 5.7.1 <u@a.example>: Sending suspended: SENDER-SUSPENDED.",
    );
    world.set_domain(json!({"subaddress": "+"})).await.unwrap();
    let tenant = ask(&world.owner, "GET", "/tenants/alpha", json!(null)).await.unwrap();
    assert_eq!(
        (tenant["state"].as_str(), tenant["state_reason"].as_str()),
        (Some("outbound-suspended"), Some("tried"))
    );
    set_state(&world, "active").await;
    assert!(outbound(&world).await.starts_with("250 "));
    world.stop().await;
}

/// Suspended: mail waits outside, sending is refused, the owner reads and exports and changes nothing.
/// covers: domains/1.1/suspended
#[tokio::test]
async fn suspended() {
    let (world, _far) = sending_world().await;
    set_state(&world, "suspended").await;
    assert_refused(
        &inbound(&world).await,
        "450 4.3.2 <u@a.example>: Recipient domain not in service: DOMAIN-DISABLED.",
    );
    assert_refused(
        &outbound(&world).await,
        "550 5.7.1 <u@a.example>: Sending suspended: SENDER-SUSPENDED.",
    );
    ask(&world.owner, "GET", "/tenants/alpha/domains/a.example", json!(null))
        .await
        .unwrap();
    ask(&world.owner, "GET", "/tracking", json!(null)).await.unwrap();
    assert_problem(world.set_domain(json!({"subaddress": "+"})).await, 403, "forbidden");
    assert_problem(
        ask(&world.owner, "POST", "/tenants/alpha/domains", json!({"name": "new.example"})).await,
        403,
        "forbidden",
    );
    set_state(&world, "active").await;
    assert!(inbound(&world).await.starts_with("250 "));
    world.stop().await;
}

/// Closing refuses new mail both ways for its grace while the owner still reads; at its end the tenant is deleted, its keys are dead, its name free.
/// covers: domains/1.1/closing-grace-30-d-0-90-deleted
#[tokio::test]
async fn closing_and_deleted() {
    let (world, _far) = sending_world().await;
    assert_problem(
        ask(
            &world.operator,
            "PATCH",
            "/tenants/alpha",
            json!({"state": "closing", "grace_days": 91}),
        )
        .await,
        400,
        "malformed",
    );
    let closing = set_state(&world, "closing").await;
    assert_eq!(closing["closes_at"], "2026-12-24T00:00:00.000Z", "{closing}");
    assert_refused(
        &inbound(&world).await,
        "554 5.7.1 <u@a.example>: Recipient address rejected: NO-DOMAIN.",
    );
    assert_refused(
        &outbound(&world).await,
        "554 5.7.1 <v@far.example>: Recipient address rejected: NO-DOMAIN.",
    );
    ask(&world.owner, "GET", "/tenants/alpha/domains/a.example", json!(null))
        .await
        .unwrap();
    assert_problem(world.set_domain(json!({"subaddress": "+"})).await, 403, "forbidden");
    world.pass(Duration::from_secs(30 * 86_400 - 60)).await;
    assert_eq!(
        ask(&world.operator, "GET", "/tenants/alpha", json!(null)).await.unwrap()["state"],
        "closing"
    );
    world.pass(Duration::from_secs(120)).await;
    world
        .soon("the tenant is deleted", async || {
            ask(&world.operator, "GET", "/tenants/alpha", json!(null)).await.unwrap()["state"] == "deleted"
        })
        .await;
    assert_refused(
        &inbound(&world).await,
        "554 5.7.1 <u@a.example>: Recipient address rejected: NO-DOMAIN.",
    );
    assert_problem(ask(&world.owner, "GET", "/tenants/alpha", json!(null)).await, 401, "unauthorized");
    world.operator.post("/api/v1/tenants", &json!({"name": "beta"})).await.unwrap();
    let key = world
        .operator
        .post("/api/v1/tenants/beta/keys", &json!({"name": "owner", "role": "owner"}))
        .await
        .unwrap();
    let beta = world.key(key["secret"].as_str().unwrap());
    ask(&beta, "POST", "/tenants/beta/domains", json!({"name": "a.example"}))
        .await
        .unwrap();
    world.stop().await;
}

/// One message to two tenants and a stranger becomes two, with two queue ids; neither tenant sees the other's copy.
#[tokio::test]
async fn a_message_to_two_tenants_becomes_two() {
    let world = World::start().await;
    let beta_server = Peer::start(Script {
        extensions: system::usual_extensions(),
        ..Script::default()
    })
    .await;
    let beta = world.tenant("beta").await;
    world.domain("beta", &beta, "b.example", beta_server.address).await;
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example", "w@b.example"], &message("both"))
        .await
        .unwrap();
    let ids: Vec<&str> = reply.split("queue id ").nth(1).unwrap().split(',').map(str::trim).collect();
    assert_eq!(ids.len(), 2, "{reply}");
    let (first, second) = (world.peer.wait(1).await.remove(0), beta_server.wait(1).await.remove(0));
    assert_eq!((first.rcpts.len(), second.rcpts.len()), (1, 1));
    assert!(
        !String::from_utf8_lossy(&first.data).contains("w@b.example")
            && !String::from_utf8_lossy(&second.data).contains("for <u@a.example>")
    );
    for (who, own, other) in [(&world.owner, ids[0], ids[1]), (&beta, ids[1], ids[0])] {
        ask(who, "GET", &format!("/tracking/{own}"), json!(null)).await.unwrap();
        assert_problem(ask(who, "GET", &format!("/tracking/{other}"), json!(null)).await, 404, "not-found");
    }
    world.stop().await;
}

/// Mail between tenants is handed over internally only when the recipient domain's public MX is ours; otherwise it goes where DNS says.
#[tokio::test]
async fn mail_between_tenants() {
    let beta_server = Peer::start(Script {
        extensions: system::usual_extensions(),
        ..Script::default()
    })
    .await;
    let world = World::with(Plan {
        zone: "mx.elsewhere.example. A 127.0.0.77\n".into(),
        ..Plan::default()
    })
    .await;
    let beta = world.tenant("beta").await;
    world.domain("beta", &beta, "b.example", beta_server.address).await;
    world
        .set_domain(json!({"outbound_enabled": true, "outbound_networks": ["127.0.3.0/24"]}))
        .await
        .unwrap();
    let send = async || {
        world
            .client_from(SERVER)
            .await
            .deliver("u@a.example", &["w@b.example"], &own_mail())
            .await
            .unwrap()
    };
    let reply = send().await;
    assert!(reply.starts_with("250 "), "{reply}");
    let taken = beta_server.wait(1).await;
    assert!(taken[0].rcpts[0].starts_with("RCPT TO:<w@b.example>"));
    world.events(&reply, "delivered").await;

    world.dns.change(|zone| {
        zone.remove("b.example")
            .add("b.example", "NS", "ns.example.")
            .add("b.example", "MX", "10 mx.elsewhere.example");
    });
    world.clock.advance(Duration::from_secs(3_601));
    let reply = send().await;
    let events = world.events(&reply, "deferred").await;
    let attempt = events.iter().find(|e| e["e"] == "attempt").unwrap();
    assert_eq!(
        (&attempt["host"], &attempt["address"]),
        (&json!("mx.elsewhere.example"), &json!("127.0.0.77:25")),
        "{attempt}"
    );
    assert_eq!(beta_server.taken().len(), 1, "a domain of ours whose MX is elsewhere is elsewhere");
    world.stop().await;
}
