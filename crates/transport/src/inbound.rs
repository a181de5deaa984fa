//! Inbound: clients that hand us mail. From the accepted connection to the reply after the final dot.
//!
//! In:  accepted streams of the listeners (mx, submission, submissions). Out: messages for [`crate::receive`], refusals for tracking.
//! Standards: RFC 5321, RFC 6409, RFC 8314; domains-and-routing 6, 7, 8, 9, 10.
//! Invariants: nothing here promises mail, `receive` does; every wait on a client has a deadline; a connection task belongs to its listener.
//!
//! A connection in files: [`accept`] (is it let in?) → [`session`] (the driver) → `hello`, `login`, `mail`, `rcpt`, `data` (one question each).
//! Texts of refusals: [`reply`]. Which client may send for whom: [`sources`], judged by `policy::admission`.

mod accept;
mod data;
mod floods;
mod hello;
mod login;
pub(crate) mod mail;
mod peer;
mod rates;
mod rcpt;
pub(crate) mod recipients;
pub mod reply;
mod session;
pub mod sightings;
pub mod sources;
mod space;
pub mod transaction;
mod wire;

pub use accept::{Door, serve};
pub use floods::Floods;
pub use recipients::RecipientCache;
pub use space::Space;

use crate::Desk;
use sightings::Sightings;
use sources::Sources;
use std::sync::Arc;
use std::time::Duration;

/// How often floods are looked after.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(500);

/// What the sessions of a node share, beside the desk's rates.
#[derive(Debug, Default)]
pub struct State {
    /// Index of the settings by source.
    pub sources: Sources,
    /// Recipients found lately.
    pub recipients: RecipientCache,
    /// Refusals that are counted.
    pub floods: Floods,
    /// Free space, as last asked.
    pub space: Space,
    /// Proofs and credentials seen in use.
    pub sightings: Sightings,
}

/// Writes what was counted of floods and seen of proofs, until shutdown; [`flush`] writes the rest. One task of the process.
pub async fn housekeeping(desk: Arc<Desk>) {
    loop {
        tokio::select! {
            () = desk.shutdown.requested() => return,
            () = desk.clock.sleep(HOUSEKEEPING_INTERVAL) => {}
        }
        write(&desk, desk.clock.monotonic()).await;
    }
}

/// Writes all that is left, once the last session has ended: sessions are refused and counted until then.
pub async fn flush(desk: &Desk) {
    // At the end everything is over, whatever its second.
    write(desk, Duration::MAX).await;
}

async fn write(desk: &Desk, now: Duration) {
    let records = desk.inbound.floods.take_over(now);
    if !records.is_empty() {
        desk.store.mail.record(records);
    }
    let seen = desk.inbound.sightings.take();
    if !seen.is_empty()
        && let Err(error) = desk.store.write(move |tx| sightings::write(tx, &seen)).await
    {
        tracing::warn!(%error, "uses of proofs and credentials could not be noted");
    }
}
