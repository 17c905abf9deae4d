//! The streams after sequences of events, on each database.

use chrono::TimeDelta;
use events::topic;
use feed_generator::Settings;
use feed_generator::consumer::TOPICS;
use feed_generator::mirror::Bounds;
use feed_generator::rebuild::Progress;
use sql::FaultPoint;
use testkit::faults::Fails;

use crate::backend::Backend;
use crate::on_each_store;
use crate::support::{Post, World, sqlite, user_created, user_deleted, user_renamed};

const POINTS: [FaultPoint; 3] = [
    FaultPoint::BeforeWrite,
    FaultPoint::BeforeCommit,
    FaultPoint::AfterCommit,
];

/// Holds so little that most reads go to the tables.
pub fn little_memory() -> Settings {
    Settings {
        bounds: Bounds {
            entries: 3,
            ..Bounds::default()
        },
        ..Settings::default()
    }
}

const STREAM: &str = "/api/activity-stream";

on_each_store!(
    a_post_shows_once_in_its_latest_state_where_its_creation_put_it,
    |store: Backend| async move {
        for settings in [little_memory(), Settings::default()] {
            let mut world = World::new(store.again().await, settings).await;
            let start = world.clock.now();
            let at = |ms| start + TimeDelta::milliseconds(ms);
            let mut first = Post::new(1, 7, "first", at(0));
            let second = Post::new(2, 8, "second", at(5));
            world.publish(&[first.message(), second.message()]).await;
            world.settle().await;
            world.publish(&[first.updated("first, again", at(9))]).await;
            world.settle().await;

            let page = world.page(STREAM).await;
            assert_eq!(page["total"], 2);
            assert_eq!(page["items"][0]["title"], "second");
            let item = &page["items"][1];
            assert_eq!(item["title"], "first, again");
            assert_eq!(item["event_type"], "post.updated");
            assert_eq!(item["timestamp"], events::timestamp(at(9)));
            assert_eq!(item["post_id"], first.id.to_string());
            assert_eq!(item["user_id"], 7);
            assert_eq!(item["username"], "posted-7");
            assert_eq!(item["content"], "about first, again");
            assert_eq!(item["tags"][0], "tag");
            assert_eq!(
                world.titles("/api/activity-stream/user/7").await,
                ["first, again"]
            );
            world.assert_mirror_is_true().await;
        }
    }
);

on_each_store!(
    renames_and_deleted_accounts_show_at_once_on_all_their_posts,
    |store: Backend| async move {
        let mut world = World::new(store, little_memory()).await;
        let now = world.clock.now();
        for id in 1..=5 {
            world
                .publish(&[Post::new(id, 7, "hers", now).message()])
                .await;
        }
        world
            .publish(&[Post::new(6, 8, "his", now).message()])
            .await;
        world.settle().await;
        let names = async |world: &World| {
            testkit::service::texts(&world.page("/api/activity-stream/user/7").await, "username")
        };
        assert_eq!(names(&world).await, ["posted-7"; 5]);

        world
            .publish(&[
                user_created(7, "anna", now),
                user_renamed(7, "anne", 2, now),
            ])
            .await;
        world.settle().await;
        assert_eq!(names(&world).await, ["anne"; 5]);
        world.assert_mirror_is_true().await;

        world.publish(&[user_deleted(7, 3, now)]).await;
        world.settle().await;
        assert_eq!(world.titles(STREAM).await, ["his"]);
        // An event of hers that was late brings nothing back.
        world
            .publish(&[Post::new(9, 7, "late", now).message()])
            .await;
        world.settle().await;
        assert_eq!(world.titles(STREAM).await, ["his"]);
        assert_eq!(world.page("/api/activity-stream/user/7").await["total"], 0);
        world.assert_mirror_is_true().await;
        let told = world.backend.names().await;
        assert_eq!(told, 0, "a closed account's name is forgotten");
    }
);

