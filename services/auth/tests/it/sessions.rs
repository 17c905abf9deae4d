//! Logging in and out, and the list of sessions.

use std::sync::Arc;

use auth::commands::EndSessions;
use blocks::{ManualClock, Mediator};
use chrono::TimeDelta;
use http::StatusCode;
use serde_json::{Value, json};
use sql::FaultPoint;
use testkit::faults::Fails;
use uuid::Uuid;

use crate::on_both;
use crate::world::{PASSWORD, World, account, settings};

on_both!(
    a_login_by_address_or_name_in_any_case_gives_a_bearer_token,
    |world: World| async move {
        let id = world.register("ada").await;
        for who in [
            json!({"username": "ada"}),
            json!({"username": "ADA"}),
            json!({"email": "ada@example.org"}),
            json!({"email": "Ada@Example.ORG", "username": null}),
        ] {
            let mut body = who.clone();
            body["password"] = json!(PASSWORD);
            let answer = world
                .send("POST", "/api/auth/login", None, &body)
                .await
                .expect(200);
            assert_eq!(answer["token_type"], "bearer");
            assert_eq!(answer["expires_in"], 86_400);
            let token = answer["access_token"].as_str().unwrap();
            assert_eq!(world.get("/api/auth/me", token).await.json()["id"], id);
            assert!(!answer.to_string().contains("$argon2"));
        }
        let versions: Vec<i64> = world
            .events(id)
            .await
            .iter()
            .map(|(_, version)| *version)
            .collect();
        assert_eq!(versions, [1, 2, 3, 4, 5]);
    }
);

on_both!(
    an_unknown_account_and_a_wrong_password_get_the_same_answer,
    |world: World| async move {
        let id = world.register("ada").await;
        let mut answers = Vec::new();
        for body in [
            json!({"username": "ada", "password": "wrong horse battery"}),
            json!({"username": "nobody", "password": PASSWORD}),
            json!({"email": "ada@example.org", "password": "wrong horse battery"}),
            json!({"email": "nobody@example.org", "password": PASSWORD}),
            json!({"username": "' or 1=1 --", "password": PASSWORD}),
            json!({"username": "ada", "password": "short"}),
        ] {
            let answer = world.send("POST", "/api/auth/login", None, &body).await;
            answer.problem(401, "bad_credentials");
            answers.push(answer.json());
        }
        assert!(answers.iter().all(|answer| answer == &answers[0]));
        assert_eq!(world.events(id).await.len(), 1, "nobody was authenticated");
    }
);

