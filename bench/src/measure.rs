//! One measurement: a subject, its target, and perhaps the limit that it is compared with.

use std::borrow::Cow;
use std::time::Duration;

use serde::Serialize;

use crate::Plan;
use crate::load::{Answers, Latencies, Load, latencies, quantile_ms};
use crate::server::Server;

/// The goal of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Subject over limit, at least.
    Ratio(f64),
    /// The subject's value, below.
    Below(f64),
    /// The subject's value, at least.
    #[cfg(feature = "fleet")]
    AtLeast(f64),
    /// Nothing: it is for information.
    Open,
}

impl Target {
    /// True if medians reach it; `None` when there is nothing to reach.
    pub fn is_met(self, value: f64, ratio: Option<f64>) -> Option<bool> {
        match self {
            Self::Ratio(least) => Some(ratio? >= least),
            Self::Below(bound) => Some(value < bound),
            #[cfg(feature = "fleet")]
            Self::AtLeast(least) => Some(value >= least),
            Self::Open => None,
        }
    }
}

/// One side of a measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Side {
    /// In the unit of its measure.
    pub value: f64,
    /// Half of the answers came within.
    pub p50_ms: Option<f64>,
    /// 99 of 100 answers came within.
    pub p99_ms: Option<f64>,
    /// Processor time of the server for one request, in microseconds, all its work included.
    pub cpu_us: Option<f64>,
}

impl From<f64> for Side {
    fn from(value: f64) -> Self {
        Self {
            value,
            p50_ms: None,
            p99_ms: None,
            cpu_us: None,
        }
    }
}

/// The result of one run.
#[derive(Debug, Clone)]
pub struct Measure {
    /// Names the row; the same in each run.
    pub what: Cow<'static, str>,
    /// Of the values of both sides.
    pub unit: &'static str,
    /// The goal that the medians of all runs are held against.
    pub target: Target,
    /// The side that is measured.
    pub subject: Side,
    /// The side that it is compared with.
    pub limit: Option<Side>,
}

impl Measure {
    /// A value without a limit.
    pub fn alone(
        what: impl Into<Cow<'static, str>>,
        unit: &'static str,
        value: f64,
        target: Target,
    ) -> Self {
        Self {
            what: what.into(),
            unit,
            target,
            subject: value.into(),
            limit: None,
        }
    }

    /// Rates that were gathered in turns.
    pub fn rates(
        what: impl Into<Cow<'static, str>>,
        subject: &Turns,
        limit: &Turns,
        target: Target,
    ) -> Self {
        Self {
            what: what.into(),
            unit: "/s",
            target,
            subject: subject.side(),
            limit: Some(limit.side()),
        }
    }
}

/// The turns of one side, put together.
#[derive(Debug)]
pub struct Turns {
    counted: Latencies,
    time: Duration,
    all: u64,
    processor: Option<Duration>,
}

impl Default for Turns {
    fn default() -> Self {
        Self {
            counted: latencies(),
            time: Duration::ZERO,
            all: 0,
            processor: Some(Duration::ZERO),
        }
    }
}

impl Turns {
    /// Adds a turn and what processor time it took, where that is known.
    pub fn add(&mut self, answers: &Answers, processor: Option<Duration>) -> anyhow::Result<()> {
        self.counted.add(&answers.counted)?;
        self.time += answers.time;
        self.all += answers.all;
        self.processor = self.processor.zip(processor).map(|(sum, more)| sum + more);
        Ok(())
    }

    /// Runs `load` against `server` for one turn.
    pub async fn ask(&mut self, plan: &Plan, server: &Server, load: &Load) -> anyhow::Result<()> {
        let before = server.processor_time();
        let answers = load.run(server.address, plan.warm_up, plan.turn).await?;
        let used = server
            .processor_time()
            .zip(before)
            .and_then(|(after, before)| after.checked_sub(before));
        self.add(&answers, used)
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of requests are far below 2^52"
    )]
    fn side(&self) -> Side {
        let all = self.all.max(1) as f64;
        Side {
            value: self.counted.len() as f64 / self.time.as_secs_f64(),
            p50_ms: Some(quantile_ms(&self.counted, 0.5)),
            p99_ms: Some(quantile_ms(&self.counted, 0.99)),
            cpu_us: self.processor.map(|time| time.as_secs_f64() * 1e6 / all),
        }
    }
}

/// Asks two servers the same, in turns.
pub async fn in_turns(
    plan: &Plan,
    what: &'static str,
    target: Target,
    (subject, asked): (&Server, &Load),
    (limit, asked_of_limit): (&Server, &Load),
) -> anyhow::Result<Measure> {
    let (mut of_subject, mut of_limit) = (Turns::default(), Turns::default());
    for _ in 0..plan.turns {
        of_subject.ask(plan, subject, asked).await?;
        of_limit.ask(plan, limit, asked_of_limit).await?;
    }
    Ok(Measure::rates(what, &of_subject, &of_limit, target))
}

/// The middle one of `values`; of two in the middle, what lies between them.
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        even if even % 2 == 0 => Some(f64::midpoint(values[middle - 1], values[middle])),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_whatever_the_order() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
        assert_eq!(median([]), None);
    }

    #[test]
    fn a_target_is_met_on_its_own_side_of_the_bound() {
        assert_eq!(Target::Ratio(0.6).is_met(9.0, Some(0.6)), Some(true));
        assert_eq!(Target::Ratio(0.6).is_met(9.0, Some(0.59)), Some(false));
        assert_eq!(Target::Below(25.0).is_met(25.0, None), Some(false));
        assert_eq!(Target::Below(25.0).is_met(24.9, None), Some(true));
        assert_eq!(Target::Open.is_met(1.0, None), None);
    }
}
