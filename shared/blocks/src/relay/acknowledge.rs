//! Acknowledgements: published events are marked as such in the outbox, beside everything else.
//!
//! The marks are needed only after a crash, and they are written where requests write. So they get a small
//! share of the time while events come, and all of it when they stop. Until then events wait in memory.
//! After a crash they are published again, and consumers skip them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::backoff::Backoff;
use crate::error::BoxError;
use crate::outbox::{Outbox, Pending, Place, Published};

/// Events published within this time are acknowledged together. After as long without any, the outbox is
/// at rest.
const TOGETHER: Duration = Duration::from_millis(250);
/// The fewest and the most events of one step.
const AT_ONCE: std::ops::RangeInclusive<usize> = 10..=2000;
/// Target time of one step: it has as many events as fit at the last step's speed.
const STEP: Duration = Duration::from_millis(20);
/// A step is at most this many times as large as the one before.
const GROWTH: usize = 4;
/// While events come, acknowledging gets one part in this many of the time.
const SHARE: u32 = 20;
/// The most events that may wait; each needs about 100 bytes here.
const MOST: usize = 50_000;

/// A write of acknowledgements that is under way.
struct Step {
    count: usize,
    began: Instant,
    done: JoinHandle<Result<(), BoxError>>,
}

/// An event that waits for its acknowledgement.
struct Waiting {
    event: Published,
    /// Time of the event: at its commit or shortly before.
    time: DateTime<Utc>,
}

/// Events that are published and not yet acknowledged, oldest first.
pub(super) struct Acknowledgements {
    outbox: Arc<dyn Outbox>,
    tasks: TaskTracker,
    waiting: Vec<Waiting>,
    step: Option<Step>,
    at_once: usize,
    /// Time when the last event came.
    came: Instant,
    /// Due time of the next step if no more events come.
    earliest: Instant,
    /// Due time of the next step in any case.
    latest: Instant,
    backoff: Backoff,
}

impl Acknowledgements {
    pub fn new(outbox: Arc<dyn Outbox>) -> Self {
        Self {
            outbox,
            tasks: TaskTracker::new(),
            waiting: Vec::new(),
            step: None,
            at_once: *AT_ONCE.start(),
            came: Instant::now(),
            earliest: Instant::now(),
            latest: Instant::now(),
            backoff: Backoff::default(),
        }
    }

    /// Adds events that are published now.
    pub fn add(&mut self, published: &[Pending]) {
        self.came = Instant::now();
        if self.waiting.is_empty() {
            self.latest = self.latest.max(self.came + TOGETHER);
        }
        self.waiting.extend(published.iter().map(|event| Waiting {
            event: Published::from(event),
            time: event.message.time,
        }));
    }

    /// Number of events that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Number of keys with an event that waits and is older than `time`.
    pub fn keys_before(&self, time: DateTime<Utc>) -> usize {
        let earlier = self.waiting.iter().filter(|waiting| waiting.time < time);
        let keys: HashSet<&str> = earlier.map(|waiting| waiting.event.key.as_str()).collect();
        keys.len()
    }

    /// Places of the events that wait.
    pub fn places(&self) -> HashSet<Place> {
        self.waiting
            .iter()
            .map(|waiting| waiting.event.place)
            .collect()
    }

    /// Waits until a step is due, and takes it; for ever when no event waits. Cancel-safe: the next call
    /// goes on with it.
    ///
    /// # Errors
    /// When the store could not be reached. The pause before the next step then grows.
    pub async fn step(&mut self) -> Result<(), BoxError> {
        if self.step.is_none() {
            if self.waiting.is_empty() {
                return std::future::pending().await;
            }
            let at_rest = self.came + TOGETHER;
            let due = self.latest.min(at_rest).max(self.earliest);
            tokio::time::sleep_until(due).await;
        }
        self.now().await
    }

