//! The domain that a request is about: which one, whose, who asks, in which language, and whether they may.

use super::view::{DomainView, view};
use crate::caller::Caller;
use crate::document::{self, About};
use crate::problem::{Reader, text_of};
use crate::{Admin, Problem};
use axum::Json;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use identity::{Capability, Permission};
use mail::text::{Noun, Text};
use mail::{Domain, TenantId, Timestamp};
use std::sync::Arc;
use store::control::audit::{self, Change};
use store::control::domain::{self, DomainClaim};
use store::control::{ControlError, tenant::Tenant};

/// What the caller must be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Looks.
    Read,
    /// Changes settings.
    Write,
    /// Adds and deletes domains.
    AddDelete,
    /// Proves names by hand: the operator.
    Confirm,
}

/// A request about `/tenants/{tenant}/domains/{domain}`, before it is known whether the caller may.
pub(crate) struct Asked {
    admin: Arc<Admin>,
    caller: Caller,
    reader: Reader,
    tenant: String,
    name: String,
}

impl FromRequestParts<Arc<Admin>> for Asked {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, admin: &Arc<Admin>) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, admin).await?;
        let Path((tenant, name)) = Path::from_request_parts(parts, admin)
            .await
            .map_err(|e| Problem::malformed(text_of(&e.body_text())))?;
        Ok(Self {
            admin: Arc::clone(admin),
            caller,
            reader: Reader::of(&parts.headers),
            tenant,
            name,
        })
    }
}

impl Asked {
    /// The domain, if the caller may do this to it.
    pub(super) async fn may(self, need: Need) -> Result<Place, Problem> {
        let Self { admin, caller, reader, .. } = self;
        let name = name_of(&self.name)?;
        let settings = |access| caller.tenant(&admin, &self.tenant, Capability::DomainSettings, access);
        let tenant = match need {
            Need::Read => settings(Permission::Read).await?,
            Need::Write => settings(Permission::Write).await?,
            Need::AddDelete => {
                caller
                    .tenant(&admin, &self.tenant, Capability::DomainsAddDelete, Permission::Write)
                    .await?
            }
            Need::Confirm => caller.any_tenant(&admin, &self.tenant).await?,
        };
        match need {
            Need::Read | Need::Write => caller.within(&name)?,
            Need::AddDelete => caller.whole_tenant()?,
            Need::Confirm => caller.need(Capability::Tenants, Permission::Write, None)?,
        }
        Ok(Place {
            admin,
            caller,
            reader,
            tenant,
            name,
        })
    }
}

/// A typed name.
pub(super) fn name_of(text: &str) -> Result<Domain, Problem> {
    Domain::parse(text.trim()).map_err(|e| Problem::malformed(Text::new("check.about").with("what", text).with("why", e)))
}

/// A domain that the caller may do something to. It need not exist.
pub(super) struct Place {
    pub(super) admin: Arc<Admin>,
    pub(super) caller: Caller,
    pub(super) reader: Reader,
    pub(super) tenant: Tenant,
    pub(super) name: Domain,
}

impl Place {
    /// The claim; 404 when there is none.
    pub(super) async fn claim(&self) -> Result<DomainClaim, Problem> {
        let (id, key) = (self.tenant.id, self.name.clone());
        let claim = self.admin.desk.store.read(move |tx| domain::get(tx, id, &key)).await?;
        claim.ok_or_else(|| Problem::not_found(Noun::Domain))
    }

    /// How it stands now.
    pub(super) async fn view(&self) -> Result<Json<DomainView>, Problem> {
        let claim = self.claim().await?;
        let mut document = document::tenant(&self.admin, self.tenant.id).await?.document;
        let settings = document.domains.remove(&self.name).unwrap_or_default();
        Ok(Json(view(&self.admin, &self.tenant, &claim, &settings, self.reader.0)))
    }

    /// A change of its settings, for the audit log.
    pub(super) fn about(&self, reason: String) -> About {
        About {
            action: "domain.change",
            object_kind: "domain",
            object: self.name.to_string(),
            domain: Some(self.name.clone()),
            reason,
        }
    }

    /// Does something to it and tells of it in the same transaction.
    pub(super) async fn in_audit(
        &self,
        action: &'static str,
        reason: &str,
        job: impl FnOnce(&mut dyn store::sql::Tx, &Domain, TenantId, Timestamp) -> Result<Vec<Change>, ControlError> + Send + 'static,
    ) -> Result<(), Problem> {
        let now = self.admin.desk.now();
        let (id, key) = (self.tenant.id, self.name.clone());
        let mut entry = self.caller.audit(id, now, action, "domain", key.as_str());
        (entry.domain, entry.reason) = (Some(key.clone()), reason.to_owned());
        self.admin
            .desk
            .store
            .write(move |tx| {
                entry.changes = job(tx, &key, id, now)?;
                audit::append(tx, &entry)?;
                Ok::<_, ControlError>(())
            })
            .await?;
        self.admin.refresh().await
    }
}
