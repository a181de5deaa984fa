//! PLAIN: one message with three fields.
//!
//! In:  the decoded message. Out: authorisation identity, user, password; and the way back.
//! Standards: RFC 4616. Deviations: names and passwords are compared as given, SASLprep is the business of whoever stores them.

use zeroize::Zeroizing;

/// Why a message of the client is no message of this mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SaslError {
    /// Fields are missing, superfluous or empty.
    #[error("the message does not have the form of the mechanism")]
    Form,
    /// Not UTF-8.
    #[error("the message is not UTF-8")]
    Utf8,
    /// SCRAM: channel binding is wanted, an extension is mandatory, or the nonce is not ours.
    #[error("the message asks for what is not offered here")]
    NotOffered,
    /// SCRAM: the proof does not fit the stored key.
    #[error("the proof is wrong")]
    Proof,
}

/// What PLAIN says.
#[derive(Debug)]
pub struct PlainMessage {
    /// Empty: the same as `user`.
    pub authzid: String,
    /// Who.
    pub user: String,
    /// Wiped when dropped.
    pub password: Zeroizing<String>,
}

/// `[authzid] NUL authcid NUL passwd`.
///
/// # Errors
/// [`SaslError::Form`] without exactly two NULs, a user and a password; [`SaslError::Utf8`].
pub fn read_plain(message: &[u8]) -> Result<PlainMessage, SaslError> {
    let text = std::str::from_utf8(message).map_err(|_| SaslError::Utf8)?;
    let mut fields = text.split('\0');
    let (Some(authzid), Some(user), Some(password), None) = (fields.next(), fields.next(), fields.next(), fields.next()) else {
        return Err(SaslError::Form);
    };
    // RFC 4616 §2: authcid and passwd have at least one character.
    if user.is_empty() || password.is_empty() {
        return Err(SaslError::Form);
    }
    Ok(PlainMessage {
        authzid: authzid.to_owned(),
        user: user.to_owned(),
        password: Zeroizing::new(password.to_owned()),
    })
}

/// The message of the client, without authorisation identity.
#[must_use]
pub fn write_plain(user: &str, password: &str) -> Zeroizing<Vec<u8>> {
    let mut message = Zeroizing::new(Vec::with_capacity(user.len() + password.len() + 2));
    message.push(0);
    message.extend_from_slice(user.as_bytes());
    message.push(0);
    message.extend_from_slice(password.as_bytes());
    message
}