    /// Acknowledges all of them.
    ///
    /// # Errors
    /// As [`Acknowledgements::step`].
    pub async fn all(&mut self) -> Result<(), BoxError> {
        while self.step.is_some() || !self.waiting.is_empty() {
            self.now().await?;
        }
        Ok(())
    }

    /// Acknowledges the oldest while more wait than may.
    ///
    /// # Errors
    /// As [`Acknowledgements::step`].
    pub async fn make_room(&mut self) -> Result<(), BoxError> {
        while self.waiting.len() > MOST {
            self.now().await?;
        }
        Ok(())
    }

    /// The earliest time for the next step.
    pub fn not_before(&self) -> Instant {
        self.earliest
    }

    /// Makes the next step due at once.
    pub fn soon(&mut self) {
        self.again_after(Duration::ZERO);
    }

    fn again_after(&mut self, pause: Duration) {
        self.earliest = Instant::now() + pause;
        self.latest = self.earliest;
    }

    /// Ends the step that is under way, or takes one.
    async fn now(&mut self) -> Result<(), BoxError> {
        let step = self.step.get_or_insert_with(|| {
            let count = self.waiting.len().min(self.at_once);
            let outbox = Arc::clone(&self.outbox);
            let events = self.waiting[..count].iter();
            let events: Vec<Published> = events.map(|waiting| waiting.event.clone()).collect();
            let write = async move { outbox.mark_published(&events).await };
            Step {
                count,
                began: Instant::now(),
                done: self.tasks.spawn(write),
            }
        });
        let done = (&mut step.done).await;
        let (count, took) = (step.count, step.began.elapsed());
        self.step = None;
        if let Err(error) = done.map_err(BoxError::from).flatten() {
            let pause = self.backoff.pause();
            self.again_after(pause);
            return Err(error);
        }
        self.backoff.reset();
        self.waiting.drain(..count);
        self.at_once = next_count(self.at_once, count, took);
        // Between two steps there is always time for others.
        self.earliest = Instant::now() + took;
        self.latest = Instant::now() + (took * (SHARE - 1)).max(TOGETHER);
        Ok(())
    }
}

