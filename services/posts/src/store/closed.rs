//! Deletes the posts of closed accounts, and answers once none is left.

use std::sync::Arc;

use async_trait::async_trait;
use sql::accounts::erased;
use sql::{Db, StoreError, Tx, execute, fetch_all, fetch_optional};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::cache::Cache;
use crate::domain::deleted;
use crate::removal::{ClosedAccounts, Removed};

/// Begins to erase an account that this write closes; see `delete_posts`.
///
/// # Errors
/// When the store failed.
pub async fn begin(tx: &mut Tx, user_id: i64, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    execute!(tx, "update accounts set erased = 0 where user_id = $1" => user_id)?;
    delete_posts(tx, user_id, limit).await
}

/// Deletes up to `limit` posts of a closed account, each with its event, and returns their ids. Fewer are the
/// last ones: the same write answers that the account is erased.
async fn delete_posts(tx: &mut Tx, user_id: i64, limit: i64) -> Result<Vec<Uuid>, StoreError> {
    // Of several processes, the one that deletes the last posts must know what the others deleted.
    let counted = format!(
        "select erased from accounts where user_id = $1 and erased is not null{}",
        tx.dialect().for_update()
    );
    let counted: Option<i64> = fetch_optional!(tx, scalar AssertSqlSafe(counted) => user_id)?;
    let Some(counted) = counted else {
        return Ok(Vec::new());
    };
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
    let deleted = i64::try_from(gone.len()).unwrap_or(i64::MAX);
    let counted = counted + deleted;
    let due = (deleted == limit).then_some(counted);
    execute!(tx, "update accounts set erased = $2 where user_id = $1" => user_id, due)?;
    if due.is_none() {
        erased(tx, user_id, counted.unsigned_abs()).await?;
    }
    Ok(gone.into_iter().map(|(id, _)| id).collect())
}

/// A closed account that is not erased yet.
pub(crate) async fn due(db: &Db) -> Result<Option<i64>, StoreError> {
    let mut reader = db.read().await?;
    fetch_optional!(reader, scalar
        "select user_id from accounts where erased is not null order by user_id limit 1")
}

/// Erases closed accounts page by page.
pub struct SqlAccounts {
    db: Db,
    cache: Option<Arc<Cache>>,
}

impl SqlAccounts {
    /// Searches `db`, and tells `cache` of every commit.
    pub fn new(db: Db, cache: Option<Arc<Cache>>) -> Self {
        Self { db, cache }
    }
}

#[async_trait]
impl ClosedAccounts for SqlAccounts {
    async fn remove_some(&self, limit: i64) -> Result<Removed, StoreError> {
        let Some(user_id) = due(&self.db).await? else {
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
