//! Dead letters on their way to the dead-letter topic.

use std::sync::Arc;
use std::time::Duration;

use blocks::bus::{EventBus, TopicSpec};
use blocks::metrics::Metrics;
use blocks::outbox::{InspectOutbox, Outbox, Place, Published};
use blocks::relay::Relay;
use chrono::TimeDelta;
use events::{header, topic};
use feed_generator::Settings;
use redis::AsyncTypedCommands;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection;
use super::outage::{PATIENCE, post};
use crate::backend::Backend;
use crate::support::World;

/// A feed that gave up on two events, and its outbox.
async fn given_up() -> (World, Arc<dyn Outbox>) {
    let mut world = World::new(Backend::redis().await, Settings::default()).await;
    let mut bad = [post(&world, 1).message(), post(&world, 2).message()];
    for message in &mut bad {
        message.headers.retain(|(name, _)| name != header::SEQUENCE);
    }
    world.publish(&bad).await;
    world.settle().await;
    let outbox = feed_generator::service(&world.feed).outbox.unwrap();
    assert_eq!(outbox.depth().await.unwrap().pending, 2);
    (world, outbox)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_dead_letter_is_published_and_leaves_the_outbox() {
    let (world, outbox) = given_up().await;
    let dead_letters = TopicSpec::dead_letters_of(&topic::POSTS);
    let name = dead_letters.name.clone();
    world.log.ensure_topics(&[dead_letters]).await.unwrap();
    let (bus, clock) = (Arc::new(world.log.clone()), Arc::clone(&world.clock));
    let relay = Relay::new(Arc::clone(&outbox), bus, clock, Metrics::new());
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let stopped = stop.clone();
    tasks.spawn(async move { relay.run(stopped).await.unwrap() });
    let published = tokio::time::timeout(PATIENCE, async {
        while outbox.depth().await.unwrap().pending > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    published.await.unwrap();
    stop.cancel();
    tasks.join_all().await;
    let watermarks = world.log.watermarks(&name).await.unwrap();
    let count: i64 = watermarks.iter().map(|watermark| watermark.next).sum();
    assert_eq!(count, 2);
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn letters_come_in_order_by_pages_and_one_that_the_bus_never_takes_is_set_aside() {
    let (world, outbox) = given_up().await;
    let all = outbox.pending(None, Place::START, 10).await.unwrap();
    assert_eq!(all.len(), 2);
    assert_eq!(
        outbox.pending(None, Place::START, 1).await.unwrap(),
        all[..1]
    );
    assert_eq!(
        outbox.pending(None, all[0].place, 10).await.unwrap(),
        all[1..]
    );
    let oldest = outbox.depth().await.unwrap().oldest.unwrap();
    let soon = oldest + TimeDelta::days(1);
    assert_eq!(outbox.keys_pending_before(oldest).await.unwrap(), 0);
    assert_eq!(outbox.keys_pending_before(soon).await.unwrap(), 2);
    assert_eq!(
        outbox
            .pending(Some(oldest), Place::START, 10)
            .await
            .unwrap(),
        []
    );
    outbox
        .mark_refused(all[0].place, "too large")
        .await
        .unwrap();
    assert_eq!(
        outbox.pending(None, Place::START, 10).await.unwrap(),
        all[1..]
    );
    let unknown = Published {
        place: Place::row(999),
        key: String::new(),
    };
    outbox
        .mark_published(&[Published::from(&all[1]), unknown])
        .await
        .unwrap();
    assert_eq!(outbox.depth().await.unwrap().oldest, None);
    let refused = world.backend.as_redis().key("group:outbox:refused");
    let refused: Vec<String> = connection().await.zrange(refused, 0, -1).await.unwrap();
    assert!(refused[0].starts_with("too large "), "{refused:?}");
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn an_operator_sees_what_waits_and_what_was_refused() {
    let (world, outbox) = given_up().await;
    let dead_letters = world.backend.as_redis().feed().outbox();
    let all = outbox.pending(None, Place::START, 10).await.unwrap();
    outbox
        .mark_refused(all[0].place, "too {large")
        .await
        .unwrap();
    let rows = dead_letters.latest(10).await.unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row.position.clone(),
                row.status.as_str(),
                row.error.as_deref(),
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (all[1].place.to_string(), "pending", None),
            (all[0].place.to_string(), "refused", Some("too {large"))
        ]
    );
    assert_eq!(rows[1].topic, all[0].message.topic);
    assert_eq!(rows[1].key, all[0].message.key);
    assert_eq!(dead_letters.latest(1).await.unwrap(), rows[..1]);
    assert_eq!(dead_letters.refused().await.unwrap(), 1);
    assert_eq!(dead_letters.republish(rows[1].created_at).await.unwrap(), 0);
}
