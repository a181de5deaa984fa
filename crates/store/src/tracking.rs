//! Tracking: the log of what happened to mail, typed, durable, in the same transaction as what it tells.
//!
//! Every accepted message and every refused mail transaction (or connection) has one *trace*, named by a [`QueueId`]. Its events are
//! appended as [`Record`]s. Search is derived from them and can be rebuilt.

use mail::{Direction, Disposition, QueueId, Reason, Reference, TenantId, Timestamp};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

pub mod record;
pub mod state;

/// Events of one trace, written together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The trace: queue id of the message, or an id given to a refused transaction.
    pub trace: QueueId,
    /// Owner. `OPERATOR` for what belongs to no tenant.
    pub tenant: TenantId,
    /// Which way, when known.
    pub direction: Option<Direction>,
    /// When this was written.
    pub at: Timestamp,
    /// In order.
    pub events: Vec<Event>,
}

/// What TLS of a connection came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFacts {
    /// `TLSv1.3`.
    pub version: String,
    /// Cipher suite, as IANA names it.
    pub cipher: String,
    /// Result for the other side's certificate: `none`, `verified`, `unverified`, or why not.
    pub certificate: String,
    /// SHA-256 of the other side's key (SPKI), hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
}

/// An attachment, as seen at acceptance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentFacts {
    /// Decoded file name.
    pub name: String,
    /// Type by content, not by name.
    pub true_type: String,
    /// Octets, decoded.
    pub size: u64,
    /// SHA-256 of the decoded content, hex.
    pub sha256: String,
}

/// One event. The names are the spec's (domains-and-routing 13). A record is one compact JSON array of these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "e", rename_all = "kebab-case")]
pub enum Event {
    /// A client connected.
    Connected {
        /// Address.
        client: IpAddr,
        /// PTR, when looked up.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ptr: Option<String>,
        /// Result of iprev: pass, fail, none, temperror (RFC 8601 §2.7.3).
        iprev: String,
        /// ISO 3166, when a country table is configured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        country: Option<String>,
        /// Autonomous system, when a table is configured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        asn: Option<u32>,
        /// Which listener, `address:port role`.
        listener: String,
    },
    /// TLS was negotiated with the client.
    Tls {
        /// Facts.
        tls: TlsFacts,
    },
    /// Refused in the session.
    Refused {
        /// Why.
        reason: Reason,
        /// The whole reply.
        reply: String,
        /// What the page `/r/<ref>` is asked with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reference: Option<Reference>,
        /// Recipient concerned.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        recipient: Option<String>,
        /// Limit, value and count, exemption: `rate-ip 2000/min`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        detail: Option<String>,
        /// How many alike were counted into this event (floods are counted, not written one by one).
        count: u32,
    },
    /// MAIL FROM accepted.
    MailFrom {
        /// What the client called itself.
        hello: String,
        /// Reverse path; empty when null.
        reverse_path: String,
        /// Authenticated as.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        login: Option<String>,
    },
    /// RCPT TO accepted.
    Rcpt {
        /// Recipient.
        recipient: String,
        /// Recipient check: mode, answer, age of the list.
        check: String,
    },
    /// 250 after the final dot.
    Accepted {
        /// Octets.
        size: u64,
        /// Message-ID field.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message_id: Option<String>,
        /// Header From (addresses).
        from: Vec<String>,
        /// Header Reply-To.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        reply_to: Vec<String>,
        /// Header To and Cc.
        to: Vec<String>,
        /// Decoded subject.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subject: Option<String>,
        /// Date field as given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        date: Option<String>,
        /// Attachments.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        attachments: Vec<AttachmentFacts>,
        /// Hosts of links in the text, lower case, distinct.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        url_hosts: Vec<String>,
    },
    /// A check ran.
    Checked {
        /// Which: `spf`, `source`, `proof`, `mime`.
        check: String,
        /// Its result.
        result: String,
        /// Evidence.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        evidence: Option<String>,
    },
    /// Fate of one recipient.
    Decided {
        /// Recipient.
        recipient: String,
        /// Fate.
        disposition: Disposition,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        /// Settings revision that decided.
        revision: i64,
    },
    /// Bytes were changed.
    Modified {
        /// What.
        what: String,
    },
    /// Held, released, re-routed, deleted (discarded), by whom and why.
    Held {
        /// Recipient.
        recipient: String,
        /// Who: `system` or an actor.
        by: String,
        /// Why.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
        /// Text given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
    },
    /// Released from hold.
    Released {
        /// Recipient.
        recipient: String,
        /// Who.
        by: String,
    },
    /// Sent another way by a person.
    Rerouted {
        /// Recipient.
        recipient: String,
        /// Who.
        by: String,
        /// Where to.
        next_hop: String,
    },
    /// Removed without DSN by a person.
    Deleted {
        /// Recipient.
        recipient: String,
        /// Who.
        by: String,
        /// Reason text.
        text: String,
    },
    /// In the spool.
    Queued {
        /// Recipient.
        recipient: String,
        /// First attempt.
        due: Timestamp,
    },
    /// One try at one candidate.
    Attempt {
        /// Recipients tried.
        recipients: Vec<String>,
        /// Row or route that led there.
        route: String,
        /// Host.
        host: String,
        /// Address and port.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<String>,
        /// TLS of the hop.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tls: Option<TlsFacts>,
        /// Policy that asked for it: `opportunistic by default`, `pinned by row 3`.
        policy: String,
        /// Last reply or error.
        reply: String,
        /// Milliseconds.
        took_ms: u64,
    },
    /// The next hop took it.
    Delivered {
        /// Recipient.
        recipient: String,
        /// Host.
        host: String,
        /// Final reply.
        reply: String,
        /// Milliseconds since acceptance.
        delay_ms: i64,
    },
    /// Waits for another attempt.
    Deferred {
        /// Recipient.
        recipient: String,
        /// Why.
        reason: Reason,
        /// Reply or error.
        reply: String,
        /// Next attempt.
        due: Timestamp,
    },
    /// Given up at once: 5yz.
    Failed {
        /// Recipient.
        recipient: String,
        /// Why.
        reason: Reason,
        /// Reply or error.
        reply: String,
    },
    /// Lifetime over.
    Expired {
        /// Recipient.
        recipient: String,
        /// Last reply.
        reply: String,
    },
    /// A DSN was made, or deliberately not.
    Dsn {
        /// `failed`, `delayed`, `delivered`, `relayed`, `dsn-none`, `dsn-suppressed`.
        kind: String,
        /// Queue id of the DSN.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue_id: Option<QueueId>,
        /// For the DSN itself: the message it is about.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cause: Option<QueueId>,
    },
}

