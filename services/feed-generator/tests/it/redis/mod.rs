//! The feed in a real Redis, each test under a prefix of its own.

mod dead_letters;
mod lease;
mod ledger;
mod outage;
mod refill;
mod restart;

use std::collections::BTreeSet;
use std::sync::Arc;

use blocks::bus::EventBus;
use blocks::{Clock, SystemClock};
use feed_generator::store::redis::{RedisFeed, RedisSettings};
use feed_generator::{Feed, Settings};
use parking_lot::Mutex;
use redis::AsyncTypedCommands;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use sql::Faults;
use testkit::door::Door;

use crate::backend::Backend;

/// The server that is named.
#[expect(
    clippy::disallowed_methods,
    reason = "the harness is told where the server is"
)]
pub fn server() -> String {
    std::env::var("TEST_REDIS_URL").expect("TEST_REDIS_URL names a Redis server for this test")
}

/// A connection of the test's own.
pub async fn connection() -> MultiplexedConnection {
    let client = redis::Client::open(server()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

/// A prefix in a Redis that nobody else uses.
pub struct TestRedis {
    pub clock: Arc<dyn Clock>,
    pub prefix: String,
    /// The door to the server, which may be shut.
    pub door: Door,
    faults: Mutex<Vec<RedisFeed>>,
}

impl Backend {
    pub async fn redis() -> Self {
        Self::redis_at(Arc::new(SystemClock)).await
    }

    pub async fn redis_at(clock: Arc<dyn Clock>) -> Self {
        Self::Redis(TestRedis::new(clock).await)
    }

    pub fn as_redis(&self) -> &TestRedis {
        match self {
            Self::Redis(redis) => redis,
            Self::Sql(_) | Self::Memory(_) => panic!("the streams are not in Redis"),
        }
    }
}

impl TestRedis {
    pub async fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            prefix: format!("t:{}:", SystemClock.id()),
            door: Door::to(&server()).await,
            faults: Mutex::default(),
        }
    }

    /// The streams, for somebody who looks at them beside the world's own.
    pub fn feed(&self) -> RedisFeed {
        let redis = RedisFeed::new(RedisSettings {
            url: self.door.url(),
            prefix: self.prefix.clone(),
            clock: Arc::clone(&self.clock),
        });
        redis.unwrap()
    }

    pub fn open(&self, bus: Arc<dyn EventBus>, settings: Settings) -> Feed {
        let redis = self.feed();
        self.faults.lock().push(redis.clone());
        Feed::on_redis(&redis, bus, settings)
    }

    pub fn inject(&self, faults: &Arc<dyn Faults>) {
        for feed in &*self.faults.lock() {
            feed.inject(Arc::clone(faults));
        }
    }

    pub fn key(&self, name: &str) -> String {
        format!("{}feed:{name}", self.prefix)
    }

    pub async fn names(&self) -> i64 {
        let names = connection().await.hlen(self.key("names")).await.unwrap();
        i64::try_from(names).unwrap()
    }

    /// Loses all there is, as a server does that is started without its file.
    pub async fn empty(&self) {
        empty(&self.prefix).await;
    }

    /// All there is, as it is now.
    pub async fn copy(&self) -> Vec<(String, Vec<u8>)> {
        let mut connection = connection().await;
        let keys: Vec<String> = connection.keys(format!("{}*", self.prefix)).await.unwrap();
        let mut copy = Vec::new();
        for key in keys {
            let dump = redis::cmd("DUMP")
                .arg(&key)
                .query_async(&mut connection)
                .await
                .unwrap();
            copy.push((key, dump));
        }
        copy
    }

    /// Replaces all there is by a copy, at once.
    pub async fn bring_back(&self, copy: &[(String, Vec<u8>)]) {
        let mut connection = connection().await;
        let now: Vec<String> = connection.keys(format!("{}*", self.prefix)).await.unwrap();
        let mut pipeline = redis::pipe();
        pipeline.atomic().del(now);
        for (key, dump) in copy {
            pipeline.cmd("RESTORE").arg(key).arg(0).arg(dump);
        }
        pipeline.exec_async(&mut connection).await.unwrap();
    }

    pub async fn list(&self, name: &str) -> Vec<String> {
        connection()
            .await
            .lrange(self.key(name), 0, -1)
            .await
            .unwrap()
    }

    pub async fn spoil(&self) {
        let mut connection = connection().await;
        let (list, index) = (self.key("activity:global"), self.key("index:global"));
        let entries = self.list("activity:global").await;
        let oldest = entries.last().unwrap();
        let mut wrong: Value = serde_json::from_str(oldest).unwrap();
        let title = wrong["title"].as_str().unwrap();
        let text = oldest.replace(&format!(r#""title":"{title}""#), r#""title":"wrong""#);
        wrong["title"] = "wrong".into();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), wrong);
        let last_place = isize::try_from(entries.len() - 1).unwrap();
        connection.ltrim(&list, last_place, -1).await.unwrap();
        connection.lset(&list, 0, text).await.unwrap();
        connection.zremrangebyrank(&index, 1, -1).await.unwrap();
    }

    /// Each list must be as its index says, in the order of creation, and each user who has one known.
    pub async fn assert_lists_are_true(&self) {
        let mut connection = connection().await;
        let users: BTreeSet<String> = connection
            .smembers(self.key("users"))
            .await
            .unwrap()
            .into_iter()
            .collect();
        let found: Vec<String> = connection.keys(self.key("activity:user:*")).await.unwrap();
        let prefix = self.key("activity:user:");
        let found: BTreeSet<String> = found
            .iter()
            .map(|key| key.strip_prefix(&prefix).unwrap().to_owned())
            .collect();
        assert_eq!(found, users);
        let users = users.iter().map(|user| format!("user:{user}"));
        for of in users.chain(["global".to_owned()]) {
            let entries = self.list(&format!("activity:{of}")).await;
            let members: Vec<String> = connection
                .zrange(self.key(&format!("index:{of}")), 0, -1)
                .await
                .unwrap();
            let listed: Vec<(String, String)> = entries
                .iter()
                .rev()
                .map(|entry| {
                    let entry: Value = serde_json::from_str(entry).unwrap();
                    let member = format!(
                        "{}:{}",
                        entry["post_id"].as_str().unwrap(),
                        entry["user_id"]
                    );
                    (entry["created_at"].as_str().unwrap().to_owned(), member)
                })
                .collect();
            assert!(listed.is_sorted(), "{of}: {listed:?}");
            let listed: Vec<String> = listed.into_iter().map(|(_, member)| member).collect();
            assert_eq!(listed, members, "{of}");
        }
    }
}

/// Removes all keys under `prefix`, at once.
pub async fn empty(prefix: &str) {
    let script = redis::Script::new(
        "local keys = redis.call('KEYS', ARGV[1] .. '*')
         for _, key in ipairs(keys) do redis.call('DEL', key) end
         return #keys",
    );
    let mut connection = connection().await;
    let removed: i64 = script
        .arg(prefix)
        .invoke_async(&mut connection)
        .await
        .unwrap();
    assert!(removed > 0, "there was nothing under {prefix}");
}
