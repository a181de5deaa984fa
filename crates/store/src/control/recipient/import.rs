//! Imports of recipient lists: what would change, is it too much, and then all of it or nothing.
//!
//! In:  rows, already read from CSV. Out: a new version of the list and the difference.
//! Invariants: the rows are checked whole before anything is written.

use super::{
    AT_VERSION, COUNT_TENANT, END_ROW, FORGET_LISTS, FORGET_ROWS, INSERT_LIST, INSERT_ROW, INSERT_ROWS_16, LISTS_KEPT, ROWS_MAX,
    RecipientRow, newest_list, read_row,
};
use crate::StoreError;
use crate::control::{ControlError, first, json_of, tenant};
use crate::sql::{Tx, Value};
use mail::text::{Noun, Text};
use mail::{Address, Domain, TenantId, Timestamp};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Removals up to this number are never guarded.
const GUARD_FREE_ENTRIES: u64 = 20;
/// Longest `directory.grace`: rows that left are kept at least so long.
const GRACE_MAX: Duration = Duration::from_secs(30 * 86_400);
/// Rows of one statement.
const ROWS_AT_ONCE: usize = 16;
const ALIASES_MAX: usize = 100;
const GROUPS_MAX: usize = 100;
const TEXT_LETTERS_MAX: usize = 256;
/// More problems than these are not told.
const PROBLEMS_MAX: usize = 1_000;

/// What happens to those whom the import does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// They leave the list.
    Replace,
    /// They stay.
    Merge,
}

/// Whether `directory.guard` is obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Removals above this share (percent) and above 20 entries are refused.
    Percent(u32),
    /// A person has seen the difference and wants it.
    Overridden,
}

/// An import.
#[derive(Clone, Debug)]
pub struct Import {
    /// Whose.
    pub tenant: TenantId,
    /// Of which domain.
    pub domain: Domain,
    /// Rows in the order of the file.
    pub rows: Vec<RecipientRow>,
    /// Where each row begins in the file; empty: there is no file, rows are counted.
    pub lines: Vec<u64>,
    /// Replace or merge.
    pub mode: ImportMode,
    /// Guard.
    pub guard: Guard,
    /// By whom.
    pub actor: String,
    /// Name of the file.
    pub origin: String,
    /// When.
    pub at: Timestamp,
}

/// A row that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct RowProblem {
    /// Row of the import, from 1 (the header line of a file is not counted).
    pub row: usize,
    /// What is wrong.
    pub text: Text,
}

/// "+12 −3, 2 renamed".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Difference {
    /// New, renamed ones not counted.
    pub added: u64,
    /// Gone, renamed ones not counted.
    pub removed: u64,
    /// Same address, other fields.
    pub changed: u64,
    /// A new address that has the old one as alias, or the name of exactly one that left.
    pub renamed: u64,
}

/// What came of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Version now in force.
    pub version: i64,
    /// What it changed.
    pub difference: Difference,
}

/// A row, and of whom it is an alias.
type Entry = (RecipientRow, Option<String>);
/// By local part.
type Entries = HashMap<String, Entry>;

/// What an import would do. Made on a reader ([`plan`]), since comparing large lists takes its time; [`apply`] only writes.
#[derive(Debug)]
pub struct Plan {
    tenant: TenantId,
    domain: Domain,
    actor: String,
    origin: String,
    at: Timestamp,
    version: i64,
    /// Local parts whose rows end.
    ended: Vec<String>,
    /// New rows, and whose aliases they are.
    begun: Vec<(RecipientRow, Option<String>)>,
    /// Recipients before and after.
    before: u64,
    entries: u64,
    difference: Difference,
}

impl Plan {
    /// What it changes.
    #[must_use]
    pub fn difference(&self) -> Difference {
        self.difference
    }
}

/// What an import would change.
///
/// # Errors
/// [`ControlError::Rows`], [`ControlError::Malformed`] for an empty list, or of the store.
pub fn preview(tx: &mut dyn Tx, import: &Import) -> Result<Difference, ControlError> {
    compare(tx, import).map(|plan| plan.difference)
}