/// How far a reader may see (domains-and-routing 1.2, 13).
#[derive(Clone, Debug)]
pub struct Scope {
    /// Owner; `None`: all tenants (operator, without subject, attachment names and URLs).
    pub tenant: Option<TenantId>,
    /// Only messages with a sender or recipient in one of these domains.
    pub domains: Option<Vec<String>>,
}

/// A search. All given conditions hold together; the values of one condition are alternatives (100 at most).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Query {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// Which way.
    pub direction: Option<Direction>,
    /// Reverse path: an address, `*@domain` or `*@*.domain`.
    pub reverse_path: Vec<String>,
    /// Header From, likewise.
    pub from: Vec<String>,
    /// Recipient, likewise.
    pub recipient: Vec<String>,
    /// Header To or Cc, likewise.
    pub to: Vec<String>,
    /// Words of the subject, all of them (width and case folded; CJK by bigrams).
    pub subject: Option<String>,
    /// Message-ID, with or without angle brackets.
    pub message_id: Option<String>,
    /// Queue id.
    pub queue_id: Option<QueueId>,
    /// Reference of a refusal.
    pub reference: Option<Reference>,
    /// Client address or CIDR.
    pub client: Option<String>,
    /// Country.
    pub country: Option<String>,
    /// EHLO name.
    pub hello: Option<String>,
    /// Host of a next hop.
    pub next_hop: Option<String>,
    /// Fate of any recipient.
    pub disposition: Option<Disposition>,
    /// State of any recipient now: `queued delivered deferred failed expired held deleted refused`.
    pub state: Option<String>,
    /// Reason of any event.
    pub reason: Option<Reason>,
    /// Octets at least.
    pub size_min: Option<u64>,
    /// Octets at most.
    pub size_max: Option<u64>,
    /// Came by TLS (true) or in clear (false).
    pub tls: Option<bool>,
    /// Words of an attachment's name.
    pub attachment: Option<String>,
    /// SHA-256 of an attachment, hex.
    pub sha256: Option<String>,
    /// Host of a link.
    pub url_host: Option<String>,
    /// Authenticated as.
    pub login: Option<String>,
}

/// All that is known of one trace, in order.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Its name.
    pub id: QueueId,
    /// Owner.
    pub tenant: TenantId,
    /// Direction.
    pub direction: Option<Direction>,
    /// Records in the order they were written.
    pub records: Vec<Record>,
}

/// A page of search results, newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// Traces.
    pub traces: Vec<Trace>,
    /// Where the next page begins: the last id seen; `None` at the end.
    pub next: Option<QueueId>,
}
