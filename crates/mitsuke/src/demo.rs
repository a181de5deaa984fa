//! `mitsuke demo`: a server on loopback with a tenant, a domain, a sink and three sample messages, without any network.
//!
//! In: a folder and a first port. Out: what became of each sample, addresses, the first API key, commands to try. Started again in the same
//! folder it finds its data.
#![allow(clippy::print_stdout, reason = "a command that talks to its user")]

mod sample;
mod setup;

use crate::cli::{asked_to_stop, on_mail_thread};
use crate::client::{Api, Door};
use crate::{compose, say};
use anyhow::{Context, Result, bail};
use config::Node;
use net::clock::Clock;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Tenant of the demonstration.
pub(crate) const TENANT: &str = "demo";
/// Its accepted domain.
pub(crate) const DOMAIN: &str = "castle.example";
/// Ports that are used, from the first on.
const PORTS: u16 = 7;

/// The addresses of a demonstration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    pub(crate) mx: u16,
    pub(crate) submission: u16,
    pub(crate) submissions: u16,
    pub(crate) api: u16,
    pub(crate) web: u16,
    pub(crate) sink: u16,
    /// Nobody listens there: the next hop that is down.
    pub(crate) down: u16,
}

impl Ports {
    fn from(first: u16) -> Result<Self> {
        let at = |n: u16| {
            if first == 0 {
                free_port()
            } else {
                first.checked_add(n).with_context(|| say::text("cli.demo.port", &[]))
            }
        };
        Ok(Self {
            mx: at(0)?,
            submission: at(1)?,
            submissions: at(2)?,
            api: at(3)?,
            web: at(4)?,
            sink: at(5)?,
            down: at(PORTS - 1)?,
        })
    }
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The sink's process; it ends with the demonstration.
struct SinkProcess(Child);

impl Drop for SinkProcess {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs the demonstration.
///
/// # Errors
/// When a port is taken or the folder cannot be written.
pub fn run(folder: &Path, first_port: u16, once: bool) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| say::about_file("cli.start.folder", folder))?;
    let ports = Ports::from(first_port)?;
    let file = folder.join("mitsuke.toml");
    std::fs::write(&file, setup::node_file(ports)).with_context(|| say::about_file("cli.error.write", &file))?;
    let node = Node::load(&file).map_err(|p| anyhow::anyhow!("{}", p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    let is_first = !node.data_dir.join("mitsuke.db").exists();
    let sink = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.sink));
    let _sink = start_sink(sink, &folder.join("inbox"))?;
    on_mail_thread(async {
        let socket = node.control_socket.clone();
        let running = compose::start(node, Clock::system())
            .await
            .with_context(|| say::text("cli.demo.taken", &[]))?;
        let operator = Api::new(Door::Socket(socket.clone()));
        let greeting = if is_first { "cli.demo.runs-new" } else { "cli.demo.runs-again" };
        println!("{}\n", say::about_file(greeting, folder));
        let key = setup::tenant(&operator, folder, ports).await?;
        let owner = Api::new(Door::Url {
            url: format!("http://127.0.0.1:{}", ports.api),
            key: key.clone(),
        });
        sample::run(&owner, ports).await?;
        goodbye(folder, &socket, ports, &key);
        if !once {
            println!("\n{}", say::text("cli.demo.serving", &[]));
            asked_to_stop().await?;
            println!("\n{}", say::about_file("cli.demo.stopping", folder));
        }
        running.stop().await
    })
}

fn start_sink(address: SocketAddr, inbox: &Path) -> Result<SinkProcess> {
    let about_address = |key| say::text(key, &[("address", &address.to_string())]);
    let program = std::env::current_exe().with_context(|| say::text("cli.demo.program", &[]))?;
    let child = Command::new(program)
        .args(["--lang", say::lang().as_str(), "sink", "--listen", &address.to_string(), "--dir"])
        .arg(inbox)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| say::text("cli.demo.sink-start", &[]))?;
    let mut sink = SinkProcess(child);
    for _ in 0..100 {
        if sink.0.try_wait()?.is_some() {
            bail!("{}", about_address("cli.demo.sink-ended"));
        }
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(sink);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("{}", about_address("cli.demo.sink-silent"))
}

fn goodbye(folder: &Path, socket: &Path, ports: Ports, key: &str) {
    let program = std::env::current_exe()
        .map(|p| p.display().to_string())
        .unwrap_or_else(|_| "mitsuke".into());
    let key_file = folder.join("owner.key");
    let text = |path: &Path| path.display().to_string();
    let port = |port: u16| port.to_string();
    let goodbye = say::text(
        "cli.demo.goodbye",
        &[
            ("mx", &port(ports.mx)),
            ("submission", &port(ports.submission)),
            ("submissions", &port(ports.submissions)),
            ("api", &port(ports.api)),
            ("web", &port(ports.web)),
            ("sink", &port(ports.sink)),
            ("socket", &text(socket)),
            ("inbox", &text(&folder.join("inbox"))),
            ("key_file", &text(&key_file)),
            ("tenant", TENANT),
            ("domain", DOMAIN),
            ("program", &program),
            ("key", key),
        ],
    );
    println!("\n{goodbye}");
}
