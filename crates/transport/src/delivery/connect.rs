//! How does a connection to a candidate come about? Addresses, guard, connect, greeting, EHLO, STARTTLS, AUTH.
//!
//! In: a candidate. Out: a wire ready for MAIL, or why there is none and what that means.
//! Standards: RFC 5321 §3.1, §3.2, §4.1.1.1; RFC 3207; RFC 4954; RFC 8314 §3.3 (port 465); domains-and-routing 4.1, 4.2.
//! Invariants: every address is checked by the guard when it is connected to; no secret is sent in clear; a level above `opportunistic` never
//! falls back to clear.

use super::effect::{Effect, Stage, after_reply};
use super::route::{Candidate, Login, TlsLevel};
use super::wire::{Loss, Wire, timeout};
use crate::Desk;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use config::document::TlsMin;
use mail::{Reason, Reply, TenantId};
use net::guard::{ConnectError, TargetKind};
use net::resolver::DnsError;
use net::tls::ClientLevel;
use proto::sasl::{ClientExchange, Credentials};
use proto::smtp::client as smtp;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use store::tracking::TlsFacts;

/// domains-and-routing 4.2: a host name with several addresses is one candidate; up to 8 are tried.
const ADDRESSES_MAX: usize = 8;
/// Challenges of one AUTH exchange.
const CHALLENGES_MAX: usize = 4;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub struct NoConnection {
    /// For tracking and the entry.
    pub reason: Reason,
    /// What was said or went wrong.
    pub text: String,
    /// The reply, when there was one.
    pub reply: Option<Reply>,
    /// Address tried last.
    pub address: Option<SocketAddr>,
    /// TLS, when it was on.
    pub tls: Option<TlsFacts>,
    /// What it was.
    pub kind: FailureKind,
}

/// What kind of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// Counts against the health of the candidate: no connect, no greeting.
    Connect,
    /// Every address is one of our own listeners.
    OwnListener,
    /// Every address is forbidden.
    Forbidden,
    /// The host was there and did not serve.
    Service,
    /// STARTTLS failed and clear is allowed: the same candidate again in clear.
    TryClear,
}

impl NoConnection {
    fn new(kind: FailureKind, reason: Reason, text: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            reason,
            text: text.into(),
            reply: None,
            address: None,
            tls: None,
            kind,
        })
    }

    fn at(mut self: Box<Self>, address: SocketAddr) -> Box<Self> {
        self.address = Some(address);
        self
    }
}

/// How the connection is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privacy {
    /// As the policy says.
    Policy,
    /// In clear, since STARTTLS failed before and the policy allows it.
    Clear,
}

/// Deadlines that are settings.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// `queue.connect_timeout`.
    pub connect: Duration,
    /// `queue.greeting_timeout`.
    pub greeting: Duration,
}

impl Deadlines {
    /// From the operator's settings.
    #[must_use]
    pub fn of(system: &config::SystemDocument) -> Self {
        Self {
            connect: Duration::from_secs(system.queue.connect_timeout_s.unwrap_or(30).max(1)),
            greeting: Duration::from_secs(system.queue.greeting_timeout_s.unwrap_or(60).max(1)),
        }
    }
}

/// Opens a connection that is ready for MAIL. `turn`: moves through the source addresses.
///
/// # Errors
/// [`NoConnection`].
pub async fn open(
    desk: &Desk,
    tenant: TenantId,
    candidate: &Candidate,
    privacy: Privacy,
    deadlines: Deadlines,
    turn: usize,
) -> Result<Wire, Box<NoConnection>> {
    let addresses = addresses(desk, candidate).await?;
    let (stream, address) = connect(desk, candidate, &addresses, deadlines.connect, turn).await?;
    let mut wire = Wire::new(stream, address, desk.clock.clone());
    let implicit = candidate.port == 465;
    if implicit {
        wire = handshake(desk, candidate, wire, FailureKind::Service).await?;
    }
    greet(&mut wire, deadlines.greeting).await?;
    hello(desk, &mut wire).await?;
    if !implicit && privacy == Privacy::Policy && candidate.tls.level != TlsLevel::None {
        wire = start_tls(desk, candidate, wire).await?;
    }
    if let Some(login) = &candidate.login {
        log_in(desk, tenant, login, &mut wire).await?;
    }
    Ok(wire)
}

