//! The inbox: parked events with their bytes, and processed ones for people to read.

use blocks::bus::Record;
use blocks::consumer::Key;
use blocks::consumer::parked::read_record;
use blocks::consumer::plan::InboxRow;
use blocks::error::BoxError;
use chrono::TimeDelta;
use events::topic::WEEK_MS;
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};
use sql::StoreError;

use super::super::Mongo;
use super::super::document::{all, date, documents, read};
use super::super::error::{failed, is_duplicate};
use super::super::posts::unwritable;
use super::generations::Generations;
use super::{INBOX, keys};

const PROCESSING: &str = "processing";
const PROCESSED: &str = "processed";
/// Rows in one page of a clean-up.
const PAGE: i64 = 1000;

/// An event that was taken in.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RowDoc {
    #[serde(rename = "_id")]
    pub id: String,
    pub group: String,
    #[serde(default)]
    pub generation: i64,
    pub key_id: String,
    pub topic: String,
    pub key: String,
    pub version: i64,
    pub message_id: String,
    pub event_type: Option<String>,
    pub status: String,
    pub received_at: bson::DateTime,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed_at: Option<bson::DateTime>,
    /// The record, while it is parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
}

/// The id of the row of a key's version.
fn id(key_id: &str, version: i64) -> String {
    format!("{key_id}/{version}")
}

impl RowDoc {
    /// The document of `row`.
    pub fn of(mongo: &Mongo, group: &str, generations: &Generations, row: InboxRow) -> Self {
        let clock = &mongo.settings().clock;
        let (key_id, now) = (keys::id(group, generations, &row.key), date(clock.now()));
        let (message_id, event_type) = row.event.unzip();
        let is_parked = row.record.is_some();
        Self {
            id: id(&key_id, row.version),
            group: group.to_owned(),
            generation: generations.of(&row.key.topic),
            key_id,
            topic: row.key.topic.to_string(),
            key: row.key.key.to_string(),
            version: row.version,
            message_id: message_id.unwrap_or_else(|| clock.id()).to_string(),
            event_type,
            status: if is_parked { PROCESSING } else { PROCESSED }.to_owned(),
            received_at: now,
            processed_at: (!is_parked).then_some(now),
            record: row.record,
        }
    }
}

/// Up to `max` parked events of a key, lowest version first.
pub(super) async fn load(
    mongo: &Mongo,
    key_id: &str,
    max: Option<usize>,
) -> Result<Vec<RowDoc>, StoreError> {
    let wanted = doc! {"key_id": key_id, "status": PROCESSING};
    let inbox = mongo.collection(INBOX);
    let mut find = inbox.find(wanted).sort(doc! {"version": 1});
    if let Some(max) = max {
        find = find.limit(i64::try_from(max).unwrap_or(i64::MAX));
    }
    all(mongo, INBOX, find.await).await
}

/// The versions and records of parked events.
pub(super) fn records(rows: Vec<RowDoc>) -> Result<Vec<(i64, Record)>, BoxError> {
    let records = rows.into_iter().filter_map(|row| {
        let record = read_record(&row.topic, row.record.as_deref()?);
        Some(record.map(|record| (row.version, record)))
    });
    records.collect()
}

/// The fields of a parked event that operators see.
#[derive(Debug, Deserialize)]
pub(super) struct Listed {
    pub key_id: String,
    pub version: i64,
    pub event_type: Option<String>,
}

/// The parked events of keys, without their bytes.
pub(super) async fn list(mongo: &Mongo, key_ids: &[String]) -> Result<Vec<Listed>, StoreError> {
    let found = mongo
        .collection(INBOX)
        .find(doc! {"key_id": {"$in": key_ids}, "status": PROCESSING})
        .projection(doc! {"key_id": 1, "version": 1, "event_type": 1})
        .await;
    all(mongo, INBOX, found).await
}

pub(super) async fn store_waiting(mongo: &Mongo, rows: &[RowDoc]) -> Result<(), StoreError> {
    let mut statements = Vec::with_capacity(rows.len());
    for row in rows {
        let written = bson::to_document(row).map_err(unwritable)?;
        statements.push(doc! {"q": {"_id": &row.id}, "u": written, "upsert": true});
    }
    if !statements.is_empty() {
        mongo.update_each(INBOX, statements).await?;
    }
    Ok(())
}

pub(super) async fn store_processed(mongo: &Mongo, rows: &[RowDoc]) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    let documents: Result<Vec<Document>, _> = rows.iter().map(bson::to_document).collect();
    let documents = documents.map_err(unwritable)?;
    let inbox = mongo.collection(INBOX);
    match inbox.insert_many(documents).ordered(false).await {
        // A duplicate was noted before a crash.
        Err(error) if !is_duplicate(&error) => Err(failed(error)),
        _ => Ok(()),
    }
}

/// Marks parked events as processed.
pub(super) async fn unpark(
    mongo: &Mongo,
    group: &str,
    generations: &Generations,
    unparked: &[(Key, i64)],
) -> Result<(), StoreError> {
    if unparked.is_empty() {
        return Ok(());
    }
    let ids = unparked.iter();
    let ids = ids.map(|(key, version)| id(&keys::id(group, generations, key), *version));
    let these = doc! {"_id": {"$in": ids.collect::<Vec<String>>()}};
    let inbox = mongo.collection(INBOX);
    if mongo.settings().keep_inbox {
        let now = date(mongo.settings().clock.now());
        let done = doc! {
            "$set": {"status": PROCESSED, "processed_at": now}, "$unset": {"record": ""},
        };
        inbox.update_many(these, done).await.map_err(failed)?;
    } else {
        inbox.delete_many(these).await.map_err(failed)?;
    }
    Ok(())
}

/// Removes events processed more than a week ago, and events that a crash or a reset left parked although
/// their key has passed them or is gone. Answers how many.
pub(super) async fn clean_up(mongo: &Mongo, group: &str) -> Result<u64, StoreError> {
    let week = TimeDelta::milliseconds(i64::try_from(WEEK_MS).unwrap_or(i64::MAX));
    let before = date(mongo.settings().clock.now() - week);
    let inbox = mongo.collection(INBOX);
    let old = doc! {"group": group, "status": PROCESSED, "processed_at": {"$lt": before}};
    let removed = inbox.delete_many(old).await.map_err(failed)?;
    let found = inbox
        .find(doc! {"group": group, "status": PROCESSING, "received_at": {"$lt": before}})
        .projection(doc! {"key_id": 1, "version": 1, "event_type": 1})
        .limit(PAGE)
        .await;
    let mut left_behind = 0;
    for document in documents(found).await? {
        let id = document.get("_id").cloned();
        let Some(row) = read::<Listed>(mongo, INBOX, document) else {
            continue;
        };
        let known = keys::find(mongo, doc! {"_id": &row.key_id}).await?;
        let goes_on = |key: &keys::KeyDoc| key.version.is_some_and(|known| row.version <= known);
        if known.first().is_none_or(goes_on) {
            let removed = inbox.delete_one(doc! {"_id": id}).await.map_err(failed)?;
            left_behind += removed.deleted_count;
        }
    }
    Ok(removed.deleted_count + left_behind)
}
