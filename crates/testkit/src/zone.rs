//! What a fake DNS server knows: records and faults by name, in the shape of a zone file.
//!
//! ```text
//! example.com            MX    10 mx.example.com
//! example.com       300  TXT   "v=spf1 " "-all"
//! mx.example.com         A     127.0.0.1
//! *.demo.example         A     127.0.0.2
//! 1.0.0.127.in-addr.arpa PTR   mx.example.com
//! broken.example         FAULT servfail
//! ```

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// One record's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Preference and host; `.` is the root.
    Mx(u16, String),
    /// Strings of one record.
    Txt(Vec<Vec<u8>>),
    /// Name of an address.
    Ptr(String),
    /// Name server.
    Ns(String),
    /// Alias.
    Cname(String),
    /// Another type: number and content as on the wire.
    Other(u16, Vec<u8>),
}

impl Record {
    /// Type number (RFC 1035 §3.2.2, RFC 3596 §2.1).
    #[must_use]
    pub fn type_number(&self) -> u16 {
        match self {
            Self::A(_) => 1,
            Self::Ns(_) => 2,
            Self::Cname(_) => 5,
            Self::Ptr(_) => 12,
            Self::Mx(..) => 15,
            Self::Txt(_) => 16,
            Self::Aaaa(_) => 28,
            Self::Other(number, _) => *number,
        }
    }
}

/// What goes wrong when a name is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// SERVFAIL.
    ServFail,
    /// REFUSED.
    Refused,
    /// No answer at all.
    Silent,
    /// Cut off over UDP, however short; complete over TCP.
    Truncated,
    /// The right answer without the authoritative bit.
    NotAuthoritative,
}

/// Names and what is at them.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: BTreeMap<String, Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    records: Vec<(u32, Record)>,
    fault: Option<Fault>,
}

/// TTL of records without one.
const TTL_SECONDS: u32 = 60;

/// What the zone says about a name and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Aliases on the way and the records, with owner and TTL.
    Found(Vec<(String, u32, Record)>),
    /// The name exists.
    NoData,
    /// It does not.
    NoSuchName,
}

impl Zone {
    /// An empty zone.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads lines of `name [ttl] TYPE value`; `#` begins a comment.
    ///
    /// # Panics
    /// At a line that cannot be read.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut zone = Self::new();
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, rest) = line.split_once(char::is_whitespace).unwrap_or_else(|| panic!("no type: {line}"));
            let rest = rest.trim_start();
            let (first, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
            let (ttl, kind, value) = match first.parse::<u32>() {
                Ok(ttl) => {
                    let (kind, value) = after
                        .trim_start()
                        .split_once(char::is_whitespace)
                        .unwrap_or_else(|| panic!("no value: {line}"));
                    (ttl, kind, value)
                }
                Err(_) => (TTL_SECONDS, first, after),
            };
            zone.add_with_ttl(name, ttl, kind, value.trim());
        }
        zone
    }

    /// Adds one record, or a fault (`FAULT` with `servfail`, `refused`, `silent`, `truncated`, `not-authoritative`).
    ///
    /// # Panics
    /// When the value cannot be read.
    pub fn add(&mut self, name: &str, kind: &str, value: &str) -> &mut Self {
        self.add_with_ttl(name, TTL_SECONDS, kind, value)
    }

    /// As [`add`](Self::add), with a TTL in seconds.
    ///
    /// # Panics
    /// When the value cannot be read.
    pub fn add_with_ttl(&mut self, name: &str, ttl: u32, kind: &str, value: &str) -> &mut Self {
        let node = self.names.entry(plain(name)).or_default();
        let record = match kind.to_ascii_uppercase().as_str() {
            "A" => Record::A(value.parse().unwrap_or_else(|_| panic!("no IPv4 address: {value}"))),
            "AAAA" => Record::Aaaa(value.parse().unwrap_or_else(|_| panic!("no IPv6 address: {value}"))),
            "MX" => {
                let (preference, host) = value.split_once(' ').unwrap_or_else(|| panic!("no MX: {value}"));
                Record::Mx(preference.parse().unwrap_or_else(|_| panic!("no MX: {value}")), plain(host.trim()))
            }
            "TXT" => Record::Txt(strings(value)),
            "PTR" => Record::Ptr(plain(value)),
            "NS" => Record::Ns(plain(value)),
            "CNAME" => Record::Cname(plain(value)),
            "FAULT" => {
                node.fault = Some(match value {
                    "servfail" => Fault::ServFail,
                    "refused" => Fault::Refused,
                    "silent" => Fault::Silent,
                    "truncated" => Fault::Truncated,
                    "not-authoritative" => Fault::NotAuthoritative,
                    other => panic!("no fault: {other}"),
                });
                return self;
            }
            other => panic!("no type: {other}"),
        };
        node.records.push((ttl, record));
        self
    }

    /// Adds a record that is made already.
    pub fn add_record(&mut self, name: &str, ttl: u32, record: Record) -> &mut Self {
        self.names.entry(plain(name)).or_default().records.push((ttl, record));
        self
    }

    /// Forgets all records and faults of a name.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.names.remove(&plain(name));
        self
    }

    /// The fault of a name.
    #[must_use]
    pub fn fault(&self, name: &str) -> Option<Fault> {
        self.node(&plain(name)).and_then(|node| node.fault)
    }

    /// What there is, aliases followed inside the zone.
    #[must_use]
    pub fn look_up(&self, name: &str, type_number: u16) -> Answer {
        let mut owner = plain(name);
        let mut found = Vec::new();
        for _ in 0..8 {
            let Some(node) = self.node(&owner) else {
                let is_between = self
                    .names
                    .keys()
                    .any(|known| known.strip_suffix(&owner).is_some_and(|rest| rest.ends_with('.')));
                return if !found.is_empty() {
                    Answer::Found(found)
                } else if is_between {
                    Answer::NoData
                } else {
                    Answer::NoSuchName
                };
            };
            let wanted = node.records.iter().filter(|(_, record)| record.type_number() == type_number);
            found.extend(wanted.map(|(ttl, record)| (owner.clone(), *ttl, record.clone())));
            let alias = node.records.iter().find_map(|(ttl, record)| {
                if let Record::Cname(target) = record {
                    Some((*ttl, target.clone()))
                } else {
                    None
                }
            });
            match alias {
                Some((ttl, target)) if type_number != 5 => {
                    found.push((owner, ttl, Record::Cname(target.clone())));
                    owner = target;
                }
                _ => break,
            }
        }
        if found.is_empty() { Answer::NoData } else { Answer::Found(found) }
    }

    fn node(&self, name: &str) -> Option<&Node> {
        let wildcard = || name.split_once('.').and_then(|(_, parent)| self.names.get(&format!("*.{parent}")));
        self.names.get(name).or_else(wildcard)
    }
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// `"a" "b"` as two strings; anything else as one, cut where the wire must cut it.
fn strings(value: &str) -> Vec<Vec<u8>> {
    if let Some(inside) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return inside.split("\" \"").map(|part| part.as_bytes().to_vec()).collect();
    }
    value.as_bytes().chunks(255).map(<[u8]>::to_vec).collect()
}
