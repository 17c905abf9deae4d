//! The stores of posts, each in a place of its own, with reads that the port does not offer.

use std::sync::Arc;

use blocks::{Clock, SystemClock};
use posts::{MIGRATIONS, NAME};
use sql::{Db, on};
use testkit::db::{self, TestDb};
use testkit::memory::Memory;
use uuid::Uuid;

use crate::memory::State;

#[cfg(feature = "fleet")]
use {
    mongodb::bson::{Document, doc},
    posts::store::mongo::{Mongo, Settings, Upkeep},
};

/// A fresh store for one test.
pub enum Store {
    Sql(TestDb),
    Memory(Memory<State>),
    #[cfg(feature = "fleet")]
    Mongo(Mongo),
}

/// The inside of a store. Cheap to clone.
#[derive(Clone)]
pub enum Within {
    Sql(Db),
    Memory(Memory<State>),
    #[cfg(feature = "fleet")]
    Mongo(Mongo),
}

impl Store {
    pub async fn sqlite() -> Self {
        Self::sqlite_at(Arc::new(SystemClock)).await
    }

    pub async fn sqlite_at(clock: Arc<dyn Clock>) -> Self {
        Self::Sql(db::sqlite_at(NAME, MIGRATIONS, clock).await)
    }

    pub async fn postgres() -> Self {
        Self::postgres_at(Arc::new(SystemClock)).await
    }

    pub async fn postgres_at(clock: Arc<dyn Clock>) -> Self {
        Self::Sql(db::postgres_at(NAME, MIGRATIONS, clock).await)
    }

    pub fn memory() -> Self {
        Self::memory_at(Arc::new(SystemClock))
    }

    pub fn memory_at(clock: Arc<dyn Clock>) -> Self {
        Self::Memory(Memory::new(NAME, clock))
    }

    #[cfg(feature = "fleet")]
    pub async fn mongodb() -> Self {
        Self::mongodb_at(Arc::new(SystemClock)).await
    }

    #[cfg(feature = "fleet")]
    pub async fn mongodb_at(clock: Arc<dyn Clock>) -> Self {
        Self::Mongo(connect(&fresh_url(), clock).await)
    }

    pub fn within(&self) -> Within {
        match self {
            Self::Sql(db) => Within::Sql(db.db.clone()),
            Self::Memory(memory) => Within::Memory(memory.clone()),
            #[cfg(feature = "fleet")]
            Self::Mongo(mongo) => Within::Mongo(mongo.clone()),
        }
    }
}

/// The URL of a database that nobody else uses, on the server that `TEST_MONGODB_URL` names.
#[cfg(feature = "fleet")]
#[expect(
    clippy::disallowed_methods,
    reason = "the harness is told where the server is"
)]
pub fn fresh_url() -> String {
    let url = std::env::var("TEST_MONGODB_URL")
        .expect("TEST_MONGODB_URL names a MongoDB server for this test");
    let (server, options) = url.split_once('?').unwrap_or((&url, ""));
    let server = server.trim_end_matches('/');
    format!("{server}/t_{}?{options}", SystemClock.id().simple())
}

/// The posts' database at `url`.
#[cfg(feature = "fleet")]
pub async fn connect(url: &str, clock: Arc<dyn Clock>) -> Mongo {
    let settings = Settings {
        service: NAME,
        clock,
        keep_inbox: true,
        keep_outbox: true,
        makes_indexes: true,
    };
    Mongo::connect(url, settings).await.unwrap()
}

impl Within {
    pub fn clock(&self) -> Arc<dyn Clock> {
        match self {
            Self::Sql(db) => Arc::clone(&db.settings().clock),
            Self::Memory(memory) => Arc::clone(memory.clock()),
            #[cfg(feature = "fleet")]
            Self::Mongo(mongo) => Arc::clone(&mongo.settings().clock),
        }
    }

