//! Settings as they are now: loaded from the store, swapped whole, a tenant at a time.
//!
//! In: revisions, claims and states of the store; a look at one counter every second, or at once after an own save.
//! Out: one `Arc<Live>` for whoever asks. Standards: domains-and-routing 12.
//! Invariants: a tenant whose settings cannot be read keeps the last good ones and is told of in the log; others are not touched.

use arc_swap::ArcSwap;
use config::live::{DomainState, LiveDomain, LiveTenant, TenantState};
use config::{Live, SystemDocument, TenantDocument};
use mail::{Domain, TenantId};
use net::clock::Clock;
use net::task::Shutdown;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use store::control::live::{self, Snapshot};
use store::control::{ControlError, domain, revision, tenant};
use store::{Store, StoreError};
use tokio::sync::Mutex;

/// How often the counter is looked at: live on every node in well under 5 seconds.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Tenants loaded at a time at start-up.
const PAGE: usize = 500;
/// How far back a readable revision is looked for when the newest cannot be read.
const EARLIER_REVISIONS: i64 = 20;

/// The settings and what is known of their age.
pub struct Settings {
    store: Store,
    clock: Clock,
    live: Arc<ArcSwap<Live>>,
    /// Generation that `live` shows; held while a newer one is loaded.
    generation: Mutex<i64>,
}

impl Settings {
    /// Loads everything.
    ///
    /// # Errors
    /// Of the store.
    pub async fn load(store: Store, clock: Clock) -> Result<Arc<Self>, StoreError> {
        let (generation, system, tenants) = store.read(everything).await?;
        let mut live = Live {
            loaded_at: Some(clock.now()),
            ..Live::default()
        };
        take_system(&mut live, &system);
        for tenant in tenants {
            take_tenant(&mut live, tenant);
        }
        index(&mut live);
        Ok(Arc::new(Self {
            store,
            clock,
            live: Arc::new(ArcSwap::from_pointee(live)),
            generation: Mutex::new(generation),
        }))
    }

    /// Where the newest settings are found.
    #[must_use]
    pub fn live(&self) -> Arc<ArcSwap<Live>> {
        Arc::clone(&self.live)
    }

    /// Takes over what changed since the last look.
    ///
    /// # Errors
    /// Of the store; the settings stay as they were.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let mut generation = self.generation.lock().await;
        let since = *generation;
        let changes = self.store.read(move |tx| changes(tx, since)).await?;
        if changes.generation == since {
            return Ok(());
        }
        let mut live = Live::clone(&self.live.load());
        live.loaded_at = Some(self.clock.now());
        if let Some(system) = changes.system {
            take_system(&mut live, &system);
        }
        for id in changes.gone {
            live.tenants.remove(&id);
        }
        for tenant in changes.tenants {
            take_tenant(&mut live, tenant);
        }
        index(&mut live);
        self.live.store(Arc::new(live));
        *generation = changes.generation;
        Ok(())
    }

    /// Looks for changes until shutdown. Waits on the clock of the machine: settings of other nodes arrive in real time.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let mut failed = false;
        loop {
            tokio::select! {
                () = shutdown.requested() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            match self.refresh().await {
                Ok(()) => failed = false,
                Err(error) if !failed => {
                    tracing::error!(%error, "settings could not be looked at; the last good ones stay in force");
                    failed = true;
                }
                Err(_) => {}
            }
        }
    }
}

/// A tenant as the store has it.
struct Loaded {
    snapshot: Snapshot,
    /// The newest revision, or when it cannot be read the newest that can.
    settings: Option<(i64, TenantDocument)>,
}

type Everything = (i64, revision::Revision, Vec<Loaded>);

fn everything(tx: &mut dyn store::sql::Tx) -> Result<Everything, StoreError> {
    let generation = live::generation(tx)?;
    let system = revision::newest(tx, TenantId::OPERATOR)?;
    let mut loaded = Vec::new();
    let mut after = None;
    loop {
        let page = tenant::page(tx, after, PAGE).map_err(|e| StoreError::Data(e.to_string()))?;
        let Some(last) = page.last() else {
            return Ok((generation, system, loaded));
        };
        after = Some(last.id);
        for tenant in &page {
            loaded.extend(load(tx, tenant.id)?);
        }
    }
}

struct Changes {
    generation: i64,
    system: Option<revision::Revision>,
    tenants: Vec<Loaded>,
    gone: Vec<TenantId>,
}

fn changes(tx: &mut dyn store::sql::Tx, since: i64) -> Result<Changes, StoreError> {
    let changed = live::changes_since(tx, since)?;
    if changed.tenants.contains(&TenantId::OPERATOR) {
        // What tenants may has changed as well.
        let (generation, system, tenants) = everything(tx)?;
        let is_gone = |id: &TenantId| *id != TenantId::OPERATOR && !tenants.iter().any(|t| t.snapshot.tenant.id == *id);
        let gone = changed.tenants.iter().copied().filter(is_gone).collect();
        return Ok(Changes {
            generation,
            system: Some(system),
            tenants,
            gone,
        });
    }
    let mut changes = Changes {
        generation: changed.generation,
        system: None,
        tenants: Vec::new(),
        gone: Vec::new(),
    };
    for id in changed.tenants {
        match load(tx, id)? {
            Some(loaded) => changes.tenants.push(loaded),
            None => changes.gone.push(id),
        }
    }
    Ok(changes)
}

