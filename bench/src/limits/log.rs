//! The topic log alone: how fast it takes events.

use std::sync::Arc;
use std::time::{Duration, Instant};

use blocks::bus::{EventBus, TopicSpec};
use blocks::{Clock, SystemClock};
use events::posts::PostCreated;
use events::{Context, Envelope, Message, topic};
use sql::Durability;
use sql::log::TopicLog;
use tokio::task::JoinSet;

use super::Writers;
use crate::community::{CONTENT, TAGS, TITLE};
use crate::load::{Answers, Latencies, latencies, note};

/// The events in one batch of a relay under load.
pub const BATCH: u32 = 100;

/// Appends batches of events, each batch durable before the next one of the same writer.
pub async fn append(writers: &Writers) -> anyhow::Result<Answers> {
    let path = writers.folder.join("log.db");
    let log = TopicLog::open(&path, Durability::Full, Arc::new(SystemClock)).await?;
    log.ensure_topics(&[TopicSpec::from(&topic::POSTS)]).await?;
    let start = Instant::now() + Duration::from_millis(writers.pace.warm_up_ms);
    let time = Duration::from_millis(writers.pace.time_ms);
    let mut tasks = JoinSet::new();
    for _ in 0..writers.pace.clients {
        tasks.spawn(append_until(log.clone(), start, start + time));
    }
    let (mut counted, mut all) = (latencies(), 0);
    while let Some(done) = tasks.join_next().await {
        let (of_one, appended) = done??;
        counted.add(&of_one)?;
        all += appended;
    }
    log.close().await;
    Ok(Answers { counted, all, time })
}

async fn append_until(
    log: TopicLog,
    start: Instant,
    end: Instant,
) -> anyhow::Result<(Latencies, u64)> {
    let (mut counted, mut all) = (latencies(), 0);
    loop {
        let batch = (0..BATCH).map(|_| event()).collect::<Result<Vec<_>, _>>()?;
        let before = Instant::now();
        log.publish(&batch).await?;
        let now = Instant::now();
        all += 1;
        if now >= end {
            return Ok((counted, all));
        }
        if before >= start {
            note(&mut counted, now - before);
        }
    }
}

fn event() -> Result<Message, serde_json::Error> {
    let (id, now) = (SystemClock.id(), SystemClock.now());
    let event = PostCreated {
        post_id: id,
        user_id: 7,
        username: "rook-7".into(),
        title: TITLE.into(),
        content: CONTENT.into(),
        tags: TAGS.map(String::from).into(),
        created_at: now,
    };
    let envelope = Envelope::new(
        SystemClock.id(),
        "posts",
        now,
        1,
        Context::default(),
        &event,
    )?;
    Ok(envelope.message())
}
