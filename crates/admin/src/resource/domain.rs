//! Accepted domains: claim, prove, set, stop, delete, restore (domains-and-routing 2).

use crate::caller::Caller;
use crate::document::{self, About};
use crate::page::{Page, Paging, page};
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use identity::{Capability, Permission};
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;
use store::control::audit::{self, Change};
use store::control::domain::{self, DomainClaim, DomainState, VerifiedBy};
use store::control::{ControlError, tenant::Tenant};
use store::spool::EntryFilter;
use utoipa::ToSchema;

/// A domain with its state.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DomainView {
    /// Name, A-labels.
    pub name: String,
    /// Name as people read it.
    pub unicode_name: String,
    /// `unverified verified active disabled deleting`.
    pub state: String,
    /// The state in Japanese.
    pub label_ja: String,
    /// The state in English.
    pub label_en: String,
    /// TXT record that proves the name.
    pub txt_record: String,
    /// MX target that proves it too.
    pub mx: String,
    /// `txt mx operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_by: Option<String>,
    /// Reason text of the operator's proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_reason: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
    /// When an unproven claim ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapses_at: Option<String>,
    /// When a deleted domain is purged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<String>,
    /// Last look at DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<String>,
    /// What the last look found: each server's answer with its TTL.
    #[schema(value_type = Object)]
    pub report: Value,
    /// Settings; secrets masked.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// What deserves a look although it is allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A claim.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainNew {
    /// One exact name.
    pub name: String,
    /// Its settings.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: Option<Value>,
}

/// A change of settings.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainPatch {
    /// Revision of the tenant's settings that the editor has seen.
    pub base: Option<i64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Merge patch (RFC 7396) of the domain's settings.
    #[schema(value_type = Object)]
    pub settings: Value,
}

/// A reason text.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Because {
    /// Why.
    pub reason: String,
}

/// A deletion: the name must be typed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainDelete {
    /// The domain's name once more.
    pub confirm: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What one should know before a deletion (domains-and-routing 2.5).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BeforeDeletion {
    /// Whether the best MX is still ours; absent: DNS did not answer.
    pub mx_is_ours: Option<bool>,
    /// Outbound messages of the last 24 hours (1,000: that many or more).
    pub outbound_last_24h: u64,
    /// Entries in the queue, held ones included.
    pub queued: u64,
    /// Entries held.
    pub held: u64,
    /// Messages in quarantine.
    pub quarantined: u64,
    /// Days of grace.
    pub grace_days: u32,
}

fn name_of(text: &str) -> Result<Domain, Problem> {
    Domain::parse(text.trim()).map_err(|e| Problem::malformed(format!("{text}: {e}")))
}

/// The tenant, if the caller may do this to this domain.
async fn owner(admin: &Admin, caller: &Caller, tenant: &str, domain: &Domain, access: Permission) -> Result<Tenant, Problem> {
    let t = caller.tenant(admin, tenant, Capability::DomainSettings, access).await?;
    caller.within(domain)?;
    Ok(t)
}

fn state_words(claim: &DomainClaim, disabled: bool) -> (&'static str, &'static str, &'static str) {
    match claim.state {
        DomainState::Deleting => ("deleting", "削除待ち", "Deleting"),
        _ if disabled => ("disabled", "停止中", "Disabled"),
        DomainState::Unverified => ("unverified", "設定が必要", "Configuration required"),
        DomainState::Verified => ("verified", "設定が必要", "Configuration required"),
        DomainState::Active => ("active", "完了", "Completed"),
    }
}

fn view(admin: &Admin, tenant: &Tenant, claim: &DomainClaim, settings: &config::DomainDocument) -> DomainView {
    let (state, label_ja, label_en) = state_words(claim, settings.disabled);
    let mut value = serde_json::to_value(settings).unwrap_or_default();
    if settings.services.is_empty() {
        value["services"] = serde_json::json!(["inbound"]);
    }
    DomainView {
        name: claim.name.to_string(),
        unicode_name: claim.name.to_unicode(),
        state: state.into(),
        label_ja: label_ja.into(),
        label_en: label_en.into(),
        txt_record: format!("mitsuke={}", claim.token),
        mx: format!("{}.in.{}", tenant.name, admin.desk.node.base),
        verified_by: claim.verified_by.map(|v| v.as_str().into()),
        verified_reason: claim.verified_reason.clone(),
        verified_at: claim.verified_at.map(Timestamp::to_rfc3339),
        lapses_at: claim.lapses_at.map(Timestamp::to_rfc3339),
        purge_at: claim.purge_at.map(Timestamp::to_rfc3339),
        checked_at: claim.checked_at.map(Timestamp::to_rfc3339),
        report: serde_json::from_str(&claim.report).unwrap_or(Value::Null),
        settings: document::masked(&value),
        warnings: admin.domain_warnings(&claim.name),
    }
}