    /// The amount of user data left: posts with content, tags, keys.
    pub async fn content_left(&self) -> i64 {
        match self {
            Self::Sql(db) => {
                let mut reader = db.read().await.unwrap();
                on!(reader, conn => sqlx::query_scalar(
                    "select (select count(*) from posts
                            where title <> '' or content <> '' or tags <> '[]')
                        + (select count(*) from post_tags)
                        + (select count(*) from idempotency_keys)",
                )
                .fetch_one(&mut *conn)
                .await)
                .unwrap()
            }
            Self::Memory(memory) => {
                let content = |state: &State| {
                    let tags = state.posts.values().map(|post| post.tags.len());
                    state.posts.len() + tags.sum::<usize>()
                };
                let content = memory.read(content).await.unwrap();
                i64::try_from(content).unwrap() + self.keys_left().await
            }
            #[cfg(feature = "fleet")]
            Self::Mongo(mongo) => {
                let kept = ["title", "content"].map(|field| doc! {field: {"$ne": ""}});
                let posts = count(mongo, "posts", doc! {"$or": kept.to_vec()}).await;
                let tags = count(mongo, "posts", doc! {"tags.0": {"$exists": true}}).await;
                posts + tags + self.keys_left().await
            }
        }
    }

    /// The number of idempotency keys after old ones were forgotten.
    pub async fn keys_left(&self) -> i64 {
        match self {
            Self::Sql(db) => {
                let mut reader = db.read().await.unwrap();
                on!(reader, conn => sqlx::query_scalar("select count(*) from idempotency_keys")
                    .fetch_one(&mut *conn)
                    .await)
                .unwrap()
            }
            Self::Memory(memory) => i64::try_from(memory.keys().await.unwrap()).unwrap(),
            #[cfg(feature = "fleet")]
            Self::Mongo(mongo) => {
                Upkeep::new(mongo.clone()).forget_keys().await.unwrap();
                count(mongo, "posts", doc! {"request": {"$exists": true}}).await
            }
        }
    }

    /// The version of a post, deleted or not.
    pub async fn version_of(&self, id: Uuid) -> i64 {
        match self {
            Self::Sql(db) => {
                let mut reader = db.read().await.unwrap();
                on!(reader, conn => sqlx::query_scalar("select version from posts where id = $1")
                    .bind(id)
                    .fetch_one(&mut *conn)
                    .await)
                .unwrap()
            }
            Self::Memory(memory) => {
                let version = |state: &State| match state.posts.get(&id) {
                    Some(post) => post.version,
                    None => state.deleted[&id],
                };
                memory.read(version).await.unwrap()
            }
            #[cfg(feature = "fleet")]
            Self::Mongo(mongo) => {
                let posts = mongo.database().collection::<Document>("posts");
                let post = posts.find_one(doc! {"_id": id.to_string()}).await.unwrap();
                post.unwrap().get_i64("version").unwrap()
            }
        }
    }
}

#[cfg(feature = "fleet")]
async fn count(mongo: &Mongo, collection: &str, wanted: Document) -> i64 {
    let documents = mongo.database().collection::<Document>(collection);
    let count = documents.count_documents(wanted).await.unwrap();
    i64::try_from(count).unwrap()
}

/// Writes a test once for each store: `on_each_store!(a_name_is_unique, async |store: Store| { … });`
///
/// It becomes a module of that name with the tests `memory`, `sqlite`, `postgres` and `mongodb`; the latter
/// two are ignored where no server is named.
macro_rules! on_each_store {
    ($(#[$meta:meta])* $name:ident, $test:expr) => {
        $(#[$meta])*
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn memory() {
                ($test)($crate::stores::Store::memory()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                ($test)($crate::stores::Store::sqlite().await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs TEST_DATABASE_URL"]
            async fn postgres() {
                ($test)($crate::stores::Store::postgres().await).await;
            }

            #[cfg(feature = "fleet")]
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs TEST_MONGODB_URL"]
            async fn mongodb() {
                ($test)($crate::stores::Store::mongodb().await).await;
            }
        }
    };
}
