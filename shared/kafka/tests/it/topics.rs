//! Topics as the broker has them, and records that it let go of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use blocks::bus::{BusError, EventBus, TopicSpec};
use events::Cleanup;
use kafka::{KafkaBus, Settings};
use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use testkit::bus::{PATIENCE, fresh_group, fresh_topic, member, messages, take};
use testkit::positions::MemoryPositions;

use crate::contract::{bus, servers};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

fn admin() -> AdminClient<DefaultClientContext> {
    ClientConfig::new()
        .set("bootstrap.servers", servers())
        .create()
        .unwrap()
}

/// The broker's settings of `topic`.
async fn settings(topic: &str) -> BTreeMap<String, String> {
    let topic = [ResourceSpecifier::Topic(topic)];
    let said = admin().describe_configs(&topic, &AdminOptions::new()).await;
    let said = said.unwrap().remove(0).unwrap();
    let entries = said.entries.into_iter();
    entries
        .map(|entry| (entry.name, entry.value.unwrap_or_default()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn the_broker_keeps_the_records_of_a_topic_for_as_long_as_was_asked_for() {
    let bus = bus();
    let after_ms = 7 * DAY_MS;
    let spec = |cleanup| TopicSpec {
        name: format!("{}.topic", fresh_group()),
        partitions: 5,
        cleanup,
    };
    let deleted = spec(Cleanup::Delete { after_ms });
    let compacted = spec(Cleanup::Compact { after_ms });
    bus.ensure_topics(&[deleted.clone(), compacted.clone()])
        .await
        .unwrap();
    for spec in [&deleted, &compacted] {
        assert_eq!(bus.watermarks(&spec.name).await.unwrap().len(), 5);
    }
    let said = settings(&deleted.name).await;
    assert_eq!(said["cleanup.policy"], "delete");
    assert_eq!(said["retention.ms"], after_ms.to_string());
    // Only a segment that is closed is let go of.
    assert_eq!(said["segment.ms"], DAY_MS.to_string());
    let said = settings(&compacted.name).await;
    assert_eq!(said["cleanup.policy"], "compact");
    assert_eq!(said["min.compaction.lag.ms"], after_ms.to_string());
    assert_eq!(
        said["max.compaction.lag.ms"],
        (after_ms + DAY_MS).to_string()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_member_that_stands_where_records_went_goes_on_behind_them() {
    let bus = bus();
    let topic = fresh_topic(&bus, 1).await;
    bus.publish(&messages(&topic, &["a"], 10)).await.unwrap();
    // As the end of their time would.
    let mut before = TopicPartitionList::new();
    before
        .add_partition_offset(&topic, 0, Offset::Offset(7))
        .unwrap();
    let gone = admin().delete_records(&before, &AdminOptions::new()).await;
    gone.unwrap();
    assert_eq!(bus.watermarks(&topic).await.unwrap()[0].oldest, 7);
    for start in [None, Some(3)] {
        let positions = Arc::new(MemoryPositions::default());
        if let Some(next) = start {
            positions.set(&topic, 0, next);
        }
        let mut reader = member(&bus, &fresh_group(), &topic, &positions).await;
        let left: Vec<i64> = take(&mut *reader, 3)
            .await
            .iter()
            .map(|record| record.offset)
            .collect();
        assert_eq!(left, [7, 8, 9], "from {start:?}");
    }
    // A tool that asks for removed records gets those that are left.
    let read = bus.read(&topic, 0, 0, 100).await.unwrap();
    assert_eq!((read.len(), read[0].offset), (3, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_topic_that_was_removed_under_way_is_named_and_its_events_wait() {
    let bus = KafkaBus::new(Settings {
        patience: Duration::from_secs(2),
        ..Settings::new(servers())
    })
    .unwrap();
    let topic = fresh_topic(&bus, 1).await;
    bus.publish(&messages(&topic, &["a"], 2)).await.unwrap();
    let spec = bus.topics().await.unwrap();
    let spec = spec.into_iter().find(|spec| spec.name == topic).unwrap();
    let gone = admin()
        .delete_topics(&[topic.as_str()], &AdminOptions::new())
        .await;
    gone.unwrap().remove(0).unwrap();
    let batch = messages(&topic, &["b"], 2);
    let error = loop {
        // Right after it the broker may still take some.
        if let Err(error) = bus.publish(&batch).await {
            break error;
        }
    };
    assert!(matches!(error, BusError::Unavailable(_)), "{error}");
    let said = blocks::error::chain(&error);
    assert!(said.contains(&topic) && said.contains("removed"), "{said}");
    // Made again, it takes them.
    bus.ensure_topics(&[spec]).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = bus.publish(&batch).await {
        assert!(Instant::now() < deadline, "{error}");
    }
    bus.close().await;
}
