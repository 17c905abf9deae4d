//! The event bus of a process that has no broker: a durable log of topics in one SQLite file.
//!
//! publish ─ one write, shared with others that publish at the same moment ─▶ `records` ─▶ after the
//! commit: the heads in memory move and waiting members are woken. Nothing polls.
//!
//! | owns     | `log.db`: topics, partitions, records, and the offsets that groups commit |
//! | promises | the promises of `blocks::bus`; `testkit::bus` checks it |
//!
//! Offsets are given in memory by the file's one writer. A commit that fails leaves a hole in them,
//! never an offset that is given twice; retention stores the last offset of the records that it removes.

mod catalog;
mod groups;
mod member;
mod murmur2;
mod offsets;
mod records;
mod retention;
mod topics;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use blocks::Clock;
use blocks::bus::{
    BusError, EventBus, Positions, Record, Subscription, TopicSpec, Watermarks, fitting,
};
use events::Message;
use parking_lot::Mutex;

use self::groups::Group;
use self::member::LogMember;
use self::offsets::Offsets;
use self::records::Arrival;
use self::topics::{TopicState, Topics};
use crate::db::{Db, Durability, Settings};
use crate::error::StoreError;
use crate::migrate::Migration;

/// The log is a SQLite file only, so there is nothing for PostgreSQL to do.
const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    what: "topic log",
    sqlite: include_str!("../../migrations/sqlite/0001_log.sql"),
    postgres: "",
}];

/// A durable log of topics in one SQLite file. Cheap to clone.
#[derive(Clone)]
pub struct TopicLog {
    inner: Arc<Inner>,
}

struct Inner {
    db: Db,
    topics: Topics,
    groups: Mutex<BTreeMap<String, Arc<Group>>>,
    offsets: Offsets,
    members: AtomicU64,
    /// Held while topics are made, so that two callers that want the same make one.
    making: tokio::sync::Mutex<()>,
}

impl Inner {
    fn group(&self, name: &str) -> Arc<Group> {
        Arc::clone(self.groups.lock().entry(name.to_owned()).or_default())
    }

    fn topic(&self, name: &str) -> Result<Arc<TopicState>, BusError> {
        self.topics
            .get(name)
            .ok_or_else(|| BusError::UnknownTopic(name.to_owned()))
    }
}

impl TopicLog {
    /// Opens (or creates) the log.
    ///
    /// # Errors
    /// When the file can't be opened or read.
    pub async fn open(
        path: &Path,
        durability: Durability,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let settings = Settings::new("log", clock);
        Self::open_with(path, durability, settings).await
    }

