//! The group's state of keys.

use std::collections::HashMap;

use blocks::consumer::Reason;
use blocks::consumer::decide::KeyState;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use mongodb::bson::{self, Document, doc};
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};
use sql::StoreError;

use super::super::Mongo;
use super::super::document::{date, read};
use super::super::error::failed;
use super::super::posts::unwritable;
use super::{COUNTERS, KEYS};

/// A key of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub topic: String,
    pub key: String,
}

impl Key {
    /// The document's id. No group and no topic has a slash in its name.
    pub fn id(&self, group: &str) -> String {
        format!("{group}/{}/{}", self.topic, self.key)
    }
}

/// A key's document.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct KeyDoc {
    #[serde(rename = "_id")]
    pub id: String,
    pub group: String,
    pub topic: String,
    pub key: String,
    /// The partition of its records.
    pub partition: i32,
    /// The last version that took effect.
    #[serde(default)]
    pub version: Option<i64>,
    /// Counts the changes of this document.
    pub rev: i64,
    #[serde(default)]
    pub parked: Option<ParkedDoc>,
}

/// The block of a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ParkedDoc {
    /// Its number on the command line; 0 until it is stored.
    pub number: i64,
    pub reason: Reason,
    pub error: String,
    pub attempts: i64,
    pub retry_at: Option<bson::DateTime>,
    pub since: bson::DateTime,
}

/// A key while a batch is decided.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub doc: KeyDoc,
    /// True if it must be written.
    pub changed: bool,
}

impl Known {
    /// The state of a new key.
    pub fn new(group: &str, key: &Key, partition: i32) -> Self {
        Self {
            doc: KeyDoc {
                id: key.id(group),
                group: group.to_owned(),
                topic: key.topic.clone(),
                key: key.key.clone(),
                partition,
                version: None,
                rev: 0,
                parked: None,
            },
            changed: false,
        }
    }

    /// The state that decisions are made by.
    pub fn state(&self) -> KeyState {
        KeyState {
            known: self.doc.version,
            blocked: self.doc.parked.as_ref().map(|parked| parked.reason),
        }
    }

    /// Failed attempts of the first parked event.
    pub fn attempts(&self) -> i64 {
        self.doc.parked.as_ref().map_or(0, |parked| parked.attempts)
    }

    /// Blocks the key, or changes its block.
    pub fn park(
        &mut self,
        reason: Reason,
        error: &str,
        attempts: i64,
        retry_at: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) {
        let before = self.doc.parked.as_ref();
        self.doc.parked = Some(ParkedDoc {
            number: before.map_or(0, |parked| parked.number),
            reason,
            // An error may quote a NUL, which not every server takes in a text.
            error: error.replace('\0', "\u{fffd}"),
            attempts,
            retry_at: retry_at.map(date),
            since: before.map_or(date(now), |parked| parked.since),
        });
        self.changed = true;
    }

    /// Removes the block.
    pub fn unpark(&mut self) {
        self.changed |= self.doc.parked.take().is_some();
    }

    /// Notes that `version` took effect or is skipped.
    pub fn reached(&mut self, version: i64) {
        self.doc.version = Some(version);
        self.changed = true;
    }
}

/// Loads the states of keys.
pub(super) async fn load(
    mongo: &Mongo,
    group: &str,
    keys: impl Iterator<Item = Key>,
) -> Result<HashMap<Key, Known>, StoreError> {
    let ids: Vec<String> = keys.map(|key| key.id(group)).collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let found = find(mongo, doc! {"_id": {"$in": ids}}).await?;
    Ok(found
        .into_iter()
        .map(|doc| {
            let key = Key {
                topic: doc.topic.clone(),
                key: doc.key.clone(),
            };
            let changed = false;
            (key, Known { doc, changed })
        })
        .collect())
}

/// The keys that `wanted` describes.
pub(super) async fn find(mongo: &Mongo, wanted: Document) -> Result<Vec<KeyDoc>, StoreError> {
    let found = mongo.collection(KEYS).find(wanted).await;
    let found: Vec<Document> = found.map_err(failed)?.try_collect().await.map_err(failed)?;
    let found = found.into_iter();
    Ok(found.filter_map(|doc| read(mongo, KEYS, doc)).collect())
}

/// Stores the keys that changed; false when somebody else changed one of them since they were read.
pub(super) async fn store(
    mongo: &Mongo,
    known: impl Iterator<Item = Known>,
) -> Result<bool, StoreError> {
    let mut fresh = Vec::new();
    let mut statements = Vec::new();
    for Known { mut doc, changed } in known {
        if !changed {
            continue;
        }
        if let Some(parked) = &mut doc.parked
            && parked.number == 0
        {
            parked.number = next_number(mongo).await?;
        }
        let before = doc.rev;
        doc.rev += 1;
        let written = bson::to_document(&doc).map_err(unwritable)?;
        if before == 0 {
            fresh.push(written);
        } else {
            statements.push(doc! {"q": {"_id": &doc.id, "rev": before}, "u": written});
        }
    }
    let expected = statements.len();
    let stored = expected == 0 || mongo.update_each(KEYS, statements).await? == expected;
    if fresh.is_empty() {
        return Ok(stored);
    }
    let inserted = mongo
        .collection(KEYS)
        .insert_many(fresh)
        .ordered(false)
        .await;
    match inserted {
        Ok(_) => Ok(stored),
        Err(error) if super::super::error::is_duplicate(&error) => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// A number that no blocked key had before.
async fn next_number(mongo: &Mongo) -> Result<i64, StoreError> {
    let counters = mongo.collection(COUNTERS);
    let counted = counters
        .find_one_and_update(doc! {"_id": "parked"}, doc! {"$inc": {"last": 1_i64}})
        .upsert(true)
        .return_document(ReturnDocument::After)
        .await
        .map_err(failed)?;
    let counted = counted.unwrap_or_default();
    let number = counted.get_i64("last");
    number.map_err(|error| StoreError::Rejected(Box::new(error)))
}
