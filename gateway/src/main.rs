//! The executable: see the library beside it.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = gateway::cli::Cli::parse();
    gateway::cli::exit(runtime::run(gateway::cli::run(command)))
}
