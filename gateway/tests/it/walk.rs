//! The main path, from the first account to the last delete.

use serde_json::json;
use testkit::http::eventually;

use crate::world::{Folder, PASSWORD};

#[tokio::test]
async fn an_account_writes_a_profile_and_posts_and_everybody_sees_them() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (id, token) = rookery.join("ada").await;
    let token = Some(token.as_str());

    let profile =
        json!({"first_name": "Ada", "city": "London", "preferences": {"b": 1.0, "a": [2]}});
    let profile = rookery
        .post("/api/profile", token, profile)
        .await
        .expect(201);
    assert_eq!(profile["user_id"], id);
    assert_eq!(profile["preferences"].to_string(), r#"{"b":1.0,"a":[2]}"#);

    let new = json!({"title": "Hello", "content": "The first post", "tags": ["First"]});
    let post = rookery.post("/api/posts", token, new).await.expect(201);
    let post_id = post["id"].as_str().unwrap();
    rookery.shows(&["Hello"]).await;
    let item = &rookery.get("/api/activity-stream", None).await.expect(200)["items"][0];
    assert_eq!(item["post_id"], post["id"]);
    assert_eq!(item["username"], "ada");
    assert_eq!(item["event_type"], "post.created");
    assert_eq!(item["tags"], json!(["first"]));

    let welcome = eventually("the welcome", async || {
        let inbox = rookery.get("/api/notifications", token).await.expect(200);
        (inbox["total"] == 1).then(|| inbox["items"][0].clone())
    })
    .await;
    assert_eq!(welcome["kind"], "welcome");

    let path = format!("/api/posts/{post_id}");
    let change = Some(json!({"title": "Hello again"}));
    rookery
        .client
        .send("PUT", &path, token, change)
        .await
        .expect(200);
    rookery.shows(&["Hello again"]).await;
    let own = rookery
        .get("/api/activity-stream/user", token)
        .await
        .expect(200);
    assert_eq!(own["items"][0]["event_type"], "post.updated");

    let gone = rookery
        .client
        .send("DELETE", &path, token, None)
        .await
        .expect(200);
    assert_eq!(gone, json!({"message": "Post deleted successfully"}));
    rookery.shows(&[]).await;
    rookery
        .get(&path, None)
        .await
        .expect_problem(404, "post_not_found");

    let stats = rookery
        .get("/api/activity-stream/stats", token)
        .await
        .expect(200);
    assert_eq!(stats["kafka_consumer_active"], true);
    assert!(stats["freshness_ms"]["p50"].is_number(), "{stats}");
    rookery
        .client
        .send("POST", "/api/auth/logout", token, None)
        .await;
    rookery
        .get("/api/profile", token)
        .await
        .expect_problem(401, "invalid_token");
    rookery.stop().await;
}

#[tokio::test]
async fn a_restart_keeps_accounts_tokens_posts_and_the_stream() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    rookery.publish(&token, "one").await;
    rookery.publish(&token, "two").await;
    rookery.shows(&["two", "one"]).await;
    rookery.stop().await;

    let left: Vec<_> = std::fs::read_dir(folder.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with("-wal") || name.starts_with("rookery.sock"))
        .collect();
    assert!(left.is_empty(), "a clean stop leaves {left:?}");

    let rookery = folder.serve().await;
    assert_eq!(rookery.titles().await, ["two", "one"]);
    rookery.publish(&token, "three").await;
    rookery.shows(&["three", "two", "one"]).await;
    rookery.login("ada").await;

    // However it ends.
    rookery.kill().await;
    let rookery = folder.serve().await;
    rookery.shows(&["three", "two", "one"]).await;
    let again = json!({"email": "ADA@example.org", "username": "other", "password": PASSWORD});
    let again = rookery.post("/api/auth/register", None, again).await;
    again.expect_problem(400, "user_exists");
    rookery.stop().await;
}
