//! The types of the admin API, as its client reads them.

use blocks::consumer::Blocked;
use blocks::outbox::OutboxRow;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A topic of the bus.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TopicView {
    /// The topic's name.
    pub name: String,
    /// The number of partitions.
    pub partitions: u16,
    /// The retention: `7 days`, `compacted after 7 days`.
    pub keeps: String,
    /// Offsets from the oldest record to the newest; fewer records where some were compacted away.
    pub records: i64,
    /// The groups that read it.
    pub groups: Vec<GroupView>,
}

/// A consumer group of a topic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GroupView {
    /// The group's name.
    pub group: String,
    /// The lag: records that it has not handled.
    pub lag: i64,
    /// Blocked keys, over all topics.
    pub blocked: usize,
}

/// What a group is to read again.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// This topic, or all that it reads.
    pub topic: Option<String>,
    /// Do it; otherwise only say what would be read.
    pub execute: bool,
}

/// A record of a topic.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RecordView {
    /// The topic.
    pub topic: String,
    /// Partition number, from 0.
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
    /// Its age, in ms.
    pub oldest_age_ms: Option<i64>,
    /// Events that the bus refused for good.
    pub refused: i64,
    /// The latest rows, newest first, where they were asked for.
    pub rows: Vec<OutboxRow>,
}

/// The events to publish once more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Republish {
    /// Those committed from then on.
    pub since: DateTime<Utc>,
    /// Of this service, or of all.
    pub service: Option<String>,
}

/// The outcome of a republish.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Republished {
    /// The service.
    pub service: String,
    /// Its events that wait for the bus again.
    pub events: u64,
}

/// A blocked key, with the records that wait.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BlockedView {
    /// The key and the reason.
    pub blocked: Blocked,
    /// The first waiting records.
    pub waiting: Vec<RecordView>,
}

/// A choice of blocked keys.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    /// Those of this group, or of all.
    pub group: Option<String>,
}

/// The outcome of a replay or a discard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Outcome {
    /// The consumer group.
    pub group: String,
    /// The id that was given.
    pub id: i64,
    /// The key that was blocked.
    pub key: String,
    /// True if it goes on now.
    pub goes_on: bool,
    /// The reason why it does not.
    pub note: Option<String>,
}
