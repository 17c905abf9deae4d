//! An outbox as an operator sees it.

use chrono::{DateTime, Utc};
use events::dead_letter_topic;
use serde::{Deserialize, Serialize};
use sqlx::AssertSqlSafe;

use crate::db::Db;
use crate::error::StoreError;
use crate::on;

/// How many rows are made pending in one write.
const REPUBLISH_PAGE: i64 = 1000;

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

    /// Makes the rows pending again that were committed at `since` or later: those that were
    /// published, which consumers skip when they have them, and those that the bus refused, since
    /// what it refused for (a limit, a missing topic) may be mended. Dead letters are left alone: they
    /// are no events, and whoever gathers them has them. The sweep publishes the rows. Answers how
    /// many.
    ///
    /// # Errors
    /// When the store can't be reached; what was made pending until then stays so.
    pub async fn outbox_republish(&self, since: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut after = 0;
        let mut made_pending = 0;
        // Looked up outside of the writes, and each row once: the sweep goes on meanwhile and marks
        // rows as published that were made pending here.
        let end = self.outbox_end().await?;
        loop {
            let page = self.republishable(since, after, end).await?;
            let Some(last) = page.last() else {
                return Ok(made_pending);
            };
            after = *last;
            made_pending += self.make_pending(&page).await?;
        }
    }

    async fn outbox_end(&self) -> Result<i64, StoreError> {
        let mut reader = self.read().await?;
        on!(reader, conn => sqlx::query_scalar(
            "select coalesce(max(position), 0) from outbox_messages",
        )
        .fetch_one(&mut *conn)
        .await)
    }

    /// The places of the next rows that are published or refused.
    async fn republishable(
        &self,
        since: DateTime<Utc>,
        after: i64,
        end: i64,
    ) -> Result<Vec<i64>, StoreError> {
        let dead_letters = dead_letter_topic("%");
        let mut reader = self.read().await?;
        on!(reader, conn => sqlx::query_scalar(
            "select position from outbox_messages
             where position > $1 and position <= $2 and status <> 'pending' and created_at >= $3
                and topic not like $4
             order by position limit $5",
        )
        .bind(after)
        .bind(end)
        .bind(since)
        .bind(&dead_letters)
        .bind(REPUBLISH_PAGE)
        .fetch_all(&mut *conn)
        .await)
    }

    async fn make_pending(&self, positions: &[i64]) -> Result<u64, StoreError> {
        let positions = serde_json::to_string(positions)?;
        let statement = format!(
            "update outbox_messages set status = 'pending', published_at = null, error = null
             where position in {} and status <> 'pending'",
            self.dialect().json_integers("$1")
        );
        self.write(move |tx| {
            Box::pin(async move {
                on!(tx, conn => sqlx::query(AssertSqlSafe(statement))
                    .bind(positions)
                    .execute(&mut *conn)
                    .await
                    .map(|done| done.rows_affected()))
            })
        })
        .await
    }
}
