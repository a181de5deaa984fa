//! Settings documents as they are: read, replaced, patched, compared, restored (domains-and-routing 12).

use crate::caller::Caller;
use crate::document::{self, About};
use crate::page::{Page, Paging, page};
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, Query, State};
use identity::{Capability, Permission};
use mail::text::Text;
use mail::{TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use store::control::revision;
use utoipa::{IntoParams, ToSchema};

/// A document with its revision. Secrets are masked.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct SettingsView {
    /// Number; 0: never saved.
    pub revision: i64,
    /// The document; docs/generated/settings.md lists every field.
    #[schema(value_type = Object)]
    pub document: Value,
}

/// A save.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsSave {
    /// Revision the editor has seen; a later save by someone else makes a conflict. Absent: on top of the newest.
    pub base: Option<i64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// PUT: the whole document; PATCH: a merge patch (RFC 7396).
    #[schema(value_type = Object)]
    pub document: Value,
}

/// A saved revision.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RevisionView {
    /// Number.
    pub revision: i64,
    /// When.
    pub saved_at: String,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
}

/// What came of a save.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Saved {
    /// The new revision; live on this node now, on every node within 5 seconds.
    pub revision: i64,
    /// When it became live here.
    pub active_at: String,
}

/// One difference.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DifferenceView {
    /// Path.
    pub field: String,
    /// Before, as JSON text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// After.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// Which two revisions.
#[derive(Clone, Debug, Deserialize, IntoParams)]
pub struct Between {
    /// Older.
    pub from: i64,
    /// Newer; absent: the newest.
    pub to: Option<i64>,
}

/// Whose document a path names: `system` or a tenant.
async fn whose(admin: &Admin, caller: &Caller, name: &str, access: Permission) -> Result<TenantId, Problem> {
    if name == "system" {
        caller.need(Capability::Tenants, access, None)?;
        return Ok(TenantId::OPERATOR);
    }
    Ok(caller.tenant(admin, name, Capability::DomainSettings, access).await?.id)
}

/// Settings of a tenant, or of the operator (`system`).
#[utoipa::path(get, path = "/settings/{whose}", params(("whose" = String, Path, description = "a tenant's name, or system")), responses((status = 200, body = SettingsView), (status = "default", body = Problem)), tag = "settings")]
pub(crate) async fn show(State(admin): State<Arc<Admin>>, caller: Caller, Path(name): Path<String>) -> Result<Json<SettingsView>, Problem> {
    let id = whose(&admin, &caller, &name, Permission::Read).await?;
    let newest = admin.desk.store.read(move |tx| revision::newest(tx, id)).await?;
    let value: Value = if id == TenantId::OPERATOR {
        serde_json::to_value(document::system(&admin).await?.document)
    } else {
        serde_json::to_value(document::tenant(&admin, id).await?.document)
    }
    .map_err(|e| Problem::internal(&e))?;
    Ok(Json(SettingsView {
        revision: newest.number,
        document: document::masked(&value),
    }))
}

/// Replaces the document.
#[utoipa::path(put, path = "/settings/{whose}", params(("whose" = String, Path)), request_body = SettingsSave, responses((status = 200, body = Saved), (status = "default", body = Problem)), tag = "settings")]
pub(crate) async fn replace(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(name): Path<String>,
    Json(save): Json<SettingsSave>,
) -> Result<Json<Saved>, Problem> {
    apply(&admin, &caller, &name, save, Way::Replace).await
}

/// Changes parts of the document.
#[utoipa::path(patch, path = "/settings/{whose}", params(("whose" = String, Path)), request_body = SettingsSave, responses((status = 200, body = Saved), (status = "default", body = Problem)), tag = "settings")]
pub(crate) async fn patch(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(name): Path<String>,
    Json(save): Json<SettingsSave>,
) -> Result<Json<Saved>, Problem> {
    apply(&admin, &caller, &name, save, Way::Patch).await
}

#[derive(Clone, Copy)]
enum Way {
    Replace,
    Patch,
}

