//! The application of a service that runs alone: the kit, its endpoints behind the layer that checks
//! identities, its documentation, its health.

use std::mem;
use std::sync::Arc;

use axum::Router;
use blocks::Service;
use blocks::config::Config;
use blocks::docs;
use blocks::gateway::{Gateway, Table};
use blocks::health::Health;
use blocks::identity::AssertionVerifier;
use blocks::kit::{Kit, Limits};
use blocks::metrics::Metrics;
use blocks::service::Check;
use utoipa_axum::router::OpenApiRouter;

/// The version of the fleet's executables.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Puts `service` behind its front. Takes its router out of it; the rest is for running it.
pub(super) fn build(
    service: &mut Service,
    verifier: AssertionVerifier,
    events: Arc<dyn Check>,
    config: &Config,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Router> {
    let table = Table::of([&*service])?;
    service.checks.push(events);
    let shown = config.metrics_enabled.then(|| Arc::clone(metrics));
    let health = Health::new(&config.app_name, VERSION, shown)
        .metrics_for_all(config.metrics_public)
        .checking(service.name, service.checks.clone());
    let own = mem::replace(&mut service.router, OpenApiRouter::new());
    let (endpoints, openapi) = own.split_for_parts();
    let documents = [(openapi, service.routes)];
    let openapi = docs::merge(&format!("Rookery: {}", service.name), VERSION, documents);
    let router = endpoints
        .merge(docs::router(&openapi))
        .merge(health.router());
    let kit = Kit::new(service.name, Limits::from(config), Arc::clone(metrics));
    let gateway = Gateway::behind_another(table, Arc::new(verifier));
    Ok(kit.wrap_with(router, gateway))
}
