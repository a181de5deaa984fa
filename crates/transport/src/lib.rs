//! Moves the mail: takes it in, promises it, routes it, hands it on, reports.
//!
//! The way of a message in files: [`inbound`] (a session) → [`receive`] (pipeline and commit; after it we are responsible) →
//! [`queue`] (when) → delivery (to whom) → outcome (what became of it).
//! Nothing calls backwards. Every room works with one [`Desk`].

pub mod desk;
pub mod inbound;
pub mod limits;
pub mod queue;
pub mod receive;

pub use desk::Desk;