/// Addresses of the candidate, IPv6 and IPv4 by turns, so that a broken family costs one attempt and not all.
async fn addresses(desk: &Desk, candidate: &Candidate) -> Result<Vec<SocketAddr>, Box<NoConnection>> {
    let fail = |reason, text: String| Err(NoConnection::new(FailureKind::Connect, reason, text));
    let found = match desk.resolver.addresses(&candidate.host).await {
        Ok(found) if found.is_empty() => return fail(Reason::NextHopFailed, format!("{} has no address", candidate.host)),
        Ok(found) => found,
        Err(DnsError::NoSuchName) => return fail(Reason::NextHopFailed, format!("{} does not exist", candidate.host)),
        Err(error @ DnsError::Temp(_)) => return fail(Reason::DnsTemp, format!("{}: {error}", candidate.host)),
    };
    Ok(interleave(found)
        .into_iter()
        .take(ADDRESSES_MAX)
        .map(|ip| SocketAddr::new(ip, candidate.port))
        .collect())
}

fn interleave(found: Vec<IpAddr>) -> Vec<IpAddr> {
    let (six, four): (Vec<IpAddr>, Vec<IpAddr>) = found.into_iter().partition(IpAddr::is_ipv6);
    let mut out = Vec::with_capacity(six.len() + four.len());
    let (mut six, mut four) = (six.into_iter(), four.into_iter());
    loop {
        let pair = (six.next(), four.next());
        out.extend(pair.0);
        out.extend(pair.1);
        if pair == (None, None) {
            return out;
        }
    }
}

async fn connect(
    desk: &Desk,
    candidate: &Candidate,
    addresses: &[SocketAddr],
    limit: Duration,
    turn: usize,
) -> Result<(tokio::net::TcpStream, SocketAddr), Box<NoConnection>> {
    let mut last = NoConnection::new(
        FailureKind::Connect,
        Reason::NextHopFailed,
        format!("{} has no address", candidate.host),
    );
    let (mut own, mut forbidden) = (0, 0);
    let of_node = if candidate.sources.is_empty() {
        of_this_machine(&desk.node.delivering_addresses)
    } else {
        Vec::new()
    };
    let pool = if candidate.sources.is_empty() {
        &of_node
    } else {
        &candidate.sources
    };
    for address in addresses {
        let source = source_for(pool, *address, turn);
        match desk.guard.connect(*address, source, limit, &desk.clock).await {
            Ok(stream) => return Ok((stream, *address)),
            Err(ConnectError::Forbidden(error)) => {
                forbidden += 1;
                own += usize::from(error.kind == TargetKind::OwnListener);
                if forbidden < addresses.len() && last.kind == FailureKind::Connect && last.address.is_some() {
                    continue;
                }
                last = NoConnection::new(FailureKind::Connect, Reason::NextHopForbidden, error.to_string()).at(*address);
            }
            Err(error @ ConnectError::Timeout(_)) => {
                last = NoConnection::new(FailureKind::Connect, Reason::NextHopFailed, error.to_string()).at(*address);
            }
            Err(ConnectError::Io { target, source }) => {
                let text = format!("connect to {target}: {source}");
                last = NoConnection::new(FailureKind::Connect, Reason::NextHopFailed, text).at(*address);
            }
        }
    }
    if own == addresses.len() && own > 0 {
        last.kind = FailureKind::OwnListener;
    } else if forbidden == addresses.len() && forbidden > 0 {
        last.kind = FailureKind::Forbidden;
    }
    Err(last)
}

/// `delivering_addresses` that can be sent from: behind an address translation the public ones stand in the node file for SPF and PTR alone.
fn of_this_machine(addresses: &[IpAddr]) -> Vec<IpAddr> {
    addresses
        .iter()
        .copied()
        .filter(|a| std::net::UdpSocket::bind((*a, 0)).is_ok())
        .collect()
}

/// A local address of the pool that fits the family of the target.
fn source_for(sources: &[IpAddr], target: SocketAddr, turn: usize) -> Option<IpAddr> {
    let fitting: Vec<IpAddr> = sources.iter().copied().filter(|s| s.is_ipv4() == target.is_ipv4()).collect();
    if fitting.is_empty() {
        None
    } else {
        fitting.get(turn % fitting.len()).copied()
    }
}

