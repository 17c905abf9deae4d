//! Values of one type, remembered for a while.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use blocks::config::Setting;
use blocks::error::{BoxError, chain};
use blocks::metrics::{CacheMetrics, Metrics};
use bytes::Bytes;
use rand::Rng;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::error::{CacheError, LoadError};
use crate::flight::Flights;
use crate::lock::{Acquired, Lock, Pauses, lock_key};
use crate::op;
use crate::store::Store;

/// How long a value is remembered, for the settings of a service that has a cache.
pub const CACHE_TTL_SECONDS: Setting<Duration> = Setting::seconds(
    "CACHE_TTL_SECONDS",
    "3600",
    "how long what was loaded is remembered",
);

/// How a cache remembers and loads.
#[derive(Debug, Clone, Copy)]
pub struct CacheSettings {
    /// How long a value is remembered, at most.
    pub ttl: Duration,
    /// How long it is remembered that there is nothing, at most.
    pub nothing_ttl: Duration,
    /// The part of that time by which one value ends before another, 0 to 1. Values that were written
    /// together then don't end together.
    pub jitter: f64,
    /// The time after which others may load what a process that died was loading.
    pub lease: Duration,
    /// How long a load in another process and then a place among the loads without a lock are waited for, together.
    pub patience: Duration,
    /// How many loads may run at once that no lock of the store keeps apart.
    pub unlocked_loads: usize,
}

impl Default for CacheSettings {
    /// An hour, half a minute for nothing; a tenth of jitter; a lease of 5 s, a patience of 10 s; 16 loads.
    fn default() -> Self {
        Self {
            ttl: Duration::from_hours(1),
            nothing_ttl: Duration::from_secs(30),
            jitter: 0.1,
            lease: Duration::from_secs(5),
            patience: Duration::from_secs(10),
            unlocked_loads: 16,
        }
    }
}

/// What a cache knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<V> {
    /// The value.
    Value(V),
    /// There is none, as a load found out.
    Nothing,
    /// Nothing is remembered.
    Unknown,
}

type Loaded<V> = Result<Option<V>, LoadError>;

/// Values of one type under a name in a store, as JSON; an empty one says that there is nothing.
///
/// The name goes into keys: give it another when the type changes. What can't be read is loaded again. Cheap
/// to clone.
pub struct Cache<V> {
    inner: Arc<Inner<V>>,
}

struct Inner<V> {
    store: Store,
    name: &'static str,
    fence: String,
    settings: CacheSettings,
    flights: Flights<Loaded<V>>,
    unlocked: Semaphore,
    metrics: CacheMetrics,
    value: PhantomData<fn() -> V>,
}

