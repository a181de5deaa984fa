//! The desk: what does everyone who moves mail need at hand?
//!
//! In: the parts, made once in `mitsuke::compose`. Out: one `Arc<Desk>` that is handed down as an argument.
//! Invariants: nothing here is a global; settings are taken once per transaction with [`Desk::live`] and kept to its end.

use crate::limits::Rates;
use crate::queue::QueueHandle;
use arc_swap::ArcSwap;
use config::{Live, Node};
use mail::trace::StampKey;
use mail::{IdSource, Timestamp};
use net::clock::Clock;
use net::guard::Guard;
use net::resolver::Resolver;
use net::task::Shutdown;
use std::sync::Arc;
use store::Store;

/// Shared by inbound, receive, queue, delivery, outcome and report.
pub struct Desk {
    /// The only clock.
    pub clock: Clock,
    /// Everything durable.
    pub store: Store,
    /// Settings as they are now; swapped whole.
    pub settings: Arc<ArcSwap<Live>>,
    /// The node file.
    pub node: Arc<Node>,
    /// DNS, with its caches.
    pub resolver: Resolver,
    /// The one way to connect to somewhere a tenant names.
    pub guard: Guard,
    /// Certificates towards clients; reloaded when their files change.
    pub server_tls: net::tls::ServerTls,
    /// Trust towards next hops.
    pub client_tls: net::tls::ClientTls,
    /// Installation key and what is derived from it.
    pub keys: Arc<identity::Keys>,
    /// Log-in of relay credentials at submission.
    pub relay: Arc<identity::relay::RelayDoor>,
    /// Key of our Received stamps, derived once.
    pub stamp_key: StampKey,
    /// Gives queue ids.
    pub ids: Arc<IdSource>,
    /// Where accepted messages go after the commit.
    pub queue: QueueHandle,
    /// Connections, rates and harvest counts of this node.
    pub rates: Arc<Rates>,
    /// What sessions share.
    pub inbound: Arc<crate::inbound::State>,
    /// Asks everyone to end.
    pub shutdown: Shutdown,
}

impl Desk {
    /// Settings of this moment. A transaction takes them once and keeps them.
    #[must_use]
    pub fn live(&self) -> Arc<Live> {
        self.settings.load_full()
    }

    /// The wall clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}
