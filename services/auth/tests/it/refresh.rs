//! Refresh tokens: exchanged once, again when an answer was lost, and what a thief gets.

use std::sync::Arc;

use auth::commands::EndSessions;
use axum::body::Body;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use blocks::kit::Peer;
use blocks::{Mediator, Role};
use chrono::TimeDelta;
use events::Envelope;
use events::users::UserSessionRevoked;
use serde_json::{Value, json};
use sql::FaultPoint;
use testkit::faults::Fails;
use testkit::http::Answer;

use crate::on_both;
use crate::world::{PASSWORD, World, request, text};

fn access(answer: &Value) -> String {
    text(answer, "access_token")
}

fn refresh_of(answer: &Value) -> String {
    text(answer, "refresh_token")
}

/// The account, and the tokens of its first login.
async fn entered(world: &World, name: &str) -> (i64, Value) {
    (world.register(name).await, world.tokens(name).await)
}

fn is_refused(answer: &Answer) {
    answer.problem(401, "invalid_refresh_token");
}

on_both!(
    a_refresh_gives_new_tokens_of_the_same_session,
    |world: World| async move {
        let (id, first) = entered(&world, "ada").await;
        assert_eq!(first["refresh_expires_in"], 2_592_000);
        world.clock.advance(TimeDelta::days(2));
        assert!(!world.accepts(&access(&first)).await, "it has expired");
        let answer = world.refresh(&refresh_of(&first)).await;
        assert_eq!(answer.headers["cache-control"], "no-store");
        let second = answer.expect(200);
        assert_eq!(second["token_type"], "bearer");
        assert_eq!(second["expires_in"], 86_400);
        assert_eq!(second["refresh_expires_in"], 2_592_000);
        assert_ne!(first["refresh_token"], second["refresh_token"]);
        let me = world.get("/api/auth/me", &access(&second)).await;
        assert_eq!(me.expect(200)["id"], id);
        let sessions = world.get("/api/auth/sessions", &access(&second)).await;
        let sessions = sessions.expect(200);
        assert_eq!(sessions["total"], 1);
        let session = &sessions["items"][0];
        assert_eq!(session["created_at"], "2026-01-01T12:00:00.000Z");
        assert_eq!(session["last_used_at"], "2026-01-03T12:00:00.000Z");
        assert_eq!(session["expires_at"], "2026-02-02T12:00:00.000Z");
        // It is no login: nobody is told.
        assert_eq!(world.events(id).await.len(), 2);
        // Sessions live on for as long as they are refreshed.
        let mut tokens = second;
        for _ in 0..4 {
            world.clock.advance(TimeDelta::days(29));
            tokens = world.refresh(&refresh_of(&tokens)).await.expect(200);
        }
        assert!(world.accepts(&access(&tokens)).await);
    }
);

on_both!(
    a_session_shows_its_device_its_address_and_its_last_use,
    |world: World| async move {
        world.register("ada").await;
        let send = async |path: &str, body: Value, agent: &str, peer: &str| {
            let mut request = request("POST", path, &[("content-type", "application/json")]);
            request
                .headers_mut()
                .insert("user-agent", agent.parse().unwrap());
            request.extensions_mut().insert(Peer(peer.parse().unwrap()));
            *request.body_mut() = Body::from(body.to_string());
            world.give(request).await.expect(200)
        };
        let body = json!({"username": "ada", "password": PASSWORD});
        let long = "Firefox ".repeat(100);
        let tokens = send("/api/auth/login", body, &long, "192.0.2.7").await;
        let shown = async |tokens: &Value| {
            let answer = world.get("/api/auth/sessions", &access(tokens)).await;
            answer.expect(200)["items"][0].clone()
        };
        let session = shown(&tokens).await;
        assert_eq!(session["address"], "192.0.2.7");
        assert_eq!(session["user_agent"].as_str().unwrap().len(), 200);
        assert_eq!(session["last_used_at"], session["created_at"]);
        world.clock.advance(TimeDelta::hours(1));
        let body = json!({"refresh_token": refresh_of(&tokens)});
        let tokens = send("/api/auth/refresh", body, "Firefox 2", "2001:db8::1").await;
        let session = shown(&tokens).await;
        assert_eq!(session["address"], "2001:db8::1");
        assert_eq!(session["user_agent"], "Firefox 2");
        assert_eq!(session["last_used_at"], "2026-01-01T13:00:00.000Z");
    }
);

