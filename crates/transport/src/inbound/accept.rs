//! Accept: is this connection let in at all?
//!
//! In:  accepted streams of one listener. Out: sessions; refusals at connect.
//! Standards: RFC 5321 §3.1, §4.5.4.2; RFC 8314 §3.3; the PROXY protocol; domains-and-routing 9, 10 (stage connect).
//! Invariants: a balancer of the list must send its header and nobody else is believed; limits count the client, not the balancer;
//!   honest clients are not delayed: who spoke before the greeting is seen by one look.

use super::floods::Noted;
use super::reply::Refusal;
use super::session::{Limits, Session};
use super::transaction::{Connection, refused};
use super::wire::Wire;
use crate::Desk;
use crate::limits::{OverConnections, Seat, system};
use bytes::BytesMut;
use config::node::{Listener, ListenerRole};
use config::{Live, SystemDocument};
use mail::{Reason, Reference, TenantId};
use net::task::Tasks;
use proto::proxy::{self, Header, Parsed, ProxyError};
use proto::smtp::server::{BareNewline, Mechanism, Role, Server, Settings};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::tracking::Record;
use tokio::net::{TcpListener, TcpStream};

/// How long a balancer may take for its header, and a refused client for its reply.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long sessions may take to end after shutdown was asked for; they hear it at their next command.
const CLOSING_LIMIT: Duration = Duration::from_secs(30);

/// A listener, as its sessions know it.
#[derive(Debug)]
pub struct Door {
    /// What it is for.
    pub role: ListenerRole,
    /// `address:port role`.
    pub name: Arc<str>,
    proxy_networks: Vec<ipnet::IpNet>,
    /// Settings of the session machine, made once per change of the settings.
    machine: Mutex<Option<MachineSettings>>,
}

#[derive(Debug)]
struct MachineSettings {
    live: Arc<Live>,
    refusing: Arc<Settings>,
    normalising: Arc<Settings>,
}

impl Door {
    /// For a bound listener.
    #[must_use]
    pub fn new(listener: &Listener, bound: SocketAddr) -> Self {
        let word = match listener.role {
            ListenerRole::Mx => "mx",
            ListenerRole::Submission => "submission",
            ListenerRole::Submissions => "submissions",
            ListenerRole::Api => "api",
            ListenerRole::Web => "web",
            ListenerRole::Metrics => "metrics",
        };
        Self {
            role: listener.role,
            name: format!("{bound} {word}").into(),
            proxy_networks: listener.proxy_networks.clone(),
            machine: Mutex::new(None),
        }
    }

    /// Whether TLS comes before the greeting (RFC 8314 §3.3).
    #[must_use]
    pub fn is_implicit_tls(&self) -> bool {
        self.role == ListenerRole::Submissions
    }

    fn settings(&self, desk: &Desk, live: &Arc<Live>, client: IpAddr) -> Arc<Settings> {
        let mut slot = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|s| !Arc::ptr_eq(&s.live, live)) {
            *slot = None;
        }
        let made = slot.get_or_insert_with(|| MachineSettings {
            live: Arc::clone(live),
            refusing: Arc::new(self.machine_settings(desk, &live.system, BareNewline::Refuse)),
            normalising: Arc::new(self.machine_settings(desk, &live.system, BareNewline::Normalise)),
        });
        let normalise = live.system.normalise_newlines_of.iter().any(|n| n.contains(&client));
        Arc::clone(if normalise { &made.normalising } else { &made.refusing })
    }

    fn machine_settings(&self, desk: &Desk, document: &SystemDocument, bare_newline: BareNewline) -> Settings {
        let role = if self.role == ListenerRole::Mx {
            Role::Mx
        } else {
            Role::Submission
        };
        let mut auth = Vec::new();
        if role == Role::Submission {
            auth.extend([Mechanism::Plain, Mechanism::Login]);
            if document.scram == Some(true) {
                auth.insert(0, Mechanism::ScramSha256);
            }
        }
        Settings {
            hostname: desk.node.hostname.to_string(),
            role,
            starttls: !self.is_implicit_tls(),
            implicit_tls: self.is_implicit_tls(),
            auth,
            size_max: system(document, |l| l.message_bytes_cap),
            command_bytes_max: proto::smtp::limits::COMMAND_BYTES_MAX,
            text_line_max: proto::smtp::limits::TEXT_LINE_BYTES_MAX,
            errors_max: system(document, |l| l.errors_max),
            bare_newline,
        }
    }
}

/// Serves one listener until shutdown; returns when its sessions have ended, or were given up after 30 s.
pub async fn serve(desk: Arc<Desk>, listener: TcpListener, door: Arc<Door>) {
    let sessions = Tasks::new();
    let accepted = {
        let (desk, sessions) = (Arc::clone(&desk), sessions.clone());
        let door = Arc::clone(&door);
        move |stream: TcpStream, peer: SocketAddr| {
            sessions.spawn("smtp-session", admit(Arc::clone(&desk), Arc::clone(&door), stream, peer));
        }
    };
    net::listen::serve(listener, desk.shutdown.clone(), accepted).await;
    let left = sessions.join(CLOSING_LIMIT).await;
    if !left.is_empty() {
        tracing::warn!(listener = %door.name, sessions = left.len(), "sessions did not end in time");
    }
}

