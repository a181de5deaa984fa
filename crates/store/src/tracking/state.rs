//! State: where does each recipient of a trace stand now?
//!
//! In:  the records of a trace, in order. Out: the last word on each recipient.

use mail::Disposition;
use std::collections::BTreeMap;

use super::{Event, Record};

/// State of one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// In the spool, not tried yet or about to be tried again at a person's word.
    Queued,
    /// The next hop took it.
    Delivered,
    /// Waits for another attempt.
    Deferred,
    /// 5yz.
    Failed,
    /// Lifetime over.
    Expired,
    /// Not scheduled until released.
    Held,
    /// Removed without a DSN.
    Deleted,
    /// Never accepted.
    Refused,
}

impl State {
    /// Every state.
    pub const ALL: &'static [Self] = &[
        Self::Queued,
        Self::Delivered,
        Self::Deferred,
        Self::Failed,
        Self::Expired,
        Self::Held,
        Self::Deleted,
        Self::Refused,
    ];

    /// As `Query::state` names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Delivered => "delivered",
            Self::Deferred => "deferred",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Held => "held",
            Self::Deleted => "deleted",
            Self::Refused => "refused",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.as_str() == text)
    }
}

/// What one event says of a recipient; `None` as recipient: of the whole transaction.
#[must_use]
pub fn said(event: &Event) -> Option<(Option<&str>, State)> {
    match event {
        Event::Queued { recipient, .. } | Event::Released { recipient, .. } | Event::Rerouted { recipient, .. } => {
            Some((Some(recipient), State::Queued))
        }
        Event::Delivered { recipient, .. } => Some((Some(recipient), State::Delivered)),
        Event::Deferred { recipient, .. } => Some((Some(recipient), State::Deferred)),
        Event::Failed { recipient, .. } => Some((Some(recipient), State::Failed)),
        Event::Expired { recipient, .. } => Some((Some(recipient), State::Expired)),
        Event::Held { recipient, .. } => Some((Some(recipient), State::Held)),
        Event::Deleted { recipient, .. } => Some((Some(recipient), State::Deleted)),
        Event::Refused { recipient, .. } => Some((recipient.as_deref(), State::Refused)),
        Event::Decided {
            recipient, disposition, ..
        } => match disposition {
            Disposition::Hold | Disposition::Quarantine => Some((Some(recipient), State::Held)),
            Disposition::Reject | Disposition::Defer => Some((Some(recipient), State::Refused)),
            Disposition::Discard => Some((Some(recipient), State::Deleted)),
            Disposition::Deliver | Disposition::Relay => None,
        },
        Event::Connected { .. }
        | Event::Tls { .. }
        | Event::MailFrom { .. }
        | Event::Rcpt { .. }
        | Event::Accepted { .. }
        | Event::Checked { .. }
        | Event::Modified { .. }
        | Event::Attempt { .. }
        | Event::Dsn { .. } => None,
    }
}

/// The state of every recipient that has one; under the empty name, of the transaction as a whole.
#[must_use]
pub fn states(records: &[Record]) -> BTreeMap<&str, State> {
    let mut out = BTreeMap::new();
    for (recipient, state) in records.iter().flat_map(|r| &r.events).filter_map(said) {
        out.insert(recipient.unwrap_or_default(), state);
    }
    out
}