async fn view_of(admin: &Admin, tenant: &Tenant, name: &Domain) -> Result<DomainView, Problem> {
    let (id, key) = (tenant.id, name.clone());
    let claim = admin
        .desk
        .store
        .read(move |tx| domain::get(tx, id, &key))
        .await?
        .ok_or_else(|| Problem::not_found("domain"))?;
    let settings = document::tenant(admin, id).await?.document.domains.remove(name).unwrap_or_default();
    Ok(view(admin, tenant, &claim, &settings))
}

/// Domains of a tenant.
#[utoipa::path(get, path = "/tenants/{tenant}/domains", params(("tenant" = String, Path), Paging), responses((status = 200, body = Page<DomainView>), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<DomainView>>, Problem> {
    let tenant = caller.tenant(&admin, &name, Capability::DomainSettings, Permission::Read).await?;
    let list = format!("domains/{}", tenant.id.0);
    let limit = paging.limit();
    let after = paging.position(&admin.desk.keys, &list)?.and_then(|p| Domain::parse(&p).ok());
    let id = tenant.id;
    let rows = admin
        .desk
        .store
        .read(move |tx| domain::page(tx, id, after.as_ref(), limit + 1))
        .await?;
    let rows = page(rows, limit, &admin.desk.keys, &list, |c| c.name.to_string());
    let settings = document::tenant(&admin, id).await?.document.domains;
    let none = config::DomainDocument::default();
    let items = rows
        .items
        .iter()
        .filter(|c| caller.within(&c.name).is_ok())
        .map(|c| view(&admin, &tenant, c, settings.get(&c.name).unwrap_or(&none)))
        .collect();
    Ok(Json(Page { items, next: rows.next }))
}

/// Claims a name. It is routed only when it is proven.
#[utoipa::path(post, path = "/tenants/{tenant}/domains", params(("tenant" = String, Path)), request_body = DomainNew, responses((status = 201, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn create(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant_name): Path<String>,
    Json(new): Json<DomainNew>,
) -> Result<(StatusCode, Json<DomainView>), Problem> {
    let tenant = caller
        .tenant(&admin, &tenant_name, Capability::DomainsAddDelete, Permission::Write)
        .await?;
    caller.whole_tenant()?;
    let name = admin.check_name(&new.name)?;
    let settings = match new.settings {
        Some(value) => document::from_value(value, &format!("domains.{name}"))?,
        None => config::DomainDocument::default(),
    };
    let now = admin.desk.now();
    let lapse = Duration::from_secs(admin.desk.live().system.claim_lapse_s.unwrap_or(30 * 86_400));
    let (id, key, entry_of) = (tenant.id, name.clone(), caller.clone());
    admin
        .desk
        .store
        .write(move |tx| {
            domain::claim(tx, id, &key, now, lapse)?;
            let mut entry = entry_of.audit(id, now, "domain.add", "domain", key.as_str());
            entry.domain = Some(key.clone());
            audit::append(tx, &entry)?;
            Ok::<_, ControlError>(())
        })
        .await?;
    let about = About {
        action: "domain.change",
        object_kind: "domain",
        object: name.to_string(),
        domain: Some(name.clone()),
        reason: String::new(),
    };
    let saved = document::change_tenant(&admin, &caller, &tenant, None, about, |d| {
        d.domains.insert(name.clone(), settings);
        Ok(())
    })
    .await;
    if let Err(problem) = saved {
        // Settings that cannot be saved must not leave a claim behind that nobody asked for.
        let key = name.clone();
        admin
            .desk
            .store
            .write(move |tx| domain::purge(tx, id, &key, now).map_err(ControlError::from))
            .await?;
        return Err(problem);
    }
    Ok((StatusCode::CREATED, Json(view_of(&admin, &tenant, &name).await?)))
}

