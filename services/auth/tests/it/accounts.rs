//! Opening an account and changing it.

use auth::commands::OpenAccount;
use axum::body::Body;
use axum::extract::Request;
use blocks::Mediator;
use http::StatusCode;
use serde_json::{Value, json};
use testkit::http::Answer;

use crate::on_both;
use crate::world::{PASSWORD, World, account};

on_both!(
    registering_answers_the_account_and_tells_of_it_once,
    |world: World| async move {
        let body = json!({"email": "Ada@Example.org", "username": "Ada_1", "password": PASSWORD,
        "full_name": "Ada Lovelace", "age": 36});
        let answer = world
            .send("POST", "/api/auth/register", None, &body)
            .await
            .expect(201);
        let id = answer["id"].as_i64().unwrap();
        assert_eq!(
            answer,
            json!({"id": id, "email": "Ada@Example.org", "username": "Ada_1", "first_name": null,
            "last_name": null, "full_name": "Ada Lovelace", "age": 36, "role": "user",
            "is_active": true, "email_verified": false, "last_login_at": null,
            "created_at": "2026-01-01T12:00:00.000Z", "updated_at": "2026-01-01T12:00:00.000Z"}),
            "as it was written, and nothing of the password"
        );
        assert_eq!(world.events(id).await, [("user.created".to_owned(), 1)]);
    }
);

on_both!(
    an_address_and_a_name_belong_to_one_account_whatever_their_case,
    |world: World| {
        async move {
            let id = world.register("ada").await;
            for (email, username, field) in [
                ("ada@example.org", "bob", "email"),
                ("ADA@EXAMPLE.ORG", "bob", "email"),
                (" ada@example.org\n", "bob", "email"),
                ("bob@example.org", "ada", "username"),
                ("bob@example.org", "ADA", "username"),
            ] {
                let body = json!({"email": email, "username": username, "password": PASSWORD});
                let answer = world.send("POST", "/api/auth/register", None, &body).await;
                answer.problem(400, "user_exists");
                assert_eq!(answer.json()["errors"][field][0], "is taken");
            }
            assert_eq!(
                world.events(id).await.len(),
                1,
                "a refused account has no event"
            );
            world.register("bob").await;
        }
    }
);

on_both!(
    of_many_who_want_a_name_at_once_one_gets_it,
    |world: World| async move {
        let world = std::sync::Arc::new(world);
        let mut racing = tokio::task::JoinSet::new();
        for number in 0..8 {
            let world = world.clone();
            racing.spawn(async move {
                let name = if number % 2 == 0 { "ada" } else { "ADA" };
                let mut body = account(name);
                body["email"] = json!(format!("ada{number}@example.org"));
                world.send("POST", "/api/auth/register", None, &body).await
            });
        }
        let answers = racing.join_all().await;
        let opened: Vec<&Answer> = answers
            .iter()
            .filter(|answer| answer.status == 201)
            .collect();
        assert_eq!(opened.len(), 1, "{answers:?}");
        for refused in answers.iter().filter(|answer| answer.status != 201) {
            refused.problem(400, "user_exists");
        }
        let id = opened[0].json()["id"].as_i64().unwrap();
        assert_eq!(world.events(id).await.len(), 1);
    }
);

