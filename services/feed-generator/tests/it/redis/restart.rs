//! A server that is killed and started again under load.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use feed_generator::store::redis::{RedisFeed, RedisSettings};
use feed_generator::{Feed, Settings};

use super::outage::{PATIENCE, Process, nothing_is_blocked, post, shows, titles, world};

/// A server of the test's own, in a folder of its own.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
    keeps: bool,
    process: Option<Child>,
}

impl Server {
    async fn start(keeps: bool) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self {
            folder,
            port,
            keeps,
            process: None,
        };
        server.up().await;
        server
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn up(&mut self) {
        let keeps = if self.keeps { "yes" } else { "no" };
        let process = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args([
                "--save",
                "",
                "--appendonly",
                keeps,
                "--appendfsync",
                "everysec",
            ])
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.process = Some(process);
        let client = redis::Client::open(self.url()).unwrap();
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Ok(mut connection) = client.get_multiplexed_async_connection().await
                    && redis::cmd("PING")
                        .query_async::<String>(&mut connection)
                        .await
                        .is_ok()
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn survives_restarts(keeps: bool) {
    let mut server = Server::start(keeps).await;
    let log = world().await;
    let open = || {
        let redis = RedisFeed::new(RedisSettings {
            url: server.url(),
            prefix: String::new(),
            clock: Arc::clone(&log.clock),
        });
        Feed::on_redis(
            &redis.unwrap(),
            Arc::new(log.log.clone()),
            Settings::default(),
        )
    };
    let feeds = [open(), open()];
    let mut world = log;
    world.feed = feeds[0].clone();
    let processes = feeds.map(|feed| Process::start(&world, feed));
    let mut n = 0;
    for round in 0..35 {
        n += 2;
        let messages = [post(&world, n - 1).message(), post(&world, n).message()];
        world.publish(&messages).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        if round % 15 == 14 {
            server.kill();
            world.publish(&[post(&world, n + 1).message()]).await;
            n += 1;
            server.up().await;
        }
    }
    shows(&world, &titles(1..=n)).await;
    // Data missing from its file comes back although nobody writes.
    world.publish(&[post(&world, n + 1).message()]).await;
    shows(&world, &titles(1..=n + 1)).await;
    server.kill();
    server.up().await;
    shows(&world, &titles(1..=n + 1)).await;
    let streams = world.page("/api/activity-stream/stats").await["user_feed_count"].clone();
    assert_eq!(streams, 5);
    for process in processes {
        nothing_is_blocked(&process).await;
        process.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL and redis-server"]
async fn a_server_killed_under_load_goes_on_with_what_it_kept() {
    survives_restarts(true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL and redis-server"]
async fn a_server_killed_under_load_that_keeps_nothing_is_filled_again() {
    survives_restarts(false).await;
}
