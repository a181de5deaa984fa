//! The doors of the API: which address serves what, to whom.
//!
//! In: connections of a TCP listener (plain or TLS) or of the local socket. Out: answers of the router.
//! Invariants: a request has a deadline and a size; the API runs on a thread of its own, away from the mail loops.

use crate::problem::{in_language, text_of};
use crate::resource::{audit, credential, directory, domain, key, proof, queue, recipient, settings, system, tenant, tracking};
use crate::{Problem, public};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use config::check::{CheckContext, Target, TargetHost};
use identity::password::Passwords;
use mail::Domain;
use mail::text::{Noun, Text};
use net::resolver::DnsError;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use transport::Desk;
use transport::claims::Claims;
use transport::settings::Settings;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

mod listen;

pub use listen::{serve_network, serve_socket};

/// New next hops that are looked up at one save.
const TARGETS_MAX: usize = 200;
/// Bodies other than recipient lists.
const BODY_BYTES_MAX: usize = 4 * 1_048_576;
/// Text of a refusal that the framework made.
const REFUSAL_BYTES_MAX: usize = 64 * 1_024;
/// Longest answer time; a list of recipients takes some seconds.
const ANSWER_WAIT: Duration = Duration::from_secs(110);

/// What the handlers work with.
pub struct Admin {
    /// The mail flow's desk.
    pub desk: Arc<Desk>,
    /// Live settings: refreshed after each save.
    pub settings: Arc<Settings>,
    /// Proof of domains.
    pub claims: Arc<Claims>,
    /// Hashing of secrets.
    pub passwords: Arc<Passwords>,
    /// User of this process: the operator at the local socket.
    pub own_uid: u32,
}

#[derive(OpenApi)]
#[openapi(
    info(title = "Mitsuke", description = "Mail gateway: tenants, domains, queue, tracking. Errors are RFC 9457 problem documents; lists are paged by cursor."),
    servers((url = "/api/v1"))
)]
struct Document;

fn routes() -> OpenApiRouter<Arc<Admin>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(system::whoami))
        .routes(routes!(system::health))
        .routes(routes!(tenant::list, tenant::create))
        .routes(routes!(tenant::show, tenant::change))
        .routes(routes!(settings::show, settings::replace, settings::patch))
        .routes(routes!(settings::revisions))
        .routes(routes!(settings::difference))
        .routes(routes!(settings::restore))
        .routes(routes!(domain::list, domain::create))
        .routes(routes!(domain::show, domain::change, domain::delete))
        .routes(routes!(domain::check))
        .routes(routes!(domain::token))
        .routes(routes!(domain::confirm))
        .routes(routes!(domain::before_deletion))
        .routes(routes!(domain::restore))
        .routes(routes!(directory::list, directory::create))
        .routes(routes!(recipient::list))
        .routes(routes!(recipient::export))
        .routes(routes!(recipient::versions))
        .routes(routes!(recipient::restore))
        .routes(routes!(credential::list, credential::create))
        .routes(routes!(credential::delete))
        .routes(routes!(key::list, key::create))
        .routes(routes!(key::delete))
        .routes(routes!(proof::show))
        .routes(routes!(proof::new_secret))
        .routes(routes!(proof::end_secret))
        .routes(routes!(proof::open_window, proof::close_window))
        .routes(routes!(queue::list))
        .routes(routes!(queue::count))
        .routes(routes!(queue::explain))
        .routes(routes!(queue::act))
        .routes(routes!(queue::pauses, queue::pause))
        .routes(routes!(queue::resume))
        .routes(routes!(tracking::search))
        .routes(routes!(tracking::show))
        .routes(routes!(audit::list))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .routes(routes!(recipient::import))
        .layer(DefaultBodyLimit::max(recipient::FILE_BYTES_MAX + 1))
}

/// The API's description, as committed in `openapi.json`.
///
/// # Errors
/// When it cannot be written as JSON, which a test would see.
pub fn openapi() -> Result<String, serde_json::Error> {
    let (_, document) = routes().split_for_parts();
    Ok(document.to_pretty_json()? + "\n")
}

/// Everything the API serves.
pub fn api(admin: Arc<Admin>) -> Router {
    let (router, document) = routes().split_for_parts();
    let text = document.to_json().unwrap_or_default();
    let described = router.route(
        "/openapi.json",
        get(move || async move { ([(axum::http::header::CONTENT_TYPE, "application/json")], text) }),
    );
    Router::new()
        .nest("/api/v1", described)
        .fallback(|| async { Problem::not_found(Noun::Resource) })
        .layer(axum::middleware::map_response(as_problem))
        .layer(axum::middleware::from_fn(deadline))
        .layer(axum::middleware::from_fn(in_language))
        .with_state(admin)
}

