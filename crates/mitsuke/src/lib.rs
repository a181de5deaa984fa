//! Starts: composes the rooms into one process, and is the command line.
//!
//! [`compose`] is where every long-lived task is born; [`cli`] is what a user types.

pub mod cli;
pub mod client;
pub mod compose;
pub mod demo;
pub mod housekeeping;
pub mod say;
pub mod sink;
