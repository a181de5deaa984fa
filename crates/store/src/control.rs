//! The control plane: which tenants, domains, settings, recipients, keys and jobs are there, and who changed what?
//!
//! In:  a transaction ([`Tx`]) of either engine, blocking. Out: plain rows; documents as JSON text, which `config` reads.
//! Invariants: one SQL text for both engines; every statement about a tenant's things is bound to its id; what the mail flow must see
//! counts up the generation in the same transaction, so that every node learns of it ([`live::changes_since`]).
//!
//! Callers put several operations, and the audit entry that tells of them, into one `Store::write`.

pub mod api_key;
pub mod audit;
pub mod domain;
pub mod errand;
pub mod installation;
pub mod job;
pub mod live;
pub mod pause;
pub mod proof;
pub mod recipient;
pub mod revision;
mod statement;
pub mod tenant;

use crate::StoreError;
use crate::sql::{Row, Tx};
use mail::text::{Noun, Text};
use mail::{Domain, TenantId, Timestamp};

/// Why a change of the control plane was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// The store failed, or someone else saved first ([`StoreError::Conflict`]).
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Not there, or another tenant's: the same answer for both.
    #[error("no such {0}")]
    NotFound(Noun),
    /// The tenant has it already.
    #[error("{0} exists already")]
    Exists(Noun),
    /// The domain is proven by a tenant of this installation (`domain-already-managed`). Never says by whom.
    #[error("this domain is already managed")]
    AlreadyManaged,
    /// Not of the form asked for.
    #[error("{0}")]
    Malformed(Text),
    /// A limit of the tenant is reached.
    #[error("the limit of {limit} {what} is reached")]
    LimitReached {
        /// Of what.
        what: Noun,
        /// How many.
        limit: i64,
    },
    /// Not in this state.
    #[error("not possible in state {0}")]
    WrongState(&'static str),
    /// The only key that an owner has: without it nobody could give roles any more.
    #[error("the last key of an owner cannot be deleted")]
    LastOwner,
    /// The import would remove more than `directory.guard` allows; nothing was changed.
    #[error("the import would remove {removed} of {entries} recipients, more than {percent} % allow")]
    Guarded {
        /// Removals.
        removed: u64,
        /// Entries of the list in force.
        entries: u64,
        /// The guard.
        percent: u32,
    },
    /// Rows of an import are wrong; nothing was changed.
    #[error("{} rows of the import are wrong", .0.len())]
    Rows(Vec<recipient::RowProblem>),
}

/// Every statement of the control plane as `file.sql:NAME` and its text, so that a test can prepare each on both engines.
pub fn statements() -> impl Iterator<Item = (&'static str, &'static str)> {
    statement::ALL.iter().flat_map(|room| room.iter().copied())
}

/// A word of a closed set, as it stands in the tables and in JSON.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant),+ }
        impl $name {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];
            /// The word.
            #[must_use]
            pub fn as_str(self) -> &'static str { match self { $(Self::$variant => $word),+ } }
            /// From the word.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> { match text { $($word => Some(Self::$variant),)+ _ => None } }
        }
    };
}
use words;

fn word_of<T>(row: &Row, column: usize, parse: impl Fn(&str) -> Option<T>) -> Result<T, StoreError> {
    let text = row.text(column)?;
    parse(text).ok_or_else(|| StoreError::Data(format!("column {column}: unknown word {text:?}")))
}

fn time_of(row: &Row, column: usize) -> Result<Timestamp, StoreError> {
    row.int(column).map(Timestamp)
}

fn time_opt(row: &Row, column: usize) -> Option<Timestamp> {
    row.int_opt(column).map(Timestamp)
}

fn domain_of(row: &Row, column: usize) -> Result<Domain, StoreError> {
    Domain::parse(row.text(column)?).map_err(|e| StoreError::Data(format!("column {column}: {e}")))
}

fn tenant_of(row: &Row, column: usize) -> Result<TenantId, StoreError> {
    row.int(column).map(TenantId)
}

fn list_of(row: &Row, column: usize) -> Result<Vec<String>, StoreError> {
    serde_json::from_str(row.text(column)?).map_err(|e| StoreError::Data(format!("column {column}: {e}")))
}

fn json_of<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|e| StoreError::Data(e.to_string()))
}

/// A page size within bounds, as the engines take it.
fn page_rows(limit: usize) -> i64 {
    i64::try_from(limit.clamp(1, 1_000)).unwrap_or(1_000)
}

/// UUIDv7 of `at`. Those of one process and millisecond are given in order.
///
/// # Errors
/// When the system gives no random bytes.
pub fn new_id(at: Timestamp) -> Result<String, StoreError> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let mut bytes = [0_u8; 10];
    getrandom::fill(&mut bytes).map_err(|e| StoreError::Engine(e.to_string()))?;
    let [high, low] = (NEXT.fetch_add(1, Ordering::Relaxed) & 0x0fff).to_be_bytes();
    bytes[0] = high;
    bytes[1] = low;
    Ok(uuid::Builder::from_unix_timestamp_millis(u64::try_from(at.0).unwrap_or(0), &bytes)
        .into_uuid()
        .to_string())
}

/// The first row, if any.
fn first(tx: &mut dyn Tx, sql: &'static str, params: &[crate::sql::Value]) -> Result<Option<Row>, StoreError> {
    Ok(tx.query(sql, params)?.into_iter().next())
}
