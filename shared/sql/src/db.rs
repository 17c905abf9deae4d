//! A service's database: one SQLite file, or one schema of a PostgreSQL server.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blocks::Clock;
use blocks::context;
use blocks::error::BoxError;
use blocks::outbox::{Direct, HandOver, InspectOutbox, Pending};
use futures::future::BoxFuture;
use parking_lot::Mutex;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, Postgres};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::conn::SqliteConn;
use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::execute;
use crate::faults::{FaultPoint, Faults};
use crate::migrate::{self, Migration};
use crate::tx::{Conn, Engine, Tx};
use crate::writer::{self, Writer};

/// Connections that only read, a SQLite file.
const SQLITE_READERS: u32 = 4;
/// Connections of a service to PostgreSQL.
const POSTGRES_CONNECTIONS: u32 = 10;
/// Number of statements that the writer keeps prepared, each with those that may run ahead of it.
const STATEMENTS: usize = 400;
/// How long a caller waits for a connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long SQLite waits for another process (a command line) to let go of the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// When a SQLite commit counts as durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// It survives a power cut: every commit is synced (`synchronous=FULL`).
    #[default]
    Full,
    /// It survives the death of the process (`synchronous=NORMAL`). After a power cut the file is
    /// intact, but the last commits may be missing: right for data that the log can rebuild.
    Process,
}

/// A service's settings for its database.
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that have nothing to do with each other"
)]
pub struct Settings {
    /// The service's name: its schema, and the source of its events.
    pub service: &'static str,
    /// The clock for times and ids.
    pub clock: Arc<dyn Clock>,
    /// True if `inbox_messages` keeps processed rows, for people to read.
    pub keep_inbox: bool,
    /// True if events are written with what they tell of; otherwise memory alone keeps them until they are
    /// published.
    pub keep_outbox: bool,
    /// True if the tables of the delivery are wanted (the topic log's file has none).
    pub delivery: bool,
    /// True if the schema is brought up to date; otherwise an outdated one is refused.
    pub migrate: bool,
    /// Another address of the same PostgreSQL server, for migrations: they need a session of their own,
    /// which a pooler in between does not give.
    pub direct_url: Option<String>,
}

impl Settings {
    /// The usual settings of a service.
    pub fn new(service: &'static str, clock: Arc<dyn Clock>) -> Self {
        Self {
            service,
            clock,
            keep_inbox: true,
            keep_outbox: true,
            delivery: true,
            migrate: true,
            direct_url: None,
        }
    }
}

/// A service's database. Cheap to clone.
#[derive(Clone)]
pub struct Db {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Pools,
    shared: Arc<Shared>,
    committed: Mutex<Option<mpsc::Receiver<Vec<Pending>>>>,
    direct: Option<Arc<Direct>>,
}

/// State of a database that its writes need, too.
pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) hand_over: HandOver,
    pub(crate) tracker: TaskTracker,
    faults: Mutex<Option<Arc<dyn Faults>>>,
}

impl Shared {
    /// Fails where a test wants a write to fail.
    pub(crate) fn fault(&self, point: FaultPoint) -> Result<(), StoreError> {
        match &*self.faults.lock() {
            Some(faults) if faults.fails(point) => Err(StoreError::unavailable("injected fault")),
            _ => Ok(()),
        }
    }
}

enum Pools {
    Sqlite {
        writer: Writer,
        readers: SqlitePool,
        path: PathBuf,
    },
    Postgres(PgPool),
}

/// A connection for reading. Got from [`Db::read`].
pub enum Reader {
    /// A SQLite file, opened read-only.
    Sqlite(SqliteConn),
    /// A PostgreSQL server.
    Postgres(PoolConnection<Postgres>),
}

impl Reader {
    /// The connection, for [`on!`](crate::on).
    pub fn conn(&mut self) -> Conn<'_> {
        match self {
            Self::Sqlite(conn) => Conn::Sqlite(conn),
            Self::Postgres(conn) => Conn::Postgres(conn),
        }
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
        }
    }
}

