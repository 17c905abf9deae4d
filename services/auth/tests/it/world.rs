//! A running auth behind the gateway in process, on a fresh database.

use std::sync::Arc;

use auth::commands::OpenAccount;
use auth::passwords::Cost;
use auth::{Auth, MIGRATIONS, Registration, Settings};
use axum::body::Body;
use axum::extract::Request;
use blocks::gateway::{Gateway, Table};
use blocks::{Clock, ManualClock, Mediator, Role};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use testkit::db::TestDb;
use testkit::http::Answer;
use testkit::service::{App, NOBODY};

pub const SECRET: &str = "a secret key for tests only";
pub const PASSWORD: &str = "correct horse battery";

/// Runs a test on SQLite and, where a server is named, on PostgreSQL.
#[macro_export]
macro_rules! on_both {
    ($name:ident, $test:expr) => {
        testkit::on_each_database!(
            $name,
            "auth",
            auth::MIGRATIONS,
            manual_clock,
            async |db: testkit::db::TestDb, clock: std::sync::Arc<blocks::ManualClock>| {
                ($test)($crate::world::World::open(db, clock).await).await;
            }
        );
    };
}

pub struct World {
    pub db: TestDb,
    pub clock: Arc<ManualClock>,
    pub auth: Auth,
    pub app: App,
}

/// An `async move` block that uses one field captures only that field, and the database's folder
/// would be dropped with the rest. A value with a `Drop` is captured whole.
impl Drop for World {
    fn drop(&mut self) {}
}

/// The usual settings with hashes that cost next to nothing.
pub fn settings() -> Settings {
    let password_cost = Cost {
        memory_kib: 64,
        passes: 1,
        lanes: 1,
    };
    Settings {
        password_cost,
        ..Settings::new(SECRET)
    }
}

impl World {
    /// A world on SQLite.
    pub async fn fresh() -> Self {
        let clock = Arc::new(ManualClock::default());
        let db = testkit::db::sqlite_at("auth", MIGRATIONS, clock.clone()).await;
        Self::open(db, clock).await
    }

    pub async fn open(db: TestDb, clock: Arc<ManualClock>) -> Self {
        Self::open_with(db, clock, settings()).await
    }

    pub async fn open_with(db: TestDb, clock: Arc<ManualClock>, settings: Settings) -> Self {
        let auth = Auth::open(db.db.clone(), settings, clock.clone())
            .await
            .unwrap();
        let app = app(&auth, clock.clone());
        Self {
            db,
            clock,
            auth,
            app,
        }
    }

    /// A fresh process on the same database.
    pub async fn restart(&mut self) {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let opened = Auth::open(self.db.db.clone(), settings(), clock.clone()).await;
        self.auth = opened.unwrap();
        self.app = app(&self.auth, clock);
    }

    /// Another process on the same database.
    #[cfg(feature = "fleet")]
    pub async fn replica(&self, settings: Settings) -> App {
        let opened = Auth::open(self.db.db.clone(), settings, self.clock.clone()).await;
        app(&opened.unwrap(), self.clock.clone())
    }

    /// Opens an account named `name` at `<name>@example.org`.
    pub async fn register(&self, name: &str) -> i64 {
        self.register_as(name, &format!("{name}@example.org")).await
    }

    pub async fn register_as(&self, name: &str, email: &str) -> i64 {
        let mut body = account(name);
        body["email"] = json!(email);
        let answer = self.send("POST", "/api/auth/register", None, &body).await;
        answer.expect(201)["id"].as_i64().unwrap()
    }

    /// Logs in as `name`; answers the token.
    pub async fn login(&self, name: &str) -> String {
        text(&self.tokens(name).await, "access_token")
    }

    /// Logs in as `name`; answers all tokens.
    pub async fn tokens(&self, name: &str) -> Value {
        let body = json!({"username": name, "password": PASSWORD});
        let answer = self.send("POST", "/api/auth/login", None, &body).await;
        answer.expect(200)
    }

    pub async fn refresh(&self, token: &str) -> Answer {
        let body = json!({"refresh_token": token});
        self.send("POST", "/api/auth/refresh", None, &body).await
    }

    pub async fn registered(&self, name: &str) -> (i64, String) {
        let id = self.register(name).await;
        (id, self.login(name).await)
    }

    /// An account with `role`, logged in.
    pub async fn with_role(&self, name: &str, role: Role) -> String {
        let new = Registration {
            role,
            ..Registration::new(format!("{name}@example.org"), name, PASSWORD)
        };
        let (new, once) = (new.check().unwrap(), None);
        self.auth.send(OpenAccount { new, once }).await.unwrap();
        self.login(name).await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> Answer {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(bearer.iter().map(|bearer| ("authorization", &**bearer)));
        let mut request = request(method, path, &headers);
        if !body.is_null() {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert("content-type", json);
            *request.body_mut() = Body::from(body.to_string());
        }
        self.give(request).await
    }

    pub async fn get(&self, path: &str, token: &str) -> Answer {
        self.send("GET", path, Some(token), &Value::Null).await
    }

    /// Sends `request` as it is.
    pub async fn give(&self, request: Request) -> Answer {
        self.app.give(request, NOBODY).await
    }

    /// Auth's answer to a gateway.
    pub async fn validate(&self, query: &str, headers: &[(&str, &str)]) -> Answer {
        let path = format!("/api/auth/validate{query}");
        self.give(request("GET", &path, headers)).await
    }

    /// True if a gateway lets `token` pass.
    pub async fn accepts(&self, token: &str) -> bool {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str())];
        let required = self.validate("", &headers).await.status;
        let optional = self.validate("?mode=optional", &headers).await.status;
        assert_eq!(
            required, optional,
            "a token is good or bad, whatever the mode"
        );
        required == StatusCode::OK
    }

    /// The events of an account so far, as type and version.
    pub async fn events(&self, id: i64) -> Vec<(String, i64)> {
        let events = self.app.outbox().await.into_iter();
        let mut events: Vec<(String, i64)> = events
            .filter(|event| event.subject == id.to_string())
            .map(|event| (event.event_type, event.sequence))
            .collect();
        events.sort_by_key(|(_, version)| *version);
        events
    }
}

/// Behind a gateway in process.
fn app(auth: &Auth, clock: Arc<dyn Clock>) -> App {
    let mut app = App::new(auth::service(auth), clock);
    let table = Table::of([&app.service]).unwrap();
    app.router = Gateway::new(table, Arc::new(auth.clone())).wrap(app.router.clone());
    app
}

/// The text in a field of an answer.
pub fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap().to_owned()
}

/// The body that registers `name`.
pub fn account(name: &str) -> Value {
    json!({
        "email": format!("{name}@example.org"),
        "username": name,
        "password": PASSWORD,
    })
}

pub fn request(method: &str, path: &str, headers: &[(&str, &str)]) -> Request {
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request
            .headers_mut()
            .append(name, HeaderValue::from_str(value).unwrap());
    }
    request
}

/// The schema is the one that the service gives to its process.
#[test]
fn migrations_are_numbered_after_those_of_the_delivery() {
    assert!(MIGRATIONS.iter().all(|migration| migration.version > 1000));
}
