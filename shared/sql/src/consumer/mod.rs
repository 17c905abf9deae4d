//! A consumer group's store in a service's own database: effects, versions, parked events and offsets, one
//! write a batch.

mod batch;
mod drain;
mod inbox;
mod keys;
mod operator;
mod positions;

pub use keys::BlockRow;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::bus::{Positions, Record};
use blocks::consumer::{
    Applied, ApplyError, Blocked, Consumer, ConsumerStore, HandlerError, Member, Pulse, Retry,
};
use blocks::error::BoxError;
use chrono::{DateTime, Utc};
use events::{Envelope, Topic};
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

    /// Prepares a reset, before its write.
    ///
    /// # Errors
    /// When it must not happen now.
    async fn prepare_reset(&self) -> Result<(), BoxError> {
        Ok(())
    }

    /// Does what must follow each write of the group, whether it succeeded or failed. True if the handled
    /// events were new ones, so that their age says how fresh the projection is.
    ///
    /// # Errors
    /// That of the write. After one of its own, the batch is given again and skipped.
    async fn settle(&self, done: Result<(), ApplyError>) -> Result<bool, ApplyError> {
        done.map(|()| true)
    }

    /// When the handler has more to do by itself, in [`Handler::settle`].
    fn due_at(&self) -> Option<DateTime<Utc>> {
        None
    }
}

/// A consumer group whose store is a [`Db`].
pub struct SqlConsumer(Arc<Shared>);

/// State shared with the closures of a write.
struct Shared {
    db: Db,
    member: Member,
    handler: Arc<dyn Handler>,
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
        execute!(tx, AssertSqlSafe(statement) => self.member.group, now, &list)
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
        let mut member = Member::new(group, topics);
        member.retry = retry;
        member.keeps_inbox = db.settings().keep_inbox;
        Self(Arc::new(Shared {
            db,
            member,
            handler,
        }))
    }

    async fn settle(&self, done: Result<(), ApplyError>) -> Result<Applied, ApplyError> {
        let are_new = self.0.handler.settle(done).await?;
        let mut applied = self.0.member.report();
        if !are_new {
            applied.freshness_ms.clear();
        }
        Ok(applied)
    }

    /// The consumer for a [`blocks::Service`].
    pub fn consumer(self) -> Consumer {
        let shared = Arc::clone(&self.0);
        Consumer::new(shared.member.group, &shared.member.topics, Arc::new(self))
    }
}

/// The reason why the write of a batch was given up.
enum BatchError {
    /// A handler refused an event: the batch is done again with each event apart.
    Refused,
    Failed(ApplyError),
}

impl From<ApplyError> for BatchError {
    fn from(error: ApplyError) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for BatchError {
    fn from(error: StoreError) -> Self {
        Self::Failed(ApplyError::Unavailable(error.into()))
    }
}

impl From<BatchError> for ApplyError {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Failed(error) => error,
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
        Ok(self.0.member.begin_at(topic, partitions, stored))
    }
}

#[async_trait]
impl ConsumerStore for SqlConsumer {
    fn starts_over(&self) {
        self.0.member.starts_over();
    }

    async fn stored_positions(&self, topic: &str) -> Result<BTreeMap<i32, i64>, BoxError> {
        let mut reader = self.0.db.read().await?;
        let rows: Vec<(i32, i64)> = fetch_all!(reader,
            "select partition, next_offset from consumer_offsets
             where consumer_group = $1 and topic = $2" => self.0.member.group, topic)?;
        Ok(rows.into_iter().collect())
    }

    async fn apply(&self, records: &[Record]) -> Result<Applied, ApplyError> {
        let (handler, member) = (&self.0.handler, &self.0.member);
        let was_due = handler.due_at().is_some();
        let records: Arc<[Record]> = records.into();
        let mut applied = batch::write(&self.0, Arc::clone(&records), false).await;
        if matches!(applied, Err(BatchError::Refused)) {
            applied = batch::write(&self.0, records, true).await;
        }
        if applied.is_ok() {
            member.go_on(self).await;
        }
        let applied = applied.map(|applied| member.note(applied));
        let settled = self.settle(applied.map_err(ApplyError::from)).await;
        if !was_due && handler.due_at().is_some() {
            // Goes on even if no record comes.
            member.due.notify_one();
        }
        settled
    }

    async fn retry_due(&self) -> Result<Applied, ApplyError> {
        let done = self.0.member.retry_due(self).await;
        self.settle(done).await
    }

    async fn pulse(&self) -> Result<Pulse, BoxError> {
        let mut pulse = operator::pulse(&self.0).await?;
        let due = [pulse.next_due, self.0.handler.due_at()];
        pulse.next_due = due.into_iter().flatten().min();
        Ok(pulse)
    }

    async fn give_up_gaps(&self, topic: &str, partitions: &[i32]) -> Result<(), BoxError> {
        Ok(operator::give_up_gaps(&self.0, topic, partitions).await?)
    }

    fn due(&self) -> &Notify {
        &self.0.member.due
    }

    async fn blocked(&self) -> Result<Vec<Blocked>, BoxError> {
        Ok(operator::blocked(&self.0).await?)
    }

    async fn waiting(&self, id: i64, max: usize) -> Result<Vec<Record>, BoxError> {
        Ok(operator::waiting(&self.0, id, i64::try_from(max)?).await?)
    }

    async fn replay(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::resume(&self.0, id, false).await?;
        self.0.member.due.notify_one();
        Ok(found)
    }

    async fn discard(&self, id: i64) -> Result<bool, BoxError> {
        let found = operator::resume(&self.0, id, true).await?;
        self.0.member.due.notify_one();
        Ok(found)
    }

    async fn reset(&self, topics: &[String]) -> Result<(), BoxError> {
        self.0.handler.prepare_reset().await?;
        let done = operator::reset(&self.0, topics.to_vec()).await;
        // Also when it failed: it may be committed although its answer was lost.
        self.0.member.due.notify_one();
        let done = done.map_err(|error| ApplyError::Unavailable(error.into()));
        self.0.handler.settle(done).await?;
        Ok(())
    }

    async fn clean_up(&self) -> Result<u64, BoxError> {
        Ok(inbox::clean_up(&self.0).await?)
    }
}
