//! Polling the outbox for pending events, beside the relay's other work. Where a store reads all its rows
//! to answer, a poll takes longer than an event may wait.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::acknowledge::Acknowledgements;
use crate::Clock;
use crate::error::BoxError;
use crate::outbox::Outbox;

/// Shortest pause between two polls.
const EVERY: Duration = Duration::from_secs(1);
/// Longest pause between two polls: events left behind are found this late at most.
const AT_LEAST_EVERY: Duration = Duration::from_secs(30);
/// Polling gets one part in this many of the time. A server that reads everything to answer would do
/// nothing else.
const SHARE: u32 = 20;
/// Events pending for longer count as left behind, in ms.
const LEFT_BEHIND_MS: i64 = 2_000;

/// Result of a poll. Events that are published and not yet acknowledged are not counted.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Backlog {
    /// Number of events to publish.
    pub pending: i64,
    /// Time when the oldest of them was written. While others wait for their acknowledgement, this may be
    /// up to [`LEFT_BEHIND_MS`] too early.
    pub oldest: Option<DateTime<Utc>>,
    /// Events written before this time were left behind; `None` if none were.
    pub left_behind: Option<DateTime<Utc>>,
}

/// Polls an outbox, one poll at a time.
pub(super) struct Poller {
    outbox: Arc<dyn Outbox>,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    running: Option<(Instant, JoinHandle<Result<Backlog, BoxError>>)>,
    next_at: Instant,
}

impl Poller {
    pub fn new(outbox: Arc<dyn Outbox>, clock: Arc<dyn Clock>) -> Self {
        Self {
            outbox,
            clock,
            tasks: TaskTracker::new(),
            running: None,
            next_at: Instant::now(),
        }
    }

    /// When the next poll is due; `None` while one runs.
    pub fn due(&self) -> Option<Instant> {
        self.running.is_none().then_some(self.next_at)
    }

    /// Starts a poll, unless one runs already.
    pub fn start(&mut self, acknowledgements: &Acknowledgements) {
        if self.running.is_some() {
            return;
        }
        let before = self.clock.now() - TimeDelta::milliseconds(LEFT_BEHIND_MS);
        // Counted before the poll: events acknowledged while it lasts must not seem left behind.
        let waiting = (acknowledgements.len(), acknowledgements.keys_before(before));
        let poll = poll(Arc::clone(&self.outbox), before, waiting);
        self.running = Some((Instant::now(), self.tasks.spawn(poll)));
    }

    /// Waits for the result of the running poll, for ever if there is none. Cancel-safe: the next call
    /// waits on.
    ///
    /// # Errors
    /// When the store could not be reached.
    pub async fn result(&mut self) -> Result<Backlog, BoxError> {
        let Some((began, poll)) = &mut self.running else {
            return std::future::pending().await;
        };
        let result = poll.await;
        self.next_at = Instant::now() + pause_after(began.elapsed());
        self.running = None;
        result?
    }
}

async fn poll(
    outbox: Arc<dyn Outbox>,
    before: DateTime<Utc>,
    (waiting, old_keys): (usize, usize),
) -> Result<Backlog, BoxError> {
    let depth = outbox.depth().await?;
    let old = match depth.oldest {
        Some(oldest) if oldest < before => outbox.keys_pending_before(before).await?,
        _ => 0,
    };
    let left_behind = old > i64::try_from(old_keys)?;
    let pending = (depth.pending - i64::try_from(waiting)?).max(i64::from(left_behind));
    let oldest = match depth.oldest {
        _ if pending == 0 => None,
        // It waits for its acknowledgement.
        Some(oldest) if !left_behind => Some(oldest.max(before)),
        oldest => oldest,
    };
    Ok(Backlog {
        pending,
        oldest,
        left_behind: left_behind.then_some(before),
    })
}

/// Pause after a poll that took this long.
fn pause_after(poll: Duration) -> Duration {
    (poll * SHARE).clamp(EVERY, AT_LEAST_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_takes_its_share_of_the_time_and_is_never_given_up() {
        let cases = [(1, 1_000), (50, 1_000), (400, 8_000), (2_000, 30_000)];
        for (poll, pause) in cases {
            let (poll, pause) = (Duration::from_millis(poll), Duration::from_millis(pause));
            assert_eq!(pause_after(poll), pause, "after {poll:?}");
        }
    }
}
