//! Who writes: names and closed accounts as `user.events` tell them, inside the write of whoever asks.

use std::sync::Arc;

use async_trait::async_trait;
use events::posts::PostDeleted;
use sql::{Db, StoreError, Tx, idempotency, on};
use uuid::Uuid;

use crate::cache::Cache;
use crate::domain::Author;
use crate::removal::{ClosedAccounts, Removed};

/// Makes `author` known by the name that came with the caller, where no event of the account came
/// before.
///
/// # Errors
/// When the store failed.
pub async fn introduce(tx: &mut Tx, author: &Author) -> Result<(), StoreError> {
    // Nothing on a conflict: two writes that share the row would wait for each other to change it.
    on!(tx, conn => sqlx::query(
        "insert into authors (user_id, username, version) values ($1, $2, 0)
         on conflict (user_id) do nothing",
    )
    .bind(author.id)
    .bind(&author.name)
    .execute(&mut *conn)
    .await
    .map(|_| ()))
}

/// Takes over a name from the account's event `version`; true when a name that was shown is another
/// now. An older event than the last one changes nothing.
///
/// # Errors
/// When the store failed.
pub async fn rename(tx: &mut Tx, author: &Author, version: i64) -> Result<bool, StoreError> {
    let before: Option<String> = on!(tx, conn => sqlx::query_scalar(
        "select username from authors where user_id = $1",
    )
    .bind(author.id)
    .fetch_optional(&mut *conn)
    .await)?;
    let taken = on!(tx, conn => sqlx::query(
        "insert into authors (user_id, username, version) values ($1, $2, $3)
         on conflict (user_id) do update set
            username = excluded.username, version = excluded.version
         where authors.version < excluded.version and authors.deleted_at is null",
    )
    .bind(author.id)
    .bind(&author.name)
    .bind(version)
    .execute(&mut *conn)
    .await
    .map(|done| done.rows_affected()))?;
    Ok(taken == 1 && before.is_some_and(|before| before != author.name))
}

/// Closes an account: its name and its keys are forgotten, and it publishes nothing any more.
///
/// # Errors
/// When the store failed.
pub async fn close(tx: &mut Tx, user_id: i64, version: i64) -> Result<(), StoreError> {
    let now = tx.now();
    on!(tx, conn => sqlx::query(
        "insert into authors (user_id, username, version, deleted_at) values ($1, '', $2, $3)
         on conflict (user_id) do update set
            username = '', version = excluded.version, deleted_at = excluded.deleted_at
         where authors.deleted_at is null",
    )
    .bind(user_id)
    .bind(version)
    .bind(now)
    .execute(&mut *conn)
    .await
    .map(|_| ()))?;
    idempotency::forget(tx, user_id).await
}

/// Deletes up to `limit` posts of an account, each with its event, and says which.
///
/// # Errors
/// When the store failed.
pub async fn delete_posts(tx: &mut Tx, user_id: i64, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let now = tx.now();
    // `= true` keeps SQLite from walking through the index of all posts that stand.
    let deleted: Vec<(Uuid, i64)> = on!(tx, conn => sqlx::query_as(
        "update posts set title = '', content = '', tags = '[]',
            version = version + 1, updated_at = $2, deleted_at = $2
         where (deleted_at is null) = true and id in
            (select id from posts where user_id = $1 and deleted_at is null
             order by created_at desc, id desc limit $3)
         returning id, version",
    )
    .bind(user_id)
    .bind(now)
    .bind(limit)
    .fetch_all(&mut *conn)
    .await)?;
    for (post_id, version) in &deleted {
        tx.publish(
            &PostDeleted {
                post_id: *post_id,
                user_id,
            },
            *version,
        )
        .await?;
    }
    Ok(deleted.into_iter().map(|(id, _)| id).collect())
}

/// Finds the posts of closed accounts.
pub struct SqlAccounts {
    db: Db,
    cache: Option<Arc<Cache>>,
}

impl SqlAccounts {
    /// Looks into `db` and tells `cache` of every commit.
    pub fn new(db: Db, cache: Option<Arc<Cache>>) -> Self {
        Self { db, cache }
    }

    async fn closed_with_posts(&self) -> Result<Option<i64>, StoreError> {
        let mut reader = self.db.read().await?;
        on!(reader, conn => sqlx::query_scalar(
            "select a.user_id from authors a where a.deleted_at is not null and exists
                (select 1 from posts p where p.user_id = a.user_id and p.deleted_at is null)
             limit 1",
        )
        .fetch_optional(&mut *conn)
        .await)
    }
}

#[async_trait]
impl ClosedAccounts for SqlAccounts {
    async fn remove_some(&self, limit: i64) -> Result<Removed, StoreError> {
        let Some(user_id) = self.closed_with_posts().await? else {
            return Ok(Removed::Nothing);
        };
        let cache = self.cache.clone();
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let deleted = delete_posts(tx, user_id, limit).await?;
                    if let Some(cache) = cache {
                        let deleted = deleted.clone();
                        tx.after_commit(move || {
                            for id in deleted {
                                cache.forget_post(id);
                            }
                        });
                    }
                    Ok(Removed::Posts(deleted))
                })
            })
            .await
    }
}

/// Takes the names from the log anew: what was kept stays until the log says otherwise, since the
/// log forgets after a week.
///
/// # Errors
/// When the store failed.
pub async fn reset(tx: &mut Tx) -> Result<(), StoreError> {
    on!(tx, conn => sqlx::query("update authors set version = 0 where deleted_at is null")
        .execute(&mut *conn)
        .await
        .map(|_| ()))
}
