//! Decide: what becomes of each recipient's copy, and what is answered to the one DATA?
//!
//! In:  per recipient what its checks ask for. Out: one refusal for all, or a fate per recipient.
//! Standards: domains-and-routing 10 ("after DATA one reply serves all recipients").
//! Invariants: refused only when every recipient agrees; a copy that should be refused but cannot is held, never lost and never delivered;
//!   every recipient has exactly one disposition.

use mail::{Disposition, Reason};

/// What the checks after DATA ask for, for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Nothing against it.
    Pass,
    /// In the spool, not scheduled until released.
    Hold(Reason),
    /// 4yz or 5yz, whichever the reason's reply has.
    Refuse(Reason),
}

/// Fate of one recipient's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fate {
    /// What.
    pub disposition: Disposition,
    /// Why, unless it simply passes.
    pub reason: Option<Reason>,
}

/// Of the whole transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// One reply for all.
    Refuse(Reason),
    /// 250; fates in the order of the recipients.
    Accept(Vec<Fate>),
}

/// Brings the wishes together. Without recipients there is nothing to accept.
#[must_use]
pub fn decide(wishes: &[Wish]) -> Decision {
    let refusals: Vec<Reason> = wishes
        .iter()
        .filter_map(|w| if let Wish::Refuse(reason) = w { Some(*reason) } else { None })
        .collect();
    match refusals.first() {
        // They agree that it is refused; of several reasons the first recipient's is told.
        Some(first) if refusals.len() == wishes.len() => Decision::Refuse(*first),
        Some(_) | None => Decision::Accept(wishes.iter().map(|w| fate(*w)).collect()),
    }
}

fn fate(wish: Wish) -> Fate {
    match wish {
        Wish::Pass => Fate {
            disposition: Disposition::Relay,
            reason: None,
        },
        Wish::Hold(reason) => Fate {
            disposition: Disposition::Hold,
            reason: Some(reason),
        },
        Wish::Refuse(_) => Fate {
            disposition: Disposition::Hold,
            reason: Some(Reason::RejectNotPossible),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_reply_serves_all() {
        let check = |wishes: &[Wish], expect: Decision| assert_eq!(decide(wishes), expect, "{wishes:?}");
        let relay = Fate {
            disposition: Disposition::Relay,
            reason: None,
        };
        let held = |reason| Fate {
            disposition: Disposition::Hold,
            reason: Some(reason),
        };
        check(&[Wish::Pass, Wish::Pass], Decision::Accept(vec![relay, relay]));
        check(
            &[Wish::Refuse(Reason::Size), Wish::Refuse(Reason::Size)],
            Decision::Refuse(Reason::Size),
        );
        check(
            &[Wish::Refuse(Reason::Size), Wish::Pass],
            Decision::Accept(vec![held(Reason::RejectNotPossible), relay]),
        );
        check(
            &[Wish::Refuse(Reason::Size), Wish::Hold(Reason::Malformed)],
            Decision::Accept(vec![held(Reason::RejectNotPossible), held(Reason::Malformed)]),
        );
        check(
            &[Wish::Hold(Reason::TooManyMime)],
            Decision::Accept(vec![held(Reason::TooManyMime)]),
        );
        check(&[], Decision::Accept(Vec::new()));
    }
}
