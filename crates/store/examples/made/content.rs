//! What the measuring programs of the store write: the same messages in every run, of tenants 1 to 50 (small numbers have more).
#![allow(dead_code, reason = "each program uses a part")]

use bytes::Bytes;
use mail::{Address, Direction, Disposition, LaneId, MailParams, Notify, QueueId, Reason, ReversePath, TenantId, Timestamp};
use store::Store;
use store::spool::{Acceptance, Body, Entry, EntryState, Origin, Settlement, SpoolMessage, Variant};
use store::tracking::{AttachmentFacts, Event, Record, TlsFacts};

/// How many tenants there are.
pub(crate) const TENANTS: u64 = 50;

/// A small generator of numbers, the same in every run.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
    /// Small numbers more often than large ones.
    pub(crate) fn skewed(&mut self, sides: u64) -> u64 {
        self.roll(sides).min(self.roll(sides)).min(self.roll(sides))
    }
}

const JAPANESE: &[&str] = &[
    "見積書",
    "請求書",
    "会議",
    "議事録",
    "ご案内",
    "お知らせ",
    "契約",
    "送付",
    "確認",
    "依頼",
    "報告",
    "資料",
    "更新",
    "予定",
    "変更",
    "出張",
    "申請",
    "承認",
    "採用",
    "面接",
    "四半期",
    "予算",
    "売上",
    "在庫",
    "発注",
    "納品",
    "検収",
    "障害",
    "復旧",
    "メンテナンス",
];

fn subject(dice: &mut Dice) -> String {
    if dice.roll(2) == 1 {
        return (0..3 + dice.roll(5))
            .map(|_| format!("word{}", dice.skewed(5_000)))
            .collect::<Vec<_>>()
            .join(" ");
    }
    let mut text = String::new();
    for _ in 0..3 + dice.roll(3) {
        text.push_str(JAPANESE[dice.skewed(JAPANESE.len() as u64) as usize]);
        text.push_str(["の", "に関する", "", "について"][dice.roll(4) as usize]);
    }
    format!("{text} {}", dice.roll(100_000))
}

/// What the searches of one message are made of.
pub(crate) struct Made {
    pub(crate) tenant: u64,
    pub(crate) at: Timestamp,
    pub(crate) id: QueueId,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) message_id: String,
    pub(crate) client: std::net::Ipv4Addr,
    pub(crate) url_host: String,
}

pub(crate) fn made(dice: &mut Dice, id: QueueId) -> Made {
    let tenant = dice.skewed(TENANTS) + 1;
    made_for(tenant, dice, id)
}

/// The same of one tenant.
pub(crate) fn made_for(tenant: u64, dice: &mut Dice, id: QueueId) -> Made {
    Made {
        tenant,
        at: id.time(),
        id,
        from: format!(
            "user{}@dom{}.example.{}",
            dice.skewed(200),
            dice.skewed(20_000),
            ["com", "jp", "net"][dice.roll(3) as usize]
        ),
        to: recipient(tenant, dice),
        subject: subject(dice),
        message_id: format!("<{id}.{:x}@mail.example.net>", dice.roll(u64::MAX)),
        client: std::net::Ipv4Addr::from(0x2000_0000 + u32::try_from(dice.skewed(60_000)).unwrap() * 257),
        url_host: format!("www{}.example.org", dice.skewed(3_000)),
    }
}

fn recipient(tenant: u64, dice: &mut Dice) -> String {
    format!("staff{}@tenant{tenant}-{}.example.jp", dice.skewed(500), dice.skewed(4))
}

