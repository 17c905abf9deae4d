//! The streams in Redis, for any number of processes.
//!
//! | key (after the prefix) | |
//! |---|---|
//! | `feed:activity:global`, `feed:activity:user:{id}` | LIST: entries as JSON, newest first, at most 2,000 and 200, of which 1,000 and 100 are shown |
//! | `feed:index:global`, `feed:index:user:{id}` | ZSET: the same posts by creation |
//! | `feed:bounds` | HASH: the place up to which a stream may lack posts, because it was cut |
//! | `feed:users` | SET: the users with a stream |
//! | `feed:names`, `feed:closed` | HASH, SET: names from `user.events`; closed accounts |
//! | `feed:state` | HASH: the current rebuild, and whether one is wanted |
//! | `feed:building:…` | the streams of a rebuild, until they replace those above |
//! | `feed:group:…` | the consumer group: see [`group`] |
//!
//! Each write is one script, so readers never see half of it. An updated post keeps its place, a
//! deleted one leaves. When a stream has lost so many posts that it can't fill what it shows, the log
//! is read again beside it. Names are joined when a page is read.
//!
//! Everything can be rebuilt from the log: an emptied Redis is filled again, and one that lost its last
//! second reads on from there. It must not evict keys on its own (`maxmemory-policy noeviction`, the
//! default). Not for Redis Cluster: the keys of a batch are not of one slot.

pub mod args;
pub mod consumer;
pub mod data_migration;
pub mod group;
pub mod link;
pub mod outbox;
mod projection;
mod streams;

use std::sync::Arc;

use blocks::Clock;
use blocks::error::{BoxError, chain};
use blocks::health;
use blocks::service::Check;
use redis::Script;
use service::settings::REDIS_URL;
use service::{DataMigration, Opened, Place};
use sql::Faults;

use self::link::Link;
use self::outbox::GroupOutbox;
use self::streams::Names;
use crate::{Feed, Settings};

/// The server of the streams, and the clock.
#[derive(Clone)]
pub struct RedisSettings {
    /// The server (`REDIS_URL`).
    pub url: String,
    /// The prefix of all keys: empty, unless several feeds share a server.
    pub prefix: String,
    /// The source of time and ids.
    pub clock: Arc<dyn Clock>,
}

/// The streams in Redis. Cheap to clone.
#[derive(Clone)]
pub struct RedisFeed {
    inner: Arc<Inner>,
}

struct Inner {
    link: Arc<Link>,
    settings: RedisSettings,
    names: Names,
    page: Script,
}

/// Opens the streams in the server of `on`, which is not waited for: readers get 503 meanwhile.
pub(crate) fn open(on: &dyn Place, settings: Settings) -> anyhow::Result<Opened> {
    let feed = Feed::on_redis(&server(on)?, on.bus(), settings);
    Ok(feed.opened(on, Opened::of(crate::service(&feed))))
}

/// The data migration of the streams into the server of `on`, which must answer.
pub(crate) async fn data_migration(on: &dyn Place) -> anyhow::Result<DataMigration> {
    let redis = server(on)?;
    let answers = || {
        let redis = redis.clone();
        async move { redis.check().await }
    };
    let what = "Redis (REDIS_URL)".to_owned();
    on.wait_for(health::DATABASE, what, answers).await?;
    let bus = on.bus();
    Ok(Box::new(move |from| {
        let parts = data_migration::parts(&from, &redis, Arc::clone(&bus));
        Box::pin(async move { Ok(parts) })
    }))
}

fn server(on: &dyn Place) -> anyhow::Result<RedisFeed> {
    let redis = RedisFeed::new(RedisSettings {
        url: on.needs(&REDIS_URL)?.expose().to_owned(),
        prefix: String::new(),
        clock: Arc::clone(on.clock()),
    });
    redis.map_err(|why| {
        let why = chain(&*why);
        anyhow::anyhow!("REDIS_URL can't be used: {why}: expected redis://:password@host:6379")
    })
}

impl RedisFeed {
    /// The streams in the server that `settings` names, which need not be there yet.
    ///
    /// # Errors
    /// When the URL is malformed.
    pub fn new(settings: RedisSettings) -> Result<Self, BoxError> {
        let link = Arc::new(Link::new(&settings.url)?);
        let inner = Inner {
            link,
            settings,
            names: Names::default(),
            page: Script::new(include_str!("page.lua")),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Fails the writes that `faults` names: for tests.
    #[doc(hidden)]
    pub fn inject(&self, faults: Arc<dyn Faults>) {
        self.inner.link.inject(faults);
    }

    fn key(&self, name: &str) -> String {
        format!("{}feed:{name}", self.inner.settings.prefix)
    }

    fn group_key(&self, name: &str) -> String {
        self.key(&format!("group:{name}"))
    }

    /// The group's messages to publish.
    pub fn outbox(&self) -> GroupOutbox {
        GroupOutbox::new(
            Arc::clone(&self.inner.link),
            "feed-generator",
            &self.group_key(""),
        )
    }
}
