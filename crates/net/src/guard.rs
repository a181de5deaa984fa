//! Where may a connection go that somebody else's setting or DNS record can cause? The one connector for all of them.
//!
//! In: a target address. Out: a connected stream, or why the target is forbidden.
//! Standards: RFC 6890 (special addresses), RFC 1918, RFC 6598 (shared space), RFC 4193 (unique local), RFC 6052 and RFC 8215 (IPv4 inside IPv6), RFC 3056.
//! Invariants: the address that is checked is the address that is connected to; no name is looked up in between.
//! What is always forbidden cannot be allowed by a setting.

use crate::clock::Clock;
use ipnet::IpNet;
use mail::text::Text;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};

/// Addresses at which clouds hand their machines credentials and settings.
const METADATA: [IpAddr; 9] = [
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), // AWS, Google, Azure, OpenStack, Oracle, DigitalOcean
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 2)),   // AWS container credentials
    IpAddr::V4(Ipv4Addr::new(169, 254, 170, 23)),  // AWS pod identity
    IpAddr::V4(Ipv4Addr::new(169, 254, 0, 23)),    // Tencent
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)), // Alibaba
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),     // Oracle, old
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),   // Azure host
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)), // AWS
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)), // Google
];

/// Kind of a forbidden target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetKind {
    /// `0.0.0.0/8`, `::`.
    Unspecified,
    /// `224.0.0.0/4`, `ff00::/8`.
    Multicast,
    /// `255.255.255.255`.
    Broadcast,
    /// An address and port on which this process listens.
    OwnListener,
    /// An address at which clouds serve credentials.
    Metadata,
    /// `127.0.0.0/8`, `::1`; allowed by `net.allowed_private`.
    Loopback,
    /// `169.254.0.0/16`, `fe80::/10`; allowed by `net.allowed_private`.
    LinkLocal,
    /// RFC 1918, RFC 6598, RFC 4193; allowed by `net.allowed_private`.
    Private,
}

impl fmt::Display for TargetKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unspecified => "an unspecified address",
            Self::Multicast => "a multicast address",
            Self::Broadcast => "a broadcast address",
            Self::OwnListener => "one of our own listeners",
            Self::Metadata => "a cloud metadata address",
            Self::Loopback => "a loopback address",
            Self::LinkLocal => "a link-local address",
            Self::Private => "a private address",
        })
    }
}

/// The target may not be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{target} is forbidden: {kind}")]
pub struct Forbidden {
    /// As asked for.
    pub target: SocketAddr,
    /// Why.
    pub kind: TargetKind,
}

impl From<TargetKind> for Text {
    fn from(kind: TargetKind) -> Self {
        Self::new(match kind {
            TargetKind::Unspecified => "check.target.unspecified",
            TargetKind::Multicast => "check.target.multicast",
            TargetKind::Broadcast => "check.target.broadcast",
            TargetKind::OwnListener => "check.target.own-listener",
            TargetKind::Metadata => "check.target.metadata",
            TargetKind::Loopback => "check.target.loopback",
            TargetKind::LinkLocal => "check.target.link-local",
            TargetKind::Private => "check.target.private",
        })
    }
}

impl From<Forbidden> for Text {
    fn from(forbidden: Forbidden) -> Self {
        Self::new("check.target")
            .with("target", forbidden.target.to_string())
            .with("kind", Self::from(forbidden.kind))
    }
}

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Not tried.
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    /// No answer in time.
    #[error("no answer from {0} in time")]
    Timeout(SocketAddr),
    /// Refused, unreachable …
    #[error("connect to {target}")]
    Io {
        /// The target.
        target: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// One row of `net.allowed_private`: a network and, if wanted, one port of it. `127.0.0.0/8`, `10.1.2.3:2525`, `[fd00::/8]:25`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllowedNetwork {
    /// The network.
    pub network: IpNet,
    /// The port; all when absent.
    pub port: Option<u16>,
}

