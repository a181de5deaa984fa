//! Does the name that an address claims lead back to it?
//!
//! In: the client's address. Out: pass with the names, fail, or a failure of DNS.
//! Standards: RFC 8601 §2.7.3 and §3.

use super::{Dns, DnsError, addresses_like, plain_name};
use std::net::IpAddr;

/// As RFC 7208 §5.5 bounds its own use of these names; more only come from hosts that are shared beyond use.
const NAMES_MAX: usize = 10;

/// Result of the check (RFC 8601 §2.7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IprevResult {
    /// At least one name leads back.
    Pass,
    /// Its names lead to addresses, and none of them back.
    Fail,
    /// DNS failed; it may be otherwise later.
    TempError,
    /// The address has no name, or only names without addresses.
    PermError,
}

impl IprevResult {
    /// As Authentication-Results writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

/// The result and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Iprev {
    /// The result.
    pub result: IprevResult,
    /// Names that lead back, in the order of the answer.
    pub confirmed: Vec<String>,
}

/// Looks up the names of `client` and the addresses of the first ten.
pub async fn check(dns: &dyn Dns, client: IpAddr) -> Iprev {
    let client = client.to_canonical();
    let without = |result| Iprev {
        result,
        confirmed: Vec::new(),
    };
    let names = match dns.ptr(client).await {
        Ok(names) if !names.is_empty() => names,
        Ok(_) | Err(DnsError::NoSuchName) => return without(IprevResult::PermError),
        Err(DnsError::Temp) => return without(IprevResult::TempError),
    };
    let mut confirmed = Vec::new();
    let (mut leads_elsewhere, mut has_failed) = (false, false);
    for name in names.iter().take(NAMES_MAX).map(|name| plain_name(name)) {
        match addresses_like(dns, &name, client).await {
            Ok(addresses) if addresses.contains(&client) => confirmed.push(name),
            Ok(addresses) if !addresses.is_empty() => leads_elsewhere = true,
            Ok(_) | Err(DnsError::NoSuchName) => {}
            Err(DnsError::Temp) => has_failed = true,
        }
    }
    let result = match (confirmed.is_empty(), has_failed, leads_elsewhere) {
        (false, _, _) => IprevResult::Pass,
        (true, true, _) => IprevResult::TempError,
        (true, false, true) => IprevResult::Fail,
        (true, false, false) => IprevResult::PermError,
    };
    Iprev { result, confirmed }
}

#[cfg(test)]
mod tests {
    use super::super::fake::{FakeDns, now};
    use super::*;

    #[test]
    fn names_must_lead_back() {
        let dns = FakeDns::parse(
            "zone 1.2.0.192.in-addr.arpa PTR MX.example.com.
             zone mx.example.com A 192.0.2.1
             zone 2.2.0.192.in-addr.arpa PTR other.example.com
             zone 2.2.0.192.in-addr.arpa PTR mx2.example.com
             zone other.example.com A 192.0.2.99
             zone mx2.example.com A 192.0.2.2
             zone 3.2.0.192.in-addr.arpa PTR other.example.com
             zone 4.2.0.192.in-addr.arpa PTR absent.example.com
             zone 5.2.0.192.in-addr.arpa PTR slow.example.com
             zone slow.example.com TIMEOUT
             zone 8.2.0.192.in-addr.arpa PTR six.example.com
             zone 6.2.0.192.in-addr.arpa TIMEOUT
             zone 1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa PTR six.example.com
             zone six.example.com AAAA 2001:db8::1",
        );
        let check = |client: &str, result: IprevResult, confirmed: &[&str]| {
            let outcome = now(check(&dns, client.parse().unwrap()));
            assert_eq!(
                (outcome.result, outcome.confirmed.iter().map(String::as_str).collect::<Vec<_>>()),
                (result, confirmed.to_vec()),
                "{client}"
            );
        };
        check("192.0.2.1", IprevResult::Pass, &["mx.example.com"]);
        check("::ffff:192.0.2.1", IprevResult::Pass, &["mx.example.com"]);
        check("192.0.2.2", IprevResult::Pass, &["mx2.example.com"]);
        check("192.0.2.3", IprevResult::Fail, &[]);
        check("192.0.2.4", IprevResult::PermError, &[]);
        check("192.0.2.5", IprevResult::TempError, &[]);
        check("192.0.2.6", IprevResult::TempError, &[]);
        check("192.0.2.7", IprevResult::PermError, &[]);
        check("192.0.2.8", IprevResult::PermError, &[]);
        check("2001:db8::1", IprevResult::Pass, &["six.example.com"]);
    }

    #[test]
    fn the_eleventh_name_is_not_looked_at() {
        let mut zone = String::new();
        for number in 0..=NAMES_MAX {
            zone.push_str(&format!("zone 1.2.0.192.in-addr.arpa PTR n{number}.example.com\n"));
        }
        zone.push_str("zone n10.example.com A 192.0.2.1\n");
        assert_eq!(
            now(check(&FakeDns::parse(&zone), "192.0.2.1".parse().unwrap())).result,
            IprevResult::PermError
        );
        zone.push_str("zone n9.example.com A 192.0.2.1\n");
        assert_eq!(
            now(check(&FakeDns::parse(&zone), "192.0.2.1".parse().unwrap())).confirmed,
            ["n9.example.com"]
        );
    }
}
