//! The group's state of each key: its version, and its block.

use std::collections::HashMap;

use blocks::consumer::Reason;
use blocks::consumer::decide::KeyState;
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::Shared;
use crate::error::StoreError;
use crate::tx::Tx;
use crate::{execute, fetch_all};

/// A key of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key {
    pub topic: String,
    pub key: String,
}

/// A key's state while a batch is written.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Known {
    pub state: KeyState,
    pub attempts: i64,
    /// True if its version moved and must be stored.
    pub moved: bool,
}

/// Loads the state of `keys`, all of one topic. Blocks are read first and locked: a retry that runs
/// elsewhere is waited for, and the versions are those after it.
pub(super) async fn load(
    tx: &mut Tx,
    shared: &Shared,
    topic: &str,
    keys: &[&str],
) -> Result<HashMap<Key, Known>, StoreError> {
    let list = serde_json::to_string(keys)?;
    let among = tx.dialect().json_texts("$3");
    let lock = tx.dialect().for_update();
    let blocked = format!(
        "select key, reason, attempts from parked_keys
         where consumer_group = $1 and topic = $2 and key in {among}{lock}"
    );
    let versions = format!(
        "select key, version from consumer_versions
         where consumer_group = $1 and topic = $2 and key in {among}"
    );
    let blocked: Vec<(String, String, i64)> = fetch_all!(tx, AssertSqlSafe(blocked)
        => shared.group, topic, &list)?;
    let versions: Vec<(String, i64)> = fetch_all!(tx, AssertSqlSafe(versions)
        => shared.group, topic, &list)?;
    let of = |key: String| Key {
        topic: topic.to_owned(),
        key,
    };
    let mut known: HashMap<Key, Known> = HashMap::with_capacity(keys.len());
    for (key, version) in versions {
        known.entry(of(key)).or_default().state.known = Some(version);
    }
    for (key, reason, attempts) in blocked {
        let entry = known.entry(of(key)).or_default();
        entry.state.blocked = Reason::parse(&reason);
        entry.attempts = attempts;
    }
    Ok(known)
}

#[derive(Serialize)]
struct VersionRow<'a> {
    topic: &'a str,
    key: &'a str,
    version: i64,
}

/// Stores the versions that moved.
pub(super) async fn store<'a>(
    tx: &mut Tx,
    shared: &Shared,
    keys: impl Iterator<Item = (&'a Key, &'a Known)>,
) -> Result<(), StoreError> {
    let rows: Vec<VersionRow> = keys
        .filter(|(_, known)| known.moved)
        .filter_map(|(key, known)| {
            let version = known.state.known?;
            Some(VersionRow {
                topic: &key.topic,
                key: &key.key,
                version,
            })
        })
        .collect();
    shared
        .insert(
            tx,
            &rows,
            "consumer_versions (consumer_group, topic, key, version, seen_at)
             select $1, value ->> 'topic', value ->> 'key', cast(value ->> 'version' as bigint), $2",
            "(consumer_group, topic, key) do update
             set version = excluded.version, seen_at = excluded.seen_at",
        )
        .await
}

/// A new block of a key.
pub(super) struct Block<'a> {
    /// The partition of the key's records.
    pub partition: i32,
    pub reason: Reason,
    pub error: &'a str,
    pub attempts: i64,
    pub retry_at: Option<DateTime<Utc>>,
}

/// Blocks `key`, or changes the reason.
pub(super) async fn block(
    tx: &mut Tx,
    shared: &Shared,
    key: &Key,
    block: Block<'_>,
) -> Result<(), StoreError> {
    let now = tx.now();
    // PostgreSQL takes no NUL in a text, and an error may quote anything.
    let error = block.error.replace('\0', "\u{fffd}");
    execute!(tx,
        "insert into parked_keys
            (consumer_group, topic, key, reason, error, attempts, retry_at, since, partition)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (consumer_group, topic, key) do update set reason = excluded.reason,
            error = excluded.error, attempts = excluded.attempts, retry_at = excluded.retry_at"
        => shared.group, &key.topic, &key.key, block.reason.as_str(), error, block.attempts,
            block.retry_at, now, block.partition)
}

/// Removes the block of `key`.
pub(super) async fn unblock(tx: &mut Tx, shared: &Shared, key: &Key) -> Result<(), StoreError> {
    execute!(tx, "delete from parked_keys where consumer_group = $1 and topic = $2 and key = $3"
        => shared.group, &key.topic, &key.key)
}
