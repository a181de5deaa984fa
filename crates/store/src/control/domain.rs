//! Accepted domains and claims on them: whose is a name, how was it proven, when is it looked at next? (domains-and-routing 2.2–2.5)
//!
//! Invariants: several tenants may claim a name, one can have it proven (a unique index says so, whatever the callers do);
//! a name in its deletion grace is still held. What ends a claim takes the settings of the domain with it.
//! `Disabled` is a setting and not a state here.

mod deletion;

pub use deletion::{begin_deletion, lapse, purge, restore};

use super::{ControlError, domain_of, first, live, page_rows, revision, statement::statements, tenant, time_of, time_opt, word_of, words};
use crate::StoreError;
use crate::sql::{Row, Tx, Value};
use mail::text::Noun;
use mail::{Domain, TenantId, Timestamp};
use std::time::Duration;

statements!(
    "domain.sql": INSERT, GET, LIST, PAGE, CLAIMS, DUE, NEXT_DUE, HOLDER, COUNT, NEW_TOKEN, VERIFY, RIVALS, SET_STATE, CHECKED, TAKE, ASK, NUDGE,
    BEGIN_DELETION, RESTORE, DELETE,
);

/// "Check now" works once in this time.
pub const ASK_EVERY: Duration = Duration::from_secs(10);
/// A RCPT for an unproven claim looks once in this time.
pub const NUDGE_EVERY: Duration = Duration::from_secs(60);
const TOKEN_LETTERS: usize = 32;

words! {
    /// State of a domain, apart from the setting `disabled`.
    DomainState {
        /// Claimed, not proven.
        Unverified = "unverified",
        /// Proven.
        Verified = "verified",
        /// Proven, and the name has an address.
        Active = "active",
        /// Grace before deletion.
        Deleting = "deleting",
    }
}

words! {
    /// How a domain was proven.
    VerifiedBy {
        /// The token stood in a TXT record.
        Txt = "txt",
        /// The best-preference MX was the tenant's own name.
        Mx = "mx",
        /// By hand, with a reason.
        Operator = "operator",
    }
}

/// A claim, or the domain that came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainClaim {
    /// Whose.
    pub tenant: TenantId,
    /// Name.
    pub name: Domain,
    /// State.
    pub state: DomainState,
    /// 32 letters and digits; the TXT record is `mitsuke=<token>`.
    pub token: String,
    /// When the token was made.
    pub token_made_at: Timestamp,
    /// When it was claimed.
    pub claimed_at: Timestamp,
    /// When the claim ends unless it is proven.
    pub lapses_at: Option<Timestamp>,
    /// How it was proven.
    pub verified_by: Option<VerifiedBy>,
    /// The operator's reason.
    pub verified_reason: Option<String>,
    /// When it was proven.
    pub verified_at: Option<Timestamp>,
    /// What a restore leads back to.
    pub resume_state: Option<DomainState>,
    /// End of the grace.
    pub purge_at: Option<Timestamp>,
    /// Last look.
    pub checked_at: Option<Timestamp>,
    /// Last "check now".
    pub asked_at: Option<Timestamp>,
    /// Next look.
    pub due_at: Timestamp,
    /// What the last look found: JSON, made by the engine of claims.
    pub report: String,
}

/// Claims a name. The caller has checked the name itself (`config`), and puts its settings into the tenant's document.
///
/// # Errors
/// [`ControlError::AlreadyManaged`], [`ControlError::Exists`], [`ControlError::LimitReached`], or of the store.
pub fn claim(tx: &mut dyn Tx, tenant: TenantId, name: &Domain, now: Timestamp, lapse: Duration) -> Result<DomainClaim, ControlError> {
    if get(tx, tenant, name)?.is_some() {
        return Err(ControlError::Exists(Noun::Domain));
    }
    if holder(tx, name)?.is_some() {
        return Err(ControlError::AlreadyManaged);
    }
    if let Some(max) = tenant::get(tx, tenant)?.ceilings.domains_max {
        let have = first(tx, COUNT, &[tenant.0.into()])?.map_or(Ok(0), |r| r.int(0))?;
        if have >= max {
            return Err(ControlError::LimitReached {
                what: Noun::Domains,
                limit: max,
            });
        }
    }
    let params = [
        tenant.0.into(),
        name.as_str().into(),
        new_token_text()?.into(),
        now.0.into(),
        now.after(lapse).0.into(),
    ];
    tx.execute(INSERT, &params)?;
    live::bump(tx, tenant)?;
    get(tx, tenant, name)?.ok_or(ControlError::NotFound(Noun::Domain))
}

