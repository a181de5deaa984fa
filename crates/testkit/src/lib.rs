//! Fakes for tests: scripted SMTP peers, a plain SMTP client, a DNS server, a private PostgreSQL, a dialogue player.
//!
//! A dev-dependency only: no product crate depends on it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a fake that cannot start must stop the test"
)]

pub mod client;
pub mod cut;
pub mod dialogue;
pub mod dns;
pub mod peer;
pub mod postgres;
pub mod zone;
