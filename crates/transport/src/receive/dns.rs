//! The resolver, as verification asks it.

use mail::Domain;
use net::resolver::{DnsError as NetError, MxAnswer, Resolver};
use policy::verify::{Dns, DnsAnswer, DnsError};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// DNS for `policy::verify`.
pub(super) struct ResolverDns<'a>(pub(super) &'a Resolver);

fn of_net(error: NetError) -> DnsError {
    match error {
        NetError::NoSuchName => DnsError::NoSuchName,
        NetError::Temp(_) => DnsError::Temp,
    }
}

impl Dns for ResolverDns<'_> {
    fn txt<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, String> {
        Box::pin(async move { self.0.txt_of(name).await.map_err(of_net) })
    }

    fn ipv4<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, Ipv4Addr> {
        Box::pin(async move {
            let found = self.0.addresses_v4(name).await.map_err(of_net)?;
            Ok(found
                .into_iter()
                .filter_map(|ip| if let IpAddr::V4(ip) = ip { Some(ip) } else { None })
                .collect())
        })
    }

    fn ipv6<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, Ipv6Addr> {
        Box::pin(async move {
            let found = self.0.addresses_v6(name).await.map_err(of_net)?;
            Ok(found
                .into_iter()
                .filter_map(|ip| if let IpAddr::V6(ip) = ip { Some(ip) } else { None })
                .collect())
        })
    }

    fn mx<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, (u16, String)> {
        Box::pin(async move {
            // What is no domain name has no MX; SPF macros can make such names.
            let domain = Domain::parse(name).map_err(|_| DnsError::NoSuchName)?;
            Ok(match self.0.mx(&domain).await.map_err(of_net)? {
                MxAnswer::Records(records) => records
                    .into_iter()
                    .map(|(preference, host)| (preference, host.to_string()))
                    .collect(),
                MxAnswer::Null | MxAnswer::None => Vec::new(),
            })
        })
    }

    fn ptr<'a>(&'a self, address: IpAddr) -> DnsAnswer<'a, String> {
        Box::pin(async move {
            let names = self.0.ptr(address).await.map_err(of_net)?;
            Ok(names.into_iter().map(|n| n.to_string()).collect())
        })
    }
}
