//! Requests that are sent twice and done once.

use std::sync::Arc;

use blocks::ManualClock;
use blocks::extract::{KeyRefused, KeyedRequest};
use chrono::TimeDelta;
use sql::{Db, StoreError, idempotency};
use testkit::db::TestDb;
use testkit::on_each_database;
use tokio::sync::Notify;

use crate::{NOTES, note, notes};

#[derive(Debug, Clone, PartialEq)]
enum Failed {
    Taken,
    Key(KeyRefused),
    Store(String),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(format!("{error:?}"))
    }
}

impl From<KeyRefused> for Failed {
    fn from(refused: KeyRefused) -> Self {
        Self::Key(refused)
    }
}

const REUSED: Result<String, Failed> = Err(Failed::Key(KeyRefused::Reused));

/// Asks user 7 to write note `id` under `key`; answers which time it is done for.
async fn ask(db: &Db, operation: &'static str, key: &str, id: i64) -> Result<String, Failed> {
    ask_as(db, (operation, 7), key, id, None).await
}

async fn ask_as(
    db: &Db,
    operation: (&'static str, i64),
    key: &str,
    id: i64,
    hold: Option<(Arc<Notify>, Arc<Notify>)>,
) -> Result<String, Failed> {
    let request = Some(KeyedRequest::new(key.to_owned(), &id));
    db.write_once(operation, request, move |tx| {
        Box::pin(async move {
            if let Some((begun, go_on)) = hold {
                begun.notify_one();
                go_on.notified().await;
            }
            note(tx, id).await.map_err(|_| Failed::Taken)?;
            Ok(tx.id().to_string())
        })
    })
    .await
}

on_each_database!(
    a_request_is_done_once_under_its_key_and_answered_as_then,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let (a, b) = tokio::join!(ask(&db, "add", "k", 1), ask(&db, "add", "k", 1));
        assert!(a.is_ok());
        assert_eq!(a, b);
        assert_eq!(ask(&db, "add", "k", 2).await, REUSED);
        // Another operation, another account, another key.
        assert_ne!(ask(&db, "other", "k", 2).await.unwrap(), a.clone().unwrap());
        assert!(ask_as(&db, ("add", 8), "k", 3, None).await.is_ok());
        assert!(ask(&db, "add", "l", 4).await.is_ok());
        assert_eq!(notes(&db).await, [1, 2, 3, 4]);
        // Keys of an account go with it.
        let forgotten: Result<(), StoreError> =
            db.write(|tx| Box::pin(idempotency::forget(tx, 7))).await;
        forgotten.unwrap();
        assert_eq!(ask(&db, "add", "k", 1).await, Err(Failed::Taken));
        assert_eq!(ask_as(&db, ("add", 8), "k", 9, None).await, REUSED);
    }
);

on_each_database!(
    what_failed_leaves_no_key,
    "notes",
    NOTES,
    |db: TestDb| async move {
        ask(&db, "add", "k", 1).await.unwrap();
        assert_eq!(ask(&db, "add", "l", 1).await, Err(Failed::Taken));
        assert!(ask(&db, "add", "l", 2).await.is_ok());
    }
);

async fn a_key_is_forgotten_after_a_day(clock: &ManualClock, db: &Db) {
    let first = ask(db, "add", "k", 1).await;
    clock.advance(KeyedRequest::KEPT - TimeDelta::milliseconds(1));
    assert_eq!(ask(db, "add", "k", 1).await, first);
    clock.advance(TimeDelta::milliseconds(1));
    assert_ne!(ask(db, "add", "k", 2).await, first);
    assert_eq!(ask(db, "add", "k", 1).await, REUSED);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_in_sqlite() {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::sqlite_at("notes", NOTES, clock.clone()).await;
    a_key_is_forgotten_after_a_day(&clock, &db).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_key_is_forgotten_after_a_day_in_postgres() {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::postgres_at("notes", NOTES, clock.clone()).await;
    a_key_is_forgotten_after_a_day(&clock, &db).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_request_under_way_is_waited_for_and_not_for_ever() {
    let db = testkit::db::postgres("notes", NOTES).await;
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let hold = Some((begun.clone(), go_on.clone()));
    let first = ask_as(&db, ("add", 7), "k", 1, hold);
    let second = async {
        begun.notified().await;
        let refused = ask(&db, "add", "k", 1).await;
        assert_eq!(refused, Err(Failed::Key(KeyRefused::InFlight)));
        go_on.notify_one();
        ask(&db, "add", "k", 1).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok());
    assert_eq!(first, second);
}
