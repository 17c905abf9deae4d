//! The write seam: all or nothing, whoever shares the commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use blocks::outbox::{Outbox, Place};
use events::posts::PostCreated;
use futures::future::join_all;
use sql::{Db, FaultPoint, StoreError};
use testkit::db::TestDb;
use testkit::faults::Fails;
use testkit::on_each_database;
use uuid::Uuid;

use crate::{NOTES, event, note, notes};

/// The answer of a write in the tests.
#[derive(Debug)]
enum Failed {
    OnPurpose,
    Store(StoreError),
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A note with its event and a hook, that then fails when it is told to.
async fn write(db: &Db, id: i64, fails: bool, hooks: &Arc<AtomicUsize>) -> Result<i64, Failed> {
    let hooks = Arc::clone(hooks);
    db.write(move |tx| {
        Box::pin(async move {
            note(tx, id).await?;
            tx.publish(&event(id), id + 1).await?;
            tx.after_commit(move || {
                hooks.fetch_add(1, Ordering::SeqCst);
            });
            if fails {
                Err(Failed::OnPurpose)
            } else {
                Ok(id)
            }
        })
    })
    .await
}

async fn pending(db: &Db) -> Vec<i64> {
    let soon = chrono::DateTime::from_timestamp_millis(4_102_444_800_000).unwrap();
    let pending = db.pending(Some(soon), Place::START, 1000).await.unwrap();
    pending
        .into_iter()
        .map(|pending| user_of(&pending))
        .collect()
}

fn user_of(pending: &blocks::outbox::Pending) -> i64 {
    let value: serde_json::Value = serde_json::from_slice(&pending.message.value).unwrap();
    value["data"]["user_id"].as_i64().unwrap()
}

on_each_database!(
    a_committed_write_is_seen_by_the_next_reader,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        for id in 0..10 {
            assert_eq!(write(&db, id, false, &hooks).await.unwrap(), id);
            assert_eq!(notes(&db).await.len(), usize::try_from(id).unwrap() + 1);
            assert_eq!(
                hooks.load(Ordering::SeqCst),
                usize::try_from(id).unwrap() + 1
            );
        }
        assert_eq!(pending(&db).await, (0..10).collect::<Vec<_>>());
    }
);

on_each_database!(
    a_write_that_fails_leaves_nothing,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        let mut handed_over = db.committed().unwrap();
        assert!(matches!(
            write(&db, 1, true, &hooks).await,
            Err(Failed::OnPurpose)
        ));
        assert_eq!(notes(&db).await, [] as [i64; 0]);
        assert_eq!(pending(&db).await, [] as [i64; 0]);
        assert_eq!(hooks.load(Ordering::SeqCst), 0);
        handed_over.try_recv().unwrap_err();
    }
);

on_each_database!(
    a_write_that_fails_does_not_touch_those_it_shares_a_commit_with,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        let mut handed_over = db.committed().unwrap();
        let writes = (0..90).map(|id| write(&db, id, id % 3 == 0, &hooks));
        for (id, outcome) in join_all(writes).await.into_iter().enumerate() {
            match outcome {
                Ok(_) => assert_ne!(id % 3, 0),
                Err(error) => assert!(
                    id % 3 == 0 && matches!(error, Failed::OnPurpose),
                    "{id}: {error:?}"
                ),
            }
        }
        let expected: Vec<i64> = (0..90).filter(|id| id % 3 != 0).collect();
        assert_eq!(notes(&db).await, expected);
        assert_eq!(hooks.load(Ordering::SeqCst), 60);
        let mut events = pending(&db).await;
        events.sort_unstable();
        assert_eq!(events, expected);
        let mut given = Vec::new();
        while let Ok(events) = handed_over.try_recv() {
            given.extend(events.iter().map(user_of));
        }
        given.sort_unstable();
        assert_eq!(given, expected);
    }
);

/// The actions of a write that is one of many in a commit.
#[derive(Debug, Clone, Copy)]
struct Deed {
    writes: bool,
    publishes: bool,
    fails: bool,
}

impl Deed {
    fn all() -> impl Iterator<Item = Self> {
        (0..8).map(|bits| Self {
            writes: bits & 1 != 0,
            publishes: bits & 2 != 0,
            fails: bits & 4 != 0,
        })
    }

