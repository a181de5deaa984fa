//! What do the servers that own a name say, right now? Ownership checks must not wait for anybody's cache.

use super::exchange::ask;
use super::record::{Kind, Lookup, Rr};
use super::{DnsError, Resolver};
use mail::Domain;
use std::net::{IpAddr, SocketAddr};
use tokio::task::JoinSet;

/// Steps up from a name to its zone cut.
const STEPS_MAX: usize = 32;
const SERVERS_MAX: usize = 8;
const ADDRESSES_PER_SERVER_MAX: usize = 4;

/// What one authoritative server answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthoritativeAnswer<T> {
    /// Name of the server; `static` when the node file's zone answered.
    pub server: String,
    /// Address asked; nothing when there was none to ask.
    pub addr: Option<SocketAddr>,
    /// Its records; empty when it has none of the type.
    pub answer: Result<Vec<T>, DnsError>,
    /// Seconds; 0 without records.
    pub ttl: u32,
}

impl Resolver {
    pub(super) async fn authoritative<T: Send>(
        &self,
        domain: &Domain,
        kind: Kind,
        read: impl Fn(&Rr) -> Option<T>,
    ) -> Result<Vec<AuthoritativeAnswer<T>>, DnsError> {
        let typed = |server: String, addr, outcome: Result<(Lookup, u32), DnsError>| {
            let ttl = outcome
                .as_ref()
                .map_or(0, |(answer, ttl)| if matches!(answer, Lookup::Found(_)) { *ttl } else { 0 });
            let answer = outcome
                .and_then(|(answer, _)| answer.into_records())
                .map(|records| records.iter().filter_map(&read).collect());
            AuthoritativeAnswer { server, addr, answer, ttl }
        };
        if let Some(found) = self.0.settings.static_zone.look_up_with_ttl(domain.as_str(), kind) {
            return Ok(vec![typed(String::from("static"), None, Ok(found))]);
        }
        let mut asking = JoinSet::new();
        for server in self.zone_servers(domain).await?.into_iter().take(SERVERS_MAX) {
            let (resolver, domain) = (self.clone(), domain.clone());
            asking.spawn(async move { resolver.ask_server(server, &domain, kind).await });
        }
        let mut raw: Vec<RawAnswer> = asking.join_all().await.into_iter().flatten().collect();
        raw.sort_by(|one, other| (&one.server, one.addr).cmp(&(&other.server, other.addr)));
        Ok(raw.into_iter().map(|raw| typed(raw.server, raw.addr, raw.outcome)).collect())
    }

    /// Names of the servers of the zone that holds `domain`: the nearest name upwards that has NS records.
    async fn zone_servers(&self, domain: &Domain) -> Result<Vec<String>, DnsError> {
        let mut name = domain.as_str();
        for _ in 0..STEPS_MAX {
            match self.records(name, Kind::Ns).await {
                Ok(records) if !records.is_empty() => return Ok(records.iter().filter_map(Rr::name).map(str::to_owned).collect()),
                Ok(_) | Err(DnsError::NoSuchName) => {}
                Err(error @ DnsError::Temp(_)) => return Err(error),
            }
            match name.split_once('.') {
                Some((_, parent)) => name = parent,
                None => break,
            }
        }
        Err(DnsError::Temp(format!("no name server of {domain} was found")))
    }

    /// One answer for each address of one server, one after the other.
    async fn ask_server(&self, server: String, domain: &Domain, kind: Kind) -> Vec<RawAnswer> {
        let settings = &self.0.settings;
        let addresses = match self.addresses(&server).await {
            Ok(addresses) if !addresses.is_empty() => addresses,
            Ok(_) | Err(DnsError::NoSuchName) => {
                let outcome = Err(DnsError::Temp(String::from("the name server has no address")));
                return vec![RawAnswer {
                    server,
                    addr: None,
                    outcome,
                }];
            }
            Err(error @ DnsError::Temp(_)) => {
                return vec![RawAnswer {
                    server,
                    addr: None,
                    outcome: Err(error),
                }];
            }
        };
        let mut answers = Vec::new();
        for address in addresses.into_iter().take(ADDRESSES_PER_SERVER_MAX) {
            let target = SocketAddr::new(IpAddr::to_canonical(&address), settings.authoritative_port);
            let outcome = match settings.guard.check(target) {
                Ok(()) => ask(target, domain.as_str(), kind, settings.timeout).await.map_err(DnsError::Temp),
                Err(forbidden) => Err(DnsError::Temp(forbidden.to_string())),
            };
            answers.push(RawAnswer {
                server: server.clone(),
                addr: Some(target),
                outcome,
            });
        }
        answers
    }
}

struct RawAnswer {
    server: String,
    addr: Option<SocketAddr>,
    outcome: Result<(Lookup, u32), DnsError>,
}
