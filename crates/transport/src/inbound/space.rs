//! Free space: is there room for another message?
//!
//! Asked of the system at most every 200 ms; in between the last answer holds.

use config::SystemDocument;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use store::MailStore;

const ASK_INTERVAL: Duration = Duration::from_millis(200);
/// Domains-and-routing 9: 10 % or 5 GB, whichever is smaller.
const KEPT_BYTES_MAX: u64 = 5 * 1024 * 1024 * 1024;

/// The last answer.
#[derive(Debug, Default)]
pub struct Space(Mutex<Option<(Duration, u64, u64)>>);

impl Space {
    /// Whether a message of `size` octets leaves enough free.
    #[must_use]
    pub fn has_room(&self, store: &dyn MailStore, system: &SystemDocument, size: u64, now: Duration) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = last.filter(|(at, _, _)| now.saturating_sub(*at) < ASK_INTERVAL);
        let (free, total) = match fresh {
            Some((_, free, total)) => (free, total),
            None => match store.free_space() {
                Ok((free, total)) => {
                    *last = Some((now, free, total));
                    (free, total)
                }
                // A system that cannot say is not full; the commit will tell.
                Err(error) => {
                    tracing::warn!(%error, "free space cannot be learned");
                    return true;
                }
            },
        };
        free.saturating_sub(size) >= kept(system.free_spool_bytes, total)
    }
}

fn kept(set: Option<u64>, total: u64) -> u64 {
    set.unwrap_or_else(|| (total / 10).min(KEPT_BYTES_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_free() {
        const GB: u64 = 1024 * 1024 * 1024;
        let check = |set, total, expect| assert_eq!(kept(set, total), expect, "{set:?} {total}");
        check(None, 10 * GB, GB);
        check(None, 50 * GB, 5 * GB);
        check(None, 1_000 * GB, 5 * GB);
        check(Some(1), 1_000 * GB, 1);
        check(Some(0), 1_000 * GB, 0);
    }
}
