//! Recipient existence and lists (domains-and-routing 8).

use base64::Engine;
use mitsuke::client::Problem;
use serde_json::{Value, json};
use std::time::Duration;
use system::{World, ask, assert_checked, assert_problem, assert_refused, message, problem_of};
use testkit::client::Client;

const LIST: &str = "/tenants/alpha/domains/a.example/recipients";

async fn import_bytes(world: &World, query: &str, file: Vec<u8>) -> Result<Value, Problem> {
    let path = format!("/api/v1{LIST}/import{query}");
    problem_of(
        world
            .owner
            .send(hyper::Method::POST, &path, "text/csv", file)
            .await
            .map(|bytes| serde_json::from_slice(&bytes).unwrap()),
    )
}

async fn import(world: &World, file: &str) -> Result<Value, Problem> {
    import_bytes(world, "", file.as_bytes().to_vec()).await
}

/// A list with these local parts.
fn listed<'a>(locals: impl IntoIterator<Item = &'a str>) -> String {
    let lines: Vec<String> = locals.into_iter().map(|l| format!("{l}@a.example")).collect();
    format!("address\n{}\n", lines.join("\n"))
}

fn numbered(count: usize) -> String {
    let names: Vec<String> = (0..count).map(|n| format!("u{n}")).collect();
    listed(names.iter().map(String::as_str))
}

async fn directory() -> World {
    let world = World::start().await;
    world.set_domain(json!({"recipient_mode": "directory"})).await.unwrap();
    world
}

/// The reply to RCPT.
async fn rcpt(client: &mut Client, local: &str) -> String {
    client.say("RSET").await.unwrap();
    client.say("MAIL FROM:<s@sender.example>").await.unwrap();
    client.say(&format!("RCPT TO:<{local}@a.example>")).await.unwrap()
}

async fn rcpt_of(world: &World, local: &str) -> String {
    rcpt(&mut world.client().await, local).await
}

fn unknown(local: &str) -> String {
    format!("550 5.1.1 <{local}@a.example>: Recipient address rejected: User unknown: USER-UNKNOWN.")
}

/// The mode is none until it is switched on; callout and hybrid are refused as not available.
/// covers: domains/8/recipient-mode
#[tokio::test]
async fn modes() {
    let world = World::start().await;
    import(&world, &listed(["ann"])).await.unwrap();
    assert!(
        rcpt_of(&world, "nobody").await.starts_with("250 "),
        "a list alone switches nothing on"
    );
    world.set_domain(json!({"recipient_mode": "directory"})).await.unwrap();
    assert_refused(&rcpt_of(&world, "nobody").await, &unknown("nobody"));
    for mode in ["callout", "hybrid"] {
        assert_checked(
            world.set_domain(json!({"recipient_mode": mode})).await,
            &[("recipient_mode", "not-available")],
        );
    }
    assert_problem(world.set_domain(json!({"recipient_mode": "guess"})).await, 422, "malformed");
    world.stop().await;
}

/// Settings of a callout do not exist before the callout does.
/// refuses: domains/8/callout-positive-ttl-negative-ttl domains/8/callout-unavailable-callout-concurrency
#[tokio::test]
async fn settings_of_the_callout() {
    let world = World::start().await;
    for field in ["positive_ttl_s", "negative_ttl_s", "unavailable", "concurrency"] {
        assert_checked(
            world.set_domain(json!({"callout": {field: 1}})).await,
            &[("callout", "not-available")],
        );
    }
    world.stop().await;
}

/// A callout does not happen: the mode cannot be set, and no next hop is asked at RCPT.
/// refuses: domains/8/callout domains/8/hybrid
#[tokio::test]
async fn no_callout() {
    let world = World::start().await;
    for mode in ["callout", "hybrid"] {
        assert_checked(
            world.set_domain(json!({"recipient_mode": mode})).await,
            &[("recipient_mode", "not-available")],
        );
    }
    assert!(rcpt_of(&world, "anyone").await.starts_with("250 "));
    assert_eq!(world.peer.connections().0, 0);
    world.stop().await;
}

