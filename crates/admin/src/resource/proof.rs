//! Proof of tenant: secrets for `X-Mitsuke-Proof`, the set-up window, what was seen (domains-and-routing 6.3).

use crate::caller::Caller;
use crate::document::{self, About};
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use identity::{Capability, Permission};
use mail::Timestamp;
use mail::text::{Noun, Text};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use std::time::Duration;
use store::control::proof;
use utoipa::ToSchema;

/// Longest set-up window.
const WINDOW_MINUTES_MAX: u64 = 60;
/// Secrets valid at a time.
const SECRETS_MAX: usize = 2;

/// Proofs of a tenant.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProofView {
    /// First 8 hex digits of the SHA-256 of each valid secret: enough to tell them apart.
    pub secrets: Vec<String>,
    /// `X-MS-Exchange-CrossTenant-Id` values.
    pub microsoft_tenant_ids: Vec<String>,
    /// End of the set-up window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window_until: Option<String>,
    /// Messages that passed in it.
    pub window_used: i64,
    /// Proofs seen.
    pub seen: Vec<ProofSeenView>,
}

/// A proof that was seen.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProofSeenView {
    /// For which domain.
    pub domain: String,
    /// Which kind.
    pub kind: String,
    /// When last.
    pub seen_at: String,
    /// What was found.
    pub detail: String,
}

/// A secret, shown this once.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ProofSecret {
    /// Name of the header field.
    pub header: String,
    /// 32 characters; not shown again.
    pub secret: String,
}

/// How long the window is open.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Window {
    /// 1–60; default 60.
    pub minutes: Option<u64>,
}

fn about(action: &'static str, tenant: &str) -> About {
    About {
        action,
        object_kind: "proof",
        object: tenant.to_owned(),
        domain: None,
        reason: String::new(),
    }
}

/// What proves the tenant, and what was seen.
#[utoipa::path(get, path = "/tenants/{tenant}/proof", params(("tenant" = String, Path)), responses((status = 200, body = ProofView), (status = "default", body = Problem)), tag = "proof")]
pub(crate) async fn show(State(admin): State<Arc<Admin>>, caller: Caller, Path(tenant): Path<String>) -> Result<Json<ProofView>, Problem> {
    let tenant = caller.tenant(&admin, &tenant, Capability::DomainSettings, Permission::Read).await?;
    let id = tenant.id;
    let settings = document::tenant(&admin, id).await?.document.proof;
    let until = settings.setup_window_until;
    let (seen, window_used) = admin
        .desk
        .store
        .read(move |tx| {
            let used = until.map_or(Ok(0), |until| proof::window_used(tx, id, until))?;
            Ok::<_, store::StoreError>((proof::proofs(tx, id)?, used))
        })
        .await?;
    Ok(Json(ProofView {
        secrets: settings.secret_sha256.iter().map(|s| s.chars().take(8).collect()).collect(),
        microsoft_tenant_ids: settings.microsoft_tenant_ids,
        window_until: until.map(Timestamp::to_rfc3339),
        window_used,
        seen: seen
            .into_iter()
            .map(|s| ProofSeenView {
                domain: s.domain.to_string(),
                kind: s.kind,
                seen_at: s.seen_at.to_rfc3339(),
                detail: s.detail,
            })
            .collect(),
    }))
}

/// Makes a secret; of three the oldest ends.
#[utoipa::path(post, path = "/tenants/{tenant}/proof/secrets", params(("tenant" = String, Path)), responses((status = 201, body = ProofSecret), (status = "default", body = Problem)), tag = "proof")]
pub(crate) async fn new_secret(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
) -> Result<(StatusCode, Json<ProofSecret>), Problem> {
    let tenant = caller
        .tenant(&admin, &tenant, Capability::DomainSettings, Permission::Write)
        .await?;
    caller.whole_tenant()?;
    let secret = identity::password::new_secret().map_err(|e| Problem::busy(&e))?;
    let hash: String = Sha256::digest(secret.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
    document::change_tenant(&admin, &caller, &tenant, None, about("proof.secret", &tenant.name), |d| {
        d.proof.secret_sha256.push(hash);
        let surplus = d.proof.secret_sha256.len().saturating_sub(SECRETS_MAX);
        d.proof.secret_sha256.drain(..surplus);
        Ok(())
    })
    .await?;
    Ok((
        StatusCode::CREATED,
        Json(ProofSecret {
            header: "X-Mitsuke-Proof".into(),
            secret: secret.to_string(),
        }),
    ))
}

/// Ends a secret, named by the first hex digits of its SHA-256.
#[utoipa::path(delete, path = "/tenants/{tenant}/proof/secrets/{prefix}", params(("tenant" = String, Path), ("prefix" = String, Path)), responses((status = 204), (status = "default", body = Problem)), tag = "proof")]
pub(crate) async fn end_secret(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, prefix)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let tenant = caller
        .tenant(&admin, &tenant, Capability::DomainSettings, Permission::Write)
        .await?;
    caller.whole_tenant()?;
    document::change_tenant(&admin, &caller, &tenant, None, about("proof.secret-end", &tenant.name), |d| {
        let before = d.proof.secret_sha256.len();
        d.proof.secret_sha256.retain(|s| prefix.len() < 8 || !s.starts_with(&prefix));
        if d.proof.secret_sha256.len() == before {
            Err(Problem::not_found(Noun::Secret))
        } else {
            Ok(())
        }
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Opens the set-up window.
#[utoipa::path(post, path = "/tenants/{tenant}/proof/window", params(("tenant" = String, Path)), request_body = Window, responses((status = 204), (status = "default", body = Problem)), tag = "proof")]
pub(crate) async fn open_window(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
    Json(window): Json<Window>,
) -> Result<StatusCode, Problem> {
    let tenant = caller
        .tenant(&admin, &tenant, Capability::DomainSettings, Permission::Write)
        .await?;
    caller.whole_tenant()?;
    let minutes = window.minutes.unwrap_or(WINDOW_MINUTES_MAX);
    if !(1..=WINDOW_MINUTES_MAX).contains(&minutes) {
        return Err(Problem::malformed(Text::new("api.proof.window")));
    }
    let until = admin.desk.now().after(Duration::from_secs(60 * minutes));
    document::change_tenant(&admin, &caller, &tenant, None, about("proof.window", &tenant.name), |d| {
        d.proof.setup_window_until = Some(until);
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Closes it.
#[utoipa::path(delete, path = "/tenants/{tenant}/proof/window", params(("tenant" = String, Path)), responses((status = 204), (status = "default", body = Problem)), tag = "proof")]
pub(crate) async fn close_window(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
) -> Result<StatusCode, Problem> {
    let tenant = caller
        .tenant(&admin, &tenant, Capability::DomainSettings, Permission::Write)
        .await?;
    caller.whole_tenant()?;
    document::change_tenant(&admin, &caller, &tenant, None, about("proof.window-close", &tenant.name), |d| {
        d.proof.setup_window_until = None;
        Ok(())
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
