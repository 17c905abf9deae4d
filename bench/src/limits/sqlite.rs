//! SQLite and nothing else: one connection, one row and one durable commit a write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::Writers;
use crate::community::{CONTENT, TAGS, TITLE};
use crate::load::{Answers, Latencies, latencies, note};

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
    let connection = Arc::new(Mutex::new(connection));
    let ids = Arc::new(AtomicU64::new(0));
    let start = Instant::now() + Duration::from_millis(writers.pace.warm_up_ms);
    let time = Duration::from_millis(writers.pace.time_ms);
    let mut tasks = JoinSet::new();
    for _ in 0..writers.pace.clients {
        tasks.spawn(write_until(
            Arc::clone(&connection),
            Arc::clone(&ids),
            start,
            start + time,
        ));
    }
    let mut counted = latencies();
    while let Some(done) = tasks.join_next().await {
        counted.add(&done??)?;
    }
    if let Ok(connection) = Arc::try_unwrap(connection) {
        connection.into_inner().close().await?;
    }
    Ok(Answers {
        counted,
        all: ids.load(Ordering::Relaxed),
        time,
    })
}

async fn write_until(
    connection: Arc<Mutex<SqliteConnection>>,
    ids: Arc<AtomicU64>,
    start: Instant,
    end: Instant,
) -> anyhow::Result<Latencies> {
    let tags = serde_json::to_string(&TAGS)?;
    let mut counted = latencies();
    loop {
        let before = Instant::now();
        // Ascending, as ids are that begin with the time.
        let id = u128::from(ids.fetch_add(1, Ordering::Relaxed)).to_be_bytes();
        let mut connection = connection.lock().await;
        sqlx::query(WRITE)
            .bind(&id[..])
            .bind(7)
            .bind(TITLE)
            .bind(CONTENT)
            .bind(&tags)
            .bind("2026-01-01T12:00:00.000Z")
            .execute(&mut *connection)
            .await?;
        drop(connection);
        let now = Instant::now();
        if now >= end {
            return Ok(counted);
        }
        if before >= start {
            note(&mut counted, now - before);
        }
    }
}
