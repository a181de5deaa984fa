//! A small DNS server on loopback, UDP and TCP: recursive and authoritative in one, with faults and a record of what was asked.
//!
//! Its codec is its own, so that the resolver under test does not check itself.

use crate::zone::{Answer, Fault, Record, Zone};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;

/// What a client without EDNS takes over UDP (RFC 1035 §4.2.1), and with it.
const UDP_BYTES_PLAIN: usize = 512;
const UDP_BYTES_EDNS: usize = 1_232;
/// How long "does not exist" is to be believed.
const NEGATIVE_SECONDS: u32 = 60;

/// How a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

/// One question that was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Lower case, no trailing dot.
    pub name: String,
    /// Type number.
    pub type_number: u16,
    /// How.
    pub transport: Transport,
}

/// The server; it ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct State {
    zone: Zone,
    asked: Vec<Asked>,
}

impl Server {
    /// Starts on a port of 127.0.0.1 that is free for both transports.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start(zone: Zone) -> Self {
        for _ in 0..20 {
            let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = tcp.local_addr().unwrap();
            let Ok(udp) = UdpSocket::bind(address).await else { continue };
            let state = Arc::new(Mutex::new(State { zone, asked: Vec::new() }));
            let mut tasks = JoinSet::new();
            tasks.spawn(serve_udp(udp, state.clone()));
            tasks.spawn(serve_tcp(tcp, state.clone()));
            return Self {
                state,
                address,
                _tasks: tasks,
            };
        }
        panic!("no port is free for UDP and TCP");
    }

    /// Where it listens, for both transports.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the zone; the next question sees it.
    pub fn change(&self, change: impl FnOnce(&mut Zone)) {
        change(&mut lock(&self.state).zone);
    }

    /// All questions so far.
    #[must_use]
    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// How often a name was asked for, whatever the type.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        lock(&self.state).asked.iter().filter(|asked| asked.name == name).count()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve_udp(socket: UdpSocket, state: Arc<Mutex<State>>) {
    let mut buffer = [0_u8; 4_096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        if let Some(reply) = answer(&buffer[..length], Transport::Udp, &state) {
            // A client that is gone needs no answer.
            let _ = socket.send_to(&reply, client).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, state: Arc<Mutex<State>>) {
    let mut clients = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let state = state.clone();
        clients.spawn(async move {
            while let Ok(length) = stream.read_u16().await {
                let mut query = vec![0_u8; usize::from(length)];
                if stream.read_exact(&mut query).await.is_err() {
                    return;
                }
                let Some(reply) = answer(&query, Transport::Tcp, &state) else {
                    continue;
                };
                let length = u16::try_from(reply.len()).unwrap();
                if stream.write_all(&[&length.to_be_bytes(), &reply[..]].concat()).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Header flags (RFC 1035 §4.1.1).
const RESPONSE: u16 = 0x8000;
const AUTHORITATIVE: u16 = 0x0400;
const TRUNCATED: u16 = 0x0200;
const RECURSION_AVAILABLE: u16 = 0x0080;
const RECURSION_DESIRED: u16 = 0x0100;
const SERVFAIL: u16 = 2;
const NXDOMAIN: u16 = 3;
const REFUSED: u16 = 5;

fn answer(query: &[u8], transport: Transport, state: &Mutex<State>) -> Option<Vec<u8>> {
    let flags = u16::from_be_bytes([*query.get(2)?, *query.get(3)?]);
    let has_edns = *query.get(11)? != 0;
    let (name, question_end) = question(query)?;
    let type_number = u16::from_be_bytes([*query.get(question_end - 4)?, *query.get(question_end - 3)?]);
    let mut state = lock(state);
    state.asked.push(Asked {
        name: name.clone(),
        type_number,
        transport,
    });
    let fault = state.zone.fault(&name);
    let found = state.zone.look_up(&name, type_number);
    drop(state);

    let mut reply = Reply {
        id: [query[0], query[1]],
        flags: RESPONSE | AUTHORITATIVE | RECURSION_AVAILABLE | (flags & RECURSION_DESIRED),
        question: query[12..question_end].to_vec(),
        answers: Vec::new(),
        authorities: Vec::new(),
    };
    match fault {
        Some(Fault::Silent) => return None,
        Some(Fault::ServFail) => return Some(reply.failing(SERVFAIL)),
        Some(Fault::Refused) => return Some(reply.failing(REFUSED)),
        Some(Fault::Truncated) if transport == Transport::Udp => return Some(reply.failing(TRUNCATED)),
        Some(Fault::NotAuthoritative) => reply.flags &= !AUTHORITATIVE,
        Some(Fault::Truncated) | None => {}
    }
    match found {
        Answer::Found(records) => reply.answers = records.iter().map(|(owner, ttl, record)| resource(owner, *ttl, record)).collect(),
        Answer::NoData => reply.authorities.push(start_of_authority()),
        Answer::NoSuchName => {
            reply.flags |= NXDOMAIN;
            reply.authorities.push(start_of_authority());
        }
    }
    let bytes = reply.bytes();
    let bytes_max = match transport {
        Transport::Udp if has_edns => UDP_BYTES_EDNS,
        Transport::Udp => UDP_BYTES_PLAIN,
        Transport::Tcp => usize::from(u16::MAX),
    };
    if bytes.len() > bytes_max {
        return Some(reply.failing(TRUNCATED));
    }
    Some(bytes)
}

struct Reply {
    id: [u8; 2],
    flags: u16,
    question: Vec<u8>,
    answers: Vec<Vec<u8>>,
    authorities: Vec<Vec<u8>>,
}

impl Reply {
    fn bytes(&self) -> Vec<u8> {
        let count = |records: &[Vec<u8>]| u16::try_from(records.len()).unwrap();
        let mut bytes = self.id.to_vec();
        for number in [self.flags, 1, count(&self.answers), count(&self.authorities), 0] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.question);
        bytes.extend(self.answers.iter().chain(&self.authorities).flatten());
        bytes
    }

    fn failing(mut self, flags: u16) -> Vec<u8> {
        self.flags |= flags;
        self.answers.clear();
        self.authorities.clear();
        self.bytes()
    }
}

/// Name of the only question and where it ends, type and class included.
fn question(query: &[u8]) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(
            query
                .get(at..at + length)?
                .iter()
                .map(|byte| char::from(byte.to_ascii_lowercase()))
                .collect::<String>(),
        );
        at += length;
    }
    (query.len() >= at + 4).then(|| (labels.join("."), at + 4))
}

fn wire_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()));
    }
    bytes.push(0);
    bytes
}

