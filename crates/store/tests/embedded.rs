//! What only the embedded engine must stand: crashes, torn and flipped last writes, a damaged file, a full device, a second process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "contract/make.rs"]
#[allow(dead_code, reason = "shared with the contract suite")]
mod make;

use make::{ACME, Maker, NOON, deferred, delivered};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use store::embedded::{OpenOptions, quick_check};
use store::spool::{Acceptance, Body};
use store::tracking::{Query, Scope};
use store::{Store, StoreError};

fn options(folder: &Path) -> OpenOptions {
    OpenOptions::below(folder, Arc::new(|| NOON))
}

fn open(folder: &Path) -> Store {
    Store::open_embedded(&options(folder)).unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(work)
}

/// The files of a store as a crash leaves them: copied while it is open.
fn crash_copy(from: &Path, to: &Path) {
    for name in ["mitsuke.db", "mitsuke.db-wal", "index.db", "index.db-wal"] {
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

/// Accepts one after another, so that each has its own commit.
fn fill(store: &Store, make: &Maker, count: usize) -> Vec<Acceptance> {
    run(async {
        let mut all = Vec::new();
        for _ in 0..count {
            let a = make.mail(ACME, &["a@acme.example"]);
            store.mail.accept(vec![a.clone()]).await.unwrap();
            all.push(a);
        }
        all
    })
}

async fn is_whole(store: &Store, a: &Acceptance) -> bool {
    let id = a.message.queue_id;
    let Some(message) = store.mail.message(id).await.unwrap() else {
        return false;
    };
    let (Body::Inline(kept), Body::Inline(given)) = (&message.body, &a.message.body) else {
        panic!("inline bodies")
    };
    assert_eq!(kept, given, "bytes of {id}");
    assert_eq!(store.mail.entries(id).await.unwrap().len(), a.entries.len());
    assert!(
        store
            .mail
            .trace(
                id,
                Scope {
                    tenant: Some(ACME),
                    domains: None
                }
            )
            .await
            .unwrap()
            .is_some()
    );
    true
}

#[test]
fn a_crash_loses_nothing_that_was_accepted() {
    let (alive, dead) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(alive.path());
    let all = fill(&store, &Maker::new(0), 50);
    run(store.mail.settle(vec![delivered(&all[0], 0, NOON), deferred(&all[1], 0, NOON)])).unwrap();
    crash_copy(alive.path(), dead.path());
    let after = open(dead.path());
    run(async {
        assert!(after.mail.message(all[0].message.queue_id).await.unwrap().is_none());
        for a in &all[1..] {
            assert!(is_whole(&after, a).await);
        }
        assert_eq!(after.mail.entries(all[1].message.queue_id).await.unwrap()[0].attempts, 1);
        // The search finds what had no segment yet.
        let query = Query {
            recipient: vec!["a@acme.example".into()],
            ..Query::default()
        };
        let page = after
            .mail
            .search(
                query,
                Scope {
                    tenant: Some(ACME),
                    domains: None,
                },
                None,
                100,
            )
            .await
            .unwrap();
        assert_eq!(page.traces.len(), 50);
    });
    assert_eq!(quick_check(dead.path()).unwrap(), Vec::<String>::new());
}

/// Damages the end of the WAL and opens: all before the damaged commit is there, whole, in order, and the store goes on.
fn check_torn(damage: impl Fn(&mut Vec<u8>)) {
    const COUNT: usize = 30;
    let (alive, dead) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(alive.path());
    let make = Maker::new(0);
    let mut ends = Vec::new();
    let mut all = Vec::new();
    for _ in 0..COUNT {
        all.extend(fill(&store, &make, 1));
        ends.push(std::fs::metadata(alive.path().join("mitsuke.db-wal")).unwrap().len());
    }
    crash_copy(alive.path(), dead.path());
    let wal = dead.path().join("mitsuke.db-wal");
    let whole = std::fs::read(&wal).unwrap();
    let mut torn = whole.clone();
    damage(&mut torn);
    std::fs::write(&wal, &torn).unwrap();
    let first_bad = whole.iter().zip(&torn).position(|(a, b)| a != b).unwrap_or(torn.len()) as u64;
    let must = ends.iter().filter(|end| **end <= first_bad).count();
    let after = open(dead.path());
    run(async {
        let mut kept = 0;
        for a in &all {
            if is_whole(&after, a).await {
                kept += 1;
            } else {
                break;
            }
        }
        assert!(kept >= must, "{kept} kept, {must} were committed before the damage");
        for a in &all[kept..] {
            assert!(
                after.mail.message(a.message.queue_id).await.unwrap().is_none(),
                "whole or gone, in order"
            );
        }
        let next = make.mail(ACME, &["a@acme.example"]);
        after.mail.accept(vec![next.clone()]).await.unwrap();
        assert!(is_whole(&after, &next).await);
    });
    drop(after);
    assert_eq!(quick_check(dead.path()).unwrap(), Vec::<String>::new());
}

#[test]
fn torn_last_writes_are_survived() {
    for cut in [1, 7, 100, 4_119, 4_120, 5_000, 40_000] {
        check_torn(|wal| wal.truncate(wal.len() - cut));
    }
}

#[test]
fn flipped_bits_in_the_last_writes_are_survived() {
    for back in [1usize, 4_000, 4_100, 4_120, 12_345, 60_000] {
        check_torn(|wal| {
            let at = wal.len() - back;
            wal[at] ^= 0x10;
        });
    }
}

#[test]
fn zeroes_after_a_power_cut_are_survived() {
    check_torn(|wal| {
        let from = wal.len() - 9_000;
        wal[from..].fill(0);
    });
}

#[test]
fn a_damaged_file_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    fill(&store, &Maker::new(0), 3);
    run(store.mail.close()).unwrap();
    drop(store);
    let file = folder.path().join("mitsuke.db");
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..100].fill(0x55);
    std::fs::write(&file, bytes).unwrap();
    let Err(StoreError::Data(text)) = Store::open_embedded(&options(folder.path())) else {
        panic!("expected Data")
    };
    assert!(text.contains("mitsuke.db"), "{text}");
}