/// A replacement that removes more than the guard's share and more than 20 is refused unless a person forces it; a removed address is still
/// accepted for the days of grace.
/// covers: domains/8/directory-guard-directory-grace
#[tokio::test]
async fn guard_and_grace() {
    let world = directory().await;
    import(&world, &numbered(100)).await.unwrap();
    // 20 removals are never guarded, 21 of 100 are more than 10 %.
    let guarded = assert_problem(import(&world, &numbered(79)).await, 422, "directory-guard");
    assert!(guarded["detail"].as_str().unwrap().contains("21 of 100"), "{guarded}");
    assert!(rcpt_of(&world, "u99").await.starts_with("250 "), "the list in force stays");
    assert_eq!(
        import(&world, &numbered(80)).await.unwrap()["summary"],
        "+0 −20, 0 changed, 0 renamed"
    );
    // What was found is remembered for some seconds.
    world.clock.advance(Duration::from_secs(5));
    assert_refused(&rcpt_of(&world, "u99").await, &unknown("u99"));
    assert_checked(
        world.set_tenant(json!({"directory_guard_percent": 51})).await,
        &[("directory_guard_percent", "out-of-range")],
    );
    assert_checked(
        world.set_tenant(json!({"directory_guard_percent": 0})).await,
        &[("directory_guard_percent", "out-of-range")],
    );
    world.set_tenant(json!({"directory_guard_percent": 50})).await.unwrap();
    import(&world, &numbered(45)).await.unwrap();
    assert_problem(import(&world, &numbered(10)).await, 422, "directory-guard");
    assert_checked(
        world.set_domain(json!({"directory_grace_days": 31})).await,
        &[("directory_grace_days", "out-of-range")],
    );
    world.set_domain(json!({"directory_grace_days": 2})).await.unwrap();
    import_bytes(&world, "?force=true", numbered(10).into_bytes()).await.unwrap();
    assert!(rcpt_of(&world, "u44").await.starts_with("250 "), "in grace");
    world.clock.advance(Duration::from_secs(2 * 86_400 + 1));
    assert_refused(&rcpt_of(&world, "u44").await, &unknown("u44"));
    assert!(rcpt_of(&world, "u9").await.starts_with("250 "));
    world.stop().await;
}

/// Over ten unknown recipients of a session each reply waits 5 s, over twenty the session ends; over fifty of an address in ten minutes it
/// is deferred for an hour.
/// covers: domains/8/harvest-session-harvest-ip
#[tokio::test]
async fn harvest() {
    let world = directory().await;
    import(&world, &listed(["ann"])).await.unwrap();
    // Says a line; the reply, and how long it took on the server's clock.
    let patient = async |client: &mut Client, line: String| {
        client.send(format!("{line}\r\n").as_bytes()).await.unwrap();
        let mut passed = Duration::ZERO;
        loop {
            if let Ok(reply) = tokio::time::timeout(Duration::from_millis(40), client.reply()).await {
                return (reply.unwrap(), passed);
            }
            assert!(passed < Duration::from_secs(10), "no reply to {line}");
            world.clock.advance(Duration::from_millis(2_500));
            passed += Duration::from_millis(2_500);
        }
    };
    let mut client = world.client().await;
    for n in 0..11 {
        assert_refused(&rcpt(&mut client, &format!("x{n}")).await, &unknown(&format!("x{n}")));
    }
    // The eleventh was over the figure: from now on each reply waits.
    client.say("RSET").await.unwrap();
    let (_, passed) = patient(&mut client, "MAIL FROM:<s@sender.example>".into()).await;
    assert_eq!(passed, Duration::from_secs(5));
    for n in 11..20 {
        let (reply, passed) = patient(&mut client, format!("RCPT TO:<x{n}@a.example>")).await;
        assert_refused(&reply, &unknown(&format!("x{n}")));
        assert_eq!(passed, Duration::from_secs(5), "{n}");
    }
    let (last, _) = patient(&mut client, "RCPT TO:<x20@a.example>".into()).await;
    assert_refused(&last, "421 4.7.1 Too many unknown recipients: HARVEST.");
    assert!(client.say("NOOP").await.is_err(), "the session is over");

    // Ten a session, so that none is slow: the 51st of the address blocks it, in the middle of a session too (21 were counted above).
    for round in 0..3 {
        let mut client = world.client().await;
        for n in 0..10 {
            let reply = rcpt(&mut client, &format!("y{round}-{n}")).await;
            if round == 2 && n == 9 {
                assert_refused(&reply, &unknown("y2-9"));
                assert_refused(&rcpt(&mut client, "ann").await, "450 4.7.1 Too many unknown recipients: HARVEST.");
            }
        }
    }
    assert_refused(&rcpt_of(&world, "ann").await, "450 4.7.1 Too many unknown recipients: HARVEST.");
    let mut elsewhere = world.client_from("127.0.0.10").await;
    assert!(rcpt(&mut elsewhere, "ann").await.starts_with("250 "), "others are not blocked");
    world.clock.advance(Duration::from_secs(3_601));
    assert!(rcpt_of(&world, "ann").await.starts_with("250 "), "an hour later");
    assert_checked(
        world.set_tenant(json!({"harvest": {"session": 101}})).await,
        &[("harvest.session", "out-of-range")],
    );
    // A tenant's own figure holds for its mail.
    world.set_tenant(json!({"harvest": {"session": 1}})).await.unwrap();
    let mut client = world.client_from("127.0.0.11").await;
    for n in 0..2 {
        assert_refused(&rcpt(&mut client, &format!("z{n}")).await, &unknown(&format!("z{n}")));
    }
    client.say("RSET").await.unwrap();
    let (_, passed) = patient(&mut client, "MAIL FROM:<s@sender.example>".into()).await;
    assert_eq!(passed, Duration::from_secs(5));
    let (last, _) = patient(&mut client, "RCPT TO:<z2@a.example>".into()).await;
    assert_refused(&last, "421 4.7.1 Too many unknown recipients: HARVEST.");
    world.stop().await;
}

