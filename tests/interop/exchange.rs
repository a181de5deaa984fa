//! What each product must be able to do with us, as client and as next hop, in clear and with TLS.

use crate::product::{Kind, Product, Tls};
use serde_json::{Value, json};
use system::{Plan, TENANT, World, event, row_with};
use testkit::client::Client;
use testkit::peer::{Peer, Taken};

/// Another domain of the tenant, whose mail goes to the product.
const BEYOND: &str = "beyond.example";

async fn world() -> World {
    let zone = format!("{BEYOND}. NS ns.example.\n{BEYOND}. MX 10 alpha.in.mitsuke.example.\n");
    World::with(Plan { zone, ..Plan::default() }).await
}

/// World, product, and the peer behind it.
async fn scene(kind: Kind, tls: Tls) -> (World, Product, Peer) {
    let world = world().await;
    let onward = system::next_hop().await;
    let mx = world.address(config::node::ListenerRole::Mx);
    let onward_address = onward.address;
    let product = tokio::task::spawn_blocking(move || Product::start(kind, tls, mx, onward_address))
        .await
        .unwrap();
    world.domain(TENANT, &world.owner, BEYOND, product.address).await;
    (world, product, onward)
}

async fn session(product: &Product) -> Client {
    let mut client = Client::connect(product.address).await.unwrap();
    client.hello("client.sender.example").await.unwrap();
    client
}

fn message(subject: &str, kilobytes: usize) -> Vec<u8> {
    let mut out = format!("From: <s@sender.example>\r\nTo: <u@a.example>\r\nSubject: {subject}\r\nDate: Tue, 24 Nov 2026 00:00:00 +0000\r\nMessage-ID: <{subject}@sender.example>\r\n\r\n.dots\r\n..more dots\r\n").into_bytes();
    while out.len() < kilobytes * 1024 {
        out.extend_from_slice(b"a line of text that is of no interest but must arrive as it was sent, to the last octet\r\n");
    }
    out
}

/// The original stands whole at the end, behind what servers put in front.
fn assert_intact(taken: &Taken, sent: &[u8], what: &str) {
    assert!(
        taken.data.ends_with(sent),
        "{what} arrived changed: {}",
        String::from_utf8_lossy(&taken.data[..taken.data.len().min(2_000)])
    );
}

/// Sends through the product to us, with DSN parameters where it takes them; looks at what our next hop got.
async fn as_client(world: &World, product: &Product, tls: Tls, dsn: bool) {
    let sent = message("as-client", 300);
    let mut client = session(product).await;
    let (mail, rcpt) = if dsn {
        (" RET=HDRS ENVID=envelope1", " NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;u@a.example")
    } else {
        ("", "")
    };
    for command in [
        format!("MAIL FROM:<s@sender.example>{mail}"),
        format!("RCPT TO:<u@a.example>{rcpt}"),
    ] {
        let reply = client.say(&command).await.unwrap();
        assert!(reply.starts_with("250"), "{command}: {reply}");
    }
    let reply = client.data(&sent).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let taken = world.peer.wait(1).await.remove(0);
    assert_intact(&taken, &sent, "what the product sent us");
    if dsn {
        assert!(
            taken.mail.contains("ENVID=envelope1") && taken.mail.contains("RET=HDRS"),
            "{}",
            taken.mail
        );
        assert!(
            taken.rcpts[0].contains("NOTIFY=SUCCESS,FAILURE") && taken.rcpts[0].contains("ORCPT=rfc822;u@a.example"),
            "{}",
            taken.rcpts[0]
        );
    }
    let page: Value = world.owner.get("/api/v1/tracking?recipient=u@a.example").await.unwrap();
    let events = page["items"][0]["events"].as_array().unwrap().clone();
    assert_eq!(events.iter().any(|e| e["e"] == "tls"), tls != Tls::Off, "{events:?}");
}

/// A recipient whom we refuse comes back from the product as a bounce with our reason.
async fn refused(world: &World, product: &Product, onward: &Peer) {
    let list = "address\r\nu@a.example\r\n".as_bytes().to_vec();
    world
        .owner
        .send(
            hyper::Method::POST,
            "/api/v1/tenants/alpha/domains/a.example/recipients/import",
            "text/csv",
            list,
        )
        .await
        .unwrap();
    world.set_domain(json!({"recipient_mode": "directory"})).await.unwrap();
    let mut client = session(product).await;
    let reply = client
        .deliver("s@sender.example", &["nobody@a.example"], &message("refused", 1))
        .await
        .unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let bounce = onward.wait(1).await.remove(0);
    assert!(bounce.mail.contains("FROM:<>"), "{}", bounce.mail);
    let text = String::from_utf8_lossy(&bounce.data).replace("\r\n ", " ").replace("\r\n", "");
    assert!(
        text.contains("USER-UNKNOWN"),
        "{}: {}",
        product.log(),
        String::from_utf8_lossy(&bounce.data)
    );
}

