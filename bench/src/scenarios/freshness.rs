//! From sending a post to the first page of the feed that shows it, at light load.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use tokio::time::{MissedTickBehavior, interval};

use crate::Plan;
use crate::client::{get, signed};
use crate::community::{Community, contains, new_post};
use crate::load::{latencies, note, quantile_ms};
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
    let targets = [Target::Open, Target::Below(25.0)];
    watch(plan, &community.server, &community.tokens[0], targets).await
}

/// Writes posts at light load as the owner of `token`, and watches the feed for each. The targets are those
/// of the p50 and of the p99.
pub async fn watch(
    plan: &Plan,
    server: &Server,
    token: &str,
    [p50, p99]: [Target; 2],
) -> anyhow::Result<Vec<Measure>> {
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
                if contains(page.body(), &title) {
                    return Ok(took);
                }
                anyhow::ensure!(took < PATIENCE, "the feed never showed {title:?}");
            }
        };
        let (answered, seen) = tokio::try_join!(write, read)?;
        note(&mut acknowledged, answered);
        note(&mut shown, seen);
    }
    let row =
        |what, of, quantile, target| Measure::alone(what, "ms", quantile_ms(of, quantile), target);
    let acknowledged_p50 = "of it until the post is acknowledged, p50";
    let acknowledged_p99 = "of it until the post is acknowledged, p99";
    Ok(vec![
        row("post to feed, p50", &shown, 0.5, p50),
        row("post to feed, p99", &shown, 0.99, p99),
        row(acknowledged_p50, &acknowledged, 0.5, Target::Open),
        row(acknowledged_p99, &acknowledged, 0.99, Target::Open),
    ])
}
