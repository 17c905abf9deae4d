//! Time and ids as a port, so that tests decide both.

use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use uuid::{ContextV7, Timestamp, Uuid};

/// The time in whole milliseconds, and ids that carry it.
///
/// PostgreSQL keeps microseconds and MongoDB milliseconds: a stored time must come back unchanged.
pub trait Clock: Send + Sync + 'static {
    /// Now, in whole milliseconds.
    fn now(&self) -> DateTime<Utc>;
    /// A fresh `UUIDv7`; ids of one process sort by when they were made.
    fn id(&self) -> Uuid;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[expect(
    clippy::disallowed_methods,
    reason = "this is the port the lint points to"
)]
impl Clock for SystemClock {
    fn now(&self) -> DateTime<Utc> {
        whole_millis(Utc::now())
    }
    fn id(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A clock that stands until it is told to move.
///
/// ```
/// use blocks::{Clock, ManualClock};
/// use chrono::TimeDelta;
///
/// let clock = ManualClock::default();
/// let (before, id) = (clock.now(), clock.id());
/// clock.advance(TimeDelta::days(1));
/// assert_eq!(clock.now() - before, TimeDelta::days(1));
/// assert!(clock.id() > id, "ids sort by time");
/// ```
#[derive(Debug)]
pub struct ManualClock {
    millis: AtomicI64,
    context: Mutex<ContextV7>,
}

impl ManualClock {
    /// A clock that stands at `start`.
    pub fn at(start: DateTime<Utc>) -> Self {
        Self {
            millis: AtomicI64::new(start.timestamp_millis()),
            context: Mutex::new(ContextV7::new()),
        }
    }

    /// Moves on by `by`, which may be negative.
    pub fn advance(&self, by: TimeDelta) {
        self.millis
            .fetch_add(by.num_milliseconds(), Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    /// Stands at 2026-01-01T12:00:00Z.
    fn default() -> Self {
        Self::at(DateTime::from_timestamp_millis(1_767_268_800_000).unwrap_or_default())
    }
}

impl Clock for ManualClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.millis.load(Ordering::SeqCst)).unwrap_or_default()
    }
    fn id(&self) -> Uuid {
        let millis = u64::try_from(self.millis.load(Ordering::SeqCst)).unwrap_or_default();
        let nanos = u32::try_from(millis % 1000).unwrap_or_default() * 1_000_000;
        let context = self.context.lock();
        Uuid::new_v7(Timestamp::from_unix(&*context, millis / 1000, nanos))
    }
}

fn whole_millis(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(time.timestamp_millis()).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_when_they_were_made_and_time_has_whole_millis() {
        let manual = ManualClock::default();
        for clock in [&SystemClock as &dyn Clock, &manual] {
            let ids: Vec<Uuid> = (0..1000).map(|_| clock.id()).collect();
            assert!(ids.is_sorted());
            assert_eq!(clock.now().timestamp_subsec_micros() % 1000, 0);
        }
        let before = manual.id();
        manual.advance(TimeDelta::milliseconds(1));
        assert!(manual.id() > before);
    }
}
