use super::*;
use crate::header::{decode_text, find};
use crate::mime::{Facts, Limits, Scanner};
use proptest::prelude::*;

const AT: Timestamp = Timestamp(1_795_499_164_000);

fn address(text: &str) -> Address {
    Address::parse(text).unwrap()
}

fn status<'a>(kind: Kind, to: &'a Address) -> RecipientStatus<'a> {
    RecipientStatus {
        kind,
        original_recipient: None,
        final_recipient: to,
        status: EnhancedStatus {
            class: 5,
            subject: 1,
            detail: 1,
        },
        remote_mta: Some("mx.partner.example"),
        diagnostic: Some("550 5.1.1 no such user"),
        will_retry_until: None,
        reason: Some(Reason::RemoteReply),
        last_attempt: Some(AT),
    }
}

fn reported<'a>(recipients: Vec<RecipientStatus<'a>>, original: Original<'a>) -> Reported<'a> {
    Reported {
        queue_id: QueueId::from_i64(0x1234_5678_9abc_def0),
        arrived_at: AT,
        envid: Some("QQ314159"),
        subject: Some("見積書の件"),
        message_id: Some("<1@example.com>"),
        recipients,
        original,
    }
}

fn build(to: &Address, messages: &[Reported<'_>]) -> Dsn {
    let from = address("mailer-daemon@mx.example");
    let report = Report {
        from: &from,
        to,
        at: AT,
        message_id: "dsn-1@mx.example",
        boundary: "b0undary",
        reporting_mta: "mx.example",
        first: Lang::Ja,
        messages,
    };
    report.build()
}

fn facts(octets: &[u8]) -> Facts {
    let mut scanner = Scanner::new(Limits::default(), &[]);
    scanner.push(octets);
    scanner.finish()
}

fn text(dsn: &Dsn) -> String {
    String::from_utf8_lossy(&dsn.bytes).into_owned()
}

/// The body of the n-th part, as it stands.
fn part(dsn: &Dsn, number: usize) -> String {
    let all = text(dsn);
    let part = all.split("--b0undary\r\n").nth(number).unwrap();
    let body = part.split_once("\r\n\r\n").unwrap().1.split("--b0undary--").next().unwrap();
    body.strip_suffix("\r\n").unwrap().to_owned()
}

fn human(dsn: &Dsn) -> String {
    let mut out = Vec::new();
    crate::mime::decode::base64_lenient(part(dsn, 1).as_bytes(), &mut out);
    String::from_utf8(out).unwrap()
}

fn check_form(dsn: &Dsn) {
    for line in dsn.bytes.split_inclusive(|b| *b == b'\n') {
        assert!(
            line.ends_with(b"\r\n") && line.len() <= 1_000,
            "{:?}",
            String::from_utf8_lossy(line)
        );
    }
    let facts = facts(&dsn.bytes);
    assert_eq!(facts.problems, []);
    assert_eq!(facts.auto_submitted.as_deref(), Some("auto-replied"));
    assert_eq!(facts.has_eight_bit, dsn.has_eight_bit);
    assert_eq!(facts.header_has_utf8, dsn.needs_smtputf8);
}

#[test]
fn a_failure_with_the_header_section() {
    let (sender, taro) = (address("ann@sender.example"), address("taro@partner.example"));
    let original = b"Subject: x\r\nX-Long: y\r\n\r\nbody\r\n";
    let mut recipient = status(Kind::Failed, &taro);
    recipient.original_recipient = Some("rfc822;Taro@Old.example");
    let dsn = build(&sender, &[reported(vec![recipient], Original::Header(original))]);
    check_form(&dsn);
    assert!(dsn.bytes.is_ascii() && !dsn.has_eight_bit && !dsn.needs_smtputf8);
    let all = text(&dsn);
    assert!(all.starts_with("From: =?utf-8?B?"));
    assert!(all.contains("To: <ann@sender.example>\r\n"));
    assert!(all.contains("Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"b0undary\"\r\n"));
    assert!(all.contains("In-Reply-To: <1@example.com>\r\n"));
    let subject = decode_text(find(&dsn.bytes, "Subject").unwrap().raw);
    assert_eq!(subject, "メールを配送できませんでした / Message could not be delivered");
    assert_eq!(
        part(&dsn, 2),
        "Reporting-MTA: dns; mx.example\r\nOriginal-Envelope-Id: QQ314159\r\nX-Mitsuke-Queue-Id: 14d2pf2dbsqqg\r\n\
         Arrival-Date: Tue, 24 Nov 2026 05:46:04 +0000\r\n\r\n\
         Original-Recipient: rfc822; Taro@Old.example\r\nFinal-Recipient: rfc822; taro@partner.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\
         Remote-MTA: dns; mx.partner.example\r\nDiagnostic-Code: smtp; 550 5.1.1 no such user\r\n\
         Last-Attempt-Date: Tue, 24 Nov 2026 05:46:04 +0000\r\nX-Mitsuke-Reason: REMOTE-REPLY\r\n"
    );
    assert_eq!(part(&dsn, 3), "Subject: x\r\nX-Long: y\r\n");
    let human = human(&dsn);
    for expect in [
        "配送できませんでした",
        "could not be delivered",
        "件名: 見積書の件",
        "mx.partner.example の応答",
        "550 5.1.1 no such user",
        "Taro@Old.example",
        "REMOTE-REPLY",
    ] {
        assert!(human.contains(expect), "{expect}: {human}");
    }
    assert!(human.find("配送").unwrap() < human.find("could not").unwrap());
}

#[test]
fn kinds() {
    let (sender, taro) = (address("ann@sender.example"), address("taro@partner.example"));
    for (kind, word) in [
        (Kind::Failed, "failed"),
        (Kind::Delayed, "delayed"),
        (Kind::Delivered, "delivered"),
        (Kind::Relayed, "relayed"),
    ] {
        let mut recipient = status(kind, &taro);
        recipient.will_retry_until = Some(AT);
        let dsn = build(&sender, &[reported(vec![recipient], Original::None)]);
        check_form(&dsn);
        let machine = part(&dsn, 2);
        assert!(machine.contains(&format!("Action: {word}\r\n")), "{machine}");
        assert_eq!(machine.contains("Will-Retry-Until"), kind == Kind::Delayed);
        assert!(human(&dsn).contains(&text::get(Lang::Ja, &format!("dsn.{word}.intro"), &[])));
        assert_eq!(facts(&dsn.bytes).parts, 2);
    }
    // The worst kind gives the subject.
    let mixed = vec![
        status(Kind::Delivered, &taro),
        status(Kind::Failed, &taro),
        status(Kind::Relayed, &taro),
    ];
    let subject = decode_text(
        find(&build(&sender, &[reported(mixed, Original::None)]).bytes, "Subject")
            .unwrap()
            .raw,
    );
    assert!(subject.contains("could not be delivered"));
}

#[test]
fn originals() {
    let (sender, taro) = (address("ann@sender.example"), address("taro@partner.example"));
    let sjis = encoding_rs::SHIFT_JIS.encode("Subject: 見積\r\n\r\nbody\r\n").0.into_owned();
    let long = [b"X: ".as_slice(), &[b'a'; 2_000], b"\r\n\r\nbody\r\n"].concat();
    let huge = b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".repeat(3_000);
    let full_huge = [b"Subject: x\r\n\r\n".as_slice(), &b"line\r\n".repeat(300_000)].concat();
    let check = |original: Original<'_>, expect_type: &str, expect_encoding: &str, eight_bit: bool| {
        let dsn = build(&sender, &[reported(vec![status(Kind::Failed, &taro)], original)]);
        check_form(&dsn);
        let all = text(&dsn);
        let head = all.split("--b0undary\r\n").nth(3).unwrap().split("\r\n\r\n").next().unwrap();
        assert!(
            head.contains(&format!("Content-Type: {expect_type}\r\n")) && head.ends_with(&format!("Encoding: {expect_encoding}")),
            "{head}"
        );
        assert_eq!(dsn.has_eight_bit, eight_bit);
        dsn.bytes.len()
    };
    check(Original::Header(b"Subject: x\r\n\r\nbody"), "text/rfc822-headers", "7bit", false);
    check(
        Original::Header("Subject: 件名\r\n\r\n".as_bytes()),
        "message/global-headers",
        "quoted-printable",
        false,
    );
    check(Original::Header(&sjis), "text/rfc822-headers", "quoted-printable", false);
    check(Original::Header(&long), "text/rfc822-headers", "quoted-printable", false);
    assert!(check(Original::Header(&huge), "text/rfc822-headers", "7bit", false) < HEADER_BYTES_MAX + 4_096);
    check(Original::Full(b"Subject: x\r\n\r\nbody\r\n"), "message/rfc822", "7bit", false);
    check(
        Original::Full("Subject: x\r\n\r\n本文\r\n".as_bytes()),
        "message/rfc822",
        "8bit",
        true,
    );
    check(
        Original::Full("Subject: 件名\r\n\r\n本文\r\n".as_bytes()),
        "message/global",
        "base64",
        false,
    );
    check(Original::Full(&long), "text/rfc822-headers", "quoted-printable", false);
    check(
        Original::Full(b"Subject: x\r\n\r\nbare\nline\r\n"),
        "text/rfc822-headers",
        "7bit",
        false,
    );
    assert!(check(Original::Full(&full_huge), "text/rfc822-headers", "7bit", false) < 8_192);
}

