//! From a plan to candidates: what DNS adds to the settings.
//!
//! In: a plan. Out: candidates in the order of trying, or what is to become of the recipients without any.
//! Standards: RFC 5321 §5.1, RFC 7505; domains-and-routing 1.1 (mail between tenants), 4.2, 7, 11.4.
//! Invariants: a DNS failure never fails mail; mail is handed over inside only when the best public MX is ours.

use super::mx::{self, Exchangers};
use super::route::{Candidate, OutboundPlan, Plan, TlsPolicy, Turns, outbound, turn::Turned};
use crate::Desk;
use config::Live;
use mail::{Domain, Reason, Reply, TenantId};
use net::resolver::{DnsError, MxAnswer};
use std::net::IpAddr;
use std::sync::Arc;

/// What a plan comes to.
#[derive(Debug)]
pub enum Resolved {
    /// To be tried in this order.
    Candidates(Vec<Arc<Candidate>>),
    /// Into the inbound pipeline of this tenant: the domain's public MX is ours.
    HandOver(TenantId),
    /// No candidate now.
    Defer(Reason, String),
    /// Never one.
    Fail(Reason, Reply),
    /// Every candidate is ourselves and the domain is nobody's here.
    Loop(String),
}

/// Resolves `plan` for mail of `tenant`.
pub async fn resolve(desk: &Desk, live: &Live, tenant: TenantId, plan: &Plan, turns: &Turns, turned: &mut Turned) -> Resolved {
    match plan {
        Plan::Rows(rows) => {
            let candidates = super::route::candidates(live, rows, turns, turned);
            if candidates.is_empty() {
                no_route()
            } else {
                Resolved::Candidates(candidates)
            }
        }
        Plan::Forced(candidate) | Plan::Outbound(OutboundPlan::Smarthost(candidate)) => Resolved::Candidates(vec![Arc::clone(candidate)]),
        Plan::Outbound(OutboundPlan::Literal { address, tls, sources }) => {
            let make = Maker {
                live,
                tenant,
                tls,
                sources,
            };
            Resolved::Candidates(vec![make.candidate("address literal".into(), address.to_string())])
        }
        Plan::Outbound(OutboundPlan::Mx { domain, tls, sources }) => {
            exchangers(
                desk,
                domain,
                &Maker {
                    live,
                    tenant,
                    tls,
                    sources,
                },
            )
            .await
        }
        Plan::NoRoute => no_route(),
    }
}

fn no_route() -> Resolved {
    Resolved::Defer(Reason::NoRoute, "no inbound server row matches".into())
}

struct Maker<'a> {
    live: &'a Live,
    tenant: TenantId,
    tls: &'a TlsPolicy,
    sources: &'a [IpAddr],
}

impl Maker<'_> {
    fn candidate(&self, route: String, host: String) -> Arc<Candidate> {
        Arc::new(Candidate {
            route,
            host,
            port: 25,
            tls: self.tls.clone(),
            login: None,
            sources: self.sources.to_vec(),
            connections_max: outbound::concurrency(&self.live.system, self.live.tenants.get(&self.tenant).map(Arc::as_ref)),
            per_connection_max: outbound::PER_CONNECTION_MAX,
        })
    }
}

async fn exchangers(desk: &Desk, domain: &str, make: &Maker<'_>) -> Resolved {
    let unknown = || {
        Resolved::Fail(
            Reason::RecipientDomain,
            Reply::new(550, 1, 2, "the recipient's domain does not exist or has no mail server"),
        )
    };
    let Ok(name) = Domain::parse(domain) else { return unknown() };
    let records: Vec<(u16, String)> = match desk.resolver.mx(&name).await {
        Ok(MxAnswer::Records(records)) => records.into_iter().map(|(p, h)| (p, h.as_str().to_owned())).collect(),
        Ok(MxAnswer::Null) => return Resolved::Fail(Reason::RecipientDomain, null_mx()),
        Ok(MxAnswer::None) => match desk.resolver.addresses(domain).await {
            Ok(found) if found.is_empty() => return unknown(),
            Ok(_) => Vec::new(),
            Err(DnsError::NoSuchName) => return unknown(),
            Err(error @ DnsError::Temp(_)) => return Resolved::Defer(Reason::DnsTemp, format!("{domain}: {error}")),
        },
        Err(DnsError::NoSuchName) => return unknown(),
        Err(error @ DnsError::Temp(_)) => return Resolved::Defer(Reason::DnsTemp, format!("{domain}: {error}")),
    };
    let in_base = format!(".in.{}", desk.node.base);
    let is_ours = |host: &str| host == desk.node.hostname.as_str() || host.ends_with(&in_base);
    match mx::order(domain, &records, &is_ours, &mut |n| random_below(n)) {
        Exchangers::Hosts(hosts) => Resolved::Candidates(hosts.into_iter().map(|(p, h)| make.candidate(format!("mx {p}"), h)).collect()),
        Exchangers::Null => Resolved::Fail(Reason::RecipientDomain, null_mx()),
        Exchangers::Ourselves => match make.live.domains.get(&name) {
            Some((tenant, found)) if found.state != config::DomainState::Unverified => Resolved::HandOver(tenant.id),
            Some(_) | None => Resolved::Loop(format!(
                "the mail exchanger of {domain} is this installation, which does not serve it"
            )),
        },
    }
}

/// RFC 7505 §5.1.
fn null_mx() -> Reply {
    Reply::new(556, 1, 10, "the recipient's domain accepts no mail (null MX)")
}

/// A number below `n`; 0 when the system has no random bytes, which only means that equal exchangers keep their order.
#[must_use]
pub fn random_below(n: usize) -> usize {
    usize::try_from(random_u64() % u64::try_from(n.max(1)).unwrap_or(1)).unwrap_or(0)
}

/// Dice for jitter and order; never for secrets.
#[must_use]
pub fn random_u64() -> u64 {
    let mut bytes = [0_u8; 8];
    if getrandom::fill(&mut bytes).is_err() {
        return 0;
    }
    u64::from_le_bytes(bytes)
}