/// Checks an import and compares it with the list in force. Writes nothing.
///
/// # Errors
/// [`ControlError::Rows`], [`ControlError::Guarded`], [`ControlError::Malformed`] for an empty list, or of the store.
pub fn plan(tx: &mut dyn Tx, import: &Import) -> Result<Plan, ControlError> {
    let plan = compare(tx, import)?;
    let removed = plan.difference.removed;
    if let Guard::Percent(percent) = import.guard
        && removed > GUARD_FREE_ENTRIES
        && removed * 100 > plan.before * u64::from(percent)
    {
        return Err(ControlError::Guarded {
            removed,
            entries: plan.before,
            percent,
        });
    }
    Ok(plan)
}

/// Puts the planned list in force.
///
/// # Errors
/// [`StoreError::Conflict`] when the list changed since the plan, [`ControlError::LimitReached`], or of the store. Nothing is changed then.
pub fn apply(tx: &mut dyn Tx, plan: &Plan) -> Result<Imported, ControlError> {
    let current = newest_list(tx, plan.tenant, &plan.domain)?.map_or(0, |list| list.version);
    if current + 1 != plan.version {
        return Err(StoreError::Conflict { current }.into());
    }
    check_ceiling(tx, plan.tenant, plan.entries, plan.before)?;
    write(tx, plan)?;
    Ok(Imported {
        version: plan.version,
        difference: plan.difference,
    })
}

/// Imports a list, all or nothing, in one go: for small ones. Large ones are planned on a reader first.
///
/// # Errors
/// As [`plan`] and [`apply`]. Nothing is changed then.
pub fn import(tx: &mut dyn Tx, import: &Import) -> Result<Imported, ControlError> {
    let plan = plan(tx, import)?;
    apply(tx, &plan)
}

/// Puts an earlier version in force again, as a new version.
///
/// # Errors
/// [`ControlError::NotFound`] when it is not kept any more, or as [`import`].
pub fn restore(
    tx: &mut dyn Tx,
    tenant: TenantId,
    domain: &Domain,
    version: i64,
    actor: &str,
    at: Timestamp,
) -> Result<Imported, ControlError> {
    if !super::lists(tx, tenant, domain)?.iter().any(|list| list.version == version) {
        return Err(ControlError::NotFound(Noun::RecipientList));
    }
    let mut rows: Vec<RecipientRow> = at_version(tx, tenant, domain, version)?
        .into_values()
        .filter(|(_, alias_of)| alias_of.is_none())
        .map(|(row, _)| row)
        .collect();
    rows.sort_by(|a, b| a.local.cmp(&b.local));
    let restored = Import {
        tenant,
        domain: domain.clone(),
        rows,
        lines: Vec::new(),
        mode: ImportMode::Replace,
        guard: Guard::Overridden,
        actor: actor.to_owned(),
        origin: format!("version {version}"),
        at,
    };
    import(tx, &restored)
}

fn compare(tx: &mut dyn Tx, import: &Import) -> Result<Plan, ControlError> {
    if import.rows.is_empty() {
        return Err(ControlError::Malformed(Text::new("check.list-empty")));
    }
    if import.rows.len() > ROWS_MAX {
        return Err(ControlError::LimitReached {
            what: Noun::Rows,
            limit: i64::try_from(ROWS_MAX).unwrap_or(i64::MAX),
        });
    }
    let problems = check_rows(import);
    if !problems.is_empty() {
        return Err(ControlError::Rows(problems));
    }
    let version = newest_list(tx, import.tenant, &import.domain)?.map_or(0, |list| list.version);
    let now = at_version(tx, import.tenant, &import.domain, version)?;
    let wanted = wanted(import, &now)?;
    let differs = |local: &String, entry: &Entry, other: &Entries| other.get(local) != Some(entry);
    Ok(Plan {
        tenant: import.tenant,
        domain: import.domain.clone(),
        actor: import.actor.clone(),
        origin: import.origin.clone(),
        at: import.at,
        version: version + 1,
        ended: now
            .iter()
            .filter(|(local, entry)| differs(local, entry, &wanted))
            .map(|(local, _)| local.clone())
            .collect(),
        begun: wanted
            .iter()
            .filter(|(local, entry)| differs(local, entry, &now))
            .map(|(_, entry)| entry.clone())
            .collect(),
        before: entries_of(&now),
        entries: entries_of(&wanted),
        difference: difference(&now, &wanted),
    })
}

