//! Acceptance limits (domains-and-routing 9). Absent: as the scope above says, in the end the defaults of [`Limits::defaults`].

use ipnet::IpNet;
use mail::Domain;
use serde::{Deserialize, Serialize};

/// So many messages in so many seconds (a token bucket).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// Messages (each recipient counts).
    pub messages: u32,
    /// Seconds in which the bucket fills.
    pub per_s: u32,
}

/// Limits of one scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Octets of DATA; 150 MB; 1 MB–cap.
    pub message_bytes_max: Option<u64>,
    /// S: what EHLO announces and no scope goes beyond; 200 MB, at most 500 MB.
    pub message_bytes_cap: Option<u64>,
    /// Recipients per transaction; 1,000; S, T 100–10,000.
    pub recipients_max: Option<u32>,
    /// Received fields; 26; S 10–100.
    pub hops_max: Option<u32>,
    /// Rate per client address, inbound; 2,000/60 s.
    pub rate_client_inbound: Option<Rate>,
    /// Rate per client address, outbound; 1,000/300 s.
    pub rate_client_outbound: Option<Rate>,
    /// Rate per recipient; 200/60 s.
    pub rate_recipient: Option<Rate>,
    /// Rate per sender; 500/600 s.
    pub rate_sender: Option<Rate>,
    /// S: trial, per domain; 100/3600 s.
    pub rate_trial: Option<Rate>,
    /// S: ceiling of a tenant; none by default.
    pub rate_tenant: Option<Rate>,
    /// S: connections per address, inbound; 20.
    pub connections_per_address: Option<u32>,
    /// S: connections per /24 or /64, inbound; 50.
    pub connections_per_network: Option<u32>,
    /// S: the same for addresses that are outbound sources; 50.
    pub source_connections_per_address: Option<u32>,
    /// S: 100.
    pub source_connections_per_network: Option<u32>,
    /// S: messages per connection, inbound; 100.
    pub messages_per_connection: Option<u32>,
    /// S: of outbound sources; 1,000.
    pub source_messages_per_connection: Option<u32>,
    /// S: wrong commands; 10.
    pub errors_max: Option<u32>,
    /// S: header section; 524,288 octets.
    pub header_bytes_max: Option<u64>,
    /// S: header fields; 2,000.
    pub header_fields_max: Option<u32>,
    /// S: MIME parts; 10,000.
    pub mime_parts_max: Option<u32>,
    /// S: MIME nesting; 100.
    pub mime_depth_max: Option<u32>,
    /// S: seconds idle per command; 300.
    pub command_idle_s: Option<u64>,
    /// S: seconds idle within DATA; 180.
    pub data_idle_s: Option<u64>,
    /// S: seconds of a session; 3,600.
    pub session_s: Option<u64>,
    /// S: "raise" by tenants goes up to so many times the default; 10.
    pub raise_factor_max: Option<u32>,
}

impl Limits {
    /// What holds where no scope sets anything: every figure but the ceiling of a tenant, which there is none of.
    #[must_use]
    pub fn defaults() -> Self {
        let rate = |messages, per_s| Some(Rate { messages, per_s });
        Self {
            message_bytes_max: Some(150 * 1024 * 1024),
            message_bytes_cap: Some(200 * 1024 * 1024),
            recipients_max: Some(1_000),
            hops_max: Some(26),
            rate_client_inbound: rate(2_000, 60),
            rate_client_outbound: rate(1_000, 300),
            rate_recipient: rate(200, 60),
            rate_sender: rate(500, 600),
            rate_trial: rate(100, 3_600),
            rate_tenant: None,
            connections_per_address: Some(20),
            connections_per_network: Some(50),
            source_connections_per_address: Some(50),
            source_connections_per_network: Some(100),
            messages_per_connection: Some(100),
            source_messages_per_connection: Some(1_000),
            errors_max: Some(10),
            header_bytes_max: Some(512 * 1024),
            header_fields_max: Some(2_000),
            mime_parts_max: Some(10_000),
            mime_depth_max: Some(100),
            command_idle_s: Some(300),
            data_idle_s: Some(180),
            session_s: Some(3_600),
            raise_factor_max: Some(10),
        }
    }
}

/// What is exempt from rates: client addresses, senders, recipients; 1,000 entries in all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exempt {
    /// Clients.
    pub clients: Vec<IpNet>,
    /// Reverse paths: addresses, lower case.
    pub senders: Vec<String>,
    /// Recipients: addresses, lower case.
    pub recipients: Vec<String>,
    /// Sender domains accepted without MX or A/AAAA (allow list of `SENDER-DOMAIN`).
    pub sender_domains: Vec<Domain>,
}

/// `harvest.*`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Harvest {
    /// Unknown recipients per session; 10.
    pub session: Option<u32>,
    /// Unknown recipients per client address in 10 min; 50.
    pub ip: Option<u32>,
}
