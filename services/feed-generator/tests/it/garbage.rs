//! Garbage rows leave the tables in pages, and no reader sees them meanwhile.

use std::ops::RangeInclusive;

use chrono::TimeDelta;
use events::topic;
use feed_generator::{MIGRATIONS, Settings};
use sql::on;
use testkit::db::TestDb;

use crate::streams::little_memory;
use crate::support::{Post, SERVICE, World, user_created, user_deleted};

const STREAM: &str = "/api/activity-stream";
const PAGE: i64 = 500;

async fn rows(world: &World) -> i64 {
    let mut reader = world.db().read().await.unwrap();
    on!(reader, conn => sqlx::query_scalar("select count(*) from entries")
        .fetch_one(&mut *conn)
        .await)
    .unwrap()
}

/// Publishes `count` posts of user 7 and one of user 8.
async fn many_posts(world: &World, count: u16) -> Vec<Post> {
    publish(world, 1..=count + 1, |n| if n <= count { 7 } else { 8 }).await
}

/// Publishes a post for each number, by the user that `author` names.
async fn publish(
    world: &World,
    numbers: RangeInclusive<u16>,
    author: impl Fn(u16) -> i64,
) -> Vec<Post> {
    let start = world.clock.now();
    let posts: Vec<Post> = numbers
        .map(|n| {
            let time = start + TimeDelta::milliseconds(n.into());
            Post::new(n.into(), author(n), &n.to_string(), time)
        })
        .collect();
    let messages: Vec<_> = posts.iter().map(Post::message).collect();
    world.publish(&messages).await;
    posts
}

/// Lets the consumer have turns without records until `left` rows are left.
async fn drop_all(world: &World, left: i64) {
    let store = &world.feed.consumer().store;
    let mut before = rows(world).await;
    for _ in 0..20 {
        if store.pulse().await.unwrap().next_due.is_none() {
            break;
        }
        store.retry_due().await.unwrap();
        let after = rows(world).await;
        assert!(before - after <= PAGE, "{before} rows, then {after}");
        before = after;
    }
    assert_eq!(before, left);
    assert_eq!(store.pulse().await.unwrap().next_due, None);
}

async fn assert_only_his(world: &World) {
    assert_eq!(world.titles(STREAM).await, ["1201"]);
    assert_eq!(world.page("/api/activity-stream/user/7").await["total"], 0);
    let stats = world.page("/api/activity-stream/stats").await;
    assert_eq!(stats["global_activity_count"], 1, "{stats}");
    assert_eq!(stats["user_feed_count"], 1, "{stats}");
    world.assert_mirror_is_true().await;
}

testkit::on_each_database!(
    a_closed_account_is_gone_at_once_and_its_rows_go_in_pages,
    SERVICE,
    MIGRATIONS,
    |db: TestDb| async move {
        let mut world = World::new(db, little_memory()).await;
        let now = world.clock.now();
        world.publish(&[user_created(7, "anna", now)]).await;
        let posts = many_posts(&world, 1200).await;
        world.settle().await;
        world.publish(&[user_deleted(7, 2, now)]).await;
        world.deliver(100, 0, |_| true).await;
        // One page with the event, one behind it.
        assert_eq!(rows(&world).await, 1201 - 2 * PAGE);
        assert_only_his(&world).await;
        world
            .publish(&[
                posts[0].deleted(now),
                Post::new(5000, 7, "late", now).message(),
            ])
            .await;
        world.settle().await;

        let answered = world.answers().await;
        // The name and all rows, but one if its post's deletion came first.
        assert!(matches!(answered[..], [(7, 1200 | 1201)]), "{answered:?}");

        // A restarted process finds the remaining rows.
        world.publish(&[user_created(9, "zoe", now)]).await;
        let more = many_more(&world, 9).await;
        world.settle().await;
        world.publish(&[user_deleted(9, 2, now)]).await;
        world.deliver(100, 0, |_| true).await;
        assert!(rows(&world).await > 1);
        assert_eq!(more.len(), 1800);
        world.reopen().await;
        assert_only_his(&world).await;
        assert_eq!(world.answers().await.len(), 1, "rows of 9 are left");
        drop_all(&world, 1).await;
        assert_only_his(&world).await;
        assert_eq!(world.answers().await[1..], [(9, 1801)]);
    }
);

/// Publishes 1800 posts of `user`.
async fn many_more(world: &World, user: i64) -> Vec<Post> {
    publish(world, 10_000..=11_799, |_| user).await
}

testkit::on_each_database!(
    what_is_left_of_a_closed_account_stays_hidden_when_accounts_are_read_again,
    SERVICE,
    MIGRATIONS,
    |db: TestDb| async move {
        let mut world = World::new(db, Settings::default()).await;
        let now = world.clock.now();
        world.publish(&[user_created(7, "anna", now)]).await;
        many_posts(&world, 1200).await;
        world.settle().await;
        world.publish(&[user_deleted(7, 2, now)]).await;
        world.deliver(100, 0, |_| true).await;
        assert!(rows(&world).await > 1);
        let store = &world.feed.consumer().store;
        store.reset(&[topic::USERS.name.to_owned()]).await.unwrap();
        assert_only_his(&world).await;
        world.rewind().await;
        world.settle().await;
        assert_only_his(&world).await;
    }
);

testkit::on_each_database!(
    the_rows_of_a_replaced_generation_go_in_pages,
    SERVICE,
    MIGRATIONS,
    |db: TestDb| async move {
        let mut world = World::new(db, little_memory()).await;
        let posts = many_posts(&world, 1200).await;
        world.settle().await;
        let before = world.page("/api/activity-stream?limit=100").await;

        // One rebuild is given up, another one replaces the shown generation.
        world.feed.rebuild().await.unwrap();
        world.rewind().await;
        world.deliver(100, 0, |_| true).await;
        let begun = rows(&world).await;
        assert!(begun > 1201 && begun < 2402, "{begun}");
        world.feed.rebuild().await.unwrap();
        world.rewind().await;
        while world.feed.rebuild_progress().await.unwrap().is_some() {
            assert!(world.deliver(100, 0, |_| true).await > 0);
        }
        assert!(rows(&world).await > 1201);
        assert_eq!(world.page("/api/activity-stream?limit=100").await, before);
        world.reopen().await;
        assert_eq!(world.page("/api/activity-stream?limit=100").await, before);
        world
            .publish(&[posts[1200].deleted(world.clock.now())])
            .await;
        world.settle().await;
        drop_all(&world, 1200).await;
        assert_eq!(world.titles("/api/activity-stream?limit=1").await, ["1200"]);
        world.assert_mirror_is_true().await;
    }
);
