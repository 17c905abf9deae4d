//! The keys that auth signs with: how they are kept, shown, agreed on and retired.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use auth::commands::RotateKeys;
use auth::operator::{KeyState, KeyUse};
use auth::queries::ListKeys;
use auth::{Auth, OpenError, Settings};
use blocks::identity::{AccessClaims, Jwk, KeySet};
use blocks::{Clock, Mediator};
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
    assert_eq!(shown(&world).await, 2, "one signs, one will");
    let after = world.login("ada").await;
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

/// Which key signed a token.
fn kid(token: &str) -> String {
    token.split('.').next().unwrap().to_owned()
}

fn uses(keys: &[KeyState]) -> Vec<KeyUse> {
    keys.iter().map(|key| key.state).collect()
}

async fn shown(world: &World) -> usize {
    let body = world.give(request("GET", "/.well-known/jwks.json", &[]));
    body.await.json()["keys"].as_array().unwrap().len()
}

on_both!(
    a_rotated_key_is_published_at_once_signs_after_its_grace_and_retires_the_old_one,
    |world: World| async move {
        let World { db, clock, .. } = &world;
        let graced = Settings {
            key_grace: TimeDelta::minutes(2),
            ..settings()
        };
        let auth = Auth::open(db.db.clone(), graced, clock.clone())
            .await
            .unwrap();
        let app = App::new(auth::service(&auth), clock.clone());
        world.register("ada").await;
        let login = async || {
            let body = json!({"username": "ada", "password": crate::world::PASSWORD});
            let answer = app.post(NOBODY, "/api/auth/login", &body.to_string()).await;
            crate::world::text(&answer.expect(200), "access_token")
        };
        let before = login().await;
        let keys = auth.send(RotateKeys { now: false }).await.unwrap();
        assert_eq!(uses(&keys), [KeyUse::Signs, KeyUse::Waits]);
        assert_eq!(keys[1].signs_from, clock.now() + TimeDelta::minutes(2));
        clock.advance(TimeDelta::seconds(119));
        assert_eq!(kid(&login().await), kid(&before));
        clock.advance(TimeDelta::seconds(1));
        let after = login().await;
        assert_ne!(
            kid(&after),
            kid(&before),
            "its time has come, and nothing was started again"
        );
        for token in [&before, &after] {
            assert!(auth.identify(token).await.is_ok());
        }
        // A day and what clocks differ by.
        let keys = auth.ask(ListKeys).await.unwrap();
        assert_eq!(uses(&keys), [KeyUse::Verifies, KeyUse::Signs]);
        let retires = clock.now() + TimeDelta::days(1) + TimeDelta::minutes(1);
        assert_eq!(
            (keys[0].retires_at, keys[1].retires_at),
            (Some(retires), None)
        );
        clock.advance(TimeDelta::days(1) + TimeDelta::seconds(59));
        let reopened = Auth::open(db.db.clone(), settings(), clock.clone())
            .await
            .unwrap();
        assert_eq!(uses(&reopened.ask(ListKeys).await.unwrap()), uses(&keys));
        let jwks = async || {
            let answer = app.get(NOBODY, "/.well-known/jwks.json").await.json();
            answer["keys"].as_array().unwrap().len()
        };
        assert_eq!(jwks().await, 2);
        clock.advance(TimeDelta::seconds(1));
        assert_eq!(jwks().await, 1);
        let keys = auth.ask(ListKeys).await.unwrap();
        assert_eq!(uses(&keys), [KeyUse::Retired, KeyUse::Signs]);
    }
);

on_both!(
    what_a_leaked_key_signed_is_refused_at_once_also_when_it_is_remembered,
    |mut world: World| async move {
        world.register("ada").await;
        let tokens = world.tokens("ada").await;
        let token = crate::world::text(&tokens, "access_token");
        world.auth.send(RotateKeys { now: false }).await.unwrap();
        let second = world.login("ada").await;
        assert!(world.accepts(&token).await && world.accepts(&second).await);
        let keys = world.auth.send(RotateKeys { now: true }).await.unwrap();
        assert_eq!(
            uses(&keys),
            [KeyUse::Retired, KeyUse::Retired, KeyUse::Signs]
        );
        assert!(!world.accepts(&token).await && !world.accepts(&second).await);
        assert_eq!(shown(&world).await, 1);
        // Sessions live on.
        let refreshed = world
            .refresh(&crate::world::text(&tokens, "refresh_token"))
            .await;
        let refreshed = crate::world::text(&refreshed.expect(200), "access_token");
        assert!(world.accepts(&refreshed).await);
        world.restart().await;
        assert!(!world.accepts(&token).await && world.accepts(&refreshed).await);
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_rotated_in_one_process_without_a_refusal() {
    let world = Arc::new(World::fresh().await);
    let (_, old) = world.registered("ada").await;
    let (stop, served) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (world, stop, served) = (world.clone(), stop.clone(), served.clone());
        load.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let token = world.login("ada").await;
                assert!(world.accepts(&token).await);
                world.get("/api/auth/me", &token).await.expect(200);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let more = async || {
        let wanted = served.load(Ordering::Relaxed) + 20;
        testkit::http::eventually("the load goes on", async || {
            (served.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    };
    for signs in 1..=3 {
        more().await;
        let keys = world.auth.ask(ListKeys).await.unwrap();
        assert_eq!(keys.len(), signs);
        if signs < 3 {
            world.auth.send(RotateKeys { now: false }).await.unwrap();
            let signing = kid(&world.login("ada").await);
            assert_ne!(signing, kid(&old), "it signs at once");
        }
    }
    stop.store(true, Ordering::Relaxed);
    load.join_all().await;
}
