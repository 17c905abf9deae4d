//! The MongoDB-wire server, and nothing else: one document an insert, each durable.

use std::time::{Duration, Instant};

use mongodb::bson::{DateTime, Document, Uuid, doc};
use mongodb::options::{Acknowledgment, ClientOptions, CollectionOptions, WriteConcern};
use mongodb::{Client, Collection};
use tokio::task::JoinSet;

use super::Pace;
use crate::community::{CONTENT, TAGS, TITLE};
use crate::load::{Answers, Latencies, latencies, note};

/// The database of the documents; it is dropped before each turn.
pub const DATABASE: &str = "bench";
/// As many as the posts service has.
const CONNECTIONS: u32 = 32;

/// Inserts documents that say what posts say.
pub async fn insert(url: &str, pace: &Pace) -> anyhow::Result<Answers> {
    let mut options = ClientOptions::parse(url).await?;
    options.max_pool_size = Some(CONNECTIONS);
    let client = Client::with_options(options)?;
    let durable = WriteConcern::builder()
        .w(Acknowledgment::Majority)
        .journal(true)
        .build();
    let options = CollectionOptions::builder().write_concern(durable).build();
    let posts = client
        .database(DATABASE)
        .collection_with_options::<Document>("posts", options);
    let start = Instant::now() + Duration::from_millis(pace.warm_up_ms);
    let time = Duration::from_millis(pace.time_ms);
    let mut tasks = JoinSet::new();
    for _ in 0..pace.clients {
        tasks.spawn(insert_until(posts.clone(), start, start + time));
    }
    let (mut counted, mut all) = (latencies(), 0);
    while let Some(done) = tasks.join_next().await {
        let (of_one, inserted) = done??;
        counted.add(&of_one)?;
        all += inserted;
    }
    client.shutdown().await;
    Ok(Answers { counted, all, time })
}

async fn insert_until(
    posts: Collection<Document>,
    start: Instant,
    end: Instant,
) -> anyhow::Result<(Latencies, u64)> {
    let (mut counted, mut all) = (latencies(), 0);
    loop {
        let before = Instant::now();
        posts.insert_one(post()).await?;
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

fn post() -> Document {
    let now = DateTime::now();
    doc! {
        "_id": Uuid::new().to_string(), "user_id": 7_i64, "username": "rook-7", "title": TITLE,
        "content": CONTENT, "tags": TAGS.map(String::from).to_vec(), "version": 1_i64,
        "created_at": now, "updated_at": now, "deleted": false,
    }
}
