//! The memory of each service when nobody asks it anything.

use std::time::Duration;

use anyhow::Context;

use super::{World, server};
use crate::measure::{Measure, Target};

/// Long enough that the memory of the start is given back, and that everything that runs by the clock has had
/// its turn.
const SETTLE: Duration = Duration::from_secs(4);

pub async fn measure(world: &World<'_>) -> anyhow::Result<Vec<Measure>> {
    let services = world.stack.services();
    for service in &services {
        world.stack.run(&["restart", service]).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let mut measures = Vec::with_capacity(services.len());
    for service in services {
        let memory = server(world.stack, service).await?.memory();
        let memory = memory.context("the system does not say how much memory a process has")?;
        measures.push(Measure::alone(
            format!("memory, idle: {service}"),
            "MiB",
            memory.resident,
            Target::Below(30.0),
        ));
    }
    Ok(measures)
}