/// What the framework refuses by itself, before a handler is asked, becomes a problem document as well.
async fn as_problem(answer: axum::response::Response) -> axum::response::Response {
    use axum::http::{StatusCode, header};
    use axum::response::IntoResponse;
    let status = answer.status();
    let is_plain = answer
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|t| t.as_bytes().starts_with(b"text/plain"));
    if !(status.is_client_error() || status.is_server_error()) || !is_plain {
        return answer;
    }
    let text = match axum::body::to_bytes(answer.into_body(), REFUSAL_BYTES_MAX).await {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(_) => String::new(),
    };
    let reason = match status {
        StatusCode::NOT_FOUND => "not-found",
        StatusCode::METHOD_NOT_ALLOWED => "method-not-allowed",
        StatusCode::PAYLOAD_TOO_LARGE => "too-large",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported-media-type",
        _ if text.contains("unknown field") => "unknown",
        _ if status.is_server_error() => "internal",
        _ => "malformed",
    };
    let text = match status {
        StatusCode::NOT_FOUND => Text::new("api.not-found").with("what", Noun::Resource),
        StatusCode::METHOD_NOT_ALLOWED => Text::new("api.method"),
        StatusCode::PAYLOAD_TOO_LARGE => Text::new("api.too-large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Text::new("api.media-type"),
        _ => text_of(&text),
    };
    Problem::new(status, reason, text).into_response()
}

/// Pages that anyone may open.
pub fn web(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/r/{reference}", get(public::page))
        .fallback(|| async { Problem::not_found(Noun::Page) })
        .layer(axum::middleware::from_fn(deadline))
        .layer(axum::middleware::from_fn(in_language))
        .with_state(admin)
}

async fn deadline(request: axum::extract::Request, next: axum::middleware::Next) -> axum::response::Response {
    use axum::response::IntoResponse;
    match tokio::time::timeout(ANSWER_WAIT, next.run(request)).await {
        Ok(answer) => answer,
        Err(_) => Problem::new(axum::http::StatusCode::GATEWAY_TIMEOUT, "timeout", Text::new("api.timeout")).into_response(),
    }
}

impl Admin {
    /// Makes what was saved live on this node at once; other nodes follow within 5 seconds.
    ///
    /// # Errors
    /// Of the store.
    pub async fn refresh(&self) -> Result<(), Problem> {
        self.settings.refresh().await.map_err(Problem::from)
    }

    fn context<'a>(&'a self, system: &'a config::SystemDocument) -> CheckContext<'a> {
        let node = &self.desk.node;
        CheckContext {
            system,
            base: &node.base,
            delivering_addresses: &node.delivering_addresses,
            now: self.desk.now(),
        }
    }

    /// Every problem of a tenant's new document; new next hops must resolve, and to something that may be connected to.
    pub(crate) async fn check_tenant(
        &self,
        system: &config::SystemDocument,
        before: &config::TenantDocument,
        after: &config::TenantDocument,
    ) -> Vec<config::Problem> {
        let mut problems = after.check(&self.context(system));
        let known = before.targets();
        let new = after
            .targets()
            .into_iter()
            .filter(|t| !known.iter().any(|k| k.host == t.host && k.port == t.port));
        // Bounded: a document has at most some thousand rows, and each look-up has a deadline.
        for target in new.take(TARGETS_MAX) {
            problems.extend(self.check_target(target).await);
        }
        problems
    }

    async fn check_target(&self, target: Target) -> Option<config::Problem> {
        let addresses = match &target.host {
            TargetHost::Address(ip) => vec![*ip],
            TargetHost::Name(name) => match self.desk.resolver.addresses(name.as_str()).await {
                Ok(found) if !found.is_empty() => found,
                // What DNS cannot say now is looked at again at each connection.
                Err(DnsError::Temp(_)) => return None,
                Ok(_) | Err(_) => {
                    let text = Text::new("check.no-address").with("name", name.to_string());
                    return Some(config::Problem::new(target.at, config::ProblemKind::Missing, text));
                }
            },
        };
        let refused: Vec<Text> = addresses
            .iter()
            .filter_map(|ip| self.desk.guard.check(SocketAddr::new(*ip, target.port)).err())
            .map(Text::from)
            .collect();
        (refused.len() == addresses.len()).then(|| config::Problem::new(target.at, config::ProblemKind::Forbidden, Text::list(refused)))
    }

    /// Every problem of the operator's new document.
    pub(crate) fn check_system(&self, after: &config::SystemDocument) -> Vec<config::Problem> {
        after.check(&self.desk.node.base)
    }

    /// A typed name as an accepted domain (domains-and-routing 2.2).
    pub(crate) fn check_name(&self, name: &str) -> Result<Domain, Problem> {
        let live = self.desk.live();
        config::check::check_name(name, &self.context(&live.system)).map_err(|p| Problem::checked(vec![p]))
    }

    /// What deserves a look although it is allowed: a name that looks like another accepted domain.
    pub(crate) fn domain_warnings(&self, name: &Domain) -> Vec<Text> {
        let live = self.desk.live();
        // Whose domain it is, is not said: it may be another tenant's.
        let alike = live.domains.keys().any(|other| config::check::looks_like(name, other));
        alike.then(|| Text::new("api.domain.looks-alike")).into_iter().collect()
    }
}
