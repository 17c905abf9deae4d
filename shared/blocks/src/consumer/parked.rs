//! Rules that all stores share for an event that can't go on: its attempts, its stored row and its dead
//! letter.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, TimeDelta, Utc};
use events::{Context, Envelope, Headers, Malformed, Message, dead_letter_topic, header};
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::Reason;
use crate::bus::Record;
use crate::context;
use crate::error::BoxError;

/// The number of attempts for a refused event, and the pauses between them.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Attempts before it becomes a dead letter, the first one included.
    pub attempts: i64,
    /// The pause after the first; doubled after each further one.
    pub first_pause: Duration,
    /// No pause is longer.
    pub longest_pause: Duration,
}

impl Default for Retry {
    /// Five attempts over about three seconds.
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(30),
        }
    }
}

impl Retry {
    /// The pause after `attempts` failures, with up to a quarter of jitter.
    pub fn pause(&self, attempts: i64) -> TimeDelta {
        let doublings = u32::try_from((attempts - 1).clamp(0, 20)).unwrap_or_default();
        let pause = self
            .first_pause
            .saturating_mul(1 << doublings)
            .min(self.longest_pause);
        let jitter = pause.mul_f64(rand::rng().random_range(0.0..0.25));
        TimeDelta::from_std(pause + jitter).unwrap_or(TimeDelta::MAX)
    }
}

/// Reads a record as the event it should be.
///
/// # Errors
/// When it is none.
pub fn read(record: &Record) -> Result<Envelope, Malformed> {
    Envelope::read(
        &record.topic,
        record.key.as_deref(),
        &record.headers,
        &record.value,
    )
}

/// PostgreSQL takes no NUL in a text.
fn plain(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

/// The type that a record says it has, readable or not.
pub fn event_type_of(record: &Record) -> String {
    let found = record.header(header::TYPE);
    found.map_or_else(|| "unreadable".to_owned(), plain)
}

/// Logs that `group` gives up on a record, for which `key` waits from now on. Answers the dead letter: the
/// record with its headers, the trace among them, and the reason.
pub fn give_up(
    group: &str,
    key: &str,
    record: &Record,
    reason: Reason,
    attempts: i64,
    error: &str,
) -> Message {
    context::about(&Context::of(&record.headers), || {
        tracing::error!(
            group, topic = %record.topic, key, partition = record.partition, offset = record.offset,
            reason = reason.as_str(), attempts, error,
            "gave up on an event: its key waits until it is replayed or discarded"
        );
    });
    let mut headers = record.headers.clone();
    let origin = format!("{}/{}/{}", record.topic, record.partition, record.offset);
    headers.extend([
        (header::DLQ_REASON.to_owned(), reason.as_str().to_owned()),
        (header::DLQ_ERROR.to_owned(), error.to_owned()),
        (header::DLQ_ATTEMPTS.to_owned(), attempts.to_string()),
        (header::DLQ_ORIGIN.to_owned(), origin),
        (header::DLQ_GROUP.to_owned(), group.to_owned()),
    ]);
    Message {
        topic: dead_letter_topic(&record.topic),
        key: record.key.as_deref().map(plain).unwrap_or_default(),
        headers,
        value: record.value.clone(),
        time: record.time,
    }
}

/// A record as it waits. The value is base64: a poison message need not be text.
#[derive(Serialize, Deserialize)]
struct Waiting {
    partition: i32,
    offset: i64,
    key: Option<String>,
    headers: Headers,
    value: String,
    time: DateTime<Utc>,
}

/// Writes a record down.
///
/// # Panics
/// Never: all of it can be written as JSON.
pub fn record_text(record: &Record) -> String {
    let waiting = Waiting {
        partition: record.partition,
        offset: record.offset,
        key: record.key.clone(),
        headers: record.headers.clone(),
        value: STANDARD.encode(&record.value),
        time: record.time,
    };
    serde_json::to_string(&waiting).expect("texts, numbers and a time are JSON")
}

/// Reads a record that waited.
///
/// # Errors
/// When it is not what [`record_text`] wrote.
pub fn read_record(topic: &str, text: &str) -> Result<Record, BoxError> {
    let waiting: Waiting = serde_json::from_str(text)?;
    Ok(Record {
        topic: topic.to_owned(),
        partition: waiting.partition,
        offset: waiting.offset,
        key: waiting.key,
        headers: waiting.headers,
        value: STANDARD.decode(&waiting.value)?,
        time: waiting.time,
    })
}
