//! A store with the group under test in it, and random deliveries to it.

use std::collections::BTreeMap;
use std::sync::Arc;

use blocks::bus::Record;
use blocks::consumer::{ApplyError, Blocked, ConsumerStore, GAP_LISTED_MS, Reason};
use blocks::error::chain;
use blocks::{Clock as _, ManualClock};
use chrono::TimeDelta;
use events::{Context, Envelope, Topic};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use sql::{FaultPoint, Faults};

use super::{Adapter, Poison, Refusals, STEPS, Stepped, complete};

/// A store and one member of its group.
pub struct Bench<A> {
    /// The store.
    pub adapter: A,
    /// The steps that the handlers of all members refuse.
    pub refusals: Arc<Refusals>,
    /// The member.
    pub store: Arc<dyn ConsumerStore>,
    clock: Arc<ManualClock>,
}

impl<A: Adapter> Bench<A> {
    /// A member of [`STEPS`].
    pub async fn over(adapter: A) -> Self {
        Self::reading(adapter, STEPS).await
    }

    /// A member of `topic`.
    pub async fn reading(adapter: A, topic: Topic) -> Self {
        let refusals = Arc::new(Refusals::default());
        let store = adapter.member(topic, &refusals).await;
        let clock = adapter.clock();
        Self {
            adapter,
            refusals,
            store,
            clock,
        }
    }

    /// Another member of the same group.
    pub async fn member(&self) -> Arc<dyn ConsumerStore> {
        self.adapter.member(STEPS, &self.refusals).await
    }

