//! The store in a real Redis, each test under a prefix of its own.

use std::future::{Ready, ready};
use std::num::NonZeroU32;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use blocks::metrics::Metrics;
use blocks::{Clock, SystemClock};
use cache::redis::RedisStore;
use cache::{
    Cache, CacheError, CacheSettings, Found, Limiter, Limits, LoadError, MemoryStore, Rate, Reply,
    Script, Store, op,
};
use redis::aio::MultiplexedConnection;
use testkit::door::Door;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const PATIENCE: Duration = Duration::from_secs(30);

#[expect(
    clippy::disallowed_methods,
    reason = "the harness is told where the server is"
)]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn server() -> String {
    variable("TEST_REDIS_URL").expect("TEST_REDIS_URL names a Redis server for this test")
}

/// A connection of the test's own.
async fn connection() -> MultiplexedConnection {
    let client = redis::Client::open(server()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

fn new_prefix() -> String {
    format!("t:{}:", SystemClock.id())
}

fn store_at(url: &str, prefix: &str) -> Store {
    Store::new(RedisStore::new(url).unwrap(), prefix)
}

fn names(store: &Store, settings: CacheSettings) -> Cache<String> {
    Cache::new(store, "names", settings, &Metrics::new())
}

fn ok(text: &str) -> Ready<Result<Option<String>, std::io::Error>> {
    ready(Ok(Some(text.to_owned())))
}

testkit::cache_contract!(
    #[ignore = "needs TEST_REDIS_URL"]
    async {
        store_at(&server(), &new_prefix())
    }
);

static COUNT: Script = Script {
    name: "test.count",
    lua: "return redis.call('INCR', KEYS[1])",
    rust: |_, _, _| Ok(Reply::Nothing),
};

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_server_that_lost_its_scripts_runs_each_once_alone_and_among_others() {
    let store = store_at(&server(), &new_prefix());
    let mut connection = connection().await;
    let mut flush = async || {
        let flush = redis::cmd("SCRIPT").arg("FLUSH").to_owned();
        flush.exec_async(&mut connection).await.unwrap();
    };
    let count = || op::call::<i64>(&COUNT, &["n"], vec![]);
    flush().await;
    assert_eq!(store.run(count()).await.unwrap(), 1);
    flush().await;
    assert_eq!(store.run(count()).await.unwrap(), 2);
    flush().await;
    let mut pipeline = store.pipeline();
    let slots = [
        pipeline.add(op::increment("n", 1)),
        pipeline.add(count()),
        pipeline.add(op::increment("n", 1)),
        pipeline.add(count()),
    ];
    let mut answers = pipeline.run().await.unwrap();
    let answers = slots.map(|slot| answers.take(slot).unwrap());
    assert_eq!(answers, [3, 4, 5, 6]);
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn two_scripts_of_one_name_are_refused() {
    static OTHER: Script = Script {
        lua: "return 0",
        ..COUNT
    };
    let store = store_at(&server(), &new_prefix());
    let count = |script| op::call::<i64>(script, &["n"], vec![]);
    store.run(count(&COUNT)).await.unwrap();
    let refused = store.run(count(&OTHER)).await;
    assert!(
        matches!(refused, Err(CacheError::Refused(_))),
        "{refused:?}"
    );
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn values_that_are_written_together_end_apart() {
    let prefix = new_prefix();
    let names = names(&store_at(&server(), &prefix), CacheSettings::default());
    let mut connection = connection().await;
    let mut ends = Vec::new();
    for n in 0..100 {
        names
            .set(&n.to_string(), Some(&String::new()))
            .await
            .unwrap();
        let mut left = redis::cmd("PTTL");
        left.arg(format!("{prefix}names:{n}"));
        ends.push(left.query_async::<u64>(&mut connection).await.unwrap());
    }
    ends.sort_unstable();
    let hour = 3_600_000;
    assert!(
        ends[0] > hour * 9 / 10 - 60_000 && ends[99] <= hour,
        "{ends:?}"
    );
    assert!(ends[99] - ends[0] > hour / 20, "{ends:?}");
}

/// Set in the processes that take part in a stampede: the prefix.
const STAMPEDE: &str = "TEST_CACHE_STAMPEDE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_stampede_of_a_thousand_callers_in_four_processes_loads_once() {
    if let Some(prefix) = variable(STAMPEDE) {
        return stampede(&prefix).await;
    }
    let prefix = new_prefix();
    let store = store_at(&server(), &prefix);
    let processes: Vec<Child> = (0..4)
        .map(|_| {
            let test = "redis::a_stampede_of_a_thousand_callers_in_four_processes_loads_once";
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", test, "--include-ignored"]);
            command.env(STAMPEDE, &prefix).spawn().unwrap()
        })
        .collect();
    let ready = async {
        while store.run(op::get("ready")).await.unwrap().as_deref() != Some(b"4") {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ready).await.unwrap();
    store.run(op::set("go", "1", None)).await.unwrap();
    for process in processes {
        let ended = tokio::task::spawn_blocking(|| process.wait_with_output());
        assert!(ended.await.unwrap().unwrap().status.success());
    }
    assert_eq!(store.run(op::increment("callers", 0)).await.unwrap(), 1000);
    assert_eq!(store.run(op::increment("loads", 0)).await.unwrap(), 1);
}

/// One of the processes.
async fn stampede(prefix: &str) {
    let store = store_at(&server(), prefix);
    let names = names(&store, CacheSettings::default());
    store.run(op::increment("ready", 1)).await.unwrap();
    let go = async {
        while store.run(op::get("go")).await.unwrap().is_none() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, go).await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..250 {
        let (names, store) = (names.clone(), store.clone());
        callers.spawn(async move {
            let load = async || {
                store.run(op::increment("loads", 1)).await?;
                sleep(Duration::from_millis(200)).await;
                Ok::<_, CacheError>(Some("ada".to_owned()))
            };
            names.get_or_load("7", load).await.unwrap()
        });
    }
    let got = callers.join_all().await;
    assert!(got.iter().all(|name| name.as_deref() == Some("ada")));
    store.run(op::increment("callers", 250)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn while_redis_is_away_loads_go_through_and_no_more_than_so_many_at_once() {
    let door = Door::to(&server()).await;
    let store = store_at(&door.url(), &new_prefix());
    let settings = CacheSettings {
        unlocked_loads: 3,
        patience: PATIENCE,
        ..CacheSettings::default()
    };
    let names = names(&store, settings);
    for is_hanging in [false, true] {
        // It goes away in the middle of a load.
        let key = is_hanging.to_string();
        let load = async || {
            if is_hanging {
                door.hold();
            } else {
                door.shut().await;
            }
            ok("ada").await
        };
        let loaded = timeout(PATIENCE, names.get_or_load(&key, load)).await;
        assert_eq!(loaded.unwrap().unwrap().as_deref(), Some("ada"));

        let [now, most, all] = [(); 3].map(|()| Arc::new(AtomicUsize::new(0)));
        let mut callers = JoinSet::new();
        for n in 0..40 {
            let names = names.clone();
            let key = format!("{key}{}", n % 20);
            let [now, most, all] = [&now, &most, &all].map(Arc::clone);
            callers.spawn(async move {
                let load = async || {
                    all.fetch_add(1, Ordering::SeqCst);
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    sleep(Duration::from_millis(20)).await;
                    now.fetch_sub(1, Ordering::SeqCst);
                    ok("eve").await
                };
                names.get_or_load(&key, load).await.unwrap()
            });
        }
        let loaded = timeout(PATIENCE, callers.join_all()).await.unwrap();
        assert!(loaded.iter().all(|name| name.as_deref() == Some("eve")));
        assert_eq!(most.load(Ordering::SeqCst), 3);
        let all = all.load(Ordering::SeqCst);
        assert!((20..=40).contains(&all), "{all}");

        door.open().await;
        let is_remembered = async {
            loop {
                names.get_or_load("back", || ok("ada")).await.unwrap();
                if let Ok(Found::Value(_)) = names.get("back").await {
                    return names.remove("back").await.unwrap();
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, is_remembered).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn while_redis_is_away_each_process_holds_a_rate_by_itself() {
    let one_time = NonZeroU32::MIN;
    let rate = Rate {
        name: "searches",
        limit: NonZeroU32::new(4).unwrap(),
        period: Duration::from_hours(1),
    };
    let door = Door::to(&server()).await;
    let prefix = new_prefix();
    let limiter = || {
        let own = MemoryStore::new(Arc::new(SystemClock), Limits::default());
        let shared = store_at(&door.url(), &prefix);
        Limiter::new(rate, Store::new(own, "t:"), Some(shared))
    };
    let (one, other) = (limiter(), limiter());
    let left = async |limiter: &Limiter, who: &str| {
        let taken = limiter.take(who, one_time).await.unwrap();
        taken.allowed.then_some(taken.remaining)
    };
    assert_eq!(left(&one, "ada").await, Some(3));
    assert_eq!(left(&one, "ada").await, Some(2));
    assert_eq!(left(&other, "ada").await, Some(1));
    one.give_back("ada", one_time).await.unwrap();
    assert_eq!(left(&other, "ada").await, Some(1));
    door.shut().await;
    // Each goes on from what it heard last.
    for (limiter, lefts) in [(&one, vec![2, 1, 0]), (&other, vec![0])] {
        for expected in lefts {
            assert_eq!(left(limiter, "ada").await, Some(expected));
        }
        assert_eq!(left(limiter, "ada").await, None);
    }
    one.forgive(&["ada"]).await.unwrap();
    assert_eq!(left(&one, "ada").await, Some(3));
    door.open().await;
    let are_together = async {
        loop {
            let who = SystemClock.id().to_string();
            left(&one, &who).await;
            if left(&other, &who).await == Some(2) {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, are_together).await.unwrap();
    // What Redis knew before counts, what was let through meanwhile does not.
    assert_eq!(left(&other, "ada").await, Some(0));
    other.forgive(&["ada", "eve"]).await.unwrap();
    assert_eq!(left(&one, "ada").await, Some(3));
}

#[tokio::test]
#[ignore = "needs TEST_REDIS_URL"]
async fn who_finds_no_place_among_the_loads_without_redis_is_told_so() {
    let door = Door::to(&server()).await;
    door.shut().await;
    let settings = CacheSettings {
        unlocked_loads: 1,
        patience: Duration::from_millis(50),
        ..CacheSettings::default()
    };
    let names = names(&store_at(&door.url(), &new_prefix()), settings);
    let began = Arc::new(Notify::new());
    let mut first = JoinSet::new();
    let (cache, begins) = (names.clone(), Arc::clone(&began));
    first.spawn(async move {
        let load = async || {
            begins.notify_one();
            std::future::pending::<Result<Option<String>, std::io::Error>>().await
        };
        cache.get_or_load("7", load).await
    });
    timeout(PATIENCE, began.notified()).await.unwrap();
    let refused = timeout(PATIENCE, names.get_or_load("8", || ok("ada")))
        .await
        .unwrap();
    assert!(matches!(refused, Err(LoadError::Busy)), "{refused:?}");
    // The place is free again when its caller goes away.
    first.shutdown().await;
    let loaded = names.get_or_load("8", || ok("ada")).await.unwrap();
    assert_eq!(loaded.as_deref(), Some("ada"));
}
