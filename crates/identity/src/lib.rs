//! Proves who someone is, and says who may.
//!
//! * [`keys`]: the installation key and what is derived from it: sealed secrets, signed cursors, stamps.
//! * [`api_key`]: keys of the API. [`relay`]: log-in of servers and devices at submission.
//! * [`password`], [`scram`]: hashes of secrets. [`throttle`]: lock-out.
//! * [`may`]: the only place that says who may do what.
//!
//! Absent on purpose: log-in of people (sessions, second factors, OIDC); it comes with the console.

pub mod actor;
pub mod api_key;
pub mod keys;
pub mod may;
pub mod password;
pub mod relay;
pub mod scram;
pub mod throttle;

pub use actor::{Actor, LoginMethod, Role};
pub use keys::Keys;
pub use may::{Capability, Consent, Detail, Permission, Target, may};

use aws_lc_rs::hmac;

/// HMAC-SHA-256.
fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    array(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref())
}

/// The first 32 octets; shorter input is followed by zeros (a SHA-256 never is).
fn array(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    out
}

/// Whether both are the same, in a time that does not tell where they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

/// Fills from the system's random source.
///
/// # Errors
/// When there is none.
fn fill_random(out: &mut [u8]) -> Result<(), RandomError> {
    getrandom::fill(out).map_err(|_| RandomError)
}

/// The system gave no random bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct RandomError;
