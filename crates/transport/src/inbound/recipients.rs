//! Recipients: does this address exist? (domains-and-routing 8, modes `none` and `directory`)
//!
//! In:  an accepted domain, a local part. Out: whether it exists, in words for tracking.
//! Invariants: a look-up that fails is no answer; what was found is remembered for a few seconds, what was missing never, so that a new
//!   entry counts at once; `postmaster` and `abuse` always exist (RFC 5321 §4.5.1, RFC 2142).

use crate::Desk;
use config::document::{RecipientMode, SubaddressSeparator};
use config::{LiveDomain, LiveTenant};
use mail::{Address, TenantId};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use store::StoreError;
use store::control::recipient::{self, Found};

/// `harvest.session`.
pub(super) const HARVEST_SESSION: u32 = 10;
/// `harvest.ip`.
pub(super) const HARVEST_IP: u32 = 50;
/// A removed entry may be accepted so long; within the five seconds of domains-and-routing 12.
const REMEMBERED_FOR: Duration = Duration::from_secs(3);
const REMEMBERED_MAX: usize = 50_000;
const DAY_S: u64 = 86_400;

/// Whether a recipient exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Existence {
    /// Yes.
    Exists(String),
    /// `postmaster` or `abuse` without a list entry: goes to the tenant's mail-flow contacts.
    Contacts(String),
    /// No.
    Unknown(String),
}

/// Recipients found lately, by tenant, revision and address.
#[derive(Debug, Default)]
pub struct RecipientCache(Mutex<HashMap<(TenantId, i64, String), Duration>>);

impl RecipientCache {
    fn knows(&self, key: &(TenantId, i64, String), now: Duration) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .is_some_and(|until| *until > now)
    }

    fn remember(&self, key: (TenantId, i64, String), now: Duration) {
        let mut found = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if found.len() >= REMEMBERED_MAX {
            found.retain(|_, until| *until > now);
        }
        if found.len() < REMEMBERED_MAX {
            found.insert(key, now.saturating_add(REMEMBERED_FOR));
        }
    }
}

/// Looks an address of an accepted domain up.
pub(crate) async fn existence(desk: &Desk, tenant: &LiveTenant, domain: &LiveDomain, address: &Address) -> Result<Existence, StoreError> {
    match domain.settings.recipient_mode {
        RecipientMode::None => return Ok(Existence::Exists("none".into())),
        // Callout and hybrid are refused at saving; a list that was asked for is the closest to what was meant.
        RecipientMode::Directory | RecipientMode::Callout | RecipientMode::Hybrid => {}
    }
    let local = address.local_without_subaddress(domain.settings.subaddress.map(SubaddressSeparator::as_char));
    let key = (tenant.id, tenant.revision, format!("{local}@{}", domain.name));
    let monotonic = desk.clock.monotonic();
    if desk.inbound.recipients.knows(&key, monotonic) {
        return Ok(Existence::Exists("directory, listed, cached".into()));
    }
    let (owner, name, now) = (tenant.id, domain.name.clone(), desk.now());
    let grace = Duration::from_secs(u64::from(domain.settings.directory_grace_days) * DAY_S);
    let wanted = local.clone();
    let answer = desk
        .store
        .read(move |tx| recipient::exists(tx, owner, &name, &wanted, grace, now))
        .await?;
    let age = answer
        .list_age
        .map_or_else(String::new, |age| format!(", list {} s old", age.as_secs()));
    Ok(match answer.found {
        Found::Listed => {
            desk.inbound.recipients.remember(key, monotonic);
            Existence::Exists(format!("directory, listed{age}"))
        }
        Found::InGrace => Existence::Exists(format!("directory, in grace{age}")),
        // The source was never available and there is no last good list: a failed check is no negative answer.
        Found::NoList => Existence::Exists("directory, no list".into()),
        Found::Missing if is_always_there(&local) => Existence::Contacts(format!("directory, {local} by rule{age}")),
        Found::Missing => Existence::Unknown(format!("directory, not listed{age}")),
    })
}

fn is_always_there(local: &str) -> bool {
    matches!(local, "postmaster" | "abuse")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_found_is_remembered_for_seconds_and_per_revision() {
        let cache = RecipientCache::default();
        let key = |tenant, revision| (TenantId(tenant), revision, "ann@example.com".to_owned());
        let s = Duration::from_secs;
        cache.remember(key(1, 1), s(10));
        assert!(cache.knows(&key(1, 1), s(12)));
        assert!(!cache.knows(&key(1, 1), s(13)));
        assert!(!cache.knows(&key(1, 2), s(11)));
        assert!(!cache.knows(&key(2, 1), s(11)));
    }

    #[test]
    fn names_that_always_exist() {
        assert!(is_always_there("postmaster") && is_always_there("abuse"));
        assert!(!is_always_there("root") && !is_always_there("abuse2"));
    }
}
