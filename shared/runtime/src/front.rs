//! Services as one application: their routers, documentation and health, for a kit and what checks callers.

use std::mem;
use std::sync::Arc;

use axum::Router;
use blocks::config::Config;
use blocks::gateway::Table;
use blocks::health::Health;
use blocks::kit::{Kit, Limits};
use blocks::metrics::Metrics;
use blocks::service::Check;
use blocks::{Service, docs};
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

/// The release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The parts of an application, not yet put together.
pub struct Front {
    /// Goes around the router.
    pub kit: Kit,
    /// Answers every request.
    pub router: Router,
    /// The rules for callers.
    pub table: Table,
    /// The documentation of all services in one.
    pub openapi: OpenApi,
}

impl Front {
    /// The application `name` of `services`, whose routers it takes; the rest is for running them. `events`
    /// are checks of the bus, under a name of their own.
    ///
    /// # Errors
    /// When an endpoint has no rule in the route table, or a rule no endpoint.
    pub fn of(
        name: &'static str,
        title: &str,
        services: &mut [Service],
        events: Option<(&'static str, Arc<dyn Check>)>,
        config: &Config,
        metrics: &Arc<Metrics>,
    ) -> anyhow::Result<Self> {
        let table = Table::of(&*services)?;
        let mut kit = Kit::new(name, Limits::from(config), Arc::clone(metrics));
        let mut health = health(config, Some(metrics));
        let mut router = Router::new();
        let mut documents = Vec::new();
        for service in services {
            let own = mem::replace(&mut service.router, OpenApiRouter::new());
            let (endpoints, openapi) = own.split_for_parts();
            router = router.merge(endpoints);
            documents.push((openapi, service.routes));
            kit = kit.naming(service.name, service.routes);
            health = health.checking(service.name, service.checks.clone());
        }
        if let Some((name, check)) = events {
            health = health.checking(name, vec![check]);
        }
        let openapi = docs::merge(title, VERSION, documents);
        let router = router.merge(docs::router(&openapi)).merge(health.router());
        Ok(Self {
            kit,
            router,
            table,
            openapi,
        })
    }
}

/// The health of a process; with `metrics` where it is configured to show them.
pub fn health(config: &Config, metrics: Option<&Arc<Metrics>>) -> Health {
    let shown = metrics.filter(|_| config.metrics_enabled).cloned();
    Health::new(&config.app_name, VERSION, shown).metrics_for_all(config.metrics_public)
}
