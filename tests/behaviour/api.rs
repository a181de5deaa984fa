//! The API over real HTTP: revisions, conflicts, audit, roles, other tenants, bad input (domains-and-routing 1.2, 12, 14).

use config::node::ListenerRole;
use mitsuke::client::{Api, Door};
use serde_json::{Value, json};
use std::time::Duration;
use system::{DOMAIN, World, ask, assert_checked, assert_problem, assert_refused, message, queue_id};
use testkit::peer::{Peer, Script};

const PATH: &str = "/tenants/alpha/domains/a.example";

async fn key(world: &World, role: &str, domains: Value) -> Api {
    let mut body = json!({"name": role, "role": role});
    if !domains.is_null() {
        body["domains"] = domains;
    }
    let made = ask(&world.owner, "POST", "/tenants/alpha/keys", body).await.unwrap();
    world.key(made["secret"].as_str().unwrap())
}

/// A save is live without a restart: the next transaction sees it, one that has begun keeps its revision, attempts use the newest.
#[tokio::test]
async fn a_save_is_live_at_once() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.say("MAIL FROM:<s@sender.example>").await.unwrap();
    world.set_domain(json!({"disabled": true})).await.unwrap();
    assert!(
        client.say("RCPT TO:<u@a.example>").await.unwrap().starts_with("250 "),
        "the transaction keeps its revision"
    );
    client.say("RSET").await.unwrap();
    client.say("MAIL FROM:<s@sender.example>").await.unwrap();
    let reply = client.say("RCPT TO:<u@a.example>").await.unwrap();
    assert_refused(&reply, "450 4.3.2 <u@a.example>: Recipient domain not in service: DOMAIN-DISABLED.");

    // Cut-over: the old server says "later", the route is changed, the next attempt reaches the new one.
    world.set_domain(json!({"disabled": false})).await.unwrap();
    world
        .peer
        .script(|s| drop(s.recipients.insert("u@a.example".into(), "450 4.2.0 later".into())));
    client.say("RSET").await.unwrap();
    let reply = client
        .deliver("s@sender.example", &["u@a.example"], &message("cut-over"))
        .await
        .unwrap();
    world.events(&reply, "deferred").await;
    let new = Peer::start(Script {
        extensions: system::usual_extensions(),
        ..Script::default()
    })
    .await;
    world
        .set_domain(json!({"inbound_servers": [{"host": "127.0.0.1", "port": new.address.port()}]}))
        .await
        .unwrap();
    world.pass(Duration::from_secs(340)).await;
    assert_eq!(new.wait(1).await.len(), 1);
    assert_eq!(world.peer.taken().len(), 0);
    world.stop().await;
}

/// Of two editors the later gets a conflict with the newest revision; both revisions can be compared, and an old one restored.
#[tokio::test]
async fn conflict_difference_restore() {
    let world = World::start().await;
    let settings = async || ask(&world.owner, "GET", "/settings/alpha", json!(null)).await.unwrap();
    let base = settings().await["revision"].as_i64().unwrap();
    let save = async |base: i64, days: u32| {
        ask(
            &world.owner,
            "PATCH",
            "/settings/alpha",
            json!({"base": base, "reason": "tried", "document": {"delete_grace_days": days}}),
        )
        .await
    };
    let first = save(base, 10).await.unwrap()["revision"].as_i64().unwrap();
    assert_eq!(first, base + 1);
    let conflict = assert_problem(save(base, 20).await, 409, "conflict");
    assert_eq!(conflict["current_revision"], first);
    let by_domain = ask(&world.owner, "PATCH", PATH, json!({"base": base, "settings": {"subaddress": "+"}})).await;
    assert_problem(by_domain, 409, "conflict");
    let second = save(first, 20).await.unwrap()["revision"].as_i64().unwrap();
    let difference = ask(
        &world.owner,
        "GET",
        &format!("/settings/alpha/difference?from={base}&to={second}"),
        json!(null),
    )
    .await
    .unwrap();
    assert_eq!(difference, json!([{"field": "delete_grace_days", "new": "20"}]));
    let listed = ask(&world.owner, "GET", "/settings/alpha/revisions?limit=2", json!(null))
        .await
        .unwrap();
    assert_eq!(
        (
            &listed["items"][0]["revision"],
            &listed["items"][0]["actor"],
            &listed["items"][0]["reason"]
        ),
        (&json!(second), &json!("owner"), &json!("tried"))
    );
    let older = ask(
        &world.owner,
        "GET",
        &format!("/settings/alpha/revisions?limit=2&cursor={}", listed["next"].as_str().unwrap()),
        json!(null),
    )
    .await
    .unwrap();
    assert_eq!(older["items"][0]["revision"], base);
    let restored = ask(
        &world.owner,
        "POST",
        &format!("/settings/alpha/revisions/{first}/restore"),
        json!({}),
    )
    .await
    .unwrap();
    assert_eq!(restored["revision"], second + 1, "a restore is a revision of its own");
    assert_eq!(settings().await["document"]["delete_grace_days"], 10);
    assert_problem(
        ask(&world.owner, "POST", "/settings/alpha/revisions/999/restore", json!({})).await,
        404,
        "not-found",
    );
    world.stop().await;
}

