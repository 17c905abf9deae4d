//! An outbox as an operator sees it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::db::Db;
use crate::error::StoreError;
use crate::on;

/// A row of an outbox, without what the event says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, sqlx_macros::FromRow)]
pub struct OutboxRow {
    /// Its place in the order of commits.
    pub position: i64,
    /// `pending`, `published` or `refused`.
    pub status: String,
    /// `post.created` and the like.
    pub event_type: String,
    /// Where it goes.
    pub topic: String,
    /// The partition key.
    pub key: String,
    /// The aggregate's version.
    pub version: i64,
    /// When it was committed.
    pub created_at: DateTime<Utc>,
    /// When it was marked as published.
    pub published_at: Option<DateTime<Utc>>,
    /// Why it was refused.
    pub error: Option<String>,
}

impl Db {
    /// The latest `max` rows of the outbox, newest first.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn outbox_rows(&self, max: i64) -> Result<Vec<OutboxRow>, StoreError> {
        let mut reader = self.read().await?;
        on!(reader, conn => sqlx::query_as(
            "select position, status, event_type, topic, key, version, created_at, published_at, error
             from outbox_messages order by position desc limit $1",
        )
        .bind(max)
        .fetch_all(&mut *conn)
        .await)
    }

    /// How many rows the bus refused for good.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn outbox_refused(&self) -> Result<i64, StoreError> {
        let mut reader = self.read().await?;
        on!(reader, conn => sqlx::query_scalar(
            "select count(*) from outbox_messages where status = 'refused'",
        )
        .fetch_one(&mut *conn)
        .await)
    }

    /// Makes the rows pending again that were committed at `since` or later; the sweep publishes
    /// them, and consumers skip what they have. Answers how many.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn outbox_republish(&self, since: DateTime<Utc>) -> Result<u64, StoreError> {
        self.write(move |tx| {
            Box::pin(async move {
                on!(tx, conn => sqlx::query(
                    "update outbox_messages set status = 'pending', published_at = null, error = null
                     where status <> 'pending' and created_at >= $1",
                )
                .bind(since)
                .execute(&mut *conn)
                .await
                .map(|done| done.rows_affected()))
            })
        })
        .await
    }
}
