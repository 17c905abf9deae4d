//! The consumer group `feed-generator`: `posts-events` for the entries, `user.events` for the names.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{EventBus, Positions, Record};
use blocks::consumer::{Applied, ApplyError, Blocked, ConsumerStore};
use blocks::error::BoxError;
use chrono::{DateTime, Utc};
use events::{Topic, topic};
use sql::{Db, SqlConsumer, StoreError};
use tokio::sync::Notify;

use crate::mirror::Mirror;
use crate::projection::Projection;
use crate::rebuild::{Rebuild, Targets};
use crate::store::newest;

/// The group's name.
pub const GROUP: &str = "feed-generator";

/// What it reads.
pub const TOPICS: &[Topic] = &[topic::POSTS, topic::USERS];

/// The group's store: a [`SqlConsumer`], and after each of its writes what the feed needs besides:
/// the end of a rebuild, and a mirror that can be trusted.
pub struct FeedConsumer {
    inner: SqlConsumer,
    db: Db,
    bus: Arc<dyn EventBus>,
    mirror: Arc<Mirror>,
    rebuild: Arc<Rebuild>,
}

impl FeedConsumer {
    /// The group's store in `db`.
    pub fn new(db: Db, bus: Arc<dyn EventBus>, mirror: Arc<Mirror>, rebuild: Arc<Rebuild>) -> Self {
        let projection = Projection::new(Arc::clone(&mirror), Arc::clone(&rebuild));
        let inner = SqlConsumer::new(db.clone(), GROUP, TOPICS, Arc::new(projection));
        Self {
            inner,
            db,
            bus,
            mirror,
            rebuild,
        }
    }

    /// Ends a rebuild that is through, and fills the mirror when little is left in it.
    async fn settle(&self) -> Result<(), BoxError> {
        if self.rebuild.is_running() {
            let positions = self.inner.stored_positions(topic::POSTS.name).await?;
            self.rebuild.finish_if_reached(&self.db, &positions).await?;
        }
        if self.mirror.wants_refill() {
            let mirror = Arc::clone(&self.mirror);
            // Read inside a write, so that no commit can fall between the reading and the filling.
            let refill = self.db.write(move |tx| {
                Box::pin(async move {
                    let (entries, complete) = newest(tx, &mirror).await?;
                    tx.after_commit(move || mirror.replace(entries, complete));
                    Ok::<_, StoreError>(())
                })
            });
            refill.await?;
        }
        Ok(())
    }

    /// What follows a write of the group, whatever came of it.
    async fn followed(&self, done: Result<Applied, ApplyError>) -> Result<Applied, ApplyError> {
        let mut applied = match done {
            Ok(applied) => applied,
            Err(ApplyError::Moved) => return Err(ApplyError::Moved),
            Err(ApplyError::Unavailable(error)) => {
                // It may have been committed nevertheless, without its hooks.
                self.mirror.distrust();
                return Err(ApplyError::Unavailable(error));
            }
        };
        if self.rebuild.is_running() {
            // How old it is what is read again says nothing about how fresh the feed is.
            applied.freshness_ms.clear();
        }
        match self.settle().await {
            Ok(()) => Ok(applied),
            Err(error) => {
                // The batch is done; given again it is passed over, and this is tried again.
                self.mirror.distrust();
                Err(ApplyError::Unavailable(error))
            }
        }
    }
}

#[async_trait]
impl Positions for FeedConsumer {
    async fn positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        self.inner.positions(topic).await
    }
}

#[async_trait]
impl ConsumerStore for FeedConsumer {
    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        self.inner.stored_positions(topic).await
    }

    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        self.followed(self.inner.apply(records).await).await
    }

    async fn retry_due(&self) -> Result<Applied, ApplyError> {
        self.followed(self.inner.retry_due().await).await
    }

    async fn next_due(&self) -> Result<Option<DateTime<Utc>>, BoxError> {
        self.inner.next_due().await
    }

    fn due(&self) -> &Notify {
        self.inner.due()
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, BoxError> {
        self.inner.blocked().await
    }

    async fn waiting(&self, id: i64, max: usize) -> Result<Vec<Record>, BoxError> {
        self.inner.waiting(id, max).await
    }

    async fn replay(&self, id: i64) -> Result<bool, BoxError> {
        self.inner.replay(id).await
    }

    async fn discard(&self, id: i64) -> Result<bool, BoxError> {
        self.inner.discard(id).await
    }

    async fn reset(&self, topics: &[String]) -> Result<(), BoxError> {
        self.rebuild
            .note(Targets::of(&self.bus.extents(topic::POSTS.name).await?));
        if let Err(error) = self.inner.reset(topics).await {
            // It may have been committed nevertheless, without its hooks.
            self.rebuild.doubt();
            self.mirror.distrust();
            return Err(error);
        }
        self.settle().await
    }

    async fn clean_up(&self) -> Result<u64, BoxError> {
        self.inner.clean_up().await
    }
}
