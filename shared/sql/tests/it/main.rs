//! The write seam and the outbox on both databases, and the topic log in SQLite.
#![expect(
    clippy::unwrap_used,
    reason = "a test that can't be set up should say where"
)]

mod claims;
mod db;
mod idempotency;
mod lease;
mod log;
mod outbox;
mod republish;
mod retention;
mod schema;
mod tables;
mod tls;

use events::posts::PostDeleted;
use sql::{Migration, StoreError, Tx, on};
use uuid::Uuid;

/// A service with one table.
const NOTES: &[Migration] = &[Migration {
    version: 1001,
    what: "create notes",
    sqlite: "create table notes (id integer primary key, text text not null,
             constraint notes_text_key unique (text))",
    postgres: "create table notes (id bigint primary key, text text not null,
             constraint notes_text_key unique (text))",
}];

/// Writes note `id`.
async fn note(tx: &mut Tx, id: i64) -> Result<(), StoreError> {
    on!(tx, conn => sqlx::query("insert into notes (id, text) values ($1, $2)")
        .bind(id)
        .bind(format!("note {id}"))
        .execute(&mut *conn)
        .await
        .map(|_| ()))
}

/// The notes that are there.
async fn notes(db: &sql::Db) -> Vec<i64> {
    let mut reader = db.read().await.unwrap();
    on!(reader, conn => sqlx::query_scalar("select id from notes order by id")
        .fetch_all(&mut *conn)
        .await)
    .unwrap()
}

/// An event of user `id`.
fn event(id: i64) -> PostDeleted {
    PostDeleted {
        post_id: Uuid::from_u128(7),
        user_id: id,
    }
}
