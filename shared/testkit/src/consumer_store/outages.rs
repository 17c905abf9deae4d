//! Stores that lose their data, and logs that begin anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use blocks::consumer::{ApplyError, ConsumerStore};
use sql::FaultPoint;

use super::{Adapter, Bench, STEPS, numbered};
use crate::faults::Fails;

/// Told to forget, it forgets effects, versions and offsets together.
pub async fn a_store_that_was_reset_asks_to_be_read_from_the_start<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let other = bench.member().await;
    let records = bench.steps("a", 3);
    bench.store.apply(&records[..2]).await.unwrap();
    other.begin_at(STEPS.name, &[0]).await.unwrap();
    bench.store.reset(&[STEPS.name.to_owned()]).await.unwrap();
    assert_eq!(bench.adapter.ledger().await, BTreeMap::new());
    for member in [&bench.store, &other] {
        let moved = member.apply(&records[2..]).await;
        assert!(matches!(moved, Err(ApplyError::Moved)), "{moved:?}");
        assert!(asked_anew(member).await.is_empty());
    }
    bench.store.apply(&records).await.unwrap();
    assert_eq!(bench.adapter.ledger().await["a"], [1, 2, 3]);
}

/// Nobody tells the members: they find out when they write.
pub async fn a_store_that_was_emptied_while_in_use_is_filled_again<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let records = bench.steps("a", 6);
    bench.store.apply(&records[..2]).await.unwrap();
    if !bench.adapter.empty().await {
        return;
    }
    assert_eq!(bench.adapter.ledger().await, BTreeMap::new());
    let moved = bench.store.apply(&records[2..4]).await;
    assert!(matches!(moved, Err(ApplyError::Moved)), "{moved:?}");
    assert!(asked_anew(&bench.store).await.is_empty());
    bench.store.apply(&records[..4]).await.unwrap();
    bench.store.apply(&records[4..]).await.unwrap();
    assert_eq!(bench.adapter.ledger().await["a"], [1, 2, 3, 4, 5, 6]);
}

/// A member's new partitions say nothing about those that it reads already.
pub async fn a_store_that_was_emptied_is_noticed_also_by_who_is_given_another_partition<
    A: Adapter,
>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let records = bench.steps("a", 4);
    bench.store.begin_at(STEPS.name, &[0]).await.unwrap();
    bench.store.apply(&records[..2]).await.unwrap();
    if !bench.adapter.empty().await {
        return;
    }
    let given = bench.store.begin_at(STEPS.name, &[1]).await.unwrap();
    assert_eq!(given, BTreeMap::new());
    let moved = bench.store.apply(&records[2..]).await;
    assert!(matches!(moved, Err(ApplyError::Moved)), "{moved:?}");
    assert!(asked_anew(&bench.store).await.is_empty());
    bench.store.apply(&records).await.unwrap();
    assert_eq!(bench.adapter.ledger().await["a"], [1, 2, 3, 4]);
}

/// The offsets given to a member that starts over, as it does when its store moved.
async fn asked_anew(member: &Arc<dyn ConsumerStore>) -> BTreeMap<i32, i64> {
    member.starts_over();
    member.begin_at(STEPS.name, &[0]).await.unwrap()
}

/// An unreadable record has no version by which it would be skipped when its batch comes again.
pub async fn what_can_not_be_read_waits_once_wherever_its_batch_fails<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    // Stores of several steps fail after another one each time.
    for round in 1..=6 {
        let mut bad = bench.event("a", round);
        bad.headers.clear();
        let records = numbered(vec![bad, bench.event("a", round)], 2 * (round - 1));
        bench.adapter.inject(Fails::once(FaultPoint::BeforeCommit));
        let failed = bench.store.apply(&records).await;
        assert!(
            matches!(failed, Err(ApplyError::Unavailable(_))),
            "{failed:?}"
        );
        bench.store.apply(&records).await.unwrap();
        let blocked = bench.listed().await;
        assert_eq!(
            blocked.len(),
            usize::try_from(round).unwrap(),
            "{blocked:?}"
        );
        let seen: Vec<i64> = (1..=round).collect();
        assert_eq!(bench.adapter.ledger().await["a"], seen);
    }
}

/// A log that was lost, or restored from a copy, has other offsets: versions decide then.
pub async fn a_log_that_begins_anew_is_read_and_what_was_seen_before_has_no_second_effect<
    A: Adapter,
>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let records = numbered(bench.steps("a", 3), 50);
    bench.store.apply(&records).await.unwrap();
    let anew = numbered(vec![bench.event("a", 3), bench.event("a", 4)], 0);
    let applied = bench.store.apply(&anew).await.unwrap();
    assert_eq!((applied.skipped, applied.handled), (1, 1));
    assert_eq!(bench.adapter.ledger().await["a"], [1, 2, 3, 4]);
    let positions = bench.store.stored_positions(STEPS.name).await.unwrap();
    assert_eq!(positions[&0], 2);
}
