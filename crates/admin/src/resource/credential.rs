//! Relay credentials: made with a generated secret that is shown once (domains-and-routing 6.1).

use crate::caller::Caller;
use crate::document::{self, About};
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use config::document::RelayCredential;
use identity::{Capability, Permission};
use mail::text::{Noun, Text};
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::control::{ControlError, proof};
use utoipa::ToSchema;

/// A relay credential.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CredentialView {
    /// Name.
    pub name: String,
    /// What is typed as user name.
    pub user_name: String,
    /// Domains it may send for; empty: every domain with outbound on.
    pub domains: Vec<String>,
    /// Networks it may come from; empty: anywhere.
    pub networks: Vec<String>,
    /// Own limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub messages_per_10_min: Option<u32>,
    /// Not after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Last use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_used_from: Option<String>,
}

/// What a credential is made of.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CredentialNew {
    /// 1–64 of `a-z0-9-._`.
    pub name: String,
    /// See the view.
    #[serde(default)]
    pub domains: Vec<String>,
    /// See the view.
    #[serde(default)]
    pub networks: Vec<String>,
    /// See the view.
    pub messages_per_10_min: Option<u32>,
    /// RFC 3339.
    pub expires_at: Option<String>,
}

/// The secret, shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct CredentialMade {
    /// What is typed as user name.
    pub user_name: String,
    /// 32 characters; not shown again.
    pub secret: String,
}

/// Credentials of a tenant.
#[utoipa::path(get, path = "/tenants/{tenant}/relay-credentials", params(("tenant" = String, Path)), responses((status = 200, body = Vec<CredentialView>), (status = "default", body = Problem)), tag = "relay credentials")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<CredentialView>>, Problem> {
    let tenant = caller.tenant(&admin, &tenant, Capability::DomainSettings, Permission::Read).await?;
    caller.whole_tenant()?;
    let id = tenant.id;
    let uses = admin.desk.store.read(move |tx| proof::credential_uses(tx, id)).await?;
    let document = document::tenant(&admin, id).await?.document;
    let views = document.relay_credentials.into_iter().map(|c| {
        let used = uses.iter().find(|u| u.name == c.name);
        CredentialView {
            user_name: format!("{}@{}", c.name, tenant.name),
            domains: c.domains.iter().map(Domain::to_string).collect(),
            networks: c.networks.iter().map(ToString::to_string).collect(),
            messages_per_10_min: c.messages_per_10_min,
            expires_at: c.expires_at.map(Timestamp::to_rfc3339),
            last_used_at: used.map(|u| u.used_at.to_rfc3339()),
            last_used_from: used.map(|u| u.client.clone()),
            name: c.name,
        }
    });
    Ok(Json(views.collect()))
}

/// Makes a credential.
#[utoipa::path(post, path = "/tenants/{tenant}/relay-credentials", params(("tenant" = String, Path)), request_body = CredentialNew, responses((status = 201, body = CredentialMade), (status = "default", body = Problem)), tag = "relay credentials")]
pub(crate) async fn create(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
    Json(new): Json<CredentialNew>,
) -> Result<(StatusCode, Json<CredentialMade>), Problem> {
    let tenant = caller
        .tenant(&admin, &tenant, Capability::DomainSettings, Permission::Write)
        .await?;
    caller.whole_tenant()?;
    let domains = new
        .domains
        .iter()
        .map(|d| Domain::parse(d))
        .collect::<Result<_, _>>()
        .map_err(|e| Problem::malformed(Text::new("check.at").with("at", "domains").with("text", e)))?;
    let networks = new
        .networks
        .iter()
        .map(|n| n.parse().or_else(|_| n.parse::<std::net::IpAddr>().map(Into::into)))
        .collect::<Result<_, _>>()
        .map_err(|_| Problem::malformed(Text::new("api.credential.networks")))?;
    let expires_at = new.expires_at.as_deref().map(super::time).transpose()?;
    let with_scram = admin.desk.live().system.scram.unwrap_or(false);
    let secret = identity::password::new_secret().map_err(|e| Problem::busy(&e))?;
    let scram = if with_scram {
        Some(
            identity::scram::StoredScram::of(&secret)
                .map_err(|e| Problem::busy(&e))?
                .to_string(),
        )
    } else {
        None
    };
    let hash = admin.passwords.hash(secret.clone()).await.map_err(|e| Problem::busy(&e))?;
    let credential = RelayCredential {
        name: new.name.clone(),
        hash,
        scram,
        domains,
        networks,
        messages_per_10_min: new.messages_per_10_min,
        expires_at,
    };
    let about = About {
        action: "credential.create",
        object_kind: "relay credential",
        object: new.name.clone(),
        domain: None,
        reason: String::new(),
    };
    document::change_tenant(&admin, &caller, &tenant, None, about, |d| {
        if d.relay_credentials.iter().any(|c| c.name == credential.name) {
            return Err(ControlError::Exists(Noun::RelayCredential).into());
        }
        d.relay_credentials.push(credential);
        Ok(())
    })
    .await?;
    Ok((
        StatusCode::CREATED,
        Json(CredentialMade {
            user_name: format!("{}@{}", new.name, tenant.name),
            secret: secret.to_string(),
        }),
    ))
}

/// Removes a credential; it opens nothing from now on.
#[utoipa::path(delete, path = "/tenants/{tenant}/relay-credentials/{name}", params(("tenant" = String, Path), ("name" = String, Path)), responses((status = 204), (status = "default", body = Problem)), tag = "relay credentials")]
pub(crate) async fn delete(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, name)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let tenant = caller
        .tenant(&admin, &tenant, Capability::DomainSettings, Permission::Write)
        .await?;
    caller.whole_tenant()?;
    let about = About {
        action: "credential.delete",
        object_kind: "relay credential",
        object: name.clone(),
        domain: None,
        reason: String::new(),
    };
    document::change_tenant(&admin, &caller, &tenant, None, about, |d| {
        let before = d.relay_credentials.len();
        d.relay_credentials.retain(|c| c.name != name);
        if d.relay_credentials.len() == before {
            Err(Problem::not_found(Noun::RelayCredential))
        } else {
            Ok(())
        }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
