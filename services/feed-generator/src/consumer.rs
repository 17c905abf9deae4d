//! The consumer group `feed-generator`: `posts-events` for the entries, `user.events` for the names.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{EventBus, Positions, Record};
use blocks::consumer::{Applied, ApplyError, Blocked, ConsumerStore, Pulse};
use blocks::error::BoxError;
use chrono::TimeDelta;
use events::{Topic, topic};
use parking_lot::Mutex;
use sql::{Db, SqlConsumer, StoreError};
use tokio::sync::Notify;

use crate::garbage::Garbage;
use crate::mirror::Mirror;
use crate::projection::{Awaited, Projection};
use crate::rebuild::{Rebuild, Targets};
use crate::store::newest;

/// The group's name.
pub const GROUP: &str = "feed-generator";

/// The topics that the group reads.
pub const TOPICS: &[Topic] = &[topic::POSTS, topic::USERS];

/// Pause between two pages of garbage.
const PAGE_PAUSE: TimeDelta = TimeDelta::milliseconds(20);

/// The group's store: a [`SqlConsumer`] that does more after each write. It ends a rebuild, fills
/// the mirror again and drops garbage rows.
pub struct FeedConsumer {
    inner: SqlConsumer,
    db: Db,
    bus: Arc<dyn EventBus>,
    mirror: Arc<Mirror>,
    rebuild: Arc<Rebuild>,
    garbage: Arc<Garbage>,
    awaited: Arc<Awaited>,
    /// Results of committed batches whose follow-up failed: the next answer reports them.
    unreported: Mutex<Applied>,
}

impl FeedConsumer {
    /// The group's store in `db`.
    pub fn new(
        db: Db,
        bus: Arc<dyn EventBus>,
        mirror: Arc<Mirror>,
        rebuild: Arc<Rebuild>,
        garbage: Arc<Garbage>,
    ) -> Self {
        let awaited = Arc::new(Awaited::default());
        let projection = Projection::new(
            Arc::clone(&mirror),
            Arc::clone(&rebuild),
            Arc::clone(&garbage),
            Arc::clone(&awaited),
        );
        let inner = SqlConsumer::new(db.clone(), GROUP, TOPICS, Arc::new(projection));
        Self {
            inner,
            db,
            bus,
            mirror,
            rebuild,
            garbage,
            awaited,
            unreported: Mutex::default(),
        }
    }

    /// Ends a rebuild that is through, and fills the mirror when it holds too little.
    async fn settle(&self) -> Result<(), BoxError> {
        if self.rebuild.is_running() {
            let positions = self.inner.stored_positions(topic::POSTS.name).await?;
            self.rebuild.finish_if_reached(&self.db, &positions).await?;
        }
        if self.mirror.wants_refill() {
            let mirror = Arc::clone(&self.mirror);
            // Read inside a write, so that no commit can come between reading and filling.
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

    /// Does what must follow each write of the group, whether it succeeded or failed.
    async fn followed(&self, done: Result<Applied, ApplyError>) -> Result<Applied, ApplyError> {
        let mut applied = match done {
            Ok(applied) => applied,
            Err(ApplyError::Moved) => return Err(ApplyError::Moved),
            Err(ApplyError::Unavailable(error)) => {
                // If changes wait for the mirror, the write may have been committed without its
                // hooks. An outage before the write leaves the mirror true: it goes on answering. The
                // mirror is not filled here, since the commit may still be under way. Only the
                // group's next write surely comes after it.
                if self.awaited.end() {
                    self.mirror.distrust();
                }
                return Err(ApplyError::Unavailable(error));
            }
        };
        if self.rebuild.is_running() {
            // Events read again are old: their age says nothing about the feed's freshness.
            applied.freshness_ms.clear();
        }
        let settled = match self.settle().await {
            Ok(()) => self
                .garbage
                .drop_page(&self.db)
                .await
                .map_err(BoxError::from),
            failed => failed,
        };
        let mut unreported = self.unreported.lock();
        *unreported += applied;
        match settled {
            Ok(()) => Ok(std::mem::take(&mut *unreported)),
            // The batch is committed: given again it is skipped, and only the follow-up is tried
            // again.
            Err(error) => Err(ApplyError::Unavailable(error)),
        }
    }
}

#[async_trait]
impl Positions for FeedConsumer {
    async fn begin_at(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, BoxError> {
        self.inner.begin_at(topic, partitions).await
    }
}

#[async_trait]
impl ConsumerStore for FeedConsumer {
    fn starts_over(&self) {
        self.inner.starts_over();
    }

    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        self.inner.stored_positions(topic).await
    }

    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        let had_garbage = self.garbage.any();
        let done = self.followed(self.inner.apply(records).await).await;
        if !had_garbage && self.garbage.any() {
            // Wakes the consumer, so that garbage goes even if no record comes.
            self.inner.due().notify_one();
        }
        done
    }

    async fn retry_due(&self) -> Result<Applied, ApplyError> {
        self.followed(self.inner.retry_due().await).await
    }

    async fn pulse(&self) -> Result<Pulse, BoxError> {
        let mut pulse = self.inner.pulse().await?;
        if self.garbage.any() {
            let next_page = self.db.settings().clock.now() + PAGE_PAUSE;
            pulse.next_due = Some(pulse.next_due.map_or(next_page, |due| due.min(next_page)));
        }
        Ok(pulse)
    }

    async fn give_up_gaps(&self, topic: &str, partitions: &[i32]) -> Result<(), BoxError> {
        self.inner.give_up_gaps(topic, partitions).await
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
            .note(Targets::of(&self.bus.watermarks(topic::POSTS.name).await?));
        if let Err(error) = self.inner.reset(topics).await {
            // It may have been committed without its hooks. Readers see a change only if names were
            // forgotten.
            self.rebuild.doubt();
            if topics.iter().any(|name| name == topic::USERS.name) {
                self.mirror.distrust();
            }
            return Err(error);
        }
        self.settle().await
    }

    async fn clean_up(&self) -> Result<u64, BoxError> {
        self.inner.clean_up().await
    }
}
