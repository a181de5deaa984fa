//! The index against the plain truth: for every field, what a search finds is what reading all traces finds.

use super::live::Live;
use super::matches::Matcher;
use super::segment::{Doc, Head, Written, block_id, build};
use super::*;
use crate::tracking::{AttachmentFacts, Event, Page, Query, Scope, TlsFacts, Trace};
use mail::{Direction, Disposition, Reason, Reference, TenantId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Segments in memory.
#[derive(Default)]
struct Shelf {
    rows: Vec<SegmentRow>,
    heads: BTreeMap<i64, Arc<Head>>,
    blocks: BTreeMap<i64, Vec<u8>>,
    next: i64,
}

impl Segments for Shelf {
    fn list(&mut self) -> Result<Vec<SegmentRow>, StoreError> {
        Ok(self.rows.clone())
    }
    fn head(&mut self, segment: i64) -> Result<Arc<Head>, StoreError> {
        self.heads.get(&segment).cloned().ok_or(StoreError::Unknown)
    }
    fn block(&mut self, id: i64) -> Result<Vec<u8>, StoreError> {
        self.blocks.get(&id).cloned().ok_or(StoreError::Unknown)
    }
}

impl Shelf {
    fn put(&mut self, written: Written, level: i64, traces: u64, min: i64, max: i64) {
        self.next += 1;
        let segment = self.next;
        self.heads.insert(segment, Arc::new(Head::from_blob(&written.head).unwrap()));
        self.blocks
            .extend(written.blocks.into_iter().map(|(n, b)| (block_id(segment, n), b)));
        self.rows.push(SegmentRow {
            segment,
            level,
            traces,
            trace_min: QueueId::from_i64(min),
            trace_max: QueueId::from_i64(max),
        });
    }

    fn put_docs(&mut self, docs: &[Doc]) {
        self.put(build(docs), 0, docs.len() as u64, docs[0].id, docs[docs.len() - 1].id);
    }

    fn merge(&mut self, sources: &[SegmentRow]) {
        let mut early = Vec::new();
        let merged = merge::merge(sources, self, &mut |blocks| {
            early.extend(blocks);
            Ok(())
        })
        .unwrap();
        let mut written = merged.rest;
        written.blocks.extend(early);
        self.put(written, sources[0].level + 1, merged.traces, merged.trace_min, merged.trace_max);
        self.rows.retain(|row| !sources.contains(row));
    }
}

/// The tables in memory.
#[derive(Default)]
struct Tables(BTreeMap<QueueId, Vec<(i64, Record)>>);

impl Records for Tables {
    fn records(&mut self, trace: QueueId) -> Result<Vec<(i64, Record)>, StoreError> {
        Ok(self.0.get(&trace).cloned().unwrap_or_default())
    }
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.roll(of.len())]
    }
}

const ADDRESSES: &[&str] = &[
    "ann@a.example",
    "Bob@b.a.example",
    "cat@c.example",
    "dog@見附.example",
    "\"e e\"@c.example",
];
const SUBJECTS: &[&str] = &[
    "見積書のご送付",
    "ﾐﾂﾓﾘ 2026",
    "Invoice ４２",
    "invoice overdue",
    "会",
    "Re: 会議",
    "",
    "全社会議のお知らせ",
];
const CLIENTS: &[&str] = &[
    "192.0.2.1",
    "192.0.2.130",
    "192.0.3.1",
    "10.1.2.3",
    "2001:db8::1",
    "2001:db8:1::1",
    "::ffff:192.0.2.9",
];
const HOSTS: &[&str] = &["mx1.example.net", "MX2.example.net", "mail.c.example"];
const FILES: &[&str] = &["請求書.pdf", "report final.docx"];
const REASONS: &[Reason] = &[Reason::UserUnknown, Reason::RemoteReply, Reason::NextHopFailed, Reason::Expired];
const DISPOSITIONS: &[Disposition] = &[Disposition::Relay, Disposition::Hold, Disposition::Discard];
const STATES: &[&str] = &["queued", "delivered", "deferred", "failed", "expired", "held", "deleted", "refused"];

fn trace_id(n: usize) -> QueueId {
    QueueId::first_at(Timestamp(1_793_000_000_000 + n as i64 * 1_000))
}

fn reference(n: usize) -> Reference {
    Reference([n as u8; 10])
}

