//! Hot statements: what one message costs in SQL, prepared once and held by the writer.
//!
//! In:  acceptances, settlements, records, inside a transaction that the writer opened.
//! Out: rows; blob files to remove and records for the search index once the commit is there.
//! Invariants: with its last entry goes the message; `seq` of records counts up and is never given twice to committed rows.

use mail::{BlobId, QueueId, TenantId};
use rusqlite::{Connection, OptionalExtension, Statement, params};
use std::collections::BTreeSet;

use super::writer::Told;
use crate::StoreError;
use crate::schema::{Engine, day_statements};
use crate::spool::code::{direction_code, head_of, notify_code, state_code};
use crate::spool::{Acceptance, Body, Change, Entry, Origin, Settlement};

/// The embedded engine has one owner: itself.
pub(super) const OWNER: i64 = 1;

/// A blob file whose message is gone.
pub(super) type Orphan = (TenantId, BlobId, QueueId);

/// What is to be done when the commit is there, and to be forgotten when it is not.
#[derive(Default)]
pub(super) struct After {
    pub(super) orphans: Vec<Orphan>,
    /// Records written: number and trace, in order.
    pub(super) appended: Vec<(i64, QueueId)>,
    days: Vec<i32>,
}

/// A place in a transaction to which it can go back.
#[derive(Clone, Copy, Default)]
pub(super) struct Mark {
    orphans: usize,
    appended: usize,
    days: usize,
}

pub(super) struct Hot<'c> {
    pub(super) connection: &'c Connection,
    insert_message: Statement<'c>,
    insert_entry: Statement<'c>,
    update_by_person: Statement<'c>,
    update_by_attempt: Statement<'c>,
    delete_entry: Statement<'c>,
    last_entry: Statement<'c>,
    delete_message: Statement<'c>,
    days: BTreeSet<i32>,
    appends: Vec<(i32, Statement<'c>)>,
    next_seq: i64,
    after: After,
}

/// Statements for so many days are held: mail of today and yesterday, now and then an older one.
const APPENDS_MAX: usize = 8;

