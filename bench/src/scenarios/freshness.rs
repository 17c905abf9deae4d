//! From sending a post to the first page of the feed that shows it, at light load.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::time::{MissedTickBehavior, interval};

use crate::Plan;
use crate::client::{get, signed};
use crate::community::{Community, contains, new_post};
use crate::load::{Latencies, latencies, note, quantile_ms};
use crate::measure::{Measure, Target};
use crate::server::Server;

/// Twenty posts a second.
const EVERY: Duration = Duration::from_millis(50);
const POSTS: u32 = 200;
/// A post that has not come by then never will.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let folder = plan.temp()?;
    let community = Community::start(plan, folder.path(), 1).await?;
    community.write(50).await?;
    community.settle().await?;
    let Seen {
        shown: seen,
        acknowledged,
    } = watch(plan, &community.server, &community.tokens[0]).await?;
    let alone = |what, value, target| Measure::alone(what, "ms", value, target);
    Ok(vec![
        alone("post to feed, p50", quantile_ms(&seen, 0.5), Target::Open),
        alone(
            "post to feed, p99",
            quantile_ms(&seen, 0.99),
            Target::Below(25.0),
        ),
        alone(
            "of it until the post is acknowledged, p50",
            quantile_ms(&acknowledged, 0.5),
            Target::Open,
        ),
        alone(
            "of it until the post is acknowledged, p99",
            quantile_ms(&acknowledged, 0.99),
            Target::Open,
        ),
    ])
}

/// The latencies of posts, from when they were sent.
pub struct Seen {
    /// Until the feed showed them.
    pub shown: Latencies,
    /// Until they were acknowledged.
    pub acknowledged: Latencies,
}

/// Writes posts at light load as whoever has `token`, and watches the feed for each.
pub async fn watch(plan: &Plan, server: &Server, token: &str) -> anyhow::Result<Seen> {
    let mut writer = server.connect().await?;
    let mut reader = server.connect().await?;
    let feed = get("/api/activity-stream")?;
    let (mut shown, mut acknowledged) = (latencies(), latencies());
    let mut turn = interval(EVERY);
    turn.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0..if plan.quick { 20 } else { POSTS } {
        turn.tick().await;
        let title = format!("Seen at dusk, number {number}.");
        let post = signed(new_post(&title)?, token)?;
        let sent = Instant::now();
        let write = async {
            writer.expect(&post, StatusCode::CREATED).await?;
            Ok::<_, anyhow::Error>(sent.elapsed())
        };
        let read = async {
            loop {
                let page = reader.expect(&feed, StatusCode::OK).await?;
                let took = sent.elapsed();
                if contains(&page, &title) {
                    return Ok(took);
                }
                anyhow::ensure!(took < PATIENCE, "the feed never showed {title:?}");
            }
        };
        let (answered, seen) = tokio::try_join!(write, read)?;
        note(&mut acknowledged, answered);
        note(&mut shown, seen);
    }
    Ok(Seen {
        shown,
        acknowledged,
    })
}
