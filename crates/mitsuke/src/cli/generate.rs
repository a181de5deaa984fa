//! Documents that are generated from the code: settings, replies, commands, the API's description; and shell completion.
#![allow(clippy::print_stdout, reason = "a command that prints")]

use super::Cli;
use anyhow::Result;
use clap::{CommandFactory, Subcommand};
use std::fmt::Write as _;

/// What to print.
#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// docs/generated/settings.md
    Settings,
    /// docs/generated/replies.md
    Replies,
    /// docs/generated/cli.md (with `--lang ja`: cli.ja.md)
    Cli,
    /// crates/admin/openapi.json
    Openapi,
}

impl Generate {
    pub(crate) fn run(self) -> Result<()> {
        let text = match self {
            Self::Settings => config::settings_table(),
            Self::Replies => replies(),
            Self::Cli => commands(),
            Self::Openapi => admin::server::openapi()?,
        };
        print!("{text}");
        Ok(())
    }
}

/// The reply catalogue as clients see it.
fn replies() -> String {
    use mail::{Reason, Reference};
    use transport::inbound::reply::Refusal;
    let mut out = String::from(
        "# Replies\n\nGenerated from the program. `ref` is different each time; the page it leads to says in Japanese and English what can be done.\n\n| reason | reply |\n|---|---|\n",
    );
    for reason in Reason::ALL {
        if *reason == Reason::Accepted {
            continue;
        }
        let reply = Refusal::new(*reason).reply(Reference([0; 10]), "https://mail.example", &[]);
        let _ = writeln!(out, "| {reason} | `{}` |", reply.to_string().replace('|', "\\|"));
    }
    out
}

/// Completion for a shell, to standard output.
pub(crate) fn completion(shell: clap_complete::Shell) -> Result<()> {
    clap_complete::generate(shell, &mut Cli::command(), "mitsuke", &mut std::io::stdout());
    Ok(())
}

fn commands() -> String {
    let mut out = String::from("# Commands\n\nGenerated from the program. `mitsuke COMMAND --help` shows the same with every option.\n");
    describe(&Cli::command(), "mitsuke", &mut out);
    out
}

fn describe(command: &clap::Command, path: &str, out: &mut String) {
    for sub in command.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help") {
        let name = format!("{path} {}", sub.get_name());
        let arguments: Vec<String> = sub
            .get_arguments()
            .filter(|a| !a.is_global_set() && a.get_id() != "help")
            .map(usage)
            .collect();
        let _ = write!(
            out,
            "\n## `{name}`\n\n{}\n",
            sub.get_about().map(ToString::to_string).unwrap_or_default()
        );
        if !arguments.is_empty() {
            let _ = write!(out, "\n{}\n", arguments.join("\n"));
        }
        describe(sub, &name, out);
    }
}

fn usage(argument: &clap::Arg) -> String {
    let name = match argument.get_long() {
        Some(long) => format!("--{long}"),
        None => format!("<{}>", argument.get_id().as_str().to_uppercase()),
    };
    format!("* `{name}`: {}", argument.get_help().map(ToString::to_string).unwrap_or_default())
}