#[test]
fn a_damaged_index_is_made_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let all = fill(&store, &Maker::new(0), 3);
    run(store.mail.close()).unwrap();
    drop(store);
    std::fs::write(
        folder.path().join("index.db"),
        b"this was never a database, and it is long enough to be looked at",
    )
    .unwrap();
    let store = open(folder.path());
    let page = run(store.mail.search(
        Query::default(),
        Scope {
            tenant: Some(ACME),
            domains: None,
        },
        None,
        10,
    ))
    .unwrap();
    assert_eq!(page.traces.len(), all.len());
}

#[test]
fn a_second_process_is_kept_out_and_the_lock_goes_with_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    assert!(
        matches!(Store::open_embedded(&options(folder.path())), Err(StoreError::Unavailable(text)) if text.contains("another process"))
    );
    run(store.mail.close()).unwrap();
    drop(open(folder.path()));
    drop(store);
    drop(open(folder.path()));
}

#[test]
fn newer_data_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    run(store.write(|tx| {
        tx.execute(
            "INSERT INTO schema_version (number, name, applied_at) VALUES (9999, 'later', 0)",
            &[],
        )
    }))
    .unwrap();
    drop(store);
    assert!(matches!(Store::open_embedded(&options(folder.path())), Err(StoreError::Data(text)) if text.contains("9999")));
}

