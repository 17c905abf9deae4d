//! The whole way, from a write to its effect in another database. Meanwhile writes, commits, publishes and
//! the consumer's own writes fail at random, before and after they took place. Another relay publishes the
//! same events in another order, and the process begins anew.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use blocks::bus::{EventBus, TopicSpec};
use blocks::consumer::{ConsumerLoop, Reason, lag};
use blocks::metrics::Metrics;
use blocks::outbox::{Outbox, Place};
use blocks::relay::Relay;
use blocks::{Clock, SystemClock};
use chrono::TimeDelta;
use events::Message;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sql::log::TopicLog;
use sql::{Db, Durability, FaultPoint, Faults, Retry, Settings, SqlConsumer};
use testkit::bus::{FaultyBus, Publish};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::ledger::{self, Ledger, MIGRATIONS, STEPS};

const COUNTERS: u32 = 8;
const WORLDS: u64 = 10;
const LIVES: usize = 3;
const WRITES: usize = 60;

/// Fails one write in ten, at a random point, until it is told to stop.
struct Chaos {
    rng: Mutex<StdRng>,
    over: AtomicBool,
}

impl Chaos {
    fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            over: AtomicBool::new(false),
        })
    }

    fn strikes(&self, one_in: u32) -> bool {
        !self.over.load(Ordering::Relaxed) && self.rng.lock().random_ratio(1, one_in)
    }

    fn publish(&self, batch: &[Message]) -> Publish {
        if !self.strikes(4) {
            return Publish::Accept;
        }
        match self.rng.lock().random_range(0..3) {
            0 => Publish::FailBefore,
            1 => Publish::FailAfter,
            _ => Publish::FailAfterSome(batch.len() / 2),
        }
    }
}

impl Faults for Chaos {
    fn fails(&self, point: FaultPoint) -> bool {
        match point {
            FaultPoint::BeforeWrite | FaultPoint::BeforeCommit | FaultPoint::AfterCommit => {
                self.strikes(20)
            }
        }
    }
}

/// Everything of one process.
struct Life {
    counters: Db,
    ledger: Db,
    log: TopicLog,
    consumer: blocks::consumer::Consumer,
    handler: Arc<Ledger>,
    stop: CancellationToken,
    loops: JoinSet<anyhow::Result<()>>,
}

async fn open(folder: &Path, name: &'static str) -> Db {
    let settings = Settings::new(name, Arc::new(SystemClock));
    let path = folder.join(format!("{name}.db"));
    Db::open_sqlite(&path, Durability::Process, settings, MIGRATIONS)
        .await
        .unwrap()
}

impl Life {
    async fn begin(folder: &Path, chaos: &Arc<Chaos>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let path = folder.join("log.db");
        let log = TopicLog::open(&path, Durability::Process, Arc::clone(&clock))
            .await
            .unwrap();
        log.ensure_topics(&[TopicSpec::from(&STEPS), TopicSpec::dead_letters_of(&STEPS)])
            .await
            .unwrap();
        let (counters, ledger) = (open(folder, "counters").await, open(folder, "ledger").await);
        counters.inject(Arc::clone(chaos) as _);
        ledger.inject(Arc::clone(chaos) as _);
        let faults = Arc::clone(chaos);
        let bus: Arc<dyn EventBus> = Arc::new(FaultyBus::new(
            Arc::new(log.clone()),
            Arc::new(move |batch: &[Message]| faults.publish(batch)),
        ));
        let handler = Arc::new(Ledger::default());
        let retry = Retry {
            attempts: 3,
            first_pause: Duration::from_millis(5),
            longest_pause: Duration::from_millis(50),
        };
        let effects = Arc::clone(&handler) as _;
        let consumer =
            SqlConsumer::with_retry(ledger.clone(), "ledger", &[STEPS], effects, retry).consumer();
        let (stop, metrics) = (CancellationToken::new(), Metrics::new());
        let mut loops = JoinSet::new();
        for outbox in [&counters, &ledger] {
            let outbox: Arc<dyn Outbox> = Arc::new(outbox.clone());
            let relay = Relay::new(
                outbox,
                Arc::clone(&bus),
                Arc::clone(&clock),
                Arc::clone(&metrics),
            );
            loops.spawn(relay.run(stop.clone()));
        }
        loops.spawn(
            ConsumerLoop::new(consumer.clone(), Arc::clone(&bus), clock, &metrics)
                .run(stop.clone()),
        );
        Self {
            counters,
            ledger,
            log,
            consumer,
            handler,
            stop,
            loops,
        }
    }

