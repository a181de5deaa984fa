//! What a store must do, whichever engine it is. Each function gets a store of its own, empty.

use super::make::*;
use mail::{Direction, LaneId, Notify, Reason, Reference, ReversePath, TenantId, Timestamp};
use std::collections::BTreeSet;
use std::time::Duration;
use store::spool::{Body, Change, EntryFilter, EntryState, SpoolMessage};
use store::sql::Value;
use store::tracking::{Event, Query, Record, Scope};
use store::{Store, StoreError};

const ALL: Scope = Scope {
    tenant: None,
    domains: None,
};

fn of(tenant: TenantId) -> Scope {
    Scope {
        tenant: Some(tenant),
        domains: None,
    }
}

fn later(minutes: i64) -> Timestamp {
    Timestamp(NOON.0 + minutes * 60_000)
}

async fn due(store: &Store, lane: LaneId, until: Timestamp) -> Vec<(mail::QueueId, u32)> {
    store
        .mail
        .due(lane, until, None, 100)
        .await
        .unwrap()
        .iter()
        .map(|e| (e.queue_id, e.number))
        .collect()
}

fn same_message(a: &SpoolMessage, b: &SpoolMessage) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
}

pub(crate) async fn what_is_accepted_is_read_back(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let mut plain = make.mail(ACME, &["a@acme.example", "\"b b\"@acme.example", "c@other.example"]);
    plain.entries[1].notify = Notify::Never;
    plain.entries[2].variant = 0;
    plain.entries[2].forced_next_hop = Some("[2001:db8::1]:25".into());
    let mut null = make.mail(OTHER, &["利用者@acme.example"]);
    null.message.reverse_path = ReversePath::Null;
    null.message.direction = Direction::Outbound;
    null.message.cause = Some(plain.message.queue_id);
    null.message.body = Body::Blob {
        id: blob(),
        size: null.message.size,
    };
    store.mail.accept(vec![plain.clone(), null.clone()]).await.unwrap();
    for a in [&plain, &null] {
        let id = a.message.queue_id;
        same_message(&store.mail.message(id).await.unwrap().unwrap(), &a.message);
        let entries = store.mail.entries(id).await.unwrap();
        assert_eq!(format!("{entries:?}"), format!("{:?}", a.entries));
        let trace = store.mail.trace(id, of(a.message.tenant)).await.unwrap().unwrap();
        assert_eq!(
            (trace.tenant, trace.records.as_slice()),
            (a.message.tenant, std::slice::from_ref(&a.record))
        );
    }
    assert!(store.mail.message(make.id()).await.unwrap().is_none());
    assert!(store.mail.entries(make.id()).await.unwrap().is_empty());
    let unknown = make.id();
    assert_eq!(
        store.mail.existing(vec![unknown, plain.message.queue_id]).await.unwrap(),
        [plain.message.queue_id]
    );
    let mut lanes = store.mail.lanes().await.unwrap();
    lanes.sort_by_key(|l| (l.tenant, l.entries));
    let seen: Vec<_> = lanes.iter().map(|l| (l.lane, l.tenant, l.entries, l.first_due)).collect();
    let mut expect = vec![
        (lane(ACME, "c@other.example"), ACME, 1, NOON),
        (lane(ACME, "a@acme.example"), ACME, 2, NOON),
        (lane(OTHER, "x@acme.example"), OTHER, 1, NOON),
    ];
    expect.sort_by_key(|l| (l.1, l.2));
    assert_eq!(seen, expect);
}

pub(crate) async fn due_entries_come_soonest_first_and_by_pages(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let mut all = Vec::new();
    for minute in [5, 1, 3, 1, 9] {
        let mut a = make.mail(ACME, &["a@acme.example", "b@acme.example"]);
        a.entries.iter_mut().for_each(|e| e.due = later(minute));
        all.push((minute, a));
    }
    store.mail.accept(all.iter().map(|(_, a)| a.clone()).collect()).await.unwrap();
    let lane = lane(ACME, "a@acme.example");
    let mut expect: Vec<(i64, mail::QueueId, u32)> = all
        .iter()
        .filter(|(m, _)| *m <= 5)
        .flat_map(|(m, a)| [(*m, a.message.queue_id, 0), (*m, a.message.queue_id, 1)])
        .collect();
    expect.sort_unstable();
    let mut after = None;
    let mut seen = Vec::new();
    loop {
        let page = store.mail.due(lane, later(5), after, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.due, last.queue_id, last.number));
        seen.extend(page.iter().map(|e| ((e.due.0 - NOON.0) / 60_000, e.queue_id, e.number)));
    }
    assert_eq!(seen, expect);
    assert_eq!(store.mail.next_due(lane, later(1)).await.unwrap(), Some(later(3)));
    assert_eq!(store.mail.next_due(lane, later(9)).await.unwrap(), None);
    assert_eq!(store.mail.next_due(LaneId(1), NOON).await.unwrap(), None);
}

