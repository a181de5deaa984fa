//! Limits that need a memory: connections, rates, harvest.

/// All of them, of this node.
#[derive(Debug, Default)]
pub struct Rates;
