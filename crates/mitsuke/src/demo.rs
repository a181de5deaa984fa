//! `mitsuke demo`: a server on loopback with a tenant, a domain, a sink and three sample messages, without any network.
//!
//! In: a folder and a first port. Out: what became of each sample, addresses, the first API key, commands to try. Started again in the same
//! folder it finds its data.
#![allow(clippy::print_stdout, reason = "a command that talks to its user")]

mod sample;
mod setup;

use crate::cli::{asked_to_stop, on_mail_thread};
use crate::client::{Api, Door};
use crate::compose;
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
                first.checked_add(n).context("the first port is too high")
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
    std::fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let ports = Ports::from(first_port)?;
    let file = folder.join("mitsuke.toml");
    std::fs::write(&file, setup::node_file(ports)).with_context(|| format!("write {}", file.display()))?;
    let node = Node::load(&file).map_err(|p| anyhow::anyhow!("{}", p.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    let is_first = !node.data_dir.join("mitsuke.db").exists();
    let sink = SocketAddr::from((Ipv4Addr::LOCALHOST, ports.sink));
    let _sink = start_sink(sink, &folder.join("inbox"))?;
    on_mail_thread(async {
        let socket = node.control_socket.clone();
        let running = compose::start(node, Clock::system())
            .await
            .context("does another demonstration run? stop it, or give this one another --port and --dir")?;
        let operator = Api::new(Door::Socket(socket.clone()));
        println!(
            "Mitsuke runs in {} ({}).\n",
            folder.display(),
            if is_first { "new data" } else { "its data were found again" }
        );
        let key = setup::tenant(&operator, folder, ports).await?;
        let owner = Api::new(Door::Url {
            url: format!("http://127.0.0.1:{}", ports.api),
            key: key.clone(),
        });
        sample::run(&owner, ports).await?;
        goodbye(folder, &socket, ports, &key);
        if !once {
            asked_to_stop().await?;
            println!("\nstopping; the data stay in {}", folder.display());
        }
        running.stop().await
    })
}

fn start_sink(address: SocketAddr, inbox: &Path) -> Result<SinkProcess> {
    let program = std::env::current_exe().context("find this program")?;
    let child = Command::new(program)
        .args(["sink", "--listen", &address.to_string(), "--dir"])
        .arg(inbox)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("start the sink")?;
    let mut sink = SinkProcess(child);
    for _ in 0..100 {
        if let Some(status) = sink.0.try_wait()? {
            bail!("the sink ended at once ({status}): is {address} taken? give another --port");
        }
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(sink);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("the sink does not answer at {address}")
}

fn goodbye(folder: &Path, socket: &Path, ports: Ports, key: &str) {
    let program = std::env::current_exe()
        .map(|p| p.display().to_string())
        .unwrap_or_else(|_| "mitsuke".into());
    let key_file = folder.join("owner.key");
    println!(
        "\nAddresses (all on this machine)
  SMTP            127.0.0.1:{mx}          (STARTTLS offered)
  submission      127.0.0.1:{submission}          (STARTTLS, log-in)   TLS from the start: 127.0.0.1:{submissions}
  API             http://127.0.0.1:{api}/api/v1   (described at /api/v1/openapi.json)
  public pages    http://127.0.0.1:{web}/r/<ref>
  local socket    {socket}   (operator)
  sink            127.0.0.1:{sink}          (what it takes lies in {inbox})

First API key (owner of tenant {TENANT}; also in {key_file})
  {key}

Try it
  swaks --server 127.0.0.1:{mx} --from you@sender.example --to taro@{DOMAIN} --header 'Subject: 初めてのメール'
  export MITSUKE_URL=http://127.0.0.1:{api} MITSUKE_KEY=$(cat {key_file})
  {program} trace                       # what happened lately
  {program} trace --subject 初めて        # by words of the subject
  {program} trace QUEUE-ID              # the whole life of one message
  {program} queue list                  # what waits, and why
  {program} domain show {DOMAIN}

Serving until Ctrl-C.",
        mx = ports.mx,
        submission = ports.submission,
        submissions = ports.submissions,
        api = ports.api,
        web = ports.web,
        sink = ports.sink,
        socket = socket.display(),
        inbox = folder.join("inbox").display(),
        key_file = key_file.display(),
    );
}
