//! The adapter: the port's promises, each handed to the part that keeps it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::bus::{
    BusError, EventBus, Positions, Record, Subscription, TopicSpec, Watermarks, fitting,
};
use events::Message;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::Admin;
use crate::client::Settings;
use crate::holdings::Holdings;
use crate::member::Member;
use crate::metadata::Metadata;
use crate::poller::Poller;
use crate::producer::{Failure, Producer};
use crate::reader::Reader;

/// Time after which brokers are asked again for a topic that one of them did not know: another one may.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// The event bus over Kafka. Clones share their clients.
#[derive(Clone)]
pub struct KafkaBus(Arc<Inner>);

struct Inner {
    settings: Settings,
    metadata: Metadata,
    producer: Producer,
    reader: Reader,
    admin: Admin,
    tasks: TaskTracker,
}

impl KafkaBus {
    /// A bus over the brokers that `settings` name, without connecting yet.
    ///
    /// # Errors
    /// When a setting can't be used.
    pub fn new(settings: Settings) -> Result<Self, BusError> {
        let tasks = TaskTracker::new();
        let metadata = Metadata::new(&settings, tasks.clone())?;
        Ok(Self(Arc::new(Inner {
            producer: Producer::new(&settings, tasks.clone()),
            reader: Reader::new(&settings, tasks.clone()),
            admin: Admin::new(&settings, metadata.clone(), tasks.clone()),
            metadata,
            tasks,
            settings,
        })))
    }

    /// Succeeds if a broker answers.
    ///
    /// # Errors
    /// The reason why none does.
    pub async fn answers(&self) -> Result<(), BusError> {
        self.0.metadata.answers().await
    }

    /// Waits until every member has left its group, and everything else has ended. Members must be dropped
    /// and publishes answered before.
    pub async fn close(&self) {
        self.0.producer.close();
        self.0.reader.close();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// An error, when no broker knows one of the topics.
    async fn know_topics(&self, batch: &[Message]) -> Result<(), BusError> {
        let mut last = "";
        for message in batch {
            if message.topic != last {
                last = &message.topic;
                self.know(last).await?;
            }
        }
        Ok(())
    }

    async fn know(&self, topic: &str) -> Result<(), BusError> {
        match self.0.metadata.partitions(topic).await {
            Err(BusError::UnknownTopic(_)) => {
                // The publisher gives up on a message over this answer, so it is confirmed.
                tokio::time::sleep(ASK_AGAIN).await;
                self.0.metadata.partitions(topic).await.map(drop)
            }
            known => known.map(drop),
        }
    }

    /// Finds why `batch` was not accepted: for a topic removed under way, the library only reports a
    /// timeout.
    async fn explain(&self, batch: &[Message], error: BusError) -> BusError {
        let topics: BTreeSet<&str> = batch.iter().map(|message| &*message.topic).collect();
        for topic in topics {
            match self.0.metadata.seen(topic).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    return BusError::Unavailable(
                        format!(
                            "topic {topic} was removed: it is made again when a service that needs \
                             it starts"
                        )
                        .into(),
                    );
                }
                Err(_) => return error,
            }
        }
        error
    }

    /// A broker said that it does not know `topic`.
    async fn lost_topic(&self, topic: &str) -> BusError {
        self.0.metadata.forget(topic);
        match self.know(topic).await {
            Err(error) => error,
            Ok(()) => BusError::Unavailable(
                format!("a broker does not know topic {topic} yet, another one does").into(),
            ),
        }
    }
}

#[async_trait]
impl EventBus for KafkaBus {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), BusError> {
        self.0.admin.ensure(topics).await
    }

    async fn publish(&self, batch: &[Message]) -> Result<(), BusError> {
        let (fits, rest) = fitting(batch);
        if !fits.is_empty() {
            self.know_topics(fits).await?;
            match self.0.producer.publish(fits).await {
                Ok(()) => {}
                Err(Failure::Refused { index, reason }) => {
                    return Err(BusError::Refused { index, reason });
                }
                Err(Failure::UnknownTopic { index }) => {
                    return Err(self.lost_topic(&fits[index].topic).await);
                }
                Err(Failure::Away(error)) => return Err(self.explain(fits, error).await),
            }
        }
        rest
    }

    async fn subscribe(
        &self,
        group: &str,
        topics: &[String],
        positions: Arc<dyn Positions>,
    ) -> Result<Box<dyn Subscription>, BusError> {
        for topic in topics {
            self.know(topic).await?;
        }
        let holdings = Arc::<Holdings>::default();
        let stop = CancellationToken::new();
        let poller = Poller {
            holdings: Arc::clone(&holdings),
            settings: self.0.settings.clone(),
            group: self.0.settings.group(group),
            topics: topics.to_vec(),
            stop: stop.clone(),
            tasks: self.0.tasks.clone(),
        };
        self.0.tasks.spawn(poller.run());
        let metadata = self.0.metadata.clone();
        Ok(Box::new(Member::new(holdings, metadata, positions, stop)))
    }

    async fn topics(&self) -> Result<Vec<TopicSpec>, BusError> {
        self.0.admin.list().await
    }

    async fn watermarks(&self, topic: &str) -> Result<Vec<Watermarks>, BusError> {
        self.0.metadata.watermarks(topic).await
    }

    async fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max: usize,
    ) -> Result<Vec<Record>, BusError> {
        let watermarks = self.0.metadata.watermarks(topic).await?;
        let watermark = usize::try_from(partition)
            .ok()
            .and_then(|partition| watermarks.get(partition));
        match watermark {
            Some(watermark) => {
                let reader = &self.0.reader;
                reader.read(topic, partition, offset, max, *watermark).await
            }
            None => Ok(Vec::new()),
        }
    }
}
