use super::*;
use crate::IdSource;

fn transmission(letters: &str) -> Transmission {
    Transmission {
        extended: letters.contains('e'),
        tls: letters.contains('s'),
        authenticated: letters.contains('a'),
        smtputf8: letters.contains('u'),
    }
}

fn client<'a>(hello: &'a str, letters: &str) -> Client<'a> {
    Client {
        hello,
        address: "192.0.2.1".parse().unwrap(),
        name: None,
        tls: None,
        transmission: transmission(letters),
    }
}

fn received<'a>(client: Client<'a>, recipient: Option<&'a Address>) -> Received<'a> {
    let at = Timestamp(1_795_499_164_000);
    Received {
        client: Some(client),
        by: "mx.example",
        queue_id: QueueId::from_i64(0x1234_5678_9abc_def0),
        recipient,
        at,
    }
}

fn key() -> StampKey {
    StampKey::new(&[7; 32])
}

#[test]
fn protocol_names() {
    for (letters, name) in [
        ("", "SMTP"),
        ("e", "ESMTP"),
        ("es", "ESMTPS"),
        ("ea", "ESMTPA"),
        ("esa", "ESMTPSA"),
        ("eu", "UTF8SMTP"),
        ("eus", "UTF8SMTPS"),
        ("eua", "UTF8SMTPA"),
        ("eusa", "UTF8SMTPSA"),
    ] {
        assert_eq!(transmission(letters).protocol(), name, "{letters}");
    }
}

#[test]
fn the_whole_field() {
    let rcpt = Address::parse("taro@example.com").unwrap();
    let mut from = client("client.example", "es");
    from.name = Some("ptr.example");
    from.address = "2001:db8::1".parse().unwrap();
    from.tls = Some(("TLSv1.3", "TLS_AES_256_GCM_SHA384"));
    let field = received(from, Some(&rcpt)).to_field(&key());
    let (front, stamp) = field.split_once("(mitsuke-stamp ").unwrap();
    assert_eq!(
        front,
        "Received: from client.example (ptr.example [IPv6:2001:db8::1])\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384)\r\n\t\
         by mx.example (Mitsuke) with ESMTPS\r\n\tid 14d2pf2dbsqqg "
    );
    assert_eq!(
        stamp.split_once(')').unwrap().1,
        "\r\n\tfor <taro@example.com>;\r\n\tTue, 24 Nov 2026 05:46:04 +0000\r\n"
    );
}

#[test]
fn hello_cannot_break_out() {
    let check = |hello: &str, expect: &str| {
        let field = received(client(hello, "e"), None).to_field(&key());
        assert!(
            field.starts_with(&format!("Received: from {expect} ([192.0.2.1])\r\n\tby ")),
            "{field}"
        );
        assert!(field.is_ascii());
        assert_eq!(fields(field.as_bytes()).count(), 1);
    };
    check("a\r\nBcc: x", "a??Bcc:?x");
    check("a) by evil (", "a??by?evil??");
    check("", "unknown");
    check("[192.0.2.9]", "[192.0.2.9]");
    check("見附.example", "xn--nw2ao4w.example");
    check("見 附", "???");
    check(&"a".repeat(2_000), &"a".repeat(255));
}

#[test]
fn recipients_in_utf8_only_with_smtputf8() {
    let rcpt = Address::parse("太郎@example.com").unwrap();
    assert!(!received(client("c.example", "e"), Some(&rcpt)).to_field(&key()).contains("for <"));
    assert!(
        received(client("c.example", "eu"), Some(&rcpt))
            .to_field(&key())
            .contains("for <太郎@example.com>")
    );
}

#[test]
fn own_passes_are_counted() {
    let ids = IdSource::new(0);
    let at = Timestamp(1_795_499_164_000);
    let mut header = String::from("Subject: x\r\n");
    for n in 1..=6 {
        let own = Received {
            queue_id: ids.queue_id(at),
            client: None,
            by: "mx.example",
            recipient: None,
            at,
        };
        header.insert_str(0, &own.to_field(&key()));
        header.insert_str(0, "Received: from a by b; Tue, 24 Nov 2026 05:46:04 +0000\r\n");
        assert_eq!(passes(header.as_bytes(), &key()), Passes { received: 2 * n, own: n });
        assert_eq!(stamp_count(header.as_bytes(), &StampKey::new(b"another")), 0);
        assert_eq!(received_count(header.as_bytes()), 2 * n);
    }
}

#[test]
fn stamps_that_do_not_count() {
    let field = received(client("c.example", "e"), None).to_field(&key());
    let check = |header: &str, expect: usize| assert_eq!(stamp_count(header.as_bytes(), &key()), expect, "{header}");
    check(&field, 1);
    check(&field.replace("\r\n\t", " "), 1);
    check(&field.replace("\r\n\t", "\r\n        "), 1);
    check(&field.replace("Received:", "RECEIVED :"), 1);
    check(&format!("{field}{field}"), 1);
    check(&field.replace("05:46:04", "05:46:05"), 0);
    check(&field.replace("14d2pf2dbsqqg", "14d2pf2dbsqqh"), 0);
    check(&field.replace("(mitsuke-stamp ", "(mitsuke-stamp 0"), 0);
    check(&field.replace("Received:", "X-Received:"), 0);
    check(&format!("Subject: x\r\n\r\n{field}"), 0);
    check("Received: (mitsuke-stamp é)", 0);
}
