//! Identity across processes: a gateway that asks auth over its API, and a service behind it that
//! knows auth by its public keys only.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::routing::any;
use blocks::gateway::{Gateway, Table};
use blocks::identity::headers::is_identity;
use blocks::identity::{AssertionVerifier, ISSUER, Jwk, KeySet};
use blocks::{Caller, Role};
use chrono::TimeDelta;
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use testkit::http::Answer;
use tower::ServiceExt;

use crate::validate::forgeries;
use crate::world::{World, request};

const SAID: [&str; 5] = [
    "x-user-id",
    "x-user-name",
    "x-user-email",
    "x-user-role",
    "x-identity",
];

struct Fleet {
    world: World,
    service: Router,
}

impl Fleet {
    async fn start() -> Self {
        let world = World::fresh().await;
        let jwks = request("GET", "/.well-known/jwks.json", &[]);
        let body = world.give(jwks).await.json();
        let keys: Vec<Jwk> = serde_json::from_value(body["keys"].clone()).unwrap();
        let keys = Arc::new(KeySet::read(&keys).unwrap());
        let verifier = AssertionVerifier::new(keys, ISSUER, world.clock.clone());
        let who = |caller: Option<Caller>, headers: HeaderMap| async move {
            assert!(
                !headers.keys().any(|name| is_identity(name.as_str())),
                "{headers:?}"
            );
            let name =
                caller.map(|caller| format!("{} {} {}", caller.id, caller.name, caller.role));
            axum::Json(Value::from(name))
        };
        let router = Router::new().route("/thing", any(who));
        let service = Gateway::behind_another(Table::default(), Arc::new(verifier)).wrap(router);
        Self { world, service }
    }

