//! A house that sends: a.example has a network, both presets' ranges are set, mail for others goes to a next hop that keeps it.

use serde_json::{Value, json};
use system::{Plan, World, usual_extensions};
use testkit::client::{Client, ClientCertificate};
use testkit::peer::{Peer, Script};

/// Own server of the tenant, within its listed network.
pub(crate) const OWN: &str = "127.0.3.1";
/// An address that nobody listed.
pub(crate) const UNKNOWN: &str = "127.0.9.9";
/// In the range of Microsoft 365.
pub(crate) const MICROSOFT: &str = "127.0.5.1";
/// In the range of Google Workspace.
pub(crate) const GOOGLE: &str = "127.0.6.1";
/// A recipient elsewhere.
pub(crate) const OUTSIDE: &str = "v@far.example";

/// The world and the next hop for everyone elsewhere.
pub(crate) async fn sending() -> (World, Peer) {
    sending_with(Plan::default()).await
}

/// With a plan.
pub(crate) async fn sending_with(plan: Plan) -> (World, Peer) {
    let far = Peer::start(Script {
        extensions: usual_extensions(),
        ..Script::default()
    })
    .await;
    let zone = format!(
        "{}other.example. MX 10 mx.other.example.\nmx.other.example. A 127.0.0.1\n",
        plan.zone
    );
    let world = World::with(Plan { zone, ..plan }).await;
    let ranges = json!({"microsoft365": ["127.0.5.0/24"], "google_workspace": ["127.0.6.0/24"], "refresh": false});
    world.set_system(json!({"shared_ranges": ranges})).await.unwrap();
    let route = json!([{"domain": "*", "target": {"to": "smarthost", "host": "127.0.0.1", "port": far.address.port()}}]);
    world
        .set_domain(json!({"outbound_enabled": true, "outbound_networks": ["127.0.3.0/24"]}))
        .await
        .unwrap();
    world.set_tenant(json!({"outbound_routes": route})).await.unwrap();
    (world, far)
}

/// A message of `from`, perhaps with more header fields (each with CRLF).
pub(crate) fn mail_of(from: &str, more: &str) -> Vec<u8> {
    format!(
        "From: Somebody <{from}>\r\nTo: <{OUTSIDE}>\r\n{more}Subject: sending\r\nDate: Tue, 24 Nov 2026 00:00:00 +0000\r\nMessage-ID: <m@a.example>\r\n\r\nHello.\r\n"
    )
    .into_bytes()
}

/// A session from an address, EHLO said, perhaps with TLS and a client certificate.
pub(crate) async fn call(world: &World, from: &str, certificate: Option<&ClientCertificate>) -> Client {
    let client = world.client_from(from).await;
    match certificate {
        Some(_) => client.starttls(certificate).await.unwrap(),
        None => client,
    }
}

/// One message; the reply.
pub(crate) async fn send(world: &World, client: &str, reverse: &str, to: &str, sent: &[u8]) -> String {
    call(world, client, None).await.deliver(reverse, &[to], sent).await.unwrap()
}

/// Asserts that it was accepted and went this way; its events.
pub(crate) async fn went(world: &World, reply: &str, direction: &str) -> Vec<Value> {
    assert!(reply.starts_with("250 2.0.0 Accepted, queue id "), "{reply}");
    let events = world.events(reply, "delivered").await;
    let trace = system::ask(&world.owner, "GET", &format!("/tracking/{}", system::queue_id(reply)), json!(null))
        .await
        .unwrap();
    assert_eq!(trace["direction"], direction, "{trace}");
    events
}

/// Result of a check among events.
pub(crate) fn checked<'a>(events: &'a [Value], check: &str) -> Option<&'a str> {
    events
        .iter()
        .find(|e| e["e"] == "checked" && e["check"] == check)
        .and_then(|e| e["result"].as_str())
}

/// As a refusal stands for who may not relay.
pub(crate) fn not_allowed(client: &str) -> String {
    format!("554 5.7.1 <{client}>: Relay access denied: CLIENT-NOT-ALLOWED.")
}

/// As a refusal stands for an unknown sender or recipient domain.
pub(crate) const NO_DOMAIN: &str = "554 5.7.1 <v@far.example>: Recipient address rejected: NO-DOMAIN.";
/// As a refusal stands for mail of a shared range without proof.
pub(crate) const UNPROVEN: &str = "550 5.7.1 Sender not proven for a.example: TENANT-UNPROVEN.";
