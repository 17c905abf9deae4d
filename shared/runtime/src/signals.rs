//! The system's signals to a process.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// As shells count it: 128 and the number of the signal.
const INTERRUPTED: i32 = 130;

/// Listens from now on. The work cancels `stop` at the first SIGTERM or Ctrl-C; another Ctrl-C ends
/// the process at once: nothing acknowledged is lost by that either.
///
/// # Errors
/// When signals can't be listened to.
pub fn stop_on_signal(
    stop: CancellationToken,
) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    let mut terminate = signal(SignalKind::terminate()).context("could not listen to SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("could not listen to SIGINT")?;
    Ok(async move {
        let asked = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = asked, "stopping: finishing what is under way");
        stop.cancel();
        interrupt.recv().await;
        std::process::exit(INTERRUPTED);
    })
}
