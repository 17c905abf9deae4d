//! Servers that go away and come back, while people write.

use std::time::Duration;

use serde_json::json;
use testkit::community::people::Count;

use crate::load::Writers;
use crate::stack::{Fleet, end, eventually};

/// How long people write before and after a fault.
const A_WHILE: Duration = Duration::from_secs(1);
/// How long a server is away.
const AWAY: Duration = Duration::from_millis(2_500);

/// Counts the writes that were acknowledged since `before`, and checks that none was cut off.
fn all_acknowledged_since(before: Count, writers: &Writers) -> usize {
    let count = writers.count();
    assert_eq!(count.cut_off, before.cut_off, "{count}");
    let acknowledged = count.acknowledged - before.acknowledged;
    assert!(acknowledged > 0, "nothing was written");
    acknowledged
}

/// A way to lose a server.
#[derive(Debug, Clone, Copy)]
enum Way {
    Stopped,
    Killed,
}

impl Way {
    async fn lose(self, fleet: &Fleet, server: &str) {
        match self {
            Self::Stopped => fleet.stop(&[server]).await,
            Self::Killed => fleet.kill(server).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_writes_succeed_and_their_events_arrive_after() {
    let fleet = Fleet::whole().await;
    let mut writers = Writers::of("kafka");
    for way in [Way::Stopped, Way::Killed] {
        let before = writers.count();
        writers = writers.write_for(&fleet, A_WHILE).await;
        writers = writers.during(&fleet, way.lose(&fleet, "kafka")).await;
        let when_lost = writers.count();
        writers = writers.write_for(&fleet, AWAY).await;
        let without = all_acknowledged_since(when_lost, &writers);
        // Of whichever service was written to; it is measured now and then.
        eventually("events wait while Kafka is away", async || {
            for service in fleet.services() {
                if fleet.metric(service, "outbox_pending", &[]).await > 0.0 {
                    return Ok(());
                }
            }
            Err("nothing is pending".to_owned())
        })
        .await;
        writers = writers.during(&fleet, fleet.start(&["kafka"])).await;
        writers = writers.write_for(&fleet, A_WHILE).await;
        all_acknowledged_since(before, &writers);
        println!("kafka, {way:?}: {without} writes acknowledged without it");
    }
    writers.account(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_the_feed_says_when_to_come_back_and_nothing_else_suffers() {
    let fleet = Fleet::whole().await;
    let mut writers = Writers::of("redis");
    for way in [Way::Stopped, Way::Killed] {
        let before = writers.count();
        writers = writers.write_for(&fleet, A_WHILE).await;
        writers = writers.during(&fleet, way.lose(&fleet, "redis")).await;
        writers = writers.write_for(&fleet, AWAY).await;
        the_feed_is_away(&fleet).await;
        somebody_new_is_served(&fleet, way).await;
        writers = writers.during(&fleet, fleet.start(&["redis"])).await;
        writers = writers.write_for(&fleet, A_WHILE).await;
        let all = all_acknowledged_since(before, &writers);
        println!("redis, {way:?}: {all} writes acknowledged before, without and after it");
    }
    writers.account(&fleet).await;
}

/// Every stream answers 503 with a time to come back after.
async fn the_feed_is_away(fleet: &Fleet) {
    let client = testkit::http::Client::new(fleet.gateway_address());
    for path in ["/api/activity-stream", "/api/activity-stream/user/1"] {
        let answer = client.send("GET", path, None, None).await;
        answer.expect_problem(503, "store_unavailable");
        let after = answer.headers["retry-after"].to_str().unwrap();
        assert!(after.parse::<u32>().unwrap() >= 1, "{after}");
    }
}

/// Account, profile, post and inbox of somebody who comes now.
async fn somebody_new_is_served(fleet: &Fleet, way: Way) {
    let client = testkit::http::Client::new(fleet.gateway_address());
    let send = async |method: &str, path: &str, token: Option<&str>, body| {
        client.send(method, path, token, body).await
    };
    let name = format!("meanwhile-{way:?}");
    let password = "correct horse battery staple";
    let new =
        json!({"email": format!("{name}@example.org"), "username": name, "password": password});
    let register = send("POST", "/api/auth/register", None, Some(new)).await;
    register.expect(201);
    let login = json!({"username": name, "password": password});
    let login = send("POST", "/api/auth/login", None, Some(login)).await;
    let token = login.expect(200)["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let token = Some(token.as_str());
    let bio = send("POST", "/api/profile", token, Some(json!({"bio": "new"}))).await;
    bio.expect(201);
    let post = json!({"title": "while the feed is away", "content": "it is read later"});
    let post = send("POST", "/api/posts", token, Some(post)).await;
    let post = post.expect(201)["id"].as_str().unwrap().to_owned();
    send("GET", &format!("/api/posts/{post}"), None, None)
        .await
        .expect(200);
    eventually("they are welcomed", async || {
        let inbox = send("GET", "/api/notifications", token, None)
            .await
            .expect(200);
        match inbox["total"].as_i64() {
            Some(1) => Ok(()),
            _ => Err(inbox.to_string()),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_redis_is_filled_again_while_people_write() {
    let fleet = Fleet::whole().await;
    let mut writers = Writers::of("emptied").write_for(&fleet, A_WHILE).await;
    let keys = fleet.redis(&["dbsize"]).await;
    assert_ne!(keys, "0", "nothing to lose");
    for _ in 0..2 {
        writers = writers
            .during(&fleet, async {
                assert_eq!(fleet.redis(&["flushall"]).await, "OK");
                tokio::time::sleep(A_WHILE).await;
            })
            .await;
    }
    all_acknowledged_since(Count::default(), &writers);
    writers.account(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_when_postgresql_is_restarted_or_crashes() {
    let fleet = Fleet::whole().await;
    let mut writers = Writers::of("postgres").write_for(&fleet, A_WHILE).await;
    let restarted = async {
        fleet.script(&["restart", "postgres"]).await;
    };
    writers = writers.during(&fleet, restarted).await;
    writers = writers.write_for(&fleet, A_WHILE).await;
    // An immediate stop ends everything where it is; the next start reads the log.
    let stopped_at_once = async {
        end(fleet.pid("postgres").await, "QUIT").await;
        tokio::time::sleep(AWAY).await;
        fleet.start(&["postgres"]).await;
    };
    writers = writers.during(&fleet, stopped_at_once).await;
    writers = writers.write_for(&fleet, A_WHILE).await;
    // The server takes the death of one of its processes for a sign that memory is damaged, and
    // starts itself anew.
    let crashed = async {
        let of_a_service = "select pid from pg_stat_activity where datname = 'rookery' \
            and pid <> pg_backend_pid() limit 1";
        let pid = fleet.psql(of_a_service).await.parse().unwrap();
        end(pid, "KILL").await;
        tokio::time::sleep(A_WHILE).await;
    };
    writers = writers.during(&fleet, crashed).await;
    writers = writers.write_for(&fleet, A_WHILE).await;
    writers.account(&fleet).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_acknowledged_write_is_lost_when_the_mongodb_server_is_killed() {
    let fleet = Fleet::whole().await;
    let mut writers = Writers::of("mongodb").write_for(&fleet, A_WHILE).await;
    for _ in 0..3 {
        let killed = async {
            fleet.kill("mongo").await;
            posts_are_away(&fleet).await;
            fleet.start(&["mongo"]).await;
        };
        let before = writers.count();
        writers = writers.during(&fleet, killed).await;
        writers = writers.write_for(&fleet, A_WHILE).await;
        let acknowledged = writers.count().acknowledged - before.acknowledged;
        assert!(acknowledged > 0, "nothing was written");
    }
    writers.account(&fleet).await;
}

/// Waits until readers get the error. The first ones may only have to wait: for a server that is back soon
/// nobody gets an error.
async fn posts_are_away(fleet: &Fleet) {
    let client = testkit::http::Client::new(fleet.gateway_address());
    eventually("the posts are away", async || {
        let list = client.send("GET", "/api/posts", None, None).await;
        match list.status.as_u16() {
            503 => Ok(()),
            status => Err(format!("{status}: {}", list.text())),
        }
    })
    .await;
}
