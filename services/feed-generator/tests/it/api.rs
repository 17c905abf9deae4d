//! The endpoints: who may read, what bad input gets, what the statistics say.

use feed_generator::Settings;
use testkit::service::{NOBODY, texts};

use crate::backend::Backend;
use crate::on_each_store;
use crate::support::{Post, World, sqlite, user_created};

#[tokio::test]
async fn everybody_may_read_the_streams_unless_they_are_not_public() {
    let open = sqlite(Settings::default()).await;
    let closed = sqlite(Settings {
        public: false,
        ..Settings::default()
    })
    .await;
    for path in ["", "/user/7", "/stats"] {
        let uri = format!("/api/activity-stream{path}");
        assert_eq!(open.get(NOBODY, &uri).await.status, 200, "{uri}");
        assert_eq!(closed.get(7, &uri).await.status, 200, "{uri}");
        let refused = closed.get(NOBODY, &uri).await;
        refused.problem(401, "unauthenticated");
    }
    let own = open.get(NOBODY, "/api/activity-stream/user").await;
    own.problem(401, "unauthenticated");
}

#[tokio::test]
async fn the_own_stream_is_the_callers() {
    let mut world = sqlite(Settings::default()).await;
    let now = world.clock.now();
    world
        .publish(&[
            Post::new(1, 7, "hers", now).message(),
            Post::new(2, 8, "his", now).message(),
        ])
        .await;
    world.settle().await;
    for (caller, title) in [(7, "hers"), (8, "his")] {
        let page = world.get(caller, "/api/activity-stream/user").await.ok();
        assert_eq!(page["items"][0]["title"], title);
        assert_eq!(page["total"], 1);
    }
}

#[tokio::test]
async fn a_page_says_where_it_is_and_where_the_next_one_starts() {
    let mut world = sqlite(Settings::default()).await;
    let now = world.clock.now();
    for id in 1..=3 {
        world
            .publish(&[Post::new(id, 7, &id.to_string(), now).message()])
            .await;
    }
    world.settle().await;
    let page = world.page("/api/activity-stream?limit=2").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&page["total"], &page["limit"], &page["skip"]),
        (&3.into(), &2.into(), &0.into())
    );
    let next = page["next_cursor"].as_str().unwrap();
    let page = world
        .page(&format!("/api/activity-stream?limit=2&cursor={next}"))
        .await;
    assert_eq!(texts(&page, "title"), ["1"]);
    assert_eq!(page["next_cursor"], serde_json::Value::Null);
    let page = world.page("/api/activity-stream?limit=2&skip=1").await;
    assert_eq!(texts(&page, "title"), ["2", "1"]);
    assert_eq!((&page["limit"], &page["skip"]), (&2.into(), &1.into()));
}

#[tokio::test]
async fn bad_input_names_the_parameter() {
    let world = sqlite(Settings::default()).await;
    for (query, parameter) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=-1", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("limit=x", "limit"),
        ("skip=-1", "skip"),
        ("skip=1.5", "skip"),
        ("cursor=", "cursor"),
        ("cursor=%00", "cursor"),
        ("cursor=bm9uc2Vuc2U", "cursor"),
        ("cursor=WzEsMiwzXQ", "cursor"),
        ("skip=1&cursor=WzEsMiwzXQ", "skip"),
    ] {
        for path in ["", "/user", "/user/7"] {
            let uri = format!("/api/activity-stream{path}?{query}");
            let named = world.get(7, &uri).await.problem(400, "validation_failed");
            assert_eq!(named, [parameter], "{uri}");
        }
    }
    let beyond = "/api/activity-stream?skip=10000";
    assert_eq!(world.page(beyond).await["items"], serde_json::json!([]));
}

#[tokio::test]
async fn a_malformed_account_is_not_found_and_an_unknown_one_has_no_activity() {
    let world = sqlite(Settings::default()).await;
    for id in [
        "x",
        "1.5",
        "99999999999999999999",
        "%00",
        "%FF",
        "7%20",
        "+5",
        "%2B5",
        "05",
        "-1",
        "0",
        "-0",
    ] {
        world
            .get(NOBODY, &format!("/api/activity-stream/user/{id}"))
            .await
            .problem(404, "not_found");
    }
    for id in ["7", "9223372036854775807"] {
        assert_eq!(
            world.page(&format!("/api/activity-stream/user/{id}")).await["total"],
            0
        );
    }
}

on_each_store!(statistics_are_measured, |store: Backend| async move {
    let mut world = World::new(store, crate::streams::little_memory()).await;
    let stats = world.page("/api/activity-stream/stats").await;
    assert_eq!(stats["global_activity_count"], 0);
    assert_eq!(stats["consumer_lag"], 0);
    assert_eq!(stats["freshness_ms"], serde_json::Value::Null);
    assert_eq!(stats["kafka_consumer_active"], false, "nobody consumes yet");

    let now = world.clock.now();
    for id in 1..=5 {
        let user = if id == 1 { 8 } else { 7 };
        world
            .publish(&[Post::new(id, user, "x", now).message()])
            .await;
    }
    world.publish(&[user_created(7, "anna", now)]).await;
    assert_eq!(
        world.page("/api/activity-stream/stats").await["consumer_lag"],
        6
    );
    world.settle().await;
    world.feed.consumer().status.freshness.record(&[4, 9]);
    let stats = world.page("/api/activity-stream/stats").await;
    assert_eq!(stats["global_activity_count"], 5);
    assert_eq!(stats["user_feed_count"], 2);
    assert_eq!(stats["consumer_lag"], 0);
    assert_eq!(stats["redis_connected"], true);
    assert_eq!(
        stats["freshness_ms"],
        serde_json::json!({"p50": 4, "p99": 9})
    );

    // A value that can't be measured is null: the request is still answered.
    world.backend.leave(&world.feed).await;
    let stats = world.page("/api/activity-stream/stats").await;
    assert_eq!(stats["redis_connected"], false);
    assert_eq!(stats["global_activity_count"], serde_json::Value::Null);
    assert_eq!(stats["consumer_lag"], serde_json::Value::Null);
    let refused = world.get(NOBODY, "/api/activity-stream").await;
    refused.problem(503, "store_unavailable");
});

#[tokio::test]
async fn every_endpoint_has_a_route_and_is_documented() {
    let world = sqlite(Settings::default()).await;
    world.app().assert_routes_are_documented();
}
