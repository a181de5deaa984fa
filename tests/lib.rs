//! A world for whole-system tests: the server composed in process with the tests' clock, a real DNS server, a real next hop, real sockets.
//!
//! In: what the test wants otherwise. Out: clients, the API, what the next hop got, what tracking tells.
//! Time-dependent rows advance the clock; nothing here waits for time to pass.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a world that cannot be made must stop the test"
)]

pub mod load;
pub mod process;

use config::Node;
use config::node::ListenerRole;
use mitsuke::client::{Api, Door, Problem};
use mitsuke::compose::{self, Running};
use net::clock::{Clock, ManualClock};
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use testkit::client::Client;
use testkit::dns::Server as DnsServer;
use testkit::peer::{Peer, Script};
use testkit::zone::Zone;

/// When the world begins: 2026-11-24 00:00 UTC.
pub const BEGINNING: mail::Timestamp = mail::Timestamp(1_795_478_400_000);
/// Tenant of most tests.
pub const TENANT: &str = "alpha";
/// Its domain.
pub const DOMAIN: &str = "a.example";
/// A client that is a source of nobody.
pub const STRANGER: &str = "127.0.0.9";

/// What a world is made of.
pub struct Plan {
    /// Lines for the node file beside the usual ones.
    pub node: String,
    /// Records beside the usual ones, `name TYPE value` a line.
    pub zone: String,
    /// PostgreSQL URL instead of the embedded store.
    pub postgres: Option<String>,
    /// Whether the tenant and its domain are made and proven.
    pub with_domain: bool,
    /// Last change of the node file's text.
    pub edit: Option<Box<dyn Fn(String) -> String + Send + Sync>>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            node: String::new(),
            zone: String::new(),
            postgres: None,
            with_domain: true,
            edit: None,
        }
    }
}

/// A server and what is around it. Stops when dropped; [`World::stop`] stops in order.
pub struct World {
    /// The server.
    pub running: Option<Running>,
    /// Its clock.
    pub clock: ManualClock,
    /// The API for the operator.
    pub operator: Api,
    /// The API for the owner of [`TENANT`].
    pub owner: Api,
    /// DNS.
    pub dns: DnsServer,
    /// Inbound server of [`DOMAIN`].
    pub peer: Peer,
    /// The server's folder.
    pub folder: tempfile::TempDir,
    plan: Plan,
    file: std::path::PathBuf,
}

impl World {
    /// The usual one.
    pub async fn start() -> Self {
        Self::with(Plan::default()).await
    }

    /// With a plan.
    pub async fn with(plan: Plan) -> Self {
        let dns = DnsServer::start(usual_zone(&plan.zone)).await;
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("mitsuke.toml");
        let text = node_file(&plan, dns.address());
        std::fs::write(&file, plan.edit.as_ref().map_or_else(|| text.clone(), |edit| edit(text.clone()))).expect("node file");
        let (clock, manual) = Clock::manual(BEGINNING);
        let node = Node::load(&file).unwrap_or_else(|p| panic!("node file: {p:?}"));
        let socket = node.control_socket.clone();
        let running = compose::start(node, clock).await.expect("start");
        let operator = Api::new(Door::Socket(socket));
        let peer = Peer::start(Script {
            extensions: usual_extensions(),
            ..Script::default()
        })
        .await;
        let owner = operator.clone();
        let mut world = Self {
            running: Some(running),
            clock: manual,
            operator,
            owner,
            dns,
            peer,
            folder,
            plan,
            file,
        };
        if world.plan.with_domain {
            world.owner = world.tenant(TENANT).await;
            world.domain(TENANT, &world.owner, DOMAIN, world.peer.address).await;
        }
        world
    }

    /// Stops the server in order and starts it again on the same data, at the time that it is.
    pub async fn restart(&mut self) {
        self.running.take().expect("runs").stop().await.expect("stop");
        let (clock, manual) = Clock::manual(self.clock.now());
        let node = Node::load(&self.file).expect("node file");
        self.running = Some(compose::start(node, clock).await.expect("start again"));
        self.clock = manual;
    }

