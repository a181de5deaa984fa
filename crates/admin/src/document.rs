//! How a settings document is changed: read, change, check whole, save as a revision with its audit entry, make it live.
//!
//! In: who, whose, on top of which revision, a change. Out: the new revision, or every problem. Secrets are masked on the way out and
//! kept when a masked one comes back in.
//! Invariants: one transaction holds the revision and the audit entry; a later editor gets a conflict.

mod secret;

use crate::caller::Caller;
use crate::problem::text_of;
use crate::{Admin, Problem};
use config::document::RelayCredential;
use config::{SystemDocument, TenantDocument};
use mail::text::Text;
use mail::{Domain, TenantId};
use secret::seal_secrets;
use serde_json::Value;
use store::control::audit::{self, Change, MASK};
use store::control::{ControlError, revision, tenant::Tenant};

/// A document with its revision.
#[derive(Clone, Debug)]
pub struct Revised<T> {
    /// Number.
    pub revision: i64,
    /// Document.
    pub document: T,
}

/// What is told in audit beside the changed fields.
#[derive(Clone, Debug)]
pub struct About {
    /// `domain.change`, `settings.save` …
    pub action: &'static str,
    /// `domain`, `settings`, `credential` …
    pub object_kind: &'static str,
    /// Its name.
    pub object: String,
    /// Domain concerned.
    pub domain: Option<Domain>,
    /// Reason text given.
    pub reason: String,
}

/// The newest document of a tenant.
///
/// # Errors
/// Of the store.
pub async fn tenant(admin: &Admin, id: TenantId) -> Result<Revised<TenantDocument>, Problem> {
    let newest = admin.desk.store.read(move |tx| revision::newest(tx, id)).await?;
    Ok(Revised {
        revision: newest.number,
        document: parse(&newest.document)?,
    })
}

