//! The one writer of a SQLite file. It takes closures, runs each in turn inside one transaction, and
//! answers all of them after the commit: while a commit waits for the disk, the next group gathers.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use blocks::context::{self, Cause};
use blocks::outbox::Pending;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span};

use crate::conn::{Ahead, SqliteConn};
use crate::db::Shared;
use crate::error::StoreError;
use crate::faults::FaultPoint;
use crate::tx::{Engine, Tx};

/// Number of writes that may wait for their turn; beyond it callers wait to be let in.
const QUEUE: usize = 1024;
/// The most writes that share a commit.
const GROUP: usize = 256;

pub(crate) struct Writer {
    jobs: mpsc::Sender<Box<dyn Job>>,
    stop: CancellationToken,
}

impl Writer {
    pub(crate) fn start(
        options: SqliteConnectOptions,
        connection: SqliteConnection,
        shared: &Arc<Shared>,
    ) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let stop = CancellationToken::new();
        let task = WriterTask {
            options,
            shared: Arc::clone(shared),
            queue,
            stop: stop.clone(),
        };
        shared.tracker.spawn(task.run(connection));
        Self { jobs, stop }
    }

    /// `span` lasts until the answer; the work is part of it.
    pub(crate) async fn write<T, E, F>(&self, span: Span, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job = Write {
            work: Some(work),
            cause: context::cause(),
            span: span.clone(),
            outcome: None,
            answer,
        };
        self.jobs
            .send(Box::new(job))
            .await
            .map_err(|_| StoreError::unavailable("the database is closed"))?;
        answered.await.map_err(|_| StoreError::Panicked)?
    }

    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }
}

/// Runs the hooks after a commit. A panic in one is logged: the write is done already.
pub(crate) fn run_hooks(hooks: Vec<Box<dyn FnOnce() + Send>>) {
    for hook in hooks {
        if std::panic::catch_unwind(AssertUnwindSafe(hook)).is_err() {
            tracing::error!("what follows a commit panicked: memory may not show that write");
        }
    }
}

impl Shared {
    /// Passes on the answer to the commit of a write that has `events`.
    pub(crate) fn answered(
        &self,
        done: Result<(), StoreError>,
        events: &[Pending],
    ) -> Result<(), StoreError> {
        done.inspect_err(|error| {
            if error.leaves_in_doubt() {
                self.hand_over.answer_lost(events, error);
            }
        })
    }
}

/// A write on its way through the writer, without its types.
#[async_trait]
trait Job: Send {
    /// Does the work; false when it failed and must be undone.
    async fn run(&mut self, tx: &mut Tx) -> bool;
    /// Answers the caller: the work's own outcome, or that it could not be committed.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Write<T, E, F> {
    work: Option<F>,
    cause: Option<Cause>,
    span: Span,
    outcome: Option<Result<T, E>>,
    answer: oneshot::Sender<Result<T, E>>,
}

#[async_trait]
impl<T, E, F> Job for Write<T, E, F>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
{
    async fn run(&mut self, tx: &mut Tx) -> bool {
        let Some(work) = self.work.take() else {
            return false;
        };
        let work = context::resume(self.cause.take(), async { work(tx).await });
        let work = AssertUnwindSafe(work.instrument(self.span.clone()));
        let outcome = match work.catch_unwind().await {
            Ok(outcome) => outcome,
            Err(_) => Err(StoreError::Panicked.into()),
        };
        let done = outcome.is_ok();
        self.outcome = Some(outcome);
        done
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let outcome = match (committed, self.outcome) {
            // Its own error stands, whether or not the others were committed.
            (_, Some(Err(error))) => Err(error),
            (Err(error), _) => Err(error.into()),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Ok(()), None) => Err(StoreError::Panicked.into()),
        };
        // A caller that no longer waits needs no answer.
        drop(self.answer.send(outcome));
    }
}

struct WriterTask {
    options: SqliteConnectOptions,
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Box<dyn Job>>,
    stop: CancellationToken,
}

/// The jobs of a group, in the order in which they were run.
type Group = Vec<Box<dyn Job>>;