/// One domain of a tenant.
///
/// # Errors
/// Of the store.
pub fn get(tx: &mut dyn Tx, tenant: TenantId, name: &Domain) -> Result<Option<DomainClaim>, StoreError> {
    first(tx, GET, &[tenant.0.into(), name.as_str().into()])?
        .map(|row| read(&row))
        .transpose()
}

/// All domains of a tenant, by name.
///
/// # Errors
/// Of the store.
pub fn list(tx: &mut dyn Tx, tenant: TenantId) -> Result<Vec<DomainClaim>, StoreError> {
    tx.query(LIST, &[tenant.0.into()])?.iter().map(read).collect()
}

/// A page of the domains of a tenant, by name.
///
/// # Errors
/// Of the store.
pub fn page(tx: &mut dyn Tx, tenant: TenantId, after: Option<&Domain>, limit: usize) -> Result<Vec<DomainClaim>, StoreError> {
    let params = [tenant.0.into(), after.map_or("", Domain::as_str).into(), page_rows(limit).into()];
    tx.query(PAGE, &params)?.iter().map(read).collect()
}

/// Everyone's claims on a name, oldest first. For the engine of claims and the operator; never shown to a tenant.
///
/// # Errors
/// Of the store.
pub fn claims_on(tx: &mut dyn Tx, name: &Domain) -> Result<Vec<DomainClaim>, StoreError> {
    tx.query(CLAIMS, &[name.as_str().into()])?.iter().map(read).collect()
}

/// The tenant that has proven a name.
///
/// # Errors
/// Of the store.
pub fn holder(tx: &mut dyn Tx, name: &Domain) -> Result<Option<TenantId>, StoreError> {
    first(tx, HOLDER, &[name.as_str().into()])?
        .map(|row| super::tenant_of(&row, 0))
        .transpose()
}

/// Domains to look at now, of all tenants, longest due first.
///
/// # Errors
/// Of the store.
pub fn due(tx: &mut dyn Tx, now: Timestamp, limit: usize) -> Result<Vec<DomainClaim>, StoreError> {
    tx.query(DUE, &[now.0.into(), page_rows(limit).into()])?.iter().map(read).collect()
}

/// When the next look is due.
///
/// # Errors
/// Of the store.
pub fn next_due(tx: &mut dyn Tx) -> Result<Option<Timestamp>, StoreError> {
    Ok(first(tx, NEXT_DUE, &[])?.and_then(|row| time_opt(&row, 0)))
}

/// Ends the old token and makes a new one.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn new_token(tx: &mut dyn Tx, tenant: TenantId, name: &Domain, now: Timestamp) -> Result<String, ControlError> {
    let token = new_token_text()?;
    let params = [tenant.0.into(), name.as_str().into(), token.as_str().into(), now.0.into()];
    if tx.execute(NEW_TOKEN, &params)? == 0 {
        return Err(ControlError::NotFound(Noun::Domain));
    }
    live::bump(tx, tenant)?;
    Ok(token)
}

/// Proves a claim: the name is the tenant's. Claims of others end; their tenants come back, so that they can be told.
///
/// # Errors
/// [`ControlError::NotFound`], [`ControlError::AlreadyManaged`], [`ControlError::WrongState`] when it is proven already, or of the store.
pub fn verify(
    tx: &mut dyn Tx,
    tenant: TenantId,
    name: &Domain,
    by: VerifiedBy,
    reason: Option<&str>,
    now: Timestamp,
) -> Result<Vec<TenantId>, ControlError> {
    let claim = get(tx, tenant, name)?.ok_or(ControlError::NotFound(Noun::Domain))?;
    if claim.state != DomainState::Unverified {
        return Err(ControlError::WrongState(claim.state.as_str()));
    }
    if holder(tx, name)?.is_some() {
        return Err(ControlError::AlreadyManaged);
    }
    let params: [Value; 5] = [
        tenant.0.into(),
        name.as_str().into(),
        by.as_str().into(),
        reason.map(str::to_owned).into(),
        now.0.into(),
    ];
    match tx.execute(VERIFY, &params) {
        Ok(_) => {}
        // On PostgreSQL another node may have proven it for someone else since the look above.
        Err(StoreError::Engine(text)) if text.contains("unique") => return Err(ControlError::AlreadyManaged),
        Err(e) => return Err(e.into()),
    }
    live::bump(tx, tenant)?;
    let rivals: Vec<TenantId> = tx
        .query(RIVALS, &[name.as_str().into(), tenant.0.into()])?
        .iter()
        .map(|row| super::tenant_of(row, 0))
        .collect::<Result<_, _>>()?;
    for rival in &rivals {
        end(tx, *rival, name, now)?;
    }
    Ok(rivals)
}

