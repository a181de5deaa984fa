//! `queue.*` (domains-and-routing 11.1).

use serde::{Deserialize, Serialize};

/// Queue settings of one scope; absent: as the scope above says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueSettings {
    /// Waits in seconds, in order; the last repeats. S from 1 s, D first wait 300 s or more.
    pub schedule_s: Option<Vec<u64>>,
    /// Seconds; 10 d. 1 h–14 d; S from 1 s.
    pub lifetime_inbound_s: Option<u64>,
    /// Seconds; 1 d.
    pub lifetime_outbound_s: Option<u64>,
    /// Seconds, null reverse path; 1 d.
    pub lifetime_null_s: Option<u64>,
    /// Delay warning for inbound mail, seconds after acceptance; 0: off (default).
    pub delay_warning_inbound_s: Option<u64>,
    /// Delay warning for outbound mail; 4 h; 0: off.
    pub delay_warning_outbound_s: Option<u64>,
    /// S: seconds; 30.
    pub connect_timeout_s: Option<u64>,
    /// S: seconds; 60.
    pub greeting_timeout_s: Option<u64>,
    /// S, T: connections to one next hop, 1–100; 20.
    pub next_hop_concurrency: Option<u32>,
    /// How long a hold lasts before it ends in a bounce, seconds; 14 d.
    pub hold_s: Option<u64>,
}
