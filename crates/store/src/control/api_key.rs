//! Keys of the API: whose is a secret, and what may it? The secret itself is never stored.

use super::{ControlError, first, page_rows, statement::statements, tenant_of, time_of, time_opt};
use crate::StoreError;
use crate::sql::{Row, Tx, Value};
use mail::text::Noun;
use mail::{Domain, TenantId, Timestamp};

statements!("api_key.sql": INSERT, BY_HASH, GET, PAGE, COUNT_ROLE, USED, DELETE);

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// UUIDv7.
    pub id: String,
    /// Whose; [`TenantId::OPERATOR`] for the operator's own.
    pub tenant: TenantId,
    /// Name for people.
    pub name: String,
    /// Word of the role, read by `identity`.
    pub role: String,
    /// Target: the listed domains, or with `None` the whole tenant.
    pub domains: Option<Vec<Domain>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// Last use, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Not after.
    pub expires_at: Option<Timestamp>,
}

/// A key to make.
#[derive(Clone, Debug)]
pub struct NewApiKey {
    /// Whose.
    pub tenant: TenantId,
    /// Name for people.
    pub name: String,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// Word of the role.
    pub role: String,
    /// Target.
    pub domains: Option<Vec<Domain>>,
    /// By whom.
    pub created_by: String,
    /// Not after.
    pub expires_at: Option<Timestamp>,
}

/// Makes a key.
///
/// # Errors
/// Of the store.
pub fn create(tx: &mut dyn Tx, new: NewApiKey, now: Timestamp) -> Result<ApiKey, ControlError> {
    let id = super::new_id(now)?;
    let domains = new.domains.as_ref().map(super::json_of).transpose()?;
    let params: [Value; 9] = [
        id.as_str().into(),
        new.tenant.0.into(),
        new.name.into(),
        new.hash.to_vec().into(),
        new.role.into(),
        domains.into(),
        now.0.into(),
        new.created_by.into(),
        new.expires_at.map(|t| t.0).into(),
    ];
    tx.execute(INSERT, &params)?;
    get(tx, new.tenant, &id)
}

/// The key with this hash of its secret, of any tenant. The caller looks at `expires_at`.
///
/// # Errors
/// Of the store.
pub fn by_hash(tx: &mut dyn Tx, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
    first(tx, BY_HASH, &[hash.to_vec().into()])?.map(|row| read(&row)).transpose()
}

/// One key of a tenant.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn get(tx: &mut dyn Tx, tenant: TenantId, id: &str) -> Result<ApiKey, ControlError> {
    let row = first(tx, GET, &[tenant.0.into(), id.into()])?.ok_or(ControlError::NotFound(Noun::ApiKey))?;
    Ok(read(&row)?)
}

/// Keys of a tenant, oldest first.
///
/// # Errors
/// Of the store.
pub fn page(tx: &mut dyn Tx, tenant: TenantId, after: Option<&str>, limit: usize) -> Result<Vec<ApiKey>, StoreError> {
    tx.query(PAGE, &[tenant.0.into(), after.unwrap_or("").into(), page_rows(limit).into()])?
        .iter()
        .map(read)
        .collect()
}

/// Keys of a role that are in force: the last owner cannot be removed.
///
/// # Errors
/// Of the store.
pub fn count_role(tx: &mut dyn Tx, tenant: TenantId, role: &str, now: Timestamp) -> Result<i64, StoreError> {
    first(tx, COUNT_ROLE, &[tenant.0.into(), role.into(), now.0.into()])?.map_or(Ok(0), |row| row.int(0))
}

/// Notes a use. Callers do so at most once a minute and key.
///
/// # Errors
/// Of the store.
pub fn used(tx: &mut dyn Tx, id: &str, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(USED, &[id.into(), now.0.into()])?;
    Ok(())
}

/// Revokes a key.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn delete(tx: &mut dyn Tx, tenant: TenantId, id: &str) -> Result<(), ControlError> {
    if tx.execute(DELETE, &[tenant.0.into(), id.into()])? == 0 {
        Err(ControlError::NotFound(Noun::ApiKey))
    } else {
        Ok(())
    }
}

fn read(row: &Row) -> Result<ApiKey, StoreError> {
    let domains = row
        .text_opt(4)
        .map(serde_json::from_str)
        .transpose()
        .map_err(|e| StoreError::Data(format!("domains of a key: {e}")))?;
    Ok(ApiKey {
        id: row.text(0)?.to_owned(),
        tenant: tenant_of(row, 1)?,
        name: row.text(2)?.to_owned(),
        role: row.text(3)?.to_owned(),
        domains,
        created_at: time_of(row, 5)?,
        created_by: row.text(6)?.to_owned(),
        last_used_at: time_opt(row, 7),
        expires_at: time_opt(row, 8),
    })
}
