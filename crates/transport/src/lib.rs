//! Moves the mail: takes it in, promises it, routes it, hands it on, reports.
//!
//! The way of a message in files: [`inbound`] (a session) → [`receive`] (pipeline and commit; after it we are responsible) →
//! [`queue`] (when) → delivery (to whom) → outcome (what became of it).
//! Nothing calls backwards. Every room works with one [`Desk`].

pub mod actions;
pub mod claims;
pub mod delivery;
pub mod desk;
pub mod inbound;
pub mod limits;
pub mod outcome;
pub mod queue;
pub mod ranges;
pub mod receive;
pub mod report;
pub mod settings;
pub mod submit;

pub use desk::Desk;
