//! The client's half of SASL, for next hops that want a login.
//!
//! In:  mechanism, credentials, a nonce; each challenge of the server, base64 taken away. Out: each response.
//! Standards: RFC 4616, RFC 5802, RFC 7677. Deviations: none.
//! Invariants: success of SCRAM is believed only after the server has proven that it knows the keys ([`ClientExchange::is_complete`]).

use super::scram::{ITERATIONS_MAX, ITERATIONS_MIN, hmac, salted_password, write_name, xor};
use super::{Mechanism, write_plain};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// User name and secret.
#[derive(Clone)]
pub struct Credentials {
    /// Who.
    pub user: String,
    /// Wiped when dropped.
    pub password: Zeroizing<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Why the exchange can't go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The challenge is none of this mechanism.
    #[error("the server's challenge does not have the form of the mechanism")]
    Challenge,
    /// Nothing more was to come.
    #[error("the server asks for more than the mechanism has")]
    Unexpected,
    /// Outside 4096 to 1,000,000.
    #[error("the server wants an iteration count out of bounds")]
    Iterations,
    /// The nonce does not begin with ours, or the signature is wrong: someone else answers.
    #[error("the server did not prove that it knows the password")]
    ServerProof,
}

/// One exchange.
#[derive(Debug)]
pub struct ClientExchange {
    mechanism: Mechanism,
    credentials: Credentials,
    state: State,
}

#[derive(Debug)]
enum State {
    Start,
    LoginPassword,
    ScramFirst { nonce: String },
    ScramFinal { server_signature: [u8; 32] },
    Complete,
    Failed,
}

impl ClientExchange {
    /// `nonce` from [`super::nonce`]; only SCRAM uses it.
    #[must_use]
    pub fn new(mechanism: Mechanism, credentials: Credentials, nonce: String) -> Self {
        let state = match mechanism {
            Mechanism::ScramSha256 => State::ScramFirst { nonce },
            Mechanism::Plain | Mechanism::Login => State::Start,
        };
        Self {
            mechanism,
            credentials,
            state,
        }
    }

    /// Sent along with the AUTH command (RFC 4954 §4); LOGIN has none.
    pub fn initial_response(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        match (self.mechanism, &self.state) {
            (Mechanism::Plain, _) => {
                self.state = State::Complete;
                Some(write_plain(&self.credentials.user, &self.credentials.password))
            }
            (Mechanism::ScramSha256, State::ScramFirst { nonce }) => {
                Some(Zeroizing::new(format!("n,,{}", self.client_first_bare(nonce)).into_bytes()))
            }
            _ => None,
        }
    }

    fn client_first_bare(&self, nonce: &str) -> String {
        format!("n={},r={nonce}", write_name(&self.credentials.user))
    }

    /// Answers a 334 challenge.
    ///
    /// # Errors
    /// [`ClientError`]; the caller cancels with `*`, and nothing is believed any more.
    pub fn respond(&mut self, challenge: &[u8]) -> Result<Zeroizing<Vec<u8>>, ClientError> {
        let (response, next) = match (std::mem::replace(&mut self.state, State::Failed), self.mechanism) {
            (State::Start, Mechanism::Plain) => (write_plain(&self.credentials.user, &self.credentials.password), State::Complete),
            // The prompts are only prompts: servers differ in their text.
            (State::Start, _) => (Zeroizing::new(self.credentials.user.clone().into_bytes()), State::LoginPassword),
            (State::LoginPassword, _) => (Zeroizing::new(self.credentials.password.as_bytes().to_vec()), State::Complete),
            (State::ScramFirst { nonce }, _) => self.scram_final(&nonce, challenge)?,
            (State::ScramFinal { server_signature }, _) => {
                check_server_final(challenge, &server_signature)?;
                (Zeroizing::new(Vec::new()), State::Complete)
            }
            (State::Complete | State::Failed, _) => return Err(ClientError::Unexpected),
        };
        self.state = next;
        Ok(response)
    }

    /// Whether a 235 may be believed now.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        matches!(self.state, State::Complete)
    }

    fn scram_final(&self, nonce: &str, challenge: &[u8]) -> Result<(Zeroizing<Vec<u8>>, State), ClientError> {
        let text = std::str::from_utf8(challenge).map_err(|_| ClientError::Challenge)?;
        let mut fields = text.split(',');
        let mut field = |name: &str| fields.next().and_then(|f| f.strip_prefix(name)).ok_or(ClientError::Challenge);
        let (full_nonce, salt, iterations) = (field("r=")?, field("s=")?, field("i=")?);
        if !full_nonce.starts_with(nonce) || full_nonce.len() == nonce.len() {
            return Err(ClientError::ServerProof);
        }
        let salt = STANDARD.decode(salt).map_err(|_| ClientError::Challenge)?;
        let iterations = iterations.parse().map_err(|_| ClientError::Challenge)?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(ClientError::Iterations);
        }
        let salted = salted_password(&self.credentials.password, &salt, iterations);
        let client_key = Zeroizing::new(hmac(&*salted, &[b"Client Key"]));
        let stored_key: [u8; 32] = Sha256::digest(*client_key).into();
        // RFC 5802 §7: `biws` is base64 of the header `n,,`.
        let without_proof = format!("c=biws,r={full_nonce}");
        let first = self.client_first_bare(nonce);
        let auth_message: [&[u8]; 5] = [first.as_bytes(), b",", text.as_bytes(), b",", without_proof.as_bytes()];
        let proof = xor(&client_key, &hmac(&stored_key, &auth_message));
        let server_signature = hmac(&hmac(&*salted, &[b"Server Key"]), &auth_message);
        let response = format!("{without_proof},p={}", STANDARD.encode(proof));
        Ok((Zeroizing::new(response.into_bytes()), State::ScramFinal { server_signature }))
    }
}

fn check_server_final(challenge: &[u8], expected: &[u8; 32]) -> Result<(), ClientError> {
    let text = std::str::from_utf8(challenge).map_err(|_| ClientError::Challenge)?;
    let value = text
        .split(',')
        .next()
        .and_then(|f| f.strip_prefix("v="))
        .ok_or(ClientError::ServerProof)?;
    let signature = STANDARD.decode(value).map_err(|_| ClientError::Challenge)?;
    if bool::from(signature.as_slice().ct_eq(expected)) {
        Ok(())
    } else {
        Err(ClientError::ServerProof)
    }
}