#[tokio::test]
async fn more_logins_than_fit_are_told_to_come_back() {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::sqlite_at("auth", auth::MIGRATIONS, clock.clone()).await;
    let tight = auth::Settings {
        hash_queue: 1,
        hash_threads: 1,
        ..settings()
    };
    let tight = auth::Settings {
        password_cost: auth::passwords::Cost::default(),
        ..tight
    };
    let world = Arc::new(World::open_with(db, clock, tight).await);
    for name in ["ada", "bob", "eve"] {
        world.register(name).await;
    }
    let mut burst = tokio::task::JoinSet::new();
    for name in ["ada", "bob", "eve"].repeat(7) {
        let world = world.clone();
        burst.spawn(async move {
            let body = json!({"username": name, "password": PASSWORD});
            world.send("POST", "/api/auth/login", None, &body).await
        });
    }
    let answers = burst.join_all().await;
    let (served, busy): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert!(!served.is_empty());
    assert!(!busy.is_empty());
    for answer in busy {
        answer.problem(503, "busy");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    world.login("ada").await; // and it goes on
}

on_both!(
    after_a_logout_the_token_is_refused_at_once_and_others_are_not,
    |world: World| {
        async move {
            let (id, first) = world.registered("ada").await;
            let second = world.login("ada").await;
            assert!(world.accepts(&first).await && world.accepts(&second).await);
            let answer = world
                .send("POST", "/api/auth/logout", Some(&first), &Value::Null)
                .await;
            assert_eq!(answer.status, StatusCode::OK);
            assert!(!world.accepts(&first).await);
            assert!(world.accepts(&second).await);
            let refused = world.get("/api/auth/me", &first).await;
            refused.problem(401, "invalid_token");
            let answer = world
                .send("POST", "/api/auth/logout", Some(&first), &Value::Null)
                .await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            let events = world.events(id).await;
            assert_eq!(
                events.last().unwrap(),
                &("user.session_revoked".to_owned(), 4)
            );
        }
    }
);

on_both!(
    what_was_ended_stays_ended_after_a_restart_and_the_rest_goes_on,
    |mut world: World| {
        async move {
            let (ada, ended) = world.registered("ada").await;
            let living = world.login("ada").await;
            let (bob, bobs) = world.registered("bob").await;
            world
                .send("POST", "/api/auth/logout", Some(&ended), &Value::Null)
                .await;
            world.clock.advance(TimeDelta::milliseconds(1));
            assert_eq!(
                world
                    .auth
                    .send(EndSessions {
                        user_id: bob,
                        but: None
                    })
                    .await
                    .unwrap(),
                1
            );
            assert!(!world.accepts(&bobs).await);
            world.restart().await;
            assert!(!world.accepts(&ended).await && !world.accepts(&bobs).await);
            assert!(world.accepts(&living).await, "its key was kept");
            let again = world.login("bob").await;
            assert!(
                world.accepts(&again).await,
                "a new session of the same account"
            );
            let user_id = ada + bob + 1000;
            assert!(
                world
                    .auth
                    .send(EndSessions { user_id, but: None })
                    .await
                    .is_err()
            );
            let versions: Vec<i64> = world
                .events(bob)
                .await
                .iter()
                .map(|(_, version)| *version)
                .collect();
            assert_eq!(versions, [1, 2, 3, 4]);
        }
    }
);

on_both!(
    a_token_ends_after_its_day_also_when_it_is_remembered,
    |world: World| async move {
        let (_, token) = world.registered("ada").await;
        assert!(world.accepts(&token).await);
        world.clock.advance(TimeDelta::seconds(86_399));
        assert!(world.accepts(&token).await);
        world.clock.advance(TimeDelta::seconds(1));
        assert!(!world.accepts(&token).await);
        assert!(!world.accepts(&token).await);
        // The next login clears away what expired.
        world.clock.advance(TimeDelta::days(29));
        let fresh = world.login("ada").await;
        assert_eq!(
            world.get("/api/auth/sessions", &fresh).await.json()["total"],
            1
        );
    }
);

on_both!(
    ones_sessions_are_listed_by_pages_and_ended_one_by_one,
    |world: World| async move {
        let (_, mine) = world.registered("ada").await;
        let (_, other) = world.registered("bob").await;
        for _ in 0..4 {
            world.clock.advance(TimeDelta::seconds(1));
            world.login("ada").await;
        }
        let all = world.get("/api/auth/sessions", &mine).await.expect(200);
        assert_eq!(
            (&all["total"], &all["next_cursor"]),
            (&json!(5), &json!(null))
        );
        let ids = |page: &Value| -> Vec<String> {
            let items = page["items"].as_array().unwrap().iter();
            items
                .map(|item| item["id"].as_str().unwrap().to_owned())
                .collect()
        };
        let all_ids = ids(&all);
        assert_eq!(all["items"][4]["current"], true, "newest first");
        assert_eq!(all["items"][0]["created_at"], "2026-01-01T12:00:04.000Z");
        assert_eq!(all["items"][0]["expires_at"], "2026-01-31T12:00:04.000Z");

        // By cursor, while a session is added: none twice, none left out.
        let mut seen = Vec::new();
        let mut path = "/api/auth/sessions?limit=2".to_owned();
        loop {
            let page = world.get(&path, &mine).await.json();
            seen.extend(ids(&page));
            world.login("ada").await;
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            path = format!("/api/auth/sessions?limit=2&cursor={cursor}");
        }
        assert_eq!(seen, all_ids);
        let skipped = world
            .get("/api/auth/sessions?skip=3&limit=3", &mine)
            .await
            .json();
        assert_eq!(ids(&skipped), all_ids[..3], "three were added in front");

        let end = async |token: &str, id: &str| {
            let path = format!("/api/auth/sessions/{id}");
            world.send("DELETE", &path, Some(token), &Value::Null).await
        };
        let refused = end(&other, &all_ids[0]).await;
        refused.problem(404, "session_not_found");
        assert_eq!(end(&mine, &all_ids[0]).await.status, StatusCode::OK);
        assert_eq!(
            end(&mine, &all_ids[0]).await.status,
            StatusCode::NOT_FOUND,
            "it has ended"
        );
        let unknown = Uuid::from_u128(1).to_string();
        for id in [
            &*unknown,
            "1",
            "not-a-uuid",
            "%F0%9F%98%80",
            "' or 1=1 --".replace(' ', "%20").as_str(),
        ] {
            assert_eq!(end(&mine, id).await.status, StatusCode::NOT_FOUND, "{id}");
        }
        // One's own, which is a logout.
        assert_eq!(end(&mine, &all_ids[4]).await.status, StatusCode::OK);
        assert!(!world.accepts(&mine).await);
        assert!(world.accepts(&other).await);
    }
);

#[tokio::test]
async fn pages_out_of_range_are_refused_and_name_the_parameter() {
    let world = World::fresh().await;
    let (_, token) = world.registered("ada").await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=101", "limit"),
        ("limit=ten", "limit"),
        ("limit=99999999999999999999", "limit"),
        ("skip=-1", "skip"),
        ("skip=x", "skip"),
        ("cursor=!!!", "cursor"),
        ("cursor=eyJ4IjoxfQ", "cursor"),
        ("cursor=IjEi", "cursor"),
    ] {
        let answer = world
            .get(&format!("/api/auth/sessions?{query}"), &token)
            .await
            .expect(400);
        assert!(answer["errors"][field].is_array(), "{query}: {answer}");
    }
}

