//! A consumer group that reads its topics again, from the command line.

use serde_json::json;
use testkit::http::eventually;

use crate::world::{Folder, Rookery};

/// The events of whoever opens an account and logs in.
const OF_ADA: u64 = 2;

/// Waits until `group` has handled so many events since the server started.
async fn handles(rookery: &Rookery, group: &str, count: u64) {
    let of = format!("consumer_events_total{{group=\"{group}\",outcome=\"handled\"}} {count}");
    eventually(&of, async || {
        let metrics = rookery.get("/metrics", None).await.text();
        metrics.lines().any(|line| line == of).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_reads_its_topics_again_and_notifies_nobody_twice() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    handles(&rookery, "notification", OF_ADA).await;

    let reset = ["events", "reset", "notification"];
    let said = folder.run(&reset).await.well();
    assert!(said.contains("user.events"), "{said}");
    assert!(said.contains("would read them again"), "{said}");
    let said = folder
        .run(&[&reset[..], &["--execute"]].concat())
        .await
        .well();
    assert!(said.contains("reads them again"), "{said}");
    handles(&rookery, "notification", 2 * OF_ADA).await;
    let inbox = rookery
        .get("/api/notifications", Some(&token))
        .await
        .expect(200);
    assert_eq!(inbox["total"], 1, "{inbox}");

    let said = folder.run(&["events", "reset", "nobody"]).await.badly(1);
    assert!(
        said.contains("notification"),
        "it names those that there are: {said}"
    );
    let other = [&reset[..], &["--topic", "posts-events"]].concat();
    let said = folder.run(&other).await.badly(1);
    assert!(said.contains("user.events"), "{said}");
    rookery.stop().await;
    let output = folder.output();
    let lines = output
        .lines()
        .filter(|line| line.contains("a group reads again"));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 1, "{output}");
    for part in ["INFO", "notification", "user.events/", ":0"] {
        assert!(lines[0].contains(part), "{part} is not in {}", lines[0]);
    }

    let offline = [&reset[..], &["--topic", "user.events", "--execute"]].concat();
    folder.run_offline(&offline).await.well();
    let rookery = folder.serve().await;
    handles(&rookery, "notification", OF_ADA).await;
    rookery.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_reads_its_topics_again_and_its_streams_stay() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    rookery.publish(&token, "hers").await;
    let renamed = Some(json!({"username": "adele"}));
    let renamed = rookery
        .client
        .send("PUT", "/api/auth/me", Some(&token), renamed);
    renamed.await.expect(200);
    eventually("her new name", async || {
        let stream = rookery.get("/api/activity-stream", None).await.expect(200);
        (stream["items"][0]["username"] == "adele").then_some(())
    })
    .await;
    let before = rookery.get("/api/activity-stream", None).await.expect(200);

    let reset = ["events", "reset", "feed-generator", "--execute"];
    let said = folder.run(&reset).await.well();
    for topic in ["posts-events", "user.events"] {
        assert!(said.contains(topic), "{said}");
    }
    let again = async |rookery: &Rookery| {
        eventually("the feed has read all", async || {
            let said = folder.run(&["events", "topics"]).await.well();
            let behind = said.matches("feed-generator (0)").count();
            (behind == 2).then_some(())
        })
        .await;
        let stream = rookery.get("/api/activity-stream", None).await.expect(200);
        assert_eq!(stream, before);
    };
    again(&rookery).await;
    rookery.stop().await;

    folder.run_offline(&reset).await.well();
    let rookery = folder.serve().await;
    again(&rookery).await;
    rookery.publish(&token, "new").await;
    rookery.shows(&["new", "hers"]).await;
    rookery.stop().await;
}