/// What the server writes when it has accepted a message.
pub(crate) fn accepted(m: &Made, dice: &mut Dice) -> Record {
    let size = 2_000 + dice.skewed(5_000_000);
    let name = format!("{}{}.pdf", JAPANESE[dice.roll(30) as usize], dice.roll(1_000));
    let attachment = AttachmentFacts {
        name,
        true_type: "application/pdf".into(),
        size,
        sha256: format!("{:064x}", dice.roll(u64::MAX)),
    };
    let host = format!("mail{}.example.net", dice.skewed(9_999));
    let connected = Event::Connected {
        client: m.client.into(),
        ptr: Some(host.clone()),
        iprev: "pass".into(),
        country: None,
        asn: None,
        listener: "0.0.0.0:25 mx".into(),
    };
    let tls = TlsFacts {
        version: "TLSv1.3".into(),
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        certificate: "none".into(),
        fingerprint: None,
    };
    let mut events = vec![connected];
    if dice.roll(3) > 0 {
        events.push(Event::Tls { tls });
    }
    events.extend([
        Event::MailFrom {
            hello: host,
            reverse_path: m.from.clone(),
            login: None,
        },
        Event::Rcpt {
            recipient: m.to.clone(),
            check: "directory: known".into(),
        },
        Event::Accepted {
            size,
            message_id: Some(m.message_id.clone()),
            from: vec![m.from.clone()],
            reply_to: vec![],
            to: vec![m.to.clone()],
            subject: Some(m.subject.clone()),
            date: Some("Tue, 24 Nov 2026 05:46:04 +0000".into()),
            attachments: if dice.roll(10) == 0 { vec![attachment] } else { vec![] },
            url_hosts: if dice.roll(2) == 0 { vec![m.url_host.clone()] } else { vec![] },
        },
        Event::Checked {
            check: "spf".into(),
            result: "pass".into(),
            evidence: Some("ip4:192.0.2.0/24".into()),
        },
        Event::Decided {
            recipient: m.to.clone(),
            disposition: Disposition::Relay,
            reason: None,
            revision: 12,
        },
        Event::Queued {
            recipient: m.to.clone(),
            due: m.at,
        },
    ]);
    record(m, events)
}

fn record(m: &Made, events: Vec<Event>) -> Record {
    Record {
        trace: m.id,
        tenant: tenant_id(m.tenant),
        direction: Some(Direction::Inbound),
        at: m.at,
        events,
    }
}

pub(crate) fn tenant_id(tenant: u64) -> TenantId {
    TenantId(i64::try_from(tenant).unwrap())
}

/// What it writes when the message has left.
pub(crate) fn ended(m: &Made, dice: &mut Dice) -> Record {
    let (to, host) = (m.to.clone(), format!("mx{}.tenant{}.example.jp", dice.roll(2), m.tenant));
    let attempt = Event::Attempt {
        recipients: vec![to.clone()],
        route: "row 1".into(),
        host: host.clone(),
        address: Some("198.51.100.7:25".into()),
        tls: None,
        policy: "opportunistic by default".into(),
        reply: "250 2.0.0 Ok: queued as 4ABC".into(),
        took_ms: 31,
    };
    let end = match dice.roll(100) {
        0..=2 => Event::Deferred {
            recipient: to,
            reason: Reason::NextHopFailed,
            reply: "connection refused".into(),
            due: m.at,
        },
        3..=4 => Event::Failed {
            recipient: to,
            reason: Reason::RemoteReply,
            reply: "550 5.1.1 no such user".into(),
        },
        _ => Event::Delivered {
            recipient: to,
            host,
            reply: "250 2.0.0 Ok: queued as 4ABC".into(),
            delay_ms: 44,
        },
    };
    record(m, vec![attempt, end])
}

/// A message that waits for its first attempt.
pub(crate) fn waiting(m: &Made, record: Record, body: &Bytes, due: Timestamp) -> Acceptance {
    let recipient = Address::parse(&m.to).unwrap();
    let tenant = tenant_id(m.tenant);
    let entry = Entry {
        queue_id: m.id,
        number: 0,
        tenant,
        lane: LaneId::of(tenant, recipient.domain().unwrap().as_str()),
        recipient,
        orcpt: None,
        notify: Notify::Default,
        variant: 0,
        state: EntryState::Queued,
        due,
        expires_at: Timestamp(due.0 + 864_000_000),
        delay_notice_at: None,
        attempts: 0,
        reason: None,
        last_reply: None,
        forced_next_hop: None,
    };
    let message = SpoolMessage {
        queue_id: m.id,
        tenant,
        direction: Direction::Inbound,
        reverse_path: ReversePath::Address(Address::parse(&m.from).unwrap()),
        params: MailParams::default(),
        needs_smtputf8: false,
        has_eight_bit: false,
        received_at: m.at,
        size: body.len() as u64,
        variants: vec![Variant {
            prefix: Bytes::from(vec![b'r'; 280]),
            edits: vec![],
        }],
        body: Body::Inline(body.clone()),
        dsn_suppressed: false,
        cause: None,
    };
    Acceptance {
        message,
        entries: vec![entry],
        record,
    }
}

/// Writes records and waits for the commit.
pub(crate) async fn put(store: &Store, records: Vec<Record>) {
    let settlements = records
        .into_iter()
        .map(|record| Settlement {
            queue_id: record.trace,
            origin: Origin::Person,
            changes: vec![],
            born: vec![],
            record,
        })
        .collect();
    // An empty control job hurries the commit along.
    let (told, hurried) = tokio::join!(store.mail.settle(settlements), store.mail.write_dyn(Box::new(|_| Ok(()))));
    told.and(hurried).unwrap();
}
