//! The group's state of each key: its version, and its block.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use blocks::consumer::{Block, Key, Known, Reason};
use chrono::{DateTime, Utc};
use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::Shared;
use crate::error::StoreError;
use crate::tx::Tx;
use crate::{execute, fetch_all};

/// The block in a row of `parked_keys`.
#[derive(sqlx_macros::FromRow)]
pub struct BlockRow {
    reason: String,
    error: String,
    attempts: i64,
    retry_at: Option<DateTime<Utc>>,
    since: DateTime<Utc>,
    partition: i32,
}

impl BlockRow {
    /// The block; `None` where its reason is unknown.
    pub fn block(self) -> Option<Block> {
        Some(Block {
            reason: Reason::parse(&self.reason)?,
            error: self.error,
            attempts: self.attempts,
            retry_at: self.retry_at,
            since: self.since,
            partition: self.partition,
        })
    }
}

#[derive(sqlx_macros::FromRow)]
struct ParkedRow {
    key: String,
    #[sqlx(flatten)]
    block: BlockRow,
}

/// Loads the state of `keys`. Blocks are read first and locked: a retry that runs elsewhere is waited for,
/// and the versions are those after it.
pub(super) async fn load<'a>(
    tx: &mut Tx,
    shared: &Shared,
    keys: impl IntoIterator<Item = &'a Key>,
) -> Result<HashMap<Key, Known>, StoreError> {
    let mut by_topic: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for key in keys {
        by_topic.entry(&key.topic).or_default().insert(&key.key);
    }
    let among = tx.dialect().json_texts("$3");
    let lock = tx.dialect().for_update();
    let blocked = format!(
        "select key, reason, error, attempts, retry_at, since, partition from parked_keys
         where consumer_group = $1 and topic = $2 and key in {among}{lock}"
    );
    let versions = format!(
        "select key, version from consumer_versions
         where consumer_group = $1 and topic = $2 and key in {among}"
    );
    let mut known: HashMap<Key, Known> = HashMap::new();
    for (topic, keys) in by_topic {
        let list = serde_json::to_string(&keys)?;
        let blocked: Vec<ParkedRow> = fetch_all!(tx, AssertSqlSafe(blocked.as_str())
            => shared.member.group, topic, &list)?;
        let versions: Vec<(String, i64)> = fetch_all!(tx, AssertSqlSafe(versions.as_str())
            => shared.member.group, topic, &list)?;
        for (key, version) in versions {
            known.entry(Key::new(topic, &key)).or_default().version = Some(version);
        }
        for row in blocked {
            let key = Key::new(topic, &row.key);
            known.entry(key).or_default().block = row.block.block();
        }
    }
    Ok(known)
}

/// Up to `max` keys that are due, the longest due first.
pub(super) async fn due(shared: &Shared, max: i64) -> Result<Vec<Key>, StoreError> {
    let now = shared.db.settings().clock.now();
    let mut reader = shared.db.read().await?;
    let rows: Vec<(String, String)> = fetch_all!(reader,
        "select topic, key from parked_keys where consumer_group = $1 and retry_at <= $2
         order by retry_at limit $3" => shared.member.group, now, max)?;
    let keys = rows.iter().map(|(topic, key)| Key::new(topic, key));
    Ok(keys.collect())
}

#[derive(Serialize)]
struct VersionRow<'a> {
    topic: &'a str,
    key: &'a str,
    version: i64,
}

/// Stores the versions that moved.
pub(super) async fn store(
    tx: &mut Tx,
    shared: &Shared,
    keys: &HashMap<Key, Known>,
) -> Result<(), StoreError> {
    let moved = keys.iter().filter(|(_, known)| known.moved);
    let rows: Vec<VersionRow> = moved
        .filter_map(|(key, known)| {
            Some(VersionRow {
                topic: &key.topic,
                key: &key.key,
                version: known.version?,
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

/// Blocks `key`, or changes the reason.
pub(super) async fn block(
    tx: &mut Tx,
    shared: &Shared,
    key: &Key,
    block: &Block,
) -> Result<(), StoreError> {
    execute!(tx,
        "insert into parked_keys
            (consumer_group, topic, key, reason, error, attempts, retry_at, since, partition)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
         on conflict (consumer_group, topic, key) do update set reason = excluded.reason,
            error = excluded.error, attempts = excluded.attempts, retry_at = excluded.retry_at"
        => shared.member.group, &*key.topic, &*key.key, block.reason.as_str(), &block.error,
            block.attempts, block.retry_at, block.since, block.partition)
}

/// Removes the block of `key`.
pub(super) async fn unblock(tx: &mut Tx, shared: &Shared, key: &Key) -> Result<(), StoreError> {
    execute!(tx, "delete from parked_keys where consumer_group = $1 and topic = $2 and key = $3"
        => shared.member.group, &*key.topic, &*key.key)
}