/// The newest document of the operator.
///
/// # Errors
/// Of the store.
pub async fn system(admin: &Admin) -> Result<Revised<SystemDocument>, Problem> {
    let newest = admin.desk.store.read(move |tx| revision::newest(tx, TenantId::OPERATOR)).await?;
    Ok(Revised {
        revision: newest.number,
        document: parse(&newest.document)?,
    })
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Problem> {
    serde_json::from_str(text).map_err(|e| {
        tracing::error!(error = %e, "a stored settings document cannot be read");
        let text = Text::new("api.settings.unreadable");
        Problem::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
    })
}

/// Changes a tenant's document. `base`: the revision the caller has seen; absent: the newest.
///
/// # Errors
/// 422 with every problem, 409 when someone else saved first, or those of the store.
pub async fn change_tenant<T>(
    admin: &Admin,
    caller: &Caller,
    whose: &Tenant,
    base: Option<i64>,
    about: About,
    change: impl FnOnce(&mut TenantDocument) -> Result<T, Problem>,
) -> Result<(i64, T), Problem> {
    let before = tenant(admin, whose.id).await?;
    check_base(base, before.revision)?;
    let mut after = before.document.clone();
    let outcome = change(&mut after)?;
    seal_secrets(&admin.desk.keys, whose.id, &before.document, &mut after)?;
    let live = admin.desk.live();
    let problems = admin.check_tenant(&live.system, &before.document, &after).await;
    if !problems.is_empty() {
        return Err(Problem::checked(problems));
    }
    let revision = save(admin, caller, whose.id, before.revision, about, &before.document, &after).await?;
    Ok((revision, outcome))
}

/// Changes the operator's document.
///
/// # Errors
/// As [`change_tenant`].
pub async fn change_system(
    admin: &Admin,
    caller: &Caller,
    base: Option<i64>,
    about: About,
    change: impl FnOnce(&mut SystemDocument) -> Result<(), Problem>,
) -> Result<i64, Problem> {
    let before = system(admin).await?;
    check_base(base, before.revision)?;
    let mut after = before.document.clone();
    change(&mut after)?;
    let problems = admin.check_system(&after);
    if !problems.is_empty() {
        return Err(Problem::checked(problems));
    }
    save(admin, caller, TenantId::OPERATOR, before.revision, about, &before.document, &after).await
}

fn check_base(base: Option<i64>, current: i64) -> Result<(), Problem> {
    match base {
        Some(base) if base != current => Err(store::StoreError::Conflict { current }.into()),
        _ => Ok(()),
    }
}

async fn save<T: serde::Serialize>(
    admin: &Admin,
    caller: &Caller,
    whose: TenantId,
    base: i64,
    about: About,
    before: &T,
    after: &T,
) -> Result<i64, Problem> {
    let text = |document: &T| serde_json::to_value(document).map_err(|e| Problem::internal(&e));
    let (before, after) = (text(before)?, text(after)?);
    let changes = difference(&before, &after);
    let now = admin.desk.now();
    let document = after.to_string();
    let mut entry = caller.audit(whose, now, about.action, about.object_kind, &about.object);
    (entry.domain, entry.changes, entry.reason) = (about.domain, changes, about.reason);
    let number = admin
        .desk
        .store
        .write(move |tx| {
            let save = revision::Save {
                tenant: whose,
                base,
                document: &document,
                actor: &entry.actor,
                reason: &entry.reason,
                at: now,
            };
            let number = revision::save(tx, &save)?;
            entry.revision = Some(number);
            audit::append(tx, &entry)?;
            Ok::<_, ControlError>(number)
        })
        .await?;
    admin.refresh().await?;
    Ok(number)
}

/// Fields whose values are secrets.
const SECRET_FIELDS: &[&str] = &["secret", "hash", "scram", "secret_sha256"];

/// Old and new value of every field that differs, by path; secrets masked.
#[must_use]
pub fn difference(before: &Value, after: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk("", before, after, &mut changes);
    changes
}

fn walk(path: &str, before: &Value, after: &Value, changes: &mut Vec<Change>) {
    if before == after || changes.len() >= 10_000 {
        return;
    }
    if let (Value::Object(old), Value::Object(new)) = (before, after) {
        let names: std::collections::BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for name in names {
            let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            walk(
                &at,
                old.get(name).unwrap_or(&Value::Null),
                new.get(name).unwrap_or(&Value::Null),
                changes,
            );
        }
        return;
    }
    let shown = |v: &Value| (!v.is_null()).then(|| masked(v).to_string());
    let change = Change::new(path, shown(before), shown(after));
    let is_secret = path.rsplit('.').next().is_some_and(|name| SECRET_FIELDS.contains(&name));
    changes.push(if is_secret { change.masked() } else { change });
}

/// The same value with every secret in it replaced.
#[must_use]
pub fn masked(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, v)| {
                    let hide = SECRET_FIELDS.contains(&name.as_str()) && !v.is_null();
                    (name.clone(), if hide { mask(v) } else { masked(v) })
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(masked).collect()),
        other => other.clone(),
    }
}

fn mask(value: &Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.iter().map(mask).collect()),
        _ => Value::String(MASK.into()),
    }
}

/// What has calls of its own stays as it is now when an old revision comes back: domains are neither added nor deleted, a relay credential
/// or proof made since keeps its secret, and one that was ended opens nothing again.
pub fn keep_own(restored: &mut TenantDocument, now: &TenantDocument) {
    restored.domains.retain(|domain, _| now.domains.contains_key(domain));
    for (domain, settings) in &now.domains {
        restored.domains.entry(domain.clone()).or_insert_with(|| settings.clone());
    }
    let old = std::mem::take(&mut restored.relay_credentials);
    let kept = now.relay_credentials.iter().map(|own| {
        let before = old.iter().find(|c| c.name == own.name).unwrap_or(own);
        RelayCredential {
            hash: own.hash.clone(),
            scram: own.scram.clone(),
            ..before.clone()
        }
    });
    restored.relay_credentials = kept.collect();
    restored.proof.secret_sha256.clone_from(&now.proof.secret_sha256);
    restored.proof.setup_window_until = now.proof.setup_window_until;
}

