//! Columns: how do messages, entries and records stand in arrays, one statement for any number of them?
//!
//! In:  acceptances, settlements, records. Out: one array a column, and the statements that take them.
//! Invariants: text has no NUL, which PostgreSQL does not keep.

use postgres_types::ToSql;
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::super::lease::Identity;
use crate::StoreError;
use crate::spool::code::{direction_code, head_of, notify_code, state_code};
use crate::spool::{Acceptance, Body, Change, Entry, Origin, Settlement};
use crate::tracking::{Record, record};

/// A parameter of a statement.
pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

/// Appends columns of messages.
#[derive(Default)]
pub(super) struct Messages<'a> {
    pub(super) queue_id: Vec<i64>,
    pub(super) tenant: Vec<i64>,
    pub(super) direction: Vec<i16>,
    pub(super) received_at: Vec<i64>,
    pub(super) size: Vec<i64>,
    pub(super) blob: Vec<Option<&'a [u8]>>,
    pub(super) reverse_path: Vec<String>,
    pub(super) head: Vec<Vec<u8>>,
    pub(super) body: Vec<Option<&'a [u8]>>,
}

pub(super) const INSERT_MESSAGE: &str = "INSERT INTO message (queue_id, tenant, direction, received_at, size, blob, reverse_path, head, body) \
     SELECT * FROM unnest($1::int8[], $2::int8[], $3::int2[], $4::int8[], $5::int8[], $6::bytea[], $7::text[], $8::bytea[], $9::bytea[])";

impl<'a> Messages<'a> {
    pub(super) fn push(&mut self, a: &'a Acceptance) {
        let m = &a.message;
        self.queue_id.push(m.queue_id.to_i64());
        self.tenant.push(m.tenant.0);
        self.direction.push(small(direction_code(m.direction)));
        self.received_at.push(m.received_at.0);
        self.size.push(i64::try_from(m.size).unwrap_or(i64::MAX));
        let (blob, body) = match &m.body {
            Body::Inline(bytes) => (None, Some(bytes.as_ref())),
            Body::Blob { id, .. } => (Some(id.0.as_slice()), None),
        };
        self.blob.push(blob);
        self.reverse_path.push(m.reverse_path.to_string());
        self.head.push(head_of(m));
        self.body.push(body);
    }

    pub(super) fn params(&self) -> [Param<'_>; 9] {
        [
            &self.queue_id,
            &self.tenant,
            &self.direction,
            &self.received_at,
            &self.size,
            &self.blob,
            &self.reverse_path,
            &self.head,
            &self.body,
        ]
    }
}

/// Columns of entries; `owner` stands for new ones, `person` for changed ones.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) queue_id: Vec<i64>,
    pub(super) number: Vec<i64>,
    pub(super) tenant: Vec<i64>,
    pub(super) lane: Vec<i64>,
    pub(super) due: Vec<i64>,
    pub(super) state: Vec<i16>,
    pub(super) variant: Vec<i16>,
    pub(super) notify: Vec<i16>,
    pub(super) attempts: Vec<i64>,
    pub(super) expires_at: Vec<i64>,
    pub(super) delay_notice_at: Vec<Option<i64>>,
    pub(super) recipient: Vec<String>,
    pub(super) orcpt: Vec<Option<String>>,
    pub(super) reason: Vec<Option<&'static str>>,
    pub(super) last_reply: Vec<Option<String>>,
    pub(super) forced_next_hop: Vec<Option<String>>,
    pub(super) person: Vec<bool>,
}

pub(super) const ENTRY_ARRAYS: &str = "$1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int2[], $7::int2[], $8::int2[], $9::int8[], $10::int8[], \
     $11::int8[], $12::text[], $13::text[], $14::text[], $15::text[], $16::text[]";
pub(super) const ENTRY_COLUMNS: &str = "queue_id, number, tenant, lane, due, state, variant, notify, attempts, expires_at, delay_notice_at, recipient, orcpt, \
     reason, last_reply, forced_next_hop";

pub(super) static INSERT_ENTRY: LazyLock<String> =
    LazyLock::new(|| format!("INSERT INTO entry ({ENTRY_COLUMNS}, owner) SELECT u.*, $17::int8 FROM unnest({ENTRY_ARRAYS}) AS u"));

/// An attempt leaves alone what only a person changes, and a hold that a person began while it ran.
pub(super) static UPDATE_ENTRY: LazyLock<String> = LazyLock::new(|| {
    let held = "(NOT r.person AND e.state = 1 AND r.state = 0)";
    let persons = |column: &str| format!("{column} = CASE WHEN r.person THEN r.{column} ELSE e.{column} END");
    let unless_held = |column: &str| format!("{column} = CASE WHEN {held} THEN e.{column} ELSE r.{column} END");
    format!(
        "UPDATE entry e SET {}, {}, {}, {}, {}, {}, {}, {}, {}, attempts = r.attempts, last_reply = r.last_reply, delay_notice_at = r.delay_notice_at \
         FROM unnest({ENTRY_ARRAYS}, $17::bool[]) AS r({ENTRY_COLUMNS}, person) \
         WHERE e.queue_id = r.queue_id AND e.number = r.number AND e.owner = $18 RETURNING e.queue_id, e.number, r.person",
        unless_held("due"),
        unless_held("state"),
        unless_held("reason"),
        persons("expires_at"),
        persons("forced_next_hop"),
        persons("lane"),
        persons("variant"),
        persons("notify"),
        persons("recipient"),
    )
});

