//! Recipient lists of a domain: import by CSV, look at, restore (domains-and-routing 8).

use crate::caller::Caller;
use crate::page::{Page, Paging, page};
use crate::problem::Reader;
use crate::{Admin, Problem};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use identity::{Capability, Permission};
use mail::text::{Lang, Noun, Text};
use mail::{Domain, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use store::control::audit::{self, Change};
use store::control::recipient::{self, Difference, Guard, Import, ImportMode, RecipientList, RecipientRow};
use store::control::{ControlError, tenant::Tenant};
use utoipa::{IntoParams, ToSchema};

mod csv_file;

/// 64 MB.
pub(crate) const FILE_BYTES_MAX: usize = 64 * 1_048_576;
/// Rows of a file.
pub(crate) const ROWS_MAX: usize = 200_000;

/// A recipient.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct RecipientView {
    /// Address.
    pub address: String,
    /// Name.
    pub display_name: String,
    /// Other local parts that lead to the same.
    pub aliases: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Manager's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// `ja` or `en`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<String>,
    /// Whether mail is accepted.
    pub enabled: bool,
}

/// A version of the list.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ListView {
    /// Number.
    pub version: i64,
    /// When.
    pub made_at: String,
    /// Who.
    pub actor: String,
    /// Name of the file.
    pub origin: String,
    /// Recipients.
    pub entries: u64,
    /// What it changed.
    pub difference: DifferenceView,
}

/// "+12 −3, 2 renamed".
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub struct DifferenceView {
    /// New.
    pub added: u64,
    /// Gone.
    pub removed: u64,
    /// Other fields.
    pub changed: u64,
    /// Renamed.
    pub renamed: u64,
}

impl From<Difference> for DifferenceView {
    fn from(d: Difference) -> Self {
        Self {
            added: d.added,
            removed: d.removed,
            changed: d.changed,
            renamed: d.renamed,
        }
    }
}

/// How a file is imported.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ImportParams {
    /// `replace` (default) or `merge`.
    pub mode: Option<String>,
    /// Only tell the difference.
    #[serde(default)]
    pub dry_run: bool,
    /// Over `directory.guard`, with a person's word.
    #[serde(default)]
    pub force: bool,
    /// `utf-8` or `cp932`; absent: told from the bytes.
    pub charset: Option<String>,
    /// Name of the file, for the list of versions.
    pub origin: Option<String>,
}

/// What came of an import.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct ImportView {
    /// Version now in force; absent after a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// What it changes.
    pub difference: DifferenceView,
    /// In words.
    pub summary: String,
}

async fn owner(admin: &Admin, caller: &Caller, tenant: &str, domain: &str, access: Permission) -> Result<(Tenant, Domain), Problem> {
    let domain = Domain::parse(domain).map_err(|e| Problem::malformed(e.into()))?;
    let tenant = caller.tenant(admin, tenant, Capability::DomainSettings, access).await?;
    caller.within(&domain)?;
    let (id, key) = (tenant.id, domain.clone());
    admin
        .desk
        .store
        .read(move |tx| store::control::domain::get(tx, id, &key))
        .await?
        .ok_or_else(|| Problem::not_found(Noun::Domain))?;
    Ok((tenant, domain))
}

fn view(domain: &Domain, r: RecipientRow) -> RecipientView {
    RecipientView {
        address: format!("{}@{domain}", r.local),
        display_name: r.display_name,
        aliases: r.aliases,
        groups: r.groups,
        manager: r.manager,
        language: r.language,
        enabled: r.enabled,
    }
}

fn list_view(l: RecipientList) -> ListView {
    ListView {
        version: l.version,
        made_at: l.made_at.to_rfc3339(),
        actor: l.actor,
        origin: l.origin,
        entries: l.entries,
        difference: l.difference.into(),
    }
}

/// Recipients in force.
#[utoipa::path(get, path = "/tenants/{tenant}/domains/{domain}/recipients", params(("tenant" = String, Path), ("domain" = String, Path), Paging), responses((status = 200, body = Page<RecipientView>), (status = "default", body = Problem)), tag = "recipients")]
pub(crate) async fn list(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, domain)): Path<(String, String)>,
    Query(paging): Query<Paging>,
) -> Result<Json<Page<RecipientView>>, Problem> {
    let (tenant, domain) = owner(&admin, &caller, &tenant, &domain, Permission::Read).await?;
    let name = format!("recipients/{}/{domain}", tenant.id.0);
    let limit = paging.limit();
    let after = paging.position(&admin.desk.keys, &name)?;
    let (id, key) = (tenant.id, domain.clone());
    let rows = admin
        .desk
        .store
        .read(move |tx| recipient::page(tx, id, &key, after.as_deref(), limit + 1))
        .await?;
    let rows = page(rows, limit, &admin.desk.keys, &name, |r| r.local.clone());
    Ok(Json(Page {
        items: rows.items.into_iter().map(|r| view(&domain, r)).collect(),
        next: rows.next,
    }))
}

/// The whole list as CSV (UTF-8 with byte order mark).
#[utoipa::path(get, path = "/tenants/{tenant}/domains/{domain}/recipients.csv", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, content_type = "text/csv", body = String), (status = "default", body = Problem)), tag = "recipients")]
pub(crate) async fn export(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, domain)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let (tenant, domain) = owner(&admin, &caller, &tenant, &domain, Permission::Read).await?;
    let (id, key) = (tenant.id, domain.clone());
    let rows = admin
        .desk
        .store
        .read(move |tx| {
            let mut rows: Vec<RecipientRow> = Vec::new();
            loop {
                let after = rows.last().map(|r| r.local.clone());
                let more = recipient::page(tx, id, &key, after.as_deref(), 1_000)?;
                if more.is_empty() || rows.len() >= 10 * ROWS_MAX {
                    return Ok::<_, store::StoreError>(rows);
                }
                rows.extend(more);
            }
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, "text/csv; charset=utf-8")], csv_file::write(&domain, &rows)).into_response())
}

