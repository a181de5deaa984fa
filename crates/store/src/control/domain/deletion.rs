//! How a domain ends: by deletion with grace, by lapse of its claim (domains-and-routing 2.5, 2.2).

use super::{BEGIN_DELETION, DomainState, RESTORE, end, get};
use crate::StoreError;
use crate::control::{ControlError, live, pause, proof, recipient};
use crate::sql::Tx;
use mail::text::Noun;
use mail::{Domain, TenantId, Timestamp};

/// Begins the grace of a proven domain; an unproven claim ends at once. The state afterwards, `None`: gone.
///
/// # Errors
/// [`ControlError::NotFound`], [`ControlError::WrongState`] when it is being deleted already, or of the store.
pub fn begin_deletion(
    tx: &mut dyn Tx,
    tenant: TenantId,
    name: &Domain,
    purge_at: Timestamp,
    now: Timestamp,
) -> Result<Option<DomainState>, ControlError> {
    let claim = get(tx, tenant, name)?.ok_or(ControlError::NotFound(Noun::Domain))?;
    match claim.state {
        DomainState::Deleting => Err(ControlError::WrongState("deleting")),
        DomainState::Unverified => {
            purge(tx, tenant, name, now)?;
            Ok(None)
        }
        DomainState::Verified | DomainState::Active => {
            tx.execute(BEGIN_DELETION, &[tenant.0.into(), name.as_str().into(), purge_at.0.into()])?;
            live::bump(tx, tenant)?;
            Ok(Some(DomainState::Deleting))
        }
    }
}

/// Ends the grace before its time; no new proof is asked for.
///
/// # Errors
/// [`ControlError::NotFound`], [`ControlError::WrongState`], or of the store.
pub fn restore(tx: &mut dyn Tx, tenant: TenantId, name: &Domain, now: Timestamp) -> Result<(), ControlError> {
    let claim = get(tx, tenant, name)?.ok_or(ControlError::NotFound(Noun::Domain))?;
    if tx.execute(RESTORE, &[tenant.0.into(), name.as_str().into(), now.0.into()])? == 0 {
        return Err(ControlError::WrongState(claim.state.as_str()));
    }
    Ok(live::bump(tx, tenant)?)
}

/// Ends an unproven claim whose time is over. `false` when it was proven or renewed in the meantime.
///
/// # Errors
/// Of the store.
pub fn lapse(tx: &mut dyn Tx, tenant: TenantId, name: &Domain, now: Timestamp) -> Result<bool, StoreError> {
    let over = get(tx, tenant, name)?.is_some_and(|c| c.state == DomainState::Unverified && c.lapses_at.is_some_and(|at| at <= now));
    if over {
        purge(tx, tenant, name, now)?;
    }
    Ok(over)
}

/// Removes the domain with its settings, recipients, pauses and proofs. The name is free.
///
/// # Errors
/// Of the store.
pub fn purge(tx: &mut dyn Tx, tenant: TenantId, name: &Domain, now: Timestamp) -> Result<(), StoreError> {
    recipient::purge(tx, tenant, name)?;
    pause::purge_domain(tx, tenant, name)?;
    proof::purge_domain(tx, tenant, name)?;
    end(tx, tenant, name, now)
}