/// Without a check everyone is accepted, and tracking says so.
/// covers: domains/8/none
#[tokio::test]
async fn mode_none() {
    let world = World::start().await;
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["whoever@a.example"], &message("none"))
        .await
        .unwrap();
    let events = world.events(&reply, "delivered").await;
    assert_eq!(events.iter().find(|e| e["e"] == "rcpt").unwrap()["check"], "none");
    assert!(world.peer.wait(1).await[0].rcpts[0].starts_with("RCPT TO:<whoever@a.example>"));
    world.stop().await;
}

/// Who is listed exists, by address or alias, without letter case; who is not, or is disabled, does not; a failed import leaves the last good
/// list in force, without any list everyone is accepted; postmaster and abuse always exist.
/// covers: domains/8/directory
#[tokio::test]
async fn mode_directory() {
    let world = directory().await;
    assert!(rcpt_of(&world, "anyone").await.starts_with("250 "), "no list is no negative answer");
    import(
        &world,
        "address,aliases,enabled\nAnn@a.example,annie@a.example;Anna@a.example,\nbob@a.example,,no\n",
    )
    .await
    .unwrap();
    for local in ["ann", "ANN", "annie", "anna", "postmaster", "Abuse"] {
        assert!(rcpt_of(&world, local).await.starts_with("250 "), "{local}");
    }
    for local in ["bob", "nobody", "ann2", "root"] {
        assert_refused(&rcpt_of(&world, local).await, &unknown(local));
    }
    for bad in ["", "address\n", "nonsense", "address\nno address\n", "address\nx@other.example\n"] {
        import(&world, bad).await.unwrap_err();
        assert!(rcpt_of(&world, "ann").await.starts_with("250 "), "the last good list: {bad:?}");
        assert_refused(&rcpt_of(&world, "bob").await, &unknown("bob"));
    }
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["ann@a.example"], &message("listed"))
        .await
        .unwrap();
    let events = world.events(&reply, "delivered").await;
    let check = events.iter().find(|e| e["e"] == "rcpt").unwrap()["check"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(check.starts_with("directory, listed"), "{check}");
    world.clock.advance(Duration::from_secs(10));
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["ann@a.example"], &message("aged"))
        .await
        .unwrap();
    let events = world.events(&reply, "delivered").await;
    let check = events.iter().find(|e| e["e"] == "rcpt").unwrap()["check"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(check, "directory, listed, list 10 s old", "answer, cached or live, age of the list");
    // A removed address is gone at once for who was not asked about it, and within seconds otherwise.
    import(&world, &listed(["carol"])).await.unwrap();
    world.clock.advance(Duration::from_secs(5));
    assert_refused(&rcpt_of(&world, "ann").await, &unknown("ann"));
    world.stop().await;
}

