//! The outbox: committed events wait there until they are published.

use std::io;
use std::sync::Arc;

use blocks::outbox::{Outbox, Place, Published, ensure_drained};
use blocks::{Clock, SystemClock, context};
use chrono::{DateTime, TimeDelta, Utc};
use events::posts::PostDeleted;
use events::{Context, Traceparent, header};
use futures::future::join_all;
use parking_lot::Mutex;
use sql::{Db, FaultPoint, Settings, StoreError};
use testkit::db::{TestDb, postgres_with, sqlite_with};
use testkit::faults::Fails;
use testkit::on_each_database;
use uuid::Uuid;

use crate::{NOTES, event, note};

async fn publish(db: &Db, id: i64) {
    let written = db.write::<_, StoreError, _>(move |tx| {
        Box::pin(async move {
            note(tx, id).await?;
            tx.publish(&event(id), id).await
        })
    });
    written.await.unwrap();
}

fn far() -> DateTime<Utc> {
    SystemClock.now() + TimeDelta::days(1)
}

/// These places, as the relay names them.
fn published(places: &[Place]) -> Vec<Published> {
    let published = places.iter().map(|place| Published {
        place: *place,
        key: String::new(),
    });
    published.collect()
}

async fn places(db: &Db) -> Vec<Place> {
    let pending = db.pending(None, Place::START, 1000).await.unwrap();
    pending.into_iter().map(|pending| pending.place).collect()
}

on_each_database!(
    events_are_handed_over_as_they_were_committed,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let mut handed_over = db.committed().unwrap();
        assert!(db.committed().is_none(), "given once");
        for id in 1..=20 {
            publish(&db, id).await;
        }
        let mut given = Vec::new();
        while let Ok(events) = handed_over.try_recv() {
            given.extend(events);
        }
        assert_eq!(given, db.pending(None, Place::START, 1000).await.unwrap());
        assert!(given.is_sorted_by(|a, b| a.place < b.place));
        assert!(!db.fell_behind());
    }
);

fn direct() -> Settings {
    Settings {
        keep_outbox: false,
        ..Settings::new("notes", Arc::new(SystemClock))
    }
}

#[tokio::test]
async fn without_an_outbox_events_wait_in_memory_and_no_row_is_written() {
    events_wait_in_memory(&sqlite_with(direct(), NOTES).await.db).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn without_an_outbox_events_wait_in_memory_and_no_row_is_written_to_postgres() {
    events_wait_in_memory(&postgres_with(direct(), NOTES).await.db).await;
}

async fn events_wait_in_memory(db: &Db) {
    publish(db, 1).await;
    let refused = db.write::<(), StoreError, _>(|tx| {
        Box::pin(async move {
            tx.publish(&event(2), 2).await?;
            Err(StoreError::Panicked)
        })
    });
    refused.await.unwrap_err();
    assert_eq!(places(db).await, [], "rows");
    let outbox = db.outbox();
    let waiting = outbox.pending(None, Place::START, 10).await.unwrap();
    let handed_over = outbox.committed().unwrap().try_recv().unwrap();
    assert_eq!(handed_over, waiting);
    let published: Vec<Published> = waiting.iter().map(Published::from).collect();
    assert_eq!(published.len(), 1);
    outbox.mark_published(&published).await.unwrap();
    assert_eq!(outbox.depth().await.unwrap().pending, 0);
}

#[tokio::test]
async fn without_an_outbox_the_log_says_which_events_a_lost_answer_may_have_taken() {
    a_lost_answer_is_logged(sqlite_with(direct(), NOTES).await).await;
}

#[tokio::test]
#[ignore = "needs TEST_DATABASE_URL"]
async fn without_an_outbox_the_log_says_which_events_a_lost_answer_of_postgres_may_have_taken() {
    a_lost_answer_is_logged(postgres_with(direct(), NOTES).await).await;
}

async fn a_lost_answer_is_logged(db: TestDb) {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);
    let write = async || {
        let written = db.write::<_, StoreError, _>(|tx| {
            Box::pin(async move {
                note(tx, 1).await?;
                tx.publish(&event(1), 1).await?;
                tx.publish(&event(2), 2).await
            })
        });
        written.await.unwrap_err();
    };
    let about = || lines.about("its events may be lost without an outbox");
    db.inject(Fails::once(FaultPoint::BeforeCommit));
    write().await;
    assert_eq!(about(), Vec::<String>::new(), "nothing was written");
    db.inject(Fails::once(FaultPoint::AfterCommit));
    write().await;
    assert_eq!(db.outbox().depth().await.unwrap().pending, 0);
    let said = about();
    let [line] = &said[..] else {
        panic!("{said:?}");
    };
    let parts = [
        "ERROR",
        "service=\"notes\"",
        "events=2",
        "keys=1",
        "types=\"post.deleted\"",
    ];
    for part in parts {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

/// A log that tests read.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn about(&self, what: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(what));
        lines.map(str::to_owned).collect()
    }
}

/// Only there: PostgreSQL commits side by side, and a row's version decides for its consumers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_file_hand_over_in_the_order_of_their_commits() {
    let db = testkit::db::sqlite("notes", NOTES).await;
    let mut handed_over = db.committed().unwrap();
    join_all((1..=300).map(|id| publish(&db, id))).await;
    let mut given = Vec::new();
    while let Ok(events) = handed_over.try_recv() {
        given.extend(events.into_iter().map(|event| event.place));
    }
    assert_eq!(given, places(&db).await);
    assert_eq!(given.len(), 300);
}

