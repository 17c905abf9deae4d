//! Every event as it stands on its topic. A change of the wire format shows as a change of a file in
//! `golden/`; `UPDATE_GOLDEN=1 cargo test -p events` writes them anew.

use std::collections::BTreeSet;
use std::fmt::{Debug, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::{Context, Envelope, Event, Traceparent};

/// The time of all events here.
pub const TIME: DateTime<Utc> = DateTime::from_timestamp_millis(1_767_268_800_000).unwrap();

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

fn envelope<E: Event>(event: &E) -> Envelope {
    let context = Context {
        traceparent: Traceparent::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        correlation_id: Some("a-request".into()),
        ..Context::default()
    };
    let id = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);
    Envelope::new(id, "a-service", TIME, 1, context, event).unwrap()
}

/// Asserts that an event is written as in its golden file, and read back unchanged.
pub fn is_kept<E: Event + PartialEq + Debug>(event: &E) {
    let envelope = envelope(event);
    let mut text = format!("topic: {}\nkey: {}\n", envelope.topic, envelope.subject);
    for (name, value) in envelope.headers() {
        writeln!(text, "{name}: {value}").unwrap();
    }
    let value = String::from_utf8(envelope.value.clone()).unwrap();
    writeln!(text, "\n{value}").unwrap();

    let file = folder().join(format!("{}.txt", E::TYPE));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let golden = std::fs::read_to_string(&file).unwrap_or_default();
    let remedy =
        "the recipe at the top of the crate says what may change, and how to write the file";
    assert_eq!(text, golden, "{} on the wire: {remedy}", E::TYPE);
    let (key, headers) = (Some(envelope.subject.as_str()), envelope.headers());
    let back = Envelope::read(&envelope.topic, key, &headers, &envelope.value).unwrap();
    assert_eq!(&back.open::<E>().unwrap().unwrap(), event);
}

#[test]
fn every_event_has_a_name_of_its_own_and_every_golden_file_an_event() {
    let types: Vec<&str> = crate::ALL
        .iter()
        .flat_map(|(_, types)| *types)
        .copied()
        .collect();
    let files: BTreeSet<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected: BTreeSet<String> = types.iter().map(|of| format!("{of}.txt")).collect();
    assert_eq!(files, expected);
    assert_eq!(types.len(), expected.len(), "a name that two events have");
}
