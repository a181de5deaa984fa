//! Batch: how does everything that waits become one transaction?
//!
//! In:  acceptances, settlements, records. Out: statements over arrays, sent one after another without waiting, and what they touched.
//! Invariants: whoever touches entries locks their message first, in order of queue ids; an attempt's settlement touches only entries of
//! this node's epoch; with its last entry goes the message; a message is born only of an entry that was still there.

use mail::{BlobId, QueueId, TenantId};
use postgres_types::ToSql;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;
use tokio_postgres::Row;

use super::lease::Identity;
use super::session::{Fault, Session, Step, pipelined};
use crate::StoreError;
use crate::spool::code::{direction_code, head_of, notify_code, state_code};
use crate::spool::{Acceptance, Body, Change, Entry, Origin, Settlement};
use crate::tracking::{Record, record};

type Param<'a> = &'a (dyn ToSql + Sync);

/// One piece of work for the writer.
pub(super) enum Job {
    Accept(Vec<Acceptance>),
    Settle(Vec<Settlement>),
    Record(Vec<Record>),
}

impl Job {
    /// About how much of it will go over the wire.
    pub(super) fn bytes(&self) -> usize {
        let accept = |a: &Acceptance| {
            let body = if let Body::Inline(bytes) = &a.message.body {
                bytes.len()
            } else {
                0
            };
            2_048 + body + a.entries.len() * 256
        };
        match self {
            Self::Accept(all) => all.iter().map(accept).sum(),
            Self::Settle(all) => all
                .iter()
                .map(|s| 1_024 + s.changes.len() * 256 + s.born.iter().map(accept).sum::<usize>())
                .sum(),
            Self::Record(all) => all.len() * 1_024,
        }
    }

    pub(super) fn settlements(&self) -> &[Settlement] {
        if let Self::Settle(all) = self { all } else { &[] }
    }

    fn acceptances(&self) -> &[Acceptance] {
        if let Self::Accept(all) = self { all } else { &[] }
    }

    fn records(&self) -> &[Record] {
        if let Self::Record(all) = self { all } else { &[] }
    }

    /// Its records, in the order in which they are numbered.
    pub(super) fn into_records(self) -> impl Iterator<Item = Record> {
        let all: Vec<Record> = match self {
            Self::Accept(all) => all.into_iter().map(|a| a.record).collect(),
            Self::Settle(all) => all
                .into_iter()
                .flat_map(|s| std::iter::once(s.record).chain(s.born.into_iter().map(|b| b.record)))
                .collect(),
            Self::Record(all) => all,
        };
        all.into_iter().filter(|r| !r.events.is_empty())
    }

    /// Days whose tables it writes to.
    pub(super) fn days(&self) -> impl Iterator<Item = i32> + '_ {
        let born = self.settlements().iter().flat_map(|s| &s.born).map(|a| &a.record);
        let settled = self.settlements().iter().map(|s| &s.record);
        let accepted = self.acceptances().iter().map(|a| &a.record);
        // The first is the one that is numbered first.
        accepted
            .chain(settled)
            .chain(born)
            .chain(self.records())
            .filter(|r| !r.events.is_empty())
            .map(|r| r.trace.time().day())
    }
}

/// A blob file whose message is gone.
pub(super) type Orphan = (TenantId, BlobId, QueueId);

/// Where to look whether a batch was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The first record: (day, slot, seq), never given twice.
    Record(i32, i16, i64),
    /// The first message.
    Message(i64),
    /// Nothing that could be doubled: do it again.
    Idempotent,
}

/// What a committed batch did beside what was asked for.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) orphans: Vec<Orphan>,
    /// Entries changed: (queue id, number) and their owner.
    pub(super) changed: HashSet<(i64, i64)>,
    /// A person changed an entry of this node.
    pub(super) wakes: bool,
    /// Number of the first record of each job, when its records are numbered without gaps.
    pub(super) numbers: Vec<Option<(i16, i64)>>,
    /// Looked up: it was committed, what it touched is not known.
    is_looked_up: bool,
}

/// Appends columns of messages.
#[derive(Default)]
struct Messages<'a> {
    queue_id: Vec<i64>,
    tenant: Vec<i64>,
    direction: Vec<i16>,
    received_at: Vec<i64>,
    size: Vec<i64>,
    blob: Vec<Option<&'a [u8]>>,
    reverse_path: Vec<String>,
    head: Vec<Vec<u8>>,
    body: Vec<Option<&'a [u8]>>,
}

