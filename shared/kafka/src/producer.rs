//! The producer: batches in, one answer for each batch.
//!
//! Idempotent and with acks from all, so a retry inside the library neither repeats nor swaps. Having given
//! up on a message, the library would go on with those behind it. Therefore a failure ends the producer:
//! messages queued or under way are dropped, and the publisher starts again with a new one from the pending
//! events.

use std::sync::Arc;
use std::time::Duration;

use blocks::bus::BusError;
use events::Message;
use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{
    BaseRecord, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::client::{Ear, Settings};
use crate::records;

/// Time by which the library may exceed its own timeout.
const MARGIN: Duration = Duration::from_secs(5);
/// Pause before a message is offered again to a full queue.
const FULL: Duration = Duration::from_millis(5);
/// A broker takes batches of 1 MiB and their frame by default.
const MAX_BATCH_BYTES: &str = "1048588";

type Client = ThreadedProducer<Ear>;

/// Publishes batches, in order.
pub(crate) struct Producer {
    config: ClientConfig,
    patience: Duration,
    ear: Ear,
    tasks: TaskTracker,
    /// Made when it is needed, thrown away after a failure.
    current: Mutex<Option<Arc<Client>>>,
}

/// The failure of the first message that was not accepted.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The broker will never take it.
    Refused {
        /// Its index in the batch; those before it were accepted.
        index: usize,
        /// In the broker's words.
        reason: String,
    },
    /// The broker says that there is no such topic. It may be mistaken, shortly after its start.
    UnknownTopic { index: usize },
    /// Nothing is known about any of them.
    Away(BusError),
}

impl Producer {
    pub(crate) fn new(settings: &Settings, tasks: TaskTracker) -> Self {
        let mut config = settings.client("relay");
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("partitioner", "murmur2_random")
            .set("linger.ms", "1")
            .set("message.max.bytes", MAX_BATCH_BYTES)
            .set(
                "message.timeout.ms",
                settings.patience.as_millis().to_string(),
            );
        Self {
            config,
            patience: settings.patience,
            ear: settings.ear(),
            tasks,
            current: Mutex::default(),
        }
    }

    /// Returns once the brokers have accepted all of `messages`.
    pub(crate) async fn publish(&self, messages: &[Message]) -> Result<(), Failure> {
        match self.attempt(messages).await? {
            None => Ok(()),
            Some((first, code)) if is_refusal(code) => self.find_refused(messages, first).await,
            Some((index, code)) if is_unknown(code) => Err(Failure::UnknownTopic { index }),
            Some((_, code)) => Err(self.unavailable(code)),
        }
    }

    /// A broker refuses batches as a whole. Offered one by one, the message at fault shows itself.
    async fn find_refused(&self, messages: &[Message], first: usize) -> Result<(), Failure> {
        for (index, message) in messages.iter().enumerate().skip(first) {
            match self.attempt(std::slice::from_ref(message)).await? {
                None => {}
                Some((_, code)) if is_refusal(code) => {
                    let reason = code.to_string();
                    return Err(Failure::Refused { index, reason });
                }
                Some((_, code)) => return Err(self.unavailable(code)),
            }
        }
        Ok(())
    }

    /// Publishes once; gives the first message that was not accepted.
    async fn attempt(&self, messages: &[Message]) -> Result<Option<(usize, Code)>, Failure> {
        let client = self.client()?;
        let deadline = Instant::now() + self.patience + MARGIN;
        let (batch, settled) = Batch::new(messages.len());
        for (index, message) in messages.iter().enumerate() {
            if let Err(code) = enqueue(&client, &batch, index, message, deadline).await {
                batch.settle(index, Some(code));
                // Those behind it are not offered: they must not overtake it.
                (index + 1..messages.len()).for_each(|index| batch.settle(index, None));
                break;
            }
        }
        let in_time = timeout_at(deadline, settled).await.is_ok();
        let failed = if in_time {
            batch.failed()
        } else {
            Some((0, Code::MessageTimedOut))
        };
        if failed.is_some() {
            self.retire(&client);
        }
        self.let_go(client);
        Ok(failed)
    }

    fn client(&self) -> Result<Arc<Client>, Failure> {
        let mut current = self.current.lock();
        if let Some(client) = &*current {
            return Ok(Arc::clone(client));
        }
        let client: Client = self
            .config
            .create_with_context(self.ear.clone())
            .map_err(|error| Failure::Away(self.ear.unavailable("make a producer", error)))?;
        Ok(Arc::clone(current.insert(Arc::new(client))))
    }

