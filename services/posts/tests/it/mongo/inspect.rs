//! The outbox for operators, and republishing from documents that keep no published events.

use blocks::outbox::{InspectOutbox, Outbox, Pending, Place, Published};
use blocks::{Clock, SystemClock};
use chrono::TimeDelta;
use events::header;
use events::posts::{PostCreated, PostDeleted, PostUpdated};
use posts::store::PostStore;
use posts::store::mongo::{Mongo, MongoPosts};

use super::{create, document, fresh, update};

async fn pending(mongo: &Mongo) -> Vec<Pending> {
    mongo.pending(None, Place::START, 1000).await.unwrap()
}

async fn publish_all(mongo: &Mongo) {
    let events = pending(mongo).await;
    let published: Vec<Published> = events.iter().map(Published::from).collect();
    mongo.mark_published(&published).await.unwrap();
    assert_eq!(pending(mongo).await, []);
}

fn headers(event: &Pending, name: &str) -> String {
    let headers = event.message.headers.iter();
    let mut found = headers.filter(|(known, _)| known == name);
    found.next().unwrap().1.clone()
}

fn data<T: serde::de::DeserializeOwned>(event: &Pending) -> T {
    let value: serde_json::Value = serde_json::from_slice(&event.message.value).unwrap();
    serde_json::from_value(value["data"].clone()).unwrap()
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn what_waits_and_what_was_refused_is_listed_newest_first() {
    let mongo = fresh().await;
    let first = create(&mongo, "1").await;
    let second = create(&mongo, "2").await;
    update(&mongo, &second, "2b").await;
    let events = pending(&mongo).await;
    let of_first = events
        .iter()
        .find(|of| of.message.key == first.id.to_string());
    mongo
        .mark_refused(of_first.unwrap().place, "too odd")
        .await
        .unwrap();

    let rows = mongo.latest(10).await.unwrap();
    let seen: Vec<_> = rows
        .iter()
        .map(|row| (row.status.as_str(), row.event_type.as_str(), row.version))
        .collect();
    assert_eq!(
        seen,
        [
            ("pending", "post.updated", 2),
            ("pending", "post.created", 1),
            ("refused", "post.created", 1)
        ]
    );
    assert_eq!(rows[2].error.as_deref(), Some("too odd"));
    assert_eq!(rows[2].key, first.id.to_string());
    assert_eq!(mongo.latest(1).await.unwrap(), rows[..1]);
    assert_eq!(mongo.refused().await.unwrap(), 1);
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn the_last_event_of_each_post_is_published_once_more_as_it_was() {
    let mongo = fresh().await;
    let start = SystemClock.now() - TimeDelta::seconds(1);
    let fresh = create(&mongo, "fresh").await;
    let edited = create(&mongo, "1").await;
    let edited = update(&mongo, &edited, "2").await;
    let gone = create(&mongo, "gone").await;
    let posts = MongoPosts::new(mongo.clone());
    assert!(posts.delete(&gone, &gone.deleted()).await.unwrap());
    let before = pending(&mongo).await;
    publish_all(&mongo).await;

    assert_eq!(
        mongo
            .republish(SystemClock.now() + TimeDelta::days(1))
            .await
            .unwrap(),
        0
    );
    assert_eq!(pending(&mongo).await, []);
    assert_eq!(mongo.republish(start).await.unwrap(), 3);
    // A pending event is not added twice.
    assert_eq!(mongo.republish(start).await.unwrap(), 0);

    let events = pending(&mongo).await;
    let of = |id: &uuid::Uuid| {
        let found = events
            .iter()
            .find(|event| event.message.key == id.to_string());
        found.unwrap()
    };
    let created: PostCreated = data(of(&fresh.id));
    assert_eq!(
        (created.title.as_str(), created.created_at),
        ("fresh", fresh.created_at)
    );
    let updated: PostUpdated = data(of(&edited.id));
    assert_eq!(
        (updated.title.as_str(), updated.tags),
        ("2", edited.updated().tags)
    );
    let deleted: PostDeleted = data(of(&gone.id));
    assert_eq!(deleted.user_id, gone.author.id);
    for (post, kind, version) in [
        (&fresh, "post.created", "1"),
        (&edited, "post.updated", "2"),
        (&gone, "post.deleted", "2"),
    ] {
        let event = of(&post.id);
        assert_eq!(headers(event, header::TYPE), kind);
        assert_eq!(headers(event, header::SEQUENCE), version);
    }
    // As it was said the first time, but for the event's id.
    for event in &events {
        let mut same = before.iter().filter(|old| {
            old.message.key == event.message.key
                && headers(old, header::SEQUENCE) == headers(event, header::SEQUENCE)
        });
        let old = same.next().unwrap();
        assert_eq!(old.message.value, event.message.value);
        assert_eq!(old.message.time, event.message.time);
    }
    publish_all(&mongo).await;
    let kept = document(&mongo, &edited).await;
    assert_eq!(kept.get_i64("version").unwrap(), 2);
}

#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn what_was_refused_is_published_before_what_came_after_it() {
    let mongo = fresh().await;
    let start = SystemClock.now() - TimeDelta::seconds(1);
    let post = create(&mongo, "1").await;
    let post = update(&mongo, &post, "2").await;
    let first = pending(&mongo).await.remove(0);
    mongo.mark_refused(first.place, "too odd").await.unwrap();
    publish_all(&mongo).await;

    assert_eq!(mongo.republish(start).await.unwrap(), 2);
    let versions: Vec<_> = pending(&mongo)
        .await
        .iter()
        .map(|event| headers(event, header::SEQUENCE))
        .collect();
    assert_eq!(versions, ["1", "2"]);
    assert_eq!(mongo.refused().await.unwrap(), 0);
    publish_all(&mongo).await;
    assert!(document(&mongo, &post).await.get_array("refused").is_err());
}
