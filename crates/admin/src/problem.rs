//! Answers that say no: RFC 9457 problem documents.
//!
//! In: what went wrong in a resource. Out: `application/problem+json` with `type`, `title`, `status`, `detail`, `reason`, and for checked
//! documents the list `problems`. Invariants: our own faults tell nothing of our inside; another tenant's object is a 404 like one that is not there.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use store::StoreError;
use store::control::ControlError;
use transport::actions::ActionError;

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
    /// What is wrong and what to do.
    pub detail: String,
    /// Machine-readable: `not-found`, `conflict`, `not-available`, `domain-already-managed` …
    pub reason: String,
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
    pub text: String,
}

impl Problem {
    /// Of this status.
    #[must_use]
    pub fn new(status: StatusCode, reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind: Kind::Blank,
            title: Title(status),
            status: status.as_u16(),
            detail: detail.into(),
            reason: reason.into(),
            problems: Vec::new(),
            rows: Vec::new(),
            current_revision: None,
        }
    }

    /// 404, also for what belongs to another tenant.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", format!("no such {what}"))
    }

    /// 403, inside the own tenant only.
    #[must_use]
    pub fn forbidden(detail: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// 400.
    #[must_use]
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// 422 with every problem of a checked document. The reason is that of the first; `not-available` wins.
    #[must_use]
    pub fn checked(problems: Vec<config::Problem>) -> Self {
        let kind = problems
            .iter()
            .find(|p| p.kind == config::ProblemKind::NotAvailable)
            .or_else(|| problems.first())
            .map(|p| p.kind);
        let reason = kind
            .and_then(|k| serde_json::to_value(k).ok())
            .and_then(|v| v.as_str().map(str::to_owned))
            .unwrap_or_default();
        let detail = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Self {
            problems,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, reason, detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { current } => Self {
                current_revision: Some(current),
                ..Self::new(
                    StatusCode::CONFLICT,
                    "conflict",
                    format!("someone else saved first: revision {current} is the newest; look at the difference and save again"),
                )
            },
            StoreError::Full => Self::new(StatusCode::INSUFFICIENT_STORAGE, "store-full", "the device of the store is full"),
            StoreError::Unavailable(_) | StoreError::LeaseLost | StoreError::Unknown => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-unavailable",
                "the store cannot be reached now; try again in a moment",
            ),
            StoreError::Engine(text) | StoreError::Data(text) => {
                tracing::error!(error = text, "request failed in the store");
                Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "internal",
                    "the server could not do it; its log says why",
                )
            }
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::Store(e) => e.into(),
            ControlError::NotFound(what) => Self::not_found(what),
            ControlError::Exists(what) => Self::new(StatusCode::CONFLICT, "exists", format!("{what} exists already")),
            ControlError::AlreadyManaged => Self::new(
                StatusCode::CONFLICT,
                "domain-already-managed",
                "This domain cannot be added: it is already managed. 管理対象ドメインを追加できません。このドメインはすでに管理されています。",
            ),
            ControlError::Malformed(text) => Self::malformed(text),
            ControlError::LimitReached { what, limit } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "limit-reached", format!("at most {limit} {what}"))
            }
            ControlError::WrongState(state) => Self::new(StatusCode::CONFLICT, "wrong-state", format!("not possible in state {state}")),
            ControlError::Guarded { removed, entries, percent } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "directory-guard",
                format!(
                    "the import would remove {removed} of {entries} recipients, more than {percent} %; the list in force stays. Check the file, or import with force"
                ),
            ),
            ControlError::Rows(rows) => Self {
                detail: format!("{} rows are wrong; nothing was imported", rows.len()),
                rows: rows
                    .into_iter()
                    .map(|r| RowProblem {
                        line: u64::try_from(r.row).unwrap_or(u64::MAX),
                        text: r.text,
                    })
                    .collect(),
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "rows", "")
            },
        }
    }
}

impl From<ActionError> for Problem {
    fn from(error: ActionError) -> Self {
        match error {
            ActionError::Store(e) => e.into(),
            ActionError::NotFound => Self::not_found("entry"),
            ActionError::TextRequired | ActionError::Lifetime | ActionError::NextHopForm => Self::malformed(error.to_string()),
            ActionError::Port(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "forbidden", error.to_string()),
            ActionError::Control(e) => e.into(),
            ActionError::Forbidden(text) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, "forbidden", text),
        }
    }
}
