//! The queue: list, count, explain, act, pause (domains-and-routing 11.3).

use crate::caller::Caller;
use crate::page::{Page, Paging, page};
use crate::problem::Reader;
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use identity::{Capability, Permission};
use mail::text::{Noun, Text};
use mail::{QueueId, Reason, TenantId, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use store::control::{audit, pause};
use store::spool::{EntryFilter, EntryState, QueueRow};
use store::tracking::Scope;
use transport::actions::{self, Action, Selection};

pub use view::*;

mod view;

/// Entries named one by one in an action.
const ENTRIES_MAX: usize = 1_000;

/// The scope of the caller over the queue.
async fn scope(admin: &Admin, caller: &Caller, tenant: Option<&str>, access: Permission) -> Result<Scope, Problem> {
    let tenant = match (caller.own_tenant(), tenant) {
        (Some(own), None) => {
            caller.need(Capability::QueueActions, access, Some(own))?;
            Some(own)
        }
        (_, Some(name)) => Some(caller.tenant(admin, name, Capability::QueueActions, access).await?.id),
        (None, None) => {
            caller.need(Capability::QueueActions, access, None)?;
            None
        }
    };
    Ok(Scope {
        tenant,
        domains: caller.domain_names(),
    })
}

fn filter_of(admin: &Admin, params: &FilterParams, scope: &Scope) -> Result<EntryFilter, Problem> {
    let state = match params.state.as_deref() {
        None => None,
        Some("queued") => Some(EntryState::Queued),
        Some("held") => Some(EntryState::Held),
        Some(_) => return Err(Problem::malformed(Text::new("api.queue.state"))),
    };
    Ok(EntryFilter {
        tenant: scope.tenant,
        domains: scope.domains.clone(),
        domain: params
            .domain
            .as_deref()
            .map(mail::Domain::parse)
            .transpose()
            .map_err(|e| Problem::malformed(Text::new("check.at").with("at", "domain").with("text", e)))?
            .map(|d| d.to_string()),
        queue_id: params.queue_id.as_deref().map(queue_id).transpose()?,
        sender: params.sender.clone(),
        reason: params
            .reason
            .as_deref()
            .map(str::parse::<Reason>)
            .transpose()
            .map_err(|e| Problem::malformed(Text::new("check.at").with("at", "reason").with("text", e)))?,
        next_hop: params.next_hop.clone(),
        state,
        received_before: params.older_than_s.map(|s| admin.desk.now().before(Duration::from_secs(s))),
    })
}

fn queue_id(text: &str) -> Result<QueueId, Problem> {
    text.parse()
        .map_err(|e| Problem::malformed(Text::new("check.at").with("at", "queue_id").with("text", Text::from(e))))
}

/// Entries of the queue.
#[utoipa::path(get, path = "/queue", params(FilterParams, Paging), responses((status = 200, body = Page<EntryView>), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(params): Query<FilterParams>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<EntryView>>, Problem> {
    let scope = scope(&admin, &caller, params.tenant.as_deref(), Permission::Read).await?;
    let filter = filter_of(&admin, &params, &scope)?;
    let list = format!("queue/{:?}", scope.tenant.map(|t| t.0));
    let after = match paging.position(&admin.desk.keys, &list)? {
        None => None,
        Some(text) => text
            .split_once('/')
            .and_then(|(id, n)| Some((id.parse::<QueueId>().ok()?, n.parse::<u32>().ok()?))),
    };
    let limit = paging.limit();
    let rows = admin.desk.store.mail.queue_page(filter, after, limit + 1).await?;
    let rows = page(rows, limit, &admin.desk.keys, &list, |r: &QueueRow| {
        format!("{}/{}", r.entry.queue_id, r.entry.number)
    });
    let items = rows
        .items
        .into_iter()
        .map(|r| {
            entry_view(
                &admin,
                &caller,
                r.entry,
                r.reverse_path.to_string(),
                r.direction,
                r.size,
                r.received_at,
            )
        })
        .collect();
    Ok(Json(Page { items, next: rows.next }))
}

/// How many entries a filter is about.
#[utoipa::path(get, path = "/queue/count", params(FilterParams), responses((status = 200, body = Count), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn count(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Query(params): Query<FilterParams>,
) -> Result<Json<Count>, Problem> {
    let scope = scope(&admin, &caller, params.tenant.as_deref(), Permission::Read).await?;
    let filter = filter_of(&admin, &params, &scope)?;
    Ok(Json(Count {
        count: admin.desk.store.mail.queue_count(filter).await?,
    }))
}

