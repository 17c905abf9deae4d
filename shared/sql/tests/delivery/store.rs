//! The consumer's store, held against random deliveries: duplicates, swaps, gaps that close, batches
//! cut anywhere, faults before and after each commit, poison, retries and replays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use blocks::ManualClock;
use blocks::bus::Record;
use blocks::consumer::{ApplyError, Consumer, GAP_LISTED_MS, Reason};
use blocks::error::chain;
use chrono::TimeDelta;
use events::{Context, Envelope, header};
use proptest::prelude::*;
use sql::{Db, FaultPoint, Faults, SqlConsumer};
use testkit::db::TestDb;

use crate::ledger::{self, COMPACTED, Ledger, MIGRATIONS, Poison, STEPS, Stepped};

/// A delivery as it is drawn.
#[derive(Debug, Clone)]
struct Plan {
    /// How many steps each counter takes.
    lengths: Vec<i64>,
    /// Where swaps, duplicates and cuts fall.
    shuffle: Vec<(usize, usize)>,
    duplicates: Vec<usize>,
    cuts: Vec<usize>,
    /// Which writes fail, and where.
    faults: Vec<Option<FaultPoint>>,
    /// Which events are poison, which are refused for a while.
    poison: Vec<(usize, bool)>,
    /// Before which batches the store is told to start again.
    rewinds: Vec<usize>,
}

fn fault() -> impl Strategy<Value = Option<FaultPoint>> {
    prop_oneof![
        5 => Just(None),
        1 => Just(Some(FaultPoint::BeforeWrite)),
        1 => Just(Some(FaultPoint::BeforeCommit)),
        1 => Just(Some(FaultPoint::AfterCommit)),
    ]
}

fn plan(poison: std::ops::Range<usize>) -> impl Strategy<Value = Plan> {
    (
        prop::collection::vec(1..12_i64, 1..6),
        prop::collection::vec((0..64_usize, 0..64_usize), 0..20),
        prop::collection::vec(0..64_usize, 0..20),
        prop::collection::vec(0..64_usize, 0..12),
        prop::collection::vec(fault(), 0..24),
        prop::collection::vec((0..64_usize, any::<bool>()), poison),
        prop::collection::vec(0..12_usize, 0..3),
    )
        .prop_map(
            |(lengths, shuffle, duplicates, cuts, faults, poison, rewinds)| Plan {
                lengths,
                shuffle,
                duplicates,
                cuts,
                faults,
                poison,
                rewinds,
            },
        )
}

/// Gives out one planned fault a write.
#[derive(Default)]
struct Script(Mutex<(Vec<Option<FaultPoint>>, Option<FaultPoint>)>);

impl Faults for Script {
    fn fails(&self, point: FaultPoint) -> bool {
        let mut script = self.0.lock().unwrap();
        if point == FaultPoint::BeforeWrite {
            script.1 = script.0.pop().flatten();
        }
        script.1 == Some(point)
    }
}

struct Bench {
    clock: Arc<ManualClock>,
    handler: Arc<Ledger>,
    consumer: Consumer,
    db: TestDb,
}

async fn bench() -> Bench {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::sqlite_at("ledger", MIGRATIONS, Arc::clone(&clock) as _).await;
    bench_on(db, clock)
}

async fn postgres_bench() -> Bench {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::postgres_at("ledger", MIGRATIONS, Arc::clone(&clock) as _).await;
    bench_on(db, clock)
}

fn bench_on(db: TestDb, clock: Arc<ManualClock>) -> Bench {
    let handler = Arc::new(Ledger::default());
    let consumer = consumer(&db.db, &handler);
    Bench {
        clock,
        handler,
        consumer,
        db,
    }
}

fn consumer(db: &Db, handler: &Arc<Ledger>) -> Consumer {
    SqlConsumer::new(db.clone(), "ledger", &[STEPS], Arc::clone(handler) as _).consumer()
}

