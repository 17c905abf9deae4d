//! The private port of a service that runs alone: the operators' API, for clients that sign with
//! `OPERATOR_KEY`.

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use blocks::config::Config;
use blocks::identity::{OperatorKey, bearer};
use blocks::service::Background;
use blocks::{Clock, Problem};
use service::Definition;
use service::settings::OPERATOR_PORT;
use tokio::net::TcpListener;

use super::Listening;
use crate::listen;

/// The port, taken and not served yet.
pub struct Port {
    /// For an answer until it is served.
    pub(crate) listener: std::net::TcpListener,
    guard: Guard,
}

impl Port {
    /// Takes `OPERATOR_PORT`; `None` where that is not set.
    ///
    /// # Errors
    /// When `OPERATOR_KEY` is absent, or the port is taken.
    pub async fn bind(
        of: &Definition,
        config: &Config,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<Option<Self>> {
        let port = config.get(&OPERATOR_PORT);
        if port == 0 {
            return Ok(None);
        }
        let (setting, secret) = of.operator_secret(config);
        let secret = secret.with_context(|| {
            format!(
                "{setting} is not set: whoever reaches OPERATOR_PORT must sign with it; \
                 `openssl rand -base64 32` makes a good one"
            )
        })?;
        let guard = Guard {
            key: OperatorKey::new(secret.expose(), of.name),
            clock: Arc::clone(clock),
        };
        let listener = listen::at(config, port, OPERATOR_PORT.name).await?;
        let listener = listener.into_std()?;
        Ok(Some(Self { listener, guard }))
    }

    /// Serves `api` there.
    ///
    /// # Errors
    /// When the listener can't be used any more.
    pub fn serve(self, api: Router) -> anyhow::Result<Arc<dyn Background>> {
        let api = api.layer(from_fn_with_state(self.guard, check));
        let listener = TcpListener::from_std(self.listener).context("could not listen")?;
        let name = "the private port for operators";
        Ok(Listening::on(listener, name, api))
    }
}

#[derive(Clone)]
struct Guard {
    key: OperatorKey,
    clock: Arc<dyn Clock>,
}

async fn check(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let is_signed = matches!(
        bearer(request.headers()),
        Ok(Some(assertion)) if guard.key.verifies(assertion, guard.clock.now())
    );
    if is_signed {
        return next.run(request).await;
    }
    let why = "this port wants an assertion signed for this service with its key, and this is none, or an old one";
    Problem::unauthorized("not_an_operator", why).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use blocks::SystemClock;
    use http::StatusCode;
    use http::header::AUTHORIZATION;
    use tower::ServiceExt;

    use super::*;

    const KEY: &str = "0123456789abcdef0123456789abcdef";

    #[tokio::test]
    async fn only_what_is_signed_with_the_key_is_answered() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let guard = Guard {
            key: OperatorKey::new(KEY, "posts"),
            clock: Arc::clone(&clock),
        };
        let api = Router::new().route("/groups", get(async || "[]"));
        let api = api.layer(from_fn_with_state(guard, check));
        let signed = |key: &str| OperatorKey::new(key, "posts").assertion(clock.now());
        for (carried, status) in [
            (Some(format!("Bearer {}", signed(KEY))), StatusCode::OK),
            (
                Some(format!("Basic {}", signed(KEY))),
                StatusCode::UNAUTHORIZED,
            ),
            (
                Some(format!("Bearer {}", signed(&KEY.replace('0', "1")))),
                StatusCode::UNAUTHORIZED,
            ),
            (Some(format!("Bearer {KEY}")), StatusCode::UNAUTHORIZED),
            (None, StatusCode::UNAUTHORIZED),
        ] {
            let mut request = Request::get("/groups");
            if let Some(carried) = &carried {
                request = request.header(AUTHORIZATION, carried);
            }
            let request = request.body(Body::empty()).unwrap();
            let answer = api.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{carried:?}");
        }
    }
}
