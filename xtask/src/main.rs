//! Chores of the house: `tidy` looks at what no compiler looks at, `gen` writes what is generated (`--check`: fails on drift).
#![allow(clippy::print_stdout, reason = "a command that talks to its user")]

mod coverage;
mod files;
mod generate;
mod texts;
mod tidy;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["tidy"] => tidy::run(),
        ["gen"] => generate::run(generate::Mode::Write),
        ["gen", "--check"] => generate::run(generate::Mode::Check),
        _ => bail!("usage: xtask tidy | gen [--check]"),
    }
}