#[test]
fn a_boundary_that_occurs_is_not_used() {
    let (sender, taro) = (address("ann@sender.example"), address("taro@partner.example"));
    let original = b"Subject: x\r\n\r\n--b0undary\r\n--b0undaryx--\r\n";
    let dsn = build(&sender, &[reported(vec![status(Kind::Failed, &taro)], Original::Full(original))]);
    assert!(text(&dsn).contains("boundary=\"b0undaryxx\""));
    assert_eq!(facts(&dsn.bytes).parts, 3);
}

#[test]
fn addresses_in_utf8() {
    let (sender, taro) = (address("花子@sender.example"), address("太郎@partner.example"));
    let mut recipient = status(Kind::Failed, &taro);
    recipient.original_recipient = Some("utf-8;太郎@old.example");
    recipient.diagnostic = Some("550 いません");
    let dsn = build(&sender, &[reported(vec![recipient], Original::None)]);
    check_form(&dsn);
    assert!(dsn.needs_smtputf8 && !dsn.has_eight_bit);
    assert!(text(&dsn).contains("Content-Type: message/global-delivery-status\r\n"));
    let mut machine = Vec::new();
    for line in part(&dsn, 2).lines() {
        let mut decoder = crate::mime::decode::QuotedPrintable::default();
        if decoder.line(line.as_bytes(), crate::mime::decode::LineEnd::Here, &mut machine) == crate::mime::decode::LineBreak::Hard {
            machine.extend_from_slice(b"\r\n");
        }
    }
    let machine = String::from_utf8(machine).unwrap();
    assert!(
        machine.contains("Original-Recipient: utf-8; 太郎@old.example\r\nFinal-Recipient: utf-8; 太郎@partner.example\r\n"),
        "{machine}"
    );
    assert!(machine.contains("Diagnostic-Code: smtp; 550 いません\r\n"));
}

