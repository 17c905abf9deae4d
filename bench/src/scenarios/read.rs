//! Reading: a post, and the first page of the feed, each against a handler that has the bytes ready.

use hyper::StatusCode;

use super::CLIENTS;
use crate::Plan;
use crate::client::{Ask, get, signed};
use crate::community::Community;
use crate::load::Load;
use crate::measure::{Measure, Target, in_turns};
use crate::server::Server;

const FEED: &str = "/api/activity-stream";
const POSTS: usize = 200;
const RATIO: Target = Target::Ratio(0.6);

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let folder = plan.temp()?;
    let community = Community::start(plan, folder.path(), 4).await?;
    let ids = community.write(POSTS).await?;
    community.settle().await?;
    let posts: Vec<String> = ids.iter().map(|id| format!("/api/posts/{id}")).collect();
    let feed = [FEED.to_owned()];
    let mut measures = Vec::new();
    for (what, target, paths, signed_in) in [
        ("GET post / same bytes in the kit", RATIO, &posts[..], true),
        ("GET feed / same bytes in the kit", RATIO, &feed, true),
        ("GET post, as a guest", Target::Open, &posts, false),
        ("GET feed, as a guest", Target::Open, &feed, false),
    ] {
        measures.push(compare(plan, &community, what, target, paths, signed_in).await?);
    }
    Ok(measures)
}

async fn compare(
    plan: &Plan,
    community: &Community,
    what: &'static str,
    target: Target,
    paths: &[String],
    signed_in: bool,
) -> anyhow::Result<Measure> {
    let ask = |path: &str| -> anyhow::Result<Ask> {
        let ask = get(path)?;
        if signed_in {
            signed(ask, &community.tokens[0])
        } else {
            Ok(ask)
        }
    };
    let asks = paths
        .iter()
        .map(|path| ask(path))
        .collect::<Result<Vec<_>, _>>()?;
    let mut client = community.server.connect().await?;
    let answer = client.expect(&asks[0], StatusCode::OK).await?;
    let folder = plan.temp()?;
    let file = folder.path().join("answer.json");
    std::fs::write(&file, answer.body())?;
    let file = file.to_string_lossy();
    let limit = Server::limit(folder.path(), &["kit", "--answer", &file]).await?;
    in_turns(
        plan,
        what,
        target,
        (&community.server, &Load::of(asks, CLIENTS)),
        (&limit, &Load::of([ask("/")?], CLIENTS)),
    )
    .await
}
