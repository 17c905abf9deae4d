//! A feed that lost its file: how fast it is made anew from the log.

use std::time::Instant;

use hyper::StatusCode;

use super::CLIENTS;
use crate::Plan;
use crate::client::get;
use crate::community::{Community, until};
use crate::load::Load;
use crate::measure::{Measure, Target};
use crate::server::Server;

const ACCOUNTS: u32 = 4;
/// The most items that the global stream shows.
const SHOWN: u32 = 1000;

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let folder = plan.temp()?;
    let posts = fill(plan, folder.path()).await?;
    for ending in ["", "-wal", "-shm"] {
        let file = folder
            .path()
            .join(format!("data/feed-generator.db{ending}"));
        if file.exists() {
            std::fs::remove_file(file)?;
        }
    }
    let started = Instant::now();
    let server = Server::rookery(plan, folder.path()).await?;
    let mut client = server.connect().await?;
    let stats = get("/api/activity-stream/stats")?;
    until("the feed has caught up", async || {
        let stats = client.json(&stats, StatusCode::OK).await?;
        Ok(stats["consumer_lag"].as_i64() == Some(0)
            && stats["global_activity_count"].as_u64() >= Some(posts.min(SHOWN).into()))
    })
    .await?;
    let rate = f64::from(posts + ACCOUNTS) / started.elapsed().as_secs_f64();
    Ok(vec![Measure::alone(
        "feed made anew from the log, start included",
        "/s",
        rate,
        Target::Open,
    )])
}

/// Writes posts for a turn, waits until all are in the feed, and answers how many there are.
async fn fill(plan: &Plan, folder: &std::path::Path) -> anyhow::Result<u32> {
    let community = Community::start(plan, folder, ACCOUNTS as usize).await?;
    let load = Load::writes(community.posts()?, CLIENTS);
    let answers = load
        .run(community.server.address, plan.warm_up, plan.turn)
        .await?;
    community.settle().await?;
    community.server.kill().await?;
    Ok(u32::try_from(answers.all)? + 1)
}