    /// Version `value` of `counter`, at offset 0 of partition 0.
    pub fn event(&self, counter: &str, value: i64) -> Record {
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

    /// Versions 1 to `last` of `counter` at offsets from 0.
    pub fn steps(&self, counter: &str, last: i64) -> Vec<Record> {
        numbered(
            (1..=last).map(|value| self.event(counter, value)).collect(),
            0,
        )
    }

    /// Lets `ms` milliseconds pass.
    pub fn advance(&self, ms: i64) {
        self.clock.advance(TimeDelta::milliseconds(ms));
    }

    /// Tries everything that is due, however often it backs off.
    pub async fn settle(&self) {
        for _ in 0..40 {
            self.advance(GAP_LISTED_MS);
            while let Err(error) = self.store.retry_due().await {
                assert!(matches!(error, ApplyError::Unavailable(_)), "{error}");
            }
            if self.store.pulse().await.unwrap().next_due.is_none() {
                return;
            }
        }
        panic!("something stays due for ever");
    }

    /// The keys that an operator is shown, after a time that is long enough for gaps.
    pub async fn blocked(&self) -> Vec<(String, Reason)> {
        self.advance(GAP_LISTED_MS);
        let blocked = self.listed().await.into_iter();
        blocked
            .map(|blocked| (blocked.key, blocked.reason))
            .collect()
    }

    /// The keys that an operator is shown now.
    pub async fn listed(&self) -> Vec<Blocked> {
        self.store.blocked().await.unwrap()
    }

    /// The group's offset in partition 0, asked as a bus asks.
    async fn position(&self) -> usize {
        self.store.starts_over();
        let positions = self.store.begin_at(STEPS.name, &[0]).await.unwrap();
        usize::try_from(positions.get(&0).copied().unwrap_or_default()).unwrap()
    }

    /// Refuses some of `records`, as `plan` says.
    pub(super) fn poison(&self, plan: &Plan, records: &[Record]) -> BTreeMap<String, i64> {
        let mut poison = Poison::default();
        for (at, unreadable) in &plan.poison {
            let record = &records[at % records.len()];
            let event = read(record);
            let of = if *unreadable {
                &mut poison.unreadable
            } else {
                &mut poison.rejected
            };
            of.insert((event.subject, event.sequence));
        }
        let mut held: BTreeMap<String, i64> = BTreeMap::new();
        for (counter, value) in poison.unreadable.iter().chain(&poison.rejected) {
            let first = held.entry(counter.clone()).or_insert(*value);
            *first = (*first).min(*value);
        }
        *self.refusals.poison.lock() = poison;
        held
    }

    /// Delivers as a bus would: from the store's offset on, again after every failure.
    pub(super) async fn deliver(&self, plan: &Plan, records: &[Record]) {
        let script = Arc::new(Script::default());
        script.0.lock().0.clone_from(&plan.faults);
        self.adapter.inject(Arc::clone(&script) as _);
        let cuts = plan.cuts.iter().map(|cut| cut % (records.len() + 1));
        let mut cuts: Vec<usize> = cuts.chain([records.len()]).collect();
        cuts.sort_unstable();
        let (mut batch, mut at) = (0, 0);
        while at < records.len() {
            if plan.rewinds.contains(&batch) {
                at = self.position().await;
            }
            batch += 1;
            let end = cuts.iter().copied().find(|cut| *cut > at);
            let end = end.unwrap_or(records.len());
            match self.store.apply(&records[at..end]).await {
                Ok(_) => at = end,
                Err(ApplyError::Moved) => at = self.position().await,
                Err(ApplyError::Unavailable(error)) => {
                    assert!(batch < 1000, "it never gets through: {}", chain(&*error));
                }
            }
            if batch % 3 == 0 {
                // Time passes between batches, so that back-offs end in between.
                self.advance(700);
                drop(self.store.retry_due().await);
            }
        }
        *script.0.lock() = (Vec::new(), None);
    }
}

/// The records with offsets from `first` on.
pub fn numbered(mut records: Vec<Record>, first: i64) -> Vec<Record> {
    for (offset, record) in (first..).zip(&mut records) {
        record.offset = offset;
    }
    records
}

fn read(record: &Record) -> Envelope {
    Envelope::read(
        &record.topic,
        record.key.as_deref(),
        &record.headers,
        &record.value,
    )
    .unwrap()
}

/// A random delivery.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// Number of steps of each counter.
    lengths: Vec<i64>,
    /// Places of swaps, duplicates and cuts.
    shuffle: Vec<(usize, usize)>,
    duplicates: Vec<usize>,
    cuts: Vec<usize>,
    /// The failures of the writes, by their number.
    faults: Vec<Option<FaultPoint>>,
    /// Poisonous events (true), and events refused for a while.
    poison: Vec<(usize, bool)>,
    /// Batches before which the store is told to start again.
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

/// Deliveries with this many poisonous events.
fn plans(poison: std::ops::Range<usize>) -> impl Strategy<Value = Plan> {
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

/// Holds `test` against random deliveries, each to a store of its own.
pub(super) async fn for_each_plan<A: Adapter>(
    open: impl AsyncFn() -> A,
    poison: std::ops::Range<usize>,
    test: impl AsyncFn(Bench<A>, Plan),
) {
    let config = ProptestConfig {
        cases: open().await.cases(),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let now = tokio::runtime::Handle::current();
    tokio::task::block_in_place(|| {
        let tested = TestRunner::new(config).run(&plans(poison), |plan| {
            now.block_on(async { test(Bench::over(open().await).await, plan).await });
            Ok(())
        });
        if let Err(error) = tested {
            panic!("{error}");
        }
    });
}

impl Plan {
    /// Each counter's steps, interleaved, with swaps and duplicates; every step is among them at least
    /// once.
    pub(super) fn records<A: Adapter>(&self, bench: &Bench<A>) -> Vec<Record> {
        let mut records = Vec::new();
        for value in 1..=self.lengths.iter().copied().max().unwrap_or_default() {
            for (counter, length) in self.lengths.iter().enumerate() {
                if value <= *length {
                    records.push(bench.event(&format!("c{counter}"), value));
                }
            }
        }
        let count = records.len();
        for at in &self.duplicates {
            records.push(records[at % count].clone());
        }
        let count = records.len();
        for (a, b) in &self.shuffle {
            records.swap(a % count, b % count);
        }
        numbered(records, 0)
    }

    /// The ledger when all of it was delivered.
    pub(super) fn expected(&self) -> BTreeMap<String, Vec<i64>> {
        let lengths = self.lengths.iter().enumerate();
        complete(
            &lengths
                .map(|(at, length)| (format!("c{at}"), *length))
                .collect(),
        )
    }
}

/// Gives out one planned fault a write.
#[derive(Default)]
struct Script(Mutex<(Vec<Option<FaultPoint>>, Option<FaultPoint>)>);

impl Faults for Script {
    fn fails(&self, point: FaultPoint) -> bool {
        let mut script = self.0.lock();
        if point == FaultPoint::BeforeWrite {
            script.1 = script.0.pop().flatten();
        }
        script.1 == Some(point)
    }
}
