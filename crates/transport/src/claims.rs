//! Claims: whose is a domain, does it still have an address, when does a claim or a grace end?
//!
//! In:  claims that are due in the store, what authoritative servers say now. Out: proven domains, ended claims, purged domains; audit.
//! Standards: domains-and-routing 2.2–2.5.
//! Invariants: a DNS failure changes nothing; a step is written in one transaction with its audit entry, and only if the claim is still
//! what was looked at; of several nodes one looks at a claim (it takes it by moving its due time).
//!
//! `look` asks DNS; `judge` (pure) says what follows; this file does it.

pub mod judge;
pub mod look;
mod traces;

use crate::Desk;
use crate::settings::Settings;
use judge::{Step, judge};
use look::Report;
use mail::{Domain, TenantId, Timestamp};
use net::resolver::Resolver;
use std::sync::Arc;
use std::time::Duration;
use store::control::audit::{self, AuditEntry, Change};
use store::control::domain::{self, DomainClaim, DomainState};
use store::control::tenant::{self, TenantState};
use store::control::{ControlError, live};
use store::{Store, StoreError};
use tokio::task::JoinSet;

/// Claims looked at together.
const AT_ONCE: usize = 8;
/// Claims taken from the store at a time.
const BATCH: usize = 64;
/// Longest sleep: a claim made on another node is looked at no later.
const SLEEP_MAX: Duration = Duration::from_secs(5);
/// Who took a claim and died leaves it to others after this.
const TAKEN_FOR: Duration = Duration::from_secs(120);

/// The engine of claims.
pub struct Claims {
    settings: Arc<Settings>,
}

impl Claims {
    /// An engine that makes what it did live through `settings`.
    #[must_use]
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings }
    }

    /// Looks at what is due, until shutdown.
    pub async fn run(self: Arc<Self>, desk: Arc<Desk>) {
        loop {
            let wait = match self.round(&desk).await {
                Ok(next) => next
                    .map_or(SLEEP_MAX, |at| at.since(desk.now()))
                    .clamp(Duration::from_millis(100), SLEEP_MAX),
                Err(error) => {
                    tracing::warn!(%error, "claims could not be looked at");
                    SLEEP_MAX
                }
            };
            tokio::select! {
                () = desk.shutdown.requested() => return,
                () = desk.clock.sleep(wait) => {}
            }
        }
    }

    /// Looks at everything that is due now; when the next is due.
    ///
    /// # Errors
    /// Of the store.
    pub async fn round(&self, desk: &Arc<Desk>) -> Result<Option<Timestamp>, StoreError> {
        self.end_closed_tenants(desk).await?;
        loop {
            let now = desk.now();
            let due = desk.store.read(move |tx| domain::due(tx, now, BATCH)).await?;
            if due.is_empty() {
                return desk.store.read(domain::next_due).await;
            }
            let outcome = look_at_all(desk, due).await;
            self.settings.refresh().await?;
            if outcome.is_err() || desk.shutdown.is_requested() {
                return outcome.map(|()| None);
            }
        }
    }

    /// "Check now". `false`: it was asked for less than 10 seconds ago.
    ///
    /// # Errors
    /// [`ControlError::NotFound`], or of the store.
    pub async fn check_now(&self, desk: &Desk, tenant: TenantId, name: &Domain) -> Result<bool, ControlError> {
        let (now, key) = (desk.now(), name.clone());
        // Asked for and taken in one step: the engine's own round would take it otherwise, and the answer would tell what was known before.
        let taken = desk
            .store
            .write(move |tx| {
                if !domain::check_now(tx, tenant, &key, now)? {
                    return Ok(None);
                }
                let Some(claim) = domain::get(tx, tenant, &key)? else {
                    return Ok(None);
                };
                let is_taken = domain::take(tx, &claim, now.after(TAKEN_FOR))?;
                Ok::<_, ControlError>(is_taken.then_some(claim))
            })
            .await?;
        let Some(claim) = taken else { return Ok(false) };
        look_closely(&Eyes::of(desk), claim).await?;
        self.settings.refresh().await?;
        Ok(true)
    }

    async fn end_closed_tenants(&self, desk: &Desk) -> Result<(), StoreError> {
        let now = desk.now();
        let closed = desk
            .store
            .read(move |tx| tenant::closed_by(tx, now, BATCH).map_err(as_store))
            .await?;
        for id in closed {
            desk.store.write(move |tx| end_tenant(tx, id, now).map_err(as_store)).await?;
        }
        Ok(())
    }
}

/// A RCPT named an unproven claim: it is looked at soon, at most once a minute. Costs one read otherwise.
///
/// # Errors
/// Of the store.
pub async fn nudge(store: &Store, name: &Domain, now: Timestamp) -> Result<(), StoreError> {
    let key = name.clone();
    let claims = store.read(move |tx| domain::claims_on(tx, &key)).await?;
    let is_stale = |c: &DomainClaim| {
        c.state == DomainState::Unverified && c.due_at > now && c.checked_at.is_none_or(|at| at.after(domain::NUDGE_EVERY) <= now)
    };
    if claims.iter().any(is_stale) {
        let key = name.clone();
        store.write(move |tx| domain::nudge(tx, &key, now)).await?;
    }
    Ok(())
}

/// Looks at claims, some at a time.
async fn look_at_all(desk: &Arc<Desk>, due: Vec<DomainClaim>) -> Result<(), StoreError> {
    let mut looks = JoinSet::new();
    let mut outcome = Ok(());
    for claim in due {
        if looks.len() >= AT_ONCE
            && let Some(Ok(Err(error))) = looks.join_next().await
        {
            outcome = Err(error);
        }
        let desk = Arc::clone(desk);
        looks.spawn(async move { look_at(&Eyes::of(&desk), claim).await });
    }
    while let Some(look) = looks.join_next().await {
        if let Ok(Err(error)) = look {
            outcome = Err(error);
        }
    }
    outcome
}

