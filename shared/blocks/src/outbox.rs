//! The port to a service's outbox: events that were committed and may not have been published.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use events::Message;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::error::BoxError;

/// An event that is committed in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// The row's id.
    pub id: i64,
    /// What to publish.
    pub message: Message,
}

/// How much waits in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Rows not yet published.
    pub pending: i64,
    /// When the oldest of them was written.
    pub oldest: Option<DateTime<Utc>>,
}

/// A claim on the sweeper's work: whoever holds it sweeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Rises with every change of holder; an older one is void.
    pub epoch: i64,
}

/// A service's outbox. The rows are written by the same transaction as the state they tell of.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// The service whose outbox it is.
    fn service(&self) -> &'static str;

    /// What the writing side hands over after each commit, in the order of the commits where one
    /// writer makes them. Given once. A full
    /// channel drops, and [`Outbox::fell_behind`] says so.
    fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>>;

    /// Whether events were dropped from the hand-over since the last call: what comes later must not
    /// overtake them, so the relay reads the outbox from its oldest pending row.
    fn fell_behind(&self) -> bool;

    /// Up to `max` pending rows with ids above `after`, oldest first; with `before`, only those written
    /// before then.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn pending(
        &self,
        before: Option<DateTime<Utc>>,
        after: i64,
        max: usize,
    ) -> Result<Vec<Pending>, BoxError>;

    /// Marks rows as published, all in one write. Unknown ids are passed over.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn mark_published(&self, ids: &[i64]) -> Result<(), BoxError>;

    /// Sets a row aside that the bus will never take, with the reason.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn mark_refused(&self, id: i64, reason: &str) -> Result<(), BoxError>;

    /// How much waits.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn depth(&self) -> Result<Depth, BoxError>;

    /// Takes or renews the sweeper's lease for `holder`; `None` while somebody else has it. It ends
    /// by the store's own clock [`LEASE_MS`] after the last renewal.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn lease(&self, holder: Uuid) -> Result<Option<Lease>, BoxError>;

    /// Removes published rows older than `before`; answers how many.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn remove_published(&self, before: DateTime<Utc>) -> Result<u64, BoxError>;
}

/// How long a lease lasts without renewal, in ms.
pub const LEASE_MS: i64 = 5_000;
