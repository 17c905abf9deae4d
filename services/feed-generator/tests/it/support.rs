//! A feed over a real topic log, driven step by step instead of by its loop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use blocks::Clock;
use blocks::bus::{EventBus, Record, TopicPartition, TopicSpec};
use blocks::consumer::ApplyError;
use chrono::{DateTime, Utc};
use events::posts::{PostCreated, PostDeleted, PostUpdated};
use events::users::{UserCreated, UserDeleted, UserErased, UserUpdated};
use events::{Context, Envelope, Event, Message, topic};
use feed_generator::consumer::TOPICS;
use feed_generator::mirror::Mirror;
use feed_generator::{Feed, MIGRATIONS, Settings};
use serde_json::Value;
use sql::Durability;
use sql::log::TopicLog;
use testkit::db::TestDb;
use testkit::http::Answer;
use testkit::service::{App, Who, texts};
use uuid::Uuid;

use crate::backend::Backend;

pub const SERVICE: &str = "feed-generator";

/// A feed, with the topics that it reads.
pub struct World {
    pub backend: Backend,
    pub log: TopicLog,
    pub clock: Arc<dyn Clock>,
    pub feed: Feed,
    pub settings: Settings,
    /// The offsets of the next reads.
    next: BTreeMap<TopicPartition, i64>,
    _folder: tempfile::TempDir,
}

impl World {
    pub async fn new(backend: impl Into<Backend>, settings: Settings) -> Self {
        let backend = backend.into();
        let clock = backend.clock();
        let folder = tempfile::tempdir().unwrap();
        let log = open_log(folder.path(), &clock).await;
        let feed = backend.open(Arc::new(log.clone()), settings).await;
        let mut world = Self {
            backend,
            log,
            clock,
            feed,
            settings,
            next: BTreeMap::new(),
            _folder: folder,
        };
        world.rewind().await;
        world
    }

    /// The same feed as a process sees it that has just been started.
    pub async fn reopen(&mut self) {
        let bus = Arc::new(self.log.clone());
        self.feed = self.backend.open(bus, self.settings).await;
        self.rewind().await;
    }

    pub async fn publish(&self, messages: &[Message]) {
        self.log.publish(messages).await.unwrap();
    }

    /// Reads on from the store's offsets.
    pub async fn rewind(&mut self) {
        self.next.clear();
        let store = &self.feed.consumer().store;
        store.starts_over();
        for topic in TOPICS {
            let partitions: Vec<i32> = (0..i32::from(topic.partitions)).collect();
            let positions = store.begin_at(topic.name, &partitions).await.unwrap();
            for partition in partitions {
                let next = positions.get(&partition).copied().unwrap_or(0);
                self.next.insert(
                    TopicPartition {
                        topic: topic.name.into(),
                        partition,
                    },
                    next,
                );
            }
        }
    }

    /// Gives the consumer up to `max` records of each partition that `wanted` takes, starting `back`
    /// records before the next one; answers how many were new.
    pub async fn deliver(
        &mut self,
        max: usize,
        back: i64,
        wanted: impl Fn(&TopicPartition) -> bool,
    ) -> usize {
        let mut batch: Vec<Record> = Vec::new();
        for (of, next) in self.next.iter().filter(|(of, _)| wanted(of)) {
            let start = (next - back).max(0);
            batch.extend(
                self.log
                    .read(&of.topic, of.partition, start, max)
                    .await
                    .unwrap(),
            );
        }
        if batch.is_empty() {
            return 0;
        }
        let store = Arc::clone(&self.feed.consumer().store);
        for _ in 0..10 {
            match store.apply(&batch).await {
                Ok(_) => {
                    let mut fresh = 0;
                    for record in &batch {
                        let next = self.next.get_mut(&record.topic_partition()).unwrap();
                        fresh += usize::from(record.offset >= *next);
                        *next = (record.offset + 1).max(*next);
                    }
                    return fresh;
                }
                Err(ApplyError::Moved) => {
                    self.rewind().await;
                    return 1;
                }
                Err(ApplyError::Unavailable(_)) => {}
            }
        }
        panic!("a batch was not applied in ten attempts");
    }

    /// All that the consumer has not had yet.
    pub async fn fresh(&self) -> Vec<Record> {
        let mut batch = Vec::new();
        for (of, next) in &self.next {
            let records = self.log.read(&of.topic, of.partition, *next, 100).await;
            batch.extend(records.unwrap());
        }
        batch
    }

    /// Delivers all there is.
    pub async fn settle(&mut self) {
        while self.deliver(100, 0, |_| true).await > 0 {}
    }

    /// After a clean-up long after all was written: one record of each post is left.
    pub async fn assert_log_is_compact(&self) {
        for partition in 0..i32::from(topic::POSTS.partitions) {
            let records = self.log.read(topic::POSTS.name, partition, 0, 10_000).await;
            let keys: Vec<_> = records
                .unwrap()
                .into_iter()
                .map(|record| record.key)
                .collect();
            let different: BTreeSet<_> = keys.iter().collect();
            assert_eq!(different.len(), keys.len(), "{keys:?}");
        }
    }