/// What a look needs.
struct Eyes<'a> {
    store: &'a Store,
    resolver: &'a Resolver,
    base: &'a Domain,
    now: Timestamp,
}

impl<'a> Eyes<'a> {
    fn of(desk: &'a Desk) -> Self {
        Self {
            store: &desk.store,
            resolver: &desk.resolver,
            base: &desk.node.base,
            now: desk.now(),
        }
    }
}

/// Takes a claim, asks DNS, does what follows.
async fn look_at(eyes: &Eyes<'_>, claim: DomainClaim) -> Result<(), StoreError> {
    let (now, taken) = (eyes.now, claim.clone());
    if !eyes.store.write(move |tx| domain::take(tx, &taken, now.after(TAKEN_FOR))).await? {
        return Ok(());
    }
    look_closely(eyes, claim).await
}

/// Asks DNS about a claim that was taken, does what follows.
async fn look_closely(eyes: &Eyes<'_>, claim: DomainClaim) -> Result<(), StoreError> {
    let (now, id) = (eyes.now, claim.tenant);
    let tenant = eyes.store.read(move |tx| tenant::get(tx, id).map_err(as_store)).await?;
    let before = Report::parse(&claim.report);
    let report = match look::wanted(&claim, before.as_ref(), now) {
        None => None,
        Some(wanted) => Some(look::look(eyes.resolver, &claim, &tenant.name, eyes.base, wanted, before.as_ref(), now).await),
    };
    let judgement = judge(&claim, before.as_ref(), report.as_ref(), now);
    if judgement.steps.contains(&Step::Purge) {
        // Before the domain itself: what breaks off here is begun again at the next look.
        traces::forget(eyes.store, id, &claim.name).await?;
    }
    let report = report.or(before).map_or_else(|| "{}".to_owned(), |r| r.to_json());
    eyes.store
        .write(move |tx| {
            for step in judgement.steps {
                match take_step(tx, &claim, step, now) {
                    // Someone proved, restored or deleted it in the meantime: the next look sees what it is now.
                    Ok(()) | Err(ControlError::NotFound(_) | ControlError::WrongState(_) | ControlError::AlreadyManaged) => {}
                    Err(error) => return Err(as_store(error)),
                }
            }
            domain::checked(tx, &claim, &report, now, judgement.next)
        })
        .await
}

fn take_step(tx: &mut dyn store::sql::Tx, claim: &DomainClaim, step: Step, now: Timestamp) -> Result<(), ControlError> {
    let (tenant, name) = (claim.tenant, &claim.name);
    let mut told = entry(claim, step.action(), now);
    match step {
        Step::Verify(by) => {
            let rivals = domain::verify(tx, tenant, name, by, None, now)?;
            told.changes = vec![
                state(claim.state, DomainState::Verified),
                Change::new("verified_by", None, Some(by.as_str().into())),
            ];
            for rival in rivals {
                let mut ended = entry(claim, "domain.claim-ended", now);
                (ended.tenant, ended.reason) = (rival, "the name was proven by someone else".into());
                audit::append(tx, &ended)?;
            }
        }
        Step::Activate => {
            domain::set_state(tx, tenant, name, DomainState::Active)?;
            told.changes = vec![state(DomainState::Verified, DomainState::Active)];
        }
        Step::Deactivate => {
            domain::set_state(tx, tenant, name, DomainState::Verified)?;
            told.changes = vec![state(DomainState::Active, DomainState::Verified)];
            told.reason = "domain-no-address".into();
        }
        Step::Lapse => {
            if !domain::lapse(tx, tenant, name, now)? {
                return Ok(());
            }
        }
        Step::Purge => {
            let is_over = |c: DomainClaim| c.state == DomainState::Deleting && c.purge_at.is_some_and(|end| end <= now);
            if !domain::get(tx, tenant, name)?.is_some_and(is_over) {
                return Ok(());
            }
            domain::purge(tx, tenant, name, now)?;
        }
        Step::WarnOfLapse | Step::AlertProofLost => {}
        Step::AlertNameServers { before, after } => {
            told.changes = vec![Change::new("name_servers", Some(before.join(" ")), Some(after.join(" ")))];
        }
    }
    audit::append(tx, &told)?;
    Ok(())
}

fn entry(claim: &DomainClaim, action: &str, now: Timestamp) -> AuditEntry {
    AuditEntry {
        domain: Some(claim.name.clone()),
        ..AuditEntry::system(claim.tenant, now, action, "domain", claim.name.as_str())
    }
}

fn state(old: DomainState, new: DomainState) -> Change {
    Change::new("state", Some(old.as_str().into()), Some(new.as_str().into()))
}

/// The grace of a closing tenant is over: its domains go, the tenant is gone.
fn end_tenant(tx: &mut dyn store::sql::Tx, id: TenantId, now: Timestamp) -> Result<(), ControlError> {
    for claim in domain::list(tx, id)? {
        domain::purge(tx, id, &claim.name, now)?;
    }
    tenant::set_state(tx, id, TenantState::Deleted, "end of the grace", None)?;
    audit::append(
        tx,
        &AuditEntry::system(TenantId::OPERATOR, now, "tenant.deleted", "tenant", &id.0.to_string()),
    )?;
    Ok(live::bump(tx, id)?)
}

fn as_store(error: ControlError) -> StoreError {
    match error {
        ControlError::Store(e) => e,
        other => StoreError::Data(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
