//! The request or event that caused a piece of work. The task carries it, so that a log line, an event and
//! a problem all name the same trace.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use events::{Context, Traceparent};

/// The log target of access lines.
pub const ACCESS: &str = "http";

tokio::task_local! {
    static CURRENT: Option<Cause>;
}

/// A piece of work's place in its trace.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    /// The context passed on to work that this causes. Its span is this work's own.
    pub own: Context,
    /// The span that caused the work, where somebody named it.
    pub parent: Option<Traceparent>,
}

impl Trace {
    /// Work that `cause` caused: a new span of the same trace.
    pub fn under(cause: &Context) -> Self {
        let mut own = cause.clone();
        let parent = own.traceparent;
        own.traceparent = parent.map(|parent| parent.with_span(rand::random()));
        Self { own, parent }
    }

    /// 32 lower-case hex digits; empty where the work belongs to no trace.
    pub fn id(&self) -> &str {
        let traceparent = self.own.traceparent.as_ref();
        traceparent.map_or("", Traceparent::trace_id)
    }
}

/// The request that is being served.
#[derive(Debug, Default)]
pub struct RequestContext {
    /// Its trace, which began here where the client named none, and its correlation id.
    pub trace: Trace,
    /// The request's path, without its query.
    pub path: String,
    /// The path of the request that this one asks about, where a gateway asks about one.
    pub about: OnceLock<String>,
    /// The caller's account, once it is known; for log lines.
    pub user_id: OnceLock<i64>,
    /// True while the client has not sent all of its body.
    pub receiving: AtomicBool,
    /// True if a gateway reads the answer, which needs only the identity in it.
    pub for_gateway: AtomicBool,
    /// True once the cause of its failure is in the log.
    pub failure_logged: AtomicBool,
}

/// The cause of a task. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Cause {
    /// A request.
    Request(Arc<RequestContext>),
    /// An event.
    Event(Trace),
}

impl Cause {
    /// The trace that the work belongs to.
    pub fn trace(&self) -> &Trace {
        match self {
            Self::Request(request) => &request.trace,
            Self::Event(trace) => trace,
        }
    }

    /// The request, if it is one.
    pub fn request(&self) -> Option<&RequestContext> {
        match self {
            Self::Request(request) => Some(request),
            Self::Event(_) => None,
        }
    }
}

/// The cause of this task, as far as it is known.
pub fn cause() -> Option<Cause> {
    CURRENT.try_with(Clone::clone).ok().flatten()
}

/// The request this task serves, if it serves one.
pub fn current() -> Option<Arc<RequestContext>> {
    with_request(Arc::clone)
}

fn with_request<T>(use_it: impl FnOnce(&Arc<RequestContext>) -> T) -> Option<T> {
    let used = CURRENT.try_with(|cause| match cause {
        Some(Cause::Request(request)) => Some(use_it(request)),
        _ => None,
    });
    used.ok().flatten()
}

/// Notes who is calling, so that log lines of this request name the account.
pub fn identify(user_id: i64) {
    with_request(|request| request.user_id.set(user_id).ok());
}

/// Notes which path this request asks about: problems name that one.
pub fn asks_about(path: &str) {
    with_request(|request| request.about.set(path.to_owned()).ok());
}

/// Notes that a gateway reads the answer to this request, and nobody behind it. The answer then has no ids
/// and security headers, which would be the larger part of it. Nor does it get an access line, as the
/// request behind it has its own.
pub fn answers_gateway() {
    with_request(|request| request.for_gateway.store(true, Ordering::Relaxed));
}

/// Notes that the log has the cause why this request fails, so that its answer does not log it again.
pub(crate) fn failure_logged() {
    with_request(|request| request.failure_logged.store(true, Ordering::Relaxed));
}

/// True if the log has the cause why this request fails.
pub(crate) fn is_failure_logged() -> bool {
    with_request(|request| request.failure_logged.load(Ordering::Relaxed)).unwrap_or_default()
}

/// Runs `work`, which waits for nothing but the client's body: should it take too long, that is the
/// client's doing.
pub(crate) async fn receiving<F: Future>(work: F) -> F::Output {
    let mark = |on| {
        with_request(|request| request.receiving.store(on, Ordering::Relaxed));
    };
    mark(true);
    let received = work.await;
    mark(false);
    received
}

/// The context for events that this task causes.
pub fn for_events() -> Context {
    let own = |cause: &Option<Cause>| Some(cause.as_ref()?.trace().own.clone());
    CURRENT.try_with(own).ok().flatten().unwrap_or_default()
}

/// Runs `work` as part of `request`.
pub fn scope<F: Future>(request: Arc<RequestContext>, work: F) -> impl Future<Output = F::Output> {
    resume(Some(Cause::Request(request)), work)
}

/// Runs `work` for the [`cause`] of another task, which handed it over.
pub fn resume<F: Future>(cause: Option<Cause>, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(cause, work)
}

/// Runs `work`, which an event with that context caused.
pub fn caused_by<F: Future>(event: &Context, work: F) -> impl Future<Output = F::Output> + use<F> {
    resume(Some(Cause::Event(Trace::under(event))), work)
}

/// Runs `work`, which is about an event with that context and causes nothing: its log lines name the
/// event's trace.
pub fn about<T>(event: &Context, work: impl FnOnce() -> T) -> T {
    let trace = Trace {
        own: event.clone(),
        parent: None,
    };
    CURRENT.sync_scope(Some(Cause::Event(trace)), work)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";

    fn given() -> Context {
        Context {
            traceparent: Traceparent::parse(GIVEN),
            tracestate: Some("rojo=1".into()),
            correlation_id: Some("c-1".into()),
        }
    }

    #[tokio::test]
    async fn what_an_event_causes_is_a_new_span_of_its_trace() {
        let (own, trace) = caused_by(&given(), async { (for_events(), cause().unwrap()) }).await;
        let span = own.traceparent.unwrap();
        assert_eq!(span.trace_id(), given().traceparent.unwrap().trace_id());
        assert_ne!(span.span_id(), "b7ad6b7169203331");
        assert!(!span.is_sampled());
        assert_eq!(trace.trace().parent, given().traceparent);
        let unchanged = Context {
            traceparent: given().traceparent,
            ..own
        };
        assert_eq!(unchanged, given());
        let other = caused_by(&given(), async { for_events() }).await;
        assert_ne!(other.traceparent, Some(span), "each has a span of its own");
    }

    #[tokio::test]
    async fn work_goes_on_for_its_cause_on_another_task_and_an_event_is_no_request() {
        assert_eq!(for_events(), Context::default());
        let told = caused_by(&given(), async {
            assert!(current().is_none());
            let (own, cause) = (for_events(), cause());
            let there = tokio::task::spawn_blocking(move || {
                CURRENT.sync_scope(cause, || (for_events(), about(&given(), for_events)))
            });
            (own, there.await.unwrap())
        });
        let (own, (resumed, about_it)) = told.await;
        assert_eq!(own, resumed);
        assert_eq!(about_it, given());
    }
}
