//! Measures the store alone: `store_bench accept [messages]`, `store_bench search [traces]`, `store_bench queue [entries]`.
//!
//! * accept: CPU and time per message (10 kB, accepted, then delivered) with 1, 20 and 100 sessions.
//! * search: fills so many traces, then asks a printed mix of queries; p50, p95, worst of each kind.
//! * queue: so many deferred entries, then opening, `lanes`, `due`, and memory.
//!
//! With `BENCH_URL=postgresql://…` the other engine, in an empty database. The folder is `$BENCH_DIR` or the system's temporary one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a measuring program"
)]

#[path = "made/content.rs"]
mod content;

use bytes::Bytes;
use content::{Dice, ended, made, made_for, put, waiting};
use mail::{IdSource, Reason, Reference, TenantId, Timestamp};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::Store;
use store::embedded::OpenOptions;
use store::spool::{Change, Origin, Settlement};
use store::tracking::{Event, Query, Record, Scope};

const START: i64 = 1_793_000_000_000;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let count: Option<u64> = args.get(2).and_then(|n| n.parse().ok());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    match args.get(1).map(String::as_str) {
        Some("accept") => runtime.block_on(accept(count.unwrap_or(20_000) as usize)),
        Some("search") => runtime.block_on(search(count.unwrap_or(1_000_000))),
        Some("queue") => runtime.block_on(queue(count.unwrap_or(1_000_000))),
        _ => eprintln!("store_bench accept|search|queue [count]"),
    }
}

fn folder(name: &str) -> PathBuf {
    let base = std::env::var_os("BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    base.join(format!("mitsuke-store-bench-{name}-{}", std::process::id()))
}

fn open(folder: &std::path::Path) -> Store {
    let now = Arc::new(|| Timestamp(START));
    if let Ok(url) = std::env::var("BENCH_URL") {
        let options = store::pg::PgOptions {
            url,
            blobs_dir: std::env::temp_dir().join("mitsuke-store-bench-blobs"),
            now,
            node_name: "bench".into(),
            lease: store::pg::LEASE,
        };
        return Store::open_postgres(&options).unwrap();
    }
    Store::open_embedded(&OpenOptions::below(folder, now)).unwrap()
}

/// Seconds of CPU of this process, and its resident memory in MB.
fn usage() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    (ticks / 100.0, fields[21].parse::<f64>().unwrap() * 4096.0 / 1e6)
}

async fn accept(count: usize) {
    println!("{ACCEPT_TABLE}");
    for sessions in [1usize, 20, 100] {
        let folder = folder("accept");
        let store = open(&folder);
        accept_by(&store, sessions, count, START).await;
        store.mail.close().await.unwrap();
        let _ = std::fs::remove_dir_all(folder);
    }
}

const ACCEPT_TABLE: &str = "sessions |  msg/s | CPU us/msg | p99 of accept, ms | MB";

/// `origin`: when the messages are said to come.
async fn accept_by(store: &Store, sessions: usize, count: usize, origin: i64) {
    let ids = Arc::new(IdSource::new(0));
    let body = Bytes::from(vec![b'x'; 10_000]);
    let each = count / sessions;
    let (cpu, start) = (usage().0, Instant::now());
    let local = tokio::task::LocalSet::new();
    let tasks: Vec<_> = (0..sessions)
        .map(|n| {
            let (store, ids, body) = (store.clone(), Arc::clone(&ids), body.clone());
            local.spawn_local(session(store, ids, body, each, n as u64, origin))
        })
        .collect();
    let mut waits = Vec::new();
    local
        .run_until(async {
            for task in tasks {
                waits.extend(task.await.unwrap());
            }
        })
        .await;
    let (wall, cpu) = (start.elapsed().as_secs_f64(), usage().0 - cpu);
    waits.sort_unstable();
    let done = (each * sessions) as f64;
    println!(
        "{sessions:8} | {:6.0} | {:10.1} | {:17.2} | {:.0}",
        done / wall,
        cpu * 1e6 / done,
        waits[waits.len() * 99 / 100].as_secs_f64() * 1e3,
        usage().1
    );
}

