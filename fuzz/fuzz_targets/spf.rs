//! SPF: whatever record, sender and HELO name say, the evaluation ends, asks few questions and explains itself in printable ASCII.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mail::Timestamp;
use policy::verify::spf::{SpfQuery, SpfResult, check_mail_from};
use policy::verify::{Dns, DnsAnswer, DnsError};
use std::future::{Future, ready};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

/// RFC 7208 §4.6.4: 10 terms of at most 10 names each, the names of the client, the records themselves, one explanation.
const QUESTIONS_MAX: usize = 140;

struct Answers<'a> {
    record: &'a str,
    asked: AtomicUsize,
}

impl Answers<'_> {
    fn answer<'a, T: Send + 'a>(&self, name: &str, records: Vec<T>) -> DnsAnswer<'a, T> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(name.len() <= 253 || !name.contains('.'));
        Box::pin(ready(match name.len() % 7 {
            0 => Err(DnsError::NoSuchName),
            1 => Ok(Vec::new()),
            2 if name.len() % 5 == 0 => Err(DnsError::Temp),
            _ => Ok(records),
        }))
    }
}

impl Dns for Answers<'_> {
    fn txt<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, String> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        assert!(name.len() <= 253 || !name.contains('.'));
        Box::pin(ready(Ok(vec![self.record.to_owned()])))
    }
    fn ipv4<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, Ipv4Addr> {
        self.answer(name, vec![Ipv4Addr::new(192, 0, 2, 1); 3])
    }
    fn ipv6<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, Ipv6Addr> {
        self.answer(name, vec![Ipv6Addr::LOCALHOST; 3])
    }
    fn mx<'a>(&'a self, name: &'a str) -> DnsAnswer<'a, (u16, String)> {
        self.answer(name, (0..10).map(|number| (number, format!("{number}.{name}"))).collect())
    }
    fn ptr<'a>(&'a self, address: IpAddr) -> DnsAnswer<'a, String> {
        self.answer(&address.to_string(), (0..12).map(|number| format!("{number}.example.com")).collect())
    }
}

fuzz_target!(|octets: &[u8]| {
    let text = String::from_utf8_lossy(octets);
    let mut parts = text.splitn(4, '\n');
    let (hello, sender, family) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
    let record = format!("v=spf1 {}", parts.next().unwrap_or(""));
    let client: IpAddr = if family.is_empty() { Ipv4Addr::new(192, 0, 2, 1).into() } else { Ipv6Addr::LOCALHOST.into() };
    let dns = Answers { record: &record, asked: AtomicUsize::new(0) };
    let query = SpfQuery { client, hello, sender, receiver: "mx.example", now: Timestamp(0) };
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(outcome) = pin!(check_mail_from(&dns, &query)).poll(&mut context) else { panic!("waits for nothing") };
    let asked = dns.asked.load(Ordering::Relaxed);
    assert!(asked <= QUESTIONS_MAX, "{asked} questions for {record}");
    assert_eq!(outcome.problem.is_some(), matches!(outcome.result, SpfResult::TempError | SpfResult::PermError));
    if let Some(explanation) = outcome.explanation {
        assert_eq!(outcome.result, SpfResult::Fail);
        assert!(explanation.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()));
    }
});
