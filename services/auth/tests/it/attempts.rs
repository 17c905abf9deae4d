//! Replicas of auth that count attempts in one Redis.

use std::sync::Arc;

use auth::{MIGRATIONS, Settings};
use axum::body::Body;
use blocks::{Clock, ManualClock, SystemClock};
use cache::Store;
use cache::redis::RedisStore;
use serde_json::json;
use testkit::door::Door;
use testkit::http::{Answer, eventually};
use testkit::service::{App, NOBODY};
use testkit::strangers::{TEST_REDIS_URL, server};

use crate::world::{PASSWORD, World, request, settings};

const WRONG: &str = "wrong horse battery";

async fn login(on: &App, name: &str, password: &str) -> Answer {
    let json = [("content-type", "application/json")];
    let mut request = request("POST", "/api/auth/login", &json);
    let body = json!({"username": name, "password": password});
    *request.body_mut() = Body::from(body.to_string());
    on.give(request, NOBODY).await
}

/// How many wrong passwords are let through; no more than 20 are tried.
async fn let_through(on: &App, name: &str) -> usize {
    for before in 0..20 {
        let answer = login(on, name, WRONG).await;
        if answer.status == 429 {
            assert!(answer.headers.contains_key("ratelimit"));
            return before;
        }
        answer.problem(401, "bad_credentials");
    }
    panic!("twenty wrong passwords were let through");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn replicas_count_together_and_each_by_itself_while_redis_is_away() {
    let redis = Door::to(&format!("redis://{}", server(TEST_REDIS_URL))).await;
    let prefix = format!("t:{}:", SystemClock.id());
    let at_redis = || Settings {
        attempts: Some(Store::new(RedisStore::new(&redis.url()).unwrap(), &prefix)),
        ..settings()
    };
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::sqlite_at("auth", MIGRATIONS, clock.clone()).await;
    let world = World::open_with(db, clock, at_redis()).await;
    let (one, other) = (&world.app, &world.replica(at_redis()).await);
    for name in ["ada", "bob", "carl"] {
        world.register(name).await;
    }

    for n in 0..6 {
        let on = if n % 2 == 0 { one } else { other };
        login(on, "ada", WRONG)
            .await
            .problem(401, "bad_credentials");
    }
    assert_eq!(let_through(one, "ADA").await, 4);
    assert_eq!(let_through(other, "ada").await, 0);
    // The right one on one of them clears the account on both.
    for _ in 0..9 {
        login(one, "bob", WRONG)
            .await
            .problem(401, "bad_credentials");
    }
    login(other, "bob", PASSWORD).await.expect(200);
    assert_eq!(let_through(one, "bob").await, 10);

    for (is_held, eve) in [(false, "eve"), (true, "mallory")] {
        login(one, eve, WRONG).await.problem(401, "bad_credentials");
        if is_held {
            redis.hold();
        } else {
            redis.shut().await;
        }
        // Each goes on from what it heard last, and refuses nobody else.
        assert_eq!(let_through(one, eve).await, 9);
        assert_eq!(let_through(other, eve).await, 10);
        assert_eq!(let_through(one, "ada").await, 0);
        world.login("carl").await;
        redis.open().await;
        eventually("they count together again", async || {
            let name = SystemClock.id().to_string();
            for on in [one, other].repeat(5) {
                let answer = login(on, &name, WRONG).await;
                answer.problem(401, "bad_credentials");
            }
            (let_through(one, &name).await == 0).then_some(())
        })
        .await;
    }
}