async fn session(store: Store, ids: Arc<IdSource>, body: Bytes, count: usize, seed: u64, origin: i64) -> Vec<Duration> {
    let start = Instant::now();
    let mut dice = Dice(seed * 7919 + 17);
    let mut waits = Vec::with_capacity(count);
    let mut settling = Vec::new();
    for _ in 0..count {
        let id = ids.queue_id(Timestamp(origin + start.elapsed().as_millis() as i64));
        let in_data = store.mail.in_data();
        tokio::task::yield_now().await;
        let m = made_for(2, &mut dice, id);
        let record = content::accepted(&m, &mut dice);
        let asked = Instant::now();
        store.mail.accept(vec![waiting(&m, record, &body, Timestamp(START))]).await.unwrap();
        drop(in_data);
        waits.push(asked.elapsed());
        let record = ended(&m, &mut dice);
        let settlement = Settlement {
            queue_id: id,
            origin: Origin::Attempt,
            changes: vec![(0, Change::Remove)],
            born: vec![],
            record,
        };
        let store = store.clone();
        settling.push(tokio::task::spawn_local(async move { store.mail.settle(vec![settlement]).await }));
        if settling.len() >= 200 {
            for task in settling.drain(..) {
                task.await.unwrap().unwrap();
            }
        }
    }
    for task in settling {
        task.await.unwrap().unwrap();
    }
    waits
}

