//! The first page of the feed, at the feed-generator's own port. Its limit is a handler in the kit that asks
//! the same Redis for as many entries and sends them as they are.

use super::freshness::filled;
use super::{World, server};
use crate::client::get;
use crate::load::Load;
use crate::measure::{Measure, Target, in_turns};
use crate::scenarios::CLIENTS;
use crate::server::Server;

pub async fn measure(world: &World<'_>) -> anyhow::Result<Vec<Measure>> {
    let plan = world.plan;
    let folder = plan.temp()?;
    filled(world).await?;
    let feed = server(world.stack, "feed-generator").await?;
    let redis = world.stack.value("REDIS_URL").await?;
    let lrange = Server::limit(folder.path(), &["lrange", "--url", &redis]).await?;
    let asked = Load::of([get("/api/activity-stream")?], CLIENTS);
    let asked_of_limit = Load::of([get("/")?], CLIENTS);
    let measure = in_turns(
        plan,
        "feed of 20 / one LRANGE in the kit",
        Target::Ratio(0.5),
        (&feed, &asked),
        (&lrange, &asked_of_limit),
    );
    Ok(vec![measure.await?])
}