/// One domain.
#[utoipa::path(get, path = "/tenants/{tenant}/domains/{domain}", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn show(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Json<DomainView>, Problem> {
    let name = name_of(&name)?;
    let tenant = owner(&admin, &caller, &tenant, &name, Permission::Read).await?;
    Ok(Json(view_of(&admin, &tenant, &name).await?))
}

/// Changes settings of a domain.
#[utoipa::path(patch, path = "/tenants/{tenant}/domains/{domain}", params(("tenant" = String, Path), ("domain" = String, Path)), request_body = DomainPatch, responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn change(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, name)): Path<(String, String)>,
    Json(patch): Json<DomainPatch>,
) -> Result<Json<DomainView>, Problem> {
    let name = name_of(&name)?;
    let tenant = owner(&admin, &caller, &tenant, &name, Permission::Write).await?;
    view_of(&admin, &tenant, &name).await?;
    let about = About {
        action: "domain.change",
        object_kind: "domain",
        object: name.to_string(),
        domain: Some(name.clone()),
        reason: patch.reason,
    };
    document::change_tenant(&admin, &caller, &tenant, patch.base, about, |d| {
        let settings = d.domains.entry(name.clone()).or_default();
        *settings = document::patched(settings, &patch.settings, &format!("domains.{name}"))?;
        Ok(())
    })
    .await?;
    Ok(Json(view_of(&admin, &tenant, &name).await?))
}

/// Looks at DNS now; once per 10 seconds.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/check", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn check(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Json<DomainView>, Problem> {
    let name = name_of(&name)?;
    let tenant = owner(&admin, &caller, &tenant, &name, Permission::Write).await?;
    if !admin.claims.check_now(&admin.desk, tenant.id, &name).await? {
        return Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-soon",
            "DNS is looked at once in 10 seconds",
        ));
    }
    admin.refresh().await?;
    Ok(Json(view_of(&admin, &tenant, &name).await?))
}

/// A new token; the old one proves nothing any more.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/token", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn token(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Json<DomainView>, Problem> {
    let name = name_of(&name)?;
    let tenant = owner(&admin, &caller, &tenant, &name, Permission::Write).await?;
    in_audit(&admin, &caller, &tenant, &name, "domain.token", "", move |tx, name, id, now| {
        domain::new_token(tx, id, name, now).map(|_| Vec::new())
    })
    .await?;
    Ok(Json(view_of(&admin, &tenant, &name).await?))
}

/// The operator proves a name by hand, with a reason.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/confirm", params(("tenant" = String, Path), ("domain" = String, Path)), request_body = Because, responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn confirm(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, name)): Path<(String, String)>,
    Json(because): Json<Because>,
) -> Result<Json<DomainView>, Problem> {
    let name = name_of(&name)?;
    let tenant = caller.any_tenant(&admin, &tenant).await?;
    caller.need(Capability::Tenants, Permission::Write, None)?;
    if because.reason.trim().is_empty() {
        return Err(Problem::malformed("a reason text is required: it stands in the audit log"));
    }
    let reason = because.reason.clone();
    in_audit(
        &admin,
        &caller,
        &tenant,
        &name,
        "domain.confirm",
        &because.reason,
        move |tx, name, id, now| {
            domain::verify(tx, id, name, VerifiedBy::Operator, Some(&reason), now)
                .map(|_| vec![Change::new("verified_by", None, Some("operator".into()))])
        },
    )
    .await?;
    Ok(Json(view_of(&admin, &tenant, &name).await?))
}