fn load(tx: &mut dyn store::sql::Tx, id: TenantId) -> Result<Option<Loaded>, StoreError> {
    let Some(snapshot) = live::load(tx, id)? else { return Ok(None) };
    let newest = snapshot.settings.number;
    let mut settings = read(id, newest, &snapshot.settings.document);
    for number in (newest.saturating_sub(EARLIER_REVISIONS)..newest).rev() {
        if settings.is_some() || number < 1 {
            break;
        }
        settings = match revision::get(tx, id, number) {
            Ok(earlier) => read(id, number, &earlier.document),
            Err(ControlError::Store(error)) => return Err(error),
            Err(_) => None,
        };
    }
    Ok(Some(Loaded { snapshot, settings }))
}

fn read(id: TenantId, number: i64, document: &str) -> Option<(i64, TenantDocument)> {
    match serde_json::from_str(document) {
        Ok(document) => Some((number, document)),
        Err(error) => {
            tracing::error!(%error, tenant = id.0, revision = number, "settings of a tenant cannot be read; the last good ones stay in force");
            None
        }
    }
}

fn take_system(live: &mut Live, revision: &revision::Revision) {
    match serde_json::from_str::<SystemDocument>(&revision.document) {
        Ok(document) => (live.system_revision, live.system) = (revision.number, Arc::new(document)),
        Err(error) => {
            tracing::error!(%error, revision = revision.number, "the operator's settings cannot be read; the last good ones stay")
        }
    }
}

fn take_tenant(live: &mut Live, loaded: Loaded) {
    let Loaded { snapshot, settings } = loaded;
    let id = snapshot.tenant.id;
    let mut state = tenant_state(snapshot.tenant.state);
    let last_good = || live.tenants.get(&id).map(|old| (old.revision, old.settings.clone()));
    let (revision, settings) = match settings.or_else(last_good) {
        Some((number, document)) => (number, document.bounded(&live.system)),
        None => {
            // Nothing can be read: mail waits at its senders instead of being refused for good.
            state = TenantState::Suspended;
            (0, TenantDocument::default())
        }
    };
    let domains = snapshot
        .domains
        .iter()
        .map(|claim| {
            let own = settings.domains.get(&claim.name).cloned().unwrap_or_default();
            let state = domain_state(claim.state, own.disabled);
            (
                claim.name.clone(),
                Arc::new(LiveDomain {
                    name: claim.name.clone(),
                    state,
                    settings: own,
                }),
            )
        })
        .collect();
    let made = LiveTenant {
        id,
        name: snapshot.tenant.name,
        state,
        trial_outbound: snapshot.tenant.trial_outbound,
        revision,
        settings,
        domains,
    };
    live.tenants.insert(id, Arc::new(made));
}

fn domain_state(state: domain::DomainState, disabled: bool) -> DomainState {
    match state {
        domain::DomainState::Deleting => DomainState::Deleting,
        domain::DomainState::Unverified => DomainState::Unverified,
        domain::DomainState::Verified | domain::DomainState::Active if disabled => DomainState::Disabled,
        domain::DomainState::Verified => DomainState::Verified,
        domain::DomainState::Active => DomainState::Active,
    }
}

fn tenant_state(state: tenant::TenantState) -> TenantState {
    match state {
        tenant::TenantState::Trial => TenantState::Trial,
        tenant::TenantState::Active => TenantState::Active,
        tenant::TenantState::OutboundSuspended => TenantState::OutboundSuspended,
        tenant::TenantState::Suspended => TenantState::Suspended,
        tenant::TenantState::Closing => TenantState::Closing,
        tenant::TenantState::Deleted => TenantState::Deleted,
    }
}

/// Who answers for a name: whoever proved it; with none, the claimant whose tenant is the oldest (it only defers).
fn index(live: &mut Live) {
    let mut domains: HashMap<Domain, (Arc<LiveTenant>, Arc<LiveDomain>)> = HashMap::new();
    let mut provider_domains: HashMap<Domain, Vec<Arc<LiveTenant>>> = HashMap::new();
    let mut tenants: Vec<&Arc<LiveTenant>> = live.tenants.values().collect();
    tenants.sort_by_key(|t| t.id);
    for tenant in tenants {
        for (name, domain) in &tenant.domains {
            let unproven = |d: &LiveDomain| d.state == DomainState::Unverified;
            if domains.get(name).is_none_or(|(_, other)| unproven(other) && !unproven(domain)) {
                domains.insert(name.clone(), (Arc::clone(tenant), Arc::clone(domain)));
            }
        }
        for name in &tenant.settings.provider_domains {
            provider_domains.entry(name.clone()).or_default().push(Arc::clone(tenant));
        }
    }
    (live.domains, live.provider_domains) = (domains, provider_domains);
}

#[cfg(test)]
mod tests;
