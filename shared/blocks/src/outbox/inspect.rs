//! An outbox as an operator sees it.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Outbox;
use crate::error::BoxError;

/// An event in an outbox, without what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// Its place in the order of commits: see [`super::Place`].
    pub position: String,
    /// `pending`, `published` or `refused`.
    pub status: String,
    /// `post.created` and the like.
    pub event_type: String,
    /// Where it goes.
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

/// What an operator asks of an outbox.
#[async_trait]
pub trait InspectOutbox: Outbox {
    /// The latest `max` events that it keeps, newest first. How long it keeps what was published is the
    /// adapter's choice.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn latest(&self, max: usize) -> Result<Vec<OutboxRow>, BoxError>;

    /// How many events the bus refused for good.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn refused(&self) -> Result<i64, BoxError>;

    /// Has events published once more that were committed at `since` or later: those that were
    /// published, which consumers skip when they have them, and those that the bus refused, since what
    /// it refused for (a limit, a missing topic) may be mended. Where the adapter keeps no published
    /// events, the last one of each subject is made of its state. Dead letters are left alone: they are
    /// no events, and whoever gathers them has them. The sweep publishes what this makes pending.
    /// Answers how many.
    ///
    /// # Errors
    /// When the store can't be reached; what was made pending until then stays so.
    async fn republish(&self, since: DateTime<Utc>) -> Result<u64, BoxError>;
}
