//! The port to the event bus. Adapters: the topic log in SQLite (`sql::log`), Kafka.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use events::{Cleanup, Headers, Message, Topic, topic};

use crate::error::BoxError;

/// The largest value that every adapter takes: a Kafka broker's default less room for key, headers and
/// framing. Larger events are refused before the commit.
pub const MAX_EVENT_BYTES: usize = 1_000_000;

/// The messages before the first one that is too large, and the answer to those after them: that one is
/// refused.
pub fn fitting(batch: &[Message]) -> (&[Message], Result<(), BusError>) {
    let too_large = |message: &Message| message.value.len() > MAX_EVENT_BYTES;
    match batch.iter().position(too_large) {
        None => (batch, Ok(())),
        Some(index) => {
            let bytes = batch[index].value.len();
            let reason = format!("{bytes} bytes, at most {MAX_EVENT_BYTES} fit");
            (&batch[..index], Err(BusError::Refused { index, reason }))
        }
    }
}

/// A topic as an adapter creates it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// The topic's name.
    pub name: String,
    /// Partition count, fixed at creation.
    pub partitions: u16,
    /// When old records are removed.
    pub cleanup: Cleanup,
}

impl TopicSpec {
    /// The topic for dead letters of the consumers of `topic`: as many partitions, kept 30 days.
    pub fn dead_letters_of(topic: &Topic) -> Self {
        Self {
            name: events::dead_letter_topic(topic.name),
            partitions: topic.partitions,
            cleanup: Cleanup::Delete {
                after_ms: topic::DEAD_LETTER_MS,
            },
        }
    }
}

impl From<&Topic> for TopicSpec {
    fn from(topic: &Topic) -> Self {
        Self {
            name: topic.name.to_owned(),
            partitions: topic.partitions,
            cleanup: topic.cleanup,
        }
    }
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// Partition number, from 0.
    pub partition: i32,
}

/// A record as it lies on a topic: bytes, not yet believed to be an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The topic's name.
    pub topic: String,
    /// Partition number, from 0.
    pub partition: i32,
    /// Its place in the partition, from 0, ascending, with holes where records were dropped.
    pub offset: i64,
    /// The partition key.
    pub key: Option<String>,
    /// See [`events::header`].
    pub headers: Headers,
    /// The payload.
    pub value: Vec<u8>,
    /// When it happened, according to its producer.
    pub time: DateTime<Utc>,
}

/// The next offset of each partition that `records` are of, after the last of them.
pub fn next_offsets<'a>(
    records: impl IntoIterator<Item = &'a Record>,
) -> BTreeMap<TopicPartition, i64> {
    let mut next: BTreeMap<(&str, i32), i64> = BTreeMap::new();
    for record in records {
        next.insert((&record.topic, record.partition), record.offset + 1);
    }
    let owned = |(topic, partition): (&str, i32)| TopicPartition {
        topic: topic.to_owned(),
        partition,
    };
    next.into_iter().map(|(of, at)| (owned(of), at)).collect()
}

/// The partitions that `records` are of.
pub fn partitions_of<'a>(
    records: impl IntoIterator<Item = &'a Record>,
) -> BTreeSet<TopicPartition> {
    next_offsets(records).into_keys().collect()
}

impl Record {
    /// The value of the header `name`.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The partition it lies in.
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition {
            topic: self.topic.clone(),
            partition: self.partition,
        }
    }
}

/// The watermarks of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Watermarks {
    /// The offset of the oldest record still there (or `next` when there is none).
    pub oldest: i64,
    /// The offset that the next record will get.
    pub next: i64,
}

/// An error of the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// It can't be reached or can't write now; the same call may succeed later.
    #[error("the event bus is unavailable")]
    Unavailable(#[source] BoxError),
    /// It will never take this message.
    #[error("the event bus refused message {index} of the batch: {reason}")]
    Refused {
        /// Its index in the batch. Those before it were accepted, those after it were not tried.
        index: usize,
        /// The bus's reason.
        reason: String,
    },
    /// There is no such topic.
    #[error("no topic {0}")]
    UnknownTopic(String),
    /// A topic exists with another number of partitions.
    #[error(
        "topic {topic} has {found} partitions, not {wanted}: a partition count is fixed at creation"
    )]
    PartitionsChanged {
        /// The topic's name.
        topic: String,
        /// The partitions that it has.
        found: u16,
        /// As it should be.
        wanted: u16,
    },
}

impl BusError {
    /// True if `message` is for the topic that does not exist.
    pub(crate) fn is_about(&self, message: &Message) -> bool {
        matches!(self, Self::UnknownTopic(topic) if *topic == message.topic)
    }
}

/// A consumer group's offsets, as its own store has them.
#[async_trait]
pub trait Positions: Send + Sync {
    /// The group's next offsets of `partitions` of `topic`, where this member now begins; partitions that
    /// it already reads are not among them. A partition that is absent from the answer starts at its oldest
    /// record.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn begin_at(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, BoxError>;
}

/// At-least-once delivery of records, in order per key, to consumer groups.
///
/// Every adapter keeps these promises, and `testkit::bus` checks them:
/// - a batch that was accepted survives the process;
/// - records of one key keep the order in which they were published;
/// - a new group starts at the oldest record, another one at the offsets in its own store;
/// - each group sees every record; inside a group a partition has one member at a time;
/// - a member that leaves hands its partitions to the others.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Creates the topics that are missing.
    ///
    /// # Errors
    /// [`BusError::PartitionsChanged`] when one exists with another count.
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError>;

    /// Returns once the bus has durably accepted the whole batch; on an error any part of it may
    /// have been accepted.
    ///
    /// # Errors
    /// See [`BusError`].
    async fn publish(&self, batch: &[Message]) -> Result<(), BusError>;

    /// Joins `group`; each assigned partition starts at the offset in `positions`.
    ///
    /// # Errors
    /// When a topic does not exist or the bus can't be reached.
    async fn subscribe(
        &self,
        group: &str,
        topics: &[String],
        positions: Arc<dyn Positions>,
    ) -> Result<Box<dyn Subscription>, BusError>;

    /// All topics by name.
    ///
    /// # Errors
    /// When the bus can't be reached.
    async fn topics(&self) -> Result<Vec<TopicSpec>, BusError>;

    /// The watermarks of each partition of `topic`, by partition number.
    ///
    /// # Errors
    /// When the topic does not exist or the bus can't be reached.
    async fn watermarks(&self, topic: &str) -> Result<Vec<Watermarks>, BusError>;

    /// Reads up to `max` records of one partition from `offset` on, without a group, without waiting.
    ///
    /// # Errors
    /// When the topic does not exist or the bus can't be reached.
    async fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max: usize,
    ) -> Result<Vec<Record>, BusError>;
}

/// A member of a consumer group. Dropping it leaves the group.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for records and gives up to `max` of them, never none. Dropping the future loses none.
    ///
    /// # Errors
    /// When the bus or the group's store can't be reached; the next call tries again.
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, BusError>;

    /// Asks the store for the offsets again and goes on from there: after it was emptied or rolled back.
    ///
    /// # Errors
    /// When the group's store can't be reached.
    async fn rewind(&mut self) -> Result<(), BusError>;

    /// Tells the bus how far the group is. For lag tools only: nothing is ever read back from it.
    ///
    /// # Errors
    /// When the bus can't be reached.
    async fn commit(&mut self, next: &BTreeMap<TopicPartition, i64>) -> Result<(), BusError>;
}
