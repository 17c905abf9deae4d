//! What the admin API says, as its client reads it.

use blocks::consumer::Blocked;
use blocks::outbox::OutboxRow;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A topic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TopicView {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u16,
    /// How long records stay: `7 days`, `compacted after 7 days`.
    pub keeps: String,
    /// Offsets from the oldest record to the newest; fewer records where some were compacted away.
    pub records: i64,
    /// Who reads it.
    pub groups: Vec<GroupView>,
}

/// A consumer group of a topic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub group: String,
    /// Records it has not taken in.
    pub lag: i64,
    /// Keys that do not go on, on whatever topic.
    pub blocked: usize,
}

/// A record of a topic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordView {
    /// The topic.
    pub topic: String,
    /// From 0.
    pub partition: i32,
    /// Its place in the partition.
    pub offset: i64,
    /// RFC 3339 UTC with milliseconds.
    pub time: String,
    /// The partition key.
    pub key: Option<String>,
    /// The type by its headers.
    pub event_type: Option<String>,
    /// The aggregate's version by its headers.
    pub sequence: Option<i64>,
    /// Names and values as they stand on the record.
    pub headers: Vec<(String, String)>,
    /// The value where it is JSON, otherwise its text.
    pub value: serde_json::Value,
}

/// The outbox of a service.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OutboxView {
    /// The service.
    pub service: String,
    /// Events that wait for the bus.
    pub pending: i64,
    /// When the oldest of them was committed.
    pub oldest: Option<DateTime<Utc>>,
    /// How long that is ago, in ms.
    pub oldest_age_ms: Option<i64>,
    /// Events that the bus refused for good.
    pub refused: i64,
    /// The latest rows, newest first, where they were asked for.
    pub rows: Vec<OutboxRow>,
}

/// Which events to publish once more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Republish {
    /// Those committed from then on.
    pub since: DateTime<Utc>,
    /// Of this service, or of all.
    pub service: Option<String>,
}

/// What became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Republished {
    /// The service.
    pub service: String,
    /// Its events that wait for the bus again.
    pub events: u64,
}

/// A key that does not go on, with what waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlockedView {
    /// Which, and why.
    pub blocked: Blocked,
    /// The first waiting records.
    pub waiting: Vec<RecordView>,
}

/// Which blocked keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Those of this group, or of all.
    pub group: Option<String>,
}

/// What became of a replay or a discard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The consumer group.
    pub group: String,
    /// The id that was given.
    pub id: i64,
    /// The key that did not go on.
    pub key: String,
    /// Whether it goes on now.
    pub goes_on: bool,
    /// What stands in the way, where something does.
    pub note: Option<String>,
}