fn first_record(dice: &mut Dice, n: usize) -> Record {
    let to = dice.pick(ADDRESSES).to_owned();
    let mut events = Vec::new();
    if dice.roll(8) > 0 {
        events.push(Event::Connected {
            client: dice.pick(CLIENTS).parse().unwrap(),
            ptr: None,
            iprev: "none".into(),
            country: (dice.roll(2) == 0).then(|| "JP".into()),
            asn: None,
            listener: "x".into(),
        });
    }
    if dice.roll(2) == 0 {
        events.push(Event::Tls {
            tls: TlsFacts {
                version: "TLSv1.3".into(),
                cipher: "x".into(),
                certificate: "none".into(),
                fingerprint: None,
            },
        });
    }
    if dice.roll(6) == 0 {
        let recipient = (dice.roll(2) == 0).then(|| to.clone());
        let reason = REASONS[dice.roll(4)];
        events.push(Event::Refused {
            reason,
            reply: "550".into(),
            reference: Some(reference(n)),
            recipient,
            detail: None,
            count: 1,
        });
    } else {
        let reverse_path = if dice.roll(5) == 0 {
            String::new()
        } else {
            dice.pick(ADDRESSES).to_owned()
        };
        events.push(Event::MailFrom {
            hello: dice.pick(HOSTS).into(),
            reverse_path,
            login: (dice.roll(3) == 0).then(|| "Ann@a.example".into()),
        });
        events.push(Event::Rcpt {
            recipient: to.clone(),
            check: "none".into(),
        });
        let attachment = |name: &str| AttachmentFacts {
            name: name.into(),
            true_type: "x".into(),
            size: 1,
            sha256: format!("{:064X}", name.len()),
        };
        events.push(Event::Accepted {
            size: dice.roll(5_000) as u64,
            message_id: Some(format!("<{}@x>", n % 50)),
            from: vec![dice.pick(ADDRESSES).into()],
            reply_to: vec![],
            to: vec![dice.pick(ADDRESSES).into(), dice.pick(ADDRESSES).into()],
            subject: (dice.roll(9) > 0).then(|| dice.pick(SUBJECTS).into()),
            date: None,
            attachments: if dice.roll(3) == 0 {
                vec![attachment(dice.pick(FILES))]
            } else {
                vec![]
            },
            url_hosts: if dice.roll(2) == 0 { vec![dice.pick(HOSTS).into()] } else { vec![] },
        });
        events.push(Event::Decided {
            recipient: to.clone(),
            disposition: DISPOSITIONS[dice.roll(3)],
            reason: None,
            revision: 1,
        });
        events.push(Event::Queued {
            recipient: to,
            due: Timestamp(0),
        });
    }
    let direction = [None, Some(Direction::Inbound), Some(Direction::Outbound)][dice.roll(3)];
    Record {
        trace: trace_id(n),
        tenant: TenantId(dice.roll(3) as i64),
        direction,
        at: trace_id(n).time(),
        events,
    }
}

fn later_record(dice: &mut Dice, first: &Record) -> Record {
    let recipient = first.events.iter().find_map(|e| {
        if let Event::Queued { recipient, .. } = e {
            Some(recipient.clone())
        } else {
            None
        }
    });
    let recipient = recipient.unwrap_or_else(|| "ann@a.example".into());
    let host = dice.pick(HOSTS).to_owned();
    let event = match dice.roll(7) {
        0 => Event::Deferred {
            recipient,
            reason: Reason::NextHopFailed,
            reply: "451".into(),
            due: Timestamp(0),
        },
        1 => Event::Failed {
            recipient,
            reason: Reason::RemoteReply,
            reply: "550".into(),
        },
        2 => Event::Expired {
            recipient,
            reply: "x".into(),
        },
        3 => Event::Held {
            recipient,
            by: "x".into(),
            reason: Some(Reason::UserUnknown),
            text: None,
        },
        4 => Event::Deleted {
            recipient,
            by: "x".into(),
            text: "x".into(),
        },
        5 => Event::Released { recipient, by: "x".into() },
        _ => Event::Delivered {
            recipient,
            host,
            reply: "250".into(),
            delay_ms: 1,
        },
    };
    Record {
        events: vec![event],
        ..first.clone()
    }
}

/// Pattern texts for an address: itself, its domain, a parent.
fn pattern(dice: &mut Dice) -> String {
    dice.pick(&[
        "ann@a.example",
        "BOB@b.a.example",
        "*@c.example",
        "*@見附.example",
        "*@*.example",
        "*@*.a.example",
        "<>",
        "nobody@x.example",
    ])
    .into()
}

