//! The command tree and the errors of wrong arguments in the language of this process.
//!
//! In: the tree as the derive makes it, whose comments are the English texts. Out: the same tree with Japanese texts.
//! Invariants: every command and argument has a text in the catalogue (a test walks the tree and compares the English ones with the comments).
//!
//! A command's key is `cli.help` and its path; an argument's is `cli.arg`, the path of its command and its name, or that of a command
//! further up: what is said once for `cli.arg.cursor` holds wherever nothing nearer is said.

use crate::say;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory};
use mail::text::{self, Lang};

/// A line of help is folded here.
const COLUMNS_MAX: usize = 70;

/// The command tree in the language of this process.
pub(crate) fn command() -> Command {
    in_language(say::lang())
}

/// The command tree in a language.
pub(crate) fn in_language(lang: Lang) -> Command {
    let mut command = super::Cli::command();
    if lang == Lang::En {
        return command;
    }
    // Built first: help, version and inherited options are in the tree only then.
    command.build();
    translated(command, &[], lang)
}

/// Key of a command's text. The copies below `help` are the commands themselves.
pub(crate) fn command_key(path: &[String]) -> String {
    let path = if path.len() > 1 && path.first().is_some_and(|p| p == "help") {
        path.get(1..).unwrap_or_default()
    } else {
        path
    };
    // `queue help`, `queue help list` …: clap's own in every group.
    let path: Vec<&str> = match path.iter().rposition(|p| p == "help") {
        Some(at) if path.len() > at + 1 => path.iter().take(at).chain(path.iter().skip(at + 1)).map(String::as_str).collect(),
        Some(_) => vec!["help"],
        None => path.iter().map(String::as_str).collect(),
    };
    std::iter::once("cli.help").chain(path).collect::<Vec<_>>().join(".")
}

/// Key of an argument's text: the nearest that there is.
pub(crate) fn argument_key(path: &[String], id: &str) -> String {
    let id = id.replace('_', "-").to_lowercase();
    let at = |depth: usize| {
        let path = path.iter().take(depth).map(String::as_str);
        std::iter::once("cli.arg")
            .chain(path)
            .chain([id.as_str()])
            .collect::<Vec<_>>()
            .join(".")
    };
    (0..=path.len())
        .rev()
        .map(at)
        .find(|key| text::has(Lang::En, key))
        .unwrap_or_else(|| at(path.len()))
}

fn translated(mut command: Command, path: &[String], lang: Lang) -> Command {
    let about = text::get(lang, &command_key(path), &[]);
    let usage = usage(&mut command, lang);
    command = command
        .about(about)
        .override_usage(usage)
        .mut_args(|argument| translated_argument(argument, path, lang))
        .mut_subcommands(|sub| {
            let path: Vec<String> = path.iter().cloned().chain([sub.get_name().to_owned()]).collect();
            translated(sub, &path, lang)
        });
    let template = template(&command, lang);
    command.help_template(template)
}

/// clap writes its own words into the line of usage; the rest are names.
fn usage(command: &mut Command, lang: Lang) -> String {
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage);
    usage
        .replace("[OPTIONS]", &text::get(lang, "cli.usage.options", &[]))
        .replace("<COMMAND>", &text::get(lang, "cli.usage.command", &[]))
        .replace("[COMMAND]", &text::get(lang, "cli.usage.command", &[]))
}

/// As clap's own, with headings of the language.
fn template(command: &Command, lang: Lang) -> String {
    let heading = |key| text::get(lang, key, &[]);
    let mut template = format!("{{about-with-newline}}\n{}: {{usage}}\n", heading("cli.usage.heading"));
    let parts = [
        (command.has_subcommands(), "cli.usage.commands-heading", "subcommands"),
        (
            command.get_positionals().any(|a| !a.is_hide_set()),
            "cli.usage.arguments-heading",
            "positionals",
        ),
        (
            command.get_arguments().any(|a| !a.is_positional() && !a.is_hide_set()),
            "cli.usage.options-heading",
            "options",
        ),
    ];
    for (_, key, tag) in parts.into_iter().filter(|(is_there, _, _)| *is_there) {
        template.push_str(&format!("\n{}:\n{{{tag}}}\n", heading(key)));
    }
    template
}

