//! An outbox as an operator sees it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Outbox;
use crate::error::BoxError;

/// An event in an outbox, without its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// Its place in the order of commits: see [`super::Place`].
    pub position: String,
    /// `pending`, `published` or `refused`.
    pub status: String,
    /// `post.created` and the like.
    pub event_type: String,
    /// The topic that it goes to.
    pub topic: String,
    /// The partition key.
    pub key: String,
    /// The aggregate's version.
    pub version: i64,
    /// When it was committed.
    pub created_at: DateTime<Utc>,
    /// When it was marked as published.
    pub published_at: Option<DateTime<Utc>>,
    /// Why it was refused.
    pub error: Option<String>,
}

/// An operator's view of an outbox.
#[async_trait]
pub trait InspectOutbox: Outbox {
    /// The latest `max` events that it keeps, newest first. The adapter chooses how long published ones are
    /// kept.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn latest(&self, max: usize) -> Result<Vec<OutboxRow>, BoxError>;

    /// How many events the bus refused for good.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn refused(&self) -> Result<i64, BoxError>;

    /// Makes events pending again that were committed at `since` or later; answers how many. The sweep then
    /// publishes them.
    ///
    /// Published events are included: consumers that have them skip them. So are refused ones, since the
    /// cause (a limit, a missing topic) may be mended. Where the adapter keeps no published events, it
    /// makes the last one of each subject from the state. Dead letters are left alone: whoever gathers them
    /// has them.
    ///
    /// # Errors
    /// When the store can't be reached; events made pending until then stay so.
    async fn republish(&self, since: DateTime<Utc>) -> Result<u64, BoxError>;
}
