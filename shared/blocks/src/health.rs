//! Endpoints for operators and their machines: `/health` (alive), `/ready` (can serve), `/health/db` and
//! `/health/events` (the state of a part), `/metrics`, and `/` that says where everything is.
//!
//! `/metrics` answers programs on the same machine that connect directly. Others, and all requests through
//! a proxy, get the 404 of a path that does not exist, unless [`Health::metrics_for_all`] says otherwise.

use std::collections::BTreeMap;
use std::fmt::Write as _;
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
use crate::service::{Check, Service};

/// How long a check may take.
const CHECK_TIME: Duration = Duration::from_secs(2);
/// The name of the checks behind `/health/db`.
pub const DATABASE: &str = "database";
/// The name of the checks behind `/health/events`.
pub const EVENTS: &str = "events";

/// The health of a process and of the services in it.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    name: String,
    version: &'static str,
    services: Vec<(&'static str, Vec<Arc<dyn Check>>)>,
    metrics: Option<Arc<Metrics>>,
    metrics_for_all: bool,
}

impl Health {
    /// The health of the process `name`; without metrics there is no `/metrics`.
    pub fn new(name: &str, version: &'static str, metrics: Option<Arc<Metrics>>) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            version,
            services: Vec::new(),
            metrics,
            metrics_for_all: false,
        }))
    }

    /// Has `/metrics` answer other machines, too.
    ///
    /// # Panics
    /// When the router was made already.
    #[must_use]
    pub fn metrics_for_all(mut self, yes: bool) -> Self {
        self.inner().metrics_for_all = yes;
        self
    }

    /// Adds a service with its checks.
    ///
    /// # Panics
    /// When the router was made already.
    #[must_use]
    pub fn with(self, service: &Service) -> Self {
        self.checking(service.name, service.checks.clone())
    }

    /// Adds checks under a service's name.
    ///
    /// # Panics
    /// When the router was made already.
    #[must_use]
    pub fn checking(mut self, service: &'static str, checks: Vec<Arc<dyn Check>>) -> Self {
        self.inner().services.push((service, checks));
        self
    }

    fn inner(&mut self) -> &mut Inner {
        Arc::get_mut(&mut self.0).expect("all is said before the router is made")
    }

    /// The routes.
    pub fn router(&self) -> Router {
        let mut router = Router::new()
            .route("/", get(index))
            .route("/health", get(alive))
            .route("/ready", get(ready))
            .route(
                "/health/db",
                get(async |State(health): State<Self>| health.part(DATABASE).await),
            )
            .route(
                "/health/events",
                get(async |State(health): State<Self>| health.part(EVENTS).await),
            );
        if self.0.metrics.is_some() {
            router = router.route(METRICS, get(page));
        }
        router.with_state(self.clone())
    }

    /// Asks the checks called `only`, or all of them, at the same time.
    async fn ask(&self, only: Option<&str>) -> Findings {
        let asked = self.0.services.iter().flat_map(|(service, checks)| {
            let checks = checks
                .iter()
                .filter(|check| only.is_none_or(|name| check.name() == name));
            checks.map(|check| answer(service, &**check))
        });
        Findings(join_all(asked).await)
    }

    async fn part(&self, name: &str) -> Response {
        let found = self.ask(Some(name)).await;
        found.answer(&Said {
            status: "ok",
            service: &self.0.name,
            version: self.0.version,
            services: found.by_service(self.0.services.iter().map(|(service, _)| *service)),
        })
    }
}

/// The result of a check.
struct Finding {
    service: &'static str,
    check: &'static str,
    ok: bool,
    vital: bool,
}

struct Findings(Vec<Finding>);

