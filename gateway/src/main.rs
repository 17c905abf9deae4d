//! The executable: see the library beside it.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let command = gateway::cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(gateway::cli::run(command));
    // A task that still waits for a terminal must not keep the process.
    runtime.shutdown_background();
    gateway::cli::exit(outcome)
}
