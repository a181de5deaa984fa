//! Puts the rooms together: every long-lived task of the process is born here, by name, and stops from here.
//!
//! In: the checked node file and a clock. Out: a [`Running`] server.
//!
//! | task or thread | does | stops |
//! |---|---|---|
//! | `listener <role>` | accepts SMTP clients; their sessions are its own | at shutdown; sessions get 421 at the next command |
//! | `queue` | schedules and attempts | at shutdown, when the attempts under way have ended |
//! | `settings` | looks every second for new revisions | at shutdown |
//! | `shared ranges` | reads the published ranges of providers every 6 hours | at shutdown |
//! | `claims` | proves domains, ends claims and graces | at shutdown |
//! | `inbound housekeeping` | writes counted floods | at shutdown; what sessions count until their end, [`Running::stop`] writes |
//! | `housekeeping` | retention, orphans, certificates | at shutdown |
//! | thread `api` | serves API, local socket, public pages on a runtime of its own | at shutdown |
//! | threads of the store | writer, readers, indexer | `MailStore::close`, last |

use crate::say;
use admin::Admin;
use anyhow::{Context, Result, anyhow};
use arc_swap::ArcSwap;
use config::node::{Listener, ListenerRole, StoreChoice};
use config::{Live, Node};
use mail::IdSource;
use net::clock::Clock;
use net::guard::{AllowedNetwork, Guard};
use net::resolver::{Resolver, ResolverSettings, StaticEntry, StaticZone};
use net::task::{Shutdown, ShutdownTrigger, Tasks};
use net::tls::{CertificateFiles, ClientTls, Roots, RootsSource, SelfSigned, ServerTls, ServerTlsSettings};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use store::embedded::OpenOptions;
use store::pg::PgOptions;
use transport::Desk;
use transport::claims::Claims;
use transport::settings::Settings;

pub mod check;

/// How long attempts and sessions under way may take to end at shutdown.
const SHUTDOWN_WAIT: Duration = Duration::from_secs(30);

/// A server that runs.
pub struct Running {
    /// What the mail flow works with.
    pub desk: Arc<Desk>,
    /// What the API works with.
    pub admin: Arc<Admin>,
    /// Where it listens, ports filled in.
    pub listeners: Vec<(ListenerRole, SocketAddr)>,
    trigger: ShutdownTrigger,
    tasks: Tasks,
    api: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    /// The first listener of a role.
    #[must_use]
    pub fn address(&self, role: ListenerRole) -> Option<SocketAddr> {
        self.listeners.iter().find(|(r, _)| *r == role).map(|(_, a)| *a)
    }

    /// Stops in order: no new sessions, attempts end, the store commits what waits.
    ///
    /// # Errors
    /// When the store could not be closed cleanly (nothing is lost then either).
    pub async fn stop(mut self) -> Result<()> {
        self.trigger.request();
        let late = self.tasks.join(SHUTDOWN_WAIT).await;
        if !late.is_empty() {
            tracing::warn!(tasks = ?late, "tasks did not end in time");
        }
        transport::inbound::flush(&self.desk).await;
        if let Some(api) = self.api.take() {
            drop(tokio::task::spawn_blocking(move || api.join()).await);
        }
        self.desk
            .store
            .mail
            .close()
            .await
            .with_context(|| say::text("cli.start.close", &[]))
    }
}

/// Starts everything. Returns when every listener is bound.
///
/// # Errors
/// What is missing or taken, in words for the operator.
pub async fn start(node: Node, clock: Clock) -> Result<Running> {
    let (trigger, shutdown) = Shutdown::new();
    // A certificate that cannot be used is found before anything is made; one of our own needs the data directory.
    let given = (!node.tls.is_empty()).then(|| load_tls(&node, &clock)).transpose()?;
    std::fs::create_dir_all(&node.data_dir).with_context(|| say::about_file("cli.start.data-dir", &node.data_dir))?;
    let tls = match given {
        Some(tls) => tls,
        None => load_tls(&node, &clock)?,
    };
    let store = open_store(&node, &clock)?;
    let keys = Arc::new(identity::Keys::open_or_create(&node.data_dir)?);
    same_installation(&store, &keys).await?;
    let bound = bind(&node)?;
    let node = Arc::new(with_bound_ports(node, &bound));
    let settings = Settings::load(store.clone(), clock.clone())
        .await
        .with_context(|| say::text("cli.start.settings", &[]))?;
    let (desk, seat) = desk(
        Arc::clone(&node),
        clock,
        (store, keys),
        tls,
        &bound,
        settings.live(),
        shutdown.clone(),
    )?;
    let tasks = Tasks::new();
    let claims = Arc::new(Claims::new(Arc::clone(&settings)));
    let admin = Arc::new(Admin {
        desk: Arc::clone(&desk),
        settings: Arc::clone(&settings),
        claims: Arc::clone(&claims),
        passwords: Arc::new(identity::password::Passwords::new(&desk.keys)?),
        own_uid: own_uid(),
    });

    let mut listeners = Vec::new();
    let mut web = Vec::new();
    for (listener, address, socket) in bound {
        listeners.push((listener.role, address));
        match listener.role {
            ListenerRole::Mx | ListenerRole::Submission | ListenerRole::Submissions => {
                let socket = tokio::net::TcpListener::from_std(socket)?;
                let door = Arc::new(transport::inbound::Door::new(&listener, address));
                tasks.spawn(
                    format!("listener {address}"),
                    transport::inbound::serve(Arc::clone(&desk), socket, door),
                );
            }
            ListenerRole::Api | ListenerRole::Web | ListenerRole::Metrics => web.push((listener, socket)),
        }
    }
    tasks.spawn("queue", transport::queue::run(Arc::clone(&desk), seat));
    tasks.spawn("shared ranges", transport::ranges::run(Arc::clone(&desk), Arc::clone(&settings)));
    tasks.spawn("settings", settings.run(shutdown.clone()));
    tasks.spawn("claims", claims.run(Arc::clone(&desk)));
    tasks.spawn("inbound housekeeping", transport::inbound::housekeeping(Arc::clone(&desk)));
    tasks.spawn("housekeeping", crate::housekeeping::run(Arc::clone(&desk)));
    let api = serve_api(Arc::clone(&admin), web, shutdown)?;
    Ok(Running {
        desk,
        admin,
        listeners,
        trigger,
        tasks,
        api: Some(api),
    })
}

