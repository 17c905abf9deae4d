//! The group's store, held against its contract.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use async_trait::async_trait;
use blocks::ManualClock;
use blocks::bus::Record;
use blocks::consumer::{ApplyError, ConsumerStore, HandlerError};
use blocks::error::BoxError;
use blocks::outbox::Outbox as _;
use events::{Envelope, Message, Topic};
use feed_generator::store::redis::args::Args;
use feed_generator::store::redis::group::{Effects, Group, GroupSettings};
use feed_generator::store::redis::link::Link;
use feed_generator::store::redis::outbox::GroupOutbox;
use redis::AsyncTypedCommands;
use sql::{FaultPoint, Faults};
use testkit::consumer_store::{Adapter, Bench, GROUP, Refusals, Stepped, numbered};
use testkit::faults::Fails;

use super::{connection, empty, server};

struct RedisLedger {
    clock: Arc<ManualClock>,
    link: Arc<Link>,
    prefix: String,
}

impl RedisLedger {
    fn new() -> Self {
        use blocks::Clock as _;
        Self {
            clock: Arc::default(),
            link: Arc::new(Link::new(&server()).unwrap()),
            prefix: format!("t:{}:", blocks::SystemClock.id()),
        }
    }
}

/// Notes each step in a list. It speaks before it refuses, so that a refusal has something to take back.
struct Notes(Arc<Refusals>);

#[async_trait]
impl Effects for Notes {
    fn script(&self) -> String {
        "function commands.note(i)
           redis.call('RPUSH', projection .. 'ledger:' .. ARGV[i], ARGV[i + 1])
           return i + 2
         end
         function commands.tear(i)
           for _, key in ipairs(redis.call('KEYS', projection .. 'ledger:*')) do
             redis.call('DEL', key)
           end
           return i
         end"
        .to_owned()
    }

    fn effect(&self, event: &Envelope, args: &mut Args) -> Result<(), HandlerError> {
        let Some(step) = event.open::<Stepped>() else {
            return Ok(());
        };
        let step = step?;
        args.push("note")
            .push(step.counter.as_str())
            .number(step.value);
        self.0.judge(&step)
    }

    async fn forget(&self, _topics: &[String]) -> Result<Args, BoxError> {
        let mut args = Args::default();
        args.push("tear");
        Ok(args)
    }
}

#[async_trait]
impl Adapter for RedisLedger {
    fn clock(&self) -> Arc<ManualClock> {
        Arc::clone(&self.clock)
    }

    async fn member(&self, topic: Topic, refusals: &Arc<Refusals>) -> Arc<dyn ConsumerStore> {
        let settings = GroupSettings {
            group: GROUP,
            topics: vec![topic],
            prefix: format!("{}group:", self.prefix),
            projection: self.prefix.clone(),
            clock: Arc::clone(&self.clock) as _,
        };
        let effects = Arc::new(Notes(Arc::clone(refusals)));
        Arc::new(Group::new(Arc::clone(&self.link), settings, effects))
    }

    async fn ledger(&self) -> BTreeMap<String, Vec<i64>> {
        let mut connection = connection().await;
        let prefix = format!("{}ledger:", self.prefix);
        let mut ledger = BTreeMap::new();
        let keys: Vec<String> = connection.keys(format!("{prefix}*")).await.unwrap();
        for key in keys {
            let steps: Vec<String> = connection.lrange(&key, 0, -1).await.unwrap();
            let steps = steps.iter().map(|step| step.parse().unwrap()).collect();
            ledger.insert(key.strip_prefix(&prefix).unwrap().to_owned(), steps);
        }
        ledger
    }

    async fn dead_letters(&self) -> Vec<Message> {
        let prefix = format!("{}group:", self.prefix);
        let dead_letters = GroupOutbox::new(Arc::clone(&self.link), GROUP, &prefix);
        let pending = dead_letters
            .pending(None, blocks::outbox::Place::START, 100)
            .await
            .unwrap();
        pending.into_iter().map(|pending| pending.message).collect()
    }

    fn inject(&self, faults: Arc<dyn Faults>) {
        self.link.inject(faults);
    }

    async fn empty(&self) -> bool {
        empty(&self.prefix).await;
        true
    }

