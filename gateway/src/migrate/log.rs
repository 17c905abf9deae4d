//! The topics: every record, with its key, headers, bytes and time.
//!
//! A record that was published twice is one. The records of a key come in the order of their versions, even
//! where the old log has another: on a compacted topic Kafka keeps the last one it got. Records that the
//! topic would drop anyway (too old, or superseded and old) stay behind: Kafka may drop them at any moment.
//!
//! The records to move are worked out once a partition, in a first pass over it, and kept as their offsets:
//! eight bytes a record.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use blocks::bus::{BusError, EventBus, Record, TopicSpec};
use blocks::data_migration::{Key, Part, Row, Rows, Side, Target};
use blocks::error::BoxError;
use chrono::{DateTime, Utc};
use events::{Cleanup, Headers, Message, header};
use ring::digest::{SHA256, digest};
use runtime::Embedded;
use runtime::pages::Pages;
use serde::{Deserialize, Serialize};
use service::Place;

/// Records that are read at once.
const PAGE: usize = 500;

/// A record as both logs have it. The time of its append is not compared: a broker may set its own.
#[derive(Debug, Serialize, Deserialize)]
struct Text {
    key: Option<String>,
    headers: Headers,
    value: String,
}

fn text(record: &Record) -> Result<String, BoxError> {
    Ok(serde_json::to_string(&Text {
        key: record.key.clone(),
        headers: record.headers.clone(),
        value: STANDARD.encode(&record.value),
    })?)
}

/// The fingerprint of a record: half of its SHA-256.
type Mark = [u8; 16];

fn mark(text: &str) -> Mark {
    let digest = digest(&SHA256, text.as_bytes());
    let mut mark = Mark::default();
    mark.copy_from_slice(&digest.as_ref()[..16]);
    mark
}

/// The records of a partition that move, in their order, and those that don't.
#[derive(Debug, Default)]
struct Plan {
    offsets: Vec<i64>,
    left: HashSet<Mark>,
}

/// The plans of a topic, by partition.
type Plans = Arc<Vec<Plan>>;

/// A record as the first pass notes it.
struct Noted {
    offset: i64,
    mark: Mark,
    key: u64,
    version: i64,
    is_old: bool,
}

impl Plan {
    async fn of(mut pages: Pages, topic: &TopicSpec, now: DateTime<Utc>) -> Result<Self, BoxError> {
        let (Cleanup::Delete { after_ms } | Cleanup::Compact { after_ms }) = topic.cleanup;
        let cutoff = now.timestamp_millis().saturating_sub_unsigned(after_ms);
        let mut seen = HashSet::new();
        let mut keys: HashMap<Option<String>, u64> = HashMap::new();
        let mut noted = Vec::new();
        while let Some(record) = pages.next().await? {
            let mark = mark(&text(&record)?);
            if !seen.insert(mark) {
                continue;
            }
            let number = u64::try_from(keys.len())?;
            noted.push(Noted {
                offset: record.offset,
                mark,
                version: version(&record.headers),
                is_old: record.time.timestamp_millis() < cutoff,
                key: *keys.entry(record.key).or_insert(number),
            });
        }
        Ok(Self::over(&noted, topic.cleanup))
    }

    fn over(noted: &[Noted], cleanup: Cleanup) -> Self {
        let compacted = matches!(cleanup, Cleanup::Compact { .. });
        // Of each key, the latest version, and of that the last record.
        let mut latest: HashMap<u64, (i64, i64)> = HashMap::new();
        for record in noted {
            let latest = latest
                .entry(record.key)
                .or_insert((record.version, record.offset));
            *latest = (*latest).max((record.version, record.offset));
        }
        let stays = |record: &Noted| {
            let is_latest = latest.get(&record.key) == Some(&(record.version, record.offset));
            !record.is_old || (compacted && is_latest)
        };
        // A key keeps its places in the partition; its records take them in the order of their versions. Old
        // records count, too, so that a place does not change when one of them stays behind.
        let mut by_key: HashMap<u64, Vec<usize>> = HashMap::new();
        for (at, record) in noted.iter().enumerate() {
            by_key.entry(record.key).or_default().push(at);
        }
        let mut by_key: HashMap<u64, _> = by_key
            .into_iter()
            .map(|(key, mut records)| {
                records.sort_unstable_by_key(|at| (noted[*at].version, noted[*at].offset));
                (key, records.into_iter())
            })
            .collect();
        let placed = noted.iter().filter_map(|record| {
            let at = by_key.get_mut(&record.key)?.next()?;
            Some(&noted[at])
        });
        let (moving, left): (Vec<&Noted>, Vec<&Noted>) = placed.partition(|record| stays(record));
        Self {
            offsets: moving.iter().map(|record| record.offset).collect(),
            left: left.iter().map(|record| record.mark).collect(),
        }
    }
}

fn version(headers: &Headers) -> i64 {
    let found = headers.iter().find(|(name, _)| name == header::SEQUENCE);
    found
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_default()
}

/// The parts of the log: each topic is one.
pub(super) async fn parts(embedded: &Embedded, to: Arc<dyn EventBus>) -> anyhow::Result<Vec<Part>> {
    let from = embedded.bus();
    let now = embedded.clock().now();
    let mut parts = Vec::new();
    let mut topics = from.topics().await?;
    topics.sort_by(|one, other| one.name.cmp(&other.name));
    for topic in topics {
        let mut plans = Vec::with_capacity(topic.partitions.into());
        for pages in Pages::of_topic(&from, &topic.name).await? {
            let plan = Plan::of(pages, &topic, now).await;
            let plan = plan.map_err(anyhow::Error::from_boxed);
            plans.push(plan.with_context(|| format!("could not read topic {}", topic.name))?);
        }
        let plans = Arc::new(plans);
        parts.push(Part {
            name: format!("topic {}", topic.name),
            source: Box::new(Here {
                bus: Arc::clone(&from),
                topic: topic.name.clone(),
                plans: Arc::clone(&plans),
            }),
            target: Box::new(There {
                bus: Arc::clone(&to),
                topic: topic.name,
                plans,
            }),
        });
    }
    Ok(parts)
}

