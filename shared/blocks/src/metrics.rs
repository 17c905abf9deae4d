//! Every metric of the system, with its name and its help text: `OpenMetrics` at `/metrics`.
//!
//! A caller asks once for a handle ([`Metrics::consumer`], [`Metrics::relay`], [`Metrics::http`]) and keeps
//! it: recording then costs a few atomic additions.

mod cache;
mod freshness;
mod http_client;

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::consumer::Applied;

pub use cache::CacheMetrics;
pub use freshness::{Freshness, Quantiles};
pub use http_client::HttpClientMetrics;
use http_client::HttpClients;

/// The media type of the output of [`Metrics::encode`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric's name, without the `_total` that counters get, and its help text.
type Named = (&'static str, &'static str);

const HTTP_REQUESTS: Named = ("http_requests", "Requests answered");
const HTTP_DURATION: Named = (
    "http_request_duration_seconds",
    "From a request's head to its answer's head",
);
const COMMANDS: Named = ("commands", "Commands and queries by outcome");
const COMMAND_DURATION: Named = (
    "command_duration_seconds",
    "From sending a command or a query to its outcome",
);
const OUTBOX_PENDING: Named = ("outbox_pending", "Committed events not yet published");
const OUTBOX_OLDEST_AGE: Named = (
    "outbox_oldest_age_seconds",
    "Age of the oldest committed event not yet published",
);
const RELAY_PUBLISHED: Named = ("relay_published", "Events handed to the bus and accepted");
const RELAY_FAILURES: Named = ("relay_failures", "Batches the bus did not accept");
const CACHE_REQUESTS: Named = ("cache_requests", "What became of what caches were asked");
const CONSUMER_LAG: Named = (
    "consumer_lag",
    "Records of the topic the group has not applied",
);
const CONSUMER_EVENTS: Named = ("consumer_events", "What became of consumed events");
const CONSUMER_BLOCKED: Named = ("consumer_blocked_keys", "Keys that do not go on");
const EVENT_FRESHNESS: Named = (
    "event_freshness_seconds",
    "From when an event happened until its effect can be read",
);

const DURATION_BUCKETS: [f64; 12] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0,
];
const FRESHNESS_BUCKETS: [f64; 11] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0,
];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HttpLabels {
    service: &'static str,
    method: &'static str,
    route: Arc<str>,
    status: u16,
}

/// The labels of a command or a query.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct OperationLabels {
    pub service: &'static str,
    /// `command` or `query`.
    pub kind: &'static str,
    pub command: &'static str,
    pub outcome: &'static str,
}

/// Commands and queries belong to the process and not to a [`Metrics`]: whoever sends one has no more than the
/// service's state at hand.
static OPERATIONS: LazyLock<(
    Family<OperationLabels, Counter>,
    Histograms<OperationLabels>,
)> = LazyLock::new(|| {
    let durations = || Histogram::new(DURATION_BUCKETS);
    (Family::default(), Family::new_with_constructor(durations))
});

