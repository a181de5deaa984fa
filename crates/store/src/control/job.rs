//! Jobs: what long work runs or ran, how far is it, what came of it?

use super::{ControlError, first, page_rows, statement::statements, tenant_of, time_of, word_of, words};
use crate::StoreError;
use crate::sql::{Row, Tx};
use mail::text::Noun;
use mail::{TenantId, Timestamp};

statements!("job.sql": INSERT, GET, PAGE, PROGRESS, FINISH, UNFINISHED, EXPIRE);

words! {
    /// State of a job.
    JobState {
        /// Not begun.
        Waiting = "waiting",
        /// Under way.
        Running = "running",
        /// Done.
        Done = "done",
        /// Ended with an error.
        Failed = "failed",
        /// Stopped by a person.
        Cancelled = "cancelled",
    }
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// UUIDv7.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// What it does: `queue-action`, `recipient-import` …
    pub kind: String,
    /// State.
    pub state: JobState,
    /// Who asked for it.
    pub actor: String,
    /// When.
    pub created_at: Timestamp,
    /// Last sign of life.
    pub updated_at: Timestamp,
    /// Units done.
    pub done: i64,
    /// Units in all, when known.
    pub total: Option<i64>,
    /// What was asked, JSON.
    pub params: String,
    /// What came of it, JSON.
    pub outcome: String,
}

/// Makes a job; its id.
///
/// # Errors
/// Of the store.
pub fn create(
    tx: &mut dyn Tx,
    tenant: TenantId,
    kind: &str,
    actor: &str,
    params: &str,
    total: Option<i64>,
    now: Timestamp,
) -> Result<String, StoreError> {
    let id = super::new_id(now)?;
    tx.execute(
        INSERT,
        &[
            id.as_str().into(),
            tenant.0.into(),
            kind.into(),
            actor.into(),
            now.0.into(),
            total.into(),
            params.into(),
        ],
    )?;
    Ok(id)
}

/// One job.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn get(tx: &mut dyn Tx, tenant: TenantId, id: &str) -> Result<Job, ControlError> {
    let row = first(tx, GET, &[tenant.0.into(), id.into()])?.ok_or(ControlError::NotFound(Noun::Job))?;
    Ok(read(&row)?)
}

/// Jobs before `before`, newest first.
///
/// # Errors
/// Of the store.
pub fn page(tx: &mut dyn Tx, tenant: TenantId, before: Option<&str>, limit: usize) -> Result<Vec<Job>, StoreError> {
    // Every UUID sorts before the letter g.
    tx.query(PAGE, &[tenant.0.into(), before.unwrap_or("g").into(), page_rows(limit).into()])?
        .iter()
        .map(read)
        .collect()
}

/// Notes progress. `false` when the job has ended (cancelled): the work stops.
///
/// # Errors
/// Of the store.
pub fn progress(tx: &mut dyn Tx, tenant: TenantId, id: &str, done: i64, total: Option<i64>, now: Timestamp) -> Result<bool, StoreError> {
    Ok(tx.execute(PROGRESS, &[tenant.0.into(), id.into(), done.into(), total.into(), now.0.into()])? > 0)
}

/// Ends a job. `false` when it had ended before.
///
/// # Errors
/// Of the store.
pub fn finish(tx: &mut dyn Tx, tenant: TenantId, id: &str, state: JobState, outcome: &str, now: Timestamp) -> Result<bool, StoreError> {
    Ok(tx.execute(
        FINISH,
        &[tenant.0.into(), id.into(), state.as_str().into(), outcome.into(), now.0.into()],
    )? > 0)
}

/// Jobs that wait or run, of all tenants: what a restarted node goes on with or marks as failed.
///
/// # Errors
/// Of the store.
pub fn unfinished(tx: &mut dyn Tx, limit: usize) -> Result<Vec<Job>, StoreError> {
    tx.query(UNFINISHED, &[page_rows(limit).into()])?.iter().map(read).collect()
}

/// Removes ended jobs not touched since `before`.
///
/// # Errors
/// Of the store.
pub fn expire(tx: &mut dyn Tx, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute(EXPIRE, &[before.0.into()])
}

fn read(row: &Row) -> Result<Job, StoreError> {
    Ok(Job {
        id: row.text(0)?.to_owned(),
        tenant: tenant_of(row, 1)?,
        kind: row.text(2)?.to_owned(),
        state: word_of(row, 3, JobState::parse)?,
        actor: row.text(4)?.to_owned(),
        created_at: time_of(row, 5)?,
        updated_at: time_of(row, 6)?,
        done: row.int(7)?,
        total: row.int_opt(8),
        params: row.text(9)?.to_owned(),
        outcome: row.text(10)?.to_owned(),
    })
}
