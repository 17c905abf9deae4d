//! A client without a group: asks for topics and their watermarks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blocks::bus::{BusError, Watermarks};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::task::TaskTracker;

use crate::client::{Ear, Settings};

/// Time that a question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same for a question that is repeated.
const GLANCE: Duration = Duration::from_millis(800);
/// Time to listen for the reason after a question was not answered.
const HEARING: Duration = Duration::from_millis(20);
/// A client without an answer for so long is replaced. The library may have forgotten every broker and
/// never ask again, after a broker that had just started listed none.
const HOPELESS: Duration = Duration::from_secs(5);
/// The pause before asking again for a partition that is moving to a broker.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Asks the brokers, without a group.
#[derive(Clone)]
pub(crate) struct Metadata(Arc<Inner>);

type Client = BaseConsumer<Ear>;

struct Inner {
    settings: Settings,
    current: Mutex<Current>,
    ear: Ear,
    tasks: TaskTracker,
    /// Topics that were seen, with their partitions: neither changes while one exists.
    known: Mutex<BTreeMap<String, u16>>,
}

/// The client in use.
struct Current {
    client: Arc<Client>,
    /// When it was made, or last answered.
    well_at: Instant,
}

/// A topic as the brokers see it now.
pub(crate) struct Seen {
    pub(crate) partitions: u16,
    /// Each of its partitions can be written to.
    pub(crate) is_led: bool,
}

impl Metadata {
    pub(crate) fn new(settings: &Settings, tasks: TaskTracker) -> Result<Self, BusError> {
        let ear = settings.ear();
        let current = Current::new(settings, &ear)
            .map_err(|error| ear.unavailable("make a client", error))?;
        Ok(Self(Arc::new(Inner {
            settings: settings.clone(),
            current: Mutex::new(current),
            ear,
            tasks,
            known: Mutex::default(),
        })))
    }

    /// Succeeds if a broker answers.
    pub(crate) async fn answers(&self) -> Result<(), BusError> {
        let question = |client: &Client| client.fetch_metadata(None, GLANCE).map(drop);
        self.ask("get an answer", question).await
    }

    /// All topics but Kafka's own.
    pub(crate) async fn topics(&self) -> Result<BTreeMap<String, Seen>, BusError> {
        self.ask("list the topics", |client| {
            let metadata = client.fetch_metadata(None, PATIENCE)?;
            let topics = metadata.topics().iter();
            Ok(topics
                .filter(|topic| topic.error().is_none() && !topic.name().starts_with("__"))
                .map(|topic| (topic.name().to_owned(), Seen::of(topic)))
                .collect())
        })
        .await
    }

    /// The number of partitions of `topic`.
    pub(crate) async fn partitions(&self, topic: &str) -> Result<u16, BusError> {
        if let Some(known) = self.0.known.lock().get(topic) {
            return Ok(*known);
        }
        match self.seen(topic).await? {
            Some(seen) => {
                self.learn(topic, seen.partitions);
                Ok(seen.partitions)
            }
            None => Err(BusError::UnknownTopic(topic.to_owned())),
        }
    }

    /// The current state of `topic` at the brokers, if they know it.
    pub(crate) async fn seen(&self, topic: &str) -> Result<Option<Seen>, BusError> {
        let name = topic.to_owned();
        self.ask("look at a topic", move |client| {
            let metadata = client.fetch_metadata(Some(&name), PATIENCE)?;
            let Some(topic) = metadata.topics().first() else {
                return Ok(None);
            };
            match topic.error() {
                None => Ok(Some(Seen::of(topic))),
                Some(
                    RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                    | RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION,
                ) => Ok(None),
                Some(error) => Err(KafkaError::MetadataFetch(error.into())),
            }
        })
        .await
    }

    /// Remembers that `topic` exists.
    pub(crate) fn learn(&self, topic: &str, partitions: u16) {
        self.0.known.lock().insert(topic.to_owned(), partitions);
    }

    /// Forgets a topic that a broker no longer knows.
    pub(crate) fn forget(&self, topic: &str) {
        self.0.known.lock().remove(topic);
    }

