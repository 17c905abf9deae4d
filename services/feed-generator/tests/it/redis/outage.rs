//! A server that is away, hangs or loses its data, under running consumers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use blocks::consumer::ConsumerLoop;
use blocks::metrics::Metrics;
use events::Message;
use feed_generator::{Feed, Settings};
use testkit::service::{NOBODY, texts};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{TestRedis, empty};
use crate::backend::Backend;
use crate::support::{Post, World, user_created};

const STREAM: &str = "/api/activity-stream?limit=100";
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A process of the fleet: the feed's consumer and what runs beside it.
pub struct Process {
    feed: Feed,
    tasks: JoinSet<()>,
    stop: CancellationToken,
}

impl Process {
    pub fn start(world: &World, feed: Feed) -> Self {
        let stop = CancellationToken::new();
        let bus = Arc::new(world.log.clone());
        let consumer = feed.consumer().clone();
        let clock = Arc::clone(&world.clock);
        let consuming = ConsumerLoop::new(consumer, bus, clock, &Metrics::new());
        let mut tasks = JoinSet::new();
        let stopped = stop.clone();
        tasks.spawn(async move { consuming.run(stopped).await.unwrap() });
        for background in feed_generator::service(&feed).background {
            let stopped = stop.clone();
            tasks.spawn(async move { background.run(stopped).await.unwrap() });
        }
        Self { feed, tasks, stop }
    }

    async fn beside(world: &World) -> Self {
        let bus = Arc::new(world.log.clone());
        Self::start(world, world.backend.open(bus, Settings::default()).await)
    }

    /// Ends it as an orderly stop does.
    pub async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }

    /// Ends it in the middle of whatever it does.
    async fn kill(mut self) {
        self.tasks.shutdown().await;
    }
}

pub async fn world() -> World {
    World::new(Backend::redis().await, Settings::default()).await
}

pub fn post(world: &World, n: u16) -> Post {
    Post::new(
        n.into(),
        i64::from(n % 5) + 1,
        &n.to_string(),
        world.clock.now(),
    )
}

