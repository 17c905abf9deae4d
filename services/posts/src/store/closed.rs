//! Deletes the posts of closed accounts.

use std::sync::Arc;

use async_trait::async_trait;
use sql::{Db, StoreError, Tx, fetch_all, fetch_optional};
use uuid::Uuid;

use crate::cache::Cache;
use crate::domain::deleted;
use crate::removal::{ClosedAccounts, Removed};

/// Deletes up to `limit` posts of an account, each with its event, and returns their ids.
///
/// # Errors
/// When the store failed.
pub async fn delete_posts(tx: &mut Tx, user_id: i64, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    let now = tx.now();
    // `= true` keeps SQLite from walking through the index of all posts.
    let gone: Vec<(Uuid, i64)> = fetch_all!(tx,
        "update posts set title = '', content = '', tags = '[]',
            version = version + 1, updated_at = $2, deleted_at = $2
         where (deleted_at is null) = true and id in
            (select id from posts where user_id = $1 and deleted_at is null
             order by created_at desc, id desc limit $3)
         returning id, version" => user_id, now, limit)?;
    for (post_id, version) in &gone {
        tx.publish(&deleted(*post_id, user_id), *version).await?;
    }
    Ok(gone.into_iter().map(|(id, _)| id).collect())
}

/// Finds closed accounts with posts.
pub struct SqlAccounts {
    db: Db,
    cache: Option<Arc<Cache>>,
}

impl SqlAccounts {
    /// Searches `db`, and tells `cache` of every commit.
    pub fn new(db: Db, cache: Option<Arc<Cache>>) -> Self {
        Self { db, cache }
    }

    async fn closed_with_posts(&self) -> Result<Option<i64>, StoreError> {
        let mut reader = self.db.read().await?;
        fetch_optional!(reader, scalar
            "select a.user_id from accounts a where a.closed_at is not null and exists
                (select 1 from posts p where p.user_id = a.user_id and p.deleted_at is null)
             limit 1")
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
