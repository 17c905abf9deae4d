//! An operator's view and actions: blocked keys, replay, discard, reset.

use std::sync::Arc;

use blocks::bus::Record;
use blocks::consumer::decide::Base;
use blocks::consumer::parked::read_record;
use blocks::consumer::plan::listed_since;
use blocks::consumer::{Blocked, Key, Plan, Pulse, Reason};
use chrono::{DateTime, Utc};
use sqlx::AssertSqlSafe;

use super::{Shared, batch, inbox, keys};
use crate::error::StoreError;
use crate::{execute, fetch_all, fetch_one, fetch_optional};

#[derive(sqlx_macros::FromRow)]
struct BlockedRow {
    id: i64,
    topic: String,
    key: String,
    reason: String,
    error: String,
    attempts: i64,
    since: DateTime<Utc>,
    version: Option<i64>,
    event_type: Option<String>,
    waiting: i64,
}

pub(super) async fn blocked(shared: &Shared) -> Result<Vec<Blocked>, StoreError> {
    let listed = listed_since(shared.db.settings().clock.now());
    let mut reader = shared.db.read().await?;
    let rows: Vec<BlockedRow> = fetch_all!(reader,
        "select k.id, k.topic, k.key, k.reason, k.error, k.attempts, k.since,
            w.version, w.waiting,
            (select m.event_type from inbox_messages m where m.consumer_group = k.consumer_group
                and m.topic = k.topic and m.key = k.key and m.version = w.version) as event_type
         from parked_keys k left join (
            select consumer_group, topic, key, min(version) as version, count(*) as waiting
            from inbox_messages where status = 'processing' group by consumer_group, topic, key
         ) w on w.consumer_group = k.consumer_group and w.topic = k.topic and w.key = k.key
         where k.consumer_group = $1 and (k.reason <> 'gap' or k.since <= $2)
         order by k.id" => shared.member.group, listed)?;
    let group = shared.member.group.to_owned();
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            Some(Blocked {
                id: row.id,
                group: group.clone(),
                topic: row.topic,
                key: row.key,
                reason: Reason::parse(&row.reason)?,
                error: row.error,
                attempts: row.attempts,
                since: row.since,
                version: row.version,
                event_type: row.event_type,
                waiting: row.waiting,
            })
        })
        .collect())
}

#[derive(sqlx_macros::FromRow)]
struct PulseRow {
    next_due: Option<DateTime<Utc>>,
    blocked: i64,
    gaps: i64,
}

pub(super) async fn pulse(shared: &Shared) -> Result<Pulse, StoreError> {
    let mut reader = shared.db.read().await?;
    let row: PulseRow = fetch_one!(reader,
        "select min(retry_at) as next_due,
            coalesce(sum(case when reason <> 'gap' or since <= $2 then 1 else 0 end), 0) as blocked,
            coalesce(sum(case when reason = 'gap' then 1 else 0 end), 0) as gaps
         from parked_keys where consumer_group = $1" => shared.member.group, listed_since(shared.db.settings().clock.now()))?;
    Ok(Pulse {
        next_due: row.next_due,
        blocked: row.blocked,
        gaps: row.gaps,
    })
}

/// Makes gaps due whose missing versions will not come any more; see
/// [`blocks::consumer::ConsumerStore::give_up_gaps`].
pub(super) async fn give_up_gaps(
    shared: &Arc<Shared>,
    topic: &str,
    partitions: &[i32],
) -> Result<(), StoreError> {
    let (topic, partitions) = (topic.to_owned(), serde_json::to_string(partitions)?);
    let any = shared.member.base(&topic) == Base::Any;
    let (group, listed) = (
        shared.member.group,
        listed_since(shared.db.settings().clock.now()),
    );
    shared
        .db
        .write(move |tx| {
            Box::pin(async move {
                let among = tx.dialect().json_integers("$5");
                let statement = format!(
                    "update parked_keys set retry_at = $1
                     where consumer_group = $2 and topic = $3 and reason = 'gap'
                     and retry_at is null and since <= $4 and partition in {among}
                     and ($6 or not exists (
                        select 1 from consumer_versions v where v.consumer_group = $2
                        and v.topic = $3 and v.key = parked_keys.key))"
                );
                let now = tx.now();
                execute!(tx, AssertSqlSafe(statement)
                    => now, group, &topic, listed, &partitions, any)
            })
        })
        .await
}

pub(super) async fn waiting(shared: &Shared, id: i64, max: i64) -> Result<Vec<Record>, StoreError> {
    let mut reader = shared.db.read().await?;
    let rows: Vec<(String, String)> = fetch_all!(reader,
        "select m.topic, m.record from inbox_messages m join parked_keys k
            on k.consumer_group = m.consumer_group and k.topic = m.topic and k.key = m.key
         where k.id = $1 and k.consumer_group = $2 and m.status = 'processing'
            and m.record is not null
         order by m.version limit $3" => id, shared.member.group, max)?;
    rows.iter()
        .map(|(topic, record)| read_record(topic, record).map_err(StoreError::Unavailable))
        .collect()
}

/// Makes the key with number `id` due with fresh attempts; with `discards`, gives up what it waits for before.
/// False when there is no such key.
pub(super) async fn resume(
    shared: &Arc<Shared>,
    id: i64,
    discards: bool,
) -> Result<bool, StoreError> {
    let of_write = Arc::clone(shared);
    shared
        .db
        .write(move |tx| {
            Box::pin(async move {
                let statement = format!(
                    "select topic, key from parked_keys where id = $1 and consumer_group = $2{}",
                    tx.dialect().for_update()
                );
                let found: Option<(String, String)> = fetch_optional!(tx, AssertSqlSafe(statement)
                    => id, of_write.member.group)?;
                let Some((topic, key)) = found else {
                    return Ok(false);
                };
                let key = Key::new(&topic, &key);
                let keys = keys::load(tx, &of_write, [&key]).await?;
                let mut plan = Plan::new(&of_write.member, tx.now(), keys);
                if discards {
                    let waiting = inbox::parked(tx, &of_write, &key, 1).await?;
                    plan.discard(&key, waiting.first().map(|(version, _)| *version));
                } else {
                    plan.replay(&key);
                }
                batch::store(tx, &of_write, plan).await?;
                Ok(true)
            })
        })
        .await
}

pub(super) async fn reset(shared: &Arc<Shared>, topics: Vec<String>) -> Result<(), StoreError> {
    let of_write = Arc::clone(shared);
    shared
        .db
        .write(move |tx| {
            Box::pin(async move {
                let list = serde_json::to_string(&topics)?;
                let among = tx.dialect().json_texts("$2");
                for table in [
                    "consumer_offsets",
                    "consumer_versions",
                    "inbox_messages",
                    "parked_keys",
                ] {
                    let statement = format!(
                        "delete from {table} where consumer_group = $1 and topic in {among}"
                    );
                    execute!(tx, AssertSqlSafe(statement) => of_write.member.group, &list)?;
                }
                of_write.handler.reset(tx, &topics).await
            })
        })
        .await
}
