//! The topic log alone: how fast it takes events.

use std::sync::Arc;

use blocks::SystemClock;
use blocks::bus::{EventBus, TopicSpec};
use events::topic;
use sql::Durability;
use sql::log::TopicLog;

use super::Writers;
use crate::community::message;
use crate::load::Answers;

/// The events in one batch of a relay under load.
pub const BATCH: u32 = 100;

/// Appends batches of events, each batch durable before the next one of the same writer.
pub async fn append(writers: &Writers) -> anyhow::Result<Answers> {
    let path = writers.folder.join("log.db");
    let log = TopicLog::open(&path, Durability::Full, Arc::new(SystemClock)).await?;
    log.ensure_topics(&[TopicSpec::from(&topic::POSTS)]).await?;
    let step = |log: TopicLog| async move {
        let batch = (0..BATCH).map(|_| message(7));
        log.publish(&batch.collect::<anyhow::Result<Vec<_>>>()?)
            .await?;
        Ok(log)
    };
    let answers = writers.pace.repeat(&log, step).await;
    log.close().await;
    answers
}
