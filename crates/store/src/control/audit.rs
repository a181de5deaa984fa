//! Audit: who did what, when, from where, with which outcome? (domains-and-routing 14)
//!
//! Invariants: written in the transaction of the change it tells of; only added to, removed by age alone.
//! Secrets are masked by who makes the entry ([`Change::masked`]).

use super::{ControlError, domain_of, first, page_rows, statement::statements, tenant_of, time_of, word_of, words};
use crate::StoreError;
use crate::sql::{Row, Tx, Value};
use mail::text::Noun;
use mail::{Domain, TenantId, Timestamp};
use serde::{Deserialize, Serialize};

statements!("audit.sql": INSERT, PAGE, GET, EXPIRE);

/// What stands for a secret.
pub const MASK: &str = "********";

words! {
    /// By which way it came.
    Channel {
        /// Console.
        Console = "console",
        /// API.
        Api = "api",
        /// Command line on the host.
        CommandLine = "command-line",
        /// Signed link.
        SignedLink = "signed-link",
        /// The program itself: checks, ends of grace.
        System = "system",
    }
}

words! {
    /// What came of it.
    AuditResult {
        /// Done.
        Done = "done",
        /// Refused: not allowed, or wrong.
        Refused = "refused",
        /// Tried and failed.
        Failed = "failed",
    }
}

/// Old and new value of one field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Path of the field, as in the document.
    pub field: String,
    /// Before, as JSON text; `None`: there was nothing.
    pub old: Option<String>,
    /// After.
    pub new: Option<String>,
}

impl Change {
    /// A change.
    #[must_use]
    pub fn new(field: impl Into<String>, old: Option<String>, new: Option<String>) -> Self {
        Self {
            field: field.into(),
            old,
            new,
        }
    }

    /// The same with both values hidden, for secrets.
    #[must_use]
    pub fn masked(self) -> Self {
        Self {
            field: self.field,
            old: self.old.map(|_| MASK.into()),
            new: self.new.map(|_| MASK.into()),
        }
    }
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// UUIDv7; [`append`] gives it.
    pub id: String,
    /// Whose log.
    pub tenant: TenantId,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// As what.
    pub role: String,
    /// How the actor proved to be that: `api-key`, `peer-uid`, `none`.
    pub login_method: String,
    /// From where.
    pub client_address: Option<String>,
    /// By which way.
    pub channel: Channel,
    /// What was done: `domain.verify`, `settings.save` …
    pub action: String,
    /// Kind of the object.
    pub object_kind: String,
    /// Its name.
    pub object: String,
    /// The domain it belongs to, for those who see their own domains only.
    pub domain: Option<Domain>,
    /// Old and new values.
    pub changes: Vec<Change>,
    /// Revision that came of it.
    pub revision: Option<i64>,
    /// What came of it.
    pub result: AuditResult,
    /// Reason as the actor wrote it, or why it was refused.
    pub reason: String,
}

impl AuditEntry {
    /// An entry of the program itself, done, without changes.
    #[must_use]
    pub fn system(tenant: TenantId, at: Timestamp, action: &str, object_kind: &str, object: &str) -> Self {
        Self {
            id: String::new(),
            tenant,
            at,
            actor: "system".into(),
            role: "system".into(),
            login_method: "none".into(),
            client_address: None,
            channel: Channel::System,
            action: action.into(),
            object_kind: object_kind.into(),
            object: object.into(),
            domain: None,
            changes: Vec::new(),
            revision: None,
            result: AuditResult::Done,
            reason: String::new(),
        }
    }
}

/// What to list; `None`: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub until: Option<Timestamp>,
    /// Actor.
    pub actor: Option<String>,
    /// Action.
    pub action: Option<String>,
    /// Kind of object.
    pub object_kind: Option<String>,
    /// Object.
    pub object: Option<String>,
    /// Domain.
    pub domain: Option<Domain>,
}

/// Appends an entry; its id. Its own `id` is not looked at.
///
/// # Errors
/// Of the store.
pub fn append(tx: &mut dyn Tx, entry: &AuditEntry) -> Result<String, StoreError> {
    let id = super::new_id(entry.at)?;
    let params: [Value; 16] = [
        entry.tenant.0.into(),
        id.as_str().into(),
        entry.at.0.into(),
        entry.actor.as_str().into(),
        entry.role.as_str().into(),
        entry.login_method.as_str().into(),
        entry.client_address.clone().into(),
        entry.channel.as_str().into(),
        entry.action.as_str().into(),
        entry.object_kind.as_str().into(),
        entry.object.as_str().into(),
        entry.domain.as_ref().map(Domain::to_string).into(),
        super::json_of(&entry.changes)?.into(),
        entry.revision.into(),
        entry.result.as_str().into(),
        entry.reason.as_str().into(),
    ];
    tx.execute(INSERT, &params)?;
    Ok(id)
}

/// Entries before `before` (an id), newest first.
///
/// # Errors
/// Of the store.
pub fn page(
    tx: &mut dyn Tx,
    tenant: TenantId,
    filter: &AuditFilter,
    before: Option<&str>,
    limit: usize,
) -> Result<Vec<AuditEntry>, StoreError> {
    let params: [Value; 10] = [
        tenant.0.into(),
        // Every UUID sorts before the letter g.
        before.unwrap_or("g").into(),
        filter.from.map_or(i64::MIN, |t| t.0).into(),
        filter.until.map_or(i64::MAX, |t| t.0).into(),
        filter.actor.clone().into(),
        filter.action.clone().into(),
        filter.object_kind.clone().into(),
        filter.object.clone().into(),
        filter.domain.as_ref().map(Domain::to_string).into(),
        page_rows(limit).into(),
    ];
    tx.query(PAGE, &params)?.iter().map(read).collect()
}

/// One entry.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn get(tx: &mut dyn Tx, tenant: TenantId, id: &str) -> Result<AuditEntry, ControlError> {
    let row = first(tx, GET, &[tenant.0.into(), id.into()])?.ok_or(ControlError::NotFound(Noun::AuditEntry))?;
    Ok(read(&row)?)
}

/// Removes entries of a tenant from before `before`.
///
/// # Errors
/// Of the store.
pub fn expire(tx: &mut dyn Tx, tenant: TenantId, before: Timestamp) -> Result<u64, StoreError> {
    tx.execute(EXPIRE, &[tenant.0.into(), before.0.into()])
}

fn read(row: &Row) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        tenant: tenant_of(row, 0)?,
        id: row.text(1)?.to_owned(),
        at: time_of(row, 2)?,
        actor: row.text(3)?.to_owned(),
        role: row.text(4)?.to_owned(),
        login_method: row.text(5)?.to_owned(),
        client_address: row.text_opt(6).map(str::to_owned),
        channel: word_of(row, 7, Channel::parse)?,
        action: row.text(8)?.to_owned(),
        object_kind: row.text(9)?.to_owned(),
        object: row.text(10)?.to_owned(),
        domain: row.text_opt(11).map(|_| domain_of(row, 11)).transpose()?,
        changes: serde_json::from_str(row.text(12)?).map_err(|e| StoreError::Data(format!("changes of an audit entry: {e}")))?,
        revision: row.int_opt(13),
        result: word_of(row, 14, AuditResult::parse)?,
        reason: row.text(15)?.to_owned(),
    })
}
