//! A consumer group's store in MongoDB.
//!
//! | collection | a document is |
//! |------------|---------------|
//! | `consumer_keys` | a key's state: the version that took effect, and its block |
//! | `inbox_messages` | an event: `processing` is parked, with its bytes; `processed` had its effect |
//! | `consumer_offsets` | the group's next offset in a partition, or the generation of a topic |
//!
//! A batch is decided as a whole before anything is written. So a handler that refuses, or can't decide
//! now, leaves nothing behind. The batch is then written in these steps, and a crash between any two of
//! them is harmless:
//!
//! 1. **The effects.** After a crash here the versions are still the old ones: the batch is decided
//!    again. Writing an effect again changes nothing, since each names the version it is for.
//! 2. **Parked events**, each under its version. Written again, they replace themselves.
//! 3. **Dead letters.** After a crash here one is published twice.
//! 4. **The keys**: version and block, in one document. From here on applied events are skipped, and
//!    parked ones stay parked. If only some keys are written, each is right by itself.
//! 5. **Events no longer parked** become `processed`. After a crash before this they are still there,
//!    but versions that their key has passed are skipped.
//! 6. **The offsets.** After a crash before this the batch is delivered again, and all of it skipped.
//!
//! Two members may write at once: a partition changes hands, or both retry a key. A key is changed
//! only if its `rev` is as it was read, an offset only if its `next` is. The second member decides
//! anew, on what the first one left.
//!
//! A reset empties the projection and then, in one write, begins a *generation* of the topic: keys and offsets
//! of an earlier one are void. So a batch that was decided before it moves nothing that the group goes on with.

mod batch;
pub(super) mod data_migration;
mod drain;
mod generations;
mod keys;
mod operator;
mod rows;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{Positions, Record};
use blocks::consumer::{
    Applied, ApplyError, Blocked, Consumer, ConsumerStore, HandlerError, Member, Pulse,
};
use blocks::error::BoxError;
use events::{Envelope, Topic};
use mongodb::bson::doc;
use sql::StoreError;
use tokio::sync::Notify;

use super::Mongo;

/// The collection of keys' states.
pub(super) const KEYS: &str = "consumer_keys";
/// The collection of events, parked or done.
pub(super) const INBOX: &str = "inbox_messages";
/// The collection of groups' offsets.
pub(super) const OFFSETS: &str = "consumer_offsets";
/// The collection of counters, for the numbers of blocked keys.
pub(super) const COUNTERS: &str = "counters";

/// The effects of a group's events.
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// A change that an event makes.
    type Effect: Send + Sync;

    /// Decides the effect of `event` without writing it; `None` for no effect, and for an unknown
    /// type.
    ///
    /// # Errors
    /// See [`HandlerError`].
    async fn decide(&self, event: &Envelope) -> Result<Option<Self::Effect>, HandlerError>;

    /// Writes `effects` in order. An effect may be written again, even after later ones of its key, by
    /// any process: then it must change nothing.
    ///
    /// # Errors
    /// When the store failed. Some of them may be written.
    async fn write(&self, effects: &[Self::Effect]) -> Result<(), StoreError>;

    /// Empties the projection of `topics`, before they are read again from the start. A member may still write
    /// effects of a batch that it decided before. Reading on from the start must make these right, too.
    ///
    /// # Errors
    /// When the store failed.
    async fn reset(&self, topics: &[String]) -> Result<(), StoreError>;
}

/// A consumer group whose store is a [`Mongo`].
pub struct MongoConsumer<H> {
    mongo: Mongo,
    member: Member,
    handler: H,
}

impl<H: Handler> MongoConsumer<H> {
    /// The group `group`, which reads `topics` and writes their effects into `mongo` by `handler`.
    pub fn new(mongo: Mongo, group: &'static str, topics: &[Topic], handler: H) -> Self {
        let mut member = Member::new(group, topics);
        member.keeps_inbox = mongo.settings().keep_inbox;
        Self {
            mongo,
            member,
            handler,
        }
    }

    /// The consumer for a [`blocks::Service`].
    pub fn consumer(self) -> Consumer {
        let topics = self.member.topics.clone();
        Consumer::new(self.member.group, &topics, Arc::new(self))
    }
}

/// A failure to write a batch as it was decided.
enum BatchError {
    Failed(ApplyError),
    /// The store refuses the effect of one event for good.
    Refused(uuid::Uuid, StoreError),
    /// Another member wrote in between: decide anew.
    Overtaken(Applied),
}

impl From<ApplyError> for BatchError {
    fn from(error: ApplyError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for BatchError {
    fn from(error: StoreError) -> Self {
        Self::Failed(ApplyError::Unavailable(error.into()))
    }
}

impl From<BatchError> for ApplyError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Failed(error) => error,
            BatchError::Refused(_, error) => Self::Unavailable(error.into()),
            BatchError::Overtaken(_) => {
                Self::Unavailable("others keep writing about the same keys".into())
            }
        }
    }
}

#[async_trait]
impl<H: Handler> Positions for MongoConsumer<H> {
    async fn begin_at(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, BoxError> {
        let stored = self.stored_positions(topic).await?;
        Ok(self.member.begin_at(topic, partitions, stored))
    }
}

#[async_trait]
impl<H: Handler> ConsumerStore for MongoConsumer<H> {
    fn starts_over(&self) {
        self.member.starts_over();
    }

    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        let stored = generations::stored(self, doc! {"topic": topic}).await?;
        let offsets = stored.offsets.into_iter();
        Ok(offsets.map(|(of, next)| (of.partition, next)).collect())
    }

    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        self.member.note(batch::write(self, records).await?);
        self.member.go_on(self).await;
        Ok(self.member.report())
    }

    async fn retry_due(&self) -> Result<Applied, ApplyError> {
        self.member.retry_due(self).await?;
        Ok(self.member.report())
    }

    async fn pulse(&self) -> Result<Pulse, BoxError> {
        Ok(operator::pulse(self).await?)
    }

    async fn give_up_gaps(&self, topic: &str, partitions: &[i32]) -> Result<(), BoxError> {
        Ok(operator::give_up_gaps(self, topic, partitions).await?)
    }

    fn due(&self) -> &Notify {
        &self.member.due
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, BoxError> {
        Ok(operator::blocked(self).await?)
    }

    async fn waiting(&self, id: i64, max: usize) -> Result<Vec<Record>, BoxError> {
        operator::waiting(self, id, max).await
    }

    async fn replay(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::resume(self, id, false).await?;
        self.member.due.notify_one();
        Ok(found)
    }

    async fn discard(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::resume(self, id, true).await?;
        self.member.due.notify_one();
        Ok(found)
    }

    async fn reset(&self, topics: &[String]) -> Result<(), BoxError> {
        let done = operator::reset(self, topics).await;
        // Also after a failure: part of the reset may be done.
        self.member.due.notify_one();
        Ok(done?)
    }

    async fn clean_up(&self) -> Result<u64, BoxError> {
        Ok(rows::clean_up(&self.mongo, self.member.group).await?)
    }
}
