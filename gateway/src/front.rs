//! `rookery front`: what a fleet says as one. It stands behind Traefik, beside the services, and
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

use std::str::FromStr;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use blocks::config::Config;
use blocks::docs;
use blocks::health::Health;
use blocks::kit::{self, Kit, Limits};
use blocks::metrics::Metrics;
use http::Uri;
use runtime::signals;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{VERSION, serve, site};

use documents::Documents;
use remote::Remote;

/// Where a service is: `posts=http://10.0.0.3:8000`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// One of the services of this version.
    pub service: &'static str,
    /// Its address, without a slash at the end.
    pub url: String,
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, url) = text
            .split_once('=')
            .ok_or("write it as SERVICE=URL: posts=http://127.0.0.1:8103")?;
        let known = || site::ROUTES.iter().map(|(service, _)| *service);
        let service = known().find(|service| *service == name).ok_or_else(|| {
            let known: Vec<&str> = known().collect();
            format!("there is no service {name:?}, only {}", known.join(", "))
        })?;
        let url = url.trim_end_matches('/');
        let is_http = Uri::from_str(url)
            .is_ok_and(|uri| uri.scheme_str() == Some("http") && uri.host().is_some());
        if !is_http {
            return Err(format!("{url:?} is no http:// address"));
        }
        Ok(Self {
            service,
            url: url.to_owned(),
        })
    }
}

/// Answers for the services at `addresses` until SIGTERM or Ctrl-C.
///
/// # Errors
/// Why it could not start.
pub async fn run(config: &Config, addresses: &[Address]) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let signals = signals::stop_on_signal(stop.clone())?;
    let tasks = TaskTracker::new();
    tasks.spawn(signals);
    let listener = serve::bind(config).await?;
    let address = listener.local_addr().context("could not listen")?;
    let limits = Limits::from(config);
    let router = router(config, addresses, &limits);
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

/// What it answers with.
pub fn router(config: &Config, addresses: &[Address], limits: &Limits) -> Router {
    let metrics = Metrics::new();
    let shown = config.metrics_enabled.then(|| Arc::clone(&metrics));
    let mut health =
        Health::new(&config.app_name, VERSION, shown).metrics_for_all(config.metrics_public);
    let remote = Remote::new();
    for address in addresses {
        health = health.checking(address.service, remote.checks(address));
    }
    let router = health
        .router()
        .merge(docs::pages())
        .merge(Documents::new(remote, addresses).router())
        .merge(errors::router());
    Kit::new("front", limits.clone(), metrics).wrap(router)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_names_a_service_there_is_and_where_it_listens() {
        let posts: Address = "posts=http://127.0.0.1:8103/".parse().unwrap();
        assert_eq!(
            (posts.service, posts.url.as_str()),
            ("posts", "http://127.0.0.1:8103")
        );
        for (bad, why) in [
            ("posts", "SERVICE=URL"),
            ("pots=http://h:1", "no service \"pots\", only auth"),
            ("posts=h:1", "no http:// address"),
            ("posts=ftp://h", "no http:// address"),
            ("posts=", "no http:// address"),
        ] {
            let error = bad.parse::<Address>().unwrap_err();
            assert!(error.contains(why), "{bad}: {error}");
        }
    }
}
