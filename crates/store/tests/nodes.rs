//! Several nodes on one PostgreSQL: leases, take-over, fences; commits whose answer is lost; restarts under load.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

#[path = "contract/make.rs"]
mod make;

use mail::{QueueId, Timestamp};
use make::*;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use store::control::errand::{self, Errand};
use store::pg::PgOptions;
use store::spool::Origin;
use store::tracking::{Query, Scope};
use store::{Store, StoreError};
use testkit::cut::{Cut, Cutter, Trap};
use testkit::postgres::{Postgres, Stop};

/// Short, so that tests need not wait long.
const LEASE: Duration = Duration::from_millis(2_400);

fn wait<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let value = runtime.block_on(work);
    runtime.shutdown_background();
    value
}

fn open_at(url: String, folder: &tempfile::TempDir, name: &str, lease: Duration) -> Result<Store, StoreError> {
    Store::open_postgres(&PgOptions {
        url,
        blobs_dir: folder.path().into(),
        now: Arc::new(|| NOON),
        node_name: name.into(),
        lease,
    })
}

fn open(cluster: &Postgres, folder: &tempfile::TempDir, name: &str) -> Store {
    open_at(cluster.url(), folder, name, LEASE).unwrap()
}

async fn until(what: &str, patience: Duration, mut test: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + patience;
    while !test().await {
        assert!(Instant::now() < end, "not within {patience:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn owned(store: &Store) -> u64 {
    store.mail.lanes().await.unwrap().iter().map(|l| l.entries).sum()
}

async fn sql(cluster: &Postgres, text: &str) -> u64 {
    let (client, connection) = tokio_postgres::connect(&cluster.url(), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client.execute(text, &[]).await.unwrap()
}

fn all_of_acme() -> Scope {
    Scope {
        tenant: Some(ACME),
        domains: None,
    }
}

#[test]
fn entries_of_a_dead_node_are_taken_over_and_shared() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let (a, b, c) = (
            open(&cluster, &folder, "a"),
            open(&cluster, &folder, "b"),
            open(&cluster, &folder, "c"),
        );
        let slots = BTreeSet::from([a.mail.node_slot(), b.mail.node_slot(), c.mail.node_slot()]);
        assert_eq!(slots.len(), 3, "slots differ");
        let make = Maker::new(a.mail.node_slot());
        let mut sent = BTreeSet::new();
        for _ in 0..10 {
            let some: Vec<_> = (0..350)
                .map(|n| make.mail(ACME, &["a@acme.example", &format!("b@d{n}.example")]))
                .collect();
            sent.extend(some.iter().map(|m| m.message.queue_id));
            a.mail.accept(some).await.unwrap();
        }
        assert_eq!((owned(&a).await, owned(&b).await, owned(&c).await), (7_000, 0, 0));
        let mut arrivals = b.mail.arrivals();
        arrivals.mark_unchanged();
        let (epoch_b, died) = (b.mail.lease_epoch(), Instant::now());
        drop(a);
        until("taken over", LEASE * 15 / 12 + Duration::from_secs(3), async || {
            owned(&b).await + owned(&c).await == 7_000
        })
        .await;
        assert!(died.elapsed() >= LEASE * 2 / 3, "not before the lease ended");
        assert!(arrivals.has_changed().unwrap() || owned(&b).await == 0);
        assert_eq!(b.mail.lease_epoch(), epoch_b);
        // All entries of a message have one owner, and tracking is seen from everywhere.
        let id = *sent.first().unwrap();
        assert_eq!(b.mail.entries(id).await.unwrap().len(), 2);
        let found = c
            .mail
            .search(
                Query {
                    queue_id: Some(id),
                    ..Query::default()
                },
                all_of_acme(),
                None,
                9,
            )
            .await
            .unwrap();
        assert_eq!(found.traces.len(), 1);
        // What one node accepted and another delivered is found by both words, on any node.
        let taken = make.mail(ACME, &["once@handed.example"]);
        b.mail.accept(vec![taken.clone()]).await.unwrap();
        assert_eq!(
            sql(
                &cluster,
                "UPDATE entry SET owner = (SELECT epoch FROM node WHERE name = 'c') WHERE recipient = 'once@handed.example'"
            )
            .await,
            1
        );
        assert!(matches!(
            b.mail.settle(vec![delivered(&taken, 0, NOON)]).await,
            Err(StoreError::LeaseLost)
        ));
        c.mail.settle(vec![delivered(&taken, 0, NOON)]).await.unwrap();
        let query = Query {
            recipient: vec!["once@handed.example".into()],
            state: Some("delivered".into()),
            ..Query::default()
        };
        for node in [&b, &c] {
            let found = node.mail.search(query.clone(), all_of_acme(), None, 9).await.unwrap();
            assert_eq!(found.traces.iter().map(|t| t.id).collect::<Vec<_>>(), [taken.message.queue_id]);
            assert_eq!(found.traces[0].records.len(), 3);
        }
        // An orderly end: others take over at once.
        let before = owned(&b).await + owned(&c).await;
        let closed = Instant::now();
        b.mail.close().await.unwrap();
        until("taken over at once", Duration::from_secs(5), async || owned(&c).await == before).await;
        assert!(closed.elapsed() < LEASE + Duration::from_secs(3));
    });
}

