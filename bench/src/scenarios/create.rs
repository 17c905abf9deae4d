//! Writing posts, against SQLite doing nothing but one durable commit a row.
//!
//! rookery does more for a post: HTTP, the outbox, the topic log and the feed, each durable where it
//! must be. It may still be faster, since writes that come together share a commit. The write seam
//! alone, with nothing but a row and its event, shows which part of it is the seam's.

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
    let seam_for_many = "write seam alone / SQLite alone, 32 clients";
    let seam_for_one = "write seam alone / SQLite alone, 1 client";
    let mut measures = compare(plan, [many, seam_for_many], CLIENTS, Target::Ratio(1.0)).await?;
    measures.extend(compare(plan, [one, seam_for_one], 1, Target::Ratio(0.5)).await?);
    Ok(measures)
}

async fn compare(
    plan: &Plan,
    [what, of_seam]: [&'static str; 2],
    clients: usize,
    target: Target,
) -> anyhow::Result<Vec<Measure>> {
    let folder = plan.temp()?;
    let community = Community::start(plan, folder.path(), ACCOUNTS).await?;
    let load = Load {
        expected: StatusCode::CREATED,
        ..Load::of(community.posts()?, clients)
    };
    let (mut rookery, mut seam, mut sqlite) = <(Turns, Turns, Turns)>::default();
    for _ in 0..plan.turns {
        rookery.ask(plan, &community.server, &load).await?;
        // Events on their way to the feed must not disturb the other side.
        community.settle().await?;
        sqlite.add(&limits::written(plan, "sqlite", clients).await?, None)?;
        seam.add(&limits::written(plan, "seam", clients).await?, None)?;
    }
    Ok(vec![
        Measure::rates(what, &rookery, &sqlite, target),
        Measure::rates(of_seam, &seam, &sqlite, Target::Open),
    ])
}
