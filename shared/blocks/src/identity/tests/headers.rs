use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::any;
use axum::{Extension, Router};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::{ISSUER, World};
use crate::error::BoxError;
use crate::gateway::{Gateway, Table};
use crate::identity::{
    AssertionClaims, AssertionVerifier, KeySource, VerifyingKey, bearer, headers,
};
use crate::{Caller, Clock, Role};

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
    let router = Router::new().route("/", any(who));
    Gateway::behind_another(Table::default(), verifier).wrap(router)
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
    let gateway = Gateway::behind_another(Table::of([&things]).unwrap(), world.verifier());
    let router = gateway.wrap(things.router.split_for_parts().0);
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
