//! The store in memory.
//!
//! Values that were set are evicted when they take too much room, the least used first. Everything else
//! (counters, locks, hashes, lists, sets) is kept until it ends; when there is too much of it, more is refused.
//! Only rates give way to it before that: those that are given back first, so least was taken of them.

mod kept;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use blocks::Clock;
use bytes::Bytes;
use moka::Expiry;
use moka::sync::Cache;
use parking_lot::Mutex;

use self::kept::{Kept, Shape};
use crate::error::CacheError;
use crate::port::{CacheStore, Command, Reply};

/// What a value takes beside its bytes, roughly.
const OVERHEAD: usize = 128;

/// How much a store in memory holds.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of values, after which some are evicted.
    pub bytes: u64,
    /// Keys of what is never evicted, after which more is refused.
    pub keys: usize,
    /// Bytes of what is never evicted, roughly, after which more is refused.
    pub kept_bytes: usize,
}

impl Default for Limits {
    /// 64 MiB of values; 100,000 keys and 64 MiB of the rest.
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            keys: 100_000,
            kept_bytes: 64 << 20,
        }
    }
}

/// A store in the memory of this process.
pub struct MemoryStore {
    values: Cache<String, Value>,
    /// Held while commands run: scripts are alone.
    kept: Mutex<Kept>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
struct Value {
    bytes: Bytes,
    ends: Option<Instant>,
}

/// Each value says itself when it ends.
struct Ends;

impl Expiry<String, Value> for Ends {
    fn expire_after_create(&self, _: &String, value: &Value, now: Instant) -> Option<Duration> {
        value.ends.map(|ends| ends.saturating_duration_since(now))
    }

    // Without this a new value would end with the one that it replaces.
    fn expire_after_update(
        &self,
        key: &String,
        value: &Value,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, value, now)
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl MemoryStore {
    /// An empty store. Fencing tokens and rates go by `clock`; what ends, by the machine's own.
    pub fn new(clock: Arc<dyn Clock>, limits: Limits) -> Self {
        let weight = |key: &String, value: &Value| {
            u32::try_from(key.len() + value.bytes.len() + OVERHEAD).unwrap_or(u32::MAX)
        };
        let values = Cache::builder()
            .max_capacity(limits.bytes)
            .weigher(weight)
            .expire_after(Ends)
            .build();
        Self {
            values,
            kept: Mutex::new(Kept::new(limits)),
            clock,
        }
    }
}

#[async_trait]
impl CacheStore for MemoryStore {
    async fn run(
        &self,
        commands: Vec<Command>,
    ) -> Result<Vec<Result<Reply, CacheError>>, CacheError> {
        let mut kept = self.kept.lock();
        let mut atomic = Atomic {
            values: &self.values,
            kept: &mut kept,
            now_us: self.clock.now().timestamp_micros(),
        };
        let run = |command: Command| atomic.apply(&command.keys, command.verb);
        Ok(commands.into_iter().map(run).collect())
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        if let Some(value) = self.values.get(key) {
            return Ok(Some(value.bytes));
        }
        self.kept.lock().value(key)
    }
}

/// A store in memory while a script is alone in it.
pub struct Atomic<'a> {
    values: &'a Cache<String, Value>,
    kept: &'a mut Kept,
    now_us: i64,
}

impl fmt::Debug for Atomic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Atomic").finish_non_exhaustive()
    }
}

impl Atomic<'_> {
    /// The time, in µs since 1970.
    pub fn now_us(&self) -> i64 {
        self.now_us
    }

    /// The value under `key`.
    ///
    /// # Errors
    /// When something else is there.
    pub fn get(&mut self, key: &str) -> Result<Option<Bytes>, CacheError> {
        match self.values.get(key) {
            Some(value) => Ok(Some(value.bytes)),
            None => self.kept.value(key),
        }
    }

    /// Writes a value that may be evicted.
    pub fn set(&mut self, key: &str, bytes: Bytes, ttl: Option<Duration>) {
        self.kept.remove(key);
        let ends = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        self.values.insert(key.to_owned(), Value { bytes, ends });
    }

    /// Writes a value that is kept until it ends.
    ///
    /// # Errors
    /// When the store is full.
    pub fn keep(
        &mut self,
        key: &str,
        bytes: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<(), CacheError> {
        let ends = ttl.and_then(|ttl| Instant::now().checked_add(ttl));
        self.keep_as(key, Shape::Value(bytes.into()), ends)
    }

    /// Writes a value that is kept until it ends, or until the store is full: then those go that end first.
    ///
    /// # Errors
    /// When the store is full of what does not give way.
    pub fn keep_while_room(
        &mut self,
        key: &str,
        bytes: impl Into<Bytes>,
        ttl: Duration,
    ) -> Result<(), CacheError> {
        let ends = Instant::now().checked_add(ttl);
        self.keep_as(key, Shape::WhileRoom(bytes.into()), ends)
    }

    fn keep_as(
        &mut self,
        key: &str,
        shape: Shape,
        ends: Option<Instant>,
    ) -> Result<(), CacheError> {
        self.kept.insert(key, shape, ends)?;
        self.values.invalidate(key);
        Ok(())
    }

    /// Removes what is there; answers whether there was something.
    pub fn remove(&mut self, key: &str) -> bool {
        self.values.remove(key).is_some() | self.kept.remove(key)
    }

    /// How long what is there will be; `None` if there is nothing.
    pub fn remaining(&mut self, key: &str) -> Option<Duration> {
        let value = self.values.get(key).map(|value| kept::left(value.ends));
        value.or_else(|| self.kept.left(key))
    }

    fn expire(&mut self, key: &str, after: Duration) -> bool {
        let ends = Instant::now().checked_add(after);
        match self.values.get(key) {
            Some(Value { bytes, .. }) => self.values.insert(key.to_owned(), Value { bytes, ends }),
            None => return self.kept.expire(key, ends),
        }
        true
    }
}