impl Bench {
    fn event(&self, counter: &str, value: i64) -> Record {
        use blocks::Clock as _;
        let event = Stepped {
            counter: counter.to_owned(),
            value,
        };
        let (id, now) = (self.clock.id(), self.clock.now());
        let event = Envelope::new(id, "counter", now, value, Context::default(), &event).unwrap();
        let message = event.message();
        Record {
            topic: message.topic,
            partition: 0,
            offset: 0,
            key: Some(message.key),
            headers: message.headers,
            value: message.value,
            time: message.time,
        }
    }

    /// Everything that is due, however often it backs off.
    async fn settle(&self) {
        for _ in 0..40 {
            self.clock.advance(TimeDelta::milliseconds(GAP_LISTED_MS));
            while let Err(error) = self.consumer.store.retry_due().await {
                assert!(matches!(error, ApplyError::Unavailable(_)), "{error}");
            }
            let pulse = self.consumer.store.pulse().await.unwrap();
            if pulse.next_due.is_none() {
                return;
            }
        }
        panic!("something stays due for ever");
    }

    async fn blocked(&self) -> Vec<(String, Reason)> {
        self.clock.advance(TimeDelta::milliseconds(GAP_LISTED_MS));
        let blocked = self.consumer.store.blocked().await.unwrap();
        blocked
            .into_iter()
            .map(|blocked| (blocked.key, blocked.reason))
            .collect()
    }
}

/// The records of `plan`: each counter's steps, interleaved, with swaps and duplicates; every step
/// is among them at least once.
fn deliveries(bench: &Bench, plan: &Plan) -> Vec<Record> {
    let mut records = Vec::new();
    for value in 1..=plan.lengths.iter().copied().max().unwrap_or_default() {
        for (counter, length) in plan.lengths.iter().enumerate() {
            if value <= *length {
                records.push(bench.event(&format!("c{counter}"), value));
            }
        }
    }
    let count = records.len();
    for at in &plan.duplicates {
        records.push(records[at % count].clone());
    }
    let count = records.len();
    for (a, b) in &plan.shuffle {
        records.swap(a % count, b % count);
    }
    for (offset, record) in (0_i64..).zip(&mut records) {
        record.offset = offset;
    }
    records
}

fn poison(plan: &Plan, records: &[Record]) -> Poison {
    let mut poison = Poison::default();
    for (at, unreadable) in &plan.poison {
        let record = &records[at % records.len()];
        let event = Envelope::read(
            &record.topic,
            record.key.as_deref(),
            &record.headers,
            &record.value,
        )
        .unwrap();
        let of = if *unreadable {
            &mut poison.unreadable
        } else {
            &mut poison.rejected
        };
        of.insert((event.subject, event.sequence));
    }
    poison
}

/// Delivers as a bus would: from the store's position on, again after every failure.
async fn deliver(bench: &Bench, plan: &Plan, records: &[Record]) {
    let script = Arc::new(Script::default());
    script.0.lock().unwrap().0.clone_from(&plan.faults);
    bench.db.inject(Arc::clone(&script) as _);
    let mut cuts: Vec<usize> = plan
        .cuts
        .iter()
        .map(|cut| cut % (records.len() + 1))
        .collect();
    cuts.push(records.len());
    cuts.sort_unstable();
    let mut batch = 0;
    let mut at = 0;
    while at < records.len() {
        if plan.rewinds.contains(&batch) {
            let positions = bench.consumer.store.positions(STEPS.name).await.unwrap();
            at = usize::try_from(positions.get(&0).copied().unwrap_or_default()).unwrap();
        }
        batch += 1;
        let end = cuts
            .iter()
            .copied()
            .find(|cut| *cut > at)
            .unwrap_or(records.len());
        match bench.consumer.store.apply(&records[at..end]).await {
            Ok(_) => at = end,
            Err(ApplyError::Moved) => {
                let positions = bench.consumer.store.positions(STEPS.name).await.unwrap();
                at = usize::try_from(positions.get(&0).copied().unwrap_or_default()).unwrap();
            }
            Err(ApplyError::Unavailable(error)) => {
                assert!(batch < 1000, "it never gets through: {}", chain(&*error));
            }
        }
        if batch % 3 == 0 {
            // Time passes between batches, so that what backs off is tried in between.
            bench.clock.advance(TimeDelta::milliseconds(700));
            drop(bench.consumer.store.retry_due().await);
        }
    }
    *script.0.lock().unwrap() = (Vec::new(), None);
}