async fn answer(service: &'static str, check: &dyn Check) -> Finding {
    let name = check.name();
    let error = match tokio::time::timeout(CHECK_TIME, check.check()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(crate::error::chain(&*error)),
        Err(_) => Some(format!("no answer within {} s", CHECK_TIME.as_secs())),
    };
    if let Some(error) = &error {
        tracing::warn!(service, check = name, error, "a health check failed");
    }
    Finding {
        service,
        check: name,
        ok: error.is_none(),
        vital: check.is_vital(),
    }
}

impl Findings {
    /// Each service with `ok`, or its parts that do not answer.
    fn by_service(
        &self,
        services: impl Iterator<Item = &'static str>,
    ) -> BTreeMap<&'static str, String> {
        services
            .map(|service| {
                (
                    service,
                    self.failing(Some(service)).unwrap_or_else(|| "ok".into()),
                )
            })
            .collect()
    }

    /// The parts that do not answer, as `posts: database, events`.
    fn failing(&self, service: Option<&str>) -> Option<String> {
        let failing = self.0.iter().filter(|found| !found.ok);
        let mut text = String::new();
        for found in failing.filter(|found| service.is_none_or(|service| found.service == service))
        {
            let separator = if text.is_empty() { "" } else { ", " };
            let wrote = match service {
                Some(_) => write!(text, "{separator}{} does not answer", found.check),
                None => write!(
                    text,
                    "{separator}the {} of {} does not answer",
                    found.check, found.service
                ),
            };
            wrote.expect("writing to a string does not fail");
        }
        (!text.is_empty()).then_some(text)
    }

    /// Answers `said` when all is well, otherwise 503 with the parts that do not answer.
    fn answer(&self, said: &Said<'_>) -> Response {
        match self.failing(None) {
            None => uncached(Json(said)),
            Some(failing) => uncached(
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", failing).retry_after(1),
            ),
        }
    }
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
async fn alive(State(health): State<Health>) -> Response {
    let found = health.ask(None).await;
    let ok = found.failing(None).is_none();
    uncached(Json(Said {
        status: if ok { "ok" } else { "degraded" },
        service: &health.0.name,
        version: health.0.version,
        services: found.by_service(health.0.services.iter().map(|(service, _)| *service)),
    }))
}

/// 503 while a vital part is missing; a 200 lists other missing parts.
async fn ready(State(health): State<Health>) -> Response {
    let found = health.ask(None).await;
    let services = found.by_service(health.0.services.iter().map(|(service, _)| *service));
    let vital = Findings(found.0.into_iter().filter(|found| found.vital).collect());
    vital.answer(&Said {
        status: "ready",
        service: &health.0.name,
        version: health.0.version,
        services,
    })
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

async fn page(State(health): State<Health>, request: Request) -> Result<Response, Problem> {
    if !health.0.metrics_for_all && !is_local(&request) {
        return Err(not_found().await);
    }
    let text = health
        .0
        .metrics
        .as_ref()
        .map(|metrics| metrics.encode())
        .transpose()
        .map_err(|error| {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the metrics can't be written"
            );
            Problem::internal()
        })?;
    Ok(uncached((
        [(CONTENT_TYPE, metrics::MEDIA_TYPE)],
        text.unwrap_or_default(),
    )))
}

#[derive(Serialize)]
struct Index<'a> {
    name: &'a str,
    version: &'a str,
    status: &'static str,
    services: Vec<&'static str>,
    links: BTreeMap<&'static str, &'static str>,
}

async fn index(State(health): State<Health>) -> Response {
    let links = [
        ("docs", "/docs"),
        ("redoc", "/redoc"),
        ("openapi", "/openapi.json"),
        ("health", "/health"),
        ("ready", "/ready"),
        ("metrics", METRICS),
    ];
    let metrics = health.0.metrics.is_some();
    uncached(Json(Index {
        name: &health.0.name,
        version: health.0.version,
        status: "ok",
        services: health
            .0
            .services
            .iter()
            .map(|(service, _)| *service)
            .collect(),
        links: links
            .into_iter()
            .filter(|(name, _)| metrics || *name != "metrics")
            .collect(),
    }))
}
