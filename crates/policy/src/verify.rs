//! Who is this message from, as far as DNS and signatures can prove it?
//!
//! Everything here is pure: the world is asked through [`Dns`], which whoever calls brings along.

pub mod iprev;
pub mod spf;

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::Pin;

/// Why DNS gave no answer. A name without records of the type is no error but an empty answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsError {
    /// NXDOMAIN, or a name that DNS cannot have.
    #[error("the name does not exist")]
    NoSuchName,
    /// Time out, SERVFAIL and the like: nothing is known.
    #[error("temporary DNS failure")]
    Temp,
}

/// An answer on its way.
pub type DnsAnswer<'a, T> = Pin<Box<dyn Future<Output = Result<Vec<T>, DnsError>> + Send + 'a>>;

/// What verification asks DNS. Names are given without the root's dot and may have any characters; deadlines are the implementation's.
pub trait Dns: Send + Sync {
    /// TXT records, the strings of each joined without anything between.
    fn txt<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, String>;
    /// A records.
    fn ipv4<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, Ipv4Addr>;
    /// AAAA records.
    fn ipv6<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, Ipv6Addr>;
    /// MX hosts with their preferences, in any order.
    fn mx<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, (u16, String)>;
    /// Names of an address, unconfirmed.
    fn ptr<'a>(&'a self, address: IpAddr) -> DnsAnswer<'a, String>;
}

/// Addresses of `name` in the family of `like`.
async fn addresses_like(dns: &dyn Dns, name: &str, like: IpAddr) -> Result<Vec<IpAddr>, DnsError> {
    match like {
        IpAddr::V4(_) => Ok(dns.ipv4(name).await?.into_iter().map(IpAddr::V4).collect()),
        IpAddr::V6(_) => Ok(dns.ipv6(name).await?.into_iter().map(IpAddr::V6).collect()),
    }
}

/// Lower case, without the root's dot.
fn plain_name(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
pub(crate) mod fake;
