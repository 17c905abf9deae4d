//! An operator's view of waiting keys, and the actions on them.

use std::collections::BTreeMap;

use blocks::consumer::{ApplyError, GAP_LISTED_MS, Reason};
use events::header;

use super::{Adapter, Bench, COMPACTED, STEPS, numbered};

/// Its key is listed, with the events behind it, until it is discarded.
pub async fn a_discarded_event_is_gone_and_the_rest_of_its_key_goes_on<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let refused = ("a".to_owned(), 2);
    bench.refusals.poison.lock().unreadable.insert(refused);
    let records = bench.steps("a", 4);
    let applied = bench.store.apply(&records).await.unwrap();
    assert_eq!((applied.handled, applied.dead, applied.parked), (1, 1, 3));
    let blocked = bench.listed().await;
    assert_eq!((blocked[0].version, blocked[0].waiting), (Some(2), 3));
    assert_eq!(blocked[0].event_type.as_deref(), Some("counter.stepped"));
    let waiting = bench.store.waiting(blocked[0].id, 10).await.unwrap();
    assert_eq!(waiting, records[1..]);
    let waiting = bench.store.waiting(blocked[0].id, 2).await.unwrap();
    assert_eq!(waiting, records[1..3]);

    assert!(bench.store.discard(blocked[0].id).await.unwrap());
    bench.settle().await;
    assert_eq!(bench.adapter.ledger().await["a"], [1, 3, 4]);
    assert!(!bench.store.discard(blocked[0].id).await.unwrap());
    assert!(!bench.store.replay(blocked[0].id).await.unwrap());
    assert_eq!(bench.store.waiting(blocked[0].id, 10).await.unwrap(), []);
}

/// It may still come: nobody is alarmed at once.
pub async fn a_missing_version_is_listed_after_a_while_and_an_operator_may_skip_it<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let records = [
        bench.event("a", 1),
        bench.event("a", 3),
        bench.event("b", 1),
    ];
    let records = numbered(records.to_vec(), 0);
    bench.store.apply(&records).await.unwrap();
    assert_eq!(bench.listed().await, []);
    assert_eq!(bench.blocked().await, [("a".to_owned(), Reason::Gap)]);
    let id = bench.listed().await[0].id;
    assert!(bench.store.discard(id).await.unwrap());
    bench.settle().await;
    assert_eq!(bench.adapter.ledger().await["a"], [1, 3]);
}

/// Only once records have left its partition, and the wait was long.
pub async fn a_key_that_lost_its_beginning_to_age_starts_at_what_is_left<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let records = numbered(vec![bench.event("a", 7), bench.event("a", 8)], 0);
    bench.store.apply(&records).await.unwrap();
    let nothing = BTreeMap::new();
    let ledger = bench.adapter.ledger().await;
    assert_eq!(ledger, nothing, "version 6 may still come");
    bench.settle().await;
    bench.store.give_up_gaps(STEPS.name, &[1, 2]).await.unwrap();
    bench.settle().await;
    let ledger = bench.adapter.ledger().await;
    assert_eq!(ledger, nothing, "nothing left its partition");
    bench.store.give_up_gaps(STEPS.name, &[0]).await.unwrap();
    bench.settle().await;
    assert_eq!(bench.adapter.ledger().await["a"], [7, 8]);
    assert_eq!(bench.blocked().await, []);
}

/// A gap in a key that is known waits for an operator, except where every event has the whole state.
pub async fn a_hole_that_age_made_in_a_known_key_ends_by_itself_on_a_compacted_topic_only<
    A: Adapter,
>(
    open: impl AsyncFn() -> A,
) {
    for (topic, expected) in [(STEPS, &[1][..]), (COMPACTED, &[1, 3])] {
        let bench = Bench::reading(open().await, topic).await;
        let records = numbered(vec![bench.event("a", 1), bench.event("a", 3)], 0);
        bench.store.apply(&records).await.unwrap();
        bench.advance(GAP_LISTED_MS);
        bench.store.give_up_gaps(topic.name, &[0]).await.unwrap();
        bench.settle().await;
        assert_eq!(bench.adapter.ledger().await["a"], expected);
    }
}

/// Its place among the versions is not known, whatever its key was.
pub async fn a_record_that_is_no_event_lands_in_the_dead_letter_topic_and_stays_alone<
    A: Adapter,
>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let mut bad = bench.event("a", 1);
    bad.headers.retain(|(name, _)| name != header::SEQUENCE);
    bad.value = vec![0xff, 0x00];
    let records = numbered(vec![bad.clone(), bench.event("a", 1)], 0);
    let applied = bench.store.apply(&records).await.unwrap();
    assert_eq!((applied.handled, applied.dead), (1, 1));
    assert_eq!(bench.adapter.ledger().await["a"], [1]);

    let blocked = bench.listed().await;
    assert_eq!(blocked[0].reason, Reason::Poison);
    let error = &blocked[0].error;
    assert!(error.contains("ce_sequence"), "{error}");
    let waiting = bench.store.waiting(blocked[0].id, 10).await.unwrap();
    assert_eq!(waiting, [bad]);
    let dead_letters = bench.adapter.dead_letters().await;
    assert_eq!(dead_letters[0].topic, "steps.dlq");
    assert_eq!(dead_letters[0].value, [0xff, 0x00]);
    let headers: BTreeMap<_, _> = dead_letters[0].headers.iter().cloned().collect();
    assert_eq!(headers[header::DLQ_ORIGIN], "steps/0/0");
    assert_eq!(headers[header::DLQ_GROUP], "ledger");
    assert_eq!(headers[header::DLQ_ATTEMPTS], "1");
    assert_eq!(headers[header::DLQ_REASON], "poison");

    // Replayed without a cure it is a dead letter again; discarded it is gone.
    assert!(bench.store.replay(blocked[0].id).await.unwrap());
    bench.settle().await;
    assert_eq!(bench.listed().await.len(), 1);
    assert!(bench.store.discard(blocked[0].id).await.unwrap());
    assert_eq!(bench.listed().await, []);
}

