//! The metrics of HTTP clients.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::{DURATION_BUCKETS, Histograms, Labels, Named, add, labels};

const REQUESTS: Named = (
    "http_client_requests",
    "Requests to others that were answered, each try by itself",
);
const ERRORS: Named = (
    "http_client_errors",
    "Requests to others without an answer, each try by itself",
);
const DURATION: Named = (
    "http_client_duration_seconds",
    "From sending a request to the end of its answer, each try by itself",
);
const RETRIES: Named = (
    "http_client_retries",
    "Tries after the first, and those that the retry budget refused",
);
const BREAKER: Named = (
    "http_client_breaker_state",
    "Circuit breakers: 0 closed, 1 half-open, 2 open",
);
const TRANSITIONS: Named = (
    "http_client_breaker_transitions",
    "Changes of circuit breakers, by their new state",
);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    client: Arc<str>,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failed {
    client: Arc<str>,
    error: &'static str,
}

/// The families of all clients.
#[derive(Debug)]
pub(super) struct HttpClients {
    requests: Family<Answered, Counter>,
    errors: Family<Failed, Counter>,
    duration: Histograms<Labels<1>>,
    retries: Family<Labels<2>, Counter>,
    breaker: Family<Labels<1>, Gauge>,
    transitions: Family<Labels<2>, Counter>,
}

impl HttpClients {
    pub(super) fn register(to: &mut Registry) -> Self {
        let durations: Histograms<_> =
            Family::new_with_constructor(|| Histogram::new(DURATION_BUCKETS));
        Self {
            requests: add(to, REQUESTS, Family::default()),
            errors: add(to, ERRORS, Family::default()),
            duration: add(to, DURATION, durations),
            retries: add(to, RETRIES, Family::default()),
            breaker: add(to, BREAKER, Family::default()),
            transitions: add(to, TRANSITIONS, Family::default()),
        }
    }

    pub(super) fn client(&self, name: &str) -> HttpClientMetrics {
        let retries = |outcome| {
            let of = labels([("client", name), ("outcome", outcome)]);
            self.retries.get_or_create_owned(&of)
        };
        HttpClientMetrics {
            client: name.into(),
            requests: self.requests.clone(),
            errors: self.errors.clone(),
            duration: self
                .duration
                .get_or_create_owned(&labels([("client", name)])),
            retried: retries("made"),
            refused: retries("refused"),
            breaker: self.breaker.clone(),
            transitions: self.transitions.clone(),
        }
    }
}

/// The metrics of one HTTP client.
#[derive(Debug, Clone)]
pub struct HttpClientMetrics {
    client: Arc<str>,
    requests: Family<Answered, Counter>,
    errors: Family<Failed, Counter>,
    duration: Histogram,
    retried: Counter,
    refused: Counter,
    breaker: Family<Labels<1>, Gauge>,
    transitions: Family<Labels<2>, Counter>,
}

impl HttpClientMetrics {
    /// Counts a try that was answered.
    pub fn answered(&self, method: &'static str, status: u16, took: Duration) {
        let of = Answered {
            client: Arc::clone(&self.client),
            method,
            status,
        };
        self.requests.get_or_create(&of).inc();
        self.duration.observe(took.as_secs_f64());
    }

    /// Counts a try that was not answered.
    pub fn failed(&self, error: &'static str) {
        let client = Arc::clone(&self.client);
        self.errors.get_or_create(&Failed { client, error }).inc();
    }

    /// Counts a try after the first.
    pub fn retried(&self) {
        self.retried.inc();
    }

    /// Counts a try that the retry budget refused.
    pub fn retry_refused(&self) {
        self.refused.inc();
    }

    /// Shows the state of the circuit breaker: 0 closed, 1 half-open, 2 open.
    pub fn breaker(&self, state: i64) {
        let of = labels([("client", &self.client)]);
        self.breaker.get_or_create(&of).set(state);
    }

    /// Counts a change of the circuit breaker to the state of that name.
    pub fn breaker_changed(&self, to: &'static str) {
        let of = labels([("client", &self.client), ("to", to)]);
        self.transitions.get_or_create(&of).inc();
    }
}
