//! How is a next hop, and how many may speak to it at a time?
//!
//! In: connects that worked or failed, places taken and given back. Out: whether there is a place, whether it is tried last, who waits.
//! Standards: domains-and-routing 4.2 (5 failures in 60 s, probe every 60 s, concurrency restarts at 1 and doubles), 4.1, 11.1.
//! Invariants: places in use never exceed what the asker was allowed; a hop without use, failures and waiters costs nothing.

use mail::TenantId;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// So many connect failures …
const FAILURES: usize = 5;
/// … in this time, and the candidate is tried last.
const FAILURE_WINDOW: Duration = Duration::from_secs(60);
/// How often a failing candidate is probed.
pub const PROBE_EVERY: Duration = Duration::from_secs(60);
/// A failing hop that nobody has asked for is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3_600);

/// A next hop as one tenant knows it. Tenants do not share places or health: one's trouble is not another's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HopKey {
    /// Whose mail.
    pub tenant: TenantId,
    /// Name or IP literal, lower case.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// Whether a candidate is tried in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// As usual.
    Healthy,
    /// Tried last.
    Failing,
}

#[derive(Debug)]
struct Hop<W> {
    in_use: u32,
    /// Places after an outage; `None`: no outage, as many as allowed.
    ramp: Option<u32>,
    /// When the last connects failed, newest last.
    failures: VecDeque<Duration>,
    /// When the next probe is due, while failing.
    probe_at: Option<Duration>,
    asked_at: Duration,
    /// Who waits, and since when.
    waiting: VecDeque<(Duration, W)>,
}

/// All next hops with something to remember. `W`: who waits for a place.
#[derive(Debug)]
pub struct Hops<W>(HashMap<HopKey, Hop<W>>);

impl<W> Default for Hops<W> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<W> Hops<W> {
    fn hop(&mut self, key: &HopKey, now: Duration) -> &mut Hop<W> {
        let new = || Hop {
            in_use: 0,
            ramp: None,
            failures: VecDeque::new(),
            probe_at: None,
            asked_at: now,
            waiting: VecDeque::new(),
        };
        let hop = self.0.entry(key.clone()).or_insert_with(new);
        hop.asked_at = now;
        hop
    }

    /// Takes a place, if one of `max` is free.
    pub fn take(&mut self, key: &HopKey, max: u32, now: Duration) -> bool {
        let hop = self.hop(key, now);
        let allowed = hop.ramp.map_or(max, |r| r.min(max)).max(1);
        if hop.in_use >= allowed {
            return false;
        }
        hop.in_use += 1;
        true
    }

    /// Waits for a place.
    pub fn wait(&mut self, key: &HopKey, who: W, now: Duration) {
        self.hop(key, now).waiting.push_back((now, who));
    }

    /// Gives a place back; who may try again now.
    #[must_use]
    pub fn give_back(&mut self, key: &HopKey) -> Option<W> {
        let hop = self.0.get_mut(key)?;
        hop.in_use = hop.in_use.saturating_sub(1);
        let next = hop.waiting.pop_front().map(|(_, who)| who);
        self.tidy(key);
        next
    }

    /// A connect or a probe worked, or a message was taken. More of those that wait may try when the ramp went up.
    #[must_use]
    pub fn succeeded(&mut self, key: &HopKey, max: u32) -> Vec<W> {
        let Some(hop) = self.0.get_mut(key) else { return Vec::new() };
        hop.failures.clear();
        let before = hop.ramp.unwrap_or(max);
        if hop.probe_at.take().is_some() {
            hop.ramp = Some(1);
        } else if let Some(ramp) = hop.ramp {
            let doubled = ramp.saturating_mul(2);
            hop.ramp = (doubled < max).then_some(doubled);
        }
        let more = hop
            .ramp
            .unwrap_or(max)
            .saturating_sub(before)
            .saturating_add(u32::from(hop.in_use == 0));
        let count = hop.waiting.len().min(usize::try_from(more).unwrap_or(usize::MAX));
        let woken = hop.waiting.drain(..count).map(|(_, who)| who).collect();
        self.tidy(key);
        woken
    }

    /// A connect failed.
    pub fn failed(&mut self, key: &HopKey, now: Duration) {
        let hop = self.hop(key, now);
        hop.failures.push_back(now);
        while hop.failures.len() > FAILURES || hop.failures.front().is_some_and(|at| now.saturating_sub(*at) > FAILURE_WINDOW) {
            hop.failures.pop_front();
        }
        if hop.probe_at.is_none() && hop.failures.len() >= FAILURES {
            hop.probe_at = Some(now.saturating_add(PROBE_EVERY));
        }
    }

    /// Whether it is tried in its order.
    #[must_use]
    pub fn health(&self, key: &HopKey) -> Health {
        if self.0.get(key).is_some_and(|h| h.probe_at.is_some()) {
            Health::Failing
        } else {
            Health::Healthy
        }
    }

    /// Places in use, and how many there are for someone allowed `max`.
    #[must_use]
    pub fn places(&self, key: &HopKey, max: u32) -> (u32, u32) {
        self.0.get(key).map_or((0, max), |h| (h.in_use, h.ramp.map_or(max, |r| r.min(max))))
    }