on_each_database!(
    an_event_carries_what_caused_it_and_its_version,
    "notes",
    NOTES,
    |db: TestDb| async move {
        let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
        let cause = Context {
            traceparent: Traceparent::parse(traceparent),
            tracestate: Some("rojo=1".into()),
            correlation_id: Some("c-1".into()),
        };
        let written = db.write::<_, StoreError, _>(move |tx| {
            Box::pin(async move { tx.publish(&event(5), 3).await })
        });
        context::caused_by(&cause, written).await.unwrap();
        let pending = db.pending(None, Place::START, 10).await.unwrap();
        let message = &pending[0].message;
        assert_eq!(message.topic, "posts-events");
        assert_eq!(message.key, Uuid::from_u128(7).to_string());
        for expected in [
            (header::TYPE, "post.deleted"),
            (header::SOURCE, "/services/notes"),
            (header::SEQUENCE, "3"),
            (header::TRACESTATE, "rojo=1"),
            (header::CORRELATION_ID, "c-1"),
        ] {
            let found = message.headers.iter().find(|(name, _)| name == expected.0);
            assert_eq!(found.map(|(_, value)| value.as_str()), Some(expected.1));
        }
        let read = events::Envelope::read(
            &message.topic,
            Some(&message.key),
            &message.headers,
            &message.value,
        );
        let span = read.unwrap().context.traceparent.unwrap();
        let caused = cause.traceparent.unwrap();
        assert_eq!(span.trace_id(), caused.trace_id());
        assert_ne!(
            span.span_id(),
            caused.span_id(),
            "what writes has a span of its own"
        );
        assert!(!span.is_sampled());
    }
);

on_each_database!(
    pending_events_are_given_oldest_first_and_only_older_ones,
    "notes",
    NOTES,
    |db: TestDb| async move {
        assert_eq!(db.depth().await.unwrap(), blocks::outbox::Depth::default());
        let start = SystemClock.now();
        for id in 1..=5 {
            publish(&db, id).await;
        }
        assert!(
            db.pending(Some(start), Place::START, 10)
                .await
                .unwrap()
                .is_empty()
        );
        let all = places(&db).await;
        assert_eq!(all.len(), 5);
        let first: Vec<Place> = db
            .pending(None, Place::START, 2)
            .await
            .unwrap()
            .into_iter()
            .map(|pending| pending.place)
            .collect();
        assert_eq!(first, all[..2]);
        let depth = db.depth().await.unwrap();
        assert_eq!(depth.pending, 5);
        let oldest = depth.oldest.unwrap();
        assert!(oldest >= start && oldest <= SystemClock.now(), "{oldest}");
        let keys_before = async |time| db.keys_pending_before(time).await.unwrap();
        assert_eq!(keys_before(oldest).await, 0);
        // All five are about one post.
        assert_eq!(keys_before(far()).await, 1);
        let of_another = PostDeleted {
            post_id: Uuid::from_u128(8),
            user_id: 6,
        };
        let written = db.write::<_, StoreError, _>(|tx| {
            Box::pin(async move { tx.publish(&of_another, 1).await })
        });
        written.await.unwrap();
        assert_eq!(keys_before(far()).await, 2);
        db.mark_published(&published(&all)).await.unwrap();
        assert_eq!(keys_before(far()).await, 1);
    }
);

on_each_database!(
    published_events_leave_the_outbox_when_their_time_is_up,
    "notes",
    NOTES,
    |db: TestDb| async move {
        for id in 1..=6 {
            publish(&db, id).await;
        }
        let all = places(&db).await;
        // Twice, in any order, with a row that is not there.
        for _ in 0..2 {
            db.mark_published(&published(&[all[4], all[0], all[1], Place::row(999_999)]))
                .await
                .unwrap();
        }
        assert_eq!(places(&db).await, [all[2], all[3], all[5]]);
        assert_eq!(db.depth().await.unwrap().pending, 3);
        db.mark_published(&[]).await.unwrap();

        assert_eq!(
            db.remove_published(SystemClock.now() - TimeDelta::days(7))
                .await
                .unwrap(),
            0
        );
        assert_eq!(db.remove_published(far()).await.unwrap(), 3);
        assert_eq!(db.remove_published(far()).await.unwrap(), 0);
        assert_eq!(places(&db).await, [all[2], all[3], all[5]]);
    }
);

on_each_database!(
    a_refused_event_is_set_aside,
    "notes",
    NOTES,
    |db: TestDb| async move {
        for id in 1..=2 {
            publish(&db, id).await;
        }
        let all = places(&db).await;
        db.mark_refused(all[0], "too large for the broker")
            .await
            .unwrap();
        assert_eq!(places(&db).await, all[1..]);
        assert_eq!(db.depth().await.unwrap().pending, 1);
        assert_eq!(db.remove_published(far()).await.unwrap(), 0);
    }
);

#[tokio::test]
async fn a_process_without_an_outbox_is_told_of_events_that_it_would_leave_there() {
    let db = testkit::db::sqlite("notes", NOTES).await;
    ensure_drained(&*db).await.unwrap();
    publish(&db, 1).await;
    let why = ensure_drained(&*db).await.unwrap_err().to_string();
    assert!(
        why.contains("1 events wait in the outbox of notes"),
        "{why}"
    );
    let waiting = places(&db).await;
    db.mark_published(&published(&waiting)).await.unwrap();
    ensure_drained(&*db).await.unwrap();
}
