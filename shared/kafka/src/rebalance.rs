//! Passes the group's assignments and revocations from the library to the poller.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use blocks::bus::TopicPartition;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientContext, TopicPartitionList};
use tokio::sync::mpsc;

use crate::client::Ear;

/// A change of the partitions that this member should read.
#[derive(Debug)]
pub(crate) enum Change {
    /// These are its own from now on.
    Assigned(Vec<TopicPartition>),
    /// These are to be let go, which the group waits for.
    Revoked(Vec<TopicPartition>),
    /// The client knows no broker any more, and may never ask for one again. A broker that has just started
    /// may list none: then the library forgets all that it knew, also the configured ones.
    Blind,
}

/// This many statistics in a row without a broker are no passing state.
const BLIND_AFTER: u32 = 2;

/// The library calls it while it is polled.
pub(crate) struct Rebalances {
    pub(crate) ear: Ear,
    pub(crate) changes: mpsc::UnboundedSender<Change>,
    /// Nobody follows changes any more: partitions are let go at once.
    pub(crate) is_closing: AtomicBool,
    /// Statistics in a row without a broker.
    pub(crate) without_broker: AtomicU32,
}

impl ClientContext for Rebalances {
    /// Those of the group's coordinator do not count: nothing but the group's own is asked of it.
    fn stats(&self, statistics: Statistics) {
        let mut brokers = statistics.brokers.values();
        if brokers.any(|broker| matches!(broker.source.as_str(), "learned" | "configured")) {
            self.without_broker.store(0, Ordering::SeqCst);
        } else if self.without_broker.fetch_add(1, Ordering::SeqCst) + 1 == BLIND_AFTER {
            self.tell(Change::Blind);
        }
    }

    fn log(&self, level: rdkafka::config::RDKafkaLogLevel, facility: &str, text: &str) {
        self.ear.log(level, facility, text);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.ear.error(error, reason);
    }
}

impl ConsumerContext for Rebalances {
    /// An assignment is answered at once, with nothing to read; partitions follow when their offsets are
    /// known. A revocation is answered by the poller, when the caller is done.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let named: Vec<TopicPartition> = names(partitions);
        let answered = match what {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => {
                tracing::debug!(?named, "assigned");
                self.tell(Change::Assigned(named));
                consumer.incremental_assign(&TopicPartitionList::new())
            }
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS
                if !self.is_closing.load(Ordering::SeqCst) =>
            {
                tracing::debug!(?named, "revoked");
                self.tell(Change::Revoked(named));
                Ok(())
            }
            _ => let_all_go(consumer, partitions),
        };
        if let Err(error) = answered {
            tracing::warn!(%error, "could not follow a change of the consumer group");
        }
    }

    /// Committed offsets serve lag tools: a commit that failed is made good by the next.
    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "offsets were not committed");
        }
    }
}

impl Rebalances {
    fn tell(&self, change: Change) {
        // Nobody listens while the client is being closed.
        let _ = self.changes.send(change);
    }
}

/// Stops reading those of `partitions` that are read.
fn let_all_go(
    consumer: &BaseConsumer<Rebalances>,
    partitions: &TopicPartitionList,
) -> KafkaResult<()> {
    let read = consumer.assignment()?;
    let mut gone = TopicPartitionList::new();
    for partition in partitions.elements() {
        if read
            .find_partition(partition.topic(), partition.partition())
            .is_some()
        {
            gone.add_partition(partition.topic(), partition.partition());
        }
    }
    consumer.incremental_unassign(&gone)
}

fn names(partitions: &TopicPartitionList) -> Vec<TopicPartition> {
    let elements = partitions.elements();
    let names = elements.iter().map(|partition| TopicPartition {
        topic: partition.topic().to_owned(),
        partition: partition.partition(),
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use rdkafka::statistics::Broker;

    use super::*;
    use crate::client::Settings;

    fn statistics(sources: &[&str]) -> Statistics {
        let brokers = sources.iter().map(|source| {
            let broker = Broker {
                source: (*source).to_owned(),
                ..Broker::default()
            };
            ((*source).to_owned(), broker)
        });
        Statistics {
            brokers: brokers.collect(),
            ..Statistics::default()
        }
    }

    #[test]
    fn a_client_that_knows_no_broker_twice_in_a_row_is_blind_and_says_so_once() {
        let (changes, mut told) = mpsc::unbounded_channel();
        let rebalances = Rebalances {
            ear: Settings::new("kafka:9092").ear(),
            changes,
            is_closing: AtomicBool::new(false),
            without_broker: AtomicU32::new(0),
        };
        let blind = statistics(&["logical"]);
        for sees in ["configured", "learned"] {
            rebalances.stats(blind.clone());
            rebalances.stats(statistics(&["logical", sees]));
        }
        assert!(told.try_recv().is_err(), "it saw one in between");
        (0..3).for_each(|_| rebalances.stats(blind.clone()));
        assert!(matches!(told.try_recv(), Ok(Change::Blind)));
        assert!(told.try_recv().is_err(), "once is enough");
    }
}