    fn cases(&self) -> u32 {
        48
    }
}

testkit::consumer_store_contract!(
    #[ignore = "needs TEST_REDIS_URL"]
    async {
        RedisLedger::new()
    }
);

/// Another member that writes before the part of a batch with this number is sent, perhaps while the one
/// before is on its way.
struct Intruder {
    part: AtomicI32,
    writes: String,
}

impl Faults for Intruder {
    fn fails(&self, point: FaultPoint) -> bool {
        if point == FaultPoint::BeforeCommit && self.part.fetch_sub(1, Ordering::SeqCst) == 1 {
            let client = redis::Client::open(server()).unwrap();
            let mut connection = client.get_connection().unwrap();
            let () =
                redis::Commands::hset(&mut connection, &self.writes, "steps/0", "another").unwrap();
        }
        false
    }
}

const COUNTERS: i64 = 50;
const LAST: i64 = 70;

/// A batch of several writes. Some events come before those that they follow, in another part. One can't be
/// read, and so has no version by which it would be passed over.
fn several(bench: &Bench<RedisLedger>) -> Vec<Record> {
    let step = |at: i64| bench.event(&format!("c{}", at % COUNTERS), at / COUNTERS + 1);
    let mut records: Vec<_> = (0..COUNTERS * LAST).map(step).collect();
    records.swap(900, 1900);
    let mut bad = records[10].clone();
    bad.headers.clear();
    records.insert(10, bad);
    numbered(records, 0)
}

async fn assert_each_once_and_in_order(bench: &Bench<RedisLedger>, case: &str) {
    bench.settle().await;
    let all: Vec<i64> = (1..=LAST).collect();
    let ledger = bench.adapter.ledger().await;
    assert_eq!(ledger.len(), 50, "{case}");
    assert!(ledger.values().all(|steps| *steps == all), "{case}");
    let next = bench.store.stored_positions("steps").await.unwrap();
    let next: Vec<i64> = next.values().copied().collect();
    assert_eq!(next, [COUNTERS * LAST + 1], "{case}");
    assert_eq!(bench.adapter.dead_letters().await.len(), 1, "{case}");
    empty(&bench.adapter.prefix).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_batch_of_several_writes_has_each_effect_once_and_in_order_whichever_of_them_fails() {
    for (point, times) in [
        (FaultPoint::BeforeWrite, 3),
        (FaultPoint::BeforeCommit, 2),
        (FaultPoint::BeforeCommit, 4),
        (FaultPoint::AfterCommit, 1),
        (FaultPoint::AfterCommit, 3),
        (FaultPoint::AfterCommit, 100), // never
    ] {
        let bench = Bench::over(RedisLedger::new()).await;
        let records = several(&bench);
        bench.adapter.inject(Fails::after(times - 1, point));
        let mut failures = 0;
        while let Err(error) = bench.store.apply(&records).await {
            assert!(matches!(error, ApplyError::Unavailable(_)), "{error}");
            failures += 1;
        }
        assert_eq!(failures, i32::from(times < 100), "{point:?} {times}");
        assert_each_once_and_in_order(&bench, &format!("{point:?} {times}")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_REDIS_URL"]
async fn a_batch_of_several_writes_has_each_effect_once_whenever_others_write_between_them() {
    for part in 1..=5 {
        let bench = Bench::over(RedisLedger::new()).await;
        let intruder = Arc::new(Intruder {
            part: part.into(),
            writes: format!("{}group:writes", bench.adapter.prefix),
        });
        bench.adapter.inject(Arc::clone(&intruder) as _);
        let applied = bench.store.apply(&several(&bench)).await.unwrap();
        assert!(
            intruder.part.load(Ordering::SeqCst) <= 0,
            "part {part} did not come"
        );
        assert_eq!(applied.handled, 3500, "part {part}");
        assert_each_once_and_in_order(&bench, &format!("part {part}")).await;
    }
    let bench = Bench::over(RedisLedger::new()).await;
    let (records, other) = (several(&bench), bench.member().await);
    let (one, two) = tokio::join!(bench.store.apply(&records), other.apply(&records));
    assert_eq!(one.unwrap().handled + two.unwrap().handled, 3500);
    assert_each_once_and_in_order(&bench, "two members").await;
}