on_both!(
    a_lost_answer_is_given_again_for_ten_seconds_while_its_token_is_unused,
    |world: World| async move {
        let (_, first) = entered(&world, "ada").await;
        let lost = world.refresh(&refresh_of(&first)).await.expect(200);
        world.clock.advance(TimeDelta::seconds(10));
        let again = world.refresh(&refresh_of(&first)).await.expect(200);
        assert_eq!(refresh_of(&lost), refresh_of(&again));
        assert_eq!(again["refresh_expires_in"], 2_592_000 - 10);
        assert!(world.accepts(&access(&lost)).await);
        assert!(world.accepts(&access(&again)).await);
        // The chain goes on.
        let next = world.refresh(&refresh_of(&again)).await.expect(200);
        world.refresh(&refresh_of(&next)).await.expect(200);
    }
);

on_both!(
    a_token_shown_again_later_or_after_its_successor_was_used_ends_the_session,
    |world: World| async move {
        for (number, late) in [true, false].into_iter().enumerate() {
            let name = format!("ada{number}");
            let (id, first) = entered(&world, &name).await;
            let other = world.tokens(&name).await;
            let second = world.refresh(&refresh_of(&first)).await.expect(200);
            let owner = if late {
                world.clock.advance(TimeDelta::milliseconds(10_001));
                second
            } else {
                world.refresh(&refresh_of(&second)).await.expect(200)
            };
            assert!(world.accepts(&access(&owner)).await);
            is_refused(&world.refresh(&refresh_of(&first)).await);
            assert!(!world.accepts(&access(&owner)).await);
            assert!(!world.accepts(&access(&first)).await);
            is_refused(&world.refresh(&refresh_of(&owner)).await);
            assert!(world.accepts(&access(&other)).await, "another session");
            world.refresh(&refresh_of(&other)).await.expect(200);
            // The event says why.
            let outbox = world.app.outbox().await;
            let ended = outbox.iter().filter_map(Envelope::open);
            let ended: Vec<UserSessionRevoked> = ended.map(Result::unwrap).collect();
            let ended: Vec<_> = ended.iter().filter(|event| event.user_id == id).collect();
            assert_eq!(ended.len(), 1, "told once");
            assert_eq!(ended[0].reason.as_deref(), Some("refresh_token_reused"));
        }
    }
);

on_both!(
    a_logout_is_told_without_a_reason,
    |world: World| async move {
        let (id, tokens) = entered(&world, "ada").await;
        let token = access(&tokens);
        world
            .send("POST", "/api/auth/logout", Some(&token), &Value::Null)
            .await
            .expect(200);
        let outbox = world.app.outbox().await;
        let ended = outbox.iter().find_map(Envelope::open);
        let ended: UserSessionRevoked = ended.unwrap().unwrap();
        assert_eq!((ended.user_id, ended.reason), (id, None));
    }
);

on_both!(
    what_auth_did_not_make_is_refused_and_ends_nothing,
    |world: World| async move {
        let (_, ada) = entered(&world, "ada").await;
        let (_, eve) = entered(&world, "eve").await;
        let [mine, hers] = [&ada, &eve].map(|of| BASE64.decode(refresh_of(of)).unwrap());
        // The session of one and the secret of the other; a session and anything.
        let mixed = [&mine[..16], &hers[16..]].concat();
        let guessed = [&mine[..16], &[7; 64]].concat();
        let long = "A".repeat(100_000);
        for bad in [
            BASE64.encode(mixed),
            BASE64.encode(guessed),
            BASE64.encode(&mine[..48]),
            access(&ada),
            String::new(),
            " ".into(),
            "é\u{1f600}".into(),
            "' or 1=1 --".into(),
            long,
        ] {
            is_refused(&world.refresh(&bad).await);
        }
        for (body, field) in [
            (json!({}), "refresh_token"),
            (json!({"refresh_token": null}), "refresh_token"),
            (json!({"refresh_token": 7}), "refresh_token"),
            (
                json!({"refresh_token": [refresh_of(&ada)]}),
                "refresh_token",
            ),
            (json!({"token": refresh_of(&ada)}), "token"),
            (
                json!({"refresh_token": refresh_of(&ada), "user_id": 1}),
                "user_id",
            ),
        ] {
            let answer = world.send("POST", "/api/auth/refresh", None, &body).await;
            let problem = answer.expect(400);
            assert!(problem["errors"][field].is_array(), "{problem}");
        }
        // One's refresh token is no access token.
        assert!(!world.accepts(&refresh_of(&ada)).await);
        for tokens in [ada, eve] {
            assert!(world.accepts(&access(&tokens)).await);
            world.refresh(&refresh_of(&tokens)).await.expect(200);
        }
    }
);

