//! Writing posts, against SQLite doing nothing but one durable commit a row.
//!
//! rookery does more for a post: HTTP, the outbox, the topic log and the feed, each durable where it
//! must be. It may still be faster, since writes that come together share a commit.

use hyper::StatusCode;

use super::CLIENTS;
use crate::Plan;
use crate::community::Community;
use crate::limits;
use crate::load::Load;
use crate::measure::{Measure, Target, Turns};

const ACCOUNTS: usize = 4;

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let many = "create post / SQLite alone, 32 clients";
    let one = "create post / SQLite alone, 1 client";
    Ok(vec![
        compare(plan, many, CLIENTS, Target::Ratio(1.0)).await?,
        compare(plan, one, 1, Target::Ratio(0.5)).await?,
    ])
}

async fn compare(
    plan: &Plan,
    what: &'static str,
    clients: usize,
    target: Target,
) -> anyhow::Result<Measure> {
    let folder = plan.temp()?;
    let community = Community::start(plan, folder.path(), ACCOUNTS).await?;
    let load = Load {
        expected: StatusCode::CREATED,
        ..Load::of(community.posts()?, clients)
    };
    let (mut rookery, mut sqlite) = (Turns::default(), Turns::default());
    for _ in 0..plan.turns {
        rookery.ask(plan, &community.server, &load).await?;
        // What is still on its way to the feed must not disturb the other side.
        community.settle().await?;
        let written = limits::written(plan, "sqlite", clients).await?;
        sqlite.add(&written, None)?;
    }
    Ok(Measure::rates(what, &rookery, &sqlite, target))
}
