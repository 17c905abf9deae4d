//! Locks and rates.

use std::num::NonZeroU32;
use std::time::Duration;

use cache::Rate;
use tokio::task::JoinSet;

use super::{LONG, SHORT, Store, until};

/// Of many who want it one gets it; only the holder gives it back.
pub async fn a_lock_has_one_holder_and_each_a_higher_token(store: &Store) {
    let mut wanting = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        wanting.spawn(async move { store.lock("door", LONG).await.unwrap() });
    }
    let mut got: Vec<_> = wanting.join_all().await.into_iter().flatten().collect();
    assert_eq!(got.len(), 1);
    let first = got.remove(0);
    assert!(store.lock("window", LONG).await.unwrap().is_some());
    assert!(first.extend(LONG).await.unwrap());
    let token = first.token();
    assert!(first.release().await.unwrap());
    let second = store.lock("door", LONG).await.unwrap().unwrap();
    assert!(second.token() > token);
    let later = store.lock_within("door", LONG, SHORT).await.unwrap();
    assert!(later.is_none());
}

/// Its holder is told when it asks.
pub async fn a_lock_that_ended_or_was_dropped_is_somebody_elses(store: &Store) {
    let first = store.lock("door", SHORT).await.unwrap().unwrap();
    let second = store
        .lock_within("door", LONG, LONG)
        .await
        .unwrap()
        .unwrap();
    assert!(second.token() > first.token());
    assert!(!first.extend(LONG).await.unwrap());
    assert!(!first.release().await.unwrap());
    assert!(
        second.extend(LONG).await.unwrap(),
        "the first one did not take it away"
    );
    let token = second.token();
    drop(second);
    let third = store
        .lock_within("door", LONG, LONG / 2)
        .await
        .unwrap()
        .unwrap();
    assert!(third.token() > token);
}

/// So many at once, then one after the other, for each who asks.
pub async fn a_rate_is_given_back_evenly(store: &Store) {
    let some = |many| NonZeroU32::new(many).unwrap();
    let slow = Rate {
        name: "slow",
        limit: some(4),
        period: Duration::from_hours(1),
    };
    let quarter = Duration::from_mins(15);
    let take = async |who, many| store.take(&slow, who, some(many)).await.unwrap();
    for remaining in [3, 2] {
        let taken = take("ada", 1).await;
        assert!(taken.allowed);
        assert_eq!((taken.limit, taken.remaining), (4, remaining));
        assert_eq!(taken.retry_after, Duration::ZERO);
    }
    let refused = take("ada", 3).await;
    assert!(!refused.allowed);
    assert_eq!(refused.remaining, 2, "what is refused takes nothing");
    assert!(refused.retry_after <= quarter && refused.retry_after > quarter / 2);
    let taken = take("ada", 2).await;
    assert!(taken.allowed);
    assert_eq!(taken.remaining, 0);
    assert!(taken.reset <= slow.period && taken.reset > quarter * 3);
    let refused = take("ada", 1).await;
    assert!(!refused.allowed);
    assert!(refused.retry_after <= quarter && refused.retry_after > quarter / 2);
    assert!(!take("eve", 5).await.allowed);
    assert_eq!(take("eve", 4).await.remaining, 0);
    let quick = Rate {
        name: "quick",
        limit: some(2),
        period: SHORT,
    };
    store.take(&quick, "ada", some(2)).await.unwrap();
    until(async || store.take(&quick, "ada", some(2)).await.unwrap().allowed).await;
}
