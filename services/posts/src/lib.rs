//! Posts: who wrote what.
//!
//! ```text
//! POST /api/posts ─ api ─ commands ─ store ─┬─ posts, post_tags      one atomic write
//!                                           └─ outbox_messages ─ relay ─▶ topics `posts-events`, `user.events`
//! topic `user.events` ─ consumer ─ accounts: names as they are now, accounts that were closed
//! ```
//!
//! | owns      | posts, their tags, their authors' names, idempotency keys |
//! |-----------|-----------|
//! | publishes | `post.created`, `post.updated`, `post.deleted`; `user.erased` |
//! | consumes  | `user.created`, `user.updated`, `user.deleted` |
//!
//! Invariants:
//! - a stored change and its event are one write, and nothing here talks to the bus;
//! - a post's version counts its events, the deletion too;
//! - a deleted post leaves no content in the store;
//! - every answer shows the author's current name, an event the name at its time;
//! - an answer from memory equals the store's.

pub mod api;
pub mod cache;
pub mod commands;
pub mod consumer;
pub mod domain;
pub mod error;
pub mod queries;
pub mod removal;
pub mod store;

use std::sync::Arc;

use blocks::consumer::Consumer;
use blocks::outbox::InspectOutbox;
use blocks::service::{Background, Check};
use blocks::{Clock, Mediator, Route, Service};
use chrono::{DateTime, Utc};
use events::{Topic, topic};
use service::{Definition, Opened, Place, Size, Store};
use sql::accounts::Accounts;
use sql::{Db, Migration, SqlConsumer};

use crate::cache::Cache;
use crate::consumer::Authors;
use crate::domain::Limits;
use crate::removal::Removal;
use crate::store::closed::{self, SqlAccounts};
#[cfg(feature = "fleet")]
use crate::store::mongo::{self, Mongo, MongoPosts, Upkeep};
use crate::store::{PostStore, SqlPosts};

/// The service's name: its folder, schema and consumer group.
pub const NAME: &str = "posts";

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = &[
    sql::migration!(1001, "posts", "0001_posts.sql"),
    sql::migration!(1002, "tags follow posts", "0002_tags_follow_posts.sql"),
    sql::migration!(1003, "keys in one table", "0003_keys_in_one_table.sql"),
    sql::migration!(1004, "accounts", "0004_accounts.sql"),
    sql::migration!(1005, "erasures", "0005_erasures.sql"),
];

/// The gateway's rule for each endpoint.
pub const ROUTES: &[Route] = &[
    Route::optional(&["GET"], "/api/posts"),
    Route::required(&["POST"], "/api/posts"),
    Route::optional(&["GET"], "/api/posts/{id}"),
    Route::required(&["PUT", "DELETE"], "/api/posts/{id}"),
];

const CONSUMES: &[Topic] = &[topic::USERS];

#[derive(Debug, Clone, Copy, Default)]
pub struct Settings {
    /// True if answers are kept in memory: only with a single writing process, since the cache sees
    /// no other commits.
    pub cache: bool,
    pub limits: Limits,
}

/// The service's state. Cheap to clone.
#[derive(Clone)]
pub struct Posts {
    inner: Arc<Inner>,
}

struct Inner {
    parts: Parts,
    cache: Option<Arc<Cache>>,
    clock: Arc<dyn Clock>,
    limits: Limits,
    background: Vec<Arc<dyn Background>>,
}

/// The parts of the service that belong to a kind of store.
pub struct Parts {
    pub store: Arc<dyn PostStore>,
    /// Deletes the posts of closed accounts there.
    pub removal: Arc<Removal>,
    pub consumer: Consumer,
    pub outbox: Arc<dyn InspectOutbox>,
    pub check: Arc<dyn Check>,
}

impl Posts {
    /// Opens the posts in `db`.
    pub fn open(db: Db, settings: Settings) -> Self {
        let cache = settings.cache.then(|| Arc::new(Cache::default()));
        let clock = Arc::clone(&db.settings().clock);
        let store = Arc::new(SqlPosts::new(db.clone(), cache.clone()));
        let accounts = SqlAccounts::new(db.clone(), cache.clone());
        let removal = Arc::new(Removal::new(Arc::new(accounts)));
        let authors = Authors::new(cache.clone(), Arc::clone(&removal));
        let accounts = Arc::new(Accounts(authors));
        let parts = Parts {
            store,
            removal,
            consumer: SqlConsumer::new(db.clone(), NAME, CONSUMES, accounts).consumer(),
            outbox: db.outbox(),
            check: Arc::new(db),
        };
        Self::with(parts, cache, clock, settings.limits, None)
    }

