//! What follows from a look at a claim, and when is the next? Pure.

use super::look::{Address, Report};
use mail::Timestamp;
use std::time::Duration;
use store::control::domain::{DomainClaim, DomainState, VerifiedBy};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
/// The tenant is told so long before its claim lapses.
pub const LAPSE_NOTICE: Duration = Duration::from_secs(7 * 86_400);
/// How often a proven name is asked for its address records (chapter 3: 1 h).
pub const ADDRESS_EVERY: Duration = HOUR;
/// How often its proof is looked at again (chapter 3: 24 h).
pub const OWNERSHIP_EVERY: Duration = DAY;

/// Something to do, each with an audit entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The claim is proven.
    Verify(VerifiedBy),
    /// Verified → Active: the name has an address.
    Activate,
    /// Active → Verified: it has none any more.
    Deactivate,
    /// The claim's time is over.
    Lapse,
    /// The claim lapses in 7 days.
    WarnOfLapse,
    /// The grace is over.
    Purge,
    /// Neither token nor MX prove it any more; it stays proven.
    AlertProofLost,
    /// Other name servers than before.
    AlertNameServers {
        /// Before.
        before: Vec<String>,
        /// Now.
        after: Vec<String>,
    },
}

impl Step {
    /// The action in the audit log.
    #[must_use]
    pub fn action(&self) -> &'static str {
        match self {
            Self::Verify(_) => "domain.verified",
            Self::Activate => "domain.active",
            Self::Deactivate => "domain.no-address",
            Self::Lapse => "domain.claim-lapsed",
            Self::WarnOfLapse => "domain.claim-lapses-soon",
            Self::Purge => "domain.purged",
            Self::AlertProofLost => "domain.proof-lost",
            Self::AlertNameServers { .. } => "domain.name-servers-changed",
        }
    }
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// In this order.
    pub steps: Vec<Step>,
    /// Next look.
    pub next: Timestamp,
}

/// Judges a look (`None`: nothing was asked). `before`: the report of the last look.
#[must_use]
pub fn judge(claim: &DomainClaim, before: Option<&Report>, report: Option<&Report>, now: Timestamp) -> Judgement {
    match claim.state {
        DomainState::Deleting => match claim.purge_at {
            Some(end) if end > now => Judgement {
                steps: Vec::new(),
                next: end,
            },
            _ => Judgement {
                steps: vec![Step::Purge],
                next: now.after(HOUR),
            },
        },
        DomainState::Unverified => unverified(claim, report, now),
        DomainState::Verified | DomainState::Active => proven(claim, before, report, now),
    }
}

fn unverified(claim: &DomainClaim, report: Option<&Report>, now: Timestamp) -> Judgement {
    if let Some(by) = report.and_then(|r| r.proof) {
        let mut steps = vec![Step::Verify(by)];
        if report.is_some_and(|r| r.address == Some(Address::Present)) {
            steps.push(Step::Activate);
        }
        return Judgement {
            steps,
            next: now.after(ADDRESS_EVERY),
        };
    }
    if claim.lapses_at.is_some_and(|end| end <= now) {
        return Judgement {
            steps: vec![Step::Lapse],
            next: now.after(HOUR),
        };
    }
    let notice_at = claim
        .lapses_at
        .map(|end| end.before(LAPSE_NOTICE))
        .filter(|at| *at > claim.claimed_at);
    let is_to_be_told = notice_at.is_some_and(|at| at <= now && claim.checked_at.is_none_or(|last| last < at));
    let steps = if is_to_be_told { vec![Step::WarnOfLapse] } else { Vec::new() };
    let next = next_look(claim.claimed_at.max(claim.token_made_at), now);
    Judgement {
        steps,
        next: claim.lapses_at.map_or(next, |end| next.min(end)),
    }
}

fn proven(claim: &DomainClaim, before: Option<&Report>, report: Option<&Report>, now: Timestamp) -> Judgement {
    let mut steps = Vec::new();
    let Some(report) = report else {
        return Judgement {
            steps,
            next: now.after(ADDRESS_EVERY),
        };
    };
    match (claim.state, report.address) {
        (DomainState::Verified, Some(Address::Present)) => steps.push(Step::Activate),
        (DomainState::Active, Some(Address::Absent | Address::NullMx)) => steps.push(Step::Deactivate),
        // A DNS failure changes nothing.
        _ => {}
    }
    if let Some(before) = before
        && report.ownership_at == Some(now)
    {
        if before.proof.is_some() && report.proof.is_none() && report.is_certain {
            steps.push(Step::AlertProofLost);
        }
        if report.is_certain && !before.name_servers.is_empty() && before.name_servers != report.name_servers {
            steps.push(Step::AlertNameServers {
                before: before.name_servers.clone(),
                after: report.name_servers.clone(),
            });
        }
    }
    Judgement {
        steps,
        next: now.after(ADDRESS_EVERY),
    }
}

/// Every minute for 1 h, every 10 min to 24 h, then hourly.
#[must_use]
pub fn next_look(since: Timestamp, now: Timestamp) -> Timestamp {
    let age = now.since(since);
    now.after(if age < HOUR {
        MINUTE
    } else if age < DAY {
        10 * MINUTE
    } else {
        HOUR
    })
}

#[cfg(test)]
mod tests;
