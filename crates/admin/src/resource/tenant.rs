//! Tenants: the operator makes them, opens and closes them (domains-and-routing 1.1).

use crate::caller::Caller;
use crate::page::{Page, Paging, page};
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use identity::{Capability, Permission};
use mail::text::Text;
use mail::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use store::control::ControlError;
use store::control::audit::{self, Change};
use store::control::tenant::{self, Ceilings, NewTenant, Tenant, TenantChange, TenantState};
use utoipa::ToSchema;

/// A tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TenantView {
    /// Access name, fixed.
    pub name: String,
    /// Name for people.
    pub title: String,
    /// `trial active outbound-suspended suspended closing deleted`.
    pub state: String,
    /// Why, as the operator wrote it.
    pub state_reason: String,
    /// The operator opened outbound mail of a trial.
    pub trial_outbound: bool,
    /// Domains and claims at most; absent: unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domains_max: Option<i64>,
    /// Addresses in recipient lists at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub addresses_max: Option<i64>,
    /// Octets at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_max: Option<i64>,
    /// When it was made.
    pub created_at: String,
    /// End of the grace of state closing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub closes_at: Option<String>,
    /// MX target of the tenant's domains.
    pub mx: String,
    /// Smarthost for the tenant's servers.
    pub smarthost: String,
}

/// What a tenant is made of.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantNew {
    /// 2–32 of `a-z0-9-`, first a letter; fixed.
    pub name: String,
    /// Name for people.
    #[serde(default)]
    pub title: String,
    /// `trial` or `active` (default).
    pub state: Option<String>,
    /// See above.
    pub domains_max: Option<i64>,
    /// See above.
    pub addresses_max: Option<i64>,
    /// See above.
    pub storage_max: Option<i64>,
}

/// What may be changed; absent fields stay.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TenantPatch {
    /// Name for people.
    pub title: Option<String>,
    /// New state; `closing` begins the grace.
    pub state: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Opens outbound mail of a trial.
    pub trial_outbound: Option<bool>,
    /// Ceiling; 0: none may be added.
    pub domains_max: Option<i64>,
    /// Ceiling.
    pub addresses_max: Option<i64>,
    /// Ceiling.
    pub storage_max: Option<i64>,
    /// Days of grace for `closing`, 0–90; default 30.
    pub grace_days: Option<u64>,
}

fn view(admin: &Admin, t: &Tenant) -> TenantView {
    let base = &admin.desk.node.base;
    TenantView {
        mx: format!("{}.in.{base}", t.name),
        smarthost: format!("{}.out.{base}", t.name),
        name: t.name.clone(),
        title: t.title.clone(),
        state: t.state.as_str().into(),
        state_reason: t.state_reason.clone(),
        trial_outbound: t.trial_outbound,
        domains_max: t.ceilings.domains_max,
        addresses_max: t.ceilings.addresses_max,
        storage_max: t.ceilings.storage_max,
        created_at: t.created_at.to_rfc3339(),
        closes_at: t.closes_at.map(Timestamp::to_rfc3339),
    }
}

/// Nothing that a tenant keeps is counted before mailboxes and archive exist: a figure would be ignored.
fn no_storage_yet(storage_max: Option<i64>) -> Result<(), Problem> {
    match storage_max {
        None => Ok(()),
        Some(_) => Err(Problem::checked(vec![config::Problem::new(
            "storage_max",
            config::ProblemKind::NotAvailable,
            Text::new("check.not-available").with("what", Text::new("check.feature.storage")),
        )])),
    }
}

/// Every tenant (operator), or one's own.
#[utoipa::path(get, path = "/tenants", params(Paging), responses((status = 200, body = Page<TenantView>), (status = "default", body = Problem)), tag = "tenants")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<TenantView>>, Problem> {
    if let Some(own) = caller.own_tenant() {
        let own = admin.desk.store.read(move |tx| tenant::get(tx, own)).await?;
        return Ok(Json(Page {
            items: vec![view(&admin, &own)],
            next: None,
        }));
    }
    caller.need(Capability::Tenants, Permission::Read, None)?;
    let limit = paging.limit();
    let after = paging
        .position(&admin.desk.keys, "tenants")?
        .and_then(|p| p.parse().ok())
        .map(TenantId);
    let rows = admin.desk.store.read(move |tx| tenant::page(tx, after, limit + 1)).await?;
    let rows = page(rows, limit, &admin.desk.keys, "tenants", |t| t.id.0.to_string());
    Ok(Json(Page {
        items: rows.items.iter().map(|t| view(&admin, t)).collect(),
        next: rows.next,
    }))
}

