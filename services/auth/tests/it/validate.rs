//! Auth's answers to gateways, and the tokens that it accepts.

use std::sync::Arc;

use auth::{Auth, MIGRATIONS, Settings};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use blocks::context::{RequestContext, scope};
use blocks::identity::{AccessClaims, AssertionClaims, SigningKey};
use blocks::kit::{Kit, Limits};
use blocks::metrics::Metrics;
use blocks::{Clock, Role};
use chrono::TimeDelta;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{World, settings};

fn bearer(token: &str) -> [(&'static str, String); 1] {
    [("authorization", format!("Bearer {token}"))]
}

#[tokio::test]
async fn validate_says_who_it_is_in_headers_and_by_an_assertion_for_half_a_minute() {
    let world = World::fresh().await;
    let (id, token) = world.registered("Ada").await;
    let ask = async || {
        let [(name, value)] = bearer(&token);
        let response = world.validate("", &[(name, &value)]).await;
        assert_eq!(response.status, StatusCode::OK);
        let header = |name: &str| response.headers[name].to_str().unwrap().to_owned();
        assert_eq!(header("x-user-id"), id.to_string());
        assert_eq!(header("x-user-name"), "Ada");
        assert_eq!(header("x-user-email"), "Ada@example.org");
        assert_eq!(header("x-user-role"), "user");
        header("x-identity")
    };
    let first = ask().await;
    let claims: Value = serde_json::from_slice(
        &URL_SAFE_NO_PAD
            .decode(first.split('.').nth(1).unwrap())
            .unwrap(),
    )
    .unwrap();
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&json!(id.to_string()), &json!("services"))
    );
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        60
    );
    assert!(claims["sid"].is_string() && claims["email"].is_null());
    world.clock.advance(TimeDelta::seconds(29));
    assert_eq!(ask().await, first);
    world.clock.advance(TimeDelta::seconds(1));
    assert_ne!(ask().await, first);
}

#[tokio::test]
async fn without_a_token_required_refuses_and_optional_lets_pass_without_identity() {
    let world = World::fresh().await;
    for query in ["", "?mode=required"] {
        let response = world.validate(query, &[]).await;
        response.problem(401, "unauthenticated");
        assert_eq!(response.headers["www-authenticate"], "Bearer");
    }
    let response = world.validate("?mode=optional", &[]).await;
    assert_eq!(response.status, StatusCode::OK);
    assert!(
        !response
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("x-"))
    );
    for query in ["?mode=", "?mode=none", "?mode=optional&mode=strip"] {
        let response = world.validate(query, &[]).await;
        assert_eq!(response.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(response.json()["errors"]["mode"].is_array());
    }
    // A misspelt mode is not silently `required`.
    let response = world.validate("?mod=optional", &[]).await;
    assert_eq!(response.problem(400, "validation_failed"), ["mod"]);
}

#[tokio::test]
async fn a_guest_may_only_read_by_the_forwarded_method_and_not_by_the_question() {
    let world = World::fresh().await;
    let guest = world.with_role("gast", Role::Guest).await;
    let user = world.with_role("ada", Role::User).await;
    let ask = async |token: &str, methods: &[&str]| {
        let value = format!("Bearer {token}");
        let mut headers = vec![
            ("authorization", &*value),
            ("x-forwarded-uri", "/api/posts"),
        ];
        headers.extend(methods.iter().map(|method| ("x-forwarded-method", *method)));
        world.validate("", &headers).await
    };
    for good in [&[][..], &["GET"], &["HEAD"], &["OPTIONS"]] {
        assert_eq!(ask(&guest, good).await.status, StatusCode::OK, "{good:?}");
    }
    let bad: [&[&str]; 8] = [
        &["POST"],
        &["PUT"],
        &["DELETE"],
        &["PATCH"],
        &["post"],
        &["NONSENSE"],
        &[""],
        &["GET", "POST"],
    ];
    for methods in bad {
        let response = ask(&guest, methods).await;
        response.problem(403, "guest_read_only");
        assert_eq!(
            ask(&user, methods).await.status,
            StatusCode::OK,
            "{methods:?}"
        );
    }
}

