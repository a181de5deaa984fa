//! Index: how are a few traces found among millions, by any field of a `tracking::Query`? Derived, rebuildable, the same for both engines.
//!
//! A trace is reduced to *terms*: 40-bit hashes of (field, folded value). Traces not yet written are searched in memory ([`live`]); written
//! ones stand in immutable [`segment`]s, each with a sorted list of terms and, for each term, the traces that have it. Segments are
//! merged eight by eight ([`merge`]). A search ([`search`]) turns the query into terms ([`plan`]), meets the lists newest trace first,
//! reads the records of each candidate and checks them exactly ([`matches`]): a hash that collides, a state that has changed since
//! or a tenant that is not in scope never reaches a reader.
//!
//! Layout: docs/format/tracking.md. This module opens no file: the engines give it rows through [`Segments`] and [`Records`].

pub mod fold;
pub mod live;
pub mod matches;
pub mod merge;
pub mod plan;
pub mod posting;
pub mod search;
pub mod segment;
pub mod term;

use crate::StoreError;
use crate::tracking::Record;
use mail::QueueId;

/// A segment as the engine lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRow {
    /// Its number; counts up.
    pub segment: i64,
    /// How many merges it has behind it.
    pub level: i64,
    /// Traces in it.
    pub traces: u64,
    /// Its oldest trace.
    pub trace_min: QueueId,
    /// Its newest trace.
    pub trace_max: QueueId,
}

/// Written segments, as one snapshot.
pub trait Segments {
    /// All of them.
    ///
    /// # Errors
    /// Of the engine.
    fn list(&mut self) -> Result<Vec<SegmentRow>, StoreError>;
    /// The head of one.
    ///
    /// # Errors
    /// Of the engine; [`StoreError::Data`] when there is none.
    fn head(&mut self, segment: i64) -> Result<std::sync::Arc<segment::Head>, StoreError>;
    /// A block of one, by [`segment::block_id`].
    ///
    /// # Errors
    /// Of the engine; [`StoreError::Data`] when there is none.
    fn block(&mut self, id: i64) -> Result<Vec<u8>, StoreError>;
}

/// The truth behind the index.
pub trait Records {
    /// All records of a trace, in order, with their numbers.
    ///
    /// # Errors
    /// Of the engine.
    fn records(&mut self, trace: QueueId) -> Result<Vec<(i64, Record)>, StoreError>;
}

#[cfg(test)]
mod tests;
