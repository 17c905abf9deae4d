//! Tests of MongoDB's stores beyond the ports' promises.

mod crashes;
mod foreign;
mod group;
mod inspect;
mod lease;
mod outbox;
mod processes;
mod tls;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blocks::bus::{EventBus, TopicSpec};
use blocks::metrics::Metrics;
use blocks::outbox::Outbox;
use blocks::relay::Relay;
use blocks::{Clock, FieldErrors, SystemClock};
use events::Envelope;
use mongodb::bson::{Document, doc};
use posts::domain::{Author, Changes, Draft, Limits, Post};
use posts::store::PostStore;
use posts::store::mongo::{Mongo, MongoPosts};
use sql::Durability;
use sql::log::TopicLog;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::stores::{connect, fresh_url};

/// Longest wait for something to happen.
const PATIENCE: Duration = Duration::from_mins(1);

async fn fresh() -> Mongo {
    connect(&fresh_url(), Arc::new(SystemClock)).await
}

fn draft(title: &str) -> Draft {
    Draft::new(title, "c".into(), &["t".into()], &Limits::default()).unwrap()
}

fn ada() -> Author {
    Author {
        id: 1,
        name: "ada".into(),
    }
}

fn retitle(title: &str) -> Changes {
    let (title, limits) = (Some(title.to_owned()), Limits::default());
    Changes::new(title, None, None, &limits, FieldErrors::default()).unwrap()
}

async fn create(mongo: &Mongo, title: &str) -> Post {
    let posts = MongoPosts::new(mongo.clone());
    posts.create(draft(title), ada(), None).await.unwrap()
}

/// Changes a post and gives its next version.
async fn update(mongo: &Mongo, post: &Post, title: &str) -> Post {
    let posts = MongoPosts::new(mongo.clone());
    let (next, event) = post.change(retitle(title), post.updated_at).unwrap();
    assert!(posts.update(&next, &event).await.unwrap());
    next
}

async fn document(mongo: &Mongo, post: &Post) -> Document {
    let posts = mongo.database().collection::<Document>("posts");
    let found = posts.find_one(doc! {"_id": post.id.to_string()}).await;
    found.unwrap().unwrap()
}

/// Polls until `done` is true.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < PATIENCE, "{what} never happened");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A log in `folder`, and a relay that publishes the outbox to it.
struct Publishing {
    bus: TopicLog,
    stop: CancellationToken,
    relays: TaskTracker,
}

impl Publishing {
    async fn start(mongo: &Mongo, folder: &Path) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let file = folder.join("log.db");
        let bus = TopicLog::open(&file, Durability::Process, Arc::clone(&clock));
        let bus = bus.await.unwrap();
        let posts = TopicSpec::from(&events::topic::POSTS);
        bus.ensure_topics(&[posts]).await.unwrap();
        let (stop, relays) = (CancellationToken::new(), TaskTracker::new());
        let outbox = Arc::new(mongo.clone());
        let relay = Relay::new(outbox, Arc::new(bus.clone()), clock, Metrics::new());
        let stopped = stop.clone();
        relays.spawn(async move { relay.run(stopped).await.unwrap() });
        Self { bus, stop, relays }
    }

    /// The events that were published, in the order of each key.
    async fn published(&self) -> Vec<Envelope> {
        let topic = events::topic::POSTS;
        let mut published = Vec::new();
        for partition in 0..i32::from(topic.partitions) {
            let records = self.bus.read(topic.name, partition, 0, 100_000);
            for record in records.await.unwrap() {
                let key = record.key.as_deref();
                let event = Envelope::read(topic.name, key, &record.headers, &record.value);
                published.push(event.unwrap());
            }
        }
        published
    }

    /// Waits until nothing is left to publish.
    async fn until_empty(&self, mongo: &Mongo) {
        until("an empty outbox", async || {
            mongo.depth().await.is_ok_and(|depth| depth.pending == 0)
        })
        .await;
    }

    async fn stop(self) {
        self.stop.cancel();
        self.relays.close();
        self.relays.wait().await;
    }
}
