//! The audit log: what people did to the server (domains-and-routing 14). Nothing deletes from it but age.

use crate::caller::Caller;
use crate::page::{Page, Paging, page};
use crate::resource::settings::DifferenceView;
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Query, State};
use identity::{Capability, Permission};
use mail::text::Text;
use mail::{Domain, TenantId};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::control::audit::{self, AuditEntry, AuditFilter};
use utoipa::{IntoParams, ToSchema};

/// One entry.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct AuditView {
    /// Id.
    pub id: String,
    /// When.
    pub at: String,
    /// Who.
    pub actor: String,
    /// In which role.
    pub role: String,
    /// How logged in.
    pub login_method: String,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_address: Option<String>,
    /// `console api command-line signed-link system`.
    pub channel: String,
    /// What.
    pub action: String,
    /// To what kind of object.
    pub object_kind: String,
    /// To which.
    pub object: String,
    /// Old and new value per field; secrets masked.
    pub changes: Vec<DifferenceView>,
    /// Settings revision made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// `done refused failed`.
    pub result: String,
    /// Reason text.
    pub reason: String,
}

/// Conditions.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct AuditParams {
    /// Tenant's name; `system`: the operator's own.
    pub tenant: Option<String>,
    /// Not before.
    pub since: Option<String>,
    /// Before.
    pub until: Option<String>,
    /// Who.
    pub actor: Option<String>,
    /// What.
    pub action: Option<String>,
    /// Kind of object.
    pub object_kind: Option<String>,
    /// Which object.
    pub object: Option<String>,
    /// Domain.
    pub domain: Option<String>,
}

fn view(e: AuditEntry) -> AuditView {
    AuditView {
        id: e.id,
        at: e.at.to_rfc3339(),
        actor: e.actor,
        role: e.role,
        login_method: e.login_method,
        client_address: e.client_address,
        channel: e.channel.as_str().into(),
        action: e.action,
        object_kind: e.object_kind,
        object: e.object,
        changes: e
            .changes
            .into_iter()
            .map(|c| DifferenceView {
                field: c.field,
                old: c.old,
                new: c.new,
            })
            .collect(),
        revision: e.revision,
        result: e.result.as_str().into(),
        reason: e.reason,
    }
}

/// Entries, newest first.
#[utoipa::path(get, path = "/audit", params(AuditParams, Paging), responses((status = 200, body = Page<AuditView>), (status = "default", body = Problem)), tag = "audit")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(params): Query<AuditParams>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<AuditView>>, Problem> {
    let id = match (caller.own_tenant(), params.tenant.as_deref()) {
        (None, None | Some("system")) => {
            caller.need(Capability::AuditLog, Permission::Read, None)?;
            TenantId::OPERATOR
        }
        (Some(own), None) => {
            caller.need(Capability::AuditLog, Permission::Read, Some(own))?;
            own
        }
        (_, Some(name)) => caller.tenant(&admin, name, Capability::AuditLog, Permission::Read).await?.id,
    };
    let domain = params
        .domain
        .as_deref()
        .map(Domain::parse)
        .transpose()
        .map_err(|e| Problem::malformed(Text::new("check.at").with("at", "domain").with("text", e)))?;
    match (&domain, caller.domain_names()) {
        (_, None) => {}
        (Some(domain), Some(_)) => caller.within(domain)?,
        (None, Some(_)) => return Err(Problem::malformed(Text::new("api.audit.domain"))),
    }
    let filter = AuditFilter {
        from: params.since.as_deref().map(super::time).transpose()?,
        until: params.until.as_deref().map(super::time).transpose()?,
        actor: params.actor,
        action: params.action,
        object_kind: params.object_kind,
        object: params.object,
        domain,
    };
    let list = format!("audit/{}", id.0);
    let before = paging.position(&admin.desk.keys, &list)?;
    let limit = paging.limit();
    let rows = admin
        .desk
        .store
        .read(move |tx| audit::page(tx, id, &filter, before.as_deref(), limit + 1))
        .await?;
    let rows = page(rows, limit, &admin.desk.keys, &list, |e| e.id.clone());
    Ok(Json(Page {
        items: rows.items.into_iter().map(view).collect(),
        next: rows.next,
    }))
}