/// Every change leaves an entry with who, how, what, old and new value; secrets are masked; nobody deletes one.
#[tokio::test]
async fn every_change_is_in_the_audit_log() {
    let world = World::start().await;
    world.set_domain(json!({"subaddress": "+"})).await.unwrap();
    let row = json!([{"host": "127.0.0.1", "port": world.peer.address.port(), "tls": "encrypted", "auth": {"user": "gate", "secret": "hush-hush"}}]);
    world.set_domain(json!({"inbound_servers": row})).await.unwrap();
    world.set_tenant(json!({"delete_grace_days": 7})).await.unwrap();
    world.set_system(json!({"claim_lapse_s": 100_000})).await.unwrap();
    ask(&world.owner, "POST", "/tenants/alpha/proof/secrets", json!({})).await.unwrap();
    ask(&world.owner, "POST", "/tenants/alpha/proof/window", json!({})).await.unwrap();
    ask(&world.owner, "POST", "/tenants/alpha/domains", json!({"name": "c.example"}))
        .await
        .unwrap();
    ask(&world.owner, "POST", "/tenants/alpha/domains/c.example/token", json!({}))
        .await
        .unwrap();
    ask(&world.owner, "POST", "/tenants/alpha/relay-credentials", json!({"name": "printer"}))
        .await
        .unwrap();
    ask(&world.owner, "DELETE", "/tenants/alpha/relay-credentials/printer", json!(null))
        .await
        .unwrap();
    let viewer = ask(
        &world.owner,
        "POST",
        "/tenants/alpha/keys",
        json!({"name": "viewer", "role": "viewer"}),
    )
    .await
    .unwrap();
    ask(
        &world.owner,
        "DELETE",
        &format!("/tenants/alpha/keys/{}", viewer["key"]["id"].as_str().unwrap()),
        json!(null),
    )
    .await
    .unwrap();
    ask(
        &world.operator,
        "PATCH",
        "/tenants/alpha",
        json!({"title": "Alpha", "reason": "renamed"}),
    )
    .await
    .unwrap();
    hold_one(&world).await;
    let log = ask(&world.owner, "GET", "/audit?limit=100", json!(null)).await.unwrap();
    let entries = log["items"].as_array().unwrap();
    let find = |action: &str| {
        entries.iter().find(|e| e["action"] == action).unwrap_or_else(|| {
            panic!(
                "{action} is missing among {:?}",
                entries.iter().map(|e| e["action"].clone()).collect::<Vec<_>>()
            )
        })
    };
    for action in [
        "tenant.create",
        "tenant.change",
        "key.create",
        "key.delete",
        "domain.add",
        "domain.token",
        "domain.verified",
        "domain.change",
        "settings.save",
        "proof.secret",
        "proof.window",
        "credential.create",
        "credential.delete",
        "queue.action",
    ] {
        find(action);
    }
    let change = find("settings.save");
    for (field, expect) in [
        ("actor", "owner"),
        ("role", "owner"),
        ("channel", "api"),
        ("login_method", "api-key"),
        ("client_address", "127.0.0.1"),
        ("result", "done"),
    ] {
        assert_eq!(change[field], expect, "{field}: {change}");
    }
    assert_eq!(change["changes"], json!([{"field": "delete_grace_days", "new": "7"}]));
    assert!(
        change["revision"].is_i64() && change["at"] == "2026-11-24T00:00:00.000Z",
        "{change}"
    );
    let tenant = find("tenant.change");
    assert_eq!(
        (&tenant["reason"], &tenant["changes"][0]["old"], &tenant["changes"][0]["new"]),
        (&json!("renamed"), &json!(""), &json!("Alpha"))
    );
    let text = log.to_string();
    assert!(!text.contains("hush-hush") && text.contains("********"), "secrets are masked");
    let system = ask(&world.operator, "GET", "/audit?tenant=system", json!(null)).await.unwrap();
    assert!(system["items"].to_string().contains("claim_lapse_s"), "{system}");
    let one = entries[0]["id"].as_str().unwrap();
    assert_eq!(
        ask(&world.operator, "DELETE", &format!("/audit/{one}"), json!(null))
            .await
            .unwrap_err()
            .status,
        404,
        "there is no way to delete one"
    );
    assert_eq!(ask(&world.operator, "DELETE", "/audit", json!(null)).await.unwrap_err().status, 405);
    world.stop().await;
}

