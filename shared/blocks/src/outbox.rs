//! The port to a service's outbox: events that were committed and may not have been published.

mod direct;
mod hand_over;
mod inspect;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use events::Message;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::error::BoxError;

pub use self::direct::Direct;
pub use self::hand_over::{HandOver, MOST_IN_MEMORY};
pub use self::inspect::{InspectOutbox, OutboxRow};

/// An event's place in its outbox; later commits have greater ones. It is a row's number, or the event's
/// own id where that is a `UUIDv7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(u128);

impl Place {
    /// Before every event.
    pub const START: Self = Self(0);

    /// The number of a row. Databases count from 1.
    pub fn row(number: i64) -> Self {
        Self(u128::from(number.unsigned_abs()))
    }

    /// The row's number, where it can be one.
    pub fn as_row(self) -> Option<i64> {
        i64::try_from(self.0).ok()
    }

    /// The event's id, where that is its place.
    pub fn as_id(self) -> Uuid {
        Uuid::from_u128(self.0)
    }
}

impl From<Uuid> for Place {
    fn from(id: Uuid) -> Self {
        Self(id.as_u128())
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.as_row() {
            Some(row) => row.fmt(f),
            None => self.as_id().fmt(f),
        }
    }
}

/// An event that is committed in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Its place in the outbox.
    pub place: Place,
    /// The message to publish.
    pub message: Message,
}

/// An event that the bus has accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its place in the outbox.
    pub place: Place,
    /// The partition key, which tells the subject and so where a store may keep it.
    pub key: String,
}

impl From<&Pending> for Published {
    fn from(pending: &Pending) -> Self {
        Self {
            place: pending.place,
            key: pending.message.key.clone(),
        }
    }
}

/// Number and age of the pending events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Depth {
    /// Events not yet published.
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

    /// The events of each commit, handed over in memory; in the order of commits where one writer makes
    /// them. Given once. A full channel drops, and [`Outbox::fell_behind`] says so.
    fn committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>>;

    /// True if events were dropped from the hand-over since the last call. Later events must not overtake
    /// them, so the relay reads the outbox from its oldest pending row.
    fn fell_behind(&self) -> bool;

    /// Up to `max` pending events after the place `after`, oldest first; with `before`, only those written
    /// before then. An event that commits late with a lower place is found by asking again from the start.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn pending(
        &self,
        before: Option<DateTime<Utc>>,
        after: Place,
        max: usize,
    ) -> Result<Vec<Pending>, BoxError>;

    /// True if `pending` shows only the first event of each document, and others after it is marked.
    fn hides_some(&self) -> bool {
        false
    }

    /// True if what is pending goes with the process: no next start would find it.
    fn ends_with_the_process(&self) -> bool {
        false
    }

    /// Marks events as published. Unknown places are passed over.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn mark_published(&self, events: &[Published]) -> Result<(), BoxError>;

    /// Sets an event aside that the bus will never take, with the reason.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn mark_refused(&self, place: Place, reason: &str) -> Result<(), BoxError>;

    /// Counts the pending events.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn depth(&self) -> Result<Depth, BoxError>;

    /// Counts the keys with a pending event that was written before `time`.
    ///
    /// # Errors
    /// When the store can't be reached.
    async fn keys_pending_before(&self, time: DateTime<Utc>) -> Result<i64, BoxError>;

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

/// Fails where events wait in `outbox`, which a process that keeps none would leave there: later events of their
/// keys would wait for them.
///
/// # Errors
/// When the store can't be reached, or with the number of the events.
pub async fn ensure_drained(outbox: &dyn Outbox) -> Result<(), BoxError> {
    let (service, waiting) = (outbox.service(), outbox.depth().await?.pending);
    if waiting == 0 {
        return Ok(());
    }
    let why = format!(
        "KAFKA_ENABLE_OUTBOX is false, and {waiting} events wait in the outbox of {service}: \
         start once with true, until they are published"
    );
    Err(why.into())
}

/// Lifetime of a lease without renewal, in ms.
pub const LEASE_MS: i64 = 5_000;