on_each_store!(
    a_deleted_post_leaves_and_the_next_older_one_comes_back_in,
    |store: Backend| async move {
        let mut world = World::new(store, Settings::default()).await;
        let start = world.clock.now();
        let posts: Vec<Post> = (0..1003_u16)
            .map(|n| {
                let time = start + TimeDelta::milliseconds(n.into());
                Post::new(u128::from(n) + 1, 7, &n.to_string(), time)
            })
            .collect();
        let messages: Vec<_> = posts.iter().map(Post::message).collect();
        world.publish(&messages).await;
        world.settle().await;

        let last = "/api/activity-stream?limit=10&skip=995";
        assert_eq!(world.titles(last).await, ["7", "6", "5", "4", "3"]);
        assert_eq!(world.page(last).await["total"], 1000);
        assert_eq!(
            world.page(last).await["next_cursor"],
            serde_json::Value::Null
        );
        let of_user = "/api/activity-stream/user/7?limit=100&skip=99";
        assert_eq!(world.titles(of_user).await, ["903"]);
        assert_eq!(world.page(of_user).await["total"], 100);
        assert!(
            world
                .titles("/api/activity-stream?skip=1000")
                .await
                .is_empty()
        );

        world
            .publish(&[posts[500].deleted(start), posts[1002].deleted(start)])
            .await;
        world.settle().await;
        assert_eq!(world.titles(last).await, ["5", "4", "3", "2", "1"]);
        assert_eq!(world.titles(of_user).await, ["902"]);
        assert_eq!(world.page(last).await["total"], 1000);
        world.assert_mirror_is_true().await;
    }
);

on_each_store!(
    a_walk_by_cursor_meets_every_post_once_while_posts_are_written,
    |store: Backend| async move {
        for settings in [little_memory(), Settings::default()] {
            let mut world = World::new(store.again().await, settings).await;
            let start = world.clock.now();
            let at = |n: u16| start + TimeDelta::milliseconds(n.into());
            let posts: Vec<Post> = (1..=40)
                .map(|n| Post::new(n.into(), 7, &n.to_string(), at(n)))
                .collect();
            world
                .publish(&posts.iter().map(Post::message).collect::<Vec<_>>())
                .await;
            world.settle().await;

            let (mut seen, mut cursor, mut n) = (Vec::new(), String::new(), 100);
            loop {
                let page = world.page(&format!("{STREAM}?limit=7{cursor}")).await;
                seen.extend(testkit::service::texts(&page, "title"));
                let Some(next) = page["next_cursor"].as_str() else {
                    break;
                };
                cursor = format!("&cursor={next}");
                for _ in 0..3 {
                    n += 1;
                    world
                        .publish(&[Post::new(n.into(), 7, "new", at(n)).message()])
                        .await;
                }
                world.settle().await;
            }
            let expected: Vec<String> = (1..=40).rev().map(|n| n.to_string()).collect();
            assert_eq!(seen, expected);
        }
    }
);

#[tokio::test]
async fn the_mirror_equals_the_tables_after_a_commit_that_failed_or_was_not_answered() {
    for settings in [little_memory(), Settings::default()] {
        for point in POINTS {
            let mut world = sqlite(settings).await;
            let now = world.clock.now();
            let mut post = Post::new(1, 7, "one", now);
            world
                .publish(&[post.message(), Post::new(2, 7, "two", now).message()])
                .await;
            world.backend.inject(Fails::once(point));
            world.settle().await;
            assert_eq!(world.titles(STREAM).await, ["two", "one"]);
            world
                .publish(&[
                    post.updated("one, again", now),
                    user_created(7, "anna", now),
                ])
                .await;
            world.backend.inject(Fails::once(point));
            world.settle().await;
            assert_eq!(world.titles(STREAM).await, ["two", "one, again"]);
            assert_eq!(world.page(STREAM).await["items"][0]["username"], "anna");
            world.assert_mirror_is_true().await;
        }
    }
}

