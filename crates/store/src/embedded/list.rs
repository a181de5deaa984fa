//! Listing the queue: which entries does a filter mean, and how are they found without reading all?
//!
//! A filter with a tenant and domains names its lanes, and lanes are in the index. A tenant alone: a short walk from the front first (the
//! tenant may own most of the queue), then by its lanes. Everything else is a walk by queue id with conditions.

use mail::{LaneId, QueueId, TenantId};
use rusqlite::Connection;
use rusqlite::types::Value;

use super::hot::OWNER;
use super::read::{self, ENTRY, limit_of, queue_row};
use crate::StoreError;
use crate::index::term::plain;
use crate::spool::code::state_code;
use crate::spool::{EntryFilter, QueueRow};

/// Entries looked at from the front before a tenant's lanes are asked.
const WALK: usize = 20_000;
/// A tenant with more lanes than this is found by walking.
const LANES_MAX: usize = 2_000;

/// WHERE conditions and their values.
#[derive(Default)]
struct Conditions {
    texts: Vec<String>,
    values: Vec<Value>,
    /// The message's row is needed.
    joins: bool,
}

impl Conditions {
    fn add(&mut self, text: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.texts.push(text.replace('?', &format!("?{}", self.values.len())));
    }

    fn sql(&self) -> String {
        if self.texts.is_empty() {
            String::from("TRUE")
        } else {
            self.texts.join(" AND ")
        }
    }
}

/// Ends of recipients in a domain: `@domain`. Domains are stored in lower case.
const IN_DOMAIN: &str = "substr(e.recipient, -length(?)) = ?";

fn conditions(filter: &EntryFilter) -> Conditions {
    let mut c = Conditions::default();
    if let Some(tenant) = filter.tenant {
        c.add("e.tenant = ?", tenant.0);
    }
    if let Some(id) = filter.queue_id {
        c.add("e.queue_id = ?", id.to_i64());
    }
    if let Some(domain) = &filter.domain {
        c.add(IN_DOMAIN, format!("@{}", plain(domain)));
    }
    if let Some(domains) = &filter.domains {
        let mut any = Conditions {
            values: std::mem::take(&mut c.values),
            ..Conditions::default()
        };
        domains.iter().for_each(|d| any.add(IN_DOMAIN, format!("@{}", plain(d))));
        c.values = any.values;
        c.texts.push(if any.texts.is_empty() {
            String::from("FALSE")
        } else {
            format!("({})", any.texts.join(" OR "))
        });
    }
    if let Some(sender) = &filter.sender {
        c.joins = true;
        match sender.strip_prefix("*@") {
            Some(domain) => c.add("substr(m.reverse_path, -length(?)) = ?", format!("@{}", plain(domain))),
            None => c.add(
                "lower(m.reverse_path) = ?",
                if sender == "<>" {
                    String::new()
                } else {
                    plain(sender).into_owned()
                },
            ),
        }
    }
    if let Some(reason) = filter.reason {
        c.add("e.reason = ?", reason.as_str().to_owned());
    }
    if let Some(host) = &filter.next_hop {
        c.add("substr(e.last_reply, 1, length(?)) = ?", host.clone());
    }
    if let Some(state) = filter.state {
        c.add("e.state = ?", state_code(state));
    }
    if let Some(before) = filter.received_before {
        c.joins = true;
        c.add("m.received_at < ?", before.0);
    }
    c
}

/// Lanes that the filter's entries are in, when it names them.
fn named_lanes(filter: &EntryFilter) -> Option<Vec<LaneId>> {
    let tenant = filter.tenant?;
    if filter.queue_id.is_some() {
        return None;
    }
    let lanes_of = |domains: &[String]| domains.iter().map(|d| LaneId::of(tenant, &plain(d))).collect();
    match (&filter.domain, &filter.domains) {
        (Some(domain), _) => Some(lanes_of(std::slice::from_ref(domain))),
        (None, Some(domains)) => Some(lanes_of(domains)),
        (None, None) => None,
    }
}

/// Every lane of a tenant: from one lane to the next in the index, without reading the entries between.
fn lanes_of(connection: &Connection, tenant: TenantId) -> Result<Vec<LaneId>, StoreError> {
    let sql = "WITH RECURSIVE l(lane) AS (SELECT MIN(lane) FROM entry WHERE owner = ?1 UNION ALL \
               SELECT (SELECT MIN(lane) FROM entry WHERE owner = ?1 AND lane > l.lane) FROM l WHERE l.lane IS NOT NULL) \
               SELECT lane, (SELECT tenant FROM entry WHERE owner = ?1 AND lane = l.lane LIMIT 1) FROM l WHERE lane IS NOT NULL";
    let all = read::rows(connection, sql, [OWNER], |row| Ok((LaneId(row.get(0)?), TenantId(row.get(1)?))))?;
    Ok(all
        .into_iter()
        .filter(|(_, owner)| *owner == tenant)
        .map(|(lane, _)| lane)
        .collect())
}

