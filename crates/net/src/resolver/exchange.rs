//! One question to one authoritative server: UDP, then TCP when the answer was cut off.
//!
//! Standards: RFC 1035 §4.2, RFC 5452 §9 (what an answer must repeat), RFC 6891 §6.2.5, RFC 7766 §5.
//! Invariants: only an answer of that address, with our number and our question, is read; it must be authoritative.

use super::record::{Kind, Lookup, Rr, bounded, text_of};
use hickory_resolver::proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// What crosses IPv6's smallest link (1,280 octets) in one piece.
const UDP_BYTES_MAX: u16 = 1_232;
const UDP_ATTEMPTS: u32 = 2;
const ALIASES_MAX: usize = 8;
/// Foreign datagrams that may arrive on our port before ours.
const STRAY_DATAGRAMS_MAX: u32 = 16;

/// The answer and its TTL in seconds, or why there is none.
pub(super) async fn ask(server: SocketAddr, name: &str, kind: Kind, timeout: Duration) -> Result<(Lookup, u32), String> {
    let question = question(name, kind)?;
    let bytes = question.to_vec().map_err(|error| error.to_string())?;
    let mut answer = Err(String::new());
    for _ in 0..UDP_ATTEMPTS {
        answer = within(timeout, over_udp(server, &bytes, &question)).await;
        if answer.is_ok() {
            break;
        }
    }
    let mut answer = answer?;
    if answer.metadata.truncation {
        answer = within(timeout, over_tcp(server, &bytes, &question)).await?;
    }
    read(&answer, name, kind)
}

fn question(name: &str, kind: Kind) -> Result<Message, String> {
    let mut id = [0_u8; 2];
    getrandom::fill(&mut id).map_err(|error| error.to_string())?;
    let mut name = Name::from_ascii(name).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    let mut message = Message::new(u16::from_be_bytes(id), MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = false;
    message.add_query(Query::query(name, kind.record_type()));
    let mut edns = Edns::new();
    edns.set_max_payload(UDP_BYTES_MAX);
    message.set_edns(edns);
    Ok(message)
}

async fn within(limit: Duration, exchange: impl Future<Output = io::Result<Message>>) -> Result<Message, String> {
    match tokio::time::timeout(limit, exchange).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err(String::from("no answer in time")),
    }
}

async fn over_udp(server: SocketAddr, bytes: &[u8], question: &Message) -> io::Result<Message> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    // Connected: the kernel drops what others send to this port.
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = [0_u8; 4_096];
    for _ in 0..STRAY_DATAGRAMS_MAX {
        let length = socket.recv(&mut buffer).await?;
        if let Some(answer) = buffer.get(..length).and_then(|bytes| matching(bytes, question)) {
            return Ok(answer);
        }
    }
    Err(io::Error::other("answers to other questions only"))
}

async fn over_tcp(server: SocketAddr, bytes: &[u8], question: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    // RFC 7766 §8: length and message in one write.
    stream.write_all(&[&length.to_be_bytes(), bytes].concat()).await?;
    let mut answer = vec![0_u8; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut answer).await?;
    matching(&answer, question).ok_or_else(|| io::Error::other("the answer belongs to another question"))
}

/// RFC 5452 §9.1: number and question must be ours.
fn matching(bytes: &[u8], question: &Message) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let is_ours = answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && answer.queries == question.queries;
    is_ours.then_some(answer)
}

fn read(answer: &Message, name: &str, kind: Kind) -> Result<(Lookup, u32), String> {
    let ttl_without = 0;
    match answer.metadata.response_code {
        ResponseCode::NoError if !answer.metadata.authoritative => {
            return Err(String::from("the server is not authoritative for the name"));
        }
        ResponseCode::NoError => {}
        ResponseCode::NXDomain if answer.metadata.authoritative => return Ok((Lookup::NoSuchName, ttl_without)),
        other => return Err(other.to_string()),
    }
    if answer.metadata.truncation {
        return Err(String::from("the answer is cut off"));
    }
    let mut owner = name.to_owned();
    for _ in 0..ALIASES_MAX {
        let alias = answer.answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if text_of(&record.name) == owner => Some(text_of(&target.0)),
            _ => None,
        });
        match alias {
            Some(target) => owner = target,
            None => break,
        }
    }
    let ours: Vec<_> = answer
        .answers
        .iter()
        .filter(|record| record.record_type() == kind.record_type() && text_of(&record.name) == owner)
        .collect();
    let ttl = ours.iter().map(|record| record.ttl).min().unwrap_or(ttl_without);
    Ok((
        bounded(kind, ours.into_iter().filter_map(|record| Rr::from_wire(&record.data)).collect())?,
        ttl,
    ))
}
