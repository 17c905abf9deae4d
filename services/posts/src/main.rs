//! Posts alone: over servers, any number of replicas.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::standalone(&posts::DEFINITION)
}
