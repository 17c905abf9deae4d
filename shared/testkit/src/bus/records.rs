//! Promises about records: accepted ones stay, unchanged and in order.

use std::sync::Arc;
use std::time::Duration;

use blocks::bus::{BusError, TopicSpec, Watermarks};
use chrono::TimeDelta;
use events::{Cleanup, Message};
use futures::future::join_all;
use tokio::time::{Instant, timeout};

use super::{
    Adapter, BEGAN, PATIENCE, by_key, expected, fresh_group, fresh_topic, member, message,
    messages, take,
};
use crate::positions::MemoryPositions;

/// Key, headers, bytes and time are given back, bytes that are no text included.
pub async fn records_come_back_as_they_were_published(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 1).await;
    let published: Vec<Message> = [
        ("42", b"{\"event_type\":\"post.created\"}".to_vec()),
        ("ключ", vec![0xff, 0x00, 0xfe, b'\'', b'"']),
        ("", Vec::new()),
        ("large", vec![7; 700_000]),
    ]
    .into_iter()
    .zip(0..)
    .map(|((key, value), n)| Message {
        topic: topic.clone(),
        key: key.to_owned(),
        headers: vec![
            ("ce_id".to_owned(), format!("id-{n}")),
            ("empty".to_owned(), String::new()),
            ("quoted".to_owned(), "\"\\ \n ü".to_owned()),
        ],
        value,
        time: *BEGAN + TimeDelta::milliseconds(n),
    })
    .collect();
    bus.publish(&published).await.unwrap();
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    let records = take(&mut *reader, published.len()).await;
    let read = bus.read(&topic, 0, 0, 100).await.unwrap();
    assert_eq!(read, records);
    for (message, record) in published.iter().zip(&records) {
        assert_eq!(record.topic, topic);
        assert_eq!(record.partition, 0);
        assert_eq!(record.key.as_deref(), Some(message.key.as_str()));
        assert_eq!(record.headers, message.headers);
        assert_eq!(record.value, message.value);
        assert_eq!(record.time, message.time);
    }
    assert!(records.is_sorted_by(|a, b| a.offset < b.offset));
}

/// A key has one partition, and its records come in the order in which they were published.
pub async fn records_of_a_key_keep_their_order_and_their_partition(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 6).await;
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    for batch in messages(&topic, &keys, 20).chunks(7) {
        bus.publish(batch).await.unwrap();
    }
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    let records = take(&mut *reader, 160).await;
    assert_eq!(by_key(&records), expected(&keys, 20));
    for key in keys {
        let mut of_key = records
            .iter()
            .filter(|record| record.key.as_deref() == Some(key));
        let first = of_key.next().unwrap().partition;
        assert!(
            of_key.all(|record| record.partition == first),
            "{key} moved"
        );
    }
    let partitions: std::collections::BTreeSet<i32> =
        records.iter().map(|record| record.partition).collect();
    assert!(partitions.len() > 1, "all keys in one partition");
}

/// Publishers that know nothing of each other mix, but each key's records stay in order.
pub async fn concurrent_publishers_keep_the_order_of_each_key(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 3).await;
    let keys: Vec<String> = (0..16).map(|n| format!("key-{n}")).collect();
    join_all(keys.iter().map(|key| {
        let (bus, topic) = (Arc::clone(&bus), topic.clone());
        async move {
            for batch in messages(&topic, &[key], 30).chunks(4) {
                bus.publish(batch).await.unwrap();
            }
        }
    }))
    .await;
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    let records = take(&mut *reader, 16 * 30).await;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    assert_eq!(by_key(&records), expected(&keys, 30));
}