    /// The watermarks of each partition of `topic`.
    pub(crate) async fn watermarks(&self, topic: &str) -> Result<Vec<Watermarks>, BusError> {
        let partitions = self.partitions(topic).await?;
        let name = topic.to_owned();
        let watermarks = self
            .ask("measure a topic", move |client| {
                let deadline = Instant::now() + PATIENCE;
                loop {
                    match watermarks(client, &name, partitions) {
                        Err(error) if moves(&error) && Instant::now() < deadline => {
                            std::thread::sleep(LOOK_AGAIN);
                            client.fetch_metadata(Some(&name), PATIENCE)?;
                        }
                        watermarks => return watermarks,
                    }
                }
            })
            .await;
        match watermarks {
            // Perhaps it was removed: then the next question shows it.
            Err(error) => {
                self.forget(topic);
                self.partitions(topic).await?;
                Err(error)
            }
            watermarks => watermarks,
        }
    }

    /// Runs a question on a thread that may wait. First takes the client's reports, which would pile
    /// up.
    async fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        question: impl FnOnce(&Client) -> KafkaResult<T> + Send + 'static,
    ) -> Result<T, BusError> {
        let inner = Arc::clone(&self.0);
        let answer = self.0.tasks.spawn_blocking(move || {
            let client = Arc::clone(&inner.current.lock().client);
            while client.poll(Duration::ZERO).is_some() {}
            let answer = question(&client);
            let patience = if answer.is_ok() {
                Duration::ZERO
            } else {
                HEARING
            };
            while client.poll(patience).is_some() {}
            inner.heard(&client, answer.is_ok());
            answer
        });
        match answer.await {
            Ok(answer) => answer.map_err(|error| self.0.ear.unavailable(what, error)),
            Err(cut_off) => Err(BusError::Unavailable(cut_off.into())),
        }
    }
}

impl Inner {
    /// Notes that `client` answered, or replaces it when it has not for long.
    fn heard(&self, client: &Arc<Client>, is_well: bool) {
        let mut current = self.current.lock();
        if !Arc::ptr_eq(&current.client, client) {
            return;
        }
        if is_well {
            current.well_at = Instant::now();
        } else if current.well_at.elapsed() >= HOPELESS {
            match Current::new(&self.settings, &self.ear) {
                Ok(another) => *current = another,
                Err(error) => tracing::warn!(%error, "could not make another Kafka client"),
            }
        }
    }
}

impl Current {
    fn new(settings: &Settings, ear: &Ear) -> KafkaResult<Self> {
        let client = settings.client("look").create_with_context(ear.clone())?;
        Ok(Self {
            client: Arc::new(client),
            well_at: Instant::now(),
        })
    }
}

impl Seen {
    fn of(topic: &MetadataTopic) -> Self {
        let partitions = topic.partitions();
        Self {
            partitions: u16::try_from(partitions.len()).unwrap_or(u16::MAX),
            is_led: partitions.iter().all(|partition| partition.leader() >= 0),
        }
    }
}

/// True while the partitions are given to another broker, or to their first.
fn moves(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::OffsetNotAvailable
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
        )
    )
}

fn watermarks(client: &Client, topic: &str, partitions: u16) -> KafkaResult<Vec<Watermarks>> {
    let oldest = offsets(client, topic, partitions, Offset::Beginning)?;
    let next = offsets(client, topic, partitions, Offset::End)?;
    let watermarks = oldest.into_iter().zip(next);
    Ok(watermarks
        .map(|(oldest, next)| Watermarks { oldest, next })
        .collect())
}

/// One end of each partition, all in one request a broker.
fn offsets(client: &Client, topic: &str, partitions: u16, end: Offset) -> KafkaResult<Vec<i64>> {
    let mut wanted = TopicPartitionList::with_capacity(partitions.into());
    for partition in 0..i32::from(partitions) {
        wanted.add_partition_offset(topic, partition, end)?;
    }
    let found = client.offsets_for_times(wanted, PATIENCE)?;
    let mut offsets = Vec::with_capacity(partitions.into());
    for partition in 0..i32::from(partitions) {
        let found = found
            .find_partition(topic, partition)
            .ok_or(KafkaError::OffsetFetch(Code::UnknownPartition))?;
        found.error()?;
        match found.offset() {
            Offset::Offset(offset) => offsets.push(offset),
            _ => return Err(KafkaError::OffsetFetch(Code::NoOffset)),
        }
    }
    Ok(offsets)
}