    /// Opens the posts in a store of any kind, without a cache.
    pub fn over(parts: Parts, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        Self::with(parts, None, clock, limits, None)
    }

    fn with(
        parts: Parts,
        cache: Option<Arc<Cache>>,
        clock: Arc<dyn Clock>,
        limits: Limits,
        upkeep: Option<Arc<dyn Background>>,
    ) -> Self {
        let removal = Arc::clone(&parts.removal) as _;
        let inner = Inner {
            background: [removal].into_iter().chain(upkeep).collect(),
            parts,
            cache,
            clock,
            limits,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Opens the posts in `mongo`, without a cache, since other processes write there, too.
    #[cfg(feature = "fleet")]
    pub fn open_mongo(mongo: Mongo, limits: Limits) -> Self {
        let clock = Arc::clone(&mongo.settings().clock);
        let removal = Arc::new(Removal::new(Arc::new(mongo.clone())));
        let accounts = mongo::Accounts::new(mongo.clone(), Arc::clone(&removal));
        let consumer = mongo::consumer::MongoConsumer::new(mongo.clone(), NAME, CONSUMES, accounts);
        let upkeep = Arc::new(Upkeep::new(mongo.clone()));
        let parts = Parts {
            store: Arc::new(MongoPosts::new(mongo.clone())),
            removal,
            consumer: consumer.consumer(),
            outbox: mongo.outbox(),
            check: Arc::new(mongo),
        };
        Self::with(parts, None, clock, limits, Some(upkeep))
    }

    pub fn store(&self) -> &dyn PostStore {
        &*self.inner.parts.store
    }

    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The worker that deletes the posts of closed accounts.
    pub fn removal(&self) -> &Arc<Removal> {
        &self.inner.parts.removal
    }

    fn cache(&self) -> Option<&Cache> {
        self.inner.cache.as_deref()
    }

    fn now(&self) -> DateTime<Utc> {
        self.inner.clock.now()
    }
}

impl Mediator for Posts {
    fn service(&self) -> &'static str {
        NAME
    }
}

pub static DEFINITION: Definition = Definition {
    name: NAME,
    about: "Who wrote what.",
    routes: ROUTES,
    topics: &[topic::POSTS, topic::USERS],
    publishes: &[
        "post.created",
        "post.updated",
        "post.deleted",
        "user.erased",
    ],
    consumes: CONSUMES,
    migrations: MIGRATIONS,
    store: Store::Mongo,
    size: Size {
        cpu_millis: 200,
        memory_mib: 64,
        ..Size::USUAL
    },
    #[cfg(feature = "fleet")]
    data_migration: |_, on| Box::pin(mongo::data_migration(on)),
    ..Definition::new(|on| Box::pin(open(on)))
};

async fn open(on: &dyn Place) -> anyhow::Result<Opened> {
    #[cfg(feature = "fleet")]
    if !on.is_embedded() {
        return mongo::open(on).await;
    }
    let db = on.database(&DEFINITION).await?;
    let settings = Settings {
        cache: true,
        ..Settings::default()
    };
    let posts = Posts::open(db.clone(), settings);
    Ok(Opened {
        unfinished: Some(Box::new(move || {
            let db = db.clone();
            Box::pin(async move { Ok(closed::due(&db).await?.is_some()) })
        })),
        ..Opened::of(service(&posts))
    })
}

/// The service over `posts`.
pub fn service(posts: &Posts) -> Service {
    let Inner {
        parts, background, ..
    } = &*posts.inner;
    Service {
        consumers: vec![parts.consumer.clone()],
        outbox: Some(Arc::clone(&parts.outbox)),
        checks: vec![Arc::clone(&parts.check)],
        background: background.clone(),
        ..DEFINITION.service(api::router(posts.clone()))
    }
}
