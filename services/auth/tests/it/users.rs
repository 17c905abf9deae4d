//! Managing accounts, by admins and by their owners.

use std::sync::Arc;

use blocks::Role;
use chrono::TimeDelta;
use events::users::UserErased;
use http::{HeaderValue, Request};
use serde_json::{Value, json};
use testkit::http::Answer;
use testkit::service::texts;
use tokio::task::JoinSet;

use crate::on_both;
use crate::world::{PASSWORD, World};

async fn put(world: &World, token: &str, id: i64, body: Value) -> Answer {
    let path = format!("/api/v1/users/{id}");
    world.send("PUT", &path, Some(token), &body).await
}

async fn delete(world: &World, token: &str, id: i64) -> Answer {
    let path = format!("/api/v1/users/{id}");
    world.send("DELETE", &path, Some(token), &Value::Null).await
}

async fn post(world: &World, token: &str, body: Value) -> Answer {
    world
        .send("POST", "/api/v1/users", Some(token), &body)
        .await
}

async fn login(world: &World, name: &str, password: &str) -> Answer {
    let body = json!({"username": name, "password": password});
    world.send("POST", "/api/auth/login", None, &body).await
}

/// The id of the account behind a token.
async fn id(world: &World, token: &str) -> i64 {
    let me = world.get("/api/auth/me", token).await.ok();
    me["id"].as_i64().unwrap()
}

/// The usernames of all pages, each of two accounts.
async fn pages(world: &World, token: &str, query: &str) -> Vec<String> {
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/users?limit=2{query}{cursor}");
        let page = world.get(&path, token).await.ok();
        names.extend(texts(&page, "username"));
        let Some(next) = page["next_cursor"].as_str() else {
            assert_eq!(page["total"], names.len());
            return names;
        };
        cursor = format!("&cursor={next}");
    }
}

on_both!(
    an_admin_finds_accounts_in_every_order,
    |world: World| async move {
        let root = world.with_role("root", Role::Admin).await;
        for (email, username, first, last) in [
            ("zoe@example.org", "Anna", "Zoë", "Ärlig"),
            ("bob@example.com", "bob_b", "Bob", "Anders"),
            ("carl@example.org", "Carl", "Carl", ""),
            ("dora@example.org", "dora", " ", "  de la CruΣ"),
        ] {
            world.clock.advance(TimeDelta::seconds(1));
            let body = json!({"email": email, "username": username, "first_name": first,
            "last_name": last, "full_name": format!("{first} {last}"), "is_active": username != "Carl",
            "role": if username == "dora" { "guest" } else { "user" }});
            post(&world, &root, body).await.expect(201);
        }
        for (query, names) in [
            ("", ["root", "Anna", "bob_b", "Carl", "dora"].as_slice()),
            ("&sort=-id", &["dora", "Carl", "bob_b", "Anna", "root"]),
            ("&sort=username", &["Anna", "bob_b", "Carl", "dora", "root"]),
            (
                "&sort=created_at",
                &["root", "Anna", "bob_b", "Carl", "dora"],
            ),
            (
                "&sort=-created_at",
                &["dora", "Carl", "bob_b", "Anna", "root"],
            ),
            ("&is_active=false", &["Carl"]),
            ("&role=guest", &["dora"]),
            ("&role=user&is_active=true&sort=-id", &["bob_b", "Anna"]),
            // The beginning of a username, an address, a first, last or full name, whatever the case.
            ("&q=BOB", &["bob_b"]),
            ("&q=an", &["Anna", "bob_b"]),
            ("&q=%C3%84R", &["Anna"]),
            ("&q=zo%C3%AB%20%C3%A4rlig", &["Anna"]),
            ("&q=de%20la", &["dora"]),
            ("&q=%20DE%20LA%20CRU%CE%A3", &["dora"]),
            ("&q=carl@example.o", &["Carl"]),
            ("&q=xample", &[]),
            ("&q=%25", &[]),
            ("&q=%20", &["root", "Anna", "bob_b", "Carl", "dora"]),
        ] {
            assert_eq!(pages(&world, &root, query).await, names, "{query}");
        }
        let skipped = world.get("/api/v1/users?skip=3&limit=1", &root).await.ok();
        assert_eq!(
            (texts(&skipped, "username"), &skipped["total"]),
            (vec!["Carl".to_owned()], &json!(5))
        );
    }
);

