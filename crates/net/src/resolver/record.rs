//! Records as this product uses them, cut down from what the wire carries.

use hickory_resolver::proto::rr::{Name, RData, RecordType};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// Types that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    A,
    Aaaa,
    Mx,
    Txt,
    Ptr,
    Ns,
}

impl Kind {
    pub(super) const COUNT: usize = 6;

    pub(super) fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
            Self::Mx => RecordType::MX,
            Self::Txt => RecordType::TXT,
            Self::Ptr => RecordType::PTR,
            Self::Ns => RecordType::NS,
        }
    }
}

/// One record's content. Names are lower case without the trailing dot; the root is empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Rr {
    Address(IpAddr),
    Mx(u16, String),
    Text(String),
    Ptr(String),
    Ns(String),
}

impl Rr {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Address(IpAddr::V4(_)) => Kind::A,
            Self::Address(IpAddr::V6(_)) => Kind::Aaaa,
            Self::Mx(..) => Kind::Mx,
            Self::Text(_) => Kind::Txt,
            Self::Ptr(_) => Kind::Ptr,
            Self::Ns(_) => Kind::Ns,
        }
    }

    /// From the wire; nothing for types that we never ask for.
    pub(super) fn from_wire(data: &RData) -> Option<Self> {
        match data {
            RData::A(address) => Some(Self::Address(IpAddr::V4(address.0))),
            RData::AAAA(address) => Some(Self::Address(IpAddr::V6(address.0))),
            RData::MX(mx) => Some(Self::Mx(mx.preference, text_of(&mx.exchange))),
            RData::TXT(txt) => Some(Self::Text(joined(&txt.txt_data))),
            RData::PTR(name) => Some(Self::Ptr(text_of(&name.0))),
            RData::NS(name) => Some(Self::Ns(text_of(&name.0))),
            _ => None,
        }
    }

    pub(super) fn address(&self) -> Option<IpAddr> {
        if let Self::Address(address) = self { Some(*address) } else { None }
    }

    pub(super) fn mx(&self) -> Option<(u16, &str)> {
        if let Self::Mx(preference, host) = self {
            Some((*preference, host))
        } else {
            None
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// Of PTR and NS.
    pub(super) fn name(&self) -> Option<&str> {
        if let Self::Ptr(name) | Self::Ns(name) = self {
            Some(name)
        } else {
            None
        }
    }
}

/// What was learned about a name and a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    Found(Arc<[Rr]>),
    NoData,
    NoSuchName,
}

/// Checks the bounds of an answer and makes a look-up of it.
pub(super) fn bounded(kind: Kind, mut records: Vec<Rr>) -> Result<Lookup, String> {
    if kind == Kind::Txt {
        let bytes: usize = records.iter().filter_map(Rr::text).map(str::len).sum();
        if records.len() > super::RECORDS_MAX || bytes > super::TEXT_BYTES_MAX {
            return Err(String::from("the TXT answer has more than 100 records or 64 KB"));
        }
    }
    records.truncate(super::RECORDS_MAX);
    Ok(if records.is_empty() {
        Lookup::NoData
    } else {
        Lookup::Found(records.into())
    })
}

/// RFC 7208 §3.3 and our tokens: strings are joined without anything between. Not UTF-8: Latin-1, which loses nothing.
fn joined(strings: &[Box<[u8]>]) -> String {
    let bytes = strings.concat();
    String::from_utf8(bytes).unwrap_or_else(|error| error.as_bytes().iter().map(|byte| char::from(*byte)).collect())
}

pub(super) fn text_of(name: &Name) -> String {
    let mut text = name.to_ascii().to_ascii_lowercase();
    text.truncate(text.trim_end_matches('.').len());
    text
}

/// Lower case without the trailing dot.
pub(super) fn normal_name(name: &str) -> Cow<'_, str> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    if bare.bytes().any(|byte| byte.is_ascii_uppercase()) {
        bare.to_ascii_lowercase().into()
    } else {
        bare.into()
    }
}

/// RFC 1035 §3.5, RFC 3596 §2.5.
pub(super) fn reverse_name(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let mut name = String::with_capacity(72);
            for byte in v6.octets().iter().rev() {
                // Writing to a string cannot fail.
                let _ = write!(name, "{:x}.{:x}.", byte & 0x0f, byte >> 4);
            }
            name.push_str("ip6.arpa");
            name
        }
    }
}
