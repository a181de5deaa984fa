//! Verify: what does DNS say of the client and of the domain it names?
//!
//! In:  an admitted transaction. Out: reverse DNS (kept for the connection), the SPF result. Never a refusal.
//! Standards: RFC 8601 §2.7.3 (iprev), RFC 7208 (SPF).
//! Invariants: inbound only; bounded in time; a failure of DNS is TempError, never Fail.

use super::decide::{Admitted, Way};
use super::dns::ResolverDns;
use crate::Desk;
use crate::inbound::transaction::{Connection, Transaction};
use policy::verify::iprev::{self, Iprev, IprevResult};
use policy::verify::spf::{SpfQuery, SpfResult, check_mail_from, sender_of};
use std::time::Duration;

/// RFC 7208 §4.6.4 asks for at least 20 s for the whole of SPF.
const SPF_LIMIT: Duration = Duration::from_secs(20);
const IPREV_LIMIT: Duration = Duration::from_secs(10);
/// Characters of evidence kept in tracking.
const EVIDENCE_CHARS_MAX: usize = 500;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// SPF of the reverse path; outbound not asked.
    pub(super) spf: Option<Spf>,
}

/// SPF, for tracking and for DSN suppression.
#[derive(Debug)]
pub(super) struct Spf {
    pub(super) result: &'static str,
    pub(super) evidence: Option<String>,
    is_fail: bool,
}

impl Verified {
    /// Domains-and-routing 11.2: the sender is likely forged, so that a DSN would reach a bystander.
    pub(super) fn is_likely_forged(&self) -> bool {
        self.spf.as_ref().is_some_and(|s| s.is_fail)
    }
}

/// Both at once, each within its limit.
pub(super) async fn run(connection: &mut Connection, transaction: &Transaction, admitted: &Admitted, desk: &Desk) -> Verified {
    match admitted.way {
        Way::Outbound { .. } => return Verified::default(),
        Way::Inbound => {}
    }
    let dns = ResolverDns(&desk.resolver);
    let client = connection.ip();
    let known = connection.iprev.take();
    let reverse = async {
        match known {
            Some(known) => known,
            None => match desk.clock.timeout(IPREV_LIMIT, iprev::check(&dns, client)).await {
                Ok(found) => found,
                Err(_) => Iprev {
                    result: IprevResult::TempError,
                    confirmed: Vec::new(),
                },
            },
        }
    };
    let sender = sender_of(&transaction.reverse_path);
    let query = SpfQuery {
        client,
        hello: &connection.hello.0,
        sender: &sender,
        receiver: desk.node.hostname.as_str(),
        now: desk.now(),
    };
    let forged = async {
        match desk.clock.timeout(SPF_LIMIT, check_mail_from(&dns, &query)).await {
            Ok(outcome) => Spf {
                result: outcome.result.as_str(),
                evidence: evidence(&outcome.domain, outcome.mechanism.as_deref(), outcome.problem.as_deref()),
                is_fail: outcome.result == SpfResult::Fail,
            },
            Err(_) => Spf {
                result: SpfResult::TempError.as_str(),
                evidence: Some("time limit".into()),
                is_fail: false,
            },
        }
    };
    let (reverse, spf) = tokio::join!(reverse, forged);
    connection.iprev = Some(reverse);
    Verified { spf: Some(spf) }
}

fn evidence(domain: &str, mechanism: Option<&str>, problem: Option<&str>) -> Option<String> {
    if domain.is_empty() {
        return None;
    }
    let words = [Some(domain), mechanism, problem];
    let text = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
    Some(mail::header::printable(&text, EVIDENCE_CHARS_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_in_words() {
        let check = |domain: &str, mechanism: Option<&str>, problem: Option<&str>, expect: Option<&str>| {
            assert_eq!(evidence(domain, mechanism, problem).as_deref(), expect);
        };
        check("a.example", Some("-all"), None, Some("a.example: -all"));
        check(
            "a.example",
            None,
            Some("two records\r\nforged"),
            Some("a.example: two records  forged"),
        );
        check("", None, None, None);
    }
}
