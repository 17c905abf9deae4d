//! Activity streams alone: over Redis and Kafka, any number of replicas.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use blocks::error::chain;
use feed_generator::store::redis::{RedisFeed, RedisSettings};
use feed_generator::{Feed, NAME, Settings};
use runtime::fleet::Alone;

const SETTINGS: &str = "\
  REDIS_URL                 Redis, as redis://:password@127.0.0.1:6379; or REDIS_HOST, REDIS_PORT
  PUBLIC_ACTIVITY_STREAM    whether streams are shown without signing in [true]";

fn main() -> ExitCode {
    let alone = Alone::new(NAME, "What happened lately, newest first.", SETTINGS);
    alone.run(async |fleet| {
        let url = fleet.config().redis_url.as_ref().context(
            "REDIS_URL is not set: it names the Redis server, as redis://127.0.0.1:6379",
        )?;
        let redis = RedisFeed::new(RedisSettings {
            url: url.expose().to_owned(),
            prefix: String::new(),
            clock: Arc::clone(fleet.clock()),
        })
        .map_err(|error| {
            anyhow::anyhow!(
                "REDIS_URL can't be used: {}: expected redis://:password@host:6379",
                chain(&*error)
            )
        })?;
        let settings = Settings {
            public: fleet.config().public_activity_stream,
            ..Settings::default()
        };
        let feed = Feed::on_redis(&redis, fleet.bus(), settings);
        Ok(feed_generator::service(&feed).into())
    })
}
