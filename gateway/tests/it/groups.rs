//! A consumer group that reads its topics again, from the command line.

use testkit::http::eventually;

use crate::world::{Folder, Rookery};

/// The events of whoever opens an account and logs in.
const OF_ADA: u64 = 2;

/// How many events the notifications' group has handled since the server started.
async fn handled(rookery: &Rookery) -> u64 {
    let metrics = rookery.get("/metrics", None).await.text();
    let of = "consumer_events_total{group=\"notification\",outcome=\"handled\"} ";
    let mut counts = metrics.lines().filter_map(|line| line.strip_prefix(of));
    counts.next().map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_reads_its_topics_again_and_notifies_nobody_twice() {
    let folder = Folder::new();
    let rookery = folder.serve().await;
    let (_, token) = rookery.join("ada").await;
    eventually("the welcome", async || {
        (handled(&rookery).await == OF_ADA).then_some(())
    })
    .await;

    let reset = ["events", "reset", "notification"];
    let said = folder.run(&reset).await.well();
    assert!(said.contains("user.events"), "{said}");
    assert!(said.contains("would read them again"), "{said}");
    let said = folder
        .run(&[&reset[..], &["--execute"]].concat())
        .await
        .well();
    assert!(said.contains("reads them again"), "{said}");
    eventually("the welcome once more", async || {
        (handled(&rookery).await == 2 * OF_ADA).then_some(())
    })
    .await;
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
    let streams = ["events", "reset", "feed-generator", "--execute"];
    let said = folder.run(&streams).await.badly(1);
    assert!(said.contains("rookery feed rebuild"), "{said}");
    rookery.stop().await;

    let offline = [&reset[..], &["--topic", "user.events", "--execute"]].concat();
    folder.run_offline(&offline).await.well();
    let rookery = folder.serve().await;
    eventually("the welcome after the restart", async || {
        (handled(&rookery).await == OF_ADA).then_some(())
    })
    .await;
    rookery.stop().await;
}