#[tokio::test]
async fn a_gateway_gets_no_ids_with_a_good_answer_and_whoever_reads_it_himself_does() {
    let mut world = World::fresh().await;
    let (_, token) = world.registered("Ada").await;
    let kit = Kit::new("auth", Limits::default(), Metrics::new());
    world.app.router = kit.wrap(world.app.router.clone());
    let of_gateway = ("x-forwarded-uri", "/api/posts");
    let good = format!("Bearer {token}");
    let good = ("authorization", &*good);
    let ids = ["x-request-id", "x-correlation-id", "x-content-type-options"];
    for (query, headers, status, has_ids) in [
        ("", &[good, of_gateway][..], 200, false),
        ("?mode=optional", &[of_gateway], 200, false),
        ("", &[good], 200, true),
        ("?mode=optional", &[], 200, true),
        ("", &[of_gateway], 401, true),
    ] {
        let answer = world.validate(query, headers).await;
        assert_eq!(answer.status, status, "{query} {headers:?}");
        let found = ids.map(|id| answer.headers.contains_key(id));
        assert_eq!(found, [has_ids; 3], "{query} {headers:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_path_that_was_asked_for_and_not_that_of_the_question() {
    let world = World::fresh().await;
    let question = || {
        Arc::new(RequestContext {
            path: "/api/auth/validate".into(),
            ..RequestContext::default()
        })
    };
    for (forwarded, instance) in [
        (
            &[("x-forwarded-uri", "/api/posts?page=2")][..],
            "/api/posts",
        ),
        (&[("x-forwarded-uri", "not a path")], "/api/auth/validate"),
        (&[], "/api/auth/validate"),
    ] {
        let refusal = scope(question(), world.validate("", forwarded)).await;
        assert_eq!(refusal.json()["instance"], instance, "{forwarded:?}");
    }
}

#[tokio::test]
async fn a_forwarded_path_that_could_mean_two_things_is_refused_whoever_asks() {
    let world = World::fresh().await;
    let (_, token) = world.registered("ada").await;
    let value = format!("Bearer {token}");
    let ask = async |uris: &[&str], authorized: bool| {
        let mut headers: Vec<(&str, &str)> =
            uris.iter().map(|uri| ("x-forwarded-uri", *uri)).collect();
        if authorized {
            headers.push(("authorization", &value));
        }
        world.validate("?mode=optional", &headers).await
    };
    for good in [
        &[][..],
        &["/"],
        &["/api/posts/"],
        &["/api/posts?tag=a/../b&x=%2e%2e"],
        &["/api/posts/%F0%9F%98%80"],
        &["https://example.org/api/posts"],
    ] {
        for authorized in [true, false] {
            let status = ask(good, authorized).await.status;
            assert_eq!(status, StatusCode::OK, "{good:?}");
        }
    }
    for bad in [
        &["/api/posts/../auth/me"][..],
        &["/api/%2e%2E/auth/me"],
        &["/api//posts"],
        &["/api/posts%2f1"],
        &["/api/posts\\1"],
        &["https://example.org/a/../b"],
        &["api/posts"],
        &[""],
        &["/ /"],
        &["/a", "/a"],
    ] {
        for authorized in [true, false] {
            let response = ask(bad, authorized).await;
            assert_eq!(response.status, StatusCode::BAD_REQUEST, "{bad:?}");
            response.problem(400, "bad_path");
        }
    }
}

/// Tokens that must be refused, each with its fault.
pub fn forgeries(world: &World, good: &str, id: i64) -> Vec<(&'static str, String)> {
    let part = |index: usize| -> Value {
        let encoded = good.split('.').nth(index).unwrap();
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
    };
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let (header, claims) = (part(0), part(1));
    let signature = good.rsplit('.').next().unwrap();
    let with = |field: &str, value: Value| {
        let mut claims = claims.clone();
        claims[field] = value;
        format!("{}.{}.{signature}", encode(&header), encode(&claims))
    };
    let mut forged = vec![
        ("another account", with("sub", json!((id + 1).to_string()))),
        ("another role", with("role", json!("admin"))),
        (
            "a longer life",
            with("exp", json!(claims["exp"].as_i64().unwrap() + 86_400)),
        ),
        ("no signature", good.rsplit_once('.').unwrap().0.to_owned()),
        (
            "an empty signature",
            format!("{}.", good.rsplit_once('.').unwrap().0),
        ),
        (
            "another signature",
            format!("{}.{}", good.rsplit_once('.').unwrap().0, "A".repeat(86)),
        ),
        ("not a token", "eyJ.eyJ.x".into()),
        ("nothing like one", "🦀".replace('🦀', "crab")),
        ("far too long", format!("{good}{}", "A".repeat(6000))),
    ];
    for algorithm in ["none", "None", "NONE", "nOnE", "HS256", "RS256", "ES256"] {
        let mut header = header.clone();
        header["alg"] = json!(algorithm);
        let message = format!("{}.{}", encode(&header), encode(&claims));
        forged.push(("another algorithm", format!("{message}.{signature}")));
        forged.push(("another algorithm, unsigned", format!("{message}.")));
        let jwk = &header["kid"];
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, jwk.as_str().unwrap().as_bytes());
        let tag = URL_SAFE_NO_PAD.encode(ring::hmac::sign(&key, message.as_bytes()));
        forged.push(("signed with what is public", format!("{message}.{tag}")));
    }
    let foreign = SigningKey::generate().unwrap();
    let own: AccessClaims = serde_json::from_value(claims.clone()).unwrap();
    forged.push(("a foreign key", own.sign(&foreign)));
    let renamed = {
        let mut theirs: Value = serde_json::from_slice(
            &URL_SAFE_NO_PAD
                .decode(own.sign(&foreign).split('.').next().unwrap())
                .unwrap(),
        )
        .unwrap();
        theirs["kid"] = header["kid"].clone();
        let token = own.sign(&foreign);
        format!("{}.{}", encode(&theirs), token.split_once('.').unwrap().1)
    };
    forged.push(("a foreign key under our key's name", renamed));
    let caller = blocks::Caller {
        id,
        name: "ada".into(),
        email: "".into(),
        role: Role::Admin,
        session: own.sid,
    };
    let assertion = AssertionClaims::of(&caller, "rookery", world.clock.now());
    forged.push(("a foreign assertion", assertion.sign(&foreign)));
    forged
}

#[tokio::test]
async fn a_token_that_is_not_exactly_ours_is_refused_in_both_modes() {
    let world = World::fresh().await;
    let (id, token) = world.registered("ada").await;
    assert!(world.accepts(&token).await);
    for (what, forged) in forgeries(&world, &token, id) {
        let [(name, value)] = bearer(&forged);
        for query in ["", "?mode=optional"] {
            let response = world.validate(query, &[(name, &value)]).await;
            assert_eq!(response.status, StatusCode::UNAUTHORIZED, "{what}");
            response.problem(401, "invalid_token");
        }
        let answer = world.get("/api/auth/me", &forged).await;
        assert_eq!(
            answer.status,
            StatusCode::UNAUTHORIZED,
            "{what}, in process"
        );
    }
    // The assertion that validate gives out is not a token either.
    let [(name, value)] = bearer(&token);
    let response = world.validate("", &[(name, &value)]).await;
    let assertion = response.headers["x-identity"].to_str().unwrap().to_owned();
    assert!(!world.accepts(&assertion).await);
    assert!(world.accepts(&token).await);
}

#[tokio::test]
async fn another_installations_tokens_are_refused_and_so_are_other_issuers_of_this_one() {
    let (here, there) = (World::fresh().await, World::fresh().await);
    here.registered("ada").await;
    let (_, theirs) = there.registered("ada").await;
    assert!(there.accepts(&theirs).await);
    assert!(!here.accepts(&theirs).await);
    // The same keys under another name: the issuer is checked.
    let renamed = Settings {
        issuer: "elsewhere".into(),
        ..settings()
    };
    let clock: Arc<dyn Clock> = there.clock.clone();
    let other = Auth::open(there.db.db.clone(), renamed, clock)
        .await
        .unwrap();
    assert!(matches!(
        other.identify(&theirs).await.map(|_| ()),
        Err(blocks::identity::AuthRefusal::Issuer)
    ));
}

#[tokio::test]
async fn a_token_of_a_session_that_is_not_stored_is_refused() {
    let world = World::fresh().await;
    let (id, token) = world.registered("ada").await;
    assert!(world.accepts(&token).await);
    let mut again = World::open(
        testkit::db::sqlite_at("auth", MIGRATIONS, world.clock.clone()).await,
        world.clock.clone(),
    )
    .await;
    // The keys move to a database that never saw the login.
    let rows: Vec<(String, Vec<u8>)> = {
        let mut reader = world.db.db.read().await.unwrap();
        sql::on!(reader, conn => sqlx::query_as("select kid, sealed from signing_keys")
            .fetch_all(&mut *conn).await)
        .unwrap()
    };
    again
        .db
        .db
        .write(move |tx| {
            Box::pin(async move {
                for (kid, sealed) in rows {
                    sql::on!(tx, conn => sqlx::query("update signing_keys set kid = $1, sealed = $2")
                        .bind(&kid).bind(&sealed).execute(&mut *conn).await.map(|_| ()))?;
                }
                Ok::<_, sql::StoreError>(())
            })
        })
        .await
        .unwrap();
    again.restart().await;
    assert_eq!(again.register("ada").await, id);
    assert!(!again.accepts(&token).await);
}