    /// Failing hops whose probe is due; their next one is set. Those that nobody asked for in an hour are forgotten instead.
    #[must_use]
    pub fn probes_due(&mut self, now: Duration) -> Vec<HopKey> {
        self.0
            .retain(|_, h| h.in_use > 0 || !h.waiting.is_empty() || now.saturating_sub(h.asked_at) < FORGET_AFTER);
        let mut due = Vec::new();
        for (key, hop) in &mut self.0 {
            if hop.probe_at.is_some_and(|at| at <= now) {
                hop.probe_at = Some(now.saturating_add(PROBE_EVERY));
                due.push(key.clone());
            }
        }
        due
    }

    /// Who has been waiting since `then` or longer, hop by hop.
    pub fn waiting_since(&self, then: Duration) -> impl Iterator<Item = &W> {
        self.0
            .values()
            .flat_map(move |h| h.waiting.iter().take_while(move |(since, _)| *since <= then).map(|(_, who)| who))
    }

    /// Everyone who waits, for all hops (a pause, a rescan): they are looked at anew.
    #[must_use]
    pub fn drain_waiting(&mut self) -> Vec<W> {
        let all = self.0.values_mut().flat_map(|h| h.waiting.drain(..)).map(|(_, who)| who).collect();
        self.0
            .retain(|_, h| h.in_use > 0 || h.ramp.is_some() || h.probe_at.is_some() || !h.failures.is_empty());
        all
    }

    fn tidy(&mut self, key: &HopKey) {
        let idle = |h: &Hop<W>| h.in_use == 0 && h.waiting.is_empty() && h.ramp.is_none() && h.probe_at.is_none() && h.failures.is_empty();
        if self.0.get(key).is_some_and(idle) {
            self.0.remove(key);
        }
    }
}

/// Healthy candidates first, in their order; failing ones after them, in theirs.
pub fn by_health<T>(candidates: Vec<T>, health: impl Fn(&T) -> Health) -> Vec<T> {
    let (mut first, last): (Vec<T>, Vec<T>) = candidates.into_iter().partition(|c| health(c) == Health::Healthy);
    first.extend(last);
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> HopKey {
        HopKey {
            tenant: TenantId(1),
            host: "a.example".into(),
            port: 25,
        }
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn five_failures_in_a_minute_make_it_failing_until_a_success() {
        let mut hops: Hops<u32> = Hops::default();
        for t in [0, 20, 40, 60, 80, 100] {
            hops.failed(&key(), s(t));
        }
        assert_eq!(hops.health(&key()), Health::Healthy, "four of them lie within 60 s at any time");
        hops.failed(&key(), s(105));
        assert_eq!(hops.health(&key()), Health::Healthy);
        hops.failed(&key(), s(110));
        assert_eq!(hops.health(&key()), Health::Failing);
        assert!(hops.probes_due(s(169)).is_empty());
        assert_eq!(hops.probes_due(s(170)), [key()]);
        assert!(hops.probes_due(s(171)).is_empty());
        assert_eq!(hops.probes_due(s(230)), [key()]);
        let _ = hops.succeeded(&key(), 20);
        assert_eq!(hops.health(&key()), Health::Healthy);
    }

    #[test]
    fn after_an_outage_places_double() {
        let mut hops: Hops<u32> = Hops::default();
        (0..5).for_each(|_| hops.failed(&key(), s(0)));
        let mut places = Vec::new();
        for _ in 0..6 {
            let _ = hops.succeeded(&key(), 20);
            places.push(hops.places(&key(), 20).1);
        }
        assert_eq!(places, [1, 2, 4, 8, 16, 20]);
    }

    #[test]
    fn places_are_limited_and_handed_on() {
        let mut hops: Hops<u32> = Hops::default();
        assert!(hops.take(&key(), 2, s(0)) && hops.take(&key(), 2, s(0)));
        assert!(!hops.take(&key(), 2, s(0)));
        hops.wait(&key(), 7, s(0));
        assert_eq!(hops.give_back(&key()), Some(7));
        assert!(hops.take(&key(), 2, s(0)));
        assert_eq!(hops.give_back(&key()), None);
        assert_eq!(hops.give_back(&key()), None);
        assert!(hops.0.is_empty(), "nothing is kept of a quiet hop");
    }

    #[test]
    fn who_waits_is_woken_as_places_double() {
        let mut hops: Hops<u32> = Hops::default();
        (0..5).for_each(|_| hops.failed(&key(), s(0)));
        let _ = hops.succeeded(&key(), 20);
        assert!(hops.take(&key(), 20, s(1)));
        for who in 0..10 {
            assert!(!hops.take(&key(), 20, s(1)));
            hops.wait(&key(), who, s(1));
        }
        assert_eq!(hops.succeeded(&key(), 20), [0]);
        assert!(hops.take(&key(), 20, s(1)));
        assert_eq!(hops.succeeded(&key(), 20), [1, 2]);
    }

    #[test]
    fn failing_ones_are_last_and_never_gone() {
        let health = |c: &u32| if c.is_multiple_of(2) { Health::Failing } else { Health::Healthy };
        assert_eq!(by_health(Vec::from([2, 1, 4, 3]), health), [1, 3, 2, 4]);
        assert_eq!(by_health(Vec::from([2]), health), [2]);
    }
}
