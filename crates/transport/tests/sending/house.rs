//! A desk with an embedded store in a temporary folder, a clock that is moved by hand, one or more tenants, and the running queue.

use arc_swap::ArcSwap;
use config::document::InboundServer;
use config::node::{Node, StoreChoice};
use config::{DomainDocument, DomainState, Live, LiveDomain, LiveTenant, TenantDocument, TenantState};
use mail::trace::StampKey;
use mail::{Address, Direction, Domain, IdSource, LaneId, MailParams, Notify, QueueId, ReversePath, TenantId, Timestamp};
use net::clock::{Clock, ManualClock};
use net::guard::{AllowedNetwork, Guard};
use net::resolver::{Resolver, ResolverSettings, StaticEntry, StaticZone};
use net::task::{Shutdown, ShutdownTrigger};
use net::tls::{ClientTls, Roots, RootsSource, SelfSigned, ServerTls, ServerTlsSettings};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use store::embedded::OpenOptions;
use store::spool::{Acceptance, Body, Entry, EntryState, SpoolMessage, Variant};
use store::tracking::{Event, Record, Scope};
use transport::Desk;
use transport::queue::{self, QueueHandle, retry::Scopes};

pub(crate) const START: Timestamp = Timestamp(1_800_000_000_000);
pub(crate) const EVERYONE: Scope = Scope {
    tenant: None,
    domains: None,
};

/// Number, settings, domains by name.
pub(crate) type Tenant = (i64, TenantDocument, Vec<(String, DomainDocument)>);

/// What a house is built of.
pub(crate) struct Plan {
    pub(crate) tenants: Vec<Tenant>,
    pub(crate) system: config::SystemDocument,
    pub(crate) zone: Vec<(String, String, String)>,
    pub(crate) own_listeners: Vec<SocketAddr>,
    pub(crate) roots: Vec<String>,
    /// The store, instead of an embedded one in the house's folder.
    pub(crate) store: Option<OpenStore>,
}

/// Opens a store in a folder, by a clock.
pub(crate) type OpenStore = Box<dyn FnOnce(&Path, Clock) -> Store>;

/// The usual one.
pub(crate) fn embedded(dir: &Path, clock: Clock) -> Store {
    Store::open_embedded(&OpenOptions::below(dir, Arc::new(move || clock.now()))).unwrap()
}

impl Plan {
    pub(crate) fn new() -> Self {
        Self {
            tenants: Vec::new(),
            system: config::SystemDocument::default(),
            zone: Vec::new(),
            own_listeners: Vec::new(),
            roots: Vec::new(),
            store: None,
        }
    }

    pub(crate) fn store(mut self, open: impl FnOnce(&Path, Clock) -> Store + 'static) -> Self {
        self.store = Some(Box::new(open));
        self
    }

    pub(crate) fn tenant(mut self, id: i64, domain: &str, rows: Vec<InboundServer>) -> Self {
        let document = DomainDocument {
            inbound_servers: rows,
            outbound_enabled: true,
            ..DomainDocument::default()
        };
        self.tenants
            .push((id, TenantDocument::default(), vec![(domain.to_owned(), document)]));
        self
    }

    pub(crate) fn record(mut self, name: &str, kind: &str, value: &str) -> Self {
        self.zone.push((name.into(), kind.into(), value.into()));
        self
    }
}

