//! A service that does nothing: the kit, and the layer that checks who the gateway says is calling.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use blocks::gateway::{Gateway, Table};
use blocks::identity::{AssertionVerifier, ISSUER};
use blocks::metrics::Metrics;
use blocks::{Caller, SystemClock};
use runtime::fleet::RemoteKeys;

/// Answers callers at `path` with nothing; at `/`, anybody.
pub async fn serve(port: u16, path: &str, auth_url: &str) -> anyhow::Result<()> {
    let keys = Arc::new(RemoteKeys::new(auth_url, &Metrics::new())?);
    let verifier = Arc::new(AssertionVerifier::new(keys, ISSUER, Arc::new(SystemClock)));
    let router = Router::new()
        .route("/", get(async || {}))
        .route(path, get(nothing));
    let gateway = Gateway::behind_another(Table::default(), verifier);
    super::http::serve(port, |kit| kit.wrap_with(router, gateway)).await
}

async fn nothing(_: Caller) {}
