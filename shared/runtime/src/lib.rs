//! Connects adapters and runs a process: the one place that names `SQLite` files, the topic log and,
//! with the feature `fleet`, servers.
//!
//! ```text
//! main ─ DataDir::lock ─▶ Embedded::open ─▶ services ─▶ Process::run ─┬─ HTTP        stops first
//!                                                                     ├─ relays      then these
//!                                                                     ├─ consumers   then these
//!                                                                     └─ stores      closed last
//! ```
//!
//! Used by binaries only. Another way to run (over a broker and a database server) opens other
//! adapters and hands them to the same [`Process`].
//!
//! Invariant: all work runs on a [`stage::Stage`]; a loop that fails or panics ends the process, so that a
//! half-dead one never goes on answering.

#![warn(missing_docs)]

#[cfg(feature = "fleet")]
pub mod consul;
pub mod embedded;
#[cfg(feature = "fleet")]
pub mod fleet;
pub mod folder;
pub mod front;
pub mod listen;
pub mod operator;
pub mod pages;
pub mod process;
pub mod signals;
pub mod stage;
pub mod topics;

use anyhow::Context;

pub use embedded::Embedded;
#[cfg(feature = "fleet")]
pub use fleet::standalone;
pub use folder::{DataDir, FolderError};
pub use process::{Delivery, Process, Stores};

/// Logs the sources of settings that an operator should know.
pub fn say_what_was_read(config: &blocks::config::Config) {
    for row in config.composed() {
        tracing::info!("{} is said by {}", row.name, row.source);
    }
    if !config.kafka_enable_outbox {
        tracing::warn!(
            "KAFKA_ENABLE_OUTBOX is false: events are published directly after the commit, and those that a crash, \
             or a stop while the bus is away, keeps from it are lost"
        );
    }
    for unknown in config.unknown() {
        let hint = match &*unknown.meant {
            [] => "rookery --help lists them".to_owned(),
            [meant] => format!("did you mean {meant}?"),
            several => format!("those that begin alike are {}", several.join(", ")),
        };
        tracing::warn!("{} is not a setting and is ignored: {hint}", unknown.name);
    }
}

/// Runs `work` to its end. Tasks that still wait, for a server or for a terminal, don't keep the process.
///
/// # Errors
/// Those of `work`, or the reason why it could not start.
pub fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("could not start")?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}
