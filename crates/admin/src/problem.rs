//! Answers that say no: RFC 9457 problem documents.
//!
//! In: what went wrong in a resource. Out: `application/problem+json` with `type`, `title`, `status`, `detail`, `reason`, and for checked
//! documents the list `problems`; written in the language of the reader (RFC 9110 §12.5.4), English otherwise. Invariants: our own faults
//! tell nothing of our inside; another tenant's object is a 404 like one that is not there.

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use mail::text::{Lang, Noun, Text};
use serde::Serialize;
use std::convert::Infallible;
use store::StoreError;
use store::control::ControlError;
use transport::actions::ActionError;

mod json;

pub use json::text_of;

/// `type` of a problem document.
#[derive(Clone, Copy, Debug, Serialize)]
pub enum Kind {
    /// Nothing more is to be read anywhere.
    #[serde(rename = "about:blank")]
    Blank,
}

/// `title` of a problem document: the words of its status.
#[derive(Clone, Copy, Debug)]
pub struct Title(StatusCode);

impl Serialize for Title {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.canonical_reason().unwrap_or("Problem"))
    }
}

/// A problem reply.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// `about:blank`: the title says it.
    #[serde(rename = "type")]
    #[schema(value_type = String)]
    pub kind: Kind,
    /// Short, of the status.
    #[schema(value_type = String)]
    pub title: Title,
    /// HTTP status.
    pub status: u16,
    /// What is wrong and what to do, in the language of `Accept-Language`: `ja`, or `en`.
    #[schema(value_type = String)]
    pub detail: Text,
    /// Machine-readable: `not-found`, `conflict`, `not-available`, `domain-already-managed` …
    #[schema(value_type = String)]
    pub reason: &'static str,
    /// Every problem of a checked document.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub problems: Vec<config::Problem>,
    /// Rows of an import that are wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<RowProblem>,
    /// The newest revision, after a conflict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current_revision: Option<i64>,
}

/// One wrong row of an import.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct RowProblem {
    /// Line of the file, from 1 (row of the list, from 1, when the file itself was readable).
    pub line: u64,
    /// What is wrong.
    #[schema(value_type = String)]
    pub text: Text,
}

impl Problem {
    /// Of this status.
    #[must_use]
    pub fn new(status: StatusCode, reason: &'static str, detail: Text) -> Self {
        Self {
            kind: Kind::Blank,
            title: Title(status),
            status: status.as_u16(),
            detail,
            reason,
            problems: Vec::new(),
            rows: Vec::new(),
            current_revision: None,
        }
    }

    /// 404, also for what belongs to another tenant.
    #[must_use]
    pub fn not_found(what: Noun) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", Text::new("api.not-found").with("what", what))
    }

    /// 403, inside the own tenant only.
    #[must_use]
    pub fn forbidden(detail: Text) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 400.
    #[must_use]
    pub fn malformed(detail: Text) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 422 with the wrong rows of an import.
    #[must_use]
    pub fn rows(rows: Vec<RowProblem>) -> Self {
        let detail = Text::new("api.rows").with("count", rows.len());
        Self {
            rows,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "rows", detail)
        }
    }

    /// 503: what is needed for this is not to be had now.
    #[must_use]
    pub fn busy(cause: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%cause, "request could not be served");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", Text::new("api.busy"))
    }

    /// 500: our own fault; the log says which.
    #[must_use]
    pub fn internal(cause: &dyn std::fmt::Display) -> Self {
        tracing::error!(%cause, "request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", Text::new("api.internal"))
    }

    /// 422 with every problem of a checked document. The reason is that of the first; `not-available` wins.
    #[must_use]
    pub fn checked(problems: Vec<config::Problem>) -> Self {
        let kind = problems
            .iter()
            .find(|p| p.kind == config::ProblemKind::NotAvailable)
            .or_else(|| problems.first())
            .map(|p| p.kind);
        let reason = kind.map_or("", config::ProblemKind::as_str);
        let told = |p: &config::Problem| Text::new("check.at").with("at", &p.at).with("text", p.text.clone());
        let detail = Text::list(problems.iter().map(told).collect());
        Self {
            problems,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason, detail)
        }
    }
}

