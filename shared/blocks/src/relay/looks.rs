//! Looking for what waits in the outbox, beside everything else: where a store reads all that it has to
//! answer, a look takes longer than an event may wait.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::marks::Marks;
use crate::Clock;
use crate::error::BoxError;
use crate::outbox::Outbox;

/// How often the outbox is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// The least often: so late at most is found what was left behind.
const AT_LEAST_EVERY: Duration = Duration::from_secs(30);
/// One part in so many of the time may go into looking. A server that reads everything to answer would
/// do nothing else.
const SHARE: u32 = 20;
/// What is pending for longer was left behind, in ms.
const LEFT_BEHIND_MS: i64 = 2_000;

/// What a look found, without what is published and only waits for its mark.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// Events to be published.
    pub pending: i64,
    /// When the oldest of them was written; where others wait for their mark it may be older than that,
    /// by [`LEFT_BEHIND_MS`] at most.
    pub oldest: Option<DateTime<Utc>>,
    /// When what was left behind was written before, if something was.
    pub left_behind: Option<DateTime<Utc>>,
}

/// Looks at an outbox, one at a time.
pub(super) struct Looks {
    outbox: Arc<dyn Outbox>,
    clock: Arc<dyn Clock>,
    tasks: TaskTracker,
    look: Option<(Instant, JoinHandle<Result<Seen, BoxError>>)>,
    /// When the next one begins.
    at: Instant,
}

impl Looks {
    pub fn new(outbox: Arc<dyn Outbox>, clock: Arc<dyn Clock>) -> Self {
        Self {
            outbox,
            clock,
            tasks: TaskTracker::new(),
            look: None,
            at: Instant::now(),
        }
    }

    /// When the next look is to begin; none while one is under way.
    pub fn due(&self) -> Option<Instant> {
        self.look.is_none().then_some(self.at)
    }

    /// Begins to look, unless that was done already.
    pub fn begin(&mut self, marks: &Marks) {
        if self.look.is_some() {
            return;
        }
        let before = self.clock.now() - TimeDelta::milliseconds(LEFT_BEHIND_MS);
        // Counted before the look: what is marked while it lasts must not seem to be left behind.
        let unmarked = (marks.len(), marks.keys_before(before));
        let look = look(Arc::clone(&self.outbox), before, unmarked);
        self.look = Some((Instant::now(), self.tasks.spawn(look)));
    }

    /// What the look under way finds; waits for ever when there is none. Broken off, it goes on where it
    /// was.
    ///
    /// # Errors
    /// When the store could not be reached.
    pub async fn end(&mut self) -> Result<Seen, BoxError> {
        let Some((began, look)) = &mut self.look else {
            return std::future::pending().await;
        };
        let seen = look.await;
        self.at = Instant::now() + pause_after(began.elapsed());
        self.look = None;
        seen?
    }
}

async fn look(
    outbox: Arc<dyn Outbox>,
    before: DateTime<Utc>,
    (unmarked, old_keys): (usize, usize),
) -> Result<Seen, BoxError> {
    let depth = outbox.depth().await?;
    let old = match depth.oldest {
        Some(oldest) if oldest < before => outbox.keys_pending_before(before).await?,
        _ => 0,
    };
    let left_behind = old > i64::try_from(old_keys)?;
    let pending = (depth.pending - i64::try_from(unmarked)?).max(i64::from(left_behind));
    let oldest = match depth.oldest {
        _ if pending == 0 => None,
        // It waits for its mark.
        Some(oldest) if !left_behind => Some(oldest.max(before)),
        oldest => oldest,
    };
    Ok(Seen {
        pending,
        oldest,
        left_behind: left_behind.then_some(before),
    })
}

/// How long the outbox is left alone after a look that took so long.
fn pause_after(look: Duration) -> Duration {
    (look * SHARE).clamp(EVERY, AT_LEAST_EVERY)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_takes_its_share_of_the_time_and_is_never_given_up() {
        let cases = [(1, 1_000), (50, 1_000), (400, 8_000), (2_000, 30_000)];
        for (look, pause) in cases {
            let (look, pause) = (Duration::from_millis(look), Duration::from_millis(pause));
            assert_eq!(pause_after(look), pause, "after {look:?}");
        }
    }
}