const INSERT_MESSAGE: &str = "INSERT INTO message (queue_id, tenant, direction, received_at, size, blob, reverse_path, head, body) \
     SELECT * FROM unnest($1::int8[], $2::int8[], $3::int2[], $4::int8[], $5::int8[], $6::bytea[], $7::text[], $8::bytea[], $9::bytea[])";

impl<'a> Messages<'a> {
    fn push(&mut self, a: &'a Acceptance) {
        let m = &a.message;
        self.queue_id.push(m.queue_id.to_i64());
        self.tenant.push(m.tenant.0);
        self.direction.push(small(direction_code(m.direction)));
        self.received_at.push(m.received_at.0);
        self.size.push(i64::try_from(m.size).unwrap_or(i64::MAX));
        let (blob, body) = match &m.body {
            Body::Inline(bytes) => (None, Some(bytes.as_ref())),
            Body::Blob { id, .. } => (Some(id.0.as_slice()), None),
        };
        self.blob.push(blob);
        self.reverse_path.push(m.reverse_path.to_string());
        self.head.push(head_of(m));
        self.body.push(body);
    }

    fn params(&self) -> [Param<'_>; 9] {
        [
            &self.queue_id,
            &self.tenant,
            &self.direction,
            &self.received_at,
            &self.size,
            &self.blob,
            &self.reverse_path,
            &self.head,
            &self.body,
        ]
    }
}

/// Columns of entries; `owner` stands for new ones, `person` for changed ones.
#[derive(Default)]
struct Entries {
    queue_id: Vec<i64>,
    number: Vec<i64>,
    tenant: Vec<i64>,
    lane: Vec<i64>,
    due: Vec<i64>,
    state: Vec<i16>,
    variant: Vec<i16>,
    notify: Vec<i16>,
    attempts: Vec<i64>,
    expires_at: Vec<i64>,
    delay_notice_at: Vec<Option<i64>>,
    recipient: Vec<String>,
    orcpt: Vec<Option<String>>,
    reason: Vec<Option<&'static str>>,
    last_reply: Vec<Option<String>>,
    forced_next_hop: Vec<Option<String>>,
    person: Vec<bool>,
}

const ENTRY_ARRAYS: &str = "$1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int2[], $7::int2[], $8::int2[], $9::int8[], $10::int8[], \
     $11::int8[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[]";
const ENTRY_COLUMNS: &str = "queue_id, number, tenant, lane, due, state, variant, notify, attempts, expires_at, delay_notice_at, recipient, orcpt, \
     reason, last_reply, forced_next_hop";

static INSERT_ENTRY: LazyLock<String> =
    LazyLock::new(|| format!("INSERT INTO entry ({ENTRY_COLUMNS}, owner) SELECT u.*, $17::int8 FROM unnest({ENTRY_ARRAYS}) AS u"));

/// An attempt leaves alone what only a person changes, and a hold that a person began while it ran.
static UPDATE_ENTRY: LazyLock<String> = LazyLock::new(|| {
    let held = "(NOT r.person AND e.state = 1 AND r.state = 0)";
    let persons = |column: &str| format!("{column} = CASE WHEN r.person THEN r.{column} ELSE e.{column} END");
    let unless_held = |column: &str| format!("{column} = CASE WHEN {held} THEN e.{column} ELSE r.{column} END");
    format!(
        "UPDATE entry e SET {}, {}, {}, {}, {}, {}, {}, {}, {}, attempts = r.attempts, last_reply = r.last_reply, delay_notice_at = r.delay_notice_at \
         FROM unnest({ENTRY_ARRAYS}, $17::bool[]) AS r({ENTRY_COLUMNS}, person) \
         WHERE e.queue_id = r.queue_id AND e.number = r.number AND (r.person OR e.owner = $18) RETURNING e.queue_id, e.number, e.owner, r.person",
        unless_held("due"),
        unless_held("state"),
        unless_held("reason"),
        persons("expires_at"),
        persons("forced_next_hop"),
        persons("lane"),
        persons("variant"),
        persons("notify"),
        persons("recipient"),
    )
});