    /// Stops the server in order. Its clock goes on meanwhile: a session whose client still holds on gets its last words and is left.
    pub async fn stop(mut self) {
        let mut stopping = Box::pin(self.running.take().expect("runs").stop());
        loop {
            tokio::select! {
                stopped = &mut stopping => return stopped.expect("stop"),
                () = tokio::time::sleep(Duration::from_millis(50)) => self.clock.advance(Duration::from_secs(1)),
            }
        }
    }

    /// The server.
    pub fn server(&self) -> &Running {
        self.running.as_ref().expect("runs")
    }

    /// Address of a listener.
    pub fn address(&self, role: ListenerRole) -> SocketAddr {
        self.server().address(role).expect("listener")
    }

    /// Makes a tenant; the API for its owner.
    pub async fn tenant(&self, name: &str) -> Api {
        self.operator.post("/api/v1/tenants", &json!({"name": name})).await.expect("tenant");
        let key = self
            .operator
            .post(&format!("/api/v1/tenants/{name}/keys"), &json!({"name": "owner", "role": "owner"}))
            .await
            .expect("key");
        self.key(key["secret"].as_str().expect("secret"))
    }

    /// The API for a key.
    pub fn key(&self, secret: &str) -> Api {
        Api::new(Door::Url {
            url: format!("http://{}", self.address(ListenerRole::Api)),
            key: secret.to_owned(),
        })
    }

    /// Claims a domain, proves it by TXT through DNS, and routes it to `next_hop`.
    pub async fn domain(&self, tenant: &str, owner: &Api, name: &str, next_hop: SocketAddr) {
        let settings = json!({"inbound_servers": [{"host": next_hop.ip().to_string(), "port": next_hop.port()}]});
        let made = owner
            .post(
                &format!("/api/v1/tenants/{tenant}/domains"),
                &json!({"name": name, "settings": settings}),
            )
            .await
            .expect("domain");
        let token = made["txt_record"].as_str().expect("token").to_owned();
        self.dns.change(|zone| {
            zone.add(name, "TXT", &format!("\"{token}\""));
        });
        let path = format!("/api/v1/tenants/{tenant}/domains/{name}");
        owner.post(&format!("{path}/check"), &json!({})).await.expect("check");
        self.eventually("the domain is proven", async || {
            matches!(
                owner.get(&path).await.expect("domain")["state"].as_str(),
                Some("verified" | "active")
            )
        })
        .await;
    }

    /// A stranger's session, EHLO said.
    pub async fn client(&self) -> Client {
        self.client_from(STRANGER).await
    }

    /// A session from an address of 127.0.0.0/8, EHLO said.
    pub async fn client_from(&self, source: &str) -> Client {
        let source: IpAddr = source.parse().expect("address");
        let mut client = Client::connect_from(source, self.address(ListenerRole::Mx)).await.expect("connect");
        client.hello("client.sender.example").await.expect("EHLO");
        client
    }

    /// Changes settings of [`DOMAIN`]: a merge patch.
    pub async fn set_domain(&self, settings: Value) -> Result<Value, Problem> {
        let path = format!("/api/v1/tenants/{TENANT}/domains/{DOMAIN}");
        problem_of(
            self.owner
                .json(hyper::Method::PATCH, &path, Some(&json!({"settings": settings})))
                .await,
        )
    }

    /// Changes settings of [`TENANT`]: a merge patch.
    pub async fn set_tenant(&self, settings: Value) -> Result<Value, Problem> {
        let path = format!("/api/v1/settings/{TENANT}");
        problem_of(
            self.owner
                .json(hyper::Method::PATCH, &path, Some(&json!({"document": settings})))
                .await,
        )
    }

    /// Changes the operator's settings: a merge patch.
    pub async fn set_system(&self, settings: Value) -> Result<Value, Problem> {
        problem_of(
            self.operator
                .json(
                    hyper::Method::PATCH,
                    "/api/v1/settings/system",
                    Some(&json!({"document": settings})),
                )
                .await,
        )
    }

