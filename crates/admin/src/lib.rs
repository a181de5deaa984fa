//! Steers: the REST API for console, scripts and command line, and the public pages.
//!
//! Every request has a [`caller::Caller`] (who), asks `identity::may` (whether), works through `store::control`, `transport::actions` or
//! the settings documents (what), and leaves an audit entry in the same transaction.
//! Invariants: another tenant's object is answered like one that does not exist; no secret is ever given back; every list is paged.

pub mod caller;
pub mod document;
pub mod page;
pub mod problem;
pub mod public;
pub mod resource;
pub mod server;

pub use problem::Problem;
pub use server::Admin;
