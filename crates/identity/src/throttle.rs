//! Lock-out: may this client try this login now? (thresholds of mailbox-hosting 8.1 and identity 8)
//!
//! In:  each attempt and what came of it. Out: go on, or refused until when.
//! Invariants: bounded memory ([`ENTRIES_MAX`]); counters run for unknown logins too; who repeats one wrong secret counts once an hour;
//! a network that logged in lately stays usable while its login is locked for others. In memory: a restart forgets.

use mail::Timestamp;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counters kept at once. When full, the oldest half goes.
pub const ENTRIES_MAX: usize = 65_536;
const REPEAT_COUNTS_ONCE_IN: Duration = Duration::from_secs(3_600);
const KNOWN_FOR: Duration = Duration::from_secs(30 * 86_400);
const LOCK_MAX: Duration = Duration::from_secs(86_400);

/// Whether an attempt may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allowed,
    /// Answer as for a wrong secret, without looking at it.
    RefusedUntil(Timestamp),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    Network(IpAddr),
    NetworkAtLogin(IpAddr, u64),
    Login(u64),
}

impl Key {
    /// How many failures, in which time, lock for how long.
    fn threshold(self) -> (u32, Duration, Duration) {
        let minutes = |n: u64| Duration::from_secs(60 * n);
        match self {
            Self::Address(_) => (30, minutes(10), minutes(10)),
            Self::Network(_) => (100, minutes(10), minutes(10)),
            Self::NetworkAtLogin(..) => (10, minutes(10), minutes(30)),
            Self::Login(_) => (50, minutes(60), minutes(30)),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Counter {
    since: Timestamp,
    failures: u32,
    locked_until: Option<Timestamp>,
    locks: u32,
    /// Last wrong secret (hash) and when it counted.
    last_secret: Option<(u64, Timestamp)>,
}

#[derive(Debug, Default)]
struct Table {
    counters: HashMap<Key, Counter>,
    /// Last success of a network at a login.
    known: HashMap<(IpAddr, u64), Timestamp>,
}

/// The counters of this node.
#[derive(Debug, Default)]
pub struct Throttle {
    table: Mutex<Table>,
    hasher: RandomState,
}

impl Throttle {
    /// No failure yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether `client` may try `login` now.
    #[must_use]
    pub fn check(&self, client: IpAddr, login: &str, now: Timestamp) -> Verdict {
        let (network, login) = (network(client), self.hasher.hash_one(login));
        let table = self.lock();
        let is_known = table.known.get(&(network, login)).is_some_and(|at| at.after(KNOWN_FOR) > now);
        let locks = keys(client, network, login)
            .into_iter()
            .filter(|key| !(is_known && matches!(key, Key::Login(_))))
            .filter_map(|key| table.counters.get(&key)?.locked_until)
            .filter(|until| *until > now);
        locks.max().map_or(Verdict::Allowed, Verdict::RefusedUntil)
    }

    /// Counts a failure. `secret`: the wrong secret; only a keyed hash of it stays, in memory.
    pub fn failed(&self, client: IpAddr, login: &str, secret: &[u8], now: Timestamp) {
        let (network, login_hash) = (network(client), self.hasher.hash_one(login));
        let secret = self.hasher.hash_one((login, secret));
        let mut table = self.lock();
        table.make_room();
        let pair = table.counters.entry(Key::NetworkAtLogin(network, login_hash)).or_default();
        if pair
            .last_secret
            .is_some_and(|(last, at)| last == secret && at.after(REPEAT_COUNTS_ONCE_IN) > now)
        {
            return;
        }
        pair.last_secret = Some((secret, now));
        for key in keys(client, network, login_hash) {
            table.counters.entry(key).or_default().count(key, now);
        }
    }

    /// Notes a success: its network is known at this login, and starts anew there.
    pub fn succeeded(&self, client: IpAddr, login: &str, now: Timestamp) {
        let (network, login) = (network(client), self.hasher.hash_one(login));
        let mut table = self.lock();
        table.make_room();
        table.counters.remove(&Key::NetworkAtLogin(network, login));
        table.known.insert((network, login), now);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counter {
    fn count(&mut self, key: Key, now: Timestamp) {
        let (max, within, lock) = key.threshold();
        if self.since.after(within) <= now || self.since > now {
            (self.since, self.failures) = (now, 0);
        }
        self.failures += 1;
        if self.failures >= max {
            let factor = if matches!(key, Key::Login(_)) { 1 << self.locks.min(10) } else { 1 };
            self.locked_until = Some(now.after((lock * factor).min(LOCK_MAX)));
            self.locks = self.locks.saturating_add(1);
            self.failures = 0;
        }
    }
}

impl Table {
    fn make_room(&mut self) {
        if self.counters.len() + 4 > ENTRIES_MAX {
            let mut ages: Vec<Timestamp> = self.counters.values().map(|c| c.since).collect();
            let middle = ages.len() / 2;
            let (_, cut, _) = ages.select_nth_unstable(middle);
            let cut = *cut;
            let mut spare = ENTRIES_MAX / 2;
            self.counters.retain(|_, c| {
                let stays = c.since >= cut && spare > 0;
                spare -= usize::from(stays);
                stays
            });
        }
        if self.known.len() >= ENTRIES_MAX {
            let mut spare = ENTRIES_MAX / 2;
            self.known.retain(|_, _| {
                let stays = spare > 0;
                spare -= usize::from(stays);
                stays
            });
        }
    }
}

fn keys(client: IpAddr, network: IpAddr, login: u64) -> [Key; 4] {
    [
        Key::Address(client),
        Key::Network(network),
        Key::NetworkAtLogin(network, login),
        Key::Login(login),
    ]
}

/// First address of the /24 or /64.
fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(ip) => IpAddr::V4((u32::from(ip) & 0xffff_ff00).into()),
        IpAddr::V6(ip) => match ip.to_ipv4_mapped() {
            Some(v4) => network(IpAddr::V4(v4)),
            None => IpAddr::V6((u128::from(ip) >> 64 << 64).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Timestamp = Timestamp(1_800_000_000_000);

    fn fail(throttle: &Throttle, client: &str, login: &str, secrets: std::ops::Range<u32>, at: Timestamp) {
        for secret in secrets {
            throttle.failed(client.parse().unwrap(), login, &secret.to_be_bytes(), at);
        }
    }

    fn check(throttle: &Throttle, client: &str, login: &str, at: Timestamp, allowed: bool) {
        let got = throttle.check(client.parse().unwrap(), login, at);
        assert_eq!(got == Verdict::Allowed, allowed, "{client} {login}: {got:?}");
    }

    #[test]
    fn ten_failures_lock_the_network_at_this_login() {
        let t = Throttle::new();
        fail(&t, "192.0.2.1", "printer@acme", 0..9, T0);
        check(&t, "192.0.2.1", "printer@acme", T0, true);
        fail(&t, "192.0.2.1", "printer@acme", 9..10, T0);
        check(&t, "192.0.2.1", "printer@acme", T0, false);
        check(&t, "192.0.2.200", "printer@acme", T0, false);
        check(&t, "192.0.2.1", "scanner@acme", T0, true);
        check(&t, "198.51.100.1", "printer@acme", T0, true);
        check(&t, "192.0.2.1", "printer@acme", T0.after(Duration::from_secs(1_801)), true);
    }

    #[test]
    fn a_repeated_secret_counts_once() {
        let t = Throttle::new();
        for _ in 0..1_000 {
            fail(&t, "192.0.2.1", "printer@acme", 1..2, T0);
        }
        check(&t, "192.0.2.1", "printer@acme", T0, true);
    }

    #[test]
    fn failures_age() {
        let t = Throttle::new();
        fail(&t, "192.0.2.1", "printer@acme", 0..9, T0);
        let later = T0.after(Duration::from_secs(601));
        fail(&t, "192.0.2.1", "printer@acme", 9..18, later);
        check(&t, "192.0.2.1", "printer@acme", later, true);
    }

    #[test]
    fn an_address_that_tries_many_logins_is_refused() {
        let t = Throttle::new();
        for i in 0..30 {
            fail(&t, "2001:db8::1", &format!("u{i}@acme"), 0..1, T0);
        }
        check(&t, "2001:db8::1", "new@acme", T0, false);
        check(&t, "2001:db8::2", "new@acme", T0, true);
    }

    #[test]
    fn a_locked_login_stays_open_for_networks_that_know_it() {
        let t = Throttle::new();
        t.succeeded("203.0.113.9".parse().unwrap(), "printer@acme", T0);
        for i in 0..50 {
            fail(&t, &format!("10.0.{i}.1"), "printer@acme", i..i + 1, T0);
        }
        check(&t, "198.51.100.1", "printer@acme", T0, false);
        check(&t, "203.0.113.9", "printer@acme", T0, true);
    }

    #[test]
    fn memory_is_bounded() {
        let t = Throttle::new();
        for i in 0..80_000_u32 {
            t.failed(IpAddr::V4(i.rotate_left(8).into()), "a@b", &i.to_be_bytes(), T0);
        }
        assert!(t.lock().counters.len() <= ENTRIES_MAX);
    }
}
