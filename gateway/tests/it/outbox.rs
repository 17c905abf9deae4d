//! An operator's view of an outbox, on both databases.

use blocks::outbox::{InspectOutbox, Outbox, Place, Published};
use chrono::TimeDelta;
use events::users::UserDeleted;
use sql::{Db, StoreError};
use testkit::db::TestDb;
use testkit::http::eventually;
use uuid::Uuid;

use crate::world::Folder;

async fn publish(db: &Db, user_id: i64) {
    let published: Result<(), StoreError> = db
        .write(move |tx| {
            Box::pin(async move { tx.publish(&UserDeleted { user_id }, 1).await.map(drop) })
        })
        .await;
    published.unwrap();
}

testkit::on_each_database!(
    rows_are_listed_and_can_be_published_once_more,
    "auth",
    &[],
    async |db: TestDb| {
        let start = db.settings().clock.now();
        for user_id in 1..=3 {
            publish(&db, user_id).await;
        }
        let pending = db.pending(None, Place::START, 10).await.unwrap();
        let published = Published::from(&pending[0]);
        db.mark_published(&[published]).await.unwrap();
        db.mark_refused(pending[1].place, "too odd").await.unwrap();

        let rows = db.latest(2).await.unwrap();
        let seen: Vec<_> = rows
            .iter()
            .map(|row| (row.key.as_str(), row.status.as_str()))
            .collect();
        assert_eq!(seen, [("3", "pending"), ("2", "refused")]);
        assert_eq!(rows[1].error.as_deref(), Some("too odd"));
        assert_eq!(rows[0].event_type, "user.deleted");
        assert_eq!(db.refused().await.unwrap(), 1);

        let later = start + TimeDelta::days(1);
        assert_eq!(db.republish(later).await.unwrap(), 0);
        assert_eq!(db.republish(start).await.unwrap(), 2);
        assert_eq!(db.depth().await.unwrap().pending, 3);
        assert_eq!(db.refused().await.unwrap(), 0);
        assert!(db.lease(Uuid::nil()).await.unwrap().is_some());
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_outbox_what_happens_is_seen_all_the_same_and_the_log_says_what_is_at_stake() {
    let folder = Folder::new();
    let off = [("KAFKA_ENABLE_OUTBOX", "false")];
    let rookery = folder.serve_with(&off).await;
    let (_, token) = rookery.join("ada").await;
    rookery.publish(&token, "first").await;
    rookery.shows(&["first"]).await;
    eventually("memory forgets what is published", async || {
        let said = folder.run(&["outbox", "--list", "--json"]).await.well();
        (!said.contains("post.created")).then_some(())
    })
    .await;
    rookery.stop().await;
    let log = folder.output();
    assert!(log.contains("KAFKA_ENABLE_OUTBOX is false"), "{log}");
}