async fn greet(wire: &mut Wire, limit: Duration) -> Result<(), Box<NoConnection>> {
    match wire.reply(limit).await {
        Ok(reply) => served(wire, Stage::Greeting, reply),
        Err(loss) => Err(NoConnection::new(FailureKind::Connect, Reason::NextHopFailed, format!("greeting: {loss}")).at(wire.address)),
    }
}

fn served(wire: &Wire, stage: Stage, reply: Reply) -> Result<(), Box<NoConnection>> {
    match after_reply(stage, &reply) {
        Effect::Proceed => Ok(()),
        Effect::Next | Effect::Fail | Effect::Defer => Err(refused(wire, reply)),
    }
}

fn refused(wire: &Wire, reply: Reply) -> Box<NoConnection> {
    let mut failure = NoConnection::new(FailureKind::Service, Reason::RemoteReply, reply.to_string()).at(wire.address);
    failure.tls.clone_from(&wire.tls);
    failure.reply = Some(reply);
    failure
}

fn lost(wire: &Wire, what: &str, loss: &Loss) -> Box<NoConnection> {
    let mut failure = NoConnection::new(FailureKind::Service, Reason::NextHopFailed, format!("{what}: {loss}")).at(wire.address);
    failure.tls.clone_from(&wire.tls);
    failure
}

async fn ask(wire: &mut Wire, what: &str) -> Result<Reply, Box<NoConnection>> {
    let sent = wire.flush(timeout::COMMAND).await;
    let result = match sent {
        Ok(()) => wire.reply(timeout::COMMAND).await,
        Err(loss) => Err(loss),
    };
    result.map_err(|loss| lost(wire, what, &loss))
}

/// EHLO; RFC 5321 §3.2: HELO for servers that do not know it.
async fn hello(desk: &Desk, wire: &mut Wire) -> Result<(), Box<NoConnection>> {
    smtp::ehlo(&mut wire.out, desk.node.hostname.as_str());
    let reply = ask(wire, "EHLO").await?;
    if (200..300).contains(&reply.code.0) {
        wire.capabilities = smtp::Capabilities::parse(&reply);
        return Ok(());
    }
    // 500 and 502: the command is not known; 504 and 501 are said by some for the same reason. Anything else is a refusal.
    if !matches!(reply.code.0, 500..=504) {
        return Err(refused(wire, reply));
    }
    smtp::helo(&mut wire.out, desk.node.hostname.as_str());
    let reply = ask(wire, "HELO").await?;
    wire.capabilities = smtp::Capabilities::default();
    served(wire, Stage::Hello, reply)
}

async fn start_tls(desk: &Desk, candidate: &Candidate, mut wire: Wire) -> Result<Wire, Box<NoConnection>> {
    let may_be_clear = candidate.tls.level.may_be_clear();
    if !wire.capabilities.starttls {
        if may_be_clear {
            return Ok(wire);
        }
        let address = wire.address;
        wire.quit().await;
        return Err(NoConnection::new(
            FailureKind::Service,
            Reason::TlsPolicy,
            format!("{} does not offer STARTTLS", candidate.host),
        )
        .at(address));
    }
    smtp::starttls(&mut wire.out);
    let reply = match ask(&mut wire, "STARTTLS").await {
        Ok(reply) => reply,
        Err(mut failure) => {
            failure.kind = if may_be_clear {
                FailureKind::TryClear
            } else {
                FailureKind::Service
            };
            return Err(failure);
        }
    };
    if reply.code.0 != 220 {
        let kind = if may_be_clear {
            FailureKind::TryClear
        } else {
            FailureKind::Service
        };
        let mut failure = NoConnection::new(kind, Reason::TlsPolicy, format!("STARTTLS: {reply}")).at(wire.address);
        failure.reply = Some(reply);
        return Err(failure);
    }
    let kind = if may_be_clear {
        FailureKind::TryClear
    } else {
        FailureKind::Service
    };
    let mut wire = handshake(desk, candidate, wire, kind).await?;
    hello(desk, &mut wire).await?;
    Ok(wire)
}

