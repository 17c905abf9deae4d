//! Pauses between attempts at something that is away: doubled, capped, with jitter.

use std::time::Duration;

use rand::Rng;
use tokio::time::Instant;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_millis(50);
/// The longest pause, and so the longest time until a recovery is noticed.
const LONGEST: Duration = Duration::from_secs(3);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure.
    pub fn pause(&mut self) -> Duration {
        let pause = FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(LONGEST);
        self.failures += 1;
        pause.mul_f64(rand::rng().random_range(0.75..1.0))
    }

    /// Number of failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Notes a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Pause between log lines about a fault that lasts.
const REMIND: Duration = Duration::from_secs(30);

/// Decides when a lasting fault is logged again: when it begins, when its reason changes, and now and then,
/// so that the end of a log shows it.
#[derive(Debug, Default)]
pub struct Reminder {
    told: Option<(String, Instant)>,
}

impl Reminder {
    /// True if `reason` is to be logged now.
    pub fn is_due(&mut self, reason: &str) -> bool {
        let is_due = self
            .told
            .as_ref()
            .is_none_or(|(last, at)| last != reason || at.elapsed() > REMIND);
        if is_due {
            self.told = Some((reason.to_owned(), Instant::now()));
        }
        is_due
    }

    /// It works again; answers whether there was something to tell of.
    pub fn is_over(&mut self) -> bool {
        self.told.take().is_some()
    }
}

/// Waits until `deadline`; for ever when there is none.
pub(crate) async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_fault_is_told_of_when_it_begins_or_changes_and_now_and_then() {
        let mut reminder = Reminder::default();
        assert!(!reminder.is_over());
        assert!(reminder.is_due("refused"));
        assert!(!reminder.is_due("refused"));
        assert!(reminder.is_due("timed out"));
        tokio::time::advance(REMIND / 2).await;
        assert!(!reminder.is_due("timed out"));
        tokio::time::advance(REMIND).await;
        assert!(reminder.is_due("timed out"));
        assert!(reminder.is_over());
        assert!(reminder.is_due("timed out"));
    }

    #[test]
    fn pauses_grow_to_the_cap_and_start_again_after_a_success() {
        let mut backoff = Backoff::default();
        let first = backoff.pause();
        assert!(first <= FIRST);
        let last = (0..20).map(|_| backoff.pause()).last().unwrap();
        assert!(last > LONGEST / 2 && last <= LONGEST, "{last:?}");
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
