//! The service alone: over servers, any number of replicas.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::alone(&hello_service::DEFINITION)
}
