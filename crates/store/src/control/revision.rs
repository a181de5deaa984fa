//! Revisions of settings: which document is in force, which were before? (domains-and-routing 12)
//!
//! Invariants: numbers of a tenant count up from 1 without gaps; a save names the revision it was made from, and fails when
//! that is not the newest any more; the newest is never removed, others after 400 days.

use super::{ControlError, first, live, page_rows, statement::statements, time_of};
use crate::StoreError;
use crate::sql::{Row, Tx};
use mail::text::Noun;
use mail::{Domain, TenantId, Timestamp};
use std::time::Duration;

statements!("revision.sql": NEWEST, NEWEST_NUMBER, GET, PAGE, INSERT, EXPIRE);

/// How long revisions can be compared and restored.
pub const KEPT: Duration = Duration::from_secs(400 * 86_400);

/// A revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Number; 0 when nothing was saved yet.
    pub number: i64,
    /// When.
    pub saved_at: Timestamp,
    /// By whom.
    pub actor: String,
    /// Why, or which revision was restored.
    pub reason: String,
    /// JSON. Empty in lists.
    pub document: String,
}

/// A document to save.
#[derive(Clone, Copy, Debug)]
pub struct Save<'a> {
    /// Whose; the operator's with [`TenantId::OPERATOR`].
    pub tenant: TenantId,
    /// The revision it was made from; 0 for the first.
    pub base: i64,
    /// JSON, checked by the caller.
    pub document: &'a str,
    /// By whom.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
    /// When.
    pub at: Timestamp,
}

/// The document in force. Before the first save: number 0 and `{}`.
///
/// # Errors
/// Of the store.
pub fn newest(tx: &mut dyn Tx, tenant: TenantId) -> Result<Revision, StoreError> {
    let none = Revision {
        number: 0,
        saved_at: Timestamp(0),
        actor: String::new(),
        reason: String::new(),
        document: "{}".into(),
    };
    first(tx, NEWEST, &[tenant.0.into()])?.map_or(Ok(none), |row| read(&row))
}

/// One revision.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn get(tx: &mut dyn Tx, tenant: TenantId, number: i64) -> Result<Revision, ControlError> {
    let row = first(tx, GET, &[tenant.0.into(), number.into()])?.ok_or(ControlError::NotFound(Noun::Revision))?;
    Ok(read(&row)?)
}

/// Revisions before `before`, newest first, without their documents.
///
/// # Errors
/// Of the store.
pub fn page(tx: &mut dyn Tx, tenant: TenantId, before: Option<i64>, limit: usize) -> Result<Vec<Revision>, StoreError> {
    tx.query(PAGE, &[tenant.0.into(), before.unwrap_or(i64::MAX).into(), page_rows(limit).into()])?
        .iter()
        .map(read)
        .collect()
}

/// Saves a document; its number.
///
/// # Errors
/// [`StoreError::Conflict`] when `base` is not the newest any more, or of the store.
pub fn save(tx: &mut dyn Tx, save: &Save<'_>) -> Result<i64, StoreError> {
    let current = first(tx, NEWEST_NUMBER, &[save.tenant.0.into()])?.map_or(Ok(0), |row| row.int(0))?;
    if current != save.base {
        return Err(StoreError::Conflict { current });
    }
    let number = current + 1;
    let params = [
        save.tenant.0.into(),
        number.into(),
        save.at.0.into(),
        save.actor.into(),
        save.reason.into(),
        save.document.into(),
    ];
    match tx.execute(INSERT, &params) {
        Ok(_) => {}
        // On PostgreSQL another node may have saved since the look above.
        Err(StoreError::Engine(text)) if text.contains("unique") => return Err(StoreError::Conflict { current: number }),
        Err(e) => return Err(e),
    }
    live::bump(tx, save.tenant)?;
    Ok(number)
}

/// Takes the settings of `domain` out of the newest document, when they are in it.
///
/// # Errors
/// Of the store.
pub fn remove_domain(tx: &mut dyn Tx, tenant: TenantId, domain: &Domain, actor: &str, at: Timestamp) -> Result<(), StoreError> {
    let newest = newest(tx, tenant)?;
    let mut document: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&newest.document).map_err(|e| StoreError::Data(format!("revision {} of a tenant: {e}", newest.number)))?;
    let removed = document
        .get_mut("domains")
        .and_then(serde_json::Value::as_object_mut)
        .and_then(|all| all.remove(domain.as_str()));
    if removed.is_none() {
        return Ok(());
    }
    let text = super::json_of(&document)?;
    let reason = format!("domain {domain} removed");
    save(
        tx,
        &Save {
            tenant,
            base: newest.number,
            document: &text,
            actor,
            reason: &reason,
            at,
        },
    )?;
    Ok(())
}

/// Removes revisions older than [`KEPT`], never the newest of a tenant.
///
/// # Errors
/// Of the store.
pub fn expire(tx: &mut dyn Tx, now: Timestamp) -> Result<u64, StoreError> {
    tx.execute(EXPIRE, &[now.before(KEPT).0.into()])
}

fn read(row: &Row) -> Result<Revision, StoreError> {
    Ok(Revision {
        number: row.int(0)?,
        saved_at: time_of(row, 1)?,
        actor: row.text(2)?.to_owned(),
        reason: row.text(3)?.to_owned(),
        document: row.text(4)?.to_owned(),
    })
}