on_each_store!(
    a_rebuild_gives_the_identical_result_and_never_an_empty_stream,
    |store: Backend| async move {
        let mut world = World::new(store, Settings::default()).await;
        let start = world.clock.now();
        let at = |ms| start + TimeDelta::milliseconds(ms);
        let mut first = Post::new(1, 7, "first", at(1));
        let second = Post::new(2, 8, "second", at(2));
        let third = Post::new(3, 7, "third", at(3));
        let fourth = Post::new(4, 9, "fourth", at(4));
        world
            .publish(&[
                user_created(7, "anna", at(0)),
                user_created(9, "gone", at(0)),
            ])
            .await;
        world
            .publish(&[
                first.message(),
                second.message(),
                third.message(),
                fourth.message(),
            ])
            .await;
        world
            .publish(&[first.updated("first, again", at(5)), second.deleted(at(6))])
            .await;
        world.publish(&[user_deleted(9, 2, at(6))]).await;
        world.settle().await;
        let before = world.page(STREAM).await;

        // The entries in the tables are wrong in several ways, the names are right.
        world.backend.spoil().await;
        world.reopen().await;
        assert_eq!(world.titles(STREAM).await, ["wrong"]);
        assert_eq!(world.feed.rebuild_progress().await.unwrap(), None);
        world.feed.rebuild().await.unwrap();
        world.rewind().await;
        assert_eq!(
            world.feed.rebuild_progress().await.unwrap(),
            Some(Progress { done: 0, total: 6 })
        );
        assert_eq!(
            world.titles(STREAM).await,
            ["wrong"],
            "what was there goes on being shown"
        );

        // It goes on after a restart, and what happens meanwhile shows at once.
        world.deliver(1, 0, |of| of.partition % 2 == 0).await;
        world.reopen().await;
        let now = world.clock.now() + TimeDelta::seconds(1);
        let new = Post::new(5, 8, "new", now);
        let progress = world.feed.rebuild_progress().await.unwrap();
        assert!(
            progress.is_none_or(|progress| progress.done < progress.total),
            "{progress:?}"
        );
        let is_through = progress.is_none();
        world
            .publish(&[new.message(), user_renamed(7, "anne", 2, now)])
            .await;
        world.deliver(100, 0, |of| of.topic == "user.events").await;
        assert!(is_through || world.titles(STREAM).await == ["wrong"]);
        assert_eq!(world.page(STREAM).await["items"][0]["username"], "anne");
        world.settle().await;
        assert_eq!(world.feed.rebuild_progress().await.unwrap(), None);
        assert_eq!(world.titles(STREAM).await, ["new", "third", "first, again"]);
        world
            .publish(&[new.deleted(now), user_renamed(7, "anna", 3, now)])
            .await;
        world.settle().await;
        assert_eq!(world.page(STREAM).await, before);
        world.assert_mirror_is_true().await;
    }
);

on_each_store!(
    a_rebuild_ends_well_whichever_of_its_writes_fails_or_is_not_answered,
    |store: Backend| async move {
        for (pass, point) in (0..4).flat_map(|pass| POINTS.map(|point| (pass, point))) {
            let mut world = World::new(store.again().await, Settings::default()).await;
            let now = world.clock.now();
            let posts = [Post::new(1, 7, "one", now), Post::new(2, 8, "two", now)];
            world.publish(&posts.each_ref().map(Post::message)).await;
            world.settle().await;
            world.backend.inject(Fails::after(pass, point));
            let begun = world.feed.rebuild().await.is_ok() || point == FaultPoint::AfterCommit;
            world.rewind().await;
            assert_eq!(world.titles(STREAM).await, ["two", "one"]);
            assert_eq!(
                world.feed.rebuild_progress().await.unwrap().is_some(),
                begun
            );
            world.settle().await;
            assert_eq!(
                world.feed.rebuild_progress().await.unwrap(),
                None,
                "{pass} {point:?}"
            );
            assert_eq!(world.titles(STREAM).await, ["two", "one"]);
            world.publish(&[posts[0].deleted(now)]).await;
            world.settle().await;
            assert_eq!(world.titles(STREAM).await, ["two"]);
            world.assert_mirror_is_true().await;
        }
    }
);