on_both!(
    logins_and_logouts_at_once_count_without_gap_or_swap,
    |world: World| async move {
        let id = world.register("ada").await;
        let world = Arc::new(world);
        let mut busy = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let world = world.clone();
            busy.spawn(async move {
                let token = world.login("ada").await;
                let answer = world
                    .send("POST", "/api/auth/logout", Some(&token), &Value::Null)
                    .await;
                assert_eq!(answer.status, StatusCode::OK);
            });
        }
        busy.join_all().await;
        let versions: Vec<i64> = world
            .events(id)
            .await
            .iter()
            .map(|(_, version)| *version)
            .collect();
        assert_eq!(versions, (1..=17).collect::<Vec<_>>());
        assert!(
            world
                .send("POST", "/api/auth/register", None, &account("bob"))
                .await
                .status
                .is_success()
        );
    }
);

on_both!(
    who_guesses_is_told_to_wait_and_the_owner_gets_in_afterwards,
    |world: World| async move {
        world.register("ada").await;
        let mut answers = Vec::new();
        for name in ["ada", "nobody"] {
            for _ in 0..10 {
                let body = json!({"username": name, "password": "wrong horse battery"});
                let answer = world.send("POST", "/api/auth/login", None, &body).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
            }
            // Now the right password is not even looked at.
            let body = json!({"username": name, "password": PASSWORD});
            let answer = world.send("POST", "/api/auth/login", None, &body).await;
            answer.problem(429, "too_many_attempts");
            let header = |name: &str| answer.headers[name].to_str().unwrap().to_owned();
            let headers = ["retry-after", "ratelimit", "ratelimit-policy"].map(header);
            answers.push((headers, answer.json()));
        }
        assert_eq!(answers[0], answers[1], "whether or not it exists");
        let [wait, limit, policy] = &answers[0].0;
        assert_eq!(limit, &format!(r#""login";r=0;t={wait}"#));
        assert_eq!(policy, r#""login";q=10;w=300"#);
        let wait: i64 = wait.parse().unwrap();
        world.register("bob").await;
        world.login("bob").await; // nobody else has to wait
        world.clock.advance(TimeDelta::seconds(wait));
        world.login("ada").await;
        // It begins anew: another ten.
        for wanted in [[401; 10].as_slice(), &[429]].concat() {
            let body = json!({"username": "ada", "password": "wrong horse battery"});
            let answer = world.send("POST", "/api/auth/login", None, &body).await;
            assert_eq!(answer.status, wanted);
        }
    }
);

on_both!(
    the_hundred_and_first_session_ends_the_oldest_and_tells_of_it,
    |mut world: World| async move {
        let (id, first) = world.registered("ada").await;
        let second = world.login("ada").await;
        for _ in 0..98 {
            world.login("ada").await;
        }
        assert!(world.accepts(&first).await);
        let last = world.login("ada").await;
        assert!(!world.accepts(&first).await);
        assert!(world.accepts(&second).await && world.accepts(&last).await);
        let all = world.get("/api/auth/sessions", &last).await.json();
        assert_eq!(all["total"], 100);
        let events = world.events(id).await;
        let versions: Vec<i64> = events.iter().map(|(_, version)| *version).collect();
        assert_eq!(versions, (1..=103).collect::<Vec<_>>());
        assert_eq!(events[101].0, "user.authenticated");
        assert_eq!(events[102].0, "user.session_revoked");
        world.restart().await;
        assert!(!world.accepts(&first).await && world.accepts(&second).await);
    }
);

on_both!(
    a_logout_whose_commit_is_unknown_is_judged_by_what_the_store_says,
    |world: World| async move {
        for (point, ended) in [
            (FaultPoint::BeforeWrite, false),
            (FaultPoint::BeforeCommit, false),
            (FaultPoint::AfterCommit, true),
        ] {
            let name = format!("ada{}", point as u8);
            let (id, token) = world.registered(&name).await;
            let other = world.login(&name).await;
            assert!(world.accepts(&token).await && world.accepts(&other).await);
            let logout = async || {
                world
                    .send("POST", "/api/auth/logout", Some(&token), &Value::Null)
                    .await
            };
            world.db.inject(Fails::always(point));
            assert_eq!(logout().await.status, StatusCode::SERVICE_UNAVAILABLE);
            world.db.inject(Fails::never());
            assert_eq!(world.accepts(&token).await, !ended, "{point:?}");
            assert!(world.accepts(&other).await);
            // The client tries again.
            let again = if ended { 401 } else { 200 };
            assert_eq!(logout().await.status, again, "{point:?}");
            assert!(!world.accepts(&token).await);

            world.db.inject(Fails::always(point));
            assert!(
                world
                    .auth
                    .send(EndSessions {
                        user_id: id,
                        but: None
                    })
                    .await
                    .is_err()
            );
            world.db.inject(Fails::never());
            assert_eq!(world.accepts(&other).await, !ended, "{point:?}");
        }
    }
);
