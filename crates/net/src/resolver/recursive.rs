//! Asking the resolvers of the settings, by hickory. Its own cache is off: ours has the caps and the clock.

use super::record::{Kind, Lookup, Rr, bounded};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::{ResolverBuilder, TokioResolver};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// Look-ups that may wait for the same server at once; more get "busy", which is a temporary failure.
const REQUESTS_AT_ONCE_MAX: usize = 2_048;
/// What a negative answer without SOA is believed for.
const NEGATIVE_SECONDS_DEFAULT: u32 = 30;

/// resolv.conf(5): without an entry, the server on this machine.
const SYSTEM_DEFAULT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

pub(super) struct Recursive {
    resolver: TokioResolver,
    deadline: Duration,
}

impl Recursive {
    pub(super) fn new(servers: &[SocketAddr], timeout: Duration) -> Result<Self, String> {
        let mut builder = if servers.is_empty() {
            TokioResolver::builder_tokio().unwrap_or_else(|error| {
                tracing::warn!(%error, "the system names no DNS servers, asking 127.0.0.1");
                builder_for(&[SYSTEM_DEFAULT])
            })
        } else {
            builder_for(servers)
        };
        let options = builder.options_mut();
        options.cache_size = 0;
        options.timeout = timeout;
        options.attempts = 2;
        options.max_active_requests = REQUESTS_AT_ONCE_MAX;
        // The settings' servers say all there is; the system's resolver includes the hosts file, as people expect in containers.
        options.use_hosts_file = if servers.is_empty() {
            ResolveHosts::Always
        } else {
            ResolveHosts::Never
        };
        Ok(Self {
            resolver: builder.build().map_err(|error| error.to_string())?,
            deadline: timeout.saturating_mul(4),
        })
    }

    /// The answer and its TTL in seconds, or why there is none.
    pub(super) async fn look_up(&self, name: &str, kind: Kind) -> Result<(Lookup, u32), String> {
        // What DNS cannot carry does not exist in it.
        let Ok(mut name) = Name::from_ascii(name) else {
            return Ok((Lookup::NoSuchName, NEGATIVE_SECONDS_DEFAULT));
        };
        // Without the root at its end, the search list of the system would apply.
        name.set_fqdn(true);
        let asked = tokio::time::timeout(self.deadline, self.resolver.lookup(name, kind.record_type())).await;
        match asked.map_err(|_| String::from("no answer in time"))? {
            Ok(answer) => {
                let records: Vec<_> = answer
                    .answers()
                    .iter()
                    .filter(|record| record.record_type() == kind.record_type())
                    .collect();
                let ttl = records.iter().map(|record| record.ttl).min().unwrap_or(NEGATIVE_SECONDS_DEFAULT);
                Ok((
                    bounded(kind, records.into_iter().filter_map(|record| Rr::from_wire(&record.data)).collect())?,
                    ttl,
                ))
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
                let ttl = none.negative_ttl.unwrap_or(NEGATIVE_SECONDS_DEFAULT);
                match none.response_code {
                    ResponseCode::NXDomain => Ok((Lookup::NoSuchName, ttl)),
                    ResponseCode::NoError => Ok((Lookup::NoData, ttl)),
                    other => Err(other.to_string()),
                }
            }
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(code.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn builder_for(servers: &[SocketAddr]) -> ResolverBuilder<TokioRuntimeProvider> {
    let named = servers.iter().map(|server| {
        let connection = |mut connection: ConnectionConfig| {
            connection.port = server.port();
            connection
        };
        let connections = vec![connection(ConnectionConfig::udp()), connection(ConnectionConfig::tcp())];
        NameServerConfig::new(server.ip(), true, connections)
    });
    TokioResolver::builder_with_config(ResolverConfig::from_name_servers(named.collect()), TokioRuntimeProvider::default())
}
