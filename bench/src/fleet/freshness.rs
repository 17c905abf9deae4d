//! From sending a post to the first page of the feed that shows it, at light load. On its way are Traefik,
//! the posts service, MongoDB's wire, Kafka, the feed-generator and Redis. The collection is small, as for
//! creating posts.

use hyper::StatusCode;

use super::create::without_posts;
use super::{World, server};
use crate::client::{get, signed};
use crate::community::{caught_up, new_post, until};
use crate::measure::{Measure, Target};
use crate::scenarios::freshness::watch;

/// As many as a page shows.
const PAGE: usize = 20;

pub async fn measure(world: &World<'_>) -> anyhow::Result<Vec<Measure>> {
    without_posts(world).await?;
    filled(world).await?;
    let gateway = server(world.stack, "traefik").await?;
    let targets = [Target::Below(15.0), Target::Below(50.0)];
    watch(world.plan, &gateway, &world.tokens[0], targets).await
}

/// Writes posts until the feed's first page is full, and waits until the feed has read all.
pub async fn filled(world: &World<'_>) -> anyhow::Result<()> {
    let mut gateway = server(world.stack, "traefik").await?.connect().await?;
    let post = signed(new_post("A full page")?, &world.tokens[0])?;
    let feed = get("/api/activity-stream")?;
    let page = gateway.json(&feed, StatusCode::OK).await?;
    let there = page["items"].as_array().map_or(0, Vec::len);
    for _ in there..PAGE {
        gateway.expect(&post, StatusCode::CREATED).await?;
    }
    until("the feed's first page is full", async || {
        let page = gateway.json(&feed, StatusCode::OK).await?;
        Ok(page["items"].as_array().map_or(0, Vec::len) == PAGE)
    })
    .await?;
    caught_up(&mut gateway).await
}
