//! The command line: nouns of the API as commands. Speaks to the local socket, or to a URL with a key; never to the store.
//!
//! In: arguments, `MITSUKE_URL`, `MITSUKE_KEY`, `MITSUKE_SOCKET`, the key in the user's configuration folder. Out: tables for people, or
//! `--json` for programs; exit status 0, 1 when the server says no, 2 for wrong arguments.

#![allow(clippy::print_stderr, reason = "what is wrong with the arguments goes to standard error")]

use crate::client::{Api, Door};
use crate::say;
use anyhow::{Context, Result, bail};
use clap::error::ErrorKind;
use clap::{Args, FromArgMatches, Parser, Subcommand};
use mail::text::Lang;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod audit;
mod credential;
mod domain;
mod generate;
mod help;
mod key;
mod output;
mod proof;
mod query;
mod queue;
mod recipient;
mod sender;
mod serve;
mod server;
mod settings;
mod tenant;
mod trace;

pub use output::Output;
pub(crate) use query::escaped;
pub(crate) use serve::{asked_to_stop, on_mail_thread};

/// Mitsuke: the guard post of your mail.
#[derive(Debug, Parser)]
#[command(name = "mitsuke", version, max_term_width = 110)]
pub struct Cli {
    #[command(flatten)]
    door: DoorArgs,
    /// Print JSON instead of tables.
    #[arg(long, global = true, display_order = 1001)]
    json: bool,
    /// Language of texts; without it MITSUKE_LANG, LC_ALL, LC_MESSAGES and LANG are looked at.
    #[arg(long, global = true, display_order = 1002, value_parser = ["ja", "en"])]
    lang: Option<String>,
    #[command(subcommand)]
    command: Command,
}

/// Where the server is.
#[derive(Clone, Debug, Args)]
struct DoorArgs {
    /// Socket of the server on this host (its owner is the operator); without it `data/control.sock` and `/var/lib/mitsuke/control.sock`
    /// are looked for.
    #[arg(long, global = true, display_order = 1003, env = "MITSUKE_SOCKET", value_name = "FILE")]
    socket: Option<PathBuf>,
    /// Address of the API, such as https://mail.example:8443.
    #[arg(long, global = true, display_order = 1004, env = "MITSUKE_URL")]
    url: Option<String>,
    /// API key; without it, for a URL, the file `mitsuke/key` in your configuration folder is read.
    #[arg(long, global = true, display_order = 1005, env = "MITSUKE_KEY", hide_env_values = true)]
    key: Option<String>,
    /// PEM file of a private authority whose certificates are believed too, for https.
    #[arg(long, global = true, display_order = 1006, env = "MITSUKE_CA", value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Tenant, when the key is the operator's or the socket is used.
    #[arg(long, short = 't', global = true, display_order = 1007, env = "MITSUKE_TENANT")]
    tenant: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Serve),
    /// Look at the node file and say every problem at once; makes and changes nothing.
    Check(serve::Check),
    /// A demonstration on this machine: server, tenant, sink, three sample messages.
    Demo(serve::Demo),
    /// A small SMTP server that takes everything (for demonstrations).
    Sink(serve::Sink),
    /// Organisations (operator).
    #[command(subcommand)]
    Tenant(tenant::TenantCommand),
    /// Accepted domains.
    #[command(subcommand)]
    Domain(domain::DomainCommand),
    /// Inbound servers of a domain: where its mail goes.
    #[command(subcommand)]
    Server(server::ServerCommand),
    /// Outbound senders of a domain: who may send for it.
    #[command(subcommand)]
    Sender(sender::SenderCommand),
    /// Relay credentials of servers and devices.
    #[command(subcommand)]
    Credential(credential::CredentialCommand),
    /// Recipient lists.
    #[command(subcommand)]
    Recipient(recipient::RecipientCommand),
    /// Proof of tenant for shared senders.
    #[command(subcommand)]
    Proof(proof::ProofCommand),
    /// Settings documents and their revisions.
    #[command(subcommand)]
    Settings(settings::SettingsCommand),
    /// Mail that waits.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// What happened to mail.
    Trace(Box<trace::Trace>),
    /// API keys.
    #[command(subcommand)]
    Key(key::KeyCommand),
    /// What people did to the server.
    Audit(audit::Audit),
    /// Completion for a shell: `mitsuke completion bash > /etc/bash_completion.d/mitsuke`.
    Completion {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Generated documents (for those who work on the house).
    #[command(hide = true, subcommand)]
    Generate(generate::Generate),
}

/// Reads the arguments of this process; help, and what is wrong with them, is told in the language that they or the environment name.
/// `Err`: the exit status, when there is nothing more to do.
///
/// # Errors
/// The exit status, after help or an error was written.
pub fn read_arguments() -> Result<Cli, ExitCode> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    say::choose(say::wanted(&arguments, |name| std::env::var_os(name)));
    let read = help::command()
        .try_get_matches_from(arguments)
        .and_then(|m| Cli::from_arg_matches(&m));
    read.map_err(|error| {
        let status = ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        let is_help = !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        if is_help || say::lang() == Lang::En {
            drop(error.print());
        } else {
            eprintln!("mitsuke: {}", help::wrong_arguments(&error));
        }
        status
    })
}