/// A message that waits and is held by a person.
async fn hold_one(world: &World) {
    world
        .set_domain(json!({"inbound_servers": [{"host": "127.0.0.1", "port": world.peer.address.port()}]}))
        .await
        .unwrap();
    world
        .peer
        .script(|s| drop(s.recipients.insert("u@a.example".into(), "450 4.2.0 later".into())));
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &message("held"))
        .await
        .unwrap();
    world.events(&reply, "deferred").await;
    ask(
        &world.owner,
        "POST",
        "/queue/actions",
        json!({"action": "hold", "entries": [{"queue_id": queue_id(&reply)}]}),
    )
    .await
    .unwrap();
}

/// Whatever goes wrong is told in the language that the reader asked for, Japanese or English; without a word of theirs in English.
#[tokio::test]
async fn problems_speak_the_language_of_the_reader() {
    const JSON: &str = "application/json";
    let world = World::start().await;
    world.tenant("beta").await;
    let made = ask(&world.owner, "POST", "/tenants/alpha/keys", json!({"name": "ja", "role": "owner"})).await;
    let bearer = format!("Bearer {}", made.unwrap()["secret"].as_str().unwrap());
    let wrong = json!({"document": {"delete_grace_days": 91, "branding": {"colour": "red"}}}).to_string();
    let unknown = json!({"document": {"no_such_setting": 1}}).to_string();
    let import = format!("{PATH}/recipients/import");
    let file = "address\nx@other.example\n";
    for (method, path, media, body, english, japanese) in [
        ("GET", "/tenants/nobody", "", "", "no such tenant", "テナントが見つかりません。"),
        ("GET", "/nowhere", "", "", "no such resource", "リソースが見つかりません。"),
        (
            "PUT",
            PATH,
            JSON,
            "{}",
            "this address does not know this method",
            "このアドレスでは、このメソッドを使用できません。",
        ),
        (
            "PATCH",
            PATH,
            JSON,
            "{}",
            "missing field `settings`",
            "項目「settings」を指定してください。",
        ),
        (
            "PATCH",
            "/settings/alpha",
            JSON,
            wrong.as_str(),
            "branding.colour: a colour as #rrggbb; delete_grace_days: from 0 to 90, not 91",
            "branding.colour: 色は #rrggbb の形で指定してください。 delete_grace_days: 0～90 で指定してください（指定された値: 91）。",
        ),
        (
            "PATCH",
            "/settings/alpha",
            JSON,
            unknown.as_str(),
            "settings: unknown field `no_such_setting`",
            "settings: 「no_such_setting」という項目はありません。",
        ),
        (
            "POST",
            import.as_str(),
            "text/csv",
            file,
            "1 rows are wrong; nothing was imported",
            "1 行に誤りがあるため、何も取り込みませんでした。",
        ),
        (
            "POST",
            "/tenants",
            JSON,
            "{\"name\": \"x\"}",
            "the role owner may not do this",
            "ロール owner には、この操作の権限がありません。",
        ),
    ] {
        for (asked, told, expect) in [
            ("ja,en;q=0.5", "ja", japanese),
            ("en", "en", english),
            ("fr", "en", english),
            ("", "en", english),
        ] {
            let (head, document) = system::ask_in(&world, asked, &bearer, method, path, media, body).await;
            assert!(head.contains(&format!("\r\ncontent-language: {told}")), "{path}: {head}");
            assert!(head.contains("\r\nvary: accept-language"), "{path}: {head}");
            assert!(document["detail"].as_str().unwrap().starts_with(expect), "{path}: {document}");
        }
    }
    let (_, checked) = system::ask_in(&world, "ja", &bearer, "PATCH", "/settings/alpha", JSON, &wrong).await;
    assert_eq!(checked["problems"][0]["text"], "色は #rrggbb の形で指定してください。");
    let (_, rows) = system::ask_in(&world, "ja", &bearer, "POST", &import, "text/csv", file).await;
    let row = json!([{"line": 2, "text": "\"x@other.example\" は a.example のアドレスではありません。"}]);
    assert_eq!(rows["rows"], row);
    let (head, nobody) = system::ask_in(&world, "ja", "", "GET", "/whoami", "", "").await;
    assert!(
        head.starts_with("http/1.1 401 ") && nobody["detail"].as_str().unwrap().starts_with("API キーが必要です。"),
        "{nobody}"
    );
    let foreign = system::ask_in(&world, "ja", &bearer, "GET", "/tenants/beta", "", "").await.1;
    let nowhere = system::ask_in(&world, "ja", &bearer, "GET", "/tenants/nobody", "", "").await.1;
    assert_eq!(foreign.to_string(), nowhere.to_string());
    world.stop().await;
}

