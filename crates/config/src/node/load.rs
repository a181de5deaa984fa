//! From the text of the node file to a checked [`Node`], with every problem at once.

use super::read::{Placed, Problems, Section};
use super::{AllowedPrivate, Listener, ListenerRole, Node, StaticRecord, StoreChoice, TlsFiles};
use crate::problem::{Problem, ProblemKind};
use ipnet::IpNet;
use mail::Domain;
use mail::text::Text;
use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::de::DeTable;

const BASE: &str = "mitsuke.localhost";
const DATA_DIR: &str = "data";
/// Roles and ports of a node whose file names no listener: all on loopback.
const LISTENERS: [(ListenerRole, u16); 5] = [
    (ListenerRole::Mx, 2525),
    (ListenerRole::Submission, 2587),
    (ListenerRole::Submissions, 2465),
    (ListenerRole::Api, 8025),
    (ListenerRole::Web, 8026),
];
const STATIC_TTL_S: u32 = 60;
const STATIC_RECORDS_MAX: usize = 10_000;
const LISTENERS_MAX: usize = 100;
/// `sun_path` of Linux less its end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
const FILE_BYTES_MAX: u64 = 4 * 1_048_576;

impl Node {
    /// Reads and checks the node file. Relative paths in it count from its folder.
    ///
    /// # Errors
    /// Every problem, each with its line.
    pub fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        let problem = |text: Text| vec![Problem::new(path.display().to_string(), ProblemKind::Missing, text)];
        let size = std::fs::metadata(path)
            .map_err(|e| problem(Text::new("check.node.unreadable").with("why", Text::of_io(&e))))?
            .len();
        if size > FILE_BYTES_MAX {
            return Err(problem(Text::new("check.node.long").with("max", FILE_BYTES_MAX)));
        }
        let text = std::fs::read_to_string(path).map_err(|e| problem(Text::new("check.node.unreadable").with("why", Text::of_io(&e))))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::read(&text, folder, &path.display().to_string())
    }

    /// Checks the text of a node file; relative paths count from `folder`.
    ///
    /// # Errors
    /// Every problem, each with its line.
    pub fn from_toml(text: &str, folder: &Path) -> Result<Self, Vec<Problem>> {
        Self::read(text, folder, "mitsuke.toml")
    }

    fn read(text: &str, folder: &Path, file: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Problems::new(file, text);
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            problems.tell(
                "syntax",
                error.span().map_or(0, |s| s.start),
                ProblemKind::Malformed,
                Text::new("check.node.syntax").with("why", error.message()),
            );
        }
        let node = check(&mut problems, Section::new("", 0, table.get_ref()), folder);
        if problems.found.is_empty() { Ok(node) } else { Err(problems.found) }
    }
}

fn check(p: &mut Problems<'_>, mut root: Section<'_, '_>, folder: &Path) -> Node {
    let base = root
        .parsed::<Domain>(p, "base", Text::new("check.expected.domain"))
        .map_or_else(default_base, |b| b.value);
    let hostname = root
        .parsed::<Domain>(p, "hostname", Text::new("check.expected.domain"))
        .map(|h| h.value);
    let listeners = check_listeners(p, &mut root);
    let public_url = check_public_url(p, &mut root, &listeners);
    let mut path = |p: &mut Problems<'_>, key: &str, default: PathBuf| root.text(p, key).map_or(default, |text| folder.join(text.value));
    let data_dir = path(p, "data_dir", folder.join(DATA_DIR));
    let blobs = path(p, "blobs", data_dir.join("blobs"));
    let control_socket = path(p, "control_socket", data_dir.join("control.sock"));
    if control_socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        p.tell(
            "control_socket",
            0,
            ProblemKind::OutOfRange,
            Text::new("check.node.socket-path").with("max", SOCKET_PATH_BYTES_MAX),
        );
    }
    let store = check_store(p, &mut root);
    let delivering_addresses = root
        .list(p, "delivering_addresses", Text::new("check.expected.address"))
        .into_iter()
        .map(|a: Placed<IpAddr>| a.value)
        .collect();
    let (tls, tls_roots) = check_tls(p, &mut root, folder);
    let dns = check_dns(p, &mut root);
    let allowed_private = check_net(p, &mut root);
    let mut content = root.table(p, "content");
    if let Some(origin) = content.parsed::<Domain>(p, "origin", Text::new("check.expected.host")) {
        content.tell(
            p,
            "origin",
            origin.at,
            ProblemKind::NotAvailable,
            Text::new("check.not-available").with("what", Text::new("check.feature.webmail")),
        );
    }
    content.finish(p);
    root.finish(p);
    Node {
        hostname: hostname.unwrap_or_else(|| system_hostname(&base)),
        base,
        public_url,
        data_dir,
        store,
        blobs,
        listeners,
        delivering_addresses,
        tls,
        tls_roots,
        dns_resolvers: dns.resolvers,
        dns_validating: Vec::new(),
        dns_authoritative_port: dns.authoritative_port,
        dns_static: dns.records,
        allowed_private,
        content_origin: None,
        control_socket,
    }
}

