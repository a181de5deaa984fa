//! Boot time: a clock that goes on while the process or the machine is stopped.
#![expect(unsafe_code, reason = "CLOCK_BOOTTIME has no safe face in std; proof beside the call")]

use std::time::Duration;

/// Time since the machine started, sleep included.
pub(super) fn now() -> Duration {
    let mut moment = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `moment` is valid for writes of its type; the clock id is one that Linux has had since 2.6.39.
    let code = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut moment) };
    debug_assert_eq!(code, 0);
    Duration::new(
        u64::try_from(moment.tv_sec).unwrap_or(0),
        u32::try_from(moment.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_counts_up() {
        let first = super::now();
        assert!(first > std::time::Duration::ZERO);
        assert!(super::now() >= first);
    }
}
