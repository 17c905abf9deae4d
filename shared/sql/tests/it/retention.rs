//! The topic log lets go of old records and of nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use blocks::bus::{EventBus, Extent, Positions, TopicSpec};
use chrono::{DateTime, TimeDelta, Utc};
use events::{Cleanup, Message};
use sql::log::TopicLog;
use tempfile::TempDir;
use testkit::bus::{fresh_group, member, message, take};
use testkit::positions::MemoryPositions;

use crate::log::open;

const HOUR_MS: u64 = 3_600_000;

fn at(hours: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(1_767_268_800_000).unwrap() + TimeDelta::hours(hours)
}

async fn log_with(cleanup: Cleanup) -> (TopicLog, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let spec = TopicSpec {
        name: "t".to_owned(),
        partitions: 1,
        cleanup,
    };
    log.ensure_topics(&[spec]).await.unwrap();
    (log, folder)
}

/// One record of each key, `hours` after the start.
async fn publish(log: &TopicLog, keys: &[&str], hours: i64) {
    let batch: Vec<Message> = keys
        .iter()
        .map(|key| Message {
            time: at(hours),
            ..message("t", key, 0)
        })
        .collect();
    log.publish(&batch).await.unwrap();
}

async fn left(log: &TopicLog) -> Vec<(i64, String)> {
    let records = log.read("t", 0, 0, 10_000).await.unwrap();
    records
        .into_iter()
        .map(|record| (record.offset, record.key.unwrap()))
        .collect()
}