fn check_rows(import: &Import) -> Vec<RowProblem> {
    let mut problems = Vec::new();
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(import.rows.len());
    for (i, row) in import.rows.iter().enumerate() {
        let number = import
            .lines
            .get(i)
            .map_or(i + 1, |line| usize::try_from(*line).unwrap_or(usize::MAX));
        let mut tell = |text: Text| {
            if problems.len() < PROBLEMS_MAX {
                problems.push(RowProblem { row: number, text });
            }
        };
        for text in row_problems(row, &import.domain) {
            tell(text);
        }
        for local in std::iter::once(&row.local).chain(&row.aliases) {
            if let Some(first) = seen.insert(local, number) {
                tell(Text::new("api.row.twice").with("local", local).with("first", first));
            }
        }
    }
    problems
}

fn row_problems(row: &RecipientRow, domain: &Domain) -> Vec<Text> {
    let mut problems = Vec::new();
    for local in std::iter::once(&row.local).chain(&row.aliases) {
        let fits = Address::new(local, domain.clone()).is_ok_and(|a| a.local_key() == *local)
            // Kept without needless quotes: what needs them is looked at with them.
            || Address::new(&format!("\"{}\"", local.replace('\\', "\\\\").replace('"', "\\\"")), domain.clone()).is_ok_and(|a| a.local_key() == *local);
        if local.is_empty() || !fits {
            problems.push(Text::new("api.row.local-part").with("local", local.escape_debug().to_string()));
        }
    }
    let texts = std::iter::once(&row.display_name).chain(&row.groups).chain(&row.manager);
    if texts
        .into_iter()
        .any(|t| t.chars().count() > TEXT_LETTERS_MAX || t.chars().any(char::is_control))
    {
        problems.push(Text::new("api.row.field").with("max", TEXT_LETTERS_MAX));
    }
    if row.aliases.len() > ALIASES_MAX || row.groups.len() > GROUPS_MAX {
        problems.push(Text::new("api.row.many").with("aliases", ALIASES_MAX).with("groups", GROUPS_MAX));
    }
    if row.manager.as_ref().is_some_and(|m| Address::parse(m).is_err()) {
        problems.push(Text::new("api.row.manager"));
    }
    if row.language.as_ref().is_some_and(|l| l != "ja" && l != "en") {
        problems.push(Text::new("api.row.language"));
    }
    problems
}

/// What the list will be. A merged row takes the place of the old one with all its aliases.
fn wanted(import: &Import, now: &Entries) -> Result<Entries, ControlError> {
    let named: HashSet<&str> = import.rows.iter().map(|r| r.local.as_str()).collect();
    let mut wanted = match import.mode {
        ImportMode::Replace => Entries::with_capacity(import.rows.len()),
        ImportMode::Merge => now
            .iter()
            .filter(|(local, (_, alias_of))| !named.contains(alias_of.as_ref().unwrap_or(local).as_str()))
            .map(|(local, entry)| (local.clone(), entry.clone()))
            .collect(),
    };
    let mut problems = Vec::new();
    for (i, row) in import.rows.iter().enumerate() {
        let aliases = row.aliases.iter().map(|alias| {
            let entry = RecipientRow {
                enabled: row.enabled,
                ..RecipientRow::new(alias.clone())
            };
            (alias.clone(), (entry, Some(row.local.clone())))
        });
        for (local, entry) in std::iter::once((row.local.clone(), (row.clone(), None))).chain(aliases) {
            if wanted.insert(local.clone(), entry).is_some() && problems.len() < PROBLEMS_MAX {
                problems.push(RowProblem {
                    row: i + 1,
                    text: Text::new("api.row.other").with("local", &local),
                });
            }
        }
    }
    if problems.is_empty() {
        Ok(wanted)
    } else {
        Err(ControlError::Rows(problems))
    }
}

fn difference(now: &Entries, wanted: &Entries) -> Difference {
    let people = |all: &Entries, other: &Entries| -> Vec<RecipientRow> {
        let is_other = |local: &str| other.get(local).is_some_and(|(_, alias_of)| alias_of.is_none());
        all.values()
            .filter(|(row, alias_of)| alias_of.is_none() && !is_other(&row.local))
            .map(|(row, _)| row.clone())
            .collect()
    };
    let (mut left, came) = (people(now, wanted), people(wanted, now));
    let mut renamed = 0;
    let mut names: HashMap<String, u32> = HashMap::new();
    for row in left.iter().filter(|r| !r.display_name.is_empty()) {
        *names.entry(row.display_name.clone()).or_default() += 1;
    }
    for row in &came {
        let is_old = |old: &RecipientRow| {
            row.aliases.contains(&old.local)
                || (!row.display_name.is_empty() && row.display_name == old.display_name && names.get(&row.display_name) == Some(&1))
        };
        // Looking through all of those who left would take the square of a large list.
        if (names.contains_key(&row.display_name) || !row.aliases.is_empty())
            && let Some(at) = left.iter().take(10_000).position(is_old)
        {
            left.swap_remove(at);
            renamed += 1;
        }
    }
    let changed = wanted
        .values()
        .filter(|(row, a)| a.is_none() && now.get(&row.local).is_some_and(|(old, b)| b.is_none() && old != row))
        .count();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Difference {
        added: count(came.len()) - renamed,
        removed: count(left.len()),
        changed: count(changed),
        renamed,
    }
}

