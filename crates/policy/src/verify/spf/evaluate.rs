//! `check_host()` of RFC 7208 §4.

use super::super::{Dns, DnsError, addresses_like, plain_name};
use super::macros::{MacroString, Place, Values};
use super::record::{Directive, Mechanism, Prefixes, Qualifier, Record, is_spf};
use super::{Identity, SpfOutcome, SpfQuery, SpfResult};
use ipnet::IpNet;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// RFC 7208 §4.6.4: mechanisms and modifiers that ask DNS.
const TERMS_MAX: u32 = 10;
/// RFC 7208 §4.6.4: of their questions, those without an answer.
const VOIDS_MAX: u32 = 2;
/// RFC 7208 §4.6.4: names of one `mx`.
const MX_NAMES_MAX: usize = 10;
/// RFC 7208 §4.6.4: names of the client; more are passed over.
const PTR_NAMES_MAX: usize = 10;
/// Bytes of an explanation that we pass on.
const EXPLANATION_BYTES_MAX: usize = 1_000;

/// The end of an evaluation that gives no verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stop {
    None,
    Temp(String),
    Perm(String),
}

type Found<T> = Result<T, Stop>;
type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The verdict of one record and the way to it.
struct Verdict {
    result: SpfResult,
    mechanism: Option<String>,
    explanation: Option<String>,
}

struct Evaluation<'a> {
    dns: &'a dyn Dns,
    query: &'a SpfQuery<'a>,
    client: IpAddr,
    local: &'a str,
    sender_domain: &'a str,
    terms: u32,
    voids: u32,
    /// Confirmed names of the client; looked up when first needed.
    confirmed: Option<Vec<String>>,
    /// The first record.
    record: Option<String>,
}

/// Evaluates `domain` for the client; `local` is the sender's local part if it has one.
pub(super) async fn check(dns: &dyn Dns, query: &SpfQuery<'_>, identity: Identity, local: &str, domain: &str) -> SpfOutcome {
    // RFC 7208 §4.1 and §4.3: without a local part it is "postmaster".
    let local = if local.is_empty() { "postmaster" } else { local };
    let domain = domain.strip_suffix('.').unwrap_or(domain);
    let client = query.client.to_canonical();
    let mut evaluation = Evaluation {
        dns,
        query,
        client,
        local,
        sender_domain: domain,
        terms: 0,
        voids: 0,
        confirmed: None,
        record: None,
    };
    let outcome = |result, record| SpfOutcome {
        result,
        identity,
        domain: domain.to_ascii_lowercase(),
        record,
        mechanism: None,
        explanation: None,
        problem: None,
    };
    if !is_domain(domain) {
        return SpfOutcome {
            domain: String::new(),
            ..outcome(SpfResult::None, None)
        };
    }
    let verdict = evaluation.check_host(domain.to_owned(), Explain::Yes).await;
    let record = evaluation.record.take();
    match verdict {
        Ok(verdict) => SpfOutcome {
            mechanism: verdict.mechanism,
            explanation: verdict.explanation,
            ..outcome(verdict.result, record)
        },
        Err(Stop::None) => outcome(SpfResult::None, record),
        Err(Stop::Temp(problem)) => SpfOutcome {
            problem: Some(problem),
            ..outcome(SpfResult::TempError, record)
        },
        Err(Stop::Perm(problem)) => SpfOutcome {
            problem: Some(problem),
            ..outcome(SpfResult::PermError, record)
        },
    }
}

/// RFC 7208 §4.3: what is malformed or has one label only has no record. Literals are no domains.
fn is_domain(domain: &str) -> bool {
    domain.len() <= 253
        && domain.contains('.')
        && !domain.contains(['[', ']', ':'])
        && domain.split('.').all(|label| (1..=63).contains(&label.len()))
}

/// RFC 7208 §6.2: the `exp` of an included record is not looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Explain {
    Yes,
    No,
}