#[test]
fn a_node_alone_finds_its_own_entries_after_an_orderly_end() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let a = open(&cluster, &folder, "a");
        let make = Maker::new(a.mail.node_slot());
        let mail = make.mail(ACME, &["a@acme.example"]);
        a.mail.accept(vec![mail.clone()]).await.unwrap();
        let slot = a.mail.node_slot();
        a.mail.close().await.unwrap();
        assert!(!a.mail.lease_holds());
        drop(a);
        let again = open(&cluster, &folder, "a");
        assert_eq!((again.mail.node_slot(), owned(&again).await), (slot, 1));
        again.mail.settle(vec![delivered(&mail, 0, NOON)]).await.unwrap();
        assert!(again.mail.message(mail.message.queue_id).await.unwrap().is_none());
        let trace = again.mail.trace(mail.message.queue_id, all_of_acme()).await.unwrap().unwrap();
        assert_eq!(trace.records.len(), 2);
        let found = again
            .mail
            .search(
                Query {
                    state: Some("delivered".into()),
                    ..Query::default()
                },
                all_of_acme(),
                None,
                9,
            )
            .await
            .unwrap();
        assert_eq!(found.traces.len(), 1);
    });
}

#[test]
fn a_node_that_was_killed_finds_its_entries_at_once_on_its_machine() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let long = Duration::from_secs(60);
        let a = open_at(cluster.url(), &folder, "a", long).unwrap();
        let make = Maker::new(a.mail.node_slot());
        a.mail.accept(vec![make.mail(ACME, &["a@acme.example"])]).await.unwrap();
        // Another of the same name while it lives: a node of its own.
        let twin = open_at(cluster.url(), &folder, "a", long).unwrap();
        assert!(twin.mail.node_slot() != a.mail.node_slot() && owned(&twin).await == 0);
        twin.mail.close().await.unwrap();
        drop(twin);
        sql(&cluster, "DELETE FROM node WHERE until_at = 0").await;
        let slot = a.mail.node_slot();
        drop(a);
        // Its threads end within moments, as those of a killed process do at once.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = open_at(cluster.url(), &folder, "a", long).unwrap();
        assert_eq!((owned(&again).await, again.mail.node_slot()), (1, slot));
        assert!(again.mail.lease_holds());
    });
}