/// `<base>` where the file names none.
#[expect(clippy::expect_used, reason = "a constant that parses, as every test of this room shows")]
fn default_base() -> Domain {
    Domain::parse(BASE).expect("constant")
}

fn check_listeners(p: &mut Problems<'_>, root: &mut Section<'_, '_>) -> Vec<Listener> {
    let on_loopback = |(role, port)| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Listener {
            address,
            role,
            tls: role == ListenerRole::Submissions,
            proxy_networks: Vec::new(),
        }
    };
    let Some(sections) = root.tables(p, "listeners") else {
        return LISTENERS.into_iter().map(on_loopback).collect();
    };
    if sections.is_empty() || sections.len() > LISTENERS_MAX {
        root.tell(
            p,
            "listeners",
            root.at,
            ProblemKind::OutOfRange,
            Text::new("check.node.listeners").with("max", LISTENERS_MAX),
        );
    }
    let mut seen = HashSet::new();
    sections
        .into_iter()
        .filter_map(|section| check_listener(p, section, &mut seen))
        .collect()
}

fn check_listener(p: &mut Problems<'_>, mut section: Section<'_, '_>, seen: &mut HashSet<SocketAddr>) -> Option<Listener> {
    if !section.has("address") {
        section.tell(
            p,
            "address",
            section.at,
            ProblemKind::Missing,
            Text::new("check.node.address-missing"),
        );
    }
    let address = section.parsed::<SocketAddr>(p, "address", Text::new("check.expected.address-port"));
    if let Some(twice) = address.as_ref().filter(|a| a.value.port() != 0 && !seen.insert(a.value)) {
        section.tell(p, "address", twice.at, ProblemKind::Conflict, Text::new("check.node.address-twice"));
    }
    let role = check_role(p, &mut section);
    let tls = section.switch(p, "tls");
    let proxy: Vec<Placed<IpNet>> = section.list(p, "proxy_networks", Text::new("check.expected.network"));
    let is_http = matches!(role, Some(ListenerRole::Api | ListenerRole::Web));
    if let Some(proxy) = proxy.first().filter(|_| is_http) {
        section.tell(
            p,
            "proxy_networks",
            proxy.at,
            ProblemKind::NotAvailable,
            Text::new("check.node.proxy"),
        );
    }
    if let Some(tls) = tls
        .as_ref()
        .filter(|t| role.is_some() && !is_http && t.value != (role == Some(ListenerRole::Submissions)))
    {
        section.tell(p, "tls", tls.at, ProblemKind::Conflict, Text::new("check.node.listener-tls"));
    }
    let is_clear = !tls.as_ref().is_some_and(|t| t.value);
    if let Some(open) = address
        .as_ref()
        .filter(|a| role == Some(ListenerRole::Api) && is_clear && !a.value.ip().is_loopback())
    {
        section.tell(p, "address", open.at, ProblemKind::Conflict, Text::new("check.node.api-in-clear"));
    }
    section.finish(p);
    let (address, role) = (address?, role?);
    let tls = role == ListenerRole::Submissions || tls.is_some_and(|t| t.value);
    Some(Listener {
        address: address.value,
        role,
        tls,
        proxy_networks: proxy.into_iter().map(|n| n.value).collect(),
    })
}

fn check_role(p: &mut Problems<'_>, section: &mut Section<'_, '_>) -> Option<ListenerRole> {
    if !section.has("role") {
        section.tell(p, "role", section.at, ProblemKind::Missing, roles());
    }
    let word = section.text(p, "role")?;
    match role_of(word.value) {
        Some(ListenerRole::Metrics) => {
            section.tell(
                p,
                "role",
                word.at,
                ProblemKind::NotAvailable,
                Text::new("check.not-available").with("what", Text::new("check.feature.metrics")),
            );
            None
        }
        None => {
            section.tell(p, "role", word.at, ProblemKind::Malformed, roles());
            None
        }
        role => role,
    }
}

fn roles() -> Text {
    Text::new("check.one-of").with("words", "mx, submission, submissions, api, web")
}

