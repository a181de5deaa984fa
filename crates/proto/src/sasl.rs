//! SASL: PLAIN (RFC 4616), LOGIN (draft-murchison-sasl-login), SCRAM-SHA-256 (RFC 5802, RFC 7677, without channel binding), both sides.
//!
//! In:  messages of the peer, base64 already taken away. Out: our next message, or what the peer claims and proves.
//! Invariants: secrets are wiped when dropped and never printed; comparisons of proofs take the same time whatever differs.

mod client;
mod plain;
mod scram;

pub use client::{ClientError, ClientExchange, Credentials};
pub use plain::{PlainMessage, SaslError, read_plain, write_plain};
pub use scram::{ITERATIONS_MAX, ITERATIONS_MIN, ScramKeys, ScramServer, nonce};

/// How a client may prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// RFC 4616.
    Plain,
    /// The obsolete one that Outlook still speaks.
    Login,
    /// RFC 7677.
    ScramSha256,
}

impl Mechanism {
    /// As it stands in EHLO.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Login => "LOGIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// Case does not matter (RFC 4422 §3.1).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Plain, Self::Login, Self::ScramSha256]
            .into_iter()
            .find(|m| m.as_str().eq_ignore_ascii_case(text))
    }
}

#[cfg(test)]
mod tests;
