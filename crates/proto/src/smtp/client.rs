//! SMTP seen from the client: what a delivery needs to speak to a next hop.
//!
//! In:  octets of the server ([`ReplyReader`]), what is to be sent. Out: replies as values, what the server offers ([`Capabilities`]), commands
//!   and stuffed data as octets. The order of the dialogue is the driver's (`transport::delivery`), who may wait.
//! Standards: RFC 5321; RFC 1870, 2034, 2920, 3030, 3207, 3461, 4954, 6152, 6531, 6533. Deviations: none.
//! Invariants: a reply costs bounded memory; no bare CR or LF and no text that could forge a command ever leaves.

mod capability;
mod command;
mod reply;
mod stuffer;

pub use capability::{Capabilities, Lack};
pub use command::{Chunk, auth, auth_cancel, auth_response, bdat, data, ehlo, helo, mail, quit, rcpt, rset, starttls};
pub use reply::{ReplyError, ReplyReader};
pub use stuffer::{BareNewlineFound, Stuffer, end_of_data};

#[cfg(test)]
mod tests;