fn role_of(word: &str) -> Option<ListenerRole> {
    match word {
        "mx" => Some(ListenerRole::Mx),
        "submission" => Some(ListenerRole::Submission),
        "submissions" => Some(ListenerRole::Submissions),
        "api" => Some(ListenerRole::Api),
        "web" => Some(ListenerRole::Web),
        "metrics" => Some(ListenerRole::Metrics),
        _ => None,
    }
}

fn check_public_url(p: &mut Problems<'_>, root: &mut Section<'_, '_>, listeners: &[Listener]) -> String {
    if let Some(url) = root.text(p, "public_url") {
        let rest = url.value.strip_prefix("https://").or_else(|| url.value.strip_prefix("http://"));
        let fits = rest.is_some_and(|r| !r.is_empty())
            && url.value.len() <= 200
            && url.value.bytes().all(|b| b.is_ascii_graphic() && !b"\"'<>\\?#".contains(&b));
        if !fits {
            root.tell(p, "public_url", url.at, ProblemKind::Malformed, Text::new("check.node.public-url"));
        }
        return url.value.trim_end_matches('/').to_owned();
    }
    let web = listeners
        .iter()
        .find(|l| l.role == ListenerRole::Web)
        .or_else(|| listeners.iter().find(|l| l.role == ListenerRole::Api));
    web.map_or_else(
        || format!("http://{BASE}"),
        |l| format!("{}://{}", if l.tls { "https" } else { "http" }, l.address),
    )
}

fn check_store(p: &mut Problems<'_>, root: &mut Section<'_, '_>) -> StoreChoice {
    match root.text(p, "store") {
        None => StoreChoice::Embedded,
        Some(text) if text.value == "embedded" => StoreChoice::Embedded,
        Some(text) if text.value.starts_with("postgresql://") || text.value.starts_with("postgres://") => {
            StoreChoice::Postgres(text.value.to_owned())
        }
        Some(text) => {
            // Not repeated here: it may hold a password.
            root.tell(p, "store", text.at, ProblemKind::Malformed, Text::new("check.node.store"));
            StoreChoice::Embedded
        }
    }
}

fn check_tls(p: &mut Problems<'_>, root: &mut Section<'_, '_>, folder: &Path) -> (Vec<TlsFiles>, Vec<PathBuf>) {
    let mut tls = root.table(p, "tls");
    let mut files = Vec::new();
    let roots: Vec<Placed<String>> = tls.list(p, "roots", Text::new("check.expected.pem"));
    let mut pair = |p: &mut Problems<'_>, section: &mut Section<'_, '_>| match (section.text(p, "certificate"), section.text(p, "key")) {
        (Some(certificate), Some(key)) => files.push(TlsFiles {
            certificate: folder.join(certificate.value),
            key: folder.join(key.value),
        }),
        (None, None) => {}
        (Some(one), None) | (None, Some(one)) => section.tell(p, "", one.at, ProblemKind::Missing, Text::new("check.node.pair")),
    };
    pair(p, &mut tls);
    for mut section in tls.tables(p, "files").unwrap_or_default() {
        pair(p, &mut section);
        section.finish(p);
    }
    tls.finish(p);
    (files, roots.into_iter().map(|r| folder.join(r.value)).collect())
}

struct Dns {
    resolvers: Vec<SocketAddr>,
    authoritative_port: u16,
    records: Vec<StaticRecord>,
}

/// `192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:53`: port 53 unless said.
#[derive(Debug)]
struct ResolverAddress(SocketAddr);

impl FromStr for ResolverAddress {
    type Err = std::net::AddrParseError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .or_else(|e| text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53)).map_err(|_| e))
            .map(Self)
    }
}

fn check_dns(p: &mut Problems<'_>, root: &mut Section<'_, '_>) -> Dns {
    let resolver = || Text::new("check.expected.resolver");
    let mut dns = root.table(p, "dns");
    let resolvers: Vec<Placed<ResolverAddress>> = dns.list(p, "resolvers", resolver());
    let validating: Vec<Placed<ResolverAddress>> = dns.list(p, "validating", resolver());
    if let Some(first) = validating.first() {
        dns.tell(
            p,
            "validating",
            first.at,
            ProblemKind::NotAvailable,
            Text::new("check.node.validating"),
        );
    }
    let port = dns.number::<u16>(p, "authoritative_port", Text::new("check.expected.port"));
    if let Some(port) = port.as_ref().filter(|port| port.value == 0) {
        dns.tell(p, "authoritative_port", port.at, ProblemKind::OutOfRange, Text::new("check.port"));
    }
    let sections = dns.tables(p, "static").unwrap_or_default();
    if sections.len() > STATIC_RECORDS_MAX {
        dns.tell(
            p,
            "static",
            dns.at,
            ProblemKind::OutOfRange,
            Text::new("check.node.records").with("max", STATIC_RECORDS_MAX),
        );
    }
    let records = sections.into_iter().filter_map(|section| check_record(p, section)).collect();
    dns.finish(p);
    Dns {
        resolvers: resolvers.into_iter().map(|r| r.value.0).collect(),
        authoritative_port: port.map_or(53, |port| port.value),
        records,
    }
}

