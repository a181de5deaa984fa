//! Nouns: the things of which a text says that they are not there, there already, or too many.

use super::Text;
use std::fmt;

/// A thing. Plural where it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Noun {
    /// Of recipient lists.
    Addresses,
    /// Key of the API.
    ApiKey,
    /// Entry of the audit log.
    AuditEntry,
    /// Accepted domain.
    Domain,
    /// Accepted domains and claims.
    Domains,
    /// Entry of the queue.
    Entry,
    /// Long work in the background.
    Job,
    /// Message in tracking.
    Message,
    /// Page of the web.
    Page,
    /// Pause of a domain or next hop.
    Pause,
    /// Version of a recipient list.
    RecipientList,
    /// Relay credential.
    RelayCredential,
    /// Address of the API.
    Resource,
    /// Revision of a settings document.
    Revision,
    /// Rows of a file.
    Rows,
    /// Secret of the proof of tenant.
    Secret,
    /// Tenant.
    Tenant,
}

impl From<Noun> for Text {
    fn from(noun: Noun) -> Self {
        Self::new(match noun {
            Noun::Addresses => "api.noun.addresses",
            Noun::ApiKey => "api.noun.api-key",
            Noun::AuditEntry => "api.noun.audit-entry",
            Noun::Domain => "api.noun.domain",
            Noun::Domains => "api.noun.domains",
            Noun::Entry => "api.noun.entry",
            Noun::Job => "api.noun.job",
            Noun::Message => "api.noun.message",
            Noun::Page => "api.noun.page",
            Noun::Pause => "api.noun.pause",
            Noun::RecipientList => "api.noun.recipient-list",
            Noun::RelayCredential => "api.noun.relay-credential",
            Noun::Resource => "api.noun.resource",
            Noun::Revision => "api.noun.revision",
            Noun::Rows => "api.noun.rows",
            Noun::Secret => "api.noun.secret",
            Noun::Tenant => "api.noun.tenant",
        })
    }
}

impl fmt::Display for Noun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Text::from(*self).fmt(f)
    }
}