fn query(dice: &mut Dice) -> Query {
    let mut q = Query::default();
    for _ in 0..1 + dice.roll(2) {
        match dice.roll(25) {
            0 => q.since = Some(trace_id(dice.roll(600)).time()),
            1 => q.until = Some(trace_id(dice.roll(600)).time()),
            2 => q.direction = Some([Direction::Inbound, Direction::Outbound, Direction::Internal][dice.roll(3)]),
            3 => q.reverse_path = vec![pattern(dice)],
            4 => q.from = vec![pattern(dice), pattern(dice)],
            5 => q.recipient = vec![pattern(dice)],
            6 => q.to = vec![pattern(dice)],
            7 => {
                q.subject = Some(
                    dice.pick(&[
                        "見積",
                        "みつもり",
                        "INVOICE",
                        "会",
                        "会議",
                        "42 invoice",
                        "ご送付 見積書",
                        "社員",
                        "-",
                    ])
                    .into(),
                )
            }
            8 => q.message_id = Some(format!("{}@x", dice.roll(60))),
            9 => q.queue_id = Some(trace_id(dice.roll(650))),
            10 => q.reference = Some(reference(dice.roll(250))),
            11 => {
                q.client = Some(
                    dice.pick(&[
                        "192.0.2.0/24",
                        "192.0.2.1",
                        "192.0.2.128/25",
                        "192.0.2.0/23",
                        "10.0.0.0/8",
                        "0.0.0.0/1",
                        "2001:db8::/33",
                        "2001:db8::/32",
                        "::/0",
                        "2001:db8::1/100",
                    ])
                    .into(),
                );
            }
            12 => q.country = Some("jp".into()),
            13 => q.hello = Some("mx2.EXAMPLE.net".into()),
            14 => q.next_hop = Some(dice.pick(HOSTS).into()),
            15 => q.disposition = Some(DISPOSITIONS[dice.roll(3)]),
            16 => q.state = Some(dice.pick(STATES).into()),
            17 => q.reason = Some(REASONS[dice.roll(4)]),
            18 => q.size_min = Some(dice.roll(5_000) as u64),
            19 => q.size_max = Some(dice.roll(5_000) as u64),
            20 => q.tls = Some(dice.roll(2) == 0),
            21 => q.attachment = Some(dice.pick(&["請求", "pdf", "report", "docx final"]).into()),
            22 => q.sha256 = Some(format!("{:064x}", dice.pick(FILES).len())),
            23 => q.url_host = Some(dice.pick(HOSTS).into()),
            _ => q.login = Some("ann@A.example".into()),
        }
    }
    q
}

struct World {
    shelf: Shelf,
    tables: Tables,
    live: Live,
}

/// 600 traces with one to four records, in segments of several levels, with late copies, and in memory.
fn world(dice: &mut Dice) -> World {
    let mut world = World {
        shelf: Shelf::default(),
        tables: Tables::default(),
        live: Live::new(0, 0),
    };
    let mut seq = 0;
    for n in 0..600 {
        let first = first_record(dice, n);
        world.add(&mut seq, first.clone());
        for _ in 0..dice.roll(2) {
            let later = later_record(dice, &first);
            world.add(&mut seq, later);
        }
        // Word on an old trace, whose segment is written.
        if n > 0 && n % 3 == 0 {
            let old = world.tables.0.values().nth(dice.roll(n)).unwrap()[0].1.clone();
            let later = later_record(dice, &old);
            world.add(&mut seq, later);
        }
        if n % 29 == 28 {
            let (docs, _) = world.live.to_flush(true).unwrap();
            let known = world.live.known_seq();
            world.shelf.put_docs(&docs);
            world.live.flushed(&docs, known);
        }
        if let Some(sources) = merge::due(&world.shelf.rows) {
            world.shelf.merge(&sources);
        }
    }
    world
}

impl World {
    fn add(&mut self, seq: &mut i64, record: Record) {
        *seq += 1;
        self.tables.0.entry(record.trace).or_default().push((*seq, record.clone()));
        let tables = &self.tables;
        let earlier = &mut |id: QueueId, below: i64| {
            Ok(tables
                .0
                .get(&id)
                .into_iter()
                .flatten()
                .filter(|(s, _)| *s < below)
                .map(|(_, r)| r.clone())
                .collect())
        };
        self.live.absorb(*seq, &record, earlier).unwrap();
    }

    fn search(&mut self, query: &Query, scope: &Scope, limit: usize) -> Vec<QueueId> {
        let mut out = Vec::new();
        let mut before = None;
        loop {
            let Some(plan) = plan::plan(query, scope, before) else { return out };
            let live = self.live.candidates(&plan);
            let page: Page = search::search(query, scope, &plan, live, &mut self.shelf, &mut self.tables, limit).unwrap();
            assert!(page.traces.len() <= limit);
            out.extend(page.traces.iter().map(|t| t.id));
            before = page.next;
            if before.is_none() {
                return out;
            }
        }
    }