on_both!(
    a_wrong_query_names_the_parameter,
    |world: World| async move {
        // {"sort":"created_at","id":1,"username":null,"created_at":-8000000000000000}: no time of a database.
        let far = "eyJzb3J0IjoiY3JlYXRlZF9hdCIsImlkIjoxLCJ1c2VybmFtZSI6bnVsbCwiY3JlYXRlZF9hdCI6LTgwMDAwMDAwMDAwMDAwMDB9";
        let root = world.with_role("root", Role::Admin).await;
        world.register("ada").await;
        let first = world
            .get("/api/v1/users?limit=1&sort=username", &root)
            .await
            .ok();
        let cursor = first["next_cursor"].as_str().unwrap();
        for (query, field) in [
            ("role=king", "role"),
            ("is_active=maybe", "is_active"),
            ("sort=email", "sort"),
            (&format!("q={}", "a".repeat(255)), "q"),
            ("cursor=x", "cursor"),
            (&*format!("cursor={cursor}"), "cursor"),
            (&format!("sort=-created_at&cursor={cursor}"), "cursor"),
            ("name=ada", "name"),
            (&format!("sort=created_at&cursor={far}"), "cursor"),
        ] {
            let answer = world.get(&format!("/api/v1/users?{query}"), &root).await;
            assert_eq!(answer.problem(400, "validation_failed"), [field], "{query}");
        }
    }
);

on_both!(
    others_see_and_change_their_own_account_alone,
    |world: World| async move {
        let root = world.with_role("root", Role::Admin).await;
        let (ada, token) = world.registered("ada").await;
        let bob = world.register("bob").await;
        for path in [
            format!("/api/v1/users/{ada}"),
            "/api/v1/users/email/ADA@example.org".into(),
        ] {
            let own = world.get(&path, &token).await;
            assert_eq!(own.ok()["username"], "ada");
            assert!(own.headers.contains_key("etag"));
            assert_eq!(world.get(&path, &root).await.ok()["id"], ada);
        }
        for path in [
            format!("/api/v1/users/{bob}"),
            "/api/v1/users/email/bob@example.org".into(),
            "/api/v1/users/email/nobody@example.org".into(),
            "/api/v1/users/4711".into(),
        ] {
            world
                .get(&path, &token)
                .await
                .problem(404, "user_not_found");
        }
        world
            .get("/api/v1/users/ada", &token)
            .await
            .problem(404, "not_found");
        put(&world, &token, bob, json!({"age": 3}))
            .await
            .problem(404, "user_not_found");
        for (field, value) in [("role", json!("admin")), ("is_active", json!(false))] {
            let refused = put(&world, &token, ada, json!({field: value, "age": 3})).await;
            assert_eq!(refused.problem(403, "forbidden"), [field]);
        }
        for refused in [
            world.get("/api/v1/users", &token).await,
            world
                .get(&format!("/api/v1/users/{ada}/erasure"), &token)
                .await,
            post(&world, &token, json!({"email": "eve@example.org"})).await,
            delete(&world, &token, ada).await,
        ] {
            refused.problem(403, "forbidden");
        }
        let own = put(
            &world,
            &token,
            ada,
            json!({"email": " Ada@Example.com ", "first_name": "Ada", "age": 36}),
        );
        let own = own.await.ok();
        assert_eq!(
            (&own["email"], &own["first_name"], &own["age"]),
            (&json!("Ada@Example.com"), &json!("Ada"), &json!(36))
        );
        let body = json!({"email": "ada@example.com", "password": PASSWORD});
        world
            .send("POST", "/api/auth/login", None, &body)
            .await
            .ok();
        let taken = put(
            &world,
            &token,
            ada,
            json!({"email": "BOB@example.org", "age": 37}),
        )
        .await;
        assert_eq!(taken.problem(400, "user_exists"), ["email"]);
        assert_eq!(world.get("/api/auth/me", &token).await.ok()["age"], 36);
    }
);

