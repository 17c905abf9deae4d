//! The write seam alone: what a post writes, event included, without HTTP, relay and consumers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use blocks::{Clock, SystemClock};
use events::posts::PostCreated;
use sql::{Db, Durability, Migration, Settings, StoreError, on};
use tokio::task::JoinSet;

use super::Writers;
use super::sqlite::{TABLE, WRITE};
use crate::community::{CONTENT, TAGS, TITLE};
use crate::load::{Answers, Latencies, latencies, note};

const MIGRATIONS: &[Migration] = &[Migration {
    version: 1001,
    what: "posts",
    sqlite: TABLE,
    postgres: "",
}];

/// Writes posts with their events through [`Db::write`].
pub async fn write(writers: &Writers) -> anyhow::Result<Answers> {
    let settings = Settings::new("posts", Arc::new(SystemClock));
    let path = writers.folder.join("seam.db");
    let db = Db::open_sqlite(&path, Durability::Full, settings, MIGRATIONS).await?;
    let start = Instant::now() + Duration::from_millis(writers.pace.warm_up_ms);
    let time = Duration::from_millis(writers.pace.time_ms);
    let mut tasks = JoinSet::new();
    for _ in 0..writers.pace.clients {
        tasks.spawn(write_until(db.clone(), start, start + time));
    }
    let (mut counted, mut all) = (latencies(), 0);
    while let Some(done) = tasks.join_next().await {
        let (of_one, written) = done??;
        counted.add(&of_one)?;
        all += written;
    }
    db.close().await;
    Ok(Answers { counted, all, time })
}

async fn write_until(db: Db, start: Instant, end: Instant) -> anyhow::Result<(Latencies, u64)> {
    let (mut counted, mut all) = (latencies(), 0);
    loop {
        let before = Instant::now();
        post(&db).await?;
        all += 1;
        let now = Instant::now();
        if now >= end {
            return Ok((counted, all));
        }
        if before >= start {
            note(&mut counted, now - before);
        }
    }
}

async fn post(db: &Db) -> Result<(), StoreError> {
    let post = PostCreated {
        post_id: SystemClock.id(),
        user_id: 7,
        username: "rook-7".into(),
        title: TITLE.into(),
        content: CONTENT.into(),
        tags: TAGS.map(String::from).into(),
        created_at: SystemClock.now(),
    };
    db.write(move |tx| {
        Box::pin(async move {
            let tags = serde_json::to_string(&post.tags)?;
            on!(tx, conn => sqlx::query(WRITE)
                .bind(post.post_id)
                .bind(post.user_id)
                .bind(&post.title)
                .bind(&post.content)
                .bind(tags)
                .bind(post.created_at)
                .execute(&mut *conn)
                .await
                .map(|_| ()))?;
            tx.publish(&post, 1).await
        })
    })
    .await
}