async fn search(count: u64) {
    let folder = folder("search");
    let store = open(&folder);
    let ids = IdSource::new(0);
    let mut dice = Dice(4711);
    let (cpu, start) = (usage().0, Instant::now());
    // Thirty days, each trace with its end one batch later.
    let step = 30 * 86_400_000 / count as i64;
    let mut late: Vec<Record> = Vec::new();
    let mut samples = Vec::new();
    let mut batch = Vec::new();
    for n in 0..count {
        let m = made(&mut dice, ids.queue_id(Timestamp(START + n as i64 * step)));
        let record = content::accepted(&m, &mut dice);
        late.push(ended(&m, &mut dice));
        if n % (count / 200).max(1) == 0 {
            samples.push(record.clone());
        }
        batch.push(record);
        if batch.len() == 500 || n + 1 == count {
            batch.append(&mut late);
            put(&store, std::mem::take(&mut batch)).await;
        }
    }
    let filled = start.elapsed().as_secs_f64();
    println!(
        "{count} traces written in {filled:.0} s, {:.1} us CPU each (records made, written, indexed until here); {:.0} MB",
        (usage().0 - cpu) * 1e6 / count as f64,
        usage().1
    );
    let idle = Instant::now();
    loop {
        let before = usage().0;
        tokio::time::sleep(Duration::from_millis(500)).await;
        if usage().0 - before < 0.02 {
            break;
        }
    }
    println!(
        "indexer at rest after {:.1} s more, {:.1} us CPU each in all",
        idle.elapsed().as_secs_f64(),
        (usage().0 - cpu) * 1e6 / count as f64
    );
    for name in ["mitsuke.db", "index.db"] {
        println!("{name}: {} MB", std::fs::metadata(folder.join(name)).unwrap().len() / 1_000_000);
    }
    let mut all = Vec::new();
    println!("query                      |  p50 ms |  p95 ms |  max ms | found");
    for (name, make) in kinds() {
        let mut times = Vec::new();
        let mut found = 0;
        for sample in samples.iter().take(60) {
            let (query, tenant) = make(sample);
            let scope = Scope { tenant, domains: None };
            let start = Instant::now();
            let page = store.mail.search(query, scope, None, 50).await.unwrap();
            times.push(start.elapsed().as_secs_f64() * 1e3);
            found += page.traces.len();
        }
        all.extend_from_slice(&times);
        times.sort_by(f64::total_cmp);
        println!(
            "{name:26} | {:7.2} | {:7.2} | {:7.2} | {:.1}",
            times[times.len() / 2],
            times[times.len() * 95 / 100],
            times[times.len() - 1],
            found as f64 / times.len() as f64
        );
    }
    all.sort_by(f64::total_cmp);
    println!(
        "all {} queries: p50 {:.2} ms, p95 {:.2} ms, worst {:.2} ms; {:.0} MB",
        all.len(),
        all[all.len() / 2],
        all[all.len() * 95 / 100],
        all[all.len() - 1],
        usage().1
    );
    println!("Mail beside {count} tracked traces:\n{ACCEPT_TABLE}");
    for sessions in [1, 20, 100] {
        accept_by(&store, sessions, 20_000, START + 31 * 86_400_000).await;
    }
    store.mail.close().await.unwrap();
    let (cpu, start) = (usage().0, Instant::now());
    let store = open(&folder);
    println!(
        "opened again in {:.0} ms ({:.0} ms CPU)",
        start.elapsed().as_secs_f64() * 1e3,
        (usage().0 - cpu) * 1e3
    );
    store.mail.close().await.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

type Kind = (&'static str, Box<dyn Fn(&Record) -> (Query, Option<TenantId>)>);

fn accepted(record: &Record) -> (String, String, String, String) {
    record
        .events
        .iter()
        .find_map(|e| match e {
            Event::Accepted {
                from,
                to,
                subject,
                message_id,
                ..
            } => Some((
                from[0].clone(),
                to[0].clone(),
                subject.clone().unwrap(),
                message_id.clone().unwrap(),
            )),
            _ => None,
        })
        .unwrap()
}

fn kinds() -> Vec<Kind> {
    fn kind(name: &'static str, make: impl Fn(&Record, (String, String, String, String)) -> Query + 'static) -> Kind {
        (name, Box::new(move |r| (make(r, accepted(r)), Some(r.tenant))))
    }
    let client = |r: &Record| {
        r.events
            .iter()
            .find_map(|e| {
                if let Event::Connected { client, .. } = e {
                    Some(*client)
                } else {
                    None
                }
            })
            .unwrap()
    };
    let mut kinds = vec![
        kind("newest of a tenant", |_, _| Query::default()),
        kind("recipient", |_, a| Query {
            recipient: vec![a.1],
            ..Query::default()
        }),
        kind("reverse path", |_, a| Query {
            reverse_path: vec![a.0],
            ..Query::default()
        }),
        kind("header From", |_, a| Query {
            from: vec![a.0],
            ..Query::default()
        }),
        kind("*@domain of the sender", |_, a| Query {
            reverse_path: vec![format!("*@{}", a.0.split('@').next_back().unwrap())],
            ..Query::default()
        }),
        kind("*@*.example.com", |_, _| Query {
            from: vec!["*@*.example.com".into()],
            ..Query::default()
        }),
        kind("Message-ID", |_, a| Query {
            message_id: Some(a.3),
            ..Query::default()
        }),
        kind("whole subject", |_, a| Query {
            subject: Some(a.2),
            ..Query::default()
        }),
        kind("first word of the subject", |_, a| Query {
            subject: Some(a.2.split(' ').next().unwrap().chars().take(6).collect()),
            ..Query::default()
        }),
        kind("two common subject words", |_, _| Query {
            subject: Some("見積書 請求書".into()),
            ..Query::default()
        }),
        kind("subject not there", |_, _| Query {
            subject: Some("存在しない件名".into()),
            ..Query::default()
        }),
        kind("client address", move |r, _| Query {
            client: Some(client(r).to_string()),
            ..Query::default()
        }),
        kind("client /20", move |r, _| Query {
            client: Some(format!("{}/20", client(r))),
            ..Query::default()
        }),
        kind("deferred", |_, _| Query {
            state: Some("deferred".into()),
            ..Query::default()
        }),
        kind("failed, one week", |r, _| Query {
            state: Some("failed".into()),
            since: Some(Timestamp(r.at.0 - 604_800_000)),
            until: Some(r.at),
            ..Query::default()
        }),
        kind("reason and recipient", |_, a| Query {
            reason: Some(Reason::RemoteReply),
            recipient: vec![format!("*@{}", a.1.split('@').next_back().unwrap())],
            ..Query::default()
        }),
        kind("size 4.0 to 4.1 MB", |_, _| Query {
            size_min: Some(4_000_000),
            size_max: Some(4_100_000),
            ..Query::default()
        }),
        kind("in clear, attachment", |_, _| Query {
            tls: Some(false),
            attachment: Some("請求書".into()),
            ..Query::default()
        }),
        kind("URL host", |r, _| Query {
            url_host: r
                .events
                .iter()
                .find_map(|e| {
                    if let Event::Accepted { url_hosts, .. } = e {
                        url_hosts.first().cloned()
                    } else {
                        None
                    }
                })
                .or(Some("www1.example.org".into())),
            ..Query::default()
        }),
        kind("next hop", |r, _| Query {
            next_hop: Some(format!("mx0.tenant{}.example.jp", r.tenant.0 - 1)),
            ..Query::default()
        }),
        kind("reference not there", |_, _| Query {
            reference: Some(Reference([7; 10])),
            ..Query::default()
        }),
        kind("queue id", |r, _| Query {
            queue_id: Some(r.trace),
            ..Query::default()
        }),
        kind("100 recipients", |r, _| Query {
            recipient: (0..100)
                .map(|n| format!("staff{n}@tenant{}-1.example.jp", r.tenant.0 - 1))
                .collect(),
            ..Query::default()
        }),
    ];
    kinds.push((
        "operator: recipient",
        Box::new(|r| {
            (
                Query {
                    recipient: vec![accepted(r).1],
                    ..Query::default()
                },
                None,
            )
        }),
    ));
    kinds.push((
        "operator: deferred",
        Box::new(|_| {
            (
                Query {
                    state: Some("deferred".into()),
                    ..Query::default()
                },
                None,
            )
        }),
    ));
    kinds
}

async fn queue(count: u64) {
    let folder = folder("queue");
    let store = open(&folder);
    let ids = IdSource::new(0);
    let mut dice = Dice(99);
    let body = Bytes::from(vec![b'x'; 2_000]);
    let mut batch = Vec::new();
    for n in 0..count {
        let id = ids.queue_id(Timestamp(START + n as i64));
        let m = made(&mut dice, id);
        let record = Record {
            trace: id,
            tenant: TenantId(1),
            direction: None,
            at: Timestamp(START),
            events: vec![],
        };
        let due = Timestamp(START + dice.roll(14_400_000) as i64);
        batch.push(waiting(&m, record, &body, due));
        if batch.len() == 1_000 || n + 1 == count {
            store.mail.accept(std::mem::take(&mut batch)).await.unwrap();
        }
    }
    store.mail.close().await.unwrap();
    drop(store);
    let start = Instant::now();
    let store = open(&folder);
    println!("opened with {count} entries in {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let lanes = store.mail.lanes().await.unwrap();
    println!(
        "{} lanes in {:.0} ms, {:.0} MB",
        lanes.len(),
        start.elapsed().as_secs_f64() * 1e3,
        usage().1
    );
    let start = Instant::now();
    let (mut taken, mut after) = (0, None);
    let lane = lanes.iter().max_by_key(|l| l.entries).unwrap().lane;
    while taken < 10_000 {
        let page = store.mail.due(lane, Timestamp(i64::MAX), after, 500).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.due, last.queue_id, last.number));
        taken += page.len();
    }
    println!(
        "{taken} due entries of one lane by pages of 500 in {:.0} ms",
        start.elapsed().as_secs_f64() * 1e3
    );
    for tenant in [1, 50] {
        let filter = store::spool::EntryFilter {
            tenant: Some(TenantId(tenant)),
            ..Default::default()
        };
        let start = Instant::now();
        let page = store.mail.queue_page(filter.clone(), None, 50).await.unwrap();
        let paged = start.elapsed();
        let entries = store.mail.queue_count(filter).await.unwrap();
        println!(
            "tenant {tenant}: page of {} in {:.1} ms, count {entries} in {:.1} ms",
            page.len(),
            paged.as_secs_f64() * 1e3,
            (start.elapsed() - paged).as_secs_f64() * 1e3
        );
    }
    println!("{:.0} MB resident", usage().1);
    store.mail.close().await.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
