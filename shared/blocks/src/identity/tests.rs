use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::any;
use axum::{Extension, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;
use uuid::Uuid;

use super::*;
use crate::error::BoxError;
use crate::gateway::Table;
use crate::{Caller, Clock, ManualClock, Role};

const ISSUER: &str = "rookery";
const AUDIENCE: &str = "api";

struct World {
    clock: Arc<ManualClock>,
    key: SigningKey,
    keys: Arc<KeySet>,
}

impl World {
    fn new() -> Self {
        let key = SigningKey::generate().unwrap();
        let keys = Arc::new(KeySet::read([key.public()]).unwrap());
        Self {
            clock: Arc::default(),
            key,
            keys,
        }
    }

    fn claims(&self) -> AccessClaims {
        let now = self.clock.now().timestamp();
        AccessClaims {
            sub: 7,
            name: "ada".into(),
            email: "ada@example.org".into(),
            role: Role::User,
            sid: Uuid::from_u128(1),
            iss: ISSUER.into(),
            aud: AUDIENCE.into(),
            iat: now,
            nbf: None,
            exp: now + 60,
            jti: Uuid::from_u128(2),
        }
    }

    async fn verify(&self, token: &str) -> Result<AccessClaims, AuthRefusal> {
        AccessClaims::verify(token, &*self.keys, ISSUER, AUDIENCE, self.clock.now()).await
    }

    fn caller() -> Caller {
        Caller {
            id: 7,
            name: "ada".into(),
            email: "ada@example.org".into(),
            role: Role::User,
            session: Uuid::from_u128(1),
        }
    }

    fn assertion(&self) -> String {
        AssertionClaims::of(&Self::caller(), ISSUER, self.clock.now()).sign(&self.key)
    }

    fn verifier(&self) -> Arc<AssertionVerifier> {
        Arc::new(AssertionVerifier::new(
            self.keys.clone(),
            ISSUER,
            self.clock.clone(),
        ))
    }
}

/// The parts of a token, as JSON.
fn part(token: &str, index: usize) -> Value {
    let encoded = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

fn with_header(token: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut header = part(token, 0);
    change(&mut header);
    let rest = token.split_once('.').unwrap().1;
    format!("{}.{rest}", encode(&header))
}

#[tokio::test]
async fn a_token_says_what_was_signed_until_it_expires() {
    let world = World::new();
    let token = world.claims().sign(&world.key);
    assert_eq!(world.verify(&token).await.unwrap(), world.claims());
    assert_eq!(part(&token, 0)["kid"], world.key.public().kid);
    assert_eq!(part(&token, 0)["alg"], "EdDSA");
    assert_eq!(part(&token, 1)["sub"], "7", "RFC 7519: sub is a string");

    world.clock.advance(TimeDelta::seconds(59));
    assert!(world.verify(&token).await.is_ok());
    world.clock.advance(TimeDelta::seconds(1));
    assert!(matches!(
        world.verify(&token).await,
        Err(AuthRefusal::Expired)
    ));
}

#[tokio::test]
async fn a_token_before_its_time_is_refused_but_clocks_may_differ_a_little() {
    let world = World::new();
    let mut claims = world.claims();
    claims.nbf = Some(claims.iat + 30);
    let later = claims.sign(&world.key);
    assert!(matches!(
        world.verify(&later).await,
        Err(AuthRefusal::NotYetValid)
    ));

    let mut claims = world.claims();
    claims.iat += SKEW.num_seconds();
    assert!(world.verify(&claims.sign(&world.key)).await.is_ok());
    claims.iat += 1;
    let ahead = claims.sign(&world.key);
    assert!(matches!(
        world.verify(&ahead).await,
        Err(AuthRefusal::NotYetValid)
    ));
}

#[tokio::test]
async fn alg_none_is_refused_in_every_spelling() {
    let world = World::new();
    let token = world.claims().sign(&world.key);
    let signed = token.rsplit_once('.').unwrap().0;
    for none in ["none", "None", "NONE", "nOnE", "", "HS256 "] {
        let forged = with_header(&token, |header| header["alg"] = json!(none));
        let message = forged.rsplit_once('.').unwrap().0;
        for attempt in [format!("{message}."), message.to_owned(), forged.clone()] {
            assert!(
                matches!(world.verify(&attempt).await, Err(AuthRefusal::Malformed)),
                "{none}"
            );
        }
    }
    assert!(
        world.verify(&format!("{signed}.")).await.is_err(),
        "no signature at all"
    );
}

#[tokio::test]
async fn hs256_with_the_public_key_as_its_secret_is_refused() {
    let world = World::new();
    let token = world.claims().sign(&world.key);
    let public = URL_SAFE_NO_PAD.decode(&world.key.public().x).unwrap();
    for secret in [&public[..], world.key.public().x.as_bytes()] {
        for (name, algorithm) in [
            ("HS256", ring::hmac::HMAC_SHA256),
            ("HS512", ring::hmac::HMAC_SHA512),
        ] {
            let forged = with_header(&token, |header| header["alg"] = json!(name));
            let message = forged.rsplit_once('.').unwrap().0;
            let tag =
                ring::hmac::sign(&ring::hmac::Key::new(algorithm, secret), message.as_bytes());
            let forged = format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag));
            assert!(matches!(
                world.verify(&forged).await,
                Err(AuthRefusal::Algorithm)
            ));
        }
    }
}

