//! Commands that run something on this machine: serve, check, demo, sink.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands that talk to their user")]

use crate::compose;
use crate::say;
use anyhow::{Context, Result, bail};
use clap::Args;
use config::Node;
use net::clock::Clock;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::signal::unix::{SignalKind, signal};

/// `mitsuke serve`
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Node file; certificates of TLS are named there.
    #[arg(long, short = 'c', default_value = "mitsuke.toml")]
    config: PathBuf,
}

/// `mitsuke check`
#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Node file; certificates of TLS are named there.
    #[arg(long, short = 'c', default_value = "mitsuke.toml")]
    config: PathBuf,
}

/// `mitsuke demo`
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Folder of the demonstration; its data stay there.
    #[arg(long, default_value = "run/demo")]
    dir: PathBuf,
    /// First port of seven (0: any free ones).
    #[arg(long, default_value_t = 2525)]
    port: u16,
    /// Stop after the samples instead of serving on.
    #[arg(long)]
    once: bool,
}

/// `mitsuke sink`
#[derive(Debug, Args)]
pub(crate) struct Sink {
    /// Address of this machine.
    #[arg(long, default_value = "127.0.0.1:2600")]
    listen: SocketAddr,
    /// Write messages there.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Reads the node file; every problem is told at once.
pub(crate) fn node(path: &Path) -> Result<Node> {
    Node::load(path).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(|p| format!("  {}", p.fixed(say::lang()))).collect();
        anyhow::anyhow!("{}\n{}", say::about_file("cli.error.node-file", path), lines.join("\n"))
    })
}

/// Runs `work` on the mail loops' runtime: one thread, since two cost a third more for each message.
pub(crate) fn on_mail_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .with_context(|| say::text("cli.error.runtime", &[]))?
        .block_on(work)
}

/// Program log to standard error, `MITSUKE_LOG` sets its level.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MITSUKE_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
    );
}

/// As many open files as the system allows: each connection is one.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        tracing::warn!("the limit of open files could not be raised");
    }
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn asked_to_stop() -> Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}

impl Serve {
    pub(crate) fn run(self) -> Result<()> {
        log();
        raise_open_files();
        let node = node(&self.config)?;
        on_mail_thread(async {
            let running = compose::start(node, Clock::system()).await?;
            for (role, address) in &running.listeners {
                tracing::info!(?role, %address, "listening");
            }
            tracing::info!(socket = %running.desk.node.control_socket.display(), "ready");
            asked_to_stop().await?;
            tracing::info!("stopping");
            running.stop().await
        })
    }
}

impl Check {
    pub(crate) fn run(self, json: bool) -> Result<()> {
        let problems = match Node::load(&self.config) {
            Ok(node) => crate::compose::check::machine(&node),
            Err(problems) => problems,
        };
        if json {
            println!("{}", serde_json::to_string_pretty(&problems)?);
        } else {
            for problem in &problems {
                println!("{}", problem.fixed(say::lang()));
            }
        }
        match problems.len() {
            0 if json => Ok(()),
            0 => {
                println!("{}", say::about_file("cli.check.clean", &self.config));
                Ok(())
            }
            1 => bail!("{}", say::text("cli.check.problem", &[])),
            n => bail!("{}", say::text("cli.check.problems", &[("count", &n.to_string())])),
        }
    }
}

impl Demo {
    pub(crate) fn run(self) -> Result<()> {
        log_quietly();
        raise_open_files();
        crate::demo::run(&self.dir, self.port, self.once)
    }
}

/// The demonstration speaks for itself: only what goes wrong is logged.
fn log_quietly() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MITSUKE_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    drop(
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .with_target(false)
            .try_init(),
    );
}

impl Sink {
    pub(crate) fn run(self) -> Result<()> {
        on_mail_thread(crate::sink::run(self.listen, self.dir))
    }
}
