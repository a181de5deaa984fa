//! Real peers and real messages: what others made and wrote crosses this server unharmed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, reason = "tests")]

mod corpus;
mod exchange;
mod product;