    /// Opens the log with `settings`, always without the delivery's tables.
    ///
    /// # Errors
    /// When the file can't be opened or read.
    pub async fn open_with(
        path: &Path,
        durability: Durability,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let settings = Settings {
            delivery: false,
            ..settings
        };
        let db = Db::open_sqlite(path, durability, settings, MIGRATIONS).await?;
        let topics = Topics::default();
        for topic in catalog::load(&db).await? {
            topics.add(topic);
        }
        Ok(Self {
            inner: Arc::new(Inner {
                offsets: Offsets::new(db.clone()),
                db,
                topics,
                groups: Mutex::default(),
                members: AtomicU64::new(0),
                making: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// The file below, for health checks and for tests that make it fail.
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// The partition of `key` among this many, the same as Kafka's.
    pub fn partition_of(key: &str, partitions: u16) -> i32 {
        let partition = murmur2::partition_of(key, usize::from(partitions));
        i32::try_from(partition).unwrap_or(i32::MAX)
    }

    /// Finishes writes in progress, stores the offsets that groups committed, and closes the file.
    pub async fn close(&self) {
        self.inner.offsets.close().await;
        self.inner.db.close().await;
    }

    async fn append(&self, batch: &[Message]) -> Result<(), BusError> {
        let mut topics: BTreeMap<&str, Arc<TopicState>> = BTreeMap::new();
        let mut arrivals = Vec::with_capacity(batch.len());
        for message in batch {
            let topic = match topics.get(message.topic.as_str()) {
                Some(topic) => topic,
                None => topics
                    .entry(&message.topic)
                    .or_insert(self.inner.topic(&message.topic)?),
            };
            arrivals.push(Arrival {
                topic: Arc::clone(topic),
                partition: murmur2::partition_of(&message.key, topic.partitions.len()),
                headers: serde_json::to_string(&message.headers)
                    .map_err(|error| unavailable(error.into()))?,
                message: message.clone(),
            });
        }
        let written = self
            .inner
            .db
            .write(move |tx| Box::pin(records::append(tx, arrivals)))
            .await;
        if written.is_err() {
            // It may have been committed all the same; then waiting members should see it now.
            for topic in topics.values() {
                if let Err(error) = self.look_again(topic).await {
                    tracing::debug!(%error, topic = topic.name, "can't see how far the topic reaches");
                }
            }
        }
        written.map_err(unavailable)
    }

    async fn look_again(&self, topic: &TopicState) -> Result<(), StoreError> {
        let watermarks = records::watermarks(&self.inner.db, topic).await?;
        let mut news = false;
        for (partition, watermark) in topic.partitions.iter().zip(watermarks) {
            news |= partition.reaches(watermark.next);
        }
        if news {
            topic.ring();
        }
        Ok(())
    }
}

#[async_trait]
impl EventBus for TopicLog {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        let _one_at_a_time = self.inner.making.lock().await;
        let mut wanted: BTreeMap<String, TopicSpec> = BTreeMap::new();
        let mut changed = Vec::new();
        for spec in topics {
            let known = match wanted.get(&spec.name) {
                Some(other) => Some(other.clone()),
                None => self.inner.topics.get(&spec.name).map(|topic| topic.spec()),
            };
            match known {
                Some(known) if known.partitions != spec.partitions => {
                    return Err(BusError::PartitionsChanged {
                        topic: spec.name.clone(),
                        found: known.partitions,
                        wanted: spec.partitions,
                    });
                }
                Some(known) if known.cleanup == spec.cleanup => {}
                Some(_) => changed.push(spec.clone()),
                None => drop(wanted.insert(spec.name.clone(), spec.clone())),
            }
        }
        for spec in changed {
            if let Some(topic) = self.inner.topics.get(&spec.name) {
                catalog::change_cleanup(&self.inner.db, &topic, &spec)
                    .await
                    .map_err(unavailable)?;
            }
        }
        if !wanted.is_empty() {
            let made = self
                .inner
                .db
                .write(move |tx| Box::pin(catalog::make(tx, wanted)))
                .await;
            for topic in made.map_err(unavailable)? {
                self.inner.topics.add(topic);
            }
        }
        Ok(())
    }

    async fn publish(&self, batch: &[Message]) -> Result<(), BusError> {
        let (fits, rest) = fitting(batch);
        if !fits.is_empty() {
            self.append(fits).await?;
        }
        rest
    }

    async fn subscribe(
        &self,
        group: &str,
        topics: &[String],
        positions: Arc<dyn Positions>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        let topics = topics
            .iter()
            .map(|name| self.inner.topic(name))
            .collect::<Result<Vec<_>, _>>()?;
        let id = self.inner.members.fetch_add(1, Ordering::Relaxed);
        let log = Arc::clone(&self.inner);
        Ok(Box::new(LogMember::join(log, id, group, topics, positions)))
    }

    async fn topics(&self) -> Result<Vec<TopicSpec>, BusError> {
        let topics = self.inner.topics.all();
        Ok(topics.iter().map(|topic| topic.spec()).collect())
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<Watermarks>, BusError> {
        let topic = self.inner.topic(topic)?;
        records::watermarks(&self.inner.db, &topic)
            .await
            .map_err(unavailable)
    }

    async fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max: usize,
    ) -> Result<Vec<Record>, BusError> {
        let topic = self.inner.topic(topic)?;
        records::read(&self.inner.db, &topic, partition, offset, max)
            .await
            .map_err(unavailable)
    }
}

fn unavailable(error: StoreError) -> BusError {
    BusError::Unavailable(Box::new(error))
}
