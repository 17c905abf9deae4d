//! gzip for clients that ask for it, and no cost for those that do not.

use std::convert::Infallible;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures::FutureExt;
use futures::future::{BoxFuture, Either};
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use tower::{Layer, Service};
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Below it, packing costs more than it spares.
const WORTH_IT: u64 = 1024;

/// Compresses bodies over about 1 KiB where the request takes gzip. Event streams stay as they are:
/// packing would hold events back.
#[derive(Debug, Clone, Copy)]
pub struct WhereAsked;

impl<S: Clone> Layer<S> for WhereAsked {
    type Service = Compressing<S>;

    fn layer(&self, inner: S) -> Compressing<S> {
        Compressing(inner)
    }
}

#[derive(Debug, Clone)]
pub struct Compressing<S>(S);

impl<S> Service<Request> for Compressing<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(task)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        if !takes_gzip(request.headers()) {
            return Either::Left(self.0.call(request));
        }
        let worth_it = SizeAbove::new(WORTH_IT)
            .and(NotForContentType::IMAGES)
            .and(NotForContentType::SSE);
        let ready = &mut self.0;
        let mut packing = Compression::new(ready)
            .quality(CompressionLevel::Fastest)
            .compress_when(worth_it);
        let packed = packing.call(request);
        Either::Right(
            packed
                .map(|answered| answered.map(|response| response.map(Body::new)))
                .boxed(),
        )
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT_ENCODING)
        .iter()
        .any(|value| value.as_bytes().windows(4).any(|word| word == b"gzip"))
}
