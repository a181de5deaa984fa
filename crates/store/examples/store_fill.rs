//! Fills the data directory of a server that does not run, through the store's own writer: for benchmarks of a store that is not empty.
//!
//! `store_fill DATA_DIR TRACES DEFERRED QUESTIONS`
//!
//! * TRACES finished messages in tracking, spread over the last thirty days, of tenants 1 to 50 (small numbers have more).
//! * DEFERRED messages in the queue, due in half an hour to four and a half hours, of the same tenants.
//! * QUESTIONS: a file; one line of JSON for each search over the traces: `{"kind", "tenant" (0: all), "query": {parameters of the API}}`.
//!
//! The tenants must exist. Same numbers, same content in every run; only the times move with the clock.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a measuring program"
)]

use bytes::Bytes;
use mail::{Address, Direction, Disposition, IdSource, LaneId, MailParams, Notify, QueueId, Reason, ReversePath, TenantId, Timestamp};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use store::Store;
use store::embedded::OpenOptions;
use store::spool::{Acceptance, Body, Entry, EntryState, Origin, Settlement, SpoolMessage, Variant};
use store::tracking::{AttachmentFacts, Event, Record, TlsFacts};

const TENANTS: u64 = 50;
const DAYS_MS: i64 = 30 * 86_400_000;
const BATCH: usize = 500;
/// Samples of each kind of search.
const SAMPLES: u64 = 30;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, data, traces, deferred, questions] = args.as_slice() else {
        panic!("store_fill DATA_DIR TRACES DEFERRED QUESTIONS")
    };
    let (traces, deferred) = (
        traces.parse().expect("a number of traces"),
        deferred.parse().expect("a number of entries"),
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open_embedded(&OpenOptions::below(Path::new(data), Arc::new(now))).expect("the server must not run");
        let start = Instant::now();
        let asked = fill_tracking(&store, traces).await;
        fill_queue(&store, deferred).await;
        std::fs::write(questions, asked).unwrap();
        store.mail.close().await.unwrap();
        println!(
            "    {traces} traces, {deferred} deferred messages in {:.0} s",
            start.elapsed().as_secs_f64()
        );
    });
}

