//! Republishing by an operator.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use blocks::outbox::{InspectOutbox, Outbox};
use blocks::{Clock, SystemClock};
use sql::{Db, FaultPoint, Faults, StoreError, on};
use testkit::db::TestDb;
use testkit::on_each_database;

use crate::{NOTES, event};

/// Counts the commits.
#[derive(Default)]
struct Commits(AtomicUsize);

impl Faults for Commits {
    fn fails(&self, point: FaultPoint) -> bool {
        if point == FaultPoint::BeforeCommit {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        false
    }
}

async fn publish(db: &Db, ids: std::ops::RangeInclusive<i64>) {
    let written = db.write::<_, StoreError, _>(move |tx| {
        Box::pin(async move {
            for id in ids {
                tx.publish(&event(id), id).await?;
            }
            Ok(())
        })
    });
    written.await.unwrap();
}

async fn run(db: &Db, statement: &'static str) {
    let written = db.write::<_, StoreError, _>(move |tx| {
        Box::pin(async move {
            on!(tx, conn => sqlx::query(statement).execute(&mut *conn).await.map(|_| ()))
        })
    });
    written.await.unwrap();
}

async fn count(db: &Db, status: &str) -> i64 {
    let mut reader = db.read().await.unwrap();
    on!(reader, conn => sqlx::query_scalar(
        "select count(*) from outbox_messages where status = $1")
        .bind(status)
        .fetch_one(&mut *conn)
        .await)
    .unwrap()
}

on_each_database!(
    many_rows_are_made_pending_in_pages,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let start = SystemClock.now();
        publish(&db, 1..=2500).await;
        run(
            &db,
            "update outbox_messages set status = 'published', published_at = created_at",
        )
        .await;
        let commits = Arc::new(Commits::default());
        db.inject(commits.clone());
        assert_eq!(db.republish(start).await.unwrap(), 2500);
        assert_eq!(commits.0.load(Ordering::SeqCst), 3);
        assert_eq!(count(&db, "pending").await, 2500);
        assert_eq!(db.republish(start).await.unwrap(), 0);
    }
);

on_each_database!(
    refused_events_are_tried_again_and_dead_letters_are_left_alone,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let start = SystemClock.now();
        publish(&db, 1..=6).await;
        for statement in [
            "update outbox_messages set status = 'published', published_at = created_at
             where version <= 4",
            "update outbox_messages set status = 'refused', error = 'too large' where version = 5",
            "update outbox_messages set topic = 'posts-events.dlq' where version in (1, 3)",
        ] {
            run(&db, statement).await;
        }
        assert_eq!(db.republish(start).await.unwrap(), 3);
        assert_eq!(count(&db, "refused").await, 0);
        let rows = db.latest(10).await.unwrap();
        let left: Vec<i64> = rows
            .iter()
            .filter(|row| row.status == "published")
            .map(|row| row.version)
            .collect();
        assert_eq!(left, [3, 1]);
        assert!(
            rows.iter()
                .filter(|row| row.status == "pending")
                .all(|row| row.error.is_none() && row.published_at.is_none())
        );
        assert_eq!(db.depth().await.unwrap().pending, 4);
    }
);
