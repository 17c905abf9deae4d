//! The log brings back posts that a bounded list has lost.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use chrono::TimeDelta;
use events::Message;
use feed_generator::Settings;
use redis::AsyncTypedCommands;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;

use super::connection;
use crate::backend::Backend;
use crate::support::{Post, World, user_created, user_deleted, user_renamed};

const STREAM: &str = "/api/activity-stream";
const OWN: &str = "/api/activity-stream/user/7";

async fn world() -> World {
    World::new(Backend::redis().await, Settings::default()).await
}

/// Posts of user 7 called by their numbers, a millisecond apart.
fn posts(world: &World, numbers: RangeInclusive<u16>) -> Vec<Post> {
    let start = world.clock.now();
    numbers
        .map(|n| {
            let time = start + TimeDelta::milliseconds(n.into());
            Post::new(n.into(), 7, &n.to_string(), time)
        })
        .collect()
}

fn messages(posts: &[Post]) -> Vec<Message> {
    posts.iter().map(Post::message).collect()
}

fn deletions(posts: &[Post]) -> Vec<Message> {
    posts
        .iter()
        .map(|post| post.deleted(post.created_at))
        .collect()
}

async fn lengths(world: &World) -> (usize, usize) {
    let redis = world.backend.as_redis();
    let (global, own) = (redis.list("activity:global"), redis.list("activity:user:7"));
    (global.await.len(), own.await.len())
}

/// Lets the process poll the store until it wakes its consumer, as it does when a stream has become too
/// short. False when it sees no reason to.
async fn is_refilled(world: &mut World) -> bool {
    let store = Arc::clone(&world.feed.consumer().store);
    // Takes a wake-up left by an earlier call of the test.
    drop(timeout(Duration::from_millis(1), store.due().notified()).await);
    let stop = CancellationToken::new();
    let mut tasks = JoinSet::new();
    for background in feed_generator::service(&world.feed).background {
        let stopped = stop.clone();
        tasks.spawn(async move { background.run(stopped).await.unwrap() });
    }
    let rung = timeout(Duration::from_secs(2), store.due().notified()).await;
    stop.cancel();
    tasks.join_all().await;
    if rung.is_ok() {
        world.rewind().await;
        assert!(world.feed.rebuild_progress().await.unwrap().is_some());
        world.settle().await;
        assert_eq!(world.feed.rebuild_progress().await.unwrap(), None);
    }
    rung.is_ok()
}