    /// Drops the messages that `client` has not delivered; nobody gets them from here on.
    fn retire(&self, client: &Arc<Client>) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|now| Arc::ptr_eq(now, client)) {
            *current = None;
        }
        client.purge(PurgeConfig::default().queue().inflight());
    }

    /// The last one to let go of a client waits for its threads, which must not be here.
    fn let_go(&self, client: Arc<Client>) {
        if Arc::strong_count(&client) == 1 {
            self.tasks.spawn_blocking(move || drop(client));
        }
    }

    fn unavailable(&self, code: Code) -> Failure {
        let error = KafkaError::MessageProduction(code);
        Failure::Away(self.ear.unavailable("publish", error))
    }

    /// Ends the producer, if there is one. Every publish was answered before.
    pub(crate) fn close(&self) {
        if let Some(client) = self.current.lock().take() {
            self.let_go(client);
        }
    }
}

/// Hands a message to the library, waiting while its queue is full.
async fn enqueue(
    client: &Client,
    batch: &Arc<Batch>,
    index: usize,
    message: &Message,
    deadline: Instant,
) -> Result<(), Code> {
    loop {
        let receipt = Box::new(Receipt {
            index,
            batch: Arc::clone(batch),
        });
        let record = BaseRecord::with_opaque_to(&message.topic, receipt)
            .key(message.key.as_bytes())
            .payload(message.value.as_slice())
            .timestamp(message.time.timestamp_millis())
            .headers(records::headers(message));
        let code = match client.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(code), _)) => code,
            Err(_) => Code::InvalidArgument,
        };
        if code != Code::QueueFull || Instant::now() >= deadline {
            return Err(code);
        }
        tokio::time::sleep(FULL).await;
    }
}

/// True if a broker will give the same answer for ever.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::InvalidTimestamp
            | Code::InvalidArgument
            | Code::PolicyViolation
    )
}

fn is_unknown(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition
    )
}

/// Messages that are published together.
struct Batch {
    state: Mutex<BatchState>,
}

struct BatchState {
    left: usize,
    failed: Option<(usize, Code)>,
    settled: Option<oneshot::Sender<()>>,
}

impl Batch {
    /// A batch of `count`, and the signal that all of them were answered.
    fn new(count: usize) -> (Arc<Self>, oneshot::Receiver<()>) {
        let (sender, receiver) = oneshot::channel();
        let state = BatchState {
            left: count,
            failed: None,
            settled: Some(sender),
        };
        let batch = Self {
            state: Mutex::new(state),
        };
        (Arc::new(batch), receiver)
    }

    fn settle(&self, index: usize, failed: Option<Code>) {
        let mut state = self.state.lock();
        if let Some(code) = failed
            && state.failed.is_none_or(|(first, _)| index < first)
        {
            state.failed = Some((index, code));
        }
        state.left -= 1;
        if state.left == 0
            && let Some(settled) = state.settled.take()
        {
            // The caller may have left.
            let _ = settled.send(());
        }
    }

    fn failed(&self) -> Option<(usize, Code)> {
        self.state.lock().failed
    }
}

/// Travels with a message and comes back with its outcome.
pub(crate) struct Receipt {
    index: usize,
    batch: Arc<Batch>,
}

impl ProducerContext for Ear {
    type DeliveryOpaque = Box<Receipt>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Box<Receipt>) {
        let failed = result
            .as_ref()
            .err()
            .map(|(error, _)| error.rdkafka_error_code().unwrap_or(Code::Fail));
        receipt.batch.settle(receipt.index, failed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_neither_repeats_nor_swaps_by_itself_and_gives_up_when_it_should() {
        let settings = Settings {
            patience: Duration::from_secs(7),
            ..Settings::new("kafka:9092")
        };
        let producer = Producer::new(&settings, TaskTracker::new());
        for (name, value) in [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            // The partition of a key is the same in the embedded log.
            ("partitioner", "murmur2_random"),
            ("message.timeout.ms", "7000"),
            ("allow.auto.create.topics", "false"),
        ] {
            assert_eq!(producer.config.get(name), Some(value), "{name}");
        }
    }
}