/// Waits until the stream has these titles, in whatever order.
pub async fn shows(world: &World, wanted: &BTreeSet<String>) {
    let mut shown = Err(http::StatusCode::OK);
    let came = tokio::time::timeout(PATIENCE, async {
        loop {
            let page = world.get(1, STREAM).await;
            shown = match page.status.as_u16() {
                200 => Ok(BTreeSet::from_iter(texts(&page.json(), "title"))),
                _ => Err(page.status),
            };
            if shown.as_ref() == Ok(wanted) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let came = came.await.is_ok();
    assert!(came, "{shown:?} instead of {wanted:?}");
}

pub fn titles(numbers: impl IntoIterator<Item = u16>) -> BTreeSet<String> {
    numbers.into_iter().map(|n| n.to_string()).collect()
}

/// Reads like many readers at once; all must get the failure.
async fn all_are_refused(world: &World) {
    let mut readers = JoinSet::new();
    for _ in 0..100 {
        let app = world.app();
        readers.spawn(async move { app.get(NOBODY, STREAM).await });
    }
    let refused = tokio::time::timeout(PATIENCE, readers.join_all())
        .await
        .unwrap();
    for answer in refused {
        assert_eq!(answer.status, 503);
        assert_eq!(answer.headers["retry-after"], "1");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn while_redis_is_away_readers_are_told_when_to_come_back_and_nothing_is_lost() {
    let world = world().await;
    let process = Process::beside(&world).await;
    world.publish(&[post(&world, 1).message()]).await;
    shows(&world, &titles([1])).await;
    for is_hanging in [false, true] {
        let first = if is_hanging { 20 } else { 2 };
        let door = &world.backend.as_redis().door;
        if is_hanging {
            door.hold();
        } else {
            door.shut().await;
        }
        all_are_refused(&world).await;
        let messages: Vec<Message> = (first..first + 10)
            .map(|n| post(&world, n).message())
            .collect();
        world.publish(&messages).await;
        all_are_refused(&world).await;
        door.open().await;
        let up_to = first + 10;
        let all = if is_hanging {
            (1..12).chain(20..up_to).collect()
        } else {
            (1..up_to).collect::<Vec<_>>()
        };
        shows(&world, &titles(all)).await;
    }
    nothing_is_blocked(&process).await;
    process.stop().await;
    world.assert_mirror_is_true().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_redis_that_was_emptied_is_filled_again_although_nobody_writes() {
    let world = world().await;
    let processes = [Process::beside(&world).await, Process::beside(&world).await];
    let messages: Vec<Message> = (1..=40).map(|n| post(&world, n).message()).collect();
    world
        .publish(&[user_created(1, "anna", world.clock.now())])
        .await;
    world.publish(&messages).await;
    shows(&world, &titles(1..=40)).await;
    let before = world.page(STREAM).await;
    for _ in 0..3 {
        world.backend.as_redis().empty().await;
        shows(&world, &titles(1..=40)).await;
        // The names are on a topic of their own, perhaps of another process.
        tokio::time::timeout(PATIENCE, async {
            while world.page(STREAM).await != before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap();
    }
    for process in processes {
        process.stop().await;
    }
    world.assert_mirror_is_true().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn processes_share_the_partitions_and_may_be_killed_rebuilt_and_emptied_under_load() {
    let world = world().await;
    let mut processes = Vec::new();
    for _ in 0..3 {
        processes.push(Process::beside(&world).await);
    }
    let mut n = 0;
    for round in 0..12 {
        for _ in 0..5 {
            n += 1;
            let mut post = post(&world, n);
            let mut messages = vec![post.message()];
            if n % 4 == 0 {
                messages.push(post.deleted(world.clock.now()));
            } else if n % 3 == 0 {
                messages.insert(0, post.updated(&n.to_string(), world.clock.now()));
            }
            world.publish(&messages).await;
        }
        match round {
            3 | 9 => processes.remove(0).kill().await,
            4 | 10 => processes.push(Process::beside(&world).await),
            5 => processes[0].feed.rebuild().await.unwrap(),
            7 => empty(&world.backend.as_redis().prefix).await,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    let wanted = titles((1..=n).filter(|n| n % 4 != 0));
    shows(&world, &wanted).await;
    for process in processes {
        process.stop().await;
    }
    world.assert_mirror_is_true().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_redis_that_lost_its_last_writes_reads_on_from_there_although_nobody_writes() {
    let world = world().await;
    let process = Process::beside(&world).await;
    world
        .publish(&[post(&world, 1).message(), post(&world, 2).message()])
        .await;
    shows(&world, &titles([1, 2])).await;
    let redis = world.backend.as_redis();
    let copy = redis.copy().await;
    world
        .publish(&[post(&world, 3).message(), post(&world, 4).message()])
        .await;
    shows(&world, &titles(1..=4)).await;
    redis.bring_back(&copy).await;
    shows(&world, &titles(1..=4)).await;
    process.stop().await;
    world.assert_mirror_is_true().await;
}

/// Asks again: a connection that broke while nobody used it is noticed by its next user.
pub async fn nothing_is_blocked(process: &Process) {
    let asked = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Ok(blocked) = process.feed.consumer().store.blocked().await {
                return blocked;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    assert_eq!(asked.await.unwrap(), []);
}

/// Nothing is there, at the start: the processes begin nevertheless.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_redis_that_comes_late_is_waited_for() {
    let redis = TestRedis::new(Arc::new(blocks::SystemClock)).await;
    let world = World::new(Backend::Redis(redis), Settings::default()).await;
    let door = &world.backend.as_redis().door;
    door.shut().await;
    let process = Process::beside(&world).await;
    world.publish(&[post(&world, 1).message()]).await;
    all_are_refused(&world).await;
    door.open().await;
    shows(&world, &titles([1])).await;
    process.stop().await;
}
