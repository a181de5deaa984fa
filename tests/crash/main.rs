//! kill -9 at random moments under load, on both engines: nothing promised is lost, nothing but what was in flight comes twice.
//!
//! `MITSUKE_CRASH_CYCLES` sets the cycles on each engine (20); `make crash` runs 100.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod faults;

use std::time::{Duration, Instant};
use system::load::{self, Load};
use system::process::Process;
use testkit::postgres::Postgres;

/// "Delivered" rides on the next commit; a kill before it lets the next process deliver once more.
const IN_FLIGHT: Duration = Duration::from_secs(2);
/// What a process had sent before it was killed may be read by the sink so much later.
const SINK_LAG: Duration = Duration::from_millis(250);

fn cycles() -> usize {
    std::env::var("MITSUKE_CRASH_CYCLES")
        .ok()
        .and_then(|c| c.parse().ok())
        .unwrap_or(20)
}

fn random_ms(from: u64, to: u64) -> Duration {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    Duration::from_millis(from + u64::from_le_bytes(bytes) % (to - from))
}

/// Waits until everything promised has arrived and the queue is empty, then judges.
async fn judge(title: &str, load: &Load, arrivals: &load::Arrivals, server: &Process, kills: &[Instant]) {
    let promised = load.promised();
    let begun = Instant::now();
    while !arrivals.missing(&promised).is_empty() || server.queued().await != 0 {
        let missing = arrivals.missing(&promised);
        assert!(
            begun.elapsed() < Duration::from_secs(180),
            "{title}: of {} promised messages {} were lost: {missing:?}\n{}",
            promised.len(),
            missing.len(),
            server.log()
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let all = arrivals.all();
    let damaged: Vec<u64> = all
        .iter()
        .filter(|(_, a)| a.iter().any(|a| !a.is_intact))
        .map(|(n, _)| *n)
        .collect();
    assert!(damaged.is_empty(), "{title}: messages arrived changed: {damaged:?}");
    let mut doubled = 0;
    for (number, seen) in all.iter().filter(|(_, seen)| seen.len() > 1) {
        doubled += seen.len() - 1;
        let first = seen.iter().map(|a| a.at).min().unwrap();
        let in_flight = kills
            .iter()
            .any(|kill| *kill + SINK_LAG >= first && kill.saturating_duration_since(first) < IN_FLIGHT);
        assert!(
            in_flight,
            "{title}: message {number} came {} times, at {:?}, although no kill followed its first arrival; kills: {:?}\n{}",
            seen.len(),
            seen.iter().map(|a| a.at.duration_since(kills[0])).collect::<Vec<_>>(),
            kills.iter().map(|k| k.duration_since(kills[0])).collect::<Vec<_>>(),
            server.log()
        );
    }
    println!(
        "{title}: {} kills, {} promised, {} arrived, 0 lost, {doubled} doubled (in flight at a kill)",
        kills.len(),
        promised.len(),
        all.len()
    );
}

async fn crash(title: &str, store: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let (sink, arrivals) = load::sink().await;
    let mut server = Process::start(folder.path(), "node1", store, "");
    server.set_up(sink).await;
    let load = Load::start(vec![server.smtp], 20);
    let mut kills = Vec::new();
    for _ in 0..cycles() {
        tokio::time::sleep(random_ms(200, 1_200)).await;
        server.kill();
        kills.push(Instant::now());
        server.run();
    }
    tokio::time::sleep(random_ms(200, 600)).await;
    load.stop().await;
    assert!(
        load.promised().len() > 5 * kills.len(),
        "{title}: too little load to say anything: {} promised",
        load.promised().len()
    );
    judge(title, &load, &arrivals, &server, &kills).await;
    server.stop();
}

/// The embedded store loses nothing that was promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_embedded() {
    crash("embedded", None).await;
}

/// PostgreSQL loses nothing that was promised.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_postgres() {
    let database = Postgres::start().unwrap();
    crash("PostgreSQL", Some(&database.url())).await;
}

/// Two nodes share the load on one database while one of them is killed at random.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_two_nodes() {
    let database = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (sink, arrivals) = load::sink().await;
    let mut first = Process::start(folder.path(), "node1", Some(&database.url()), "");
    std::fs::create_dir_all(folder.path().join("node2")).unwrap();
    std::fs::copy(
        folder.path().join("node1/installation.key"),
        folder.path().join("node2/installation.key"),
    )
    .unwrap();
    let mut second = Process::start(folder.path(), "node2", Some(&database.url()), "");
    first.set_up(sink).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let load = Load::start(vec![first.smtp, second.smtp], 20);
    let mut kills = Vec::new();
    for turn in 0..cycles().div_ceil(4) {
        tokio::time::sleep(random_ms(300, 1_500)).await;
        let victim = if turn % 2 == 0 { &mut second } else { &mut first };
        victim.kill();
        kills.push(Instant::now());
        tokio::time::sleep(random_ms(100, 1_000)).await;
        victim.run();
    }
    load.stop().await;
    // One dies for good: the other has its entries within 15 s.
    second.kill();
    kills.push(Instant::now());
    judge("two nodes", &load, &arrivals, &first, &kills).await;
    first.stop();
}