fn check_record(p: &mut Problems<'_>, mut section: Section<'_, '_>) -> Option<StaticRecord> {
    let name = section.text(p, "name");
    let kind = section.text(p, "type");
    let value = section.text(p, "value");
    let ttl = section.number::<u32>(p, "ttl", Text::new("check.expected.seconds"));
    let (Some(name), Some(kind)) = (&name, &kind) else {
        section.tell(p, "", section.at, ProblemKind::Missing, Text::new("check.node.record-missing"));
        section.finish(p);
        return None;
    };
    let text = value.as_ref().map_or("", |v| v.value);
    let at = value.as_ref().map_or(kind.at, |v| v.at);
    let kind_word = kind.value.to_ascii_uppercase();
    let fits = match kind_word.as_str() {
        "A" => text.parse::<Ipv4Addr>().is_ok(),
        "AAAA" => text.parse::<Ipv6Addr>().is_ok(),
        "MX" => is_mx(text),
        "TXT" => value.is_some(),
        "PTR" | "NS" => Domain::parse(text).is_ok(),
        "ZONE" => value.is_none() || text.is_empty(),
        _ => {
            section.tell(
                p,
                "type",
                kind.at,
                ProblemKind::Malformed,
                Text::new("check.one-of").with("words", "A, AAAA, MX, TXT, PTR, NS, ZONE"),
            );
            true
        }
    };
    if !fits {
        section.tell(
            p,
            "value",
            at,
            ProblemKind::Malformed,
            Text::new("check.node.record-value").with("type", &kind_word),
        );
    }
    let record = StaticRecord {
        name: name.value.trim_end_matches('.').to_ascii_lowercase(),
        kind: kind_word,
        value: text.to_owned(),
        ttl: ttl.map_or(STATIC_TTL_S, |t| t.value),
    };
    section.finish(p);
    Some(record)
}

/// `10 mx.example.com`, or `0 .` (RFC 7505).
fn is_mx(text: &str) -> bool {
    let mut words = text.split_ascii_whitespace();
    let (preference, host) = (words.next(), words.next());
    preference.is_some_and(|n| n.parse::<u16>().is_ok())
        && host.is_some_and(|h| h == "." || Domain::parse(h).is_ok())
        && words.next().is_none()
}

/// `10.0.0.0/8`, `10.1.2.3:2525`, `[fd00::/8]:25`.
#[derive(Debug)]
struct Allowed(AllowedPrivate);

impl FromStr for Allowed {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let network = |text: &str| {
            text.parse::<IpNet>()
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| ())
        };
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0).ok_or(());
        let (network, port) = match text.strip_prefix('[') {
            Some(rest) => match rest.split_once(']').ok_or(())? {
                (inner, "") => (network(inner)?, None),
                (inner, tail) => (network(inner)?, Some(port(tail.strip_prefix(':').ok_or(())?)?)),
            },
            None if text.matches(':').count() == 1 => {
                let (inner, tail) = text.split_once(':').ok_or(())?;
                (network(inner)?, Some(port(tail)?))
            }
            None => (network(text)?, None),
        };
        Ok(Self(AllowedPrivate {
            network: network.trunc(),
            port,
        }))
    }
}

fn check_net(p: &mut Problems<'_>, root: &mut Section<'_, '_>) -> Vec<AllowedPrivate> {
    let mut net = root.table(p, "net");
    let allowed: Vec<Placed<Allowed>> = net.list(p, "allowed_private", Text::new("check.expected.network-port"));
    net.finish(p);
    allowed.into_iter().map(|a| a.value.0).collect()
}

/// The system's name if it has a domain, else that name below `<base>`.
fn system_hostname(base: &Domain) -> Domain {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    let below = format!("{name}.{base}");
    let candidates = if name.contains('.') { [name, &below] } else { [&below, name] };
    candidates
        .into_iter()
        .find_map(|n| Domain::parse(n).ok())
        .unwrap_or_else(|| base.clone())
}