fn open_store(node: &Node, clock: &Clock) -> Result<Store> {
    let clock = clock.clone();
    let now: Arc<dyn Fn() -> mail::Timestamp + Send + Sync> = Arc::new(move || clock.now());
    match &node.store {
        StoreChoice::Embedded => Store::open_embedded(&OpenOptions {
            data_dir: node.data_dir.clone(),
            blobs_dir: node.blobs.clone(),
            now,
        })
        .with_context(|| say::about_file("cli.start.store", &node.data_dir)),
        // The URL may hold a password: it is not printed.
        StoreChoice::Postgres(url) => Store::open_postgres(&PgOptions {
            url: url.clone(),
            blobs_dir: node.blobs.clone(),
            now,
            node_name: node.hostname.to_string(),
            lease: store::pg::LEASE,
        })
        .with_context(|| say::text("cli.start.postgres", &[])),
    }
}

/// A node with another installation's key would not read its secrets and would not know its stamps: better not to start.
async fn same_installation(store: &Store, keys: &identity::Keys) -> Result<()> {
    let own = keys.fingerprint();
    let kept = own.clone();
    let first = store.write(move |tx| store::control::installation::keep(tx, "key", &kept)).await?;
    if first == own {
        return Ok(());
    }
    Err(anyhow!(
        "{}",
        say::text("cli.start.other-key", &[("file", identity::keys::KEY_FILE)])
    ))
}

type Bound = Vec<(Listener, SocketAddr, std::net::TcpListener)>;

fn bind(node: &Node) -> Result<Bound> {
    node.listeners
        .iter()
        .map(|listener| {
            let socket = net::listen::bind(listener.address)
                .and_then(tokio::net::TcpListener::into_std)
                .with_context(|| {
                    let (address, role) = (listener.address.to_string(), format!("{:?}", listener.role).to_lowercase());
                    say::text("cli.start.listen", &[("address", &address), ("role", &role)])
                })?;
            let address = socket.local_addr()?;
            Ok((listener.clone(), address, socket))
        })
        .collect()
}

/// Port 0 means any free one; what was found stands in the node from here on.
fn with_bound_ports(mut node: Node, bound: &Bound) -> Node {
    for (listener, (_, address, _)) in node.listeners.iter_mut().zip(bound) {
        listener.address = *address;
    }
    let http = |role| bound.iter().find(|(l, _, _)| l.role == role);
    if let Some((listener, address, _)) = http(ListenerRole::Web).or_else(|| http(ListenerRole::Api)) {
        let scheme = if listener.tls { "https" } else { "http" };
        if node.public_url == format!("{scheme}://{}", listener.address) {
            node.public_url = format!("{scheme}://{address}");
        }
    }
    node
}

/// Trusted roots, and the certificates that this node shows.
fn load_tls(node: &Node, clock: &Clock) -> Result<(Roots, ServerTls)> {
    let roots = Roots::load(&RootsSource::System {
        extra: node.tls_roots.clone(),
    })
    .with_context(|| say::text("cli.start.roots", &[]))?;
    let base = &node.base;
    let names = vec![node.hostname.to_string(), format!("*.in.{base}"), format!("*.out.{base}")];
    let server_tls = ServerTls::load(
        ServerTlsSettings {
            certificates: node
                .tls
                .iter()
                .map(|t| CertificateFiles {
                    names: Vec::new(),
                    certificate: t.certificate.clone(),
                    key: t.key.clone(),
                })
                .collect(),
            self_signed: SelfSigned {
                directory: node.data_dir.join("tls"),
                names,
            },
            roots: roots.clone(),
        },
        clock.now(),
    )
    .with_context(|| say::text("cli.start.certificates", &[]))?;
    Ok((roots, server_tls))
}

