//! 5,000 messages that others wrote cross byte-identical, apart from the trace fields put in front.
//!
//! The material lies beside the house (`../shared/data/open.tar.xz`); a clone without it says so and tries nothing.

use mail::trace;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;
use system::World;
use testkit::client::Client;

const MESSAGES: usize = 5_000;
/// Sources by folder: each gives its share, so that no single one makes the result.
const FOLDERS: [&str; 4] = ["spam", "ham_business", "bounces", "mime"];

/// Drops an mbox line in front, makes every line end CRLF. `None`: not a message (empty, or over the limit of one line).
fn canonical(raw: &[u8]) -> Option<Vec<u8>> {
    let raw = match raw.strip_prefix(b"From ") {
        Some(rest) => rest.get(rest.iter().position(|b| *b == b'\n')? + 1..)?,
        None => raw,
    };
    let mut out = Vec::with_capacity(raw.len() + raw.len() / 30);
    let mut bytes = raw.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        match b {
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                out.extend_from_slice(b"\r\n");
            }
            b'\n' => out.extend_from_slice(b"\r\n"),
            b => out.push(b),
        }
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    (out.len() > 10).then_some(out)
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

fn messages(root: &Path) -> Vec<Vec<u8>> {
    let mut by_folder: Vec<Vec<PathBuf>> = FOLDERS
        .iter()
        .map(|f| {
            let mut found = Vec::new();
            files(&root.join(f), &mut found);
            found.reverse();
            found
        })
        .collect();
    let mut all = Vec::new();
    while all.len() < MESSAGES + MESSAGES / 5 && by_folder.iter().any(|f| !f.is_empty()) {
        for folder in &mut by_folder {
            all.extend(folder.pop().and_then(|p| std::fs::read(p).ok()).and_then(|raw| canonical(&raw)));
        }
    }
    all
}

/// The corpus crosses unchanged.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn corpus_crosses_byte_identical() {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/open.tar.xz");
    if !archive.exists() {
        println!("no messages to send: ../shared/data/open.tar.xz is not beside this clone");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let status = Command::new("tar")
        .arg("-xJf")
        .arg(&archive)
        .arg("-C")
        .arg(folder.path())
        .status()
        .unwrap();
    assert!(status.success(), "unpack {}", archive.display());
    let root = std::fs::read_dir(folder.path())
        .unwrap()
        .flatten()
        .map(|e| e.path())
        .find(|p| p.join("spam").is_dir())
        .unwrap_or_else(|| folder.path().to_owned());
    let all = messages(&root);
    assert!(all.len() >= MESSAGES, "only {} messages found", all.len());

    let world = World::start().await;
    world
        .set_system(serde_json::json!({"limits": {
            "messages_per_connection": 100_000, "rate_client_inbound": {"messages": 1_000_000, "per_s": 60}, "rate_recipient": {"messages": 1_000_000, "per_s": 60},
        }}))
        .await
        .unwrap();
    let (mut sent, mut refused): (HashMap<String, usize>, BTreeMap<String, usize>) = (HashMap::new(), BTreeMap::new());
    let mut client: Client = world.client().await;
    for (number, message) in all.iter().enumerate() {
        if sent.len() == MESSAGES {
            break;
        }
        let from = format!("n{number}@sender.example");
        let reply = client.say(&format!("MAIL FROM:<{from}> BODY=8BITMIME")).await.unwrap();
        assert!(reply.starts_with("250"), "{reply}");
        let reply = client.say("RCPT TO:<u@a.example>").await.unwrap();
        assert!(reply.starts_with("250"), "{reply}");
        let reply = client.data(message).await.unwrap();
        if reply.starts_with("250") {
            sent.insert(from, number);
        } else {
            // Old mail breaks rules of today: too many hops, lines over 64 KB. Anything else is our fault.
            let reason = reply
                .split(" ref=")
                .next()
                .and_then(|r| r.rsplit(' ').next())
                .unwrap_or_default()
                .trim_end_matches('.')
                .to_owned();
            assert!(["HOPS", "MALFORMED"].contains(&reason.as_str()), "message {number}: {reply}");
            *refused.entry(reason).or_default() += 1;
        }
    }
    assert_eq!(sent.len(), MESSAGES, "refused: {refused:?}");
    let mut arrived = 0;
    for taken in world.peer.wait_long(MESSAGES).await {
        let from = taken.mail.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        let number = sent
            .remove(&from)
            .unwrap_or_else(|| panic!("{from} arrived twice or was never sent"));
        let original = &all[number];
        assert!(taken.data.ends_with(original), "message {number} arrived changed");
        let ours = &taken.data[..taken.data.len() - original.len()];
        assert_eq!(
            trace::received_count(ours),
            1,
            "message {number}: in front stands {:?}",
            String::from_utf8_lossy(ours)
        );
        arrived += 1;
    }
    println!("{arrived} messages crossed byte-identical; refused: {refused:?}");
    world.stop().await;
}