pub(crate) fn row(address: SocketAddr, preference: u32) -> InboundServer {
    serde_json::from_value(serde_json::json!({ "host": address.ip().to_string(), "port": address.port(), "preference": preference }))
        .unwrap()
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

pub(crate) struct House {
    pub(crate) desk: Arc<Desk>,
    pub(crate) clock: ManualClock,
    trigger: Option<ShutdownTrigger>,
    task: Option<tokio::task::JoinHandle<()>>,
    pub(crate) dir: tempfile::TempDir,
}

impl House {
    pub(crate) fn build(plan: Plan) -> Self {
        Self::build_in(plan, tempfile::tempdir().unwrap(), START)
    }

    pub(crate) fn build_in(plan: Plan, dir: tempfile::TempDir, start: Timestamp) -> Self {
        let (clock, hand) = Clock::manual(start);
        let (trigger, shutdown) = Shutdown::new();
        let (queue, seat) = QueueHandle::new();
        let desk = Arc::new(desk(plan, dir.path(), clock, shutdown, queue));
        let task = tokio::spawn(queue::run(Arc::clone(&desk), seat));
        Self {
            desk,
            clock: hand,
            trigger: Some(trigger),
            task: Some(task),
            dir,
        }
    }

    /// Stops the queue and closes the store; the folder stays.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        self.trigger.take().unwrap().request();
        self.task.take().unwrap().await.unwrap();
        self.desk.store.mail.close().await.unwrap();
        let Self { desk, dir, .. } = self;
        drop(desk);
        dir
    }

    pub(crate) fn settings(&self, change: impl FnOnce(&mut Live)) {
        let mut live = (*self.desk.live()).clone();
        change(&mut live);
        self.desk.settings.store(Arc::new(live));
    }

    /// Commits a message and hands it to the queue.
    pub(crate) async fn accept(&self, tenant: i64, direction: Direction, from: &str, to: &[&str], body: &[u8]) -> QueueId {
        self.accept_with(tenant, direction, from, to, body, |_| {}).await
    }

    pub(crate) async fn accept_with(
        &self,
        tenant: i64,
        direction: Direction,
        from: &str,
        to: &[&str],
        body: &[u8],
        change: impl FnOnce(&mut Acceptance),
    ) -> QueueId {
        let mut acceptance = self.acceptance(tenant, direction, from, to, body);
        change(&mut acceptance);
        let queue_id = acceptance.message.queue_id;
        self.desk.store.mail.accept(vec![acceptance.clone()]).await.unwrap();
        self.desk.queue.accepted(vec![acceptance]);
        queue_id
    }

    pub(crate) fn acceptance(&self, tenant: i64, direction: Direction, from: &str, to: &[&str], body: &[u8]) -> Acceptance {
        let tenant = TenantId(tenant);
        let at = self.desk.now();
        let queue_id = self.desk.ids.queue_id(at);
        let live = self.desk.live();
        let reverse_path = ReversePath::parse(from).unwrap();
        let entry = |(number, recipient): (usize, &&str)| {
            let recipient = Address::parse(recipient).unwrap();
            let domain = recipient.domain().unwrap().as_str().to_owned();
            let scopes = Scopes::new(&live.system, live.tenants.get(&tenant).map(|t| &**t), Some(&domain));
            Entry {
                queue_id,
                number: u32::try_from(number).unwrap(),
                tenant,
                lane: LaneId::of(tenant, &domain),
                recipient,
                orcpt: None,
                notify: Notify::Default,
                variant: 0,
                state: EntryState::Queued,
                due: at,
                expires_at: scopes.expires_at(at, direction, from.is_empty()),
                delay_notice_at: scopes.delay_notice_at(at, direction, from.is_empty()),
                attempts: 0,
                reason: None,
                last_reply: None,
                forced_next_hop: None,
            }
        };
        let entries: Vec<Entry> = to.iter().enumerate().map(entry).collect();
        let message = SpoolMessage {
            queue_id,
            tenant,
            direction,
            reverse_path,
            params: MailParams::default(),
            needs_smtputf8: false,
            has_eight_bit: !body.is_ascii(),
            received_at: at,
            size: u64::try_from(body.len()).unwrap(),
            variants: vec![Variant {
                prefix: bytes::Bytes::from_static(b"X-Prefix: 1\r\n"),
                edits: Vec::new(),
            }],
            body: Body::Inline(bytes::Bytes::copy_from_slice(body)),
            dsn_suppressed: false,
            cause: None,
        };
        let events = entries
            .iter()
            .map(|e| Event::Queued {
                recipient: e.recipient.to_string(),
                due: at,
            })
            .collect();
        Acceptance {
            message,
            entries,
            record: Record {
                trace: queue_id,
                tenant,
                direction: Some(direction),
                at,
                events,
            },
        }
    }

    pub(crate) async fn events(&self, id: QueueId) -> Vec<Event> {
        let trace = self.desk.store.mail.trace(id, EVERYONE).await.unwrap();
        trace
            .map(|t| t.records.into_iter().flat_map(|r| r.events).collect())
            .unwrap_or_default()
    }

    /// Waits until an event of the trace fits, 20 s of real time at most.
    pub(crate) async fn event(&self, id: QueueId, what: &str, fits: impl Fn(&Event) -> bool) -> Event {
        for _ in 0..1_000 {
            if let Some(event) = self.events(id).await.into_iter().find(|e| fits(e)) {
                return event;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("no {what} in {:#?}", self.events(id).await);
    }

    pub(crate) async fn entry(&self, id: QueueId, number: u32) -> Option<Entry> {
        self.desk
            .store
            .mail
            .entries(id)
            .await
            .unwrap()
            .into_iter()
            .find(|e| e.number == number)
    }

    /// Waits until nothing is in the spool.
    pub(crate) async fn until_empty(&self) {
        for _ in 0..1_000 {
            if self
                .desk
                .store
                .mail
                .queue_count(store::spool::EntryFilter::default())
                .await
                .unwrap()
                == 0
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the spool does not empty");
    }
}

fn node(dir: &Path) -> Node {
    Node {
        base: Domain::parse("gate.example").unwrap(),
        hostname: Domain::parse("node1.gate.example").unwrap(),
        public_url: "https://gate.example".into(),
        data_dir: dir.to_owned(),
        store: StoreChoice::Embedded,
        blobs: dir.join("blobs"),
        listeners: Vec::new(),
        delivering_addresses: Vec::new(),
        tls: Vec::new(),
        tls_roots: Vec::new(),
        dns_resolvers: Vec::new(),
        dns_validating: Vec::new(),
        dns_authoritative_port: 53,
        dns_static: Vec::new(),
        allowed_private: Vec::new(),
        content_origin: None,
        control_socket: dir.join("socket"),
    }
}

fn live(plan: &Plan) -> Live {
    let mut live = Live {
        system: Arc::new(plan.system.clone()),
        ..Live::default()
    };
    for (id, settings, domains) in &plan.tenants {
        let domains: HashMap<Domain, Arc<LiveDomain>> = domains
            .iter()
            .map(|(name, settings)| {
                let name = Domain::parse(name).unwrap();
                (
                    name.clone(),
                    Arc::new(LiveDomain {
                        name,
                        state: DomainState::Active,
                        settings: settings.clone(),
                    }),
                )
            })
            .collect();
        let tenant = Arc::new(LiveTenant {
            id: TenantId(*id),
            name: format!("t{id}"),
            state: TenantState::Active,
            trial_outbound: false,
            revision: 1,
            settings: settings.clone(),
            domains: domains.clone(),
        });
        live.tenants.insert(tenant.id, Arc::clone(&tenant));
        live.domains
            .extend(domains.into_iter().map(|(name, domain)| (name, (Arc::clone(&tenant), domain))));
    }
    live
}

fn desk(mut plan: Plan, dir: &Path, clock: Clock, shutdown: Shutdown, queue: QueueHandle) -> Desk {
    let open = plan.store.take().unwrap_or_else(|| Box::new(embedded));
    let store = open(dir, clock.clone());
    let guard = Guard::new(plan.own_listeners.clone(), vec!["127.0.0.0/8".parse::<AllowedNetwork>().unwrap()]);
    let rows: Vec<StaticEntry> = plan
        .zone
        .iter()
        .map(|(name, kind, value)| StaticEntry {
            name: name.clone(),
            kind: kind.clone(),
            value: value.clone(),
            ttl: None,
        })
        .collect();
    let settings = ResolverSettings {
        servers: vec!["127.0.0.1:9".parse().unwrap()],
        static_zone: StaticZone::parse(&rows).unwrap(),
        timeout: Duration::from_millis(200),
        ..ResolverSettings::default()
    };
    let files: Vec<PathBuf> = plan
        .roots
        .iter()
        .enumerate()
        .map(|(n, pem)| {
            let path = dir.join(format!("root{n}.pem"));
            std::fs::write(&path, pem).unwrap();
            path
        })
        .collect();
    let roots = Roots::load(&RootsSource::Files(files)).unwrap();
    let self_signed = SelfSigned {
        directory: dir.to_owned(),
        names: vec!["node1.gate.example".into()],
    };
    let server_tls = ServerTls::load(
        ServerTlsSettings {
            certificates: Vec::new(),
            self_signed,
            roots: roots.clone(),
        },
        clock.now(),
    )
    .unwrap();
    let keys = Arc::new(identity::Keys::from_secret(&[7; 32]));
    Desk {
        ids: Arc::new(IdSource::new(store.mail.node_slot())),
        store,
        settings: Arc::new(ArcSwap::from_pointee(live(&plan))),
        node: Arc::new(node(dir)),
        resolver: Resolver::new(settings, clock.clone()).unwrap(),
        guard,
        server_tls,
        client_tls: ClientTls::new(roots, None).unwrap(),
        relay: Arc::new(identity::relay::RelayDoor::new(&keys).unwrap()),
        stamp_key: StampKey::new(&keys.stamp_key()),
        keys,
        queue,
        rates: Arc::default(),
        inbound: Arc::default(),
        shutdown,
        clock,
    }
}
