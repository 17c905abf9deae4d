//! The executable: see the library beside it.

use std::process::ExitCode;

use clap::Parser;
use mimalloc::MiMalloc;

// Much of what a post costs is small pieces of memory on several threads: docs/adr/006.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

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
    // What still waits for a terminal must not keep the process.
    runtime.shutdown_background();
    gateway::cli::exit(outcome)
}
