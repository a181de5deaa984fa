//! Pauses: to which domains and next hops is nothing attempted? (domains-and-routing 11.3)

use super::{ControlError, live, statement::statements, tenant_of, time_of, word_of, words};
use crate::StoreError;
use crate::sql::{Row, Tx};
use mail::text::Noun;
use mail::{Domain, TenantId, Timestamp};

statements!("pause.sql": SET, END, LIST, ALL_PAUSES);

words! {
    /// What is paused.
    PauseKind {
        /// A recipient domain.
        Domain = "domain",
        /// A next hop, as delivery names it: `host:port`.
        NextHop = "next-hop",
    }
}

/// A pause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Whose mail; the operator's stop everyone's.
    pub tenant: TenantId,
    /// What.
    pub kind: PauseKind,
    /// Which, lower case.
    pub subject: String,
    /// Since when.
    pub since: Timestamp,
    /// By whom.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// Begins a pause. `false` when it was paused already.
///
/// # Errors
/// Of the store.
pub fn set(tx: &mut dyn Tx, pause: &Pause) -> Result<bool, StoreError> {
    let params = [
        pause.tenant.0.into(),
        pause.kind.as_str().into(),
        pause.subject.as_str().into(),
        pause.since.0.into(),
        pause.actor.as_str().into(),
        pause.reason.as_str().into(),
    ];
    let new = tx.execute(SET, &params)? > 0;
    live::bump(tx, pause.tenant)?;
    Ok(new)
}

/// Ends a pause.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn end(tx: &mut dyn Tx, tenant: TenantId, kind: PauseKind, subject: &str) -> Result<(), ControlError> {
    if tx.execute(END, &[tenant.0.into(), kind.as_str().into(), subject.into()])? == 0 {
        return Err(ControlError::NotFound(Noun::Pause));
    }
    Ok(live::bump(tx, tenant)?)
}

/// Pauses of a tenant.
///
/// # Errors
/// Of the store.
pub fn list(tx: &mut dyn Tx, tenant: TenantId) -> Result<Vec<Pause>, StoreError> {
    tx.query(LIST, &[tenant.0.into()])?.iter().map(read).collect()
}

/// Pauses of everyone.
///
/// # Errors
/// Of the store.
pub fn all(tx: &mut dyn Tx) -> Result<Vec<Pause>, StoreError> {
    tx.query(ALL_PAUSES, &[])?.iter().map(read).collect()
}

pub(super) fn purge_domain(tx: &mut dyn Tx, tenant: TenantId, name: &Domain) -> Result<(), StoreError> {
    tx.execute(END, &[tenant.0.into(), PauseKind::Domain.as_str().into(), name.as_str().into()])?;
    Ok(())
}

fn read(row: &Row) -> Result<Pause, StoreError> {
    Ok(Pause {
        tenant: tenant_of(row, 0)?,
        kind: word_of(row, 1, PauseKind::parse)?,
        subject: row.text(2)?.to_owned(),
        since: time_of(row, 3)?,
        actor: row.text(4)?.to_owned(),
        reason: row.text(5)?.to_owned(),
    })
}
