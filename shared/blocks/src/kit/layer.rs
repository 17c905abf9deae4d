//! The layer itself.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::FutureExt;
use http::header::{CONNECTION, EXPECT, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt, Limited};
use tower::{Layer, Service};
use tracing::Instrument;

use super::ids::{CORRELATION_ID, Ids, REQUEST_ID};
use super::normalize::BadPath;
use super::route::{RouteStats, name};
use super::{Kit, Limits};
use crate::context::{self, RequestContext};
use crate::error::panic_text;
use crate::extract::{BodyLimit, too_large};
use crate::problem::{Logged, Problem};

#[derive(Debug, Clone)]
pub(super) struct KitLayer(pub Arc<Kit>);

impl<S> Layer<S> for KitLayer {
    type Service = Around<S>;

    fn layer(&self, inner: S) -> Around<S> {
        Around {
            inner,
            kit: self.0.clone(),
            route: Arc::default(),
        }
    }
}

/// The kit around one route. axum makes one of these for each, so a route's facts are found once.
#[derive(Debug, Clone)]
pub(super) struct Around<S> {
    inner: S,
    kit: Arc<Kit>,
    route: Arc<OnceLock<RouteStats>>,
}

impl<S> Service<Request> for Around<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let started = Instant::now();
        self.route
            .get_or_init(|| self.kit.stats(request.extensions().get::<MatchedPath>()));
        let method = name(request.method());
        let bad_path = request.extensions().get::<BadPath>();
        let path = bad_path.map_or(request.uri().path(), |bad| &bad.path);
        let ids = Ids::of(request.headers(), path);
        let admitted = match bad_path {
            Some(bad) => Err(Refused::at_once(Problem::bad_request("bad_path", bad.why))),
            None => limit_body(request, self.kit.limits.body),
        };
        let work = admitted.map(|request| self.inner.call(request));
        let (kit, route) = (self.kit.clone(), self.route.clone());
        Box::pin(async move {
            let (request_id, correlation_id) = (ids.request, ids.correlation);
            let request = Arc::new(ids.context);
            let mut response = context::scope(request.clone(), async {
                let response = match work {
                    Ok(work) => guarded(work, &kit.limits, &request).await,
                    Err(refused) => refused.answer().await,
                };
                if let Some(route) = route.get() {
                    let took = started.elapsed();
                    route.record(&kit.metrics, method, response.status().as_u16(), took);
                    let quiet = route.quiet || request.for_gateway.load(Ordering::Relaxed);
                    log(route, method, &response, took, quiet);
                }
                response
            })
            .instrument(tracing::info_span!("http.request"))
            .await;
            if !request.for_gateway.load(Ordering::Relaxed) {
                let headers = response.headers_mut();
                headers.insert(REQUEST_ID, request_id);
                headers.insert(CORRELATION_ID, correlation_id);
                headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            }
            Ok(response)
        })
    }
}

/// A request that does not reach its handler.
struct Refused {
    problem: Problem,
    /// The body that its client is still sending.
    unread: Option<Body>,
}

impl Refused {
    fn at_once(problem: Problem) -> Self {
        Self {
            problem,
            unread: None,
        }
    }

    /// Reads on for a while before it answers: closing the connection on a client that still sends
    /// would reset it, and the client would never see the answer.
    async fn answer(self) -> Response {
        if let Some(mut body) = self.unread {
            let drain = async {
                let mut left = LINGER_BYTES;
                while let Some(Ok(frame)) = body.frame().await {
                    let size = frame.data_ref().map_or(0, Bytes::len);
                    match left.checked_sub(size) {
                        Some(rest) => left = rest,
                        None => return,
                    }
                }
            };
            // Whoever sends for longer is cut off.
            drop(tokio::time::timeout(LINGER, drain).await);
        }
        self.problem.into_response()
    }
}

/// How much of a body over the limit is read and thrown away, in bytes.
const LINGER_BYTES: usize = 16 << 20;
/// For how long at most.
const LINGER: Duration = Duration::from_secs(1);

/// Refuses a body that says it is too large, and cuts one that says nothing where the limit is.
fn limit_body(mut request: Request, limit: usize) -> Result<Request, Refused> {
    let size = request.body().size_hint();
    if size.upper() == Some(0) {
        return Ok(request);
    }
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    if size.lower() > most {
        // A client that asks first has not sent anything.
        let asks_first = request.headers().contains_key(EXPECT);
        return Err(Refused {
            problem: too_large(limit),
            unread: (!asks_first).then(|| request.into_body()),
        });
    }
    request.extensions_mut().insert(BodyLimit(limit));
    if size.upper().is_some_and(|size| size <= most) {
        return Ok(request);
    }
    Ok(request.map(|body| Body::new(Limited::new(body, limit))))
}

/// The answer of `work`, or the one given when it takes too long or panics.
async fn guarded<F>(work: F, limits: &Limits, request: &RequestContext) -> Response
where
    F: Future<Output = Result<Response, Infallible>>,
{
    let mut work = pin!(AssertUnwindSafe(work).catch_unwind());
    let receiving = || request.receiving.load(Ordering::Relaxed);
    // One timer for both limits: whose time is over is asked when the shorter one has passed.
    let first = limits.body_time.min(limits.time);
    let rest = limits.time.saturating_sub(first);
    let mut answer = tokio::time::timeout(first, work.as_mut()).await;
    if answer.is_err() && !rest.is_zero() && !receiving() {
        answer = tokio::time::timeout(rest, work).await;
    }
    match answer {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(never))) => match never {},
        Ok(Err(panic)) => {
            tracing::error!(error = panic_text(&*panic), "a handler panicked");
            let mut response = Problem::internal().into_response();
            response.extensions_mut().insert(Logged);
            response
        }
        Err(_) if receiving() => {
            let mut response = Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the body did not arrive in time; nothing was changed",
            )
            .into_response();
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
            response
        }
        Err(_) => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "timeout",
            "the answer took too long; whether a change was made must be looked up",
        )
        .into_response(),
    }
}

/// One line a request. A 5xx is an error unless its cause was logged already.
fn log(route: &RouteStats, method: &'static str, response: &Response, took: Duration, quiet: bool) {
    let status = response.status();
    let logged = response.extensions().get::<Logged>().is_some();
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: context::ACCESS,
                service = route.service,
                method,
                route = &*route.route,
                status = status.as_u16(),
                duration_ms = (took.as_secs_f64() * 100_000.0).round() / 100.0,
                "{method} {} {}",
                route.route,
                status.as_u16(),
            )
        };
    }
    if status.is_server_error() && !logged {
        line!(error);
    } else if quiet {
        line!(debug);
    } else {
        line!(info);
    }
}
