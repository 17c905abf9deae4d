//! Events that a consumer gave up on, from the command line.

use std::sync::Arc;

use blocks::bus::EventBus;
use blocks::{Clock, SystemClock};
use events::posts::PostCreated;
use events::{Context, Envelope, Message, Traceparent};
use serde_json::json;
use sql::Durability;
use sql::log::TopicLog;
use testkit::http::eventually;

use crate::world::Folder;

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

/// Puts a post's first event on the topic broken, and its second one as it should be.
async fn poison(folder: &Folder, title: &str) {
    let clock = Arc::new(SystemClock);
    let path = folder.data().join("log.db");
    let log = TopicLog::open(&path, Durability::Full, clock.clone())
        .await
        .unwrap();
    let post: PostCreated = serde_json::from_value(json!({
        "post_id": clock.id(), "user_id": 1, "username": "ada", "title": title,
        "content": "c", "tags": [], "created_at": events::timestamp(clock.now()),
    }))
    .unwrap();
    let message = |sequence, broken: bool| {
        let envelope = Envelope::new(
            clock.id(),
            "posts",
            clock.now(),
            sequence,
            Context {
                traceparent: Traceparent::parse(TRACEPARENT),
                tracestate: Some("rojo=1".into()),
                correlation_id: Some("order-66".into()),
            },
            &post,
        )
        .unwrap();
        Message {
            topic: envelope.topic.clone(),
            key: envelope.subject.clone(),
            headers: envelope.headers(),
            value: if broken {
                b"{}".to_vec()
            } else {
                envelope.value
            },
            time: envelope.time,
        }
    };
    log.publish(&[message(1, true), message(2, false)])
        .await
        .unwrap();
    log.close().await;
}

async fn handle(folder: &Folder, how: &[&str]) -> String {
    eventually("the poison is listed", async || {
        let list = folder
            .run(&[&["dlq", "list", "--json"], how].concat())
            .await
            .well();
        let list: serde_json::Value = serde_json::from_str(&list).unwrap();
        let first = list.get(0)?;
        (first["waiting"] == 2)
            .then(|| format!("{}:{}", first["group"].as_str().unwrap(), first["id"]))
    })
    .await
}

async fn is_looked_at_and_given_up(folder: &Folder, how: &[&str]) {
    let handle = handle(folder, how).await;
    let run = async |args: &[&str]| folder.run(&[args, how].concat()).await;
    assert!(handle.starts_with("feed-generator:"), "{handle}");
    let list = run(&["dlq", "list"]).await.well();
    assert!(list.contains(&handle) && list.contains("poison"), "{list}");
    let shown = run(&["dlq", "show", &handle]).await.well();
    for part in [
        "posts-events",
        "poison",
        "waiting   2",
        "ce_id",
        "dlq discard",
    ] {
        assert!(shown.contains(part), "{part} in {shown}");
    }
    // It is as broken as before.
    let replayed = run(&["dlq", "replay", &handle]).await;
    assert_eq!(replayed.code, Some(1), "{replayed:?}");
    assert!(replayed.out.contains("refused again"), "{replayed:?}");
    let replayed = run(&["dlq", "replay", "--all"]).await;
    assert_eq!(replayed.code, Some(1), "{replayed:?}");
    let discarded = run(&["dlq", "discard", &handle]).await.well();
    assert!(discarded.contains("goes on"), "{discarded}");
    assert_eq!(run(&["dlq", "list"]).await.well(), "Nothing waits.\n");
    assert_eq!(
        run(&["dlq", "replay", "--all"]).await.well(),
        "Nothing waits.\n"
    );
}

#[tokio::test]
async fn a_dead_letter_is_listed_shown_replayed_and_discarded_beside_a_server_and_without_one() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    rookery.join("ada").await;
    rookery.stop().await;

    poison(&folder, "beside a server").await;
    let rookery = folder.serve().await;
    is_looked_at_and_given_up(&folder, &[]).await;
    rookery.shows(&["beside a server"]).await;
    let dead = folder
        .run(&["events", "tail", "posts-events.dlq", "--json"])
        .await
        .well();
    for part in [
        "dlq_reason",
        "feed-generator",
        TRACEPARENT,
        "rojo=1",
        "order-66",
    ] {
        assert!(dead.contains(part), "{part} in {dead}");
    }
    rookery.stop().await;
    let output = folder.output();
    let said = output.lines().find(|line| line.contains("gave up on"));
    assert!(
        said.unwrap().contains("0af7651916cd43dd8448eb211c80319c"),
        "{output}"
    );

    poison(&folder, "without one").await;
    let rookery = folder.serve().await;
    handle(&folder, &[]).await;
    rookery.stop().await;
    is_looked_at_and_given_up(&folder, &["--offline"]).await;
    let rookery = folder.serve().await;
    rookery.shows(&["without one", "beside a server"]).await;
}