fn expected(plan: &Plan) -> BTreeMap<String, Vec<i64>> {
    let lengths = plan.lengths.iter().enumerate();
    ledger::complete(
        &lengths
            .map(|(at, length)| (format!("c{at}"), *length))
            .collect(),
    )
}

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test);
}

/// Every version takes effect once and in order.
async fn holds_order(bench: Bench, plan: Plan) {
    let records = deliveries(&bench, &plan);
    deliver(&bench, &plan, &records).await;
    bench.settle().await;
    assert_eq!(ledger::ledger(&bench.db).await, expected(&plan));
    assert_eq!(bench.blocked().await, []);
    // All of it once more, from the start and as new records: nothing changes.
    bench.consumer.store.apply(&records).await.unwrap();
    let mut again = records.clone();
    for (offset, record) in (records.len()..).zip(&mut again) {
        record.offset = i64::try_from(offset).unwrap();
    }
    bench.consumer.store.apply(&again).await.unwrap();
    assert_eq!(ledger::ledger(&bench.db).await, expected(&plan));
}

/// Poison holds back its own key only, and a replay gives the state of a run without it.
async fn keeps_poison_alone(bench: Bench, plan: Plan) {
    let records = deliveries(&bench, &plan);
    let poison = poison(&plan, &records);
    let mut held: BTreeMap<String, i64> = BTreeMap::new();
    for (counter, value) in poison.unreadable.iter().chain(&poison.rejected) {
        let first = held.entry(counter.clone()).or_insert(*value);
        *first = (*first).min(*value);
    }
    *bench.handler.poison.lock().unwrap() = poison;
    deliver(&bench, &plan, &records).await;
    bench.settle().await;
    let mut until_poison = expected(&plan);
    for (counter, value) in &held {
        until_poison
            .get_mut(counter)
            .unwrap()
            .retain(|step| step < value);
    }
    until_poison.retain(|_, steps| !steps.is_empty());
    assert_eq!(ledger::ledger(&bench.db).await, until_poison);
    let blocked: BTreeSet<String> = bench
        .blocked()
        .await
        .into_iter()
        .map(|(key, _)| key)
        .collect();
    assert_eq!(blocked, held.into_keys().collect());

    bench.handler.cure();
    for blocked in bench.consumer.store.blocked().await.unwrap() {
        assert!(bench.consumer.store.replay(blocked.id).await.unwrap());
    }
    bench.settle().await;
    assert_eq!(ledger::ledger(&bench.db).await, expected(&plan));
    assert_eq!(bench.blocked().await, []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_version_takes_effect_once_and_in_order(plan in plan(0..1)) {
        run(async { holds_order(bench().await, plan).await });
    }

    #[test]
    fn poison_holds_back_its_own_key_only_and_a_replay_gives_the_state_without_it(
        plan in plan(1..5)
    ) {
        run(async { keeps_poison_alone(bench().await, plan).await });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    #[ignore = "needs TEST_DATABASE_URL"]
    fn on_postgres_every_version_takes_effect_once_and_in_order(plan in plan(0..1)) {
        run(async { holds_order(postgres_bench().await, plan).await });
    }

    #[test]
    #[ignore = "needs TEST_DATABASE_URL"]
    fn on_postgres_poison_holds_back_its_own_key_only(plan in plan(1..5)) {
        run(async { keeps_poison_alone(postgres_bench().await, plan).await });
    }
}

#[tokio::test]
async fn a_discarded_event_is_gone_and_the_rest_of_its_key_goes_on() {
    let bench = bench().await;
    bench
        .handler
        .poison
        .lock()
        .unwrap()
        .unreadable
        .insert(("a".into(), 2));
    let mut records: Vec<Record> = (1..=4).map(|value| bench.event("a", value)).collect();
    for (offset, record) in (0_i64..).zip(&mut records) {
        record.offset = offset;
    }
    let applied = bench.consumer.store.apply(&records).await.unwrap();
    assert_eq!((applied.handled, applied.dead, applied.parked), (1, 1, 3));
    let blocked = bench.consumer.store.blocked().await.unwrap();
    assert_eq!((blocked[0].version, blocked[0].waiting), (Some(2), 3));
    assert_eq!(blocked[0].event_type.as_deref(), Some("counter.stepped"));
    assert_eq!(
        bench
            .consumer
            .store
            .waiting(blocked[0].id, 10)
            .await
            .unwrap(),
        records[1..]
    );

    assert!(bench.consumer.store.discard(blocked[0].id).await.unwrap());
    bench.settle().await;
    assert_eq!(ledger::ledger(&bench.db).await["a"], [1, 3, 4]);
    assert!(!bench.consumer.store.discard(blocked[0].id).await.unwrap());
}

#[tokio::test]
async fn a_missing_version_is_listed_after_a_while_and_an_operator_may_skip_it() {
    let bench = bench().await;
    let mut records = vec![
        bench.event("a", 1),
        bench.event("a", 3),
        bench.event("b", 1),
    ];
    for (offset, record) in (0_i64..).zip(&mut records) {
        record.offset = offset;
    }
    bench.consumer.store.apply(&records).await.unwrap();
    assert_eq!(bench.consumer.store.blocked().await.unwrap(), []);
    assert_eq!(bench.blocked().await, [("a".to_owned(), Reason::Gap)]);
    let id = bench.consumer.store.blocked().await.unwrap()[0].id;
    assert!(bench.consumer.store.discard(id).await.unwrap());
    bench.settle().await;
    assert_eq!(ledger::ledger(&bench.db).await["a"], [1, 3]);
}

#[tokio::test]
async fn a_key_that_lost_its_beginning_to_age_starts_at_what_is_left() {
    let bench = bench().await;
    let mut records = vec![bench.event("a", 7), bench.event("a", 8)];
    records[1].offset = 1;
    bench.consumer.store.apply(&records).await.unwrap();
    assert_eq!(
        ledger::ledger(&bench.db).await,
        BTreeMap::new(),
        "version 6 may still come"
    );
    bench.settle().await;
    bench
        .consumer
        .store
        .give_up_gaps(STEPS.name, &[1, 2])
        .await
        .unwrap();
    bench.settle().await;
    assert_eq!(
        ledger::ledger(&bench.db).await,
        BTreeMap::new(),
        "nothing left its partition"
    );
    bench
        .consumer
        .store
        .give_up_gaps(STEPS.name, &[0])
        .await
        .unwrap();
    bench.settle().await;
    assert_eq!(ledger::ledger(&bench.db).await["a"], [7, 8]);
    assert_eq!(bench.blocked().await, []);
}

#[tokio::test]
async fn a_record_that_is_no_event_lands_in_the_dead_letter_topic_and_stays_alone() {
    let bench = bench().await;
    let mut bad = bench.event("a", 1);
    bad.headers.retain(|(name, _)| name != header::SEQUENCE);
    bad.value = vec![0xff, 0x00];
    let mut good = bench.event("a", 1);
    good.offset = 1;
    let applied = bench
        .consumer
        .store
        .apply(&[bad.clone(), good])
        .await
        .unwrap();
    assert_eq!((applied.handled, applied.dead), (1, 1));
    assert_eq!(ledger::ledger(&bench.db).await["a"], [1]);

    let blocked = bench.consumer.store.blocked().await.unwrap();
    assert_eq!(blocked[0].reason, Reason::Poison);
    assert!(
        blocked[0].error.contains("ce_sequence"),
        "{}",
        blocked[0].error
    );
    let waiting = bench
        .consumer
        .store
        .waiting(blocked[0].id, 10)
        .await
        .unwrap();
    assert_eq!(waiting, [bad]);
    let letters = blocks::outbox::Outbox::pending(&bench.db.db, None, 0, 10)
        .await
        .unwrap();
    assert_eq!(letters[0].message.topic, "steps.dlq");
    assert_eq!(letters[0].message.value, [0xff, 0x00]);
    let headers: BTreeMap<_, _> = letters[0].message.headers.iter().cloned().collect();
    assert_eq!(headers[header::DLQ_ORIGIN], "steps/0/0");
    assert_eq!(headers[header::DLQ_GROUP], "ledger");
    assert_eq!(headers[header::DLQ_ATTEMPTS], "1");
    assert_eq!(headers[header::DLQ_REASON], "poison");

    // Replayed without a cure it is a dead letter again; discarded it is gone.
    assert!(bench.consumer.store.replay(blocked[0].id).await.unwrap());
    bench.settle().await;
    assert_eq!(bench.consumer.store.blocked().await.unwrap().len(), 1);
    assert!(bench.consumer.store.discard(blocked[0].id).await.unwrap());
    assert_eq!(bench.consumer.store.blocked().await.unwrap(), []);
}

#[tokio::test]
async fn a_store_that_was_emptied_asks_to_be_read_from_the_start() {
    let bench = bench().await;
    let mut records: Vec<Record> = (1..=3).map(|value| bench.event("a", value)).collect();
    for (offset, record) in (0_i64..).zip(&mut records) {
        record.offset = offset;
    }
    bench.consumer.store.apply(&records[..2]).await.unwrap();
    bench
        .consumer
        .store
        .reset(&[STEPS.name.to_owned()])
        .await
        .unwrap();
    let moved = bench.consumer.store.apply(&records[2..]).await;
    assert!(matches!(moved, Err(ApplyError::Moved)), "{moved:?}");
    assert!(
        bench
            .consumer
            .store
            .positions(STEPS.name)
            .await
            .unwrap()
            .is_empty()
    );
    bench.consumer.store.apply(&records).await.unwrap();
    assert_eq!(ledger::ledger(&bench.db).await["a"], [1, 2, 3]);
}

#[tokio::test]
async fn two_members_that_were_given_the_same_records_write_them_once() {
    let bench = bench().await;
    let other = consumer(&bench.db, &bench.handler);
    let mut records: Vec<Record> = (1..=3).map(|value| bench.event("a", value)).collect();
    for (offset, record) in (0_i64..).zip(&mut records) {
        record.offset = offset;
    }
    bench.consumer.store.apply(&records[..2]).await.unwrap();
    let applied = other.store.apply(&records).await.unwrap();
    assert_eq!((applied.skipped, applied.handled), (2, 1));
    let applied = bench.consumer.store.apply(&records[2..]).await.unwrap();
    assert_eq!((applied.skipped, applied.handled), (1, 0));
    assert_eq!(ledger::balances(&bench.db).await["a"], 3);
}

#[tokio::test]
async fn a_log_that_begins_anew_is_read_and_what_was_seen_before_has_no_second_effect() {
    let bench = bench().await;
    let mut records: Vec<Record> = (1..=3).map(|value| bench.event("a", value)).collect();
    for (offset, record) in (50_i64..).zip(&mut records) {
        record.offset = offset;
    }
    bench.consumer.store.apply(&records).await.unwrap();
    let mut anew = vec![bench.event("a", 3), bench.event("a", 4)];
    anew[1].offset = 1;
    let applied = bench.consumer.store.apply(&anew).await.unwrap();
    assert_eq!((applied.skipped, applied.handled), (1, 1));
    assert_eq!(ledger::ledger(&bench.db).await["a"], [1, 2, 3, 4]);
    let positions = bench.consumer.store.stored_positions(STEPS.name).await;
    assert_eq!(positions.unwrap()[&0], 2);
}

/// A gap in a key that is known waits for an operator, except where every event has the whole state.
#[tokio::test]
async fn a_hole_that_age_made_in_a_known_key_ends_by_itself_on_a_compacted_topic_only() {
    for (topic, expected) in [(STEPS, &[1][..]), (COMPACTED, &[1, 3])] {
        let clock = Arc::new(ManualClock::default());
        let db = testkit::db::sqlite_at("ledger", MIGRATIONS, Arc::clone(&clock) as _).await;
        let handler = Arc::new(Ledger::default());
        let consumer = SqlConsumer::new(db.db.clone(), "ledger", &[topic], handler).consumer();
        let bench = Bench {
            clock,
            handler: Arc::default(),
            consumer,
            db,
        };
        let mut records = vec![bench.event("a", 1), bench.event("a", 3)];
        records[1].offset = 1;
        bench.consumer.store.apply(&records).await.unwrap();
        bench.clock.advance(TimeDelta::milliseconds(GAP_LISTED_MS));
        bench
            .consumer
            .store
            .give_up_gaps(topic.name, &[0])
            .await
            .unwrap();
        bench.settle().await;
        assert_eq!(ledger::ledger(&bench.db).await["a"], expected);
    }
}

/// Panics over one event.
struct Panics(Ledger);

#[async_trait::async_trait]
impl sql::Handler for Panics {
    async fn handle(
        &self,
        tx: &mut sql::Tx,
        event: &Envelope,
    ) -> Result<(), blocks::consumer::HandlerError> {
        self.0.handle(tx, event).await?;
        assert!(event.subject != "bad", "a bug");
        Ok(())
    }
    async fn reset(&self, tx: &mut sql::Tx, topics: &[String]) -> Result<(), sql::StoreError> {
        self.0.reset(tx, topics).await
    }
}

#[tokio::test]
async fn a_handler_that_panics_holds_back_its_own_key_only() {
    let clock = Arc::new(ManualClock::default());
    let db = testkit::db::sqlite_at("ledger", MIGRATIONS, Arc::clone(&clock) as _).await;
    let handler = Arc::new(Panics(Ledger::default()));
    let consumer = SqlConsumer::new(db.db.clone(), "ledger", &[STEPS], handler).consumer();
    let bench = Bench {
        clock,
        handler: Arc::default(),
        consumer,
        db,
    };
    let mut records = vec![bench.event("bad", 1), bench.event("good", 1)];
    records[1].offset = 1;
    bench.consumer.store.apply(&records).await.unwrap();
    bench.settle().await;
    assert_eq!(
        ledger::ledger(&bench.db).await,
        BTreeMap::from([("good".to_owned(), vec![1])])
    );
    let blocked = bench.consumer.store.blocked().await.unwrap();
    assert_eq!(blocked[0].reason, Reason::Rejected);
    assert!(blocked[0].error.contains("a bug"), "{}", blocked[0].error);
}

async fn unreadable_text_stays_alone(bench: Bench) {
    let mut records: Vec<Record> = (1..=5).map(|value| bench.event("a", value)).collect();
    for (offset, record) in (0_i64..).zip(&mut records) {
        record.offset = offset;
    }
    let name = |record: &mut Record, name: &str| {
        for header in &mut record.headers {
            if header.0 == name {
                "a\0b".clone_into(&mut header.1);
            }
        }
    };
    name(&mut records[1], header::TYPE);
    name(&mut records[2], header::SUBJECT);
    records[3].key = Some("\0".to_owned());
    let mut good = bench.event("b", 1);
    good.offset = 5;
    records.push(good);
    let applied = bench.consumer.store.apply(&records).await.unwrap();
    assert_eq!((applied.handled, applied.dead), (2, 3));
    assert_eq!(ledger::ledger(&bench.db).await["b"], [1]);
    assert_eq!(bench.consumer.store.blocked().await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_nul_in_a_header_or_a_key_is_poison_and_no_outage() {
    unreadable_text_stays_alone(bench().await).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn on_postgres_a_nul_in_a_header_or_a_key_is_poison_and_no_outage() {
    unreadable_text_stays_alone(postgres_bench().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs TEST_DATABASE_URL"]
async fn on_postgres_two_members_with_the_same_first_batch_write_it_once() {
    let bench = postgres_bench().await;
    for round in 0..20 {
        let mut records: Vec<Record> = (1..=5)
            .map(|value| bench.event(&format!("k{round}"), value))
            .collect();
        for (offset, record) in (0_i64..).zip(&mut records) {
            record.offset = offset;
            record.partition = round;
        }
        let members = [
            consumer(&bench.db, &bench.handler),
            consumer(&bench.db, &bench.handler),
        ];
        let (one, two) = tokio::join!(
            members[0].store.apply(&records),
            members[1].store.apply(&records)
        );
        assert_eq!(one.unwrap().handled + two.unwrap().handled, 5);
        assert_eq!(
            ledger::ledger(&bench.db).await[&format!("k{round}")],
            [1, 2, 3, 4, 5]
        );
    }
}
