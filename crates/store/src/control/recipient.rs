//! Recipient lists: does an address exist, who is in the list, which lists were there before? (domains-and-routing 8)
//!
//! Invariants: a list is replaced or merged in one transaction or not at all; a failed, empty or guarded import leaves the last good
//! list in force; the last [`LISTS_KEPT`] versions can be restored. Rows are shared between versions: one says from which version to
//! which it holds.

mod import;

pub use import::{Difference, Guard, Import, ImportMode, Imported, Plan, RowProblem, apply, import, plan, preview, restore};

use super::{first, list_of, page_rows, statement::statements, time_of, time_opt};
use crate::StoreError;
use crate::sql::{Row, Tx};
use mail::{Domain, TenantId, Timestamp};
use std::time::Duration;

statements!(
    "recipient.sql": NEWEST_LIST, LISTS, LOOK_UP, PAGE, AT_VERSION, COUNT_TENANT, INSERT_LIST, INSERT_ROW, INSERT_ROWS_16, END_ROW, FORGET_LISTS,
    FORGET_ROWS, PURGE_LISTS, PURGE_ROWS,
);

/// Versions that can be restored.
pub const LISTS_KEPT: i64 = 10;
/// Rows of one import.
pub const ROWS_MAX: usize = 200_000;

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecipientRow {
    /// Local part, in the form for comparing ([`mail::Address::local_key`]).
    pub local: String,
    /// Name for people.
    pub display_name: String,
    /// Local parts of further addresses in the same domain, in the form for comparing.
    pub aliases: Vec<String>,
    /// Names of groups.
    pub groups: Vec<String>,
    /// Address of the manager.
    pub manager: Option<String>,
    /// `ja` or `en`.
    pub language: Option<String>,
    /// Off: as if not in the list.
    pub enabled: bool,
}

impl RecipientRow {
    /// An enabled recipient of whom nothing else is known.
    #[must_use]
    pub fn new(local: impl Into<String>) -> Self {
        Self {
            local: local.into(),
            display_name: String::new(),
            aliases: Vec::new(),
            groups: Vec::new(),
            manager: None,
            language: None,
            enabled: true,
        }
    }
}

/// A version of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientList {
    /// From 1.
    pub version: i64,
    /// When.
    pub made_at: Timestamp,
    /// By whom.
    pub actor: String,
    /// Where it came from: name of the file, or the version restored.
    pub origin: String,
    /// Recipients in it, aliases not counted.
    pub entries: u64,
    /// What it changed.
    pub difference: Difference,
}

/// Whether an address exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// In the list.
    Listed,
    /// Taken out of the list, still within `directory.grace`.
    InGrace,
    /// Not in the list.
    Missing,
    /// The domain never had a list.
    NoList,
}

/// Answer of [`exists`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether it exists.
    pub found: Found,
    /// How old the list is.
    pub list_age: Option<Duration>,
}

/// Looks an address up in the list in force. `local`: in the form for comparing, sub-address taken off.
///
/// # Errors
/// Of the store.
pub fn exists(
    tx: &mut dyn Tx,
    tenant: TenantId,
    domain: &Domain,
    local: &str,
    grace: Duration,
    now: Timestamp,
) -> Result<Answer, StoreError> {
    let Some(list) = first(tx, NEWEST_LIST, &[tenant.0.into(), domain.as_str().into()])? else {
        return Ok(Answer {
            found: Found::NoList,
            list_age: None,
        });
    };
    let list_age = Some(now.since(time_of(&list, 1)?));
    let found = match first(tx, LOOK_UP, &[tenant.0.into(), domain.as_str().into(), local.into()])? {
        None => Found::Missing,
        Some(row) => {
            let left_at = match (time_opt(&row, 2), row.int(3)? != 0) {
                (Some(ended), _) => Some(ended),
                (None, false) => Some(time_of(&row, 1)?),
                (None, true) => None,
            };
            match left_at {
                None => Found::Listed,
                Some(left_at) if left_at.after(grace) > now => Found::InGrace,
                Some(_) => Found::Missing,
            }
        }
    };
    Ok(Answer { found, list_age })
}

/// The list in force; `None` when the domain never had one.
///
/// # Errors
/// Of the store.
pub fn newest_list(tx: &mut dyn Tx, tenant: TenantId, domain: &Domain) -> Result<Option<RecipientList>, StoreError> {
    first(tx, NEWEST_LIST, &[tenant.0.into(), domain.as_str().into()])?
        .map(|row| read_list(&row))
        .transpose()
}

/// Versions that can be restored, newest first.
///
/// # Errors
/// Of the store.
pub fn lists(tx: &mut dyn Tx, tenant: TenantId, domain: &Domain) -> Result<Vec<RecipientList>, StoreError> {
    tx.query(LISTS, &[tenant.0.into(), domain.as_str().into()])?
        .iter()
        .map(read_list)
        .collect()
}

/// Recipients in force by local part, after `after`.
///
/// # Errors
/// Of the store.
pub fn page(
    tx: &mut dyn Tx,
    tenant: TenantId,
    domain: &Domain,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<RecipientRow>, StoreError> {
    let params = [
        tenant.0.into(),
        domain.as_str().into(),
        after.unwrap_or("").into(),
        page_rows(limit).into(),
    ];
    tx.query(PAGE, &params)?
        .iter()
        .map(|row| read_row(row).map(|(row, _)| row))
        .collect()
}

/// Recipients in the lists of all domains of a tenant.
///
/// # Errors
/// Of the store.
pub fn count(tx: &mut dyn Tx, tenant: TenantId) -> Result<u64, StoreError> {
    let n = first(tx, COUNT_TENANT, &[tenant.0.into()])?.map_or(Ok(0), |row| row.int(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}

pub(super) fn purge(tx: &mut dyn Tx, tenant: TenantId, domain: &Domain) -> Result<(), StoreError> {
    tx.execute(PURGE_ROWS, &[tenant.0.into(), domain.as_str().into()])?;
    tx.execute(PURGE_LISTS, &[tenant.0.into(), domain.as_str().into()])?;
    Ok(())
}

fn read_list(row: &Row) -> Result<RecipientList, StoreError> {
    let count = |i: usize| row.int(i).map(|n| u64::try_from(n).unwrap_or(0));
    Ok(RecipientList {
        version: row.int(0)?,
        made_at: time_of(row, 1)?,
        actor: row.text(2)?.to_owned(),
        origin: row.text(3)?.to_owned(),
        entries: count(4)?,
        difference: Difference {
            added: count(5)?,
            removed: count(6)?,
            changed: count(7)?,
            renamed: count(8)?,
        },
    })
}

/// A row, and whose alias it is.
fn read_row(row: &Row) -> Result<(RecipientRow, Option<String>), StoreError> {
    let recipient = RecipientRow {
        local: row.text(0)?.to_owned(),
        display_name: row.text(2)?.to_owned(),
        aliases: list_of(row, 3)?,
        groups: list_of(row, 4)?,
        manager: row.text_opt(5).map(str::to_owned),
        language: row.text_opt(6).map(str::to_owned),
        enabled: row.int(7)? != 0,
    };
    Ok((recipient, row.text_opt(1).map(str::to_owned)))
}