impl Db {
    /// Opens (or creates) a SQLite file and brings its schema up to date.
    ///
    /// # Errors
    /// When the file can't be opened or a migration fails.
    pub async fn open_sqlite(
        path: &Path,
        durability: Durability,
        settings: Settings,
        migrations: &[Migration],
    ) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(settings.migrate)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match durability {
                Durability::Full => SqliteSynchronous::Full,
                Durability::Process => SqliteSynchronous::Normal,
            })
            .foreign_keys(true)
            // Deleted content is overwritten, also in pages that become free: what was erased is in no file.
            .pragma("secure_delete", "on")
            // The undo data of savepoints. For a group of writes it is more than SQLite keeps in memory by
            // itself, and a file for each group costs more than the writes.
            .pragma("temp_store", "memory")
            .statement_cache_capacity(STATEMENTS)
            .busy_timeout(BUSY_TIMEOUT);
        let mut connection = options.connect().await?;
        let steps = migrate::sqlite(migrations, settings.delivery);
        migrate::run(&steps, &mut connection, settings.migrate).await?;
        let readers = SqlitePoolOptions::new()
            .max_connections(SQLITE_READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(
                SqliteConnectOptions::new()
                    .filename(path)
                    .read_only(true)
                    .busy_timeout(BUSY_TIMEOUT),
            );
        Ok(Self::assemble(settings, |shared| Pools::Sqlite {
            writer: Writer::start(options, connection, shared),
            readers,
            path: path.to_owned(),
        }))
    }

    /// Checks that `url` can name a PostgreSQL server, without connecting.
    ///
    /// # Errors
    /// The reason why it can't, without the secrets in it.
    pub fn check_postgres_url(url: &str) -> Result<(), BoxError> {
        let options: Result<PgConnectOptions, sqlx::Error> = url.parse();
        Ok(options.map(drop)?)
    }

    /// Connects to PostgreSQL, where the service owns the schema of its name, and brings it up to
    /// date. Several processes may do so at once.
    ///
    /// # Errors
    /// When the server can't be reached or a migration fails.
    pub async fn connect_postgres(
        url: &str,
        schema: &str,
        settings: Settings,
        migrations: &[Migration],
    ) -> Result<Self, StoreError> {
        let in_schema = |url: &str| {
            let options: PgConnectOptions = url.parse()?;
            Ok::<_, sqlx::Error>(options.options([("search_path", schema)]))
        };
        let options = in_schema(url)?;
        let direct = settings.direct_url.as_deref().map(in_schema).transpose()?;
        let mut connection = direct.as_ref().unwrap_or(&options).connect().await?;
        if settings.migrate {
            create_schema(&mut connection, schema).await?;
        }
        let steps = migrate::postgres(migrations, settings.delivery);
        migrate::run(&steps, &mut connection, settings.migrate).await?;
        connection.close().await?;
        let pool = PgPoolOptions::new()
            .max_connections(POSTGRES_CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self::assemble(settings, |_| Pools::Postgres(pool)))
    }

    fn assemble(settings: Settings, engine: impl FnOnce(&Arc<Shared>) -> Pools) -> Self {
        let (hand_over, committed, direct) = HandOver::of(settings.service, settings.keep_outbox);
        let shared = Arc::new(Shared {
            settings,
            hand_over,
            tracker: TaskTracker::new(),
            faults: Mutex::default(),
        });
        Self {
            inner: Arc::new(Inner {
                engine: engine(&shared),
                shared,
                committed: Mutex::new(committed),
                direct,
            }),
        }
    }

    /// The outbox of its events.
    pub fn outbox(&self) -> Arc<dyn InspectOutbox> {
        match &self.inner.direct {
            Some(direct) => Arc::clone(direct) as _,
            None => Arc::new(self.clone()),
        }
    }

    /// The settings that the database was opened with.
    pub fn settings(&self) -> &Settings {
        &self.inner.shared.settings
    }

    /// The file, where it is one.
    pub fn path(&self) -> Option<&Path> {
        match &self.inner.engine {
            Pools::Sqlite { path, .. } => Some(path),
            Pools::Postgres(_) => None,
        }
    }

    /// Which database it is.
    pub fn dialect(&self) -> Dialect {
        match self.inner.engine {
            Pools::Sqlite { .. } => Dialect::Sqlite,
            Pools::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs `work` as one atomic write and answers once it is durable; an error of `work` undoes
    /// everything. Its events are handed to the relay after the commit.
    ///
    /// On SQLite one writer runs the closures one after the other, and many of them share a commit.
    /// The work goes on when the caller stops waiting.
    ///
    /// # Errors
    /// Those of `work`, and a [`StoreError`] when it could not be committed.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send + 'static,
    {
        let span = tracing::debug_span!("db.write", service = self.inner.shared.settings.service);
        match &self.inner.engine {
            Pools::Sqlite { writer, .. } => writer.write(span, work).await,
            Pools::Postgres(pool) => {
                let shared = Arc::clone(&self.inner.shared);
                let write = write_postgres(shared, pool.clone(), work);
                // On a task of its own: a caller that stops waiting must not keep the hooks of a
                // committed write from running.
                self.inner
                    .shared
                    .tracker
                    .spawn(context::resume(context::cause(), write).instrument(span))
                    .await
                    .map_err(|_| StoreError::Panicked)?
            }
        }
    }

    /// Repeats a write that removes a page of rows until it finds none; the answer is how many went.
    pub(crate) async fn remove_in_pages<F>(&self, remove_page: F) -> Result<u64, StoreError>
    where
        F: for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<u64, StoreError>> + Copy + Send + 'static,
    {
        let mut removed = 0;
        loop {
            match self.write(remove_page).await? {
                0 => return Ok(removed),
                page => removed += page,
            }
        }
    }

    /// A connection for reading. It sees what was committed before this call.
    ///
    /// # Errors
    /// When no connection is available.
    pub async fn read(&self) -> Result<Reader, StoreError> {
        // Boxed, as these futures have 14 KB, which would be part of every future that may read.
        Ok(match &self.inner.engine {
            Pools::Sqlite { readers, .. } => {
                Reader::Sqlite(SqliteConn::pooled(Box::pin(readers.acquire()).await?))
            }
            Pools::Postgres(pool) => Reader::Postgres(Box::pin(pool.acquire()).await?),
        })
    }

    /// The events handed over after each commit; given once.
    pub(crate) fn take_committed(&self) -> Option<mpsc::Receiver<Vec<Pending>>> {
        self.inner.committed.lock().take()
    }

    /// True if the relay missed events since the last call.
    pub(crate) fn take_fell_behind(&self) -> bool {
        self.inner.shared.hand_over.fell_behind()
    }

    /// Finishes writes in progress and closes the connections.
    pub async fn close(&self) {
        match &self.inner.engine {
            Pools::Sqlite {
                writer, readers, ..
            } => {
                // The writer goes last: only a connection that may write leaves no WAL behind.
                readers.close().await;
                writer.stop();
            }
            Pools::Postgres(pool) => pool.close().await,
        }
        self.inner.shared.tracker.close();
        self.inner.shared.tracker.wait().await;
    }

    /// Makes writes fail where `faults` says so. For tests of the promises that hold then.
    #[doc(hidden)]
    pub fn inject(&self, faults: Arc<dyn Faults>) {
        *self.inner.shared.faults.lock() = Some(faults);
    }
}

async fn write_postgres<T, E, F>(shared: Arc<Shared>, pool: PgPool, work: F) -> Result<T, E>
where
    E: From<StoreError>,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, E>> + Send,
{
    shared.fault(FaultPoint::BeforeWrite)?;
    let transaction = pool.begin().await.map_err(StoreError::from)?;
    let mut tx = Tx::new(Engine::Postgres(transaction), Arc::clone(&shared));
    let value = work(&mut tx).await?;
    let committed = tx.insert_outbox().await?;
    shared.fault(FaultPoint::BeforeCommit)?;
    if let Engine::Postgres(transaction) = tx.engine {
        let done = transaction.commit().await.map_err(StoreError::from);
        let done = done.and_then(|()| shared.fault(FaultPoint::AfterCommit));
        shared.answered(done, &committed)?;
    }
    writer::run_hooks(tx.hooks);
    shared.hand_over.give(committed);
    Ok(value)
}

/// Creates a schema if it is missing. Two that do so at once may both find it missing; then one of them is
/// told that it exists.
async fn create_schema(connection: &mut PgConnection, schema: &str) -> Result<(), sqlx::Error> {
    let create = format!(
        "create schema if not exists \"{}\"",
        schema.replace('"', "\"\"")
    );
    match connection.execute(AssertSqlSafe(create)).await {
        Err(sqlx::Error::Database(error))
            if error.is_unique_violation() || error.code().as_deref() == Some("42P06") =>
        {
            Ok(())
        }
        created => created.map(drop),
    }
}

/// For services whose state is their database.
impl blocks::Mediator for Db {
    fn service(&self) -> &'static str {
        self.settings().service
    }
}

#[async_trait::async_trait]
impl blocks::service::Check for Db {
    fn name(&self) -> &'static str {
        "database"
    }

    async fn check(&self) -> Result<(), BoxError> {
        let mut reader = self.read().await?;
        Ok(execute!(reader, "select 1")?)
    }
}
