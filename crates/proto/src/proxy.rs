//! PROXY protocol: who is really the client behind a balancer?
//!
//! In:  the first octets of a connection from a configured balancer. Out: the header with both addresses, and how many octets it took.
//! Standards: HAProxy "The PROXY protocol" versions 1 and 2 (2020/03/05). TLVs are skipped. Deviations: none.
//! Invariants: at most [`V1_BYTES_MAX`] or [`V2_BYTES_MAX`] octets are ever waited for; what is no header is an error at the first octet that shows it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A version 1 header with its CRLF.
pub const V1_BYTES_MAX: usize = 107;
/// A version 2 header with its TLVs.
pub const V2_BYTES_MAX: usize = 536;

const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// What the balancer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// LOCAL or UNKNOWN: the connection is the balancer's own (a health check); use the address of the socket.
    Local,
    /// The connection of a client.
    Proxied {
        /// The client.
        source: SocketAddr,
        /// Where it connected to.
        destination: SocketAddr,
    },
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// So far it may become a header.
    Incomplete,
    /// The connection's own octets begin behind `consumed`.
    Complete {
        /// What it says.
        header: Header,
        /// Octets of the header.
        consumed: usize,
    },
}

/// Why it is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither signature.
    #[error("no PROXY header at the start of the connection")]
    Signature,
    /// A version or command that does not exist.
    #[error("unknown version or command in the PROXY header")]
    Version,
    /// Over the limit.
    #[error("the PROXY header is too long")]
    TooLong,
    /// Not TCP, or addresses that are none.
    #[error("the addresses in the PROXY header are unusable")]
    Address,
}

/// Reads a header from the start of `input`. Call again with more octets while it is incomplete.
///
/// # Errors
/// [`ProxyError`]: the connection is closed without a reply.
pub fn parse(input: &[u8]) -> Result<Parsed, ProxyError> {
    if is_prefix(input, V2_SIGNATURE) {
        parse_v2(input)
    } else if is_prefix(input, V1_PREFIX) {
        parse_v1(input)
    } else {
        Err(ProxyError::Signature)
    }
}

fn is_prefix(input: &[u8], signature: &[u8]) -> bool {
    input.iter().zip(signature).all(|(a, b)| a == b)
}

fn parse_v1(input: &[u8]) -> Result<Parsed, ProxyError> {
    let window = input.get(..V1_BYTES_MAX).unwrap_or(input);
    let Some(end) = memchr::memmem::find(window, b"\r\n") else {
        return if input.len() < V1_BYTES_MAX {
            Ok(Parsed::Incomplete)
        } else {
            Err(ProxyError::TooLong)
        };
    };
    let line = std::str::from_utf8(window.get(V1_PREFIX.len()..end).unwrap_or_default()).map_err(|_| ProxyError::Address)?;
    let header = v1_header(line).ok_or(ProxyError::Address)?;
    Ok(Parsed::Complete { header, consumed: end + 2 })
}

fn v1_header(line: &str) -> Option<Header> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Header::Local);
    }
    let (source, destination): (IpAddr, IpAddr) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (source_port, destination_port) = (port(words.next()?)?, port(words.next()?)?);
    let fits = match family {
        "TCP4" => source.is_ipv4() && destination.is_ipv4(),
        "TCP6" => source.is_ipv6() && destination.is_ipv6(),
        _ => false,
    };
    (fits && words.next().is_none()).then(|| Header::Proxied {
        source: SocketAddr::new(source, source_port),
        destination: SocketAddr::new(destination, destination_port),
    })
}

fn port(text: &str) -> Option<u16> {
    (text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

fn parse_v2(input: &[u8]) -> Result<Parsed, ProxyError> {
    let Some((fixed, rest)) = input.split_first_chunk::<16>() else {
        return Ok(Parsed::Incomplete);
    };
    let [.., version_command, family, length_high, length_low] = *fixed;
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    if 16 + length > V2_BYTES_MAX {
        return Err(ProxyError::TooLong);
    }
    let Some(block) = rest.get(..length) else {
        return Ok(Parsed::Incomplete);
    };
    let header = match version_command {
        0x20 => Header::Local,
        0x21 => match family {
            0x11 => v2_ipv4(block).ok_or(ProxyError::Address)?,
            0x21 => v2_ipv6(block).ok_or(ProxyError::Address)?,
            // "AF_UNSPEC: the receiver should use the real connection endpoints".
            0x00 => Header::Local,
            _ => return Err(ProxyError::Address),
        },
        _ => return Err(ProxyError::Version),
    };
    Ok(Parsed::Complete {
        header,
        consumed: 16 + length,
    })
}

fn v2_ipv4(block: &[u8]) -> Option<Header> {
    let (source, rest) = block.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (source_port, destination_port) = v2_ports(rest)?;
    Some(Header::Proxied {
        source: SocketAddr::new(Ipv4Addr::from(*source).into(), source_port),
        destination: SocketAddr::new(Ipv4Addr::from(*destination).into(), destination_port),
    })
}

fn v2_ipv6(block: &[u8]) -> Option<Header> {
    let (source, rest) = block.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (source_port, destination_port) = v2_ports(rest)?;
    Some(Header::Proxied {
        source: SocketAddr::new(Ipv6Addr::from(*source).into(), source_port),
        destination: SocketAddr::new(Ipv6Addr::from(*destination).into(), destination_port),
    })
}

fn v2_ports(block: &[u8]) -> Option<(u16, u16)> {
    let (source, rest) = block.split_first_chunk::<2>()?;
    let (destination, _tlvs) = rest.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*source), u16::from_be_bytes(*destination)))
}

#[cfg(test)]
mod tests;
