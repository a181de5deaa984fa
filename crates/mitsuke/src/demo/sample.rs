//! Three messages through the demonstration's own SMTP door, and what became of each.
#![allow(clippy::print_stdout, reason = "a command that talks to its user")]

use super::{DOMAIN, Ports};
use crate::cli::escaped;
use crate::client::Api;
use crate::say;
use anyhow::{Context, Result};
use serde_json::Value;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// Fates at which a sample has come to rest for now.
const AT_REST: [&str; 6] = ["delivered", "deferred", "failed", "refused", "held", "expired"];

/// Heads take so many columns.
const HEAD_COLUMNS: usize = 8;

struct Sample {
    /// Key of its text.
    title: &'static str,
    from: &'static str,
    to: &'static str,
    subject: &'static str,
    body: &'static str,
}

const SAMPLES: [Sample; 3] = [
    Sample {
        title: "cli.demo.sample-japanese",
        from: "suzuki@sender.example",
        to: "taro@castle.example",
        // ISO-2022-JP, as most Japanese programs write it: 打ち合わせの件
        subject: "=?ISO-2022-JP?B?GyRCQkckQTlnJG8kOyRON28bKEI=?=",
        body: "\u{1b}$B;3ED$5$s!\"L@F|$N2q5D$O==;~$+$i$G$9!#\u{1b}(B\r\n",
    },
    Sample {
        title: "cli.demo.sample-unknown",
        from: "suzuki@sender.example",
        to: "nobody@castle.example",
        subject: "Is anybody there?",
        body: "Hello?\r\n",
    },
    Sample {
        title: "cli.demo.sample-outside",
        from: "taro@castle.example",
        to: "ann@far.example",
        subject: "Greetings from the castle",
        body: "The road is closed today.\r\n",
    },
];

/// Sends them and prints their fates.
pub(super) async fn run(owner: &Api, ports: Ports) -> Result<()> {
    for (number, sample) in SAMPLES.iter().enumerate() {
        let reply = send(ports.mx, sample, number).await?;
        println!(
            "{}. {}\n   {} → {}",
            number + 1,
            say::text(sample.title, &[]),
            sample.from,
            sample.to
        );
        println!("   {}", line("cli.demo.reply", &reply));
        for line in fate(owner, sample, &reply).await? {
            println!("   {line}");
        }
        println!();
    }
    Ok(())
}

async fn send(port: u16, sample: &Sample, number: usize) -> Result<String> {
    let mut wire = BufReader::new(
        TcpStream::connect(("127.0.0.1", port))
            .await
            .with_context(|| say::text("cli.demo.connect", &[]))?,
    );
    reply(&mut wire).await?;
    let now = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S +0000").to_string();
    let message = format!(
        "From: <{}>\r\nTo: <{}>\r\nSubject: {}\r\nDate: {now}\r\nMessage-ID: <sample-{number}-{}@{}>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=ISO-2022-JP\r\n\r\n{}.\r\n",
        sample.from,
        sample.to,
        sample.subject,
        jiff::Timestamp::now().as_millisecond(),
        DOMAIN,
        sample.body
    );
    let mut last = String::new();
    for command in [
        "EHLO client.sender.example".to_owned(),
        format!("MAIL FROM:<{}>", sample.from),
        format!("RCPT TO:<{}>", sample.to),
        "DATA".into(),
    ] {
        wire.write_all(format!("{command}\r\n").as_bytes()).await?;
        last = reply(&mut wire).await?;
        if !last.starts_with(['2', '3']) {
            return Ok(last);
        }
    }
    if last.starts_with('3') {
        wire.write_all(message.as_bytes()).await?;
        last = reply(&mut wire).await?;
    }
    wire.write_all(b"QUIT\r\n").await?;
    Ok(last)
}

async fn reply(wire: &mut BufReader<TcpStream>) -> Result<String> {
    loop {
        let mut line = String::new();
        let read = tokio::time::timeout(Duration::from_secs(30), wire.read_line(&mut line))
            .await
            .with_context(|| say::text("cli.demo.silent", &[]))??;
        anyhow::ensure!(read > 0, "{}", say::text("cli.demo.closed", &[]));
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(line.trim_end().to_owned());
        }
    }
}

/// What tracking says of a sample, once it has come to rest.
async fn fate(owner: &Api, sample: &Sample, reply: &str) -> Result<Vec<String>> {
    let id = reply
        .rsplit("queue id ")
        .next()
        .filter(|_| reply.starts_with("250"))
        .map(|id| id.trim_end_matches('.').to_owned());
    let reference = reply
        .split("ref=")
        .nth(1)
        .and_then(|r| r.split_whitespace().next())
        .map(str::to_owned);
    let path = match (&id, &reference) {
        (Some(id), _) => format!("/api/v1/tracking?queue_id={}", escaped(id)),
        (None, Some(reference)) => format!("/api/v1/tracking?reference={}", escaped(reference)),
        (None, None) => return Ok(Vec::new()),
    };
    for _ in 0..100 {
        let page = owner.get(&path).await?;
        let events: Vec<Value> = page
            .pointer("/items/0/events")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let rest = events.iter().rev().find(|e| AT_REST.contains(&e["e"].as_str().unwrap_or_default()));
        if let Some(event) = rest {
            let kind = event["e"].as_str().unwrap_or_default();
            let mut lines = vec![line("cli.demo.fate", &format!("{kind}{}", said(event)))];
            if let Some(subject) = events.iter().find_map(|e| e.get("subject")?.as_str()) {
                lines.push(line("cli.demo.subject", subject));
            }
            if let Some(due) = event.get("due").and_then(Value::as_str) {
                lines.push(line("cli.demo.next-try", due));
            }
            let trace = match id {
                Some(id) => format!("mitsuke trace {id}"),
                None => format!("mitsuke trace --reference {}", reference.unwrap_or_default()),
            };
            lines.push(line("cli.demo.trace", &trace));
            return Ok(lines);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    anyhow::bail!("{}", say::text("cli.demo.no-trace", &[("recipient", sample.to)]))
}

/// What is told, under its head.
fn line(head: &str, told: &str) -> String {
    let head = say::text(head, &[]);
    let space = " ".repeat(HEAD_COLUMNS.saturating_sub(say::columns(&head)));
    format!("{head}{space} {told}")
}

fn said(event: &Value) -> String {
    let of = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    match (of("reason"), of("host"), of("reply")) {
        (reason, _, reply) if !reason.is_empty() => format!(" ({reason}): {reply}"),
        (_, host, reply) => say::text("cli.demo.to-host", &[("host", &host), ("reply", &reply)]),
    }
}
