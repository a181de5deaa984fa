//! Floods: who is refused again and again in the same second is counted, not written one by one.
//!
//! In:  each refusal with client and reason. Out: a reference to tell the client; after the second one record with a count.
//! Standards: domains-and-routing 13; architecture, "Refusals".
//! Invariants: bounded; every reference that was told is in some record; what is counted is written within two seconds.

use mail::{Reason, Reference};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use store::tracking::{Event, Record};

/// Alike refusals of one client that are written one by one in a second.
const SINGLE_MAX: u32 = 5;
/// Clients and reasons in memory.
const KINDS_MAX: usize = 10_000;

/// The table.
#[derive(Debug, Default)]
pub struct Floods(Mutex<HashMap<(IpAddr, Reason), Flood>>);

#[derive(Debug)]
struct Flood {
    second: u64,
    singles: u32,
    counted: Option<(Reference, Record)>,
}

/// What becomes of one refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It has an event of its own.
    Single(Reference),
    /// It is counted into another, whose reference it shares.
    Counted(Reference),
}

impl Noted {
    /// What the client is told.
    #[must_use]
    pub fn reference(self) -> Reference {
        match self {
            Self::Single(reference) | Self::Counted(reference) => reference,
        }
    }
}

impl Floods {
    /// Notes a refusal. `make` gives the record of a flood when one begins.
    pub fn note(&self, client: IpAddr, reason: Reason, now: Duration, make: impl FnOnce(Reference) -> Record) -> Noted {
        let mut kinds = self.lock();
        if kinds.len() >= KINDS_MAX {
            kinds.retain(|_, f| f.second == now.as_secs() || f.counted.is_some());
        }
        if kinds.len() >= KINDS_MAX && !kinds.contains_key(&(client, reason)) {
            // So many clients at once are no flood of one; each gets its own event, and the store counts what it cannot take.
            return Noted::Single(Reference::random());
        }
        let flood = kinds.entry((client, reason)).or_insert(Flood {
            second: now.as_secs(),
            singles: 0,
            counted: None,
        });
        if flood.second != now.as_secs() && flood.counted.is_none() {
            *flood = Flood {
                second: now.as_secs(),
                singles: 0,
                counted: None,
            };
        }
        if flood.singles < SINGLE_MAX {
            flood.singles += 1;
            return Noted::Single(Reference::random());
        }
        let (reference, record) = flood.counted.get_or_insert_with(|| {
            let reference = Reference::random();
            let mut record = make(reference);
            set_count(&mut record, 0);
            (reference, record)
        });
        set_count(record, count_of(record).saturating_add(1));
        Noted::Counted(*reference)
    }

    /// Records of floods whose second is over.
    #[must_use]
    pub fn take_over(&self, now: Duration) -> Vec<Record> {
        let mut records = Vec::new();
        self.lock().retain(|_, flood| {
            if flood.second == now.as_secs() {
                return true;
            }
            records.extend(flood.counted.take().map(|(_, record)| record));
            false
        });
        records
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(IpAddr, Reason), Flood>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count_of(record: &Record) -> u32 {
    match record.events.last() {
        Some(Event::Refused { count, .. }) => *count,
        Some(_) | None => 0,
    }
}

/// The refusal is the last event of its record.
fn set_count(record: &mut Record, to: u32) {
    if let Some(Event::Refused { count, .. }) = record.events.last_mut() {
        *count = to;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::{QueueId, TenantId, Timestamp};

    fn record(reference: Reference) -> Record {
        let refused = Event::Refused {
            reason: Reason::NoDomain,
            reply: "554".into(),
            reference: Some(reference),
            recipient: None,
            detail: None,
            count: 1,
        };
        Record {
            trace: QueueId::from_i64(1),
            tenant: TenantId::OPERATOR,
            direction: None,
            at: Timestamp(0),
            events: vec![refused],
        }
    }

    #[test]
    fn a_few_singly_then_one_record_with_a_count() {
        let floods = Floods::default();
        let client = "192.0.2.1".parse().unwrap();
        let at = |ms| Duration::from_millis(ms);
        let noted: Vec<Noted> = (0..12).map(|n| floods.note(client, Reason::NoDomain, at(n * 10), record)).collect();
        let singles = noted.iter().filter(|n| matches!(n, Noted::Single(_))).count();
        assert_eq!(singles, 5);
        assert!(noted[5..].iter().all(|n| *n == noted[5]));
        assert!(floods.take_over(at(999)).is_empty());
        let records = floods.take_over(at(1_000));
        let [Record { events, .. }] = records.as_slice() else {
            panic!("{records:?}")
        };
        assert!(matches!(events.last(), Some(Event::Refused { count: 7, reference: Some(r), .. }) if *r == noted[5].reference()));
        assert!(floods.take_over(at(2_000)).is_empty());
        assert!(matches!(floods.note(client, Reason::NoDomain, at(2_000), record), Noted::Single(_)));
    }

    #[test]
    fn other_reasons_and_clients_are_not_counted_together() {
        let floods = Floods::default();
        for n in 0..5 {
            let client: IpAddr = format!("192.0.2.{n}").parse().unwrap();
            assert!(matches!(
                floods.note(client, Reason::NoDomain, Duration::ZERO, record),
                Noted::Single(_)
            ));
            assert!(matches!(
                floods.note("192.0.2.9".parse().unwrap(), Reason::UserUnknown, Duration::ZERO, record),
                Noted::Single(_)
            ));
        }
        assert!(floods.take_over(Duration::from_secs(1)).is_empty());
    }
}
