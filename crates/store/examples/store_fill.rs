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

#[path = "made/content.rs"]
mod content;

use bytes::Bytes;
use content::{Dice, Made, accepted, ended, made, put, waiting};
use mail::{IdSource, Reason, Timestamp};
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use store::Store;
use store::embedded::OpenOptions;
use store::spool::Acceptance;

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
            put(store, std::mem::take(&mut batch)).await;
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
        batch.push(deferred(waiting(&m, record, &body, due)));
        if batch.len() == BATCH || n + 1 == count {
            store.mail.accept(std::mem::take(&mut batch)).await.unwrap();
        }
    }
}

/// Its first attempt failed.
fn deferred(mut acceptance: Acceptance) -> Acceptance {
    for entry in &mut acceptance.entries {
        entry.attempts = 1;
        entry.reason = Some(Reason::NextHopFailed);
        entry.last_reply = Some("connection refused".into());
    }
    acceptance
}
