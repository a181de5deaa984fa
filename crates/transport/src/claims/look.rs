//! What DNS says about a claim: the token, the MX, an address; server by server, for people to see.

use super::judge::OWNERSHIP_EVERY;
use mail::{Domain, Timestamp};
use net::resolver::{AuthoritativeAnswer, DnsError, MailDomain, Resolver};
use serde::{Deserialize, Serialize};
use store::control::domain::{DomainClaim, DomainState, VerifiedBy};

/// Before the token in the TXT record.
pub const TOKEN_HEADING: &str = "mitsuke=";
/// Letters of foreign text that a report shows.
const SHOWN_LETTERS: usize = 200;
/// Records of one answer that a report shows.
const SHOWN_RECORDS: usize = 10;

/// Whether the name can receive mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Address {
    /// MX, A or AAAA.
    Present,
    /// None of them, or no such name.
    Absent,
    /// RFC 7505.
    NullMx,
}

/// What one server answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerReport {
    /// Name.
    pub server: String,
    /// Address asked.
    pub address: Option<String>,
    /// `txt` or `mx`.
    pub record: String,
    /// What it has, cut; tokens of other kinds too.
    pub found: Vec<String>,
    /// Seconds.
    pub ttl: u32,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// What a look found; kept with the claim.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Which proof was found.
    #[serde(with = "proof_word")]
    pub proof: Option<VerifiedBy>,
    /// Every server answered: what was not found is not there.
    pub is_certain: bool,
    /// When ownership was looked at.
    pub ownership_at: Option<Timestamp>,
    /// Servers that own the name, sorted.
    pub name_servers: Vec<String>,
    /// Answers of each.
    pub servers: Vec<ServerReport>,
    /// Whether the name can receive mail; absent: DNS did not say.
    pub address: Option<Address>,
    /// Why the servers or the address could not be found.
    pub error: Option<String>,
}

mod proof_word {
    use super::VerifiedBy;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(proof: &Option<VerifiedBy>, s: S) -> Result<S::Ok, S::Error> {
        match proof {
            Some(by) => s.serialize_some(by.as_str()),
            None => s.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<VerifiedBy>, D::Error> {
        Ok(Option::<String>::deserialize(d)?.and_then(|word| VerifiedBy::parse(&word)))
    }
}

impl Report {
    /// Reads what was kept; `None` when there was no look yet.
    #[must_use]
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// As it is kept.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|_| "{}".into())
    }
}

/// What is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Proof and address.
    Everything,
    /// The address alone.
    AddressOnly,
}

/// What a look at this claim asks; `None`: nothing.
#[must_use]
pub fn wanted(claim: &DomainClaim, before: Option<&Report>, now: Timestamp) -> Option<Wanted> {
    match claim.state {
        DomainState::Deleting => None,
        DomainState::Unverified => Some(Wanted::Everything),
        DomainState::Verified | DomainState::Active => {
            let is_asked_for = claim.asked_at.is_some_and(|at| claim.checked_at.is_none_or(|last| last < at));
            let is_due = before
                .and_then(|r| r.ownership_at)
                .is_none_or(|at| at.after(OWNERSHIP_EVERY) <= now);
            Some(if is_asked_for || is_due {
                Wanted::Everything
            } else {
                Wanted::AddressOnly
            })
        }
    }
}

/// Asks. `tenant`: its access name; the MX that proves is `<tenant>.in.<base>`.
pub async fn look(
    resolver: &Resolver,
    claim: &DomainClaim,
    tenant: &str,
    base: &Domain,
    wanted: Wanted,
    before: Option<&Report>,
    now: Timestamp,
) -> Report {
    let mut report = match wanted {
        Wanted::AddressOnly => Report {
            error: None,
            ..before.cloned().unwrap_or_default()
        },
        Wanted::Everything => ownership(resolver, claim, &format!("{tenant}.in.{base}"), now).await,
    };
    match resolver.has_mail_address(&claim.name).await {
        Ok(MailDomain::Mx | MailDomain::AddressOnly) => report.address = Some(Address::Present),
        Ok(MailDomain::NullMx) => report.address = Some(Address::NullMx),
        Ok(MailDomain::Nothing) => report.address = Some(Address::Absent),
        Err(error) => (report.address, report.error) = (None, Some(error.to_string())),
    }
    report
}

async fn ownership(resolver: &Resolver, claim: &DomainClaim, own_mx: &str, now: Timestamp) -> Report {
    let (txt, mx) = tokio::join!(resolver.authoritative_txt(&claim.name), resolver.authoritative_mx(&claim.name));
    let mut report = Report {
        ownership_at: Some(now),
        is_certain: true,
        ..Report::default()
    };
    let token = format!("{TOKEN_HEADING}{}", claim.token);
    // Case is significant, other records are ignored (2.3).
    let has_token = add_answers(&mut report, "txt", txt, |record: &String| record == &token, Clone::clone);
    let has_mx = add_mx(&mut report, mx, own_mx);
    report.proof = if has_token {
        Some(VerifiedBy::Txt)
    } else if has_mx {
        Some(VerifiedBy::Mx)
    } else {
        None
    };
    report.name_servers.sort();
    report.name_servers.dedup();
    report
}

/// Only the best preference counts; a server that names ours beside another of the same preference proves as well.
fn add_mx(report: &mut Report, answers: Result<Vec<AuthoritativeAnswer<(u16, Domain)>>, DnsError>, own_mx: &str) -> bool {
    let answers = answers.map(|answers| {
        answers
            .into_iter()
            .map(|a| {
                let answer = a.answer.map(|records| {
                    let best = records.iter().map(|(preference, _)| *preference).min();
                    records
                        .into_iter()
                        .map(|(preference, host)| (preference, host, Some(preference) == best))
                        .collect()
                });
                AuthoritativeAnswer {
                    server: a.server,
                    addr: a.addr,
                    answer,
                    ttl: a.ttl,
                }
            })
            .collect()
    });
    add_answers(
        report,
        "mx",
        answers,
        |(_, host, is_best)| *is_best && host.as_str() == own_mx,
        |(preference, host, _)| format!("{preference} {host}"),
    )
}

/// Adds each server's answer; whether one of them has the proof.
fn add_answers<T>(
    report: &mut Report,
    record: &str,
    answers: Result<Vec<AuthoritativeAnswer<T>>, DnsError>,
    is_proof: impl Fn(&T) -> bool,
    show: impl Fn(&T) -> String,
) -> bool {
    let answers = match answers {
        Ok(answers) => answers,
        // A name that does not exist has no proof, and that is certain.
        Err(DnsError::NoSuchName) => return false,
        Err(error @ DnsError::Temp(_)) => {
            report.is_certain = false;
            report.error = Some(error.to_string());
            return false;
        }
    };
    let mut has_proof = false;
    for answer in answers {
        report.name_servers.push(answer.server.clone());
        let (found, error) = match &answer.answer {
            Ok(records) => {
                has_proof |= records.iter().any(&is_proof);
                (
                    records
                        .iter()
                        .take(SHOWN_RECORDS)
                        .map(|r| show(r).chars().take(SHOWN_LETTERS).collect())
                        .collect(),
                    None,
                )
            }
            Err(error) => {
                report.is_certain &= !matches!(error, DnsError::Temp(_));
                (Vec::new(), Some(error.to_string()))
            }
        };
        let address = answer.addr.map(|a| a.to_string());
        report.servers.push(ServerReport {
            server: answer.server,
            address,
            record: record.into(),
            found,
            ttl: answer.ttl,
            error,
        });
    }
    has_proof
}