/// Fields that a newer release added are passed over; a changed schema waits for a release that knows it.
pub async fn an_event_of_a_newer_schema_is_a_dead_letter_and_one_with_added_fields_is_read<
    A: Adapter,
>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let mut changed = bench.event("a", 1);
    for (name, value) in &mut changed.headers {
        if name == header::DATA_SCHEMA {
            "2".clone_into(value);
        }
    }
    let mut added = bench.event("b", 1);
    let mut value: serde_json::Value = serde_json::from_slice(&added.value).unwrap();
    value["data"]["colour"] = "red".into();
    value["more"] = true.into();
    added.value = value.to_string().into_bytes();
    added
        .headers
        .push(("ce_extension".to_owned(), "1".to_owned()));
    let records = [
        changed.clone(),
        bench.event("a", 2),
        added,
        bench.event("b", 2),
    ];
    let records = numbered(records.to_vec(), 0);
    let applied = bench.store.apply(&records).await.unwrap();
    assert_eq!((applied.handled, applied.dead), (2, 1));
    let ledger = bench.adapter.ledger().await;
    assert_eq!(ledger["b"], [1, 2]);
    assert!(!ledger.contains_key("a"), "{ledger:?}");
    let blocked = bench.listed().await;
    assert_eq!(blocked.len(), 1);
    assert_eq!(blocked[0].reason, Reason::Poison);
    let error = &blocked[0].error;
    assert!(error.contains("schema version 2"), "{error}");
    let dead_letters = bench.adapter.dead_letters().await;
    assert_eq!(dead_letters.len(), 1);
    assert_eq!(dead_letters[0].value, changed.value);
}

/// Each attempt is counted; only the last one makes it a dead letter.
pub async fn a_refused_event_is_tried_a_few_times_and_then_given_up<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let refused = ("a".to_owned(), 1);
    bench.refusals.poison.lock().rejected.insert(refused);
    bench.store.apply(&bench.steps("a", 2)).await.unwrap();
    let blocked = bench.listed().await;
    assert_eq!(
        (blocked[0].reason, blocked[0].attempts),
        (Reason::Retrying, 1)
    );
    assert!(bench.store.pulse().await.unwrap().next_due.is_some());
    assert_eq!(bench.adapter.dead_letters().await.len(), 0);
    let early = bench.store.retry_due().await.unwrap();
    assert_eq!(early.failed, 0, "it backs off");

    bench.settle().await;
    let blocked = bench.listed().await;
    assert_eq!(
        (blocked[0].reason, blocked[0].attempts),
        (Reason::Rejected, 5)
    );
    assert_eq!(blocked[0].waiting, 2);
    let error = &blocked[0].error;
    assert!(error.contains("refused for now"), "{error}");
    assert_eq!(bench.adapter.dead_letters().await.len(), 1);
    assert_eq!(bench.adapter.ledger().await, BTreeMap::new());
}

/// A panic is a refusal.
pub async fn a_handler_that_panics_holds_back_its_own_key_only<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let refused = ("bad".to_owned(), 1);
    bench.refusals.poison.lock().panics.insert(refused);
    let records = numbered(vec![bench.event("bad", 1), bench.event("good", 1)], 0);
    bench.store.apply(&records).await.unwrap();
    bench.settle().await;
    let good = BTreeMap::from([("good".to_owned(), vec![1])]);
    assert_eq!(bench.adapter.ledger().await, good);
    let blocked = bench.listed().await;
    assert_eq!(blocked[0].reason, Reason::Rejected);
    assert!(blocked[0].error.contains("a bug"), "{}", blocked[0].error);
}

/// It is nobody's fault: the batch is offered again, for ever.
pub async fn a_handler_whose_provider_is_away_holds_the_batch_and_counts_nothing<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let away = ("b".to_owned(), 1);
    bench.refusals.poison.lock().away.insert(away);
    let records = numbered(vec![bench.event("a", 1), bench.event("b", 1)], 0);
    for _ in 0..10 {
        let applied = bench.store.apply(&records).await;
        let away = matches!(applied, Err(ApplyError::Unavailable(_)));
        assert!(away, "{applied:?}");
        assert_eq!(bench.adapter.ledger().await, BTreeMap::new());
    }
    assert_eq!(bench.listed().await, []);
    bench.refusals.cure();
    assert_eq!(bench.store.apply(&records).await.unwrap().handled, 2);
}

/// A store may not take such a text, but its group must go on.
pub async fn a_nul_in_a_header_or_a_key_is_poison_and_no_outage<A: Adapter>(
    open: impl AsyncFn() -> A,
) {
    let bench = Bench::over(open().await).await;
    let mut records = bench.steps("a", 5);
    for (at, name) in [(1, header::TYPE), (2, header::SUBJECT)] {
        for header in &mut records[at].headers {
            if header.0 == name {
                "a\0b".clone_into(&mut header.1);
            }
        }
    }
    records[3].key = Some("\0".to_owned());
    records.push(bench.event("b", 1));
    let records = numbered(records, 0);
    let applied = bench.store.apply(&records).await.unwrap();
    assert_eq!((applied.handled, applied.dead), (2, 3));
    assert_eq!(bench.adapter.ledger().await["b"], [1]);
    assert_eq!(bench.listed().await.len(), 3);
}