impl<'c> Hot<'c> {
    pub(super) fn new(connection: &'c Connection) -> Result<Self, StoreError> {
        let days = days_of(connection)?;
        let mut next_seq = meta_number(connection, "next_seq")?.unwrap_or(1);
        for day in &days {
            let last: i64 = connection.query_row(&format!("SELECT COALESCE(MAX(seq), 0) FROM track_{day}"), [], |row| row.get(0))?;
            next_seq = next_seq.max(last + 1);
        }
        Ok(Self {
            connection,
            insert_message: connection.prepare(
                "INSERT INTO message (queue_id, tenant, direction, received_at, size, blob, reverse_path, head, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?,
            insert_entry: connection.prepare(
                "INSERT INTO entry (queue_id, number, tenant, owner, lane, due, state, variant, notify, attempts, expires_at, delay_notice_at, recipient, orcpt, reason, last_reply, forced_next_hop) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
            )?,
            update_by_person: connection.prepare(
                "UPDATE entry SET due = ?3, state = ?4, reason = ?5, attempts = ?6, last_reply = ?7, delay_notice_at = ?8, \
                 lane = ?9, variant = ?10, notify = ?11, expires_at = ?12, recipient = ?13, orcpt = ?14, forced_next_hop = ?15 \
                 WHERE queue_id = ?1 AND number = ?2",
            )?,
            // An attempt leaves alone what only a person changes, and a hold (1) that a person began while it ran.
            update_by_attempt: connection.prepare(
                "UPDATE entry SET due = iif(state = 1 AND ?4 = 0, due, ?3), state = iif(state = 1 AND ?4 = 0, state, ?4), \
                 reason = iif(state = 1 AND ?4 = 0, reason, ?5), attempts = ?6, last_reply = ?7, delay_notice_at = ?8 \
                 WHERE queue_id = ?1 AND number = ?2",
            )?,
            delete_entry: connection.prepare("DELETE FROM entry WHERE queue_id = ?1 AND number = ?2")?,
            last_entry: connection.prepare(
                "SELECT tenant, blob FROM message WHERE queue_id = ?1 AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.queue_id = ?1)",
            )?,
            delete_message: connection.prepare("DELETE FROM message WHERE queue_id = ?1")?,
            days,
            appends: Vec::new(),
            next_seq,
            after: After::default(),
        })
    }

    pub(super) fn days(&self) -> &BTreeSet<i32> {
        &self.days
    }

    pub(super) fn next_seq(&self) -> i64 {
        self.next_seq
    }

    pub(super) fn accept(&mut self, acceptance: &Acceptance) -> Result<(), StoreError> {
        // Nobody to deliver to (every recipient was discarded): it would never leave.
        if acceptance.entries.is_empty() {
            return Ok(());
        }
        let m = &acceptance.message;
        let (blob, body) = match &m.body {
            Body::Inline(bytes) => (None, Some(bytes.as_ref())),
            Body::Blob { id, .. } => (Some(id.0.as_slice()), None),
        };
        self.insert_message.execute(params![
            m.queue_id.to_i64(),
            m.tenant.0,
            direction_code(m.direction),
            m.received_at.0,
            i64::try_from(m.size).unwrap_or(i64::MAX),
            blob,
            path_text(&m.reverse_path),
            head_of(m),
            body
        ])?;
        for entry in &acceptance.entries {
            self.enter(entry)?;
        }
        Ok(())
    }

    fn enter(&mut self, e: &Entry) -> Result<(), StoreError> {
        self.insert_entry.execute(params![
            e.queue_id.to_i64(),
            e.number,
            e.tenant.0,
            OWNER,
            e.lane.0,
            e.due.0,
            state_code(e.state),
            e.variant,
            notify_code(e.notify),
            e.attempts,
            e.expires_at.0,
            e.delay_notice_at.map(|t| t.0),
            e.recipient.to_string(),
            e.orcpt,
            e.reason.map(mail::Reason::as_str),
            e.last_reply,
            e.forced_next_hop
        ])?;
        Ok(())
    }

    /// Whether it came too late and gave birth to nothing.
    pub(super) fn settle(&mut self, settlement: &Settlement) -> Result<bool, StoreError> {
        let mut removed = 0;
        let mut replaced = 0;
        for (number, change) in &settlement.changes {
            match change {
                Change::Remove => removed += self.delete_entry.execute(params![settlement.queue_id.to_i64(), number])?,
                // An entry that is gone in the meantime (discarded by a person) stays gone.
                Change::Replace(entry) => replaced += self.replace(settlement.queue_id, *number, entry, settlement.origin)?,
            }
        }
        if removed > 0 {
            self.bury(settlement.queue_id)?;
        }
        // An attempt that came too late for all its entries gives birth to nothing: whoever dealt with them has told the sender.
        let is_void = settlement.origin == Origin::Attempt && !settlement.changes.is_empty() && removed + replaced == 0;
        if !is_void {
            for born in &settlement.born {
                self.accept(born)?;
            }
        }
        Ok(is_void)
    }

    fn replace(&mut self, queue_id: QueueId, number: u32, e: &Entry, origin: Origin) -> Result<usize, StoreError> {
        let (id, delay_notice_at, reason) = (
            queue_id.to_i64(),
            e.delay_notice_at.map(|t| t.0),
            e.reason.map(mail::Reason::as_str),
        );
        let state = state_code(e.state);
        Ok(match origin {
            Origin::Attempt => self.update_by_attempt.execute(params![
                id,
                number,
                e.due.0,
                state,
                reason,
                e.attempts,
                e.last_reply,
                delay_notice_at
            ])?,
            Origin::Person => self.update_by_person.execute(params![
                id,
                number,
                e.due.0,
                state,
                reason,
                e.attempts,
                e.last_reply,
                delay_notice_at,
                e.lane.0,
                e.variant,
                notify_code(e.notify),
                e.expires_at.0,
                e.recipient.to_string(),
                e.orcpt,
                e.forced_next_hop
            ])?,
        })
    }

    /// Removes the message when it has no entry left.
    fn bury(&mut self, queue_id: QueueId) -> Result<(), StoreError> {
        let id = queue_id.to_i64();
        let found: Option<(i64, Option<[u8; 32]>)> = self.last_entry.query_row([id], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        if let Some((tenant, blob)) = found {
            self.delete_message.execute([id])?;
            if let Some(hash) = blob {
                self.after.orphans.push((TenantId(tenant), BlobId(hash), queue_id));
            }
        }
        Ok(())
    }

    pub(super) fn append(&mut self, told: &Told) -> Result<(), StoreError> {
        let trace = told.brief.trace;
        let day = trace.time().day();
        let at = match self.appends.iter().position(|(d, _)| *d == day) {
            Some(at) => at,
            None => self.hold_append(day)?,
        };
        let Some((_, statement)) = self.appends.get_mut(at) else {
            return Err(StoreError::Engine("no statement for the day".into()));
        };
        let seq = self.next_seq;
        statement.execute(params![seq, trace.to_i64(), told.tenant.0, told.blob])?;
        self.next_seq += 1;
        self.after.appended.push((seq, trace));
        Ok(())
    }

    fn hold_append(&mut self, day: i32) -> Result<usize, StoreError> {
        if !self.days.contains(&day) {
            for statement in day_statements(day, Engine::Sqlite) {
                self.connection.execute_batch(&statement)?;
            }
            self.connection
                .execute("INSERT INTO track_day (day) VALUES (?1) ON CONFLICT DO NOTHING", [day])?;
            self.days.insert(day);
            self.after.days.push(day);
        }
        if self.appends.len() >= APPENDS_MAX {
            self.appends.remove(0);
        }
        let statement = self.connection.prepare(&format!(
            "INSERT INTO track_{day} (seq, trace, tenant, record) VALUES (?1, ?2, ?3, ?4)"
        ))?;
        self.appends.push((day, statement));
        Ok(self.appends.len() - 1)
    }

    /// The day's tables are gone.
    pub(super) fn forget_day(&mut self, day: i32) {
        self.days.remove(&day);
        self.appends.retain(|(d, _)| *d != day);
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            orphans: self.after.orphans.len(),
            appended: self.after.appended.len(),
            days: self.after.days.len(),
        }
    }

    /// What came after `mark` was rolled back: nothing of it is to be done, tables made in it are not there.
    pub(super) fn undone(&mut self, mark: Mark) {
        self.after.orphans.truncate(mark.orphans);
        self.after.appended.truncate(mark.appended);
        for day in self.after.days.split_off(mark.days.min(self.after.days.len())) {
            self.forget_day(day);
        }
    }

    /// The commit is there: what is to be done now.
    pub(super) fn committed(&mut self) -> After {
        std::mem::take(&mut self.after)
    }
}

/// A reverse path as it stands in the column.
fn path_text(path: &mail::ReversePath) -> String {
    path.address().map(ToString::to_string).unwrap_or_default()
}

/// Days that have tables.
pub(super) fn days_of(connection: &Connection) -> Result<BTreeSet<i32>, StoreError> {
    let mut statement = connection.prepare("SELECT day FROM track_day")?;
    let days = statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(days)
}

pub(super) fn meta_number(connection: &Connection, name: &str) -> Result<Option<i64>, StoreError> {
    let text: Option<String> = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
        .optional()?;
    Ok(text.and_then(|t| t.parse().ok()))
}

pub(super) fn set_meta_number(connection: &Connection, name: &str, value: i64) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO meta (name, value) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value.to_string()),
    )?;
    Ok(())
}
