//! The topic log keeps the bus contract, and what only it promises.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::SystemClock;
use blocks::bus::{BusError, EventBus, TopicPartition, TopicSpec, Watermarks};
use events::Cleanup;
use futures::future::join_all;
use sql::log::TopicLog;
use sql::{Durability, FaultPoint};
use tempfile::TempDir;
use testkit::bus::{
    Adapter, Guarantees, by_key, expected, fresh_group, fresh_topic, member, message, messages,
    take,
};
use testkit::faults::Fails;
use testkit::positions::MemoryPositions;
use tokio::time::timeout;

struct LogAdapter {
    log: TopicLog,
    folder: TempDir,
}

impl LogAdapter {
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path()).await;
        Self { log, folder }
    }
}

#[async_trait]
impl Adapter for LogAdapter {
    fn bus(&self) -> Arc<dyn EventBus> {
        Arc::new(self.log.clone())
    }

    fn guarantees(&self) -> Guarantees {
        Guarantees {
            reopens: true,
            settles: Duration::from_millis(300),
        }
    }

    async fn reopen(&mut self) {
        self.log.close().await;
        self.log = open(self.folder.path()).await;
    }
}

/// The log in `folder`.
pub(crate) async fn open(folder: &Path) -> TopicLog {
    TopicLog::open(
        &folder.join("log.db"),
        Durability::Process,
        Arc::new(SystemClock),
    )
    .await
    .unwrap()
}

