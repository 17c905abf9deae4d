//! Locks and rates.

use std::num::NonZeroU32;
use std::time::Duration;

use cache::{Rate, op};
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

fn some(many: u32) -> NonZeroU32 {
    NonZeroU32::new(many).unwrap()
}

/// Four an hour.
fn slow() -> Rate {
    Rate {
        name: "slow",
        limit: some(4),
        period: Duration::from_hours(1),
    }
}

/// Two in a moment.
fn quick() -> Rate {
    Rate {
        name: "quick",
        limit: some(2),
        period: SHORT,
    }
}

/// So many at once, then one after the other, for each who asks.
pub async fn a_rate_is_given_back_evenly(store: &Store) {
    let (slow, quick) = (slow(), quick());
    let quarter = Duration::from_mins(15);
    let take = async |who, many| store.take(&slow, who, some(many)).await.unwrap();
    for remaining in [3, 2] {
        let taken = take("ada", 1).await;
        assert!(taken.allowed);
        assert_eq!((taken.rate, taken.remaining), (slow, remaining));
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
    store.take(&quick, "ada", some(2)).await.unwrap();
    until(async || store.take(&quick, "ada", some(2)).await.unwrap().allowed).await;
}

/// One by one, or all at once; never more than was taken.
pub async fn what_was_taken_at_a_rate_can_be_given_back(store: &Store) {
    let slow = slow();
    let take = async |who, many| store.take(&slow, who, some(many)).await.unwrap();
    let give_back = async |many| store.give_back(&slow, "ada", some(many)).await.unwrap();
    give_back(1).await;
    assert_eq!(take("ada", 4).await.remaining, 0);
    give_back(1).await;
    assert!(!take("ada", 2).await.allowed);
    assert_eq!(take("ada", 1).await.remaining, 0);
    give_back(9).await;
    assert_eq!(take("ada", 1).await.remaining, 3);
    assert!(!take("ada", 4).await.allowed, "no more than the limit");
    take("bob", 4).await;
    take("eve", 4).await;
    store.forgive(&slow, &["ada", "bob", "zoe"]).await.unwrap();
    assert_eq!(take("ada", 1).await.remaining, 3);
    assert_eq!(take("bob", 1).await.remaining, 3);
    assert!(!take("eve", 1).await.allowed);
    // As another store has it.
    let taken = take("bob", 1).await;
    let set = async |reset| store.set_taken(&slow, "eve", reset).await.unwrap();
    set(taken.reset).await;
    assert_eq!(take("eve", 1).await.remaining, 1);
    set(Duration::ZERO).await;
    assert_eq!(take("eve", 4).await.remaining, 0);
}

/// What was counted by the later clock is cut to the limit.
pub async fn a_rate_whose_clock_was_set_back_is_given_back_in_its_period(store: &Store) {
    for quick in [quick(), slow()] {
        // As a clock leaves it that was years ahead.
        let ahead = i64::MAX / 1000;
        let key = format!("rate:{}:ada", quick.name);
        store
            .run(op::set(&key, ahead.to_string(), None))
            .await
            .unwrap();
        let refused = store.take(&quick, "ada", some(1)).await.unwrap();
        assert!(!refused.allowed && refused.reset <= quick.period);
        assert!(refused.retry_after <= quick.period / quick.limit.get());
    }
    until(async || store.take(&quick(), "ada", some(2)).await.unwrap().allowed).await;
}