#[test]
fn a_node_that_lost_its_lease_changes_nothing_of_others() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let (a, b) = (open(&cluster, &folder, "a"), open(&cluster, &folder, "b"));
        let make = Maker::new(a.mail.node_slot());
        let mails: Vec<_> = (0..3).map(|_| make.mail(ACME, &["a@acme.example"])).collect();
        a.mail.accept(mails.clone()).await.unwrap();
        let epoch = a.mail.lease_epoch();
        let mut arrivals = a.mail.arrivals();
        arrivals.mark_unchanged();
        // As if a had been stopped for long: its row is gone.
        assert_eq!(sql(&cluster, "DELETE FROM node WHERE name = 'a'").await, 1);
        until("b has them", Duration::from_secs(5), async || owned(&b).await == 3).await;
        // What a had under way: nothing is removed, replaced or born; what happened is told.
        let mut with_dsn = delivered(&mails[0], 0, NOON);
        let dsn = make.mail(ACME, &["s@sender.example"]);
        with_dsn.born = vec![dsn.clone()];
        let late = a.mail.settle(vec![with_dsn]).await;
        assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
        let late = a.mail.settle(vec![deferred(&mails[1], 0, Timestamp(NOON.0 + 1))]).await;
        assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
        assert_eq!(owned(&b).await, 3);
        assert!(b.mail.message(dsn.message.queue_id).await.unwrap().is_none());
        assert_eq!(
            b.mail
                .trace(mails[0].message.queue_id, all_of_acme())
                .await
                .unwrap()
                .unwrap()
                .records
                .len(),
            2
        );
        // It has a new epoch by now, tells its scheduler, and takes new mail.
        assert!(a.mail.lease_epoch() > epoch && a.mail.lease_holds());
        assert!(arrivals.has_changed().unwrap());
        let fresh = make.mail(ACME, &["a@acme.example"]);
        a.mail.accept(vec![fresh]).await.unwrap();
        assert_eq!((owned(&a).await, owned(&b).await), (1, 3));
        // A person asks a about what is b's, which b may be delivering at this moment: a changes nothing.
        let late = a.mail.settle(vec![held(&mails[1], 0, Timestamp(NOON.0 + 99))]).await;
        assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
        let mut gone = delivered(&mails[2], 0, NOON);
        gone.origin = Origin::Person;
        gone.born = vec![dsn.clone()];
        let late = a.mail.settle(vec![gone.clone()]).await;
        assert!(matches!(late, Err(StoreError::LeaseLost)), "{late:?}");
        assert_eq!(owned(&b).await, 3);
        assert_ne!(
            b.mail.entries(mails[1].message.queue_id).await.unwrap()[0].due,
            Timestamp(NOON.0 + 99)
        );
        assert!(b.mail.message(dsn.message.queue_id).await.unwrap().is_none());
        // b's own attempts and actions count.
        b.mail.settle(vec![delivered(&mails[0], 0, NOON)]).await.unwrap();
        b.mail.settle(vec![gone]).await.unwrap();
        assert_eq!(owned(&b).await, 2, "one of three, and the notification");
    });
}

#[test]
fn errands_go_to_whoever_owns_the_entries() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let (a, b) = (open(&cluster, &folder, "a"), open(&cluster, &folder, "b"));
        let make = Maker::new(a.mail.node_slot());
        let (of_a, of_b) = (make.mail(ACME, &["a@acme.example"]), make.mail(ACME, &["b@acme.example"]));
        a.mail.accept(vec![of_a.clone()]).await.unwrap();
        b.mail.accept(vec![of_b.clone()]).await.unwrap();
        let (key_a, key_b) = ((of_a.message.queue_id, 0), (of_b.message.queue_id, 0));
        assert_eq!(a.mail.strangers(vec![key_a, key_b]).await.unwrap(), [key_b]);
        let mut woken = b.mail.arrivals();
        woken.mark_unchanged();
        let ask = Errand {
            id: 7,
            batch: 7,
            tenant: ACME,
            queue_id: key_b.0,
            number: 0,
            action: "\"bounce-now\"".into(),
            actor: "tester".into(),
            asked_at: NOON,
        };
        a.mail.entrust(vec![ask.clone()]).await.unwrap();
        until("b is woken", Duration::from_secs(5), async || woken.has_changed().unwrap()).await;
        let mine = async |store: &Store| {
            let owner = store.mail.owner();
            store.read(move |tx| errand::mine(tx, owner, 9)).await.unwrap()
        };
        assert_eq!((mine(&a).await, mine(&b).await), (vec![], vec![ask.clone()]));
        assert_eq!(a.read(|tx| errand::outcomes(tx, 7)).await.unwrap(), [None]);
        // b dies: its entries and its errands are a's.
        drop(b);
        until("taken over", LEASE * 2 + Duration::from_secs(3), async || owned(&a).await == 2).await;
        assert_eq!(mine(&a).await, std::slice::from_ref(&ask));
        a.write(move |tx| errand::answer(tx, &ask, errand::Outcome::Done)).await.unwrap();
        assert_eq!(mine(&a).await, []);
        assert_eq!(a.read(|tx| errand::outcomes(tx, 7)).await.unwrap(), [Some(errand::Outcome::Done)]);
        a.write(|tx| errand::forget(tx, 7)).await.unwrap();
        assert!(a.read(|tx| errand::outcomes(tx, 7)).await.unwrap().is_empty());
    });
}