/// A batch that was accepted survives the process, and offsets go on where they were.
pub async fn what_was_accepted_survives_a_reopen(adapter: &mut dyn Adapter) {
    let topic = fresh_topic(&*adapter.bus(), 3).await;
    adapter
        .bus()
        .publish(&messages(&topic, &["a", "b"], 5))
        .await
        .unwrap();
    let mut before = Vec::new();
    for partition in 0..3 {
        before.extend(adapter.bus().read(&topic, partition, 0, 100).await.unwrap());
    }
    assert_eq!(before.len(), 10);
    if adapter.guarantees().reopens {
        adapter.reopen().await;
    }
    let bus = adapter.bus();
    let mut after = Vec::new();
    for partition in 0..3 {
        after.extend(bus.read(&topic, partition, 0, 100).await.unwrap());
    }
    assert_eq!(after, before);
    let more: Vec<Message> = (5..8).map(|n| message(&topic, "a", n)).collect();
    bus.publish(&more).await.unwrap();
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    let values = by_key(&take(&mut *reader, 13).await);
    assert_eq!(values["a"], expected(&["a"], 8)["a"]);
    assert_eq!(values["b"], expected(&["b"], 5)["b"]);
}

/// Making a topic again changes nothing, and every topic is listed as it was made.
pub async fn topics_are_made_once_and_listed(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 4).await;
    bus.publish(&[message(&topic, "a", 0)]).await.unwrap();
    let spec = TopicSpec {
        name: topic.clone(),
        partitions: 4,
        cleanup: Cleanup::Delete {
            after_ms: events::topic::WEEK_MS,
        },
    };
    let compacted = TopicSpec {
        name: format!("{topic}.compacted"),
        partitions: 2,
        cleanup: Cleanup::Compact {
            after_ms: events::topic::WEEK_MS,
        },
    };
    bus.ensure_topics(&[spec.clone(), compacted.clone(), spec.clone()])
        .await
        .unwrap();
    let listed = bus.topics().await.unwrap();
    assert_eq!(listed.iter().filter(|listed| **listed == spec).count(), 1);
    assert_eq!(
        listed.iter().filter(|listed| **listed == compacted).count(),
        1
    );
    let records: i64 = bus
        .watermarks(&topic)
        .await
        .unwrap()
        .iter()
        .map(|watermark| watermark.next)
        .sum();
    assert_eq!(records, 1);
}

/// A topic that exists with another partition count is named, and stays as it is.
pub async fn another_partition_count_is_refused(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 3).await;
    for reopened in [false, true] {
        if reopened && adapter.guarantees().reopens {
            adapter.reopen().await;
        }
        let bus = adapter.bus();
        let spec = TopicSpec {
            name: topic.clone(),
            partitions: 6,
            cleanup: Cleanup::Delete {
                after_ms: events::topic::WEEK_MS,
            },
        };
        let error = bus.ensure_topics(&[spec]).await.unwrap_err();
        assert!(
            matches!(&error, BusError::PartitionsChanged { topic: named, found: 3, wanted: 6 }
                if *named == topic),
            "{error}"
        );
        assert_eq!(bus.watermarks(&topic).await.unwrap().len(), 3);
    }
}

/// Nothing makes a topic by using it.
pub async fn an_unknown_topic_is_refused(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = format!("{}.unknown", fresh_topic(&*bus, 1).await);
    let positions = Arc::new(MemoryPositions::default());
    let errors = [
        bus.publish(&[message(&topic, "a", 0)]).await.err(),
        bus.subscribe(&fresh_group(), std::slice::from_ref(&topic), positions)
            .await
            .err(),
        bus.watermarks(&topic).await.err(),
        bus.read(&topic, 0, 0, 1).await.err(),
    ];
    for error in errors {
        assert!(
            matches!(&error, Some(BusError::UnknownTopic(named)) if *named == topic),
            "{error:?}"
        );
    }
}

