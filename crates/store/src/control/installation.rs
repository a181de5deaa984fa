//! Facts about the installation as a whole: does this node hold the same key as the others?

use super::{first, statement::statements};
use crate::StoreError;
use crate::sql::Tx;

statements!("installation.sql": GET, PUT);

/// Keeps `value` under `name` when nothing stands there yet; what stands there afterwards.
/// The fingerprint of the installation key is kept so: a node whose own differs must not start.
///
/// # Errors
/// Of the store.
pub fn keep(tx: &mut dyn Tx, name: &str, value: &str) -> Result<String, StoreError> {
    tx.execute(PUT, &[name.into(), value.into()])?;
    let row = first(tx, GET, &[name.into()])?.ok_or_else(|| StoreError::Data(format!("fact {name} is missing")))?;
    Ok(row.text(0)?.to_owned())
}
