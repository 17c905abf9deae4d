//! The inbox: waiting events with their bytes, and processed ones for people to read.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use events::topic::WEEK_MS;
use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::Shared;
use super::keys::Key;
use crate::error::StoreError;
use crate::on;
use crate::tx::Tx;

/// Number of processed rows that a clean-up removes in one write.
const REMOVE_PAGE: i64 = 1000;

/// A row on its way in. `record` is present while it waits.
#[derive(Serialize)]
pub(super) struct InboxRow {
    pub topic: String,
    pub key: String,
    pub version: i64,
    pub id: String,
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    pub status: &'static str,
    pub record: Option<String>,
}

/// Stores `rows` in one statement.
pub(super) async fn store(
    tx: &mut Tx,
    shared: &Shared,
    rows: &[InboxRow],
) -> Result<(), StoreError> {
    if rows.is_empty() {
        return Ok(());
    }
    // An event that came twice in a batch is one row: PostgreSQL refuses to write it twice at once.
    let unique: BTreeMap<_, _> = rows
        .iter()
        .map(|row| ((&row.topic, &row.key, row.version), row))
        .collect();
    let list = serde_json::to_string(&unique.into_values().collect::<Vec<_>>())?;
    let statement = format!(
        "insert into inbox_messages (consumer_group, topic, key, version, message_id, event_type,
            status, received_at, processed_at, record)
         select $1, value ->> 'topic', value ->> 'key', cast(value ->> 'version' as bigint),
            value ->> 'id', value ->> 'type', value ->> 'status', $2,
            case when value ->> 'status' = 'processed' then $2 end, value ->> 'record'
         from {} where true
         on conflict (consumer_group, topic, key, version) do update
         set status = excluded.status, processed_at = excluded.processed_at,
            record = excluded.record",
        tx.json_rows("$3")
    );
    let now = tx.now();
    on!(tx, conn => sqlx::query(AssertSqlSafe(statement))
        .bind(shared.group)
        .bind(now)
        .bind(&list)
        .execute(&mut *conn)
        .await
        .map(|_| ()))?;
    Ok(())
}

/// An event of `key` that waits.
#[derive(sqlx_macros::FromRow)]
pub(super) struct ParkedRow {
    pub version: i64,
    pub record: Option<String>,
}

/// Up to `max` events of `key` that wait, lowest version first.
pub(super) async fn parked(
    tx: &mut Tx,
    shared: &Shared,
    key: &Key,
    max: i64,
) -> Result<Vec<ParkedRow>, StoreError> {
    on!(tx, conn => sqlx::query_as(
        "select version, record from inbox_messages
         where consumer_group = $1 and topic = $2 and key = $3 and status = 'processing'
         order by version limit $4",
    )
    .bind(shared.group)
    .bind(&key.topic)
    .bind(&key.key)
    .bind(max)
    .fetch_all(&mut *conn)
    .await)
}

/// Notes that a waiting event of `key` had its effect, or is given up.
pub(super) async fn processed(
    tx: &mut Tx,
    shared: &Shared,
    key: &Key,
    version: i64,
) -> Result<(), StoreError> {
    let now = tx.now();
    let statement = if shared.db.settings().keep_inbox {
        "update inbox_messages set status = 'processed', processed_at = $5, record = null
         where consumer_group = $1 and topic = $2 and key = $3 and version = $4"
    } else {
        "delete from inbox_messages where consumer_group = $1 and topic = $2 and key = $3
         and version = $4 and received_at <= $5"
    };
    on!(tx, conn => sqlx::query(statement)
        .bind(shared.group)
        .bind(&key.topic)
        .bind(&key.key)
        .bind(version)
        .bind(now)
        .execute(&mut *conn)
        .await
        .map(|_| ()))
}

/// Removes processed rows after a week; answers how many.
pub(super) async fn clean_up(shared: &Shared) -> Result<u64, StoreError> {
    let week = TimeDelta::milliseconds(i64::try_from(WEEK_MS).unwrap_or(i64::MAX));
    let before = shared.db.settings().clock.now() - week;
    let group = shared.group;
    let mut removed = 0;
    loop {
        let page = shared
            .db
            .write(move |tx| {
                Box::pin(async move {
                    on!(tx, conn => sqlx::query(
                        "delete from inbox_messages where status = 'processed'
                         and (consumer_group, topic, key, version) in (
                            select consumer_group, topic, key, version from inbox_messages
                            where status = 'processed' and consumer_group = $1
                            and processed_at < $2 limit $3)",
                    )
                    .bind(group)
                    .bind(before)
                    .bind(REMOVE_PAGE)
                    .execute(&mut *conn)
                    .await
                    .map(|done| done.rows_affected()))
                })
            })
            .await?;
        removed += page;
        if page == 0 {
            return Ok(removed);
        }
    }
}
