//! Deletes the posts of closed accounts, a page a write. What is left to do is in the store, so it
//! goes on after a restart, too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use blocks::error::chain;
use blocks::service::Background;
use sql::{Db, StoreError, on};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cache::Cache;
use crate::store::authors;

/// How many posts one write deletes.
pub const PAGE: i64 = 200;
/// How long to wait when the store is away.
const PAUSE: Duration = Duration::from_secs(1);

/// Deletes the posts of closed accounts.
pub struct Removal {
    db: Db,
    cache: Option<Arc<Cache>>,
    more: Notify,
}

impl Removal {
    pub(crate) fn new(db: Db, cache: Option<Arc<Cache>>) -> Self {
        Self {
            db,
            cache,
            more: Notify::new(),
        }
    }

    /// Says that an account was closed that has more posts than one page.
    pub(crate) fn go_on(&self) {
        self.more.notify_one();
    }

    /// Deletes until nothing is left; answers how many.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn drain(&self) -> Result<usize, StoreError> {
        let mut removed = 0;
        while let Some(user_id) = self.closed_with_posts().await? {
            removed += self.page(user_id).await?;
        }
        Ok(removed)
    }

    async fn closed_with_posts(&self) -> Result<Option<i64>, StoreError> {
        let mut reader = self.db.read().await?;
        on!(reader, conn => sqlx::query_scalar(authors::CLOSED_WITH_POSTS)
            .fetch_optional(&mut *conn)
            .await)
    }

    async fn page(&self, user_id: i64) -> Result<usize, StoreError> {
        let cache = self.cache.clone();
        self.db
            .write(move |tx| {
                Box::pin(async move {
                    let deleted = authors::delete_posts(tx, user_id, PAGE).await?;
                    let count = deleted.len();
                    if let Some(cache) = cache {
                        tx.after_commit(move || {
                            for id in deleted {
                                cache.forget_post(id);
                            }
                        });
                    }
                    Ok(count)
                })
            })
            .await
    }
}

#[async_trait]
impl Background for Removal {
    fn name(&self) -> &'static str {
        "posts of closed accounts"
    }

    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let done = tokio::select! {
                done = self.drain() => done,
                () = stop.cancelled() => return Ok(()),
            };
            let more = async {
                match done {
                    Ok(_) => self.more.notified().await,
                    Err(error) => {
                        let error = chain(&error);
                        tracing::warn!(error, "posts of closed accounts wait to be deleted");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            };
            tokio::select! {
                () = more => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}
