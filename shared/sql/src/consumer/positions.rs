//! A group's offset in each partition.

use std::sync::Arc;

use blocks::bus::{Record, TopicPartition, partitions_of};
use blocks::consumer::Offsets;
use serde::Serialize;
use sqlx::AssertSqlSafe;

use super::Shared;
use crate::dialect::Dialect;
use crate::error::StoreError;
use crate::fetch_all;
use crate::tx::Tx;

/// The group's offsets, those of the partitions in `records` among them, locked against another member.
pub(super) async fn stored(
    tx: &mut Tx,
    shared: &Shared,
    records: &[Record],
) -> Result<Offsets, StoreError> {
    if tx.dialect() == Dialect::Postgres {
        // A row that is not there can't be locked, and two members may hold the same first batch.
        let unknown = partitions_of(records);
        let rows = unknown.iter().map(|of| (of, 0));
        write(tx, shared, rows, "do nothing").await?;
    }
    let statement = format!(
        "select topic, partition, next_offset from consumer_offsets where consumer_group = $1
         order by topic, partition{}",
        tx.dialect().for_update()
    );
    let rows: Vec<(String, i32, i64)> = fetch_all!(tx, AssertSqlSafe(statement)
        => shared.member.group)?;
    let mut stored: Offsets = rows
        .into_iter()
        .map(|(topic, partition, next)| (TopicPartition { topic, partition }, next))
        .collect();
    // A partition with a last known offset but no row was forgotten: it is at its start.
    for of in partitions_of(records) {
        stored.entry(of).or_insert(0);
    }
    Ok(stored)
}

#[derive(Serialize)]
struct PositionRow<'a> {
    topic: &'a str,
    partition: i32,
    next: i64,
}

/// Writes offsets in one statement; `on_conflict` says how existing rows change.
async fn write(
    tx: &mut Tx,
    shared: &Shared,
    positions: impl Iterator<Item = (&TopicPartition, i64)>,
    on_conflict: &'static str,
) -> Result<(), StoreError> {
    let rows: Vec<PositionRow> = positions
        .map(|(of, next)| PositionRow {
            topic: &of.topic,
            partition: of.partition,
            next,
        })
        .collect();
    shared
        .insert(
            tx,
            &rows,
            "consumer_offsets (consumer_group, topic, partition, next_offset, updated_at)
             select $1, value ->> 'topic', cast(value ->> 'partition' as integer),
                cast(value ->> 'next' as bigint), $2",
            on_conflict,
        )
        .await
}

pub(super) async fn store(
    tx: &mut Tx,
    shared: &Arc<Shared>,
    next: Offsets,
    stored: Offsets,
) -> Result<(), StoreError> {
    let rows = next.iter().map(|(of, next)| (of, *next));
    let replace = "(consumer_group, topic, partition) do update
        set next_offset = excluded.next_offset, updated_at = excluded.updated_at";
    write(tx, shared, rows, replace).await?;
    let shared = Arc::clone(shared);
    // This member now knows the offsets that another one moved, and those that it wrote itself.
    tx.after_commit(move || shared.member.learn(stored.into_iter().chain(next)));
    Ok(())
}
