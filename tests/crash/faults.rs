//! Faults around the server: a full disk, a database that restarts, a node that is stopped in mid-DATA, clocks that step, DNS that is silent.
//! Nothing is lost in any of them.

use crate::judge;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use system::load::{self, Load};
use system::process::Process;
use system::{World, message};
use testkit::client::Client;
use testkit::peer::{Act, Peer, Script, Stage};
use testkit::postgres::{Postgres, Stop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A small file system of its own, gone with the value.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, megabytes: u32) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m"), "tmpfs"])
            .arg(at)
            .status()
            .unwrap();
        assert!(status.success(), "this test mounts a small file system and must run as root");
        Self(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(&self.0).status());
    }
}

/// A full disk is answered 452, and the server goes on when there is room again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn disk_full_gives_4yz_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&folder.path().join("node1"), 48);
    let (sink, arrivals) = load::sink().await;
    let mut server = Process::start(folder.path(), "node1", None, "");
    server.set_up(sink).await;
    // The promise of room is switched off, so that the disk itself runs full in the middle of things.
    let settings = json!({"document": {"free_spool_bytes": 1}});
    server
        .api
        .json(hyper::Method::PATCH, "/api/v1/settings/system", Some(&settings))
        .await
        .unwrap();
    let load = Load::start(vec![server.smtp], 4);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let filler = disk.0.join("filler");
    drop(std::fs::write(&filler, vec![0; 64 << 20]));
    let mut seen = String::new();
    for _ in 0..200 {
        let mut client = Client::connect(server.smtp).await.unwrap();
        client.hello("client.sender.example").await.unwrap();
        seen = client
            .deliver("s@sender.example", &["u@a.example"], &message("full"))
            .await
            .unwrap();
        if seen.starts_with('4') {
            break;
        }
    }
    assert!(
        seen.starts_with("452 4.3.1") && seen.contains("STORE-FULL"),
        "a full disk was answered {seen:?}"
    );
    std::fs::remove_file(&filler).unwrap();
    let mut again = String::new();
    for _ in 0..100 {
        let mut client = Client::connect(server.smtp).await.unwrap();
        client.hello("client.sender.example").await.unwrap();
        again = client
            .deliver("s@sender.example", &["u@a.example"], &load::message(u64::MAX - 1))
            .await
            .unwrap();
        if again.starts_with("250") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(again.starts_with("250"), "with room again the answer was {again:?}");
    load.stop().await;
    judge("disk full", &load, &arrivals, &server, &[]).await;
    server.stop();
}

