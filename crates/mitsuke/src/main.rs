//! The binary: reads the arguments and hands them on.
#![allow(clippy::print_stderr, reason = "errors of the command line go to standard error")]

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match mitsuke::cli::read_arguments() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    match mitsuke::cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output had enough of it.
        Err(e)
            if e.downcast_ref::<std::io::Error>()
                .is_some_and(|e| e.kind() == std::io::ErrorKind::BrokenPipe) =>
        {
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!("mitsuke: {e:#}");
            ExitCode::FAILURE
        }
    }
}
