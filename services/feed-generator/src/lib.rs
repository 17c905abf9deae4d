//! The feed generator: who posted what, newest first.
//!
//! ```text
//! topics `posts-events`, `user.events` ─ consumer ─ projection ─┬─ entries, names, positions   one atomic write
//!                                                               └─ mirror                      after its commit
//! GET /api/activity-stream ─ api ─ queries ─ store ─ mirror, or entries for what it does not hold
//! ```
//!
//! | | |
//! |---|---|
//! | owns | the streams: posts in their latest state, and the names to show with them |
//! | publishes | `user.erased` |
//! | consumes | `post.created`, `post.updated`, `post.deleted`; `user.created`, `user.updated`, `user.deleted` |
//!
//! Invariants: the tables can be rebuilt from the log, so losing them loses nothing; the mirror
//! shows only what is committed; a rebuild never empties a stream.

pub mod api;
pub mod consumer;
pub mod domain;
pub mod error;
pub mod garbage;
pub mod mirror;
pub mod operator;
pub mod projection;
pub mod queries;
pub mod rebuild;
pub mod render;
pub mod store;

use std::sync::Arc;

use blocks::bus::EventBus;
use blocks::config::Setting;
use blocks::consumer::Consumer;
use blocks::error::BoxError;
use blocks::outbox::InspectOutbox;
use blocks::service::{Background, Check};
use blocks::{Mediator, Route, Service};
use events::topic;
use service::{Definition, Kept, Opened, Place, Size, Store};
use sql::{Db, Migration, SqlConsumer, StoreError};

use garbage::Garbage;
use mirror::{Bounds, Mirror};
use projection::Projection;
use rebuild::{Progress, Rebuild};
use store::FeedStore;
use store::sql::SqlFeed;

/// The schema, step by step.
pub const MIGRATIONS: &[Migration] = &[
    sql::migration!(1001, "feed", "0001_feed.sql"),
    sql::migration!(1002, "erasures", "0002_erasures.sql"),
];

/// The gateway's rule for each endpoint.
pub const ROUTES: &[Route] = &[
    Route::optional(&["GET"], "/api/activity-stream"),
    Route::required(&["GET"], "/api/activity-stream/user"),
    Route::optional(&["GET"], "/api/activity-stream/user/{user_id}"),
    Route::optional(&["GET"], "/api/activity-stream/stats"),
];

/// The service's name: its folder and schema.
pub const NAME: &str = "feed-generator";

/// The setting that lets guests read.
const PUBLIC_ACTIVITY_STREAM: Setting<bool> = Setting::switch(
    "PUBLIC_ACTIVITY_STREAM",
    "true",
    "`false`: the streams only for those with a token",
);

#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// True if the streams are shown without signing in (`PUBLIC_ACTIVITY_STREAM`).
    pub public: bool,
    /// The limits of the entries in memory.
    pub bounds: Bounds,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            public: true,
            bounds: Bounds::default(),
        }
    }
}

/// The service's state: the streams, and the consumer that fills them. Cheap to clone.
#[derive(Clone)]
pub struct Feed {
    inner: Arc<Inner>,
}

struct Inner {
    bus: Arc<dyn EventBus>,
    parts: Parts,
    /// The newest entries, where this process holds them.
    mirror: Option<Arc<Mirror>>,
    settings: Settings,
}

/// The parts of the service that belong to a kind of store.
pub struct Parts {
    pub store: Arc<dyn FeedStore>,
    pub consumer: Consumer,
    /// Holds dead letters and answers.
    pub outbox: Arc<dyn InspectOutbox>,
    pub check: Arc<dyn Check>,
    pub background: Vec<Arc<dyn Background>>,
}

