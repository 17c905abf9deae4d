//! One front for all services: kit, CORS, compression, gateway, documentation, health.
//!
//! Web pages of other origins may call only where `CORS_ALLOW_ORIGINS` names them; it is empty by default.
//! Then a page that a user happens to visit can't read an answer of a server on their own machine, nor send
//! it JSON or a token. What browsers send without asking first still arrives, and no handler changes anything
//! for it. `/metrics` answers this machine alone, see [`blocks::health`], unless `METRICS_PUBLIC` opens it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use blocks::Service;
use blocks::config::Config;
use blocks::gateway::{Authenticator, Gateway};
use blocks::kit::Limits;
use blocks::metrics::Metrics;
use blocks::problem::{RATE_LIMIT, RATE_LIMIT_POLICY};
use blocks::service::Check;
use http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_NONE_MATCH, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method};
use runtime::front::Front;
use tower_http::cors::{Any, CorsLayer};
use utoipa::openapi::OpenApi;

use crate::compress::WhereAsked;

/// The time for which a browser may remember the answer to a preflight request.
const PREFLIGHT_AGE: Duration = Duration::from_hours(1);

/// The application with its documentation and limits.
pub struct App {
    /// Answers every request.
    pub router: Router,
    /// The documentation of all services in one.
    pub openapi: OpenApi,
    /// The limits its kit keeps.
    pub limits: Limits,
}

/// Puts `services` behind one front. Takes their routers out of them; the rest is for running them.
///
/// # Errors
/// When an endpoint has no rule in the route table, or a rule no endpoint.
pub fn build(
    services: &mut [Service],
    auth: Arc<dyn Authenticator>,
    events: Option<Arc<dyn Check>>,
    config: &Config,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<App> {
    let events = events.map(|check| ("event-log", check));
    let front = Front::of("rookery", "Rookery", services, events, config, metrics)?;
    let limits = front.kit.limits().clone();
    let inner = (WhereAsked, Gateway::new(front.table, auth));
    let mut router = front.kit.wrap_with(front.router, inner);
    if let Some(cors) = cors(&config.cors_allow_origins) {
        router = router.layer(cors);
    }
    Ok(App {
        router,
        openapi: front.openapi,
        limits,
    })
}

/// Lets web pages of `origins` call; nobody's when there are none, which keeps the layer away too.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let name = HeaderName::from_static;
    let cors = CorsLayer::new()
        .allow_methods([
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ])
        .allow_headers([
            AUTHORIZATION,
            CONTENT_TYPE,
            IF_NONE_MATCH,
            name("idempotency-key"),
            name("x-correlation-id"),
            name("x-request-id"),
            name("traceparent"),
            name("tracestate"),
        ])
        .expose_headers([
            ETAG,
            RETRY_AFTER,
            RATE_LIMIT,
            RATE_LIMIT_POLICY,
            name("x-correlation-id"),
            name("x-request-id"),
        ])
        .max_age(PREFLIGHT_AGE);
    if origins.iter().any(|origin| origin == "*") {
        return Some(cors.allow_origin(Any));
    }
    let origins = origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok());
    Some(cors.allow_origin(origins.collect::<Vec<_>>()))
}