fn desk(
    node: Arc<Node>,
    clock: Clock,
    (store, keys): (Store, Arc<identity::Keys>),
    (roots, server_tls): (Roots, ServerTls),
    bound: &Bound,
    live: Arc<ArcSwap<Live>>,
    shutdown: Shutdown,
) -> Result<(Arc<Desk>, transport::queue::QueueSeat)> {
    let client_tls = ClientTls::new(roots, Some(&server_tls)).with_context(|| say::text("cli.start.client-tls", &[]))?;
    let own: Vec<SocketAddr> = bound.iter().map(|(_, address, _)| *address).collect();
    let allowed = node
        .allowed_private
        .iter()
        .map(|a| AllowedNetwork {
            network: a.network,
            port: a.port,
        })
        .collect();
    let guard = Guard::new(own, allowed);
    let resolver =
        Resolver::new(resolver_settings(&node, guard.clone())?, clock.clone()).with_context(|| say::text("cli.start.resolver", &[]))?;
    let (queue, seat) = transport::queue::QueueHandle::new();
    let relay = Arc::new(identity::relay::RelayDoor::new(&keys).with_context(|| say::text("cli.start.log-in", &[]))?);
    let desk = Desk {
        stamp_key: mail::trace::StampKey::new(&keys.stamp_key()),
        ids: Arc::new(IdSource::new(store.mail.node_slot())),
        guard,
        clock,
        store,
        settings: live,
        node,
        resolver,
        server_tls,
        client_tls,
        keys,
        relay,
        queue,
        rates: Arc::default(),
        inbound: Arc::default(),
        shutdown,
    };
    Ok((Arc::new(desk), seat))
}

fn resolver_settings(node: &Node, guard: Guard) -> Result<ResolverSettings> {
    Ok(ResolverSettings {
        servers: node.dns_resolvers.clone(),
        authoritative_port: node.dns_authoritative_port,
        static_zone: static_zone(node)?,
        guard,
        ..ResolverSettings::default()
    })
}

fn static_entries(node: &Node) -> Vec<StaticEntry> {
    node.dns_static
        .iter()
        .map(|r| StaticEntry {
            name: r.name.clone(),
            kind: r.kind.clone(),
            value: r.value.clone(),
            ttl: Some(r.ttl),
        })
        .collect()
}

fn static_zone(node: &Node) -> Result<StaticZone> {
    StaticZone::parse(&static_entries(node))
        .map_err(|all| anyhow!("{}", all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}

/// The user of this process.
fn own_uid() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").map(|m| m.uid()).unwrap_or(u32::MAX)
}

/// The API's thread: its own runtime, so that no listing of anything slows a session down.
fn serve_api(admin: Arc<Admin>, web: Vec<(Listener, std::net::TcpListener)>, shutdown: Shutdown) -> Result<std::thread::JoinHandle<()>> {
    let path = admin.desk.node.control_socket.clone();
    let socket = control_socket(&path)?;
    let thread = std::thread::Builder::new().name("api".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(e) => return tracing::error!(error = %e, "the API's thread could not start"),
        };
        runtime.block_on(async move {
            let mut serving = tokio::task::JoinSet::new();
            match tokio::net::UnixListener::from_std(socket) {
                Ok(socket) => drop(serving.spawn(admin::server::serve_socket(
                    socket,
                    admin::server::api(Arc::clone(&admin)),
                    shutdown.clone(),
                ))),
                Err(e) => tracing::error!(error = %e, "the local socket does not work"),
            }
            for (listener, socket) in web {
                let router = match listener.role {
                    ListenerRole::Api => admin::server::api(Arc::clone(&admin)),
                    ListenerRole::Mx | ListenerRole::Submission | ListenerRole::Submissions | ListenerRole::Web | ListenerRole::Metrics => {
                        admin::server::web(Arc::clone(&admin))
                    }
                };
                let tls = listener.tls.then(|| admin.desk.server_tls.clone());
                match tokio::net::TcpListener::from_std(socket) {
                    Ok(socket) => drop(serving.spawn(admin::server::serve_network(socket, tls, router, shutdown.clone()))),
                    Err(e) => tracing::error!(error = %e, address = %listener.address, "a listener of the API does not work"),
                }
            }
            while serving.join_next().await.is_some() {}
        });
        drop(std::fs::remove_file(&path));
    })?;
    Ok(thread)
}

/// Binds the local socket, for its owner's eyes only. What a dead server left behind is taken away.
fn control_socket(path: &Path) -> Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(anyhow!("{}", say::about_file("cli.start.socket-taken", path)));
    }
    drop(std::fs::remove_file(path));
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| say::about_file("cli.start.folder", folder))?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path).with_context(|| say::about_file("cli.start.socket", path))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