/// Why an entry waits.
#[utoipa::path(get, path = "/queue/{queue_id}/{number}", params(("queue_id" = String, Path), ("number" = u32, Path)), responses((status = 200, body = ExplanationView), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn explain(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    reader: Reader,
    Path((id, number)): Path<(String, u32)>,
) -> Result<Json<ExplanationView>, Problem> {
    let scope = scope(&admin, &caller, None, Permission::Read).await?;
    let id = queue_id(&id)?;
    let told = actions::explain(&admin.desk, id, number, &scope).await?;
    let message = admin
        .desk
        .store
        .mail
        .message(id)
        .await?
        .ok_or_else(|| Problem::not_found(Noun::Entry))?;
    Ok(Json(ExplanationView {
        entry: entry_view(
            &admin,
            &caller,
            told.entry,
            message.reverse_path.to_string(),
            message.direction,
            message.size,
            message.received_at,
        ),
        in_attempt: told.in_attempt,
        candidates: told.candidates.into_iter().map(CandidateView::from).collect(),
        no_candidate: told.no_candidate.map(|t| t.render(reader.0)),
        position: told.position,
        paused_since: told.paused_since.map(Timestamp::to_rfc3339),
    }))
}

/// Does something to entries.
#[utoipa::path(post, path = "/queue/actions", request_body = ActionOrder, responses((status = 200, body = ActionView), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn act(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Json(order): Json<ActionOrder>,
) -> Result<Json<ActionView>, Problem> {
    let tenant = order.filter.as_ref().and_then(|f| f.tenant.clone());
    let scope = scope(&admin, &caller, tenant.as_deref(), Permission::Write).await?;
    let action = action_of(&order)?;
    // 11.3: these change where mail goes, or lose it: not for domain administrators.
    if matches!(
        action,
        Action::Reroute { .. } | Action::ChangeLifetime { .. } | Action::Discard { .. }
    ) {
        caller.whole_tenant()?;
    }
    let selection = selection_of(&admin, &order, &scope)?;
    if order.dry_run {
        let matched = actions::count(&admin.desk, &selection, &scope).await?;
        return Ok(Json(ActionView::dry(matched)));
    }
    let about = format!("{selection:?}").chars().take(1_000).collect::<String>();
    let mut entry = caller.audit(
        scope.tenant.unwrap_or(TenantId::OPERATOR),
        admin.desk.now(),
        "queue.action",
        "queue",
        &order.action,
    );
    entry.reason = order.text.unwrap_or_default();
    entry.changes = vec![audit::Change::new("selection", None, Some(about))];
    let (desk, actor) = (Arc::clone(&admin.desk), caller.name().to_owned());
    // To its end, with its line in the audit, also when the client no longer waits.
    let done = tokio::spawn(async move {
        let outcome = actions::act(&desk, selection, &scope, action, &actor).await;
        let told = match &outcome {
            Ok(counts) => (counts.matched.to_string(), counts.done.to_string()),
            Err(error) => ("?".into(), error.to_string()),
        };
        entry.changes.push(audit::Change::new("entries", Some(told.0), Some(told.1)));
        desk.store.write(move |tx| audit::append(tx, &entry)).await?;
        outcome.map_err(Problem::from)
    });
    match done.await {
        Ok(outcome) => Ok(Json(outcome?.into())),
        Err(error) => Err(Problem::internal(&error)),
    }
}

fn action_of(order: &ActionOrder) -> Result<Action, Problem> {
    let text = || order.text.clone().filter(|t| !t.trim().is_empty());
    Ok(match order.action.as_str() {
        "retry" => Action::RetryNow,
        "hold" => Action::Hold { text: text() },
        "release" => Action::Release,
        "bounce" => Action::BounceNow,
        "reroute" => Action::Reroute {
            next_hop: order
                .next_hop
                .clone()
                .ok_or_else(|| Problem::malformed(Text::new("api.queue.needs-next-hop")))?,
        },
        "lifetime" => Action::ChangeLifetime {
            lifetime: Duration::from_secs(
                order
                    .lifetime_s
                    .ok_or_else(|| Problem::malformed(Text::new("api.queue.needs-lifetime")))?,
            ),
        },
        "discard" => Action::Discard {
            text: text().ok_or_else(|| Problem::malformed(Text::new("api.queue.needs-text")))?,
        },
        _ => {
            return Err(Problem::malformed(Text::new("api.queue.action")));
        }
    })
}

fn selection_of(admin: &Admin, order: &ActionOrder, scope: &Scope) -> Result<Selection, Problem> {
    match (&order.filter, order.entries.as_slice()) {
        (Some(filter), []) => Ok(Selection::Filter(Box::new(filter_of(admin, filter, scope)?))),
        (None, [one]) if one.number.is_none() => Ok(Selection::Message(queue_id(&one.queue_id)?)),
        (None, some) if !some.is_empty() && some.len() <= ENTRIES_MAX => some
            .iter()
            .map(|e| {
                Ok((
                    queue_id(&e.queue_id)?,
                    e.number.ok_or_else(|| Problem::malformed(Text::new("api.queue.numbers")))?,
                ))
            })
            .collect::<Result<_, Problem>>()
            .map(Selection::Entries),
        _ => Err(Problem::malformed(Text::new("api.queue.selection").with("max", ENTRIES_MAX))),
    }
}

