//! What does DNS say? The one resolver of the process: static zone, cache, recursive servers, and authoritative servers asked directly.
//!
//! In: names and addresses. Out: typed records; "does not exist", "has none of these" and "could not be learned" are three different answers.
//! Standards: RFC 1034, RFC 1035, RFC 2308 (negative answers), RFC 5321 §5.1, RFC 7505 (null MX), RFC 7766 (TCP after truncation), RFC 6891 (EDNS).
//! Invariants: a failure is never taken for a negative answer and never kept; the static zone is asked first and never cached;
//! every answer, wait and cache has a bound; authoritative servers are only asked where the guard lets us connect.

mod authoritative;
mod cache;
mod exchange;
mod record;
mod recursive;
mod static_zone;

pub use authoritative::AuthoritativeAnswer;
pub use static_zone::{StaticEntry, StaticZone, StaticZoneError};

use crate::clock::Clock;
use crate::guard::Guard;
use cache::Cache;
use mail::Domain;
use record::{Kind, Lookup, Rr};
use recursive::Recursive;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// Records of one answer that are kept; more are either an error (TXT) or cut off.
const RECORDS_MAX: usize = 100;
/// Bytes of all TXT records of one answer.
const TEXT_BYTES_MAX: usize = 64 * 1024;

/// How names are resolved.
#[derive(Clone, Debug)]
pub struct ResolverSettings {
    /// `dns.resolvers`; the system's when empty.
    pub servers: Vec<SocketAddr>,
    /// `dns.authoritative_port`.
    pub authoritative_port: u16,
    /// `dns.static`.
    pub static_zone: StaticZone,
    /// How long one server may take for one answer. A whole look-up takes at most four times as long.
    pub timeout: Duration,
    /// What authoritative servers are checked against, since their addresses come from whoever owns the name.
    pub guard: Guard,
}

impl Default for ResolverSettings {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            authoritative_port: 53,
            static_zone: StaticZone::default(),
            timeout: Duration::from_secs(5),
            guard: Guard::default(),
        }
    }
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// NXDOMAIN. Asking again does not help.
    #[error("the name does not exist")]
    NoSuchName,
    /// No answer, or none that can be used: time out, SERVFAIL, REFUSED, too large. Asking later may help.
    #[error("temporary DNS failure: {0}")]
    Temp(String),
}

/// Where a domain's mail goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MxAnswer {
    /// By preference, ascending; the order among equals means nothing (RFC 5321 §5.1 asks the sender to shuffle them).
    Records(Vec<(u16, Domain)>),
    /// RFC 7505: the domain accepts no mail.
    Null,
    /// The name exists and has no MX: its addresses count (RFC 5321 §5.1).
    None,
}

/// Whether a name can receive mail as far as DNS says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailDomain {
    /// MX records.
    Mx,
    /// RFC 7505: it says that it does not.
    NullMx,
    /// No MX, but A or AAAA.
    AddressOnly,
    /// The name does not exist, or has neither.
    Nothing,
}

/// Resolves names. Cheap to clone; clones share the cache.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    settings: ResolverSettings,
    recursive: Recursive,
    cache: Cache,
    clock: Clock,
}

/// The resolver cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("set up the resolver: {0}")]
pub struct ResolverSetupError(String);

impl Resolver {
    /// Sets it up; asks nothing yet. Needs a tokio runtime when it is used, not here.
    ///
    /// # Errors
    /// [`ResolverSetupError`]. That the system names no servers is none: then the one on this machine is asked, as libc does.
    pub fn new(settings: ResolverSettings, clock: Clock) -> Result<Self, ResolverSetupError> {
        let recursive = Recursive::new(&settings.servers, settings.timeout).map_err(ResolverSetupError)?;
        Ok(Self(Arc::new(Inner {
            settings,
            recursive,
            cache: Cache::new(),
            clock,
        })))
    }

