//! The data migration of a group's tables from a SQLite file. Offsets stay behind: they belong to
//! another log.

use blocks::consumer::{Key, Reason};
use blocks::data_migration::Side;
use blocks::error::BoxError;
use chrono::{DateTime, Utc};
use mongodb::bson::{doc, to_document};
use sql::Db;
use sql::log::TopicLog;

use super::super::data_migration::row;
use super::super::document::date;
use super::generations::Generations;
use super::keys::{KeyDoc, ParkedDoc, id};
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

    fn document(self) -> Result<KeyDoc, BoxError> {
        let topic = events::topic_named(&self.topic);
        let partition = match (self.partition, topic) {
            (Some(partition), _) => partition,
            (None, Some(topic)) => TopicLog::partition_of(&self.key, topic.partitions),
            (None, None) => return Err(format!("{} is no topic", self.topic).into()),
        };
        Ok(KeyDoc {
            id: id(
                &self.consumer_group,
                &Generations::default(),
                &Key::new(&self.topic, &self.key),
            ),
            partition,
            version: self.version,
            // No `rev` would mean that the document is not there yet.
            rev: 1,
            generation: 0,
            parked: self.parked(),
            group: self.consumer_group,
            topic: self.topic,
            key: self.key,
        })
    }
}

/// The keys of `consumer_versions` with `parked_keys`.
pub(in super::super) fn keys(db: &Db) -> Box<dyn Side> {
    let statement =
        "select k.consumer_group, k.topic, k.key, v.version, p.id as number, p.partition,
            p.reason, p.error, p.attempts, p.retry_at, p.since
         from (select consumer_group, topic, key from consumer_versions
               union select consumer_group, topic, key from parked_keys) k
         left join consumer_versions v on v.consumer_group = k.consumer_group
            and v.topic = k.topic and v.key = k.key
         left join parked_keys p on p.consumer_group = k.consumer_group
            and p.topic = k.topic and p.key = k.key
         order by k.consumer_group || '/' || k.topic || '/' || k.key";
    sql::query(db, statement, |key: KeyRow| {
        row(to_document(&key.document()?)?)
    })
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
        let key_id = id(
            &row.consumer_group,
            &Generations::default(),
            &Key::new(&row.topic, &row.key),
        );
        Self {
            id: format!("{key_id}/{}", row.version),
            group: row.consumer_group,
            generation: 0,
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

/// The events of `inbox_messages`.
pub(in super::super) fn inbox(db: &Db) -> Box<dyn Side> {
    let statement = "select consumer_group, topic, key, version, message_id, event_type, status,
            received_at, processed_at, record
         from inbox_messages
         order by consumer_group || '/' || topic || '/' || key || '/' || version";
    sql::query(db, statement, |event: InboxRow| {
        row(to_document(&RowDoc::from(event))?)
    })
}

/// The last number that a blocked key got.
pub(in super::super) fn counters(db: &Db) -> Box<dyn Side> {
    let statement = "select seq from sqlite_sequence where name = 'parked_keys' and seq > 0";
    sql::query(db, statement, |(last,): (i64,)| {
        row(doc! {"_id": "parked", "last": last})
    })
}
