//! SQLite and nothing else: one connection, one row and one durable commit a write.

use std::sync::Arc;

use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use tokio::sync::Mutex;

use super::Writers;
use crate::community::{CONTENT, TAGS, TITLE};
use crate::load::Answers;

pub const TABLE: &str = "create table posts (
    id blob primary key,
    user_id integer not null,
    title text not null,
    content text not null,
    tags text not null,
    version integer not null,
    created_at text not null,
    updated_at text not null
) without rowid";

// A statement outside a transaction is a transaction: the cheapest way to one commit.
pub const WRITE: &str = "insert into posts
    (id, user_id, title, content, tags, version, created_at, updated_at)
    values ($1, $2, $3, $4, $5, 1, $6, $6)";

/// Writes rows that are as long as those of posts, `SQLite` syncing each.
pub async fn write(writers: &Writers) -> anyhow::Result<Answers> {
    let mut connection = SqliteConnectOptions::new()
        .filename(writers.folder.join("bare.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .connect()
        .await?;
    sqlx::query(TABLE).execute(&mut connection).await?;
    // Ascending, as ids are that begin with the time.
    let file = Arc::new(Mutex::new((connection, 0_u128)));
    let step = |file: Arc<Mutex<(SqliteConnection, u128)>>| async move {
        let tags = serde_json::to_string(&TAGS)?;
        let (connection, id) = &mut *file.lock().await;
        *id += 1;
        sqlx::query(WRITE)
            .bind(&id.to_be_bytes()[..])
            .bind(7)
            .bind(TITLE)
            .bind(CONTENT)
            .bind(&tags)
            .bind("2026-01-01T12:00:00.000Z")
            .execute(connection)
            .await?;
        Ok(Arc::clone(&file))
    };
    writers.pace.repeat(&file, step).await
}
