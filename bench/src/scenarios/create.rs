//! Writing posts, against SQLite doing nothing but one durable commit a row.
//!
//! rookery does more for a post: HTTP, the outbox, the topic log and the feed, each durable where it
//! must be. It may still be faster, since writes that come together share a commit. The write seam
//! alone, with nothing but a row and its event, shows which part of it is the seam's.

use super::CLIENTS;
use crate::Plan;
use crate::community::Community;
use crate::limits;
use crate::load::Load;
use crate::measure::{Measure, Target, Turns};

const ACCOUNTS: usize = 4;

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let mut measures = Vec::new();
    for (clients, who, target) in [
        (CLIENTS, "32 clients", Target::Ratio(1.0)),
        (1, "1 client", Target::Ratio(0.5)),
    ] {
        let folder = plan.temp()?;
        let community = Community::start(plan, folder.path(), ACCOUNTS).await?;
        let load = Load::writes(community.posts()?, clients);
        let (mut rookery, mut seam, mut sqlite) = <(Turns, Turns, Turns)>::default();
        for _ in 0..plan.turns {
            rookery.ask(plan, &community.server, &load).await?;
            // Events on their way to the feed must not disturb the other side.
            community.settle().await?;
            sqlite.add(&limits::written(plan, "sqlite", clients).await?, None)?;
            seam.add(&limits::written(plan, "seam", clients).await?, None)?;
        }
        let what = format!("create post / SQLite alone, {who}");
        measures.push(Measure::rates(what, &rookery, &sqlite, target));
        let what = format!("write seam alone / SQLite alone, {who}");
        measures.push(Measure::rates(what, &seam, &sqlite, Target::Open));
    }
    Ok(measures)
}