async fn offsets(log: &TopicLog) -> Vec<i64> {
    left(log)
        .await
        .into_iter()
        .map(|(offset, _)| offset)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_records_go_and_offsets_go_on() {
    let (log, folder) = log_with(Cleanup::Delete {
        after_ms: 10 * HOUR_MS,
    })
    .await;
    publish(&log, &["a", "b"], 0).await;
    publish(&log, &["a", "c"], 5).await;
    assert_eq!(log.clean_up(at(10)).await.unwrap(), 0);
    assert_eq!(log.clean_up(at(11)).await.unwrap(), 2);
    assert_eq!(offsets(&log).await, [2, 3]);
    assert_eq!(
        log.extents("t").await.unwrap(),
        [Extent { oldest: 2, next: 4 }]
    );
    // All of it, and a restart: the next record still gets the next offset.
    assert_eq!(log.clean_up(at(100)).await.unwrap(), 2);
    assert_eq!(
        log.extents("t").await.unwrap(),
        [Extent { oldest: 4, next: 4 }]
    );
    log.close().await;
    let log = open(folder.path()).await;
    assert_eq!(
        log.extents("t").await.unwrap(),
        [Extent { oldest: 4, next: 4 }]
    );
    publish(&log, &["a"], 100).await;
    assert_eq!(offsets(&log).await, [4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_one_page_goes_in_one_clean_up() {
    let (log, _folder) = log_with(Cleanup::Delete { after_ms: HOUR_MS }).await;
    let keys: Vec<String> = (0..1700).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    publish(&log, &keys, 0).await;
    publish(&log, &["young"], 10).await;
    assert_eq!(log.clean_up(at(10)).await.unwrap(), 1700);
    assert_eq!(left(&log).await, [(1700, "young".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_stands_where_records_went_goes_on_behind_them() {
    let (log, _folder) = log_with(Cleanup::Delete {
        after_ms: 10 * HOUR_MS,
    })
    .await;
    publish(&log, &["a", "b", "c"], 0).await;
    let positions = Arc::new(MemoryPositions::default());
    let mut stands = member(&log, &fresh_group(), "t", &positions).await;
    assert_eq!(stands.next(1).await.unwrap()[0].offset, 0);
    publish(&log, &["d"], 20).await;
    assert_eq!(log.clean_up(at(21)).await.unwrap(), 3);
    assert_eq!(take(&mut *stands, 1).await[0].offset, 3);
    // A new group, and one whose position is gone, start at the oldest.
    for start in [None, Some(1)] {
        let positions = Arc::new(MemoryPositions::default());
        if let Some(next) = start {
            positions.set("t", 0, next);
        }
        let mut reader = member(&log, &fresh_group(), "t", &positions).await;
        assert_eq!(take(&mut *reader, 1).await[0].offset, 3);
    }
    // When all went, whoever waits gets the next one.
    assert_eq!(log.clean_up(at(100)).await.unwrap(), 1);
    publish(&log, &["e"], 100).await;
    assert_eq!(take(&mut *stands, 1).await[0].offset, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_old_records_the_newest_of_each_key_stays_for_ever() {
    let (log, folder) = log_with(Cleanup::Compact {
        after_ms: 10 * HOUR_MS,
    })
    .await;
    publish(&log, &["a", "b", "a"], 0).await; // 0 1 2
    publish(&log, &["a", "c"], 5).await; // 3 4
    assert_eq!(
        log.clean_up(at(10)).await.unwrap(),
        0,
        "nothing is older than ten hours"
    );
    assert_eq!(log.clean_up(at(11)).await.unwrap(), 2);
    assert_eq!(offsets(&log).await, [1, 3, 4]);
    publish(&log, &["b", "c"], 12).await; // 5 6
    assert_eq!(
        log.clean_up(at(13)).await.unwrap(),
        1,
        "b was superseded, c is still young"
    );
    assert_eq!(offsets(&log).await, [3, 4, 5, 6]);
    log.close().await;
    let log = open(folder.path()).await;
    assert_eq!(log.clean_up(at(16)).await.unwrap(), 1);
    assert_eq!(offsets(&log).await, [3, 5, 6]);
    for hours in [17, 1000] {
        assert_eq!(log.clean_up(at(hours)).await.unwrap(), 0);
    }
    assert_eq!(
        log.extents("t").await.unwrap(),
        [Extent { oldest: 3, next: 7 }]
    );
    let mut reader = member(&log, &fresh_group(), "t", &Arc::default()).await;
    assert_eq!(take(&mut *reader, 3).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_in_steps_leaves_what_compaction_at_once_would() {
    let (log, _folder) = log_with(Cleanup::Compact {
        after_ms: 10 * HOUR_MS,
    })
    .await;
    let mut all: Vec<(i64, String, i64)> = Vec::new();
    for hour in 0..40_i64 {
        // A mix that repeats some keys often, some seldom, and times that are not quite in order.
        let keys: Vec<String> = (0..60)
            .map(|n| format!("key-{}", (hour * 7 + n * n) % (20 + n * 9)))
            .collect();
        let when = hour - hour % 3;
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        publish(&log, &names, when).await;
        for key in keys {
            all.push((i64::try_from(all.len()).unwrap(), key, when));
        }
        if hour % 5 == 4 {
            log.clean_up(at(hour)).await.unwrap();
            let newest: BTreeMap<&str, i64> = all
                .iter()
                .map(|(offset, key, _)| (key.as_str(), *offset))
                .collect();
            let expected: Vec<(i64, String)> = all
                .iter()
                .filter(|(offset, key, when)| newest[key.as_str()] == *offset || *when >= hour - 10)
                .map(|(offset, key, _)| (*offset, key.clone()))
                .collect();
            assert_eq!(left(&log).await, expected, "after {hour} hours");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_and_topics_are_cleaned_each_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).await;
    let spec = |name: &str, cleanup| TopicSpec {
        name: name.to_owned(),
        partitions: 4,
        cleanup,
    };
    let compact = Cleanup::Compact { after_ms: HOUR_MS };
    log.ensure_topics(&[
        spec("compacted", compact),
        spec("other", compact),
        spec(
            "weekly",
            Cleanup::Delete {
                after_ms: 100 * HOUR_MS,
            },
        ),
    ])
    .await
    .unwrap();
    for topic in ["compacted", "other", "weekly"] {
        let batch: Vec<Message> = ["a", "b", "c", "d", "e", "a"]
            .iter()
            .take(if topic == "other" { 5 } else { 6 })
            .map(|key| Message {
                time: at(0),
                ..message(topic, key, 0)
            })
            .collect();
        log.publish(&batch).await.unwrap();
    }
    assert_eq!(
        log.clean_up(at(10)).await.unwrap(),
        1,
        "the first `a` of `compacted`"
    );
    let mut counts = BTreeMap::new();
    for topic in ["compacted", "other", "weekly"] {
        for partition in 0..4 {
            *counts.entry(topic).or_insert(0) +=
                log.read(topic, partition, 0, 100).await.unwrap().len();
        }
    }
    assert_eq!(
        counts,
        BTreeMap::from([("compacted", 5), ("other", 5), ("weekly", 6)])
    );
    let nowhere = Arc::new(MemoryPositions::default()) as Arc<dyn Positions>;
    let topics = ["compacted".to_owned(), "weekly".to_owned()];
    let mut reader = log.subscribe("g", &topics, nowhere).await.unwrap();
    assert_eq!(take(&mut *reader, 11).await.len(), 11);
}
