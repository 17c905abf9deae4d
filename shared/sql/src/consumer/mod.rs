//! A consumer group's store in a service's own database: effects, versions, parked events and offsets, one
//! write a batch.

mod batch;
mod drain;
mod inbox;
mod keys;
mod operator;
mod positions;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{Positions, Record, TopicPartition, note_start};
use blocks::consumer::decide::Base;
use blocks::consumer::{
    Applied, ApplyError, Blocked, Consumer, ConsumerStore, HandlerError, Pulse, Retry,
};
use blocks::error::BoxError;
use events::{Cleanup, Envelope, Topic};
use parking_lot::Mutex;
use serde::Serialize;
use sqlx::AssertSqlSafe;
use tokio::sync::Notify;

use crate::db::Db;
use crate::error::StoreError;
use crate::tx::Tx;
use crate::{execute, fetch_all};

/// A group's handler of events.
///
/// ```
/// use blocks::consumer::HandlerError;
/// use events::Envelope;
/// use events::users::UserDeleted;
/// use sql::{Handler, StoreError, Tx, on};
///
/// struct Names;
///
/// #[async_trait::async_trait]
/// impl Handler for Names {
///     async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError> {
///         // An unreadable event is poison: `?` says so.
///         let Some(deleted) = event.open::<UserDeleted>().transpose()? else {
///             return Ok(());
///         };
///         on!(tx, conn => sqlx::query("delete from names where user_id = $1")
///             .bind(deleted.user_id)
///             .execute(&mut *conn)
///             .await
///             .map(|_| ()))?;
///         Ok(())
///     }
///
///     async fn reset(&self, tx: &mut Tx, _topics: &[String]) -> Result<(), StoreError> {
///         on!(tx, conn => sqlx::query("delete from names").execute(&mut *conn).await.map(|_| ()))
///     }
/// }
/// ```
#[async_trait]
pub trait Handler: Send + Sync + 'static {
    /// Writes the effect of one event, inside the one write of its batch. It may run again after a
    /// rollback, so memory is changed through [`Tx::after_commit`] only. An event of an unknown type is
    /// `Ok`.
    ///
    /// # Errors
    /// See [`HandlerError`].
    async fn handle(&self, tx: &mut Tx, event: &Envelope) -> Result<(), HandlerError>;

    /// Writes the effects of several events, in their order. A group that can write many in one statement
    /// does so here; false means that it did nothing and wants them one by one. After an error the whole
    /// batch is undone, and [`Handler::handle`] gets them one by one.
    ///
    /// # Errors
    /// See [`HandlerError`].
    async fn handle_all(&self, _tx: &mut Tx, _events: &[&Envelope]) -> Result<bool, HandlerError> {
        Ok(false)
    }

    /// Empties the projection that was made of `topics`, before they are read again from the start.
    ///
    /// # Errors
    /// When the database refuses.
    async fn reset(&self, tx: &mut Tx, topics: &[String]) -> Result<(), StoreError>;
}

/// A consumer group whose store is a [`Db`].
pub struct SqlConsumer {
    shared: Arc<Shared>,
    due: Notify,
}

/// State shared with the closures of a write.
struct Shared {
    db: Db,
    group: &'static str,
    topics: Vec<Topic>,
    handler: Arc<dyn Handler>,
    retry: Retry,
    /// This member's last known offset of each partition.
    believed: Mutex<BTreeMap<TopicPartition, i64>>,
}

impl Shared {
    /// Inserts `rows` in one statement: `into` selects the group as `$1`, the time as `$2`, and the fields
    /// of each row from its JSON, `value`.
    async fn insert(
        &self,
        tx: &mut Tx,
        rows: &[impl Serialize],
        into: &str,
        on_conflict: &str,
    ) -> Result<(), StoreError> {
        if rows.is_empty() {
            return Ok(());
        }
        let list = serde_json::to_string(rows)?;
        let from = tx.dialect().json_rows("$3");
        let statement =
            format!("insert into {into} from {from} where true on conflict {on_conflict}");
        let now = tx.now();
        execute!(tx, AssertSqlSafe(statement) => self.group, now, &list)
    }

    fn base(&self, topic: &str) -> Base {
        let compacted = |topic: &Topic| matches!(topic.cleanup, Cleanup::Compact { .. });
        match self.topics.iter().find(|known| known.name == topic) {
            Some(topic) if compacted(topic) => Base::Any,
            _ => Base::First,
        }
    }
}