const DELETE_ENTRY: &str = "DELETE FROM entry e USING unnest($1::int8[], $2::int8[], $3::bool[]) AS r(queue_id, number, person) \
     WHERE e.queue_id = r.queue_id AND e.number = r.number AND (r.person OR e.owner = $4) RETURNING e.queue_id, e.number, e.owner, r.person";
const DELETE_MESSAGE: &str = "DELETE FROM message m WHERE m.queue_id = ANY($1::int8[]) \
     AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.queue_id = m.queue_id) RETURNING m.queue_id, m.tenant, m.blob";
const LOCK_MESSAGES: &str = "SELECT 1 FROM message WHERE queue_id = ANY($1::int8[]) ORDER BY queue_id FOR UPDATE";
const TOUCH: &str =
    "UPDATE node SET touched = touched + 1 WHERE epoch <> $2 AND epoch IN (SELECT owner FROM entry WHERE queue_id = ANY($1::int8[]))";
const PARENTS: &str = "SELECT queue_id, number, owner FROM entry WHERE queue_id = ANY($1::int8[])";
/// Fails when this connection may not write any more: dividing by zero ends the transaction, so that the COMMIT already sent does nothing.
const GUARD: &str = "SELECT 1 / count(*) FROM (SELECT 1 FROM node WHERE epoch = $1 AND writer = $2 FOR KEY SHARE) live";

impl Entries {
    fn push(&mut self, e: &Entry, origin: Origin) {
        self.queue_id.push(e.queue_id.to_i64());
        self.number.push(i64::from(e.number));
        self.tenant.push(e.tenant.0);
        self.lane.push(e.lane.0);
        self.due.push(e.due.0);
        self.state.push(small(state_code(e.state)));
        self.variant.push(small(i64::from(e.variant)));
        self.notify.push(small(notify_code(e.notify)));
        self.attempts.push(i64::from(e.attempts));
        self.expires_at.push(e.expires_at.0);
        self.delay_notice_at.push(e.delay_notice_at.map(|t| t.0));
        self.recipient.push(e.recipient.to_string());
        self.orcpt.push(e.orcpt.as_deref().map(plain));
        self.reason.push(e.reason.map(mail::Reason::as_str));
        self.last_reply.push(e.last_reply.as_deref().map(plain));
        self.forced_next_hop.push(e.forced_next_hop.as_deref().map(plain));
        self.person.push(origin == Origin::Person);
    }

    fn params(&self) -> Vec<Param<'_>> {
        vec![
            &self.queue_id,
            &self.number,
            &self.tenant,
            &self.lane,
            &self.due,
            &self.state,
            &self.variant,
            &self.notify,
            &self.attempts,
            &self.expires_at,
            &self.delay_notice_at,
            &self.recipient,
            &self.orcpt,
            &self.reason,
            &self.last_reply,
            &self.forced_next_hop,
        ]
    }
}

fn small(n: i64) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}

/// PostgreSQL keeps no NUL in text; what a remote said may have one.
pub(super) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[derive(Default)]
struct Records {
    seq: Vec<i64>,
    trace: Vec<i64>,
    tenant: Vec<i64>,
    record: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Removals {
    queue_id: Vec<i64>,
    number: Vec<i64>,
    person: Vec<bool>,
}

/// All columns of one transaction.
#[derive(Default)]
struct Columns<'a> {
    messages: Messages<'a>,
    born: Entries,
    records: BTreeMap<i32, Records>,
    removals: Removals,
    replaced: Entries,
    settled: Vec<i64>,
    emptied: Vec<i64>,
    persons: Vec<i64>,
    numbers: Vec<Option<(i16, i64)>>,
}

impl<'a> Columns<'a> {
    fn accept(&mut self, a: &'a Acceptance, identity: Identity, next_seq: &mut i64) -> Result<(), StoreError> {
        self.messages.push(a);
        a.entries.iter().for_each(|e| self.born.push(e, Origin::Attempt));
        self.record(&a.record, identity, next_seq)
    }

    fn settle(&mut self, s: &'a Settlement) {
        let id = s.queue_id.to_i64();
        for (number, change) in &s.changes {
            match change {
                Change::Remove => {
                    self.removals.queue_id.push(id);
                    self.removals.number.push(i64::from(*number));
                    self.removals.person.push(s.origin == Origin::Person);
                    self.emptied.push(id);
                }
                Change::Replace(entry) => self.replaced.push(entry, s.origin),
            }
        }
        if !s.changes.is_empty() {
            self.settled.push(id);
            if s.origin == Origin::Person {
                self.persons.push(id);
            }
        }
    }

