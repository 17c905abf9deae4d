//! Marking what was published, beside everything else and at its own pace.
//!
//! A mark is for the time after a crash only, and it is written where requests write. So while events
//! come it gets a small share of the time; when they stop it gets all. What waits for its mark is kept
//! in memory, and is published again after a crash: consumers skip it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::error::BoxError;
use crate::outbox::{Outbox, Place, Published};

/// Published events are marked together, at the latest after this time.
const MARK_AFTER: Duration = Duration::from_millis(250);
/// So many are marked at once, at most and at least.
const AT_ONCE: std::ops::RangeInclusive<usize> = 25..=2000;
/// How long one marking should take: as many are marked at once as could be in that time before.
const STEP: Duration = Duration::from_millis(50);
/// While events come, one part in so many of the time goes into marking.
const SHARE: u32 = 20;
/// More than so many do not wait, whatever it takes: an event takes about 100 bytes here.
const MOST: usize = 50_000;

/// A marking that is under way.
struct Step {
    count: usize,
    began: Instant,
    done: JoinHandle<Result<(), BoxError>>,
}

/// Events that are published and not yet marked, oldest first.
pub(super) struct Marks {
    outbox: Arc<dyn Outbox>,
    tasks: TaskTracker,
    unmarked: Vec<Published>,
    step: Option<Step>,
    /// When the next ones are marked.
    due: Option<Instant>,
    at_once: usize,
    /// Whether events came since the last step.
    busy: bool,
}

impl Marks {
    pub fn new(outbox: Arc<dyn Outbox>) -> Self {
        Self {
            outbox,
            tasks: TaskTracker::new(),
            unmarked: Vec::new(),
            step: None,
            due: None,
            at_once: *AT_ONCE.end(),
            busy: false,
        }
    }

    /// These are published.
    pub fn add(&mut self, published: impl Iterator<Item = Published>) {
        self.unmarked.extend(published);
        self.busy = true;
        if self.due.is_none() {
            self.due = Some(Instant::now() + MARK_AFTER);
        }
    }

    /// How many wait for their mark.
    pub fn len(&self) -> usize {
        self.unmarked.len()
    }

    /// Which ones wait.
    pub fn places(&self) -> HashSet<Place> {
        self.unmarked.iter().map(|event| event.place).collect()
    }

    /// More wait than is good for the memory.
    pub fn are_too_many(&self) -> bool {
        self.unmarked.len() > MOST
    }

    /// Waits until some are to be marked, and marks them; for ever when there are none. Broken off, it
    /// goes on where it was.
    ///
    /// # Errors
    /// When the store could not be reached: they stay, and wait for [`Marks::again_after`].
    pub async fn step(&mut self) -> Result<(), BoxError> {
        if self.step.is_none() {
            match self.due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        }
        self.now().await
    }

    /// Marks all of them.
    ///
    /// # Errors
    /// As [`Marks::step`].
    pub async fn all(&mut self) -> Result<(), BoxError> {
        while self.step.is_some() || !self.unmarked.is_empty() {
            self.now().await?;
        }
        Ok(())
    }

    /// The next marking begins at once.
    pub fn soon(&mut self) {
        self.due = Some(Instant::now());
    }

    /// Nothing is marked before that.
    pub fn again_after(&mut self, pause: Duration) {
        self.due = Some(Instant::now() + pause);
    }

    /// Ends the marking that is under way, or begins and ends one.
    async fn now(&mut self) -> Result<(), BoxError> {
        let step = self.step.get_or_insert_with(|| {
            let count = self.unmarked.len().min(self.at_once);
            let (outbox, events) = (Arc::clone(&self.outbox), self.unmarked[..count].to_vec());
            let marking = async move { outbox.mark_published(&events).await };
            Step {
                count,
                began: Instant::now(),
                done: self.tasks.spawn(marking),
            }
        });
        let done = (&mut step.done).await;
        let (count, took) = (step.count, step.began.elapsed());
        self.step = None;
        done??;
        self.unmarked.drain(..count);
        self.at_once = next_count(count, took);
        let busy = std::mem::take(&mut self.busy);
        self.due = (!self.unmarked.is_empty()).then(|| Instant::now() + rest_after(took, busy));
        Ok(())
    }
}

/// How many to mark next, when so many took so long.
fn next_count(count: usize, took: Duration) -> usize {
    let each = took / u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let fit = STEP.as_nanos() / each.as_nanos().max(1);
    usize::try_from(fit)
        .unwrap_or(usize::MAX)
        .clamp(*AT_ONCE.start(), *AT_ONCE.end())
}

/// How long the store is left alone after a step that took so long. Between two steps there is always
/// time for others.
fn rest_after(took: Duration, busy: bool) -> Duration {
    if busy {
        (took * (SHARE - 1)).max(MARK_AFTER)
    } else {
        took
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_has_as_many_events_as_fit_into_its_time() {
        for (count, took_ms, next) in [
            (2000, 20, 2000), // a quick store: as many as may be
            (1000, 100, 500),
            (25, 25, 50),
            (25, 1000, 25), // a slow one: not fewer than that
        ] {
            let took = Duration::from_millis(took_ms);
            assert_eq!(next_count(count, took), next, "{count} in {took:?}");
        }
    }

    #[test]
    fn the_store_is_left_alone_for_most_of_the_time_while_events_come() {
        let ms = Duration::from_millis;
        assert_eq!(rest_after(ms(2), true), MARK_AFTER);
        assert_eq!(rest_after(ms(50), true), ms(950));
        assert_eq!(rest_after(ms(50), false), ms(50));
    }
}