/// From the stream to the end of the session.
async fn admit(desk: Arc<Desk>, door: Arc<Door>, stream: TcpStream, peer: SocketAddr) {
    let mut wire = Wire::Plain(stream);
    let mut input = BytesMut::new();
    let client = if door.proxy_networks.iter().any(|n| n.contains(&peer.ip())) {
        match desk.clock.timeout(PATIENCE, proxied(&mut wire, &mut input, peer)).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return tracing::info!(%peer, %error, "balancer without a usable PROXY header"),
            Err(_) => return tracing::info!(%peer, "balancer sent no PROXY header in time"),
        }
    } else {
        peer
    };
    let live = desk.live();
    let seat = match enter(&desk, &live, client.ip()) {
        Ok(seat) => seat,
        Err(refusal) => return turn_away(&desk, &door, &mut wire, client, &refusal).await,
    };
    if !door.is_implicit_tls() {
        // The reactor gets one turn, so that octets that are there already are seen.
        tokio::task::yield_now().await;
        if !input.is_empty() || wire.has_spoken() {
            return turn_away(&desk, &door, &mut wire, client, &Refusal::new(Reason::EarlyTalk)).await;
        }
    }
    let server = Server::new(door.settings(&desk, &live, client.ip()));
    let limits = Limits::of(&live, desk.inbound.sources.of(&live).is_source(client.ip()), desk.clock.monotonic());
    let connection = connection(&door, client);
    drop(live);
    let session = Session::new(desk, Arc::clone(&door), connection, wire, input, server, limits);
    session.run(seat).await;
}

fn connection(door: &Door, client: SocketAddr) -> Connection {
    Connection {
        client,
        listener: Arc::clone(&door.name),
        tls: None,
        certificate: None,
        login: None,
        iprev: None,
        hello: (Box::from(""), false),
    }
}

/// Block list and connection limits.
fn enter(desk: &Desk, live: &Arc<Live>, client: IpAddr) -> Result<Seat, Refusal> {
    let document = &live.system;
    if document.blocked_clients.iter().any(|n| n.contains(&client)) {
        return Err(Refusal::new(Reason::IpBlockedSystem));
    }
    let (per_address, per_network) = if document.exempt.clients.iter().any(|n| n.contains(&client)) {
        (u32::MAX, u32::MAX)
    } else if desk.inbound.sources.of(live).is_source(client) {
        (
            system(document, |l| l.source_connections_per_address),
            system(document, |l| l.source_connections_per_network),
        )
    } else {
        (
            system(document, |l| l.connections_per_address),
            system(document, |l| l.connections_per_network),
        )
    };
    desk.rates.connections.enter(client, per_address, per_network).map_err(|over| {
        let detail = match over {
            OverConnections::Address => format!("connections per address {per_address}"),
            OverConnections::Network => format!("connections per network {per_network}"),
        };
        Refusal::new(Reason::ConnLimit).with_detail(detail)
    })
}

/// Tells a client that it is not let in, in clear; before implicit TLS there is no way to tell it anything.
async fn turn_away(desk: &Desk, door: &Door, wire: &mut Wire, client: SocketAddr, refusal: &Refusal) {
    let connection = connection(door, client);
    let make = |reference: Reference| {
        let reply = refusal.reply(reference, &desk.node.public_url, &[]);
        let mut events = connection.events();
        events.push(refused(refusal, &reply, reference, None));
        Record {
            trace: desk.ids.queue_id(desk.now()),
            tenant: TenantId::OPERATOR,
            direction: None,
            at: desk.now(),
            events,
        }
    };
    let noted = desk.inbound.floods.note(client.ip(), refusal.reason, desk.clock.monotonic(), make);
    if let Noted::Single(reference) = noted {
        desk.store.mail.record(vec![make(reference)]);
    }
    if door.is_implicit_tls() {
        return;
    }
    let mut out = Vec::new();
    refusal.reply(noted.reference(), &desk.node.public_url, &[]).write_to(&mut out);
    let farewell = async {
        // A client that is gone already needs no farewell.
        if wire.write(&mut out).await.is_ok() {
            let _ = wire.cut_short().await;
        }
    };
    let _ = desk.clock.timeout(PATIENCE, farewell).await;
}

/// Why a balancer's connection is dropped.
#[derive(Debug, thiserror::Error)]
enum BalancerError {
    #[error("connection lost: {0}")]
    Lost(#[from] std::io::Error),
    #[error("connection closed")]
    Closed,
    #[error(transparent)]
    Header(#[from] ProxyError),
}

/// Reads the header; what follows it stays in `input`.
async fn proxied(wire: &mut Wire, input: &mut BytesMut, peer: SocketAddr) -> Result<SocketAddr, BalancerError> {
    loop {
        match proxy::parse(input)? {
            Parsed::Complete { header, consumed } => {
                let _ = input.split_to(consumed);
                return Ok(match header {
                    Header::Proxied { source, .. } => net::listen::plain(source),
                    Header::Local => peer,
                });
            }
            Parsed::Incomplete if wire.read(input).await? == 0 => return Err(BalancerError::Closed),
            Parsed::Incomplete => {}
        }
    }
}
