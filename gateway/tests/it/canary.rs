//! Nothing secret is ever written to the log.

use serde_json::json;

use crate::world::Folder;

#[tokio::test]
async fn no_password_token_or_address_is_logged_at_any_level() {
    let folder = Folder::new();
    let level = "trace,sqlx=warn,hyper=warn,hyper_util=warn";
    let rookery = folder
        .serve_with(&[("LOG_FORMAT", "json"), ("LOG_LEVEL", level)])
        .await;
    let (email, password) = ("canary.bird@mine.example", "Canary-Pa55word!");
    let new = json!({"email": email, "username": "canary", "password": password});
    rookery
        .post("/api/auth/register", None, new.clone())
        .await
        .expect(201);
    rookery
        .post("/api/auth/register", None, new)
        .await
        .expect_problem(400, "user_exists");
    let who = json!({"email": email, "password": password});
    let session = rookery.post("/api/auth/login", None, who).await.expect(200);
    let token = session["access_token"].as_str().unwrap();
    let refresh = session["refresh_token"]
        .as_str()
        .unwrap_or("no refresh token yet");
    let wrong = json!({"email": email, "password": "Wr0ng-canary!"});
    rookery
        .post("/api/auth/login", None, wrong)
        .await
        .expect_problem(401, "bad_credentials");

    let profile = json!({"first_name": "C", "phone": "+49 30 1234567", "bio": email});
    rookery
        .post("/api/profile", Some(token), profile)
        .await
        .expect(201);
    rookery.publish(token, "a post").await;
    rookery.shows(&["a post"]).await;
    // Secrets also stand where people put them by mistake.
    rookery
        .get(&format!("/api/posts?token={token}&email={email}"), None)
        .await
        .expect_problem(400, "validation_failed");
    rookery
        .get(&format!("/api/{token}/{email}"), None)
        .await
        .expect_problem(404, "not_found");
    for id in [email, token, &format!("r-{token}")] {
        for name in ["x-request-id", "x-correlation-id"] {
            let request = rookery.client.request("GET", "/api/posts").header(name, id);
            let answer = rookery.client.give(request.body("").unwrap()).await;
            answer.expect(200);
            assert_ne!(answer.headers[name], id, "it is replaced");
        }
    }
    let tampered = format!("{}x", &token[..token.len() - 1]);
    rookery
        .get("/api/auth/me", Some(&tampered))
        .await
        .expect_problem(401, "invalid_token");
    rookery.get("/api/auth/validate", Some(token)).await;
    let shape = json!({"email": [email], "username": {"a": password}, "password": 5});
    rookery
        .post("/api/auth/register", None, shape)
        .await
        .expect_problem(400, "validation_failed");
    rookery
        .client
        .send("POST", "/api/auth/logout", Some(token), None)
        .await;
    folder.run(&["outbox", "--list"]).await.well();
    rookery.stop().await;

    let output = folder.output();
    assert!(output.lines().count() > 10, "it does log: {output}");
    let signature = token.rsplit('.').next().unwrap();
    for secret in [
        email,
        "canary.bird",
        password,
        "Wr0ng-canary!",
        token,
        signature,
        &tampered,
        refresh,
        "+49 30 1234567",
    ] {
        let line = output.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
    for line in crate::world::read(&folder.file("stdout")).lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        for field in ["timestamp", "level", "service", "message"] {
            assert!(line[field].is_string(), "{field} in {line}");
        }
    }
}
