//! Accepted domains: claim, prove, set, stop, delete, restore (domains-and-routing 2).

use crate::caller::Caller;
use crate::document;
use crate::page::{Page, Paging, page};
use crate::problem::Reader;
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use identity::{Capability, Permission};
use mail::text::Text;
use mail::{Domain, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use store::control::ControlError;
use store::control::audit::{self, Change};
use store::control::domain::{self, DomainState, VerifiedBy};
use store::spool::EntryFilter;
use store::sql::Tx;

pub(crate) use place::Asked;
use place::{Need, Place, name_of};
pub use view::*;

mod place;
mod view;

/// Domains of a tenant.
#[utoipa::path(get, path = "/tenants/{tenant}/domains", params(("tenant" = String, Path), Paging), responses((status = 200, body = Page<DomainView>), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    reader: Reader,
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
        .map(|c| view(&admin, &tenant, c, settings.get(&c.name).unwrap_or(&none), reader.0))
        .collect();
    Ok(Json(Page { items, next: rows.next }))
}

/// Claims a name. It is routed only when it is proven.
#[utoipa::path(post, path = "/tenants/{tenant}/domains", params(("tenant" = String, Path)), request_body = DomainNew, responses((status = 201, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn create(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    reader: Reader,
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
    let place = Place {
        admin: Arc::clone(&admin),
        caller,
        reader,
        tenant,
        name,
    };
    let (caller, tenant, name) = (&place.caller, &place.tenant, &place.name);
    let saved = document::change_tenant(&admin, caller, tenant, None, place.about(String::new()), |d| {
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
    Ok((StatusCode::CREATED, place.view().await?))
}

/// One domain.
#[utoipa::path(get, path = "/tenants/{tenant}/domains/{domain}", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn show(asked: Asked) -> Result<Json<DomainView>, Problem> {
    asked.may(Need::Read).await?.view().await
}

/// Changes settings of a domain.
#[utoipa::path(patch, path = "/tenants/{tenant}/domains/{domain}", params(("tenant" = String, Path), ("domain" = String, Path)), request_body = DomainPatch, responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn change(asked: Asked, Json(patch): Json<DomainPatch>) -> Result<Json<DomainView>, Problem> {
    let place = asked.may(Need::Write).await?;
    place.claim().await?;
    let name = &place.name;
    let change = |d: &mut config::TenantDocument| {
        let settings = d.domains.entry(name.clone()).or_default();
        *settings = document::patched(settings, &patch.settings, &format!("domains.{name}"))?;
        Ok(())
    };
    let about = place.about(patch.reason);
    document::change_tenant(&place.admin, &place.caller, &place.tenant, patch.base, about, change).await?;
    place.view().await
}

/// Looks at DNS now; once per 10 seconds.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/check", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn check(asked: Asked) -> Result<Json<DomainView>, Problem> {
    let place = asked.may(Need::Write).await?;
    let admin = &place.admin;
    if !admin.claims.check_now(&admin.desk, place.tenant.id, &place.name).await? {
        let text = Text::new("api.domain.too-soon");
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "too-soon", text));
    }
    admin.refresh().await?;
    place.view().await
}

/// A new token; the old one proves nothing any more.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/token", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn token(asked: Asked) -> Result<Json<DomainView>, Problem> {
    let place = asked.may(Need::Write).await?;
    let renew = |tx: &mut dyn Tx, name: &Domain, id, now| domain::new_token(tx, id, name, now).map(|_| Vec::new());
    place.in_audit("domain.token", "", renew).await?;
    place.view().await
}

/// The operator proves a name by hand, with a reason.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/confirm", params(("tenant" = String, Path), ("domain" = String, Path)), request_body = Because, responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn confirm(asked: Asked, Json(because): Json<Because>) -> Result<Json<DomainView>, Problem> {
    let place = asked.may(Need::Confirm).await?;
    if because.reason.trim().is_empty() {
        return Err(Problem::malformed(Text::new("api.domain.reason")));
    }
    let reason = because.reason.clone();
    let verify = move |tx: &mut dyn Tx, name: &Domain, id, now| {
        domain::verify(tx, id, name, VerifiedBy::Operator, Some(&reason), now)
            .map(|_| vec![Change::new("verified_by", None, Some("operator".into()))])
    };
    place.in_audit("domain.confirm", &because.reason, verify).await?;
    place.view().await
}

/// What one should know before deleting.
#[utoipa::path(get, path = "/tenants/{tenant}/domains/{domain}/before-deletion", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = BeforeDeletion), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn before_deletion(asked: Asked) -> Result<Json<BeforeDeletion>, Problem> {
    let place = asked.may(Need::Read).await?;
    place.claim().await?;
    let Place { admin, tenant, name, .. } = &place;
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
    let mx_is_ours = match admin.desk.resolver.mx(name).await {
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
        grace_days: document::tenant(admin, tenant.id).await?.document.delete_grace_days.unwrap_or(30),
    }))
}

/// Begins the grace; an unproven claim ends at once.
#[utoipa::path(delete, path = "/tenants/{tenant}/domains/{domain}", params(("tenant" = String, Path), ("domain" = String, Path)), request_body = DomainDelete, responses((status = 204), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn delete(asked: Asked, Json(order): Json<DomainDelete>) -> Result<StatusCode, Problem> {
    let place = asked.may(Need::AddDelete).await?;
    if name_of(&order.confirm)? != place.name {
        return Err(Problem::malformed(Text::new("api.domain.confirm")));
    }
    let settings = document::tenant(&place.admin, place.tenant.id).await?.document;
    let grace = Duration::from_secs(86_400 * u64::from(settings.delete_grace_days.unwrap_or(30)));
    let end = move |tx: &mut dyn Tx, name: &Domain, id, now: Timestamp| {
        let after = domain::begin_deletion(tx, id, name, now.after(grace), now)?;
        let state = after.map_or("deleted", DomainState::as_str);
        Ok(vec![Change::new("state", None, Some(state.into()))])
    };
    place.in_audit("domain.delete", &order.reason, end).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends the grace: the domain is as it was, without new verification.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/restore", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = DomainView), (status = "default", body = Problem)), tag = "domains")]
pub(crate) async fn restore(asked: Asked) -> Result<Json<DomainView>, Problem> {
    let place = asked.may(Need::AddDelete).await?;
    let restore = |tx: &mut dyn Tx, name: &Domain, id, now| domain::restore(tx, id, name, now).map(|()| Vec::new());
    place.in_audit("domain.restore", "", restore).await?;
    place.view().await
}
