//! `rookery front`: the answers of a fleet as a whole. It stands behind Traefik, beside the services, and
//! answers whatever belongs to none of them.
//!
//! | path | what |
//! |---|---|
//! | `/`, `/health`, `/ready`, `/health/db`, `/health/events` | how all services are: it asks each |
//! | `/openapi.json`, `/docs`, `/redoc` | the documentation of all services in one |
//! | `/errors/{status}` | the body of an error that Traefik itself answers with (not from outside) |
//! | anything else | 404, and 400 for a path with tricks, as problem+json |
//!
//! It keeps nothing and needs nothing: while a service is away it says so.

mod documents;
mod errors;
mod remote;

use anyhow::Context;
use axum::Router;
use blocks::config::Config;
use blocks::docs;
use blocks::kit::{self, Kit, Limits};
use blocks::metrics::Metrics;
use runtime::front::health;
use runtime::listen::listen;
use runtime::signals;
use tokio_util::task::TaskTracker;

use crate::VERSION;
use crate::address::Address;

use documents::Documents;
use remote::Remote;

/// Answers for the services at `addresses` until SIGTERM or Ctrl-C.
///
/// # Errors
/// The reason why it could not start.
pub async fn run(config: &Config, addresses: &[Address]) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let stop = signals::stop(&tasks)?;
    let listener = listen(config).await?;
    let address = listener.local_addr().context("could not listen")?;
    let limits = Limits::from(config);
    let router = router(config, addresses, &limits)?;
    tracing::info!(
        version = VERSION,
        %address,
        services = addresses.len(),
        "listening: the front of the fleet"
    );
    kit::serve(listener, router, &limits, stop)
        .await
        .context("could not serve")
}

/// The router of the front.
///
/// # Errors
/// When a service can't be asked at its address.
pub fn router(config: &Config, addresses: &[Address], limits: &Limits) -> anyhow::Result<Router> {
    let metrics = Metrics::new();
    let mut health = health(config, Some(&metrics));
    let mut services = Vec::new();
    for address in addresses {
        let remote = Remote::at(address, &metrics)?;
        health = health.checking(address.service, remote.checks());
        services.push((address.service, remote));
    }
    let router = health
        .router()
        .merge(docs::pages())
        .merge(Documents::of(services).router())
        .merge(errors::router());
    Ok(Kit::new("front", limits.clone(), metrics).wrap(router))
}