#[tokio::test]
async fn foreign_keys_issuers_audiences_and_kinds_are_refused() {
    let world = World::new();
    let foreign = SigningKey::generate().unwrap();
    let token = world.claims().sign(&foreign);
    assert!(matches!(
        world.verify(&token).await,
        Err(AuthRefusal::UnknownKey)
    ));
    // The right key id does not make it the right key.
    let kid = world.key.public().kid.clone();
    let mut public = foreign.public().clone();
    public.kid.clone_from(&kid);
    let renamed = with_header(&token, |header| header["kid"] = json!(kid));
    assert!(matches!(
        world.verify(&renamed).await,
        Err(AuthRefusal::Signature)
    ));

    let token = world.claims().sign(&world.key);
    let unnamed = with_header(&token, |header| {
        header.as_object_mut().unwrap().remove("kid");
    });
    assert!(matches!(
        world.verify(&unnamed).await,
        Err(AuthRefusal::UnknownKey)
    ));
    // A key that the token brings along is not looked at.
    let own = with_header(&world.claims().sign(&foreign), |header| {
        header["jwk"] = json!({"kty": "OKP", "crv": "Ed25519", "x": foreign.public().x});
    });
    assert!(matches!(
        world.verify(&own).await,
        Err(AuthRefusal::UnknownKey)
    ));

    let mut claims = world.claims();
    claims.iss = "somebody".into();
    let token = claims.sign(&world.key);
    assert!(matches!(
        world.verify(&token).await,
        Err(AuthRefusal::Issuer)
    ));
    let mut claims = world.claims();
    claims.aud = "elsewhere".into();
    let token = claims.sign(&world.key);
    assert!(matches!(
        world.verify(&token).await,
        Err(AuthRefusal::Audience)
    ));
    assert!(
        world.verify(&world.assertion()).await.is_err(),
        "an assertion is no access token"
    );
    let token = world.claims().sign(&world.key);
    assert!(
        world.verifier().verify(&token).await.is_err(),
        "nor the other way round"
    );
}

#[tokio::test]
async fn a_token_changed_anywhere_is_refused() {
    let world = World::new();
    let token = world.claims().sign(&world.key);
    let mut claims = part(&token, 1);
    claims["role"] = json!("admin");
    let parts: Vec<&str> = token.split('.').collect();
    let promoted = format!("{}.{}.{}", parts[0], encode(&claims), parts[2]);
    assert!(matches!(
        world.verify(&promoted).await,
        Err(AuthRefusal::Signature)
    ));

    for place in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[place] = if bytes[place] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(world.verify(&changed).await.is_err(), "place {place}");
    }
    let long = format!("{token}{}", "A".repeat(5000));
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b",
        "a.b.c.d",
        "ä.ö.ü",
        &token[1..],
        &long,
    ] {
        assert!(world.verify(text).await.is_err(), "{text}");
    }
    // Claims that are missing or of another type, properly signed.
    let whole = part(&token, 1);
    for name in ["sub", "role", "sid", "iss", "aud", "iat", "exp"] {
        for replacement in [None, Some(json!(null)), Some(json!({})), Some(json!(-1.5))] {
            let mut claims = whole.clone();
            let fields = claims.as_object_mut().unwrap();
            fields.remove(name);
            if let Some(value) = replacement {
                fields.insert(name.to_owned(), value);
            }
            let token = world.key.sign("at+jwt", &claims);
            assert!(world.verify(&token).await.is_err(), "{claims}");
        }
    }
}

#[test]
fn a_key_set_reads_ed25519_keys_only_and_a_seed_gives_the_same_key_again() {
    let key = SigningKey::generate().unwrap();
    assert_eq!(
        SigningKey::from_seed(key.seed()).unwrap().public(),
        key.public()
    );
    assert!(matches!(
        SigningKey::from_seed(&[0; 31]),
        Err(KeyError::Seed(31))
    ));
    assert!(!format!("{key:?}").contains(&URL_SAFE_NO_PAD.encode(key.seed())));
    for (field, value) in [
        ("kty", "RSA"),
        ("crv", "Ed448"),
        ("alg", "HS256"),
        ("x", "AAAA"),
        ("x", "not base64!"),
    ] {
        let mut jwk = serde_json::to_value(key.public()).unwrap();
        jwk[field] = json!(value);
        let jwk: Jwk = serde_json::from_value(jwk).unwrap();
        assert!(KeySet::read([&jwk]).is_err(), "{field}={value}");
    }
}