impl WriterTask {
    async fn run(mut self, connection: SqliteConnection) {
        let mut connection = Some(connection);
        loop {
            let first = tokio::select! {
                biased;
                job = self.queue.recv() => job,
                () = self.stop.cancelled() => {
                    self.queue.close();
                    self.queue.recv().await
                }
            };
            let Some(first) = first else { break };
            connection = self.group(connection, first).await;
        }
        if let Some(connection) = connection
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "the database was not closed cleanly");
        }
    }

    /// Runs one group and gives the connection back, unless it broke.
    async fn group(
        &mut self,
        connection: Option<SqliteConnection>,
        first: Box<dyn Job>,
    ) -> Option<SqliteConnection> {
        let connection = match connection {
            Some(connection) => connection,
            None => match self.options.connect().await {
                Ok(connection) => connection,
                Err(error) => {
                    first.answer(Err(error.into()));
                    return None;
                }
            },
        };
        let engine = Engine::Sqlite(SqliteConn::own(connection));
        let mut tx = Tx::new(engine, Arc::clone(&self.shared));
        let mut group = Group::new();
        let outcome = match self.shared.fault(FaultPoint::BeforeWrite) {
            Ok(()) => self.run_group(&mut tx, &mut group, first).await,
            Err(error) => {
                group.push(first);
                Err(error)
            }
        };
        let committed = outcome.is_ok();
        match outcome {
            Ok(events) => {
                run_hooks(std::mem::take(&mut tx.hooks));
                self.shared.hand_over.give(events);
                for job in group {
                    job.answer(Ok(()));
                }
            }
            Err(error) => {
                let text = blocks::error::chain(&error);
                for job in group {
                    job.answer(Err(StoreError::Unavailable(text.clone().into())));
                }
                tx.put_ahead(None);
                // Nothing is open after a COMMIT that succeeded or a BEGIN that failed.
                if let Err(error) = tx.run("rollback").await {
                    tracing::debug!(%error, "nothing to roll back");
                }
            }
        }
        match tx.engine {
            Engine::Sqlite(mut conn) => {
                let works = committed || conn.ping().await.is_ok();
                conn.into_own().filter(|_| works)
            }
            Engine::Postgres(_) => None,
        }
    }

    /// Runs the jobs of a group and commits; the answer is their events.
    async fn run_group(
        &mut self,
        tx: &mut Tx,
        group: &mut Group,
        first: Box<dyn Job>,
    ) -> Result<Vec<Pending>, StoreError> {
        let mut stand = Stand::Closed;
        let mut next = Some(first);
        while let Some(mut job) = next.take() {
            tx.put_ahead(stand.begin_job());
            let (events, hooks) = (tx.enqueued.len(), tx.hooks.len());
            let done = job.run(tx).await;
            group.push(job);
            if tx.take_refused() {
                return Err(StoreError::unavailable("a write could not begin"));
            }
            // Still ahead: the job ran no statement, and stands where it stood.
            let ran = !tx.is_ahead();
            if !done {
                tx.enqueued.truncate(events);
                tx.hooks.truncate(hooks);
                if ran {
                    tx.run(stand.undo_job()).await?;
                }
            }
            if ran {
                stand = stand.after_job(done);
            }
            if group.len() < GROUP {
                next = self.queue.try_recv().ok();
            }
        }
        tx.put_ahead(stand.begin_outbox());
        self.shared.fault(FaultPoint::BeforeCommit)?;
        let committed = tx.commit_with_outbox().await?;
        tx.put_ahead(None);
        let done = self.shared.fault(FaultPoint::AfterCommit);
        self.shared.answered(done, &committed)?;
        Ok(committed)
    }
}

/// The state of a group's transaction between two jobs. Every statement costs a change of threads, so none
/// is run that can be spared; the statement that begins a job runs with its first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    /// No transaction is open.
    Closed,
    /// The first job is done. Alone in its transaction it needed no savepoint.
    First,
    /// Jobs are done since the savepoint.
    Done,
    /// The savepoint stands, nothing was done since.
    Clean,
}

impl Stand {
    /// The statement that must run before a job, so that it can be undone alone. Its savepoint's name
    /// differs from those inside a job: going back to this one takes those with it.
    fn begin_job(self) -> Option<Ahead> {
        let (text, statements) = match self {
            Self::Closed => ("begin immediate", 1),
            Self::First => ("savepoint job", 1),
            Self::Done => ("release savepoint job; savepoint job", 2),
            Self::Clean => return None,
        };
        Some(Ahead { text, statements })
    }

    /// The statement that must run before the rows of the outbox, which are only undone with everything
    /// else.
    fn begin_outbox(self) -> Option<Ahead> {
        self.begin_job().filter(|_| self == Self::Closed)
    }

    fn undo_job(self) -> &'static str {
        match self {
            Self::Closed => "rollback",
            Self::First | Self::Done | Self::Clean => "rollback to savepoint job",
        }
    }

    fn after_job(self, done: bool) -> Self {
        match (self, done) {
            (Self::Closed, true) => Self::First,
            (Self::Closed, false) => Self::Closed,
            (_, true) => Self::Done,
            (_, false) => Self::Clean,
        }
    }
}