    /// MX of a domain.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn mx(&self, domain: &Domain) -> Result<MxAnswer, DnsError> {
        self.mx_of(domain.as_str()).await
    }

    /// As [`mx`](Self::mx), for names that are no [`Domain`], as SPF macros make them.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn mx_of(&self, name: &str) -> Result<MxAnswer, DnsError> {
        let records = self.records(name, Kind::Mx).await?;
        mx_answer(&records)
    }

    /// IPv4, then IPv6 addresses of a host name; an IP literal is its own answer. Empty when the name has neither.
    ///
    /// # Errors
    /// [`DnsError`]; a failure of one family is no error when the other has addresses.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        if let Some(literal) = ip_literal(name) {
            return Ok(vec![literal]);
        }
        let (v4, v6) = tokio::join!(self.addresses_v4(name), self.addresses_v6(name));
        match (v4, v6) {
            (Ok(mut v4), Ok(v6)) => {
                v4.extend(v6);
                Ok(v4)
            }
            (Ok(found), Err(error)) | (Err(error), Ok(found)) => {
                // One type cannot say NXDOMAIN and the other not, unless a server errs; a failure must not look like "none".
                if found.is_empty() && error != DnsError::NoSuchName {
                    Err(error)
                } else {
                    Ok(found)
                }
            }
            (Err(DnsError::NoSuchName), Err(DnsError::NoSuchName)) => Err(DnsError::NoSuchName),
            (Err(DnsError::NoSuchName), Err(error)) | (Err(error), Err(_)) => Err(error),
        }
    }

    /// A records. Empty when the name exists without.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn addresses_v4(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        self.addresses_of(name, Kind::A).await
    }

    /// AAAA records. Empty when the name exists without.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn addresses_v6(&self, name: &str) -> Result<Vec<IpAddr>, DnsError> {
        self.addresses_of(name, Kind::Aaaa).await
    }

    /// TXT records, the strings of each joined. Text that is not UTF-8 keeps its bytes as Latin-1. Empty when the name exists without.
    ///
    /// # Errors
    /// [`DnsError`]; more than 100 records or 64 KB are [`DnsError::Temp`].
    pub async fn txt(&self, domain: &Domain) -> Result<Vec<String>, DnsError> {
        self.txt_of(domain.as_str()).await
    }

    /// As [`txt`](Self::txt), for names that are no [`Domain`], as SPF macros make them.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn txt_of(&self, name: &str) -> Result<Vec<String>, DnsError> {
        let records = self.records(name, Kind::Txt).await?;
        Ok(records.iter().filter_map(Rr::text).map(str::to_owned).collect())
    }

    /// Names of an address, unconfirmed. Empty when it has none. Loopback addresses are `localhost` unless the static zone says otherwise.
    ///
    /// # Errors
    /// [`DnsError`].
    pub async fn ptr(&self, address: IpAddr) -> Result<Vec<Domain>, DnsError> {
        let address = address.to_canonical();
        let name = record::reverse_name(address);
        if address.is_loopback() && !self.0.settings.static_zone.covers(&name) {
            return Ok(Domain::parse("localhost").into_iter().collect());
        }
        let records = self.records(&name, Kind::Ptr).await?;
        Ok(records
            .iter()
            .filter_map(Rr::name)
            .filter_map(|name| Domain::parse(name).ok())
            .collect())
    }

    /// What kind of mail domain a name is.
    ///
    /// # Errors
    /// [`DnsError::Temp`].
    pub async fn has_mail_address(&self, domain: &Domain) -> Result<MailDomain, DnsError> {
        match self.mx(domain).await {
            Ok(MxAnswer::Records(_)) => return Ok(MailDomain::Mx),
            Ok(MxAnswer::Null) => return Ok(MailDomain::NullMx),
            Err(DnsError::NoSuchName) => return Ok(MailDomain::Nothing),
            Err(error @ DnsError::Temp(_)) => return Err(error),
            Ok(MxAnswer::None) => {}
        }
        match self.addresses(domain.as_str()).await {
            Ok(addresses) if addresses.is_empty() => Ok(MailDomain::Nothing),
            Ok(_) => Ok(MailDomain::AddressOnly),
            Err(DnsError::NoSuchName) => Ok(MailDomain::Nothing),
            Err(error @ DnsError::Temp(_)) => Err(error),
        }
    }

    /// Whether answers for this name come from the static zone; health checks mark them.
    #[must_use]
    pub fn is_static(&self, domain: &Domain) -> bool {
        self.0.settings.static_zone.covers(domain.as_str())
    }

    /// TXT records of a domain as each of its authoritative servers tells them, without any cache between.
    ///
    /// # Errors
    /// [`DnsError`] when the servers cannot be found; their own failures are in the list.
    pub async fn authoritative_txt(&self, domain: &Domain) -> Result<Vec<AuthoritativeAnswer<String>>, DnsError> {
        self.authoritative(domain, Kind::Txt, |record| record.text().map(str::to_owned))
            .await
    }

    /// MX records of a domain as each of its authoritative servers tells them, by preference. A null MX is an empty list.
    ///
    /// # Errors
    /// As [`authoritative_txt`](Self::authoritative_txt).
    pub async fn authoritative_mx(&self, domain: &Domain) -> Result<Vec<AuthoritativeAnswer<(u16, Domain)>>, DnsError> {
        let mut answers = self.authoritative(domain, Kind::Mx, mx_record).await?;
        for answer in &mut answers {
            if let Ok(records) = &mut answer.answer {
                records.sort();
            }
        }
        Ok(answers)
    }

    async fn addresses_of(&self, name: &str, kind: Kind) -> Result<Vec<IpAddr>, DnsError> {
        let records = self.records(name, kind).await?;
        Ok(records.iter().filter_map(Rr::address).collect())
    }

    /// Static zone, cache, servers, in this order.
    async fn records(&self, name: &str, kind: Kind) -> Result<Arc<[Rr]>, DnsError> {
        let inner = &*self.0;
        let name = record::normal_name(name);
        if let Some(answer) = inner.settings.static_zone.look_up(&name, kind) {
            return answer.into_records();
        }
        let now = inner.clock.monotonic();
        if let Some(answer) = inner.cache.get(&name, kind, now) {
            return answer.into_records();
        }
        let (answer, ttl_seconds) = inner.recursive.look_up(&name, kind).await.map_err(DnsError::Temp)?;
        inner.cache.insert(&name, kind, answer.clone(), ttl_seconds, now);
        answer.into_records()
    }
}

