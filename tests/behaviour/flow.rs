//! Rows of the specification about mail on its way: routing, transport security, limits, replies, queue, tracking.
//! A binary of its own beside `main.rs`, so that neither takes long to build.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

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