testkit::bus_contract!(LogAdapter::open());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_committed_is_never_shown_and_its_offsets_are_not_given_twice() {
    let mut adapter = LogAdapter::open().await;
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 1).await;
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    bus.publish(&messages(&topic, &["a"], 3)).await.unwrap();
    adapter
        .log
        .db()
        .inject(Fails::first(2, FaultPoint::BeforeCommit));
    for _ in 0..2 {
        let error = bus
            .publish(&messages(&topic, &["lost"], 5))
            .await
            .unwrap_err();
        assert!(matches!(error, BusError::Unavailable(_)), "{error}");
    }
    bus.publish(&[message(&topic, "a", 3)]).await.unwrap();
    let records = take(&mut *reader, 4).await;
    assert_eq!(by_key(&records), expected(&["a"], 4));
    assert!(records.is_sorted_by(|a, b| a.offset < b.offset));
    let next = records[3].offset + 1;
    assert_eq!(
        bus.watermarks(&topic).await.unwrap(),
        [Watermarks { oldest: 0, next }]
    );
    drop(reader);
    adapter.reopen().await;
    adapter
        .bus()
        .publish(&[message(&topic, "a", 4)])
        .await
        .unwrap();
    let read = adapter.bus().read(&topic, 0, 0, 10).await.unwrap();
    assert_eq!(by_key(&read), expected(&["a"], 5));
    assert_eq!(read[4].offset, next);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_committed_without_an_answer_reaches_who_waits() {
    let adapter = LogAdapter::open().await;
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 2).await;
    let mut reader = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    adapter
        .log
        .db()
        .inject(Fails::once(FaultPoint::AfterCommit));
    bus.publish(&messages(&topic, &["a", "b", "c"], 4))
        .await
        .unwrap_err();
    let records = take(&mut *reader, 12).await;
    assert_eq!(by_key(&records), expected(&["a", "b", "c"], 4));
    let more: Vec<_> = (4..6).map(|n| message(&topic, "a", n)).collect();
    bus.publish(&more).await.unwrap();
    assert_eq!(by_key(&take(&mut *reader, 2).await)["a"], ["a 4", "a 5"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_far_behind_and_one_that_is_caught_up_read_the_same() {
    let adapter = LogAdapter::open().await;
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 2).await;
    let mut caught_up = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    let keys = ["a", "b", "c", "d"];
    let mut live = Vec::new();
    for batch in messages(&topic, &keys, 700).chunks(100) {
        bus.publish(batch).await.unwrap();
        live.extend(take(&mut *caught_up, batch.len()).await);
    }
    let mut behind = member(&*bus, &fresh_group(), &topic, &Arc::default()).await;
    let mut late = take(&mut *behind, 2800).await;
    let place = |record: &blocks::bus::Record| (record.partition, record.offset);
    live.sort_by_key(place);
    late.sort_by_key(place);
    assert_eq!(live, late);
    assert_eq!(by_key(&live), expected(&keys, 700));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_stands_behind_the_end_of_the_log_starts_over() {
    let adapter = LogAdapter::open().await;
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 1).await;
    bus.publish(&messages(&topic, &["a"], 3)).await.unwrap();
    let positions = Arc::new(MemoryPositions::default());
    positions.set(&topic, 0, 1000);
    let mut reader = member(&*bus, &fresh_group(), &topic, &positions).await;
    assert_eq!(by_key(&take(&mut *reader, 3).await), expected(&["a"], 3));
    // The end itself is where a group that has read everything stands.
    positions.set(&topic, 0, 3);
    let mut reader = member(&*bus, &fresh_group(), &topic, &positions).await;
    assert!(
        timeout(Duration::from_millis(50), reader.next(1))
            .await
            .is_err()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_who_make_the_same_topics_at_once_make_one() {
    let mut adapter = LogAdapter::open().await;
    let specs: Vec<TopicSpec> = events::topics().map(TopicSpec::from).collect();
    let bus = adapter.bus();
    for made in join_all((0..8).map(|_| bus.ensure_topics(&specs))).await {
        made.unwrap();
    }
    let mut names: Vec<&str> = events::topics().map(|topic| topic.name).collect();
    names.sort_unstable();
    for _ in 0..2 {
        let listed = adapter.bus().topics().await.unwrap();
        assert_eq!(
            listed
                .iter()
                .map(|spec| spec.name.as_str())
                .collect::<Vec<_>>(),
            names
        );
        assert!(listed.iter().all(|spec| specs.contains(spec)));
        adapter.reopen().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_may_change_how_it_lets_go_of_records() {
    let mut adapter = LogAdapter::open().await;
    let topic = fresh_topic(&*adapter.bus(), 1).await;
    adapter
        .bus()
        .publish(&messages(&topic, &["a", "b"], 3))
        .await
        .unwrap();
    let spec = TopicSpec {
        name: topic.clone(),
        partitions: 1,
        cleanup: Cleanup::Compact { after_ms: 1000 },
    };
    adapter
        .bus()
        .ensure_topics(std::slice::from_ref(&spec))
        .await
        .unwrap();
    adapter.reopen().await;
    assert_eq!(adapter.bus().topics().await.unwrap(), [spec]);
    // Existing records are compacted, too.
    let later = blocks::Clock::now(&SystemClock) + chrono::TimeDelta::days(3650);
    assert_eq!(adapter.log.clean_up(later).await.unwrap(), 4);
    let left = adapter.bus().read(&topic, 0, 0, 10).await.unwrap();
    let left: Vec<&[u8]> = left.iter().map(|record| record.value.as_slice()).collect();
    assert_eq!(left, [b"a 2", b"b 2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_groups_commit_is_stored_for_lag_tools() {
    let mut adapter = LogAdapter::open().await;
    let bus = adapter.bus();
    let topic = fresh_topic(&*bus, 2).await;
    let mut reader = member(&*bus, "feed", &topic, &Arc::default()).await;
    for next in [3, 7] {
        let place = TopicPartition {
            topic: topic.clone(),
            partition: 1,
        };
        reader
            .commit(&BTreeMap::from([(place, next)]))
            .await
            .unwrap();
    }
    drop(reader);
    adapter.reopen().await;
    let mut reader = adapter.log.db().read().await.unwrap();
    let stored: Vec<(String, String, i32, i64)> = sql::fetch_all!(
        reader,
        "select consumer_group, topic, partition, next_offset from group_offsets"
    )
    .unwrap();
    assert_eq!(stored, [("feed".to_owned(), topic, 1, 7)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement: run it in a release build, with --nocapture"]
async fn how_fast_records_are_appended_and_a_member_is_woken() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let log = TopicLog::open(&path, Durability::Full, Arc::new(SystemClock))
        .await
        .unwrap();
    for (publishers, batch) in [(1, 1), (1, 100), (8, 100), (32, 1)] {
        let topic = fresh_topic(&log, 6).await;
        let rounds = if batch == 1 { 500 } else { 200 } / publishers.min(8);
        let value = "x".repeat(500);
        let began = std::time::Instant::now();
        join_all((0..publishers).map(|publisher| {
            let (log, topic, value) = (log.clone(), topic.clone(), value.clone());
            async move {
                for round in 0..rounds {
                    let messages: Vec<_> = (0..batch)
                        .map(|n| {
                            let key = format!("{publisher}-{n}-{round}");
                            let mut message = message(&topic, &key, n);
                            message.value.extend_from_slice(value.as_bytes());
                            message
                        })
                        .collect();
                    log.publish(&messages).await.unwrap();
                }
            }
        }))
        .await;
        let took = began.elapsed().as_secs_f64();
        let records = publishers * rounds * batch;
        println!(
            "{publishers} publishers, batches of {batch}: {:.0} records/s",
            f64::from(u32::try_from(records).unwrap()) / took
        );
        let mut reader = member(&log, &fresh_group(), &topic, &Arc::default()).await;
        let began = std::time::Instant::now();
        take(&mut *reader, records).await;
        let took = began.elapsed().as_secs_f64();
        println!(
            "  read from the file: {:.0} records/s",
            f64::from(u32::try_from(records).unwrap()) / took
        );
    }
    let topic = fresh_topic(&log, 6).await;
    let mut reader = member(&log, &fresh_group(), &topic, &Arc::default()).await;
    let (mut publishes, mut wakes) = (Vec::new(), Vec::new());
    for n in 0..500 {
        let began = std::time::Instant::now();
        let publish = async {
            log.publish(&[message(&topic, "a", n)]).await.unwrap();
            began.elapsed()
        };
        let wake = async {
            take(&mut *reader, 1).await;
            began.elapsed()
        };
        let (accepted, woken) = futures::join!(publish, wake);
        publishes.push(accepted);
        wakes.push(woken);
    }
    publishes.sort_unstable();
    wakes.sort_unstable();
    println!(
        "publish: p50 {:?}, p99 {:?}",
        publishes[250], publishes[495]
    );
    println!(
        "publish to member: p50 {:?}, p99 {:?}",
        wakes[250], wakes[495]
    );
    log.close().await;
}
