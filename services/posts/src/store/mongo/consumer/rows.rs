//! The inbox: parked events with their bytes, and processed ones for people to read.

use blocks::error::BoxError;
use chrono::TimeDelta;
use events::Envelope;
use events::topic::WEEK_MS;
use futures::TryStreamExt;
use mongodb::bson::{self, Document, doc};
use serde::{Deserialize, Serialize};
use sql::StoreError;
use uuid::Uuid;

use super::super::Mongo;
use super::super::document::{date, read};
use super::super::error::{failed, is_duplicate};
use super::super::posts::unwritable;
use super::keys::{self, Key};
use super::{INBOX, KEYS};

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
    /// The key's document.
    pub key_id: String,
    pub topic: String,
    pub key: String,
    pub version: i64,
    /// The event's id.
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

impl RowDoc {
    /// A parked record; an unreadable one has no event.
    pub fn waiting(
        mongo: &Mongo,
        group: &str,
        key: &Key,
        event: Option<&Envelope>,
        record: String,
    ) -> Self {
        let clock = &mongo.settings().clock;
        let version = event.map_or(0, |event| event.sequence);
        let message_id: Uuid = event.map_or_else(|| clock.id(), |event| event.id);
        let key_id = key.id(group);
        Self {
            id: format!("{key_id}/{version}"),
            group: group.to_owned(),
            key_id,
            topic: key.topic.clone(),
            key: key.key.clone(),
            version,
            message_id: message_id.to_string(),
            event_type: event.map(|event| event.event_type.clone()),
            status: PROCESSING.to_owned(),
            received_at: date(clock.now()),
            processed_at: None,
            record: Some(record),
        }
    }

    /// An event that had its effect at once.
    pub fn processed(mongo: &Mongo, group: &str, key: &Key, event: &Envelope) -> Self {
        Self::waiting(mongo, group, key, Some(event), String::new()).done()
    }

    /// The same event after its effect.
    pub fn done(self) -> Self {
        Self {
            status: PROCESSED.to_owned(),
            processed_at: Some(self.received_at),
            record: None,
            ..self
        }
    }
}

/// Up to `max` parked events of keys, lowest version first.
pub(super) async fn load(
    mongo: &Mongo,
    key_ids: &[String],
    max: Option<i64>,
) -> Result<Vec<RowDoc>, StoreError> {
    let wanted = doc! {"key_id": {"$in": key_ids}, "status": PROCESSING};
    let inbox = mongo.collection(INBOX);
    let mut find = inbox.find(wanted).sort(doc! {"key_id": 1, "version": 1});
    if let Some(max) = max {
        find = find.limit(max);
    }
    let found = find.await.map_err(failed)?;
    let found: Vec<Document> = found.try_collect().await.map_err(failed)?;
    let found = found.into_iter();
    Ok(found.filter_map(|doc| read(mongo, INBOX, doc)).collect())
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
        .await
        .map_err(failed)?;
    let found: Vec<Document> = found.try_collect().await.map_err(failed)?;
    let found = found.into_iter();
    Ok(found.filter_map(|doc| read(mongo, INBOX, doc)).collect())
}

/// Stores parked events.
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

/// Marks events as processed: `fresh` ones at once, those with the ids `waited` after they were
/// parked.
pub(super) async fn store_processed(
    mongo: &Mongo,
    fresh: &[RowDoc],
    waited: &[String],
) -> Result<(), StoreError> {
    let inbox = mongo.collection(INBOX);
    let keep = mongo.settings().keep_inbox;
    if keep && !fresh.is_empty() {
        let mut documents = Vec::with_capacity(fresh.len());
        for row in fresh {
            documents.push(bson::to_document(row).map_err(unwritable)?);
        }
        match inbox.insert_many(documents).ordered(false).await {
            Ok(_) => {}
            // It was noted before a crash.
            Err(error) if is_duplicate(&error) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    if waited.is_empty() {
        return Ok(());
    }
    let these = doc! {"_id": {"$in": waited}};
    if keep {
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

/// Removes events processed more than a week ago, and events that a crash left parked although
/// their key has passed them. Answers how many.
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
        .await
        .map_err(failed)?;
    let found: Vec<Document> = found.try_collect().await.map_err(failed)?;
    let mut left_behind = 0;
    for document in found {
        let id = document.get("_id").cloned();
        let Some(row) = read::<Listed>(mongo, INBOX, document) else {
            continue;
        };
        let known = keys::find(mongo, doc! {"_id": &row.key_id}).await?;
        let goes_on = |key: &keys::KeyDoc| key.version.is_some_and(|known| row.version <= known);
        if known.first().is_some_and(goes_on) {
            let removed = inbox.delete_one(doc! {"_id": id}).await.map_err(failed)?;
            left_behind += removed.deleted_count;
        }
    }
    Ok(removed.deleted_count + left_behind)
}

/// Forgets everything of `topics`.
pub(super) async fn forget(
    mongo: &Mongo,
    group: &str,
    topics: &[String],
) -> Result<(), StoreError> {
    let of_topics = doc! {"group": group, "topic": {"$in": topics}};
    // Offsets last: until they are gone, a failed reset looks like one that did nothing.
    for collection in [INBOX, KEYS, super::OFFSETS] {
        let documents = mongo.collection(collection);
        let forgotten = documents.delete_many(of_topics.clone()).await;
        forgotten.map_err(failed)?;
    }
    Ok(())
}

/// The record of a parked row.
pub(super) fn record(row: &RowDoc) -> Result<Option<blocks::bus::Record>, BoxError> {
    let text = row.record.as_deref();
    text.map(|text| blocks::consumer::parked::read_record(&row.topic, text))
        .transpose()
}
