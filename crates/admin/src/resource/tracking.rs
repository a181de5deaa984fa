//! Tracking: what happened to mail (domains-and-routing 13).

use crate::caller::Caller;
use crate::page::{Page, Paging, cursor};
use crate::problem::text_of;
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, Query as Params, State};
use identity::{Capability, Permission};
use mail::QueueId;
use mail::text::{Noun, Text};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use store::tracking::{Event, Query, Record, Scope, Trace};
use utoipa::{IntoParams, ToSchema};

/// Values of one condition.
const VALUES_MAX: usize = 100;

/// All that is known of one message or refused transaction.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct TraceView {
    /// Queue id of the message, or id of the refused transaction.
    pub id: String,
    /// Tenant's name; for the operator only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// `inbound outbound internal`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// When it began.
    pub at: String,
    /// Events in order; docs/format/tracking.md lists their kinds and fields. Each has `e` (kind) and `at`.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Value>,
    /// Ids of messages that came of it or that it came of (DSNs).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub related: Vec<String>,
}

/// Conditions of a search. Lists are separated by commas.
#[derive(Clone, Debug, Default, serde::Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct SearchParams {
    /// Tenant's name (operator only).
    pub tenant: Option<String>,
    /// Not before (RFC 3339 or a date).
    pub since: Option<String>,
    /// Before.
    pub until: Option<String>,
    /// `inbound outbound internal`.
    pub direction: Option<String>,
    /// Reverse paths: address, `*@domain`, `*@*.domain`.
    pub reverse_path: Option<String>,
    /// Header From, likewise.
    pub from: Option<String>,
    /// Recipients, likewise.
    pub recipient: Option<String>,
    /// Header To and Cc, likewise.
    pub to: Option<String>,
    /// Words of the subject.
    pub subject: Option<String>,
    /// Message-ID.
    pub message_id: Option<String>,
    /// Queue id.
    pub queue_id: Option<String>,
    /// Reference of a refusal.
    pub reference: Option<String>,
    /// Client address or CIDR.
    pub client: Option<String>,
    /// Country.
    pub country: Option<String>,
    /// EHLO name.
    pub hello: Option<String>,
    /// Host of a next hop.
    pub next_hop: Option<String>,
    /// `deliver relay hold quarantine reject defer discard`.
    pub disposition: Option<String>,
    /// `queued delivered deferred failed expired held deleted refused`.
    pub state: Option<String>,
    /// Reason code.
    pub reason: Option<String>,
    /// Octets at least.
    pub size_min: Option<u64>,
    /// Octets at most.
    pub size_max: Option<u64>,
    /// Came by TLS.
    pub tls: Option<bool>,
    /// Words of an attachment's name.
    pub attachment: Option<String>,
    /// SHA-256 of an attachment.
    pub sha256: Option<String>,
    /// Host of a link.
    pub url_host: Option<String>,
    /// Authenticated as.
    pub login: Option<String>,
}

fn query_of(p: SearchParams) -> Result<Query, Problem> {
    let list = |text: Option<String>, name: &str| {
        let values: Vec<String> = text
            .iter()
            .flat_map(|t| t.split(','))
            .map(|v| v.trim().to_owned())
            .filter(|v| !v.is_empty())
            .collect();
        if values.len() > VALUES_MAX {
            Err(Problem::malformed(
                Text::new("check.at")
                    .with("at", name)
                    .with("text", Text::new("api.values").with("max", VALUES_MAX)),
            ))
        } else {
            Ok(values)
        }
    };
    fn parsed<T: std::str::FromStr>(text: Option<String>, name: &str) -> Result<Option<T>, Problem>
    where
        Text: From<T::Err>,
    {
        let wrong = |e: T::Err| Text::new("check.at").with("at", name).with("text", Text::from(e));
        text.map(|t| t.parse().map_err(|e| Problem::malformed(wrong(e)))).transpose()
    }
    fn word<T: serde::de::DeserializeOwned>(text: Option<String>, name: &str) -> Result<Option<T>, Problem> {
        text.map(|t| {
            serde_json::from_value(Value::String(t))
                .map_err(|e| Problem::malformed(Text::new("check.at").with("at", name).with("text", text_of(&e.to_string()))))
        })
        .transpose()
    }
    const STATES: [&str; 8] = ["queued", "delivered", "deferred", "failed", "expired", "held", "deleted", "refused"];
    if p.state.as_deref().is_some_and(|s| !STATES.contains(&s)) {
        return Err(Problem::malformed(
            Text::new("check.at")
                .with("at", "state")
                .with("text", Text::new("check.one-of").with("words", STATES.join(", "))),
        ));
    }
    if let Some(client) = &p.client {
        let known = client.parse::<ipnet::IpNet>().is_ok() || client.parse::<std::net::IpAddr>().is_ok();
        if !known {
            return Err(Problem::malformed(Text::new("api.tracking.client")));
        }
    }
    Ok(Query {
        since: p.since.as_deref().map(super::time).transpose()?,
        until: p.until.as_deref().map(super::time).transpose()?,
        direction: word(p.direction, "direction")?,
        reverse_path: list(p.reverse_path, "reverse_path")?,
        from: list(p.from, "from")?,
        recipient: list(p.recipient, "recipient")?,
        to: list(p.to, "to")?,
        subject: p.subject,
        message_id: p.message_id,
        queue_id: parsed(p.queue_id, "queue_id")?,
        reference: parsed(p.reference, "reference")?,
        client: p.client,
        country: p.country,
        hello: p.hello,
        next_hop: p.next_hop,
        disposition: word(p.disposition, "disposition")?,
        state: p.state,
        reason: parsed(p.reason, "reason")?,
        size_min: p.size_min,
        size_max: p.size_max,
        tls: p.tls,
        attachment: p.attachment,
        sha256: p.sha256.map(|s| s.to_ascii_lowercase()),
        url_host: p.url_host,
        login: p.login,
    })
}

