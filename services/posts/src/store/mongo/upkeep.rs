//! Forgets idempotency keys that are older than they are kept.

use std::time::Duration;

use async_trait::async_trait;
use blocks::error::chain;
use blocks::extract::KeyedRequest;
use blocks::service::Background;
use mongodb::bson::doc;
use sql::StoreError;
use tokio_util::sync::CancellationToken;

use super::document::date;
use super::error::failed;
use super::{Mongo, POSTS};

/// Interval between two clean-ups.
const EVERY: Duration = Duration::from_hours(1);

/// Forgets old idempotency keys. A request with an old key also forgets it.
pub struct Upkeep(Mongo);

impl Upkeep {
    /// Cleans up the posts in `mongo`.
    pub fn new(mongo: Mongo) -> Self {
        Self(mongo)
    }

    /// Forgets old keys; answers how many.
    ///
    /// # Errors
    /// When the store failed.
    pub async fn forget_keys(&self) -> Result<u64, StoreError> {
        let before = self.0.settings().clock.now() - KeyedRequest::KEPT;
        let old = doc! {"request.created_at": {"$lte": date(before)}};
        let posts = self.0.collection(POSTS);
        let forgotten = posts
            .update_many(old, doc! {"$unset": {"request": ""}})
            .await;
        Ok(forgotten.map_err(failed)?.modified_count)
    }
}

#[async_trait]
impl Background for Upkeep {
    fn name(&self) -> &'static str {
        "old idempotency keys"
    }

    async fn run(&self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
            if let Err(error) = self.forget_keys().await {
                tracing::warn!(error = %chain(&error), "old idempotency keys are kept for longer");
            }
        }
    }
}
