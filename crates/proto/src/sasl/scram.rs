//! SCRAM-SHA-256: the client proves that it knows the password, without either side telling it.
//!
//! In:  client-first and client-final of the client; the stored keys of the user; a nonce. Out: server-first, server-final; who has proven what.
//! Standards: RFC 5802, RFC 7677. -PLUS is not offered, so a client that says `p=` is refused and one that says `y` is right.
//! Deviations: SASLprep is not applied; names and passwords outside ASCII are taken as the UTF-8 they are (mechanism clients send them prepared).
//! Invariants: the proof is compared in constant time; iterations of stored keys are within [`ITERATIONS_MIN`] and [`ITERATIONS_MAX`].

use super::SaslError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// RFC 7677 §4 asks for at least this many.
pub const ITERATIONS_MIN: u32 = 4096;
/// More would let a hostile server keep a client busy.
pub const ITERATIONS_MAX: u32 = 1_000_000;

/// What is stored of a password (RFC 5802 §3); it proves the client and us, but does not log in anywhere.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// Random, per password.
    pub salt: Vec<u8>,
    /// Rounds of PBKDF2.
    pub iterations: u32,
    /// `H(ClientKey)`.
    pub stored_key: [u8; 32],
    /// Proves us to the client.
    pub server_key: [u8; 32],
}

impl std::fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramKeys")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

impl ScramKeys {
    /// From the password; costs `iterations` rounds, so not on a thread that serves others.
    #[must_use]
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let salted = salted_password(password, salt, iterations);
        let client_key = Zeroizing::new(hmac(&*salted, &[b"Client Key"]));
        Self {
            salt: salt.to_vec(),
            iterations,
            stored_key: Sha256::digest(*client_key).into(),
            server_key: hmac(&*salted, &[b"Server Key"]),
        }
    }

    /// For a user who does not exist: the same salt each time, keys that fit no password.
    #[must_use]
    pub fn decoy(user: &str, secret: &[u8], iterations: u32) -> Self {
        let part = |name: &[u8]| hmac(secret, &[name, b"\0", user.as_bytes()]);
        let salt = part(b"salt").get(..16).unwrap_or_default().to_vec();
        Self {
            salt,
            iterations,
            stored_key: part(b"stored"),
            server_key: part(b"server"),
        }
    }
}

/// 18 random octets in base64: printable, without comma.
///
/// # Errors
/// When the system has no randomness to give.
pub fn nonce() -> Result<String, getrandom::Error> {
    let mut octets = [0; 18];
    getrandom::fill(&mut octets)?;
    Ok(STANDARD.encode(octets))
}

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes a key of any length (RFC 2104 §2), so the error arm is never reached; it yields a value that no proof fits.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

/// `Hi()` of RFC 5802 §2.2: PBKDF2 with one block.
pub(super) fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Zeroizing<[u8; 32]> {
    let mut last = hmac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()]);
    let mut sum = Zeroizing::new(last);
    for _ in 1..iterations {
        last = hmac(password.as_bytes(), &[&last]);
        for (s, l) in sum.iter_mut().zip(last) {
            *s ^= l;
        }
    }
    sum
}

pub(super) fn xor(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    let mut out = *a;
    for (o, x) in out.iter_mut().zip(b) {
        *o ^= x;
    }
    out
}

/// The server's half of one exchange, from client-first on.
#[derive(Debug)]
pub struct ScramServer {
    authzid: String,
    user: String,
    gs2_header: String,
    client_first_bare: String,
    client_nonce: String,
    challenge: Option<Challenge>,
}

#[derive(Debug)]
struct Challenge {
    keys: ScramKeys,
    full_nonce: String,
    server_first: String,
}