/// What one should know before deleting.
#[utoipa::path(get, path = "/tenants/{tenant}/domains/{domain}/before-deletion", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = BeforeDeletion), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn before_deletion(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Json<BeforeDeletion>, Problem> {
    let name = name_of(&name)?;
    let tenant = owner(&admin, &caller, &tenant, &name, Permission::Read).await?;
    view_of(&admin, &tenant, &name).await?;
    let filter = EntryFilter {
        tenant: Some(tenant.id),
        domain: Some(name.to_string()),
        ..EntryFilter::default()
    };
    let held = EntryFilter {
        state: Some(store::spool::EntryState::Held),
        ..filter.clone()
    };
    let since = admin.desk.now().before(Duration::from_secs(86_400));
    let query = store::tracking::Query {
        since: Some(since),
        direction: Some(mail::Direction::Outbound),
        reverse_path: vec![format!("*@{name}")],
        ..Default::default()
    };
    let scope = store::tracking::Scope {
        tenant: Some(tenant.id),
        domains: None,
    };
    let mail = &admin.desk.store.mail;
    let outbound = mail.search(query, scope, None, 1_000).await?.traces.len();
    let ours = format!("{}.in.{}", tenant.name, admin.desk.node.base);
    let mx_is_ours = match admin.desk.resolver.mx(&name).await {
        Ok(net::resolver::MxAnswer::Records(records)) => Some(records.first().is_some_and(|(_, host)| host.as_str() == ours)),
        Ok(_) | Err(net::resolver::DnsError::NoSuchName) => Some(false),
        Err(_) => None,
    };
    Ok(Json(BeforeDeletion {
        mx_is_ours,
        outbound_last_24h: u64::try_from(outbound).unwrap_or(u64::MAX),
        queued: mail.queue_count(filter).await?,
        held: mail.queue_count(held).await?,
        quarantined: 0,
        grace_days: document::tenant(&admin, tenant.id).await?.document.delete_grace_days.unwrap_or(30),
    }))
}

/// Begins the grace; an unproven claim ends at once.
#[utoipa::path(delete, path = "/tenants/{tenant}/domains/{domain}", params(("tenant" = String, Path), ("domain" = String, Path)), request_body = DomainDelete, responses((status = 204), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn delete(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, name)): Path<(String, String)>,
    Json(order): Json<DomainDelete>,
) -> Result<StatusCode, Problem> {
    let name = name_of(&name)?;
    let tenant = caller
        .tenant(&admin, &tenant, Capability::DomainsAddDelete, Permission::Write)
        .await?;
    caller.whole_tenant()?;
    if name_of(&order.confirm)? != name {
        return Err(Problem::malformed(
            "type the domain's name in `confirm`: what is deleted is purged at the end of the grace",
        ));
    }
    let grace = document::tenant(&admin, tenant.id).await?.document.delete_grace_days.unwrap_or(30);
    in_audit(
        &admin,
        &caller,
        &tenant,
        &name,
        "domain.delete",
        &order.reason,
        move |tx, name, id, now| {
            let purge_at = now.after(Duration::from_secs(86_400 * u64::from(grace)));
            let after = domain::begin_deletion(tx, id, name, purge_at, now)?;
            Ok(vec![Change::new(
                "state",
                None,
                Some(after.map_or("deleted", DomainState::as_str).into()),
            )])
        },
    )
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the grace: the domain is as it was, without new verification.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/restore", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn restore(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<Json<DomainView>, Problem> {
    let name = name_of(&name)?;
    let tenant = caller
        .tenant(&admin, &tenant, Capability::DomainsAddDelete, Permission::Write)
        .await?;
    caller.whole_tenant()?;
    in_audit(&admin, &caller, &tenant, &name, "domain.restore", "", move |tx, name, id, now| {
        domain::restore(tx, id, name, now).map(|()| Vec::new())
    })
    .await?;
    Ok(Json(view_of(&admin, &tenant, &name).await?))
}

/// Does something to a domain and tells of it in the same transaction.
async fn in_audit(
    admin: &Admin,
    caller: &Caller,
    tenant: &Tenant,
    name: &Domain,
    action: &'static str,
    reason: &str,
    job: impl FnOnce(&mut dyn store::sql::Tx, &Domain, mail::TenantId, Timestamp) -> Result<Vec<Change>, ControlError> + Send + 'static,
) -> Result<(), Problem> {
    let now = admin.desk.now();
    let (id, key) = (tenant.id, name.clone());
    let mut entry = caller.audit(id, now, action, "domain", name.as_str());
    (entry.domain, entry.reason) = (Some(name.clone()), reason.to_owned());
    admin
        .desk
        .store
        .write(move |tx| {
            entry.changes = job(tx, &key, id, now)?;
            audit::append(tx, &entry)?;
            Ok::<_, ControlError>(())
        })
        .await?;
    admin.refresh().await
}