/// Verified to Active and back, as the required checks say.
///
/// # Errors
/// [`ControlError::NotFound`], [`ControlError::WrongState`] for any other step, or of the store.
pub fn set_state(tx: &mut dyn Tx, tenant: TenantId, name: &Domain, state: DomainState) -> Result<(), ControlError> {
    let claim = get(tx, tenant, name)?.ok_or(ControlError::NotFound(Noun::Domain))?;
    match (claim.state, state) {
        (DomainState::Verified, DomainState::Active) | (DomainState::Active, DomainState::Verified) => {
            tx.execute(SET_STATE, &[tenant.0.into(), name.as_str().into(), state.as_str().into()])?;
            Ok(live::bump(tx, tenant)?)
        }
        (from, _) => Err(ControlError::WrongState(from.as_str())),
    }
}

/// Takes a claim for a look: moves its due time, if it is still the one of `claim`. `false`: someone else took it.
///
/// # Errors
/// Of the store.
pub fn take(tx: &mut dyn Tx, claim: &DomainClaim, until: Timestamp) -> Result<bool, StoreError> {
    let params = [
        claim.tenant.0.into(),
        claim.name.as_str().into(),
        until.0.into(),
        claim.due_at.0.into(),
    ];
    Ok(tx.execute(TAKE, &params)? > 0)
}

/// Keeps what a look found, and when the next is due.
///
/// # Errors
/// Of the store.
pub fn checked(tx: &mut dyn Tx, claim: &DomainClaim, report: &str, now: Timestamp, next: Timestamp) -> Result<(), StoreError> {
    let params = [
        claim.tenant.0.into(),
        claim.name.as_str().into(),
        now.0.into(),
        next.0.into(),
        report.into(),
    ];
    tx.execute(CHECKED, &params)?;
    Ok(())
}

/// "Check now": makes the claim due. `false` when it was asked less than [`ASK_EVERY`] ago.
///
/// # Errors
/// [`ControlError::NotFound`], or of the store.
pub fn check_now(tx: &mut dyn Tx, tenant: TenantId, name: &Domain, now: Timestamp) -> Result<bool, ControlError> {
    if get(tx, tenant, name)?.is_none() {
        return Err(ControlError::NotFound(Noun::Domain));
    }
    let params = [tenant.0.into(), name.as_str().into(), now.0.into(), now.before(ASK_EVERY).0.into()];
    Ok(tx.execute(ASK, &params)? > 0)
}

/// A RCPT named an unproven claim: makes everyone's claims on it due, unless they were looked at less than [`NUDGE_EVERY`] ago.
///
/// # Errors
/// Of the store.
pub fn nudge(tx: &mut dyn Tx, name: &Domain, now: Timestamp) -> Result<bool, StoreError> {
    let params = [name.as_str().into(), now.0.into(), now.before(NUDGE_EVERY).0.into()];
    Ok(tx.execute(NUDGE, &params)? > 0)
}

/// Ends a claim and takes the domain's settings out of the document.
fn end(tx: &mut dyn Tx, tenant: TenantId, name: &Domain, now: Timestamp) -> Result<(), StoreError> {
    tx.execute(DELETE, &[tenant.0.into(), name.as_str().into()])?;
    revision::remove_domain(tx, tenant, name, "system", now)?;
    live::bump(tx, tenant)
}

/// 32 letters and digits without bias: bytes beyond the last whole multiple of 62 are thrown away.
fn new_token_text() -> Result<String, StoreError> {
    const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut token = String::with_capacity(TOKEN_LETTERS);
    while token.len() < TOKEN_LETTERS {
        let mut bytes = [0_u8; 64];
        getrandom::fill(&mut bytes).map_err(|e| StoreError::Engine(e.to_string()))?;
        let letters = bytes.iter().filter(|b| **b < 248).filter_map(|b| LETTERS.get(usize::from(b % 62)));
        token.extend(letters.map(|l| char::from(*l)).take(TOKEN_LETTERS - token.len()));
    }
    Ok(token)
}

fn read(row: &Row) -> Result<DomainClaim, StoreError> {
    Ok(DomainClaim {
        tenant: super::tenant_of(row, 0)?,
        name: domain_of(row, 1)?,
        state: word_of(row, 2, DomainState::parse)?,
        token: row.text(3)?.to_owned(),
        token_made_at: time_of(row, 4)?,
        claimed_at: time_of(row, 5)?,
        lapses_at: time_opt(row, 6),
        verified_by: row.text_opt(7).and_then(VerifiedBy::parse),
        verified_reason: row.text_opt(8).map(str::to_owned),
        verified_at: time_opt(row, 9),
        resume_state: row.text_opt(10).and_then(DomainState::parse),
        purge_at: time_opt(row, 11),
        checked_at: time_opt(row, 12),
        asked_at: time_opt(row, 13),
        due_at: time_of(row, 14)?,
        report: row.text(15)?.to_owned(),
    })
}