/// Everything that the feed keeps, but the group's own notes.
async fn content(world: &World) -> BTreeMap<String, Vec<String>> {
    let redis = world.backend.as_redis();
    let mut connection = connection().await;
    let keys: Vec<String> = connection.keys(redis.key("*")).await.unwrap();
    let mut content = BTreeMap::new();
    for key in keys {
        if key.starts_with(&redis.key("group:")) || key == redis.key("state") {
            continue;
        }
        let kind: String = redis::cmd("TYPE")
            .arg(&key)
            .query_async(&mut connection)
            .await
            .unwrap();
        let values = match kind.as_str() {
            "list" => connection.lrange(&key, 0, -1).await.unwrap(),
            "zset" => connection.zrange(&key, 0, -1).await.unwrap(),
            "set" => {
                let members = connection.smembers(&key).await.unwrap();
                let mut members: Vec<String> = members.into_iter().collect();
                members.sort();
                members
            }
            "hash" => {
                let fields = connection.hgetall(&key).await.unwrap();
                let mut fields: Vec<String> = fields
                    .into_iter()
                    .map(|(field, value)| format!("{field}={value}"))
                    .collect();
                fields.sort();
                fields
            }
            other => panic!("{key} is a {other}"),
        };
        content.insert(key, values);
    }
    content
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn lists_are_cut_and_the_log_fills_them_when_deletions_leave_too_little() {
    let mut world = world().await;
    let posts = posts(&world, 1..=2300);
    world.publish(&messages(&posts)).await;
    world.settle().await;
    assert_eq!(lengths(&world).await, (2000, 200));
    assert_eq!(world.page(STREAM).await["total"], 1000);
    assert_eq!(world.page(OWN).await["total"], 100);
    assert!(!is_refilled(&mut world).await);

    // A late update of one that was cut brings nothing back between those that are there.
    let mut late = posts[9].clone();
    world
        .publish(&[late.updated("late", late.created_at)])
        .await;
    // Half of the kept entries may go without a read of the log.
    world.publish(&deletions(&posts[2250..])).await;
    world.settle().await;
    assert_eq!(lengths(&world).await, (1950, 150));
    assert!(!is_refilled(&mut world).await);

    world.publish(&deletions(&posts[1000..2250])).await;
    world.settle().await;
    let (global, own) = lengths(&world).await;
    assert!(global < 1000 && own < 100, "{global} {own}");
    // The shown stream never shrinks while the log is read, and deleted posts take no places.
    assert!(is_refilled(&mut world).await, "too little is left");
    assert_eq!(lengths(&world).await, (1000, 200));
    let last = world.titles(&format!("{STREAM}?limit=10&skip=990")).await;
    assert_eq!(last, ["late", "9", "8", "7", "6", "5", "4", "3", "2", "1"]);
    assert_eq!(world.page(OWN).await["total"], 100);
    world.assert_mirror_is_true().await;

    // Fewer than are shown, and all there are: nothing more is to be had from the log.
    world.publish(&deletions(&posts[500..1000])).await;
    world.settle().await;
    assert_eq!(lengths(&world).await, (500, 0));
    assert!(is_refilled(&mut world).await, "her own stream was longer");
    assert_eq!(lengths(&world).await, (500, 200));
    world.publish(&deletions(&posts[399..500])).await;
    world.settle().await;
    assert!(is_refilled(&mut world).await);
    assert_eq!(lengths(&world).await, (399, 200));
    assert!(!is_refilled(&mut world).await);
    assert_eq!(world.page(STREAM).await["total"], 399);
    world.assert_mirror_is_true().await;
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_closed_account_leaves_the_global_list_at_once_however_much_it_posted() {
    let mut world = world().await;
    let now = world.clock.now();
    let hers = posts(&world, 1..=500);
    let his: Vec<Post> = posts(&world, 501..=700)
        .into_iter()
        .map(|post| Post { user_id: 8, ..post })
        .collect();
    world
        .publish(&[user_created(7, "anna", now), user_created(8, "bert", now)])
        .await;
    world.publish(&messages(&hers)).await;
    world.publish(&messages(&his)).await;
    world.settle().await;
    assert_eq!(lengths(&world).await, (700, 200));
    world.publish(&[user_deleted(7, 2, now)]).await;
    world.settle().await;
    assert_eq!(lengths(&world).await, (200, 0));
    world.assert_mirror_is_true().await;
    let stats = world.page("/api/activity-stream/stats").await;
    assert_eq!(stats["user_feed_count"], 1, "{stats}");
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_closed_account_leaves_a_list_that_somebody_else_wrote_into() {
    let mut world = world().await;
    let now = world.clock.now();
    let hers = posts(&world, 1..=3);
    world.publish(&messages(&hers)).await;
    world.settle().await;
    let list = world.backend.as_redis().key("activity:global");
    let mut connection = connection().await;
    connection.lpush(&list, "not ours").await.unwrap();
    world.publish(&[user_deleted(7, 1, now)]).await;
    world.settle().await;
    let left: Vec<String> = connection.lrange(&list, 0, -1).await.unwrap();
    assert_eq!(left, ["not ours"]);
    assert_eq!(world.answers().await, [(7, 3)]);
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_topic_that_is_delivered_twice_changes_nothing() {
    let mut world = world().await;
    let now = world.clock.now();
    let mut posts = posts(&world, 1..=300);
    let mut all = vec![
        user_created(7, "anna", now),
        user_renamed(7, "anne", 2, now),
    ];
    all.extend(messages(&posts));
    all.push(posts[3].updated("again", now));
    all.extend(deletions(&posts[100..150]));
    all.push(user_created(9, "zoe", now));
    all.push(user_deleted(9, 2, now));
    world.publish(&all).await;
    world.settle().await;
    let before = content(&world).await;
    // The same records to another member, from their first on; then as new records.
    world.reopen().await;
    world.deliver(1000, 1000, |_| true).await;
    assert_eq!(content(&world).await, before);
    world.rewind().await;
    world.publish(&all).await;
    world.settle().await;
    assert_eq!(content(&world).await, before);
    // And made anew from the log.
    world.feed.rebuild().await.unwrap();
    world.rewind().await;
    world.settle().await;
    assert_eq!(content(&world).await, before);
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_cursor_that_fell_behind_all_that_is_kept_ends_its_walk() {
    let mut world = world().await;
    let posts = posts(&world, 1..=2600);
    world.publish(&messages(&posts[..50])).await;
    world.settle().await;
    let page = world.page(&format!("{STREAM}?limit=20")).await;
    let cursor = page["next_cursor"].as_str().unwrap().to_owned();
    let uri = format!("{STREAM}?limit=20&cursor={cursor}");
    // As long as it is kept, the walk goes on where it was, however much was posted meanwhile.
    world.publish(&messages(&posts[50..1000])).await;
    world.settle().await;
    assert_eq!(world.titles(&uri).await[0], "30");
    world.publish(&messages(&posts[1000..])).await;
    world.settle().await;
    let page = world.page(&uri).await;
    assert_eq!(page["items"], serde_json::json!([]));
    assert_eq!(page["next_cursor"], Value::Null);
    assert_eq!(page["total"], 1000);
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_list_that_somebody_removed_or_cut_is_made_good_from_the_log() {
    let mut world = world().await;
    let posts = posts(&world, 1..=60);
    world.publish(&messages(&posts[..50])).await;
    world.settle().await;
    let before = content(&world).await;
    let redis = world.backend.as_redis();
    let (global, own) = (redis.key("activity:global"), redis.key("activity:user:7"));
    for (at, spoil) in ["global", "own"].into_iter().enumerate() {
        let mut connection = connection().await;
        match spoil {
            "global" => assert_eq!(connection.del(&global).await.unwrap(), 1),
            _ => connection.ltrim(&own, 0, 9).await.unwrap(),
        }
        // It is noticed when the next post comes by.
        let next = &posts[50 + at];
        world.publish(&[next.message()]).await;
        world.settle().await;
        assert!(is_refilled(&mut world).await);
        world.publish(&[next.deleted(next.created_at)]).await;
        world.settle().await;
        assert_eq!(content(&world).await, before, "{spoil}");
    }
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn what_somebody_else_put_into_a_list_is_passed_over_and_the_list_is_made_good() {
    let mut world = world().await;
    let posts = posts(&world, 1..=5);
    world.publish(&messages(&posts)).await;
    world.settle().await;
    let before = content(&world).await;
    let global = world.backend.as_redis().key("activity:global");
    for foreign in [&b"garbage"[..], br#"{"post_id":"#, b"\xff\x00"] {
        let pushed = connection().await.lpush(&global, foreign).await.unwrap();
        assert_eq!(pushed, 6);
        let shown = world.titles(&format!("{STREAM}?limit=10")).await;
        assert_eq!(shown, ["5", "4", "3", "2", "1"]);
        assert!(is_refilled(&mut world).await);
        assert_eq!(content(&world).await, before);
    }
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn operators_see_entries_as_json_newest_first() {
    let mut world = world().await;
    let posts = posts(&world, 1..=2);
    world.publish(&messages(&posts)).await;
    world.settle().await;
    let entries = world.backend.as_redis().list("activity:global").await;
    let newest: Value = serde_json::from_str(&entries[0]).unwrap();
    let expected = serde_json::json!({
        "post_id": posts[1].id.to_string(),
        "user_id": 7,
        "username": "posted-7",
        "event_type": "post.created",
        "timestamp": events::timestamp(posts[1].changed_at),
        "title": "2",
        "content": "about 2",
        "tags": ["tag"],
        "created_at": events::timestamp(posts[1].created_at),
    });
    assert_eq!(newest, expected);
    assert_eq!(entries.len(), 2);
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn an_emptied_redis_is_filled_although_the_log_has_more_that_was_deleted_than_is_kept() {
    let mut world = world().await;
    let posts = posts(&world, 1..=3500);
    world.publish(&messages(&posts)).await;
    world.publish(&deletions(&posts[1100..])).await;
    world.settle().await;
    assert!(is_refilled(&mut world).await);
    let before = content(&world).await;
    assert_eq!(lengths(&world).await, (1100, 200));
    world.backend.as_redis().empty().await;
    world.rewind().await;
    world.settle().await;
    assert!(is_refilled(&mut world).await);
    assert_eq!(content(&world).await, before);
    // Also when an operator wants it made anew.
    world.feed.rebuild().await.unwrap();
    world.rewind().await;
    world.settle().await;
    assert!(is_refilled(&mut world).await);
    assert_eq!(content(&world).await, before);
}
