//! The freshness of readable data: the latest samples, for statistics endpoints.

use parking_lot::Mutex;
use serde::Serialize;

const SAMPLES: usize = 4096;

/// The latest samples of one consumer group, 4096 of them.
#[derive(Debug, Default)]
pub struct Freshness(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    samples: Vec<i64>,
    next: usize,
}

/// Half and nearly all of the samples were at most so old, in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Quantiles {
    /// The median, in ms.
    pub p50: i64,
    /// 99 of 100, in ms.
    pub p99: i64,
}

impl Freshness {
    /// Notes samples in ms; the oldest ones leave.
    pub fn record(&self, samples: &[i64]) {
        let mut ring = self.0.lock();
        for sample in samples {
            let (next, sample) = (ring.next, (*sample).max(0));
            if ring.samples.len() < SAMPLES {
                ring.samples.push(sample);
            } else {
                ring.samples[next] = sample;
            }
            ring.next = (next + 1) % SAMPLES;
        }
    }

    /// Quantiles of the samples; `None` before the first one.
    pub fn quantiles(&self) -> Option<Quantiles> {
        let mut samples = {
            let ring = self.0.lock();
            ring.samples.clone()
        };
        if samples.is_empty() {
            return None;
        }
        samples.sort_unstable();
        // The smallest sample that this percentage does not exceed.
        let at = |percent: usize| samples[(samples.len() * percent).div_ceil(100).max(1) - 1];
        Some(Quantiles {
            p50: at(50),
            p99: at(99),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_latest_samples() {
        let freshness = Freshness::default();
        assert_eq!(freshness.quantiles(), None);
        freshness.record(&(1..=100).collect::<Vec<_>>());
        assert_eq!(freshness.quantiles(), Some(Quantiles { p50: 50, p99: 99 }));
        freshness.record(&vec![7; SAMPLES]);
        assert_eq!(freshness.quantiles(), Some(Quantiles { p50: 7, p99: 7 }));
    }
}