    async fn run(self, db: &Db, id: i64) -> bool {
        let done = db.write(move |tx| {
            Box::pin(async move {
                if self.writes {
                    note(tx, id).await?;
                }
                if self.publishes {
                    tx.publish(&event(id), id + 1).await?;
                }
                if self.fails {
                    Err(Failed::OnPurpose)
                } else {
                    Ok(())
                }
            })
        });
        done.await.is_ok()
    }
}

on_each_database!(
    writes_of_every_kind_share_a_commit_in_any_order,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let pairs = Deed::all().flat_map(|one| Deed::all().map(move |other| [one, other]));
        let deeds: Vec<(i64, Deed)> = (0..).zip(pairs.flatten()).collect();
        // All in few commits, each pair in one, each deed alone.
        for (round, together) in (0..).zip([128, 2, 1]) {
            let first = round * 1000;
            for some in deeds.chunks(together) {
                let outcomes = some.iter().map(|(id, deed)| deed.run(&db, first + id));
                for (done, (_, deed)) in join_all(outcomes).await.into_iter().zip(some) {
                    assert_ne!(done, deed.fails, "{deed:?}");
                }
            }
        }
        let expected = |of: fn(&Deed) -> bool| -> Vec<i64> {
            let stand = deeds.iter().filter(|(_, deed)| !deed.fails && of(deed));
            let ids: Vec<i64> = stand.map(|(id, _)| *id).collect();
            let rounds = (0..3).map(|round| round * 1000);
            rounds
                .flat_map(|first| ids.iter().map(move |id| first + id))
                .collect()
        };
        assert_eq!(notes(&db).await, expected(|deed| deed.writes));
        let mut events = pending(&db).await;
        events.sort_unstable();
        assert_eq!(events, expected(|deed| deed.publishes));
    }
);

on_each_database!(
    a_refused_statement_undoes_its_own_write_only,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        let writes = [1, 2, 1, 3, 2].map(|id| write(&db, id, false, &hooks));
        let refused = join_all(writes).await.into_iter().filter_map(Result::err);
        for error in refused.collect::<Vec<_>>() {
            assert!(
                matches!(error, Failed::Store(StoreError::Rejected(_))),
                "{error:?}"
            );
        }
        assert_eq!(notes(&db).await, [1, 2, 3]);
        assert_eq!(pending(&db).await.len(), 3);
        assert_eq!(hooks.load(Ordering::SeqCst), 3);
    }
);

on_each_database!(
    a_second_row_with_a_unique_value_is_told_by_its_column,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        write(&db, 1, false, &hooks).await.unwrap();
        let error = db
        .write(|tx| Box::pin(async move {
            sql::on!(tx, conn => sqlx::query("insert into notes (id, text) values (2, 'note 1')")
                .execute(&mut *conn)
                .await
                .map(|_| ()))
        }))
        .await
        .unwrap_err();
        assert!(error.is_unique("notes", "text"), "{error:?}");
        assert!(!error.is_unique("notes", "id") && !error.is_unique("users", "text"));
    }
);

on_each_database!(
    a_panic_fails_its_own_write_only,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        let panics = db.write::<(), StoreError, _>(|tx| {
            Box::pin(async move {
                note(tx, 100).await?;
                panic!("on purpose")
            })
        });
        let (before, panicked, after) = futures::join!(
            write(&db, 1, false, &hooks),
            panics,
            write(&db, 2, false, &hooks)
        );
        before.unwrap();
        after.unwrap();
        assert!(
            matches!(panicked, Err(StoreError::Panicked)),
            "{panicked:?}"
        );
        assert_eq!(notes(&db).await, [1, 2]);
        write(&db, 3, false, &hooks).await.unwrap();
        assert_eq!(notes(&db).await, [1, 2, 3]);
    }
);

on_each_database!(
    a_write_goes_on_when_its_caller_stops_waiting,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let done = Arc::new(tokio::sync::Notify::new());
        let ring = Arc::clone(&done);
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let write = db.write::<(), StoreError, _>(move |tx| {
            Box::pin(async move {
                wait.await.unwrap();
                note(tx, 1).await?;
                tx.after_commit(move || ring.notify_one());
                Ok(())
            })
        });
        // Polled once, so that it was let in, and dropped.
        assert!(futures::FutureExt::now_or_never(write).is_none());
        go.send(()).unwrap();
        tokio::time::timeout(testkit::bus::PATIENCE, done.notified())
            .await
            .unwrap();
        assert_eq!(notes(&db).await, [1]);
    }
);

