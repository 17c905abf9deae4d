//! The client, asking servers that behave badly.
#![expect(clippy::unwrap_used, reason = "a test may fail")]

mod auth;
mod limits;
mod redirects;
mod retries;
mod secrets;
mod server;
mod surplus;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use blocks::metrics::Metrics;
use http_client::{Client, Retry, Settings};

use server::Server;

/// A client of `server` that is tried with, and its metrics.
fn client(server: &Server, with: impl FnOnce(&mut Settings)) -> (Client, Arc<Metrics>) {
    let mut settings = Settings {
        // Long enough for a busy machine: the tests that wait for one set it themselves.
        timeout: Duration::from_mins(1),
        idle_timeout: Duration::from_mins(1),
        retry: Retry {
            burst: 100.0,
            ..Retry::default()
        },
        ..Settings::new("test", server.url())
    };
    with(&mut settings);
    let metrics = Metrics::new();
    (Client::new(settings, &metrics).unwrap(), metrics)
}
