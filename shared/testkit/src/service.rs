//! A service as its callers and its events meet it: no network, no loops, every step on demand.
//!
//! This is all that the tests of a new service need:
//!
//! ```text
//! fn app(db: &TestDb) -> App {
//!     App::on(db, tasks::service(&Tasks::open(db.db.clone())))
//! }
//!
//! on_each_database!(a_closed_account_leaves_no_task, NAME, MIGRATIONS, async |db: TestDb| {
//!     let app = app(&db);
//!     app.post(1, "/api/tasks", r#"{"title":"t"}"#).await.expect(201);
//!     app.post(1, "/api/tasks", "{}").await.problem(400, "validation_failed");
//!     assert_eq!(app.drain().await[0].event_type, "task.created");
//!     let closed = app.record(1, &UserDeleted { user_id: 1 });
//!     assert_eq!(app.deliver_twice(&[closed]).await, 1);
//!     assert_eq!(app.get(1, "/api/tasks").await.ok()["total"], 0);
//! });
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Body;
use blocks::bus::Record;
use blocks::consumer::ConsumerStore;
use blocks::outbox::{Pending, Place, Published};
use blocks::{Caller, Clock, Role, Service};
use chrono::TimeDelta;
use events::{Context, Envelope, Event, Traceparent};
use http::Request;
use http::header::CONTENT_TYPE;
use serde_json::Value;
use sql::Db;
use tower::ServiceExt;
use uuid::Uuid;

use crate::http::Answer;

/// More than any test leaves in an outbox.
const MOST: usize = 10_000;

/// The sender of a request: an account by its id, a caller, or [`NOBODY`].
pub trait Who {
    /// As the gateway passes them on.
    fn caller(self) -> Option<Caller>;
}

/// A request without an identity.
pub const NOBODY: Option<Caller> = None;

impl Who for i64 {
    fn caller(self) -> Option<Caller> {
        Some(user(self))
    }
}

impl Who for Caller {
    fn caller(self) -> Option<Caller> {
        Some(self)
    }
}

impl<W: Who> Who for Option<W> {
    fn caller(self) -> Option<Caller> {
        self.and_then(Who::caller)
    }
}

/// The account `id`, with the rights of any user.
pub fn user(id: i64) -> Caller {
    Caller {
        id,
        name: format!("user-{id}").into(),
        email: "".into(),
        role: Role::User,
        session: Uuid::from_u128(1),
    }
}