/// A message that is too large is named by its place in the batch. Those before it are accepted,
/// those after it are not.
pub async fn an_oversized_message_is_refused_and_those_before_it_stay(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 1).await;
    let mut batch = messages(&topic, &["a"], 4);
    batch[2].value = vec![b'x'; sql::MAX_EVENT_BYTES + 1];
    let error = bus.publish(&batch).await.unwrap_err();
    assert!(
        matches!(error, BusError::Refused { index: 2, .. }),
        "{error}"
    );
    batch.truncate(1);
    batch[0].value = vec![b'y'; sql::MAX_EVENT_BYTES];
    bus.publish(&batch).await.unwrap();
    let records = bus.read(&topic, 0, 0, 10).await.unwrap();
    let lengths: Vec<usize> = records.iter().map(|record| record.value.len()).collect();
    assert_eq!(lengths, [3, 3, sql::MAX_EVENT_BYTES]);
}

/// A partition can be read from any offset, and its watermarks tell its extent.
pub async fn partitions_are_read_without_a_group(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 1).await;
    assert_eq!(
        bus.watermarks(&topic).await.unwrap(),
        [Watermarks { oldest: 0, next: 0 }]
    );
    assert_eq!(bus.read(&topic, 0, 0, 10).await.unwrap(), []);
    bus.publish(&messages(&topic, &["a"], 10)).await.unwrap();
    assert_eq!(
        bus.watermarks(&topic).await.unwrap(),
        [Watermarks {
            oldest: 0,
            next: 10
        }]
    );
    let offsets = async |from, max| -> Vec<i64> {
        let records = bus.read(&topic, 0, from, max).await.unwrap();
        records.iter().map(|record| record.offset).collect()
    };
    assert_eq!(offsets(0, 3).await, [0, 1, 2]);
    assert_eq!(offsets(8, 10).await, [8, 9]);
    assert_eq!(offsets(10, 10).await, [] as [i64; 0]);
    assert_eq!(offsets(999, 10).await, [] as [i64; 0]);
    // Reading moved nobody's offset.
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    assert_eq!(take(&mut *reader, 10).await.len(), 10);
}

/// A batch has at most as many records as were asked for, and at least one.
pub async fn a_batch_is_never_larger_than_asked_for(adapter: &mut dyn Adapter) {
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 3).await;
    bus.publish(&messages(&topic, &["a", "b", "c", "d"], 10))
        .await
        .unwrap();
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    let mut records = Vec::new();
    while records.len() < 40 {
        let batch = timeout(PATIENCE, reader.next(7)).await.unwrap().unwrap();
        assert!((1..=7).contains(&batch.len()), "{} records", batch.len());
        records.extend(batch);
    }
    assert_eq!(by_key(&records), expected(&["a", "b", "c", "d"], 10));
}

/// A wait may be given up at any moment: records not returned come the next time.
pub async fn a_cancelled_wait_loses_nothing(adapter: &mut dyn Adapter) {
    let topic = fresh_topic(&*adapter.bus(), 3).await;
    let keys = ["a", "b", "c", "d"];
    let mut unpublished = messages(&topic, &keys, 60);
    let later = unpublished.split_off(120);
    adapter.bus().publish(&unpublished).await.unwrap();
    // Records from before the start may come another way than those that come while somebody waits.
    if adapter.guarantees().reopens {
        adapter.reopen().await;
    }
    let bus = adapter.bus();
    let mut later = later.chunks(5);
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    let mut records = Vec::new();
    let mut attempt = 0;
    let deadline = Instant::now() + PATIENCE;
    while records.len() < 240 {
        assert!(
            Instant::now() < deadline,
            "{} of 240 records came",
            records.len()
        );
        attempt += 1;
        if attempt % 3 == 0
            && let Some(batch) = later.next()
        {
            bus.publish(batch).await.unwrap();
        }
        // Given up after the first step, somewhere in the middle, or in the end after all.
        let give_up = async {
            match attempt % 8 {
                7 => tokio::time::sleep(Duration::from_millis(100)).await,
                steps => {
                    for _ in 0..steps * steps {
                        tokio::task::yield_now().await;
                    }
                }
            }
        };
        tokio::select! {
            biased;
            batch = reader.next(3) => records.extend(batch.unwrap()),
            () = give_up => {}
        }
    }
    assert_eq!(by_key(&records), expected(&keys, 60));
}