/// CSV in UTF-8 or CP932 with a header line, replace or merge, all or nothing, wrong rows told by line, versions restored, exported for
/// spreadsheets without formulas; 200,000 rows and 64 MB at most.
/// covers: domains/8/csv-upload
#[tokio::test]
async fn csv() {
    let world = directory().await;
    let text = "address,display_name,aliases,groups,manager,language,enabled\r\n\
        taro@a.example,山田太郎,yamada@a.example,営業;全員,hanako@a.example,ja,\r\nhanako@a.example,=SUM(A1),,全員,,en,true\r\n";
    let dry = import_bytes(&world, "?dry_run=true", text.as_bytes().to_vec()).await.unwrap();
    assert_eq!((&dry["version"], &dry["difference"]["added"]), (&Value::Null, &json!(2)));
    assert_eq!(
        ask(&world.owner, "GET", LIST, json!(null)).await.unwrap()["items"],
        json!([]),
        "a dry run changes nothing"
    );
    // 山田太郎 etc. in CP932.
    let cp932 = base64::engine::general_purpose::STANDARD
        .decode("YWRkcmVzcyxkaXNwbGF5X25hbWUNCnRhcm9AYS5leGFtcGxlLI5Sk2ORvphZDQo=")
        .unwrap();
    import_bytes(&world, "?origin=old.csv", cp932).await.unwrap();
    let listed_now = async || ask(&world.owner, "GET", LIST, json!(null)).await.unwrap()["items"].clone();
    assert_eq!(listed_now().await[0]["display_name"], "山田太郎");
    let second = import(&world, text).await.unwrap();
    assert_eq!(
        (&second["version"], &second["summary"]),
        (&json!(2), &json!("+1 −0, 1 changed, 0 renamed"))
    );
    let rows = listed_now().await;
    let taro = rows.as_array().unwrap().iter().find(|r| r["address"] == "taro@a.example").unwrap();
    assert_eq!(
        (&taro["groups"], &taro["manager"], &taro["language"], &taro["enabled"]),
        (&json!(["営業", "全員"]), &json!("hanako@a.example"), &json!("ja"), &json!(true))
    );

    let exported = world
        .owner
        .send(hyper::Method::GET, &format!("/api/v1{LIST}.csv"), "text/csv", Vec::new())
        .await
        .unwrap();
    assert!(exported.starts_with(b"\xef\xbb\xbfaddress,"), "with a byte order mark");
    assert!(String::from_utf8_lossy(&exported).contains("'=SUM(A1)"));
    assert_eq!(
        import_bytes(&world, "", exported).await.unwrap()["summary"],
        "+0 −0, 0 changed, 0 renamed",
        "what is exported comes back"
    );

    let merged = import_bytes(&world, "?mode=merge", listed(["new"]).into_bytes()).await.unwrap();
    assert_eq!(merged["summary"], "+1 −0, 0 changed, 0 renamed");
    assert_problem(
        import_bytes(&world, "?mode=append", listed(["x"]).into_bytes()).await,
        400,
        "malformed",
    );
    let wrong = "address,enabled\ngood@a.example,\ntaro@other.example,\nx@a.example,perhaps\nbroken,\ny@a.example,,extra\n";
    let problem = assert_problem(import(&world, wrong).await, 422, "rows");
    let lines: Vec<u64> = problem["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["line"].as_u64().unwrap())
        .collect();
    assert_eq!(lines, [3, 4, 5, 6], "{problem}");
    let twice = assert_problem(
        import(&world, "address,aliases\na@a.example,b@a.example\nb@a.example,\n").await,
        422,
        "rows",
    );
    assert_eq!(twice["rows"].as_array().unwrap().len(), 1, "{twice}");
    let long = format!("address,display_name\nz@a.example,{}\n", "x".repeat(300));
    for (bad, status, reason) in [
        ("mail\nx@a.example\n", 400, "malformed"),
        ("address\nx\0@a.example\n", 400, "malformed"),
        ("address,address2\nx@a.example,\n", 400, "malformed"),
        (long.as_str(), 422, "rows"),
        ("address\n", 400, "malformed"),
    ] {
        assert_problem(import(&world, bad).await, status, reason);
    }
    let count = listed_now().await.as_array().unwrap().len();
    assert_eq!(count, 3, "all or nothing: {count}");

    let versions = ask(&world.owner, "GET", &format!("{LIST}/versions"), json!(null)).await.unwrap();
    let numbers: Vec<i64> = versions
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v["version"].as_i64().unwrap())
        .collect();
    assert_eq!(numbers, [4, 3, 2, 1], "{versions}");
    assert_eq!(
        (&versions[3]["origin"], &versions[3]["actor"], &versions[3]["entries"]),
        (&json!("old.csv"), &json!("owner"), &json!(1))
    );
    let restored = ask(&world.owner, "POST", &format!("{LIST}/versions/1/restore"), json!({}))
        .await
        .unwrap();
    assert_eq!(restored["version"], 5);
    assert_refused(&rcpt_of(&world, "hanako").await, &unknown("hanako"));
    for n in 0..12 {
        import_bytes(&world, "?force=true", listed([format!("n{n}").as_str()]).into_bytes())
            .await
            .unwrap();
    }
    let kept = ask(&world.owner, "GET", &format!("{LIST}/versions"), json!(null)).await.unwrap();
    assert_eq!(kept.as_array().unwrap().len(), 10, "the last ten are kept");
    assert_problem(
        ask(&world.owner, "POST", &format!("{LIST}/versions/1/restore"), json!({})).await,
        404,
        "not-found",
    );
    let log = ask(&world.owner, "GET", "/audit?action=recipients.import&domain=a.example", json!(null))
        .await
        .unwrap();
    assert!(log["items"].as_array().unwrap().len() >= 4, "{log}");
    world.stop().await;
}

