//! Servers that do as little as possible.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::serve::ListenerExt;
use blocks::config::Config;
use blocks::kit::{self, Kit, Limits};
use blocks::metrics::Metrics;
use blocks::telemetry;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// An empty handler, and axum.
pub async fn bare(port: u16) -> anyhow::Result<()> {
    let listener = listen(port).await?.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            eprintln!("could not set TCP_NODELAY: {error}");
        }
    });
    axum::serve(listener, Router::new().route("/", get(nothing))).await?;
    Ok(())
}

/// The kit as rookery has it, with the log written as rookery writes it, around a handler that
/// answers with nothing or with the bytes of a file.
pub async fn kit(port: u16, answer: Option<PathBuf>) -> anyhow::Result<()> {
    let config = Config::default();
    let _telemetry = telemetry::init(&config)?;
    let limits = Limits::from(&config);
    let route = match answer {
        None => get(nothing),
        Some(path) => {
            let bytes = Bytes::from(std::fs::read(path)?);
            get(async move || ([(CONTENT_TYPE, "application/json")], bytes))
        }
    };
    let app =
        Kit::new("limit", limits.clone(), Metrics::new()).wrap(Router::new().route("/", route));
    let never = CancellationToken::new();
    kit::serve(listen(port).await?, app, &limits, never).await?;
    Ok(())
}

async fn nothing() {}

/// Listens on the loopback interface.
pub async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?)
}
