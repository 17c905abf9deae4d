//! A deleted account is erased by every service that follows accounts, and each says so.

use std::collections::BTreeMap;

use events::topic;
use gateway::roster::ROSTER;
use serde_json::json;
use testkit::http::eventually;

use crate::commands::create_admin;
use crate::world::{Folder, PASSWORD};

/// More than posts deletes in one write.
const POSTS: u64 = 203;

#[test]
fn every_service_that_follows_accounts_answers() {
    for of in ROSTER {
        let follows = of.consumes.contains(&topic::USERS);
        let answers = of.publishes.contains(&"user.erased");
        assert!(!follows || answers || of.name == auth::NAME, "{}", of.name);
    }
}

#[tokio::test]
async fn all_services_answer_that_a_deleted_account_is_erased() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    create_admin(&folder, "root", &[]).await.well();
    let root = rookery.login("root").await;
    let (id, token) = rookery.join("eve").await;
    let profile = json!({"first_name": "Eve"});
    let profile = rookery.post("/api/profile", Some(&token), profile);
    profile.await.expect(201);
    for number in 0..POSTS {
        rookery.publish(&token, &number.to_string()).await;
    }
    let last = (POSTS - 1).to_string();
    eventually("the feed has all posts", async || {
        let path = format!("/api/activity-stream/user/{id}");
        let stream = rookery.get(&path, None).await.expect(200);
        (stream["items"][0]["title"] == last.as_str()).then_some(())
    })
    .await;
    let own = json!({"password": PASSWORD});
    let closed = rookery
        .client
        .send("DELETE", "/api/auth/me", Some(&token), Some(own));
    closed.await.expect(200);

    let answers = eventually("all services have answered", async || {
        let path = format!("/api/v1/users/{id}/erasure");
        let erasure = rookery.get(&path, Some(&root)).await.expect(200);
        let answers = erasure["services"].as_array().unwrap().iter();
        let answers: BTreeMap<String, u64> = answers
            .map(|answer| {
                let service = answer["service"].as_str().unwrap().to_owned();
                (service, answer["records"].as_u64().unwrap())
            })
            .collect();
        (answers.len() == ROSTER.len()).then_some(answers)
    })
    .await;
    assert_eq!(
        answers["auth"], 3,
        "the account, its session, and where from"
    );
    assert_eq!(answers["posts"], POSTS);
    assert_eq!(answers["user-profile"], 1);
    assert_eq!(answers["notification"], 1, "the welcome");
    // Posts whose deletion came before that of the account count there, not here.
    assert!(
        (1..=POSTS + 1).contains(&answers["feed-generator"]),
        "{answers:?}"
    );
    let status = folder.run(&["erasure", "status", &id.to_string()]).await;
    let status = status.well();
    assert!(status.contains("feed-generator"), "{status}");
    assert!(!status.contains("pending"), "{status}");
    rookery.stop().await;
}