/// A restored revision neither ends nor revives what has calls of its own: relay credentials, proofs, domains.
#[tokio::test]
async fn a_restored_revision_keeps_secrets() {
    let world = World::start().await;
    let credential = async |name: &str| {
        ask(&world.owner, "POST", "/tenants/alpha/relay-credentials", json!({"name": name}))
            .await
            .unwrap()
    };
    credential("ended").await;
    let old = ask(&world.owner, "GET", "/settings/alpha", json!(null)).await.unwrap()["revision"].clone();
    ask(&world.owner, "DELETE", "/tenants/alpha/relay-credentials/ended", json!(null))
        .await
        .unwrap();
    credential("made").await;
    ask(&world.owner, "POST", "/tenants/alpha/proof/secrets", json!({})).await.unwrap();
    ask(&world.owner, "POST", &format!("/settings/alpha/revisions/{old}/restore"), json!({}))
        .await
        .unwrap();
    let names = ask(&world.owner, "GET", "/tenants/alpha/relay-credentials", json!(null))
        .await
        .unwrap();
    let names: Vec<_> = names.as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["made"]);
    let proof = ask(&world.owner, "GET", "/tenants/alpha/proof", json!(null)).await.unwrap();
    assert_eq!(proof["secrets"].as_array().unwrap().len(), 1, "{proof}");
    world.stop().await;
}

/// Another tenant's object is answered byte for byte like one that does not exist.
#[tokio::test]
async fn another_tenants_objects_do_not_exist() {
    let world = World::start().await;
    let beta = world.tenant("beta").await;
    let reply = world
        .client()
        .await
        .deliver("s@sender.example", &["u@a.example"], &message("private"))
        .await
        .unwrap();
    world.events(&reply, "delivered").await;
    let id = queue_id(&reply);
    for (method, theirs, nowhere) in [
        ("GET", "/tenants/alpha".to_owned(), "/tenants/nobody".to_owned()),
        ("GET", PATH.to_owned(), "/tenants/nobody/domains/a.example".to_owned()),
        ("DELETE", PATH.to_owned(), "/tenants/nobody/domains/a.example".to_owned()),
        ("PATCH", PATH.to_owned(), "/tenants/nobody/domains/a.example".to_owned()),
        ("GET", "/settings/alpha".to_owned(), "/settings/nobody".to_owned()),
        ("GET", "/tenants/alpha/keys".to_owned(), "/tenants/nobody/keys".to_owned()),
        ("GET", "/tenants/alpha/proof".to_owned(), "/tenants/nobody/proof".to_owned()),
        (
            "GET",
            "/tenants/alpha/relay-credentials".to_owned(),
            "/tenants/nobody/relay-credentials".to_owned(),
        ),
        (
            "GET",
            format!("{PATH}/recipients"),
            "/tenants/nobody/domains/a.example/recipients".to_owned(),
        ),
        ("GET", "/audit?tenant=alpha".to_owned(), "/audit?tenant=nobody".to_owned()),
        ("GET", "/tracking?tenant=alpha".to_owned(), "/tracking?tenant=nobody".to_owned()),
        ("GET", format!("/tracking/{id}"), "/tracking/0000000000000".to_owned()),
    ] {
        let body = match method {
            "PATCH" => json!({"settings": {}}),
            "DELETE" => json!({"confirm": DOMAIN}),
            _ => Value::Null,
        };
        let one = ask(&beta, method, &theirs, body.clone()).await.unwrap_err();
        let other = ask(&beta, method, &nowhere, body).await.unwrap_err();
        assert_eq!(
            (one.status, one.document.to_string()),
            (404, other.document.to_string()),
            "{method} {theirs}"
        );
    }
    let found = ask(&beta, "GET", &format!("/tracking?queue_id={id}"), json!(null)).await.unwrap();
    assert_eq!(found["items"], json!([]));
    let listed = ask(&beta, "GET", "/tenants", json!(null)).await.unwrap();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    world.stop().await;
}

