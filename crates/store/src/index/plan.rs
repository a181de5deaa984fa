//! Plan: which terms must a trace have to be worth reading?
//!
//! In:  a [`Query`] and a [`Scope`]. Out: groups of terms (one of each group must be there), a span of ids, a span of sizes.
//! Invariants: the plan admits every trace that `matches` admits, and not many more.

use mail::{QueueId, Timestamp};
use std::net::IpAddr;

use super::fold::{fold, pieces};
use super::matches::{Network, Pattern, asks_for_redacted};
use super::term::{self, AddressFields, Field, plain, plain_message_id, term};
use crate::tracking::state::State;
use crate::tracking::{Query, Scope};

/// What a search looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// All groups must be met, each by one of its terms.
    pub groups: Vec<Vec<u64>>,
    /// First id wanted.
    pub from: QueueId,
    /// First id beyond those wanted.
    pub to: QueueId,
    /// Sizes wanted.
    pub sizes: Option<(u64, u64)>,
}

/// The plan; `None` when nothing can match.
#[must_use]
pub fn plan(query: &Query, scope: &Scope, before: Option<QueueId>) -> Option<Plan> {
    if scope.tenant.is_none() && asks_for_redacted(query) {
        return None;
    }
    let mut groups = Vec::new();
    groups.extend(scope.tenant.map(|t| vec![term::tenant_term(t)]));
    if let Some(domains) = &scope.domains {
        let both = |d: &String| {
            [
                term(Field::RecipientDomain, d.as_bytes()),
                term(Field::ReversePathDomain, d.as_bytes()),
            ]
        };
        groups.push(domains.iter().flat_map(both).collect());
    }
    for (fields, texts) in [
        (term::REVERSE_PATH, &query.reverse_path),
        (term::FROM, &query.from),
        (term::RECIPIENT, &query.recipient),
        (term::TO, &query.to),
    ] {
        if !texts.is_empty() {
            groups.push(texts.iter().map(|t| address_term(fields, t)).collect());
        }
    }
    for (field, text) in [(Field::Subject, &query.subject), (Field::Attachment, &query.attachment)] {
        if let Some(text) = text {
            let wanted = term::wanted_piece_terms(field, &pieces(&fold(text)));
            if wanted.is_empty() {
                return None;
            }
            groups.extend(wanted.into_iter().map(|t| vec![t]));
        }
    }
    let plain_of = |field: Field, text: &Option<String>| text.as_ref().map(|t| vec![term(field, plain(t).as_bytes())]);
    groups.extend(plain_of(Field::Hello, &query.hello));
    groups.extend(plain_of(Field::NextHop, &query.next_hop));
    groups.extend(plain_of(Field::Sha256, &query.sha256));
    groups.extend(plain_of(Field::UrlHost, &query.url_host));
    groups.extend(plain_of(Field::Login, &query.login));
    groups.extend(
        query
            .message_id
            .as_ref()
            .map(|m| vec![term(Field::MessageId, plain_message_id(m).as_bytes())]),
    );
    groups.extend(
        query
            .country
            .as_ref()
            .map(|c| vec![term(Field::Country, c.to_ascii_uppercase().as_bytes())]),
    );
    groups.extend(query.direction.map(|d| vec![term::direction_term(d)]));
    groups.extend(query.reference.map(|r| vec![term::reference_term(r)]));
    groups.extend(query.disposition.map(|d| vec![term::disposition_term(d)]));
    groups.extend(query.reason.map(|r| vec![term::reason_term(r)]));
    groups.extend(query.tls.map(|t| vec![term::tls_term(t)]));
    if let Some(state) = &query.state {
        groups.push(vec![term::state_term(State::parse(state)?)]);
    }
    if let Some(client) = &query.client {
        groups.extend(network_terms(Network::parse(client)?));
    }
    let (from, to) = span(query, before)?;
    let sizes =
        (query.size_min.is_some() || query.size_max.is_some()).then(|| (query.size_min.unwrap_or(0), query.size_max.unwrap_or(u64::MAX)));
    Some(Plan { groups, from, to, sizes })
}

