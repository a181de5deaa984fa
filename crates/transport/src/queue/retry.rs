//! When is the next attempt, when is the sender warned, when do we give up?
//!
//! In: settings of the scopes, attempts made, the time. Out: moments.
//! Standards: RFC 5321 §4.5.4.1; domains-and-routing 11.1.
//! Invariants: the first wait is never shortened by jitter; a due time never lies behind the end of life.

use config::document::QueueSettings;
use config::{LiveTenant, SystemDocument};
use mail::{Direction, Timestamp};
use std::time::Duration;

/// 5, 10, 20, 40, 80 min, then hourly to 24 h, then every 4 h.
const DEFAULT_MINUTES: [u64; 5] = [5, 10, 20, 40, 80];
const HOUR_S: u64 = 3_600;
const HOURLY_UNTIL_S: u64 = 24 * HOUR_S;
const THEN_EVERY_S: u64 = 4 * HOUR_S;
const DAY_S: u64 = 24 * HOUR_S;
const LIFETIME_INBOUND_S: u64 = 10 * DAY_S;
const LIFETIME_OUTBOUND_S: u64 = DAY_S;
const LIFETIME_NULL_S: u64 = DAY_S;
const DELAY_WARNING_OUTBOUND_S: u64 = 4 * HOUR_S;
const HOLD_S: u64 = 14 * DAY_S;
/// Of one wait, up or down.
const JITTER_PERCENT: u64 = 10;

/// Queue settings that hold for a message: domain before tenant before system.
#[derive(Clone, Copy, Debug)]
pub struct Scopes<'a> {
    domain: Option<&'a QueueSettings>,
    tenant: Option<&'a QueueSettings>,
    system: &'a QueueSettings,
}

impl<'a> Scopes<'a> {
    /// `domain`: the accepted domain of the recipient (inbound) or of the sender (outbound), if it is the tenant's.
    #[must_use]
    pub fn new(system: &'a SystemDocument, tenant: Option<&'a LiveTenant>, domain: Option<&str>) -> Self {
        Self {
            domain: domain
                .and_then(|d| tenant.and_then(|t| t.domains.get(d)))
                .map(|d| &d.settings.queue),
            tenant: tenant.map(|t| &t.settings.queue),
            system: &system.queue,
        }
    }

