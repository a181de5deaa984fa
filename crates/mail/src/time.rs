//! A point in time, as the product stores it: UTC milliseconds since 1970.
//!
//! Pure crates take the time as an argument; `net::clock` is where it comes from.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// UTC milliseconds since 1970-01-01. Shown with a zone name, stored without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The same moment `wait` later; saturates at the end of time.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The same moment `wait` earlier; saturates.
    #[must_use]
    pub fn before(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)))
    }

    /// How long ago `earlier` was, zero when it lies ahead (clocks step).
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Days since 1970-01-01 (UTC): names the tracking table of a message.
    #[must_use]
    pub fn day(self) -> i32 {
        i32::try_from(self.0.div_euclid(86_400_000)).unwrap_or(i32::MAX)
    }

    /// `2026-11-24T05:46:04.123Z`, as the API and the tables print it.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map_or_else(|_| self.0.to_string(), |t| t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string())
    }

    /// `Tue, 24 Nov 2026 05:46:04 +0000` (RFC 5322 §3.3).
    #[must_use]
    pub fn to_rfc5322(self) -> String {
        jiff::Timestamp::from_millisecond(self.0).map_or_else(
            |_| String::from("Thu, 01 Jan 1970 00:00:00 +0000"),
            |t| t.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string(),
        )
    }
}
