//! Rows of the specification, each tried over sockets against the composed server. `covers:` names the row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod first_light;
mod actions;
mod failover;
mod limits;
mod notifications;
mod reference_cases;
mod replies;
mod schedule;
mod server_rows;
mod tracking;
mod transport_security;
mod conventions;
mod tenants;
mod node_file;
mod domains;
mod deletion;
mod ownership;