on_both!(
    an_admin_opens_accounts_once_and_names_are_made,
    |world: World| async move {
        let root = world.with_role("root", Role::Admin).await;
        world.register_as("ada", "first@example.org").await;
        let open = async |key: &str, body: &Value| {
            let request = Request::post("/api/v1/users")
                .header("content-type", "application/json")
                .header("authorization", format!("Bearer {root}"))
                .header("idempotency-key", HeaderValue::from_str(key).unwrap())
                .body(body.to_string().into());
            world.give(request.unwrap()).await
        };
        let body = json!({"email": "ada@example.org", "role": "guest", "password": PASSWORD});
        let opened = open("one", &body).await.expect(201);
        let name = opened["username"].as_str().unwrap().to_owned();
        assert!(name.starts_with("ada-") && name.len() == 8, "{name}");
        assert_eq!(opened["role"], "guest");
        assert_eq!(open("one", &body).await.expect(201), opened);
        let other = json!({"email": "ada@example.com", "role": "guest"});
        open("one", &other)
            .await
            .problem(422, "idempotency_key_reused");
        open("two", &body).await.problem(400, "user_exists");
        assert_eq!(
            world.events(opened["id"].as_i64().unwrap()).await,
            [("user.created".to_owned(), 1)]
        );
        login(&world, &name, PASSWORD).await.ok();
        // A deleted account is in no answer that is kept.
        let id = opened["id"].as_i64().unwrap();
        delete(&world, &root, id).await.ok();
        assert_ne!(open("one", &body).await.expect(201)["id"], id);
        // Nobody knows the password of an account that has none.
        let without = post(&world, &root, json!({"email": "b@example.org"}))
            .await
            .expect(201);
        assert_eq!(without["username"], "b__");
        for guess in [" ", PASSWORD] {
            login(&world, "b__", guess)
                .await
                .problem(401, "bad_credentials");
        }
        for (body, field) in [
            (json!({}), "email"),
            (json!({"email": "x@example.org", "role": "king"}), "role"),
            (
                json!({"email": "x@example.org", "is_active": 1}),
                "is_active",
            ),
            (
                json!({"email": "x@example.org", "password": "short"}),
                "password",
            ),
            (
                json!({"email": "x@example.org", "last_name": "x".repeat(201)}),
                "last_name",
            ),
            (json!({"email": "x@example.org", "id": 7}), "id"),
        ] {
            let refused = post(&world, &root, body).await;
            assert_eq!(refused.problem(400, "validation_failed"), [field]);
        }
    }
);

on_both!(
    a_deactivated_account_is_refused_until_it_is_active_again,
    |world: World| async move {
        let root = world.with_role("root", Role::Admin).await;
        let (ada, token) = world.registered("ada").await;
        assert!(world.accepts(&token).await);
        let off = put(&world, &root, ada, json!({"is_active": false}))
            .await
            .ok();
        assert_eq!(off["is_active"], false);
        assert!(!world.accepts(&token).await);
        login(&world, "ada", PASSWORD)
            .await
            .problem(403, "account_inactive");
        login(&world, "ada", "wrong password")
            .await
            .problem(401, "bad_credentials");
        let types: Vec<String> = world
            .events(ada)
            .await
            .into_iter()
            .map(|(kind, _)| kind)
            .collect();
        assert_eq!(
            types,
            [
                "user.created",
                "user.authenticated",
                "user.updated",
                "user.session_revoked"
            ]
        );
        put(&world, &root, ada, json!({"is_active": true}))
            .await
            .ok();
        assert!(
            !world.accepts(&token).await,
            "its sessions do not come back"
        );
        let token = world.login("ada").await;
        // A new role holds from the answer on.
        world
            .get("/api/v1/users", &token)
            .await
            .problem(403, "forbidden");
        put(&world, &root, ada, json!({"role": "admin"})).await.ok();
        world.get("/api/v1/users", &token).await.ok();
    }
);

