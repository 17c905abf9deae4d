//! Records that are no events. A consumer must make a dead letter of each, and hold back no good one behind
//! them.

use std::collections::BTreeMap;

use blocks::bus::{EventBus, MAX_EVENT_BYTES, Record, TopicSpec};
use blocks::{Clock, SystemClock};
use events::{Context, Envelope, Event, Message, dead_letter_topic, header};

use crate::fleet::Standalone;
use crate::http::eventually;

/// Errors in the dead letters of [`publish`], one each. An unknown type is passed over without one.
const REASONS: [&str; 4] = [
    "ce_sequence",
    "ce_sequence",
    "schema version 2",
    "can't be read",
];

/// Publishes `event` behind records of its key that are unreadable or of an unknown type. Two more, of
/// another schema and cut in half, have keys of their own: these wait until somebody mends them.
pub async fn publish<E: Event>(bus: &dyn EventBus, event: &E, others: [&E; 2]) {
    bus.ensure_topics(&[TopicSpec::from(E::TOPIC)])
        .await
        .unwrap();
    bus.publish(&before(event, others)).await.unwrap();
}

fn before<E: Event>(event: &E, [newer, half]: [&E; 2]) -> Vec<Message> {
    let at = |sequence, event: &E| {
        let (id, time) = (SystemClock.id(), SystemClock.now());
        let envelope = Envelope::new(id, "test", time, sequence, Context::default(), event);
        envelope.unwrap().message()
    };
    let bytes = |value: Vec<u8>| Message {
        headers: Vec::new(),
        value,
        ..at(1, event)
    };
    let mut half = at(1, half);
    half.value.truncate(half.value.len() / 2);
    vec![
        bytes(b"{\"user_id\":".to_vec()),
        bytes(vec![0xff; MAX_EVENT_BYTES]),
        saying(header::DATA_SCHEMA, "2", at(1, newer)),
        half,
        saying(header::TYPE, "nobody.knows", at(1, event)),
        at(2, event),
    ]
}

fn saying(name: &str, value: &str, mut message: Message) -> Message {
    let header = message.headers.iter_mut().find(|(found, _)| found == name);
    value.clone_into(&mut header.unwrap().1);
    message
}

/// Asserts that `service` wrote and logged one dead letter for each record of [`publish`] that is no event
/// of its topic.
pub async fn are_dead_letters<E: Event>(bus: &dyn EventBus, service: &Standalone) {
    let name = dead_letter_topic(E::TOPIC.name);
    let dead_letters = eventually("a letter each", async || {
        let mut dead_letters = Vec::new();
        for (partition, _) in (0..).zip(bus.watermarks(&name).await.ok()?) {
            dead_letters.extend(bus.read(&name, partition, 0, 100).await.ok()?);
        }
        (dead_letters.len() >= REASONS.len()).then_some(dead_letters)
    })
    .await;
    // Written once for each; a batch that was tried again may have sent one twice.
    let distinct: BTreeMap<&str, &Record> = dead_letters
        .iter()
        .map(|dead_letter| (said(dead_letter, header::DLQ_ORIGIN), dead_letter))
        .collect();
    let reasons = distinct
        .values()
        .map(|dead_letter| said(dead_letter, header::DLQ_ERROR));
    let mut found: Vec<&str> = reasons.collect();
    for part in REASONS {
        let at = found.iter().position(|reason| reason.contains(part));
        found.remove(at.unwrap_or_else(|| panic!("{part} in {found:?}")));
    }
    assert!(found.is_empty(), "{found:?}");
    eventually("it says so", async || {
        let said = service.output();
        (said.matches("gave up on an event").count() >= REASONS.len()).then_some(())
    })
    .await;
}

fn said<'a>(dead_letter: &'a Record, name: &str) -> &'a str {
    let mut headers = dead_letter.headers.iter();
    &headers.find(|(found, _)| found == name).unwrap().1
}