fn in_lanes(lanes: &[LaneId]) -> String {
    let numbers: Vec<String> = lanes.iter().map(|l| l.0.to_string()).collect();
    format!("e.owner = {OWNER} AND e.lane IN ({})", numbers.join(", "))
}

pub(super) fn page(
    connection: &Connection,
    filter: &EntryFilter,
    after: Option<(QueueId, u32)>,
    limit: usize,
) -> Result<Vec<QueueRow>, StoreError> {
    if let Some(lanes) = named_lanes(filter) {
        return select(connection, filter, after, limit, "entry", Some(&in_lanes(&lanes)));
    }
    let Some(tenant) = filter.tenant.filter(|_| filter.queue_id.is_none()) else {
        return select(connection, filter, after, limit, "entry", None);
    };
    let (id, number) = after.map_or((-1, -1), |(id, number)| (id.to_i64(), i64::from(number)));
    let front = format!("(SELECT * FROM entry WHERE (queue_id, number) > ({id}, {number}) ORDER BY queue_id, number LIMIT {WALK})");
    let found = select(connection, filter, after, limit, &front, None)?;
    if found.len() >= limit {
        return Ok(found);
    }
    let lanes = lanes_of(connection, tenant)?;
    if lanes.len() > LANES_MAX {
        return select(connection, filter, after, limit, "entry", None);
    }
    select(connection, filter, after, limit, "entry", Some(&in_lanes(&lanes)))
}

fn select(
    connection: &Connection,
    filter: &EntryFilter,
    after: Option<(QueueId, u32)>,
    limit: usize,
    table: &str,
    lanes: Option<&str>,
) -> Result<Vec<QueueRow>, StoreError> {
    let mut c = conditions(filter);
    if let Some(lanes) = lanes {
        c.texts.push(lanes.to_owned());
    }
    if let Some((id, number)) = after {
        c.values.extend([Value::Integer(id.to_i64()), Value::Integer(i64::from(number))]);
        c.texts
            .push(format!("(e.queue_id, e.number) > (?{}, ?{})", c.values.len() - 1, c.values.len()));
    }
    c.values.push(Value::Integer(limit_of(limit)));
    // CROSS JOIN keeps the order of tables: entries lead, each brings its message.
    let sql = format!(
        "SELECT {ENTRY}, m.reverse_path, m.direction, m.size, m.received_at FROM {table} e CROSS JOIN message m ON m.queue_id = e.queue_id \
         WHERE {} ORDER BY e.queue_id, e.number LIMIT ?{}",
        c.sql(),
        c.values.len()
    );
    read::rows(connection, &sql, rusqlite::params_from_iter(c.values), queue_row)
}

/// Whether the filter has no condition but those that its lanes fulfil.
fn is_about_lanes_alone(filter: &EntryFilter) -> bool {
    let EntryFilter {
        tenant: _,
        domain,
        queue_id,
        sender,
        reason,
        next_hop,
        state,
        received_before,
        domains,
    } = filter;
    let has_two_lists = domain.is_some() && domains.is_some();
    !has_two_lists
        && queue_id.is_none()
        && sender.is_none()
        && reason.is_none()
        && next_hop.is_none()
        && state.is_none()
        && received_before.is_none()
}

pub(super) fn count(connection: &Connection, filter: &EntryFilter) -> Result<u64, StoreError> {
    let lanes = match (named_lanes(filter), filter.tenant.filter(|_| filter.queue_id.is_none())) {
        (Some(lanes), _) => Some(lanes),
        (None, Some(tenant)) => Some(lanes_of(connection, tenant)?).filter(|l| l.len() <= LANES_MAX),
        (None, None) => None,
    };
    // A lane has one tenant and one domain: when nothing else is asked, the index alone answers.
    let mut c = if lanes.is_some() && is_about_lanes_alone(filter) {
        Conditions::default()
    } else {
        conditions(filter)
    };
    if let Some(lanes) = &lanes {
        c.texts.push(in_lanes(lanes));
    }
    let join = if c.joins {
        " CROSS JOIN message m ON m.queue_id = e.queue_id"
    } else {
        ""
    };
    let sql = format!("SELECT COUNT(*) FROM entry e{join} WHERE {}", c.sql());
    let counted = read::rows(connection, &sql, rusqlite::params_from_iter(c.values), |row| {
        Ok(row.get::<_, i64>(0)?)
    })?;
    Ok(counted.first().map_or(0, |n| n.unsigned_abs()))
}