/// Bodies that no endpoint takes, each with the field that the answer must name.
fn bad_bodies() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let register = |field: &str, value: Value| {
        let mut body = account("bob");
        body[field] = value;
        body
    };
    let without = |field: &str| {
        let mut body = account("bob");
        body.as_object_mut().unwrap().remove(field);
        body
    };
    let long = "x".repeat(100_000);
    let mut cases = vec![("POST", "/api/auth/register", json!([1]), "body")];
    for field in ["email", "username", "password"] {
        cases.push(("POST", "/api/auth/register", without(field), field));
        for bad in [
            json!(null),
            json!(7),
            json!({}),
            json!([]),
            json!(true),
            json!(""),
            json!(long),
        ] {
            cases.push(("POST", "/api/auth/register", register(field, bad), field));
        }
        cases.push((
            "POST",
            "/api/auth/register",
            register(field, json!("abc\0defghi")),
            field,
        ));
    }
    for bad in [
        json!(-1),
        json!(151),
        json!(1.5),
        json!("36"),
        json!(i64::MAX),
        json!(1e300),
    ] {
        cases.push((
            "POST",
            "/api/auth/register",
            register("age", bad.clone()),
            "age",
        ));
        cases.push(("PUT", "/api/auth/me", json!({"age": bad}), "age"));
    }
    for bad in [json!(7), json!(long), json!("a\0b")] {
        cases.push((
            "POST",
            "/api/auth/register",
            register("full_name", bad.clone()),
            "full_name",
        ));
        cases.push((
            "PUT",
            "/api/auth/me",
            json!({"full_name": bad}),
            "full_name",
        ));
    }
    for bad in [
        json!(null),
        json!(7),
        json!(""),
        json!("a"),
        json!("a b c"),
        json!(long),
    ] {
        cases.push(("PUT", "/api/auth/me", json!({"username": bad}), "username"));
    }
    for (body, field) in [
        (json!({"password": PASSWORD}), "email"),
        (
            json!({"email": " ", "username": "", "password": PASSWORD}),
            "email",
        ),
        (
            json!({"email": "a@b.org", "username": "ada", "password": PASSWORD}),
            "username",
        ),
        (json!({"username": "ada"}), "password"),
        (json!({"username": "ada", "password": null}), "password"),
        (json!({"username": "ada", "password": ""}), "password"),
        (json!({"username": "ada", "password": long}), "password"),
        (json!({"username": 1, "password": PASSWORD}), "username"),
        (json!({"username": "a\0", "password": PASSWORD}), "username"),
    ] {
        cases.push(("POST", "/api/auth/login", body, field));
    }
    cases
}

#[tokio::test]
async fn bad_input_is_a_problem_that_names_the_field_and_never_a_5xx() {
    let world = World::fresh().await;
    let (_, token) = world.registered("ada").await;
    for (method, path, body, field) in bad_bodies() {
        let answer = world.send(method, path, Some(&token), &body).await;
        let shown: String = body.to_string().chars().take(200).collect();
        let named = answer.problem(400, "validation_failed");
        assert!(
            named.iter().any(|named| named == field),
            "{path} {field} {shown}: {}",
            answer.text()
        );
    }
    let me = world.get("/api/auth/me", &token).await.json();
    assert_eq!(me["username"], "ada", "nothing of all that was stored");
}

#[tokio::test]
async fn a_body_that_is_not_json_or_too_large_is_told_so() {
    let world = World::fresh().await;
    let large = json!({"username": "x".repeat(2 << 20)}).to_string();
    for (content_type, body, status, code) in [
        ("application/json", "{", 400, "malformed_json"),
        ("application/json", "", 400, "malformed_json"),
        (
            "application/json",
            &format!("{} x", account("bob")),
            400,
            "malformed_json",
        ),
        ("text/plain", "{}", 415, "unsupported_media_type"),
        (
            "application/x-www-form-urlencoded",
            "username=ada",
            415,
            "unsupported_media_type",
        ),
        ("application/json", &large, 413, "body_too_large"),
    ] {
        for path in ["/api/auth/register", "/api/auth/login"] {
            let request = Request::post(path)
                .header("content-type", content_type)
                .body(Body::from(body.to_owned()))
                .unwrap();
            world.give(request).await.problem(status, code);
        }
    }
}

