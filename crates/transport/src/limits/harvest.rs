//! Unknown recipients per client address: who is guessing names?

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const ADDRESSES_MAX: usize = 100_000;
const WINDOW: Duration = Duration::from_mins(10);
/// Domains-and-routing 8: deferred for an hour.
const BLOCK: Duration = Duration::from_hours(1);

/// The table.
#[derive(Debug, Default)]
pub struct HarvestTable(Mutex<HashMap<IpAddr, Guesses>>);

#[derive(Clone, Copy, Debug)]
struct Guesses {
    since: Duration,
    count: u32,
    blocked_until: Option<Duration>,
}

impl Guesses {
    fn has_lapsed(&self, now: Duration) -> bool {
        match self.blocked_until {
            Some(until) => until <= now,
            None => now.saturating_sub(self.since) >= WINDOW,
        }
    }
}

impl HarvestTable {
    /// Whether this address is deferred now.
    #[must_use]
    pub fn is_blocked(&self, client: IpAddr, now: Duration) -> bool {
        self.lock()
            .get(&client)
            .and_then(|g| g.blocked_until)
            .is_some_and(|until| until > now)
    }

    /// One more unknown recipient. Above `max` in ten minutes the address is blocked.
    pub fn unknown(&self, client: IpAddr, max: u32, now: Duration) {
        let mut table = self.lock();
        if table.len() >= ADDRESSES_MAX && !table.contains_key(&client) {
            table.retain(|_, g| !g.has_lapsed(now));
            if table.len() >= ADDRESSES_MAX
                && let Some(any) = table.keys().next().copied()
            {
                table.remove(&any);
            }
        }
        let fresh = Guesses {
            since: now,
            count: 0,
            blocked_until: None,
        };
        let guesses = table.entry(client).or_insert(fresh);
        if guesses.has_lapsed(now) {
            *guesses = fresh;
        }
        guesses.count = guesses.count.saturating_add(1);
        if guesses.count > max && guesses.blocked_until.is_none() {
            guesses.blocked_until = Some(now.saturating_add(BLOCK));
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, Guesses>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_the_figure_for_an_hour() {
        let table = HarvestTable::default();
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let s = Duration::from_secs;
        for _ in 0..3 {
            table.unknown(ip, 3, s(0));
        }
        assert!(!table.is_blocked(ip, s(1)));
        table.unknown(ip, 3, s(1));
        assert!(table.is_blocked(ip, s(1)));
        assert!(table.is_blocked(ip, s(3_600)));
        assert!(!table.is_blocked(ip, s(3_601)));
        table.unknown(ip, 3, s(3_601));
        assert!(!table.is_blocked(ip, s(3_601)));
        assert!(!table.is_blocked("192.0.2.2".parse().unwrap(), s(2)));
    }

    #[test]
    fn ten_minutes_end_the_count() {
        let table = HarvestTable::default();
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        for n in 0..10 {
            table.unknown(ip, 1, Duration::from_secs(n * 600));
        }
        assert!(!table.is_blocked(ip, Duration::from_secs(6_000)));
    }
}
