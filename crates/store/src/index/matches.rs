//! Matching: does this trace really fulfil the query, and may this reader see it? The last word of every search.
//!
//! In:  a trace with all its records, a [`Query`], a [`Scope`]. Out: yes or no; [`redact`] takes away what an operator does not see.
//! Invariants: nothing found by a hash alone; a tenant outside the scope never matches.

use std::net::IpAddr;

use super::fold::{Piece, fold, has_pieces, pieces};
use super::term::{plain, plain_message_id, recipient_of};
use crate::tracking::state::{State, states};
use crate::tracking::{Event, Query, Scope, Trace};

/// How an address is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// `name@domain`, or the empty text: the null reverse path.
    Whole(String),
    /// `*@domain`.
    Domain(String),
    /// `*@*.domain`: any domain below it.
    Under(String),
}

impl Pattern {
    /// Reads it; never fails: what is no pattern is an address that nobody has.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let text = text.trim();
        if let Some(domain) = text.strip_prefix("*@*.") {
            return Self::Under(plain(domain).into_owned());
        }
        if let Some(domain) = text.strip_prefix("*@") {
            return Self::Domain(plain(domain).into_owned());
        }
        Self::Whole(if text == "<>" { String::new() } else { plain(text).into_owned() })
    }

    /// Whether `address` is meant.
    #[must_use]
    pub fn is_met_by(&self, address: &str) -> bool {
        let address = plain(address);
        let domain = || address.rsplit_once('@').map_or("", |(_, d)| d);
        match self {
            Self::Whole(whole) => address == whole.as_str(),
            Self::Domain(wanted) => domain() == wanted,
            Self::Under(parent) => domain().strip_suffix(parent.as_str()).is_some_and(|rest| rest.ends_with('.')),
        }
    }
}

/// A client network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Any address in it.
    pub address: IpAddr,
    /// Its length in bits.
    pub length: u8,
}