    /// Another relay with the same outbox: it publishes pending events a second time, backwards.
    async fn other_relay(&self) {
        let tomorrow = SystemClock.now() + TimeDelta::days(1);
        let Ok(pending) = self
            .counters
            .pending(Some(tomorrow), Place::START, 20)
            .await
        else {
            return;
        };
        let batch: Vec<Message> = pending
            .into_iter()
            .rev()
            .map(|event| event.message)
            .collect();
        self.log.publish(&batch).await.unwrap();
    }

    /// Crashes: the memory is lost.
    async fn crash(mut self) {
        self.loops.abort_all();
        while self.loops.join_next().await.is_some() {}
        self.close().await;
    }

    async fn close(&self) {
        self.counters.close().await;
        self.ledger.close().await;
        self.log.close().await;
    }

    async fn quiet(&self) {
        for _ in 0..1500 {
            let depth = Outbox::depth(&self.counters).await.unwrap();
            let lag = lag(&self.log, &*self.consumer.store, STEPS.name)
                .await
                .unwrap();
            let due = self.consumer.store.pulse().await.unwrap().next_due;
            if depth.pending == 0 && lag == 0 && due.is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it does not come to rest");
    }
}

/// Writes until the life ends; gives the counters as they were acknowledged.
async fn write(life: &Life, seed: u64) -> Vec<(String, i64)> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut acknowledged = Vec::new();
    for at in 0..WRITES {
        let counter = format!("c{}", rng.random_range(0..COUNTERS));
        let refuse = rng.random_ratio(1, 8);
        if let Ok(value) = ledger::step(&life.counters, counter.clone(), refuse).await {
            assert!(!refuse);
            acknowledged.push((counter, value));
        }
        if at % 16 == 0 {
            life.other_relay().await;
        }
    }
    acknowledged
}

async fn world(seed: u64, poison: bool) {
    let folder = tempfile::tempdir().unwrap();
    let chaos = Chaos::new(seed);
    let mut acknowledged = Vec::new();
    for life_number in 0..LIVES {
        let life = Life::begin(folder.path(), &chaos).await;
        if poison {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut poison = life.handler.refusals.poison.lock();
            for _ in 0..4 {
                let key = (
                    format!("c{}", rng.random_range(0..COUNTERS)),
                    rng.random_range(1..12),
                );
                poison.unreadable.insert(key);
            }
        }
        let seed_of = |writer| seed * 100 + life_number as u64 * 10 + writer;
        let (one, two, three) = tokio::join!(
            write(&life, seed_of(0)),
            write(&life, seed_of(1)),
            write(&life, seed_of(2))
        );
        acknowledged.extend([one, two, three].into_iter().flatten());
        if life_number + 1 < LIVES {
            life.crash().await;
            continue;
        }
        chaos.over.store(true, Ordering::Relaxed);
        life.quiet().await;
        if poison {
            let blocked = life.consumer.store.blocked().await.unwrap();
            assert!(!blocked.is_empty() && blocked.iter().all(|b| b.reason == Reason::Poison));
            life.handler.refusals.cure();
            for key in blocked {
                life.consumer.store.replay(key.id).await.unwrap();
            }
            life.quiet().await;
        }
        let counters = ledger::counters(&life.counters).await;
        for (counter, value) in &acknowledged {
            assert!(
                counters[counter] >= *value,
                "seed {seed}: {counter} {value} was lost"
            );
        }
        let complete = ledger::complete(&counters);
        assert_eq!(ledger::ledger(&life.ledger).await, complete, "seed {seed}");
        assert_eq!(
            ledger::balances(&life.ledger).await,
            counters,
            "seed {seed}"
        );
        assert!(
            life.consumer.store.blocked().await.unwrap().is_empty(),
            "seed {seed}"
        );
        life.stop.cancel();
        let Life { mut loops, .. } = life;
        while let Some(ended) = loops.join_next().await {
            ended.unwrap().unwrap();
        }
    }
}

async fn worlds(poison: bool) {
    let mut worlds = JoinSet::new();
    for seed in 1..=WORLDS {
        worlds.spawn(world(seed, poison));
    }
    while let Some(ended) = worlds.join_next().await {
        ended.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_nothing_is_twice_and_every_key_is_in_order() {
    worlds(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_and_a_replay_give_the_state_of_a_run_without_poison() {
    worlds(true).await;
}
