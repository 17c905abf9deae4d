//! Reading a partition without a group and without waiting, for tools and rebuilds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use blocks::bus::{BusError, Record, Watermarks};
use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer, DefaultConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio_util::task::TaskTracker;

use crate::client::{Ear, Settings};
use crate::records::record;

/// Time that existing records may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads pages. One at a time; pages of one partition in a row cost one fetch for many.
#[derive(Clone)]
pub(crate) struct Reader {
    config: ClientConfig,
    ear: Ear,
    tasks: TaskTracker,
    open: Arc<Mutex<Option<Open>>>,
}

/// A client in the middle of a partition.
struct Open {
    client: BaseConsumer,
    /// The next record to give, unless it is at an end.
    at: Option<(String, i32, i64)>,
}

impl Reader {
    pub(crate) fn new(settings: &Settings, tasks: TaskTracker) -> Self {
        let mut config = settings.client("reader");
        config
            // The library wants a group for an assignment, but never joins it.
            .set("group.id", "rookery-reader")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", "4096");
        Self {
            config,
            ear: settings.ear(),
            tasks,
            open: Arc::default(),
        }
    }

    /// Up to `max` records of a partition from `offset` on, within its `watermarks`.
    pub(crate) async fn read(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        max: usize,
        watermark: Watermarks,
    ) -> Result<Vec<Record>, BusError> {
        let from = offset.max(watermark.oldest);
        if from >= watermark.next || max == 0 {
            return Ok(Vec::new());
        }
        let (reader, topic) = (self.clone(), topic.to_owned());
        let from = (topic, partition, from);
        let page = self.tasks.spawn_blocking(move || {
            let mut slot = reader.open.lock();
            let mut open = match slot.take() {
                Some(open) => open,
                None => Open {
                    client: reader.config.create_with_context(DefaultConsumerContext)?,
                    at: None,
                },
            };
            let page = open.page(&from, max, watermark.next);
            // One that failed is not used again.
            if page.is_ok() {
                *slot = Some(open);
            }
            page
        });
        match page.await {
            Ok(page) => page.map_err(|error| self.ear.unavailable("read", error)),
            Err(cut_off) => Err(BusError::Unavailable(cut_off.into())),
        }
    }

    /// Lets go of the client.
    pub(crate) fn close(&self) {
        let open = Arc::clone(&self.open);
        self.tasks.spawn_blocking(move || drop(open.lock().take()));
    }
}

impl Open {
    fn page(
        &mut self,
        from: &(String, i32, i64),
        max: usize,
        end: i64,
    ) -> KafkaResult<Vec<Record>> {
        let (topic, partition, start) = from.clone();
        if self.at.as_ref() != Some(from) {
            let mut one = TopicPartitionList::new();
            one.add_partition_offset(&topic, partition, Offset::Offset(start))?;
            self.client.assign(&one)?;
        }
        self.at = None;
        let deadline = Instant::now() + PATIENCE;
        let mut records = Vec::new();
        while records.len() < max {
            match self.client.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let record = record(&message);
                    // Left over from an earlier assignment.
                    if record.topic != topic || record.partition != partition {
                        continue;
                    }
                    let next = record.offset + 1;
                    records.push(record);
                    if next >= end {
                        return Ok(records);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(records),
                // It connects again by itself.
                Some(Err(KafkaError::MessageConsumption(
                    Code::AllBrokersDown | Code::BrokerTransportFailure,
                )))
                | None
                    if Instant::now() < deadline => {}
                Some(Err(error)) => return Err(error),
                None => return Err(KafkaError::MessageConsumption(Code::OperationTimedOut)),
            }
        }
        let next = records.last().map_or(start, |record| record.offset + 1);
        self.at = Some((topic, partition, next));
        Ok(records)
    }
}