fn translated_argument(argument: Arg, path: &[String], lang: Lang) -> Arg {
    let mut help = text::get(lang, &argument_key(path, argument.get_id().as_str()), &[]);
    let mut add = |key, value: &str| help.push_str(&text::get(lang, key, &[("value", value)]));
    let defaults: Vec<_> = argument
        .get_default_values()
        .iter()
        .filter(|v| !v.is_empty())
        .map(|v| v.to_string_lossy())
        .collect();
    if !defaults.is_empty() && !argument.is_hide_default_value_set() && argument.get_action().takes_values() {
        add("cli.usage.default", &defaults.join(", "));
    }
    if let Some(variable) = argument.get_env() {
        add("cli.usage.env", &variable.to_string_lossy());
    }
    if argument.get_action().takes_values() && !argument.is_hide_possible_values_set() {
        let values = argument.get_possible_values();
        if !values.is_empty() {
            add(
                "cli.usage.values",
                &values
                    .iter()
                    .map(clap::builder::PossibleValue::get_name)
                    .collect::<Vec<_>>()
                    .join(", "),
            );
        }
    }
    argument
        .help(folded(&help))
        .hide_default_value(true)
        .hide_env(true)
        .hide_possible_values(true)
}

/// Japanese has no spaces to break at: a line that is too long is cut where it is full, but not within a word of Latin letters.
fn folded(text: &str) -> String {
    let (mut out, mut line) = (String::new(), 0);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let mut piece = if c.is_ascii_graphic() {
            rest.find(|c: char| !c.is_ascii_graphic()).unwrap_or(rest.len())
        } else {
            c.len_utf8()
        };
        // 禁則: no line ends with an opening mark.
        if rest.get(..piece).is_some_and(|p| p.ends_with(['[', '（', '「', '【'])) {
            piece += rest.get(piece..).and_then(|r| r.chars().next()).map_or(0, char::len_utf8);
        }
        let (piece, after) = rest.split_at(piece);
        let width = say::columns(piece);
        // 禁則: no line begins with a closing mark.
        if line > 0 && line + width > COLUMNS_MAX && !"、。）」】・ー".contains(c) {
            out.truncate(out.trim_end().len());
            out.push('\n');
            line = 0;
        }
        if line > 0 || c != ' ' || out.is_empty() {
            out.push_str(piece);
            line += width;
        }
        rest = after;
    }
    out
}

