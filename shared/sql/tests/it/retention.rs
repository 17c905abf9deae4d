//! The topic log lets go of old records and of nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use blocks::bus::{EventBus, Positions, TopicSpec, Watermarks};
use chrono::{DateTime, TimeDelta, Utc};
use events::{Cleanup, Message, header};
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
        log.watermarks("t").await.unwrap(),
        [Watermarks { oldest: 2, next: 4 }]
    );
    // All of it, and a restart: the next record still gets the next offset.
    assert_eq!(log.clean_up(at(100)).await.unwrap(), 2);
    assert_eq!(
        log.watermarks("t").await.unwrap(),
        [Watermarks { oldest: 4, next: 4 }]
    );
    log.close().await;
    let log = open(folder.path()).await;
    assert_eq!(
        log.watermarks("t").await.unwrap(),
        [Watermarks { oldest: 4, next: 4 }]
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
    // A new group, and one whose offset is gone, start at the oldest.
    for start in [None, Some(1)] {
        let positions = Arc::new(MemoryPositions::default());
        if let Some(next) = start {
            positions.set("t", 0, next);
        }
        let mut reader = member(&log, &fresh_group(), "t", &positions).await;
        assert_eq!(take(&mut *reader, 1).await[0].offset, 3);
    }
    // When all records went, a waiting member gets the next one.
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
        log.watermarks("t").await.unwrap(),
        [Watermarks { oldest: 3, next: 7 }]
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

/// Records of keys in these versions, `hours` after the start.
async fn publish_versions(log: &TopicLog, versions: &[(&str, i64)], hours: i64) {
    let batch: Vec<Message> = versions
        .iter()
        .map(|(key, version)| Message {
            headers: vec![(header::SEQUENCE.to_owned(), version.to_string())],
            value: format!("{key} {version}").into_bytes(),
            time: at(hours),
            ..message("t", key, 0)
        })
        .collect();
    log.publish(&batch).await.unwrap();
}

/// The values in the log, in order.
async fn values_left(log: &TopicLog) -> Vec<String> {
    let records = log.read("t", 0, 0, 10_000).await.unwrap();
    records
        .into_iter()
        .map(|record| String::from_utf8(record.value).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_each_key_the_highest_version_stays_wherever_it_stands() {
    let orders: [&[i64]; 6] = [
        &[1, 2, 1],
        &[2, 1],
        &[1, 2, 1, 2],
        &[3, 1, 2],
        &[1],
        &[2, 2],
    ];
    for versions in orders {
        for has_neighbour in [false, true] {
            let (log, folder) = log_with(Cleanup::Compact { after_ms: HOUR_MS }).await;
            let of_a: Vec<(&str, i64)> = versions.iter().map(|version| ("a", *version)).collect();
            publish_versions(&log, &of_a, 0).await;
            let mut expected = vec![format!("a {}", versions.iter().max().unwrap())];
            if has_neighbour {
                publish_versions(&log, &[("b", 1)], 0).await;
                expected.push("b 1".to_owned());
            }
            let next = i64::try_from(of_a.len() + expected.len() - 1).unwrap();
            log.clean_up(at(10)).await.unwrap();
            assert_eq!(values_left(&log).await, expected, "{versions:?}");
            assert_eq!(log.clean_up(at(20)).await.unwrap(), 0);

            // Whoever has read all stands at the end, before and after a restart.
            assert_eq!(offsets(&log).await.last(), Some(&(next - 1)));
            let mut reader = member(&log, &fresh_group(), "t", &Arc::default()).await;
            let read = take(&mut *reader, expected.len()).await;
            assert_eq!(read.len(), expected.len());
            log.close().await;
            let log = open(folder.path()).await;
            assert_eq!(log.watermarks("t").await.unwrap()[0].next, next);
            publish_versions(&log, &[("c", 1)], 10).await;
            assert_eq!(offsets(&log).await.last(), Some(&next));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_version_that_is_published_again_goes_when_its_time_is_up() {
    let (log, _folder) = log_with(Cleanup::Compact {
        after_ms: 10 * HOUR_MS,
    })
    .await;
    publish_versions(&log, &[("a", 1), ("a", 2), ("b", 1)], 0).await;
    log.clean_up(at(20)).await.unwrap();
    assert_eq!(values_left(&log).await, ["a 2", "b 1"]);
    publish_versions(&log, &[("a", 1), ("c", 1)], 15).await;
    log.clean_up(at(20)).await.unwrap();
    assert_eq!(values_left(&log).await, ["a 2", "b 1", "a 1", "c 1"]);
    log.clean_up(at(30)).await.unwrap();
    assert_eq!(values_left(&log).await, ["a 2", "b 1", "c 1"]);
    // The same version again: the last one stays.
    publish_versions(&log, &[("a", 2)], 15).await;
    log.clean_up(at(30)).await.unwrap();
    assert_eq!(values_left(&log).await, ["b 1", "c 1", "a 2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_with_more_records_than_a_page_is_left_with_one() {
    let (log, _folder) = log_with(Cleanup::Compact { after_ms: HOUR_MS }).await;
    let versions: Vec<(&str, i64)> = (0..1700).map(|n| ("a", 1 + n % 900)).collect();
    publish_versions(&log, &versions, 0).await;
    assert_eq!(log.clean_up(at(10)).await.unwrap(), 1699);
    assert_eq!(values_left(&log).await, ["a 900"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_each_clean_up_the_highest_version_of_each_key_is_there() {
    let (log, folder) = log_with(Cleanup::Compact {
        after_ms: 10 * HOUR_MS,
    })
    .await;
    let mut log = log;
    // Each key's highest version, and when each version was.
    let mut newest: BTreeMap<String, i64> = BTreeMap::new();
    let mut times: BTreeMap<(String, i64), i64> = BTreeMap::new();
    let mut seed: u64 = 7;
    let mut random = move |below: i64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        i64::try_from(seed >> 33).unwrap() % below
    };
    for hour in 0..60_i64 {
        for _ in 0..20 {
            let key = format!("key-{}", random(100));
            let highest = newest.entry(key.clone()).or_default();
            // Mostly the next version; sometimes one is left out for later, or one comes again.
            let version = match random(6) {
                0 => *highest + 2,
                1 | 2 => (*highest - random(3)).max(1),
                _ => *highest + 1,
            };
            *highest = version.max(*highest);
            let when = *times.entry((key.clone(), version)).or_insert(hour);
            publish_versions(&log, &[(&key, version)], when).await;
        }
        if hour % 4 != 3 {
            continue;
        }
        if hour % 8 == 3 {
            log.close().await;
            log = open(folder.path()).await;
        }
        log.clean_up(at(hour)).await.unwrap();
        let left: Vec<String> = values_left(&log).await;
        for (key, version) in &newest {
            let highest = format!("{key} {version}");
            assert!(left.contains(&highest), "{highest} after {hour} hours");
        }
        let is_latest = |value: &String| newest.iter().any(|(k, v)| *value == format!("{k} {v}"));
        let is_young = |value: &String| {
            let (key, version) = value.split_once(' ').unwrap();
            times[&(key.to_owned(), version.parse().unwrap())] >= hour - 10
        };
        for value in &left {
            assert!(
                is_latest(value) || is_young(value),
                "{value} after {hour} hours"
            );
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