fn now() -> Timestamp {
    Timestamp(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

/// A small generator of numbers, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
    /// Small numbers more often than large ones.
    fn skewed(&mut self, sides: u64) -> u64 {
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
struct Made {
    tenant: u64,
    at: Timestamp,
    id: QueueId,
    from: String,
    to: String,
    subject: String,
    message_id: String,
    client: std::net::Ipv4Addr,
    url_host: String,
}

fn made(dice: &mut Dice, id: QueueId) -> Made {
    let tenant = dice.skewed(TENANTS) + 1;
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
fn accepted(m: &Made, dice: &mut Dice) -> Record {
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

fn tenant_id(tenant: u64) -> TenantId {
    TenantId(i64::try_from(tenant).unwrap())
}

/// What it writes when the message has left.
fn ended(m: &Made, dice: &mut Dice) -> Record {
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

async fn fill_tracking(store: &Store, count: u64) -> Vec<u8> {
    let ids = IdSource::new(0);
    let mut dice = Dice(4_711);
    let (mut batch, mut late, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    let first = now().0 - DAYS_MS;
    let step = DAYS_MS / i64::try_from(count.max(1)).unwrap();
    for n in 0..count {
        let m = made(&mut dice, ids.queue_id(Timestamp(first + i64::try_from(n).unwrap() * step)));
        batch.push(accepted(&m, &mut dice));
        late.push(ended(&m, &mut dice));
        if n % (count / SAMPLES).max(1) == 0 {
            for question in questions(&m) {
                writeln!(asked, "{question}").unwrap();
            }
        }
        if batch.len() == BATCH || n + 1 == count {
            batch.append(&mut late);
            let settle = |record: Record| Settlement {
                queue_id: record.trace,
                origin: Origin::Person,
                changes: vec![],
                born: vec![],
                record,
            };
            let settlements = batch.drain(..).map(settle).collect();
            // An empty control job hurries the commit along.
            let (told, hurried) = tokio::join!(store.mail.settle(settlements), store.mail.write_dyn(Box::new(|_| Ok(()))));
            told.and(hurried).unwrap();
        }
    }
    asked
}

/// The mix of searches, all with what one real message says.
fn questions(m: &Made) -> Vec<Value> {
    let domain = |address: &str| format!("*@{}", address.rsplit('@').next().unwrap());
    let day = |offset_ms: i64| Timestamp(m.at.0 + offset_ms).to_rfc3339();
    let words: Vec<&str> = m.subject.split_whitespace().collect();
    let word: String = words[0].chars().take(6).collect();
    let staff = (0..100)
        .map(|n| format!("staff{n}@tenant{}-1.example.jp", m.tenant))
        .collect::<Vec<_>>()
        .join(",");
    let of_tenant = [
        ("newest", json!({})),
        ("recipient", json!({"recipient": m.to})),
        ("reverse path", json!({"reverse_path": m.from})),
        ("header From", json!({"from": m.from})),
        ("*@ domain of the sender", json!({"reverse_path": domain(&m.from)})),
        ("*@*.example.com", json!({"from": "*@*.example.com"})),
        ("Message-ID", json!({"message_id": m.message_id})),
        ("whole subject", json!({"subject": m.subject})),
        ("first word of the subject", json!({"subject": word})),
        ("last word of the subject", json!({"subject": words[words.len() - 1]})),
        ("two common subject words", json!({"subject": "見積書 請求書"})),
        ("subject not there", json!({"subject": "存在しない件名"})),
        ("subject word and recipient", json!({"subject": word, "recipient": domain(&m.to)})),
        ("client address", json!({"client": m.client.to_string()})),
        ("client /20", json!({"client": format!("{}/20", m.client)})),
        ("deferred", json!({"state": "deferred"})),
        (
            "failed, one week",
            json!({"state": "failed", "since": day(-604_800_000), "until": day(0)}),
        ),
        ("size 4.0 to 4.1 MB", json!({"size_min": 4_000_000, "size_max": 4_100_000})),
        ("in clear, attachment", json!({"tls": false, "attachment": "請求書"})),
        ("host of a link", json!({"url_host": m.url_host})),
        ("next hop", json!({"next_hop": format!("mx0.tenant{}.example.jp", m.tenant)})),
        ("queue id", json!({"queue_id": m.id.to_string()})),
        ("100 recipients", json!({"recipient": staff})),
    ];
    let of_operator = [
        ("operator: recipient", json!({"recipient": m.to})),
        ("operator: Message-ID", json!({"message_id": m.message_id})),
        ("operator: deferred", json!({"state": "deferred"})),
    ];
    let line = |tenant: u64| move |(kind, query): (&str, Value)| json!({"kind": kind, "tenant": tenant, "query": query});
    of_tenant
        .into_iter()
        .map(line(m.tenant))
        .chain(of_operator.into_iter().map(line(0)))
        .collect()
}

async fn fill_queue(store: &Store, count: u64) {
    let ids = IdSource::new(0);
    let mut dice = Dice(99);
    let body = Bytes::from(vec![b'x'; 2_000]);
    let start = now();
    let mut batch = Vec::new();
    for n in 0..count {
        let id = ids.queue_id(Timestamp(start.0 - 3_600_000 + i64::try_from(n % 3_000_000).unwrap()));
        let m = Made {
            id,
            at: id.time(),
            ..made(&mut dice, id)
        };
        let due = Timestamp(start.0 + 1_800_000 + i64::try_from(dice.roll(14_400_000)).unwrap());
        let record = accepted(&m, &mut dice);
        batch.push(waiting(&m, record, &body, due));
        if batch.len() == BATCH || n + 1 == count {
            store.mail.accept(std::mem::take(&mut batch)).await.unwrap();
        }
    }
}

/// A message whose first attempt failed.
fn waiting(m: &Made, record: Record, body: &Bytes, due: Timestamp) -> Acceptance {
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
        attempts: 1,
        reason: Some(Reason::NextHopFailed),
        last_reply: Some("connection refused".into()),
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
