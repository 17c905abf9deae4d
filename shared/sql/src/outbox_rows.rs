//! An outbox as an operator sees it.

use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::outbox::{InspectOutbox, OutboxRow, Place};
use chrono::{DateTime, Utc};
use events::dead_letter_topic;
use sqlx::AssertSqlSafe;

use crate::db::Db;
use crate::error::StoreError;
use crate::{fetch_all, fetch_one, rows_affected};

/// Number of rows made pending in one write.
const REPUBLISH_PAGE: i64 = 1000;

#[derive(sqlx_macros::FromRow)]
struct Row {
    position: i64,
    status: String,
    event_type: String,
    topic: String,
    key: String,
    version: i64,
    created_at: DateTime<Utc>,
    published_at: Option<DateTime<Utc>>,
    error: Option<String>,
}

impl From<Row> for OutboxRow {
    fn from(row: Row) -> Self {
        Self {
            position: Place::row(row.position).to_string(),
            status: row.status,
            event_type: row.event_type,
            topic: row.topic,
            key: row.key,
            version: row.version,
            created_at: row.created_at,
            published_at: row.published_at,
            error: row.error,
        }
    }
}

#[async_trait]
impl InspectOutbox for Db {
    async fn latest(&self, max: usize) -> Result<Vec<OutboxRow>, BoxError> {
        let max = i64::try_from(max)?;
        let mut reader = self.read().await?;
        let rows: Vec<Row> = fetch_all!(reader,
            "select position, status, event_type, topic, key, version, created_at, published_at, error
             from outbox_messages order by position desc limit $1" => max)?;
        Ok(rows.into_iter().map(OutboxRow::from).collect())
    }

    async fn refused(&self) -> Result<i64, BoxError> {
        let mut reader = self.read().await?;
        Ok(fetch_one!(reader, scalar
            "select count(*) from outbox_messages where status = 'refused'")?)
    }

    async fn republish(&self, since: DateTime<Utc>) -> Result<u64, BoxError> {
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
}

impl Db {
    async fn outbox_end(&self) -> Result<i64, StoreError> {
        let mut reader = self.read().await?;
        fetch_one!(reader, scalar "select coalesce(max(position), 0) from outbox_messages")
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
        fetch_all!(reader, scalar
            "select position from outbox_messages
             where position > $1 and position <= $2 and status <> 'pending' and created_at >= $3
                and topic not like $4
             order by position limit $5" => after, end, since, &dead_letters, REPUBLISH_PAGE)
    }

    async fn make_pending(&self, positions: &[i64]) -> Result<u64, StoreError> {
        let positions = serde_json::to_string(positions)?;
        let statement = format!(
            "update outbox_messages set status = 'pending', published_at = null, error = null
             where position in {} and status <> 'pending'",
            self.dialect().json_integers("$1")
        );
        self.write(move |tx| {
            Box::pin(async move { rows_affected!(tx, AssertSqlSafe(statement) => positions) })
        })
        .await
    }
}
