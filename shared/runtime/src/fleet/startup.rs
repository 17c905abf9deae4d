//! The startup server of a service that waits for its servers: it is alive, names the missing parts, and
//! asks all other clients to come back.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::middleware::map_response;
use axum::response::Response;
use axum::routing::any;
use blocks::Problem;
use blocks::config::Config;
use blocks::kit::{self, Kit, Limits};
use blocks::metrics::Metrics;
use blocks::service::Check;
use http::HeaderValue;
use http::header::CONNECTION;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::wait::Waits;
use crate::front::health;

/// A server on the service's future listeners.
pub(super) struct StartupServer {
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl StartupServer {
    /// Opens it on `listeners`, which stay open: connections made during the change are served by the
    /// service.
    pub(super) fn open<'a>(
        name: &'static str,
        listeners: impl IntoIterator<Item = &'a std::net::TcpListener>,
        config: &Config,
        waits: &Waits,
    ) -> anyhow::Result<Self> {
        let waiting = vec![Arc::new(waits.clone()) as Arc<dyn Check>];
        let health = health(config, None).checking(name, waiting);
        let come_back = any(async || Problem::unavailable("starting").retry_after(1));
        // A connection is not kept: its next request is for the service.
        let close = map_response(async |mut response: Response| {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
            response
        });
        let router: Router = health.router().route("/{*path}", come_back).layer(close);
        let limits = Limits::from(config);
        let app = Kit::new(name, limits.clone(), Metrics::new()).wrap(router);
        let server = Self {
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        for listener in listeners {
            let listener = listener.try_clone().and_then(TcpListener::from_std);
            let listener = listener.context("could not listen")?;
            let (app, limits, stop) = (app.clone(), limits.clone(), server.stop.clone());
            server.tasks.spawn(async move {
                if let Err(error) = kit::serve(listener, app, &limits, stop).await {
                    tracing::warn!(%error, "nobody is told what is missing");
                }
            });
        }
        Ok(server)
    }

    /// Closes it when the requests in it are answered.
    pub(super) async fn close(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