fn row(partition: i32, number: usize, record: &Record, text: String) -> Result<Row, BoxError> {
    let key = [
        Key::Number(partition.into()),
        Key::Number(i64::try_from(number)?),
    ];
    Ok(Row {
        beside: record.time.timestamp_millis(),
        ..Row::new(key, text)
    })
}

/// A topic of the folder.
struct Here {
    bus: Arc<dyn EventBus>,
    topic: String,
    plans: Plans,
}

impl Here {
    /// The record at `offset`, from `page` where it is there.
    async fn record(
        &self,
        partition: i32,
        offset: i64,
        page: &mut Vec<Record>,
    ) -> Result<Record, BoxError> {
        let place = |page: &[Record]| page.binary_search_by_key(&offset, |record| record.offset);
        let first = page.first().map_or(i64::MIN, |record| record.offset);
        if place(page).is_err() && offset < first {
            // Out of order: this one is read by itself.
            let one = self.bus.read(&self.topic, partition, offset, 1).await?;
            let one = one.into_iter().find(|record| record.offset == offset);
            return one.ok_or_else(|| "a record is gone".into());
        }
        if place(page).is_err() {
            *page = self.bus.read(&self.topic, partition, offset, PAGE).await?;
        }
        let found = place(page).ok().and_then(|place| page.get(place));
        found.cloned().ok_or_else(|| "a record is gone".into())
    }
}

#[async_trait]
impl Side for Here {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        for (partition, plan) in (0_i32..).zip(self.plans.iter()) {
            let mut page = Vec::new();
            for (number, offset) in plan.offsets.iter().enumerate() {
                let record = self.record(partition, *offset, &mut page).await?;
                let row = row(partition, number, &record, text(&record)?)?;
                if !rows.give(row).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A topic of the fleet.
struct There {
    bus: Arc<dyn EventBus>,
    topic: String,
    plans: Plans,
}

#[async_trait]
impl Side for There {
    async fn read(&self, rows: &Rows) -> Result<(), BoxError> {
        let partitions = match Pages::of_topic(&self.bus, &self.topic).await {
            // It is not made yet.
            Err(BusError::UnknownTopic(_)) => Vec::new(),
            partitions => partitions?,
        };
        let nothing = HashSet::new();
        for (partition, mut pages) in (0_i32..).zip(partitions) {
            let plan = usize::try_from(partition)
                .ok()
                .and_then(|at| self.plans.get(at));
            let left = plan.map_or(&nothing, |plan| &plan.left);
            let mut seen = HashSet::new();
            while let Some(record) = pages.next().await? {
                let text = text(&record)?;
                let mark = mark(&text);
                if left.contains(&mark) || !seen.insert(mark) {
                    continue;
                }
                let row = row(partition, seen.len() - 1, &record, text)?;
                if !rows.give(row).await {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Target for There {
    async fn insert(&self, rows: Vec<Row>) -> Result<(), BoxError> {
        let mut batch = Vec::with_capacity(rows.len());
        for row in rows {
            let Text {
                key,
                headers,
                value,
            } = serde_json::from_str(&row.text)?;
            batch.push(Message {
                topic: self.topic.clone(),
                key: key.ok_or("a record without a key")?,
                headers,
                value: STANDARD.decode(value)?,
                time: DateTime::from_timestamp_millis(row.beside).unwrap_or_default(),
            });
        }
        Ok(self.bus.publish(&batch).await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(records: &[(i64, u64, i64, bool)]) -> Vec<Noted> {
        let noted = records.iter().map(|(offset, key, version, is_old)| Noted {
            offset: *offset,
            mark: offset.to_le_bytes().repeat(2).try_into().unwrap(),
            key: *key,
            version: *version,
            is_old: *is_old,
        });
        noted.collect()
    }

    const COMPACT: Cleanup = Cleanup::Compact { after_ms: 1 };
    const DELETE: Cleanup = Cleanup::Delete { after_ms: 1 };

    #[test]
    fn the_records_of_a_key_come_by_version_and_others_stay_where_they_are() {
        let records = noted(&[
            (0, 7, 2, false),
            (1, 8, 1, false),
            (2, 7, 1, false),
            (5, 7, 3, false),
            (6, 8, 2, false),
        ]);
        assert_eq!(Plan::over(&records, COMPACT).offsets, [2, 1, 0, 5, 6]);
    }

    #[test]
    fn a_place_does_not_change_when_a_record_grows_old() {
        // Version 2 lies before version 1, which ages first.
        let plan = |is_old| {
            let records = noted(&[
                (0, 7, 2, false),
                (1, 8, 1, false),
                (2, 7, 1, is_old),
                (3, 8, 2, false),
            ]);
            Plan::over(&records, DELETE).offsets
        };
        assert_eq!(plan(false), [2, 1, 0, 3]);
        assert_eq!(plan(true), [1, 0, 3]);
    }

    #[test]
    fn what_a_topic_would_let_go_of_stays_behind() {
        let records = || {
            noted(&[
                (0, 7, 1, true),
                (1, 7, 2, true),
                (2, 8, 1, true),
                (3, 8, 2, false),
            ])
        };
        let compacted = Plan::over(&records(), COMPACT);
        assert_eq!(compacted.offsets, [1, 3]);
        assert_eq!(compacted.left.len(), 2);
        assert_eq!(Plan::over(&records(), DELETE).offsets, [3]);
    }
}