impl<V> Clone for Cache<V> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<V: Serialize + DeserializeOwned + Clone + Send + Sync> Cache<V> {
    /// The values that are called `name` in `store`.
    pub fn new(
        store: &Store,
        name: &'static str,
        settings: CacheSettings,
        metrics: &Metrics,
    ) -> Self {
        let inner = Inner {
            store: store.clone(),
            name,
            fence: format!("fence:{name}"),
            settings,
            flights: Flights::default(),
            unlocked: Semaphore::new(settings.unlocked_loads),
            metrics: metrics.cache(name),
            value: PhantomData,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// What is remembered under `key`.
    ///
    /// # Errors
    /// When the store is away.
    pub async fn get(&self, key: &str) -> Result<Found<V>, CacheError> {
        let inner = &*self.inner;
        let full = [inner.store.prefix(), inner.name, ":", key].concat();
        let bytes = inner.store.get_at(&full).await?;
        Ok(bytes.map_or(Found::Unknown, |bytes| decode(&bytes)))
    }

    /// Remembers a value, or that there is none. A load that is under way is not remembered.
    ///
    /// # Errors
    /// When the value is no JSON, or the store is away.
    pub async fn set(&self, key: &str, value: Option<&V>) -> Result<(), CacheError> {
        let (bytes, ttl) = self
            .encode(value)
            .map_err(|why| CacheError::Refused(why.to_string()))?;
        let [key, lock] = self.part(key);
        let mut pipeline = self.inner.store.pipeline();
        pipeline.add(op::remove(&lock));
        let set = pipeline.add(op::set(&key, bytes, Some(ttl)));
        pipeline.run().await?.take(set)
    }

    /// Forgets what is remembered. A load that is under way is not remembered.
    ///
    /// # Errors
    /// When the store is away: the value stays there to its end.
    pub async fn remove(&self, key: &str) -> Result<(), CacheError> {
        let [key, lock] = self.part(key);
        let mut pipeline = self.inner.store.pipeline();
        pipeline.add(op::remove(&lock));
        let removed = pipeline.add(op::remove(&key));
        pipeline.run().await?.take(removed).map(|_: bool| ())
    }

    /// What is remembered under `key`, or what `load` finds, which is remembered then: a value, or that there
    /// is none.
    ///
    /// However many ask at once, in however many processes, one loads. Others of this process share what it
    /// found, its error too. Other processes wait for the value. They load themselves when there is none, or it
    /// takes longer than their patience. Without the store a process loads each key once at a time, and so
    /// many keys at once as [`CacheSettings::unlocked_loads`]. A load must not ask for its own key.
    ///
    /// # Errors
    /// When the load fails, or has no place beside others while the store is away.
    pub async fn get_or_load<L, E>(
        &self,
        key: &str,
        load: impl FnOnce() -> L + Send,
    ) -> Result<Option<V>, LoadError>
    where
        L: Future<Output = Result<Option<V>, E>> + Send,
        E: Into<BoxError>,
    {
        let metrics = &self.inner.metrics;
        // What a store that is away means is decided once, by the one who loads.
        match self.get(key).await.unwrap_or(Found::Unknown) {
            Found::Value(value) => {
                metrics.hit();
                return Ok(Some(value));
            }
            Found::Nothing => {
                metrics.nothing();
                return Ok(None);
            }
            Found::Unknown => {}
        }
        let seat = self.inner.flights.join(key);
        let (loaded, is_shared) = seat.get(self.find_or_load(key, load)).await;
        match &loaded {
            Ok(_) if is_shared => metrics.shared(),
            Ok(_) => {}
            Err(_) => metrics.failed(),
        }
        loaded
    }

    /// Waits for the value or for the right to load it.
    async fn find_or_load<L, E>(&self, key: &str, load: impl FnOnce() -> L) -> Loaded<V>
    where
        L: Future<Output = Result<Option<V>, E>>,
        E: Into<BoxError>,
    {
        let inner = &*self.inner;
        let settings = &inner.settings;
        let key = format!("{}:{key}", inner.name);
        let until = Instant::now() + settings.patience;
        let mut pauses = Pauses::until(until);
        loop {
            let acquired = inner
                .store
                .acquire(&key, &inner.fence, Some(&key), settings.lease);
            match acquired.await {
                Ok(Acquired::Mine(lock)) => return self.load_locked(&key, lock, load).await,
                Ok(Acquired::Found(bytes)) => match decode(&bytes) {
                    Found::Value(value) => {
                        inner.metrics.hit();
                        return Ok(Some(value));
                    }
                    Found::Nothing => {
                        inner.metrics.nothing();
                        return Ok(None);
                    }
                    // Of another type than ours.
                    Found::Unknown => {
                        if inner.store.run(op::remove(&key)).await.is_err() {
                            break;
                        }
                    }
                },
                Ok(Acquired::Held) => {}
                Err(_) => break,
            }
            if !pauses.pause().await {
                break;
            }
        }
        let place = timeout_at(until, inner.unlocked.acquire()).await;
        let Ok(Ok(_place)) = place else {
            return Err(LoadError::Busy);
        };
        inner.metrics.unlocked();
        load().await.map_err(failed)
    }

    /// Loads as the one who has the right to, and remembers what was found.
    async fn load_locked<L, E>(&self, key: &str, lock: Lock, load: impl FnOnce() -> L) -> Loaded<V>
    where
        L: Future<Output = Result<Option<V>, E>>,
        E: Into<BoxError>,
    {
        let loaded = tokio::select! {
            loaded = load() => loaded,
            never = lock.renew(self.inner.settings.lease) => match never {},
        };
        self.inner.metrics.loaded();
        let loaded = loaded.map_err(failed);
        let remembered = match &loaded {
            Ok(value) => match self.encode(value.as_ref()) {
                Ok((bytes, ttl)) => lock.fill(key, bytes, ttl).await,
                Err(error) => {
                    tracing::warn!(error = chain(&error), key, "a value can't be remembered");
                    lock.release().await
                }
            },
            Err(_) => lock.release().await,
        };
        match remembered {
            Ok(true) => {}
            Ok(false) => tracing::debug!(key, "a value that changed meanwhile is not remembered"),
            Err(error) => tracing::debug!(error = chain(&error), key, "a value is not remembered"),
        }
        loaded
    }

    /// The keys of a value and of its lock, for one who changes what is remembered.
    fn part(&self, key: &str) -> [String; 2] {
        self.inner.flights.part(key);
        let key = format!("{}:{key}", self.inner.name);
        let lock = lock_key(&key);
        [key, lock]
    }

    fn encode(&self, value: Option<&V>) -> Result<(Bytes, Duration), LoadError> {
        let CacheSettings {
            ttl,
            nothing_ttl,
            jitter,
            ..
        } = self.inner.settings;
        let sooner = 1.0 - jitter.clamp(0.0, 1.0) * rand::rng().random_range(0.0..1.0);
        let Some(value) = value else {
            return Ok((Bytes::new(), nothing_ttl.mul_f64(sooner)));
        };
        let json = serde_json::to_vec(value).map_err(|why| LoadError::Json(Arc::new(why)))?;
        Ok((json.into(), ttl.mul_f64(sooner)))
    }
}

/// JSON is never empty.
fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Found<V> {
    match bytes {
        [] => Found::Nothing,
        json => serde_json::from_slice(json).map_or(Found::Unknown, Found::Value),
    }
}

fn failed(why: impl Into<BoxError>) -> LoadError {
    LoadError::Failed(why.into().into())
}
