//! Groups: slow callers, callers that hang, lag tools, offsets of another log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use blocks::bus::{EventBus, TopicPartition};
use kafka::{KafkaBus, Settings};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use testkit::bus::{
    PATIENCE, by_key, expected, fresh_group, fresh_topic, member, message, messages, take,
};
use testkit::positions::MemoryPositions;
use tokio::time::{Instant, timeout};

use crate::contract::{bus, servers};

/// The broker's committed offset of `group` for a partition.
async fn committed(group: &str, topic: &str, partition: i32) -> Option<i64> {
    let (group, topic) = (group.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || {
        let tool: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", servers())
            .set("group.id", &group)
            .create()
            .unwrap();
        let mut wanted = TopicPartitionList::new();
        wanted.add_partition(&topic, partition);
        let found = tool.committed_offsets(wanted, PATIENCE).unwrap();
        match found.find_partition(&topic, partition).unwrap().offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_lag_tool_sees_what_was_committed_also_just_before_a_member_left() {
    let settings = Settings {
        group_prefix: Some("site-a".to_owned()),
        ..Settings::new(servers())
    };
    let bus = KafkaBus::new(settings).unwrap();
    let topic = fresh_topic(&bus, 1).await;
    bus.publish(&messages(&topic, &["a"], 5)).await.unwrap();
    let group = fresh_group();
    let mut reader = member(&bus, &group, &topic, &Arc::default()).await;
    take(&mut *reader, 5).await;
    let place = TopicPartition {
        topic: topic.clone(),
        partition: 0,
    };
    reader.commit(&BTreeMap::from([(place, 5)])).await.unwrap();
    drop(reader);
    bus.close().await;
    assert_eq!(
        committed(&format!("site-a-{group}"), &topic, 0).await,
        Some(5)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_caller_that_is_busy_for_long_stays_in_its_group_and_gets_the_rest() {
    let bus = bus();
    let topic = fresh_topic(&bus, 1).await;
    // More than a member holds: the client is paused while the caller is busy.
    let batches = messages(&topic, &["a", "b", "c", "d"], 5000);
    for batch in batches.chunks(1000) {
        bus.publish(batch).await.unwrap();
    }
    let group = fresh_group();
    let mut reader = member(&bus, &group, &topic, &Arc::default()).await;
    let mut records = take(&mut *reader, 1).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    records.extend(take(&mut *reader, 20_000 - records.len()).await);
    assert_eq!(by_key(&records), expected(&["a", "b", "c", "d"], 5000));
    assert!(records.is_sorted_by(|a, b| a.offset < b.offset));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn while_one_caller_is_busy_another_member_gets_what_that_one_has_not_in_hand() {
    let bus = bus();
    let topic = fresh_topic(&bus, 6).await;
    let (group, positions) = (fresh_group(), Arc::new(MemoryPositions::default()));
    let mut busy = member(&bus, &group, &topic, &positions).await;
    bus.publish(&[message(&topic, "a", 0)]).await.unwrap();
    let in_hand = take(&mut *busy, 1).await;
    let mut other = member(&bus, &group, &topic, &positions).await;
    // Three partitions move, and the busy member may have one of them in hand; then it is asked twice.
    let keys: Vec<String> = (0..60).map(|n| format!("k{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    bus.publish(&messages(&topic, &keys, 2)).await.unwrap();
    positions.handled(&in_hand);
    let mut records = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while records.len() < 120 {
        assert!(Instant::now() < deadline, "{} of 120 came", records.len());
        for reader in [&mut other, &mut busy] {
            let wait = Duration::from_millis(100);
            if let Ok(batch) = timeout(wait, reader.next(50)).await {
                let batch = batch.unwrap();
                positions.handled(&batch);
                records.extend(batch);
            }
        }
    }
    assert_eq!(by_key(&records), expected(&keys, 2));
}

/// Partitions paused for lack of room are read on, although their records are no longer the newest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_member_that_was_full_when_it_was_given_more_goes_on_with_all_that_it_has() {
    const EACH: usize = 1000;
    const SETTLED: Duration = Duration::from_secs(4);
    let bus = bus();
    let topic = fresh_topic(&bus, 2).await;
    let keys: Vec<String> = (0..60).map(|n| format!("k{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (group, positions) = (fresh_group(), Arc::new(MemoryPositions::default()));
    let mut stays = member(&bus, &group, &topic, &positions).await;
    let mut leaves = member(&bus, &group, &topic, &positions).await;
    let mut has_both = [false; 2];
    let deadline = Instant::now() + PATIENCE;
    let is_read = async |bus: &KafkaBus| {
        let ends = bus.watermarks(&topic).await.unwrap();
        positions
            .of(&topic)
            .into_values()
            .eq(ends.iter().map(|watermark| watermark.next))
    };
    while has_both != [true; 2] || !is_read(&bus).await {
        assert!(Instant::now() < deadline, "{has_both:?} have a partition");
        if has_both != [true; 2] {
            bus.publish(&messages(&topic, &keys, 1)).await.unwrap();
        }
        for (has, reader) in has_both.iter_mut().zip([&mut stays, &mut leaves]) {
            while let Ok(batch) = timeout(Duration::from_millis(300), reader.next(100)).await {
                positions.handled(&batch.unwrap());
                *has = true;
            }
        }
    }
    // More of each partition than a member holds, and nobody takes any.
    for round in 0..EACH {
        let batch: Vec<_> = keys.iter().map(|key| message(&topic, key, round)).collect();
        bus.publish(&batch).await.unwrap();
    }
    tokio::time::sleep(SETTLED).await;
    drop(leaves);
    tokio::time::sleep(SETTLED).await;
    let records = take(&mut *stays, EACH * keys.len()).await;
    assert_eq!(by_key(&records), expected(&keys, EACH));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_caller_that_hangs_loses_its_partitions_in_the_end_and_its_records_come_again() {
    let bus = KafkaBus::new(Settings {
        hold: Duration::from_secs(1),
        ..Settings::new(servers())
    })
    .unwrap();
    let topic = fresh_topic(&bus, 4).await;
    let keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
    bus.publish(&messages(&topic, &keys, 3)).await.unwrap();
    let (group, positions) = (fresh_group(), Arc::new(MemoryPositions::default()));
    let mut hangs = member(&bus, &group, &topic, &positions).await;
    let in_hand = take(&mut *hangs, 24).await;
    let mut other = member(&bus, &group, &topic, &positions).await;
    let came = timeout(PATIENCE, other.next(100)).await.unwrap().unwrap();
    positions.handled(&came);
    for record in &came {
        assert!(in_hand.contains(record));
    }
    // Once it goes on, it reads only its own partitions.
    let moved: Vec<i32> = came.iter().map(|record| record.partition).collect();
    bus.publish(&messages(&topic, &keys, 1)).await.unwrap();
    let own = hangs.next(100).await.unwrap();
    assert!(own.iter().all(|record| !moved.contains(&record.partition)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn a_group_that_stands_behind_the_end_of_a_topic_starts_over() {
    let bus = bus();
    let topic = fresh_topic(&bus, 1).await;
    bus.publish(&messages(&topic, &["a"], 3)).await.unwrap();
    let positions = Arc::new(MemoryPositions::default());
    positions.set(&topic, 0, 1000);
    let mut reader = member(&bus, &fresh_group(), &topic, &positions).await;
    assert_eq!(by_key(&take(&mut *reader, 3).await), expected(&["a"], 3));
    // The end itself is where a group that has read everything stands.
    positions.set(&topic, 0, 3);
    let mut reader = member(&bus, &fresh_group(), &topic, &positions).await;
    bus.publish(&[message(&topic, "a", 3)]).await.unwrap();
    assert_eq!(take(&mut *reader, 1).await[0].value, b"a 3");
}

/// A bus of a replica that keeps its name across restarts.
fn named(instance: &str) -> KafkaBus {
    KafkaBus::new(Settings {
        instance: Some(instance.to_owned()),
        ..Settings::new(servers())
    })
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_KAFKA"]
async fn the_partitions_of_a_replica_with_a_name_wait_for_it_while_it_restarts() {
    let (one, other) = (named("one"), named("other"));
    let topic = fresh_topic(&one, 4).await;
    let (group, positions) = (fresh_group(), Arc::new(MemoryPositions::default()));
    let mut restarts = member(&one, &group, &topic, &positions).await;
    let mut stays = member(&other, &group, &topic, &positions).await;
    let keys: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    // Until each has two of the four.
    let mut owned = [BTreeSet::new(), BTreeSet::new()];
    let deadline = Instant::now() + PATIENCE;
    let mut n = 0;
    while owned.iter().any(|partitions| partitions.len() != 2) {
        assert!(Instant::now() < deadline, "they do not share: {owned:?}");
        let round: Vec<_> = keys.iter().map(|key| message(&topic, key, n)).collect();
        one.publish(&round).await.unwrap();
        n += 1;
        owned = [BTreeSet::new(), BTreeSet::new()];
        for (reader, owned) in [&mut restarts, &mut stays].into_iter().zip(&mut owned) {
            while let Ok(batch) = timeout(Duration::from_millis(500), reader.next(100)).await {
                let batch = batch.unwrap();
                positions.handled(&batch);
                owned.extend(batch.iter().map(|record| record.partition));
            }
        }
    }
    drop(restarts);
    one.close().await;
    let round: Vec<_> = keys.iter().map(|key| message(&topic, key, n)).collect();
    other.publish(&round).await.unwrap();
    // Nobody takes them over meanwhile.
    let mut came = BTreeSet::new();
    while let Ok(batch) = timeout(Duration::from_secs(3), stays.next(100)).await {
        let batch = batch.unwrap();
        positions.handled(&batch);
        came.extend(batch.iter().map(|record| record.partition));
    }
    assert_eq!(came, owned[1]);
    let mut back = member(&named("one"), &group, &topic, &positions).await;
    let rest = timeout(PATIENCE, back.next(100)).await.unwrap().unwrap();
    assert!(!rest.is_empty());
    assert!(
        rest.iter()
            .all(|record| owned[0].contains(&record.partition))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it in a release build, with --nocapture"]
async fn how_fast_a_backlog_is_read_and_a_member_is_woken() {
    let bus = bus();
    let topic = fresh_topic(&bus, 6).await;
    let keys: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let mut all = messages(&topic, &keys, 1000);
    for message in &mut all {
        message.value.resize(500, b' ');
    }
    let count = f64::from(u32::try_from(all.len()).unwrap());
    let began = Instant::now();
    for batch in all.chunks(500) {
        bus.publish(batch).await.unwrap();
    }
    println!("publish: {:.0}/s", count / began.elapsed().as_secs_f64());
    let began = Instant::now();
    let mut reader = member(&bus, &fresh_group(), &topic, &Arc::default()).await;
    let (mut read, mut first) = (0, None);
    while read < all.len() {
        read += reader.next(500).await.unwrap().len();
        first.get_or_insert(began.elapsed());
    }
    println!(
        "join: {first:?}, read: {:.0}/s",
        count / began.elapsed().as_secs_f64()
    );
    let mut wakes = Vec::new();
    for n in 0..300 {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let began = Instant::now();
        bus.publish(&[message(&topic, "a", n)]).await.unwrap();
        let accepted = began.elapsed();
        take(&mut *reader, 1).await;
        wakes.push((began.elapsed(), accepted));
    }
    wakes.sort_unstable();
    println!(
        "publish to member: p50 {:?}, p99 {:?}",
        wakes[150], wakes[297]
    );
}
