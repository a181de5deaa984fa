//! Batch: how does everything that waits become one transaction?
//!
//! In:  acceptances, settlements, records. Out: statements over arrays, sent one after another without waiting, and what they touched.
//! Invariants: whoever touches entries locks their message first, in order of queue ids; a settlement touches only entries of
//! this node's epoch; with its last entry goes the message; a message is born only of an entry that was still there.

mod columns;

pub(super) use columns::plain;

use mail::{BlobId, QueueId, TenantId};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use tokio_postgres::types::Type;
use tokio_postgres::{Row, Statement};

use super::lease::Identity;
use super::session::{Fault, Session, Step, pipelined};
use crate::StoreError;
use crate::spool::{Acceptance, Body, Settlement};
use crate::tracking::Record;
use columns::{Columns, INSERT_ENTRY, INSERT_MESSAGE, Param, UPDATE_ENTRY, seq_of};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// One of these days has the first record, if any was written.
    pub(super) days: BTreeSet<i32>,
    /// Slot and number of the first record, never given twice.
    pub(super) record: (i16, i64),
    /// The first message.
    pub(super) message: Option<i64>,
}

impl Mark {
    /// There is nothing that could be doubled: it is simply done again.
    pub(super) fn is_needless(&self) -> bool {
        self.days.is_empty() && self.message.is_none()
    }
}

/// What a committed batch did beside what was asked for.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) orphans: Vec<Orphan>,
    /// Entries changed: (queue id, number).
    pub(super) changed: HashSet<(i64, i64)>,
    /// A person changed an entry of this node.
    pub(super) wakes: bool,
    /// Number of the first record of each job, when its records are numbered without gaps.
    pub(super) numbers: Vec<Option<(i16, i64)>>,
    /// Looked up: it was committed, what it touched is not known.
    is_looked_up: bool,
}

const DELETE_ENTRY: &str = "DELETE FROM entry e USING unnest($1::int8[], $2::int8[], $3::bool[]) AS r(queue_id, number, person) \
     WHERE e.queue_id = r.queue_id AND e.number = r.number AND e.owner = $4 RETURNING e.queue_id, e.number, r.person";
const DELETE_MESSAGE: &str = "DELETE FROM message m WHERE m.queue_id = ANY($1::int8[]) \
     AND NOT EXISTS (SELECT 1 FROM entry e WHERE e.queue_id = m.queue_id) RETURNING m.queue_id, m.tenant, m.blob";
const LOCK_MESSAGES: &str = "SELECT 1 FROM message WHERE queue_id = ANY($1::int8[]) ORDER BY queue_id FOR UPDATE";
const PARENTS: &str = "SELECT queue_id, number, owner FROM entry WHERE queue_id = ANY($1::int8[])";
/// Fails when this connection may not write any more: dividing by zero ends the transaction, so that the COMMIT already sent does nothing.
const GUARD: &str = "SELECT 1 / count(*) FROM (SELECT 1 FROM node WHERE epoch = $1 AND writer = $2 FOR KEY SHARE) live";

