//! Writer: how does whatever waits become one commit?
//!
//! In:  batches from the inbox. Out: one transaction each; outcomes to the waiters after COMMIT has returned, which is after the sync.
//! Invariants: a member that fails (unique violation, a job's own error) takes no other with it; a full device fails the batch and the
//! writer goes on; records reach the search index and blob files are removed only after the commit.

use mail::TenantId;
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use super::hot::{Hot, Mark, Orphan};
use super::inbox::{Batch, Inbox, Queued, Taken};
use crate::index::live::{Brief, Incoming};
use crate::spool::{Acceptance, Origin, Settlement};
use crate::tracking::{Record, record};
use crate::{StoreError, sql};

use super::tx::SqliteTx;

/// Work of the engine itself that needs the writer (retention).
pub(super) type Own = Box<dyn FnOnce(&mut Hot<'_>) -> Result<(), StoreError> + Send>;

pub(super) enum Job {
    Accept(Vec<Acceptance>, Vec<Option<Told>>),
    /// For each settlement the records of its births, then its own.
    Settle(Vec<Settlement>, Vec<Option<Told>>),
    Record(Vec<Option<Told>>),
    Control(sql::Job),
    Own(Own),
}

/// A record, made ready on its caller's thread: the row, and what the index takes of it. None of its texts is needed any more.
pub(super) struct Told {
    pub(super) tenant: TenantId,
    pub(super) blob: Vec<u8>,
    pub(super) brief: Brief,
}

impl Told {
    /// `None` for a record without events: nothing is written.
    pub(super) fn of(record: &Record) -> Result<Option<Self>, StoreError> {
        if record.events.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            tenant: record.tenant,
            blob: record::to_blob(record)?,
            brief: Brief::of(record),
        }))
    }
}

/// Where the writer passes things on to.
pub(super) struct Outlets {
    pub(super) incoming: Arc<Incoming>,
    pub(super) orphans: SyncSender<Orphan>,
    /// Counted up when a person has changed entries.
    pub(super) arrivals: tokio::sync::watch::Sender<u64>,
}

/// Runs until the inbox is closed and empty, then moves the WAL into the file.
pub(super) fn run(connection: &Connection, inbox: &Inbox<Job>, outlets: &Outlets) {
    let mut hot = match Hot::new(connection) {
        Ok(hot) => hot,
        Err(e) => return refuse_all(inbox, &e),
    };
    let mut last: Option<Arc<Batch>> = None;
    while let Some(Taken { jobs, batch }) = inbox.take(last.take()) {
        let outcomes = commit(&mut hot, jobs, outlets);
        batch.finish(outcomes);
        last = Some(batch);
    }
    drop(hot);
    if let Err(e) = connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)") {
        tracing::warn!(error = %e, "the checkpoint at the end failed; the next start does it");
    }
}

fn refuse_all(inbox: &Inbox<Job>, error: &StoreError) {
    tracing::error!(%error, "the store cannot be written");
    while let Some(Taken { jobs, batch }) = inbox.take(None) {
        batch.finish(jobs.iter().map(|_| Err(error.clone())).collect());
    }
}

/// A member of the batch: its job until it ran, and what it came to.
struct Member {
    job: Option<Job>,
    outcome: Result<(), StoreError>,
}

fn commit(hot: &mut Hot<'_>, jobs: Vec<Queued<Job>>, outlets: &Outlets) -> Vec<Result<(), StoreError>> {
    // The room of the jobs is given back when this function ends.
    let (jobs, _rooms): (Vec<Job>, Vec<_>) = jobs.into_iter().map(Queued::split).unzip();
    let mut members: Vec<Member> = jobs
        .into_iter()
        .map(|job| Member {
            job: Some(job),
            outcome: Ok(()),
        })
        .collect();
    if let Err(error) = transact(hot, &mut members) {
        if !hot.connection.is_autocommit() {
            let _ = hot.connection.execute_batch("ROLLBACK");
        }
        hot.undone(Mark::default());
        tracing::error!(%error, jobs = members.len(), "a commit failed; its mail is not accepted");
        return members.into_iter().map(|m| m.outcome.and(Err(error.clone()))).collect();
    }
    pass_on(hot, members, outlets)
}

/// After the commit: blob files, records for the index, people's actions for the scheduler; outcomes for the waiters.
fn pass_on(hot: &mut Hot<'_>, members: Vec<Member>, outlets: &Outlets) -> Vec<Result<(), StoreError>> {
    let after = hot.committed();
    for orphan in after.orphans {
        // A full queue leaves the file to the sweep.
        let _ = outlets.orphans.try_send(orphan);
    }
    let mut appended = after.appended.into_iter().peekable();
    let mut told = Vec::with_capacity(appended.len());
    let mut outcomes = Vec::with_capacity(members.len());
    let mut has_arrivals = false;
    for member in members {
        if let (Some(job), Ok(())) = (member.job, &member.outcome) {
            has_arrivals |= is_by_person(&job);
            // In the order of writing; a record that was not written (of a birth that was void) is passed over.
            for brief in told_of(job).into_iter().flatten().map(|t| t.brief) {
                if let Some((seq, _)) = appended.next_if(|(_, trace)| *trace == brief.trace) {
                    told.push((seq, brief));
                }
            }
        }
        outcomes.push(member.outcome);
    }
    outlets.incoming.put(told);
    if has_arrivals {
        outlets.arrivals.send_modify(|n| *n += 1);
    }
    outcomes
}

