//! From sending a post to the first page of the feed that shows it, at light load. On its way are Traefik,
//! the posts service, MongoDB's wire, Kafka, the feed-generator and Redis. The collection is small, as for
//! creating posts.

use std::time::Duration;

use hyper::StatusCode;

use super::create::without_posts;
use super::{World, server};
use crate::client::{get, signed};
use crate::community::{new_post, until_within};
use crate::load::quantile_ms;
use crate::measure::{Measure, Target};
use crate::scenarios::freshness::watch;

/// As many as a page shows.
const PAGE: usize = 20;
const PATIENCE: Duration = Duration::from_mins(1);

pub async fn measure(world: &mut World<'_>) -> anyhow::Result<Vec<Measure>> {
    without_posts(world).await?;
    filled(world).await?;
    let gateway = server(world.stack, "traefik").await?;
    let seen = watch(world.plan, &gateway, &world.tokens[0]).await?;
    let row =
        |what, of, quantile, target| Measure::alone(what, "ms", quantile_ms(of, quantile), target);
    let (shown, acknowledged) = (&seen.shown, &seen.acknowledged);
    let acknowledged_p50 = "of it until the post is acknowledged, p50";
    let acknowledged_p99 = "of it until the post is acknowledged, p99";
    Ok(vec![
        row("post to feed, p50", shown, 0.5, Target::Below(15.0)),
        row("post to feed, p99", shown, 0.99, Target::Below(50.0)),
        row(acknowledged_p50, acknowledged, 0.5, Target::Open),
        row(acknowledged_p99, acknowledged, 0.99, Target::Open),
    ])
}

/// Writes posts until the feed's first page is full, and waits until the feed has read all.
pub async fn filled(world: &World<'_>) -> anyhow::Result<()> {
    let mut gateway = server(world.stack, "traefik").await?.connect().await?;
    let post = signed(new_post("A full page")?, &world.tokens[0])?;
    let (feed, stats) = (
        get("/api/activity-stream")?,
        get("/api/activity-stream/stats")?,
    );
    let page = gateway.json(&feed, StatusCode::OK).await?;
    let there = page["items"].as_array().map_or(0, Vec::len);
    for _ in there..PAGE {
        gateway.expect(&post, StatusCode::CREATED).await?;
    }
    until_within(PATIENCE, "the feed's first page is full", async || {
        let page = gateway.json(&feed, StatusCode::OK).await?;
        Ok(page["items"].as_array().map_or(0, Vec::len) == PAGE)
    })
    .await?;
    until_within(PATIENCE, "the feed has caught up", async || {
        let stats = gateway.json(&stats, StatusCode::OK).await?;
        Ok(stats["consumer_lag"].as_i64() == Some(0))
    })
    .await
}
