//! The data migration of posts from a SQLite file to MongoDB: see [`blocks::data_migration`].
//!
//! | from | to |
//! |---|---|
//! | `posts` with their `idempotency_keys` | `posts`, tombstones too |
//! | `accounts` | `authors`, with closed ones marked, and whether they have posts left |
//! | `consumer_versions`, `parked_keys`, `inbox_messages` | see [`super::consumer`] |
//!
//! Tags are in the documents. All events must be published before: documents arrive without any.

use async_trait::async_trait;
use blocks::data_migration::{Key, Nothing, Part, Row, Rows, Side, Target};
use blocks::error::BoxError;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use mongodb::bson::{Bson, Document, doc, to_document};
use sql::Db;
use sqlx::types::Json;
use uuid::Uuid;

use super::consumer::{self, data_migration as group};
use super::document::{AuthorDoc, PostDoc, RequestDoc, date};
use super::error::failed;
use super::{AUTHORS, Mongo, OUTBOX, POSTS};
use crate::NAME;

/// All parts of the migration from the SQLite file `from` to `to`.
pub fn parts(from: &Db, to: &Mongo) -> Vec<Part> {
    let part = |name: &'static str, source: Box<dyn Side>| Part {
        name: format!("{NAME}.{name}"),
        source,
        target: Box::new(Documents {
            mongo: to.clone(),
            collection: name,
        }),
    };
    vec![
        part(AUTHORS, authors(from)),
        part(POSTS, posts(from)),
        part(consumer::KEYS, group::keys(from)),
        part(consumer::INBOX, group::inbox(from)),
        part(consumer::COUNTERS, group::counters(from)),
        part(consumer::OFFSETS, Box::new(Nothing)),
        part(OUTBOX, Box::new(Nothing)),
    ]
}

/// A document as a row: its id, and the whole as JSON that keeps BSON's types.
pub(super) fn row(document: Document) -> Result<Row, BoxError> {
    let id = document.get_str("_id")?.to_owned();
    let json = Bson::Document(document).into_canonical_extjson();
    Ok(Row::new([Key::Text(id)], json.to_string()))
}

fn document(row: &Row) -> Result<Document, BoxError> {
    let json: serde_json::Value = serde_json::from_str(&row.text)?;
    match Bson::try_from(json)? {
        Bson::Document(document) => Ok(document),
        _ => Err("a row that is no document".into()),
    }
}

/// The documents of a collection.
struct Documents {
    mongo: Mongo,
    collection: &'static str,
}