#[test]
fn the_key_id_is_the_thumbprint_of_rfc_8037() {
    let seed = URL_SAFE_NO_PAD
        .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
        .unwrap();
    let key = SigningKey::from_seed(&seed).unwrap();
    assert_eq!(
        key.public().x,
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    );
    assert_eq!(
        key.public().kid,
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
    );
}

#[tokio::test]
async fn an_assertion_is_believed_for_a_minute_also_when_it_is_remembered() {
    let world = World::new();
    let verifier = world.verifier();
    let assertion = world.assertion();
    for _ in 0..2 {
        let caller = verifier.verify(&assertion).await.unwrap();
        assert_eq!((caller.id, &*caller.name, &*caller.email), (7, "ada", ""));
    }
    world.clock.advance(TimeDelta::seconds(60));
    assert!(matches!(
        verifier.verify(&assertion).await,
        Err(AuthRefusal::Expired)
    ));
    assert!(matches!(
        verifier.verify(&assertion).await,
        Err(AuthRefusal::Expired)
    ));
}

#[test]
fn every_spelling_of_an_identity_header_is_known_and_no_other_header_is() {
    for name in [
        "x-user-id",
        "X-User-ID",
        "x_user_id",
        "X_USER-ID",
        "x-user_id",
        "x.user.id",
        "xuserid",
        "x--user-id",
        "x-username",
        "x-user-email",
        "x_user_email",
        "x-user-role",
        "x_user_role",
        "x-identity",
        "X_Identity",
        "x-ident-ity",
    ] {
        assert!(headers::is_identity(name), "{name}");
    }
    for name in [
        "x-request-id",
        "x-user",
        "user-id",
        "x-user-ids",
        "authorization",
        "x",
        "",
    ] {
        assert!(!headers::is_identity(name), "{name}");
    }
}

