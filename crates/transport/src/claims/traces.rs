//! Which traces go with a domain whose grace is over? (domains-and-routing 2.5: tracking of the domain is purged)
//!
//! In:  a tenant's domain. Out: nothing of it is found any more. A message that concerned another domain of the tenant too stays.

use mail::{Direction, TenantId};
use store::tracking::{Event, Query, Scope, Trace};
use store::{Store, StoreError};

/// Traces looked at together.
const PAGE: usize = 500;

/// Drops what tracking knows of a domain.
///
/// # Errors
/// Of the store; then the rest is still there.
pub(super) async fn forget(store: &Store, tenant: TenantId, domain: &mail::Domain) -> Result<(), StoreError> {
    let scope = Scope {
        tenant: Some(tenant),
        domains: Some(vec![domain.to_string()]),
    };
    let mail = &store.mail;
    let mut before = None;
    loop {
        let page = mail.search(Query::default(), scope.clone(), before, PAGE).await?;
        let own: Vec<_> = page.traces.iter().filter(|t| is_of(t, domain.as_str())).map(|t| t.id).collect();
        if !own.is_empty() {
            mail.forget_traces(tenant, own).await?;
        }
        match page.next {
            Some(next) => before = Some(next),
            None => return Ok(()),
        }
    }
}

/// Outbound mail is its sender's domain's, all other mail that of its recipients, if they all lie there.
fn is_of(trace: &Trace, domain: &str) -> bool {
    let lies_there = |address: &str| address.rsplit_once('@').is_some_and(|(_, d)| d.eq_ignore_ascii_case(domain));
    let events = || trace.records.iter().flat_map(|r| &r.events);
    if trace.direction == Some(Direction::Outbound) {
        return events().any(|e| matches!(e, Event::MailFrom { reverse_path, .. } if lies_there(reverse_path)));
    }
    let recipients = || {
        events().filter_map(|e| match e {
            Event::Rcpt { recipient, .. } | Event::Queued { recipient, .. } => Some(recipient),
            Event::Refused { recipient, .. } => recipient.as_ref(),
            _ => None,
        })
    };
    recipients().next().is_some() && recipients().all(|r| lies_there(r))
}
