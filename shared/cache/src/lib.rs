//! What is remembered for a while, in memory or in Redis: values, counters, hashes, lists, sets, scripts, locks
//! and rates.
//!
//! | what | |
//! |---|---|
//! | [`CacheStore`] | the port: [`MemoryStore`], and `redis::RedisStore` behind the feature `redis` |
//! | [`Store`] | a store under a prefix: [`op`]s, pipelines, [`Lock`]s, [`Rate`]s |
//! | [`Limiter`] | a rate that is held while the store that processes share is away |
//! | [`Cache`] | values of one type: get-or-load without stampede, negative entries, jitter |
//! | [`Script`] | what has to run alone, by name |
//!
//! Nothing here is the only place of anything: what must not be lost is in a database.
//!
//! ```
//! use std::sync::Arc;
//!
//! use blocks::SystemClock;
//! use blocks::metrics::Metrics;
//! use cache::{Cache, CacheSettings, Limits, MemoryStore, Store};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let memory = MemoryStore::new(Arc::new(SystemClock), Limits::default());
//! let store = Store::new(memory, "shop:");
//! let names: Cache<String> = Cache::new(&store, "names", CacheSettings::default(), &Metrics::new());
//!
//! let load = async || Ok::<_, std::io::Error>(Some("ada".to_owned()));
//! assert_eq!(names.get_or_load("7", load).await?.as_deref(), Some("ada"));
//!
//! // Now it is remembered: nobody is asked.
//! let load = async || Err::<Option<String>, _>(std::io::Error::other("the database is away"));
//! assert_eq!(names.get_or_load("7", load).await?.as_deref(), Some("ada"));
//! # Ok(())
//! # }
//! ```

#![warn(missing_docs)]

mod cache;
mod error;
mod flight;
mod limiter;
mod lock;
mod memory;
pub mod op;
mod port;
mod rate;
#[cfg(feature = "redis")]
pub mod redis;
mod script;
mod store;

pub use cache::{CACHE_TTL_SECONDS, Cache, CacheSettings, Found};
pub use error::{CacheError, LoadError, SharedError};
pub use limiter::Limiter;
pub use lock::Lock;
pub use memory::{Atomic, Limits, MemoryStore};
pub use op::{FromReply, Op};
pub use port::{CacheStore, Command, Reply, Verb};
pub use rate::{Rate, Taken};
pub use script::{Body, Script};
pub use store::{Answers, Pipeline, Slot, Store};

/// The examples of the guides, which CI runs.
#[cfg(all(doctest, feature = "redis"))]
mod guides {
    #[doc = include_str!("../../../docs/guides/redis-cache.md")]
    mod redis_cache {}
    #[doc = include_str!("../../../docs/guides/redis-tools.md")]
    mod redis_tools {}
}
