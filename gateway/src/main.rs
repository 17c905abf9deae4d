//! The executable: see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let command = gateway::cli::Cli::read();
    gateway::cli::exit(runtime::run(gateway::cli::run(command)))
}