async fn scope(admin: &Admin, caller: &Caller, tenant: Option<&str>) -> Result<Scope, Problem> {
    let tenant = match (caller.own_tenant(), tenant) {
        (Some(own), None) => {
            caller.need(Capability::Tracking, Permission::Read, Some(own))?;
            Some(own)
        }
        (_, Some(name)) => Some(caller.tenant(admin, name, Capability::Tracking, Permission::Read).await?.id),
        (None, None) => {
            caller.need(Capability::Tracking, Permission::Read, None)?;
            None
        }
    };
    Ok(Scope {
        tenant,
        domains: caller.domain_names(),
    })
}

/// The operator sees everything but subject, attachment names and URLs.
fn veil(event: &mut Event) {
    if let Event::Accepted {
        subject,
        attachments,
        url_hosts,
        ..
    } = event
    {
        (*subject, *url_hosts) = (None, Vec::new());
        for a in attachments {
            a.name = String::new();
        }
    }
}

fn view(admin: &Admin, caller: &Caller, trace: Trace) -> TraceView {
    let is_operator = caller.own_tenant().is_none();
    let word = |v: Value| v.as_str().map(str::to_owned);
    let mut related = Vec::new();
    let mut events = Vec::new();
    for Record { at, events: told, .. } in trace.records {
        for mut event in told {
            if is_operator {
                veil(&mut event);
            }
            if let Event::Dsn { queue_id, cause, .. } = &event {
                related.extend(queue_id.iter().chain(cause).map(QueueId::to_string));
            }
            let mut value = serde_json::to_value(&event).unwrap_or_default();
            if let Some(fields) = value.as_object_mut() {
                fields.insert("at".into(), at.to_rfc3339().into());
                if let Some(due) = fields.get("due").and_then(Value::as_i64) {
                    fields.insert("due".into(), mail::Timestamp(due).to_rfc3339().into());
                }
            }
            events.push(value);
        }
    }
    TraceView {
        at: trace.id.time().to_rfc3339(),
        tenant: is_operator
            .then(|| admin.desk.live().tenants.get(&trace.tenant).map(|t| t.name.clone()))
            .flatten(),
        direction: trace.direction.and_then(|d| serde_json::to_value(d).ok()).and_then(word),
        id: trace.id.to_string(),
        events,
        related,
    }
}

/// Messages and refusals that match, newest first.
#[utoipa::path(get, path = "/tracking", params(SearchParams, Paging), responses((status = 200, body = Page<TraceView>), (status = "default", body = Problem)), tag = "tracking")]
pub(crate) async fn search(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Params(params): Params<SearchParams>,
    Params(paging): Params<Paging>,
) -> Result<Json<Page<TraceView>>, Problem> {
    let scope = scope(&admin, &caller, params.tenant.as_deref()).await?;
    // By role, not by scope: whether a word matches tells as much as the subject itself.
    if caller.own_tenant().is_none() && (params.subject.is_some() || params.attachment.is_some() || params.url_host.is_some()) {
        return Err(Problem::forbidden(Text::new("api.tracking.veil")));
    }
    let list = format!("tracking/{:?}", scope.tenant.map(|t| t.0));
    let before = paging.position(&admin.desk.keys, &list)?.and_then(|p| p.parse().ok());
    let found = admin
        .desk
        .store
        .mail
        .search(query_of(params)?, scope, before, paging.limit())
        .await?;
    let next = found.next.map(|id| cursor(&admin.desk.keys, &list, &id.to_string()));
    Ok(Json(Page {
        items: found.traces.into_iter().map(|t| view(&admin, &caller, t)).collect(),
        next,
    }))
}

/// The whole life of one message.
#[utoipa::path(get, path = "/tracking/{id}", params(("id" = String, Path)), responses((status = 200, body = TraceView), (status = "default", body = Problem)), tag = "tracking")]
pub(crate) async fn show(State(admin): State<Arc<Admin>>, caller: Caller, Path(id): Path<String>) -> Result<Json<TraceView>, Problem> {
    let scope = scope(&admin, &caller, None).await?;
    let id: QueueId = id.parse().map_err(|e| Problem::malformed(Text::from(e)))?;
    let trace = admin
        .desk
        .store
        .mail
        .trace(id, scope)
        .await?
        .ok_or_else(|| Problem::not_found(Noun::Message))?;
    Ok(Json(view(&admin, &caller, trace)))
}
