//! Tenants: who is here, in which state, with which ceilings? (domains-and-routing 1.1)
//!
//! Invariants: ids count up and are never used again; the access name is unique and never changes.

use super::{ControlError, first, live, page_rows, statement::statements, time_of, time_opt, word_of, words};
use crate::StoreError;
use crate::sql::{Row, Tx, Value};
use mail::text::{Noun, Text};
use mail::{TenantId, Timestamp};

statements!("tenant.sql": NEXT_ID, LAST_ID, INSERT, BY_ID, BY_NAME, PAGE, UPDATE, SET_STATE, CLOSED_BY);

words! {
    /// `tenant.state`.
    TenantState {
        /// 100 messages an hour and domain; outbound closed until the operator opens it.
        Trial = "trial",
        /// All open.
        Active = "active",
        /// Outbound rejected.
        OutboundSuspended = "outbound-suspended",
        /// Inbound deferred, outbound rejected.
        Suspended = "suspended",
        /// Grace before deletion.
        Closing = "closing",
        /// Gone.
        Deleted = "deleted",
    }
}

/// A tenant as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant {
    /// Number.
    pub id: TenantId,
    /// Access name `<tenant>`.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// State.
    pub state: TenantState,
    /// Why, as the operator wrote it.
    pub state_reason: String,
    /// The operator opened outbound mail of a trial.
    pub trial_outbound: bool,
    /// Ceilings.
    pub ceilings: Ceilings,
    /// When it was made.
    pub created_at: Timestamp,
    /// End of the grace of `Closing`.
    pub closes_at: Option<Timestamp>,
}

/// `tenant.domains_max`, `addresses_max`, `storage_max`; `None`: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ceilings {
    /// Domains and claims.
    pub domains_max: Option<i64>,
    /// Addresses in recipient lists.
    pub addresses_max: Option<i64>,
    /// Octets.
    pub storage_max: Option<i64>,
}

/// A tenant to make.
#[derive(Clone, Debug)]
pub struct NewTenant {
    /// Access name: 2–32 of `a-z0-9-`, first a letter.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// First state; the spec's default is Active.
    pub state: TenantState,
    /// Ceilings.
    pub ceilings: Ceilings,
}

/// Whether `name` may be an access name.
#[must_use]
pub fn is_access_name(name: &str) -> bool {
    (2..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// Makes a tenant; its settings are revision 1, an empty document.
///
/// # Errors
/// [`ControlError::Malformed`] for the name, [`ControlError::Exists`] when it is taken, or of the store.
pub fn create(tx: &mut dyn Tx, new: &NewTenant, actor: &str, now: Timestamp) -> Result<Tenant, ControlError> {
    if !is_access_name(&new.name) {
        return Err(ControlError::Malformed(Text::new("api.tenant.name")));
    }
    if by_name(tx, &new.name)?.is_some() {
        return Err(ControlError::Exists(Noun::Tenant));
    }
    tx.execute(NEXT_ID, &[])?;
    let id = first(tx, LAST_ID, &[])?
        .ok_or_else(|| StoreError::Data("counter of tenants is missing".into()))?
        .int(0)?;
    let c = new.ceilings;
    tx.execute(
        INSERT,
        &[
            id.into(),
            new.name.as_str().into(),
            new.title.as_str().into(),
            new.state.as_str().into(),
            c.domains_max.into(),
            c.addresses_max.into(),
            c.storage_max.into(),
            now.0.into(),
        ],
    )?;
    let id = TenantId(id);
    super::revision::save(
        tx,
        &super::revision::Save {
            tenant: id,
            base: 0,
            document: "{}",
            actor,
            reason: "tenant created",
            at: now,
        },
    )?;
    get(tx, id)
}

/// A tenant by number.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn get(tx: &mut dyn Tx, id: TenantId) -> Result<Tenant, ControlError> {
    first(tx, BY_ID, &[id.0.into()])?
        .map(|r| read(&r))
        .transpose()?
        .ok_or(ControlError::NotFound(Noun::Tenant))
}

/// A tenant by access name.
///
/// # Errors
/// Of the store.
pub fn by_name(tx: &mut dyn Tx, name: &str) -> Result<Option<Tenant>, ControlError> {
    Ok(first(tx, BY_NAME, &[name.into()])?.map(|r| read(&r)).transpose()?)
}

/// Tenants by number, after `after`, deleted ones too.
///
/// # Errors
/// Of the store.
pub fn page(tx: &mut dyn Tx, after: Option<TenantId>, limit: usize) -> Result<Vec<Tenant>, ControlError> {
    let rows = tx.query(PAGE, &[after.map_or(0, |t| t.0).into(), page_rows(limit).into()])?;
    Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
}

/// What the operator may change besides the state.
#[derive(Clone, Debug)]
pub struct TenantChange {
    /// Name for people.
    pub title: String,
    /// Opens outbound mail of a trial.
    pub trial_outbound: bool,
    /// Ceilings.
    pub ceilings: Ceilings,
}

/// Changes title, opening of trial, ceilings.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn update(tx: &mut dyn Tx, id: TenantId, change: &TenantChange) -> Result<(), ControlError> {
    let c = change.ceilings;
    let params = [
        id.0.into(),
        change.title.as_str().into(),
        i64::from(change.trial_outbound).into(),
        c.domains_max.into(),
        c.addresses_max.into(),
        c.storage_max.into(),
    ];
    touched(tx.execute(UPDATE, &params)?)?;
    Ok(live::bump(tx, id)?)
}

/// Changes the state. `closes_at`: end of the grace, for `Closing`.
///
/// # Errors
/// [`ControlError::NotFound`], [`ControlError::WrongState`] when it is deleted, or of the store.
pub fn set_state(
    tx: &mut dyn Tx,
    id: TenantId,
    state: TenantState,
    reason: &str,
    closes_at: Option<Timestamp>,
) -> Result<(), ControlError> {
    if get(tx, id)?.state == TenantState::Deleted {
        return Err(ControlError::WrongState("deleted"));
    }
    let params: [Value; 4] = [id.0.into(), state.as_str().into(), reason.into(), closes_at.map(|t| t.0).into()];
    touched(tx.execute(SET_STATE, &params)?)?;
    Ok(live::bump(tx, id)?)
}

/// Closing tenants whose grace has ended.
///
/// # Errors
/// Of the store.
pub fn closed_by(tx: &mut dyn Tx, now: Timestamp, limit: usize) -> Result<Vec<TenantId>, ControlError> {
    let rows = tx.query(CLOSED_BY, &[now.0.into(), page_rows(limit).into()])?;
    Ok(rows.iter().map(|r| super::tenant_of(r, 0)).collect::<Result<_, _>>()?)
}

fn touched(rows: u64) -> Result<(), ControlError> {
    if rows == 0 {
        Err(ControlError::NotFound(Noun::Tenant))
    } else {
        Ok(())
    }
}

fn read(row: &Row) -> Result<Tenant, StoreError> {
    Ok(Tenant {
        id: super::tenant_of(row, 0)?,
        name: row.text(1)?.to_owned(),
        title: row.text(2)?.to_owned(),
        state: word_of(row, 3, TenantState::parse)?,
        state_reason: row.text(4)?.to_owned(),
        trial_outbound: row.int(5)? != 0,
        ceilings: Ceilings {
            domains_max: row.int_opt(6),
            addresses_max: row.int_opt(7),
            storage_max: row.int_opt(8),
        },
        created_at: time_of(row, 9)?,
        closes_at: time_opt(row, 10),
    })
}
