//! The shapes of documents, and their mapping to the service's types.

use blocks::error::BoxError;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use mongodb::Cursor;
use mongodb::bson::{self, Document};
use mongodb::error::Error;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sql::StoreError;
use uuid::Uuid;

use super::Mongo;
use super::error::failed;
use super::events::EventDoc;
use crate::domain::{Author, Post, Tag};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PostDoc {
    #[serde(rename = "_id")]
    pub id: String,
    pub user_id: i64,
    /// The author's name when it was published; shown while the author is unknown.
    pub username: String,
    pub title: String,
    pub content: String,
    pub tags: Vec<String>,
    pub version: i64,
    pub created_at: bson::DateTime,
    pub updated_at: bson::DateTime,
    pub deleted: bool,
    /// Events that may not have been published, oldest first.
    pub pending: Vec<EventDoc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestDoc>,
}

/// The request that published a post, if it had an idempotency key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RequestDoc {
    /// The account and its key: unique.
    pub id: String,
    pub fingerprint: String,
    /// The author's name in the answer.
    pub username: String,
    pub created_at: bson::DateTime,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AuthorDoc {
    /// The account's number as text: servers look up ids fastest.
    #[serde(rename = "_id")]
    pub id: String,
    pub user_id: i64,
    pub username: String,
    /// The version of the account's last applied event.
    pub version: i64,
    #[serde(default)]
    pub closed: bool,
}

/// A post without the store's own fields: a page of a list reads no events.
#[derive(Debug, Deserialize)]
pub(super) struct Shown {
    #[serde(rename = "_id")]
    pub id: Uuid,
    pub user_id: i64,
    pub username: String,
    title: String,
    content: String,
    tags: Vec<Tag>,
    pub version: i64,
    created_at: bson::DateTime,
    pub updated_at: bson::DateTime,
    pub deleted: bool,
}

impl Shown {
    /// The post with its author's current name.
    pub(super) fn by(self, name: String) -> Post {
        Post {
            id: self.id,
            author: Author {
                id: self.user_id,
                name,
            },
            title: self.title,
            content: self.content,
            tags: self.tags,
            created_at: time(self.created_at),
            updated_at: time(self.updated_at),
            version: self.version,
        }
    }
}

/// Reads a document; logs a malformed one and returns `None`.
pub(super) fn read<T: DeserializeOwned>(
    mongo: &Mongo,
    collection: &str,
    document: Document,
) -> Option<T> {
    let id = document.get("_id").cloned();
    bson::from_document(document)
        .map_err(|error| mongo.complain(collection, id.as_ref(), &BoxError::from(error)))
        .ok()
}

/// All documents that a query found.
pub(super) async fn documents(
    found: Result<Cursor<Document>, Error>,
) -> Result<Vec<Document>, StoreError> {
    found.map_err(failed)?.try_collect().await.map_err(failed)
}

/// Reads all documents that a query found, but the malformed ones.
pub(super) async fn all<T: DeserializeOwned>(
    mongo: &Mongo,
    collection: &str,
    found: Result<Cursor<Document>, Error>,
) -> Result<Vec<T>, StoreError> {
    let found = documents(found).await?.into_iter();
    Ok(found
        .filter_map(|document| read(mongo, collection, document))
        .collect())
}

/// A time in BSON's form.
pub(super) fn date(time: DateTime<Utc>) -> bson::DateTime {
    bson::DateTime::from_millis(time.timestamp_millis())
}

/// A time in the service's form. One outside chrono's range becomes the earliest time.
pub(super) fn time(date: bson::DateTime) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(date.timestamp_millis()).unwrap_or(DateTime::UNIX_EPOCH)
}