    fn find<T>(&self, get: impl Fn(&'a QueueSettings) -> Option<T>) -> Option<T> {
        self.domain
            .and_then(&get)
            .or_else(|| self.tenant.and_then(&get))
            .or_else(|| get(self.system))
    }

    /// The wait before attempt `attempts + 1`, without jitter. `attempts`: made so far, at least one.
    #[must_use]
    pub fn wait(&self, attempts: u32) -> Duration {
        let index = usize::try_from(attempts.max(1) - 1).unwrap_or(usize::MAX);
        if let Some(list) = self.find(|s| s.schedule_s.as_deref().filter(|l| !l.is_empty())) {
            return Duration::from_secs(list.get(index).or_else(|| list.last()).copied().unwrap_or(HOUR_S).max(1));
        }
        Duration::from_secs(default_wait_s(index))
    }

    /// The next attempt. `dice`: any number, evenly spread.
    #[must_use]
    pub fn next_due(&self, now: Timestamp, attempts: u32, expires_at: Timestamp, dice: u64) -> Timestamp {
        let wait = jittered(self.wait(attempts), attempts <= 1, dice);
        // The last moment of life is an attempt of its own: an entry that would wait past its end is tried once more at the end, then given up.
        now.after(wait).min(expires_at.max(now.after(Duration::from_secs(1))))
    }

    /// When a message received at `received_at` is given up.
    #[must_use]
    pub fn expires_at(&self, received_at: Timestamp, direction: Direction, has_null_path: bool) -> Timestamp {
        let seconds = if has_null_path {
            self.find(|s| s.lifetime_null_s).unwrap_or(LIFETIME_NULL_S)
        } else {
            match direction {
                Direction::Inbound => self.find(|s| s.lifetime_inbound_s).unwrap_or(LIFETIME_INBOUND_S),
                Direction::Outbound | Direction::Internal => self.find(|s| s.lifetime_outbound_s).unwrap_or(LIFETIME_OUTBOUND_S),
            }
        };
        received_at.after(Duration::from_secs(seconds))
    }

    /// When the sender is told of a delay; `None`: never.
    #[must_use]
    pub fn delay_notice_at(&self, received_at: Timestamp, direction: Direction, has_null_path: bool) -> Option<Timestamp> {
        let seconds = match direction {
            Direction::Inbound => self.find(|s| s.delay_warning_inbound_s).unwrap_or(0),
            Direction::Outbound => self.find(|s| s.delay_warning_outbound_s).unwrap_or(DELAY_WARNING_OUTBOUND_S),
            Direction::Internal => 0,
        };
        (seconds > 0 && !has_null_path).then(|| received_at.after(Duration::from_secs(seconds)))
    }

    /// When a hold that begins now ends into a bounce.
    #[must_use]
    pub fn hold_until(&self, now: Timestamp) -> Timestamp {
        now.after(Duration::from_secs(self.find(|s| s.hold_s).unwrap_or(HOLD_S)))
    }

    /// Connections to one next hop, where it was set.
    #[must_use]
    pub fn next_hop_concurrency_set(&self) -> Option<u32> {
        self.find(|s| s.next_hop_concurrency).map(|n| n.clamp(1, 100))
    }

    /// Connections to one next hop.
    #[must_use]
    pub fn next_hop_concurrency(&self) -> u32 {
        self.next_hop_concurrency_set().unwrap_or(20)
    }
}

fn default_wait_s(index: usize) -> u64 {
    if let Some(minutes) = DEFAULT_MINUTES.get(index) {
        return minutes * 60;
    }
    let ramp_s: u64 = DEFAULT_MINUTES.iter().sum::<u64>() * 60;
    let hours_before = u64::try_from(index - DEFAULT_MINUTES.len()).unwrap_or(u64::MAX);
    if ramp_s.saturating_add(hours_before.saturating_mul(HOUR_S)) < HOURLY_UNTIL_S {
        HOUR_S
    } else {
        THEN_EVERY_S
    }
}

/// `wait` ± 10 %; the first wait only longer, never shorter.
fn jittered(wait: Duration, is_first: bool, dice: u64) -> Duration {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let span = wait_ms / 100 * JITTER_PERCENT;
    if span == 0 {
        return wait;
    }
    let (low, width) = if is_first {
        (wait_ms, span)
    } else {
        (wait_ms - span, span.saturating_mul(2))
    };
    Duration::from_millis(low.saturating_add(dice % (width + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const FAR: Timestamp = Timestamp(1_900_000_000_000);

    fn settings(schedule_s: Option<Vec<u64>>) -> SystemDocument {
        SystemDocument {
            queue: QueueSettings {
                schedule_s,
                ..QueueSettings::default()
            },
            ..SystemDocument::default()
        }
    }

    #[test]
    fn default_waits() {
        let system = settings(None);
        let scopes = Scopes::new(&system, None, None);
        let minutes: Vec<u64> = (1..=5).map(|n| scopes.wait(n).as_secs() / 60).collect();
        assert_eq!(minutes, [5, 10, 20, 40, 80]);
        let mut total = Duration::ZERO;
        for attempts in 1..200 {
            let wait = scopes.wait(attempts);
            if attempts > 5 {
                let expect = if total < Duration::from_secs(86_400) { 1 } else { 4 };
                assert_eq!(wait, Duration::from_secs(expect * 3_600), "attempt {attempts} after {total:?}");
            }
            total += wait;
        }
    }

    #[test]
    fn a_set_schedule_repeats_its_last_wait() {
        let system = settings(Some(vec![1, 2]));
        let scopes = Scopes::new(&system, None, None);
        let waits: Vec<u64> = (1..=4).map(|n| scopes.wait(n).as_secs()).collect();
        assert_eq!(waits, [1, 2, 2, 2]);
    }

    #[test]
    fn jitter_is_ten_percent_and_never_shortens_the_first_wait() {
        let system = settings(None);
        let scopes = Scopes::new(&system, None, None);
        for dice in (0..2_000_000).step_by(997).chain([0, u64::MAX]) {
            let first = scopes.next_due(NOW, 1, FAR, dice).since(NOW);
            assert!((300_000..=330_000).contains(&first.as_millis()), "{first:?}");
            let second = scopes.next_due(NOW, 2, FAR, dice).since(NOW);
            assert!((540_000..=660_000).contains(&second.as_millis()), "{second:?}");
        }
    }

    #[test]
    fn no_attempt_behind_the_end() {
        let system = settings(None);
        let scopes = Scopes::new(&system, None, None);
        let end = NOW.after(Duration::from_secs(60));
        assert_eq!(scopes.next_due(NOW, 1, end, 5), end);
        assert_eq!(scopes.next_due(NOW, 1, NOW, 5), NOW.after(Duration::from_secs(1)));
    }

    #[test]
    fn lifetimes_and_warnings_by_direction() {
        let system = settings(None);
        let scopes = Scopes::new(&system, None, None);
        let hours = |direction, null| scopes.expires_at(NOW, direction, null).since(NOW).as_secs() / 3_600;
        assert_eq!(hours(Direction::Inbound, false), 240);
        assert_eq!(hours(Direction::Outbound, false), 24);
        assert_eq!(hours(Direction::Inbound, true), 24);
        assert_eq!(scopes.delay_notice_at(NOW, Direction::Inbound, false), None);
        assert_eq!(
            scopes.delay_notice_at(NOW, Direction::Outbound, false),
            Some(NOW.after(Duration::from_secs(4 * 3_600)))
        );
        assert_eq!(scopes.delay_notice_at(NOW, Direction::Outbound, true), None);
    }
}