#[async_trait]
impl Side for Documents {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let documents = self.mongo.collection(self.collection);
        let found = documents.find(doc! {}).sort(doc! {"_id": 1}).await;
        let mut found = found.map_err(failed)?;
        while let Some(document) = found.try_next().await.map_err(failed)? {
            if !rows.give(row(document)?).await {
                break;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Target for Documents {
    async fn insert(&self, rows: Vec<Row>) -> Result<(), BoxError> {
        let documents: Result<Vec<Document>, BoxError> = rows.iter().map(document).collect();
        let inserted = self.mongo.collection(self.collection);
        inserted.insert_many(documents?).await.map_err(failed)?;
        Ok(())
    }
}

#[derive(sqlx_macros::FromRow)]
struct PostRow {
    id: Uuid,
    user_id: i64,
    username: String,
    title: String,
    content: String,
    tags: Json<Vec<String>>,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    deleted_at: Option<DateTime<Utc>>,
    request_key: Option<String>,
    fingerprint: Option<String>,
    request_username: Option<String>,
    request_at: Option<DateTime<Utc>>,
}

impl PostRow {
    fn request(&mut self) -> Option<RequestDoc> {
        Some(RequestDoc {
            id: format!("{}:{}", self.user_id, self.request_key.take()?),
            fingerprint: self.fingerprint.take()?,
            username: self.request_username.take()?,
            created_at: date(self.request_at?),
        })
    }
}

impl From<PostRow> for PostDoc {
    fn from(mut row: PostRow) -> Self {
        let deleted = row.deleted_at.is_some();
        Self {
            request: row.request(),
            id: row.id.to_string(),
            user_id: row.user_id,
            username: if deleted { String::new() } else { row.username },
            title: row.title,
            content: row.content,
            tags: row.tags.0,
            version: row.version,
            created_at: date(row.created_at),
            updated_at: date(row.updated_at),
            deleted,
            pending: Vec::new(),
        }
    }
}

fn posts(db: &Db) -> Box<dyn Side> {
    let statement = "with r as materialized (
            select user_id, key, fingerprint, answer ->> 'created_at' as created_at,
                answer ->> 'post_id' as post_id, answer ->> 'username' as username
            from idempotency_keys where operation = 'posts.create')
         select p.id, p.user_id, a.username, p.title, p.content, p.tags, p.version,
            p.created_at, p.updated_at, p.deleted_at, r.key as request_key, r.fingerprint,
            r.username as request_username, r.created_at as request_at
         from posts p join accounts a on a.user_id = p.user_id
         left join r on r.post_id = lower(hex(p.id)) and r.user_id = p.user_id
         order by p.id";
    sql::query(db, statement, |post: PostRow| {
        row(to_document(&PostDoc::from(post))?)
    })
}

#[derive(sqlx_macros::FromRow)]
struct AuthorRow {
    user_id: i64,
    username: String,
    version: i64,
    closed_at: Option<DateTime<Utc>>,
}

impl AuthorRow {
    fn document(self) -> Result<Document, BoxError> {
        let mut document = to_document(&AuthorDoc {
            id: self.user_id.to_string(),
            user_id: self.user_id,
            username: self.username,
            version: self.version,
            closed: self.closed_at.is_some(),
        })?;
        if let Some(at) = self.closed_at {
            document.insert("closed_at", date(at));
        }
        Ok(document)
    }
}

fn authors(db: &Db) -> Box<dyn Side> {
    // Ids are texts in MongoDB. Closed accounts have no posts: the folder came to rest before.
    let statement = "select user_id, username, version, closed_at from accounts
         order by cast(user_id as text)";
    sql::query(db, statement, |author: AuthorRow| row(author.document()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use blocks::extract::KeyedRequest;
    use blocks::{Clock, ManualClock};
    use chrono::TimeDelta;
    use parking_lot::Mutex;

    use super::*;
    use crate::domain::{Author, Draft, Limits};
    use crate::{MIGRATIONS, Posts, Settings};

    /// A clock that goes on each time that it is read.
    #[derive(Default)]
    struct Ticking(ManualClock);

    impl Clock for Ticking {
        fn now(&self) -> DateTime<Utc> {
            self.0.advance(TimeDelta::milliseconds(1));
            self.0.now()
        }

        fn id(&self) -> Uuid {
            self.0.id()
        }
    }

    #[derive(Clone, Default)]
    struct Collected(Arc<Mutex<Vec<Row>>>);

    #[async_trait]
    impl Side for Collected {
        async fn read(&self, _: &Rows) -> Result<(), BoxError> {
            Ok(())
        }
    }

    #[async_trait]
    impl Target for Collected {
        async fn insert(&self, rows: Vec<Row>) -> Result<(), BoxError> {
            self.0.lock().extend(rows);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_request_under_a_key_is_answered_after_the_migration_as_before() {
        let db = testkit::db::sqlite_at(NAME, MIGRATIONS, Arc::new(Ticking::default())).await;
        let posts = Posts::open(db.db.clone(), Settings::default());
        let draft = Draft::new("once", "c".into(), &[], &Limits::default()).unwrap();
        let request = KeyedRequest::new("key".into(), &draft.parts());
        let ada = Author {
            id: 1,
            name: "ada".into(),
        };
        let answered = posts.store().create(draft, ada, Some(request)).await;
        let collected = Collected::default();
        let part = Part {
            name: "posts".into(),
            source: super::posts(&db.db),
            target: Box::new(collected.clone()),
        };
        part.copy(&|| ()).await.unwrap();
        let rows = collected.0.lock();
        let document = document(&rows[0]).unwrap();
        let request = document.get_document("request").unwrap();
        let at = request.get_datetime("created_at").unwrap();
        assert_eq!(*at, date(answered.unwrap().created_at));
    }
}