#[test]
fn a_full_device_refuses_and_goes_on_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let make = Maker::new(0);
    let before = fill(&store, &make, 2);
    let limit = |sql: &'static str| run(store.write(move |tx| tx.query(sql, &[]))).map(|_| ()).unwrap();
    limit("PRAGMA max_page_count = 1");
    let mut big = make.mail(ACME, &["a@acme.example"]);
    big.message.body = Body::Inline(vec![b'x'; 200_000].into());
    assert!(matches!(run(store.mail.accept(vec![big.clone()])), Err(StoreError::Full)));
    run(async {
        assert!(store.mail.message(big.message.queue_id).await.unwrap().is_none());
        for a in &before {
            assert!(is_whole(&store, a).await);
        }
    });
    limit("PRAGMA max_page_count = 1073741823");
    run(async {
        store.mail.accept(vec![big.clone()]).await.unwrap();
        assert!(is_whole(&store, &big).await);
    });
}

#[test]
fn sqlite_is_compiled_as_it_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let options = run(store.read(|tx| tx.query("SELECT compile_options FROM pragma_compile_options", &[]))).unwrap();
    let has = |name: &str| options.iter().any(|row| row.text(0).unwrap() == name);
    assert!(
        has("DEFAULT_MEMSTATUS=0") && !has("ENABLE_STAT4"),
        "build within the workspace: .cargo/config.toml says how"
    );
}

#[test]
fn a_thousand_recipients_are_one_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let names: Vec<String> = (0..1_000).map(|n| format!("r{n}@d{}.example", n % 10)).collect();
    let a = Maker::new(0).mail(ACME, &names.iter().map(String::as_str).collect::<Vec<_>>());
    run(async {
        store.mail.accept(vec![a.clone()]).await.unwrap();
        assert_eq!(store.mail.lanes().await.unwrap().iter().map(|l| l.entries).sum::<u64>(), 1_000);
        store
            .mail
            .settle((0..1_000).map(|n| delivered(&a, n, NOON)).collect())
            .await
            .unwrap();
        assert!(store.mail.message(a.message.queue_id).await.unwrap().is_none());
    });
}

#[test]
fn a_message_to_nobody_is_tracked_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut a = Maker::new(0).mail(ACME, &["a@acme.example"]);
    a.entries.clear();
    run(async {
        store.mail.accept(vec![a.clone()]).await.unwrap();
        assert!(store.mail.message(a.message.queue_id).await.unwrap().is_none());
        assert!(
            store
                .mail
                .trace(
                    a.message.queue_id,
                    Scope {
                        tenant: Some(ACME),
                        domains: None
                    }
                )
                .await
                .unwrap()
                .is_some()
        );
    });
}

#[test]
fn orphaned_bodies_are_swept_and_others_kept() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let make = Maker::new(0);
    run(async {
        let mut kept = make.mail(ACME, &["a@acme.example"]);
        let orphan = make.id();
        let mut names = Vec::new();
        for id in [kept.message.queue_id, orphan] {
            let mut writer = store.blobs.writer(ACME, id);
            writer.write(&vec![7; 400_000]).await.unwrap();
            names.push(writer.finish().await.unwrap());
        }
        kept.message.body = Body::Blob {
            id: names[0].0,
            size: names[0].1,
        };
        store.mail.accept(vec![kept.clone()]).await.unwrap();
        let mut half = store.blobs.writer(ACME, make.id());
        half.write(&vec![1; 300_000]).await.unwrap();
        let temporary = || std::fs::read_dir(folder.path().join("blobs/tmp")).unwrap().count();
        assert_eq!(temporary(), 1);
        drop(half);
        assert_eq!(temporary(), 0);
        let sweep = store.sweep_blobs(std::time::Duration::ZERO).await.unwrap();
        assert_eq!((sweep.kept, sweep.removed), (1, 1));
        let mut reader = store.blobs.reader(names[0].0, ACME, kept.message.queue_id).await.unwrap();
        let mut size = 0;
        while let Some(piece) = reader.next().await.unwrap() {
            assert!(piece.len() <= 256 * 1024);
            size += piece.len();
        }
        assert_eq!(size, 400_000);
        assert!(store.blobs.reader(names[1].0, ACME, orphan).await.is_err());
    });
}