/// Imports a CSV file: all or nothing.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/recipients/import", params(("tenant" = String, Path), ("domain" = String, Path), ImportParams), request_body(content = String, content_type = "text/csv"), responses((status = 200, body = ImportView), (status = "default", body = Problem)), tag = "recipients")]
pub(crate) async fn import(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, domain)): Path<(String, String)>,
    Query(params): Query<ImportParams>,
    headers: HeaderMap,
    file: Bytes,
) -> Result<Json<ImportView>, Problem> {
    let (tenant, domain) = owner(&admin, &caller, &tenant, &domain, Permission::Write).await?;
    let media = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if media.to_ascii_lowercase().contains("ldif") {
        return Err(super::directory::not_available("ldif"));
    }
    let mode = match params.mode.as_deref() {
        None | Some("replace") => ImportMode::Replace,
        Some("merge") => ImportMode::Merge,
        Some(_) => return Err(Problem::malformed(Text::new("api.recipients.mode"))),
    };
    let csv_file::Listed { rows, lines } = csv_file::read(&file, params.charset.as_deref(), &domain)?;
    let percent = admin
        .desk
        .live()
        .tenants
        .get(&tenant.id)
        .and_then(|t| t.settings.directory_guard_percent)
        .unwrap_or(10);
    let order = Import {
        tenant: tenant.id,
        domain: domain.clone(),
        rows,
        lines,
        mode,
        guard: if params.force { Guard::Overridden } else { Guard::Percent(percent) },
        actor: caller.name().to_owned(),
        origin: params.origin.unwrap_or_else(|| "upload".into()).chars().take(200).collect(),
        at: admin.desk.now(),
    };
    if params.dry_run {
        let difference = admin.desk.store.read(move |tx| recipient::preview(tx, &order)).await?;
        return Ok(Json(told(None, difference, Reader::of(&headers).0)));
    }
    let mut entry = caller.audit(tenant.id, order.at, "recipients.import", "recipients", domain.as_str());
    entry.domain = Some(domain);
    // Comparing a large list takes its time: on a reader, so that mail is not kept waiting.
    let plan = admin.desk.store.read(move |tx| recipient::plan(tx, &order)).await?;
    let imported = admin
        .desk
        .store
        .write(move |tx| {
            let imported = recipient::apply(tx, &plan)?;
            entry.changes = vec![Change::new("list", None, Some(summary(imported.difference).to_string()))];
            entry.revision = Some(imported.version);
            audit::append(tx, &entry)?;
            Ok::<_, ControlError>(imported)
        })
        .await?;
    admin.refresh().await?;
    Ok(Json(told(Some(imported.version), imported.difference, Reader::of(&headers).0)))
}

fn told(version: Option<i64>, difference: Difference, lang: Lang) -> ImportView {
    ImportView {
        version,
        difference: difference.into(),
        summary: summary(difference).render(lang),
    }
}

fn summary(d: Difference) -> Text {
    Text::new("api.recipients.summary")
        .with("added", d.added)
        .with("removed", d.removed)
        .with("changed", d.changed)
        .with("renamed", d.renamed)
}

/// Versions that can be restored, newest first.
#[utoipa::path(get, path = "/tenants/{tenant}/domains/{domain}/recipients/versions", params(("tenant" = String, Path), ("domain" = String, Path)), responses((status = 200, body = Vec<ListView>), (status = "default", body = Problem)), tag = "recipients")]
pub(crate) async fn versions(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    Path((tenant, domain)): Path<(String, String)>,
) -> Result<Json<Vec<ListView>>, Problem> {
    let (tenant, domain) = owner(&admin, &caller, &tenant, &domain, Permission::Read).await?;
    let id = tenant.id;
    let lists = admin.desk.store.read(move |tx| recipient::lists(tx, id, &domain)).await?;
    Ok(Json(lists.into_iter().map(list_view).collect()))
}

/// Puts an old version in force again, as a new one.
#[utoipa::path(post, path = "/tenants/{tenant}/domains/{domain}/recipients/versions/{version}/restore", params(("tenant" = String, Path), ("domain" = String, Path), ("version" = i64, Path)), responses((status = 200, body = ImportView), (status = "default", body = Problem)), tag = "recipients")]
pub(crate) async fn restore(
    State(admin): State<Arc<Admin>>,
    caller: Caller,
    reader: Reader,
    Path((tenant, domain, version)): Path<(String, String, i64)>,
) -> Result<Json<ImportView>, Problem> {
    let (tenant, domain) = owner(&admin, &caller, &tenant, &domain, Permission::Write).await?;
    let now: Timestamp = admin.desk.now();
    let mut entry = caller.audit(
        tenant.id,
        now,
        "recipients.restore",
        "recipients",
        &format!("{domain} version {version}"),
    );
    entry.domain = Some(domain.clone());
    let (id, actor) = (tenant.id, caller.name().to_owned());
    let imported = admin
        .desk
        .store
        .write(move |tx| {
            let imported = recipient::restore(tx, id, &domain, version, &actor, now)?;
            audit::append(tx, &entry)?;
            Ok::<_, ControlError>(imported)
        })
        .await?;
    admin.refresh().await?;
    Ok(Json(told(Some(imported.version), imported.difference, reader.0)))
}
