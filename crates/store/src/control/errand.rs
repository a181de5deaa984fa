//! Errands: what is to be done to entries by the node that owns them? (domains-and-routing 11.3)
//!
//! In:  actions asked of another node. Out: those for this node; what became of them.
//! Invariants: only the owner of an entry does them, so that no action crosses an attempt; whoever takes entries over takes their errands
//! over with them.

use super::{statement::statements, tenant_of, time_of, word_of, words};
use crate::StoreError;
use crate::sql::{Row, Tx};
use mail::{QueueId, TenantId, Timestamp};

statements!("errand.sql": ADD, MINE, ANSWER, OUTCOMES, FORGET, PRUNE);

words! {
    /// What became of an errand.
    Outcome {
        /// The entry was changed.
        Done = "done",
        /// The action does not apply to it.
        NotApplicable = "not-applicable",
        /// It was gone.
        Gone = "gone",
        /// It could not be done.
        Failed = "failed",
    }
}

/// One errand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errand {
    /// Unique in the installation.
    pub id: i64,
    /// The first `id` of those asked for together.
    pub batch: i64,
    /// Whose entry.
    pub tenant: TenantId,
    /// Message.
    pub queue_id: QueueId,
    /// Recipient.
    pub number: u32,
    /// What, as JSON; `transport` reads it.
    pub action: String,
    /// Who asks.
    pub actor: String,
    /// Since when.
    pub asked_at: Timestamp,
}

/// Asks for them. Who should do them is woken by [`crate::MailStore::entrust`], which calls this.
pub(crate) fn add(tx: &mut dyn Tx, errands: &[Errand]) -> Result<(), StoreError> {
    for e in errands {
        let params = [
            e.id.into(),
            e.batch.into(),
            e.tenant.0.into(),
            e.queue_id.to_i64().into(),
            i64::from(e.number).into(),
            e.action.as_str().into(),
            e.actor.as_str().into(),
            e.asked_at.0.into(),
        ];
        tx.execute(ADD, &params)?;
    }
    Ok(())
}

/// Errands not done yet whose entries `owner` (see [`crate::MailStore::owner`]) has, or nobody any more, oldest first.
///
/// # Errors
/// Of the store.
pub fn mine(tx: &mut dyn Tx, owner: i64, limit: usize) -> Result<Vec<Errand>, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    tx.query(MINE, &[owner.into(), limit.into()])?.iter().map(read).collect()
}

/// Tells what became of one.
///
/// # Errors
/// Of the store.
pub fn answer(tx: &mut dyn Tx, errand: &Errand, outcome: Outcome) -> Result<(), StoreError> {
    tx.execute(ANSWER, &[errand.id.into(), errand.tenant.0.into(), outcome.as_str().into()])?;
    Ok(())
}

/// What became of those of a batch, in their order; `None`: not done yet.
///
/// # Errors
/// Of the store.
pub fn outcomes(tx: &mut dyn Tx, batch: i64) -> Result<Vec<Option<Outcome>>, StoreError> {
    let read = |row: &Row| row.text_opt(0).map(|_| word_of(row, 0, Outcome::parse)).transpose();
    tx.query(OUTCOMES, &[batch.into()])?.iter().map(read).collect()
}

/// Removes those of a batch that are done: whoever asked knows.
///
/// # Errors
/// Of the store.
pub fn forget(tx: &mut dyn Tx, batch: i64) -> Result<(), StoreError> {
    tx.execute(FORGET, &[batch.into()])?;
    Ok(())
}

/// Removes those asked for before `then`, done or not.
///
/// # Errors
/// Of the store.
pub fn prune(tx: &mut dyn Tx, then: Timestamp) -> Result<u64, StoreError> {
    tx.execute(PRUNE, &[then.0.into()])
}

fn read(row: &Row) -> Result<Errand, StoreError> {
    Ok(Errand {
        id: row.int(0)?,
        batch: row.int(1)?,
        tenant: tenant_of(row, 2)?,
        queue_id: QueueId::from_i64(row.int(3)?),
        number: u32::try_from(row.int(4)?).map_err(|_| StoreError::Data("number of an errand".into()))?,
        action: row.text(5)?.to_owned(),
        actor: row.text(6)?.to_owned(),
        asked_at: time_of(row, 7)?,
    })
}
