//! Keys of SCRAM-SHA-256 (RFC 5802 §3, RFC 7677): kept beside the hash of a secret, so that a client need not send it.
//!
//! Form: `iterations:salt:stored:server`, the last three in base64. Whoever steals them can pretend to be the server, not the client.

use crate::{RandomError, mac};
use aws_lc_rs::{digest, pbkdf2};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// RFC 7677 §4 asks for at least 4,096.
const ITERATIONS: NonZeroU32 = match NonZeroU32::new(4_096) {
    Some(rounds) => rounds,
    None => NonZeroU32::MIN,
};
const SALT_BYTES: usize = 16;

/// Keys as they are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredScram {
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// Salt.
    pub salt: Vec<u8>,
    /// `StoredKey`.
    pub stored_key: [u8; 32],
    /// `ServerKey`.
    pub server_key: [u8; 32],
}

impl StoredScram {
    /// Keys of a new secret, with a new salt. Takes some milliseconds: off the network's threads.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn of(secret: &str) -> Result<Self, RandomError> {
        let mut salt = [0; SALT_BYTES];
        crate::fill_random(&mut salt)?;
        Ok(Self::with_salt(secret, &salt, ITERATIONS))
    }

    /// Keys that no secret fits, the same each time for a login: who asks for an unknown one learns nothing.
    #[must_use]
    pub fn decoy(key: &[u8; 32], login: &str) -> Self {
        let part = |label: &str| mac(key, format!("{label} {login}").as_bytes());
        let salt = part("salt").iter().take(SALT_BYTES).copied().collect();
        Self {
            iterations: ITERATIONS.get(),
            salt,
            stored_key: part("stored"),
            server_key: part("server"),
        }
    }

    fn with_salt(secret: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, secret.as_bytes(), salted.as_mut());
        let client_key = Zeroizing::new(mac(salted.as_ref(), b"Client Key"));
        Self {
            iterations: iterations.get(),
            salt: salt.to_vec(),
            stored_key: crate::array(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref()),
            server_key: mac(salted.as_ref(), b"Server Key"),
        }
    }

    /// Reads the stored form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let iterations = parts.next()?.parse().ok()?;
        let salt = STANDARD.decode(parts.next()?).ok()?;
        let mut key = || STANDARD.decode(parts.next()?).ok().and_then(|k| <[u8; 32]>::try_from(k).ok());
        let (stored_key, server_key) = (key()?, key()?);
        parts.next().is_none().then_some(Self {
            iterations,
            salt,
            stored_key,
            server_key,
        })
    }
}

impl std::fmt::Display for StoredScram {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [salt, stored, server] = [self.salt.as_slice(), &self.stored_key, &self.server_key].map(|b| STANDARD.encode(b));
        write!(f, "{}:{salt}:{stored}:{server}", self.iterations)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_rfc_7677() {
        // RFC 7677 §3: user "user", password "pencil". ServerSignature is checked there with
        // AuthMessage; the proof below is the example's.
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let keys = StoredScram::with_salt("pencil", &salt, ITERATIONS);
        let auth_message = "n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                            s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        assert_eq!(
            STANDARD.encode(mac(&keys.server_key, auth_message.as_bytes())),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        let proof = STANDARD.decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=").unwrap();
        let signature = mac(&keys.stored_key, auth_message.as_bytes());
        let client_key: Vec<u8> = proof.iter().zip(signature).map(|(p, s)| p ^ s).collect();
        assert_eq!(digest::digest(&digest::SHA256, &client_key).as_ref(), keys.stored_key);
    }

    #[test]
    fn stored_form_round_trips() {
        let keys = StoredScram::of("secret").unwrap();
        assert_eq!(StoredScram::parse(&keys.to_string()), Some(keys.clone()));
        assert_ne!(StoredScram::of("secret").unwrap(), keys);
        for bad in ["", "4096", "4096:AA==:AA==:AA==", "x:AA==:AA==:AA==", &format!("{keys}:AA==")] {
            assert_eq!(StoredScram::parse(bad), None, "{bad}");
        }
    }
}
