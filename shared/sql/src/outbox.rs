//! The outbox of a service's database.

use async_trait::async_trait;
use blocks::error::BoxError;
use blocks::outbox::{Depth, LEASE_MS, Lease, Outbox, Pending, Place, Published};
use chrono::{DateTime, Utc};
use events::{Headers, Message};
use sqlx::AssertSqlSafe;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::db::Db;
use crate::error::StoreError;
use crate::{execute, fetch_all, fetch_one, fetch_optional, rows_affected};

/// Number of published rows that a clean-up removes in one write.
const REMOVE_PAGE: i64 = 1000;

#[derive(sqlx_macros::FromRow)]
struct Row {
    position: i64,
    topic: String,
    key: String,
    headers: String,
    payload: Vec<u8>,
    occurred_at: DateTime<Utc>,
}

impl TryFrom<Row> for Pending {
    type Error = serde_json::Error;
    fn try_from(row: Row) -> Result<Self, Self::Error> {
        let headers: Headers = serde_json::from_str(&row.headers)?;
        Ok(Self {
            place: Place::row(row.position),
            message: Message {
                topic: row.topic,
                key: row.key,
                headers,
                value: row.payload,
                time: row.occurred_at,
            },
        })
    }
}

#[async_trait]
impl Outbox for Db {
    fn service(&self) -> &'static str {
        self.settings().service
    }

    fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>> {
        self.take_committed()
    }

    fn fell_behind(&self) -> bool {
        self.take_fell_behind()
    }

    async fn pending(
        &self,
        before: Option<DateTime<Utc>>,
        after: Place,
        max: usize,
    ) -> Result<Vec<Pending>, BoxError> {
        let (after, max) = (after.as_row(), i64::try_from(max)?);
        let mut reader = self.read().await?;
        let rows: Vec<Row> = fetch_all!(reader,
            "select position, topic, key, headers, payload, occurred_at from outbox_messages
             where status = 'pending' and position > $1 and ($3 is null or created_at < $3)
             order by position limit $2" => after, max, before)?;
        let pending = rows
            .into_iter()
            .map(Pending::try_from)
            .collect::<Result<_, _>>();
        Ok(pending.map_err(StoreError::from)?)
    }

    async fn mark_published(&self, events: &[Published]) -> Result<(), BoxError> {
        let rows: Vec<i64> = events.iter().filter_map(|e| e.place.as_row()).collect();
        let rows = serde_json::to_string(&rows)?;
        let statement = format!(
            "update outbox_messages set status = 'published', published_at = $1
             where position in {} and status = 'pending'",
            self.dialect().json_integers("$2")
        );
        self.write(move |tx| {
            Box::pin(async move {
                let now = tx.now();
                Ok(execute!(tx, AssertSqlSafe(statement) => now, rows)?)
            })
        })
        .await
    }

    async fn mark_refused(&self, place: Place, reason: &str) -> Result<(), BoxError> {
        let (row, reason) = (place.as_row(), reason.to_owned());
        self.write(move |tx| {
            Box::pin(async move {
                Ok(execute!(tx,
                    "update outbox_messages set status = 'refused', error = $1
                     where position = $2 and status = 'pending'" => reason, row)?)
            })
        })
        .await
    }

    async fn depth(&self) -> Result<Depth, BoxError> {
        let mut reader = self.read().await?;
        let pending: i64 = fetch_one!(reader, scalar
            "select count(*) from outbox_messages where status = 'pending'")?;
        let oldest: Option<DateTime<Utc>> = fetch_optional!(reader, scalar
            "select created_at from outbox_messages where status = 'pending' order by position limit 1")?;
        Ok(Depth { pending, oldest })
    }

    async fn keys_pending_before(&self, time: DateTime<Utc>) -> Result<i64, BoxError> {
        let mut reader = self.read().await?;
        let older = fetch_one!(reader, scalar
            "select count(distinct key) from outbox_messages
             where status = 'pending' and created_at < $1" => time)?;
        Ok(older)
    }

    async fn lease(&self, holder: Uuid) -> Result<Option<Lease>, BoxError> {
        let clock = self.dialect().clock_ms();
        let statement = format!(
            "insert into leases (name, holder, epoch, expires_ms) values ('sweeper', $1, 1, {clock} + $2)
             on conflict (name) do update set
                epoch = case when leases.holder = $1 then leases.epoch else leases.epoch + 1 end,
                holder = $1, expires_ms = {clock} + $2
             where leases.holder = $1 or leases.expires_ms < {clock}
             returning epoch"
        );
        self.write(move |tx| {
            Box::pin(async move {
                let epoch: Option<i64> = fetch_optional!(tx, scalar AssertSqlSafe(statement)
                    => holder.to_string(), LEASE_MS)?;
                Ok(epoch.map(|epoch| Lease { epoch }))
            })
        })
        .await
    }

    async fn remove_published(&self, before: DateTime<Utc>) -> Result<u64, BoxError> {
        self.remove_in_pages(move |tx| {
            Box::pin(async move {
                rows_affected!(tx,
                    "delete from outbox_messages where position in (
                        select position from outbox_messages
                        where status = 'published' and published_at < $2
                        order by position limit $1)" => REMOVE_PAGE, before)
            })
        })
        .await
        .map_err(BoxError::from)
    }
}
