//! Calls to the outside are not repeated while their outcome is unknown, at whatever moment a caller dies.

use std::sync::Arc;

use blocks::ManualClock;
use chrono::TimeDelta;
use sql::claims::{self, Claim, Outcome};
use sql::{Db, FaultPoint, StoreError, execute};
use testkit::faults::Fails;

use crate::NOTES;

const LONGEST: TimeDelta = TimeDelta::seconds(30);

async fn claim(db: &Db) -> Result<Option<Claim>, StoreError> {
    db.write(|tx| Box::pin(claims::claim(tx, "mail-1"))).await
}

async fn settle(db: &Db, claim: &Claim, outcome: Outcome) -> Result<bool, StoreError> {
    let claim = claim.clone();
    db.write(move |tx| Box::pin(async move { claims::settle(tx, &claim, &outcome).await }))
        .await
}

async fn sweep(db: &Db) -> u64 {
    let swept: Result<u64, StoreError> = db.write(|tx| Box::pin(claims::sweep(tx, LONGEST))).await;
    swept.unwrap()
}

async fn uncertain(db: &Db) -> Vec<Claim> {
    let mut reader = db.read().await.unwrap();
    claims::uncertain(&mut reader, 10).await.unwrap()
}

/// Claims, calls and settles, as a service does; dies at the first failure.
async fn deliver(db: &Db, calls: &mut usize) -> Result<(), StoreError> {
    if let Some(claimed) = claim(db).await? {
        *calls += 1;
        settle(db, &claimed, Outcome::Done).await?;
    }
    Ok(())
}

/// Dies at each point of each write, and is started anew.
async fn nobody_calls_twice(clock: &ManualClock, db: &Db, write: usize, point: FaultPoint) {
    db.inject(Fails::after(write, point));
    let mut calls = 0;
    deliver(db, &mut calls).await.unwrap_err();
    // Neither at once nor after the sweep is a call made again that may have been made.
    deliver(db, &mut calls).await.unwrap();
    clock.advance(LONGEST);
    sweep(db).await;
    deliver(db, &mut calls).await.unwrap();
    let left = uncertain(db).await;
    let case = format!("{point:?} of write {write}: {calls} calls, {left:?}");
    match (write, point) {
        // The claim was not kept, and is made anew.
        (0, FaultPoint::BeforeWrite | FaultPoint::BeforeCommit) => {
            assert_eq!((calls, left.len()), (1, 0), "{case}");
        }
        // It was kept, and its maker died before it made the call.
        (0, FaultPoint::AfterCommit) => assert_eq!((calls, left.len()), (0, 1), "{case}"),
        // The call was made, and that is known or not.
        (_, FaultPoint::AfterCommit) => assert_eq!((calls, left.len()), (1, 0), "{case}"),
        (_, _) => assert_eq!((calls, left.len()), (1, 1), "{case}"),
    }
    for claim in left {
        assert!(settle(db, &claim, Outcome::Done).await.unwrap(), "{case}");
    }
    assert_eq!(uncertain(db).await, []);
    assert_eq!(claim(db).await.unwrap(), None);
}

async fn an_attempt_that_failed_is_made_again_when_it_is_time(clock: &ManualClock, db: &Db) {
    let first = claim(db).await.unwrap().unwrap();
    assert_eq!(claim(db).await.unwrap(), None);
    let later = db.settings().clock.now() + TimeDelta::seconds(5);
    assert!(
        settle(db, &first, Outcome::Retry(later, "busy".into()))
            .await
            .unwrap()
    );
    assert_eq!(claim(db).await.unwrap(), None);
    clock.advance(TimeDelta::seconds(5));
    let second = claim(db).await.unwrap().unwrap();
    assert_eq!((&*second.key, second.attempt), ("mail-1", 2));
    // A late result of the first attempt says nothing about the second.
    assert!(!settle(db, &first, Outcome::Done).await.unwrap());
    assert!(
        settle(db, &second, Outcome::Uncertain("no answer".into()))
            .await
            .unwrap()
    );
    assert_eq!(uncertain(db).await, std::slice::from_ref(&second));
    assert!(
        settle(db, &second, Outcome::Failed("unknown address".into()))
            .await
            .unwrap()
    );
    assert!(!settle(db, &second, Outcome::Done).await.unwrap());
    // It is forgotten in the end.
    clock.advance(claims::KEPT);
    assert_eq!(sweep(db).await, 0);
    assert_eq!(claim(db).await.unwrap().unwrap().attempt, 1);
}

/// Parks a key, or takes the block away.
async fn park(db: &Db, parked: bool) {
    let done: Result<(), StoreError> = db
        .write(move |tx| {
            Box::pin(async move {
                let now = tx.now();
                if parked {
                    execute!(tx,
                        "insert into parked_keys
                            (consumer_group, topic, key, partition, reason, error, attempts, since)
                         values ('notes', 't', 'k', 0, 'rejected', '', 5, $1)" => now)
                } else {
                    execute!(tx, "delete from parked_keys")
                }
            })
        })
        .await;
    done.unwrap();
}

async fn an_outcome_outlives_an_event_that_may_be_replayed(clock: &ManualClock, db: &Db) {
    park(db, true).await;
    let first = claim(db).await.unwrap().unwrap();
    assert!(settle(db, &first, Outcome::Done).await.unwrap());
    // The event that was parked before the call may be replayed, however late, and must not repeat it.
    clock.advance(claims::KEPT * 2);
    sweep(db).await;
    assert_eq!(claim(db).await.unwrap(), None);
    // One that is parked only now came after that call.
    park(db, false).await;
    park(db, true).await;
    sweep(db).await;
    let again = claim(db).await.unwrap().unwrap();
    assert!(settle(db, &again, Outcome::Done).await.unwrap());
    park(db, false).await;
    // Without one the outcome is remembered to the millisecond.
    clock.advance(claims::KEPT - TimeDelta::milliseconds(1));
    sweep(db).await;
    assert_eq!(claim(db).await.unwrap(), None);
    clock.advance(TimeDelta::milliseconds(1));
    sweep(db).await;
    assert!(claim(db).await.unwrap().is_some());
}

macro_rules! on_each {
    ($name:ident, $fresh:path $(, $ignored:literal)?) => {
        mod $name {
            use super::*;

            #[tokio::test]
            $(#[ignore = $ignored])?
            async fn nobody_calls_twice() {
                for write in [0, 1] {
                    for point in [FaultPoint::BeforeWrite, FaultPoint::BeforeCommit, FaultPoint::AfterCommit] {
                        let clock = Arc::new(ManualClock::default());
                        let db = $fresh("notes", NOTES, clock.clone()).await;
                        super::nobody_calls_twice(&clock, &db, write, point).await;
                    }
                }
            }

            #[tokio::test]
            $(#[ignore = $ignored])?
            async fn an_attempt_that_failed_is_made_again_when_it_is_time() {
                let clock = Arc::new(ManualClock::default());
                let db = $fresh("notes", NOTES, clock.clone()).await;
                super::an_attempt_that_failed_is_made_again_when_it_is_time(&clock, &db).await;
            }

            #[tokio::test]
            $(#[ignore = $ignored])?
            async fn an_outcome_outlives_an_event_that_may_be_replayed() {
                let clock = Arc::new(ManualClock::default());
                let db = $fresh("notes", NOTES, clock.clone()).await;
                super::an_outcome_outlives_an_event_that_may_be_replayed(&clock, &db).await;
            }
        }
    };
}
on_each!(sqlite, testkit::db::sqlite_at);
on_each!(
    postgres,
    testkit::db::postgres_at,
    "needs TEST_DATABASE_URL"
);
