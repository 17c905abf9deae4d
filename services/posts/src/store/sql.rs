//! Posts in SQLite or PostgreSQL.

use std::sync::Arc;

use async_trait::async_trait;
use blocks::extract::{COUNTED_ROWS, KeyedRequest, Span};
use chrono::{DateTime, Utc};
use events::posts::{PostDeleted, PostUpdated};
use serde::{Deserialize, Serialize};
use sql::{Db, StoreError, Tx, accounts, fetch_optional, on, rows_affected};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::{Filter, PostStore};
use crate::cache::Cache;
use crate::domain::{Author, Draft, Post};
use crate::error::PostError;

const COLUMNS: &str = "p.id, p.user_id, a.username, p.title, p.content, p.tags, p.created_at,
    p.updated_at, p.version";

/// The operation that idempotency keys of new posts belong to.
const CREATE: &str = "posts.create";

/// Posts in a service's own database.
pub struct SqlPosts {
    db: Db,
    cache: Option<Arc<Cache>>,
}

impl SqlPosts {
    /// Keeps posts in `db` and tells `cache` of every commit.
    pub fn new(db: Db, cache: Option<Arc<Cache>>) -> Self {
        Self { db, cache }
    }
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    id: Uuid,
    user_id: i64,
    username: String,
    title: String,
    content: String,
    tags: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    version: i64,
}

impl TryFrom<Row> for Post {
    type Error = StoreError;
    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: row.id,
            author: Author {
                id: row.user_id,
                name: row.username,
            },
            title: row.title,
            content: row.content,
            tags: serde_json::from_str(&row.tags)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
            version: row.version,
        })
    }
}

#[async_trait]
impl PostStore for SqlPosts {
    async fn create(
        &self,
        draft: Draft,
        author: Author,
        request: Option<KeyedRequest>,
    ) -> Result<Post, PostError> {
        let cache = self.cache.clone();
        let (asked, user_id) = (draft.clone(), author.id);
        let published = self.db.write_once((CREATE, user_id), request, move |tx| {
            Box::pin(publish(tx, asked, author, cache))
        });
        let Published {
            post_id,
            username,
            created_at,
        } = published.await?;
        let author = Author {
            id: user_id,
            name: username,
        };
        Ok(draft.publish(post_id, author, created_at).0)
    }

    async fn update(&self, post: &Post, event: &PostUpdated) -> Result<bool, StoreError> {
        let (post, event, cache) = (post.clone(), event.clone(), self.cache.clone());
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    if !replace(tx, &post).await? {
                        return Ok(false);
                    }
                    tx.publish(&event, post.version).await?;
                    tell(tx, cache, post.id);
                    Ok(true)
                })
            })
            .await
    }

    async fn delete(&self, post: &Post, event: &PostDeleted) -> Result<bool, StoreError> {
        let (id, version) = (post.id, post.version);
        let (event, cache) = (event.clone(), self.cache.clone());
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let now = tx.now();
                    let rows = rows_affected!(tx,
                        "update posts set title = '', content = '', tags = '[]',
                            version = version + 1, updated_at = $3, deleted_at = $3
                         where id = $1 and version = $2 and deleted_at is null"
                        => id, version, now)?;
                    let deleted = rows == 1;
                    if deleted {
                        tx.publish(&event, version + 1).await?;
                        tell(tx, cache, id);
                    }
                    Ok(deleted)
                })
            })
            .await
    }

    async fn get(&self, id: Uuid) -> Result<Option<Post>, StoreError> {
        let mut reader = self.db.read().await?;
        let row: Option<Row> = fetch_optional!(reader,
            "select p.id, p.user_id, a.username, p.title, p.content, p.tags, p.created_at,
                p.updated_at, p.version
             from posts p join accounts a on a.user_id = p.user_id
             where p.id = $1 and p.deleted_at is null" => id)?;
        row.map(Post::try_from).transpose()
    }

    async fn newest(&self, filter: &Filter, span: Span) -> Result<Vec<Post>, StoreError> {
        let List { of, id, parameters } = List::of(filter);
        let [ms, post_id, limited, skipped] = [1, 2, 3, 4].map(|next| parameters + next);
        // Finds the places first, in a covering index, so that skipping many posts reads no content.
        let statement = format!(
            "select {COLUMNS}
             from (select created_at, {id} as post_id from {of}
                    and (created_at, {id}) < (${ms}, ${post_id})
                order by created_at desc, {id} desc limit ${limited} offset ${skipped}) l
             join posts p on p.id = l.post_id join accounts a on a.user_id = p.user_id
             order by l.created_at desc, l.post_id desc"
        );
        let mut reader = self.db.read().await?;
        let rows: Vec<Row> = on!(reader, conn => {
            let mut query = sqlx::query_as(AssertSqlSafe(statement));
            if let Some(tag) = &filter.tag {
                query = query.bind(tag.as_str());
            }
            if let Some(user_id) = filter.user_id {
                query = query.bind(user_id);
            }
            query
                .bind(span.after.at())
                .bind(span.after.id)
                .bind(span.limit)
                .bind(span.skip)
                .fetch_all(&mut *conn)
                .await
        })?;
        rows.into_iter().map(Post::try_from).collect()
    }

    async fn count(&self, filter: &Filter) -> Result<i64, StoreError> {
        let List { of, parameters, .. } = List::of(filter);
        let limited = parameters + 1;
        let statement =
            format!("select count(*) from (select 1 as one from {of} limit ${limited}) counted");
        let mut reader = self.db.read().await?;
        on!(reader, conn => {
            let mut query = sqlx::query_scalar(AssertSqlSafe(statement));
            if let Some(tag) = &filter.tag {
                query = query.bind(tag.as_str());
            }
            if let Some(user_id) = filter.user_id {
                query = query.bind(user_id);
            }
            query.bind(COUNTED_ROWS).fetch_one(&mut *conn).await
        })
    }
}