impl Feed {
    /// Opens the streams in `db`, which the topics of `bus` flow into.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn open(
        db: Db,
        bus: Arc<dyn EventBus>,
        settings: Settings,
    ) -> Result<Self, StoreError> {
        let mirror = Arc::new(Mirror::new(settings.bounds));
        let garbage = Arc::new(Garbage::open(&db).await?);
        let rebuild = Rebuild::open(&db, Arc::clone(&mirror), Arc::clone(&garbage)).await?;
        let store = Arc::new(SqlFeed::open(db.clone(), Arc::clone(&mirror)).await?);
        let (outbox, check) = (db.outbox(), Arc::new(db.clone()));
        let projection = Projection::new(
            db.clone(),
            Arc::clone(&bus),
            Arc::clone(&mirror),
            rebuild,
            garbage,
        );
        let group = SqlConsumer::new(db, consumer::GROUP, consumer::TOPICS, Arc::new(projection));
        let parts = Parts {
            store,
            consumer: group.consumer(),
            outbox,
            check,
            background: vec![],
        };
        Ok(Self::with(parts, bus, Some(mirror), settings))
    }

    /// The streams in a store of any kind, which the topics of `bus` flow into.
    pub fn over(parts: Parts, bus: Arc<dyn EventBus>, settings: Settings) -> Self {
        Self::with(parts, bus, None, settings)
    }

    fn with(
        parts: Parts,
        bus: Arc<dyn EventBus>,
        mirror: Option<Arc<Mirror>>,
        settings: Settings,
    ) -> Self {
        let inner = Inner {
            bus,
            parts,
            mirror,
            settings,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The streams in Redis, which the topics of `bus` flow into; other processes may do the same.
    #[cfg(feature = "fleet")]
    pub fn on_redis(
        redis: &store::redis::RedisFeed,
        bus: Arc<dyn EventBus>,
        settings: Settings,
    ) -> Self {
        let (consumer, watch) = redis.consumer(Arc::clone(&bus));
        let parts = Parts {
            store: Arc::new(redis.clone()),
            consumer,
            outbox: Arc::new(redis.outbox()),
            check: Arc::new(redis.clone()),
            background: vec![Arc::new(watch)],
        };
        Self::over(parts, bus, settings)
    }

    /// The consumer that follows the topics.
    pub fn consumer(&self) -> &Consumer {
        &self.inner.parts.consumer
    }

    /// Rebuilds all entries from the log. Answers at once: the consumer does it. Until it is
    /// through, readers see the old entries and new events. Names stay, since the log forgets
    /// accounts after a week.
    ///
    /// # Errors
    /// When bus or store can't be reached.
    pub async fn rebuild(&self) -> Result<(), BoxError> {
        self.consumer()
            .store
            .reset(&[topic::POSTS.name.to_owned()])
            .await
    }

    /// The progress of the current rebuild; `None` when there is none.
    ///
    /// # Errors
    /// When the store can't be reached.
    pub async fn rebuild_progress(&self) -> Result<Option<Progress>, BoxError> {
        let positions = self
            .consumer()
            .store
            .stored_positions(topic::POSTS.name)
            .await?;
        let targets = self.store().targets().await?;
        Ok(targets.map(|targets| targets.progress(&positions)))
    }

    /// Adds the operators' routes to `opened`.
    fn opened(&self, on: &dyn Place, opened: Opened) -> Opened {
        let feed = self.clone();
        Opened {
            operator: operator::router(self, on),
            unfinished: Some(Box::new(move || {
                let feed = feed.clone();
                Box::pin(async move {
                    let erases = feed.store().is_erasing().await?;
                    Ok(erases || feed.rebuild_progress().await?.is_some())
                })
            })),
            ..opened
        }
    }

    pub(crate) fn store(&self) -> &dyn FeedStore {
        &*self.inner.parts.store
    }

    pub(crate) fn bus(&self) -> &dyn EventBus {
        &*self.inner.bus
    }

    pub(crate) fn is_public(&self) -> bool {
        self.inner.settings.public
    }

    /// The entries in memory, if this store has them: for tests.
    #[doc(hidden)]
    pub fn mirror(&self) -> Option<&Mirror> {
        self.inner.mirror.as_deref()
    }
}

impl Mediator for Feed {
    fn service(&self) -> &'static str {
        NAME
    }
}

pub static DEFINITION: Definition = Definition {
    name: NAME,
    about: "What happened lately, newest first.",
    routes: ROUTES,
    topics: &[topic::USERS],
    publishes: &["user.erased"],
    consumes: consumer::TOPICS,
    migrations: MIGRATIONS,
    settings: &[&PUBLIC_ACTIVITY_STREAM],
    store: Store::Redis,
    kept: Kept::Rebuildable,
    // Processes beyond the number of partitions consume nothing, but answer.
    size: Size {
        cpu_millis: 200,
        memory_mib: 64,
        most_replicas: 6,
        ..Size::USUAL
    },
    #[cfg(feature = "fleet")]
    data_migration: |_, on| Box::pin(store::redis::data_migration(on)),
    ..Definition::new(|on| Box::pin(open(on)))
};

async fn open(on: &dyn Place) -> anyhow::Result<Opened> {
    let settings = Settings {
        public: on.config().get(&PUBLIC_ACTIVITY_STREAM),
        ..Settings::default()
    };
    #[cfg(feature = "fleet")]
    if !on.is_embedded() {
        return store::redis::open(on, settings);
    }
    let db = on.database(&DEFINITION).await?;
    let feed = Feed::open(db, on.bus(), settings).await?;
    Ok(feed.opened(on, Opened::of(service(&feed))))
}

/// The service over `feed`.
pub fn service(feed: &Feed) -> Service {
    let parts = &feed.inner.parts;
    Service {
        consumers: vec![parts.consumer.clone()],
        outbox: Some(Arc::clone(&parts.outbox)),
        checks: vec![Arc::clone(&parts.check)],
        background: parts.background.clone(),
        ..DEFINITION.service(api::router(feed.clone()))
    }
}
