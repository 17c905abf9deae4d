//! Consumer groups: the port to their store, the decision for each record, and the loop.
//!
//! A group keeps, in one write each: the effect, the version of each key, parked events, and the next
//! offset of each partition. The offset that is committed to the bus serves lag tools only.

pub mod decide;
mod member;
pub mod parked;
pub mod plan;
mod run;
mod spans;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use events::Topic;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::bus::{Positions, Record};
use crate::error::{BoxError, panic_text};

pub use member::{Keyed, Member, Offsets, ParkedKeys, Stands};
pub use parked::Retry;
pub use plan::{Block, Key, Known, Plan};
pub use run::{ConsumerLoop, ConsumerStatus, lag};
pub use spans::{handling, handling_now};

/// A service's consumer group: its topics and its store.
#[derive(Clone)]
pub struct Consumer {
    /// The group's name.
    pub group: &'static str,
    /// The topics it reads.
    pub topics: Vec<String>,
    /// The group's store.
    pub store: Arc<dyn ConsumerStore>,
    /// The state of its member in this process.
    pub status: Arc<ConsumerStatus>,
}

impl Consumer {
    /// The group `group` that reads `topics` into `store`.
    pub fn new(group: &'static str, topics: &[Topic], store: Arc<dyn ConsumerStore>) -> Self {
        let topics = topics.iter().map(|topic| topic.name.to_owned());
        Self {
            group,
            topics: topics.collect(),
            store,
            status: Arc::default(),
        }
    }
}

/// A handler's reason not to take an event.
#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    /// Store, network or provider is away: wait for ever, count nothing.
    #[error("unavailable")]
    Unavailable(#[source] BoxError),
    /// Refused this time: a few more attempts, then the dead-letter topic.
    #[error("rejected")]
    Rejected(#[source] BoxError),
    /// Unreadable for good: goes to the dead-letter topic at once.
    #[error("poison")]
    Poison(#[source] BoxError),
}

impl HandlerError {
    /// A panic of a handler counts as a refusal.
    pub fn panicked(panic: &(dyn Any + Send)) -> Self {
        let message = panic_text(panic);
        Self::Rejected(format!("the handler panicked: {message}").into())
    }
}

impl From<events::Malformed> for HandlerError {
    fn from(malformed: events::Malformed) -> Self {
        Self::Poison(malformed.into())
    }
}

/// The reason why a batch was not applied: none of it was, or only its first records.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The store is away: the same batch again, later.
    #[error("the consumer's store is unavailable")]
    Unavailable(#[source] BoxError),
    /// The store is behind the delivered records (it was emptied or rolled back), or another member wrote
    /// in between: read again from the store's offsets.
    #[error("the consumer's store is not where this member believed it to be")]
    Moved,
}

/// The outcome of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Events whose effect was written.
    pub handled: u64,
    /// Events that were seen before.
    pub skipped: u64,
    /// Events that wait behind an earlier one of their key.
    pub parked: u64,
    /// Failed attempts.
    pub failed: u64,
    /// Events given up on.
    pub dead: u64,
    /// From when each handled event happened until now, in ms.
    pub freshness_ms: Vec<i64>,
}

impl std::ops::AddAssign for Applied {
    fn add_assign(&mut self, other: Self) {
        self.handled += other.handled;
        self.skipped += other.skipped;
        self.parked += other.parked;
        self.failed += other.failed;
        self.dead += other.dead;
        self.freshness_ms.extend(other.freshness_ms);
    }
}

named! {
    /// The reason why a key is blocked.
    #[derive(Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    pub enum Reason {
        /// Its first waiting event was refused and is tried again.
        Retrying = "retrying",
        /// Its first waiting event was refused too often.
        Rejected = "rejected",
        /// Its first waiting event can't be read.
        Poison = "poison",
        /// The version before its first waiting event has not come.
        Gap = "gap",
    }
}

/// A key that does not go on, for an operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Names it on the command line.
    pub id: i64,
    /// The consumer group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The key.
    pub key: String,
    /// The reason for the block.
    pub reason: Reason,
    /// The last error, with its causes.
    pub error: String,
    /// Failed attempts so far.
    pub attempts: i64,
    /// When the block began.
    pub since: DateTime<Utc>,
    /// The version of the first event that waits.
    pub version: Option<i64>,
    /// The type of the first event that waits, where it can be read.
    pub event_type: Option<String>,
    /// Number of the key's events that wait, the first one included.
    pub waiting: i64,
}

/// A short summary of a group's waiting keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pulse {
    /// When the next retry is due.
    pub next_due: Option<DateTime<Utc>>,
    /// Keys that [`ConsumerStore::blocked`] lists.
    pub blocked: i64,
    /// Keys that wait for a missing version, listed or not.
    pub gaps: i64,
}

/// The store of a consumer group.
///
/// Every adapter keeps these promises. A batch is one write, or a few in its order. Each version of a key
/// takes effect once, in order. A failing event holds back its own key only.
#[async_trait]
pub trait ConsumerStore: Positions {
    /// Forgets this member's offsets: it asks anew where each partition that it reads starts. Until this
    /// call a store that lost its data is noticed, whatever the group is assigned meanwhile.
    fn starts_over(&self);

    /// The stored offsets, for reading only.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError>;

    /// The most records given to [`ConsumerStore::apply`] at once.
    fn most_at_once(&self) -> usize {
        BATCH
    }

    /// Applies the `records` that are due, parks those that must wait, and moves the offsets, in one write.
    /// A store that takes many at once may make several writes of them, in their order.
    ///
    /// # Errors
    /// See [`ApplyError`].
    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError>;

    /// Tries again the keys that are due: after a back-off or an operator's replay.
    ///
    /// # Errors
    /// See [`ApplyError`].
    async fn retry_due(&self) -> Result<Applied, ApplyError>;

    /// The time of the next retry, and how many keys wait.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn pulse(&self) -> Result<Pulse, BoxError>;

    /// Notes that this member has long read all of `topic`, and that retention removed records from
    /// `partitions`. Keys there that have waited [`GAP_LISTED_MS`] or longer for their first version become
    /// due, on a compacted topic for any version: it no longer exists.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn give_up_gaps(&self, topic: &str, partitions: &[i32]) -> Result<(), BoxError>;

    /// Rung when something became due: a replay, a discard.
    fn due(&self) -> &Notify;

    /// The keys that don't go on: given up on, gaps over [`GAP_LISTED_MS`], and those retrying.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn blocked(&self) -> Result<Vec<Blocked>, BoxError>;

    /// The waiting records of a blocked key, oldest version first, at most `max`.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn waiting(&self, id: i64, max: usize) -> Result<Vec<Record>, BoxError>;

    /// Makes a blocked key due at once with fresh attempts; false when there is none with that id.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn replay(&self, id: i64) -> Result<bool, BoxError>;

    /// Gives up the first waiting event of a blocked key for good; for a gap, the missing versions. The rest
    /// becomes due. False when there is none with that id.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn discard(&self, id: i64) -> Result<bool, BoxError>;

    /// Forgets offsets, versions and parked events of `topics` and empties the projection made of them, in
    /// one write, so that the group reads them again from the start.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn reset(&self, topics: &[String]) -> Result<(), BoxError>;

    /// Drops rows that deduplication no longer needs.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn clean_up(&self) -> Result<u64, BoxError>;
}

/// Records in one batch, where a store does not say otherwise.
const BATCH: usize = 500;
/// Time that a missing version may take before its key is listed as blocked, in ms.
pub const GAP_LISTED_MS: i64 = 30_000;
