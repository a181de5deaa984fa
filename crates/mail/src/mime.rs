//! MIME: what is in this message, read once while it streams past?
//!
//! In: raw octets in any split. Out: [`Facts`]: what tracking and admission ask, and where watched fields stand.
//! Standards: RFC 5322 §2.1, RFC 2045, RFC 2046 §5.1 (multipart) and §5.2 (message), RFC 2183, RFC 6532.
//! Invariants: never panics; the same facts for every split; memory bounded by [`Limits`] whatever the size of the message;
//! the message is not changed and not kept, save its header section.

pub mod decode;
mod facts;
mod leaf;
pub mod magic;
mod scanner;
pub mod url;

pub use facts::{Attachment, Facts, Limits, Problem, Watched};
pub use scanner::Scanner;

#[cfg(test)]
mod tests;
