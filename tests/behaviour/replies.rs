//! The reply catalogue: each reply provoked over a socket, looked at letter by letter, found again in tracking and on its page
//! (domains-and-routing 10).

mod recipient;
mod session;

use mail::Reason;
use mitsuke::client::Api;
use serde_json::{Value, json};
use system::{TENANT, World, ask, assert_checked, assert_refused, page};
use testkit::client::Client;
use transport::inbound::reply::{CATALOGUE, Form, Refusal};

/// Asserts the reply's form, and that tracking tells `who` of the refusal with the same reason and reply.
async fn check(world: &World, who: &Api, reply: &str, start: &str) {
    assert_refused(reply, start);
    assert!(reply.is_ascii(), "{reply}");
    let told = world.refusal(who, reply).await;
    let reason = start.trim_end_matches('.').rsplit(' ').next().unwrap();
    assert_eq!((told["reason"].as_str(), told["reply"].as_str()), (Some(reason), Some(reply)));
}

/// The operator alone is told.
async fn check_operators(world: &World, reply: &str, start: &str) {
    check(world, &world.operator, reply, start).await;
    let reference = reply.split("ref=").nth(1).unwrap().split(' ').next().unwrap();
    let seen = ask(&world.owner, "GET", &format!("/tracking?reference={reference}"), Value::Null)
        .await
        .unwrap();
    assert_eq!(seen["items"], json!([]), "{reply}");
}

/// A session of `source` with MAIL said; its reply must be 250.
async fn mail_from(world: &World, source: &str, sender: &str) -> Client {
    let mut client = world.client_from(source).await;
    let reply = client.say(&format!("MAIL FROM:<{sender}>")).await.unwrap();
    assert!(reply.starts_with("250 2.1.0 "), "{reply}");
    client
}

async fn rcpt(client: &mut Client, to: &str) -> String {
    client.say(&format!("RCPT TO:<{to}>")).await.unwrap()
}

async fn suspend(world: &World, state: &str) {
    ask(
        &world.operator,
        "PATCH",
        &format!("/tenants/{TENANT}"),
        json!({"state": state, "reason": "test"}),
    )
    .await
    .unwrap();
}