/// What is wrong with the arguments, in Japanese. English is clap's own.
pub(crate) fn wrong_arguments(error: &clap::Error) -> String {
    let of = |kind| match error.get(kind) {
        Some(ContextValue::String(one)) => one.clone(),
        Some(ContextValue::Strings(all)) => all.join(", "),
        Some(ContextValue::Number(n)) => n.to_string(),
        _ => String::new(),
    };
    let (argument, value) = (of(ContextKind::InvalidArg), of(ContextKind::InvalidValue));
    let key = match error.kind() {
        ErrorKind::UnknownArgument => "cli.wrong.unknown-argument",
        ErrorKind::InvalidSubcommand => "cli.wrong.unknown-command",
        ErrorKind::InvalidValue if value.is_empty() => "cli.wrong.value-missing",
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => "cli.wrong.value",
        ErrorKind::MissingRequiredArgument => "cli.wrong.required",
        ErrorKind::ArgumentConflict => "cli.wrong.conflict",
        ErrorKind::MissingSubcommand => "cli.wrong.command-missing",
        ErrorKind::InvalidUtf8 => "cli.wrong.utf8",
        _ => "cli.wrong.other",
    };
    let (command, prior) = (of(ContextKind::InvalidSubcommand), of(ContextKind::PriorArg));
    let english = error.to_string();
    let english = english.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let mut told = say::text(
        key,
        &[
            ("argument", &argument),
            ("value", &value),
            ("command", &command),
            ("other", &prior),
            ("text", english),
        ],
    );
    if let Some(source) = std::error::Error::source(error) {
        let what = if source.is::<std::num::ParseIntError>() {
            say::text("cli.wrong.integer", &[])
        } else {
            source.to_string()
        };
        told.push_str(&format!("\n  {what}"));
    }
    for (kind, key) in [
        (ContextKind::ValidValue, "cli.wrong.values"),
        (ContextKind::SuggestedArg, "cli.wrong.like"),
        (ContextKind::SuggestedSubcommand, "cli.wrong.like"),
        (ContextKind::SuggestedValue, "cli.wrong.like"),
    ] {
        let values = of(kind);
        if !values.is_empty() {
            told.push_str(&format!("\n  {}", say::text(key, &[("value", &values)])));
        }
    }
    told.push_str(&format!("\n\n{}", say::text("cli.wrong.more", &[])));
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// Every command and argument: its key, and the English text that the tree itself holds.
    fn walk(command: &Command, path: &[String], seen: &mut BTreeMap<String, BTreeSet<String>>) {
        let own = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string).unwrap_or_default();
        seen.entry(command_key(path)).or_default().insert(own(command.get_about()));
        for argument in command.get_arguments() {
            let key = argument_key(path, argument.get_id().as_str());
            seen.entry(key).or_default().insert(own(argument.get_help()));
        }
        for sub in command.get_subcommands() {
            let path: Vec<String> = path.iter().cloned().chain([sub.get_name().to_owned()]).collect();
            walk(sub, &path, seen);
        }
    }

    #[test]
    fn every_command_and_argument_has_a_text_and_none_is_left_over() {
        let mut tree = super::super::Cli::command();
        tree.build();
        let mut seen = BTreeMap::new();
        walk(&tree, &[], &mut seen);
        let mut wrong = Vec::new();
        for (key, own) in &seen {
            let english = text::get(Lang::En, key, &[]);
            if !text::has(Lang::Ja, key) || !text::has(Lang::En, key) {
                wrong.push(format!("{key}: no text for {own:?}"));
            } else if own.iter().any(|own| *own != english) {
                wrong.push(format!("{key}: {english:?}, but the command says {own:?}"));
            }
        }
        let catalogue = include_str!("../../../../locales/en.json");
        let catalogue: BTreeMap<String, String> = serde_json::from_str(catalogue).unwrap();
        for key in catalogue
            .keys()
            .filter(|k| *k == "cli.help" || k.starts_with("cli.help.") || k.starts_with("cli.arg."))
        {
            if !seen.contains_key(key) {
                wrong.push(format!("{key}: nothing in the tree"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn japanese_help_has_no_english_left() {
        fn each(command: &mut Command, seen: &mut usize) {
            let help = command.render_long_help().to_string();
            for word in [
                "Usage:",
                "Options:",
                "Commands:",
                "Arguments:",
                "[OPTIONS]",
                "COMMAND]",
                "Print ",
                "[default",
                "[env",
                "[possible",
            ] {
                assert!(!help.contains(word), "{}: {word}\n{help}", command.get_name());
            }
            *seen += 1;
            for sub in command.get_subcommands_mut() {
                each(sub, seen);
            }
        }
        let mut seen = 0;
        each(&mut in_language(Lang::Ja), &mut seen);
        assert!(seen > 70, "{seen}");
    }

    #[test]
    fn the_translated_tree_reads_the_same_arguments() {
        for (arguments, is_right) in [
            ("mitsuke queue list --domain a.example --json", true),
            ("mitsuke --lang ja server add a.example mx.example --tls verified", true),
            ("mitsuke queue pause", false),
            ("mitsuke sender outbound a.example maybe", false),
            ("mitsuke tenant remove x", false),
        ] {
            for lang in Lang::ALL {
                let read = in_language(lang).try_get_matches_from(arguments.split(' '));
                assert_eq!(read.is_ok(), is_right, "{arguments} {lang:?}");
            }
        }
    }

    #[test]
    fn long_lines_are_folded_between_words() {
        let text = "宛".repeat(34) + "mitsuke queue、";
        assert_eq!(folded(&text), "宛".repeat(34) + "\nmitsuke queue、");
        assert_eq!(folded(&format!("{}[環境", "宛".repeat(34))), "宛".repeat(34) + "\n[環境");
        assert_eq!(folded("短い"), "短い");
    }
}
