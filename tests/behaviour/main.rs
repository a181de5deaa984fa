//! Rows of the specification, each tried over sockets against the composed server. `covers:` names the row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod api;
mod conventions;
mod deletion;
mod domains;
mod first_light;
mod node_file;
mod ownership;
mod proof;
mod recipients;
mod senders;
mod sending;
mod tenants;
