//! A write in progress: statements, the events they cause, and hooks after the commit.

use std::sync::Arc;

use blocks::context;
use blocks::outbox::Pending;
use chrono::{DateTime, Utc};
use events::{Envelope, Event, Message};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use crate::conn::{Ahead, SqliteConn};
use crate::db::Shared;
use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::outbox_insert::{self, Enqueued};

pub use blocks::bus::MAX_EVENT_BYTES;

/// The connection below a [`Tx`] or a [`crate::Reader`]; see [`on!`](crate::on).
pub enum Conn<'a> {
    /// A SQLite file.
    Sqlite(&'a mut SqliteConn),
    /// A PostgreSQL server.
    Postgres(&'a mut PgConnection),
}

/// Runs the same expression on whichever database it is: `on!(tx, conn => sqlx::query("…").execute(&mut *conn).await)`.
///
/// The expression is compiled once for each database, so it must yield the same type on both; map
/// a query result to `rows_affected()` inside. The error becomes a [`StoreError`].
#[macro_export]
macro_rules! on {
    ($on:expr, $conn:ident => $body:expr) => {
        match $on.conn() {
            $crate::Conn::Sqlite($conn) => ($body).map_err($crate::StoreError::from),
            $crate::Conn::Postgres($conn) => ($body).map_err($crate::StoreError::from),
        }
    };
}

pub(crate) enum Engine {
    Sqlite(SqliteConn),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
}

/// One atomic write. Got from [`crate::Db::write`].
pub struct Tx {
    pub(crate) engine: Engine,
    pub(crate) shared: Arc<Shared>,
    pub(crate) enqueued: Vec<Enqueued>,
    pub(crate) hooks: Vec<Box<dyn FnOnce() + Send>>,
}

impl Tx {
    pub(crate) fn new(engine: Engine, shared: Arc<Shared>) -> Self {
        Self {
            engine,
            shared,
            enqueued: Vec::new(),
            hooks: Vec::new(),
        }
    }

    /// The connection, for [`on!`](crate::on).
    pub fn conn(&mut self) -> Conn<'_> {
        match &mut self.engine {
            Engine::Sqlite(conn) => Conn::Sqlite(conn),
            Engine::Postgres(conn) => Conn::Postgres(conn),
        }
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match self.engine {
            Engine::Sqlite(_) => Dialect::Sqlite,
            Engine::Postgres(_) => Dialect::Postgres,
        }
    }

    /// The current time.
    pub fn now(&self) -> DateTime<Utc> {
        self.shared.settings.clock.now()
    }

    /// A fresh `UUIDv7`.
    pub fn id(&self) -> Uuid {
        self.shared.settings.clock.id()
    }

    /// Keeps `event` as version `version` of its subject in the outbox, in this write. It is
    /// published after the commit, or never.
    ///
    /// # Errors
    /// When the event is too large for a topic, or can't be written as JSON.
    #[expect(
        clippy::unused_async,
        reason = "callers are written for a store that waits here"
    )]
    pub async fn publish<E: Event>(&mut self, event: &E, version: i64) -> Result<(), StoreError> {
        if self.shared.hand_over.is_full() {
            return Err(StoreError::unavailable("too many events wait for the bus"));
        }
        let envelope = Envelope::new(
            self.id(),
            self.shared.settings.service,
            self.now(),
            version,
            context::for_events(),
            event,
        )?;
        if envelope.value.len() > MAX_EVENT_BYTES {
            return Err(StoreError::EventTooLarge {
                bytes: envelope.value.len(),
                limit: MAX_EVENT_BYTES,
            });
        }
        self.enqueue(envelope.id, E::TYPE, version, envelope.message());
        Ok(())
    }

    /// Keeps a message for the outbox. The rows of a write, or of all writes that share a commit,
    /// are inserted together just before it.
    pub(crate) fn enqueue(&mut self, id: Uuid, event_type: &str, version: i64, message: Message) {
        self.enqueued.push(Enqueued {
            event_id: id.to_string(),
            event_type: event_type.to_owned(),
            version,
            message,
        });
    }

    /// Inserts the enqueued messages; answers them for the hand-over.
    pub(crate) async fn insert_outbox(&mut self) -> Result<Vec<Pending>, StoreError> {
        let enqueued = std::mem::take(&mut self.enqueued);
        if !self.shared.settings.keep_outbox {
            return outbox_insert::without_rows(enqueued);
        }
        outbox_insert::insert(self, enqueued, false).await
    }

    /// Inserts the enqueued messages and commits a SQLite file, if anything was written to it.
    pub(crate) async fn commit_with_outbox(&mut self) -> Result<Vec<Pending>, StoreError> {
        let enqueued = std::mem::take(&mut self.enqueued);
        let keeps = self.shared.settings.keep_outbox;
        let commits = keeps && !enqueued.is_empty();
        let committed = if keeps {
            outbox_insert::insert(self, enqueued, true).await?
        } else {
            outbox_insert::without_rows(enqueued)?
        };
        // Nothing was written where the BEGIN still is ahead.
        if !commits && !self.is_ahead() {
            let done = self.run("commit").await;
            self.shared.answered(done, &committed)?;
        }
        Ok(committed)
    }

    /// Runs `then` once this write is committed, before its caller is answered. Not run after a
    /// rollback. For memory that follows the store: keep it short.
    pub fn after_commit(&mut self, then: impl FnOnce() + Send + 'static) {
        self.hooks.push(Box::new(then));
    }

    /// Begins a part that can be undone alone.
    pub(crate) async fn savepoint(&mut self) -> Result<Savepoint, StoreError> {
        self.run("savepoint part").await?;
        Ok(Savepoint {
            events: self.enqueued.len(),
            hooks: self.hooks.len(),
        })
    }

    /// Undoes all since `savepoint`.
    pub(crate) async fn undo(&mut self, savepoint: Savepoint) -> Result<(), StoreError> {
        self.enqueued.truncate(savepoint.events);
        self.hooks.truncate(savepoint.hooks);
        self.run("rollback to savepoint part").await?;
        self.run("release savepoint part").await
    }

    /// Keeps all since the last savepoint.
    pub(crate) async fn keep(&mut self, _savepoint: Savepoint) -> Result<(), StoreError> {
        self.run("release savepoint part").await
    }

    /// Has `ahead` run together with the next statement; see [`SqliteConn::put_ahead`]. PostgreSQL has
    /// no use for it.
    pub(crate) fn put_ahead(&mut self, ahead: Option<Ahead>) {
        if let Engine::Sqlite(conn) = &mut self.engine {
            conn.put_ahead(ahead);
        }
    }

    /// See [`SqliteConn::is_ahead`].
    pub(crate) fn is_ahead(&self) -> bool {
        matches!(&self.engine, Engine::Sqlite(conn) if conn.is_ahead())
    }

    /// See [`SqliteConn::take_refused`].
    pub(crate) fn take_refused(&mut self) -> bool {
        match &mut self.engine {
            Engine::Sqlite(conn) => conn.take_refused(),
            Engine::Postgres(_) => false,
        }
    }

    pub(crate) async fn run(&mut self, statement: &'static str) -> Result<(), StoreError> {
        crate::execute!(self, statement)
    }
}

/// The start of an undoable part of a write.
#[must_use = "a savepoint is kept or undone"]
pub(crate) struct Savepoint {
    events: usize,
    hooks: usize,
}