on_both!(the_last_active_admin_stays_one, |world: World| async move {
    let root = world.with_role("root", Role::Admin).await;
    let me = id(&world, &root).await;
    // One that can't log in is none.
    let body = json!({"email": "off@example.org", "role": "admin", "is_active": false});
    post(&world, &root, body).await.expect(201);
    for change in [json!({"role": "user"}), json!({"is_active": false})] {
        put(&world, &root, me, change)
            .await
            .problem(409, "last_admin");
    }
    delete(&world, &root, me).await.problem(409, "last_admin");
    let proof = json!({"password": PASSWORD});
    let refused = world
        .send("DELETE", "/api/auth/me", Some(&root), &proof)
        .await;
    refused.problem(409, "last_admin");
    put(
        &world,
        &root,
        me,
        json!({"role": "admin", "is_active": true}),
    )
    .await
    .ok();

    // Of two who take it from each other at once, one stays.
    let second = world.with_role("second", Role::Admin).await;
    let other = id(&world, &second).await;
    let world = Arc::new(world);
    let mut racing = JoinSet::new();
    for (token, whom) in [(root, other), (second, me)] {
        let world = world.clone();
        racing.spawn(async move {
            put(&world, &token, whom, json!({"role": "user"}))
                .await
                .status
        });
    }
    let answers = racing.join_all().await;
    assert_eq!(
        answers.iter().filter(|status| **status == 200).count(),
        1,
        "{answers:?}"
    );
});

on_both!(
    a_deleted_account_is_gone_and_the_answers_are_collected,
    |world: World| async move {
        let root = world.with_role("root", Role::Admin).await;
        let (ada, token) = world.registered("ada").await;
        assert!(world.accepts(&token).await);
        delete(&world, &root, ada).await.ok();
        assert!(!world.accepts(&token).await);
        login(&world, "ada", PASSWORD)
            .await
            .problem(401, "bad_credentials");
        delete(&world, &root, ada)
            .await
            .problem(404, "user_not_found");
        put(&world, &root, ada, json!({"age": 3}))
            .await
            .problem(404, "user_not_found");
        assert_eq!(pages(&world, &root, "&q=ada").await, [] as [&str; 0]);
        assert_eq!(
            world.events(ada).await.last().unwrap(),
            &("user.deleted".to_owned(), 3)
        );

        let path = format!("/api/v1/users/{ada}/erasure");
        let erasure = async || world.get(&path, &root).await.ok();
        let own =
            json!([{"service": "auth", "records": 2, "erased_at": "2026-01-01T12:00:00.000Z"}]);
        assert_eq!(
            erasure().await,
            json!({"user_id": ada, "closed_at": "2026-01-01T12:00:00.000Z", "services": own})
        );
        world.clock.advance(TimeDelta::seconds(2));
        let answer = |service: &str, records| UserErased {
            user_id: ada,
            service: service.into(),
            records,
        };
        let app = &world.app;
        let posts = app.record(1, &answer("posts", 7));
        app.deliver_twice(&[posts]).await;
        let known = erasure().await;
        assert_eq!(
            known["services"][1],
            json!({"service": "posts", "records": 7, "erased_at": "2026-01-01T12:00:02.000Z"})
        );
        assert_eq!(known["services"].as_array().unwrap().len(), 2);
        // Somebody else's account has none, and the name is free.
        let root_id = id(&world, &root).await;
        let none = world
            .get(&format!("/api/v1/users/{root_id}/erasure"), &root)
            .await;
        none.problem(404, "user_not_found");
        assert_ne!(
            world.register("ada").await,
            ada,
            "a number is never used twice"
        );
    }
);