    fn truth(&self, query: &Query, scope: &Scope) -> Vec<QueueId> {
        let matcher = Matcher::new(query);
        let all = self.tables.0.iter().rev().filter_map(|(id, records)| {
            let records = records.iter().map(|(_, r)| r.clone()).collect();
            let trace: Trace = search::whole(*id, scope, records)?;
            let is_hidden = scope.tenant.is_none() && matches::asks_for_redacted(query);
            (!is_hidden && matcher.is_met_by(&trace, scope)).then_some(*id)
        });
        all.collect()
    }
}

#[test]
fn what_is_found_is_what_is_there() {
    let mut dice = Dice(20_261_124);
    let mut world = world(&mut dice);
    assert!(world.shelf.rows.iter().any(|r| r.level == 1) && world.shelf.rows.len() > 2 && !world.live.is_empty());
    let mut found = 0;
    let mut fields: BTreeSet<String> = BTreeSet::new();
    for round in 0..1_200 {
        let query = query(&mut dice);
        let scope = Scope {
            tenant: (dice.roll(5) > 0).then(|| TenantId(dice.roll(3) as i64)),
            domains: (dice.roll(5) == 0).then(|| vec!["a.example".into(), "c.example".into()]),
        };
        let expect = world.truth(&query, &scope);
        let limit = [9, 30, 100][round % 3];
        assert_eq!(world.search(&query, &scope, limit), expect, "{query:?} {scope:?}");
        found += usize::from(!expect.is_empty());
        if !expect.is_empty() {
            let json = serde_json::to_value(&query).unwrap();
            fields.extend(
                json.as_object()
                    .unwrap()
                    .iter()
                    .filter(|(_, v)| !v.is_null() && !v.as_array().is_some_and(Vec::is_empty))
                    .map(|(k, _)| k.clone()),
            );
        }
    }
    assert!(found > 400, "the queries find something: {found}");
    assert_eq!(fields.len(), 25, "every field found something at least once: {fields:?}");
}

#[test]
fn a_merge_forgets_what_has_changed() {
    let mut dice = Dice(5);
    let mut world = World {
        shelf: Shelf::default(),
        tables: Tables::default(),
        live: Live::new(0, 0),
    };
    let mut seq = 0;
    let first = first_record(&mut Dice(2), 1);
    let mut docs = Vec::new();
    for event in [
        Event::Deferred {
            recipient: "x@a.example".into(),
            reason: Reason::NextHopFailed,
            reply: "451".into(),
            due: Timestamp(0),
        },
        Event::Delivered {
            recipient: "x@a.example".into(),
            host: "h".into(),
            reply: "250".into(),
            delay_ms: 1,
        },
    ] {
        world.add(
            &mut seq,
            Record {
                events: vec![event],
                ..first.clone()
            },
        );
        let other = 100 + seq as usize;
        world.add(&mut seq, first_record(&mut dice, other));
        let (flushed, _) = world.live.to_flush(true).unwrap();
        world.shelf.put_docs(&flushed);
        world.live.flushed(&flushed, seq);
        docs.push(flushed);
    }
    let sources = world.shelf.rows.clone();
    world.shelf.merge(&sources);
    assert_eq!(world.shelf.rows[0].traces, 3);
    let head = world.shelf.head(world.shelf.rows[0].segment).unwrap();
    let has = |state: &str| {
        let term = term::state_term(crate::tracking::state::State::parse(state).unwrap());
        head.block_of(term).and_then(|n| {
            let bytes = &world.shelf.blocks[&block_id(world.shelf.rows[0].segment, n)];
            segment::find_in_block(bytes, head.block_terms[n as usize], term).unwrap()
        })
    };
    assert_eq!(has("deferred"), None);
    assert!(has("delivered").is_some());
}

#[test]
fn damaged_blobs_are_errors() {
    let docs: Vec<Doc> = (0..2_000)
        .map(|n| Doc {
            id: n * 3,
            size: 5,
            terms: (0..30).map(|t| (n as u64 * 31 + t) % 4_001).collect(),
        })
        .collect();
    let written = build(&docs);
    for len in 0..written.head.len() {
        assert!(Head::from_blob(&written.head[..len]).is_err(), "{len}");
    }
    for (_, block) in &written.blocks {
        assert!(block.len() < 4_600);
        for len in [0, 1, block.len() / 2, block.len() - 1] {
            // No panic; a cut that falls between two entries cannot be told from a shorter block.
            let _ = segment::find_in_block(&block[..len], 0, u64::MAX);
            let _ = segment::read_chunk(&block[..len]);
        }
    }
}