impl Problem {
    /// What is written, in this language.
    fn body(&self, lang: Lang) -> String {
        let fixed = Self {
            detail: self.detail.fixed(lang),
            problems: self.problems.iter().map(|p| p.fixed(lang)).collect(),
            rows: self
                .rows
                .iter()
                .map(|r| RowProblem {
                    line: r.line,
                    text: r.text.fixed(lang),
                })
                .collect(),
            ..self.clone()
        };
        serde_json::to_string(&fixed).unwrap_or_default()
    }
}

impl IntoResponse for Problem {
    /// In English; [`in_language`] says it again in another one.
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [
            (header::CONTENT_TYPE, "application/problem+json"),
            (header::CONTENT_LANGUAGE, Lang::En.as_str()),
            (header::VARY, "accept-language"),
        ];
        let mut answer = (status, headers, self.body(Lang::En)).into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

/// The language that a request asks for; English when it names none that we have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reader(pub Lang);

impl Reader {
    /// By `Accept-Language` (RFC 9110 §12.5.4).
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let asked = headers.get(header::ACCEPT_LANGUAGE).and_then(|v| v.to_str().ok());
        Self(asked.and_then(Lang::preferred).unwrap_or(Lang::En))
    }
}

impl<S: Sync> FromRequestParts<S> for Reader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

/// The outermost layer: a problem is written in the language of its reader.
pub async fn in_language(request: Request, next: Next) -> Response {
    let Reader(lang) = Reader::of(request.headers());
    let mut answer = next.run(request).await;
    if let Some(problem) = answer.extensions_mut().remove::<Problem>()
        && lang != Lang::En
    {
        *answer.body_mut() = problem.body(lang).into();
        let headers = answer.headers_mut();
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONTENT_LANGUAGE, HeaderValue::from_static(lang.as_str()));
    }
    // RFC 9110 §12.5.5: answers that went well have texts for people as well.
    answer
        .headers_mut()
        .entry(header::VARY)
        .or_insert(HeaderValue::from_static("accept-language"));
    answer
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { current } => Self {
                current_revision: Some(current),
                ..Self::new(
                    StatusCode::CONFLICT,
                    "conflict",
                    Text::new("api.conflict").with("revision", current),
                )
            },
            StoreError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, "store-full", Text::new("api.store-full")),
            StoreError::Unavailable(_) | StoreError::LeaseLost | StoreError::Unknown => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-unavailable",
                Text::new("api.store-unavailable"),
            ),
            StoreError::Engine(text) | StoreError::Data(text) => Self::internal(&text),
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Store(e) => e.into(),
            ControlError::NotFound(what) => Self::not_found(what),
            ControlError::Exists(what) => Self::new(StatusCode::CONFLICT, "exists", Text::new("api.exists").with("what", what)),
            ControlError::AlreadyManaged => Self::new(StatusCode::CONFLICT, "domain-already-managed", Text::new("api.already-managed")),
            ControlError::Malformed(text) => Self::malformed(text),
            ControlError::LimitReached { what, limit } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "limit-reached",
                Text::new("api.limit").with("limit", limit).with("what", what),
            ),
            ControlError::WrongState(state) => Self::new(
                StatusCode::CONFLICT,
                "wrong-state",
                Text::new("api.wrong-state").with("state", state),
            ),
            ControlError::LastOwner => Self::new(StatusCode::CONFLICT, "wrong-state", Text::new("api.last-owner")),
            ControlError::Guarded { removed, entries, percent } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "directory-guard",
                Text::new("api.guarded")
                    .with("removed", removed)
                    .with("entries", entries)
                    .with("percent", percent),
            ),
            ControlError::Rows(rows) => {
                let told = rows.into_iter().map(|r| RowProblem {
                    line: u64::try_from(r.row).unwrap_or(u64::MAX),
                    text: r.text,
                });
                Self::rows(told.collect())
            }
        }
    }
}