/// A file of 200,000 rows is the longest, and 64 MB the largest.
#[tokio::test]
async fn largest_file() {
    let world = directory().await;
    let mut file = String::with_capacity(4_000_000);
    file.push_str("address\n");
    for n in 0..200_001 {
        file.push_str(&format!("u{n}@a.example\n"));
    }
    assert_problem(import(&world, &file).await, 413, "too-large");
    let mut large = b"address\n".to_vec();
    large.resize(64 * 1_048_576 + 2, b'x');
    let refused = import_bytes(&world, "", large).await.unwrap_err();
    assert_eq!(refused.status, 413);
    assert!(rcpt_of(&world, "u1").await.starts_with("250 "), "no list yet");
    world.stop().await;
}

/// Sources other than CSV are not available yet: each is refused when someone wants to set it up.
/// refuses: domains/8/ldif-upload domains/8/ldap-ldaps domains/8/mitsuke-directory-push domains/8/scim-2-0 domains/8/microsoft-graph-google-directory
#[tokio::test]
async fn other_sources() {
    let world = World::start().await;
    for kind in ["ldif", "ldap", "ldaps", "push", "scim", "microsoft-graph", "google-directory"] {
        let refused = ask(&world.owner, "POST", "/tenants/alpha/directory-sources", json!({"kind": kind})).await;
        let problem = assert_problem(refused, 422, "not-available");
        assert!(problem["detail"].as_str().unwrap().contains(kind), "{problem}");
    }
    assert_problem(
        ask(
            &world.owner,
            "POST",
            "/tenants/alpha/directory-sources",
            json!({"kind": "carrier-pigeon"}),
        )
        .await,
        422,
        "malformed",
    );
    assert_eq!(
        ask(&world.owner, "GET", "/tenants/alpha/directory-sources", json!(null))
            .await
            .unwrap(),
        json!([])
    );
    let ldif = b"dn: cn=ann\nmail: ann@a.example\n".to_vec();
    let path = format!("/api/v1{LIST}/import");
    let refused = problem_of(
        world
            .owner
            .send(hyper::Method::POST, &path, "text/ldif", ldif)
            .await
            .map(|_| Value::Null),
    );
    assert_problem(refused, 422, "not-available");
    let beta = world.tenant("beta").await;
    assert_problem(
        ask(&beta, "POST", "/tenants/alpha/directory-sources", json!({"kind": "ldap"})).await,
        404,
        "not-found",
    );
    world.stop().await;
}