/// Cells of the matrix of roles over HTTP: who may do what.
#[tokio::test]
async fn roles() {
    let world = World::start().await;
    world.domain("alpha", &world.owner, "b.example", world.peer.address).await;
    let support = ask(
        &world.operator,
        "POST",
        "/tenants/system/keys",
        json!({"name": "desk", "role": "support"}),
    )
    .await
    .unwrap();
    let support = world.key(support["secret"].as_str().unwrap());
    let admin = key(&world, "tenant-admin", Value::Null).await;
    let of_b = key(&world, "domain-admin", json!(["b.example"])).await;
    let auditor = key(&world, "auditor", Value::Null).await;
    let viewer = key(&world, "viewer", Value::Null).await;
    let user = key(&world, "user", Value::Null).await;
    let patch = json!({"settings": {"subaddress": "+"}});
    let b = "/tenants/alpha/domains/b.example";
    for (who, api, method, path, body, status) in [
        ("owner", &world.owner, "PATCH", PATH, patch.clone(), 200),
        ("tenant admin", &admin, "PATCH", PATH, patch.clone(), 200),
        ("domain admin, own", &of_b, "PATCH", b, patch.clone(), 200),
        ("domain admin, another", &of_b, "PATCH", PATH, patch.clone(), 404),
        ("domain admin, another", &of_b, "GET", PATH, Value::Null, 404),
        (
            "domain admin",
            &of_b,
            "POST",
            "/tenants/alpha/domains",
            json!({"name": "c.example"}),
            403,
        ),
        ("domain admin", &of_b, "PATCH", "/settings/alpha", json!({"document": {}}), 403),
        ("viewer", &viewer, "GET", PATH, Value::Null, 200),
        ("viewer", &viewer, "PATCH", PATH, patch.clone(), 403),
        ("viewer", &viewer, "GET", "/audit", Value::Null, 403),
        ("viewer", &viewer, "GET", "/tracking", Value::Null, 200),
        ("auditor", &auditor, "GET", "/audit", Value::Null, 200),
        ("auditor", &auditor, "GET", PATH, Value::Null, 403),
        ("auditor", &auditor, "GET", "/tracking", Value::Null, 200),
        ("user", &user, "GET", PATH, Value::Null, 403),
        (
            "user",
            &user,
            "POST",
            "/tenants/alpha/keys",
            json!({"name": "x", "role": "user"}),
            403,
        ),
        ("support", &support, "GET", "/tenants", Value::Null, 200),
        ("support", &support, "PATCH", "/tenants/alpha", json!({"title": "x"}), 403),
        ("support", &support, "PATCH", "/settings/system", json!({"document": {}}), 403),
        ("owner", &world.owner, "POST", "/tenants", json!({"name": "gamma"}), 403),
        ("owner", &world.owner, "GET", "/settings/system", Value::Null, 403),
        (
            "tenant admin grants owner",
            &admin,
            "POST",
            "/tenants/alpha/keys",
            json!({"name": "x", "role": "owner"}),
            403,
        ),
        (
            "tenant admin grants viewer",
            &admin,
            "POST",
            "/tenants/alpha/keys",
            json!({"name": "x", "role": "viewer"}),
            201,
        ),
        (
            "domain admin grants beyond",
            &of_b,
            "POST",
            "/tenants/alpha/keys",
            json!({"name": "x", "role": "domain-admin", "domains": ["a.example"]}),
            403,
        ),
    ] {
        match ask(api, method, path, body).await {
            Ok(_) => assert!(status < 300, "{who} {method} {path} passed, {status} expected"),
            Err(problem) => assert_eq!(problem.status, status, "{who} {method} {path}: {}", problem.document),
        }
    }
    let page = ask(&of_b, "GET", "/tenants/alpha/domains", json!(null)).await.unwrap();
    let names: Vec<&str> = page["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|d| d["name"].as_str())
        .collect();
    assert_eq!(names, ["b.example"]);
    world.stop().await;
}

/// Bad input is told as a problem document: a cursor that was tampered with, unknown fields, wrong types, wrong methods, bodies too large.
#[tokio::test]
async fn bad_input() {
    let world = World::start().await;
    for n in 0..3 {
        ask(
            &world.owner,
            "POST",
            "/tenants/alpha/domains",
            json!({"name": format!("n{n}.example")}),
        )
        .await
        .unwrap();
    }
    let page = ask(&world.owner, "GET", "/tenants/alpha/domains?limit=2", json!(null))
        .await
        .unwrap();
    let cursor = page["next"].as_str().unwrap().to_owned();
    let rest = ask(
        &world.owner,
        "GET",
        &format!("/tenants/alpha/domains?limit=2&cursor={cursor}"),
        json!(null),
    )
    .await
    .unwrap();
    assert_eq!((rest["items"].as_array().unwrap().len(), &rest["next"]), (2, &Value::Null));
    let flipped: String = cursor
        .chars()
        .rev()
        .enumerate()
        .map(|(i, c)| if i == 3 { if c == 'A' { 'B' } else { 'A' } } else { c })
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .collect();
    for bad in [flipped.as_str(), "AAAA", "%00", "1"] {
        assert_problem(
            ask(&world.owner, "GET", &format!("/tenants/alpha/domains?cursor={bad}"), json!(null)).await,
            400,
            "malformed",
        );
    }
    let elsewhere = ask(&world.owner, "GET", &format!("/tenants/alpha/keys?cursor={cursor}"), json!(null)).await;
    assert_problem(elsewhere, 400, "malformed");

    assert_checked(world.set_tenant(json!({"no_such_setting": 1})).await, &[("settings", "unknown")]);
    assert_problem(
        ask(&world.owner, "PATCH", PATH, json!({"settings": {}, "extra": 1})).await,
        422,
        "unknown",
    );
    assert_problem(
        ask(&world.owner, "PATCH", PATH, json!({"settings": {"outbound_enabled": "yes"}})).await,
        422,
        "malformed",
    );
    assert_problem(ask(&world.owner, "PATCH", PATH, json!([])).await, 422, "malformed");
    let raw = async |method: &str, path: &str, media: &str, body: &[u8]| {
        system::problem_of(
            world
                .owner
                .send(method.parse().unwrap(), &format!("/api/v1{path}"), media, body.to_vec())
                .await
                .map(|_| Value::Null),
        )
    };
    assert_problem(raw("PATCH", PATH, "application/json", b"{").await, 400, "malformed");
    assert_problem(raw("PATCH", PATH, "text/plain", b"{}").await, 415, "unsupported-media-type");
    assert_problem(raw("PUT", PATH, "application/json", b"{}").await, 405, "method-not-allowed");
    assert_problem(raw("GET", "/nowhere", "application/json", b"").await, 404, "not-found");
    let large = format!("{{\"settings\": {{\"note\": \"{}\"}}}}", "x".repeat(5 * 1_048_576));
    assert_problem(raw("PATCH", PATH, "application/json", large.as_bytes()).await, 413, "too-large");
    // Every problem at once, not the first alone.
    let many = json!({"inbound_servers": [{"host": "127.0.0.1", "port": world.peer.address.port(), "preference": 101, "connections_max": 0}], "own_rules": true});
    assert_checked(
        world.set_domain(many).await,
        &[
            ("own_rules", "not-available"),
            ("inbound_servers[0].preference", "out-of-range"),
            ("inbound_servers[0].connections_max", "out-of-range"),
        ],
    );
    let nobody = Api::new(Door::Url {
        url: format!("http://{}", world.address(ListenerRole::Api)),
        key: "mk_nonsense".into(),
    });
    assert_problem(ask(&nobody, "GET", "/tenants", json!(null)).await, 401, "unauthorized");
    world.stop().await;
}