    /// A minimal gateway: it asks auth, and copies the five headers of the answer over those of the
    /// request. It passes on all other headers of the client.
    async fn through_the_gateway(&self, mode: &str, mut request: Request) -> Answer {
        let mut question = crate::world::request("GET", &format!("/api/auth/validate{mode}"), &[]);
        *question.headers_mut() = request.headers().clone();
        let method = request.method().as_str().parse().unwrap();
        question.headers_mut().insert("x-forwarded-method", method);
        let answer = self.world.give(question).await;
        if answer.status != StatusCode::OK {
            return answer;
        }
        for name in SAID {
            request.headers_mut().remove(name);
            if let Some(value) = answer.headers.get(name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        self.direct(request).await
    }

    async fn direct(&self, request: Request) -> Answer {
        let response = self.service.clone().oneshot(request).await.unwrap();
        Answer::of(response).await.unwrap()
    }
}

#[tokio::test]
async fn a_token_becomes_a_caller_behind_the_gateway() {
    let fleet = Fleet::start().await;
    let (id, token) = fleet.world.registered("ada").await;
    let bearer = format!("Bearer {token}");
    for mode in ["", "?mode=optional"] {
        let response = fleet
            .through_the_gateway(
                mode,
                request("PUT", "/thing", &[("authorization", &bearer)]),
            )
            .await;
        assert_eq!(response.json(), format!("{id} ada user"));
    }
    let response = fleet
        .through_the_gateway("", request("GET", "/thing", &[]))
        .await;
    assert_eq!(response.status, StatusCode::UNAUTHORIZED);
    let response = fleet
        .through_the_gateway("?mode=optional", request("GET", "/thing", &[]))
        .await;
    assert_eq!(response.json(), Value::Null);

    let guest = format!(
        "Bearer {}",
        fleet.world.with_role("gast", Role::Guest).await
    );
    let reads = request("GET", "/thing", &[("authorization", &guest)]);
    assert_eq!(
        fleet.through_the_gateway("", reads).await.status,
        StatusCode::OK
    );
    let writes = request("POST", "/thing", &[("authorization", &guest)]);
    assert_eq!(
        fleet.through_the_gateway("", writes).await.status,
        StatusCode::FORBIDDEN
    );
}

#[tokio::test]
async fn no_header_makes_a_request_act_for_anybody_but_its_tokens_owner() {
    let fleet = Fleet::start().await;
    let (id, token) = fleet.world.registered("mallory").await;
    let (victim, victims) = fleet.world.registered("ada").await;
    // A thief would like to forge what the victim's own requests carry.
    let bearer = format!("Bearer {token}");
    let mut attempts: Vec<Vec<(&str, String)>> = Vec::new();
    for (name, value) in [
        ("x-user-id", victim.to_string()),
        ("x-user-name", "ada".into()),
        ("x-user-role", "admin".into()),
        ("x-identity", "e30.e30.e30".into()),
    ] {
        for spelling in [
            name.to_owned(),
            name.replace('-', "_"),
            name.to_uppercase(),
            name.replacen('-', "_", 1),
            name.replace('-', "."),
            name.replace('-', "--"),
        ] {
            let spelling: &str = Box::leak(spelling.into_boxed_str());
            attempts.push(vec![(spelling, value.clone())]);
            attempts.push(vec![(spelling, value.clone()), (spelling, value.clone())]);
            attempts.push(vec![
                (spelling, value.clone()),
                ("connection", name.to_owned()),
            ]);
        }
    }
    let all = ["x-user-id", "x-user-name", "x-user-email", "x-user-role"];
    let values = [&*victim.to_string(), "ada", "ada@example.org", "admin"];
    attempts.push(
        all.iter()
            .zip(values)
            .map(|(name, value)| (*name, value.to_owned()))
            .collect(),
    );
    for (_, forged) in forgeries(&fleet.world, &victims, victim) {
        attempts.push(vec![
            ("x-user-id", victim.to_string()),
            ("x-identity", forged),
        ]);
    }
    for attempt in attempts {
        let forged: Vec<(&str, &str)> = attempt
            .iter()
            .map(|(name, value)| (*name, &**value))
            .collect();
        let mut authorized = forged.clone();
        authorized.push(("authorization", &bearer));
        for mode in ["", "?mode=optional"] {
            let with_token = request("PUT", "/thing", &authorized);
            let response = fleet.through_the_gateway(mode, with_token).await;
            let who = response.json();
            assert_eq!(who, format!("{id} mallory user"), "{attempt:?}");
        }
        let without = request("PUT", "/thing", &forged);
        let response = fleet.through_the_gateway("", without).await;
        assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{attempt:?}");
        let without = request("PUT", "/thing", &forged);
        let response = fleet.through_the_gateway("?mode=optional", without).await;
        assert_eq!(response.json(), Value::Null, "{attempt:?}");
        // At the service's own port, past the gateway.
        let response = fleet.direct(request("PUT", "/thing", &authorized)).await;
        assert_eq!(response.json(), Value::Null, "{attempt:?}");
    }
}

#[tokio::test]
async fn an_assertion_speaks_for_its_owner_only_and_not_for_long() {
    let fleet = Fleet::start().await;
    let (id, token) = fleet.world.registered("mallory").await;
    let (victim, _) = fleet.world.registered("ada").await;
    let bearer = format!("Bearer {token}");
    let answer = fleet
        .world
        .validate("", &[("authorization", &bearer)])
        .await;
    let assertion = answer.headers["x-identity"].to_str().unwrap().to_owned();
    let ask = async |headers: &[(&str, &str)]| {
        fleet.direct(request("PUT", "/thing", headers)).await.json()
    };
    let own = format!("{id} mallory user");
    assert_eq!(ask(&[("x-identity", &assertion)]).await, own);
    for (name, value) in [
        ("x-user-id", &*victim.to_string()),
        ("x-user-name", "ada"),
        ("x-user-role", "admin"),
    ] {
        let who = ask(&[("x-identity", &assertion), (name, value)]).await;
        assert_eq!(who, Value::Null, "{name}");
    }
    fleet.world.clock.advance(TimeDelta::seconds(59));
    assert_eq!(ask(&[("x-identity", &assertion)]).await, own);
    fleet.world.clock.advance(TimeDelta::seconds(1));
    assert_eq!(ask(&[("x-identity", &assertion)]).await, Value::Null);
}
