//! Fresh databases: a SQLite file in a folder that goes with the value, or a PostgreSQL schema of
//! its own.

use std::path::Path;
use std::sync::Arc;

use blocks::Clock;
#[doc(hidden)]
pub use blocks::{ManualClock, SystemClock};
use sql::{Db, Durability, Migration, Settings};
use tempfile::TempDir;

/// Names the server that the suites run on besides SQLite.
pub const TEST_DATABASE_URL: &str = "TEST_DATABASE_URL";

/// A database that nobody else uses.
pub struct TestDb {
    /// The database.
    pub db: Db,
    folder: Option<TempDir>,
}

impl TestDb {
    /// The folder of a SQLite file.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(TempDir::path)
    }
}

// A value with `Drop` is captured whole by an `async move` block that uses only its `db`; otherwise
// the folder would go before the file in it is opened.
impl Drop for TestDb {
    fn drop(&mut self) {}
}

impl std::ops::Deref for TestDb {
    type Target = Db;
    fn deref(&self) -> &Db {
        &self.db
    }
}

/// A fresh SQLite file. Synced as little as possible: tests of durability kill a process.
///
/// ```
/// # #[tokio::main]
/// # async fn main() {
/// let db = testkit::db::sqlite("names", &[]).await;
/// let written: Result<_, sql::StoreError> = db.write(|tx| Box::pin(async move { Ok(tx.now()) })).await;
/// assert!(written.is_ok());
/// # }
/// ```
pub async fn sqlite(service: &'static str, migrations: &[Migration]) -> TestDb {
    sqlite_at(service, migrations, Arc::new(SystemClock)).await
}

/// A fresh SQLite file by another clock.
pub async fn sqlite_at(
    service: &'static str,
    migrations: &[Migration],
    clock: Arc<dyn Clock>,
) -> TestDb {
    sqlite_with(Settings::new(service, clock), migrations).await
}

/// A fresh SQLite file by these settings.
pub async fn sqlite_with(settings: Settings, migrations: &[Migration]) -> TestDb {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open_sqlite(
        &folder.path().join(format!("{}.db", settings.service)),
        Durability::Process,
        settings,
        migrations,
    )
    .await
    .unwrap();
    TestDb {
        db,
        folder: Some(folder),
    }
}

/// A fresh schema on the PostgreSQL server that [`TEST_DATABASE_URL`] names.
///
/// # Panics
/// When the variable is absent: such a test is `#[ignore = "needs TEST_DATABASE_URL"]`.
pub async fn postgres(service: &'static str, migrations: &[Migration]) -> TestDb {
    postgres_at(service, migrations, Arc::new(SystemClock)).await
}

/// A fresh schema by another clock.
///
/// # Panics
/// When [`TEST_DATABASE_URL`] is absent.
pub async fn postgres_at(
    service: &'static str,
    migrations: &[Migration],
    clock: Arc<dyn Clock>,
) -> TestDb {
    postgres_with(Settings::new(service, clock), migrations).await
}

/// A fresh schema by these settings.
///
/// # Panics
/// When [`TEST_DATABASE_URL`] is absent.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness is told where the server is"
)]
pub async fn postgres_with(settings: Settings, migrations: &[Migration]) -> TestDb {
    let url = std::env::var(TEST_DATABASE_URL)
        .expect("TEST_DATABASE_URL names a PostgreSQL server for this test");
    let schema = format!(
        "t_{}_{}",
        settings.service.replace('-', "_"),
        SystemClock.id().simple()
    );
    let db = Db::connect_postgres(&url, &schema, settings, migrations)
        .await
        .unwrap();
    TestDb { db, folder: None }
}

/// Writes a test once for each database: `on_each_database!(a_name_is_unique, "auth", MIGRATIONS, |db| async move { … });`
///
/// It becomes a module of that name with the tests `sqlite` and `postgres`; the latter is ignored where no
/// server is named. With `manual_clock` before it, the test also gets the database's
/// [`ManualClock`](blocks::ManualClock): `|db, clock| …`.
#[macro_export]
macro_rules! on_each_database {
    (@ [$($meta:tt)*] $name:ident, $service:expr, $migrations:expr, $db:ident, $clock:ident = $of:ty, $test:expr) => {
        $($meta)*
        mod $name {
            #[allow(unused_imports, reason = "the expression decides what it needs")]
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let $clock = std::sync::Arc::<$of>::default();
                let $db = $crate::db::sqlite_at($service, $migrations, $clock.clone()).await;
                $test.await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs TEST_DATABASE_URL"]
            async fn postgres() {
                let $clock = std::sync::Arc::<$of>::default();
                let $db = $crate::db::postgres_at($service, $migrations, $clock.clone()).await;
                $test.await;
            }
        }
    };
    ($(#[$meta:meta])* $name:ident, $service:expr, $migrations:expr, manual_clock, $test:expr) => {
        $crate::on_each_database!(
            @ [$(#[$meta])*] $name, $service, $migrations,
            db, clock = $crate::db::ManualClock, ($test)(db, clock)
        );
    };
    ($(#[$meta:meta])* $name:ident, $service:expr, $migrations:expr, $test:expr) => {
        $crate::on_each_database!(
            @ [$(#[$meta])*] $name, $service, $migrations,
            db, clock = $crate::db::SystemClock, ($test)(db)
        );
    };
}
