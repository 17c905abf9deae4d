//! A service that does nothing: the kit, and the layer that checks who the gateway says is calling.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use blocks::config::Config;
use blocks::gateway::{Gateway, Table};
use blocks::identity::{AssertionVerifier, ISSUER};
use blocks::kit::{self, Kit, Limits};
use blocks::metrics::Metrics;
use blocks::{Caller, SystemClock, telemetry};
use runtime::fleet::RemoteKeys;
use tokio_util::sync::CancellationToken;

/// Answers callers at `path` with nothing; at `/`, anybody.
pub async fn serve(port: u16, path: &str, auth_url: &str) -> anyhow::Result<()> {
    let config = Config::default();
    let _telemetry = telemetry::init(&config.telemetry())?;
    let limits = Limits::from(&config);
    let keys = Arc::new(RemoteKeys::new(auth_url)?);
    let verifier = Arc::new(AssertionVerifier::new(keys, ISSUER, Arc::new(SystemClock)));
    let router = Router::new()
        .route("/", get(async || {}))
        .route(path, get(nothing));
    let kit = Kit::new("limit", limits.clone(), Metrics::new());
    let gateway = Gateway::behind_another(Table::default(), verifier);
    let app = kit.wrap_with(router, gateway);
    let never = CancellationToken::new();
    kit::serve(super::http::listen(port).await?, app, &limits, never).await?;
    Ok(())
}

async fn nothing(_: Caller) {}
