//! What must every node's memory follow? One number that counts up with each change, and whose change it was.
//!
//! Invariants: who bumps holds the counter's row until the commit, so generations become visible in order and none is skipped.

use super::{domain, first, revision, statement::statements, tenant, tenant_of};
use crate::StoreError;
use crate::sql::Tx;
use mail::TenantId;

statements!("live.sql": NEXT_GENERATION, GENERATION, MARK, SINCE);

/// What changed since a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// Look from here next time.
    pub generation: i64,
    /// Tenants to load again; [`TenantId::OPERATOR`] stands for the operator's settings and pauses.
    pub tenants: Vec<TenantId>,
}

/// All that the mail flow needs of one tenant.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The tenant.
    pub tenant: tenant::Tenant,
    /// Its settings.
    pub settings: revision::Revision,
    /// Its domains and claims.
    pub domains: Vec<domain::DomainClaim>,
}

/// Marks that something of `tenant` changed that the mail flow must see.
///
/// # Errors
/// Of the store.
pub fn bump(tx: &mut dyn Tx, tenant: TenantId) -> Result<(), StoreError> {
    tx.execute(NEXT_GENERATION, &[])?;
    let now = generation(tx)?;
    tx.execute(MARK, &[tenant.0.into(), now.into()])?;
    Ok(())
}

/// The generation now.
///
/// # Errors
/// Of the store.
pub fn generation(tx: &mut dyn Tx) -> Result<i64, StoreError> {
    first(tx, GENERATION, &[])?
        .ok_or_else(|| StoreError::Data("counter of generations is missing".into()))?
        .int(0)
}

/// What changed after `generation`. With nothing new this is one look at one row.
///
/// # Errors
/// Of the store.
pub fn changes_since(tx: &mut dyn Tx, generation: i64) -> Result<Changes, StoreError> {
    let now = self::generation(tx)?;
    let tenants = if now == generation {
        Vec::new()
    } else {
        tx.query(SINCE, &[generation.into()])?
            .iter()
            .map(|row| tenant_of(row, 0))
            .collect::<Result<_, _>>()?
    };
    Ok(Changes { generation: now, tenants })
}

/// One tenant whole; `None` when there is none or it is deleted.
///
/// # Errors
/// Of the store.
pub fn load(tx: &mut dyn Tx, id: TenantId) -> Result<Option<Snapshot>, StoreError> {
    let tenant = match tenant::get(tx, id) {
        Ok(tenant) if tenant.state != tenant::TenantState::Deleted => tenant,
        Ok(_) | Err(super::ControlError::NotFound(_)) => return Ok(None),
        Err(super::ControlError::Store(e)) => return Err(e),
        Err(e) => return Err(StoreError::Data(e.to_string())),
    };
    Ok(Some(Snapshot {
        tenant,
        settings: revision::newest(tx, id)?,
        domains: domain::list(tx, id)?,
    }))
}
