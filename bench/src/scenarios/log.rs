//! The topic log alone, appended to in batches, as a relay does under load.

use crate::Plan;
use crate::limits::{self, log::BATCH};
use crate::measure::{Measure, Target};

/// A relay for each service that publishes.
const WRITERS: usize = 4;

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let written = limits::written(plan, "log", WRITERS).await?;
    let batches = u32::try_from(written.counted.len())?;
    let rate = f64::from(batches * BATCH) / written.time.as_secs_f64();
    Ok(vec![Measure::alone(
        "topic log, events appended in batches of 100",
        "/s",
        rate,
        Target::Open,
    )])
}
