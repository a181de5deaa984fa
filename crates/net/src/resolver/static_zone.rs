//! The small zone of the node file (`dns.static`), answered before any resolver: demonstration and tests need no network.
//!
//! In: rows of name, type, value, TTL. Out: answers, or all problems of all rows at once.
//! A name that has any row is answered from here alone: other types of it are "no data". Names beside it are asked in DNS, unless a row
//! of type `ZONE` says that everything below its name is in here: then they do not exist.

use super::record::{Kind, Lookup, Rr, reverse_name};
use mail::Domain;
use mail::text::Text;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

const TTL_SECONDS_DEFAULT: u32 = 60;
const ENTRIES_MAX: usize = 10_000;

/// One row of `dns.static` as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StaticEntry {
    /// A domain name; for PTR an IP address or its `.arpa` name.
    pub name: String,
    /// `A`, `AAAA`, `MX`, `TXT`, `PTR`, `NS` or `ZONE`, in any case.
    pub kind: String,
    /// As in a zone file: `10 mx.example.com` for MX, `0 .` for a null MX. Empty for ZONE.
    pub value: String,
    /// Seconds; 60 when absent.
    pub ttl: Option<u32>,
}

/// What is wrong with one row.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dns.static row {row} ({name}): {problem}")]
pub struct StaticZoneError {
    /// Counted from 1.
    pub row: usize,
    /// Its name.
    pub name: String,
    /// What is wrong.
    pub problem: Text,
}

/// A checked static zone.
#[derive(Clone, Debug, Default)]
pub struct StaticZone {
    names: HashMap<String, Vec<(Rr, u32)>>,
    zones: HashSet<String>,
}

impl StaticZone {
    /// Checks all rows.
    ///
    /// # Errors
    /// Every problem of every row.
    pub fn parse(entries: &[StaticEntry]) -> Result<Self, Vec<StaticZoneError>> {
        let mut zone = Self::default();
        let mut problems = Vec::new();
        for (place, entry) in entries.iter().enumerate() {
            let outcome = if place < ENTRIES_MAX {
                zone.add(entry)
            } else {
                Err(Text::new("check.node.records").with("max", ENTRIES_MAX))
            };
            if let Err(problem) = outcome {
                problems.push(StaticZoneError {
                    row: place + 1,
                    name: entry.name.clone(),
                    problem,
                });
                if place >= ENTRIES_MAX {
                    break;
                }
            }
        }
        if problems.is_empty() { Ok(zone) } else { Err(problems) }
    }

    /// Whether there is anything in it; the console shows a banner then.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.zones.is_empty()
    }

    /// Whether `name` (lower case, no trailing dot) is answered from here.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.is_in_zone(name)
    }

    pub(super) fn look_up(&self, name: &str, kind: Kind) -> Option<Lookup> {
        self.look_up_with_ttl(name, kind).map(|(answer, _)| answer)
    }

    pub(super) fn look_up_with_ttl(&self, name: &str, kind: Kind) -> Option<(Lookup, u32)> {
        if self.is_empty() {
            return None;
        }
        let Some(rows) = self.names.get(name) else {
            if !self.is_in_zone(name) {
                return None;
            }
            // RFC 8020 §2: a name above one that exists, exists.
            let is_between = self
                .names
                .keys()
                .any(|known| known.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')));
            let answer = if is_between || self.zones.contains(name) {
                Lookup::NoData
            } else {
                Lookup::NoSuchName
            };
            return Some((answer, TTL_SECONDS_DEFAULT));
        };
        let ttl = rows
            .iter()
            .filter(|(record, _)| record.kind() == kind)
            .map(|(_, ttl)| *ttl)
            .min()
            .unwrap_or(TTL_SECONDS_DEFAULT);
        let records: Vec<Rr> = rows
            .iter()
            .filter(|(record, _)| record.kind() == kind)
            .map(|(record, _)| record.clone())
            .collect();
        Some((
            if records.is_empty() {
                Lookup::NoData
            } else {
                Lookup::Found(records.into())
            },
            ttl,
        ))
    }

    fn is_in_zone(&self, name: &str) -> bool {
        if self.zones.is_empty() {
            return false;
        }
        let mut rest = name;
        loop {
            if self.zones.contains(rest) {
                return true;
            }
            match rest.split_once('.') {
                Some((_, parent)) => rest = parent,
                None => return false,
            }
        }
    }

    fn add(&mut self, entry: &StaticEntry) -> Result<(), Text> {
        let value = entry.value.trim();
        let host = |text: &str| {
            Domain::parse(text)
                .map(|domain| domain.as_str().to_owned())
                .map_err(|error| Text::new("check.about").with("what", format!("{text:?}")).with("why", error))
        };
        let wrong = |key: &'static str| Text::new(key).with("have", format!("{value:?}"));
        let kind = entry.kind.to_ascii_uppercase();
        let name = match entry.name.parse::<IpAddr>() {
            Ok(address) if kind == "PTR" => reverse_name(address),
            _ => host(entry.name.trim())?,
        };
        let record = match kind.as_str() {
            "ZONE" => {
                self.zones.insert(name);
                return Ok(());
            }
            "A" => Rr::Address(IpAddr::V4(value.parse().map_err(|_| wrong("check.zone.a"))?)),
            "AAAA" => Rr::Address(IpAddr::V6(value.parse().map_err(|_| wrong("check.zone.aaaa"))?)),
            "MX" => {
                let (preference, target) = value.split_once(char::is_whitespace).ok_or_else(|| wrong("check.zone.mx"))?;
                let target = target.trim();
                // RFC 7505 §3: "." is the null MX.
                let target = if target == "." { String::new() } else { host(target)? };
                Rr::Mx(preference.parse().map_err(|_| wrong("check.zone.mx"))?, target)
            }
            "TXT" => Rr::Text(entry.value.clone()),
            "PTR" => Rr::Ptr(host(value)?),
            "NS" => Rr::Ns(host(value)?),
            _ => return Err(Text::new("check.one-of").with("words", "A, AAAA, MX, TXT, PTR, NS, ZONE")),
        };
        self.names
            .entry(name)
            .or_default()
            .push((record, entry.ttl.unwrap_or(TTL_SECONDS_DEFAULT)));
        Ok(())
    }
}