pub(crate) async fn a_message_goes_with_its_last_entry(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let a = make.mail(ACME, &["a@acme.example", "b@acme.example"]);
    let id = a.message.queue_id;
    store.mail.accept(vec![a.clone()]).await.unwrap();
    store.mail.settle(vec![delivered(&a, 0, later(1))]).await.unwrap();
    assert!(store.mail.message(id).await.unwrap().is_some());
    assert_eq!(due(store_ref(&store), a.entries[1].lane, later(9)).await, [(id, 1)]);
    store.mail.settle(vec![delivered(&a, 1, later(2))]).await.unwrap();
    assert!(store.mail.message(id).await.unwrap().is_none());
    assert!(store.mail.lanes().await.unwrap().is_empty());
    let trace = store.mail.trace(id, of(ACME)).await.unwrap().unwrap();
    assert_eq!(trace.records.len(), 3);
    assert!(matches!(trace.records[2].events[0], Event::Delivered { .. }));
    // Told twice (the answer was lost, say): nothing comes back.
    store.mail.settle(vec![deferred(&a, 1, later(3))]).await.unwrap();
    assert!(store.mail.entries(id).await.unwrap().is_empty());
}

fn store_ref(store: &Store) -> &Store {
    store
}

pub(crate) async fn a_body_outside_goes_with_its_message(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let mut a = make.mail(ACME, &["a@acme.example"]);
    let mut writer = store.blobs.writer(ACME, a.message.queue_id);
    writer.write(&[b'x'; 300_000]).await.unwrap();
    let (blob, size) = writer.finish().await.unwrap();
    a.message.size = size;
    a.message.body = Body::Blob { id: blob, size };
    store.mail.accept(vec![a.clone()]).await.unwrap();
    assert!(store.blobs.reader(blob, ACME, a.message.queue_id).await.is_ok());
    store.mail.settle(vec![delivered(&a, 0, later(1))]).await.unwrap();
    for _ in 0..500 {
        if store.blobs.reader(blob, ACME, a.message.queue_id).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the body is still there");
}

pub(crate) async fn an_attempt_and_a_person_change_one_entry(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let a = make.mail(ACME, &["a@acme.example"]);
    let (id, lane) = (a.message.queue_id, a.entries[0].lane);
    store.mail.accept(vec![a.clone()]).await.unwrap();
    store.mail.settle(vec![deferred(&a, 0, later(5))]).await.unwrap();
    let entry = store.mail.entries(id).await.unwrap().remove(0);
    assert_eq!(
        (entry.due, entry.attempts, entry.reason),
        (later(5), 1, Some(Reason::NextHopFailed))
    );
    assert!(entry.last_reply.unwrap().starts_with("mx.example.net: 451 later"));
    assert_eq!(due(&store, lane, later(4)).await, []);
    // Held while an attempt runs: the attempt's outcome does not end the hold.
    let mut arrivals = store.mail.arrivals();
    arrivals.mark_unchanged();
    store.mail.settle(vec![held(&a, 0, later(60))]).await.unwrap();
    store.mail.settle(vec![deferred(&a, 0, later(7))]).await.unwrap();
    let entry = store.mail.entries(id).await.unwrap().remove(0);
    assert_eq!((entry.state, entry.due, entry.attempts), (EntryState::Held, later(60), 1));
    // A person's release counts.
    let mut released = held(&a, 0, later(8));
    if let Change::Replace(entry) = &mut released.changes[0].1 {
        entry.state = EntryState::Queued;
        entry.forced_next_hop = Some("mx.example:25".into());
    }
    store.mail.settle(vec![released]).await.unwrap();
    // What a person chose while an attempt ran stays.
    store.mail.settle(vec![deferred(&a, 0, later(9))]).await.unwrap();
    let entry = store.mail.entries(id).await.unwrap().remove(0);
    assert_eq!((entry.state, entry.due), (EntryState::Queued, later(9)));
    assert_eq!(entry.forced_next_hop.as_deref(), Some("mx.example:25"));
}

pub(crate) async fn messages_are_born_with_a_settlement(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let a = make.mail(ACME, &["a@acme.example"]);
    store.mail.accept(vec![a.clone()]).await.unwrap();
    let mut dsn = make.mail(ACME, &["Sender@sender.example"]);
    dsn.message.cause = Some(a.message.queue_id);
    let mut failed = delivered(&a, 0, later(1));
    failed.born = vec![dsn.clone()];
    store.mail.settle(vec![failed]).await.unwrap();
    assert!(store.mail.message(a.message.queue_id).await.unwrap().is_none());
    let born = store.mail.message(dsn.message.queue_id).await.unwrap().unwrap();
    assert_eq!(born.cause, Some(a.message.queue_id));
    assert_eq!(store.mail.entries(dsn.message.queue_id).await.unwrap().len(), 1);
    assert!(store.mail.trace(dsn.message.queue_id, of(ACME)).await.unwrap().is_some());
}

pub(crate) async fn one_bad_member_takes_no_other_with_it(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let first = make.mail(ACME, &["a@acme.example"]);
    store.mail.accept(vec![first.clone()]).await.unwrap();
    let good: Vec<_> = (0..20).map(|_| make.mail(ACME, &["b@acme.example"])).collect();
    // The same id twice: a defect elsewhere, which must stay where it is.
    let bad = store.mail.accept(vec![first]);
    let rest: Vec<_> = good.iter().map(|a| store.mail.accept(vec![a.clone()])).collect();
    let (bad, ()) = tokio::join!(bad, async {
        for one in rest {
            one.await.unwrap();
        }
    });
    assert!(matches!(bad, Err(StoreError::Engine(text)) if text.contains("unique")));
    for a in good {
        assert!(store.mail.message(a.message.queue_id).await.unwrap().is_some());
    }
}

pub(crate) async fn the_queue_is_listed_and_counted_by_filter(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let mut one = make.mail(ACME, &["a@acme.example", "b@sub.acme.example"]);
    one.entries[0].last_reply = Some("mx1.example.net: 451 4.7.1 later".into());
    one.entries[0].reason = Some(Reason::RemoteReply);
    let mut two = make.mail(ACME, &["c@acme.example"]);
    two.entries[0].state = EntryState::Held;
    two.message.reverse_path = ReversePath::Null;
    let mut three = make.mail(OTHER, &["a_c@acme.example"]);
    three.message.received_at = later(-60);
    store.mail.accept(vec![one.clone(), two.clone(), three.clone()]).await.unwrap();
    let (p, q, r, s) = (
        (one.message.queue_id, 0),
        (one.message.queue_id, 1),
        (two.message.queue_id, 0),
        (three.message.queue_id, 0),
    );
    let f = EntryFilter::default;
    let domain = |d: &str| EntryFilter {
        domain: Some(d.into()),
        ..f()
    };
    let sender = |d: &str| EntryFilter {
        sender: Some(d.into()),
        ..f()
    };
    let cases = [
        ("all", f(), vec![p, q, r, s]),
        ("tenant", EntryFilter { tenant: Some(ACME), ..f() }, vec![p, q, r]),
        ("domain", domain("acme.example"), vec![p, r, s]),
        ("no part of a domain", domain("cme.example"), vec![]),
        ("no pattern", domain("acme_example"), vec![]),
        (
            "domain of a tenant",
            EntryFilter {
                tenant: Some(OTHER),
                ..domain("acme.example")
            },
            vec![s],
        ),
        (
            "message",
            EntryFilter {
                queue_id: Some(one.message.queue_id),
                ..f()
            },
            vec![p, q],
        ),
        (
            "message of another",
            EntryFilter {
                queue_id: Some(one.message.queue_id),
                tenant: Some(OTHER),
                ..f()
            },
            vec![],
        ),
        ("sender", sender("sender@sender.example"), vec![p, q, s]),
        ("sender's domain", sender("*@sender.example"), vec![p, q, s]),
        ("no part of a sender's domain", sender("*@ender.example"), vec![]),
        ("null sender", sender("<>"), vec![r]),
        (
            "reason",
            EntryFilter {
                reason: Some(Reason::RemoteReply),
                ..f()
            },
            vec![p],
        ),
        (
            "next hop",
            EntryFilter {
                next_hop: Some("mx1.example.net".into()),
                ..f()
            },
            vec![p],
        ),
        (
            "held",
            EntryFilter {
                state: Some(EntryState::Held),
                ..f()
            },
            vec![r],
        ),
        (
            "old",
            EntryFilter {
                received_before: Some(NOON),
                ..f()
            },
            vec![s],
        ),
        (
            "domains in scope",
            EntryFilter {
                domains: Some(vec!["sub.acme.example".into(), "x.example".into()]),
                ..f()
            },
            vec![q],
        ),
        (
            "no domain in scope",
            EntryFilter {
                domains: Some(vec![]),
                ..f()
            },
            vec![],
        ),
    ];
    for (name, filter, mut expect) in cases {
        expect.sort_unstable();
        let mut seen = Vec::new();
        let mut after = None;
        loop {
            let page = store.mail.queue_page(filter.clone(), after, 2).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.entry.queue_id, last.entry.number));
            seen.extend(page.iter().map(|row| (row.entry.queue_id, row.entry.number)));
        }
        assert_eq!(seen, expect, "{name}");
        assert_eq!(store.mail.queue_count(filter).await.unwrap(), expect.len() as u64, "{name}");
    }
    let row = store
        .mail
        .queue_page(
            EntryFilter {
                queue_id: Some(three.message.queue_id),
                ..f()
            },
            None,
            9,
        )
        .await
        .unwrap()
        .remove(0);
    assert_eq!(
        (row.direction, row.size, row.received_at),
        (Direction::Inbound, three.message.size, later(-60))
    );
    assert_eq!(row.reverse_path, three.message.reverse_path);
}

