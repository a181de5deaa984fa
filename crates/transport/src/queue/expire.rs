//! Who gives up, and who is warned? What is due for an entry before it is tried.
//!
//! In: an entry and the time. Out: try it, give it up, end its hold, or leave it.
//! Standards: RFC 5321 §4.5.4.1 (give-up time), RFC 3463 §3.5 (X.4.7: delivery time expired).
//! Invariants: an entry at its end is tried once more before it is given up, unless it cannot be tried; the warning is given once.

use mail::{Reason, Timestamp};
use std::time::Duration;
use store::spool::{Entry, EntryState};

/// How long after the end of life the last attempt may still be made, when it could not be made in time.
const LAST_ATTEMPT_GRACE: Duration = Duration::from_secs(3_600);

/// What is to be done with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Try it.
    Attempt,
    /// Its lifetime is over.
    Expire,
    /// Its hold is over: it bounces.
    HoldEnded,
    /// Its time lies ahead.
    NotYet,
}

/// Whether attempts can be made at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// As usual.
    Open,
    /// Paused, or its next hop has no place for it: lifetimes go on all the same.
    Blocked,
}

/// What is to be done with `entry` now.
#[must_use]
pub fn judge(entry: &Entry, now: Timestamp, way: Way) -> Due {
    let is_over = entry.expires_at <= now;
    match (entry.state, way) {
        (EntryState::Held, _) if entry.due <= now => Due::HoldEnded,
        (EntryState::Held, _) => Due::NotYet,
        (EntryState::Queued, _) if entry.due > now => Due::NotYet,
        // What a person wants back at its sender is not tried again.
        (EntryState::Queued, _) if is_over && entry.reason == Some(Reason::Admin) => Due::Expire,
        (EntryState::Queued, Way::Blocked) if is_over => Due::Expire,
        (EntryState::Queued, Way::Blocked) => Due::NotYet,
        (EntryState::Queued, Way::Open) if is_over && entry.attempts > 0 && now.since(entry.expires_at) >= LAST_ATTEMPT_GRACE => {
            Due::Expire
        }
        (EntryState::Queued, Way::Open) => Due::Attempt,
    }
}

/// Whether a failed attempt at `now` was the last.
#[must_use]
pub fn is_last(entry: &Entry, now: Timestamp) -> bool {
    entry.expires_at <= now
}

/// Whether the sender is to be warned of the delay now.
#[must_use]
pub fn is_warning_due(entry: &Entry, now: Timestamp) -> bool {
    entry.delay_notice_at.is_some_and(|at| at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail::{Address, LaneId, Notify, QueueId, TenantId};

    fn entry(state: EntryState, due: i64, expires_at: i64, attempts: u32) -> Entry {
        Entry {
            queue_id: QueueId::from_i64(1),
            number: 0,
            tenant: TenantId(1),
            lane: LaneId(1),
            recipient: Address::parse("a@b.example").unwrap(),
            orcpt: None,
            notify: Notify::Default,
            variant: 0,
            state,
            due: Timestamp(due),
            expires_at: Timestamp(expires_at),
            delay_notice_at: None,
            attempts,
            reason: None,
            last_reply: None,
            forced_next_hop: None,
        }
    }

    #[test]
    fn what_is_due() {
        let hour = 3_600_000;
        let check = |e: Entry, way, expect| assert_eq!(judge(&e, Timestamp(1_000), way), expect, "{e:?}");
        check(entry(EntryState::Queued, 1_001, 9_000, 1), Way::Open, Due::NotYet);
        check(entry(EntryState::Queued, 1_000, 9_000, 1), Way::Open, Due::Attempt);
        check(entry(EntryState::Queued, 1_000, 1_000, 5), Way::Open, Due::Attempt);
        check(entry(EntryState::Queued, 1_000, 1_000 - hour, 5), Way::Open, Due::Expire);
        check(entry(EntryState::Queued, 1_000, 1_000 - hour, 0), Way::Open, Due::Attempt);
        check(entry(EntryState::Queued, 1_000, 1_000, 0), Way::Blocked, Due::Expire);
        check(entry(EntryState::Queued, 1_000, 9_000, 0), Way::Blocked, Due::NotYet);
        check(entry(EntryState::Held, 1_000, 9_000, 0), Way::Open, Due::HoldEnded);
        check(entry(EntryState::Held, 1_001, 500, 0), Way::Blocked, Due::NotYet);
    }
}
