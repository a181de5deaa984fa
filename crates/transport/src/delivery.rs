//! To whom, and how? Routes, next hops, connections, the dialogue with a next hop.
//!
//! In: a message and recipients that are due. Out: what each candidate said, per recipient.
//! Standards: RFC 5321 (client side), RFC 3207, RFC 7505; domains-and-routing 4, 7, 11.1.
//! Invariants: one acceptance ends the attempt; no final dot without the lease; no connection that the guard forbids.

pub mod attempt;
pub mod connect;
pub mod content;
pub mod dialogue;
pub mod effect;
pub mod hop;
pub mod mx;
pub mod resolve;
pub mod route;
pub mod wire;
