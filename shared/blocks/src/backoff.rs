//! Pauses between attempts at something that is away: doubled, capped, with jitter.

use std::time::Duration;

use rand::Rng;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_millis(50);
/// No pause is longer: what comes back is noticed within this time.
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

    /// How many failures there were since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// It works again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
