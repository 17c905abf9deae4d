//! Activity streams alone: over servers, any number of replicas.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::standalone(&feed_generator::DEFINITION)
}