on_both!(
    the_owner_changes_name_and_age_and_nothing_else,
    |world: World| async move {
        let (id, token) = world.registered("ada").await;
        world.register("bob").await;
        world.clock.advance(chrono::TimeDelta::seconds(1));
        let put = async |body: Value| world.send("PUT", "/api/auth/me", Some(&token), &body).await;
        let me = put(json!({"full_name": "Ada Lovelace", "age": 36}))
            .await
            .expect(200);
        assert_eq!(
            (&me["full_name"], &me["age"]),
            (&json!("Ada Lovelace"), &json!(36))
        );
        assert_eq!(me["username"], "ada");
        assert_eq!(me["updated_at"], "2026-01-01T12:00:01.000Z");

        let me = put(json!({"age": null})).await.json();
        assert_eq!(
            (&me["full_name"], &me["age"]),
            (&json!("Ada Lovelace"), &json!(null))
        );
        // Its own name in another case is free; somebody else's is not.
        assert_eq!(
            put(json!({"username": "ADA"})).await.json()["username"],
            "ADA"
        );
        let taken = put(json!({"username": "BOB", "full_name": "Bob"})).await;
        taken.problem(400, "user_exists");
        assert_eq!(taken.json()["errors"]["username"][0], "is taken");
        // Fields that are not the owner's to change are named, and nothing is changed.
        let theirs = json!({"id": 1, "created_at": "2026-01-01T12:00:00.000Z", "age": 38});
        let named = put(theirs).await.problem(400, "validation_failed");
        assert_eq!(named, ["created_at", "id"]);
        for (field, value) in [("role", json!("admin")), ("is_active", json!(true))] {
            let theirs = json!({field: value, "age": 38});
            assert_eq!(put(theirs).await.problem(403, "forbidden"), [field]);
        }
        // A form sends an omitted field as an empty text, which clears it like null.
        put(json!({"age": 37, "full_name": ""})).await.ok();
        let me = world.get("/api/auth/me", &token).await.json();
        assert_eq!(
            (&me["role"], &me["email"]),
            (&json!("user"), &json!("ada@example.org"))
        );
        assert_eq!((&me["full_name"], &me["age"]), (&json!(null), &json!(37)));
        // An empty request changes nothing and publishes nothing.
        assert_eq!(put(json!({})).await.json()["updated_at"], me["updated_at"]);
        let events = world.events(id).await;
        let types: Vec<&str> = events.iter().map(|(kind, _)| &**kind).collect();
        assert_eq!(
            types,
            [
                "user.created",
                "user.authenticated",
                "user.updated",
                "user.updated",
                "user.updated",
                "user.updated",
            ]
        );
        assert_eq!(
            events
                .iter()
                .map(|(_, version)| *version)
                .collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6]
        );
    }
);

on_both!(
    after_a_rename_every_token_answers_the_new_name_at_once,
    |world: World| async move {
        let (_, first) = world.registered("ada").await;
        let second = world.login("ada").await;
        let name = async |token: &str| {
            let bearer = format!("Bearer {token}");
            let response = world.validate("", &[("authorization", &bearer)]).await;
            response.headers["x-user-name"].to_str().unwrap().to_owned()
        };
        // Both are remembered with the old name.
        assert_eq!(
            (name(&first).await, name(&second).await),
            ("ada".into(), "ada".into())
        );
        let body = json!({"username": "countess"});
        let answer = world.send("PUT", "/api/auth/me", Some(&first), &body).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(
            (name(&first).await, name(&second).await),
            ("countess".into(), "countess".into())
        );
        // The old name is free, and the new one logs in.
        world.register_as("ada", "other@example.org").await;
        world.login("countess").await;
    }
);

#[tokio::test]
async fn an_admin_is_created_by_the_command_line_and_by_nobody_else() {
    let world = World::fresh().await;
    let new = auth::Registration {
        role: blocks::Role::Admin,
        ..auth::Registration::new("root@example.org", "root", PASSWORD)
    };
    let new = new.check().unwrap();
    let create = async || {
        let (new, once) = (new.clone(), None);
        world.auth.send(OpenAccount { new, once }).await
    };
    let admin = create().await.unwrap();
    assert_eq!(admin.role, blocks::Role::Admin);
    assert!(create().await.is_err(), "the name is taken");
    let token = world.login("root").await;
    assert_eq!(
        world.get("/api/auth/me", &token).await.json()["role"],
        "admin"
    );
    let mut body = account("mallory");
    body["role"] = json!("admin");
    let answer = world.send("POST", "/api/auth/register", None, &body).await;
    assert_eq!(answer.problem(400, "validation_failed"), ["role"]);
}

#[tokio::test]
async fn the_documentation_says_what_can_be_sent_and_what_is_answered() {
    let world = World::fresh().await;
    let api = auth::service(&world.auth).router.split_for_parts().1;
    let api = serde_json::to_value(api).unwrap();
    let change = &api["components"]["schemas"]["UserChange"];
    assert_eq!(change["properties"]["username"]["type"], "string");
    assert_eq!(
        change["properties"]["full_name"]["type"],
        json!(["string", "null"])
    );
    assert!(change["required"].is_null(), "{change}");
    let answers = |path: &str, method: &str| {
        let answers = &api["paths"][path][method]["responses"];
        let answers = answers.as_object().unwrap().keys().cloned();
        answers.collect::<Vec<_>>()
    };
    let validate = answers("/api/auth/validate", "get");
    assert_eq!(validate, ["200", "400", "401", "403", "503"]);
    assert_eq!(
        answers("/api/auth/login", "post"),
        ["200", "401", "403", "429", "503"]
    );
}