impl Lookup {
    fn into_records(self) -> Result<Arc<[Rr]>, DnsError> {
        match self {
            Self::Found(records) => Ok(records),
            Self::NoData => Ok(Arc::default()),
            Self::NoSuchName => Err(DnsError::NoSuchName),
        }
    }
}

/// `192.0.2.1`, `2001:db8::1`, and the latter in brackets.
fn ip_literal(name: &str) -> Option<IpAddr> {
    name.strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(name)
        .parse()
        .ok()
}

fn mx_record(record: &Rr) -> Option<(u16, Domain)> {
    let (preference, host) = record.mx()?;
    Some((preference, Domain::parse(host).ok()?))
}

fn mx_answer(records: &[Rr]) -> Result<MxAnswer, DnsError> {
    if records.is_empty() {
        return Ok(MxAnswer::None);
    }
    let mut hosts: Vec<(u16, Domain)> = records.iter().filter_map(mx_record).collect();
    hosts.sort();
    if !hosts.is_empty() {
        // RFC 7505 §3: a "." beside other records is no null MX; it only names no host.
        return Ok(MxAnswer::Records(hosts));
    }
    if records.iter().any(|record| record.mx().is_some_and(|(_, host)| host.is_empty())) {
        return Ok(MxAnswer::Null);
    }
    Err(DnsError::Temp(String::from("no MX record names a usable host")))
}

#[cfg(test)]
mod tests;
