//! A request that is sent twice and done once.

use std::sync::Arc;

use axum::http::Request;
use blocks::ManualClock;
use chrono::TimeDelta;
use posts::{MIGRATIONS, NAME};
use sql::{Dialect, StoreError, on};
use sqlx::AssertSqlSafe;
use testkit::db::TestDb;
use testkit::http::Answer;

use crate::harness::{ADA, App, BOB, app, caller};
use crate::stores::Store;

const BODY: &str = r#"{"title":"t","content":"c","tags":["a"]}"#;

async fn with_keys(app: &App, who: i64, body: &str, keys: &[&[u8]]) -> Answer {
    let mut request = Request::post("/api/posts").header("content-type", "application/json");
    for key in keys {
        request = request.header("Idempotency-Key", *key);
    }
    app.give(request.body(body.to_owned()).unwrap(), caller(who))
        .await
}

async fn keyed(app: &App, who: i64, body: &str, key: &str) -> Answer {
    with_keys(app, who, body, &[key.as_bytes()]).await
}

on_each_store!(
    the_same_request_under_a_key_is_done_once,
    async |db: Store| {
        let app = app(&db);
        let (a, b, c) = tokio::join!(
            keyed(&app, ADA, BODY, "k"),
            keyed(&app, ADA, BODY, "k"),
            keyed(&app, ADA, BODY, "k")
        );
        assert_eq!(a.status, 201);
        assert_eq!((&a.text(), &a.text()), (&b.text(), &c.text()));
        assert_eq!((b.status, c.status), (a.status, a.status));
        assert_eq!(app.outbox().await.len(), 1);
        // Spelled otherwise, it is the same post that is asked for.
        let spelled = keyed(
            &app,
            ADA,
            r#"{"tags":[" A "],"content":"c","title":" t "}"#,
            "k",
        )
        .await;
        assert_eq!(spelled.text(), a.text());
        // The answer stays the same, whatever happened to the post.
        let id = a.ok()["id"].as_str().unwrap().to_owned();
        app.put(ADA, &id, r#"{"title":"new"}"#).await.ok();
        assert_eq!(keyed(&app, ADA, BODY, "k").await.text(), a.text());

        keyed(&app, ADA, r#"{"title":"u","content":"c"}"#, "k")
            .await
            .problem(422, "idempotency_key_reused");
        // Keys belong to their caller.
        assert_ne!(keyed(&app, BOB, BODY, "k").await.ok()["id"], id);
        assert_ne!(keyed(&app, ADA, BODY, "l").await.ok()["id"], id);
        assert_eq!(app.get("/api/posts").await.ok()["total"], 3);
    }
);

on_each_store!(
    a_refused_request_does_not_take_its_key,
    async |db: Store| {
        let app = app(&db);
        keyed(&app, ADA, r#"{"title":"","content":"c"}"#, "k")
            .await
            .problem(400, "validation_failed");
        assert_eq!(keyed(&app, ADA, BODY, "k").await.status, 201);
        let long = "k".repeat(256);
        for keys in [
            &[&b""[..]][..],
            &[b"a b"],
            &[b"\xff"],
            &[long.as_bytes()],
            &[b"a", b"a"],
        ] {
            let answer = with_keys(&app, ADA, BODY, keys).await;
            assert_eq!(
                answer.problem(400, "validation_failed"),
                ["Idempotency-Key"]
            );
        }
        assert_eq!(app.outbox().await.len(), 1);
    }
);

async fn a_key_is_forgotten_after_a_day(clock: Arc<ManualClock>, db: Store) {
    let app = app(&db);
    let first = keyed(&app, ADA, BODY, "k").await;
    keyed(&app, ADA, BODY, "other").await.ok();
    clock.advance(TimeDelta::hours(24) - TimeDelta::milliseconds(1));
    assert_eq!(keyed(&app, ADA, BODY, "k").await.text(), first.text());
    clock.advance(TimeDelta::milliseconds(1));
    let second = keyed(&app, ADA, r#"{"title":"u","content":"c"}"#, "k").await;
    assert_eq!(second.status, 201);
    assert_eq!(
        keyed(&app, ADA, r#"{"title":"u","content":"c"}"#, "k")
            .await
            .text(),
        second.text()
    );
    // The forgotten ones are gone.
    assert_eq!(app.within.keys_left().await, 1);
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_in_sqlite() {
    let clock = Arc::new(ManualClock::default());
    let store = Store::sqlite_at(clock.clone()).await;
    a_key_is_forgotten_after_a_day(clock, store).await;
}

#[tokio::test]
async fn a_key_is_forgotten_after_a_day_in_memory() {
    let clock = Arc::new(ManualClock::default());
    let store = Store::memory_at(clock.clone());
    a_key_is_forgotten_after_a_day(clock, store).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn a_key_is_forgotten_after_a_day_in_postgres() {
    let clock = Arc::new(ManualClock::default());
    let store = Store::postgres_at(clock.clone()).await;
    a_key_is_forgotten_after_a_day(clock, store).await;
}

#[cfg(feature = "fleet")]
#[tokio::test]
#[ignore = "needs TEST_MONGODB_URL"]
async fn a_key_is_forgotten_after_a_day_in_mongodb() {
    let clock = Arc::new(ManualClock::default());
    let store = Store::mongodb_at(clock.clone()).await;
    a_key_is_forgotten_after_a_day(clock, store).await;
}

testkit::on_each_database!(
    keys_of_an_earlier_version_are_answered_as_before,
    NAME,
    MIGRATIONS,
    async |db: TestDb| {
        let within = db.db.clone();
        let store = Store::Sql(db);
        let app = app(&store);
        let first = keyed(&app, ADA, BODY, "k").await;
        // The old table, with the requests in it.
        let before = "create table idempotency_records (user_id bigint, key text, fingerprint text,
                post_id {uuid}, username text, created_at {time});
            insert into idempotency_records
                select k.user_id, k.key, k.fingerprint, p.id, 'ada', p.created_at
                from idempotency_keys k join posts p on p.user_id = k.user_id;
            delete from idempotency_keys";
        let migration = MIGRATIONS.iter().find(|step| step.version == 1003).unwrap();
        let (types, copy) = match within.dialect() {
            Dialect::Sqlite => (["blob", "text"], migration.sqlite),
            Dialect::Postgres => (["uuid", "timestamptz"], migration.postgres),
        };
        let before = before
            .replace("{uuid}", types[0])
            .replace("{time}", types[1]);
        for text in [before, copy.to_owned()] {
            let done: Result<(), StoreError> = within
                .write(|tx| {
                    Box::pin(async move {
                        on!(tx, conn => sqlx::raw_sql(AssertSqlSafe(text))
                            .execute(&mut *conn)
                            .await
                            .map(|_| ()))
                    })
                })
                .await;
            done.unwrap();
        }
        assert_eq!(keyed(&app, ADA, BODY, "k").await.body, first.body);
        assert_eq!(app.outbox().await.len(), 1);
        keyed(&app, ADA, r#"{"title":"u","content":"c"}"#, "k")
            .await
            .problem(422, "idempotency_key_reused");
    }
);