/// Connections of nodes, by whether they are encrypted.
async fn encrypted(cluster: &Postgres, whether: &str) -> u64 {
    let text = "SELECT 1 FROM pg_stat_ssl JOIN pg_stat_activity a USING (pid) \
                WHERE a.backend_type = 'client backend' AND pid <> pg_backend_pid() AND ssl = ";
    sql(cluster, &format!("{text}{whether}")).await
}

#[test]
fn a_connection_is_encrypted_and_proven_as_told() {
    let (certificate, key) = testkit::client::pem_pair(&["127.0.0.1"]);
    let (stranger, _) = testkit::client::pem_pair(&["127.0.0.1"]);
    let cluster = Postgres::start_tls(&certificate, &key).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        file.display().to_string()
    };
    let (own, other) = (write("own.pem", &certificate), write("other.pem", &stranger));
    wait(async {
        for (host, parameters, expect) in [
            ("127.0.0.1", "sslmode=disable".to_owned(), Some(false)),
            ("127.0.0.1", String::new(), Some(true)),
            ("127.0.0.1", "sslmode=prefer".into(), Some(true)),
            ("127.0.0.1", "sslmode=require".into(), Some(true)),
            ("localhost", "sslmode=require".into(), Some(true)),
            ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={own}"), Some(true)),
            ("127.0.0.1", format!("sslmode=require&sslrootcert={own}"), Some(true)),
            // Another's certificate, another name, nobody who vouches for it.
            ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={other}"), None),
            ("127.0.0.1", format!("sslmode=require&sslrootcert={other}"), None),
            ("localhost", format!("sslmode=verify-full&sslrootcert={own}"), None),
            ("127.0.0.1", "sslmode=verify-full".into(), None),
        ] {
            let blobs = tempfile::tempdir().unwrap();
            sql(&cluster, "DROP SCHEMA public CASCADE").await;
            sql(&cluster, "CREATE SCHEMA public").await;
            let opened = open_at(cluster.url_with(host, &parameters), &blobs, "a", LEASE);
            let is_as_told = match (&opened, expect) {
                (Ok(_), Some(true)) => encrypted(&cluster, "true").await > 0 && encrypted(&cluster, "false").await == 0,
                (Ok(_), Some(false)) => encrypted(&cluster, "false").await > 0 && encrypted(&cluster, "true").await == 0,
                (Err(_), None) => true,
                (Ok(_), None) | (Err(_), Some(_)) => false,
            };
            assert!(is_as_told, "{host} {parameters}: {:?}", opened.err());
            let Ok(store) = opened else { continue };
            let make = Maker::new(store.mail.node_slot());
            store.mail.accept(vec![make.mail(ACME, &["a@acme.example"])]).await.unwrap();
            store.mail.close().await.unwrap();
            drop(store);
            until("it has hung up", Duration::from_secs(5), async || {
                encrypted(&cluster, "true").await + encrypted(&cluster, "false").await == 0
            })
            .await;
        }
        // A server without TLS.
        let plain = Postgres::start().unwrap();
        let blobs = tempfile::tempdir().unwrap();
        let refused = open_at(plain.url_with("127.0.0.1", "sslmode=require"), &blobs, "a", LEASE);
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{:?}", refused.err());
        open_at(plain.url_with("127.0.0.1", "sslmode=prefer"), &blobs, "a", LEASE).unwrap();
    });
}

