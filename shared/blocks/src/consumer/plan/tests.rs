//! Plans without a store.

use std::collections::HashMap;

use chrono::TimeDelta;
use events::topic::USERS as TOPIC;
use events::users::UserDeleted;
use events::{Context, Envelope};

use super::*;
use crate::{Clock as _, ManualClock};

fn member() -> Member {
    Member::new("group", &[TOPIC])
}

fn now() -> DateTime<Utc> {
    ManualClock::default().now()
}

fn record(version: i64) -> (Record, Envelope, Key) {
    let clock = ManualClock::default();
    let event = UserDeleted { user_id: 1 };
    let context = Context::default();
    let event = Envelope::new(clock.id(), "auth", now(), version, context, &event).unwrap();
    let message = event.message();
    let record = Record {
        topic: message.topic,
        partition: 2,
        offset: version,
        key: Some(message.key),
        headers: message.headers,
        value: message.value,
        time: message.time,
    };
    let key = Key::of(&record, Ok(&event));
    (record, event, key)
}

/// Gives `versions` to a plan; those in `refused` are refused.
fn take(plan: &mut Plan<'_>, versions: &[i64], refused: &[i64]) {
    for version in versions {
        let (record, event, key) = record(*version);
        if plan.event(&key, &record, &event) {
            let done = if refused.contains(version) {
                Err(HandlerError::Rejected("not now".into()))
            } else {
                Ok(())
            };
            plan.done(&key, &record, &event, done);
        }
    }
}

fn parked(plan: &Plan<'_>) -> Vec<i64> {
    let parked = plan.rows.iter().filter(|row| row.record.is_some());
    parked.map(|row| row.version).collect()
}

fn block(plan: &Plan<'_>) -> Option<Block> {
    plan.keys[&record(1).2].block.clone()
}

/// The states that the next write begins with.
fn stored(plan: &Plan<'_>) -> HashMap<Key, Known> {
    let mut keys = plan.keys.clone();
    for known in keys.values_mut() {
        (known.moved, known.block_changed) = (false, false);
    }
    keys
}

#[test]
fn the_missing_version_makes_its_key_due_and_what_waits_goes_on_in_a_page() {
    let member = member();
    let mut plan = Plan::new(&member, now(), HashMap::new());
    take(&mut plan, &[1, 3], &[]);
    assert_eq!(parked(&plan), [3]);
    let gap = block(&plan).unwrap();
    assert_eq!((gap.reason, gap.retry_at), (Reason::Gap, None));
    assert_eq!(gap.error, "version 2 has not come, 3 has");
    assert!(!gap.is_listed(now()) && gap.is_listed(now() + TimeDelta::seconds(30)));

    let mut plan = Plan::new(&member, now(), stored(&plan));
    take(&mut plan, &[4, 2, 5], &[]);
    let key = record(1).2;
    assert_eq!(
        (parked(&plan), &plan.filled),
        (vec![4, 5], &vec![key.clone()])
    );
    assert!(plan.keys[&key].is_due(now()));

    let mut plan = Plan::new(&member, now(), stored(&plan));
    let waiting = [3, 4, 5].map(|version| (version, record(version).0));
    let mut page = plan.page(&key, waiting.into());
    while let Some((record, event)) = plan.next(&mut page) {
        plan.tried(&mut page, &record, &event, Ok(()));
    }
    assert!(!page.goes_on() && block(&plan).is_none());
    assert_eq!(
        (plan.keys[&key].version, plan.applied.handled),
        (Some(5), 3)
    );
    assert_eq!(plan.unparked.len(), 3);
}

