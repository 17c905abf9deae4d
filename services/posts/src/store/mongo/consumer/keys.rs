//! The group's state of keys.

use std::collections::HashMap;

use blocks::consumer::{Block, Key, Known, Reason};
use mongodb::bson::{self, Document, doc};
use mongodb::options::ReturnDocument;
use serde::{Deserialize, Serialize};
use sql::StoreError;

use super::super::Mongo;
use super::super::document::{all, date, time};
use super::super::error::{failed, is_duplicate};
use super::super::posts::unwritable;
use super::generations::Generations;
use super::{COUNTERS, KEYS};

/// The id of a key's document. No group and no topic has a slash in its name.
pub(super) fn id(group: &str, generations: &Generations, key: &Key) -> String {
    format!("{}/{key}", generations.scope(group, &key.topic))
}

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
    pub generation: i64,
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

impl KeyDoc {
    fn new(group: &str, generations: &Generations, key: &Key, partition: i32) -> Self {
        Self {
            id: id(group, generations, key),
            generation: generations.of(&key.topic),
            group: group.to_owned(),
            topic: key.topic.to_string(),
            key: key.key.to_string(),
            partition,
            version: None,
            rev: 0,
            parked: None,
        }
    }

    /// The key that it is about.
    pub fn key(&self) -> Key {
        Key::new(&self.topic, &self.key)
    }

    /// The block, if there is one.
    pub fn block(&self) -> Option<Block> {
        let parked = self.parked.as_ref()?;
        Some(Block {
            reason: parked.reason,
            error: parked.error.clone(),
            attempts: parked.attempts,
            retry_at: parked.retry_at.map(time),
            since: time(parked.since),
            partition: self.partition,
        })
    }

    /// The state that decisions are made by.
    pub fn known(&self) -> Known {
        Known {
            version: self.version,
            block: self.block(),
            ..Known::default()
        }
    }

    /// The document of the key in its new state.
    pub fn with(self, known: Known) -> Self {
        let number = self.parked.map_or(0, |parked| parked.number);
        Self {
            version: known.version,
            parked: known.block.map(|block| ParkedDoc {
                number,
                reason: block.reason,
                error: block.error,
                attempts: block.attempts,
                retry_at: block.retry_at.map(date),
                since: date(block.since),
            }),
            ..self
        }
    }
}

/// Loads the documents of keys. Each comes with the partition of its records, for a key that has none yet.
pub(super) async fn load<'a>(
    mongo: &Mongo,
    group: &str,
    generations: &Generations,
    keys: impl IntoIterator<Item = (&'a Key, i32)>,
) -> Result<HashMap<Key, KeyDoc>, StoreError> {
    let new = keys.into_iter().map(|(key, partition)| {
        let new = KeyDoc::new(group, generations, key, partition);
        (key.clone(), new)
    });
    let mut docs: HashMap<Key, KeyDoc> = new.collect();
    if !docs.is_empty() {
        let ids: Vec<&str> = docs.values().map(|doc| doc.id.as_str()).collect();
        let found = find(mongo, doc! {"_id": {"$in": ids}}).await?;
        docs.extend(found.into_iter().map(|doc| (doc.key(), doc)));
    }
    Ok(docs)
}

/// Up to `max` keys that are due, the longest due first.
pub(super) async fn due(
    mongo: &Mongo,
    group: &str,
    generations: &Generations,
    max: usize,
) -> Result<Vec<Key>, StoreError> {
    let now = date(mongo.settings().clock.now());
    let found = mongo
        .collection(KEYS)
        .find(generations.without_void(doc! {
            "group": group, "parked.number": {"$gt": 0_i64}, "parked.retry_at": {"$lte": now},
        }))
        .sort(doc! {"parked.retry_at": 1})
        .limit(i64::try_from(max).unwrap_or(i64::MAX))
        .await;
    let found = all::<KeyDoc>(mongo, KEYS, found).await?;
    Ok(found.iter().map(KeyDoc::key).collect())
}

/// The keys that `wanted` describes.
pub(super) async fn find(mongo: &Mongo, wanted: Document) -> Result<Vec<KeyDoc>, StoreError> {
    all(mongo, KEYS, mongo.collection(KEYS).find(wanted).await).await
}

/// Stores keys that changed; false when somebody else changed one of them since they were read.
pub(super) async fn store(mongo: &Mongo, changed: Vec<KeyDoc>) -> Result<bool, StoreError> {
    let mut fresh = Vec::new();
    let mut statements = Vec::new();
    for mut doc in changed {
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
        Err(error) if is_duplicate(&error) => Ok(false),
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