#[test]
fn a_lease_ends_while_the_database_is_away() {
    let mut cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let a = open(&cluster, &folder, "a");
        assert!(a.mail.lease_holds());
        cluster.down(Stop::Fast).unwrap();
        tokio::time::sleep(LEASE).await;
        assert!(!a.mail.lease_holds());
        let make = Maker::new(a.mail.node_slot());
        let refused = Instant::now();
        assert!(matches!(
            a.mail.accept(vec![make.mail(ACME, &["a@acme.example"])]).await,
            Err(StoreError::Unavailable(_))
        ));
        assert!(refused.elapsed() < Duration::from_secs(12));
        cluster.up().unwrap();
        let epoch = a.mail.lease_epoch();
        until("the lease is back", Duration::from_secs(10), async || a.mail.lease_holds()).await;
        assert_eq!(a.mail.lease_epoch(), epoch, "nobody took anything");
        until("mail is taken", Duration::from_secs(10), async || {
            a.mail.accept(vec![make.mail(ACME, &["a@acme.example"])]).await.is_ok()
        })
        .await;
    });
}

#[test]
fn a_commit_whose_answer_is_lost_is_looked_up() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let cutter = Cutter::start(([127, 0, 0, 1], cluster.port()).into()).await.unwrap();
        let direct = open(&cluster, &folder, "watcher");
        let store = open_at(cluster.url_at(cutter.port()), &folder, "a", Duration::from_secs(12)).unwrap();
        let make = Maker::new(store.mail.node_slot());
        let mut fates: Vec<(QueueId, bool, Cut)> = Vec::new();
        let mut counts: HashMap<String, (u32, u32)> = HashMap::new();
        for round in 0..20 {
            let wait = Duration::from_millis(60 + 20 * round);
            for cut in [Cut::Before, Cut::After, Cut::Unanswered(wait), Cut::Late(wait)] {
                let earlier = make.mail(ACME, &["a@acme.example"]);
                store.mail.accept(vec![earlier.clone()]).await.unwrap();
                let mail = make.mail(ACME, &["a@acme.example", "b@acme.example"]);
                cutter.set(Trap {
                    marker: mail.message.queue_id.to_string().into_bytes(),
                    end: b"Q\0\0\0\x0bCOMMIT\0".to_vec(),
                    cut,
                });
                let (taken, settled) = tokio::join!(
                    store.mail.accept(vec![mail.clone()]),
                    store.mail.settle(vec![delivered(&earlier, 0, NOON)])
                );
                assert!(cutter.has_snapped(), "{cut:?} {round}");
                settled.unwrap();
                assert!(
                    direct.mail.message(earlier.message.queue_id).await.unwrap().is_none(),
                    "a settlement is never lost"
                );
                let records = direct
                    .mail
                    .trace(earlier.message.queue_id, all_of_acme())
                    .await
                    .unwrap()
                    .unwrap()
                    .records
                    .len();
                assert_eq!(records, 2, "nor told twice");
                match &taken {
                    Ok(()) | Err(StoreError::Unavailable(_)) => {}
                    Err(other) => panic!("{cut:?} {round}: {other:?}"),
                }
                let count = counts.entry(format!("{cut:?}").split('(').next().unwrap().to_owned()).or_default();
                if taken.is_ok() {
                    count.0 += 1
                } else {
                    count.1 += 1
                }
                fates.push((mail.message.queue_id, taken.is_ok(), cut));
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (id, is_ok, cut) in fates {
            assert_eq!(
                direct.mail.message(id).await.unwrap().is_some(),
                is_ok,
                "{cut:?}: there if and only if Ok"
            );
            assert_eq!(direct.mail.entries(id).await.unwrap().len(), if is_ok { 2 } else { 0 });
            assert_eq!(direct.mail.trace(id, all_of_acme()).await.unwrap().is_some(), is_ok);
        }
        eprintln!("(committed, not committed) by cut: {counts:?}");
        assert_eq!(counts["Before"], (0, 20));
        assert_eq!(counts["After"].0 + counts["After"].1, 20);
        assert_eq!(counts["Unanswered"], (20, 0));
    });
}