    /// Everything that tracking tells of an accepted message, once `kind` is among it.
    pub async fn events(&self, reply: &str, kind: &str) -> Vec<Value> {
        let id = queue_id(reply);
        let path = format!("/api/v1/tracking/{id}");
        let mut events = Vec::new();
        for _ in 0..1_000 {
            events = self
                .owner
                .get(&path)
                .await
                .map(|t| t["events"].as_array().cloned().unwrap_or_default())
                .unwrap_or_default();
            if events.iter().any(|e| e["e"] == kind) {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not within 20 s: {id} has an event {kind}; it has {:#}", Value::Array(events));
    }

    /// The refusal that a reply's reference leads to, as `who` sees it.
    pub async fn refusal(&self, who: &Api, reply: &str) -> Value {
        let reference = reply
            .split("ref=")
            .nth(1)
            .and_then(|r| r.split_whitespace().next())
            .expect("a reference")
            .to_owned();
        let path = format!("/api/v1/tracking?reference={reference}");
        let mut found = Value::Null;
        self.eventually(&format!("{reference} is found"), async || {
            let page = who.get(&path).await.expect("search");
            found = page["items"][0]["events"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|e| e["e"] == "refused" && e["reference"] == reference.as_str())
                .cloned()
                .unwrap_or_default();
            !found.is_null()
        })
        .await;
        found
    }

    /// Waits for something that the server does by itself; 20 s of real time at most.
    pub async fn eventually(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        for _ in 0..1_000 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("not within 20 s: {what}");
    }

    /// Moves the clock in ten steps: for times in which nothing happens whose order matters.
    pub async fn skip(&self, time: Duration) {
        // The server first sees what came before.
        tokio::time::sleep(Duration::from_millis(10)).await;
        for _ in 0..10 {
            self.clock.advance(time / 10);
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    /// As [`World::eventually`], while the clock goes on by a second now and then: for what an engine does that looks around every few
    /// seconds, and may have begun its rest just before the clock was moved.
    pub async fn soon(&self, what: &str, mut is_so: impl AsyncFnMut() -> bool) {
        for round in 1..=600 {
            if is_so().await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            if round % 10 == 0 {
                self.clock.advance(Duration::from_secs(1));
            }
        }
        panic!("not within a minute: {what}");
    }

    /// Moves the clock in steps, so that everything due in between happens in order.
    pub async fn pass(&self, time: Duration) {
        let step = Duration::from_secs(1).max(time / 200);
        let mut left = time;
        while !left.is_zero() {
            let now = left.min(step);
            self.clock.advance(now);
            left -= now;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// The queue id in a 250 reply.
pub fn queue_id(reply: &str) -> String {
    let id = reply
        .split("queue id ")
        .nth(1)
        .unwrap_or_else(|| panic!("no queue id in {reply:?}"));
    id.split([',', ' ']).next().unwrap_or_default().trim_end_matches('.').to_owned()
}

/// The API's problem, when there is one.
pub fn problem_of(answer: anyhow::Result<Value>) -> Result<Value, Problem> {
    answer.map_err(|e| e.downcast::<Problem>().expect("an answer of the API"))
}

/// The kinds of some events.
pub fn kinds(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|e| e["e"].as_str()).collect()
}

/// A plain message.
pub fn message(subject: &str) -> Vec<u8> {
    format!(
        "From: Sender <s@sender.example>\r\nTo: <u@{DOMAIN}>\r\nSubject: {subject}\r\nDate: Tue, 24 Nov 2026 00:00:00 +0000\r\nMessage-ID: <{}@sender.example>\r\n\r\nHello.\r\n.dots stay\r\n",
        subject.replace(' ', "-")
    )
    .into_bytes()
}

/// Extensions of the usual next hop.
pub fn usual_extensions() -> Vec<String> {
    ["8BITMIME", "SMTPUTF8", "DSN", "SIZE 0", "CHUNKING"].map(str::to_owned).into()
}

fn node_file(plan: &Plan, dns: SocketAddr) -> String {
    let store = plan.postgres.as_ref().map(|url| format!("store = \"{url}\"\n")).unwrap_or_default();
    let listener = |role: &str| format!("[[listeners]]\naddress = \"127.0.0.1:0\"\nrole = \"{role}\"\n\n");
    let listeners: String = ["mx", "submission", "submissions", "api", "web"]
        .iter()
        .map(|r| listener(r))
        .collect();
    format!(
        "base = \"mitsuke.example\"\nhostname = \"mx.mitsuke.example\"\ndata_dir = \"data\"\n{store}\n{}\n{listeners}\n[dns]\nresolvers = [\"{dns}\"]\nauthoritative_port = {}\n\n[net]\nallowed_private = [\"127.0.0.0/8\"]\n",
        plan.node,
        dns.port()
    )
}

fn usual_zone(more: &str) -> Zone {
    let mut text = String::from(
        "example. NS ns.example.\nns.example. A 127.0.0.1\na.example. NS ns.example.\na.example. MX 10 alpha.in.mitsuke.example.\nalpha.in.mitsuke.example. A 127.0.0.1\n\
         b.example. NS ns.example.\nb.example. MX 10 beta.in.mitsuke.example.\nbeta.in.mitsuke.example. A 127.0.0.1\n\
         sender.example. NS ns.example.\nsender.example. MX 10 mx.sender.example.\nmx.sender.example. A 127.0.0.1\nsender.example. TXT \"v=spf1 ip4:127.0.0.9 -all\"\n\
         far.example. NS ns.example.\nfar.example. MX 10 mx.far.example.\nmx.far.example. A 127.0.0.1\n",
    );
    text.push_str(more);
    Zone::parse(&text)
}

/// A client that is an outbound source of [`TENANT`], once [`World::outbound`] was called.
pub const SOURCE: &str = "127.0.0.5";

/// An inbound server row for everyone, in the order of preference 10.
#[must_use]
pub fn row(hop: SocketAddr) -> Value {
    json!({"host": hop.ip().to_string(), "port": hop.port()})
}

/// The same with other fields set.
#[must_use]
pub fn row_with(hop: SocketAddr, more: Value) -> Value {
    let mut made = row(hop);
    for (name, value) in more.as_object().expect("fields") {
        made[name] = value.clone();
    }
    made
}

/// A next hop that takes everything, with the usual extensions.
pub async fn next_hop() -> Peer {
    Peer::start(Script {
        extensions: usual_extensions(),
        ..Script::default()
    })
    .await
}

/// The single event of a kind.
pub fn event<'a>(events: &'a [Value], kind: &str) -> &'a Value {
    events
        .iter()
        .find(|e| e["e"] == kind)
        .unwrap_or_else(|| panic!("no {kind} in {:?}", kinds(events)))
}

impl World {
    /// Routes [`DOMAIN`] to these rows.
    pub async fn rows(&self, rows: Value) {
        self.set_domain(json!({"inbound_servers": rows})).await.expect("rows");
    }

    /// Sends a plain message of a stranger; the reply, which promises it.
    pub async fn send(&self, subject: &str, to: &[&str]) -> String {
        let mut client = self.client().await;
        let reply = client.deliver("s@sender.example", to, &message(subject)).await.expect("a session");
        assert!(reply.starts_with("250 2.0.0 Accepted, queue id "), "{reply}");
        reply
    }

    /// Lets [`SOURCE`] send for [`DOMAIN`], and sends what leaves the tenant, notifications included, to `smarthost`.
    pub async fn outbound(&self, smarthost: SocketAddr) {
        self.smarthost(smarthost).await;
        self.set_domain(json!({"outbound_enabled": true, "outbound_networks": [format!("{SOURCE}/32")]}))
            .await
            .expect("outbound");
    }

    /// Sends what leaves the tenant, notifications included, to `smarthost`.
    pub async fn smarthost(&self, smarthost: SocketAddr) {
        let target = json!({"to": "smarthost", "host": smarthost.ip().to_string(), "port": smarthost.port()});
        self.set_tenant(json!({"outbound_routes": [{"domain": "*", "target": target}]}))
            .await
            .expect("a route");
    }

    /// One entry of the queue with all that is known of it.
    pub async fn explain(&self, reply: &str, number: u32) -> Value {
        self.owner
            .get(&format!("/api/v1/queue/{}/{number}", queue_id(reply)))
            .await
            .expect("an entry")
    }

    /// Waits until an entry of the queue is as it should be; the entry.
    pub async fn entry(&self, reply: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/queue/{}/0", queue_id(reply));
        let mut entry = Value::Null;
        self.eventually(what, async || {
            entry = self.owner.get(&path).await.map(|e| e["entry"].clone()).unwrap_or_default();
            !entry.is_null() && is_so(&entry)
        })
        .await;
        entry
    }
}

/// Asserts that a reply has the catalogue's form: `start` (from the code to the reason), then a reference and the page it leads to.
pub fn assert_refused(reply: &str, start: &str) {
    let (before, after) = reply
        .split_once(" ref=")
        .unwrap_or_else(|| panic!("no reference in {reply:?}, wanted {start:?}"));
    assert_eq!(before, start, "{reply}");
    let (reference, url) = after.split_once(' ').unwrap_or_else(|| panic!("no page in {reply:?}"));
    assert!(
        reference.len() >= 16 && reference.bytes().all(|b| b.is_ascii_alphanumeric()),
        "{reply}"
    );
    assert!(url.starts_with("http") && url.ends_with(&format!("/r/{reference}")), "{reply}");
    assert!(reply.len() <= 510, "{reply}");
}

/// Asks the API; its problem when it says no.
pub async fn ask(api: &Api, method: &str, path: &str, body: Value) -> Result<Value, Problem> {
    let method = method.parse().expect("a method");
    problem_of(
        api.json(method, &format!("/api/v1{path}"), Some(&body).filter(|b| !b.is_null()))
            .await,
    )
}

/// A web page with its head, asked for in a language or in none.
pub async fn page(host: &str, path: &str, language: Option<&str>) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(host).await.unwrap();
    let wish = language.map_or_else(String::new, |l| format!("Accept-Language: {l}\r\n"));
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{wish}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

/// Asks the API as a reader of this language (`Accept-Language`; empty: none named); the head and the document of the answer.
pub async fn ask_in(world: &World, language: &str, key: &str, method: &str, path: &str, media: &str, body: &str) -> (String, Value) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(world.address(ListenerRole::Api))
        .await
        .expect("the API");
    let named = [("accept-language", language), ("authorization", key), ("content-type", media)];
    let fields: String = named
        .iter()
        .filter(|(_, v)| !v.is_empty())
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let length = body.len();
    let request =
        format!("{method} /api/v1{path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n{fields}\r\n{body}");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.to_ascii_lowercase(), serde_json::from_str(body).expect("a document"))
}

/// Asserts that the API said no with this status and reason; the problem document.
pub fn assert_problem<T: std::fmt::Debug>(answer: Result<T, Problem>, status: u16, reason: &str) -> Value {
    let problem = answer.expect_err(reason);
    assert_eq!(
        (problem.status, problem.document["reason"].as_str().unwrap_or("no problem document")),
        (status, reason),
        "{}",
        problem.document
    );
    problem.document
}

/// Asserts that a check refused exactly the values at these paths (`at` ends with the given text), each for this kind of problem.
pub fn assert_checked<T: std::fmt::Debug>(answer: Result<T, Problem>, expect: &[(&str, &str)]) {
    let problem = answer.expect_err("a refused value");
    let found: Vec<(String, String)> = problem.document["problems"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|p| {
            (
                p["at"].as_str().unwrap_or_default().to_owned(),
                p["kind"].as_str().unwrap_or_default().to_owned(),
            )
        })
        .collect();
    let fits = found.len() == expect.len()
        && found
            .iter()
            .zip(expect)
            .all(|((at, kind), (want, of))| at.ends_with(want) && kind == of);
    assert!(
        fits && problem.status == 422,
        "wanted {expect:?}, got {} {found:?}: {}",
        problem.status,
        problem.document
    );
}
