//! Connections: accepts them, serves HTTP/1.1 on each, and stops in an orderly way.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Method, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use super::stall::Impatient;
use super::{Limits, Normalize, PEER_ASKED, Peer};

/// After a failed accept (no file descriptors left, mostly): time for connections to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long a stop waits for a connection on which nothing was ever asked, in case the first
/// request is on its way.
const FIRST_REQUEST: Duration = Duration::from_millis(250);
/// hyper's smallest buffer size.
const LEAST_BUFFER: usize = 8192;

/// Serves `app` (see [`super::Kit::wrap`]) on `listener` until `stop` is cancelled. Then it takes no more
/// connections and finishes the requests under way. It returns when they are done or the grace period has
/// ended, whichever comes first.
///
/// While there are as many connections as there may be, new ones wait in the system's queue.
///
/// A head that is no HTTP or over the limit is answered by the HTTP parser, with an empty 400 or 431.
///
/// # Errors
/// When the listener is broken.
pub async fn serve(
    listener: TcpListener,
    app: Router,
    limits: &Limits,
    stop: CancellationToken,
) -> io::Result<()> {
    listener.local_addr()?;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.head_time)
        .max_buf_size(limits.head.max(LEAST_BUFFER))
        .max_header_size(limits.head);
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let app = Normalize(app);
    let places = Arc::new(Semaphore::new(
        limits.connections.min(Semaphore::MAX_PERMITS),
    ));
    loop {
        let place = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            place = places.clone().acquire_owned() => place.map_err(io::Error::other)?,
        };
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let handler = Handler {
                    app: app.clone(),
                    asked: Arc::default(),
                    peer: peer.ip().to_canonical(),
                };
                let connection = Connection {
                    stream,
                    patience: limits.write_time,
                    _place: place,
                };
                let work = connection.serve(http.clone(), handler, stop.clone());
                connections.spawn(cut.clone().run_until_cancelled_owned(work));
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "could not accept a connection"
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.grace, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "the grace period ended before all requests did"
        );
        cut.cancel();
        connections.wait().await;
    }
    Ok(())
}

/// True if the error is about a client that left again, not about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

struct Connection {
    stream: TcpStream,
    patience: Duration,
    /// Given back when the connection has ended.
    _place: OwnedSemaphorePermit,
}

impl Connection {
    async fn serve(self, http: http1::Builder, handler: Handler, stop: CancellationToken) {
        // Without it a small answer may wait 40 ms for the client's acknowledgement of the one before.
        if let Err(error) = self.stream.set_nodelay(true) {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "could not set TCP_NODELAY"
            );
        }
        let asked = handler.asked.clone();
        let stream = TokioIo::new(Impatient::new(self.stream, self.patience));
        let mut serving = pin!(http.serve_connection(stream, handler));
        let served = tokio::select! {
            ended = serving.as_mut() => Some(ended),
            () = stop.cancelled() => None,
        };
        let mut ended = served;
        if ended.is_none() && !asked.load(Ordering::Relaxed) {
            // hyper would close it at once, with a request that it has not read.
            let first = tokio::time::timeout(FIRST_REQUEST, serving.as_mut()).await;
            ended = first.ok();
        }
        let ended = match ended {
            Some(ended) => ended,
            None if asked.load(Ordering::Relaxed) => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
            None => Ok(()),
        };
        if let Err(error) = ended {
            // A client that leaves, that takes no answer, or that sends no HTTP: nothing of ours.
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "a connection ended early"
            );
        }
    }
}

/// The router as hyper calls it.
struct Handler {
    app: Normalize<Router>,
    asked: Arc<AtomicBool>,
    peer: IpAddr,
}

impl hyper::service::Service<Request<Incoming>> for Handler {
    type Response = Response;
    type Error = Infallible;
    type Future = <Router as Service<Request<Body>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        self.asked.store(true, Ordering::Relaxed);
        let path = request.uri().path();
        if request.method() == Method::POST || PEER_ASKED.iter().any(|of| path.starts_with(of)) {
            request.extensions_mut().insert(Peer(self.peer));
        }
        self.app.clone().call(request.map(Body::new))
    }
}