/// The parts of a publication's answer that are not in its request.
#[derive(Serialize, Deserialize)]
struct Published {
    #[serde(with = "uuid::serde::simple")]
    post_id: Uuid,
    username: String,
    created_at: DateTime<Utc>,
}

async fn publish(
    tx: &mut Tx,
    draft: Draft,
    author: Author,
    cache: Option<Arc<Cache>>,
) -> Result<Published, PostError> {
    let (id, now) = (tx.id(), tx.now());
    let mut name = insert(tx, id, author.id, &draft, now).await?;
    if name.is_none() {
        accounts::introduce(tx, author.id, &author.name).await?;
        name = insert(tx, id, author.id, &draft, now).await?;
    }
    let username = name.ok_or(accounts::Closed)?;
    let author = Author {
        name: username.clone(),
        ..author
    };
    let (post, event) = draft.publish(id, author, now);
    tx.publish(&event, post.version).await?;
    tell(tx, cache, id);
    Ok(Published {
        post_id: id,
        username,
        created_at: now,
    })
}

/// The source of a list: a table with a covering index in the list's order. Parameters are the tag and
/// the author.
struct List {
    of: &'static str,
    id: &'static str,
    parameters: usize,
}

impl List {
    fn of(filter: &Filter) -> Self {
        let (of, id, parameters) = match (&filter.tag, filter.user_id) {
            (None, None) => ("posts where deleted_at is null", "id", 0),
            (None, Some(_)) => ("posts where user_id = $1 and deleted_at is null", "id", 1),
            // The table of tags has no deleted posts.
            (Some(_), None) => ("post_tags where tag = $1", "post_id", 1),
            // An author has fewer posts than a tag has.
            (Some(_), Some(_)) => (
                "posts where user_id = $2 and deleted_at is null and exists (
                    select 1 from post_tags t where t.tag = $1
                        and t.created_at = posts.created_at and t.post_id = posts.id)",
                "id",
                2,
            ),
        };
        Self { of, id, parameters }
    }
}

/// Inserts the post as version 1, and returns the author's current name. `None`, without an insert,
/// if the account is unknown or closed. A concurrent closing either comes first or finds the post.
async fn insert(
    tx: &mut Tx,
    id: Uuid,
    user_id: i64,
    draft: &Draft,
    now: DateTime<Utc>,
) -> Result<Option<String>, StoreError> {
    let (title, content, tags) = draft.parts();
    let tags = serde_json::to_string(tags)?;
    let lock = tx.dialect().for_share();
    let statement = format!(
        "insert into posts (id, user_id, title, content, tags, version, created_at, updated_at)
         select $1, user_id, $3, $4, $5, 1, $6, $6 from accounts
            where user_id = $2 and closed_at is null{lock}
         returning (select username from accounts where user_id = $2)"
    );
    fetch_optional!(tx, scalar
        AssertSqlSafe(statement) => id, user_id, title, content, &tags, now)
}

async fn replace(tx: &mut Tx, post: &Post) -> Result<bool, StoreError> {
    let tags = serde_json::to_string(&post.tags)?;
    rows_affected!(tx,
        "update posts set title = $1, content = $2, tags = $3, updated_at = $4, version = $5
         where id = $6 and version = $5 - 1 and deleted_at is null"
        => &post.title, &post.content, &tags, post.updated_at, post.version, post.id)
    .map(|rows| rows == 1)
}

fn tell(tx: &mut Tx, cache: Option<Arc<Cache>>, id: Uuid) {
    if let Some(cache) = cache {
        tx.after_commit(move || cache.forget_post(id));
    }
}