fn is_by_person(job: &Job) -> bool {
    match job {
        Job::Settle(settlements, _) => settlements.iter().any(|s| s.origin == Origin::Person && !s.changes.is_empty()),
        Job::Accept(..) | Job::Record(_) | Job::Control(_) | Job::Own(_) => false,
    }
}

/// One transaction for all. `Err`: nothing of it is there.
fn transact(hot: &mut Hot<'_>, members: &mut [Member]) -> Result<(), StoreError> {
    begin(hot)?;
    let together = members
        .iter_mut()
        .filter(|m| is_mail(m))
        .try_for_each(|member| apply(hot, member.job.as_ref()));
    if let Err(error) = together {
        if hot.connection.is_autocommit() || is_hopeless(&error) {
            return Err(error);
        }
        // One member is at fault: begin again, each behind a savepoint of its own.
        run_cached(hot, "ROLLBACK")?;
        hot.undone(Mark::default());
        begin(hot)?;
        for member in members.iter_mut().filter(|m| is_mail(m)) {
            let job = member.job.take();
            member.outcome = apart(hot, |hot| apply(hot, job.as_ref()))?;
            member.job = job;
        }
    }
    for member in members.iter_mut().filter(|m| !is_mail(m)) {
        let job = member.job.take();
        member.outcome = apart(hot, |hot| match job {
            Some(Job::Control(job)) => job(&mut SqliteTx(hot.connection)),
            Some(Job::Own(job)) => job(hot),
            Some(Job::Accept(..) | Job::Settle(..) | Job::Record(_)) | None => Ok(()),
        })?;
    }
    run_cached(hot, "COMMIT")
}

fn is_mail(member: &Member) -> bool {
    matches!(member.job, Some(Job::Accept(..) | Job::Settle(..) | Job::Record(_)))
}

/// Trying the members apart would not help.
fn is_hopeless(error: &StoreError) -> bool {
    match error {
        StoreError::Full | StoreError::Unavailable(_) | StoreError::LeaseLost | StoreError::Unknown => true,
        StoreError::Engine(_) | StoreError::Data(_) | StoreError::Conflict { .. } => false,
    }
}

fn begin(hot: &Hot<'_>) -> Result<(), StoreError> {
    run_cached(hot, "BEGIN IMMEDIATE")
}

fn run_cached(hot: &Hot<'_>, sql: &str) -> Result<(), StoreError> {
    hot.connection.prepare_cached(sql)?.execute([])?;
    Ok(())
}

/// Runs `work` behind a savepoint. The outer `Err`: the whole transaction is gone.
fn apart(hot: &mut Hot<'_>, work: impl FnOnce(&mut Hot<'_>) -> Result<(), StoreError>) -> Result<Result<(), StoreError>, StoreError> {
    run_cached(hot, "SAVEPOINT member")?;
    let mark = hot.mark();
    let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(hot)));
    let outcome = ran.unwrap_or_else(|_| Err(StoreError::Engine("a job of the store panicked".into())));
    if let Err(error) = &outcome {
        if hot.connection.is_autocommit() {
            return Err(error.clone());
        }
        run_cached(hot, "ROLLBACK TO member")?;
        hot.undone(mark);
    }
    run_cached(hot, "RELEASE member")?;
    Ok(outcome)
}

fn apply(hot: &mut Hot<'_>, job: Option<&Job>) -> Result<(), StoreError> {
    match job {
        Some(Job::Accept(messages, told)) => {
            messages.iter().try_for_each(|m| hot.accept(m))?;
            told.iter().flatten().try_for_each(|t| hot.append(t))
        }
        Some(Job::Settle(settlements, told)) => {
            let mut told = told.iter();
            settlements.iter().try_for_each(|s| {
                let is_void = hot.settle(s)?;
                let births = told.by_ref().take(s.born.len()).flatten();
                births.filter(|_| !is_void).try_for_each(|t| hot.append(t))?;
                told.next().into_iter().flatten().try_for_each(|t| hot.append(t))
            })
        }
        Some(Job::Record(told)) => told.iter().flatten().try_for_each(|t| hot.append(t)),
        Some(Job::Control(_) | Job::Own(_)) | None => Ok(()),
    }
}

/// What a job told, in the order in which `apply` wrote it.
fn told_of(job: Job) -> Vec<Option<Told>> {
    match job {
        Job::Accept(_, told) | Job::Settle(_, told) | Job::Record(told) => told,
        Job::Control(_) | Job::Own(_) => Vec::new(),
    }
}
