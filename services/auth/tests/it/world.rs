//! A running auth behind the gateway in process, on a fresh database.

use std::sync::Arc;

use auth::passwords::Cost;
use auth::{Auth, MIGRATIONS, NewAccount, Settings};
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use blocks::gateway::{Gateway, Table};
use blocks::outbox::{Outbox, Place};
use blocks::{Clock, ManualClock, Role};
use chrono::TimeDelta;
use events::header;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use testkit::db::TestDb;
use tower::ServiceExt;

pub const SECRET: &str = "a secret key for tests only";
pub const PASSWORD: &str = "correct horse battery";

/// Runs a test on SQLite and, where a server is named, on PostgreSQL.
#[macro_export]
macro_rules! on_both {
    ($name:ident, $test:expr) => {
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let clock = std::sync::Arc::new(blocks::ManualClock::default());
                let db = testkit::db::sqlite_at("auth", auth::MIGRATIONS, clock.clone()).await;
                ($test)($crate::world::World::open(db, clock).await).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs TEST_DATABASE_URL"]
            async fn postgres() {
                let clock = std::sync::Arc::new(blocks::ManualClock::default());
                let db = testkit::db::postgres_at("auth", auth::MIGRATIONS, clock.clone()).await;
                ($test)($crate::world::World::open(db, clock).await).await;
            }
        }
    };
}

pub struct World {
    pub db: TestDb,
    pub clock: Arc<ManualClock>,
    pub auth: Auth,
    pub router: Router,
}

/// An `async move` block that uses one field takes that field alone, and the folder of the database
/// would go with the rest; of what has a `Drop` it takes the whole.
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
    pub async fn open(db: TestDb, clock: Arc<ManualClock>) -> Self {
        Self::open_with(db, clock, settings()).await
    }

    pub async fn open_with(db: TestDb, clock: Arc<ManualClock>, settings: Settings) -> Self {
        let auth = Auth::open(db.db.clone(), settings, clock.clone())
            .await
            .unwrap();
        let router = router(&auth);
        Self {
            db,
            clock,
            auth,
            router,
        }
    }

    /// The same database under a process that knows nothing yet.
    pub async fn restart(&mut self) {
        let clock: Arc<dyn Clock> = self.clock.clone();
        self.auth = Auth::open(self.db.db.clone(), settings(), clock)
            .await
            .unwrap();
        self.router = router(&self.auth);
    }

    /// Opens an account named `name` at `<name>@example.org`.
    pub async fn register(&self, name: &str) -> i64 {
        self.register_as(name, &format!("{name}@example.org")).await
    }

    pub async fn register_as(&self, name: &str, email: &str) -> i64 {
        let mut body = account(name);
        body["email"] = json!(email);
        let (status, answer) = self.send("POST", "/api/auth/register", None, &body).await;
        assert_eq!(status, StatusCode::CREATED, "{answer}");
        answer["id"].as_i64().unwrap()
    }

    /// Logs in as `name`; answers the token.
    pub async fn login(&self, name: &str) -> String {
        let body = json!({"username": name, "password": PASSWORD});
        let (status, answer) = self.send("POST", "/api/auth/login", None, &body).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn registered(&self, name: &str) -> (i64, String) {
        let id = self.register(name).await;
        (id, self.login(name).await)
    }

    /// An account with `role`, logged in.
    pub async fn with_role(&self, name: &str, role: Role) -> String {
        let new = NewAccount {
            email: format!("{name}@example.org"),
            username: name.into(),
            password: PASSWORD.into(),
            full_name: None,
            age: None,
        };
        auth::commands::register(&self.auth, new, role)
            .await
            .unwrap();
        self.login(name).await
    }

    pub async fn send(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        body: &Value,
    ) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            request
                .header("content-type", "application/json")
                .body(Body::from(body.to_string()))
        };
        let response = self.router.clone().oneshot(request.unwrap()).await.unwrap();
        (response.status(), json_of(response).await)
    }

    pub async fn get(&self, path: &str, token: &str) -> (StatusCode, Value) {
        self.send("GET", path, Some(token), &Value::Null).await
    }

    /// What auth answers a gateway.
    pub async fn validate(&self, query: &str, headers: &[(&str, &str)]) -> Response {
        let path = format!("/api/auth/validate{query}");
        self.router
            .clone()
            .oneshot(request("GET", &path, headers))
            .await
            .unwrap()
    }

    /// Whether a gateway lets `token` pass.
    pub async fn accepts(&self, token: &str) -> bool {
        let bearer = format!("Bearer {token}");
        let required = self
            .validate("", &[("authorization", &bearer)])
            .await
            .status();
        let optional = self
            .validate("?mode=optional", &[("authorization", &bearer)])
            .await
            .status();
        assert_eq!(
            required, optional,
            "a token is good or bad, whatever the mode"
        );
        required == StatusCode::OK
    }

    /// The events of an account so far, as type and version.
    pub async fn events(&self, id: i64) -> Vec<(String, i64)> {
        let later = self.clock.now() + TimeDelta::days(365);
        let pending = self
            .db
            .db
            .pending(Some(later), Place::START, 1000)
            .await
            .unwrap();
        let mut events: Vec<(String, i64)> = pending
            .iter()
            .filter(|event| event.message.key == id.to_string())
            .map(|event| {
                let find = |name: &str| {
                    let mut headers = event.message.headers.iter();
                    headers.find(|(key, _)| key == name).unwrap().1.clone()
                };
                (find(header::TYPE), find(header::SEQUENCE).parse().unwrap())
            })
            .collect();
        events.sort_by_key(|(_, version)| *version);
        events
    }
}

fn router(auth: &Auth) -> Router {
    let service = auth::service(auth);
    let table = Table::of([&service]).unwrap();
    Gateway::new(table, Arc::new(auth.clone())).wrap(service.router.split_for_parts().0)
}

/// What registers `name`.
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

pub async fn json_of(response: Response) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

/// The schema is the one that the service gives to its process.
#[test]
fn migrations_are_numbered_after_those_of_the_delivery() {
    assert!(MIGRATIONS.iter().all(|migration| migration.version > 1000));
}