/// Every reply: one line of at most 512 octets in ASCII whose reference leads to its page, however long and strange the address.
/// covers: domains/10/no-domain
#[tokio::test]
async fn form_and_page() {
    let world = World::start().await;
    let mut client = world.client().await;
    client.say("MAIL FROM:<s@sender.example> SMTPUTF8").await.unwrap();
    let local = "x".repeat(64);
    let label = "y".repeat(60);
    for address in [
        format!("{local}@{label}.{label}.{label}.example"),
        format!("{}@{label}.{label}.{label}.example", "見".repeat(21)),
        "\"a\\\"b<script>\"@far.example".to_owned(),
        "a=?utf-8?q?b?=@far.example".to_owned(),
    ] {
        let reply = rcpt(&mut client, &address).await;
        assert!(
            reply.starts_with("554 5.7.1 <") && reply.is_ascii() && reply.len() + 2 <= 512,
            "{reply}"
        );
        let echoed = reply
            .strip_prefix("554 5.7.1 <")
            .unwrap()
            .split(">: Recipient address rejected: NO-DOMAIN. ref=")
            .next()
            .unwrap();
        assert!(echoed.len() <= 254, "{echoed}");
        let url = reply.rsplit(' ').next().unwrap();
        world.refusal(&world.operator, &reply).await;
        let (host, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        for (language, words) in [("ja", "lang=\"ja\""), ("en", "lang=\"en\"")] {
            let page = page(host, &format!("/{path}"), Some(language)).await;
            assert!(
                page.starts_with("HTTP/1.1 200") && page.contains(words) && page.contains("NO-DOMAIN"),
                "{page}"
            );
            assert!(
                !page.contains("far.example") && !page.contains("<script>"),
                "no address is shown: {page}"
            );
        }
    }
    world.stop().await;
}

/// What a later check would say is in the catalogue already, word for word.
fn is_in_catalogue(reason: Reason, replies: &[(&str, &str)]) {
    let rows: Vec<_> = CATALOGUE.iter().filter(|r| r.reason == reason).collect();
    assert_eq!(rows.len(), replies.len(), "{reason}");
    for (row, (status, text)) in rows.iter().zip(replies) {
        assert_eq!(
            (
                format!("{} {}.{}.{}", row.code, row.code / 100, row.subject, row.detail).as_str(),
                row.text
            ),
            (*status, *text),
            "{reason}"
        );
        let made = Refusal::new(reason)
            .with_form(row.form)
            .reply(mail::Reference::random(), "https://gate.example", &[])
            .to_string();
        assert!(made.contains(&format!(" {reason}. ref=")), "{made}");
    }
}

/// Settings of later checks are refused at saving, and nothing switches their replies; their texts stand.
/// refuses: domains/10/suppressed domains/10/user-disabled-mailbox-full domains/10/send-limit-from-not-allowed domains/10/ip-blocked
/// refuses: domains/10/ip-dnsbl domains/10/ip-reputation domains/10/no-iprev domains/10/greylist domains/10/sender-blocked
/// refuses: domains/10/spf-fail-dkim-fail domains/10/dmarc-reject domains/10/virus-spam-content domains/10/scan-unavailable-internal
#[tokio::test]
async fn later_replies() {
    let world = World::start().await;
    for field in [
        "suppression",
        "limit_day",
        "lists",
        "dnsbl",
        "reputation",
        "iprev",
        "greylist",
        "spf",
        "dkim",
        "dmarc",
        "virus",
        "spam",
        "content_rules",
        "scan_budget",
    ] {
        for answer in [
            world.set_tenant(json!({field: {"action": "reject"}})).await,
            world.set_domain(json!({field: {"action": "reject"}})).await,
        ] {
            let problem = answer.expect_err(field);
            assert_eq!(
                (problem.status, &problem.document["reason"]),
                (422, &json!("not-available")),
                "{field}: {}",
                problem.document
            );
        }
    }
    assert_checked(world.set_domain(json!({"kind": "hosted"})).await, &[("kind", "not-available")]);
    for reason in [
        "IP-BLOCKED",
        "IP-DNSBL",
        "IP-REPUTATION",
        "NO-IPREV",
        "SENDER-BLOCKED",
        "SPF-FAIL",
        "DKIM-FAIL",
        "SPAM",
        "CONTENT",
    ] {
        assert_checked(
            world.set_tenant(json!({"soft_reasons": [reason]})).await,
            &[("soft_reasons[0]", "not-available")],
        );
    }
    assert_checked(
        world.set_tenant(json!({"soft_reasons": ["NO-DOMAIN"]})).await,
        &[("soft_reasons[0]", "out-of-range")],
    );

    is_in_catalogue(
        Reason::Suppressed,
        &[("550 5.1.1", "{}: Recipient suppressed after earlier failures:")],
    );
    is_in_catalogue(Reason::UserDisabled, &[("550 5.2.1", "{}: Recipient disabled:")]);
    is_in_catalogue(
        Reason::MailboxFull,
        &[("452 4.2.2", "{}: Mailbox full:"), ("552 5.2.2", "{}: Mailbox full:")],
    );
    is_in_catalogue(
        Reason::SendLimit,
        &[("450 4.7.1", "Send limit reached:"), ("550 5.7.1", "Send limit reached:")],
    );
    is_in_catalogue(Reason::FromNotAllowed, &[("550 5.7.1", "header From not permitted:")]);
    is_in_catalogue(Reason::IpBlocked, &[("550 5.7.1", "{}: Client address rejected:")]);
    is_in_catalogue(Reason::IpReputation, &[("450 4.7.1", "{}: Temporarily rejected:")]);
    is_in_catalogue(Reason::NoIprev, &[("450 4.7.25", "{}: Reverse DNS rejected:")]);
    is_in_catalogue(Reason::Greylist, &[("451 4.7.1", "Greylisted, try again in {} s:")]);
    is_in_catalogue(Reason::SenderBlocked, &[("550 5.7.1", "{}: Sender address rejected:")]);
    is_in_catalogue(Reason::SpfFail, &[("550 5.7.23", "SPF check failed for {}:")]);
    is_in_catalogue(Reason::DkimFail, &[("550 5.7.20", "No passing DKIM signature for {}:")]);
    is_in_catalogue(Reason::DmarcReject, &[("550 5.7.1", "Rejected by DMARC policy of {}:")]);
    is_in_catalogue(Reason::Virus, &[("550 5.7.1", "Malicious content:")]);
    is_in_catalogue(Reason::Spam, &[("550 5.7.1", "Classified as spam:")]);
    is_in_catalogue(Reason::Content, &[("550 5.7.1", "Rejected by recipient policy:")]);
    is_in_catalogue(Reason::ScanUnavailable, &[("451 4.3.0", "Content check unavailable:")]);
    let listed = Refusal::listed("192.0.2.1".parse().unwrap(), &mail::Domain::parse("bl.example").unwrap());
    let made = listed.reply(mail::Reference::random(), "https://gate.example", &[]).to_string();
    assert!(
        made.starts_with("550 5.7.1 <192.0.2.1>: Listed by bl.example: IP-DNSBL. ref="),
        "{made}"
    );
    assert_eq!(
        CATALOGUE.iter().find(|r| r.reason == Reason::IpDnsbl).map(|r| r.form),
        Some(Form::Usual)
    );
    world.stop().await;
}
