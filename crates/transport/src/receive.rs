//! Receive: from the final dot to the commit. After it, and only then, the client hears 250 and we are responsible.
//!
//! In:  one transaction with its octets. Out: queue ids, or one refusal for all recipients.
//! Standards: RFC 5321 §4.2.5, §6.1; domains-and-routing 6.2, 6.3, 9, 10, 11.4, 13.
//! Invariants: nothing is promised before it is synced; our own faults are 4yz; every recipient has exactly one disposition.
//!
//! The order stands in [`pipeline`] and nowhere else.

pub mod body;
mod commit;
mod decide;
mod dns;
mod pipeline;
mod record;
mod trace;
mod verify;

pub use pipeline::receive;

use crate::inbound::reply::Refusal;
use crate::inbound::transaction::{Connection, Transaction};
use body::Collected;
use mail::{QueueId, Reason, TenantId};
use store::StoreError;

/// A transaction at its final dot.
pub struct Accepted<'a> {
    /// From whom; its reverse DNS is looked up once.
    pub connection: &'a mut Connection,
    /// Envelope, settings, course.
    pub transaction: &'a mut Transaction,
    /// The octets, and what they say.
    pub collected: Collected,
    /// Octets after unstuffing.
    pub size: u64,
}

/// What the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// One per tenant.
    pub queue_ids: Vec<QueueId>,
}

/// One refusal for all recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// Whose trace tells of it.
    pub tenant: Option<TenantId>,
}

impl Refused {
    /// A refusal and who is concerned.
    #[must_use]
    pub fn about(refusal: Refusal, tenant: Option<TenantId>) -> Self {
        Self { refusal, tenant }
    }
}

/// What the client is told of a store that could not: always 4yz.
#[must_use]
pub fn reason_of(error: &StoreError) -> Reason {
    match error {
        StoreError::Full => Reason::StoreFull,
        StoreError::Engine(_)
        | StoreError::Unavailable(_)
        | StoreError::LeaseLost
        | StoreError::Unknown
        | StoreError::Data(_)
        | StoreError::Conflict { .. } => Reason::Internal,
    }
}
