//! The inbox: waiting events with their bytes, and processed ones for people to read.

use std::collections::BTreeMap;

use blocks::consumer::Key;
use blocks::consumer::plan::InboxRow;
use chrono::TimeDelta;
use events::topic::WEEK_MS;
use serde::Serialize;

use super::Shared;
use crate::error::StoreError;
use crate::tx::Tx;
use crate::{execute, fetch_all, rows_affected};

/// Number of processed rows that a clean-up removes in one write.
const REMOVE_PAGE: i64 = 1000;

/// A row on its way in.
#[derive(Serialize)]
struct NewRow<'a> {
    topic: &'a str,
    key: &'a str,
    version: i64,
    id: String,
    #[serde(rename = "type")]
    event_type: Option<&'a str>,
    status: &'static str,
    record: Option<&'a str>,
}

/// Stores `rows` in one statement.
pub(super) async fn store(
    tx: &mut Tx,
    shared: &Shared,
    rows: &[InboxRow],
) -> Result<(), StoreError> {
    // An event that came twice in a batch is one row: PostgreSQL refuses to write it twice at once.
    let mut unique = BTreeMap::new();
    for row in rows {
        let event = row.event.as_ref();
        let new = NewRow {
            topic: &row.key.topic,
            key: &row.key.key,
            version: row.version,
            id: event.map_or_else(|| tx.id(), |(id, _)| *id).to_string(),
            event_type: event.map(|(_, event_type)| event_type.as_str()),
            status: if row.record.is_some() {
                "processing"
            } else {
                "processed"
            },
            record: row.record.as_deref(),
        };
        unique.insert((&row.key, row.version), new);
    }
    let rows: Vec<NewRow> = unique.into_values().collect();
    shared
        .insert(
            tx,
            &rows,
            "inbox_messages (consumer_group, topic, key, version, message_id, event_type,
                status, received_at, processed_at, record)
             select $1, value ->> 'topic', value ->> 'key', cast(value ->> 'version' as bigint),
                value ->> 'id', value ->> 'type', value ->> 'status', $2,
                case when value ->> 'status' = 'processed' then $2 end, value ->> 'record'",
            "(consumer_group, topic, key, version) do update
             set status = excluded.status, processed_at = excluded.processed_at,
                record = excluded.record",
        )
        .await
}

/// The versions and records of up to `max` events of `key` that wait, lowest version first.
pub(super) async fn parked(
    tx: &mut Tx,
    shared: &Shared,
    key: &Key,
    max: usize,
) -> Result<Vec<(i64, Option<String>)>, StoreError> {
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    fetch_all!(tx,
        "select version, record from inbox_messages
         where consumer_group = $1 and topic = $2 and key = $3 and status = 'processing'
         order by version limit $4" => shared.member.group, &*key.topic, &*key.key, max)
}

/// Notes that a waiting event of `key` had its effect, or is given up.
pub(super) async fn processed(
    tx: &mut Tx,
    shared: &Shared,
    key: &Key,
    version: i64,
) -> Result<(), StoreError> {
    let now = tx.now();
    let statement = if shared.member.keeps_inbox {
        "update inbox_messages set status = 'processed', processed_at = $5, record = null
         where consumer_group = $1 and topic = $2 and key = $3 and version = $4"
    } else {
        "delete from inbox_messages where consumer_group = $1 and topic = $2 and key = $3
         and version = $4 and received_at <= $5"
    };
    execute!(tx, statement => shared.member.group, &*key.topic, &*key.key, version, now)
}

/// Removes processed rows after a week; answers how many.
pub(super) async fn clean_up(shared: &Shared) -> Result<u64, StoreError> {
    let week = TimeDelta::milliseconds(i64::try_from(WEEK_MS).unwrap_or(i64::MAX));
    let before = shared.db.settings().clock.now() - week;
    let group = shared.member.group;
    shared
        .db
        .remove_in_pages(move |tx| {
            Box::pin(async move {
                rows_affected!(tx,
                    "delete from inbox_messages where status = 'processed'
                     and (consumer_group, topic, key, version) in (
                        select consumer_group, topic, key, version from inbox_messages
                        where status = 'processed' and consumer_group = $1
                        and processed_at < $2 limit $3)" => group, before, REMOVE_PAGE)
            })
        })
        .await
}