/// Names and values.
type Labels<const N: usize> = [(&'static str, String); N];

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels<N> {
    pairs.map(|(name, value)| (name, value.to_owned()))
}

type Seconds = Gauge<f64, AtomicU64>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// The metrics of a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    http_requests: Family<HttpLabels, Counter>,
    http_duration: Histograms<HttpLabels>,
    outbox_pending: Family<Labels<1>, Gauge>,
    outbox_oldest_age: Family<Labels<1>, Seconds>,
    relay_published: Family<Labels<1>, Counter>,
    relay_failures: Family<Labels<1>, Counter>,
    cache_requests: Family<Labels<2>, Counter>,
    consumer_lag: Family<Labels<2>, Gauge>,
    consumer_events: Family<Labels<2>, Counter>,
    consumer_blocked: Family<Labels<1>, Gauge>,
    event_freshness: Histograms<Labels<1>>,
    http_clients: HttpClients,
    recorders: Mutex<BTreeMap<String, Arc<Freshness>>>,
}

fn add<M: Metric + Clone>(registry: &mut Registry, (name, help): Named, metric: M) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Default for Metrics {
    fn default() -> Self {
        let durations: Histograms<HttpLabels> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        let freshnesses: Histograms<_> =
            Family::new_with_constructor(|| Histogram::new(FRESHNESS_BUCKETS));
        let mut registry = Registry::default();
        let to = &mut registry;
        add(to, COMMANDS, OPERATIONS.0.clone());
        add(to, COMMAND_DURATION, OPERATIONS.1.clone());
        Self {
            http_requests: add(to, HTTP_REQUESTS, Family::default()),
            http_duration: add(to, HTTP_DURATION, durations),
            outbox_pending: add(to, OUTBOX_PENDING, Family::default()),
            outbox_oldest_age: add(to, OUTBOX_OLDEST_AGE, Family::default()),
            relay_published: add(to, RELAY_PUBLISHED, Family::default()),
            relay_failures: add(to, RELAY_FAILURES, Family::default()),
            cache_requests: add(to, CACHE_REQUESTS, Family::default()),
            consumer_lag: add(to, CONSUMER_LAG, Family::default()),
            consumer_events: add(to, CONSUMER_EVENTS, Family::default()),
            consumer_blocked: add(to, CONSUMER_BLOCKED, Family::default()),
            event_freshness: add(to, EVENT_FRESHNESS, freshnesses),
            http_clients: HttpClients::register(to),
            recorders: Mutex::default(),
            registry,
        }
    }
}

impl Metrics {
    /// A registry with every metric in it, all at nothing.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The handle for one kind of answer of one route.
    pub fn http(
        &self,
        service: &'static str,
        method: &'static str,
        route: &Arc<str>,
        status: u16,
    ) -> HttpMetrics {
        let labels = HttpLabels {
            service,
            method,
            route: route.clone(),
            status,
        };
        HttpMetrics {
            requests: self.http_requests.get_or_create_owned(&labels),
            duration: self.http_duration.get_or_create_owned(&labels),
        }
    }

    /// The handle for one outcome of a command or a query, the same for every `Metrics`.
    pub(crate) fn operation(labels: &OperationLabels) -> OperationMetrics {
        OperationMetrics {
            count: OPERATIONS.0.get_or_create_owned(labels),
            duration: OPERATIONS.1.get_or_create_owned(labels),
        }
    }

    /// Shows a counter of commands and queries, at 0 if it is new: an alert sees a counter rise, not appear.
    pub(crate) fn operation_counts(labels: &OperationLabels) {
        drop(OPERATIONS.0.get_or_create(labels));
    }

    /// Notes how much waits in the outbox of `service`.
    pub fn outbox(&self, service: &str, pending: i64, oldest_age: Duration) {
        let of = labels([("service", service)]);
        let age = oldest_age.as_secs_f64();
        self.outbox_pending.get_or_create(&of).set(pending);
        self.outbox_oldest_age.get_or_create(&of).set(age);
    }

    /// The handle for the relay of `service`.
    pub fn relay(&self, service: &str) -> RelayMetrics {
        let of = labels([("service", service)]);
        RelayMetrics {
            published: self.relay_published.get_or_create_owned(&of),
            failures: self.relay_failures.get_or_create_owned(&of),
        }
    }

    /// The handle for a consumer group.
    pub fn consumer(&self, group: &str) -> ConsumerMetrics {
        let events = |outcome| {
            let of = labels([("group", group), ("outcome", outcome)]);
            self.consumer_events.get_or_create_owned(&of)
        };
        let of = labels([("group", group)]);
        ConsumerMetrics {
            group: group.to_owned(),
            handled: events("handled"),
            skipped: events("skipped"),
            failed: events("failed"),
            parked: events("parked"),
            dead: events("dead"),
            blocked: self.consumer_blocked.get_or_create_owned(&of),
            freshness: self.event_freshness.get_or_create_owned(&of),
            recorder: self.freshness(group),
            lag: self.consumer_lag.clone(),
        }
    }

    /// The handle for the HTTP client called `name`.
    pub fn http_client(&self, name: &str) -> HttpClientMetrics {
        self.http_clients.client(name)
    }

    /// The latest freshness of a consumer group, for a statistics endpoint. The same recorder
    /// whenever it is asked for.
    pub fn freshness(&self, group: &str) -> Arc<Freshness> {
        let mut recorders = self.recorders.lock();
        recorders.entry(group.to_owned()).or_default().clone()
    }

    /// The lag of a consumer group on `topic`, as last noted; 0 before that.
    pub fn lag(&self, group: &str, topic: &str) -> i64 {
        let of = labels([("group", group), ("topic", topic)]);
        self.consumer_lag.get(&of).map_or(0, |lag| lag.get())
    }

    /// All metrics as `OpenMetrics` text.
    ///
    /// # Panics
    /// Never: writing to a string does not fail.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        text::encode(&mut out, &self.registry).expect("writing to a string does not fail");
        out
    }
}

/// One kind of answer of one route.
#[derive(Debug, Clone)]
pub struct HttpMetrics {
    requests: Counter,
    duration: Histogram,
}

impl HttpMetrics {
    /// Counts an answer.
    pub fn record(&self, took: Duration) {
        self.requests.inc();
        self.duration.observe(took.as_secs_f64());
    }
}

/// One outcome of a command or a query.
#[derive(Debug)]
pub(crate) struct OperationMetrics {
    count: Counter,
    duration: Histogram,
}

impl OperationMetrics {
    /// Counts one.
    pub fn record(&self, took: Duration) {
        self.count.inc();
        self.duration.observe(took.as_secs_f64());
    }
}

