//! What became of what a cache was asked.

use prometheus_client::metrics::counter::Counter;

use super::{Metrics, labels};

/// The metrics of a cache.
#[derive(Debug, Clone)]
pub struct CacheMetrics {
    hit: Counter,
    nothing: Counter,
    shared: Counter,
    loaded: Counter,
    unlocked: Counter,
    failed: Counter,
}

impl Metrics {
    /// The handle for the cache `name`.
    pub fn cache(&self, name: &str) -> CacheMetrics {
        let of = |outcome| {
            let of = labels([("cache", name), ("outcome", outcome)]);
            self.cache_requests.get_or_create_owned(&of)
        };
        CacheMetrics {
            hit: of("hit"),
            nothing: of("nothing"),
            shared: of("shared"),
            loaded: of("loaded"),
            unlocked: of("unlocked"),
            failed: of("failed"),
        }
    }
}

impl CacheMetrics {
    /// Counts a value that was there.
    pub fn hit(&self) {
        self.hit.inc();
    }

    /// Counts one that is known not to exist.
    pub fn nothing(&self) {
        self.nothing.inc();
    }

    /// Counts one who got what another of this process loaded.
    pub fn shared(&self) {
        self.shared.inc();
    }

    /// Counts a load.
    pub fn loaded(&self) {
        self.loaded.inc();
    }

    /// Counts a load that nothing keeps apart from those of other processes: the store is away, or another
    /// process takes long.
    pub fn unlocked(&self) {
        self.unlocked.inc();
    }

    /// Counts one who got an error.
    pub fn failed(&self) {
        self.failed.inc();
    }
}