impl Entries {
    pub(super) fn push(&mut self, e: &Entry, origin: Origin) {
        self.queue_id.push(e.queue_id.to_i64());
        self.number.push(i64::from(e.number));
        self.tenant.push(e.tenant.0);
        self.lane.push(e.lane.0);
        self.due.push(e.due.0);
        self.state.push(small(state_code(e.state)));
        self.variant.push(small(i64::from(e.variant)));
        self.notify.push(small(notify_code(e.notify)));
        self.attempts.push(i64::from(e.attempts));
        self.expires_at.push(e.expires_at.0);
        self.delay_notice_at.push(e.delay_notice_at.map(|t| t.0));
        self.recipient.push(e.recipient.to_string());
        self.orcpt.push(e.orcpt.as_deref().map(plain));
        self.reason.push(e.reason.map(mail::Reason::as_str));
        self.last_reply.push(e.last_reply.as_deref().map(plain));
        self.forced_next_hop.push(e.forced_next_hop.as_deref().map(plain));
        self.person.push(origin == Origin::Person);
    }

    pub(super) fn params(&self) -> Vec<Param<'_>> {
        vec![
            &self.queue_id,
            &self.number,
            &self.tenant,
            &self.lane,
            &self.due,
            &self.state,
            &self.variant,
            &self.notify,
            &self.attempts,
            &self.expires_at,
            &self.delay_notice_at,
            &self.recipient,
            &self.orcpt,
            &self.reason,
            &self.last_reply,
            &self.forced_next_hop,
        ]
    }
}

pub(super) fn small(n: i64) -> i16 {
    i16::try_from(n).unwrap_or(i16::MAX)
}

/// PostgreSQL keeps no NUL in text; what a remote said may have one.
pub(in crate::pg) fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

#[derive(Default)]
pub(super) struct Records {
    pub(super) seq: Vec<i64>,
    pub(super) trace: Vec<i64>,
    pub(super) tenant: Vec<i64>,
    pub(super) record: Vec<Vec<u8>>,
}

impl Records {
    pub(super) fn params<'p>(&'p self, slot: &'p i16) -> [Param<'p>; 5] {
        [slot, &self.seq, &self.trace, &self.tenant, &self.record]
    }
}

#[derive(Default)]
pub(super) struct Removals {
    pub(super) queue_id: Vec<i64>,
    pub(super) number: Vec<i64>,
    pub(super) person: Vec<bool>,
}

/// All columns of one transaction.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) messages: Messages<'a>,
    pub(super) born: Entries,
    pub(super) records: BTreeMap<i32, Records>,
    pub(super) removals: Removals,
    pub(super) replaced: Entries,
    pub(super) settled: Vec<i64>,
    pub(super) emptied: Vec<i64>,
    pub(super) numbers: Vec<Option<(i16, i64)>>,
}

impl<'a> Columns<'a> {
    pub(super) fn accept(&mut self, a: &'a Acceptance, identity: Identity, next_seq: &mut i64) -> Result<(), StoreError> {
        self.messages.push(a);
        a.entries.iter().for_each(|e| self.born.push(e, Origin::Attempt));
        self.record(&a.record, identity, next_seq)
    }

    pub(super) fn settle(&mut self, s: &'a Settlement) {
        let id = s.queue_id.to_i64();
        for (number, change) in &s.changes {
            match change {
                Change::Remove => {
                    self.removals.queue_id.push(id);
                    self.removals.number.push(i64::from(*number));
                    self.removals.person.push(s.origin == Origin::Person);
                    self.emptied.push(id);
                }
                Change::Replace(entry) => self.replaced.push(entry, s.origin),
            }
        }
        if !s.changes.is_empty() {
            self.settled.push(id);
        }
    }

    pub(super) fn record(&mut self, told: &Record, identity: Identity, next_seq: &mut i64) -> Result<(), StoreError> {
        if told.events.is_empty() {
            return Ok(());
        }
        let day = told.trace.time().day();
        let seq = seq_of(identity, *next_seq);
        *next_seq += 1;
        let records = self.records.entry(day).or_default();
        records.seq.push(seq);
        records.trace.push(told.trace.to_i64());
        records.tenant.push(told.tenant.0);
        records.record.push(record::to_blob(told)?);
        Ok(())
    }
}

/// Numbers of records grow with the writer number and within it, so that none is given twice on a slot.
pub(super) fn seq_of(identity: Identity, n: i64) -> i64 {
    identity.writer << 40 | n
}