#[test]
fn a_connection_that_falls_silent_is_given_up() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let cutter = Cutter::start(([127, 0, 0, 1], cluster.port()).into()).await.unwrap();
        let store = open_at(cluster.url_at(cutter.port()), &folder, "a", Duration::from_secs(12)).unwrap();
        let make = Maker::new(store.mail.node_slot());
        let mail = make.mail(ACME, &["a@acme.example"]);
        let id = mail.message.queue_id;
        store.mail.accept(vec![make.mail(ACME, &["a@acme.example"])]).await.unwrap();
        cutter.set(Trap {
            marker: id.to_string().into_bytes(),
            end: b"Q\0\0\0\x0bCOMMIT\0".to_vec(),
            cut: Cut::Silent,
        });
        let begun = Instant::now();
        let taken = store.mail.accept(vec![mail]).await;
        assert!(cutter.has_snapped() && begun.elapsed() < Duration::from_secs(60));
        assert!(matches!(taken, Err(StoreError::Unavailable(_))), "{taken:?}");
        assert!(store.mail.message(id).await.unwrap().is_none());
        assert!(store.mail.lease_holds(), "the lease has a connection of its own");
        store.mail.accept(vec![make.mail(ACME, &["a@acme.example"])]).await.unwrap();
    });
}

#[test]
fn a_control_job_whose_answer_is_lost_is_looked_up() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let cutter = Cutter::start(([127, 0, 0, 1], cluster.port()).into()).await.unwrap();
        let store = open_at(cluster.url_at(cutter.port()), &folder, "a", Duration::from_secs(12)).unwrap();
        for round in 0..20_i64 {
            for cut in [Cut::Before, Cut::After, Cut::Unanswered(Duration::from_millis(100))] {
                let name = format!("job {round} {cut:?}");
                cutter.set(Trap {
                    marker: name.clone().into_bytes(),
                    end: b"Q\0\0\0\x0bCOMMIT\0".to_vec(),
                    cut,
                });
                let given = name.clone();
                let written: Result<u64, StoreError> = store
                    .write(move |tx| tx.execute("INSERT INTO installation (name, held) VALUES (?1, 'x')", &[given.into()]))
                    .await;
                let there = store
                    .read(move |tx| {
                        Ok::<_, StoreError>(!tx.query("SELECT 1 FROM installation WHERE name = ?1", &[name.into()])?.is_empty())
                    })
                    .await
                    .unwrap();
                assert_eq!(there, written.is_ok(), "{cut:?} {round}: {written:?}");
                match cut {
                    Cut::Before => assert!(!there),
                    Cut::Unanswered(_) => assert!(there),
                    Cut::After | Cut::Late(_) | Cut::Silent => {}
                }
            }
        }
    });
}

