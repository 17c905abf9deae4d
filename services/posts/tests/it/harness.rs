//! The service over any of its stores, and posts as their authors write them.

use std::ops::Deref;

use blocks::{Caller, Role};
use posts::{Posts, Settings, service};
use serde_json::{Value, json};
use testkit::http::Answer;
use testkit::service::{NOBODY, user};

use crate::memory;
use crate::stores::{Store, Within};

pub const ADA: i64 = 1;
pub const BOB: i64 = 2;
pub const ROOT: i64 = 99;

pub struct App {
    service: testkit::service::App,
    pub posts: Posts,
    pub within: Within,
}

impl Deref for App {
    type Target = testkit::service::App;
    fn deref(&self) -> &Self::Target {
        &self.service
    }
}

/// The service with its memory, as one process runs it.
pub fn app(store: &Store) -> App {
    app_with(store, true)
}

/// Only SQL's posts have one: others have none, whatever `cache` says.
pub fn app_with(store: &Store, cache: bool) -> App {
    let within = store.within();
    let settings = Settings {
        cache,
        ..Settings::default()
    };
    let posts = match &within {
        Within::Sql(db) => Posts::open(db.clone(), settings),
        Within::Memory(memory) => memory::open(memory, settings.limits),
        #[cfg(feature = "fleet")]
        Within::Mongo(mongo) => Posts::open_mongo(mongo.clone(), settings.limits),
    };
    App {
        service: testkit::service::App::new(service(&posts), within.clock()),
        posts,
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
        name: name.into(),
        role,
        ..user(id)
    }
}

impl App {
    pub async fn post(&self, who: i64, body: &str) -> Answer {
        self.service.post(caller(who), "/api/posts", body).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.service.get(NOBODY, path).await
    }

    pub async fn put(&self, who: i64, id: &str, body: &str) -> Answer {
        let path = format!("/api/posts/{id}");
        self.service.put(caller(who), &path, body).await
    }

    pub async fn delete(&self, who: i64, id: &str) -> Answer {
        let path = format!("/api/posts/{id}");
        self.service.delete(caller(who), &path).await
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

    /// Type and version of the events about a post.
    pub async fn history(&self, id: &str) -> Vec<(String, i64)> {
        let events = self.outbox().await.into_iter();
        events
            .filter(|event| event.subject == id)
            .map(|event| (event.event_type, event.sequence))
            .collect()
    }
}
