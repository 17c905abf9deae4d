//! What a piece of work belongs to: the request (or the event) that caused it. It is carried by the
//! task, so that a log line, an event and a problem all name the same trace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use events::Context;

tokio::task_local! {
    static CURRENT: Arc<RequestContext>;
}

/// The request that is being served.
#[derive(Debug, Default)]
pub struct RequestContext {
    /// 32 lower-case hex digits.
    pub trace_id: String,
    /// 16 lower-case hex digits.
    pub span_id: String,
    /// Given by the client or made here.
    pub correlation_id: String,
    /// The request's path, without its query.
    pub path: String,
    /// The path of the request that this one asks about, where a gateway asks about one.
    pub about: OnceLock<String>,
    /// Who is calling, once that is known; for log lines.
    pub user_id: OnceLock<i64>,
    /// Whether the client is waited for: it has not sent all of its body yet.
    pub receiving: AtomicBool,
    /// Whether a gateway reads the answer, which looks at nothing but the identity in it.
    pub for_gateway: AtomicBool,
}

impl RequestContext {
    /// W3C `traceparent` for what this work causes.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }
}

/// The request this task serves, if it serves one.
pub fn current() -> Option<Arc<RequestContext>> {
    CURRENT.try_with(Clone::clone).ok()
}

/// Notes who is calling, so that log lines of this request name the account.
pub fn identify(user_id: i64) {
    let _ = CURRENT.try_with(|request| request.user_id.set(user_id));
}

/// Notes which path this request asks about: problems name that one.
pub fn asks_about(path: &str) {
    let _ = CURRENT.try_with(|request| request.about.set(path.to_owned()));
}

/// Notes that a gateway reads the answer to this request, and nobody behind it: it goes without the ids
/// and security headers, which would be the larger part of what it says, and without an access line: the
/// request that it is about has one of its own.
pub fn answers_gateway() {
    let _ = CURRENT.try_with(|request| request.for_gateway.store(true, Ordering::Relaxed));
}

/// Runs `work`, which waits for nothing but the client's body: should it take too long, that is the
/// client's doing.
pub(crate) async fn receiving<F: Future>(work: F) -> F::Output {
    let mark = |on| {
        let _ = CURRENT.try_with(|request| request.receiving.store(on, Ordering::Relaxed));
    };
    mark(true);
    let received = work.await;
    mark(false);
    received
}

/// The context for events that this task causes.
pub fn for_events() -> Context {
    current().map_or_else(Context::default, |request| Context {
        traceparent: Some(request.traceparent()),
        correlation_id: Some(request.correlation_id.clone()),
    })
}

/// Runs `work` as part of `request`.
pub async fn scope<F: Future>(request: Arc<RequestContext>, work: F) -> F::Output {
    CURRENT.scope(request, work).await
}
