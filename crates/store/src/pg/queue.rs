//! The queue as people see it: pages and counts over every node's entries.
//!
//! In:  an [`EntryFilter`]. Out: rows by queue id, then number; counts.
//! Invariants: the text is made of constants, everything given stands in parameters; `%` and `_` in what is looked for mean themselves.

use mail::{QueueId, Timestamp};
use postgres_types::ToSql;

use super::control::PgTx;
use super::read::{ENTRY, entry_of, path_of};
use crate::StoreError;
use crate::spool::code::{direction_from, state_code};
use crate::spool::{EntryFilter, QueueRow};

/// A `WHERE` under construction.
#[derive(Default)]
struct Where {
    text: String,
    params: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Where {
    /// `condition` has `{}` where the parameter stands.
    fn and(&mut self, condition: &str, param: impl ToSql + Sync + Send + 'static) {
        self.params.push(Box::new(param));
        let mark = format!("${}", self.params.len());
        self.text.push_str(if self.text.is_empty() { " WHERE " } else { " AND " });
        self.text.push_str(&condition.replace("{}", &mark));
    }

    fn of(filter: &EntryFilter) -> Self {
        let mut w = Self::default();
        if let Some(tenant) = filter.tenant {
            w.and("e.tenant = {}", tenant.0);
        }
        if let Some(domain) = &filter.domain {
            w.and("lower(split_part(e.recipient, '@', -1)) = {}", domain.to_lowercase());
        }
        if let Some(id) = filter.queue_id {
            w.and("e.queue_id = {}", id.to_i64());
        }
        if let Some(sender) = &filter.sender {
            match sender.strip_prefix("*@") {
                Some(domain) => w.and(
                    "lower(split_part(m.reverse_path, '@', -1)) = {} AND m.reverse_path <> ''",
                    domain.to_lowercase(),
                ),
                None if sender == "<>" => w.and("m.reverse_path = {}", String::new()),
                None => w.and("lower(m.reverse_path) = {}", sender.to_lowercase()),
            }
        }
        if let Some(reason) = filter.reason {
            w.and("e.reason = {}", reason.as_str());
        }
        if let Some(next_hop) = &filter.next_hop {
            w.and("starts_with(e.last_reply, {})", next_hop.clone());
        }
        if let Some(state) = filter.state {
            w.and("e.state = {}", i16::try_from(state_code(state)).unwrap_or(0));
        }
        if let Some(before) = filter.received_before {
            w.and("m.received_at < {}", before.0);
        }
        if let Some(domains) = &filter.domains {
            let lower: Vec<String> = domains.iter().map(|d| d.to_lowercase()).collect();
            w.and("lower(split_part(e.recipient, '@', -1)) = ANY({}::text[])", lower);
        }
        w
    }

    fn params(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.params.iter().map(|p| &**p as &(dyn ToSql + Sync)).collect()
    }
}

pub(super) fn page(
    tx: &mut PgTx<'_>,
    filter: &EntryFilter,
    after: Option<(QueueId, u32)>,
    limit: usize,
) -> Result<Vec<QueueRow>, StoreError> {
    let mut w = Where::of(filter);
    if let Some((id, number)) = after {
        w.and("(e.queue_id, e.number) > ({}, ", id.to_i64());
        w.params.push(Box::new(i64::from(number)));
        w.text.push_str(&format!("${})", w.params.len()));
    }
    w.params.push(Box::new(i64::try_from(limit).unwrap_or(i64::MAX)));
    let text = format!(
        "SELECT {ENTRY}, m.reverse_path, m.direction, m.size, m.received_at FROM entry e JOIN message m ON m.queue_id = e.queue_id{} \
         ORDER BY e.queue_id, e.number LIMIT ${}",
        w.text,
        w.params.len()
    );
    tx.query_text(&text, &w.params())?
        .iter()
        .map(|row| {
            Ok(QueueRow {
                entry: entry_of(row, 0)?,
                reverse_path: path_of(row.try_get(16)?)?,
                direction: direction_from(i64::from(row.try_get::<_, i16>(17)?))?,
                size: u64::try_from(row.try_get::<_, i64>(18)?).unwrap_or(0),
                received_at: Timestamp(row.try_get(19)?),
            })
        })
        .collect()
}

pub(super) fn count(tx: &mut PgTx<'_>, filter: &EntryFilter) -> Result<u64, StoreError> {
    let w = Where::of(filter);
    let from = if filter.sender.is_some() || filter.received_before.is_some() {
        "entry e JOIN message m ON m.queue_id = e.queue_id"
    } else {
        "entry e"
    };
    let rows = tx.query_text(&format!("SELECT count(*) FROM {from}{}", w.text), &w.params())?;
    let n: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(u64::try_from(n).unwrap_or(0))
}
