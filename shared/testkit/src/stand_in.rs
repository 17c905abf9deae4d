//! Stands in for auth: the keys that it publishes, and callers as the gateway passes them on.

use axum::routing::get;
use axum::{Json, Router};
use blocks::identity::{AssertionClaims, ISSUER, SigningKey};
use blocks::{Clock, SystemClock};
use http::{HeaderName, HeaderValue};
use serde_json::json;

use crate::fleet::Standalone;
use crate::http::Answer;
use crate::ports::free_port;
use crate::service::user;

/// An auth that only publishes its signing key.
#[derive(Debug)]
pub struct AuthStandIn {
    key: SigningKey,
    port: u16,
}

impl AuthStandIn {
    /// One that does not answer yet.
    pub fn planned() -> Self {
        Self {
            key: SigningKey::generate().unwrap(),
            port: free_port(),
        }
    }

    /// One whose key is published.
    pub async fn start() -> Self {
        let auth = Self::planned();
        auth.publish().await;
        auth
    }

    /// Publishes its key from now on. It ends with the test.
    pub async fn publish(&self) {
        let jwks = json!({"keys": [self.key.public()]});
        let router = Router::new().route("/.well-known/jwks.json", get(async || Json(jwks)));
        serve(router, self.port).await;
    }

    /// The value for `AUTH_URL`.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The gateway's headers for account `id`.
    pub fn headers(&self, id: i64) -> [(HeaderName, HeaderValue); 2] {
        let assertion = AssertionClaims::of(&user(id), ISSUER, SystemClock.now()).sign(&self.key);
        [
            (HeaderName::from_static("x-user-id"), id.into()),
            (
                HeaderName::from_static("x-identity"),
                assertion.try_into().unwrap(),
            ),
        ]
    }

    /// Sends `service` a request of account `id`, with `json` where it is not empty.
    pub async fn ask(
        &self,
        service: &Standalone,
        id: i64,
        method: &str,
        path: &str,
        json: &str,
    ) -> Answer {
        let mut request = service.client.request(method, path);
        for (name, value) in self.headers(id) {
            request = request.header(name, value);
        }
        if !json.is_empty() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(json.to_owned()).unwrap();
        service.client.give(request).await
    }
}

/// Serves `router` on `port` of the loopback interface until the test ends.
pub async fn serve(router: Router, port: u16) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
}
