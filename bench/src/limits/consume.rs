//! A consumer of librdkafka, and Redis: one write an event, as many in a pipeline as there are.

use std::time::{Duration, Instant};

use anyhow::Context;
use events::topic;
use futures::{FutureExt, StreamExt};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Events in one pipeline at most.
const PIPELINE: usize = 500;
/// Pipelines that wait for Redis at most.
const WAITING: usize = 4;
const PATIENCE: Duration = Duration::from_mins(2);

/// Runs [`consume`] in a process of its own: events a second.
pub async fn rate(servers: &str, url: &str, events: i64) -> anyhow::Result<f64> {
    let events = events.to_string();
    super::said(&[
        "consume",
        "--servers",
        servers,
        "--url",
        url,
        "--events",
        &events,
    ])
    .await
}

/// Reads `events` posts from the beginning and writes each; answers how many a second, from the first
/// one to the last answer of Redis.
pub async fn consume(servers: &str, url: &str, events: usize) -> anyhow::Result<f64> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("group.id", "bench")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..topic::POSTS.partitions {
        partitions.add_partition_offset(
            topic::POSTS.name,
            i32::from(partition),
            Offset::Beginning,
        )?;
    }
    consumer.assign(&partitions)?;
    let (sender, receiver) = mpsc::channel(WAITING);
    let mut writing = JoinSet::new();
    writing.spawn(write(url.to_owned(), receiver));
    let mut stream = consumer.stream();
    let (mut read, mut started) = (0, None);
    while read < events {
        let first = tokio::time::timeout(PATIENCE, stream.next()).await;
        let mut next = first.context("no event came")?;
        started.get_or_insert_with(Instant::now);
        let mut pipeline = Vec::with_capacity(PIPELINE);
        while let Some(message) = next {
            let message = message?;
            let key = message.key().unwrap_or_default().to_vec();
            pipeline.push((key, message.payload().unwrap_or_default().to_vec()));
            next = if pipeline.len() < PIPELINE {
                stream.next().now_or_never().flatten()
            } else {
                None
            };
        }
        read += pipeline.len();
        if sender.send(pipeline).await.is_err() {
            break; // Why is what the writer answers.
        }
    }
    drop(sender);
    while let Some(written) = writing.join_next().await {
        written??;
    }
    let took = started.context("no event came")?.elapsed();
    Ok(f64::from(u32::try_from(read)?) / took.as_secs_f64())
}

type Writes = Vec<(Vec<u8>, Vec<u8>)>;

async fn write(url: String, mut pipelines: mpsc::Receiver<Writes>) -> anyhow::Result<()> {
    let mut redis = redis(&url).await?;
    while let Some(writes) = pipelines.recv().await {
        let mut pipeline = redis::pipe();
        for (key, value) in writes {
            pipeline.set(key, value).ignore();
        }
        pipeline.exec_async(&mut redis).await?;
    }
    Ok(())
}

/// A connection that waits for long answers.
pub async fn redis(url: &str) -> anyhow::Result<MultiplexedConnection> {
    let patient = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let client = redis::Client::open(url)?;
    Ok(client
        .get_multiplexed_async_connection_with_config(&patient)
        .await?)
}