on_both!(
    a_token_ends_with_its_thirty_days_and_is_cleared_away,
    |world: World| async move {
        let (_, first) = entered(&world, "ada").await;
        world
            .clock
            .advance(TimeDelta::days(30) - TimeDelta::seconds(1));
        let second = world.refresh(&refresh_of(&first)).await.expect(200);
        world.clock.advance(TimeDelta::days(30));
        is_refused(&world.refresh(&refresh_of(&second)).await);
        assert_eq!(rows(&world).await.len(), 1);
        world.tokens("ada").await;
        assert_eq!(rows(&world).await.len(), 1, "only the new one");
        is_refused(&world.refresh(&refresh_of(&second)).await);
    }
);

/// The stored hashes of all sessions.
async fn rows(world: &World) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
    let mut reader = world.db.db.read().await.unwrap();
    let rows: Result<_, sql::StoreError> = sql::fetch_all!(
        &mut reader,
        "select refresh_hash, previous_hash from sessions"
    );
    rows.unwrap()
}

on_both!(only_hashes_are_stored, |world: World| async move {
    let (_, first) = entered(&world, "ada").await;
    let second = world.refresh(&refresh_of(&first)).await.expect(200);
    let rows = rows(&world).await;
    let (current, previous) = &rows[0];
    for (tokens, stored) in [(second, current), (first, previous.as_ref().unwrap())] {
        let bytes = BASE64.decode(refresh_of(&tokens)).unwrap();
        let wanted = ring::digest::digest(&ring::digest::SHA256, &bytes[..48]);
        assert_eq!(wanted.as_ref(), stored);
    }
});

on_both!(
    whatever_ends_a_session_ends_its_refresh_token,
    |world: World| async move {
        let admin = world.with_role("root", Role::Admin).await;
        let (id, mine) = entered(&world, "ada").await;
        let token = access(&mine);
        let (logged_out, ended, other) = (
            world.tokens("ada").await,
            world.tokens("ada").await,
            world.tokens("ada").await,
        );
        let ended_id = world
            .get("/api/auth/sessions", &access(&ended))
            .await
            .json();
        let items = ended_id["items"].as_array().unwrap().iter();
        let mut current = items.filter(|item| item["current"] == true);
        let path = format!("/api/auth/sessions/{}", text(current.next().unwrap(), "id"));
        let bearer = access(&logged_out);
        let answer = world.send("POST", "/api/auth/logout", Some(&bearer), &Value::Null);
        answer.await.expect(200);
        let answer = world.send("DELETE", &path, Some(&token), &Value::Null);
        answer.await.expect(200);
        for gone in [&logged_out, &ended] {
            is_refused(&world.refresh(&refresh_of(gone)).await);
        }
        let others = "/api/auth/sessions/revoke-others";
        let answer = world.send("POST", others, Some(&token), &Value::Null).await;
        answer.expect(200);
        is_refused(&world.refresh(&refresh_of(&other)).await);

        let other = world.tokens("ada").await;
        let new = "another correct horse battery";
        let change = json!({"current_password": PASSWORD, "new_password": new});
        let answer = world.send("PUT", "/api/auth/password", Some(&token), &change);
        answer.await.expect(200);
        is_refused(&world.refresh(&refresh_of(&other)).await);
        let mine = world.refresh(&refresh_of(&mine)).await.expect(200);

        // By an admin: while nobody can log in, and after.
        let user = format!("/api/v1/users/{id}");
        let set = async |is_active: bool| {
            let change = json!({"is_active": is_active});
            world
                .send("PUT", &user, Some(&admin), &change)
                .await
                .expect(200)
        };
        set(false).await;
        let refused = world.refresh(&refresh_of(&mine)).await;
        refused.problem(403, "account_inactive");
        set(true).await;
        is_refused(&world.refresh(&refresh_of(&mine)).await);

        // By an operator, and with the account.
        let (id, all) = entered(&world, "bob").await;
        world.clock.advance(TimeDelta::milliseconds(1));
        let (user_id, but) = (id, None);
        world.auth.send(EndSessions { user_id, but }).await.unwrap();
        is_refused(&world.refresh(&refresh_of(&all)).await);
        let last = world.tokens("bob").await;
        let path = format!("/api/v1/users/{id}");
        let answer = world.send("DELETE", &path, Some(&admin), &Value::Null);
        assert!(answer.await.status.is_success());
        is_refused(&world.refresh(&refresh_of(&last)).await);
    }
);

