//! Servers that do as little as possible.

use std::io::Read;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::Context;
use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::map_response;
use axum::response::Response;
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
    // Any path is answered: a gateway in front may forward its own.
    let app = Router::new().route("/", get(nothing)).fallback(nothing);
    axum::serve(listener, app).await?;
    Ok(())
}

/// The kit and its log as rookery has them, around a handler that answers with nothing or with the bytes of a
/// file. Another file may hold the headers of the answer.
pub async fn kit(
    port: u16,
    answer: Option<PathBuf>,
    headers: Option<PathBuf>,
) -> anyhow::Result<()> {
    let route = match answer {
        None => get(nothing),
        Some(path) => {
            let bytes = Bytes::from(std::fs::read(path)?);
            get(async move || ([(CONTENT_TYPE, "application/json")], bytes))
        }
    };
    let mut routes = Router::new().route("/", route);
    if let Some(path) = headers {
        let headers = headers_of(&std::fs::read_to_string(path)?)?;
        routes = routes.layer(map_response(move |mut response: Response| {
            response.headers_mut().extend(headers.clone());
            async { response }
        }));
    }
    serve(port, |kit| kit.wrap(routes)).await
}

/// Serves what `wrap` makes, with the log of a rookery.
pub async fn serve(port: u16, wrap: impl FnOnce(Kit) -> Router) -> anyhow::Result<()> {
    let config = Config::default();
    let _telemetry = telemetry::init(&config.telemetry())?;
    let limits = Limits::from(&config);
    let app = wrap(Kit::new("limit", limits.clone(), Metrics::new()));
    let never = CancellationToken::new();
    kit::serve(listen(port).await?, app, &limits, never).await?;
    Ok(())
}

async fn nothing() {}

fn headers_of(text: &str) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for line in text.lines() {
        let (name, value) = line.split_once(": ").context("a line is no header")?;
        headers.insert(HeaderName::try_from(name)?, HeaderValue::try_from(value)?);
    }
    Ok(headers)
}

/// Listens on the loopback interface, until standard input ends: then whoever started this process is gone.
async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    std::thread::Builder::new()
        .name("parent".into())
        .spawn(|| {
            // Nothing is ever written to it: this returns when it is closed.
            let outcome = std::io::stdin().read(&mut [0]);
            std::process::exit(i32::from(outcome.is_err()));
        })?;
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?)
}
