//! Token buckets: may one more message pass?
//!
//! A bucket holds how much is used of its size; the use runs off evenly, all of it in `per_s` seconds. A bucket nobody knows is empty of use.

use config::document::Rate;
use mail::TenantId;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Buckets in memory (about 8 MB when full).
const BUCKETS_MAX: usize = 200_000;
/// A full table is swept at most so often; between sweeps single entries give way.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What is counted. The tenant is `OPERATOR` where the operator's own figure holds for all of them together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bucket<'a> {
    /// `RATE-IP`, inbound.
    ClientInbound(TenantId, IpAddr),
    /// `RATE-IP`, outbound.
    ClientOutbound(TenantId, IpAddr),
    /// `RATE-RECIPIENT`: address for comparing.
    Recipient(TenantId, &'a str),
    /// `RATE-SENDER`: address for comparing, or login where there is none.
    Sender(TenantId, &'a str),
    /// `RATE-SENDER`: a relay credential with a limit of its own.
    Credential(TenantId, &'a str),
    /// `RATE-TRIAL`, inbound: recipient domain.
    TrialInbound(TenantId, &'a str),
    /// `RATE-TRIAL`, outbound: sender domain.
    TrialOutbound(TenantId, &'a str),
    /// `RATE-TENANT`.
    Tenant(TenantId),
}

#[derive(Clone, Copy, Debug)]
struct Use {
    /// Messages.
    used: f64,
    /// As of.
    at: Duration,
    /// When nothing is left of it.
    lapses: Duration,
}

/// The table.
#[derive(Debug, Default)]
pub struct Buckets {
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    uses: HashMap<u64, Use>,
    swept: Option<Duration>,
}

impl Buckets {
    /// Takes one message from every bucket, or none from any.
    ///
    /// # Errors
    /// The place in `wanted` of the first bucket that has no room.
    pub fn take(&self, wanted: &[(Bucket<'_>, Rate)], now: Duration) -> Result<(), usize> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut after: [(u64, Use); 8] = [(
            0,
            Use {
                used: 0.0,
                at: now,
                lapses: now,
            },
        ); 8];
        for (place, ((bucket, rate), slot)) in wanted.iter().zip(&mut after).enumerate() {
            let key = self.hasher.hash_one(bucket);
            let used = table.uses.get(&key).map_or(0.0, |u| left(*u, *rate, now)) + 1.0;
            if used > f64::from(rate.messages) {
                return Err(place);
            }
            *slot = (
                key,
                Use {
                    used,
                    at: now,
                    lapses: now.saturating_add(run_off(used, *rate)),
                },
            );
        }
        for (key, next) in after.iter().take(wanted.len()) {
            table.put(*key, *next, now);
        }
        Ok(())
    }

    /// Buckets in memory.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).uses.len()
    }

    /// Whether nothing is counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Table {
    fn put(&mut self, key: u64, next: Use, now: Duration) {
        if self.uses.len() >= BUCKETS_MAX && !self.uses.contains_key(&key) {
            if self.swept.is_none_or(|at| now.saturating_sub(at) >= SWEEP_INTERVAL) {
                self.swept = Some(now);
                self.uses.retain(|_, u| u.lapses > now);
            }
            if self.uses.len() >= BUCKETS_MAX
                && let Some(any) = self.uses.keys().next().copied()
            {
                self.uses.remove(&any);
            }
        }
        self.uses.insert(key, next);
    }
}

/// What is left of a use by now. A rate that was changed meanwhile counts at once.
fn left(use_: Use, rate: Rate, now: Duration) -> f64 {
    let seconds = now.saturating_sub(use_.at).as_secs_f64();
    (use_.used - seconds * f64::from(rate.messages) / f64::from(rate.per_s.max(1))).max(0.0)
}

fn run_off(used: f64, rate: Rate) -> Duration {
    Duration::try_from_secs_f64(used * f64::from(rate.per_s.max(1)) / f64::from(rate.messages.max(1))).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn fills_runs_off_and_is_all_or_nothing() {
        let buckets = Buckets::default();
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        let client = (Bucket::ClientInbound(TenantId(1), ip), Rate { messages: 4, per_s: 60 });
        let narrow = (Bucket::Recipient(TenantId(1), "a@example.com"), Rate { messages: 1, per_s: 60 });
        assert_eq!(buckets.take(&[client, narrow], S(0)), Ok(()));
        assert_eq!(buckets.take(&[client, narrow], S(0)), Err(1));
        // The refusal took nothing from the first bucket: three are left.
        for _ in 0..3 {
            assert_eq!(buckets.take(&[client], S(0)), Ok(()));
        }
        assert_eq!(buckets.take(&[client], S(0)), Err(0));
        // 4 in 60 s: one comes back every 15 s.
        assert_eq!(buckets.take(&[client], S(14)), Err(0));
        assert_eq!(buckets.take(&[client], S(15)), Ok(()));
        assert_eq!(buckets.take(&[client], S(15)), Err(0));
        assert_eq!(buckets.take(&[client], S(3_600)), Ok(()));
    }

    #[test]
    fn tenants_and_kinds_do_not_share() {
        let buckets = Buckets::default();
        let rate = Rate { messages: 1, per_s: 3_600 };
        let ip: IpAddr = "2001:db8::1".parse().unwrap();
        for bucket in [
            Bucket::ClientInbound(TenantId(1), ip),
            Bucket::ClientInbound(TenantId(2), ip),
            Bucket::ClientOutbound(TenantId(1), ip),
            Bucket::Sender(TenantId(1), "x"),
            Bucket::Recipient(TenantId(1), "x"),
            Bucket::TrialInbound(TenantId(1), "x"),
            Bucket::TrialOutbound(TenantId(1), "x"),
            Bucket::Credential(TenantId(1), "x"),
            Bucket::Tenant(TenantId(1)),
        ] {
            assert_eq!(buckets.take(&[(bucket, rate)], S(0)), Ok(()), "{bucket:?}");
            assert_eq!(buckets.take(&[(bucket, rate)], S(0)), Err(0), "{bucket:?}");
        }
    }

    #[test]
    fn the_table_stays_bounded_and_forgets_what_lapsed() {
        let buckets = Buckets::default();
        let rate = Rate { messages: 10, per_s: 10 };
        let name = |n: usize| format!("r{n}@example.com");
        for n in 0..BUCKETS_MAX {
            let key = name(n);
            assert_eq!(buckets.take(&[(Bucket::Recipient(TenantId(1), &key), rate)], S(0)), Ok(()));
        }
        assert_eq!(buckets.len(), BUCKETS_MAX);
        assert_eq!(
            buckets.take(&[(Bucket::Tenant(TenantId(1)), rate)], Duration::from_millis(500)),
            Ok(())
        );
        assert_eq!(buckets.len(), BUCKETS_MAX);
        assert_eq!(buckets.take(&[(Bucket::Tenant(TenantId(2)), rate)], S(2)), Ok(()));
        assert!(buckets.len() <= 2, "{}", buckets.len());
    }
}