    fn record(&mut self, told: &Record, identity: Identity, next_seq: &mut i64) -> Result<(), StoreError> {
        if told.events.is_empty() {
            return Ok(());
        }
        let day = told.trace.time().day();
        let seq = seq_of(identity, *next_seq);
        *next_seq += 1;
        let records = self.records.entry(day).or_default();
        records.seq.push(seq);
        records.trace.push(told.trace.to_i64());
        records.tenant.push(told.tenant.0);
        records.record.push(record::to_blob(told)?);
        Ok(())
    }
}

/// Where to look for `jobs` when their records are numbered from `next_seq` on.
pub(super) fn mark_of(jobs: &[&Job], identity: Identity, next_seq: i64) -> Mark {
    if let Some(day) = jobs.iter().find_map(|j| j.days().next()) {
        return Mark::Record(day, identity.slot, seq_of(identity, next_seq));
    }
    jobs.iter()
        .find_map(|j| j.acceptances().first())
        .map_or(Mark::Idempotent, |a| Mark::Message(a.message.queue_id.to_i64()))
}

/// Numbers of records grow with the writer number and within it, so that none is given twice on a slot.
fn seq_of(identity: Identity, n: i64) -> i64 {
    identity.writer << 40 | n
}

/// How a try ended.
pub(super) enum Ran {
    /// Committed.
    Committed(Done),
    /// Certainly not committed, the connection is good.
    Refused(Fault),
    /// The connection is gone; it may have been committed when `is_sent`.
    Lost { is_sent: bool, words: String },
    /// What was given cannot be written.
    Malformed(StoreError),
}

/// Runs `jobs` as one transaction of `identity`. `next_seq` counts up whatever comes of it.
pub(super) async fn run(session: &Session, identity: Identity, jobs: &[&Job], next_seq: &mut i64) -> Ran {
    // Nothing is sent before the columns stand, so what fails here is not committed.
    let parents = match parents(session, identity, jobs).await {
        Ok(parents) => parents,
        Err(fault) if fault.is_lost() => {
            return Ran::Lost {
                is_sent: false,
                words: fault.into(),
            };
        }
        Err(fault) => return Ran::Refused(fault),
    };
    let columns = match collect(identity, jobs, parents.as_ref(), next_seq) {
        Ok(columns) => columns,
        Err(error) => return Ran::Malformed(error),
    };
    match send(session, identity, &columns, parents.is_some()).await {
        Ok(done) => Ran::Committed(Done {
            numbers: columns.numbers,
            ..done
        }),
        Err(fault @ Fault::Refused(_)) => Ran::Refused(fault),
        Err(Fault::Lost(words)) => Ran::Lost { is_sent: true, words },
    }
}