#[test]
fn several_messages_in_one_report() {
    let (sender, taro) = (address("ann@sender.example"), address("taro@partner.example"));
    let messages: Vec<_> = (0..120)
        .map(|_| reported(vec![status(Kind::Failed, &taro)], Original::Full(b"X: y\r\n\r\n")))
        .collect();
    let dsn = build(&sender, &messages);
    check_form(&dsn);
    assert_eq!(facts(&dsn.bytes).parts, 2);
    assert_eq!(part(&dsn, 2).matches("Action: failed").count(), 120);
    assert!(!part(&dsn, 2).contains("Original-Envelope-Id"));
    let human = human(&dsn);
    assert!(human.contains("120 通") && human.contains("and 20 more messages"));
    assert!(!text(&dsn).contains("In-Reply-To"));
}

proptest! {
    /// Whatever a peer or a sender says, it adds no field, no line and no part.
    #[test]
    fn nothing_breaks_out(said in any::<String>(), subject in "\\PC{0,300}|(\r\n|-|b0undary|a){0,40}", header in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (sender, taro) = (address("ann@sender.example"), address("taro@partner.example"));
        let recipient = RecipientStatus {
            diagnostic: Some(&said),
            remote_mta: Some(&said),
            original_recipient: Some(&said),
            ..status(Kind::Failed, &taro)
        };
        let mut message = reported(vec![recipient], Original::Header(&header));
        message.subject = Some(&subject);
        message.envid = Some(&said);
        message.message_id = Some(&subject);
        let dsn = build(&sender, &[message]);
        check_form(&dsn);
        let facts = facts(&dsn.bytes);
        prop_assert_eq!((facts.parts, facts.fields, facts.from_fields), (3, facts.fields.clamp(9, 11), 1));
    }
}
