//! A broker that goes away and comes back: stopped, killed, frozen.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use blocks::bus::{BusError, EventBus, Record, Subscription};
use blocks::service::Check;
use events::Message;
use kafka::{KafkaBus, KafkaCheck, Settings};
use testkit::broker::Broker;
use testkit::bus::{PATIENCE, by_key, expected, fresh_group, fresh_topic, member, messages, take};
use testkit::positions::MemoryPositions;
use tokio::time::{Instant, timeout};

/// A bus that gives up soon.
fn impatient(broker: &Broker) -> KafkaBus {
    let settings = Settings {
        patience: Duration::from_secs(2),
        ..Settings::new(&broker.address)
    };
    KafkaBus::new(settings).unwrap()
}

/// Publishes once, however slow the machine is: a message that must be there once can't be repeated.
async fn publish_once(broker: &Broker, batch: &[Message]) {
    let patient = KafkaBus::new(Settings::new(&broker.address)).unwrap();
    patient.publish(batch).await.unwrap();
    patient.close().await;
}

/// Publishes as a relay does: the same again, until it is accepted.
async fn publish_in_the_end(bus: &KafkaBus, batch: &[Message]) {
    let deadline = Instant::now() + 2 * PATIENCE;
    while let Err(error) = bus.publish(batch).await {
        assert!(matches!(error, BusError::Unavailable(_)), "{error}");
        assert!(
            Instant::now() < deadline,
            "not accepted in the end: {error}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// All records, without repeated ones.
async fn first_of_each(bus: &KafkaBus, topic: &str, partitions: i32) -> Vec<Record> {
    let (mut seen, mut records) = (BTreeSet::new(), Vec::new());
    for partition in 0..partitions {
        for record in bus.read(topic, partition, 0, 100_000).await.unwrap() {
            if seen.insert(record.value.clone()) {
                records.push(record);
            }
        }
    }
    records
}

/// Reads on until `count` different records came, past all errors.
async fn take_in_the_end(
    member: &mut dyn Subscription,
    positions: &MemoryPositions,
    count: usize,
) -> Vec<Record> {
    let (mut seen, mut records) = (BTreeSet::new(), Vec::new());
    let deadline = Instant::now() + 2 * PATIENCE;
    while records.len() < count {
        assert!(Instant::now() < deadline, "{} of {count}", records.len());
        match timeout(Duration::from_secs(1), member.next(100)).await {
            Ok(Ok(batch)) => {
                positions.handled(&batch);
                let fresh = |record: &Record| seen.insert(record.value.clone());
                records.extend(batch.into_iter().filter(fresh));
            }
            Ok(Err(error)) => {
                assert!(matches!(error, BusError::Unavailable(_)), "{error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(_) => {}
        }
    }
    records
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts brokers with scripts/kafka"]
async fn a_broker_that_is_restarted_is_noticed_and_nothing_is_lost_or_swapped() {
    let broker = Broker::start();
    let bus = impatient(&broker);
    let topic = fresh_topic(&bus, 3).await;
    let keys = ["a", "b", "c", "d"];
    let all = messages(&topic, &keys, 30);
    let (before, after) = all.split_at(60);
    let (group, positions) = (fresh_group(), Arc::new(MemoryPositions::default()));
    let mut reader = member(&bus, &group, &topic, &positions).await;
    publish_once(&broker, before).await;
    let mut records = take(&mut *reader, 60).await;
    positions.handled(&records);

    broker.stop();
    let error = bus.publish(after).await.unwrap_err();
    assert!(matches!(error, BusError::Unavailable(_)), "{error}");
    let check = KafkaCheck(bus.clone());
    let said = blocks::error::chain(&*check.check().await.unwrap_err());
    assert!(said.contains("KAFKA_BOOTSTRAP_SERVERS"), "{said}");
    // A waiting member gets an error, so that the outage is seen from outside.
    let error = timeout(PATIENCE, reader.next(10))
        .await
        .unwrap()
        .unwrap_err();
    assert!(matches!(error, BusError::Unavailable(_)), "{error}");

    broker.up();
    publish_in_the_end(&bus, after).await;
    check.check().await.unwrap();
    records.extend(take_in_the_end(&mut *reader, &positions, 60).await);
    assert_eq!(by_key(&records), expected(&keys, 30));
    let kept = first_of_each(&bus, &topic, 3).await;
    assert_eq!(by_key(&kept), expected(&keys, 30));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts brokers with scripts/kafka"]
async fn what_was_accepted_survives_a_broker_that_is_killed() {
    let broker = Broker::start();
    let bus = impatient(&broker);
    let topic = fresh_topic(&bus, 3).await;
    let keys = ["a", "b", "c", "d"];
    for (n, batch) in messages(&topic, &keys, 60).chunks(20).enumerate() {
        if n == 6 {
            broker.kill();
            broker.up();
        }
        publish_in_the_end(&bus, batch).await;
    }
    let kept = first_of_each(&bus, &topic, 3).await;
    assert_eq!(by_key(&kept), expected(&keys, 60));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts brokers with scripts/kafka"]
async fn a_publish_over_a_frozen_broker_fails_and_its_late_arrival_swaps_nothing() {
    let broker = Broker::start();
    let bus = impatient(&broker);
    let topic = fresh_topic(&bus, 2).await;
    let keys = ["a", "b", "c"];
    let all = messages(&topic, &keys, 40);
    let (before, rest) = all.split_at(30);
    let (frozen, after) = rest.split_at(30);
    publish_once(&broker, before).await;
    broker.freeze();
    // It lies in the broker's socket, unread.
    let error = bus.publish(frozen).await.unwrap_err();
    assert!(matches!(error, BusError::Unavailable(_)), "{error}");
    let error = bus.publish(frozen).await.unwrap_err();
    assert!(matches!(error, BusError::Unavailable(_)), "{error}");
    broker.thaw();
    publish_in_the_end(&bus, frozen).await;
    for batch in after.chunks(5) {
        publish_in_the_end(&bus, batch).await;
    }
    let kept = first_of_each(&bus, &topic, 2).await;
    assert_eq!(by_key(&kept), expected(&keys, 40));
}