pub(crate) async fn traces_are_found_by_what_happened(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let mut one = make.mail(ACME, &["a@acme.example"]);
    one.record = accepted(one.message.queue_id, ACME, NOON, &["a@acme.example"], "四半期の報告書");
    let two = make.mail(OTHER, &["b@other.example"]);
    store.mail.accept(vec![one.clone(), two.clone()]).await.unwrap();
    let reference = Reference::random();
    let refused = make.id();
    let event = Event::Refused {
        reason: Reason::UserUnknown,
        reply: "550 5.1.1 no such user".into(),
        reference: Some(reference),
        recipient: Some("nobody@acme.example".into()),
        detail: None,
        count: 1,
    };
    store.mail.record(vec![Record {
        trace: refused,
        tenant: ACME,
        direction: Some(Direction::Inbound),
        at: NOON,
        events: vec![event],
    }]);
    store.mail.settle(vec![delivered(&one, 0, later(1))]).await.unwrap();
    let (p, q) = (one.message.queue_id, two.message.queue_id);
    let f = Query::default;
    let cases = [
        ("all of a tenant", f(), of(ACME), vec![p, refused]),
        ("all of another", f(), of(OTHER), vec![q]),
        ("the operator's", f(), ALL, vec![p, q, refused]),
        (
            "recipient",
            Query {
                recipient: vec!["A@acme.example".into()],
                ..f()
            },
            of(ACME),
            vec![p],
        ),
        (
            "recipient of another",
            Query {
                recipient: vec!["b@other.example".into()],
                ..f()
            },
            of(ACME),
            vec![],
        ),
        (
            "domain",
            Query {
                recipient: vec!["*@acme.example".into()],
                ..f()
            },
            of(ACME),
            vec![p, refused],
        ),
        (
            "subject",
            Query {
                subject: Some("報告".into()),
                ..f()
            },
            of(ACME),
            vec![p],
        ),
        (
            "subject, not for the operator",
            Query {
                subject: Some("報告".into()),
                ..f()
            },
            ALL,
            vec![],
        ),
        (
            "state",
            Query {
                state: Some("delivered".into()),
                ..f()
            },
            of(ACME),
            vec![p],
        ),
        (
            "refused",
            Query {
                state: Some("refused".into()),
                ..f()
            },
            of(ACME),
            vec![refused],
        ),
        (
            "reference",
            Query {
                reference: Some(reference),
                ..f()
            },
            of(ACME),
            vec![refused],
        ),
        (
            "reference, another's",
            Query {
                reference: Some(reference),
                ..f()
            },
            of(OTHER),
            vec![],
        ),
        (
            "client",
            Query {
                client: Some("192.0.2.0/24".into()),
                ..f()
            },
            of(OTHER),
            vec![q],
        ),
        ("queue id", Query { queue_id: Some(q), ..f() }, of(OTHER), vec![q]),
        (
            "next hop",
            Query {
                next_hop: Some("mx.example.net".into()),
                ..f()
            },
            of(ACME),
            vec![p],
        ),
        (
            "too late",
            Query {
                since: Some(later(1)),
                ..f()
            },
            of(ACME),
            vec![],
        ),
        (
            "domains in scope",
            f(),
            Scope {
                tenant: Some(ACME),
                domains: Some(vec!["elsewhere.example".into()]),
            },
            vec![],
        ),
    ];
    for (name, query, scope, mut expect) in cases {
        expect.sort_unstable();
        let mut seen = BTreeSet::new();
        let mut before = None;
        loop {
            let page = store.mail.search(query.clone(), scope.clone(), before, 1).await.unwrap();
            seen.extend(page.traces.iter().map(|t| t.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), expect, "{name}");
    }
    assert!(store.mail.trace(p, of(OTHER)).await.unwrap().is_none());
    assert!(store.mail.trace(make.id(), ALL).await.unwrap().is_none());
}

pub(crate) async fn many_traces_are_found_after_they_left_memory(store: Store) {
    let make = Maker::new(store.mail.node_slot());
    let mut wanted = BTreeSet::new();
    for round in 0..30 {
        let mut some = Vec::new();
        for n in 0..400 {
            let mut a = make.mail(ACME, &["a@acme.example"]);
            if n == 7 {
                a.record = accepted(a.message.queue_id, ACME, NOON, &["needle@acme.example"], &format!("needle {round}"));
                wanted.insert(a.message.queue_id);
            }
            some.push(a);
        }
        store.mail.accept(some).await.unwrap();
    }
    let query = Query {
        recipient: vec!["needle@acme.example".into()],
        ..Query::default()
    };
    // Once at once, and again when segments are being written.
    for _ in 0..8 {
        let page = store.mail.search(query.clone(), of(ACME), None, 100).await.unwrap();
        assert_eq!(page.traces.iter().map(|t| t.id).collect::<BTreeSet<_>>(), wanted);
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
}

pub(crate) async fn tracking_expires_by_tenant(store: Store) {
    let mut make = Maker::new(store.mail.node_slot());
    let day = 86_400_000;
    let mut ids = Vec::new();
    for days_ago in [40, 20, 0] {
        make.now = Timestamp(NOON.0 - days_ago * day);
        for tenant in [ACME, OTHER] {
            let a = make.mail(tenant, &["a@acme.example"]);
            store.mail.accept(vec![a.clone()]).await.unwrap();
            store.mail.settle(vec![delivered(&a, 0, make.now)]).await.unwrap();
            ids.push((days_ago, tenant, a.message.queue_id));
        }
    }
    let ago = |days: i64| Timestamp(NOON.0 - days * day);
    let gone = store.mail.expire_tracking(vec![(OTHER, ago(10))], ago(30)).await.unwrap();
    assert_eq!(gone, 2 * 3);
    let newest: Vec<_> = ids
        .iter()
        .filter(|(days_ago, ..)| *days_ago == 0)
        .map(|(_, tenant, id)| (*tenant, *id))
        .collect();
    for (days_ago, tenant, id) in ids {
        let expect = days_ago < if tenant == OTHER { 10 } else { 30 };
        assert_eq!(
            store.mail.trace(id, of(tenant)).await.unwrap().is_some(),
            expect,
            "{days_ago} {tenant:?}"
        );
        let found = store
            .mail
            .search(
                Query {
                    queue_id: Some(id),
                    ..Query::default()
                },
                of(tenant),
                None,
                9,
            )
            .await
            .unwrap();
        assert_eq!(found.traces.len(), usize::from(expect), "{days_ago} {tenant:?}");
    }
    assert_eq!(store.mail.expire_tracking(vec![(OTHER, ago(10))], ago(30)).await.unwrap(), 0);
    // Traces of a domain that is gone: named one by one, and only the tenant's own.
    let named = newest.iter().map(|(_, id)| *id).collect();
    assert_eq!(store.mail.forget_traces(OTHER, named).await.unwrap(), 2);
    for (tenant, id) in newest {
        assert_eq!(
            store.mail.trace(id, of(tenant)).await.unwrap().is_some(),
            tenant == ACME,
            "{tenant:?}"
        );
        let query = Query {
            queue_id: Some(id),
            ..Query::default()
        };
        let found = store.mail.search(query, of(tenant), None, 9).await.unwrap();
        assert_eq!(found.traces.len(), usize::from(tenant == ACME), "{tenant:?}");
    }
    // A late word on an old trace finds its day again.
    make.now = ago(40);
    store.mail.accept(vec![make.mail(ACME, &["a@acme.example"])]).await.unwrap();
}

pub(crate) async fn control_jobs_are_whole_or_nothing(store: Store) {
    const INSERT: &str = "INSERT INTO installation (name, held) VALUES (?1, ?2)";
    const SELECT: &str = "SELECT held FROM installation WHERE name = ?1";
    let insert = |name: &'static str, held: &'static str| store.write(move |tx| tx.execute(INSERT, &[name.into(), held.into()]));
    let read = |name: &'static str| {
        store.read(move |tx| Ok::<_, StoreError>(tx.query(SELECT, &[name.into()])?.first().map(|r| r.text(0).unwrap().to_owned())))
    };
    assert_eq!(insert("a", "1").await.unwrap(), 1);
    assert_eq!(read("a").await.unwrap().as_deref(), Some("1"));
    let twice = insert("a", "2").await;
    assert!(
        matches!(&twice, Err(StoreError::Engine(text)) if text.contains("unique")),
        "{twice:?}"
    );
    let undone: Result<(), StoreError> = store
        .write(|tx| {
            tx.execute(INSERT, &["b".into(), "1".into()])?;
            Err(StoreError::Conflict { current: 5 })
        })
        .await;
    assert!(matches!(undone, Err(StoreError::Conflict { current: 5 })));
    assert_eq!(read("b").await.unwrap(), None);
    let values = store
        .write(|tx| {
            tx.execute(
                "INSERT INTO counter (name, held) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET held = excluded.held",
                &["a'?1".into(), i64::MIN.into()],
            )?;
            tx.query(
                "SELECT held, name, CAST(NULL AS TEXT), COUNT(*), SUM(held) FROM counter WHERE name = ?1 GROUP BY held, name",
                &["a'?1".into()],
            )
        })
        .await
        .map_err(|e: StoreError| e)
        .unwrap();
    let expect = [
        Value::Int(i64::MIN),
        Value::Text("a'?1".into()),
        Value::Null,
        Value::Int(1),
        Value::Int(i64::MIN),
    ];
    assert_eq!(values[0].0, expect);
    let panicked: Result<(), StoreError> = store.write(|_| panic!("a job that fails badly")).await;
    assert!(panicked.is_err());
    assert_eq!(read("a").await.unwrap().as_deref(), Some("1"), "the engine goes on");
    // Counting up by reading and writing: no two see the same number.
    let count = || {
        store.write(|tx| {
            let n = tx.query("SELECT held FROM counter WHERE name = 'tenant'", &[])?[0].int(0)? + 1;
            tx.execute("UPDATE counter SET held = ?1 WHERE name = 'tenant'", &[n.into()])?;
            Ok::<_, StoreError>(n)
        })
    };
    let (a, b, c) = tokio::join!(count(), count(), count());
    assert_eq!(BTreeSet::from([a.unwrap(), b.unwrap(), c.unwrap()]).len(), 3);
}

pub(crate) async fn a_single_node_holds_its_lease(store: Store) {
    assert!(store.mail.lease_holds());
    assert!(store.mail.lease_epoch() >= 1);
    assert!(store.mail.node_slot() < 16);
    let (free, all) = store.mail.free_space().unwrap();
    assert!(free <= all && all > 0);
    store.mail.close().await.unwrap();
    let make = Maker::new(0);
    assert!(matches!(
        store.mail.accept(vec![make.mail(ACME, &["a@acme.example"])]).await,
        Err(StoreError::Unavailable(_))
    ));
}