on_both!(
    a_refresh_whose_commit_is_unknown_can_be_sent_again,
    |world: World| async move {
        let (_, mut tokens) = entered(&world, "ada").await;
        for point in [
            FaultPoint::BeforeWrite,
            FaultPoint::BeforeCommit,
            FaultPoint::AfterCommit,
        ] {
            world.db.inject(Fails::always(point));
            let answer = world.refresh(&refresh_of(&tokens)).await;
            assert_eq!(answer.status, 503, "{point:?}");
            world.db.inject(Fails::never());
            tokens = world.refresh(&refresh_of(&tokens)).await.expect(200);
            assert!(world.accepts(&access(&tokens)).await, "{point:?}");
        }
    }
);

on_both!(
    a_session_from_before_there_were_refresh_tokens_lives_on,
    |world: World| async move {
        let (_, tokens) = entered(&world, "ada").await;
        let forget = world.db.db.write(|tx| {
            Box::pin(async move {
                sql::execute!(
                    tx,
                    "update sessions set refresh_hash = null, last_used_at = null"
                )
            })
        });
        let forgotten: Result<(), sql::StoreError> = forget.await;
        forgotten.unwrap();
        let token = access(&tokens);
        assert!(world.accepts(&token).await);
        let sessions = world.get("/api/auth/sessions", &token).await.expect(200);
        let session = &sessions["items"][0];
        assert_eq!(session["last_used_at"], session["created_at"]);
    }
);

/// Families of one account at once; in each, tabs race for every next token, and every tenth answer is lost.
const FAMILIES: usize = 10;
const ROUNDS: usize = 20;
const TABS: usize = 5;

on_both!(
    a_thousand_racing_refreshes_with_lost_answers_log_nobody_out,
    |world: World| async move {
        let id = world.register("ada").await;
        let world = Arc::new(world);
        let mut families = tokio::task::JoinSet::new();
        for family in 0..FAMILIES {
            let world = Arc::clone(&world);
            families.spawn(async move {
                let mut tokens = world.tokens("ada").await;
                let mut sent = 0;
                while sent < ROUNDS * TABS {
                    let token = refresh_of(&tokens);
                    let race = (0..TABS).map(|_| world.refresh(&token));
                    let answers = futures::future::join_all(race).await;
                    let answers: Vec<Value> = answers.iter().map(|of| of.expect(200)).collect();
                    assert!(
                        answers
                            .iter()
                            .all(|of| refresh_of(of) == refresh_of(&answers[0]))
                    );
                    let numbered = answers.into_iter().zip(sent..);
                    let heard = numbered.filter(|(_, number)| (number + family) % 10 != 0);
                    if let Some((heard, _)) = heard.last() {
                        tokens = heard;
                    }
                    sent += TABS;
                }
                tokens
            });
        }
        for tokens in families.join_all().await {
            assert!(world.accepts(&access(&tokens)).await);
            world.refresh(&refresh_of(&tokens)).await.expect(200);
        }
        assert_eq!(
            world.events(id).await.len(),
            1 + FAMILIES,
            "nobody was logged out"
        );
    }
);