impl Evaluation<'_> {
    /// Boxed, since includes and redirects come back here; the limit of terms bounds how deep.
    fn check_host(&mut self, domain: String, explain: Explain) -> Later<'_, Found<Verdict>> {
        Box::pin(async move {
            let record = self.select(&domain).await?;
            for directive in &record.directives {
                if let Some(way) = self.matches(directive, &domain).await? {
                    let result = match directive.qualifier {
                        Qualifier::Pass => SpfResult::Pass,
                        Qualifier::Fail => SpfResult::Fail,
                        Qualifier::SoftFail => SpfResult::SoftFail,
                        Qualifier::Neutral => SpfResult::Neutral,
                    };
                    let explanation = match &record.explanation {
                        Some(target) if result == SpfResult::Fail && explain == Explain::Yes => self.explain(target, &domain).await,
                        _ => None,
                    };
                    return Ok(Verdict {
                        result,
                        mechanism: Some(way),
                        explanation,
                    });
                }
            }
            let Some(redirect) = &record.redirect else {
                // RFC 7208 §4.7: nothing matched.
                return Ok(Verdict {
                    result: SpfResult::Neutral,
                    mechanism: None,
                    explanation: None,
                });
            };
            self.count_term()?;
            let target = self.expand_domain(redirect, &domain).await;
            match self.check_host(target.clone(), explain).await {
                // RFC 7208 §6.1: no record there is an error here.
                Err(Stop::None) => Err(Stop::Perm(format!("redirect={target} leads to no record"))),
                other => other,
            }
        })
    }

    /// RFC 7208 §4.4 and §4.5.
    async fn select(&mut self, domain: &str) -> Found<Record> {
        if !is_domain(domain) {
            return Err(Stop::None);
        }
        let texts = match self.dns.txt(domain).await {
            Ok(texts) => texts,
            Err(DnsError::NoSuchName) => return Err(Stop::None),
            Err(DnsError::Temp) => return Err(Stop::Temp(format!("DNS failed for the record of {domain}"))),
        };
        let mut records = texts.into_iter().filter(|text| is_spf(text));
        let text = records.next().ok_or(Stop::None)?;
        if records.next().is_some() {
            return Err(Stop::Perm(format!("{domain} has more than one record")));
        }
        let parsed = Record::parse(&text).map_err(|error| Stop::Perm(format!("record of {domain}: {error}")));
        self.record.get_or_insert(text);
        parsed
    }

    /// How the directive matched; nothing when it did not.
    async fn matches(&mut self, directive: &Directive, domain: &str) -> Found<Option<String>> {
        let is_match = match &directive.mechanism {
            Mechanism::All => true,
            Mechanism::Ip4(network, prefix) => within(self.client, IpAddr::V4(*network), *prefix),
            Mechanism::Ip6(network, prefix) => within(self.client, IpAddr::V6(*network), *prefix),
            Mechanism::Include(target) => return self.include(directive, target, domain).await,
            Mechanism::A(target, prefixes) => {
                self.count_term()?;
                let target = self.target(target.as_ref(), domain).await;
                self.matches_addresses(&target, *prefixes, Void::Counts).await?
            }
            Mechanism::Mx(target, prefixes) => {
                self.count_term()?;
                let target = self.target(target.as_ref(), domain).await;
                self.matches_mx(&target, *prefixes).await?
            }
            Mechanism::Ptr(target) => {
                self.count_term()?;
                let target = plain_name(&self.target(target.as_ref(), domain).await);
                self.confirmed_names().await?.iter().any(|name| is_within(name, &target))
            }
            Mechanism::Exists(target) => {
                self.count_term()?;
                let target = self.expand_domain(target, domain).await;
                // RFC 7208 §5.7: an A record, whatever the client's family.
                let answer = self.dns.ipv4(&target).await;
                !self.judged(answer, &target, Void::Counts)?.is_empty()
            }
        };
        Ok(is_match.then(|| directive.text.clone()))
    }

    /// RFC 7208 §5.2.
    async fn include(&mut self, directive: &Directive, target: &MacroString, domain: &str) -> Found<Option<String>> {
        self.count_term()?;
        let target = self.expand_domain(target, domain).await;
        match self.check_host(target.clone(), Explain::No).await {
            Ok(verdict) if verdict.result == SpfResult::Pass => {
                let way = verdict
                    .mechanism
                    .map_or_else(|| directive.text.clone(), |inner| format!("{} > {inner}", directive.text));
                Ok(Some(way))
            }
            Ok(_) => Ok(None),
            Err(Stop::None) => Err(Stop::Perm(format!("include:{target} leads to no record"))),
            Err(stop) => Err(stop),
        }
    }

    async fn matches_addresses(&mut self, name: &str, prefixes: Prefixes, void: Void) -> Found<bool> {
        match self.client {
            IpAddr::V4(_) => {
                let answer = self.dns.ipv4(name).await;
                let addresses = self.judged(answer, name, void)?;
                Ok(addresses
                    .into_iter()
                    .any(|address| within(self.client, IpAddr::V4(address), prefixes.v4)))
            }
            IpAddr::V6(_) => {
                let answer = self.dns.ipv6(name).await;
                let addresses = self.judged(answer, name, void)?;
                Ok(addresses
                    .into_iter()
                    .any(|address| within(self.client, IpAddr::V6(address), prefixes.v6)))
            }
        }
    }

    /// RFC 7208 §5.4.
    async fn matches_mx(&mut self, name: &str, prefixes: Prefixes) -> Found<bool> {
        let answer = self.dns.mx(name).await;
        let mut hosts = self.judged(answer, name, Void::Counts)?;
        if hosts.len() > MX_NAMES_MAX {
            return Err(Stop::Perm(format!("{name} has more than {MX_NAMES_MAX} MX records")));
        }
        hosts.sort();
        for (_, host) in hosts {
            let host = host.strip_suffix('.').unwrap_or(&host);
            // RFC 7505: the null MX has no host.
            // TOLERATES RFC 7208 §4.6.4: hosts without an address of the client's family are no void look-ups (docs/quirk.md#spf-mx-voids).
            if !host.is_empty() && self.matches_addresses(host, prefixes, Void::Passes).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// RFC 7208 §5.5: names of the client that lead back to it. Failures only make the list shorter.
    async fn confirmed_names(&mut self) -> Found<&[String]> {
        if self.confirmed.is_none() {
            let answer = self.dns.ptr(self.client).await;
            let is_void = matches!(&answer, Ok(names) if names.is_empty()) || answer == Err(DnsError::NoSuchName);
            if is_void {
                self.count_void()?;
            }
            let mut confirmed = Vec::new();
            for name in answer.unwrap_or_default().iter().take(PTR_NAMES_MAX).map(|name| plain_name(name)) {
                if addresses_like(self.dns, &name, self.client)
                    .await
                    .is_ok_and(|addresses| addresses.contains(&self.client))
                {
                    confirmed.push(name);
                }
            }
            self.confirmed = Some(confirmed);
        }
        Ok(self.confirmed.as_deref().unwrap_or_default())
    }

    /// RFC 7208 §6.2: every failure on the way means that there is no explanation.
    async fn explain(&mut self, target: &MacroString, domain: &str) -> Option<String> {
        let target = self.expand_domain(target, domain).await;
        let texts = self.dns.txt(&target).await.ok()?;
        let [text] = texts.as_slice() else { return None };
        let parsed = MacroString::parse(text, Place::Explanation).ok()?;
        let confirmed = self.confirmed_for(&parsed, domain).await;
        let mut explanation = parsed.expand(&self.values(domain, &confirmed));
        // Inputs may hold what the record may not.
        explanation.retain(|letter| letter == ' ' || letter.is_ascii_graphic());
        explanation.truncate(EXPLANATION_BYTES_MAX);
        Some(explanation)
    }

    async fn target(&mut self, target: Option<&MacroString>, domain: &str) -> String {
        match target {
            Some(target) => self.expand_domain(target, domain).await,
            None => domain.to_owned(),
        }
    }

    async fn expand_domain(&mut self, target: &MacroString, domain: &str) -> String {
        let confirmed = self.confirmed_for(target, domain).await;
        target.expand_domain(&self.values(domain, &confirmed))
    }

    /// RFC 7208 §7.3, `p`: the domain itself if it is among the client's names, else a name below it, else any, else "unknown".
    async fn confirmed_for(&mut self, target: &MacroString, domain: &str) -> String {
        if !target.needs_confirmed_name() {
            return String::new();
        }
        let domain = plain_name(domain);
        let names = self.confirmed_names().await.unwrap_or_default();
        let chosen = names
            .iter()
            .find(|name| **name == domain)
            .or_else(|| names.iter().find(|name| is_within(name, &domain)))
            .or_else(|| names.first());
        chosen.cloned().unwrap_or_else(|| String::from("unknown"))
    }

    fn values<'v>(&'v self, domain: &'v str, confirmed: &'v str) -> Values<'v> {
        Values {
            client: self.client,
            hello: self.query.hello,
            local: self.local,
            sender_domain: self.sender_domain,
            domain,
            confirmed,
            receiver: self.query.receiver,
            seconds: self.query.now.0.div_euclid(1_000),
        }
    }

    /// An answer for a mechanism: a missing name is an empty one, a failure ends the evaluation.
    fn judged<T>(&mut self, answer: Result<Vec<T>, DnsError>, name: &str, void: Void) -> Found<Vec<T>> {
        let records = match answer {
            Ok(records) => records,
            Err(DnsError::NoSuchName) => Vec::new(),
            Err(DnsError::Temp) => return Err(Stop::Temp(format!("DNS failed for {name}"))),
        };
        if records.is_empty() && void == Void::Counts {
            self.count_void()?;
        }
        Ok(records)
    }

    fn count_term(&mut self) -> Found<()> {
        self.terms += 1;
        if self.terms > TERMS_MAX {
            Err(Stop::Perm(format!("more than {TERMS_MAX} terms ask DNS")))
        } else {
            Ok(())
        }
    }

    fn count_void(&mut self) -> Found<()> {
        self.voids += 1;
        if self.voids > VOIDS_MAX {
            Err(Stop::Perm(format!("more than {VOIDS_MAX} questions found nothing")))
        } else {
            Ok(())
        }
    }
}

/// Whether an empty answer counts as a void look-up.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Void {
    Counts,
    Passes,
}

/// Families never match across.
fn within(client: IpAddr, network: IpAddr, prefix: u8) -> bool {
    IpNet::new(network, prefix).is_ok_and(|network| network.contains(&client))
}

fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
