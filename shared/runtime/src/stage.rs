//! Tasks that stop together, and the alarm that one of them raises when it can't go on.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use blocks::error::panic_text;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Ends the process when something in it can't go on, and remembers why.
#[derive(Debug, Clone)]
pub struct Alarm {
    stop: CancellationToken,
    first: Arc<Mutex<Option<anyhow::Error>>>,
}

impl Alarm {
    /// An alarm that cancels `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self {
            stop,
            first: Arc::default(),
        }
    }

    /// Ends the process. The first reason counts: others follow from it.
    pub fn raise(&self, why: anyhow::Error) {
        tracing::error!(error = format!("{why:#}"), "the process stops");
        self.first.lock().get_or_insert(why);
        self.stop.cancel();
    }

    /// An error if the alarm was raised.
    ///
    /// # Errors
    /// With the first reason.
    pub fn outcome(&self) -> anyhow::Result<()> {
        let first = &mut *self.first.lock();
        first.take().map_or(Ok(()), Err)
    }
}

/// Tasks that stop together.
///
/// ```
/// use std::time::Duration;
///
/// use runtime::stage::{Alarm, Stage};
/// use tokio_util::sync::CancellationToken;
///
/// # #[tokio::main]
/// # async fn main() -> anyhow::Result<()> {
/// let stop = CancellationToken::new();
/// let alarm = Alarm::new(stop.clone());
/// let stage = Stage::new("work", stop.clone(), &alarm);
/// let told = stage.stop();
/// stage.spawn("waiter", async move { Ok(told.cancelled().await) });
/// stage.end(Duration::from_secs(5)).await;
/// alarm.outcome()
/// # }
/// ```
#[derive(Debug)]
pub struct Stage {
    name: &'static str,
    tasks: TaskTracker,
    stop: CancellationToken,
    alarm: Alarm,
}

impl Stage {
    /// An empty stage whose tasks stop when `stop` is cancelled.
    pub fn new(name: &'static str, stop: CancellationToken, alarm: &Alarm) -> Self {
        Self {
            name,
            tasks: TaskTracker::new(),
            stop,
            alarm: alarm.clone(),
        }
    }

    /// The token that tells its tasks to stop.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs `work`. When it fails, panics, or ends without being told to, the process ends.
    pub fn spawn<F>(&self, name: impl Into<String>, work: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (name, stop, alarm) = (name.into(), self.stop.clone(), self.alarm.clone());
        self.tasks.spawn(async move {
            match AssertUnwindSafe(work).catch_unwind().await {
                Ok(Ok(())) if stop.is_cancelled() => {}
                Ok(Ok(())) => alarm.raise(anyhow::anyhow!("{name} ended without being told to")),
                Ok(Err(error)) => alarm.raise(error.context(format!("{name} failed"))),
                Err(panic) => {
                    alarm.raise(anyhow::anyhow!("{name} panicked: {}", panic_text(&*panic)));
                }
            }
        });
    }

    /// Tells its tasks to stop and waits until they did, but no longer than `time`.
    pub async fn end(&self, time: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(time, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                stage = self.name,
                tasks = self.tasks.len(),
                "did not stop in time and is cut off"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(work: impl Future<Output = anyhow::Result<()>> + Send + 'static) -> String {
        let stop = CancellationToken::new();
        let alarm = Alarm::new(stop.clone());
        let stage = Stage::new("test", CancellationToken::new(), &alarm);
        stage.spawn("the loop", work);
        stop.cancelled().await;
        stage.end(Duration::from_secs(5)).await;
        format!("{:#}", alarm.outcome().unwrap_err())
    }

    #[tokio::test]
    async fn whatever_ends_a_loop_ends_the_process_and_says_why() {
        let failed = of(async { anyhow::bail!("no disk") }).await;
        assert_eq!(failed, "the loop failed: no disk");
        let panicked = of(async { panic!("a bug") }).await;
        assert_eq!(panicked, "the loop panicked: a bug");
        let ended = of(async { Ok(()) }).await;
        assert_eq!(ended, "the loop ended without being told to");
    }

    #[tokio::test]
    async fn a_loop_that_was_told_to_stop_raises_no_alarm() {
        let stop = CancellationToken::new();
        let alarm = Alarm::new(stop.clone());
        let stage = Stage::new("test", stop.child_token(), &alarm);
        let told = stage.stop();
        stage.spawn("the loop", async move {
            told.cancelled().await;
            Ok(())
        });
        stage.end(Duration::from_secs(5)).await;
        assert!(alarm.outcome().is_ok());
        assert!(!stop.is_cancelled());
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_does_not_stop_is_not_waited_for_for_ever() {
        let alarm = Alarm::new(CancellationToken::new());
        let stage = Stage::new("test", CancellationToken::new(), &alarm);
        stage.spawn("the loop", std::future::pending());
        stage.end(Duration::from_secs(5)).await;
    }
}