fn check_ceiling(tx: &mut dyn Tx, owner: TenantId, entries: u64, before: u64) -> Result<(), ControlError> {
    let Some(limit) = tenant::get(tx, owner)?.ceilings.addresses_max else {
        return Ok(());
    };
    let all = first(tx, COUNT_TENANT, &[owner.0.into()])?.map_or(Ok(0), |row| row.int(0))?;
    let after = u64::try_from(all).unwrap_or(0).saturating_sub(before) + entries;
    if after > u64::try_from(limit).unwrap_or(0) {
        Err(ControlError::LimitReached {
            what: Noun::Addresses,
            limit,
        })
    } else {
        Ok(())
    }
}

fn write(tx: &mut dyn Tx, plan: &Plan) -> Result<(), StoreError> {
    let (tenant, domain): (Value, Value) = (plan.tenant.0.into(), plan.domain.as_str().into());
    for local in &plan.ended {
        let params = [
            tenant.clone(),
            domain.clone(),
            local.as_str().into(),
            plan.version.into(),
            plan.at.0.into(),
        ];
        tx.execute(END_ROW, &params)?;
    }
    let mut chunks = plan.begun.chunks_exact(ROWS_AT_ONCE);
    for chunk in &mut chunks {
        let mut params = Vec::with_capacity(ROWS_AT_ONCE * 12);
        for entry in chunk {
            params.extend(row_params(plan, entry)?);
        }
        tx.execute(INSERT_ROWS_16, &params)?;
    }
    for entry in chunks.remainder() {
        tx.execute(INSERT_ROW, &row_params(plan, entry)?)?;
    }
    let count = |n: u64| Value::Int(i64::try_from(n).unwrap_or(i64::MAX));
    let d = plan.difference;
    let params = [
        tenant.clone(),
        domain.clone(),
        plan.version.into(),
        plan.at.0.into(),
        plan.actor.as_str().into(),
        plan.origin.as_str().into(),
        count(plan.entries),
        count(d.added),
        count(d.removed),
        count(d.changed),
        count(d.renamed),
    ];
    tx.execute(INSERT_LIST, &params)?;
    let oldest = plan.version - LISTS_KEPT + 1;
    tx.execute(FORGET_LISTS, &[tenant.clone(), domain.clone(), oldest.into()])?;
    tx.execute(FORGET_ROWS, &[tenant, domain, oldest.into(), plan.at.before(GRACE_MAX).0.into()])?;
    Ok(())
}

fn row_params(plan: &Plan, (row, alias_of): &Entry) -> Result<[Value; 12], StoreError> {
    Ok([
        plan.tenant.0.into(),
        plan.domain.as_str().into(),
        row.local.as_str().into(),
        plan.version.into(),
        plan.at.0.into(),
        alias_of.clone().into(),
        row.display_name.as_str().into(),
        json_of(&row.aliases)?.into(),
        json_of(&row.groups)?.into(),
        row.manager.clone().into(),
        row.language.clone().into(),
        i64::from(row.enabled).into(),
    ])
}

fn at_version(tx: &mut dyn Tx, tenant: TenantId, domain: &Domain, version: i64) -> Result<Entries, StoreError> {
    let rows = tx.query(AT_VERSION, &[tenant.0.into(), domain.as_str().into(), version.into()])?;
    rows.iter()
        .map(|row| read_row(row).map(|(recipient, alias_of)| (recipient.local.clone(), (recipient, alias_of))))
        .collect()
}

fn entries_of(all: &Entries) -> u64 {
    u64::try_from(all.values().filter(|(_, alias_of)| alias_of.is_none()).count()).unwrap_or(u64::MAX)
}
