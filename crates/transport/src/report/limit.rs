//! How many notifications may one sender get? Ten an hour, the rest of the hour combined into one, then none.
//!
//! In: sender and time. Out: a [`Permit`]. Standards: domains-and-routing 11.2.
//! Invariants: bounded memory; what stands in a combined notification is in the spool already, a crash loses nothing.

use super::Tale;
use mail::{QueueId, TenantId, Timestamp};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Notifications per reverse path and window.
const SINGLE_MAX: u32 = 10;
/// The window.
const WINDOW: Duration = Duration::from_secs(3_600);
/// Messages in one combined notification.
const COMBINED_MAX: usize = 100;
/// Senders that are remembered.
const SENDERS_MAX: usize = 100_000;

/// A combined notification that waits for the end of the hour.
#[derive(Clone, Debug)]
pub struct Combined {
    /// What stands in it.
    pub tales: Vec<Tale>,
    /// Its name.
    pub queue_id: QueueId,
}

/// What may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permit {
    /// One of its own.
    One,
    /// As part of a combined one: [`ReportLimits::combine`].
    Combine,
    /// Nothing.
    Suppress,
}

#[derive(Debug)]
struct Window {
    until: Timestamp,
    count: u32,
    combined: Option<Combined>,
}

/// Counts of this node.
#[derive(Debug, Default)]
pub struct ReportLimits(Mutex<HashMap<(TenantId, String), Window>>);

impl ReportLimits {
    fn lock(&self) -> MutexGuard<'_, HashMap<(TenantId, String), Window>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for one more to this sender (address key).
    #[must_use]
    pub fn permit(&self, tenant: TenantId, sender: &str, now: Timestamp) -> Permit {
        let mut windows = self.lock();
        if windows.len() >= SENDERS_MAX {
            windows.retain(|_, w| w.until > now);
        }
        let is_full = windows.len() >= SENDERS_MAX;
        let key = (tenant, sender.to_owned());
        if is_full && !windows.contains_key(&key) {
            // As many senders within one hour are no senders: forged addresses.
            return Permit::Suppress;
        }
        let window = windows.entry(key).or_insert_with(|| Window {
            until: now.after(WINDOW),
            count: 0,
            combined: None,
        });
        if window.until <= now {
            *window = Window {
                until: now.after(WINDOW),
                count: 0,
                combined: None,
            };
        }
        if window.count < SINGLE_MAX {
            window.count += 1;
            return Permit::One;
        }
        if window.combined.as_ref().is_some_and(|c| c.tales.len() >= COMBINED_MAX) {
            Permit::Suppress
        } else {
            Permit::Combine
        }
    }

    /// Makes the combined notification anew, with one message more. `make` gets what stands in it, the one it replaces, and when it leaves;
    /// nothing else is combined for anyone meanwhile.
    pub fn combine<T>(
        &self,
        tenant: TenantId,
        sender: &str,
        tale: Tale,
        make: impl FnOnce(&[Tale], Option<QueueId>, Timestamp) -> Option<(QueueId, T)>,
    ) -> Option<T> {
        let mut windows = self.lock();
        let window = windows.get_mut(&(tenant, sender.to_owned()))?;
        let old = window.combined.take();
        let replaces = old.as_ref().map(|c| c.queue_id);
        let mut tales = old.map(|c| c.tales).unwrap_or_default();
        tales.push(tale);
        let (queue_id, made) = make(&tales, replaces, window.until)?;
        window.combined = Some(Combined { tales, queue_id });
        Some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_then_combined_then_none_then_anew() {
        let limits = ReportLimits::default();
        let at = |s: i64| Timestamp(1_800_000_000_000 + s * 1_000);
        let ask = |s: i64| limits.permit(TenantId(1), "a@b.example", at(s));
        (0..10).for_each(|s| assert_eq!(ask(s), Permit::One));
        let tale = Tale {
            queue_id: QueueId::from_i64(1),
            arrived_at: at(0),
            envid: None,
            subject: None,
            message_id: None,
            stories: Vec::new(),
        };
        for n in 1..=COMBINED_MAX {
            assert_eq!(ask(10), Permit::Combine);
            let id = QueueId::from_i64(i64::try_from(n).unwrap());
            let made = limits.combine(TenantId(1), "a@b.example", tale.clone(), |tales, replaces, until| {
                Some((id, (tales.len(), replaces.map(QueueId::to_i64), until.since(at(0)).as_secs())))
            });
            let replaces = (n > 1).then(|| i64::try_from(n - 1).unwrap());
            assert_eq!(made, Some((n, replaces, 3_600)));
        }
        assert_eq!(ask(12), Permit::Suppress);
        assert_eq!(
            limits.permit(TenantId(2), "a@b.example", at(12)),
            Permit::One,
            "tenants do not share a count"
        );
        assert_eq!(ask(3_600), Permit::One);
    }
}
