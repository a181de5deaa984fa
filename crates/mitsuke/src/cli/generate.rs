//! Documents that are generated from the code: settings, replies, commands, the API's description; and shell completion.
#![allow(clippy::print_stdout, reason = "a command that prints")]

use super::{Cli, help};
use crate::say;
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
    let mut out = say::text("cli.document.head", &[]);
    let tree = Cli::command();
    out.push_str(&format!("\n\n## {}\n\n", say::text("cli.document.everywhere", &[])));
    let everywhere: Vec<String> = tree.get_arguments().map(|a| usage(&[], a)).collect();
    let _ = writeln!(out, "{}", everywhere.join("\n"));
    describe(&tree, &[], &mut out);
    out
}

fn describe(command: &clap::Command, path: &[String], out: &mut String) {
    for sub in command.get_subcommands().filter(|s| !s.is_hide_set() && s.get_name() != "help") {
        let path: Vec<String> = path.iter().cloned().chain([sub.get_name().to_owned()]).collect();
        let arguments: Vec<String> = sub
            .get_arguments()
            .filter(|a| !a.is_global_set() && a.get_id() != "help")
            .map(|a| usage(&path, a))
            .collect();
        let about = say::text(&help::command_key(&path), &[]);
        let _ = write!(out, "\n## `mitsuke {}`\n\n{about}\n", path.join(" "));
        if !arguments.is_empty() {
            let _ = write!(out, "\n{}\n", arguments.join("\n"));
        }
        describe(sub, &path, out);
    }
}

fn usage(path: &[String], argument: &clap::Arg) -> String {
    let name = match argument.get_long() {
        Some(long) => format!("--{long}"),
        None => format!("<{}>", argument.get_id().as_str().to_uppercase()),
    };
    let help = say::text(&help::argument_key(path, argument.get_id().as_str()), &[]);
    format!("* `{name}`: {help}")
}
