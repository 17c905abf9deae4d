//! One feed-generator with an empty Redis and a long topic before it, against a consumer of librdkafka
//! that pipelines one write an event into the same Redis.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use blocks::bus::EventBus;
use events::{Message, topic};
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use runtime::fleet::kafka::{KafkaBus, Settings};
use testkit::stack::Stack;

use super::World;
use crate::community::message;
use crate::limits;
use crate::measure::{Measure, Target};

/// Events on the topic, at least.
const BACKLOG: i64 = 100_000;
const AUTHORS: i64 = 100;
const BATCH: i64 = 1000;
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_mins(2);
/// The Redis key of the group's offsets.
const OFFSETS: &str = "feed:group:offsets";

pub async fn measure(world: &World<'_>) -> anyhow::Result<Vec<Measure>> {
    let plan = world.plan;
    let stack = world.stack;
    let services = stack.services();
    stack.run(&[&["stop"], &services[..]].concat()).await?;
    let servers = stack.value("KAFKA_BOOTSTRAP_SERVERS").await?;
    let all = fill(&servers, if plan.quick { 5_000 } else { BACKLOG }).await?;
    let url = stack.value("REDIS_URL").await?;
    let mut redis = limits::consume::redis(&url).await?;
    redis::cmd("FLUSHALL").exec_async(&mut redis).await?;
    let subject = watched(stack, &mut redis, all).await?;
    stack.run(&["stop", "feed-generator"]).await?;
    redis::cmd("FLUSHALL").exec_async(&mut redis).await?;
    let limit = limits::consume::rate(&servers, &url, all).await?;
    Ok(vec![
        Measure {
            what: "catching up / one write an event, pipelined".into(),
            unit: "/s",
            target: Target::Ratio(0.25),
            subject: subject.into(),
            limit: Some(limit.into()),
        },
        Measure::alone(
            "events a second of one feed-generator, catching up",
            "/s",
            subject,
            Target::AtLeast(15_000.0),
        ),
    ])
}

/// Publishes posts until the topic has `wanted` events; returns how many it has.
async fn fill(servers: &str, wanted: i64) -> anyhow::Result<i64> {
    let bus = KafkaBus::new(Settings::new(servers))?;
    let mut there = length(&bus).await?;
    while there < wanted {
        let numbers = there..there + BATCH;
        let batch = numbers.map(|number| message(number % AUTHORS + 1_000));
        let batch = batch.collect::<anyhow::Result<Vec<Message>>>()?;
        bus.publish(&batch).await?;
        there += BATCH;
    }
    let there = length(&bus).await?;
    bus.close().await;
    Ok(there)
}

async fn length(bus: &KafkaBus) -> anyhow::Result<i64> {
    let watermarks = bus.watermarks(topic::POSTS.name).await?;
    Ok(watermarks
        .iter()
        .map(|watermark| watermark.next - watermark.oldest)
        .sum())
}

/// Starts the feed-generator, and answers how many events a second it took in, from the first batch to
/// the last.
async fn watched(
    stack: &Stack,
    redis: &mut MultiplexedConnection,
    all: i64,
) -> anyhow::Result<f64> {
    let watching = async {
        let end = Instant::now() + PATIENCE;
        let mut first = None;
        loop {
            let offsets: BTreeMap<String, i64> = redis.hgetall(OFFSETS).await?;
            let (now, of_posts) = (Instant::now(), format!("{}/", topic::POSTS.name));
            let ours = offsets
                .iter()
                .filter(|(field, _)| field.starts_with(&of_posts));
            let done: i64 = ours.map(|(_, next)| next).sum();
            if done > 0 {
                let (since, before) = *first.get_or_insert((now, done));
                if done >= all {
                    let events = u32::try_from(done - before).context("too many events")?;
                    return Ok(f64::from(events) / (now - since).as_secs_f64());
                }
            }
            anyhow::ensure!(
                now < end,
                "the feed-generator has not read {all} events in time"
            );
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let (rate, _) = tokio::try_join!(watching, stack.run(&["start", "feed-generator"]))?;
    Ok(rate)
}