async fn apply(admin: &Admin, caller: &Caller, name: &str, save: SettingsSave, way: Way) -> Result<Json<Saved>, Problem> {
    let about = About {
        action: "settings.save",
        object_kind: "settings",
        object: name.to_owned(),
        domain: None,
        reason: save.reason,
    };
    let revision = if name == "system" {
        caller.need(Capability::Tenants, Permission::Write, None)?;
        document::change_system(admin, caller, save.base, about, |d| {
            *d = match way {
                Way::Replace => document::from_value(save.document, "settings")?,
                Way::Patch => document::patched(d, &save.document, "settings")?,
            };
            Ok(())
        })
        .await?
    } else {
        let tenant = caller.tenant(admin, name, Capability::DomainSettings, Permission::Write).await?;
        caller.whole_tenant()?;
        document::change_tenant(admin, caller, &tenant, save.base, about, |d| {
            let domains: Vec<_> = d.domains.keys().cloned().collect();
            *d = match way {
                Way::Replace => document::from_value(save.document, "settings")?,
                Way::Patch => document::patched(d, &save.document, "settings")?,
            };
            if d.domains.keys().cloned().collect::<Vec<_>>() != domains {
                return Err(Problem::malformed(Text::new("api.settings.domains")));
            }
            Ok(())
        })
        .await?
        .0
    };
    Ok(Json(Saved {
        revision,
        active_at: admin.desk.now().to_rfc3339(),
    }))
}

/// Revisions, newest first.
#[utoipa::path(get, path = "/settings/{whose}/revisions", params(("whose" = String, Path), Paging), responses((status = 200, body = Page<RevisionView>), (status = "default", body = Problem)), tag = "settings")]
pub(crate) async fn revisions(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<RevisionView>>, Problem> {
    let id = whose(&admin, &caller, &name, Permission::Read).await?;
    let list = format!("revisions/{}", id.0);
    let limit = paging.limit();
    let before = paging.position(&admin.desk.keys, &list)?.and_then(|p| p.parse().ok());
    let rows = admin.desk.store.read(move |tx| revision::page(tx, id, before, limit + 1)).await?;
    let rows = page(rows, limit, &admin.desk.keys, &list, |r| r.number.to_string());
    let items = rows
        .items
        .into_iter()
        .map(|r| RevisionView {
            revision: r.number,
            saved_at: Timestamp::to_rfc3339(r.saved_at),
            actor: r.actor,
            reason: r.reason,
        })
        .collect();
    Ok(Json(Page { items, next: rows.next }))
}

/// What differs between two revisions.
#[utoipa::path(get, path = "/settings/{whose}/difference", params(("whose" = String, Path), Between), responses((status = 200, body = Vec<DifferenceView>), (status = "default", body = Problem)), tag = "settings")]
pub(crate) async fn difference(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(between): Query<Between>,
) -> Result<Json<Vec<DifferenceView>>, Problem> {
    let id = whose(&admin, &caller, &name, Permission::Read).await?;
    let (from, to) = admin
        .desk
        .store
        .read(move |tx| {
            let from = revision::get(tx, id, between.from)?;
            let to = match between.to {
                Some(n) => revision::get(tx, id, n)?,
                None => revision::newest(tx, id)?,
            };
            Ok::<_, store::control::ControlError>((from, to))
        })
        .await?;
    let value = |text: &str| serde_json::from_str::<Value>(text).map_err(|e| Problem::internal(&e));
    let changes = document::difference(&value(&from.document)?, &value(&to.document)?);
    Ok(Json(
        changes
            .into_iter()
            .map(|c| DifferenceView {
                field: c.field,
                old: c.old,
                new: c.new,
            })
            .collect(),
    ))
}

/// Makes an old revision the newest again. What has calls of its own stays as it is now: domains added since keep their settings, relay
/// credentials and proofs made since keep their secrets, and those that were ended stay ended.
#[utoipa::path(post, path = "/settings/{whose}/revisions/{revision}/restore", params(("whose" = String, Path), ("revision" = i64, Path)), responses((status = 200, body = Saved), (status = "default", body = Problem)), tag = "settings")]
pub(crate) async fn restore(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((name, number)): Path<(String, i64)>,
) -> Result<Json<Saved>, Problem> {
    let id = whose(&admin, &caller, &name, Permission::Write).await?;
    let old = admin.desk.store.read(move |tx| revision::get(tx, id, number)).await?;
    let value: Value = serde_json::from_str(&old.document).map_err(|e| Problem::internal(&e))?;
    let about = About {
        action: "settings.restore",
        object_kind: "settings",
        object: format!("{name} revision {number}"),
        domain: None,
        reason: String::new(),
    };
    let revision = if id == TenantId::OPERATOR {
        document::change_system(&admin, &caller, None, about, |d| {
            *d = document::from_value(value, "settings")?;
            Ok(())
        })
        .await?
    } else {
        caller.whole_tenant()?;
        let tenant = caller.any_tenant(&admin, &name).await?;
        document::change_tenant(&admin, &caller, &tenant, None, about, |d| {
            let mut restored: config::TenantDocument = document::from_value(value, "settings")?;
            document::keep_own(&mut restored, d);
            *d = restored;
            Ok(())
        })
        .await?
        .0
    };
    Ok(Json(Saved {
        revision,
        active_at: admin.desk.now().to_rfc3339(),
    }))
}
