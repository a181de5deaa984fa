//! Relay credentials: which server or device logs in at submission, and for whom may it send? (domains-and-routing 6.1)
//!
//! In:  `<name>@<tenant>` and a secret (PLAIN, LOGIN) or the facts of a SCRAM exchange. Out: the credential, or a refusal.
//! Invariants: one answer for every cause, after the same time; never opens anything but submission.

use crate::keys::{Keys, Purpose};
use crate::password::{HashError, Passwords};
use crate::scram::StoredScram;
use crate::throttle::{Throttle, Verdict};
use config::document::RelayCredential;
use config::live::{Live, LiveTenant};
use mail::{TenantId, Timestamp};
use std::net::IpAddr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Logins longer than this are refused before anything else.
const LOGIN_BYTES_MAX: usize = 128;

/// A credential that has logged in.
#[derive(Clone, Debug)]
pub struct RelayLogin {
    /// Whose.
    pub tenant: Arc<LiveTenant>,
    /// The credential, with domains and limits. The revision it was read from is the tenant's.
    pub credential: RelayCredential,
    /// `<name>@<tenant>`, as tracking names it.
    pub login: String,
}

/// Why a log-in was refused. The client hears the same for the first two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoginRefusal {
    /// Unknown, wrong, expired, from elsewhere.
    #[error("log-in failed")]
    Wrong,
    /// Too many failures before.
    #[error("log-in locked until {0:?}")]
    Locked(Timestamp),
    /// Our own fault: come again (454).
    #[error(transparent)]
    Busy(#[from] HashError),
}

/// The door for relay credentials.
#[derive(Debug)]
pub struct RelayDoor {
    passwords: Passwords,
    throttle: Throttle,
    decoy_key: Zeroizing<[u8; 32]>,
}

/// What a SCRAM exchange needs; unknown logins get keys that nothing fits.
#[derive(Debug)]
pub struct ScramQuestion {
    /// Keys to check the client's proof against.
    pub keys: StoredScram,
    found: Option<RelayLogin>,
    login: String,
}

impl RelayDoor {
    /// A door.
    ///
    /// # Errors
    /// [`HashError`].
    pub fn new(keys: &Keys) -> Result<Self, HashError> {
        let decoy_key = keys.derive(TenantId::OPERATOR, Purpose::LoginCache);
        Ok(Self {
            passwords: Passwords::new(keys)?,
            throttle: Throttle::new(),
            decoy_key,
        })
    }

    /// The pool of hashes, for those who make credentials.
    #[must_use]
    pub fn passwords(&self) -> &Passwords {
        &self.passwords
    }

    /// Log-in with a secret (PLAIN, LOGIN).
    ///
    /// # Errors
    /// [`LoginRefusal`].
    pub async fn with_secret(
        &self,
        live: &Live,
        login: &str,
        secret: &str,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<RelayLogin, LoginRefusal> {
        let login = self.open(login, client, now)?;
        let found = find(live, &login);
        let fits = self
            .passwords
            .verify(secret, found.as_ref().map(|f| f.credential.hash.as_str()), now)
            .await?;
        match found.filter(|f| fits && is_usable(f, client, now)) {
            Some(found) => {
                self.throttle.succeeded(client, &login, now);
                Ok(found)
            }
            None => {
                self.throttle.failed(client, &login, secret.as_bytes(), now);
                Err(LoginRefusal::Wrong)
            }
        }
    }

    /// Begins a log-in with SCRAM-SHA-256.
    ///
    /// # Errors
    /// [`LoginRefusal`].
    pub fn begin_scram(&self, live: &Live, login: &str, client: IpAddr, now: Timestamp) -> Result<ScramQuestion, LoginRefusal> {
        let login = self.open(login, client, now)?;
        let found = find(live, &login).filter(|f| is_usable(f, client, now));
        let keys = found
            .as_ref()
            .and_then(|f| f.credential.scram.as_deref())
            .and_then(StoredScram::parse);
        let found = found.filter(|_| keys.is_some());
        Ok(ScramQuestion {
            keys: keys.unwrap_or_else(|| StoredScram::decoy(&self.decoy_key, &login)),
            found,
            login,
        })
    }

    /// Ends it: the client's proof was right, and the log-in known.
    ///
    /// # Errors
    /// [`LoginRefusal`].
    pub fn finish_scram(
        &self,
        question: ScramQuestion,
        proof: ScramProof<'_>,
        client: IpAddr,
        now: Timestamp,
    ) -> Result<RelayLogin, LoginRefusal> {
        match (proof, question.found) {
            (ScramProof::Right, Some(found)) => {
                self.throttle.succeeded(client, &question.login, now);
                Ok(found)
            }
            (ScramProof::Right, None) => Err(LoginRefusal::Wrong),
            (ScramProof::Wrong(bytes), _) => {
                self.throttle.failed(client, &question.login, bytes, now);
                Err(LoginRefusal::Wrong)
            }
        }
    }

    fn open(&self, login: &str, client: IpAddr, now: Timestamp) -> Result<String, LoginRefusal> {
        if login.len() > LOGIN_BYTES_MAX {
            return Err(LoginRefusal::Wrong);
        }
        let login = login.to_ascii_lowercase();
        match self.throttle.check(client, &login, now) {
            Verdict::Allowed => Ok(login),
            Verdict::RefusedUntil(until) => Err(LoginRefusal::Locked(until)),
        }
    }
}

/// What the SCRAM exchange found.
#[derive(Clone, Copy, Debug)]
pub enum ScramProof<'a> {
    /// The proof fits.
    Right,
    /// It does not; its bytes, for counting.
    Wrong(&'a [u8]),
}

fn find(live: &Live, login: &str) -> Option<RelayLogin> {
    let (name, tenant) = login.rsplit_once('@')?;
    let tenant = live.tenants.values().find(|t| t.name == tenant)?;
    let credential = tenant.settings.relay_credentials.iter().find(|c| c.name == name)?;
    Some(RelayLogin {
        tenant: Arc::clone(tenant),
        credential: credential.clone(),
        login: login.to_owned(),
    })
}

fn is_usable(login: &RelayLogin, client: IpAddr, now: Timestamp) -> bool {
    let credential = &login.credential;
    let client = client.to_canonical();
    credential.expires_at.is_none_or(|at| at > now)
        && (credential.networks.is_empty() || credential.networks.iter().any(|n| n.contains(&client)))
}

#[cfg(test)]
mod tests;