/// PostgreSQL restarted under load: 4yz meanwhile, then the node goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn database_restart_under_load() {
    let mut database = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (sink, arrivals) = load::sink().await;
    let mut server = Process::start(folder.path(), "node1", Some(&database.url()), "");
    server.set_up(sink).await;
    let load = Load::start(vec![server.smtp], 10);
    let mut restarts = Vec::new();
    for how in [Stop::Fast, Stop::Immediate, Stop::Kill] {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let before = load.promised().len();
        database.restart(how).unwrap();
        restarts.push(Instant::now());
        let begun = Instant::now();
        while load.promised().len() <= before + 10 {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "after {how:?} no more mail was accepted: {}",
                server.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    load.stop().await;
    judge("database restarts", &load, &arrivals, &server, &restarts).await;
    server.stop();
}

/// A node stopped for 20 s in mid-DATA sends no final dot afterwards; the other node has delivered its message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn crash_stopped_node_sends_no_final_dot() {
    let database = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    // The first connection takes the message up to its middle and then reads no further until it is told to.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let next_hop = listener.local_addr().unwrap();
    let first = Process::start(folder.path(), "node1", Some(&database.url()), "");
    first.set_up(next_hop).await;
    let mut client = Client::connect(first.smtp).await.unwrap();
    client.hello("client.sender.example").await.unwrap();
    let big = big_message();
    let reply = client.deliver("s@sender.example", &["u@a.example"], &big).await.unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    let (mut held, _) = listener.accept().await.unwrap();
    held.write_all(b"220 sink.example\r\n").await.unwrap();
    let mut got = Vec::new();
    until(&mut held, &mut got, b"EHLO ").await;
    held.write_all(b"250-sink.example\r\n250 8BITMIME\r\n").await.unwrap();
    until(&mut held, &mut got, b"MAIL FROM").await;
    held.write_all(b"250 ok\r\n").await.unwrap();
    until(&mut held, &mut got, b"RCPT TO").await;
    held.write_all(b"250 ok\r\n").await.unwrap();
    until(&mut held, &mut got, b"DATA\r\n").await;
    held.write_all(b"354 go on\r\n").await.unwrap();
    until(&mut held, &mut got, b"X-Load-Number").await;
    first.signal("STOP");
    std::fs::create_dir_all(folder.path().join("node2")).unwrap();
    std::fs::copy(
        folder.path().join("node1/installation.key"),
        folder.path().join("node2/installation.key"),
    )
    .unwrap();
    let second = Process::start(folder.path(), "node2", Some(&database.url()), "");
    let stopped = Instant::now();
    let taken = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        take_whole(stream).await
    });
    let delivered = tokio::time::timeout(Duration::from_secs(19), taken)
        .await
        .expect("the other node takes over within 15 s")
        .unwrap();
    println!("taken over and delivered {} ms after the stop", stopped.elapsed().as_millis());
    assert!(delivered.ends_with(&big), "the other node delivered something else");
    tokio::time::sleep(Duration::from_secs(20).saturating_sub(stopped.elapsed())).await;
    first.signal("CONT");
    // Now the next hop reads on: everything may come but the end.
    let read = tokio::time::timeout(Duration::from_secs(30), held.read_to_end(&mut got)).await;
    assert!(read.is_ok(), "the stopped node keeps its connection open for ever");
    assert!(
        !got.windows(5).any(|w| w == b"\r\n.\r\n"),
        "the stopped node sent a final dot after its lease was over"
    );
    drop(second);
}

fn big_message() -> Vec<u8> {
    let mut out = load::message(3);
    while out.len() < 20_000_000 {
        out.extend_from_slice(b"all work and no play makes a message that no socket buffer holds, line after line of it\r\n");
    }
    out
}

async fn until(stream: &mut tokio::net::TcpStream, got: &mut Vec<u8>, what: &[u8]) {
    let begun = Instant::now();
    while !got.windows(what.len()).any(|w| w == what) {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "{} never came",
            String::from_utf8_lossy(what)
        );
        let mut chunk = [0; 4_096];
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "the connection ended before {}", String::from_utf8_lossy(what));
        got.extend_from_slice(&chunk[..n]);
    }
}

/// A plain server for one message.
async fn take_whole(mut stream: tokio::net::TcpStream) -> Vec<u8> {
    let mut got = Vec::new();
    stream.write_all(b"220 sink.example\r\n").await.unwrap();
    for (command, reply) in [
        ("EHLO ", "250 sink.example\r\n"),
        ("MAIL FROM", "250 ok\r\n"),
        ("RCPT TO", "250 ok\r\n"),
        ("DATA\r\n", "354 go on\r\n"),
    ] {
        until(&mut stream, &mut got, command.as_bytes()).await;
        stream.write_all(reply.as_bytes()).await.unwrap();
    }
    while !got.ends_with(b"\r\n.\r\n") {
        let mut chunk = vec![0; 256 * 1024];
        let n = stream.read(&mut chunk).await.unwrap();
        assert!(n > 0, "the other node broke off");
        got.extend_from_slice(&chunk[..n]);
    }
    stream.write_all(b"250 taken\r\n").await.unwrap();
    got.truncate(got.len() - 3);
    unstuffed(&got)
}

fn unstuffed(wire: &[u8]) -> Vec<u8> {
    wire.split_inclusive(|b| *b == b'\n')
        .flat_map(|line| line.strip_prefix(b".").unwrap_or(line))
        .copied()
        .collect()
}

