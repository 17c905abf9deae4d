//! The stores that the streams can be in.

use std::sync::Arc;

use blocks::bus::EventBus;
use blocks::{Clock, SystemClock};
use feed_generator::{Feed, MIGRATIONS, Settings};
use sql::{Faults, StoreError, on};
use testkit::db::TestDb;
use testkit::memory::Memory;

use crate::memory::{self, Streams};
#[cfg(feature = "fleet")]
use crate::redis::TestRedis;
use crate::support::SERVICE;

/// A store that nobody else uses.
pub enum Backend {
    Sql(TestDb),
    Memory(Memory<Streams>),
    #[cfg(feature = "fleet")]
    Redis(TestRedis),
}

impl From<TestDb> for Backend {
    fn from(db: TestDb) -> Self {
        Self::Sql(db)
    }
}

impl Backend {
    pub async fn sqlite() -> Self {
        Self::Sql(testkit::db::sqlite(SERVICE, MIGRATIONS).await)
    }

    pub async fn sqlite_at(clock: Arc<dyn Clock>) -> Self {
        Self::Sql(testkit::db::sqlite_at(SERVICE, MIGRATIONS, clock).await)
    }

    pub async fn postgres() -> Self {
        Self::Sql(testkit::db::postgres(SERVICE, MIGRATIONS).await)
    }

    pub fn memory() -> Self {
        Self::Memory(Memory::new(SERVICE, Arc::new(SystemClock)))
    }

    /// Another one of the same kind.
    pub async fn again(&self) -> Self {
        match self {
            Self::Sql(db) if db.path().is_some() => Self::sqlite().await,
            Self::Sql(_) => Self::postgres().await,
            Self::Memory(_) => Self::memory(),
            #[cfg(feature = "fleet")]
            Self::Redis(_) => Self::redis().await,
        }
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::Sql(db) => Arc::clone(&db.settings().clock),
            Self::Memory(memory) => Arc::clone(memory.clock()),
            #[cfg(feature = "fleet")]
            Self::Redis(redis) => Arc::clone(&redis.clock),
        }
    }

    /// The database, where it is one.
    pub fn db(&self) -> &TestDb {
        match self {
            Self::Sql(db) => db,
            Self::Memory(_) => panic!("the streams are not in a database"),
            #[cfg(feature = "fleet")]
            Self::Redis(_) => panic!("the streams are not in a database"),
        }
    }

    /// The streams as a process sees them that has just been started.
    pub async fn open(&self, bus: Arc<dyn EventBus>, settings: Settings) -> Feed {
        match self {
            Self::Sql(db) => Feed::open(db.db.clone(), bus, settings).await.unwrap(),
            Self::Memory(memory) => memory::open(memory, bus, settings),
            #[cfg(feature = "fleet")]
            Self::Redis(redis) => redis.open(bus, settings),
        }
    }

    /// Fails the writes that `faults` names.
    pub fn inject(&self, faults: Arc<dyn Faults>) {
        match self {
            Self::Sql(db) => db.inject(faults),
            Self::Memory(memory) => memory.inject(faults),
            #[cfg(feature = "fleet")]
            Self::Redis(redis) => redis.inject(&faults),
        }
    }

    /// Nobody reaches the store any more.
    pub async fn leave(&self, feed: &Feed) {
        match self {
            Self::Sql(db) => {
                db.close().await;
                feed.mirror().unwrap().distrust();
            }
            Self::Memory(memory) => memory.close(),
            #[cfg(feature = "fleet")]
            Self::Redis(redis) => redis.door.shut().await,
        }
    }

    /// Makes the global stream wrong: of its posts one is left, called `wrong`.
    pub async fn spoil(&self) {
        match self {
            Self::Sql(db) => {
                let spoilt = db.write(|tx| {
                    Box::pin(async move {
                        for statement in [
                            "delete from entries where title = 'third'",
                            "update entries set title = 'wrong'",
                            "update entries set created_at = happened_at",
                        ] {
                            on!(tx, conn => sqlx::query(statement).execute(&mut *conn).await.map(|_| ()))?;
                        }
                        Ok::<_, StoreError>(())
                    })
                });
                spoilt.await.unwrap();
            }
            Self::Memory(memory) => {
                let spoilt = memory.write::<_, StoreError>(|tx| {
                    tx.shown.retain(|_, entry| entry.title != "third");
                    for entry in tx.shown.values_mut().map(Arc::make_mut) {
                        "wrong".clone_into(&mut entry.title);
                        entry.created_at = entry.happened_at;
                    }
                    Ok(())
                });
                spoilt.await.unwrap();
            }
            #[cfg(feature = "fleet")]
            Self::Redis(redis) => redis.spoil().await,
        }
    }

    /// The number of accounts with a stored name.
    pub async fn names(&self) -> i64 {
        match self {
            Self::Sql(db) => {
                let mut reader = db.read().await.unwrap();
                on!(reader, conn => sqlx::query_scalar(
                    "select count(*) from authors where username is not null")
                    .fetch_one(&mut *conn).await)
                .unwrap()
            }
            Self::Memory(memory) => {
                let names = |streams: &Streams| {
                    let names = streams.authors.values();
                    names.filter(|(_, name)| name.is_some()).count()
                };
                i64::try_from(memory.read(names).await.unwrap()).unwrap()
            }
            #[cfg(feature = "fleet")]
            Self::Redis(redis) => redis.names().await,
        }
    }
}

/// Writes a test once for each store: `on_each_store!(a_post_shows_once, |store| async move { … });`
///
/// It becomes a module of that name; what needs a server is ignored where none is named.
#[macro_export]
macro_rules! on_each_store {
    ($name:ident, $test:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() {
                ($test)($crate::backend::Backend::memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                ($test)($crate::backend::Backend::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs TEST_DATABASE_URL"]
            async fn postgres() {
                ($test)($crate::backend::Backend::postgres().await).await;
            }

            #[cfg(feature = "fleet")]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs TEST_REDIS_URL"]
            async fn redis() {
                ($test)($crate::backend::Backend::redis().await).await;
            }
        }
    };
}