on_each_database!(
    an_event_too_large_for_a_topic_undoes_its_write,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let written = db.write::<(), StoreError, _>(|tx| {
            Box::pin(async move {
                note(tx, 1).await?;
                let event = PostCreated {
                    post_id: Uuid::from_u128(1),
                    user_id: 1,
                    username: String::new(),
                    title: String::new(),
                    content: "x".repeat(sql::MAX_EVENT_BYTES),
                    tags: vec![],
                    created_at: tx.now(),
                };
                tx.publish(&event, 1).await
            })
        });
        let error = written.await.unwrap_err();
        assert!(
            matches!(error, StoreError::EventTooLarge { .. }),
            "{error:?}"
        );
        assert_eq!(notes(&db).await, [] as [i64; 0]);
        assert_eq!(db.depth().await.unwrap().pending, 0);
    }
);

on_each_database!(
    a_failure_up_to_the_commit_leaves_nothing,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        let mut handed_over = db.committed().unwrap();
        for point in [FaultPoint::BeforeWrite, FaultPoint::BeforeCommit] {
            db.inject(Fails::once(point));
            let error = write(&db, 1, false, &hooks).await.unwrap_err();
            assert!(
                matches!(error, Failed::Store(StoreError::Unavailable(_))),
                "{error:?}"
            );
            assert_eq!(notes(&db).await, [] as [i64; 0]);
            assert_eq!(db.depth().await.unwrap().pending, 0);
            assert_eq!(hooks.load(Ordering::SeqCst), 0);
            handed_over.try_recv().unwrap_err();
        }
        write(&db, 1, false, &hooks).await.unwrap();
        assert_eq!(notes(&db).await, [1]);
        assert_eq!(handed_over.try_recv().unwrap().len(), 1);
    }
);

on_each_database!(
    a_failure_after_the_commit_leaves_the_event_to_the_sweeper,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        let mut handed_over = db.committed().unwrap();
        db.inject(Fails::once(FaultPoint::AfterCommit));
        write(&db, 1, false, &hooks).await.unwrap_err();
        assert_eq!(notes(&db).await, [1]);
        assert_eq!(pending(&db).await, [1]);
        assert_eq!(hooks.load(Ordering::SeqCst), 0);
        handed_over.try_recv().unwrap_err();
        write(&db, 2, false, &hooks).await.unwrap();
        assert_eq!(pending(&db).await, [1, 2]);
        assert_eq!(user_of(&handed_over.try_recv().unwrap()[0]), 2);
    }
);

on_each_database!(
    a_failed_commit_fails_all_who_shared_it,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        db.inject(Fails::once(FaultPoint::BeforeCommit));
        let outcomes = join_all((0..20).map(|id| write(&db, id, false, &hooks))).await;
        let there: Vec<i64> = outcomes.into_iter().filter_map(Result::ok).collect();
        assert!(there.len() < 20);
        assert_eq!(notes(&db).await, there);
        assert_eq!(hooks.load(Ordering::SeqCst), there.len());
        assert_eq!(
            db.depth().await.unwrap().pending,
            i64::try_from(there.len()).unwrap()
        );
    }
);

on_each_database!(
    a_closed_database_says_that_it_is_unavailable,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let hooks = Arc::default();
        write(&db, 1, false, &hooks).await.unwrap();
        db.close().await;
        let error = write(&db, 2, false, &hooks).await.unwrap_err();
        assert!(
            matches!(error, Failed::Store(StoreError::Unavailable(_))),
            "{error:?}"
        );
        let error = db.read().await.err().unwrap();
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
    }
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_were_let_in_are_done_before_a_database_closes() {
    let db = testkit::db::sqlite("notes", NOTES).await;
    let hooks = Arc::default();
    let started = AtomicBool::new(false);
    let writes = join_all((0..50).map(|id| write(&db, id, false, &hooks)));
    let close = async {
        started.store(true, Ordering::SeqCst);
        db.close().await;
    };
    let (outcomes, ()) = futures::join!(writes, close);
    assert!(started.load(Ordering::SeqCst));
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(hooks.load(Ordering::SeqCst), 50);
}
