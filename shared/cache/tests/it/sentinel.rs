//! A primary, its replica, and sentinels that let the one take the other's place.

use std::net::TcpListener;
use std::time::Duration;

use cache::redis::RedisStore;
use cache::{CacheError, Store, op};
use redis::{Client, RedisResult, Role};
use testkit::own::Own;
use tokio::time::{sleep, timeout};

/// Far more than sentinels take that are told to wait a second.
const PATIENCE: Duration = Duration::from_secs(90);

/// Does it until it succeeds.
async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let succeeds = async {
        loop {
            if let Some(done) = attempt().await {
                return done;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let done = timeout(PATIENCE, succeeds).await;
    done.unwrap_or_else(|_| panic!("did not happen: {what}"))
}

/// One of the servers, past the sentinels.
struct Direct(Client);

impl Direct {
    fn at(port: u16, password: &str) -> Self {
        Self(Client::open(format!("redis://:{password}@127.0.0.1:{port}")).unwrap())
    }

    async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> RedisResult<T> {
        let mut connection = self.0.get_multiplexed_async_connection().await?;
        let mut command = redis::Cmd::new();
        command.arg(words);
        command.query_async(&mut connection).await
    }

    async fn is_primary(&self) -> bool {
        let role = self.ask::<Role>(&["ROLE"]).await;
        matches!(role, Ok(Role::Primary { .. }))
    }

    async fn value(&self, key: &str) -> Option<String> {
        self.ask(&["GET", key]).await.ok().flatten()
    }
}

/// Writes until it is taken, alone or among others.
async fn write(store: &Store, value: &'static str) {
    until(&format!("{value} is written"), async || {
        let alone = store.run(op::set("alone", value, None)).await;
        let mut pipeline = store.pipeline();
        let others = pipeline.add(op::set("other", value, None));
        let among = pipeline
            .run()
            .await
            .and_then(|mut answers| answers.take(others));
        for failed in [&alone, &among] {
            assert!(
                matches!(failed, Ok(()) | Err(CacheError::Away(_))),
                "{failed:?}"
            );
        }
        (alone.is_ok() && among.is_ok()).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts servers with scripts/redis"]
async fn after_a_failover_and_a_death_the_new_primary_is_written_to_and_read_from() {
    let servers = Own::new("redis", 5);
    servers.run(&["up", "--sentinels"]);
    let port = servers.port;
    let (first, second) = (Direct::at(port, "secret"), Direct::at(port + 1, "secret"));
    let sentinel = Direct::at(port + 2, "watchful");
    // The first of the sentinels takes connections and never answers, the second is not there.
    let silent = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let silent = silent.local_addr().unwrap();
    let sentinels = [2, 3, 4]
        .map(|of| format!("127.0.0.1:{}", port + of))
        .join(",");
    let url = |parameters: &str| {
        format!("redis+sentinel://:secret@{silent},127.0.0.1:1,{sentinels}/main{parameters}")
    };
    let store = |url: &str| Store::new(RedisStore::new(url).unwrap(), "");
    let writer = store(&url("?sentinel_password=watchful"));
    let reader = store(&url("/0?sentinel_password=watchful"));

    write(&writer, "before").await;
    assert_eq!(first.value("alone").await.as_deref(), Some("before"));
    let read = async || reader.run(op::get("alone")).await.ok().flatten();
    until("it is read", async || {
        (read().await? == "before").then_some(())
    })
    .await;
    for (wrong, url) in [
        ("of the sentinels", url("?sentinel_password=wrong")),
        ("of none", url("")),
        (
            "of the primary",
            url("?sentinel_password=watchful").replace("secret", "wrong"),
        ),
    ] {
        let refused = store(&url).run(op::get("alone")).await;
        assert!(
            matches!(refused, Err(CacheError::Away(_))),
            "{wrong}: {refused:?}"
        );
    }

    // An operator has the replica take its place; the old primary lives on as a replica.
    until("a replica is good enough", async || {
        sentinel
            .ask::<()>(&["SENTINEL", "FAILOVER", "main"])
            .await
            .ok()
    })
    .await;
    until("the replica is the primary", async || {
        (second.is_primary().await && !first.is_primary().await).then_some(())
    })
    .await;
    write(&writer, "after the failover").await;
    assert_eq!(
        second.value("alone").await.as_deref(),
        Some("after the failover")
    );
    until("it is read", async || {
        (read().await? == "after the failover").then_some(())
    })
    .await;

    // The new one dies, once the old one has all of it.
    until("the old primary follows", async || {
        (first.value("other").await? == "after the failover").then_some(())
    })
    .await;
    servers.run(&["kill", "replica"]);
    write(&writer, "after the death").await;
    assert!(first.is_primary().await);
    assert_eq!(
        first.value("alone").await.as_deref(),
        Some("after the death")
    );
    until("it is read", async || {
        (read().await? == "after the death").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "starts a server with scripts/redis"]
async fn a_server_that_became_a_replica_is_looked_for_anew() {
    let server = Own::new("redis", 1);
    let url = server.run(&["up"]);
    let direct = Direct(Client::open(url.as_str()).unwrap());
    let store = Store::new(RedisStore::new(&url).unwrap(), "");
    write(&store, "before").await;
    let follows = direct.ask::<()>(&["REPLICAOF", "127.0.0.1", "1"]).await;
    follows.unwrap();
    let connections = async || {
        let info: String = direct.ask(&["INFO", "stats"]).await.unwrap();
        let count = info
            .lines()
            .find_map(|line| line.strip_prefix("total_connections_received:"));
        count.unwrap().parse::<u32>().unwrap()
    };
    for is_alone in [true, false] {
        let before = connections().await;
        // Each look at the count is a connection, too.
        let mut looks = 1;
        until("it connects again", async || {
            if is_alone {
                let refused = store.run(op::set("alone", "x", None)).await;
                assert!(matches!(refused, Err(CacheError::Away(_))), "{refused:?}");
            } else {
                let mut pipeline = store.pipeline();
                let slots = ["a", "b"].map(|key| pipeline.add(op::set(key, "x", None)));
                let mut answers = pipeline.run().await.unwrap();
                for slot in slots {
                    answers.take(slot).unwrap_err();
                }
            }
            let received = connections().await - before;
            looks += 1;
            (received >= looks).then_some(())
        })
        .await;
    }
    direct.ask::<()>(&["REPLICAOF", "NO", "ONE"]).await.unwrap();
    write(&store, "after").await;
}