#[test]
fn a_body_that_changed_on_disk_is_not_given_out_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let id = Maker::new(0).id();
    run(async {
        let mut writer = store.blobs.writer(ACME, id);
        writer.write(&vec![7; 400_000]).await.unwrap();
        let (blob, _) = writer.finish().await.unwrap();
        let path = folder
            .path()
            .join(format!("blobs/{}/{}/{blob}-{id}", ACME.0, &blob.to_string()[..2]));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[3] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let mut reader = store.blobs.reader(blob, ACME, id).await.unwrap();
        let outcome = loop {
            match reader.next().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(outcome, Err(StoreError::Data(_))));
    });
}

/// One step of the model.
#[derive(Clone, Debug)]
enum Step {
    Accept(u8),
    Deliver(usize, u8),
    Defer(usize, u8),
    Reopen,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1u8..5).prop_map(Step::Accept),
        3 => (any::<usize>(), 0u8..5).prop_map(|(m, r)| Step::Deliver(m, r)),
        2 => (any::<usize>(), 0u8..5).prop_map(|(m, r)| Step::Defer(m, r)),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The spool against a map: whatever is accepted, settled, reopened and crashed, both hold the same.
    #[test]
    fn the_spool_is_what_the_model_says(steps in steps()) {
        let mut folder = tempfile::tempdir().unwrap();
        let mut store = Some(open(folder.path()));
        let make = Maker::new(0);
        let mut told: Vec<Acceptance> = Vec::new();
        // (message, recipient) -> attempts
        let mut model: BTreeMap<(usize, u8), u32> = BTreeMap::new();
        for step in steps {
            let live = store.as_ref().unwrap();
            match step {
                Step::Accept(recipients) => {
                    let names: Vec<String> = (0..recipients).map(|n| format!("r{n}@acme.example")).collect();
                    let a = make.mail(ACME, &names.iter().map(String::as_str).collect::<Vec<_>>());
                    run(live.mail.accept(vec![a.clone()])).unwrap();
                    (0..recipients).for_each(|r| { model.insert((told.len(), r), 0); });
                    told.push(a);
                }
                Step::Deliver(m, r) if !told.is_empty() => {
                    let (m, a) = (m % told.len(), &told[m % told.len()]);
                    if (r as usize) < a.entries.len() {
                        run(live.mail.settle(vec![delivered(a, r as usize, NOON)])).unwrap();
                        model.remove(&(m, r));
                    }
                }
                Step::Defer(m, r) if !told.is_empty() => {
                    let (m, a) = (m % told.len(), &told[m % told.len()]);
                    if (r as usize) < a.entries.len() {
                        run(live.mail.settle(vec![deferred(a, r as usize, NOON)])).unwrap();
                        if let Some(attempts) = model.get_mut(&(m, r)) { *attempts = 1; }
                    }
                }
                Step::Deliver(..) | Step::Defer(..) => {}
                Step::Reopen => {
                    drop(store.take());
                    store = Some(open(folder.path()));
                }
                Step::Crash => {
                    let dead = tempfile::tempdir().unwrap();
                    crash_copy(folder.path(), dead.path());
                    drop(store.take());
                    store = Some(open(dead.path()));
                    folder = dead;
                }
            }
        }
        let live = store.as_ref().unwrap();
        for (m, a) in told.iter().enumerate() {
            let kept: Vec<(u8, u32)> = run(live.mail.entries(a.message.queue_id)).unwrap().iter().map(|e| (e.number as u8, e.attempts)).collect();
            let expect: Vec<(u8, u32)> = model.range((m, 0)..=(m, u8::MAX)).map(|((_, r), attempts)| (*r, *attempts)).collect();
            prop_assert_eq!(&kept, &expect);
            prop_assert_eq!(run(live.mail.message(a.message.queue_id)).unwrap().is_some(), !expect.is_empty());
        }
        let entries: u64 = run(live.mail.lanes()).unwrap().iter().map(|l| l.entries).sum();
        prop_assert_eq!(entries, model.len() as u64);
    }
}
