//! The consumer group `feed-generator`: `posts-events` for the entries, `user.events` for the names. After
//! each write it ends a rebuild that is through, fills the mirror again and drops garbage rows.

use std::sync::Arc;

use async_trait::async_trait;
use blocks::consumer::{ApplyError, HandlerError};
use blocks::error::BoxError;
use chrono::{DateTime, TimeDelta, Utc};
use events::{Envelope, Topic, topic};
use sql::{Handler, StoreError, Tx, execute};

use crate::domain::Change;
use crate::projection::Projection;
use crate::rebuild::Targets;
use crate::store::newest;

pub const GROUP: &str = "feed-generator";

/// The topics that the group reads.
pub const TOPICS: &[Topic] = &[topic::POSTS, topic::USERS];

/// Pause between two pages of garbage.
const PAGE_PAUSE: TimeDelta = TimeDelta::milliseconds(20);

#[async_trait]
impl Handler for Projection {
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
        self.handle_all(tx, &[event]).await.map(drop)
    }

    async fn handle_all(&self, tx: &mut Tx, events: &[&Envelope]) -> Result<bool, HandlerError> {
        let mut changes = Vec::with_capacity(events.len());
        for event in events {
            if let Some(change) = Change::of(event)? {
                changes.push((change, *event));
            }
        }
        let done = self.change(tx, changes).await;
        if let Err(StoreError::Unavailable(_)) = done {
            // This gives up the whole write, so nothing of it will be committed.
            self.awaited.end();
        }
        done?;
        Ok(true)
    }

    /// Begins a rebuild, and takes the names from the log anew. Known ones stay until the log changes them,
    /// since it forgets after a week; closed accounts stay closed.
    async fn reset(&self, tx: &mut Tx, topics: &[String]) -> Result<(), StoreError> {
        if topics.iter().any(|name| name == topic::USERS.name) {
            execute!(
                tx,
                "update authors set version = 0 where username is not null"
            )?;
        }
        if topics.iter().any(|name| name == topic::POSTS.name) {
            self.rebuild.begin(tx).await?;
        }
        Ok(())
    }

    async fn prepare_reset(&self) -> Result<(), BoxError> {
        let watermarks = self.bus.watermarks(topic::POSTS.name).await?;
        self.rebuild.note(Targets::of(&watermarks));
        Ok(())
    }

    async fn settle(&self, done: Result<(), ApplyError>) -> Result<bool, ApplyError> {
        // If changes wait for the mirror, the write may have been committed without its hooks. An outage
        // before the write leaves the mirror true: it goes on answering. The mirror is not filled here,
        // since the commit may still be under way. Only the group's next write surely comes after it.
        if matches!(done, Err(ApplyError::Unavailable(_))) && self.awaited.end() {
            self.mirror.distrust();
        }
        done?;
        // Events read again are old: their age says nothing about the feed's freshness.
        let are_new = !self.rebuild.is_running();
        let refreshed = self.refresh().await;
        refreshed.map_err(|error| ApplyError::Unavailable(error.into()))?;
        Ok(are_new)
    }

    fn due_at(&self) -> Option<DateTime<Utc>> {
        let next_page = || self.db.settings().clock.now() + PAGE_PAUSE;
        self.garbage.any().then(next_page)
    }
}

impl Projection {
    async fn refresh(&self) -> Result<(), StoreError> {
        if self.rebuild.is_running() {
            self.rebuild.finish_if_reached(&self.db).await?;
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
        self.garbage.drop_page(&self.db).await
    }
}
