//! Stores that lose what they keep, and logs that begin anew.

use std::collections::BTreeMap;

use blocks::consumer::ApplyError;

use super::{Adapter, Bench, STEPS, numbered};

/// Told to forget, it forgets effect, versions and positions together.
pub async fn a_store_that_was_reset_asks_to_be_read_from_the_start<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let other = bench.member().await;
    let records = bench.steps("a", 3);
    bench.store.apply(&records[..2]).await.unwrap();
    other.positions(STEPS.name).await.unwrap();
    bench.store.reset(&[STEPS.name.to_owned()]).await.unwrap();
    assert_eq!(bench.adapter.ledger().await, BTreeMap::new());
    for member in [&bench.store, &other] {
        let moved = member.apply(&records[2..]).await;
        assert!(matches!(moved, Err(ApplyError::Moved)), "{moved:?}");
        assert!(member.positions(STEPS.name).await.unwrap().is_empty());
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
    assert!(bench.store.positions(STEPS.name).await.unwrap().is_empty());
    bench.store.apply(&records[..4]).await.unwrap();
    bench.store.apply(&records[4..]).await.unwrap();
    assert_eq!(bench.adapter.ledger().await["a"], [1, 2, 3, 4, 5, 6]);
}

/// A log that was lost, or brought back from a copy, has other offsets: versions decide then.
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
