//! Promises about effects: each version once and in order, whoever delivers it, however often.

use std::collections::{BTreeMap, BTreeSet};

use blocks::bus::Record;
use blocks::consumer::ApplyError;

use super::bench::for_each_plan;
use super::{Adapter, Bench, STEPS, numbered};

/// A batch closes a gap behind which more waits than one page holds, and brings one more.
pub async fn a_long_gap_that_closes_in_a_batch_with_later_versions_lets_all_of_it_go_on<
    A: Adapter,
>(
    open: impl AsyncFn() -> A,
) {
    const LAST: i64 = 450;
    let bench = Bench::over(open().await).await;
    let mut steps = bench.steps("a", LAST);
    // The second comes last, behind one that follows those which wait.
    let missing = steps.remove(1);
    steps.push(missing);
    let records = numbered(steps, 0);
    let (early, late) = records.split_at(records.len() - 2);
    bench.store.apply(early).await.unwrap();
    bench.store.apply(late).await.unwrap();
    bench.settle().await;
    let all: Vec<i64> = (1..=LAST).collect();
    assert_eq!(bench.adapter.ledger().await["a"], all);
    assert_eq!(bench.blocked().await, []);
}

/// Duplicates, swaps, gaps that close, batches cut anywhere, faults before and after each commit.
pub async fn every_version_takes_effect_once_and_in_order<A: Adapter>(open: impl AsyncFn() -> A) {
    for_each_plan(open, 0..1, async |bench, plan| {
        let records = plan.records(&bench);
        bench.deliver(&plan, &records).await;
        bench.settle().await;
        assert_eq!(bench.adapter.ledger().await, plan.expected());
        assert_eq!(bench.blocked().await, []);
        // All of it once more, from the start and as new records: nothing changes.
        bench.store.apply(&records).await.unwrap();
        let again = i64::try_from(records.len()).unwrap();
        let again = numbered(records, again);
        bench.store.apply(&again).await.unwrap();
        assert_eq!(bench.adapter.ledger().await, plan.expected());
    })
    .await;
}

/// With poison among it: its own key waits, the others go on, and a replay gives the state of a run
/// without it.
pub async fn poison_holds_back_its_own_key_only_and_a_replay_gives_the_state_without_it<
    A: Adapter,
>(
    open: impl AsyncFn() -> A,
) {
    for_each_plan(open, 1..5, async |bench, plan| {
        let records = plan.records(&bench);
        let held = bench.poison(&plan, &records);
        bench.deliver(&plan, &records).await;
        bench.settle().await;
        let mut until_poison = plan.expected();
        for (counter, value) in &held {
            let steps = until_poison.get_mut(counter).unwrap();
            steps.retain(|step| step < value);
        }
        until_poison.retain(|_, steps| !steps.is_empty());
        assert_eq!(bench.adapter.ledger().await, until_poison);
        let blocked: BTreeSet<String> = bench
            .blocked()
            .await
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(blocked, held.into_keys().collect());

        bench.refusals.cure();
        for blocked in bench.listed().await {
            assert!(bench.store.replay(blocked.id).await.unwrap());
        }
        bench.settle().await;
        assert_eq!(bench.adapter.ledger().await, plan.expected());
        assert_eq!(bench.blocked().await, []);
    })
    .await;
}

/// The missing version ends the wait in the very batch that brings it.
pub async fn a_gap_that_closes_lets_what_waited_behind_it_go_on_at_once<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let order = [1, 3, 4, 6, 2, 5];
    let records = order.map(|value| bench.event("a", value)).to_vec();
    let records = numbered(records, 0);
    bench.store.apply(&records[..2]).await.unwrap();
    let applied = bench.store.apply(&records[2..5]).await.unwrap();
    assert_eq!((applied.handled, applied.parked), (3, 2), "{applied:?}");
    assert_eq!(bench.adapter.ledger().await["a"], [1, 2, 3, 4]);
    assert_eq!(bench.store.pulse().await.unwrap().gaps, 1);
    bench.store.apply(&records[5..]).await.unwrap();
    assert_eq!(bench.adapter.ledger().await["a"], [1, 2, 3, 4, 5, 6]);
    assert_eq!(bench.store.pulse().await.unwrap().gaps, 0);
    assert_eq!(bench.blocked().await, []);
}

