//! What is about the installation itself: who am I, is it well, which version, what does the API offer.

use crate::caller::Caller;
use crate::problem::Reader;
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use mail::text::Text;
use serde::Serialize;
use std::sync::Arc;
use store::control::tenant;
use utoipa::ToSchema;

/// Who the key or socket makes one.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct WhoAmI {
    /// Name of the key or user.
    pub name: String,
    /// Role.
    pub role: String,
    /// Tenant; absent: the operator's side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Only these domains.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domains: Option<Vec<String>>,
}

/// Whether it works.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    /// `ok`, or what is wrong.
    pub status: String,
    /// Version.
    pub version: String,
}

/// Who one is.
#[utoipa::path(get, path = "/whoami", responses((status = 200, body = WhoAmI), (status = "default", body = Problem)), tag = "system")]
pub(crate) async fn whoami(State(admin): State<Arc<Admin>>, caller: Caller) -> Result<Json<WhoAmI>, Problem> {
    let tenant = match caller.own_tenant() {
        None => None,
        Some(own) => Some(admin.desk.store.read(move |tx| tenant::get(tx, own)).await?.name),
    };
    Ok(Json(WhoAmI {
        name: caller.name().to_owned(),
        role: caller.role().as_str().into(),
        tenant,
        domains: caller.domain_names(),
    }))
}

/// Whether the server works; needs no key and tells nothing else.
#[utoipa::path(get, path = "/health", responses((status = 200, body = Health), (status = 503, body = Health)), tag = "system")]
pub(crate) async fn health(State(admin): State<Arc<Admin>>, reader: Reader) -> (StatusCode, Json<Health>) {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let asked = admin.desk.store.read(|tx| tenant::page(tx, None, 1)).await;
    match asked {
        Ok(_) if admin.desk.store.mail.lease_holds() => (
            StatusCode::OK,
            Json(Health {
                status: "ok".into(),
                version,
            }),
        ),
        Ok(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(Health {
                status: Text::new("api.health.lease").render(reader.0),
                version,
            }),
        ),
        Err(_) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(Health {
                status: Text::new("api.health.store").render(reader.0),
                version,
            }),
        ),
    }
}
