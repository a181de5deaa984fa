//! API keys: a role, a target, a secret shown once. Nobody gives away more than they hold.

use crate::caller::Caller;
use crate::page::{Page, Paging, page};
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use identity::{Capability, Permission, Role};
use mail::text::Text;
use mail::{Domain, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::control::api_key::{self, ApiKey, NewApiKey};
use store::control::{ControlError, audit};
use utoipa::ToSchema;

/// A key, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyView {
    /// Id.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// `operator support owner tenant-admin domain-admin group-admin auditor viewer user`.
    pub role: String,
    /// Only these domains; absent: the whole tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<String>>,
    /// When.
    pub created_at: String,
    /// By whom.
    pub created_by: String,
    /// Last use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// Not after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
}

/// What a key is made of.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyNew {
    /// Name for people.
    pub name: String,
    /// Role.
    pub role: String,
    /// Only these domains.
    pub domains: Option<Vec<String>>,
    /// RFC 3339.
    pub expires_at: Option<String>,
}

/// The secret, shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct KeyMade {
    /// The key without its secret.
    pub key: KeyView,
    /// What is sent as `Authorization: Bearer …`; not shown again.
    pub secret: String,
}

fn view(k: ApiKey) -> KeyView {
    KeyView {
        id: k.id,
        name: k.name,
        role: k.role,
        domains: k.domains.map(|d| d.iter().map(Domain::to_string).collect()),
        created_at: k.created_at.to_rfc3339(),
        created_by: k.created_by,
        last_used_at: k.last_used_at.map(Timestamp::to_rfc3339),
        expires_at: k.expires_at.map(Timestamp::to_rfc3339),
    }
}

/// `system` names the operator's own keys.
async fn whose(admin: &Admin, caller: &Caller, name: &str, access: Permission) -> Result<TenantId, Problem> {
    if name == "system" {
        caller.need(Capability::Tenants, access, None)?;
        return Ok(TenantId::OPERATOR);
    }
    let tenant = caller.tenant(admin, name, Capability::GrantRoles, access).await?;
    Ok(tenant.id)
}

/// Keys of a tenant, or of the operator (`system`).
#[utoipa::path(get, path = "/tenants/{tenant}/keys", params(("tenant" = String, Path), Paging), responses((status = 200, body = Page<KeyView>), (status = "default", body = Problem)), tag = "keys")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<KeyView>>, Problem> {
    let id = whose(&admin, &caller, &tenant, Permission::Read).await?;
    let list = format!("keys/{}", id.0);
    let limit = paging.limit();
    let after = paging.position(&admin.desk.keys, &list)?;
    let rows = admin
        .desk
        .store
        .read(move |tx| api_key::page(tx, id, after.as_deref(), limit + 1))
        .await?;
    let rows = page(rows, limit, &admin.desk.keys, &list, |k| k.id.clone());
    let items = rows
        .items
        .into_iter()
        .filter(|k| caller.covers(k.domains.as_deref()))
        .map(view)
        .collect();
    Ok(Json(Page { items, next: rows.next }))
}

/// Makes a key.
#[utoipa::path(post, path = "/tenants/{tenant}/keys", params(("tenant" = String, Path)), request_body = KeyNew, responses((status = 201, body = KeyMade), (status = "default", body = Problem)), tag = "keys")]
pub(crate) async fn create(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
    Json(new): Json<KeyNew>,
) -> Result<(StatusCode, Json<KeyMade>), Problem> {
    let id = whose(&admin, &caller, &tenant, Permission::Write).await?;
    let role = Role::parse(&new.role).ok_or_else(|| Problem::malformed(Text::new("api.key.role")))?;
    if role.is_operators() != (id == TenantId::OPERATOR) {
        return Err(Problem::malformed(Text::new("api.key.role-side")));
    }
    let domains = new
        .domains
        .map(|list| list.iter().map(|d| Domain::parse(d)).collect::<Result<Vec<_>, _>>())
        .transpose()
        .map_err(|e| Problem::malformed(Text::new("check.at").with("at", "domains").with("text", e)))?;
    caller.may_grant(id, role, domains.as_deref())?;
    let expires_at = new.expires_at.as_deref().map(super::time).transpose()?;
    if new.name.trim().is_empty() || new.name.chars().count() > 100 {
        return Err(Problem::malformed(Text::new("api.key.name")));
    }
    let secret = identity::api_key::ApiSecret::random().map_err(|e| Problem::busy(&e))?;
    let now = admin.desk.now();
    let order = NewApiKey {
        tenant: id,
        name: new.name,
        hash: secret.hash(),
        role: role.as_str().into(),
        domains,
        created_by: caller.name().to_owned(),
        expires_at,
    };
    let entry_of = caller.clone();
    let made = admin
        .desk
        .store
        .write(move |tx| {
            let made = api_key::create(tx, order, now)?;
            let mut entry = entry_of.audit(id, now, "key.create", "api key", &made.name);
            entry.changes = vec![audit::Change::new("role", None, Some(made.role.clone()))];
            audit::append(tx, &entry)?;
            Ok::<_, ControlError>(made)
        })
        .await?;
    Ok((
        StatusCode::CREATED,
        Json(KeyMade {
            key: view(made),
            secret: secret.text().to_string(),
        }),
    ))
}

/// Ends a key at once. The last owner's cannot be ended.
#[utoipa::path(delete, path = "/tenants/{tenant}/keys/{id}", params(("tenant" = String, Path), ("id" = String, Path)), responses((status = 204), (status = "default", body = Problem)), tag = "keys")]
pub(crate) async fn delete(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, key)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = whose(&admin, &caller, &tenant, Permission::Write).await?;
    let now = admin.desk.now();
    let before = {
        let key = key.clone();
        admin.desk.store.read(move |tx| api_key::get(tx, id, &key)).await?
    };
    if let Some(role) = Role::parse(&before.role) {
        caller.may_grant(id, role, before.domains.as_deref())?;
    }
    let entry_of = caller.clone();
    admin
        .desk
        .store
        .write(move |tx| {
            if before.role == Role::Owner.as_str() && api_key::count_role(tx, id, &before.role, now)? <= 1 {
                return Err(ControlError::LastOwner);
            }
            api_key::delete(tx, id, &key)?;
            audit::append(tx, &entry_of.audit(id, now, "key.delete", "api key", &before.name))?;
            Ok::<_, ControlError>(())
        })
        .await?;

    Ok(StatusCode::NO_CONTENT)
}
