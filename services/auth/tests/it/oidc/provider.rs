//! A provider that can misbehave. Its keys are made for the test.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Form, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use blocks::{Clock, ManualClock};
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use openidconnect::url::Url;
use parking_lot::Mutex;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING as ES256, EcdsaKeyPair, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;

pub const CLIENT_ID: &str = "rookery";
/// With what must be encoded in Basic.
pub const CLIENT_SECRET: &str = "s%cret+:/ ü";

/// How a provider answers at one of its endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Does {
    Well,
    Slow,
    Status(u16),
    NoJson,
    /// More than anybody reads.
    Huge,
    Other,
}

/// A key with its id.
pub struct Key {
    kid: &'static str,
    pair: EcdsaKeyPair,
}

impl Key {
    pub fn new(kid: &'static str) -> Self {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ES256, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ES256, pkcs8.as_ref(), &random).unwrap();
        Self { kid, pair }
    }

    pub fn public(&self) -> Value {
        let point = &self.pair.public_key().as_ref()[1..];
        let [x, y] = [&point[..32], &point[32..]].map(|part| URL_SAFE_NO_PAD.encode(part));
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y})
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "kid": self.kid});
        let [header, claims] =
            [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
        let signed = format!("{header}.{claims}");
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// What a provider does, and whom it signs in.
pub struct Behaviour {
    pub key: Key,
    /// The published keys, where they are not the one that signs.
    pub published: Option<Value>,
    pub discovery: Does,
    pub keys: Does,
    pub token: Does,
    pub userinfo: Does,
    /// Claims of the ID token that are others than they should be; null leaves one out.
    pub claims: BTreeMap<&'static str, Value>,
    /// What userinfo tells.
    pub told: Value,
    /// The endpoints that were asked.
    pub heard: Vec<&'static str>,
    codes: HashMap<String, HashMap<String, String>>,
}

#[derive(Clone)]
pub struct Provider {
    pub issuer: String,
    clock: Arc<ManualClock>,
    pub does: Arc<Mutex<Behaviour>>,
}

impl Provider {
    /// One that signs Ada in, and does all well.
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    pub async fn start(clock: Arc<ManualClock>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Self {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            clock,
            does: Arc::new(Mutex::new(Behaviour {
                key: Key::new("first"),
                published: None,
                discovery: Does::Well,
                keys: Does::Well,
                token: Does::Well,
                userinfo: Does::Well,
                claims: BTreeMap::new(),
                told: json!({"sub": "ada-1815"}),
                heard: Vec::new(),
                codes: HashMap::new(),
            })),
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/token", post(token))
            .route("/userinfo", get(userinfo))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        provider
    }

    /// Signs in whoever comes to `url`; answers the query that the browser brings back.
    pub fn authorize(&self, url: &str) -> String {
        let url: Url = url.parse().unwrap();
        assert_eq!(url.path(), "/authorize");
        let asked: HashMap<String, String> = url.query_pairs().into_owned().collect();
        assert_eq!(asked["client_id"], CLIENT_ID);
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["code_challenge_method"], "S256");
        assert_eq!(asked["scope"], "openid email profile");
        let state = asked["state"].clone();
        let mut does = self.does.lock();
        let code = format!("code-{}", does.codes.len());
        does.codes.insert(code.clone(), asked);
        // As Google does, with fields of its own.
        format!(
            "state={state}&code={code}&scope=openid+email&authuser=0&prompt=none&iss={}",
            self.issuer
        )
    }

    pub fn set(&self, name: &'static str, value: Value) {
        self.does.lock().claims.insert(name, value);
    }

    async fn heard(&self, what: &'static str, choose: fn(&Behaviour) -> Does) -> Option<Response> {
        let does = {
            let mut does = self.does.lock();
            does.heard.push(what);
            choose(&does)
        };
        match does {
            Does::Well | Does::Other => None,
            Does::Slow => {
                tokio::time::sleep(Duration::from_mins(1)).await;
                None
            }
            Does::Status(status) => Some(StatusCode::from_u16(status).unwrap().into_response()),
            Does::NoJson | Does::Huge => {
                let blanks = if does == Does::Huge { 2 << 20 } else { 0 };
                let body = " ".repeat(blanks) + "<html>";
                Some(([("content-type", "application/json")], body).into_response())
            }
        }
    }
}

async fn discovery(State(provider): State<Provider>) -> Response {
    if let Some(answer) = provider.heard("discovery", |does| does.discovery).await {
        return answer;
    }
    let issuer = &provider.issuer;
    let other = provider.does.lock().discovery == Does::Other;
    // The same host, with a slash more.
    let named = if other {
        format!("{issuer}/")
    } else {
        issuer.clone()
    };
    Json(json!({
        "issuer": named,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/keys"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }))
    .into_response()
}

async fn keys(State(provider): State<Provider>) -> Response {
    if let Some(answer) = provider.heard("keys", |does| does.keys).await {
        return answer;
    }
    let does = provider.does.lock();
    let published = does.published.clone().unwrap_or_else(|| does.key.public());
    Json(json!({"keys": [{"kty": "unknown-to-all", "kid": "x"}, published]})).into_response()
}

async fn token(
    State(provider): State<Provider>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    if let Some(answer) = provider.heard("token", |does| does.token).await {
        return answer;
    }
    let basic = headers[AUTHORIZATION]
        .to_str()
        .unwrap()
        .strip_prefix("Basic ")
        .unwrap();
    let basic = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
    // RFC 6749, 2.3.1: both are encoded as in a form.
    assert_eq!(basic, "rookery:s%25cret%2B%3A%2F+%C3%BC");
    let does = provider.does.lock();
    let refused = || {
        (
            StatusCode::BAD_REQUEST,
            Json(json!({"error": "invalid_grant"})),
        )
            .into_response()
    };
    let Some(asked) = does.codes.get(&form["code"]) else {
        return refused();
    };
    let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, form["code_verifier"].as_bytes()));
    if asked["code_challenge"] != challenge || asked["redirect_uri"] != form["redirect_uri"] {
        return refused();
    }
    let now = provider.clock.now().timestamp();
    let mut claims = json!({
        "iss": provider.issuer,
        "sub": "ada-1815",
        "aud": CLIENT_ID,
        "iat": now,
        "exp": now + 3_600,
        "nonce": asked["nonce"],
        "email": "ada@example.org",
        "email_verified": true,
        "name": "Ada Lovelace",
        "given_name": "Ada",
    });
    for (name, value) in &does.claims {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(*name)),
            value => claims[*name] = value.clone(),
        }
    }
    let id_token = match does.token {
        Does::Other => None,
        _ => Some(does.key.sign(&claims)),
    };
    Json(json!({"access_token": "access-1", "token_type": "Bearer", "expires_in": 60, "id_token": id_token}))
        .into_response()
}

async fn userinfo(State(provider): State<Provider>, headers: HeaderMap) -> Response {
    if let Some(answer) = provider.heard("userinfo", |does| does.userinfo).await {
        return answer;
    }
    assert_eq!(headers[AUTHORIZATION], "Bearer access-1");
    Json(provider.does.lock().told.clone()).into_response()
}