/// A field of each item of a page.
pub fn texts(page: &Value, field: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

/// The trace that every [`record`] belongs to.
pub fn trace() -> Traceparent {
    Traceparent::new(0xacc0, 1)
}

/// `event` as it lies on its topic at `offset`.
pub fn record<E: Event>(clock: &dyn Clock, offset: i64, version: i64, event: &E) -> Record {
    let (id, now) = (clock.id(), clock.now());
    let context = Context {
        traceparent: Some(trace()),
        ..Context::default()
    };
    let envelope = Envelope::new(id, "test", now, version, context, event);
    let message = envelope.unwrap().message();
    Record {
        topic: message.topic,
        partition: 0,
        offset,
        key: Some(message.key),
        headers: message.headers,
        value: message.value,
        time: message.time,
    }
}

/// See the module. The store is the test's own, so that two of these may share one.
pub struct App {
    /// The service.
    pub service: Service,
    /// The router for requests; a test may put more around it.
    pub router: Router,
    /// The clock that dates events of other services.
    pub clock: Arc<dyn Clock>,
    offset: AtomicI64,
}

impl App {
    /// `service` on `db`, by its clock.
    pub fn on(db: &Db, service: Service) -> Self {
        Self::new(service, Arc::clone(&db.settings().clock))
    }

    /// A harness for `service`, with its `clock`.
    pub fn new(service: Service, clock: Arc<dyn Clock>) -> Self {
        Self {
            router: Router::from(service.router.clone()),
            service,
            clock,
            offset: AtomicI64::new(0),
        }
    }

    /// Sends `body` as JSON.
    pub async fn send(&self, method: &str, path: &str, who: impl Who, body: &str) -> Answer {
        self.send_with(method, path, who, body, &[]).await
    }

    /// [`App::send`] with more headers.
    pub async fn send_with(
        &self,
        method: &str,
        path: &str,
        who: impl Who,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in [&[(CONTENT_TYPE.as_str(), "application/json")], headers].concat() {
            request = request.header(name, value);
        }
        self.give(request.body(body.to_owned()).unwrap(), who).await
    }

    /// Sends a GET.
    pub async fn get(&self, who: impl Who, path: &str) -> Answer {
        self.send("GET", path, who, "").await
    }

    /// A POST of JSON.
    pub async fn post(&self, who: impl Who, path: &str, body: &str) -> Answer {
        self.send("POST", path, who, body).await
    }

    /// A POST of JSON under an idempotency key.
    pub async fn post_keyed(&self, who: impl Who, path: &str, body: &str, key: &str) -> Answer {
        let key = [("Idempotency-Key", key)];
        self.send_with("POST", path, who, body, &key).await
    }

    /// Sends a GET of a client that has `seen` the answer.
    pub async fn get_unless(&self, who: impl Who, path: &str, seen: &Answer) -> Answer {
        let tag = [("If-None-Match", seen.headers["etag"].to_str().unwrap())];
        self.send_with("GET", path, who, "", &tag).await
    }

    /// A PUT of JSON.
    pub async fn put(&self, who: impl Who, path: &str, body: &str) -> Answer {
        self.send("PUT", path, who, body).await
    }

    /// Sends a DELETE.
    pub async fn delete(&self, who: impl Who, path: &str) -> Answer {
        self.send("DELETE", path, who, "").await
    }

    /// Sends `request` unchanged, for cases beyond [`App::send`].
    pub async fn give(&self, request: Request<impl Into<Body>>, who: impl Who) -> Answer {
        let mut request = request.map(Into::into);
        if let Some(caller) = who.caller() {
            request.extensions_mut().insert(caller);
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        Answer::of(response).await.unwrap()
    }

    /// `event` as it lies on its topic, after all that were made before it.
    pub fn record<E: Event>(&self, version: i64, event: &E) -> Record {
        let offset = self.offset.fetch_add(1, Ordering::SeqCst);
        record(&*self.clock, offset, version, event)
    }

    /// Gives `records` in this order to every group that reads their topic; answers how many took effect.
    pub async fn deliver(&self, records: &[Record]) -> u64 {
        let (mut handled, mut given) = (0, 0);
        for consumer in &self.service.consumers {
            let read = |record: &&Record| consumer.topics.contains(&record.topic);
            let records: Vec<Record> = records.iter().filter(read).cloned().collect();
            given += records.len();
            handled += consumer.store.apply(&records).await.unwrap().handled;
        }
        assert!(
            given >= records.len(),
            "{} does not read that topic",
            self.service.name
        );
        handled
    }

    /// [`App::deliver`], and once more, which must change nothing: delivery is at least once.
    pub async fn deliver_twice(&self, records: &[Record]) -> u64 {
        let handled = self.deliver(records).await;
        assert_eq!(self.deliver(records).await, 0, "the second time");
        handled
    }

    /// The store of its only consumer group.
    pub fn group(&self) -> &Arc<dyn ConsumerStore> {
        let [consumer] = &self.service.consumers[..] else {
            panic!("{} has more groups than one, or none", self.service.name);
        };
        &consumer.store
    }

    /// The pending events, in the order of the commits.
    pub async fn outbox(&self) -> Vec<Envelope> {
        self.read(&self.pending().await)
    }

    /// [`App::outbox`], published: it waits no more.
    pub async fn drain(&self) -> Vec<Envelope> {
        let pending = self.pending().await;
        let published: Vec<Published> = pending.iter().map(Published::from).collect();
        if let Some(outbox) = &self.service.outbox {
            outbox.mark_published(&published).await.unwrap();
        }
        self.read(&pending)
    }

    async fn pending(&self) -> Vec<Pending> {
        let all = Some(self.clock.now() + TimeDelta::days(365));
        match &self.service.outbox {
            Some(outbox) => outbox.pending(all, Place::START, MOST).await.unwrap(),
            None => Vec::new(),
        }
    }

    fn read(&self, pending: &[Pending]) -> Vec<Envelope> {
        let messages = pending.iter().map(|pending| &pending.message);
        let events = messages.map(|message| {
            let (key, headers) = (Some(message.key.as_str()), &message.headers);
            Envelope::read(&message.topic, key, headers, &message.value).unwrap()
        });
        let events: Vec<Envelope> = events.collect();
        for event in &events {
            let (of, topic) = (&*event.event_type, &*event.topic);
            let mut topics = self.service.topics.iter();
            let is_said =
                topics.any(|said| said.name == topic) && self.service.publishes.contains(&of);
            assert!(
                is_said,
                "{} does not say that it publishes {of} to {topic}",
                self.service.name
            );
        }
        events
    }

    /// Holds every endpoint to be documented and to have a rule of the gateway, and no others.
    pub fn assert_routes_are_documented(&self) {
        let paths = &self.service.router.get_openapi().paths.paths;
        let mut documented: Vec<&str> = paths.keys().map(String::as_str).collect();
        let mut routed: Vec<&str> = self.service.routes.iter().map(|route| route.path).collect();
        documented.sort_unstable();
        routed.sort_unstable();
        assert_eq!(documented, routed);
    }
}