fn resource(owner: &str, ttl: u32, record: &Record) -> Vec<u8> {
    let data = match record {
        Record::A(address) => address.octets().to_vec(),
        Record::Aaaa(address) => address.octets().to_vec(),
        Record::Mx(preference, host) => [preference.to_be_bytes().to_vec(), wire_name(host)].concat(),
        Record::Txt(strings) => strings
            .iter()
            .flat_map(|text| [vec![u8::try_from(text.len()).unwrap()], text.clone()].concat())
            .collect(),
        Record::Ptr(name) | Record::Ns(name) | Record::Cname(name) => wire_name(name),
        Record::Other(_, data) => data.clone(),
    };
    raw_resource(owner, record.type_number(), ttl, &data)
}

fn start_of_authority() -> Vec<u8> {
    let numbers = [1_u32, 3_600, 600, 86_400, NEGATIVE_SECONDS].map(u32::to_be_bytes).concat();
    raw_resource(
        "",
        6,
        NEGATIVE_SECONDS,
        &[wire_name("ns.invalid"), wire_name("admin.invalid"), numbers].concat(),
    )
}

fn raw_resource(owner: &str, type_number: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    let class_in = 1_u16;
    [
        &wire_name(owner)[..],
        &type_number.to_be_bytes(),
        &class_in.to_be_bytes(),
        &ttl.to_be_bytes(),
        &length.to_be_bytes(),
        data,
    ]
    .concat()
}