on_each_store!(
    a_group_that_reads_all_again_keeps_names_and_goes_on_hiding_closed_accounts,
    |store: Backend| async move {
        let mut world = World::new(store, Settings::default()).await;
        let now = world.clock.now();
        let posts = [(1, 7, "hers"), (2, 8, "his"), (3, 9, "gone")];
        let posts = posts.map(|(id, user, title)| Post::new(id, user, title, now));
        world.publish(&posts.each_ref().map(Post::message)).await;
        let named = [user_created(7, "anna", now), user_created(9, "zoe", now)];
        world.publish(&named).await;
        world.publish(&[user_deleted(9, 2, now)]).await;
        world.settle().await;
        let before = world.page(STREAM).await;
        assert_eq!(before["total"], 2);

        let topics: Vec<String> = TOPICS.iter().map(|topic| topic.name.to_owned()).collect();
        world.feed.consumer().store.reset(&topics).await.unwrap();
        world.rewind().await;
        assert_eq!(world.page(STREAM).await, before, "it goes on being shown");
        // As if the log had no event of an account any more.
        let late = Post::new(4, 9, "late", now + TimeDelta::seconds(1));
        world.publish(&[late.message()]).await;
        while world
            .deliver(100, 0, |of| of.topic == topic::POSTS.name)
            .await
            > 0
        {}
        assert_eq!(world.feed.rebuild_progress().await.unwrap(), None);
        assert_eq!(world.page(STREAM).await, before);
        world.assert_mirror_is_true().await;

        // One by one: an older name opens no closed account.
        while world
            .deliver(1, 0, |of| of.topic == topic::USERS.name)
            .await
            > 0
        {
            assert_eq!(world.page(STREAM).await, before);
            assert_eq!(world.backend.names().await, 1);
        }

        // What the log has of them changes nothing, and new events do.
        world.settle().await;
        assert_eq!(world.page(STREAM).await, before);
        assert_eq!(world.backend.names().await, 1, "a closed account has none");
        world.publish(&[user_renamed(7, "anne", 2, now)]).await;
        world.settle().await;
        let of_her = world.page("/api/activity-stream/user/7").await;
        assert_eq!(of_her["items"][0]["username"], "anne");
        world.assert_mirror_is_true().await;
    }
);

#[tokio::test]
async fn a_walk_goes_on_in_the_tables_where_memory_ends() {
    let bounds = Bounds {
        entries: 120,
        ..Bounds::default()
    };
    let mut world = sqlite(Settings {
        bounds,
        ..Settings::default()
    })
    .await;
    let start = world.clock.now();
    let post = |n: u16| {
        Post::new(
            n.into(),
            7,
            &n.to_string(),
            start + TimeDelta::milliseconds(n.into()),
        )
    };
    let messages = |range: std::ops::RangeInclusive<u16>| -> Vec<_> {
        range.map(|n| post(n).message()).collect()
    };
    world.publish(&messages(1..=130)).await;
    world.settle().await;
    let uri = "/api/activity-stream/user/7?limit=50";
    let page = world.page(uri).await;
    world.publish(&messages(131..=190)).await;
    world.settle().await;
    let next = page["next_cursor"].as_str().unwrap();
    let titles = world.titles(&format!("{uri}&cursor={next}")).await;
    let expected: Vec<String> = (31..=80).rev().map(|n: u16| n.to_string()).collect();
    assert_eq!(titles, expected);
}

on_each_store!(
    a_rebuild_of_an_empty_log_ends_at_once,
    |store: Backend| async move {
        let world = World::new(store, Settings::default()).await;
        world.feed.rebuild().await.unwrap();
        assert_eq!(world.feed.rebuild_progress().await.unwrap(), None);
        assert_eq!(world.page(STREAM).await["total"], 0);
    }
);