impl From<ActionError> for Problem {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Store(e) => e.into(),
            ActionError::NotFound => Self::not_found(Noun::Entry),
            ActionError::TextRequired => Self::malformed(Text::new("api.reason-required")),
            ActionError::Lifetime => Self::malformed(Text::new("api.queue.lifetime")),
            ActionError::NextHopForm => Self::malformed(Text::new("api.queue.next-hop-form")),
            ActionError::Port(port) => {
                let text = Text::new("api.queue.port").with("port", port);
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "forbidden", text)
            }
            ActionError::Control(e) => e.into(),
            ActionError::Forbidden(target) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "forbidden", target.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tower::ServiceExt;

    fn checked() -> Problem {
        let wrong = |at: &str| config::Problem::new(at, config::ProblemKind::Malformed, Text::new("check.colour"));
        Problem {
            rows: vec![RowProblem {
                line: 2,
                text: Text::new("api.row.manager"),
            }],
            ..Problem::checked(vec![wrong("a"), wrong("b")])
        }
    }

    /// Content-Language, Content-Length as told and as it is, and the body.
    async fn ask(path: &str, accept: Option<&str>) -> (String, serde_json::Value) {
        let router = Router::new()
            .route("/checked", get(|| async { checked() }))
            .route("/gone", get(|| async { Problem::not_found(Noun::Tenant) }))
            .route("/fine", get(|| async { "\"fine\"" }))
            .layer(axum::middleware::from_fn(in_language));
        let mut request = Request::builder().uri(path);
        if let Some(accept) = accept {
            request = request.header(header::ACCEPT_LANGUAGE, accept);
        }
        let answer = router.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(answer.headers()[header::VARY], "accept-language");
        let told = |name| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
        let (language, length) = (told(header::CONTENT_LANGUAGE).unwrap_or_default(), told(header::CONTENT_LENGTH));
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        assert!(length.is_none_or(|l| l == body.len().to_string()), "{language}");
        (language, serde_json::from_slice(&body).unwrap())
    }

    #[tokio::test]
    async fn a_problem_speaks_the_language_of_its_reader() {
        for (accept, language, detail) in [
            (None, "en", "no such tenant"),
            (Some("fr"), "en", "no such tenant"),
            (Some("en-GB, ja;q=0.5"), "en", "no such tenant"),
            (Some("ja-JP,en;q=0.5"), "ja", "テナントが見つかりません。"),
        ] {
            let (told, body) = ask("/gone", accept).await;
            assert_eq!((told.as_str(), body["detail"].as_str().unwrap()), (language, detail), "{accept:?}");
            assert_eq!((&body["title"], &body["reason"]), (&"Not Found".into(), &"not-found".into()));
        }
        assert_eq!(ask("/fine", Some("ja")).await, (String::new(), "fine".into()));
    }

    #[tokio::test]
    async fn all_parts_of_a_problem_are_in_one_language() {
        let (_, english) = ask("/checked", None).await;
        assert_eq!(english["detail"], "a: a colour as #rrggbb; b: a colour as #rrggbb");
        assert_eq!(english["problems"][1]["text"], "a colour as #rrggbb");
        assert_eq!(english["rows"][0], serde_json::json!({"line": 2, "text": "manager is no address"}));
        let (_, japanese) = ask("/checked", Some("ja")).await;
        let text = "色は #rrggbb の形で指定してください。";
        assert_eq!(japanese["detail"], format!("a: {text} b: {text}"));
        let problem = serde_json::json!({"at": "b", "kind": "malformed", "text": text});
        assert_eq!(japanese["problems"][1], problem);
        assert_eq!(japanese["rows"][0]["text"], "manager にはメールアドレスを指定してください。");
        assert_eq!((&japanese["status"], &japanese["reason"]), (&422.into(), &"malformed".into()));
    }
}