impl Network {
    /// `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, length) = match text.trim().split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse::<IpAddr>().ok()?.to_canonical();
        let full = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(full);
        (length <= full).then_some(Self { address, length })
    }

    /// Whether `client` is in it.
    #[must_use]
    pub fn contains(&self, client: IpAddr) -> bool {
        match (self.address, client.to_canonical()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => (u32::from(a) ^ u32::from(b)).checked_shr(32 - u32::from(self.length)).unwrap_or(0) == 0,
            (IpAddr::V6(a), IpAddr::V6(b)) => {
                (u128::from(a) ^ u128::from(b))
                    .checked_shr(128 - u32::from(self.length))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

/// A query made ready for many comparisons.
#[derive(Debug)]
pub struct Matcher<'q> {
    query: &'q Query,
    reverse_path: Vec<Pattern>,
    from: Vec<Pattern>,
    recipient: Vec<Pattern>,
    to: Vec<Pattern>,
    subject: Option<Vec<Piece>>,
    attachment: Option<Vec<Piece>>,
    client: Option<Option<Network>>,
    state: Option<Option<State>>,
}

impl<'q> Matcher<'q> {
    /// Reads the query's patterns.
    #[must_use]
    pub fn new(query: &'q Query) -> Self {
        let patterns = |texts: &[String]| texts.iter().map(|t| Pattern::parse(t)).collect();
        Self {
            query,
            reverse_path: patterns(&query.reverse_path),
            from: patterns(&query.from),
            recipient: patterns(&query.recipient),
            to: patterns(&query.to),
            subject: query.subject.as_deref().map(|t| pieces(&fold(t))),
            attachment: query.attachment.as_deref().map(|t| pieces(&fold(t))),
            client: query.client.as_deref().map(Network::parse),
            state: query.state.as_deref().map(State::parse),
        }
    }

    /// Whether `trace` fulfils every condition and is in scope.
    #[must_use]
    pub fn is_met_by(&self, trace: &Trace, scope: &Scope) -> bool {
        is_in_scope(trace, scope)
            && self.frame(trace)
            && self.addresses(trace)
            && self.session(trace)
            && self.content(trace)
            && self.fate(trace)
    }

    fn frame(&self, trace: &Trace) -> bool {
        let q = self.query;
        let at = trace.id.time();
        q.since.is_none_or(|t| at >= t)
            && q.until.is_none_or(|t| at < t)
            && q.queue_id.is_none_or(|id| trace.id == id)
            && q.direction.is_none_or(|d| trace.records.iter().any(|r| r.direction == Some(d)))
    }

    fn addresses(&self, trace: &Trace) -> bool {
        /// Shows each address of a kind that an event has.
        type Addresses<'a> = &'a dyn Fn(&Event, &mut dyn FnMut(&str));
        let any = |patterns: &[Pattern], of: Addresses<'_>| {
            patterns.is_empty()
                || events(trace).any(|event| {
                    let mut met = false;
                    of(event, &mut |address| met |= patterns.iter().any(|p| p.is_met_by(address)));
                    met
                })
        };
        any(&self.reverse_path, &|e, f| {
            if let Event::MailFrom { reverse_path, .. } = e {
                f(reverse_path)
            }
        }) && any(&self.from, &|e, f| {
            if let Event::Accepted { from, .. } = e {
                from.iter().for_each(|a| f(a))
            }
        }) && any(&self.to, &|e, f| {
            if let Event::Accepted { to, .. } = e {
                to.iter().for_each(|a| f(a))
            }
        }) && any(&self.recipient, &|e, f| {
            if let Some(recipient) = recipient_of(e) {
                f(recipient)
            }
        })
    }

    fn session(&self, trace: &Trace) -> bool {
        let q = self.query;
        let by_tls = || events(trace).any(|e| matches!(e, Event::Tls { .. }));
        let connected = || events(trace).any(|e| matches!(e, Event::Connected { .. }));
        self.client.is_none_or(|network| {
            network.is_some_and(|network| events(trace).any(|e| matches!(e, Event::Connected { client, .. } if network.contains(*client))))
        }) && met(&q.country, |wanted| {
            events(trace).any(|e| matches!(e, Event::Connected { country: Some(c), .. } if c.eq_ignore_ascii_case(wanted)))
        }) && met(&q.hello, |wanted| {
            events(trace).any(|e| matches!(e, Event::MailFrom { hello, .. } if plain(hello) == plain(wanted)))
        }) && met(&q.login, |wanted| {
            events(trace).any(|e| matches!(e, Event::MailFrom { login: Some(l), .. } if plain(l) == plain(wanted)))
        }) && q.tls.is_none_or(|wanted| if wanted { by_tls() } else { connected() && !by_tls() })
    }

    fn content(&self, trace: &Trace) -> bool {
        let q = self.query;
        let size = |test: &dyn Fn(u64) -> bool| events(trace).any(|e| matches!(e, Event::Accepted { size, .. } if test(*size)));
        q.size_min.is_none_or(|min| size(&|s| s >= min))
            && q.size_max.is_none_or(|max| size(&|s| s <= max))
            && self
                .subject
                .as_ref()
                .is_none_or(|wanted| events(trace).any(|e| matches!(e, Event::Accepted { subject: Some(s), .. } if has_pieces(wanted, s))))
            && self.attachment.as_ref().is_none_or(|wanted| {
                events(trace)
                    .any(|e| matches!(e, Event::Accepted { attachments, .. } if attachments.iter().any(|a| has_pieces(wanted, &a.name))))
            })
            && met(&q.message_id, |wanted| {
                let wanted = plain_message_id(wanted);
                events(trace).any(|e| matches!(e, Event::Accepted { message_id: Some(m), .. } if plain_message_id(m) == wanted))
            })
            && met(&q.sha256, |wanted| {
                events(trace).any(
                    |e| matches!(e, Event::Accepted { attachments, .. } if attachments.iter().any(|a| plain(&a.sha256) == plain(wanted))),
                )
            })
            && met(&q.url_host, |wanted| {
                events(trace).any(|e| matches!(e, Event::Accepted { url_hosts, .. } if url_hosts.iter().any(|h| plain(h) == plain(wanted))))
            })
    }

    fn fate(&self, trace: &Trace) -> bool {
        let q = self.query;
        q.reference
            .is_none_or(|wanted| events(trace).any(|e| matches!(e, Event::Refused { reference: Some(r), .. } if *r == wanted)))
            && q.disposition
                .is_none_or(|wanted| events(trace).any(|e| matches!(e, Event::Decided { disposition, .. } if *disposition == wanted)))
            && q.reason.is_none_or(|wanted| events(trace).any(|e| reason_of(e) == Some(wanted)))
            && met(&q.next_hop, |wanted| {
                events(trace).any(|e| match e {
                    Event::Attempt { host, .. } | Event::Delivered { host, .. } => plain(host) == plain(wanted),
                    _ => false,
                })
            })
            && self
                .state
                .is_none_or(|state| state.is_some_and(|state| states(&trace.records).values().any(|s| *s == state)))
    }
}

fn met(wanted: &Option<String>, test: impl FnOnce(&str) -> bool) -> bool {
    wanted.as_deref().is_none_or(test)
}

fn events(trace: &Trace) -> impl Iterator<Item = &Event> {
    trace.records.iter().flat_map(|r| &r.events)
}

fn reason_of(event: &Event) -> Option<mail::Reason> {
    match event {
        Event::Refused { reason, .. } | Event::Deferred { reason, .. } | Event::Failed { reason, .. } => Some(*reason),
        Event::Decided { reason, .. } | Event::Held { reason, .. } => *reason,
        Event::Expired { .. } => Some(mail::Reason::Expired),
        _ => None,
    }
}

/// Whether a reader of `scope` may see `trace`.
#[must_use]
pub fn is_in_scope(trace: &Trace, scope: &Scope) -> bool {
    scope.tenant.is_none_or(|tenant| trace.tenant == tenant)
        && scope.domains.as_ref().is_none_or(|domains| {
            events(trace).any(|event| {
                let address = match event {
                    Event::MailFrom { reverse_path, .. } => Some(reverse_path.as_str()),
                    other => recipient_of(other),
                };
                address.is_some_and(|a| plain(a).rsplit_once('@').is_some_and(|(_, d)| domains.iter().any(|own| own == d)))
            })
        })
}

/// Takes away what an operator does not see of tenants' mail: subjects, names of attachments, hosts of links (domains-and-routing 13).
pub fn redact(trace: &mut Trace) {
    for event in trace.records.iter_mut().flat_map(|r| &mut r.events) {
        if let Event::Accepted {
            subject,
            attachments,
            url_hosts,
            ..
        } = event
        {
            *subject = None;
            url_hosts.clear();
            attachments.iter_mut().for_each(|a| a.name.clear());
        }
    }
}

/// Whether the query asks for what [`redact`] takes away.
#[must_use]
pub fn asks_for_redacted(query: &Query) -> bool {
    query.subject.is_some() || query.attachment.is_some() || query.url_host.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        let check =
            |pattern: &str, address: &str, expect| assert_eq!(Pattern::parse(pattern).is_met_by(address), expect, "{pattern} {address}");
        check("Taro@Example.JP", "taro@example.jp", true);
        check("taro@example.jp", "taro@example.com", false);
        check("*@example.jp", "a@example.jp", true);
        check("*@example.jp", "a@x.example.jp", false);
        check("*@*.example.jp", "a@x.y.example.jp", true);
        check("*@*.example.jp", "a@example.jp", false);
        check("*@*.example.jp", "a@notexample.jp", false);
        check("*@見附.example", "a@xn--nw2ao4w.example", true);
        check("<>", "", true);
    }

    #[test]
    fn networks() {
        let check = |network: &str, client: &str, expect| {
            assert_eq!(
                Network::parse(network).is_some_and(|n| n.contains(client.parse().unwrap())),
                expect,
                "{network} {client}"
            );
        };
        check("192.0.2.0/24", "192.0.2.77", true);
        check("192.0.2.0/25", "192.0.2.177", false);
        check("0.0.0.0/0", "8.8.8.8", true);
        check("0.0.0.0/0", "::1", false);
        check("::/0", "::1", true);
        check("2001:db8::/33", "2001:db8:8000::1", false);
        check("192.0.2.1", "::ffff:192.0.2.1", true);
        check("192.0.2.1/40", "192.0.2.1", false);
        check("nonsense", "192.0.2.1", false);
    }
}
