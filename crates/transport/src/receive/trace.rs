//! Trace: how often has the message been handed on, and what do we put in front of it?
//!
//! In:  the header section, the session, a queue id. Out: HOPS or LOOP; the prefix of one tenant's message.
//! Standards: RFC 5321 §4.4, §6.3; domains-and-routing 9 (hops), 11.4 (own passes).
//! Invariants: only stamps made with the installation's key count as ours; the field tells a recipient only when there is no other.

use super::Refused;
use crate::Desk;
use crate::inbound::reply::Refusal;
use crate::inbound::transaction::{Connection, Transaction};
use crate::limits::system;
use bytes::Bytes;
use mail::mime::Facts;
use mail::trace::{Client, Received, Transmission};
use mail::{Address, QueueId, Reason, Timestamp};

/// Domains-and-routing 11.4: more passes than this, the present one included, are a loop.
const OWN_PASSES_MAX: usize = 4;

/// Hop count and own passes.
pub(super) fn check(facts: &Facts, transaction: &Transaction, desk: &Desk) -> Result<(), Refused> {
    let hops_max: u32 = system(&transaction.live.system, |l| l.hops_max);
    let passes = facts.passes(&desk.stamp_key);
    if passes.own >= OWN_PASSES_MAX {
        return Err(Refused::about(
            Refusal::new(Reason::Loop).with_detail(format!("{} passes before this one", passes.own)),
            None,
        ));
    }
    if passes.received > usize::try_from(hops_max).unwrap_or(usize::MAX) {
        return Err(Refused::about(
            Refusal::new(Reason::Hops).with_detail(format!("{} of {hops_max} hops", passes.received)),
            None,
        ));
    }
    Ok(())
}

/// The Received field with our stamp.
pub(super) fn prefix(
    connection: &Connection,
    transaction: &Transaction,
    queue_id: QueueId,
    only: Option<&Address>,
    at: Timestamp,
    desk: &Desk,
) -> Bytes {
    let client = Client {
        hello: &connection.hello.0,
        address: connection.ip(),
        name: connection.name(),
        tls: connection.tls.as_ref().map(|t| (t.version.as_str(), t.cipher.as_str())),
        transmission: Transmission {
            extended: connection.hello.1,
            tls: connection.is_tls(),
            authenticated: connection.login.is_some(),
            smtputf8: transaction.params.smtputf8,
        },
    };
    let received = Received {
        client: Some(client),
        by: desk.node.hostname.as_str(),
        queue_id,
        recipient: only,
        at,
    };
    Bytes::from(received.to_field(&desk.stamp_key))
}
