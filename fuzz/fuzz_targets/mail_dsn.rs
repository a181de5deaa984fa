//! Delivery status notifications: what peers, senders and messages say adds no field, no line and no part.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::dsn::{Kind, Original, RecipientStatus, Report, Reported};
use mail::mime::{Limits, Scanner};
use mail::text::Lang;
use mail::{Address, EnhancedStatus, QueueId, Timestamp};

pub fn fuzz_dsn(data: &[u8]) {
    let Some((&split, octets)) = data.split_first() else { return };
    let (said, original) = octets.split_at(usize::from(split).min(octets.len()));
    let said = String::from_utf8_lossy(said);
    let (Ok(from), Ok(to)) = (Address::parse("mailer-daemon@mx.example"), Address::parse("ann@sender.example")) else {
        return;
    };
    let recipient = RecipientStatus {
        kind: Kind::Failed,
        original_recipient: Some(&said),
        final_recipient: &to,
        status: EnhancedStatus {
            class: 5,
            subject: 0,
            detail: 0,
        },
        remote_mta: Some(&said),
        diagnostic: Some(&said),
        will_retry_until: None,
        reason: None,
        last_attempt: None,
    };
    for original in [Original::Header(original), Original::Full(original)] {
        let message = Reported {
            queue_id: QueueId::from_i64(1),
            arrived_at: Timestamp(0),
            envid: Some(&said),
            subject: Some(&said),
            message_id: Some(&said),
            recipients: vec![recipient.clone()],
            original,
        };
        let report = Report {
            from: &from,
            to: &to,
            at: Timestamp(0),
            message_id: "1@mx.example",
            boundary: "b0undary",
            reporting_mta: "mx.example",
            first: Lang::Ja,
            messages: &[message],
        };
        let dsn = report.build();
        assert!(
            dsn.bytes
                .split_inclusive(|b| *b == b'\n')
                .all(|l| l.ends_with(b"\r\n") && l.len() <= 1_000)
        );
        let mut scanner = Scanner::new(Limits::default(), &[]);
        scanner.push(&dsn.bytes);
        let facts = scanner.finish();
        assert!(facts.from_fields == 1 && facts.fields <= 11 && facts.has_eight_bit == dsn.has_eight_bit);
    }
}

fuzz_target!(|data: &[u8]| fuzz_dsn(data));