impl SqlConsumer {
    /// The group `group` that reads `topics` and lets `handler` write their effect into `db`.
    pub fn new(db: Db, group: &'static str, topics: &[Topic], handler: Arc<dyn Handler>) -> Self {
        Self::with_retry(db, group, topics, handler, Retry::default())
    }

    /// With other pauses than usual.
    pub fn with_retry(
        db: Db,
        group: &'static str,
        topics: &[Topic],
        handler: Arc<dyn Handler>,
        retry: Retry,
    ) -> Self {
        let topics = topics.to_vec();
        let believed = Mutex::default();
        Self {
            shared: Arc::new(Shared {
                db,
                group,
                topics,
                handler,
                retry,
                believed,
            }),
            due: Notify::new(),
        }
    }

    /// The consumer for a [`blocks::Service`].
    pub fn consumer(self) -> Consumer {
        let topics = self
            .shared
            .topics
            .iter()
            .map(|topic| topic.name.to_owned())
            .collect();
        Consumer::new(self.shared.group, topics, Arc::new(self))
    }
}

/// The reason why the write of a batch was given up.
enum BatchError {
    Store(StoreError),
    /// A handler refused an event: the batch is done again with each event apart.
    Refused,
    /// The handler needs something that is away.
    Away(BoxError),
    Moved,
}

impl From<StoreError> for BatchError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<BatchError> for ApplyError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Moved => Self::Moved,
            BatchError::Away(cause) => Self::Unavailable(cause),
            BatchError::Store(error) => Self::Unavailable(error.into()),
            BatchError::Refused => {
                Self::Unavailable("an event was refused although it was handled apart".into())
            }
        }
    }
}

#[async_trait]
impl Positions for SqlConsumer {
    async fn begin_at(
        &self,
        topic: &str,
        partitions: &[i32],
    ) -> Result<BTreeMap<i32, i64>, BoxError> {
        let stored = self.stored_positions(topic).await?;
        Ok(note_start(
            &mut self.shared.believed.lock(),
            topic,
            partitions,
            stored,
        ))
    }
}

#[async_trait]
impl ConsumerStore for SqlConsumer {
    fn starts_over(&self) {
        self.shared.believed.lock().clear();
    }

    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        let mut reader = self.shared.db.read().await?;
        let rows: Vec<(i32, i64)> = fetch_all!(reader,
            "select partition, next_offset from consumer_offsets
             where consumer_group = $1 and topic = $2" => self.shared.group, topic)?;
        Ok(rows.into_iter().collect())
    }

    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        let records: Arc<[Record]> = records.into();
        match batch::write(&self.shared, Arc::clone(&records), false).await {
            Err(BatchError::Refused) => {}
            done => return done.map_err(ApplyError::from),
        }
        batch::write(&self.shared, records, true)
            .await
            .map_err(ApplyError::from)
    }

    async fn retry_due(&self) -> Result<Applied, ApplyError> {
        drain::due(&self.shared).await.map_err(ApplyError::from)
    }

    async fn pulse(&self) -> Result<Pulse, BoxError> {
        Ok(operator::pulse(&self.shared).await?)
    }

    async fn give_up_gaps(&self, topic: &str, partitions: &[i32]) -> Result<(), BoxError> {
        Ok(operator::give_up_gaps(&self.shared, topic, partitions).await?)
    }

    fn due(&self) -> &Notify {
        &self.due
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, BoxError> {
        Ok(operator::blocked(&self.shared).await?)
    }

    async fn waiting(&self, id: i64, max: usize) -> Result<Vec<Record>, BoxError> {
        Ok(operator::waiting(&self.shared, id, i64::try_from(max)?).await?)
    }

    async fn replay(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::replay(&self.shared, id).await?;
        self.due.notify_one();
        Ok(found)
    }

    async fn discard(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::discard(&self.shared, id).await?;
        self.due.notify_one();
        Ok(found)
    }

    async fn reset(&self, topics: &[String]) -> Result<(), BoxError> {
        let done = operator::reset(&self.shared, topics.to_vec()).await;
        // Also when it failed: it may be committed although its answer was lost.
        self.due.notify_one();
        Ok(done?)
    }

    async fn clean_up(&self) -> Result<u64, BoxError> {
        Ok(inbox::clean_up(&self.shared).await?)
    }
}
