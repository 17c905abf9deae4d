//! A bus that fails on demand, around any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{
    BusError, EventBus, Positions, Record, Subscription, TopicPartition, TopicSpec, Watermarks,
};
use events::Message;

/// The outcome of a publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Publish {
    /// The publish succeeds.
    Accept,
    /// Nothing is accepted.
    FailBefore,
    /// All is accepted, and the publisher is told that it failed.
    FailAfter,
    /// This many of the batch are accepted, and the publisher is told that it failed.
    FailAfterSome(usize),
}

/// Decides what fails. Called once for each attempt, in the order of the attempts.
pub trait BusFaults: Send + Sync {
    /// The outcome of this publish.
    fn publish(&self, _batch: &[Message]) -> Publish {
        Publish::Accept
    }

    /// True if a member's wait for records fails, before it took any.
    fn next(&self) -> bool {
        false
    }

    /// True if a member's rewind fails.
    fn rewind(&self) -> bool {
        false
    }
}

impl<F: Fn(&[Message]) -> Publish + Send + Sync> BusFaults for F {
    fn publish(&self, batch: &[Message]) -> Publish {
        self(batch)
    }
}

/// A bus whose calls fail where [`BusFaults`] says so.
pub struct FaultyBus {
    bus: Arc<dyn EventBus>,
    faults: Arc<dyn BusFaults>,
}

impl FaultyBus {
    /// Wraps `bus`, failing as `faults` decide.
    pub fn new(bus: Arc<dyn EventBus>, faults: Arc<dyn BusFaults>) -> Self {
        Self { bus, faults }
    }
}

fn injected() -> BusError {
    BusError::Unavailable("injected fault".into())
}

#[async_trait]
impl EventBus for FaultyBus {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.bus.ensure_topics(topics).await
    }

    async fn publish(&self, batch: &[Message]) -> Result<(), BusError> {
        match self.faults.publish(batch) {
            Publish::Accept => return self.bus.publish(batch).await,
            Publish::FailBefore => {}
            Publish::FailAfter => self.bus.publish(batch).await?,
            Publish::FailAfterSome(count) => {
                self.bus.publish(&batch[..count.min(batch.len())]).await?;
            }
        }
        Err(injected())
    }

    async fn subscribe(
        &self,
        group: &str,
        topics: &[String],
        positions: Arc<dyn Positions>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        Ok(Box::new(FaultyMember {
            member: self.bus.subscribe(group, topics, positions).await?,
            faults: Arc::clone(&self.faults),
        }))
    }

    async fn topics(&self) -> Result<Vec<TopicSpec>, BusError> {
        self.bus.topics().await
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<Watermarks>, BusError> {
        self.bus.watermarks(topic).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max: usize,
    ) -> Result<Vec<Record>, BusError> {
        self.bus.read(topic, partition, offset, max).await
    }
}

struct FaultyMember {
    member: Box<dyn Subscription>,
    faults: Arc<dyn BusFaults>,
}

#[async_trait]
impl Subscription for FaultyMember {
    async fn next(&mut self, max: usize) -> Result<Vec<Record>, BusError> {
        if self.faults.next() {
            return Err(injected());
        }
        self.member.next(max).await
    }

    async fn rewind(&mut self) -> Result<(), BusError> {
        if self.faults.rewind() {
            return Err(injected());
        }
        self.member.rewind().await
    }

    async fn commit(&mut self, next: &BTreeMap<TopicPartition, i64>) -> Result<(), BusError> {
        self.member.commit(next).await
    }
}
