//! Set-up windows (how many messages may still pass unproven?) and unproven mail (is it time to alert?).

use mail::{TenantId, Timestamp};
use policy::admission::SETUP_MESSAGES_MAX;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const TENANTS_MAX: usize = 10_000;
const UNPROVEN_MAX: u32 = 10;
const UNPROVEN_WINDOW: Duration = Duration::from_mins(10);

/// Both, per tenant.
#[derive(Debug, Default)]
pub struct Proofs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Messages passed, by tenant and end of the window.
    passed: HashMap<TenantId, (Timestamp, u32)>,
    unproven: HashMap<TenantId, (Duration, u32)>,
}

impl Proofs {
    /// Messages that may still pass in the window that ends at `until`.
    #[must_use]
    pub fn setup_left(&self, tenant: TenantId, until: Option<Timestamp>, now: Timestamp) -> u32 {
        let Some(until) = until.filter(|u| *u > now) else { return 0 };
        let state = self.lock();
        let passed = state.passed.get(&tenant).filter(|(of, _)| *of == until).map_or(0, |(_, n)| *n);
        SETUP_MESSAGES_MAX.saturating_sub(passed)
    }

    /// One message passed by the window.
    pub fn setup_passed(&self, tenant: TenantId, until: Timestamp, now: Timestamp) {
        let mut state = self.lock();
        if state.passed.len() >= TENANTS_MAX {
            state.passed.retain(|_, (of, _)| *of > now);
        }
        let entry = state.passed.entry(tenant).or_insert((until, 0));
        if entry.0 != until {
            *entry = (until, 0);
        }
        entry.1 = entry.1.saturating_add(1);
    }

    /// The installation's count says that the window is used up; other nodes took from it as well.
    pub fn setup_used_up(&self, tenant: TenantId, until: Timestamp) {
        self.lock().passed.insert(tenant, (until, SETUP_MESSAGES_MAX));
    }

    /// One unproven message. True once per ten minutes, when there were ten of them: time to alert.
    #[must_use]
    pub fn unproven(&self, tenant: TenantId, now: Duration) -> bool {
        let mut state = self.lock();
        if state.unproven.len() >= TENANTS_MAX {
            state.unproven.retain(|_, (since, _)| now.saturating_sub(*since) < UNPROVEN_WINDOW);
        }
        let entry = state.unproven.entry(tenant).or_insert((now, 0));
        if now.saturating_sub(entry.0) >= UNPROVEN_WINDOW {
            *entry = (now, 0);
        }
        entry.1 = entry.1.saturating_add(1);
        entry.1 == UNPROVEN_MAX
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twenty_messages_a_window() {
        let proofs = Proofs::default();
        let tenant = TenantId(1);
        let (now, until) = (Timestamp(1_000), Timestamp(10_000));
        assert_eq!(proofs.setup_left(tenant, None, now), 0);
        for n in 0..20 {
            assert_eq!(proofs.setup_left(tenant, Some(until), now), 20 - n);
            proofs.setup_passed(tenant, until, now);
        }
        assert_eq!(proofs.setup_left(tenant, Some(until), now), 0);
        assert_eq!(proofs.setup_left(TenantId(2), Some(until), now), 20);
        assert_eq!(proofs.setup_left(tenant, Some(Timestamp(20_000)), now), 20);
        assert_eq!(proofs.setup_left(tenant, Some(until), until), 0);
        proofs.setup_used_up(TenantId(2), until);
        assert_eq!(proofs.setup_left(TenantId(2), Some(until), now), 0);
    }

    #[test]
    fn the_tenth_unproven_message_alerts_once() {
        let proofs = Proofs::default();
        let alerts: Vec<u64> = (1..=25).filter(|n| proofs.unproven(TenantId(1), Duration::from_secs(*n))).collect();
        assert_eq!(alerts, [10]);
        let later: Vec<u64> = (1..=12)
            .filter(|n| proofs.unproven(TenantId(1), Duration::from_secs(700 + n)))
            .collect();
        assert_eq!(later, [10]);
    }
}
