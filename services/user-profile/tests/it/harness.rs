//! Requests that are past the gateway, and a look into the outbox.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use blocks::consumer::ConsumerStore;
use blocks::outbox::{Outbox, Place};
use blocks::{Caller, Role};
use events::{Envelope, Event};
use serde_json::Value;
use sql::Db;
use testkit::db::TestDb;
use tower::ServiceExt;
use user_profile::domain::Limits;
use user_profile::{Profiles, service};
use uuid::Uuid;

pub struct App {
    pub router: Router,
    pub consumer: std::sync::Arc<dyn ConsumerStore>,
    pub db: TestDb,
}

pub fn app(db: TestDb) -> App {
    let mut service = service(&Profiles::open(db.clone(), Limits::default()));
    let consumer = service.consumers.remove(0).store;
    App {
        router: Router::from(service.router),
        consumer,
        db,
    }
}

pub fn caller(id: i64) -> Caller {
    Caller {
        id,
        name: format!("user-{id}").into(),
        email: "".into(),
        role: Role::User,
        session: Uuid::from_u128(1),
    }
}

pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    /// Checks that it is a problem of that kind and gives the fields that it names.
    #[track_caller]
    pub fn problem(&self, status: u16, error_code: &str) -> Vec<String> {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.content_type, "application/problem+json");
        let body = self.json();
        assert_eq!(body["error_code"], error_code, "{}", self.text);
        let errors = body["errors"].as_object();
        errors
            .map(|errors| errors.keys().cloned().collect())
            .unwrap_or_default()
    }
}

impl App {
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        who: Option<Caller>,
        body: &str,
    ) -> Answer {
        self.send_with(method, path, who, body, &[]).await
    }

    pub async fn send_with(
        &self,
        method: Method,
        path: &str,
        who: Option<Caller>,
        body: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        if let Some(caller) = who {
            request.extensions_mut().insert(caller);
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type
            .map_or("", |value| value.to_str().unwrap())
            .to_owned();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer {
            status,
            content_type,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn post(&self, user: i64, body: &str) -> Answer {
        self.send(Method::POST, "/api/profile", Some(caller(user)), body)
            .await
    }

    pub async fn put(&self, user: i64, body: &str) -> Answer {
        self.send(Method::PUT, "/api/profile", Some(caller(user)), body)
            .await
    }

    pub async fn get(&self, user: i64, path: &str) -> Answer {
        self.send(Method::GET, path, Some(caller(user)), "").await
    }

    pub async fn delete(&self, user: i64) -> Answer {
        self.send(Method::DELETE, "/api/profile", Some(caller(user)), "")
            .await
    }

    /// What waits to be published: key, type and version, in the order of the commits.
    pub async fn outbox(&self) -> Vec<(String, String, i64)> {
        let far = self.db.settings().clock.now() + chrono::TimeDelta::days(1);
        let pending = Outbox::pending(&*self.db, Some(far), Place::START, 1000)
            .await
            .unwrap();
        pending
            .iter()
            .map(|pending| {
                let message = &pending.message;
                let event = Envelope::read(
                    &message.topic,
                    Some(&message.key),
                    &message.headers,
                    &message.value,
                )
                .unwrap();
                assert_eq!(message.topic, "profile.events");
                (event.subject, event.event_type, event.sequence)
            })
            .collect()
    }
}

/// A record of `event` as it lies on its topic.
pub fn record<E: Event>(db: &Db, version: i64, offset: i64, event: &E) -> blocks::bus::Record {
    let clock = &db.settings().clock;
    let context = events::Context::default();
    let envelope = Envelope::new(clock.id(), "auth", clock.now(), version, context, event).unwrap();
    let message = envelope.message();
    blocks::bus::Record {
        topic: message.topic,
        partition: 0,
        offset,
        key: Some(message.key),
        headers: message.headers,
        value: message.value,
        time: message.time,
    }
}