#[test]
fn stripping_takes_every_value_and_what_connection_says_of_them() {
    let mut map = HeaderMap::new();
    for (name, value) in [
        ("x-user-id", "1"),
        ("x-user-id", "2"),
        ("x_user_role", "admin"),
        ("x-identity", "e30.e30."),
        ("x-request-id", "keep"),
        ("connection", "keep-alive, X-Identity"),
    ] {
        map.append(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    headers::strip(&mut map);
    assert_eq!(map.keys().collect::<Vec<_>>(), ["x-request-id"]);

    let mut map = HeaderMap::new();
    map.insert(
        "connection",
        HeaderValue::from_static("keep-alive, x-request-id"),
    );
    headers::strip(&mut map);
    assert_eq!(map.len(), 1);
}

#[test]
fn only_one_bearer_token_is_a_bearer_token() {
    let read = |values: &[&'static str]| {
        let mut map = HeaderMap::new();
        for value in values {
            map.append("authorization", HeaderValue::from_static(value));
        }
        bearer(&map).map(|token| token.map(str::to_owned))
    };
    assert_eq!(read(&[]).unwrap(), None);
    for good in ["Bearer t", "bearer t", "BEARER  t ", "bEaReR t"] {
        assert_eq!(read(&[good]).unwrap().unwrap(), "t");
    }
    for bad in ["", "Bearer", "Bearer ", "Basic dTpw", "t", "Bearert"] {
        assert!(read(&[bad]).is_err(), "{bad:?}");
    }
    assert!(read(&["Bearer t", "Bearer t"]).is_err());
}

/// Answers who the service thinks is calling.
fn service(verifier: Arc<AssertionVerifier>) -> Router {
    let who = |caller: Option<Extension<Caller>>, headers: HeaderMap| async move {
        assert!(
            !headers
                .keys()
                .any(|name| headers::is_identity(name.as_str()))
        );
        caller.map_or("nobody".to_owned(), |Extension(caller)| {
            format!("{} {} {}", caller.id, caller.name, caller.role)
        })
    };
    headers::guard(Router::new().route("/", any(who)), verifier)
}

async fn ask(service: &Router, headers: &[(&str, &str)]) -> (StatusCode, String) {
    let mut request = Request::get("/").body(Body::empty()).unwrap();
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        request
            .headers_mut()
            .append(name, HeaderValue::from_str(value).unwrap());
    }
    let response = service.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX)
        .await
        .unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_service_believes_headers_only_with_an_assertion_that_agrees() {
    let world = World::new();
    let service = service(world.verifier());
    let good = world.assertion();
    let honest = [
        ("x-user-id", "7"),
        ("x-user-name", "ada"),
        ("x-user-role", "user"),
    ];
    let with = |extra: &[(&'static str, &str)]| -> Vec<(&'static str, String)> {
        extra
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    let mut believed = with(&honest);
    believed.push(("x-identity", good.clone()));
    believed.push(("x-user-email", "ada@example.org".into()));
    // A spelling that is not the header's own says nothing either way.
    believed.push(("x_user_id", "1".into()));
    let foreign = World::new();
    let forged = foreign.assertion();
    let mut unbelieved = vec![
        with(&honest),
        with(&[("x-identity", &forged)]),
        with(&[("x_identity", &good), ("x-user-id", "7")]),
        with(&[("x-identity", &good), ("x-user-id", "1")]),
        with(&[
            ("x-identity", &good),
            ("x-user-id", "7"),
            ("x-user-id", "1"),
        ]),
        with(&[("x-identity", &good), ("x-user-role", "admin")]),
        with(&[("x-identity", &good), ("x-user-name", "root")]),
        with(&[("x-identity", &good), ("x-identity", &good)]),
        with(&[("x-identity", &good), ("x-identity", &forged)]),
        with(&[("x-identity", &world.claims().sign(&world.key))]),
        with(&[("x-identity", "")]),
    ];
    unbelieved.push(Vec::new());
    let call = async |headers: &[(&'static str, String)]| {
        let headers: Vec<_> = headers
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        ask(&service, &headers).await
    };
    assert_eq!(call(&believed).await, (StatusCode::OK, "7 ada user".into()));
    for headers in unbelieved {
        assert_eq!(
            call(&headers).await,
            (StatusCode::OK, "nobody".into()),
            "{headers:?}"
        );
    }
    world.clock.advance(AssertionClaims::TTL);
    assert_eq!(call(&believed).await.1, "nobody");
}

#[tokio::test]
async fn a_guest_may_only_read_also_past_the_gateway() {
    let world = World::new();
    let service = service(world.verifier());
    let said = async |role: Role, method: &str| {
        let caller = Caller {
            role,
            ..World::caller()
        };
        let claims = AssertionClaims::of(&caller, ISSUER, world.clock.now());
        let request = Request::builder()
            .method(method)
            .uri("/")
            .header("x-identity", claims.sign(&world.key))
            .body(Body::empty())
            .unwrap();
        service.clone().oneshot(request).await.unwrap()
    };
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(said(Role::Guest, method).await.status(), StatusCode::OK);
    }
    for method in ["POST", "PUT", "PATCH", "DELETE", "WHATEVER"] {
        let refused = said(Role::Guest, method).await;
        assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{method}");
        let body = axum::body::to_bytes(refused.into_body(), usize::MAX).await;
        let problem: Value = serde_json::from_slice(&body.unwrap()).unwrap();
        assert_eq!(problem["error_code"], "guest_read_only");
        assert_eq!(said(Role::User, method).await.status(), StatusCode::OK);
    }
}

#[tokio::test]
async fn a_parameter_that_the_endpoint_does_not_document_is_refused_past_the_gateway_too() {
    let world = World::new();
    let things = crate::gateway::tests::things();
    let guard = headers::Guard::new(Table::of([&things]).unwrap(), world.verifier());
    let router = things.router.split_for_parts().0.layer(guard);
    let assertion = world.assertion();
    for (method, uri, identity, status) in [
        ("GET", "/things/1?q=1", "", 200),
        ("GET", "/things/1?tags=1", "", 400),
        ("GET", "/things/1?tags=1", &*assertion, 400),
        ("PUT", "/things/1?q=1", &*assertion, 400),
        ("PUT", "/things/1?q=1", "", 401),
        ("PUT", "/things/1", &*assertion, 200),
    ] {
        let mut request = Request::builder().method(method).uri(uri);
        if !identity.is_empty() {
            request = request.header("x-identity", identity);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{method} {uri} {identity}");
    }
}

struct Away;

#[async_trait]
impl KeySource for Away {
    async fn key(&self, _: &str) -> Result<Option<Arc<VerifyingKey>>, BoxError> {
        Err("auth does not answer".into())
    }
}

#[tokio::test]
async fn when_the_keys_cant_be_had_the_answer_is_503_and_not_nobody() {
    let world = World::new();
    let verifier = AssertionVerifier::new(Arc::new(Away), ISSUER, world.clock.clone());
    let service = service(Arc::new(verifier));
    let (status, body) = ask(&service, &[("x-identity", &world.assertion())]).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("auth_unavailable"), "{body}");
}