/// RFC 7396: a merge patch.
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(fields) = target.as_object_mut() else { return };
    for (name, value) in patch {
        if value.is_null() {
            fields.remove(name);
        } else {
            merge(fields.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

/// A typed document with a merge patch applied.
///
/// # Errors
/// 422 when the result is not of the form: unknown setting, wrong type, unknown value.
pub fn patched<T: serde::Serialize + serde::de::DeserializeOwned>(document: &T, patch: &Value, at: &str) -> Result<T, Problem> {
    let mut value = serde_json::to_value(document).map_err(|e| Problem::internal(&e))?;
    merge(&mut value, patch);
    from_value(value, at)
}

/// A typed document from JSON.
///
/// # Errors
/// As [`patched`].
pub fn from_value<T: serde::de::DeserializeOwned>(value: Value, at: &str) -> Result<T, Problem> {
    // serde reads a list as a structure too: `[]` would be a document without a single setting.
    if !value.is_object() {
        let problem = config::Problem::new(at, config::ProblemKind::Malformed, Text::new("api.settings.object"));
        return Err(Problem::checked(vec![problem]));
    }
    serde_json::from_value(value).map_err(|e| {
        let text = e.to_string();
        let unknown = text.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next());
        if let Some(later) = unknown.filter(|name| config::later::is_later(name)) {
            let problem = config::Problem::new(
                format!("{at}.{later}"),
                config::ProblemKind::NotAvailable,
                Text::new("check.not-available").with("what", (*later).to_owned()),
            );
            return Problem::checked(vec![problem]);
        }
        let kind = if unknown.is_some() {
            config::ProblemKind::Unknown
        } else {
            config::ProblemKind::Malformed
        };
        Problem::checked(vec![config::Problem::new(at, kind, text_of(&text))])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn differences_name_fields_and_mask_secrets() {
        let before = json!({"a": {"b": 1, "secret": "x"}, "list": [1]});
        let after = json!({"a": {"b": 2, "secret": "y"}, "list": [1, {"user": "u", "secret": "z"}]});
        let changes = difference(&before, &after);
        let told: Vec<_> = changes
            .iter()
            .map(|c| (c.field.as_str(), c.old.as_deref(), c.new.as_deref()))
            .collect();
        assert_eq!(
            told,
            [
                ("a.b", Some("1"), Some("2")),
                ("a.secret", Some(MASK), Some(MASK)),
                ("list", Some("[1]"), Some("[1,{\"secret\":\"********\",\"user\":\"u\"}]"))
            ]
        );
    }

    fn tenant_document(value: Value) -> TenantDocument {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_restored_revision_ends_no_secret_and_revives_none() {
        let credential = |name: &str, hash: &str, limit: u32| json!({"name": name, "hash": hash, "messages_per_10_min": limit});
        let mut restored = tenant_document(json!({
            "relay_credentials": [credential("kept", "$argon2id$old", 10), credential("ended", "$argon2id$x", 10)],
            "proof": {"secret_sha256": ["ended"], "microsoft_tenant_ids": ["old"]},
            "domains": {"gone.example": {}, "a.example": {"disabled": true}},
        }));
        let now = tenant_document(json!({
            "relay_credentials": [credential("kept", "$argon2id$new", 20), credential("made", "$argon2id$y", 30)],
            "proof": {"secret_sha256": ["made"]},
            "domains": {"a.example": {}, "b.example": {"disabled": true}},
        }));
        keep_own(&mut restored, &now);
        let expect = tenant_document(json!({
            "relay_credentials": [credential("kept", "$argon2id$new", 10), credential("made", "$argon2id$y", 30)],
            "proof": {"secret_sha256": ["made"], "microsoft_tenant_ids": ["old"]},
            "domains": {"a.example": {"disabled": true}, "b.example": {"disabled": true}},
        }));
        assert_eq!(restored, expect);
    }

    #[test]
    fn what_comes_later_is_not_called_unknown() {
        use config::ProblemKind::{NotAvailable, Unknown};
        for (field, kind) in [
            ("greylisting", NotAvailable),
            ("conn.dnsbl", NotAvailable),
            ("dmarc", NotAvailable),
            ("callout", NotAvailable),
            ("graylist", Unknown),
            ("inbound_server", Unknown),
        ] {
            let given = json!({field: true});
            let problem = from_value::<config::DomainDocument>(given, "domain").unwrap_err();
            let kinds: Vec<_> = problem.problems.iter().map(|p| p.kind).collect();
            assert_eq!(kinds, [kind], "{field}");
        }
    }

    #[test]
    fn merge_patch_as_in_the_appendix_of_rfc_7396() {
        for (target, patch, expect) in [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ] {
            let mut got = target.clone();
            merge(&mut got, &patch);
            assert_eq!(got, expect, "{target} + {patch}");
        }
    }
}
