//! Keys of the API: `mtk_` and 256 random bits. Only the SHA-256 is stored; finding it there is the proof.

use crate::RandomError;
use crate::actor::{Actor, LoginMethod, Role, Standing};
use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mail::{Domain, TenantId, Timestamp};
use std::net::IpAddr;
use std::time::Duration;
use store::control::audit::Channel;
use store::control::tenant::{self, TenantState};
use store::control::{ControlError, api_key};
use store::sql::Tx;
use store::{Store, StoreError};
use zeroize::Zeroizing;

const HEADING: &str = "mtk_";
/// `last_used_at` is kept to the minute, so that reading costs no write each time.
const USED_EVERY: Duration = Duration::from_secs(60);

/// The secret of a key. Wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiSecret(Zeroizing<[u8; 32]>);

impl std::fmt::Debug for ApiSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiSecret(..)")
    }
}

impl ApiSecret {
    /// A new one.
    ///
    /// # Errors
    /// [`RandomError`].
    pub fn random() -> Result<Self, RandomError> {
        let mut bytes = Zeroizing::new([0; 32]);
        crate::fill_random(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// As its owner keeps it; shown once.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        Zeroizing::new(format!("{HEADING}{}", URL_SAFE_NO_PAD.encode(self.0.as_ref())))
    }

    /// Reads what a client sent.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(HEADING).filter(|d| d.len() == 43)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(digits).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// What is stored.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        crate::array(digest::digest(&digest::SHA256, self.0.as_ref()).as_ref())
    }
}

/// A key to make.
#[derive(Clone, Debug)]
pub struct NewKey<'a> {
    /// Whose.
    pub tenant: TenantId,
    /// Name for people.
    pub name: &'a str,
    /// Role.
    pub role: Role,
    /// Target; `None`: the whole tenant.
    pub domains: Option<Vec<Domain>>,
    /// By whom.
    pub created_by: &'a str,
    /// Not after.
    pub expires_at: Option<Timestamp>,
}

/// Makes a key; the caller has asked [`crate::may::may_grant`].
///
/// # Errors
/// Of the store.
pub fn create(tx: &mut dyn Tx, secret: &ApiSecret, new: NewKey<'_>, now: Timestamp) -> Result<api_key::ApiKey, ControlError> {
    let stored = api_key::NewApiKey {
        tenant: new.tenant,
        name: new.name.to_owned(),
        hash: secret.hash(),
        role: new.role.as_str().to_owned(),
        domains: new.domains,
        created_by: new.created_by.to_owned(),
        expires_at: new.expires_at,
    };
    api_key::create(tx, stored, now)
}

/// Who stands behind a key; `None` for every reason why it is not good.
///
/// # Errors
/// Of the store.
pub async fn authenticate(
    store: &Store,
    text: &str,
    client: Option<IpAddr>,
    channel: Channel,
    now: Timestamp,
) -> Result<Option<Actor>, StoreError> {
    let Some(secret) = ApiSecret::parse(text) else { return Ok(None) };
    let hash = secret.hash();
    let Some((key, standing)) = store.read(move |tx| look_up(tx, &hash, now)).await? else {
        return Ok(None);
    };
    let Some(role) = Role::parse(&key.role) else { return Ok(None) };
    if key.last_used_at.is_none_or(|at| at.after(USED_EVERY) <= now) {
        let id = key.id.clone();
        store.write(move |tx| api_key::used(tx, &id, now)).await?;
    }
    Ok(Some(Actor {
        name: key.name,
        tenant: (key.tenant != TenantId::OPERATOR).then_some(key.tenant),
        role,
        domains: key.domains,
        standing,
        login: LoginMethod::ApiKey,
        channel,
        client,
    }))
}

fn look_up(tx: &mut dyn Tx, hash: &[u8; 32], now: Timestamp) -> Result<Option<(api_key::ApiKey, Standing)>, StoreError> {
    let Some(key) = api_key::by_hash(tx, hash)?.filter(|k| k.expires_at.is_none_or(|at| at > now)) else {
        return Ok(None);
    };
    if key.tenant == TenantId::OPERATOR {
        return Ok(Some((key, Standing::Full)));
    }
    let standing = match tenant::get(tx, key.tenant) {
        Ok(tenant) => match tenant.state {
            TenantState::Trial | TenantState::Active | TenantState::OutboundSuspended => Standing::Full,
            TenantState::Suspended | TenantState::Closing => Standing::ReadOnly,
            TenantState::Deleted => return Ok(None),
        },
        Err(ControlError::Store(e)) => return Err(e),
        Err(_) => return Ok(None),
    };
    Ok(Some((key, standing)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_round_trip() {
        let secret = ApiSecret::random().unwrap();
        assert_eq!(ApiSecret::parse(&secret.text()), Some(secret.clone()));
        assert_ne!(secret.hash(), *secret.0);
        assert_eq!(format!("{secret:?}"), "ApiSecret(..)");
        for bad in [
            "",
            "mtk_",
            "mtk_short",
            &secret.text()[1..],
            &format!("{}A", secret.text().as_str()),
            &format!("mtk_{}", "%".repeat(43)),
        ] {
            assert_eq!(ApiSecret::parse(bad), None, "{bad}");
        }
    }
}
