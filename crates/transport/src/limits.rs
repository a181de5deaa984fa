//! Limits that need a memory: how much has this client, sender, recipient, tenant had lately?
//!
//! In:  who, how much is allowed, the monotonic time as an argument. Out: yes, or which limit is over.
//! Standards: domains-and-routing 8 (harvest), 9 (connections, rates), 6.3 (set-up window).
//! Invariants: every table is bounded and forgets what has lapsed first; keys of tenants' things hold the tenant; no clock is read here.
//! Each node counts for itself.

mod buckets;
mod connections;
mod effective;
mod harvest;
mod proofs;

pub use buckets::{Bucket, Buckets};
pub use connections::{Connections, OverConnections, Seat};
pub use effective::{Scopes, system};
pub use harvest::HarvestTable;
pub use proofs::Proofs;

use std::sync::Arc;

/// All of them, of this node.
#[derive(Debug, Default)]
pub struct Rates {
    /// Open connections.
    pub connections: Arc<Connections>,
    /// Token buckets.
    pub buckets: Buckets,
    /// Unknown recipients per client address.
    pub harvest: HarvestTable,
    /// Set-up windows and unproven mail.
    pub proofs: Proofs,
}