fn address_term(fields: AddressFields, text: &str) -> u64 {
    match Pattern::parse(text) {
        Pattern::Whole(address) => term(fields.0, address.as_bytes()),
        Pattern::Domain(domain) => term(fields.1, domain.as_bytes()),
        Pattern::Under(parent) => term(fields.2, parent.as_bytes()),
    }
}

/// The networks of the next length that has terms, which together are this one; `None` when they would be too many.
fn network_terms(network: Network) -> Option<Vec<u64>> {
    let lengths = term::client_lengths(network.address);
    let next = lengths.iter().copied().find(|l| *l >= network.length)?;
    let more = next - network.length;
    if more > 8 {
        // Longer than /64: its /64 is a good first sieve. Shorter than /8: no sieve.
        let wider = lengths.iter().copied().rfind(|l| *l <= network.length)?;
        return Some(vec![term::client_term(network.address, wider)]);
    }
    Some((0..1u32 << more).map(|n| term::client_term(nth(network, next, n), next)).collect())
}

/// The `n`th network of `length` bits within `network`.
fn nth(network: Network, length: u8, n: u32) -> IpAddr {
    match network.address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(network.length)).unwrap_or(0);
            let bits = (u32::from(v4) & mask) | n.checked_shl(32 - u32::from(length)).unwrap_or(0);
            IpAddr::V4(bits.into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(network.length)).unwrap_or(0);
            let bits = (u128::from(v6) & mask) | u128::from(n).checked_shl(128 - u32::from(length)).unwrap_or(0);
            IpAddr::V6(bits.into())
        }
    }
}

fn span(query: &Query, before: Option<QueueId>) -> Option<(QueueId, QueueId)> {
    let mut from = QueueId::first_at(query.since.unwrap_or(Timestamp(i64::MIN)).max(Timestamp(0)));
    let mut to = query.until.map_or(QueueId::from_i64(i64::MAX), QueueId::first_at);
    if let Some(before) = before {
        to = to.min(before);
    }
    if let Some(id) = query.queue_id {
        from = from.max(id);
        to = to.min(QueueId::from_i64(id.to_i64().saturating_add(1)));
    }
    (from < to).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_between_lengths_are_the_sum_of_their_parts() {
        let check = |text: &str, expect: Option<usize>| {
            let network = Network::parse(text).unwrap();
            let terms = network_terms(network);
            assert_eq!(terms.as_ref().map(Vec::len), expect, "{text}");
            if let (Some(terms), IpAddr::V4(_)) = (terms, network.address) {
                let inside = term::client_lengths(network.address)
                    .iter()
                    .any(|l| terms.contains(&term::client_term(network.address, *l)));
                assert!(inside, "{text}");
            }
        };
        check("192.0.2.1", Some(1));
        check("192.0.2.0/24", Some(1));
        check("192.0.2.0/23", Some(2));
        check("192.0.2.128/25", Some(128));
        check("0.0.0.0/0", Some(256));
        check("2001:db8::/32", Some(1));
        check("2001:db8::/30", Some(4));
        check("2001:db8::1/96", Some(1));
        check("::/0", None);
    }

    #[test]
    fn nothing_can_match() {
        let anyone = Scope {
            tenant: Some(mail::TenantId(1)),
            domains: None,
        };
        let check = |query: Query, expect: bool| assert_eq!(plan(&query, &anyone, None).is_some(), expect, "{query:?}");
        check(Query::default(), true);
        check(
            Query {
                state: Some("lost".into()),
                ..Query::default()
            },
            false,
        );
        check(
            Query {
                client: Some("here".into()),
                ..Query::default()
            },
            false,
        );
        check(
            Query {
                subject: Some(" - ".into()),
                ..Query::default()
            },
            false,
        );
        check(
            Query {
                since: Some(Timestamp(1_800_000_000_000)),
                until: Some(Timestamp(1_800_000_000_000)),
                ..Query::default()
            },
            false,
        );
        let operator = Scope {
            tenant: None,
            domains: None,
        };
        assert!(
            plan(
                &Query {
                    subject: Some("x".into()),
                    ..Query::default()
                },
                &operator,
                None
            )
            .is_none()
        );
    }
}
