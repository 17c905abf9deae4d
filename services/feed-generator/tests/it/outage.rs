//! The effects of a store that is away for a while.

use chrono::TimeDelta;
use feed_generator::Settings;
use feed_generator::mirror::Bounds;
use sql::{FaultPoint, StoreError, on};
use testkit::faults::Fails;

use crate::streams::little_memory;
use crate::support::{Post, World, sqlite};

const STREAM: &str = "/api/activity-stream";

/// Two posts that are shown.
async fn two_posts() -> (World, [Post; 2]) {
    let mut world = sqlite(Settings::default()).await;
    let now = world.clock.now();
    let posts = [Post::new(1, 7, "one", now), Post::new(2, 7, "two", now)];
    world.publish(&posts.each_ref().map(Post::message)).await;
    world.settle().await;
    (world, posts)
}

fn held(world: &World) -> (usize, bool) {
    let (entries, complete) = world.mirror().content();
    (entries.len(), complete)
}

#[tokio::test]
async fn memory_goes_on_answering_when_a_write_was_not_begun() {
    let (mut world, posts) = two_posts().await;
    world.publish(&[posts[0].deleted(world.clock.now())]).await;
    let batch = world.fresh().await;
    world.backend.inject(Fails::always(FaultPoint::BeforeWrite));
    for _ in 0..3 {
        let store = &world.feed.consumer().store;
        assert!(store.apply(&batch).await.is_err());
        assert!(store.reset(&["posts-events".to_owned()]).await.is_err());
        assert_eq!(held(&world), (2, true));
    }
    world.backend.inject(Fails::never());
    world.settle().await;
    assert_eq!(world.titles(STREAM).await, ["two"]);
    world.assert_mirror_is_true().await;
}

#[tokio::test]
async fn memory_goes_on_answering_when_the_disk_is_full() {
    let (mut world, mut posts) = two_posts().await;
    let pages = async |world: &World, statement: &'static str| {
        let set = world.db().write::<_, StoreError, _>(move |tx| {
            Box::pin(async move {
                on!(tx, conn => sqlx::query(statement).execute(&mut *conn).await.map(|_| ()))
            })
        });
        set.await.unwrap();
    };
    pages(&world, "pragma max_page_count = 1").await;
    let now = world.clock.now();
    let long = "long ".repeat(40_000);
    world
        .publish(&[posts[0].deleted(now), posts[1].updated(&long, now)])
        .await;
    let batch = world.fresh().await;
    for _ in 0..3 {
        let applied = world.feed.consumer().store.apply(&batch).await;
        assert!(applied.is_err(), "{applied:?}");
        assert_eq!(held(&world), (2, true));
        assert_eq!(world.titles(STREAM).await, ["two", "one"]);
    }
    pages(&world, "pragma max_page_count = 1000000").await;
    world.settle().await;
    assert_eq!(world.titles(STREAM).await, [long]);
    world.assert_mirror_is_true().await;
}

#[tokio::test]
async fn memory_is_distrusted_only_while_the_end_of_a_commit_is_not_known() {
    for point in [FaultPoint::BeforeCommit, FaultPoint::AfterCommit] {
        let (mut world, posts) = two_posts().await;
        world.publish(&[posts[0].deleted(world.clock.now())]).await;
        let batch = world.fresh().await;
        world.backend.inject(Fails::once(point));
        assert!(world.feed.consumer().store.apply(&batch).await.is_err());
        assert_eq!(held(&world), (0, false), "{point:?}");
        let shown = world.titles(STREAM).await;
        assert_eq!(
            shown.len(),
            if point == FaultPoint::AfterCommit {
                1
            } else {
                2
            }
        );
        world.settle().await;
        assert_eq!(held(&world), (1, true), "{point:?}");
        assert_eq!(world.titles(STREAM).await, ["two"]);
    }
}

#[tokio::test]
async fn what_became_of_a_batch_is_told_also_when_what_follows_it_fails_first() {
    for point in [
        FaultPoint::BeforeWrite,
        FaultPoint::BeforeCommit,
        FaultPoint::AfterCommit,
    ] {
        let mut world = sqlite(Settings {
            bounds: Bounds {
                entries: 4,
                ..little_memory().bounds
            },
            ..Settings::default()
        })
        .await;
        let start = world.clock.now();
        let posts: Vec<Post> = (1..=6_u8)
            .map(|n| {
                let time = start + TimeDelta::milliseconds(n.into());
                Post::new(n.into(), 7, &n.to_string(), time)
            })
            .collect();
        world
            .publish(&posts.iter().map(Post::message).collect::<Vec<_>>())
            .await;
        world.settle().await;
        // So little is left in memory that it is filled again, in a write of its own.
        let gone: Vec<_> = posts[3..].iter().map(|post| post.deleted(start)).collect();
        world.publish(&gone).await;
        let batch = world.fresh().await;
        world.backend.inject(Fails::after(1, point));
        let store = &world.feed.consumer().store;
        assert!(store.apply(&batch).await.is_err());
        assert_eq!(held(&world).0, 1, "what is left is true");
        assert_eq!(world.titles(STREAM).await, ["3", "2", "1"]);
        let applied = world.feed.consumer().store.apply(&batch).await.unwrap();
        assert_eq!(applied.handled, 3, "{applied:?}");
        assert_eq!(applied.freshness_ms.len(), 3);
        assert_eq!(held(&world).0, 3);
        world.assert_mirror_is_true().await;
        world.rewind().await;
    }
}