/// Accepts without end; what was promised is told to `kept`.
async fn load(store: Store, make: Arc<Maker>, stop: Arc<AtomicBool>) -> (Vec<QueueId>, u32) {
    let (mut kept, mut refused) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let mail = make.mail(ACME, &["a@acme.example"]);
        let id = mail.message.queue_id;
        match store.mail.accept(vec![mail]).await {
            Ok(()) => kept.push(id),
            Err(StoreError::Unavailable(_)) => {
                refused += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    (kept, refused)
}

#[test]
fn restarts_under_load_lose_nothing() {
    let mut cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let store = open_at(cluster.url(), &folder, "a", Duration::from_secs(12)).unwrap();
        let make = Arc::new(Maker::new(store.mail.node_slot()));
        let stop = Arc::new(AtomicBool::new(false));
        let sessions: Vec<_> = (0..20)
            .map(|_| tokio::spawn(load(store.clone(), Arc::clone(&make), Arc::clone(&stop))))
            .collect();
        for how in [Stop::Fast, Stop::Immediate, Stop::Kill, Stop::Kill] {
            tokio::time::sleep(Duration::from_millis(700)).await;
            tokio::task::block_in_place(|| cluster.restart(how)).unwrap();
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        stop.store(true, Ordering::Relaxed);
        let (mut kept, mut refused) = (Vec::new(), 0);
        for session in sessions {
            let (ids, n) = session.await.unwrap();
            kept.extend(ids);
            refused += n;
        }
        let there: BTreeSet<_> = store.mail.existing(kept.clone()).await.unwrap().into_iter().collect();
        let lost: Vec<_> = kept.iter().filter(|id| !there.contains(id)).collect();
        assert_eq!(lost, Vec::<&QueueId>::new(), "every Ok is there");
        let in_all = store.mail.queue_count(store::spool::EntryFilter::default()).await.unwrap();
        assert_eq!(in_all, kept.len() as u64, "and nothing else");
        eprintln!("{} accepted, {refused} deferred over four restarts", kept.len());
        assert!(refused > 0 && kept.len() > 100);
    });
}

#[test]
fn seventeen_nodes_are_one_too_many() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        let nodes: Vec<Store> = (0..16)
            .map(|n| open_at(cluster.url(), &folder, &format!("n{n}"), Duration::from_secs(60)).unwrap())
            .collect();
        assert_eq!(nodes.iter().map(|n| n.mail.node_slot()).collect::<BTreeSet<_>>().len(), 16);
        let Err(StoreError::Unavailable(text)) = open_at(cluster.url(), &folder, "late", LEASE).map(drop) else {
            panic!("expected a refusal")
        };
        assert!(text.contains("16 nodes"), "{text}");
        nodes[3].mail.close().await.unwrap();
        assert!(open_at(cluster.url(), &folder, "late", LEASE).is_ok());
    });
}

#[test]
fn another_folder_of_large_bodies_is_refused() {
    let cluster = Postgres::start().unwrap();
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    wait(async {
        assert!(store::pg::probe(&cluster.url(), folder.path()).is_ok(), "an empty database is fine");
        open(&cluster, &folder, "a").mail.close().await.unwrap();
        assert!(store::pg::probe(&cluster.url(), folder.path()).is_ok());
        for refused in [
            store::pg::probe(&cluster.url(), other.path()),
            open_at(cluster.url(), &other, "b", LEASE).map(drop),
        ] {
            assert!(
                matches!(&refused, Err(StoreError::Data(text)) if text.contains("blobs")),
                "{refused:?}"
            );
        }
        assert!(open_at(cluster.url(), &folder, "b", LEASE).is_ok());
    });
}

#[test]
fn old_servers_and_newer_data_are_refused() {
    let cluster = Postgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    wait(async {
        open(&cluster, &folder, "a").mail.close().await.unwrap();
        sql(
            &cluster,
            "INSERT INTO schema_version (number, name, applied_at) VALUES (999, 'later', 0)",
        )
        .await;
        let Err(StoreError::Data(text)) = open_at(cluster.url(), &folder, "a", LEASE).map(drop) else {
            panic!("expected a refusal")
        };
        assert!(text.contains("999"), "{text}");
        let nowhere = open_at("postgresql://postgres@127.0.0.1:1/x?sslmode=disable".into(), &folder, "a", LEASE).map(drop);
        assert!(matches!(nowhere, Err(StoreError::Unavailable(_))), "{nowhere:?}");
    });
}