/// What a command works with.
pub(crate) struct Session {
    /// The API.
    pub(crate) api: Api,
    /// How to print.
    pub(crate) output: Output,
    tenant: Option<String>,
}

impl Session {
    /// The tenant: given, or the one that the key belongs to.
    pub(crate) async fn tenant(&self) -> Result<String> {
        if let Some(tenant) = &self.tenant {
            return Ok(tenant.clone());
        }
        let me = self.api.get("/api/v1/whoami").await?;
        match me.get("tenant").and_then(serde_json::Value::as_str) {
            Some(tenant) => Ok(tenant.to_owned()),
            None => bail!("{}", say::text("cli.error.which-tenant", &[])),
        }
    }

    /// The tenant, when one was given.
    pub(crate) fn tenant_given(&self) -> Option<&str> {
        self.tenant.as_deref()
    }
}

impl DoorArgs {
    /// The API. What the command line says goes before what the environment says; an empty variable counts as none.
    /// A key that is given goes with the socket too, except with `--socket` alone: that is the operator.
    fn api(&self) -> Result<Api> {
        let url = self.url.as_deref().filter(|url| !url.is_empty());
        let socket = self.socket.as_deref().filter(|socket| !socket.as_os_str().is_empty());
        let key = self.key.as_deref().filter(|key| !key.is_empty());
        let is_socket_typed = is_typed(socket.map(Path::as_os_str), "MITSUKE_SOCKET");
        if let Some(url) = url.filter(|url| !is_socket_typed || is_typed(Some(OsStr::new(url)), "MITSUKE_URL")) {
            let key = match key {
                Some(key) => key.to_owned(),
                None => stored_key()?.with_context(|| say::text("cli.error.key-needed", &[]))?,
            };
            let api = Api::new(Door::Url {
                url: url.trim_end_matches('/').to_owned(),
                key,
            });
            return Ok(match self.ca.as_ref().filter(|file| !file.as_os_str().is_empty()) {
                Some(file) => api.with_authority(file.clone()),
                None => api,
            });
        }
        let api = Api::new(Door::Socket(socket.map_or_else(default_socket, Path::to_owned)));
        Ok(match key {
            Some(key) if !is_socket_typed || is_typed(Some(OsStr::new(key)), "MITSUKE_KEY") => api.with_key(key),
            _ => api,
        })
    }
}

/// Whether an option was given on the command line, not by its environment variable.
fn is_typed(value: Option<&OsStr>, variable: &str) -> bool {
    value.is_some() && value != std::env::var_os(variable).as_deref()
}

/// The first of the usual sockets that is there.
fn default_socket() -> PathBuf {
    let usual = [
        PathBuf::from("run/demo/data/control.sock"),
        PathBuf::from("data/control.sock"),
        PathBuf::from("/var/lib/mitsuke/control.sock"),
        PathBuf::from("/run/mitsuke/control.sock"),
    ];
    usual
        .iter()
        .find(|p| p.exists())
        .or_else(|| usual.last())
        .cloned()
        .unwrap_or_default()
}

/// The key in the user's configuration folder; a file that others can read is refused.
fn stored_key() -> Result<Option<String>> {
    use std::os::unix::fs::PermissionsExt;
    let folder = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".config")));
    let Some(path) = folder.map(|f| f.join("mitsuke/key")) else {
        return Ok(None);
    };
    let Ok(meta) = std::fs::metadata(&path) else { return Ok(None) };
    if meta.permissions().mode() & 0o077 != 0 {
        bail!("{}", say::text("cli.error.key-file-open", &[("file", &path.display().to_string())]));
    }
    Ok(Some(std::fs::read_to_string(&path)?.trim().to_owned()))
}

/// Runs what the arguments say.
///
/// # Errors
/// What went wrong, in words for the user.
pub fn run(cli: Cli) -> Result<()> {
    let command = match cli.command {
        Command::Serve(serve) => return serve.run(),
        Command::Check(check) => return check.run(cli.json),
        Command::Demo(demo) => return demo.run(),
        Command::Sink(sink) => return sink.run(),
        Command::Completion { shell } => return generate::completion(shell),
        Command::Generate(generate) => return generate.run(),
        other => other,
    };
    let context = Session {
        api: cli.door.api()?,
        output: Output::new(cli.json),
        tenant: cli.door.tenant,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::Tenant(c) => c.run(&context).await,
            Command::Domain(c) => c.run(&context).await,
            Command::Server(c) => c.run(&context).await,
            Command::Sender(c) => c.run(&context).await,
            Command::Credential(c) => c.run(&context).await,
            Command::Recipient(c) => c.run(&context).await,
            Command::Proof(c) => c.run(&context).await,
            Command::Settings(c) => c.run(&context).await,
            Command::Queue(c) => c.run(&context).await,
            Command::Trace(c) => c.run(&context).await,
            Command::Key(c) => c.run(&context).await,
            Command::Audit(c) => c.run(&context).await,
            Command::Serve(_)
            | Command::Check(_)
            | Command::Demo(_)
            | Command::Sink(_)
            | Command::Completion { .. }
            | Command::Generate(_) => Ok(()),
        }
    })
}