    pub fn app(&self) -> App {
        App::new(feed_generator::service(&self.feed), Arc::clone(&self.clock))
    }

    pub async fn get(&self, who: impl Who, uri: &str) -> Answer {
        self.app().get(who, uri).await
    }

    /// A page that is there.
    pub async fn page(&self, uri: &str) -> Value {
        self.get(1, uri).await.ok()
    }

    /// The titles of a page.
    pub async fn titles(&self, uri: &str) -> Vec<String> {
        texts(&self.page(uri).await, "title")
    }

    /// The answers that accounts are erased: each account, and the number of its records.
    pub async fn answers(&self) -> Vec<(i64, u64)> {
        let outbox = self.app().outbox().await.into_iter();
        let answers = outbox.filter_map(|event| {
            let answer = event.open::<UserErased>()?.unwrap();
            assert_eq!((answer.service.as_str(), event.sequence), (SERVICE, 1));
            assert_eq!(event.subject, format!("{}/{SERVICE}", answer.user_id));
            Some((answer.user_id, answer.records))
        });
        answers.collect()
    }

    /// The database, where the streams are in one.
    pub fn db(&self) -> &TestDb {
        self.backend.db()
    }

    /// The entries in memory.
    pub fn mirror(&self) -> &Mirror {
        self.feed.mirror().unwrap()
    }

    /// Checks data that the store keeps twice. The mirror must hold the newest entries of the tables,
    /// and in Redis each list must match its index.
    pub async fn assert_mirror_is_true(&self) {
        #[cfg(feature = "fleet")]
        if let Backend::Redis(redis) = &self.backend {
            return redis.assert_lists_are_true().await;
        }
        if let Backend::Memory(_) = &self.backend {
            return;
        }
        let log = Arc::new(self.log.clone());
        let fresh = self.backend.open(log, Settings::default()).await;
        let (stored, all) = fresh.mirror().unwrap().content();
        assert!(all, "the test has more entries than a mirror");
        let (held, complete) = self.mirror().content();
        assert_eq!(held, stored[..held.len()]);
        assert!(!complete || held.len() == stored.len());
    }
}

async fn open_log(folder: &Path, clock: &Arc<dyn Clock>) -> TopicLog {
    let log = TopicLog::open(
        &folder.join("log.db"),
        Durability::Process,
        Arc::clone(clock),
    )
    .await
    .unwrap();
    let specs: Vec<TopicSpec> = TOPICS.iter().map(TopicSpec::from).collect();
    log.ensure_topics(&specs).await.unwrap();
    log
}

pub async fn sqlite(settings: Settings) -> World {
    World::new(testkit::db::sqlite(SERVICE, MIGRATIONS).await, settings).await
}

pub fn message<E: Event>(event: &E, version: i64, time: DateTime<Utc>) -> Message {
    let id = Uuid::new_v4();
    Envelope::new(id, "test", time, version, Context::default(), event)
        .unwrap()
        .message()
}

/// A post's author's side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    pub id: Uuid,
    pub user_id: i64,
    pub username: String,
    pub title: String,
    pub created_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
    pub version: i64,
}

impl Post {
    pub fn new(id: u128, user_id: i64, title: &str, time: DateTime<Utc>) -> Self {
        Self {
            id: Uuid::from_u128(id),
            user_id,
            username: format!("posted-{user_id}"),
            title: title.into(),
            created_at: time,
            changed_at: time,
            version: 1,
        }
    }

    pub fn message(&self) -> Message {
        macro_rules! event {
            ($type:ident) => {
                message(
                    &$type {
                        post_id: self.id,
                        user_id: self.user_id,
                        username: self.username.clone(),
                        title: self.title.clone(),
                        content: format!("about {}", self.title),
                        tags: vec!["tag".into()],
                        created_at: self.created_at,
                    },
                    self.version,
                    self.changed_at,
                )
            };
        }
        if self.version == 1 {
            event!(PostCreated)
        } else {
            event!(PostUpdated)
        }
    }

    pub fn updated(&mut self, title: &str, time: DateTime<Utc>) -> Message {
        self.title = title.into();
        self.changed_at = time;
        self.version += 1;
        self.message()
    }

    pub fn deleted(&self, time: DateTime<Utc>) -> Message {
        let event = PostDeleted {
            post_id: self.id,
            user_id: self.user_id,
        };
        message(&event, self.version + 1, time)
    }
}

pub fn user_created(user_id: i64, username: &str, time: DateTime<Utc>) -> Message {
    let event = UserCreated {
        user_id,
        username: username.into(),
        email: format!("{user_id}@example.test"),
        role: "user".into(),
        imported: false,
    };
    message(&event, 1, time)
}

pub fn user_renamed(user_id: i64, username: &str, version: i64, time: DateTime<Utc>) -> Message {
    let event = UserUpdated {
        user_id,
        username: username.into(),
        role: "user".into(),
    };
    message(&event, version, time)
}

pub fn user_deleted(user_id: i64, version: i64, time: DateTime<Utc>) -> Message {
    message(&UserDeleted { user_id }, version, time)
}
