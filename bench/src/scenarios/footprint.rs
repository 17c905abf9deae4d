//! The memory, start time and disk space of rookery.

use std::time::Duration;

use anyhow::Context;

use super::CLIENTS;
use crate::Plan;
use crate::client::get;
use crate::community::Community;
use crate::load::Load;
use crate::machine::Memory;
use crate::measure::{Measure, Target, median};
use crate::server::Server;

const STARTS: usize = 5;
/// The time after which memory that a start or a load needed for a moment has been given back.
const SETTLE: Duration = Duration::from_secs(2);
const MIB: f64 = 1_048_576.0;

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let mut first_answers = Vec::with_capacity(STARTS);
    for _ in 0..STARTS {
        let folder = plan.temp()?;
        let server = Server::rookery(plan, folder.path()).await?;
        first_answers.push(server.first_answer.as_secs_f64() * 1e3);
        server.kill().await?;
    }
    let first_answer = median(first_answers).context("nothing was started")?;

    let folder = plan.temp()?;
    let server = Server::rookery(plan, folder.path()).await?;
    let idle = settled(&server).await?;
    server.kill().await?;
    let loaded = after_load(plan).await?;

    let size = std::fs::metadata(&plan.rookery)?.len();
    #[expect(clippy::cast_precision_loss, reason = "no binary is 2^52 bytes long")]
    let size = size as f64 / MIB;
    let started = "from start to first answer, empty folder";
    let mib = |what, value, target| Measure::alone(what, "MiB", value, target);
    let open = |what, value| mib(what, value, Target::Open);
    Ok(vec![
        Measure::alone(started, "ms", first_answer, Target::Below(300.0)),
        mib("memory, idle", idle.resident, Target::Below(40.0)),
        open("memory, idle, without the binary's pages", idle.own),
        open("memory, after load", loaded.resident),
        open("memory, after load, without the binary's pages", loaded.own),
        open("size of the binary", size),
    ])
}

async fn settled(server: &Server) -> anyhow::Result<Memory> {
    tokio::time::sleep(SETTLE).await;
    server
        .memory()
        .context("the system does not say how much memory a process has")
}

async fn after_load(plan: &Plan) -> anyhow::Result<Memory> {
    let folder = plan.temp()?;
    let community = Community::start(plan, folder.path(), 4).await?;
    let writes = Load::writes(community.posts()?, CLIENTS);
    let reads = Load::of([get("/api/activity-stream")?], CLIENTS);
    for load in [writes, reads] {
        load.run(community.server.address, plan.warm_up, plan.turn)
            .await?;
    }
    community.settle().await?;
    settled(&community.server).await
}