/// A rebalance may give a batch to a second member that the first one has written.
pub async fn two_members_that_were_given_the_same_records_write_them_once<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let other = bench.member().await;
    let records = bench.steps("a", 3);
    bench.store.apply(&records[..2]).await.unwrap();
    let applied = other.apply(&records).await.unwrap();
    assert_eq!((applied.skipped, applied.handled), (2, 1));
    let applied = bench.store.apply(&records[2..]).await.unwrap();
    assert_eq!((applied.skipped, applied.handled), (1, 0));
    assert_eq!(bench.adapter.ledger().await["a"], [1, 2, 3]);
}

/// Also when neither has written anything yet, and both write now.
pub async fn two_members_with_the_same_first_batch_at_once_write_it_once<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    for round in 0..20 {
        let mut records = bench.steps(&format!("k{round}"), 5);
        for record in &mut records {
            record.partition = round;
        }
        let (one, two) = (bench.member().await, bench.member().await);
        let (one, two) = tokio::join!(one.apply(&records), two.apply(&records));
        assert_eq!(one.unwrap().handled + two.unwrap().handled, 5);
        let ledger = bench.adapter.ledger().await;
        assert_eq!(ledger[&format!("k{round}")], [1, 2, 3, 4, 5]);
    }
}

/// Members that share the partitions do not hinder each other.
pub async fn members_of_different_partitions_write_beside_each_other<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    const LAST: i64 = 60;
    let bench = Bench::over(open().await).await;
    let apply_all = async |partition: i32| {
        let member = bench.member().await;
        let mut records: Vec<Record> = (1..=LAST)
            .flat_map(|value| {
                ["a", "b"].map(|key| bench.event(&format!("{key}{partition}"), value))
            })
            .collect();
        // Some wait for the one before them, over several batches.
        records.swap(3, 30);
        for record in &mut records {
            record.partition = partition;
        }
        for batch in numbered(records, 0).chunks(7) {
            member.apply(batch).await.unwrap();
        }
    };
    tokio::join!(apply_all(0), apply_all(1), apply_all(2));
    let keys =
        (0..3).flat_map(|partition| ["a", "b"].map(|key| (format!("{key}{partition}"), LAST)));
    let expected = super::complete(&keys.collect::<BTreeMap<_, _>>());
    assert_eq!(bench.adapter.ledger().await, expected);
    let positions = bench.store.stored_positions(STEPS.name).await.unwrap();
    assert_eq!(positions, (0..3).map(|of| (of, 2 * LAST)).collect());
}

/// Every member may try a due key; one applies it.
pub async fn two_members_that_retry_the_same_key_at_once_apply_it_once<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let other = bench.member().await;
    for round in 0..10 {
        let key = format!("k{round}");
        let refused = [(key.clone(), 2)];
        bench.refusals.poison.lock().rejected.extend(refused);
        let first = bench.store.stored_positions(STEPS.name).await.unwrap();
        let first = first.get(&0).copied().unwrap_or_default();
        let records = numbered(bench.steps(&key, 5), first);
        bench.store.apply(&records).await.unwrap();
        bench.refusals.cure();
        bench.advance(60_000);
        let (one, two) = tokio::join!(bench.store.retry_due(), other.retry_due());
        for tried in [one, two] {
            assert!(!matches!(tried, Err(ApplyError::Moved)), "{tried:?}");
        }
        bench.settle().await;
        assert_eq!(bench.adapter.ledger().await[&key], [1, 2, 3, 4, 5]);
        // The other one went on where this one's next batch begins: nothing of it moved.
        bench.store.starts_over();
    }
    assert_eq!(bench.blocked().await, []);
}
