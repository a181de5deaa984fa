//! The node file: what one node is told before it has read anything else (domains-and-routing 1.4). TOML, unknown keys refused.

mod load;
mod read;

use ipnet::IpNet;
use mail::Domain;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

/// What a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ListenerRole {
    /// Port 25: mail exchanger, authorised senders.
    Mx,
    /// Port 587: STARTTLS, log-in.
    Submission,
    /// Port 465: TLS from the start, log-in.
    Submissions,
    /// REST API.
    Api,
    /// Public pages (and later the console).
    Web,
    /// Prometheus figures.
    Metrics,
}

/// A bound address with a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port; port 0 takes a free one (for tests).
    pub address: SocketAddr,
    /// Role.
    pub role: ListenerRole,
    /// TLS from the start for api and web.
    pub tls: bool,
    /// Balancers whose PROXY header is believed (and required).
    pub proxy_networks: Vec<IpNet>,
}

/// Where everything is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreChoice {
    /// In `data_dir`.
    Embedded,
    /// `postgresql://…`. Never printed: it may hold a password.
    Postgres(String),
}

/// Certificate files for some names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// A record of the static zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticRecord {
    /// Owner name, lower case.
    pub name: String,
    /// `A AAAA MX TXT PTR NS`, or `ZONE`: everything below that is not listed does not exist.
    pub kind: String,
    /// As in a zone file.
    pub value: String,
    /// Seconds.
    pub ttl: u32,
}

/// A network that connections may reach although it is private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedPrivate {
    /// Network.
    pub network: IpNet,
    /// Only this port.
    pub port: Option<u16>,
}

/// The node file, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `<base>`.
    pub base: Domain,
    /// This node's name in banner, HELO, Received.
    pub hostname: Domain,
    /// Address of console and public pages, without a trailing slash.
    pub public_url: String,
    /// Folder of the embedded store, keys, certificates.
    pub data_dir: PathBuf,
    /// Engine.
    pub store: StoreChoice,
    /// Folder of large bodies.
    pub blobs: PathBuf,
    /// Listeners.
    pub listeners: Vec<Listener>,
    /// Addresses from which this node sends.
    pub delivering_addresses: Vec<IpAddr>,
    /// Certificates; empty: self-signed, made on first run.
    pub tls: Vec<TlsFiles>,
    /// Further trust anchors (PEM files) beside the system's.
    pub tls_roots: Vec<PathBuf>,
    /// Resolvers; empty: the system's.
    pub dns_resolvers: Vec<SocketAddr>,
    /// Resolvers whose AD bit is believed.
    pub dns_validating: Vec<SocketAddr>,
    /// Port of authoritative servers.
    pub dns_authoritative_port: u16,
    /// Answered before any resolver.
    pub dns_static: Vec<StaticRecord>,
    /// Private networks that connections may reach.
    pub allowed_private: Vec<AllowedPrivate>,
    /// Host name of mail HTML; not used before webmail exists.
    pub content_origin: Option<Domain>,
    /// Socket of the command line on this host.
    pub control_socket: PathBuf,
}

#[cfg(test)]
mod tests;
