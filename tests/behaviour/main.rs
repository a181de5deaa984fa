//! Rows of the specification, each tried over sockets against the composed server. `covers:` names the row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod first_light;
mod conventions;
mod tenants;
mod node_file;
mod domains;
mod deletion;
mod ownership;
mod sending;
mod proof;
mod recipients;
mod senders;
mod api;