/// We send to the product; it hands on to the peer behind it.
async fn as_next_hop(world: &World, product: &Product, onward: &Peer, tls: Tls, dsn: bool) {
    let row = match tls {
        Tls::Off => row_with(product.address, json!({"tls": "none"})),
        Tls::BrokenServer => row_with(product.address, json!({"tls": "opportunistic"})),
        Tls::Required => row_with(product.address, json!({"tls": "pinned", "pins": [product.pin]})),
    };
    let path = format!("/api/v1/tenants/{TENANT}/domains/{BEYOND}");
    world
        .owner
        .json(hyper::Method::PATCH, &path, Some(&json!({"settings": {"inbound_servers": [row]}})))
        .await
        .unwrap();
    let before = onward.taken().len();
    let sent = message("to-next-hop", 5 * 1024);
    let mut client = world.client().await;
    for command in [
        "MAIL FROM:<s@sender.example> RET=HDRS ENVID=envelope2",
        "RCPT TO:<u@beyond.example> NOTIFY=SUCCESS,FAILURE",
    ] {
        let reply = client.say(command).await.unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    let reply = client.data(&sent).await.unwrap();
    let events = world.events(&reply, "delivered").await;
    let attempt = event(&events, "attempt");
    assert_eq!(!attempt["tls"].is_null(), tls == Tls::Required, "{attempt}");
    let all = onward.wait(before + 1).await;
    let taken = all
        .iter()
        .find(|t| t.data.ends_with(&sent))
        .unwrap_or_else(|| panic!("the 5 MB did not come through whole: {}", product.log()));
    if dsn {
        assert!(taken.mail.contains("ENVID=envelope2"), "{}", taken.mail);
        assert!(taken.rcpts[0].contains("NOTIFY=SUCCESS,FAILURE"), "{}", taken.rcpts[0]);
    }
}

/// An address in UTF-8 comes from the product to us and goes on (RFC 6531).
async fn utf8(world: &World, product: &Product) {
    let before = world.peer.taken().len();
    let mut client = session(product).await;
    let reply = client.say("MAIL FROM:<送信者@sender.example> SMTPUTF8").await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let reply = client.say("RCPT TO:<u@a.example>").await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let sent = message("utf8", 1);
    let reply = client.data(&sent).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let taken = world.peer.wait(before + 1).await.pop().unwrap();
    assert!(
        taken.mail.contains("送信者@sender.example") && taken.mail.contains("SMTPUTF8"),
        "{}",
        taken.mail
    );
    assert_intact(&taken, &sent, "mail of a sender in UTF-8");
}

async fn everything(kind: Kind, tls: Tls, dsn: bool, has_utf8: bool) {
    let (world, product, onward) = scene(kind, tls).await;
    as_client(&world, &product, tls, dsn).await;
    as_next_hop(&world, &product, &onward, tls, dsn).await;
    if has_utf8 {
        utf8(&world, &product).await;
    }
    world.stop().await;
}

async fn bounce(kind: Kind) {
    let (world, product, onward) = scene(kind, Tls::Off).await;
    refused(&world, &product, &onward).await;
    world.stop().await;
}

/// Postfix as client and next hop, in clear: DSN parameters, SMTPUTF8, 5 MB. (Postfix 3.7 sends no BDAT.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_postfix_in_clear() {
    everything(Kind::Postfix, Tls::Off, true, true).await;
}

/// Postfix with TLS required on both ways; its key is pinned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_postfix_with_tls() {
    everything(Kind::Postfix, Tls::Required, true, true).await;
}

/// Postfix bounces what we refuse, with our reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_postfix_bounces_what_is_refused() {
    bounce(Kind::Postfix).await;
}

/// Exim as client and next hop, in clear: BDAT, DSN parameters, SMTPUTF8, 5 MB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_exim_in_clear() {
    everything(Kind::Exim, Tls::Off, true, true).await;
}

/// Exim with TLS required on both ways; its key is pinned.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_exim_with_tls() {
    everything(Kind::Exim, Tls::Required, true, true).await;
}

/// Exim bounces what we refuse, with our reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_exim_bounces_what_is_refused() {
    bounce(Kind::Exim).await;
}

/// OpenSMTPD as client and next hop, in clear. (It has no SMTPUTF8 and no BDAT, and hands no DSN parameters on.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_opensmtpd_in_clear() {
    everything(Kind::OpenSmtpd, Tls::Off, false, false).await;
}

/// OpenSMTPD sends with TLS required. As a server its handshake fails with Debian 12's OpenSSL, whoever calls: we go on in clear, as
/// `opportunistic` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_opensmtpd_with_tls() {
    everything(Kind::OpenSmtpd, Tls::BrokenServer, false, false).await;
}

/// OpenSMTPD bounces what we refuse, with our reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interop_opensmtpd_bounces_what_is_refused() {
    bounce(Kind::OpenSmtpd).await;
}
