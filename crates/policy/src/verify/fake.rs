//! A DNS for the tests of this room, in the format of `tests/vector/spf/rfc7208.txt`. Its answers are there at once.

use super::{Dns, DnsAnswer, DnsError};
use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

/// Runs a future that never waits.
pub(crate) fn now<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a fake answer that is not there"),
    }
}

/// Records by name, in order.
#[derive(Debug, Default)]
pub(crate) struct FakeDns {
    names: HashMap<String, Vec<(String, String)>>,
    pub(crate) asked: Mutex<Vec<String>>,
}

impl FakeDns {
    /// Reads `zone <name> <TYPE> <value>` lines; others are passed over.
    pub(crate) fn parse(text: &str) -> Self {
        let mut dns = Self::default();
        for line in text.lines() {
            if let Some(rest) = line.trim().strip_prefix("zone ") {
                let mut parts = rest.splitn(3, ' ');
                let (name, kind) = (unescape(parts.next().unwrap()), parts.next().unwrap());
                dns.names
                    .entry(name.to_lowercase())
                    .or_default()
                    .push((kind.to_owned(), parts.next().unwrap_or("").to_owned()));
            }
        }
        dns
    }

    fn ask<T>(&self, name: &str, kind: &str, read: impl Fn(&str) -> T) -> Result<Vec<T>, DnsError> {
        self.asked.lock().unwrap().push(format!("{kind} {name}"));
        if name.split('.').any(|label| label.is_empty() || label.len() > 63) || name.len() > 253 {
            return Err(DnsError::NoSuchName);
        }
        let mut name = name.to_lowercase();
        for _ in 0..8 {
            let Some(records) = self.names.get(&name) else {
                return Err(DnsError::NoSuchName);
            };
            let mut found = Vec::new();
            for (found_kind, value) in records {
                if found_kind == kind {
                    found.push(read(value));
                } else if found_kind == &format!("TIMEOUT-{kind}") || (found_kind == "TIMEOUT" && found.is_empty()) {
                    return Err(DnsError::Temp);
                }
            }
            match records.iter().find(|(kind, _)| kind == "CNAME") {
                Some((_, target)) if found.is_empty() => name = target.trim_end_matches('.').to_lowercase(),
                _ => return Ok(found),
            }
        }
        Ok(Vec::new())
    }
}

fn ready<'a, T: Send + 'a>(answer: Result<Vec<T>, DnsError>) -> DnsAnswer<'a, T> {
    Box::pin(std::future::ready(answer))
}

impl Dns for FakeDns {
    fn txt<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, String> {
        let joined = |value: &str| value.trim_matches('"').split("\" \"").map(unescape).collect::<String>();
        ready(self.ask(name, "TXT", joined))
    }
    fn ipv4<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, Ipv4Addr> {
        ready(self.ask(name, "A", |value| value.parse().unwrap()))
    }
    fn ipv6<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, Ipv6Addr> {
        ready(self.ask(name, "AAAA", |value| value.parse().unwrap()))
    }
    fn mx<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, (u16, String)> {
        ready(self.ask(name, "MX", |value| {
            let (preference, host) = value.split_once(' ').unwrap_or((value, ""));
            (preference.parse().unwrap(), host.to_owned())
        }))
    }
    fn ptr<'a>(&'a self, address: IpAddr) -> DnsAnswer<'a, String> {
        let name = match address {
            IpAddr::V4(v4) => {
                let [a, b, c, d] = v4.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            IpAddr::V6(v6) => {
                v6.octets()
                    .iter()
                    .rev()
                    .map(|byte| format!("{:x}.{:x}.", byte & 15, byte >> 4))
                    .collect::<String>()
                    + "ip6.arpa"
            }
        };
        ready(self.ask(&name, "PTR", str::to_owned))
    }
}

/// `\xNN` as the byte; bytes above 127 become Latin-1 or, in sequence, UTF-8.
pub(crate) fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend_from_slice(before.as_bytes());
        let (digits, tail) = after.split_at(2);
        bytes.push(u8::from_str_radix(digits, 16).unwrap());
        rest = tail;
    }
    bytes.extend_from_slice(rest.as_bytes());
    String::from_utf8(bytes).unwrap_or_else(|error| error.as_bytes().iter().map(|byte| char::from(*byte)).collect())
}