/// The text is no network with an optional port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a network with an optional port, as 10.0.0.0/8, 10.1.2.3/32:2525 or [fd00::/8]:25")]
pub struct AllowedNetworkError;

impl FromStr for AllowedNetwork {
    type Err = AllowedNetworkError;
    fn from_str(text: &str) -> Result<Self, AllowedNetworkError> {
        let port_of = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or(AllowedNetworkError);
        let (network, port) = if let Some(rest) = text.strip_prefix('[') {
            let (network, rest) = rest.split_once(']').ok_or(AllowedNetworkError)?;
            match rest.strip_prefix(':') {
                Some(port) => (network, Some(port_of(port)?)),
                None if rest.is_empty() => (network, None),
                None => return Err(AllowedNetworkError),
            }
        } else if text.matches(':').count() == 1 {
            let (network, port) = text.split_once(':').ok_or(AllowedNetworkError)?;
            (network, Some(port_of(port)?))
        } else {
            (text, None)
        };
        let network = network
            .parse::<IpNet>()
            .or_else(|_| network.parse::<IpAddr>().map(IpNet::from))
            .map_err(|_| AllowedNetworkError)?;
        Ok(Self {
            network: network.trunc(),
            port,
        })
    }
}

impl fmt::Display for AllowedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.port, self.network) {
            (None, network) => write!(f, "{network}"),
            (Some(port), IpNet::V4(network)) => write!(f, "{network}:{port}"),
            (Some(port), IpNet::V6(network)) => write!(f, "[{network}]:{port}"),
        }
    }
}

/// Checks targets and connects. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Guard(Arc<Rules>);

#[derive(Debug, Default)]
struct Rules {
    own_listeners: Vec<SocketAddr>,
    allowed: Vec<AllowedNetwork>,
}

impl Guard {
    /// `own_listeners` as bound (after port 0 got its number); `allowed` is `net.allowed_private`.
    #[must_use]
    pub fn new(own_listeners: Vec<SocketAddr>, allowed: Vec<AllowedNetwork>) -> Self {
        Self(Arc::new(Rules { own_listeners, allowed }))
    }

    /// Whether `target` may be connected to.
    ///
    /// # Errors
    /// [`Forbidden`] with the reason.
    pub fn check(&self, target: SocketAddr) -> Result<(), Forbidden> {
        let forbid = |kind| Err(Forbidden { target, kind });
        let outer = target.ip().to_canonical();
        if self.0.is_own(SocketAddr::new(outer, target.port())) {
            return forbid(TargetKind::OwnListener);
        }
        let Some(inner) = embedded_ipv4(outer) else {
            return self.check_ip(outer, &[outer], target.port()).or_else(forbid);
        };
        // What a translator or tunnel on the way makes of the address counts as much as the address itself.
        let both = [outer, IpAddr::V4(inner)];
        if self.0.is_own(SocketAddr::new(IpAddr::V4(inner), target.port())) {
            return forbid(TargetKind::OwnListener);
        }
        self.check_ip(outer, &both, target.port())
            .and_then(|()| self.check_ip(IpAddr::V4(inner), &both, target.port()))
            .or_else(forbid)
    }

    /// Connects to `target` after checking it. `source` is the local address to connect from.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        &self,
        target: SocketAddr,
        source: Option<IpAddr>,
        timeout: Duration,
        clock: &Clock,
    ) -> Result<TcpStream, ConnectError> {
        self.check(target)?;
        let failed = |source| ConnectError::Io { target, source };
        let socket = if target.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }
        .map_err(failed)?;
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0)).map_err(failed)?;
        }
        let stream = clock
            .timeout(timeout, socket.connect(target))
            .await
            .map_err(|_| ConnectError::Timeout(target))?
            .map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        Ok(stream)
    }

    /// `forms` are the shapes under which a row may allow the address.
    fn check_ip(&self, ip: IpAddr, forms: &[IpAddr], port: u16) -> Result<(), TargetKind> {
        match kind_of(ip) {
            None => Ok(()),
            Some(kind @ (TargetKind::Loopback | TargetKind::LinkLocal | TargetKind::Private)) => {
                let is_allowed = self
                    .0
                    .allowed
                    .iter()
                    .any(|row| row.port.is_none_or(|only| only == port) && forms.iter().any(|form| row.network.contains(form)));
                if is_allowed { Ok(()) } else { Err(kind) }
            }
            Some(
                kind @ (TargetKind::Unspecified
                | TargetKind::Multicast
                | TargetKind::Broadcast
                | TargetKind::OwnListener
                | TargetKind::Metadata),
            ) => Err(kind),
        }
    }
}