/// Entries that settlements with births are about, and their owners, locked. Opens the transaction. `None`: there are no births.
async fn parents(session: &Session, identity: Identity, jobs: &[&Job]) -> Result<Option<BTreeMap<(i64, i64), i64>>, Fault> {
    let with_births = jobs.iter().flat_map(|j| j.settlements()).filter(|s| !s.born.is_empty());
    let ids: Vec<i64> = with_births.map(|s| s.queue_id.to_i64()).collect();
    if ids.is_empty() {
        return Ok(None);
    }
    // The locks of all that is settled are taken at once, so that their order is one.
    let all: BTreeSet<i64> = jobs.iter().flat_map(|j| j.settlements()).map(|s| s.queue_id.to_i64()).collect();
    let all: Vec<i64> = all.into_iter().collect();
    let client = &session.client;
    let guard = session.prepared(GUARD).await?;
    let lock = session.prepared(LOCK_MESSAGES).await?;
    let select = session.prepared(PARENTS).await?;
    let guard_params: [Param<'_>; 2] = [&identity.epoch, &identity.writer];
    let lock_params: [Param<'_>; 1] = [&all];
    let select_params: [Param<'_>; 1] = [&ids];
    let steps: Vec<Step<'_, Vec<Row>>> = vec![
        Box::pin(async { client.batch_execute("BEGIN").await.map(|()| Vec::new()) }),
        Box::pin(client.query(&guard, &guard_params)),
        Box::pin(client.query(&lock, &lock_params)),
        Box::pin(client.query(&select, &select_params)),
    ];
    let mut found = BTreeMap::new();
    let answers: Result<Vec<Vec<Row>>, _> = pipelined(steps).await.into_iter().collect();
    match answers {
        Ok(answers) => {
            for row in answers.iter().flatten().filter(|row| row.len() == 3) {
                found.insert((row.try_get(0)?, row.try_get(1)?), row.try_get(2)?);
            }
            Ok(Some(found))
        }
        Err(error) => {
            let fault = Fault::from(error);
            if !fault.is_lost() {
                client.batch_execute("ROLLBACK").await?;
            }
            Err(fault)
        }
    }
}

fn collect<'a>(
    identity: Identity,
    jobs: &[&'a Job],
    parents: Option<&BTreeMap<(i64, i64), i64>>,
    next_seq: &mut i64,
) -> Result<Columns<'a>, StoreError> {
    let mut columns = Columns::default();
    for job in jobs {
        let first = seq_of(identity, *next_seq);
        let mut is_whole = true;
        for a in job.acceptances() {
            columns.accept(a, identity, next_seq)?;
        }
        for s in job.settlements() {
            columns.settle(s);
            columns.record(&s.record, identity, next_seq)?;
            let bears = may_bear(s, identity, parents);
            is_whole &= bears || s.born.is_empty();
            for a in s.born.iter().filter(|_| bears) {
                columns.accept(a, identity, next_seq)?;
            }
        }
        for r in job.records() {
            columns.record(r, identity, next_seq)?;
        }
        columns.numbers.push(is_whole.then_some((identity.slot, first)));
    }
    Ok(columns)
}

/// A DSN is born of an entry that is still there, and for an attempt still this node's; of none at all when nothing is changed.
fn may_bear(s: &Settlement, identity: Identity, parents: Option<&BTreeMap<(i64, i64), i64>>) -> bool {
    let owner = |number: u32| parents.and_then(|p| p.get(&(s.queue_id.to_i64(), i64::from(number))));
    s.changes.is_empty()
        || s.changes
            .iter()
            .any(|(number, _)| owner(*number).is_some_and(|o| s.origin == Origin::Person || *o == identity.epoch))
}

async fn send(session: &Session, identity: Identity, columns: &Columns<'_>, is_open: bool) -> Result<Done, Fault> {
    let client = &session.client;
    let prepare = async {
        let mut days = Vec::new();
        for day in columns.records.keys() {
            let text = format!(
                "WITH new AS (INSERT INTO track_{day} (node, seq, trace, tenant, record) \
                 SELECT $1::int2, * FROM unnest($2::int8[], $3::int8[], $4::int8[], $5::bytea[]) RETURNING node, seq, trace) \
                 INSERT INTO track_fresh (node, seq, trace) SELECT node, seq, trace FROM new"
            );
            days.push(session.prepared(&text).await?);
        }
        Ok::<_, tokio_postgres::Error>((
            session.prepared(GUARD).await?,
            session.prepared(LOCK_MESSAGES).await?,
            session.prepared(TOUCH).await?,
            session.prepared(INSERT_MESSAGE).await?,
            session.prepared(&INSERT_ENTRY).await?,
            days,
            session.prepared(DELETE_ENTRY).await?,
            session.prepared(&UPDATE_ENTRY).await?,
            session.prepared(DELETE_MESSAGE).await?,
        ))
    };
    let (guard, lock, touch, message, entry, days, delete, update, bury) = match prepare.await {
        Ok(statements) => statements,
        // Nothing of this batch was sent.
        Err(error) => {
            let fault = Fault::from(error);
            if is_open && !fault.is_lost() {
                client.batch_execute("ROLLBACK").await?;
            }
            return Err(fault);
        }
    };
    let ids: BTreeSet<i64> = columns.settled.iter().copied().collect();
    let ids: Vec<i64> = ids.into_iter().collect();
    let guard_params: [Param<'_>; 2] = [&identity.epoch, &identity.writer];
    let lock_params: [Param<'_>; 1] = [&ids];
    let touch_params: [Param<'_>; 2] = [&columns.persons, &identity.epoch];
    let message_params = columns.messages.params();
    let mut entry_params = columns.born.params();
    entry_params.push(&identity.epoch);
    let record_params: Vec<[Param<'_>; 5]> = columns
        .records
        .values()
        .map(|r| -> [Param<'_>; 5] { [&identity.slot, &r.seq, &r.trace, &r.tenant, &r.record] })
        .collect();
    let removals = &columns.removals;
    let delete_params: [Param<'_>; 4] = [&removals.queue_id, &removals.number, &removals.person, &identity.epoch];
    let mut update_params = columns.replaced.params();
    update_params.push(&columns.replaced.person);
    update_params.push(&identity.epoch);
    let bury_params: [Param<'_>; 1] = [&columns.emptied];

    let mut steps: Vec<Step<'_, Vec<Row>>> = Vec::with_capacity(12);
    if !is_open {
        steps.push(Box::pin(async { client.batch_execute("BEGIN").await.map(|()| Vec::new()) }));
        steps.push(Box::pin(client.query(&guard, &guard_params)));
        if !ids.is_empty() {
            steps.push(Box::pin(client.query(&lock, &lock_params)));
        }
    }
    if !columns.persons.is_empty() {
        steps.push(Box::pin(client.query(&touch, &touch_params)));
    }
    if !columns.messages.queue_id.is_empty() {
        steps.push(Box::pin(client.query(&message, &message_params)));
        steps.push(Box::pin(client.query(&entry, &entry_params)));
    }
    for (statement, params) in days.iter().zip(&record_params) {
        steps.push(Box::pin(client.query(statement, params)));
    }
    let changes = steps.len();
    if !removals.queue_id.is_empty() {
        steps.push(Box::pin(client.query(&delete, &delete_params)));
    }
    if !columns.replaced.queue_id.is_empty() {
        steps.push(Box::pin(client.query(&update, &update_params)));
    }
    if !columns.emptied.is_empty() {
        steps.push(Box::pin(client.query(&bury, &bury_params)));
    }
    steps.push(Box::pin(async { client.batch_execute("COMMIT").await.map(|()| Vec::new()) }));
    let answers = pipelined(steps).await;
    judge(answers, changes, identity)
}

/// Committed when every answer is good. The first refusal is the true one: what follows it only says that the transaction is void.
fn judge(answers: Vec<Result<Vec<Row>, tokio_postgres::Error>>, changes: usize, identity: Identity) -> Result<Done, Fault> {
    let last = answers.len().saturating_sub(1);
    let mut refused = None;
    let mut done = Done::default();
    for (at, answer) in answers.into_iter().enumerate() {
        match answer.map_err(Fault::from) {
            Ok(rows) if at >= changes && at < last => rows.iter().try_for_each(|row| done.note(row, identity))?,
            Ok(_) => {}
            Err(fault @ Fault::Lost(_)) => return Err(fault),
            Err(fault) => refused = refused.or(Some(fault)),
        }
    }
    refused.map_or(Ok(done), Err)
}

impl Done {
    /// Committed, as a look-up found.
    pub(super) fn looked_up() -> Self {
        // Whether a person changed something of ours is not known: waking for nothing does no harm.
        Self {
            is_looked_up: true,
            wakes: true,
            ..Self::default()
        }
    }

    /// Entries that an attempt should have changed and did not.
    pub(super) fn missing(&self, job: &Job) -> Vec<(i64, i64)> {
        if self.is_looked_up {
            return Vec::new();
        }
        let attempts = job.settlements().iter().filter(|s| s.origin == Origin::Attempt);
        let entries = attempts.flat_map(|s| s.changes.iter().map(|(n, _)| (s.queue_id.to_i64(), i64::from(*n))));
        entries.filter(|e| !self.changed.contains(e)).collect()
    }

    /// A changed entry (queue id, number, owner, person) or a buried message (queue id, tenant, blob).
    fn note(&mut self, row: &Row, identity: Identity) -> Result<(), Fault> {
        if row.len() == 4 {
            self.changed.insert((row.try_get(0)?, row.try_get(1)?));
            let (owner, person): (i64, bool) = (row.try_get(2)?, row.try_get(3)?);
            self.wakes |= person && owner == identity.epoch;
        } else if let Some(hash) = row.try_get::<_, Option<&[u8]>>(2)?.and_then(|b| b.try_into().ok()) {
            self.orphans
                .push((TenantId(row.try_get(1)?), BlobId(hash), QueueId::from_i64(row.try_get(0)?)));
        }
        Ok(())
    }
}
