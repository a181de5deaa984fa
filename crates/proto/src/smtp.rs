//! SMTP (RFC 5321): the server's session machine, and what a client needs to speak to a next hop.

pub mod client;
pub mod limits;
pub mod server;
pub mod xtext;