/// TLS over the connection; `kind` is what a failure counts as.
async fn handshake(desk: &Desk, candidate: &Candidate, wire: Wire, kind: FailureKind) -> Result<Wire, Box<NoConnection>> {
    let address = wire.address;
    let failed = |text: String| NoConnection::new(kind, Reason::TlsPolicy, text).at(address);
    let Some((stream, _)) = wire.into_plain() else {
        return Err(failed("the server spoke before the TLS handshake".into()));
    };
    let level = match &candidate.tls.level {
        TlsLevel::None | TlsLevel::Opportunistic | TlsLevel::Encrypted => ClientLevel::AnyCertificate,
        TlsLevel::Verified => ClientLevel::Verified,
        TlsLevel::Pinned(pins) => ClientLevel::Pinned(pins.clone()),
    };
    let min = match candidate.tls.min {
        TlsMin::Tls12 => net::tls::TlsMin::Tls12,
        TlsMin::Tls13 => net::tls::TlsMin::Tls13,
    };
    let shaking = desk.client_tls.connect(stream, &candidate.host, &level, min);
    match desk.clock.timeout(timeout::COMMAND, shaking).await {
        Ok(Ok((stream, facts, peer))) => {
            let certificate = peer.as_ref().map_or_else(|| "none".to_owned(), |p| p.verdict().to_owned());
            let tls = TlsFacts {
                version: facts.version,
                cipher: facts.cipher,
                certificate,
                fingerprint: peer.map(|p| p.spki_sha256),
            };
            Ok(Wire::secured(stream, address, tls, desk.clock.clone()))
        }
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("TLS handshake: no answer in {} s", timeout::COMMAND.as_secs()))),
    }
}

async fn log_in(desk: &Desk, tenant: TenantId, login: &Login, wire: &mut Wire) -> Result<(), Box<NoConnection>> {
    let failure = |wire: &Wire, text: &str| {
        let mut failure = NoConnection::new(FailureKind::Service, Reason::AuthFailed, text).at(wire.address);
        failure.tls.clone_from(&wire.tls);
        failure
    };
    if wire.tls.is_none() {
        return Err(failure(wire, "log-in only over TLS"));
    }
    let Some(mechanism) = wire.capabilities.auth.first().copied() else {
        return Err(failure(wire, "the server offers no log-in that we know"));
    };
    let password = desk
        .keys
        .unseal(tenant, &login.sealed_secret)
        .map_err(|error| failure(wire, &error.to_string()))?;
    let nonce = proto::sasl::nonce().map_err(|error| failure(wire, &error.to_string()))?;
    let mut exchange = ClientExchange::new(
        mechanism,
        Credentials {
            user: login.user.clone(),
            password,
        },
        nonce,
    );
    let initial = exchange.initial_response();
    smtp::auth(&mut wire.out, mechanism, initial.as_ref().map(|r| r.as_slice()));
    for _ in 0..=CHALLENGES_MAX {
        let reply = ask(wire, "AUTH").await?;
        match reply.code.0 {
            235 if exchange.is_complete() => return Ok(()),
            235 => return Err(failure(wire, "the server did not prove that it knows the password")),
            334 => match STANDARD
                .decode(reply.text.trim())
                .ok()
                .map(|challenge| exchange.respond(&challenge))
            {
                Some(Ok(response)) => smtp::auth_response(&mut wire.out, &response),
                Some(Err(error)) => return Err(failure(wire, &error.to_string())),
                None => return Err(failure(wire, "the server's challenge is not base64")),
            },
            _ => {
                let mut refused = refused(wire, reply);
                refused.reason = Reason::AuthFailed;
                return Err(refused);
            }
        }
    }
    Err(failure(wire, "the server asks without end"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let ip = |t: &str| t.parse::<IpAddr>().unwrap();
        let found = vec![ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3"), ip("2001:db8::1")];
        assert_eq!(
            interleave(found),
            [ip("2001:db8::1"), ip("192.0.2.1"), ip("192.0.2.2"), ip("192.0.2.3")]
        );
    }

    #[test]
    fn sources_fit_the_family_and_take_turns() {
        let sources = ["192.0.2.1", "2001:db8::1", "192.0.2.2"].map(|t| t.parse::<IpAddr>().unwrap());
        let four: SocketAddr = "198.51.100.1:25".parse().unwrap();
        let six: SocketAddr = "[2001:db8::9]:25".parse().unwrap();
        let of = |target, turn| source_for(&sources, target, turn).map(|s| s.to_string());
        assert_eq!(
            (of(four, 0), of(four, 1), of(four, 2)),
            (Some("192.0.2.1".into()), Some("192.0.2.2".into()), Some("192.0.2.1".into()))
        );
        assert_eq!(of(six, 5).as_deref(), Some("2001:db8::1"));
        assert_eq!(source_for(&[], four, 0), None);
    }
}