impl ScramServer {
    /// Reads client-first.
    ///
    /// # Errors
    /// [`SaslError`] when it is none, or asks for channel binding.
    pub fn read_first(message: &[u8]) -> Result<Self, SaslError> {
        let text = std::str::from_utf8(message).map_err(|_| SaslError::Utf8)?;
        let mut parts = text.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(SaslError::Form);
        };
        // RFC 5802 §7: `n` no binding, `y` the client could but we do not offer it, `p=` it insists.
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(SaslError::NotOffered),
            _ => return Err(SaslError::Form),
        }
        let authzid = match authzid.strip_prefix("a=") {
            Some(name) => read_name(name)?,
            None if authzid.is_empty() => String::new(),
            None => return Err(SaslError::Form),
        };
        let mut fields = bare.split(',');
        let first = fields.next().ok_or(SaslError::Form)?;
        // RFC 5802 §5.1: `m=` is an extension that we must not ignore.
        if first.starts_with("m=") {
            return Err(SaslError::NotOffered);
        }
        let user = read_name(first.strip_prefix("n=").ok_or(SaslError::Form)?)?;
        let client_nonce = fields
            .next()
            .and_then(|f| f.strip_prefix("r="))
            .filter(|n| is_nonce(n))
            .ok_or(SaslError::Form)?;
        if user.is_empty() {
            return Err(SaslError::Form);
        }
        let header_bytes = text.len() - bare.len();
        let gs2_header = text.get(..header_bytes).unwrap_or_default().to_owned();
        Ok(Self {
            authzid,
            user,
            gs2_header,
            client_nonce: client_nonce.to_owned(),
            client_first_bare: bare.to_owned(),
            challenge: None,
        })
    }

    /// Who wants to log in.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.user
    }

    /// For whom the client wants to act; empty: itself.
    #[must_use]
    pub fn authzid(&self) -> &str {
        &self.authzid
    }

    /// server-first.
    pub fn challenge(&mut self, keys: ScramKeys, nonce: &str) -> String {
        let full_nonce = format!("{}{nonce}", self.client_nonce);
        let server_first = format!("r={full_nonce},s={},i={}", STANDARD.encode(&keys.salt), keys.iterations);
        self.challenge = Some(Challenge {
            keys,
            full_nonce,
            server_first: server_first.clone(),
        });
        server_first
    }

    /// Reads client-final; gives server-final when the proof fits.
    ///
    /// # Errors
    /// [`SaslError::Proof`] when the password was another.
    pub fn read_final(&self, message: &[u8]) -> Result<String, SaslError> {
        let challenge = self.challenge.as_ref().ok_or(SaslError::Form)?;
        let text = std::str::from_utf8(message).map_err(|_| SaslError::Utf8)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(SaslError::Form)?;
        let mut fields = without_proof.split(',');
        let binding = fields.next().and_then(|f| f.strip_prefix("c=")).ok_or(SaslError::Form)?;
        let nonce = fields.next().and_then(|f| f.strip_prefix("r=")).ok_or(SaslError::Form)?;
        if STANDARD.decode(binding).map_err(|_| SaslError::Form)? != self.gs2_header.as_bytes() || nonce != challenge.full_nonce {
            return Err(SaslError::NotOffered);
        }
        let proof: [u8; 32] = STANDARD.decode(proof).ok().and_then(|p| p.try_into().ok()).ok_or(SaslError::Form)?;
        let auth_message: [&[u8]; 5] = [
            self.client_first_bare.as_bytes(),
            b",",
            challenge.server_first.as_bytes(),
            b",",
            without_proof.as_bytes(),
        ];
        let client_signature = hmac(&challenge.keys.stored_key, &auth_message);
        let client_key = Zeroizing::new(xor(&proof, &client_signature));
        let stored: [u8; 32] = Sha256::digest(*client_key).into();
        if !bool::from(stored.ct_eq(&challenge.keys.stored_key)) {
            return Err(SaslError::Proof);
        }
        Ok(format!("v={}", STANDARD.encode(hmac(&challenge.keys.server_key, &auth_message))))
    }
}

/// RFC 5802 §5.1: `=2C` is a comma, `=3D` an equals sign, any other `=` an error.
fn read_name(text: &str) -> Result<String, SaslError> {
    let mut out = String::with_capacity(text.len());
    let mut pieces = text.split('=');
    out.push_str(pieces.next().unwrap_or_default());
    for piece in pieces {
        if let Some(rest) = piece.strip_prefix("2C") {
            out.push(',');
            out.push_str(rest);
        } else if let Some(rest) = piece.strip_prefix("3D") {
            out.push('=');
            out.push_str(rest);
        } else {
            return Err(SaslError::Form);
        }
    }
    Ok(out)
}

pub(super) fn write_name(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}