impl Rules {
    fn is_own(&self, target: SocketAddr) -> bool {
        self.own_listeners.iter().any(|own| {
            let own_ip = own.ip().to_canonical();
            own.port() == target.port() && (own_ip == target.ip() || (own_ip.is_unspecified() && is_local(target.ip())))
        })
    }
}

/// What makes an address special, apart from our own listeners.
fn kind_of(ip: IpAddr) -> Option<TargetKind> {
    if METADATA.contains(&ip) {
        return Some(TargetKind::Metadata);
    }
    match ip {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            match first {
                // RFC 6890 §2.2.2: "this host on this network"; Linux connects 0.0.0.0 to the loopback.
                0 => Some(TargetKind::Unspecified),
                127 => Some(TargetKind::Loopback),
                224..=239 => Some(TargetKind::Multicast),
                255 if v4.is_broadcast() => Some(TargetKind::Broadcast),
                169 if second == 254 => Some(TargetKind::LinkLocal),
                // RFC 6598: 100.64.0.0/10.
                100 if (64..128).contains(&second) => Some(TargetKind::Private),
                _ if v4.is_private() => Some(TargetKind::Private),
                _ => None,
            }
        }
        IpAddr::V6(v6) => {
            let [first, second, third, ..] = v6.segments();
            if v6.is_unspecified() {
                Some(TargetKind::Unspecified)
            } else if v6.is_loopback() {
                Some(TargetKind::Loopback)
            } else if v6.is_multicast() {
                Some(TargetKind::Multicast)
            } else if first & 0xffc0 == 0xfe80 {
                Some(TargetKind::LinkLocal)
            } else if first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfec0 || (first, second, third) == (0x0064, 0xff9b, 1) {
                // RFC 4193 fc00::/7; RFC 3879 fec0::/10, old site-local; RFC 8215 64:ff9b:1::/48, local translators.
                Some(TargetKind::Private)
            } else {
                None
            }
        }
    }
}

/// The IPv4 address that the network reaches when it is sent `ip`.
fn embedded_ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    let IpAddr::V6(v6) = ip else { return None };
    let [a, b, c, d, e, f, high, low] = v6.segments();
    let from = |high: u16, low: u16| {
        let ([one, two], [three, four]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(Ipv4Addr::new(one, two, three, four))
    };
    match (a, b, c, d, e, f) {
        // RFC 6052 §2.1: NAT64.
        (0x0064, 0xff9b, 0, 0, 0, 0) => from(high, low),
        // RFC 3056 §2: 6to4.
        (0x2002, high, low, ..) => from(high, low),
        // RFC 4291 §2.5.5.1: IPv4-compatible, out of use; `::` and `::1` are none.
        (0, 0, 0, 0, 0, 0) if high != 0 => from(high, low),
        _ => None,
    }
}

/// Whether `ip` is an address of this machine. Connecting a UDP socket sends nothing; it makes the kernel choose the source address,
/// and for a local target that is the target itself.
fn is_local(ip: IpAddr) -> bool {
    if ip.is_loopback() {
        return true;
    }
    let any: IpAddr = if ip.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let chosen = UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((ip, 9)).and_then(|()| socket.local_addr()));
    chosen.is_ok_and(|source| source.ip() == ip)
}

#[cfg(test)]
mod tests;