/// Where to look for `jobs` when their records are numbered from `next_seq` on.
pub(super) fn mark_of(jobs: &[&Job], identity: Identity, next_seq: i64) -> Mark {
    Mark {
        days: jobs.iter().flat_map(|j| j.days()).collect(),
        record: (identity.slot, seq_of(identity, next_seq)),
        message: jobs
            .iter()
            .find_map(|j| j.acceptances().first())
            .map(|a| a.message.queue_id.to_i64()),
    }
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

/// A DSN is born of an entry that is still there and still this node's; of none at all when nothing is changed.
fn may_bear(s: &Settlement, identity: Identity, parents: Option<&BTreeMap<(i64, i64), i64>>) -> bool {
    let owner = |number: u32| parents.and_then(|p| p.get(&(s.queue_id.to_i64(), i64::from(number))));
    s.changes.is_empty()
        || s.changes
            .iter()
            .any(|(number, _)| owner(*number).is_some_and(|o| *o == identity.epoch))
}

/// Statements of a batch, prepared.
struct Statements {
    guard: Statement,
    lock: Statement,
    message: Statement,
    entry: Statement,
    days: Vec<Statement>,
    delete: Statement,
    update: Statement,
    bury: Statement,
}

impl Statements {
    async fn prepare(session: &Session, columns: &Columns<'_>) -> Result<Self, tokio_postgres::Error> {
        let mut days = Vec::with_capacity(columns.records.len());
        for day in columns.records.keys() {
            let text = format!(
                "WITH new AS (INSERT INTO track_{day} (node, seq, trace, tenant, record) \
                 SELECT $1::int2, * FROM unnest($2::int8[], $3::int8[], $4::int8[], $5::bytea[]) RETURNING node, seq, trace) \
                 INSERT INTO track_fresh (node, seq, trace) SELECT node, seq, trace FROM new"
            );
            days.push(session.prepared(&text).await?);
        }
        Ok(Self {
            guard: session.prepared(GUARD).await?,
            lock: session.prepared(LOCK_MESSAGES).await?,
            message: session.prepared(INSERT_MESSAGE).await?,
            entry: session.prepared(&INSERT_ENTRY).await?,
            days,
            delete: session.prepared(DELETE_ENTRY).await?,
            update: session.prepared(&UPDATE_ENTRY).await?,
            bury: session.prepared(DELETE_MESSAGE).await?,
        })
    }
}

/// Sends all of it at once, COMMIT included. `is_open`: the transaction was begun and guarded already.
async fn send(session: &Session, identity: Identity, columns: &Columns<'_>, is_open: bool) -> Result<Done, Fault> {
    let client = &session.client;
    let statements = match Statements::prepare(session, columns).await {
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
    let settled: Vec<i64> = columns.settled.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let guard: [Param<'_>; 2] = [&identity.epoch, &identity.writer];
    let lock: [Param<'_>; 1] = [&settled];
    let message = columns.messages.params();
    let mut entry = columns.born.params();
    entry.push(&identity.epoch);
    let records: Vec<[Param<'_>; 5]> = columns.records.values().map(|r| r.params(&identity.slot)).collect();
    let removals = &columns.removals;
    let delete: [Param<'_>; 4] = [&removals.queue_id, &removals.number, &removals.person, &identity.epoch];
    let mut update = columns.replaced.params();
    update.extend([&columns.replaced.person as Param<'_>, &identity.epoch]);
    let bury: [Param<'_>; 1] = [&columns.emptied];

    let mut steps: Vec<Step<'_, Vec<Row>>> = Vec::with_capacity(12);
    if !is_open {
        steps.push(Box::pin(async { client.batch_execute("BEGIN").await.map(|()| Vec::new()) }));
        steps.push(Box::pin(client.query(&statements.guard, &guard)));
        if !settled.is_empty() {
            steps.push(Box::pin(client.query(&statements.lock, &lock)));
        }
    }
    if !columns.messages.queue_id.is_empty() {
        steps.push(Box::pin(client.query(&statements.message, &message)));
        steps.push(Box::pin(client.query(&statements.entry, &entry)));
    }
    for (statement, params) in statements.days.iter().zip(&records) {
        steps.push(Box::pin(client.query(statement, params)));
    }
    let changes = steps.len();
    if !removals.queue_id.is_empty() {
        steps.push(Box::pin(client.query(&statements.delete, &delete)));
    }
    if !columns.replaced.queue_id.is_empty() {
        steps.push(Box::pin(client.query(&statements.update, &update)));
    }
    if !columns.emptied.is_empty() {
        steps.push(Box::pin(client.query(&statements.bury, &bury)));
    }
    steps.push(Box::pin(async { client.batch_execute("COMMIT").await.map(|()| Vec::new()) }));
    judge(pipelined(steps).await, changes)
}

/// Committed when every answer is good. The first refusal is the true one: what follows it only says that the transaction is void.
fn judge(answers: Vec<Result<Vec<Row>, tokio_postgres::Error>>, changes: usize) -> Result<Done, Fault> {
    let last = answers.len().saturating_sub(1);
    let mut refused = None;
    let mut done = Done::default();
    for (at, answer) in answers.into_iter().enumerate() {
        match answer.map_err(Fault::from) {
            Ok(rows) if at >= changes && at < last => rows.iter().try_for_each(|row| done.note(row))?,
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

    /// Entries that should have been changed and were not.
    pub(super) fn missing(&self, job: &Job) -> Vec<(i64, i64)> {
        if self.is_looked_up {
            return Vec::new();
        }
        let settled = job.settlements().iter();
        let entries = settled.flat_map(|s| s.changes.iter().map(|(n, _)| (s.queue_id.to_i64(), i64::from(*n))));
        entries.filter(|e| !self.changed.contains(e)).collect()
    }

    /// A changed entry (queue id, number, by a person) or a buried message (queue id, tenant, blob).
    fn note(&mut self, row: &Row) -> Result<(), Fault> {
        if row.columns().get(2).is_some_and(|c| *c.type_() == Type::BOOL) {
            self.changed.insert((row.try_get(0)?, row.try_get(1)?));
            self.wakes |= row.try_get::<_, bool>(2)?;
        } else if let Some(hash) = row.try_get::<_, Option<&[u8]>>(2)?.and_then(|b| b.try_into().ok()) {
            self.orphans
                .push((TenantId(row.try_get(1)?), BlobId(hash), QueueId::from_i64(row.try_get(0)?)));
        }
        Ok(())
    }
}
