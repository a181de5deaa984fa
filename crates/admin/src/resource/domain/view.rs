//! What is written and read about domains.

use crate::Admin;
use crate::document;
use mail::Timestamp;
use mail::text::{Lang, Text};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use store::control::domain::{DomainClaim, DomainState};
use store::control::tenant::Tenant;
use utoipa::ToSchema;

/// A domain with its state.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct DomainView {
    /// Name, A-labels.
    pub name: String,
    /// Name as people read it.
    pub unicode_name: String,
    /// `unverified verified active disabled deleting`.
    pub state: String,
    /// The state in Japanese.
    pub label_ja: String,
    /// The state in English.
    pub label_en: String,
    /// TXT record that proves the name.
    pub txt_record: String,
    /// MX target that proves it too.
    pub mx: String,
    /// `txt mx operator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_by: Option<String>,
    /// Reason text of the operator's proof.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_reason: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verified_at: Option<String>,
    /// When an unproven claim ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapses_at: Option<String>,
    /// When a deleted domain is purged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purge_at: Option<String>,
    /// Last look at DNS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<String>,
    /// What the last look found: each server's answer with its TTL.
    #[schema(value_type = Object)]
    pub report: Value,
    /// Settings; secrets masked.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// What deserves a look although it is allowed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A claim.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainNew {
    /// One exact name.
    pub name: String,
    /// Its settings.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub settings: Option<Value>,
}

/// A change of settings.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainPatch {
    /// Revision of the tenant's settings that the editor has seen.
    pub base: Option<i64>,
    /// Why.
    #[serde(default)]
    pub reason: String,
    /// Merge patch (RFC 7396) of the domain's settings.
    #[schema(value_type = Object)]
    pub settings: Value,
}

/// A reason text.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Because {
    /// Why.
    pub reason: String,
}

/// A deletion: the name must be typed.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DomainDelete {
    /// The domain's name once more.
    pub confirm: String,
    /// Why.
    #[serde(default)]
    pub reason: String,
}

/// What one should know before a deletion (domains-and-routing 2.5).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct BeforeDeletion {
    /// Whether the best MX is still ours; absent: DNS did not answer.
    pub mx_is_ours: Option<bool>,
    /// Outbound messages of the last 24 hours (1,000: that many or more).
    pub outbound_last_24h: u64,
    /// Entries in the queue, held ones included.
    pub queued: u64,
    /// Entries held.
    pub held: u64,
    /// Messages in quarantine.
    pub quarantined: u64,
    /// Days of grace.
    pub grace_days: u32,
}

fn state_words(claim: &DomainClaim, disabled: bool) -> (&'static str, Text) {
    match claim.state {
        DomainState::Deleting => ("deleting", Text::new("api.domain-state.deleting")),
        _ if disabled => ("disabled", Text::new("api.domain-state.disabled")),
        DomainState::Unverified => ("unverified", Text::new("api.domain-state.open")),
        DomainState::Verified => ("verified", Text::new("api.domain-state.open")),
        DomainState::Active => ("active", Text::new("api.domain-state.active")),
    }
}

/// A domain as the reader sees it.
pub(super) fn view(admin: &Admin, tenant: &Tenant, claim: &DomainClaim, settings: &config::DomainDocument, lang: Lang) -> DomainView {
    let (state, label) = state_words(claim, settings.disabled);
    let mut value = serde_json::to_value(settings).unwrap_or_default();
    if settings.services.is_empty() {
        value["services"] = serde_json::json!(["inbound"]);
    }
    DomainView {
        name: claim.name.to_string(),
        unicode_name: claim.name.to_unicode(),
        state: state.into(),
        label_ja: label.render(Lang::Ja),
        label_en: label.render(Lang::En),
        txt_record: format!("mitsuke={}", claim.token),
        mx: format!("{}.in.{}", tenant.name, admin.desk.node.base),
        verified_by: claim.verified_by.map(|v| v.as_str().into()),
        verified_reason: claim.verified_reason.clone(),
        verified_at: claim.verified_at.map(Timestamp::to_rfc3339),
        lapses_at: claim.lapses_at.map(Timestamp::to_rfc3339),
        purge_at: claim.purge_at.map(Timestamp::to_rfc3339),
        checked_at: claim.checked_at.map(Timestamp::to_rfc3339),
        report: serde_json::from_str(&claim.report).unwrap_or(Value::Null),
        settings: document::masked(&value),
        warnings: admin.domain_warnings(&claim.name).iter().map(|w| w.render(lang)).collect(),
    }
}
