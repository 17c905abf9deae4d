//! The data migration of a group's tables from a SQLite file. Offsets stay behind: they belong to
//! another log.

use std::collections::BTreeMap;

use async_trait::async_trait;
use blocks::consumer::Reason;
use blocks::data_migration::{Rows, Side};
use blocks::error::BoxError;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use mongodb::bson::{doc, to_document};
use sql::Db;
use sql::log::TopicLog;

use super::super::data_migration::{row, sqlite};
use super::super::document::date;
use super::keys::{Key, KeyDoc, ParkedDoc};
use super::rows::RowDoc;

#[derive(sqlx_macros::FromRow)]
struct KeyRow {
    consumer_group: String,
    topic: String,
    key: String,
    version: Option<i64>,
    number: Option<i64>,
    partition: Option<i32>,
    reason: Option<String>,
    error: Option<String>,
    attempts: Option<i64>,
    retry_at: Option<DateTime<Utc>>,
    since: Option<DateTime<Utc>>,
}

impl KeyRow {
    fn parked(&self) -> Option<ParkedDoc> {
        Some(ParkedDoc {
            number: self.number?,
            reason: Reason::parse(self.reason.as_deref()?)?,
            error: self.error.as_deref()?.replace('\0', "\u{fffd}"),
            attempts: self.attempts?,
            retry_at: self.retry_at.map(date),
            since: date(self.since?),
        })
    }

    fn document(self, partitions: &BTreeMap<&str, u16>) -> Result<KeyDoc, BoxError> {
        let partition = match (self.partition, partitions.get(self.topic.as_str())) {
            (Some(partition), _) => partition,
            (None, Some(count)) => TopicLog::partition_of(&self.key, *count),
            (None, None) => return Err(format!("{} is no topic", self.topic).into()),
        };
        let key = Key {
            topic: self.topic.clone(),
            key: self.key.clone(),
        };
        Ok(KeyDoc {
            id: key.id(&self.consumer_group),
            partition,
            version: self.version,
            // No `rev` would mean that the document is not there yet.
            rev: 1,
            parked: self.parked(),
            group: self.consumer_group,
            topic: self.topic,
            key: self.key,
        })
    }
}

/// The keys of `consumer_versions` with `parked_keys`.
pub(in super::super) struct Keys(pub Db);

#[async_trait]
impl Side for Keys {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let partitions = events::topics()
            .map(|topic| (topic.name, topic.partitions))
            .collect();
        let mut reader = self.0.read().await?;
        let mut found = sqlx::query_as::<_, KeyRow>(
            "select k.consumer_group, k.topic, k.key, v.version, p.id as number, p.partition,
                p.reason, p.error, p.attempts, p.retry_at, p.since
             from (select consumer_group, topic, key from consumer_versions
                   union select consumer_group, topic, key from parked_keys) k
             left join consumer_versions v on v.consumer_group = k.consumer_group
                and v.topic = k.topic and v.key = k.key
             left join parked_keys p on p.consumer_group = k.consumer_group
                and p.topic = k.topic and p.key = k.key
             order by k.consumer_group || '/' || k.topic || '/' || k.key",
        )
        .fetch(sqlite(&mut reader)?);
        while let Some(key) = found.try_next().await? {
            let document = to_document(&key.document(&partitions)?)?;
            if !rows.give(row(document)?).await {
                break;
            }
        }
        Ok(())
    }
}

#[derive(sqlx_macros::FromRow)]
struct InboxRow {
    consumer_group: String,
    topic: String,
    key: String,
    version: i64,
    message_id: String,
    event_type: Option<String>,
    status: String,
    received_at: DateTime<Utc>,
    processed_at: Option<DateTime<Utc>>,
    record: Option<String>,
}

impl From<InboxRow> for RowDoc {
    fn from(row: InboxRow) -> Self {
        let key = Key {
            topic: row.topic.clone(),
            key: row.key.clone(),
        };
        let key_id = key.id(&row.consumer_group);
        Self {
            id: format!("{key_id}/{}", row.version),
            group: row.consumer_group,
            key_id,
            topic: row.topic,
            key: row.key,
            version: row.version,
            message_id: row.message_id,
            event_type: row.event_type,
            status: row.status,
            received_at: date(row.received_at),
            processed_at: row.processed_at.map(date),
            record: row.record,
        }
    }
}

/// The parked events of `inbox_messages`.
pub(in super::super) struct Inbox(pub Db);

#[async_trait]
impl Side for Inbox {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let mut reader = self.0.read().await?;
        let mut found = sqlx::query_as::<_, InboxRow>(
            "select consumer_group, topic, key, version, message_id, event_type, status,
                received_at, processed_at, record
             from inbox_messages
             order by consumer_group || '/' || topic || '/' || key || '/' || version",
        )
        .fetch(sqlite(&mut reader)?);
        while let Some(event) = found.try_next().await? {
            let document = to_document(&RowDoc::from(event))?;
            if !rows.give(row(document)?).await {
                break;
            }
        }
        Ok(())
    }
}

/// The last number that a blocked key got.
pub(in super::super) struct Counters(pub Db);

#[async_trait]
impl Side for Counters {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let mut reader = self.0.read().await?;
        let last: Option<i64> =
            sqlx::query_scalar("select seq from sqlite_sequence where name = 'parked_keys'")
                .fetch_optional(sqlite(&mut reader)?)
                .await?;
        if let Some(last) = last.filter(|last| *last > 0) {
            rows.give(row(doc! {"_id": "parked", "last": last})?).await;
        }
        Ok(())
    }
}