on_both!(
    one_closes_ones_own_account_by_the_password,
    |world: World| async move {
        let (ada, token) = world.registered("ada").await;
        let close = async |body: Value| {
            world
                .send("DELETE", "/api/auth/me", Some(&token), &body)
                .await
        };
        assert_eq!(
            close(json!({})).await.problem(400, "validation_failed"),
            ["password"]
        );
        assert_eq!(
            close(json!({"password": "wrong horse"}))
                .await
                .problem(403, "wrong_password"),
            ["password"]
        );
        assert!(world.accepts(&token).await);
        for _ in 1..10 {
            close(json!({"password": "wrong horse"}))
                .await
                .problem(403, "wrong_password");
        }
        let late = close(json!({"password": PASSWORD})).await;
        late.problem(403, "too_many_attempts");
        // Another name gives no new attempts.
        let renamed = put(&world, &token, ada, json!({"username": "countess"})).await;
        renamed.ok();
        let late = close(json!({"password": PASSWORD})).await;
        late.problem(403, "too_many_attempts");
        assert!(late.headers.contains_key("retry-after"));
        world.clock.advance(TimeDelta::seconds(31));
        close(json!({"password": PASSWORD})).await.ok();
        assert!(!world.accepts(&token).await);
        assert_eq!(world.events(ada).await.last().unwrap().0, "user.deleted");
    }
);

on_both!(
    many_logins_beside_a_deletion_leave_no_session,
    |world: World| async move {
        let root = world.with_role("root", Role::Admin).await;
        let ada = world.register("ada").await;
        let world = Arc::new(world);
        let mut racing = JoinSet::new();
        for _ in 0..4 {
            let world = world.clone();
            racing.spawn(async move { login(&world, "ada", PASSWORD).await });
        }
        delete(&world, &root, ada).await.ok();
        for answer in racing.join_all().await {
            match answer.status.as_u16() {
                200 => {
                    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
                    assert!(!world.accepts(&token).await);
                }
                401 => drop(answer.problem(401, "bad_credentials")),
                _ => drop(answer.problem(403, "account_inactive")),
            }
        }
    }
);

on_both!(
    accounts_have_short_paths_too_and_anybody_opens_an_own_one,
    |world: World| async move {
        let root = world.with_role("root", Role::Admin).await;
        let join = async |token: Option<&str>, body: Value| {
            world.send("POST", "/users", token, &body).await
        };
        let own = json!({"email": "ada@example.org", "username": "ada", "password": PASSWORD, "role": "user"});
        let ada = join(None, own).await.expect(201);
        let body = json!({"username": "ada", "password": PASSWORD});
        let token = world.send("POST", "/users/login", None, &body).await.ok();
        let token = token["access_token"].as_str().unwrap();
        for (field, value) in [("role", json!("admin")), ("is_active", json!(false))] {
            let body = json!({"email": "b@example.org", "password": PASSWORD, field: value});
            assert_eq!(join(None, body).await.problem(403, "forbidden"), [field]);
        }
        let without = join(None, json!({"email": "b@example.org"})).await;
        assert_eq!(without.problem(400, "validation_failed"), ["password"]);
        let bob = json!({"email": "bob@example.org", "role": "guest"});
        join(Some(token), bob.clone())
            .await
            .problem(403, "forbidden");
        assert_eq!(join(Some(&root), bob).await.expect(201)["role"], "guest");
        let path = format!("/users/{}", ada["id"]);
        assert_eq!(world.get(&path, token).await.ok()["username"], "ada");
        assert_eq!(world.get("/users?q=ada", &root).await.ok()["total"], 1);
        world.get("/users", token).await.problem(403, "forbidden");
        let older = json!({"age": 37});
        let changed = world.send("PUT", &path, Some(token), &older).await;
        assert_eq!(changed.ok()["age"], 37);
        let gone = world.send("DELETE", &path, Some(&root), &Value::Null).await;
        gone.ok();
    }
);

