//! Which proofs and credentials were seen in use, and how many messages did a set-up window let through? (domains-and-routing 6.1, 6.3)

use super::{first, statement::statements, time_of};
use crate::StoreError;
use crate::sql::Tx;
use mail::{Domain, TenantId, Timestamp};

statements!(
    "proof.sql": CREDENTIAL_USED, CREDENTIAL_USES, PROOF_SEEN, PROOFS, PURGE_PROOFS, WINDOW_OPEN, WINDOW_TAKE, WINDOW_USED,
);

/// Messages that a set-up window lets through.
pub const SETUP_WINDOW_MESSAGES_MAX: i64 = 20;

/// Last use of a relay credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialUse {
    /// Name of the credential.
    pub name: String,
    /// When.
    pub used_at: Timestamp,
    /// From which address.
    pub client: String,
}

/// A proof of tenant that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofSeen {
    /// Sender domain.
    pub domain: Domain,
    /// Which proof: `header`, `tenant-id`, `certificate`, `address`.
    pub kind: String,
    /// Last time.
    pub seen_at: Timestamp,
    /// What identified it; no secret.
    pub detail: String,
}

/// Notes that a relay credential was used.
///
/// # Errors
/// Of the store.
pub fn credential_used(tx: &mut dyn Tx, tenant: TenantId, name: &str, client: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(CREDENTIAL_USED, &[tenant.0.into(), name.into(), now.0.into(), client.into()])?;
    Ok(())
}

/// Last uses of a tenant's credentials.
///
/// # Errors
/// Of the store.
pub fn credential_uses(tx: &mut dyn Tx, tenant: TenantId) -> Result<Vec<CredentialUse>, StoreError> {
    let rows = tx.query(CREDENTIAL_USES, &[tenant.0.into()])?;
    rows.iter()
        .map(|row| {
            Ok(CredentialUse {
                name: row.text(0)?.to_owned(),
                used_at: time_of(row, 1)?,
                client: row.text(2)?.to_owned(),
            })
        })
        .collect()
}

/// Notes that a proof was seen.
///
/// # Errors
/// Of the store.
pub fn proof_seen(tx: &mut dyn Tx, tenant: TenantId, seen: &ProofSeen) -> Result<(), StoreError> {
    let params = [
        tenant.0.into(),
        seen.domain.as_str().into(),
        seen.kind.as_str().into(),
        seen.seen_at.0.into(),
        seen.detail.as_str().into(),
    ];
    tx.execute(PROOF_SEEN, &params)?;
    Ok(())
}

/// Proofs seen of a tenant.
///
/// # Errors
/// Of the store.
pub fn proofs(tx: &mut dyn Tx, tenant: TenantId) -> Result<Vec<ProofSeen>, StoreError> {
    let rows = tx.query(PROOFS, &[tenant.0.into()])?;
    rows.iter()
        .map(|row| {
            Ok(ProofSeen {
                domain: super::domain_of(row, 0)?,
                kind: row.text(1)?.to_owned(),
                seen_at: time_of(row, 2)?,
                detail: row.text(3)?.to_owned(),
            })
        })
        .collect()
}

/// Takes one message of the set-up window that ends at `until` (the setting). `false`: the window is used up.
/// On several nodes as on one: the row counts.
///
/// # Errors
/// Of the store.
pub fn take_from_window(tx: &mut dyn Tx, tenant: TenantId, until: Timestamp) -> Result<bool, StoreError> {
    tx.execute(WINDOW_OPEN, &[tenant.0.into(), until.0.into()])?;
    Ok(tx.execute(WINDOW_TAKE, &[tenant.0.into(), until.0.into(), SETUP_WINDOW_MESSAGES_MAX.into()])? > 0)
}

/// How many messages the window that ends at `until` has let through.
///
/// # Errors
/// Of the store.
pub fn window_used(tx: &mut dyn Tx, tenant: TenantId, until: Timestamp) -> Result<i64, StoreError> {
    first(tx, WINDOW_USED, &[tenant.0.into(), until.0.into()])?.map_or(Ok(0), |row| row.int(0))
}

pub(super) fn purge_domain(tx: &mut dyn Tx, tenant: TenantId, name: &Domain) -> Result<(), StoreError> {
    tx.execute(PURGE_PROOFS, &[tenant.0.into(), name.as_str().into()])?;
    Ok(())
}
