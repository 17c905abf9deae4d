//! Requests that are past the gateway, and a look into the outbox.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::Builder;
use axum::http::{Method, Request, StatusCode, header};
use blocks::consumer::ConsumerStore;
use blocks::outbox::{Outbox, Place};
use blocks::{Caller, Clock, Role};
use events::{Envelope, Event};
use posts::{Posts, Settings, service};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use crate::stores::{Store, Within};

pub const ADA: i64 = 1;
pub const BOB: i64 = 2;
pub const ROOT: i64 = 99;

pub struct App {
    pub router: Router,
    pub consumer: Arc<dyn ConsumerStore>,
    pub posts: Posts,
    pub outbox: Arc<dyn Outbox>,
    pub clock: Arc<dyn Clock>,
    pub within: Within,
}

/// The service with its memory, as one process runs it.
pub fn app(store: &Store) -> App {
    app_with(store, true)
}

/// MongoDB's posts have no memory, whatever `cache` says.
pub fn app_with(store: &Store, cache: bool) -> App {
    let within = store.within();
    let settings = Settings {
        cache,
        ..Settings::default()
    };
    let posts = match &within {
        Within::Sql(db) => Posts::open(db.clone(), settings),
        #[cfg(feature = "fleet")]
        Within::Mongo(mongo) => Posts::open_mongo(mongo.clone(), settings.limits),
    };
    let mut service = service(&posts);
    let consumer = service.consumers.remove(0).store;
    App {
        router: Router::from(service.router),
        consumer,
        posts,
        outbox: service.outbox.unwrap(),
        clock: within.clock(),
        within,
    }
}

/// `ROOT` is an admin, everybody else a user.
pub fn caller(id: i64) -> Caller {
    let (name, role) = match id {
        ADA => ("ada", Role::User),
        BOB => ("bob", Role::User),
        ROOT => ("root", Role::Admin),
        _ => ("somebody", Role::User),
    };
    Caller {
        id,
        name: name.into(),
        email: "".into(),
        role,
        session: Uuid::from_u128(1),
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub content_type: String,
    pub etag: String,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).expect(&self.text)
    }

    #[track_caller]
    pub fn ok(&self) -> Value {
        assert!(self.status.is_success(), "{}: {}", self.status, self.text);
        assert_eq!(self.content_type, "application/json");
        self.json()
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
    pub async fn send(&self, method: Method, path: &str, who: Option<i64>, body: &str) -> Answer {
        self.send_keyed(method, path, who, body, &[]).await
    }

    pub async fn send_keyed(
        &self,
        method: Method,
        path: &str,
        who: Option<i64>,
        body: &str,
        keys: &[&[u8]],
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::CONTENT_TYPE, "application/json");
        for key in keys {
            request = request.header("Idempotency-Key", *key);
        }
        self.ask(request, who, body).await
    }

    pub async fn ask(&self, request: Builder, who: Option<i64>, body: &str) -> Answer {
        let mut request = request.body(Body::from(body.to_owned())).unwrap();
        if let Some(id) = who {
            request.extensions_mut().insert(caller(id));
        }
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type
            .map_or("", |value| value.to_str().unwrap())
            .to_owned();
        let etag = response.headers().get(header::ETAG);
        let etag = etag.map_or("", |value| value.to_str().unwrap()).to_owned();
        let bytes = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer {
            status,
            content_type,
            etag,
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    pub async fn post(&self, who: i64, body: &str) -> Answer {
        self.send(Method::POST, "/api/posts", Some(who), body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None, "").await
    }

    pub async fn put(&self, who: i64, id: &str, body: &str) -> Answer {
        self.send(Method::PUT, &format!("/api/posts/{id}"), Some(who), body)
            .await
    }

    pub async fn delete(&self, who: i64, id: &str) -> Answer {
        self.send(Method::DELETE, &format!("/api/posts/{id}"), Some(who), "")
            .await
    }

    /// Publishes a post and gives its id.
    pub async fn published(&self, who: i64, title: &str, tags: &[&str]) -> String {
        let body = json!({ "title": title, "content": "c", "tags": tags });
        let post = self.post(who, &body.to_string()).await.ok();
        post["id"].as_str().unwrap().to_owned()
    }

    pub async fn shown(&self, id: &str) -> Value {
        self.get(&format!("/api/posts/{id}")).await.ok()
    }

    /// What waits to be published, in the order of the commits.
    pub async fn outbox(&self) -> Vec<Envelope> {
        let far = self.clock.now() + chrono::TimeDelta::days(1);
        let pending = self.outbox.pending(Some(far), Place::START, 10_000);
        let pending = pending.await.unwrap();
        pending
            .iter()
            .map(|pending| {
                let message = &pending.message;
                assert_eq!(message.topic, "posts-events");
                Envelope::read(
                    &message.topic,
                    Some(&message.key),
                    &message.headers,
                    &message.value,
                )
                .unwrap()
            })
            .collect()
    }

    /// Type and version of the events about a post.
    pub async fn history(&self, id: &str) -> Vec<(String, i64)> {
        let events = self.outbox().await.into_iter();
        events
            .filter(|event| event.subject == id)
            .map(|event| (event.event_type, event.sequence))
            .collect()
    }

    /// Delivers events of accounts.
    pub async fn hear(&self, records: &[blocks::bus::Record]) -> u64 {
        self.consumer.apply(records).await.unwrap().handled
    }
}

/// A record of `event` as it lies on its topic.
pub fn record<E: Event>(app: &App, version: i64, offset: i64, event: &E) -> blocks::bus::Record {
    let clock = &app.clock;
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