/// The metrics of a service's relay.
#[derive(Debug, Clone)]
pub struct RelayMetrics {
    published: Counter,
    failures: Counter,
}

impl RelayMetrics {
    /// Counts events the bus accepted.
    pub fn published(&self, events: u64) {
        self.published.inc_by(events);
    }

    /// Counts a batch the bus did not accept.
    pub fn failed(&self) {
        self.failures.inc();
    }
}

/// The metrics of a consumer group.
#[derive(Debug, Clone)]
pub struct ConsumerMetrics {
    group: String,
    handled: Counter,
    skipped: Counter,
    failed: Counter,
    parked: Counter,
    dead: Counter,
    blocked: Gauge,
    freshness: Histogram,
    recorder: Arc<Freshness>,
    lag: Family<Labels<2>, Gauge>,
}

impl ConsumerMetrics {
    /// Counts the outcome of a batch.
    pub fn record(&self, applied: &Applied) {
        self.handled.inc_by(applied.handled);
        self.skipped.inc_by(applied.skipped);
        self.failed.inc_by(applied.failed);
        self.parked.inc_by(applied.parked);
        self.dead.inc_by(applied.dead);
        for ms in &applied.freshness_ms {
            // A clock that was set back must not give negative seconds.
            let ms = u64::try_from(*ms).unwrap_or_default();
            self.freshness
                .observe(Duration::from_millis(ms).as_secs_f64());
        }
        self.recorder.record(&applied.freshness_ms);
    }

    /// Notes how many records of `topic` wait.
    pub fn lag(&self, topic: &str, records: i64) {
        let of = labels([("group", &self.group), ("topic", topic)]);
        self.lag.get_or_create(&of).set(records);
    }

    /// Notes how many keys do not go on.
    pub fn blocked(&self, keys: i64) {
        self.blocked.set(keys);
    }

    /// The group's latest freshness.
    pub fn freshness(&self) -> &Arc<Freshness> {
        &self.recorder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_was_recorded_is_on_the_page_under_its_name() {
        let metrics = Metrics::new();
        let route: Arc<str> = "/api/posts/{id}".into();
        metrics
            .http("posts", "GET", &route, 200)
            .record(Duration::from_millis(2));
        metrics
            .http("posts", "GET", &route, 200)
            .record(Duration::from_millis(2));
        metrics.outbox("posts", 3, Duration::from_millis(1500));
        metrics.relay("posts").published(7);
        metrics.relay("posts").failed();
        let consumer = metrics.consumer("feed-generator");
        consumer.lag("posts-events", 4);
        consumer.blocked(1);
        consumer.record(&Applied {
            handled: 2,
            skipped: 1,
            parked: 1,
            failed: 1,
            dead: 1,
            freshness_ms: vec![3, -5],
        });
        let client = metrics.http_client("geocoder");
        client.answered("GET", 200, Duration::from_millis(2));
        client.failed("timeout");
        client.retried();
        client.breaker(2);
        client.breaker_changed("open");
        let page = metrics.encode();
        for line in [
            r#"http_requests_total{service="posts",method="GET",route="/api/posts/{id}",status="200"} 2"#,
            r#"outbox_pending{service="posts"} 3"#,
            r#"outbox_oldest_age_seconds{service="posts"} 1.5"#,
            r#"relay_published_total{service="posts"} 7"#,
            r#"relay_failures_total{service="posts"} 1"#,
            r#"consumer_lag{group="feed-generator",topic="posts-events"} 4"#,
            r#"consumer_events_total{group="feed-generator",outcome="handled"} 2"#,
            r#"consumer_events_total{group="feed-generator",outcome="dead"} 1"#,
            r#"consumer_blocked_keys{group="feed-generator"} 1"#,
            r#"event_freshness_seconds_count{group="feed-generator"} 2"#,
            r#"http_client_requests_total{client="geocoder",method="GET",status="200"} 1"#,
            r#"http_client_errors_total{client="geocoder",error="timeout"} 1"#,
            r#"http_client_duration_seconds_count{client="geocoder"} 1"#,
            r#"http_client_retries_total{client="geocoder",outcome="made"} 1"#,
            r#"http_client_breaker_state{client="geocoder"} 2"#,
            r#"http_client_breaker_transitions_total{client="geocoder",to="open"} 1"#,
            "# EOF",
        ] {
            assert!(page.contains(line), "{line} is not in\n{page}");
        }
        assert_eq!(metrics.lag("feed-generator", "posts-events"), 4);
        assert_eq!(metrics.lag("feed-generator", "nothing"), 0);
        let quantiles = metrics.freshness("feed-generator").quantiles().unwrap();
        assert_eq!((quantiles.p50, quantiles.p99), (0, 3));
    }
}
