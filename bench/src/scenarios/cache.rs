//! A value that a cache remembers: in memory, and in a Redis if one is named, beside the bare client.

use std::sync::Arc;

use blocks::SystemClock;
use blocks::metrics::Metrics;
use cache::{Cache, CacheSettings, Limits, MemoryStore, Store};
use serde::{Deserialize, Serialize};

use crate::Plan;
use crate::load::repeat;
use crate::measure::{Measure, Target};

/// Hits between two looks at the clock, which takes as long as a tenth of one.
const HITS: u32 = 1000;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Account {
    id: i64,
    username: String,
    role: String,
}

pub async fn measure(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let memory = MemoryStore::new(Arc::new(SystemClock), Limits::default());
    let accounts = accounts(&Store::new(memory, "bench:"));
    let step = |accounts: Cache<Account>| async move {
        for _ in 0..HITS {
            hit(&accounts).await?;
        }
        Ok(accounts)
    };
    let answers = repeat(vec![accounts], plan.warm_up, plan.turn, step).await?;
    let hits = u32::try_from(answers.counted.len())? * HITS;
    let nanos = answers.time.as_secs_f64() * 1e9 / f64::from(hits);
    let what = "cache hit in memory";
    let measures = [Measure::alone(what, "ns", nanos, Target::Below(1000.0))].into_iter();
    #[cfg(feature = "redis")]
    let measures = measures.chain(in_redis(plan).await?);
    Ok(measures.collect())
}

fn accounts(store: &Store) -> Cache<Account> {
    Cache::new(store, "accounts", CacheSettings::default(), &Metrics::new())
}

/// Asks for an account, which is loaded the first time.
async fn hit(accounts: &Cache<Account>) -> anyhow::Result<()> {
    let load = async || {
        Ok::<_, std::io::Error>(Some(Account {
            id: 7,
            username: "ada".into(),
            role: "user".into(),
        }))
    };
    let account = accounts.get_or_load("7", load).await?;
    anyhow::ensure!(account.is_some_and(|account| account.id == 7));
    Ok(())
}

#[cfg(feature = "redis")]
async fn in_redis(plan: &Plan) -> anyhow::Result<Vec<Measure>> {
    let Some(url) = &plan.redis else {
        return Ok(Vec::new());
    };
    let one = beside_get(plan, url, 1, "cache hit in Redis / bare GET, 1 client").await?;
    let what = "cache hit in Redis / bare GET, 32 clients";
    let many = beside_get(plan, url, super::CLIENTS, what).await?;
    Ok(vec![one, many])
}

#[cfg(feature = "redis")]
async fn beside_get(
    plan: &Plan,
    url: &str,
    clients: usize,
    what: &'static str,
) -> anyhow::Result<Measure> {
    use anyhow::Context;
    use redis::AsyncCommands;

    use crate::measure::Turns;

    let store = cache::redis::RedisStore::new(url).map_err(anyhow::Error::from_boxed)?;
    let accounts = accounts(&Store::new(store, "bench:"));
    hit(&accounts).await?;
    let manager = redis::Client::open(url)?.get_connection_manager().await;
    let manager = manager.context("could not connect to Redis")?;
    let (mut of_cache, mut bare) = (Turns::default(), Turns::default());
    for _ in 0..plan.turns {
        let step = |accounts: Cache<Account>| async move {
            hit(&accounts).await?;
            Ok(accounts)
        };
        let workers = vec![accounts.clone(); clients];
        let answers = repeat(workers, plan.warm_up, plan.turn, step).await?;
        of_cache.add(&answers, None)?;
        let step = |mut manager: redis::aio::ConnectionManager| async move {
            let bytes: Vec<u8> = manager.get("bench:accounts:7").await?;
            anyhow::ensure!(!bytes.is_empty());
            Ok(manager)
        };
        let workers = vec![manager.clone(); clients];
        let answers = repeat(workers, plan.warm_up, plan.turn, step).await?;
        bare.add(&answers, None)?;
    }
    Ok(Measure::rates(what, &of_cache, &bare, Target::Ratio(0.8)))
}
