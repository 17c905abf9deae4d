//! Messages that a broker refuses, and the partitions of those that it takes.

use std::time::Duration;

use blocks::SystemClock;
use blocks::bus::{BusError, EventBus};
use events::Message;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use sql::Durability;
use sql::log::TopicLog;
use testkit::bus::{by_key, fresh_group, fresh_topic, member, message, messages, take};

use crate::contract::{bus, servers};

/// Makes `topic` so that it takes less than others.
async fn make_strict(topic: &str) {
    let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
        .set("bootstrap.servers", servers())
        .create()
        .unwrap();
    let strict =
        NewTopic::new(topic, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "2000");
    let made = admin
        .create_topics(&[strict], &AdminOptions::new())
        .await
        .unwrap();
    made.into_iter().next().unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_message_that_the_broker_refuses_is_found_in_its_batch_and_the_others_go_through() {
    let bus = bus();
    let topic = format!("{}.strict", fresh_group());
    make_strict(&topic).await;
    let mut batch = messages(&topic, &["a", "b"], 6);
    batch[7].value = vec![b'x'; 5000];
    let error = bus.publish(&batch).await.unwrap_err();
    assert!(
        matches!(error, BusError::Refused { index: 7, .. }),
        "{error}"
    );
    // As a relay does: the others after it, with another producer.
    batch.remove(7);
    bus.publish(&batch[7..]).await.unwrap();
    let count = usize::try_from(bus.watermarks(&topic).await.unwrap()[0].next).unwrap();
    let records = bus.read(&topic, 0, 0, 100).await.unwrap();
    assert_eq!(records.len(), count);
    let mut values = by_key(&records);
    for (key, values) in &mut values {
        // Those behind it may have come twice, never in another order.
        let mut seen = std::collections::BTreeSet::new();
        values.retain(|value| seen.insert(value.clone()));
        let expected: Vec<String> = (0..6)
            .filter(|n| key != "b" || *n != 3)
            .map(|n| format!("{key} {n}"))
            .collect();
        assert_eq!(*values, expected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_key_lies_in_the_same_partition_as_in_the_embedded_log() {
    let folder = tempfile::tempdir().unwrap();
    let clock = std::sync::Arc::new(SystemClock);
    let log = TopicLog::open(&folder.path().join("log.db"), Durability::Process, clock)
        .await
        .unwrap();
    let bus = bus();
    let topic = fresh_topic(&bus, 6).await;
    let spec = bus.topics().await.unwrap();
    let spec = spec.into_iter().find(|spec| spec.name == topic).unwrap();
    log.ensure_topics(&[spec]).await.unwrap();
    let keys = [
        "",
        "1",
        "42",
        "ключ",
        "0197f1d0-7b1c-7c3e-9d2a-1a2b3c4d5e6f",
    ];
    let batch: Vec<Message> = keys
        .into_iter()
        .map(str::to_owned)
        .chain((0..200).map(|n| n.to_string()))
        .map(|key| message(&topic, &key, 0))
        .collect();
    bus.publish(&batch).await.unwrap();
    log.publish(&batch).await.unwrap();
    let mut places = [Vec::new(), Vec::new()];
    for (bus, places) in [&bus as &dyn EventBus, &log].into_iter().zip(&mut places) {
        let mut reader = member(bus, &fresh_group(), &topic, &std::sync::Arc::default()).await;
        for record in take(&mut *reader, batch.len()).await {
            places.push((record.key.unwrap(), record.partition));
        }
        places.sort();
    }
    assert_eq!(places[0], places[1]);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_partition_is_read_in_pages_as_it_is_read_at_once() {
    let bus = bus();
    let topic = fresh_topic(&bus, 2).await;
    bus.publish(&messages(&topic, &["a", "b", "c"], 400))
        .await
        .unwrap();
    for partition in 0..2 {
        let at_once = bus.read(&topic, partition, 0, 10_000).await.unwrap();
        let mut in_pages = Vec::new();
        loop {
            let next = in_pages
                .last()
                .map_or(0, |record: &blocks::bus::Record| record.offset + 1);
            let page = bus.read(&topic, partition, next, 70).await.unwrap();
            if page.is_empty() {
                break;
            }
            in_pages.extend(page);
        }
        assert_eq!(in_pages, at_once);
    }
    // Records that come after the end was seen are seen, too.
    let before = bus.watermarks(&topic).await.unwrap();
    bus.publish(&[message(&topic, "a", 400)]).await.unwrap();
    let mut more = Vec::new();
    for (partition, watermark) in (0..2).zip(before) {
        more.extend(
            bus.read(&topic, partition, watermark.next, 10)
                .await
                .unwrap(),
        );
    }
    assert_eq!(by_key(&more)["a"], ["a 400"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_where_nobody_listens_is_named_with_its_setting() {
    let settings = kafka::Settings {
        patience: Duration::from_millis(300),
        ..kafka::Settings::new("127.0.0.1:1")
    };
    let bus = kafka::KafkaBus::new(settings).unwrap();
    let error = bus.answers().await.unwrap_err();
    let text = blocks::error::chain(&error);
    for part in ["127.0.0.1:1", "KAFKA_BOOTSTRAP_SERVERS", "refused"] {
        assert!(text.contains(part), "{text}");
    }
    bus.close().await;
}
