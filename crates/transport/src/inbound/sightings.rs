//! Sightings: which proofs and credentials were seen in use lately? Told to the store by the minute, not by the message.
//!
//! In:  each use. Out: what is new since a minute, written by `housekeeping`.
//! Standards: domains-and-routing 6.1 ("last use shown"), 6.3 (enrolment lists what was found).
//! Invariants: bounded; no secret is kept; what is lost in a crash is a minute's sightings.

use mail::{Domain, TenantId, Timestamp};
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use store::StoreError;
use store::control::proof::{self, ProofSeen};
use store::sql::Tx;

/// How long a sighting stands for all alike.
const STANDS_FOR: Duration = Duration::from_mins(1);
const KNOWN_MAX: usize = 20_000;
const WAITING_MAX: usize = 5_000;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// A relay credential logged in.
    Credential {
        /// Its tenant.
        tenant: TenantId,
        /// Its name.
        name: String,
        /// From where.
        client: IpAddr,
        /// When.
        at: Timestamp,
    },
    /// A proof of tenant, or what may become one.
    Proof {
        /// Whose.
        tenant: TenantId,
        /// What.
        seen: ProofSeen,
    },
}

/// Those not written yet, and which were lately.
#[derive(Debug, Default)]
pub struct Sightings {
    hasher: RandomState,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    known: HashMap<u64, Duration>,
    waiting: Vec<Sighting>,
}

impl Sightings {
    /// A relay credential logged in.
    pub fn credential(&self, tenant: TenantId, name: &str, client: IpAddr, at: Timestamp, now: Duration) {
        let key = self.hasher.hash_one((tenant, name, client));
        self.note(key, now, || Sighting::Credential {
            tenant,
            name: name.to_owned(),
            client,
            at,
        });
    }

    /// A proof of `kind` was seen for mail of `domain`.
    pub fn proof(&self, tenant: TenantId, domain: &Domain, kind: &'static str, detail: &str, at: Timestamp, now: Duration) {
        let key = self.hasher.hash_one((tenant, domain, kind, detail));
        let seen = || ProofSeen {
            domain: domain.clone(),
            kind: kind.to_owned(),
            seen_at: at,
            detail: detail.to_owned(),
        };
        self.note(key, now, || Sighting::Proof { tenant, seen: seen() });
    }

    fn note(&self, key: u64, now: Duration, make: impl FnOnce() -> Sighting) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.get(&key).is_some_and(|at| now.saturating_sub(*at) < STANDS_FOR) || state.waiting.len() >= WAITING_MAX {
            return;
        }
        if state.known.len() >= KNOWN_MAX {
            state.known.retain(|_, at| now.saturating_sub(*at) < STANDS_FOR);
        }
        if state.known.len() < KNOWN_MAX {
            state.known.insert(key, now);
        }
        state.waiting.push(make());
    }

    /// Takes what is to be written.
    #[must_use]
    pub fn take(&self) -> Vec<Sighting> {
        std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }
}

/// Writes sightings.
///
/// # Errors
/// Of the store.
pub fn write(tx: &mut dyn Tx, sightings: &[Sighting]) -> Result<(), StoreError> {
    for sighting in sightings {
        match sighting {
            Sighting::Credential { tenant, name, client, at } => proof::credential_used(tx, *tenant, name, &client.to_string(), *at)?,
            Sighting::Proof { tenant, seen } => proof::proof_seen(tx, *tenant, seen)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_a_minute_for_all_alike() {
        let sightings = Sightings::default();
        let domain = Domain::parse("a.example").unwrap();
        let see =
            |kind: &'static str, seconds: u64| sightings.proof(TenantId(1), &domain, kind, "", Timestamp(0), Duration::from_secs(seconds));
        see("header", 0);
        see("header", 30);
        see("tenant-id", 30);
        assert_eq!(sightings.take().len(), 2);
        see("header", 59);
        assert!(sightings.take().is_empty());
        see("header", 60);
        assert_eq!(sightings.take().len(), 1);
    }

    #[test]
    fn credentials_by_name_and_client() {
        let sightings = Sightings::default();
        let see = |name: &str, client: &str| sightings.credential(TenantId(1), name, client.parse().unwrap(), Timestamp(0), Duration::ZERO);
        see("printer", "192.0.2.1");
        see("printer", "192.0.2.1");
        see("printer", "192.0.2.2");
        see("server", "192.0.2.1");
        assert_eq!(sightings.take().len(), 3);
    }
}
