//! The keys that auth signs with: how they are kept, shown, agreed on and retired.

use std::sync::Arc;

use auth::{Auth, OpenError, Settings};
use blocks::Clock;
use blocks::identity::{AccessClaims, Jwk, KeySet};
use chrono::TimeDelta;
use http::StatusCode;
use serde_json::json;
use testkit::service::{App, NOBODY};

use crate::on_both;
use crate::world::{SECRET, World, request, settings};

on_both!(
    the_jwks_has_public_keys_only_and_verifies_what_is_signed,
    |world: World| async move {
        let (_, token) = world.registered("ada").await;
        let jwks = request("GET", "/.well-known/jwks.json", &[]);
        let response = world.give(jwks).await;
        assert_eq!(response.status, StatusCode::OK);
        let body = response.json();
        assert_eq!(body["keys"].as_array().unwrap().len(), 1);
        assert!(
            body["keys"][0]["d"].is_null() && body["keys"][0]["k"].is_null(),
            "{body}"
        );
        let keys: Vec<Jwk> = serde_json::from_value(body["keys"].clone()).unwrap();
        let keys = KeySet::read(&keys).unwrap();
        let claims = AccessClaims::verify(&token, &keys, "rookery", "rookery", world.clock.now())
            .await
            .unwrap();
        assert_eq!(claims.name, "ada");
    }
);

on_both!(
    another_secret_key_stops_the_start_and_says_which_setting,
    |world: World| async move {
        let open = async |secret: &str| {
            let clock: Arc<dyn Clock> = world.clock.clone();
            let settings = Settings {
                secret_key: secret.into(),
                ..settings()
            };
            Auth::open(world.db.db.clone(), settings, clock)
                .await
                .map(|_| ())
        };
        open(SECRET).await.unwrap();
        let error = open("another secret key for tests").await.unwrap_err();
        assert!(matches!(error, OpenError::WrongSecretKey));
        assert!(error.to_string().contains("SECRET_KEY"));
        let error = open("short").await.unwrap_err();
        assert!(error.to_string().contains("SECRET_KEY"));
        assert!(matches!(error, OpenError::WeakSecretKey { .. }));
    }
);

on_both!(
    processes_that_start_at_once_agree_on_one_key,
    |world: World| async move {
        world
            .db
            .db
            .write(|tx| {
                Box::pin(async move {
                    sql::on!(tx, conn => sqlx::query("delete from signing_keys")
            .execute(&mut *conn).await.map(|_| ()))
                })
            })
            .await
            .unwrap();
        let mut starting = tokio::task::JoinSet::new();
        for _ in 0..12 {
            let (db, clock): (_, Arc<dyn Clock>) = (world.db.db.clone(), world.clock.clone());
            starting.spawn(async move { Auth::open(db, settings(), clock).await.unwrap() });
        }
        let started = starting.join_all().await;
        world.register("ada").await;
        let body = json!({"username": "ada", "password": crate::world::PASSWORD});
        for maker in &started {
            let app = App::new(auth::service(maker), world.clock.clone());
            let answer = app.post(NOBODY, "/api/auth/login", &body.to_string()).await;
            let answer = answer.expect(200);
            let token = answer["access_token"].as_str().unwrap();
            for reader in &started {
                assert!(reader.identify(token).await.is_ok());
            }
        }
    }
);

#[tokio::test]
async fn a_key_is_published_before_it_signs_and_shown_until_it_is_retired() {
    let mut world = World::fresh().await;
    let (_, before) = world.registered("ada").await;
    // The stored key moves into the future, so a new one signs until then. Sealed under its id, the
    // stored key can't be copied under another.
    let later = world.clock.now() + TimeDelta::hours(1);
    world
        .db
        .db
        .write(move |tx| {
            Box::pin(async move {
                sql::on!(tx, conn => sqlx::query("update signing_keys set signs_from = $1")
                    .bind(later).execute(&mut *conn).await.map(|_| ()))
            })
        })
        .await
        .unwrap();
    world.restart().await;
    let shown = async |world: &World| {
        let jwks = request("GET", "/.well-known/jwks.json", &[]);
        let body = world.give(jwks).await.json();
        body["keys"].as_array().unwrap().len()
    };
    assert_eq!(shown(&world).await, 2, "one signs, one will");
    let after = world.login("ada").await;
    let kid = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_ne!(kid(&before), kid(&after));
    assert!(world.accepts(&before).await && world.accepts(&after).await);
    world.clock.advance(TimeDelta::hours(1));
    world.restart().await;
    assert_eq!(
        kid(&world.login("ada").await),
        kid(&before),
        "its time has come"
    );
    let now = world.clock.now();
    world
        .db
        .db
        .write(move |tx| {
            Box::pin(async move {
                sql::on!(tx, conn => sqlx::query(
                    "update signing_keys set retired_at = $1 where signs_from <> $2")
                    .bind(now).bind(later).execute(&mut *conn).await.map(|_| ()))
            })
        })
        .await
        .unwrap();
    world.restart().await;
    assert_eq!(shown(&world).await, 1);
    assert!(world.accepts(&before).await);
    assert!(!world.accepts(&after).await, "its key is retired");
}

#[tokio::test]
async fn a_key_row_under_another_id_is_refused_at_start() {
    let world = World::fresh().await;
    world
        .db
        .db
        .write(|tx| {
            Box::pin(async move {
                sql::on!(tx, conn => sqlx::query("update signing_keys set kid = 'swapped'")
                    .execute(&mut *conn).await.map(|_| ()))
            })
        })
        .await
        .unwrap();
    let clock: Arc<dyn Clock> = world.clock.clone();
    let opened = Auth::open(world.db.db.clone(), settings(), clock).await;
    assert!(matches!(opened.map(|_| ()), Err(OpenError::WrongSecretKey)));
}