on_both!(
    a_new_password_is_proven_judged_and_ends_other_sessions,
    |world: World| async move {
        let (id, here) = world.registered("ada").await;
        let there = world.login("ada").await;
        let change = async |current: &str, new: &str| {
            let body = json!({"current_password": current, "new_password": new});
            world
                .send("PUT", "/api/auth/password", Some(&here), &body)
                .await
        };
        let refused = change("wrong horse", "a new long password").await;
        assert_eq!(refused.problem(403, "wrong_password"), ["current_password"]);
        let empty = change("", "a new long password").await;
        assert_eq!(
            empty.problem(400, "validation_failed"),
            ["current_password"]
        );
        let short = change(PASSWORD, "short").await;
        assert_eq!(short.problem(400, "validation_failed"), ["new_password"]);
        for weak in ["password", "12345678", "ada@example.org"] {
            let weak = change(PASSWORD, weak).await;
            assert_eq!(weak.problem(400, "password_too_weak"), ["new_password"]);
            assert!(weak.json()["detail"].as_str().unwrap().len() > 20);
        }
        assert!(world.accepts(&there).await);
        let changed = change(PASSWORD, "a new long password").await.ok();
        assert_eq!(changed["ended"], 1);
        assert!(!world.accepts(&there).await);
        assert!(world.accepts(&here).await);
        login(&world, "ada", PASSWORD)
            .await
            .problem(401, "bad_credentials");
        login(&world, "ada", "a new long password").await.ok();
        let types = world.events(id).await.into_iter().map(|(kind, _)| kind);
        let ended = types.filter(|kind| kind == "user.session_revoked");
        assert_eq!(ended.count(), 1);
        let others = "/api/auth/sessions/revoke-others";
        for ended in [1, 0] {
            let done = world.send("POST", others, Some(&here), &Value::Null).await;
            assert_eq!(done.ok()["ended"], ended);
        }
        assert!(world.accepts(&here).await);
    }
);

#[tokio::test]
async fn weak_passwords_open_no_account_and_a_site_may_ask_for_longer_ones() {
    let clock = Arc::new(blocks::ManualClock::default());
    let db = testkit::db::sqlite_at("auth", auth::MIGRATIONS, clock.clone()).await;
    let settings = auth::Settings {
        password_min_bytes: 12,
        ..crate::world::settings()
    };
    let world = World::open_with(db, clock, settings).await;
    let register = async |password: &str| {
        let body =
            json!({"email": "countess@example.org", "username": "lovelace", "password": password});
        world.send("POST", "/api/auth/register", None, &body).await
    };
    for weak in ["countesslovelace", "passwordpassword"] {
        let weak = register(weak).await;
        assert_eq!(weak.problem(400, "password_too_weak"), ["password"]);
    }
    let short = register("x7 Q!z 19 K").await;
    assert_eq!(short.problem(400, "validation_failed"), ["password"]);
    register("x7 Q!z 19 Kl").await.expect(201);
}

on_both!(
    logins_that_race_with_a_new_password_leave_no_session_of_the_old_one,
    |world: World| async move {
        let (_, token) = world.registered("ada").await;
        let world = Arc::new(world);
        let mut racing = JoinSet::new();
        for _ in 0..4 {
            let world = world.clone();
            racing.spawn(async move { login(&world, "ada", PASSWORD).await });
        }
        let body = json!({"current_password": PASSWORD, "new_password": "a new long password"});
        let changed = world.send("PUT", "/api/auth/password", Some(&token), &body);
        changed.await.ok();
        for answer in racing.join_all().await {
            if answer.status == 200 {
                let token = answer.json()["access_token"].as_str().unwrap().to_owned();
                assert!(!world.accepts(&token).await);
            } else {
                answer.problem(401, "bad_credentials");
            }
        }
        assert!(world.accepts(&token).await);
    }
);
