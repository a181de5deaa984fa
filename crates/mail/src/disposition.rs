//! What becomes of a message, per recipient.

use serde::{Deserialize, Serialize};

/// Which way a message goes, decided once (domains-and-routing 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From outside to an accepted domain.
    Inbound,
    /// From a source of a tenant to anywhere.
    Outbound,
    /// Made here: DSN, notice.
    Internal,
}

/// Fate of one recipient's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disposition {
    /// To a mailbox here.
    Deliver,
    /// To another server.
    Relay,
    /// In the spool, not scheduled until released.
    Hold,
    /// Out of the flow, kept for judgement.
    Quarantine,
    /// 5yz in the session.
    Reject,
    /// 4yz in the session.
    Defer,
    /// Accepted, not delivered, no notice; always tracked.
    Discard,
}