/// The wall clock steps back an hour and forward a day: what waits is still delivered, nothing twice.
#[tokio::test]
async fn clock_steps_lose_nothing() {
    let world = World::start().await;
    world
        .peer
        .script(|s| drop(s.acts.insert(Stage::Mail, Act::Reply("451 4.3.0 later".into()))));
    let mut client = world.client().await;
    let reply = client
        .deliver("s@sender.example", &["u@a.example"], &message("steps"))
        .await
        .unwrap();
    world.events(&reply, "deferred").await;
    world.clock.step_wall(mail::Timestamp(world.clock.now().0 - 3_600_000));
    world.peer.script(|s| s.acts.clear());
    let second = client
        .deliver("s@sender.example", &["u@a.example"], &message("meanwhile"))
        .await
        .unwrap();
    assert!(second.starts_with("250"), "{second}");
    world.peer.wait(1).await;
    world.clock.step_wall(mail::Timestamp(world.clock.now().0 + 86_400_000));
    world.pass(Duration::from_secs(600)).await;
    world.events(&reply, "delivered").await;
    assert_eq!(world.peer.taken().len(), 2, "each message came once");
    world.stop().await;
}

/// DNS that says nothing defers, and never refuses for good; with an answer the same mail passes.
#[tokio::test]
async fn silent_dns_defers() {
    let world = World::start().await;
    world.dns.change(|zone| {
        zone.add("silent.example", "FAULT", "silent");
    });
    let mut client = world.client().await;
    let reply = client.say("MAIL FROM:<s@silent.example>").await.unwrap();
    assert!(
        reply.starts_with("451 4.4.3 <s@silent.example>: DNS lookup failed: DNS-TEMP. ref="),
        "{reply}"
    );
    world.dns.change(|zone| {
        zone.remove("silent.example");
        zone.add("silent.example", "A", "127.0.0.1");
    });
    let reply = client
        .deliver("s@silent.example", &["u@a.example"], &message("answered"))
        .await
        .unwrap();
    assert!(reply.starts_with("250"), "{reply}");
    world.stop().await;
}

/// Next hops that are slow, refuse, drop in mid-DATA, break TLS or greet without end cost nothing but a try: the other one gets the message once.
#[tokio::test]
async fn broken_next_hops_lose_nothing() {
    let world = World::start().await;
    let broken = Peer::start(Script {
        extensions: system::usual_extensions(),
        ..Script::default()
    })
    .await;
    world
        .set_domain(json!({"inbound_servers": [
            {"host": "127.0.0.1", "port": broken.address.port(), "preference": 10},
            {"host": "127.0.0.1", "port": world.peer.address.port(), "preference": 20},
        ]}))
        .await
        .unwrap();
    let acts = [
        (Stage::Greeting, Act::Drop),
        (Stage::Greeting, Act::Endless),
        (Stage::Greeting, Act::Reply("554 go away".into())),
        (Stage::Ehlo, Act::Drop),
        (Stage::Mail, Act::Drop),
        (Stage::Rcpt, Act::Reply("450 later".into())),
        (Stage::Data, Act::Drop),
        (Stage::MidData, Act::Drop),
    ];
    for (number, (stage, act)) in acts.into_iter().enumerate() {
        broken.script(|s| s.acts = [(stage, act.clone())].into());
        let mut client = world.client().await;
        let mut sent = message(&format!("fault {number}"));
        if stage == Stage::MidData {
            // More than the buffers between us hold: the dot must not be on its way already.
            sent.extend(b"line after line after line after line\r\n".repeat(300_000));
        }
        let reply = client.deliver("s@sender.example", &["u@a.example"], &sent).await.unwrap();
        assert!(reply.starts_with("250"), "{reply}");
        world.peer.wait(number + 1).await;
        let events = world.events(&reply, "delivered").await;
        assert_eq!(events.iter().filter(|e| e["e"] == "delivered").count(), 1, "{stage:?} {act:?}");
    }
    assert!(broken.taken().is_empty());
    world.stop().await;
}