/// Size of the next step, when the limit was `at_once` and a step of `count` took this long.
fn next_count(at_once: usize, count: usize, took: Duration) -> usize {
    let each = took / u32::try_from(count).unwrap_or(u32::MAX).max(1);
    let fit = STEP.as_nanos() / each.as_nanos().max(1);
    let fit = usize::try_from(fit).unwrap_or(usize::MAX);
    // A small step says little of a large one.
    fit.min(at_once.max(count * GROWTH))
        .clamp(*AT_ONCE.start(), *AT_ONCE.end())
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use events::Message;
    use parking_lot::Mutex;
    use tokio::sync::mpsc;
    use tokio::time::timeout;
    use uuid::Uuid;

    use super::*;
    use crate::outbox::{Depth, Lease};

    #[test]
    fn a_step_has_as_many_events_as_fit_into_its_time() {
        for (at_once, count, took_ms, next) in [
            (2000, 2000, 20, 2000), // a quick store: as many as may be
            (2000, 1, 0, 2000),
            (2000, 1000, 100, 200),
            (10, 10, 10, 20),
            (10, 10, 1, 40),    // seems quick: more, but not all at once
            (10, 10, 1000, 10), // a slow one: not fewer than that
        ] {
            let next_one = next_count(at_once, count, Duration::from_millis(took_ms));
            assert_eq!(next_one, next, "{count} in {took_ms} ms");
        }
    }

    /// An outbox that takes so long to mark an event, and notes when how many were marked.
    struct Slow {
        each: Duration,
        began: Instant,
        marked: Mutex<Vec<(Duration, usize)>>,
    }

    #[async_trait]
    impl Outbox for Slow {
        fn service(&self) -> &'static str {
            "slow"
        }
        fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>> {
            None
        }
        fn fell_behind(&self) -> bool {
            false
        }
        async fn pending(
            &self,
            _: Option<DateTime<Utc>>,
            _: Place,
            _: usize,
        ) -> Result<Vec<Pending>, BoxError> {
            Ok(Vec::new())
        }
        async fn mark_published(&self, events: &[Published]) -> Result<(), BoxError> {
            let count = events.len();
            tokio::time::sleep(self.each * u32::try_from(count)?).await;
            let mut marked = self.marked.lock();
            marked.push((self.began.elapsed(), count));
            Ok(())
        }
        async fn mark_refused(&self, _: Place, _: &str) -> Result<(), BoxError> {
            Ok(())
        }
        async fn depth(&self) -> Result<Depth, BoxError> {
            Ok(Depth::default())
        }
        async fn keys_pending_before(&self, _: DateTime<Utc>) -> Result<i64, BoxError> {
            Ok(0)
        }
        async fn lease(&self, _: Uuid) -> Result<Option<Lease>, BoxError> {
            Ok(None)
        }
        async fn remove_published(&self, _: DateTime<Utc>) -> Result<u64, BoxError> {
            Ok(0)
        }
    }

    fn some(count: u128) -> Vec<Pending> {
        let event = |number| Pending {
            place: Place::from(Uuid::from_u128(number)),
            message: Message {
                topic: "posts".to_owned(),
                key: number.to_string(),
                headers: Vec::new(),
                value: Vec::new(),
                time: DateTime::UNIX_EPOCH,
            },
        };
        (1..=count).map(event).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn acknowledging_has_a_share_of_the_time_while_events_come_and_all_of_it_afterwards() {
        let slow = Arc::new(Slow {
            each: Duration::from_millis(1),
            began: Instant::now(),
            marked: Mutex::default(),
        });
        let mut acknowledgements = Acknowledgements::new(Arc::clone(&slow) as _);
        // As a relay does: what has no time to end goes on afterwards.
        let busy = Duration::from_secs(10);
        while slow.began.elapsed() < busy {
            acknowledgements.add(&some(5));
            if let Ok(marked) = timeout(Duration::from_millis(5), acknowledgements.step()).await {
                marked.unwrap();
            }
        }
        let while_busy = std::mem::take(&mut *slow.marked.lock());
        let took: usize = while_busy.iter().map(|(_, count)| count).sum();
        assert!((400..600).contains(&took), "{while_busy:?}");
        let most = while_busy.iter().map(|(_, count)| *count).max();
        assert!(most <= Some(20), "{while_busy:?}");

        while acknowledgements.len() > 0 {
            acknowledgements.step().await.unwrap();
        }
        let all = Duration::from_secs(21);
        assert!(
            slow.began.elapsed() < busy + all,
            "{:?}",
            slow.began.elapsed()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_acknowledged_for_room_than_it_takes() {
        let slow = Arc::new(Slow {
            each: Duration::from_millis(1),
            began: Instant::now(),
            marked: Mutex::default(),
        });
        let mut acknowledgements = Acknowledgements::new(Arc::clone(&slow) as _);
        let too_many = 15;
        acknowledgements.add(&some(MOST as u128 + too_many));
        acknowledgements.make_room().await.unwrap();
        let marked = slow.marked.lock();
        let counts: Vec<usize> = marked.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [10, 20]);
        assert_eq!(acknowledgements.len(), MOST - 15);
    }

    #[tokio::test(start_paused = true)]
    async fn a_quick_store_acknowledges_together_the_events_that_come_together() {
        let quick = Arc::new(Slow {
            each: Duration::ZERO,
            began: Instant::now(),
            marked: Mutex::default(),
        });
        let mut acknowledgements = Acknowledgements::new(Arc::clone(&quick) as _);
        for _ in 0..10 {
            acknowledgements.add(&some(1));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        acknowledgements.step().await.unwrap();
        let marked = quick.marked.lock();
        assert_eq!(marked[..], [(Duration::from_millis(250), 10)]);
    }
}
