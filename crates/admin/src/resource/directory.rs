//! Directory sources (domains-and-routing 8): where recipient lists come from by themselves.
//!
//! In: a source that someone wants to set up. Out: no for now; lists come by CSV upload (`recipients/import`). A source that was accepted
//! and never read would be worse than a refusal.

use crate::caller::Caller;
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, State};
use identity::{Capability, Permission};
use mail::text::Text;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// Kinds that later versions bring.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// LDIF upload.
    Ldif,
    /// LDAP with STARTTLS.
    Ldap,
    /// LDAP over TLS.
    Ldaps,
    /// `mitsuke directory push`.
    Push,
    /// SCIM 2.0.
    Scim,
    /// Microsoft Graph.
    MicrosoftGraph,
    /// Google Directory.
    GoogleDirectory,
}

impl SourceKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ldif => "ldif",
            Self::Ldap => "ldap",
            Self::Ldaps => "ldaps",
            Self::Push => "push",
            Self::Scim => "scim",
            Self::MicrosoftGraph => "microsoft-graph",
            Self::GoogleDirectory => "google-directory",
        }
    }
}

/// A source to set up.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
pub struct SourceNew {
    /// What it is.
    pub kind: SourceKind,
}

/// A source.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct SourceView {}

/// That a kind of source is not available yet.
pub(crate) fn not_available(kind: &str) -> Problem {
    let text = Text::new("api.directory").with("kind", kind);
    Problem::checked(vec![config::Problem::new("kind", config::ProblemKind::NotAvailable, text)])
}

/// Sources of a tenant: none in this version.
#[utoipa::path(get, path = "/tenants/{tenant}/directory-sources", params(("tenant" = String, Path)), responses((status = 200, body = Vec<SourceView>), (status = "default", body = Problem)), tag = "recipients")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<SourceView>>, Problem> {
    caller.tenant(&admin, &tenant, Capability::DomainSettings, Permission::Read).await?;
    Ok(Json(Vec::new()))
}

/// Sets a source up: not available yet.
#[utoipa::path(post, path = "/tenants/{tenant}/directory-sources", params(("tenant" = String, Path)), request_body = SourceNew, responses((status = "default", body = Problem)), tag = "recipients")]
pub(crate) async fn create(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
    Json(new): Json<SourceNew>,
) -> Problem {
    match caller.tenant(&admin, &tenant, Capability::DomainSettings, Permission::Write).await {
        Ok(_) => not_available(new.kind.as_str()),
        Err(problem) => problem,
    }
}