/// Makes a tenant.
#[utoipa::path(post, path = "/tenants", request_body = TenantNew, responses((status = 201, body = TenantView), (status = "default", body = Problem)), tag = "tenants")]
pub(crate) async fn create(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Json(new): Json<TenantNew>,
) -> Result<(StatusCode, Json<TenantView>), Problem> {
    caller.need(Capability::Tenants, Permission::Write, None)?;
    no_storage_yet(new.storage_max)?;
    let state = match new.state.as_deref() {
        None => TenantState::Active,
        Some(word) => TenantState::parse(word)
            .filter(|s| matches!(s, TenantState::Trial | TenantState::Active))
            .ok_or_else(|| Problem::malformed(Text::new("api.tenant.begin")))?,
    };
    let now = admin.desk.now();
    let ceilings = Ceilings {
        domains_max: new.domains_max,
        addresses_max: new.addresses_max,
        storage_max: new.storage_max,
    };
    let entry_of = caller.clone();
    let made = admin
        .desk
        .store
        .write(move |tx| {
            let made = tenant::create(
                tx,
                &NewTenant {
                    name: new.name,
                    title: new.title,
                    state,
                    ceilings,
                },
                entry_of.name(),
                now,
            )?;
            audit::append(tx, &entry_of.audit(made.id, now, "tenant.create", "tenant", &made.name))?;
            Ok::<_, ControlError>(made)
        })
        .await?;
    admin.refresh().await?;
    Ok((StatusCode::CREATED, Json(view(&admin, &made))))
}

/// One tenant.
#[utoipa::path(get, path = "/tenants/{tenant}", params(("tenant" = String, Path)), responses((status = 200, body = TenantView), (status = "default", body = Problem)), tag = "tenants")]
pub(crate) async fn show(State(admin): State<Arc<Admin>>, caller: Caller, Path(name): Path<String>) -> Result<Json<TenantView>, Problem> {
    let t = caller.any_tenant(&admin, &name).await?;
    Ok(Json(view(&admin, &t)))
}

/// Changes title, state, ceilings.
#[utoipa::path(patch, path = "/tenants/{tenant}", params(("tenant" = String, Path)), request_body = TenantPatch, responses((status = 200, body = TenantView), (status = "default", body = Problem)), tag = "tenants")]
pub(crate) async fn change(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(name): Path<String>,
    Json(patch): Json<TenantPatch>,
) -> Result<Json<TenantView>, Problem> {
    let before = caller.any_tenant(&admin, &name).await?;
    caller.need(Capability::Tenants, Permission::Write, None)?;
    no_storage_yet(patch.storage_max)?;
    let state = patch
        .state
        .as_deref()
        .map(|word| TenantState::parse(word).ok_or_else(|| Problem::malformed(Text::new("api.tenant.state"))))
        .transpose()?;
    if patch.grace_days.is_some_and(|d| d > 90) {
        return Err(Problem::malformed(Text::new("api.tenant.grace")));
    }
    let now = admin.desk.now();
    let closes_at = (state == Some(TenantState::Closing)).then(|| now.after(Duration::from_secs(86_400 * patch.grace_days.unwrap_or(30))));
    let entry_of = caller.clone();
    let after = admin
        .desk
        .store
        .write(move |tx| {
            let c = before.ceilings;
            let change = TenantChange {
                title: patch.title.clone().unwrap_or_else(|| before.title.clone()),
                trial_outbound: patch.trial_outbound.unwrap_or(before.trial_outbound),
                ceilings: Ceilings {
                    domains_max: patch.domains_max.or(c.domains_max),
                    addresses_max: patch.addresses_max.or(c.addresses_max),
                    storage_max: patch.storage_max.or(c.storage_max),
                },
            };
            tenant::update(tx, before.id, &change)?;
            if let Some(state) = state {
                tenant::set_state(tx, before.id, state, &patch.reason, closes_at)?;
            }
            let after = tenant::get(tx, before.id)?;
            let mut entry = entry_of.audit(before.id, now, "tenant.change", "tenant", &before.name);
            entry.reason.clone_from(&patch.reason);
            entry.changes = changes(&before, &after);
            audit::append(tx, &entry)?;
            Ok::<_, ControlError>(after)
        })
        .await?;
    admin.refresh().await?;
    Ok(Json(view(&admin, &after)))
}

fn changes(before: &Tenant, after: &Tenant) -> Vec<Change> {
    let fields = |t: &Tenant| {
        [
            ("title", t.title.clone()),
            ("state", t.state.as_str().to_owned()),
            ("trial_outbound", t.trial_outbound.to_string()),
            ("domains_max", format!("{:?}", t.ceilings.domains_max)),
            ("addresses_max", format!("{:?}", t.ceilings.addresses_max)),
            ("storage_max", format!("{:?}", t.ceilings.storage_max)),
        ]
    };
    fields(before)
        .into_iter()
        .zip(fields(after))
        .filter(|(b, a)| b != a)
        .map(|((name, old), (_, new))| Change::new(name, Some(old), Some(new)))
        .collect()
}
