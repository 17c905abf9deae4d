//! What each service takes of memory when nobody asks it anything.

use std::time::Duration;

use anyhow::Context;

use super::World;
use super::stack::SERVICES;
use crate::measure::{Measure, Target};

/// Until what the start needed for a moment has been given back, and everything has had its turn that
/// runs by the clock.
const SETTLE: Duration = Duration::from_secs(4);

pub async fn measure(world: &mut World<'_>) -> anyhow::Result<Vec<Measure>> {
    for service in SERVICES {
        world.stack.stop(service).await?;
        world.stack.start(service).await?;
    }
    tokio::time::sleep(SETTLE).await;
    let rows = [
        "memory, idle: auth",
        "memory, idle: user-profile",
        "memory, idle: posts",
        "memory, idle: feed-generator",
        "memory, idle: notification",
    ];
    let mut measures = Vec::with_capacity(rows.len());
    for (what, service) in rows.into_iter().zip(SERVICES) {
        let memory = world.stack.server(service)?.memory();
        let memory = memory.context("the system does not say how much memory a process has")?;
        measures.push(Measure::alone(
            what,
            "MiB",
            memory.resident,
            Target::Below(30.0),
        ));
    }
    Ok(measures)
}