async fn pause_owner(admin: &Admin, caller: &Caller, tenant: &str, access: Permission) -> Result<TenantId, Problem> {
    if tenant == "system" {
        caller.need(Capability::Tenants, access, None)?;
        return Ok(TenantId::OPERATOR);
    }
    Ok(caller.tenant(admin, tenant, Capability::QueueActions, access).await?.id)
}

/// What is paused, written as the queue compares it: a domain in A-labels, a next hop as `host:port`.
fn pause_subject(kind: pause::PauseKind, text: &str) -> Result<String, Problem> {
    match kind {
        pause::PauseKind::Domain => Ok(mail::Domain::parse(text.trim())
            .map_err(|e| Problem::malformed(e.into()))?
            .to_string()),
        pause::PauseKind::NextHop => actions::next_hop_subject(text).map_err(Problem::from),
    }
}

fn pause_kind(word: &str) -> Result<pause::PauseKind, Problem> {
    pause::PauseKind::parse(word).ok_or_else(|| Problem::malformed(Text::new("api.queue.pause-kind")))
}

/// Paused domains and next hops.
#[utoipa::path(get, path = "/tenants/{tenant}/pauses", params(("tenant" = String, Path)), responses((status = 200, body = Vec<PauseView>), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn pauses(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
) -> Result<Json<Vec<PauseView>>, Problem> {
    let id = pause_owner(&admin, &caller, &tenant, Permission::Read).await?;
    let list = admin.desk.store.read(move |tx| pause::list(tx, id)).await?;
    Ok(Json(list.into_iter().map(PauseView::from).collect()))
}

/// No attempts to a domain or next hop until resumed.
#[utoipa::path(post, path = "/tenants/{tenant}/pauses", params(("tenant" = String, Path)), request_body = PauseOrder, responses((status = 204), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn pause(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path(tenant): Path<String>,
    Json(order): Json<PauseOrder>,
) -> Result<StatusCode, Problem> {
    let id = pause_owner(&admin, &caller, &tenant, Permission::Write).await?;
    let kind = pause_kind(&order.kind)?;
    let subject = pause_subject(kind, &order.subject)?;
    if kind == pause::PauseKind::Domain {
        let domain = mail::Domain::parse(&subject).map_err(|e| Problem::malformed(e.into()))?;
        caller.within(&domain)?;
    } else {
        caller.whole_tenant()?;
    }
    let mut entry = caller.audit(id, admin.desk.now(), "queue.pause", kind.as_str(), &subject);
    entry.reason.clone_from(&order.reason);
    let set = pause::Pause {
        tenant: id,
        kind,
        subject,
        since: entry.at,
        actor: caller.name().to_owned(),
        reason: order.reason,
    };
    admin
        .desk
        .store
        .write(move |tx| {
            pause::set(tx, &set)?;
            audit::append(tx, &entry)
        })
        .await?;
    admin.refresh().await?;
    admin.desk.queue.look_anew();
    Ok(StatusCode::NO_CONTENT)
}

/// Attempts go on.
#[utoipa::path(delete, path = "/tenants/{tenant}/pauses/{kind}/{subject}", params(("tenant" = String, Path), ("kind" = String, Path), ("subject" = String, Path)), responses((status = 204), (status = "default", body = Problem)), tag = "queue")]
pub(crate) async fn resume(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, kind, subject)): Path<(String, String, String)>,
) -> Result<StatusCode, Problem> {
    let id = pause_owner(&admin, &caller, &tenant, Permission::Write).await?;
    let kind = pause_kind(&kind)?;
    let subject = pause_subject(kind, &subject)?;
    if kind == pause::PauseKind::Domain {
        caller.within(&mail::Domain::parse(&subject).map_err(|e| Problem::malformed(e.into()))?)?;
    } else {
        caller.whole_tenant()?;
    }
    let entry = caller.audit(id, admin.desk.now(), "queue.resume", kind.as_str(), &subject);
    admin
        .desk
        .store
        .write(move |tx| {
            pause::end(tx, id, kind, &subject)?;
            audit::append(tx, &entry)?;
            Ok::<_, store::control::ControlError>(())
        })
        .await?;
    admin.refresh().await?;
    admin.desk.queue.look_anew();
    Ok(StatusCode::NO_CONTENT)
}
