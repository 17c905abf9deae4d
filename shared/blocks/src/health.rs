//! Endpoints for operators and their machines: `/health` (alive), `/ready` (can serve), `/health/db` and
//! `/health/events` (the state of a part), `/metrics`, and `/` that says where everything is.
//!
//! `/metrics` answers programs on the same machine that connect directly. Others, and all requests through
//! a proxy, get the 404 of a path that does not exist, unless [`Health::metrics_for_all`] says otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures::future::join_all;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, FORWARDED, VIA};
use serde::Serialize;

use crate::kit::{METRICS, Peer, not_found};
use crate::metrics::{self, Metrics};
use crate::problem::Problem;
use crate::service::Check;

/// How long a check may take.
const CHECK_TIME: Duration = Duration::from_secs(2);
/// The name of the checks behind `/health/db`.
pub const DATABASE: &str = "database";
/// The name of the checks behind `/health/events`.
pub const EVENTS: &str = "events";

/// The health of a process and of the services in it.
pub struct Health {
    name: String,
    version: &'static str,
    services: Vec<(&'static str, Vec<Arc<dyn Check>>)>,
    metrics: Option<Arc<Metrics>>,
    metrics_for_all: bool,
}

type Asked = State<Arc<Health>>;

impl Health {
    /// The health of the process `name`; without metrics there is no `/metrics`.
    pub fn new(name: &str, version: &'static str, metrics: Option<Arc<Metrics>>) -> Self {
        Self {
            name: name.to_owned(),
            version,
            services: Vec::new(),
            metrics,
            metrics_for_all: false,
        }
    }

    /// Has `/metrics` answer other machines, too.
    #[must_use]
    pub fn metrics_for_all(mut self, yes: bool) -> Self {
        self.metrics_for_all = yes;
        self
    }

    /// Adds checks under a service's name.
    #[must_use]
    pub fn checking(mut self, service: &'static str, checks: Vec<Arc<dyn Check>>) -> Self {
        self.services.push((service, checks));
        self
    }

    /// The routes.
    pub fn router(self) -> Router {
        let database = async |State(health): Asked| health.part(DATABASE).await;
        let events = async |State(health): Asked| health.part(EVENTS).await;
        let mut router = Router::new()
            .route("/", get(index))
            .route("/health", get(alive))
            .route("/ready", get(ready))
            .route("/health/db", get(database))
            .route("/health/events", get(events));
        if self.metrics.is_some() {
            router = router.route(METRICS, get(page));
        }
        router.with_state(Arc::new(self))
    }

    /// Makes the checks called `only`, or all of them, at the same time.
    async fn ask(&self, only: Option<&str>) -> Vec<Failure> {
        let asked = self.services.iter().flat_map(|(service, checks)| {
            let mine = |check: &&Arc<dyn Check>| only.is_none_or(|name| check.name() == name);
            let checks = checks.iter().filter(mine);
            checks.map(|check| failure(service, &**check))
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn part(&self, name: &str) -> Response {
        let failures = self.ask(Some(name)).await;
        self.answer("ok", &failures, |_| true)
    }

    /// Answers `status` with the state of each service, or 503 with the failures that `count`.
    fn answer(
        &self,
        status: &'static str,
        failures: &[Failure],
        count: impl Fn(&Failure) -> bool,
    ) -> Response {
        let missing = failures.iter().filter(|failure| count(failure));
        let missing = missing.map(|Failure { service, check, .. }| {
            format!("the {check} of {service} does not answer")
        });
        let missing: Vec<String> = missing.collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", missing);
            return uncached(problem.retry_after(1));
        }
        let state_of = |service: &'static str| {
            let failures = failures.iter().filter(|failure| failure.service == service);
            let parts = failures.map(|failure| format!("{} does not answer", failure.check));
            match &*parts.collect::<Vec<String>>() {
                [] => (service, "ok".to_owned()),
                parts => (service, parts.join(", ")),
            }
        };
        uncached(Json(Said {
            status,
            service: &self.name,
            version: self.version,
            services: self.services.iter().map(|(of, _)| state_of(of)).collect(),
        }))
    }
}

/// A check that failed.
struct Failure {
    service: &'static str,
    check: &'static str,
    vital: bool,
}

async fn failure(service: &'static str, check: &dyn Check) -> Option<Failure> {
    let name = check.name();
    let error = match tokio::time::timeout(CHECK_TIME, check.check()).await {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => crate::error::chain(&*error),
        Err(_) => format!("no answer within {} s", CHECK_TIME.as_secs()),
    };
    tracing::warn!(service, check = name, error, "a health check failed");
    Some(Failure {
        service,
        check: name,
        vital: check.is_vital(),
    })
}

#[derive(Serialize)]
struct Said<'a> {
    status: &'static str,
    service: &'a str,
    version: &'a str,
    services: BTreeMap<&'static str, String>,
}

fn uncached(response: impl IntoResponse) -> Response {
    ([(CACHE_CONTROL, "no-store")], response).into_response()
}

/// Always 200: a process that answers is alive, and restarting it mends no database.
async fn alive(State(health): Asked) -> Response {
    let failures = health.ask(None).await;
    let status = if failures.is_empty() {
        "ok"
    } else {
        "degraded"
    };
    health.answer(status, &failures, |_| false)
}

/// 503 while a vital part is missing; a 200 lists other missing parts.
async fn ready(State(health): Asked) -> Response {
    let failures = health.ask(None).await;
    health.answer("ready", &failures, |failure| failure.vital)
}

/// True if a program on this machine asks for itself. A proxy here connects from here, too, but says that
/// it asks for somebody else.
fn is_local(request: &Request) -> bool {
    let peer = request.extensions().get::<Peer>();
    let passed_on = [
        FORWARDED.as_str(),
        VIA.as_str(),
        "x-forwarded-for",
        "x-real-ip",
    ]
    .into_iter()
    .any(|name| request.headers().contains_key(name));
    peer.is_some_and(|Peer(address)| address.is_loopback()) && !passed_on
}

async fn page(State(health): Asked, request: Request) -> Result<Response, Problem> {
    let shown = health.metrics_for_all || is_local(&request);
    match health.metrics.as_ref().filter(|_| shown) {
        Some(metrics) => {
            let media_type = [(CONTENT_TYPE, metrics::MEDIA_TYPE)];
            Ok(uncached((media_type, metrics.encode())))
        }
        None => Err(not_found().await),
    }
}

#[derive(Serialize)]
struct Index<'a> {
    name: &'a str,
    version: &'a str,
    status: &'static str,
    services: Vec<&'static str>,
    links: BTreeMap<&'static str, &'static str>,
}

async fn index(State(health): Asked) -> Response {
    let links = [
        ("docs", "/docs"),
        ("redoc", "/redoc"),
        ("openapi", "/openapi.json"),
        ("health", "/health"),
        ("ready", "/ready"),
        ("metrics", METRICS),
    ];
    let metrics = health.metrics.is_some();
    uncached(Json(Index {
        name: &health.name,
        version: health.version,
        status: "ok",
        services: health.services.iter().map(|(of, _)| *of).collect(),
        links: links
            .into_iter()
            .filter(|(name, _)| metrics || *name != "metrics")
            .collect(),
    }))
}
