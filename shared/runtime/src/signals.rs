//! The system's signals to a process.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// As shells count it: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

/// Listens from now on, and cancels the answer at the first SIGTERM or Ctrl-C. Another Ctrl-C ends the process
/// at once: nothing acknowledged is lost by that either.
///
/// # Errors
/// When signals can't be listened to.
pub fn stop(tasks: &TaskTracker) -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("could not listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen to SIGINT")?;
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tasks.spawn(async move {
        let asked = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = asked, "stopping: finishing what is under way");
        stopped.cancel();
        interrupt.recv().await;
        std::process::exit(INTERRUPTED);
    });
    Ok(stop)
}
