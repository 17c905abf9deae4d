//! The kit around every request of a process: request and trace ids, log line, metrics, time-out, body
//! limit, panics, security headers, and problem+json where no handler answers.
//!
//! It is one hand-written layer: a layer each for these things costs twice as much per request.
//!
//! | it answers | when |
//! |---|---|
//! | 400 `bad_path` | the path has tricks in it, see [`Normalize`] |
//! | 404 `not_found`, 405 `method_not_allowed` | no handler does |
//! | 408 `body_timeout` | the client did not send its body in time |
//! | 413 `body_too_large` | the body is over the limit |
//! | 500 `internal_error` | a handler panicked |
//! | 504 `timeout` | a handler took too long |

mod ids;
mod layer;
mod normalize;
mod route;
mod serve;
mod stall;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::StatusCode;
use tower::layer::util::Identity;
use tower::{Layer, Service};

use crate::config::Config;
use crate::metrics::Metrics;
use crate::problem::Problem;
use crate::service::Route;

pub use ids::CORRELATION_ID;
pub use normalize::{Normalize, check_path};
pub use serve::serve;

use layer::KitLayer;
use route::RouteStats;

/// The limits of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body: usize,
    /// The largest head (request line and headers), in bytes.
    pub head: usize,
    /// How long a client may take to send a head; also how long an idle connection is kept.
    pub head_time: Duration,
    /// How long a client may take to send a body, from when the request began.
    pub body_time: Duration,
    /// How long a client may take nothing of an answer that waits for it.
    pub write_time: Duration,
    /// How many connections there may be at a time; more wait to be accepted.
    pub connections: usize,
    /// How long a request may take to be answered.
    pub time: Duration,
    /// How long a stop waits for requests that are under way.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: crate::extract::DEFAULT_BODY_LIMIT,
            head: 32 << 10,
            head_time: Duration::from_secs(30),
            body_time: Duration::from_secs(20),
            write_time: Duration::from_secs(30),
            connections: 1024,
            time: Duration::from_secs(30),
            grace: Duration::from_secs(10),
        }
    }
}

impl From<&Config> for Limits {
    fn from(config: &Config) -> Self {
        Self {
            body: config.body_limit_bytes,
            connections: config.max_connections,
            time: config.request_timeout,
            grace: config.grace,
            ..Self::default()
        }
    }
}

/// The peer's address. Only a POST, as a login, and a request for [`PEER_ASKED`] carry it: nobody else asks, and
/// everything that a request carries costs an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub IpAddr);

/// Where the metrics are.
pub const METRICS: &str = "/metrics";

/// The beginnings of the paths whose handlers ask for the [`Peer`] of a GET.
pub const PEER_ASKED: [&str; 2] = [METRICS, "/api/auth/oidc/"];

/// The layers around every request.
#[derive(Debug)]
pub struct Kit {
    limits: Limits,
    metrics: Arc<Metrics>,
    name: &'static str,
    services: HashMap<&'static str, &'static str>,
}

impl Kit {
    /// A kit for a process called `name`.
    pub fn new(name: &'static str, limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            metrics,
            name,
            services: HashMap::new(),
        }
    }

    /// Names the service behind `routes` in log lines and metrics; other routes carry the process'
    /// own name.
    #[must_use]
    pub fn naming(mut self, service: &'static str, routes: &[Route]) -> Self {
        let paths = routes.iter().map(|route| (route.path, service));
        self.services.extend(paths);
        self
    }

    /// `router` in the kit, with problems for unknown paths and methods.
    pub fn wrap(self, router: Router) -> Router {
        self.wrap_with(router, Identity::new())
    }

    /// `router` in the kit, with `inner` between the two. For every layer that a router is given a
    /// request pays with a copy of the route and two allocations; so it pays once for all of them.
    pub fn wrap_with<L>(self, router: Router, inner: L) -> Router
    where
        L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request, Response = Response, Error = Infallible>
            + Clone
            + Send
            + Sync
            + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        router
            .fallback(not_found)
            .method_not_allowed_fallback(method_not_allowed)
            .layer((KitLayer(Arc::new(self)), inner))
    }

    /// The limits it keeps.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn stats(&self, matched: Option<&MatchedPath>) -> RouteStats {
        let route = matched.map_or("unmatched", MatchedPath::as_str);
        let service = self.services.get(route).copied().unwrap_or(self.name);
        RouteStats::new(service, route)
    }
}

pub(crate) async fn not_found() -> Problem {
    Problem::not_found("not_found", "there is nothing under this path")
}

async fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this path does not take this method; the Allow header says which ones it takes",
    )
}