#[test]
fn a_refused_event_is_a_dead_letter_after_its_last_attempt_and_a_discard_passes_over_it() {
    let member = member();
    let mut plan = Plan::new(&member, now(), HashMap::new());
    take(&mut plan, &[1, 2], &[1]);
    assert_eq!((parked(&plan), plan.applied.failed), (vec![1, 2], 1));
    let key = record(1).2;
    for attempt in 2..=member.retry.attempts {
        let retrying = block(&plan).unwrap();
        assert_eq!(
            (retrying.reason, plan.dead_letters.len()),
            (Reason::Retrying, 0)
        );
        plan = Plan::new(&member, retrying.retry_at.unwrap(), stored(&plan));
        assert!(plan.keys[&key].is_due(retrying.retry_at.unwrap()));
        let mut page = plan.page(&key, vec![(1, record(1).0), (2, record(2).0)]);
        let (record, event) = plan.next(&mut page).unwrap();
        let refused = HandlerError::Rejected("not now".into());
        plan.tried(&mut page, &record, &event, Err(refused));
        assert!(plan.next(&mut page).is_none() && !page.goes_on());
        assert_eq!(block(&plan).unwrap().attempts, attempt);
    }
    assert_eq!(block(&plan).unwrap().reason, Reason::Rejected);
    assert_eq!(plan.dead_letters.len(), 1);

    let mut plan = Plan::new(&member, now(), stored(&plan));
    plan.discard(&key, Some(1));
    assert_eq!((plan.keys[&key].version, plan.unparked.len()), (Some(1), 1));
    assert!(plan.keys[&key].is_due(now()));
}

#[test]
fn an_operator_may_skip_a_gap_but_a_replay_leaves_it() {
    let member = member();
    let mut plan = Plan::new(&member, now(), HashMap::new());
    take(&mut plan, &[1, 4], &[]);
    let key = record(1).2;
    let mut replayed = Plan::new(&member, now(), stored(&plan));
    replayed.replay(&key);
    let mut page = replayed.page(&key, vec![(4, record(4).0)]);
    assert!(replayed.next(&mut page).is_none());
    assert_eq!(block(&replayed).unwrap().reason, Reason::Gap);

    let mut plan = Plan::new(&member, now(), stored(&plan));
    plan.discard(&key, Some(4));
    assert_eq!((plan.keys[&key].version, plan.unparked.len()), (Some(3), 0));
}

#[test]
fn a_full_page_leaves_its_key_due_for_the_next_one() {
    let member = member();
    let mut plan = Plan::new(&member, now(), HashMap::new());
    take(&mut plan, &[1, 3], &[]);
    take(&mut plan, &[2], &[]);
    let key = record(1).2;
    let mut plan = Plan::new(&member, now(), stored(&plan));
    let waiting = (3..).take(PAGE).map(|version| (version, record(version).0));
    let mut page = plan.page(&key, waiting.collect());
    while let Some((record, event)) = plan.next(&mut page) {
        plan.tried(&mut page, &record, &event, Ok(()));
    }
    assert!(page.goes_on() && plan.keys[&key].is_due(now()));
}

#[test]
fn a_record_that_is_no_event_waits_alone_until_it_can_be_read() {
    let member = member();
    let mut plan = Plan::new(&member, now(), HashMap::new());
    let (mut bad, event, _) = record(1);
    bad.headers.clear();
    let malformed = crate::consumer::parked::read(&bad).unwrap_err();
    plan.unreadable(&bad, &malformed);
    let key = Key::of(&bad, Err(&malformed));
    assert!(key.is_unreadable() && Key::parse(&key.to_string()) == Some(key.clone()));
    assert_eq!((plan.applied.parked, plan.applied.dead), (1, 1));
    assert_eq!(readable_now(&key, &[(0, bad)]), None);

    let mut plan = Plan::new(&member, now(), stored(&plan));
    let real = Key::of(&record(1).0, Ok(&event));
    let waiting = vec![(0, record(1).0)];
    assert_eq!(readable_now(&key, &waiting), Some(real.clone()));
    let mut page = plan.page(&key, waiting);
    let (record, event) = plan.next(&mut page).unwrap();
    plan.tried(&mut page, &record, &event, Ok(()));
    assert!(plan.next(&mut page).is_none());
    assert_eq!(plan.keys[&real].version, Some(1));
    assert_eq!(
        (&plan.keys[&key].block, &plan.unparked),
        (&None, &vec![(key, 0)])
    );
}
