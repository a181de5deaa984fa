//! Proof of tenant: which of a provider's customers sends? (domains-and-routing 6.3)

use super::sending::{
    GOOGLE, MICROSOFT, NO_DOMAIN, OUTSIDE, OWN, UNKNOWN, UNPROVEN, call, checked, mail_of, not_allowed, send, sending, sending_with, went,
};
use serde_json::json;
use std::time::Duration;
use system::{Plan, World, ask, assert_checked, assert_problem, assert_refused, queue_id};
use testkit::client::ClientCertificate;

const OWN_FROM: &str = "u@a.example";

async fn presets(world: &World) {
    world
        .set_domain(json!({"outbound_microsoft365": true, "outbound_google_workspace": true}))
        .await
        .unwrap();
}

async fn secret(world: &World) -> String {
    ask(&world.owner, "POST", "/tenants/alpha/proof/secrets", json!({})).await.unwrap()["secret"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn with_secret(secret: &str) -> Vec<u8> {
    mail_of(OWN_FROM, &format!("X-Mitsuke-Proof: {secret}\r\n"))
}

/// A signature of some domain, as a verifier would find it.
fn signed(domain: &str) -> Vec<u8> {
    mail_of(
        OWN_FROM,
        &format!(
            "DKIM-Signature: v=1; a=rsa-sha256; d={domain}; s=sel; c=relaxed/relaxed; h=from;\r\n\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA\r\n"
        ),
    )
}

/// DKIM is no proof before its check is there: mail from a shared range with nothing but a signature stays unproven, whatever the signature says.
/// covers: domains/6.3/dkim-pass domains/6.3/microsoft-365-range domains/6.3/microsoft-365-range.2
#[tokio::test]
async fn a_signature_proves_nothing_yet() {
    let (world, far) = sending().await;
    presets(&world).await;
    for domain in ["a.example", "other.onmicrosoft.com", "a-example.20260101.gappssmtp.com"] {
        for client in [MICROSOFT, GOOGLE] {
            let reply = send(&world, client, OWN_FROM, OUTSIDE, &signed(domain)).await;
            assert_refused(&reply, UNPROVEN);
            let refusal = world.refusal(&world.owner, &reply).await;
            assert_eq!(refusal["reason"], "TENANT-UNPROVEN", "in the claimed tenant's tracking");
        }
    }
    let search = ask(&world.owner, "GET", "/tracking?reason=TENANT-UNPROVEN", json!(null))
        .await
        .unwrap();
    assert!(!search.to_string().contains("\"subject\""), "without content: {search}");
    assert!(far.taken().is_empty());
    world.stop().await;
}

/// The secret header proves the tenant and leaves with nobody; two secrets are good at a time; a wrong, an old or a doubled one proves nothing.
/// covers: domains/6.3/secret-header-x-mitsuke-proof
#[tokio::test]
async fn secret_header() {
    let (world, far) = sending().await;
    presets(&world).await;
    let first = secret(&world).await;
    assert!(first.len() == 32 && first.bytes().all(|b| b.is_ascii_alphanumeric()), "{first}");
    let second = secret(&world).await;
    let mut count = 0;
    for (client, secret) in [(MICROSOFT, &first), (MICROSOFT, &second), (GOOGLE, &first)] {
        let reply = send(&world, client, OWN_FROM, OUTSIDE, &with_secret(secret)).await;
        let events = went(&world, &reply, "outbound").await;
        assert_eq!(checked(&events, "proof"), Some("secret-header"));
        assert!(events.iter().any(|e| e["e"] == "modified"), "{events:?}");
        count += 1;
        let data = String::from_utf8(far.wait(count).await[count - 1].data.clone()).unwrap();
        assert!(
            !data.to_ascii_lowercase().contains("x-mitsuke-proof") && !data.contains(secret.as_str()),
            "{data}"
        );
        assert!(
            data.ends_with(&String::from_utf8(mail_of(OWN_FROM, "")).unwrap()),
            "all else as it came: {data}"
        );
    }
    let doubled = mail_of(OWN_FROM, &format!("X-Mitsuke-Proof: {first}\r\nX-Mitsuke-Proof: {first}\r\n"));
    for sent in [
        doubled,
        with_secret("wrong"),
        with_secret(&first.to_ascii_lowercase()),
        mail_of(OWN_FROM, ""),
    ] {
        assert_refused(&send(&world, MICROSOFT, OWN_FROM, OUTSIDE, &sent).await, UNPROVEN);
    }
    let third = secret(&world).await;
    assert_refused(&send(&world, MICROSOFT, OWN_FROM, OUTSIDE, &with_secret(&first)).await, UNPROVEN);
    for secret in [&second, &third] {
        went(
            &world,
            &send(&world, MICROSOFT, OWN_FROM, OUTSIDE, &with_secret(secret)).await,
            "outbound",
        )
        .await;
    }
    world.clock.advance(Duration::from_secs(61));
    let mut shown = json!(null);
    world
        .soon("what was seen is listed", async || {
            shown = ask(&world.owner, "GET", "/tenants/alpha/proof", json!(null)).await.unwrap();
            shown["seen"]
                .as_array()
                .is_some_and(|seen| seen.iter().any(|s| s["kind"] == "header" && s["domain"] == "a.example"))
        })
        .await;
    let heads = shown["secrets"].as_array().unwrap().clone();
    assert_eq!(heads.len(), 2);
    assert!(!shown.to_string().contains(&third), "not shown again");
    ask(
        &world.owner,
        "DELETE",
        &format!("/tenants/alpha/proof/secrets/{}", heads[1].as_str().unwrap()),
        json!(null),
    )
    .await
    .unwrap();
    assert_refused(&send(&world, MICROSOFT, OWN_FROM, OUTSIDE, &with_secret(&third)).await, UNPROVEN);
    // An own server needs no proof, and the header leaves all the same.
    went(
        &world,
        &send(&world, OWN, OWN_FROM, OUTSIDE, &with_secret(&second)).await,
        "outbound",
    )
    .await;
    assert!(!String::from_utf8_lossy(&far.wait(6).await[5].data).contains(&second));
    world.stop().await;
}

/// Microsoft's tenant id counts only behind Microsoft's own certificate, verified by a CA, and only once.
/// covers: domains/6.3/provider-tenant-id-header
#[tokio::test]
async fn provider_tenant_id() {
    const ID: &str = "01234567-89ab-cdef-0123-456789abcdef";
    let microsoft = ClientCertificate::new(&["mail.protection.outlook.com"]);
    let stranger = ClientCertificate::new(&["mail.protection.outlook.com"]);
    let other = ClientCertificate::new(&["mail.protection.outlook.com.evil.example"]);
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    std::fs::write(&roots, format!("{}{}", microsoft.pem, other.pem)).unwrap();
    let (world, _far) = sending_with(Plan {
        node: format!("[tls]\nroots = [\"{}\"]\n", roots.display()),
        ..Plan::default()
    })
    .await;
    presets(&world).await;
    assert_checked(
        world.set_tenant(json!({"proof": {"microsoft_tenant_ids": ["nonsense"]}})).await,
        &[("proof.microsoft_tenant_ids[0]", "malformed")],
    );
    world.set_tenant(json!({"proof": {"microsoft_tenant_ids": [ID]}})).await.unwrap();
    let field = format!("X-MS-Exchange-CrossTenant-Id: {ID}\r\n");
    let with_id = mail_of(OWN_FROM, &field);
    let send_as = async |client: &str, certificate: Option<&ClientCertificate>, sent: &[u8]| {
        call(&world, client, certificate)
            .await
            .deliver(OWN_FROM, &[OUTSIDE], sent)
            .await
            .unwrap()
    };
    let events = went(&world, &send_as(MICROSOFT, Some(&microsoft), &with_id).await, "outbound").await;
    assert_eq!(checked(&events, "proof"), Some("provider-tenant-id"));
    for (client, certificate, sent) in [
        (MICROSOFT, None, with_id.clone()),
        (MICROSOFT, Some(&stranger), with_id.clone()),
        (MICROSOFT, Some(&other), with_id.clone()),
        (GOOGLE, Some(&microsoft), with_id.clone()),
        (MICROSOFT, Some(&microsoft), mail_of(OWN_FROM, &format!("{field}{field}"))),
        (MICROSOFT, Some(&microsoft), mail_of(OWN_FROM, &field.replace("0123", "4567"))),
        (MICROSOFT, Some(&microsoft), mail_of(OWN_FROM, "")),
    ] {
        assert_refused(&send_as(client, certificate, &sent).await, UNPROVEN);
    }
    world.stop().await;
}

/// A registered certificate proves an own server; presented from a shared range it proves nothing, since all customers share the machines.
/// covers: domains/6.3/tls-client-certificate domains/6.3/unknown-address
#[tokio::test]
async fn client_certificate() {
    let registered = ClientCertificate::new(&["relay.a.example"]);
    let other = ClientCertificate::new(&["relay.a.example"]);
    let (world, _far) = sending().await;
    presets(&world).await;
    world
        .set_domain(json!({"outbound_certificates": [registered.fingerprint]}))
        .await
        .unwrap();
    let send_as = async |client: &str, certificate: Option<&ClientCertificate>| {
        call(&world, client, certificate)
            .await
            .deliver(OWN_FROM, &[OUTSIDE], &mail_of(OWN_FROM, ""))
            .await
            .unwrap()
    };
    let events = went(&world, &send_as(UNKNOWN, Some(&registered)).await, "outbound").await;
    assert_eq!(
        (checked(&events, "source"), checked(&events, "proof")),
        (Some("certificate"), Some("certificate"))
    );
    assert_refused(&send_as(UNKNOWN, None).await, &not_allowed(UNKNOWN));
    assert_refused(&send_as(UNKNOWN, Some(&other)).await, &not_allowed(UNKNOWN));
    for client in [MICROSOFT, GOOGLE] {
        assert_refused(&send_as(client, Some(&registered)).await, UNPROVEN);
    }
    world.stop().await;
}

/// An address alone is enough outside shared ranges and never inside them, even when it was listed before the range was known.
/// covers: domains/6.3/ip-alone domains/6.3/listed-network
#[tokio::test]
async fn address_alone() {
    let (world, _far) = sending().await;
    let sent = mail_of(OWN_FROM, "");
    let events = went(&world, &send(&world, OWN, OWN_FROM, OUTSIDE, &sent).await, "outbound").await;
    assert_eq!(
        (checked(&events, "source"), checked(&events, "proof")),
        (Some("network"), Some("address"))
    );
    for inside in ["127.0.5.1/32", "127.0.6.0/25", "127.0.0.0/16"] {
        let answer = world.set_domain(json!({"outbound_networks": [inside]})).await;
        let problem = assert_problem(answer, 422, "forbidden");
        assert_eq!(problem["problems"][0]["at"], "domains.a.example.outbound_networks[0]", "{problem}");
    }
    presets(&world).await;
    let ranges = json!({"microsoft365": ["127.0.5.0/24", "127.0.3.0/24"], "google_workspace": ["127.0.6.0/24"]});
    world.set_system(json!({"shared_ranges": ranges})).await.unwrap();
    assert_refused(&send(&world, OWN, OWN_FROM, OUTSIDE, &sent).await, UNPROVEN);
    world.stop().await;
}

/// With its preset off a provider's range is no source, whatever the message shows.
/// covers: domains/6.3/google-workspace-range-preset-off
#[tokio::test]
async fn preset_off() {
    let (world, _far) = sending().await;
    world.set_domain(json!({"outbound_microsoft365": true})).await.unwrap();
    let secret = secret(&world).await;
    for sent in [with_secret(&secret), signed("a.example"), mail_of(OWN_FROM, "")] {
        assert_refused(&send(&world, GOOGLE, OWN_FROM, OUTSIDE, &sent).await, &not_allowed(GOOGLE));
    }
    went(
        &world,
        &send(&world, MICROSOFT, OWN_FROM, OUTSIDE, &with_secret(&secret)).await,
        "outbound",
    )
    .await;
    world.stop().await;
}

/// With a null reverse path header From names the tenant; the secret proves it and is taken out.
/// covers: domains/6.3/microsoft-365-range.3
#[tokio::test]
async fn null_reverse_path() {
    let (world, far) = sending().await;
    presets(&world).await;
    let secret = secret(&world).await;
    let sent = mail_of("postmaster@a.example", &format!("X-Mitsuke-Proof: {secret}\r\n"));
    went(&world, &send(&world, MICROSOFT, "", OUTSIDE, &sent).await, "outbound").await;
    let taken = far.wait(1).await;
    assert!(taken[0].mail.starts_with("MAIL FROM:<>"), "{}", taken[0].mail);
    assert!(!String::from_utf8_lossy(&taken[0].data).contains(&secret));
    assert_refused(
        &send(&world, MICROSOFT, "", OUTSIDE, &mail_of("postmaster@a.example", "")).await,
        UNPROVEN,
    );
    assert_refused(
        &send(
            &world,
            MICROSOFT,
            "",
            OUTSIDE,
            &mail_of("x@other.example", &format!("X-Mitsuke-Proof: {secret}\r\n")),
        )
        .await,
        NO_DOMAIN,
    );
    world.stop().await;
}

/// Forwarded mail of a listed network has no proof before DKIM and ARC are checked: it is refused, signed or not.
/// covers: domains/6.3/listed-network.2
#[tokio::test]
async fn forwarded_mail() {
    let (world, far) = sending().await;
    let unsigned = mail_of("x@other.example", "");
    let signed = String::from_utf8(signed("other.example"))
        .unwrap()
        .replace("u@a.example", "x@other.example")
        .into_bytes();
    for sent in [unsigned, signed] {
        assert_refused(&send(&world, OWN, "x@other.example", OUTSIDE, &sent).await, NO_DOMAIN);
        assert_refused(&send(&world, OWN, OWN_FROM, OUTSIDE, &sent).await, NO_DOMAIN);
    }
    assert!(far.taken().is_empty());
    world.stop().await;
}

/// An address that nobody listed relays nothing for a foreign reverse path.
/// covers: domains/6.3/unknown-address.2
#[tokio::test]
async fn unknown_address() {
    let (world, _far) = sending().await;
    for from in ["x@other.example", OWN_FROM] {
        assert_refused(
            &send(&world, UNKNOWN, "x@other.example", OUTSIDE, &mail_of(from, "")).await,
            NO_DOMAIN,
        );
        assert_refused(&send(&world, UNKNOWN, "", OUTSIDE, &mail_of(from, "")).await, NO_DOMAIN);
    }
    assert_refused(
        &send(&world, UNKNOWN, OWN_FROM, OUTSIDE, &mail_of(OWN_FROM, "")).await,
        &not_allowed(UNKNOWN),
    );
    world.stop().await;
}

/// Unproven mail of a shared range whose recipients all lie in accepted domains is inbound; with one recipient elsewhere it is refused.
/// covers: domains/6.3/microsoft-365-range-preset-on
#[tokio::test]
async fn unproven_to_accepted_domains() {
    let (world, _far) = sending().await;
    presets(&world).await;
    let reply = send(&world, MICROSOFT, OWN_FROM, "w@a.example", &mail_of(OWN_FROM, "")).await;
    let events = went(&world, &reply, "inbound").await;
    assert_eq!(checked(&events, "proof"), None);
    assert!(world.peer.wait(1).await[0].rcpts[0].starts_with("RCPT TO:<w@a.example>"));
    let mixed = call(&world, MICROSOFT, None)
        .await
        .deliver(OWN_FROM, &["w@a.example", OUTSIDE], &mail_of(OWN_FROM, ""))
        .await
        .unwrap();
    assert_refused(&mixed, UNPROVEN);
    world.stop().await;
}

/// A source brings mail of others by MX too: foreign or null reverse path, all recipients in accepted domains.
/// covers: domains/6.3/listed-network.3
#[tokio::test]
async fn a_source_brings_mail_by_mx() {
    let (world, _far) = sending().await;
    for reverse in ["x@sender.example", ""] {
        let reply = send(&world, OWN, reverse, "w@a.example", &mail_of("x@sender.example", "")).await;
        went(&world, &reply, "inbound").await;
    }
    assert_eq!(world.peer.wait(2).await.len(), 2);
    world.stop().await;
}

/// A stranger with the tenant's own name to the tenant itself is inbound mail; whether it is a spoof is judged elsewhere.
/// covers: domains/6.3/unknown-address.3
#[tokio::test]
async fn a_spoof_is_inbound() {
    let (world, _far) = sending().await;
    let reply = send(&world, UNKNOWN, OWN_FROM, "w@a.example", &mail_of(OWN_FROM, "")).await;
    went(&world, &reply, "inbound").await;
    world.stop().await;
}

/// While the set-up window is open, 20 small messages with one recipient pass unproven, the provider's validation among them.
/// covers: domains/6.3/microsoft-365-range-set-up-window-open
#[tokio::test]
async fn set_up_window() {
    let (world, far) = sending().await;
    presets(&world).await;
    world
        .set_tenant(json!({"provider_domains": ["name.onmicrosoft.com"]}))
        .await
        .unwrap();
    let validation = "O365ConnectorValidation@name.onmicrosoft.com";
    let try_it = async || send(&world, MICROSOFT, validation, OUTSIDE, &mail_of(validation, "")).await;
    let unproven = "550 5.7.1 Sender not proven for name.onmicrosoft.com: TENANT-UNPROVEN.";
    assert_refused(&try_it().await, unproven);
    assert_problem(
        ask(&world.owner, "POST", "/tenants/alpha/proof/window", json!({"minutes": 61})).await,
        400,
        "malformed",
    );
    ask(&world.owner, "POST", "/tenants/alpha/proof/window", json!({})).await.unwrap();
    let shown = ask(&world.owner, "GET", "/tenants/alpha/proof", json!(null)).await.unwrap();
    assert_eq!(shown["window_until"], "2026-11-24T01:00:00.000Z", "{shown}");
    let first = try_it().await;
    let events = went(&world, &first, "outbound").await;
    assert_eq!(checked(&events, "proof"), Some("setup-window"));

    let two = call(&world, MICROSOFT, None)
        .await
        .deliver(validation, &[OUTSIDE, "w@far.example"], &mail_of(validation, ""))
        .await
        .unwrap();
    assert_refused(&two, unproven);
    let mut large = mail_of(validation, "");
    while large.len() <= 100 * 1_024 {
        large.extend_from_slice(b"a line of a message that is larger than the window lets through\r\n");
    }
    assert_refused(&send(&world, MICROSOFT, validation, OUTSIDE, &large).await, unproven);
    for n in 1..20 {
        let reply = try_it().await;
        assert!(reply.starts_with("250 "), "message {n}: {reply}");
    }
    assert_refused(&try_it().await, unproven);
    far.wait(20).await;
    assert!(!queue_id(&first).is_empty());

    ask(&world.owner, "POST", "/tenants/alpha/proof/window", json!({"minutes": 5}))
        .await
        .unwrap();
    world.clock.advance(Duration::from_secs(299));
    assert!(try_it().await.starts_with("250 "), "a new window counts from nothing");
    world.clock.advance(Duration::from_secs(2));
    assert_refused(&try_it().await, unproven);
    ask(&world.owner, "POST", "/tenants/alpha/proof/window", json!({})).await.unwrap();
    ask(&world.owner, "DELETE", "/tenants/alpha/proof/window", json!(null))
        .await
        .unwrap();
    assert_refused(&try_it().await, unproven);
    world.stop().await;
}
