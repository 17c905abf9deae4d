//! The topics as the file keeps them.

use std::collections::BTreeMap;

use blocks::bus::TopicSpec;
use events::Cleanup;

use super::records::sqlite;
use super::topics::TopicState;
use crate::db::Db;
use crate::error::StoreError;
use crate::tx::Tx;

/// Makes topics with their partitions, all or none.
pub(super) async fn make(
    tx: &mut Tx,
    wanted: BTreeMap<String, TopicSpec>,
) -> Result<Vec<TopicState>, StoreError> {
    let conn = sqlite(tx.conn());
    let mut made = Vec::with_capacity(wanted.len());
    for spec in wanted.into_values() {
        let (cleanup, after_ms) = columns(spec.cleanup);
        sqlx::query(
            "insert into topics (name, partitions, cleanup, after_ms) values ($1, $2, $3, $4)",
        )
        .bind(spec.name.as_str())
        .bind(spec.partitions)
        .bind(cleanup)
        .bind(after_ms)
        .execute(&mut *conn)
        .await?;
        let mut partitions = Vec::with_capacity(spec.partitions.into());
        for partition in 0..spec.partitions {
            let id: i64 = sqlx::query_scalar(
                "insert into partitions (topic, partition) values ($1, $2) returning id",
            )
            .bind(spec.name.as_str())
            .bind(partition)
            .fetch_one(&mut *conn)
            .await?;
            partitions.push((id, 0));
        }
        made.push(TopicState::new(spec.name, spec.cleanup, &partitions));
    }
    Ok(made)
}

/// Loads the topics from the file.
pub(super) async fn load(db: &Db) -> Result<Vec<TopicState>, StoreError> {
    let mut reader = db.read().await?;
    let conn = sqlite(reader.conn());
    let topics: Vec<(String, String, i64)> =
        sqlx::query_as("select name, cleanup, after_ms from topics")
            .fetch_all(&mut *conn)
            .await?;
    let partitions: Vec<(String, i64, i64)> = sqlx::query_as(
        "select topic, id, max(next_offset, coalesce(1 - (id << 40) +
            (select max(place) from records where place >= id << 40 and place < (id + 1) << 40), 0))
         from partitions order by topic, partition",
    )
    .fetch_all(&mut *conn)
    .await?;
    Ok(topics
        .into_iter()
        .map(|(name, cleanup, after_ms)| {
            let after_ms = after_ms.unsigned_abs();
            let cleanup = match cleanup.as_str() {
                "compact" => Cleanup::Compact { after_ms },
                _ => Cleanup::Delete { after_ms },
            };
            let own: Vec<(i64, i64)> = partitions
                .iter()
                .filter(|(topic, _, _)| *topic == name)
                .map(|(_, id, next)| (*id, *next))
                .collect();
            TopicState::new(name, cleanup, &own)
        })
        .collect())
}

fn columns(cleanup: Cleanup) -> (&'static str, i64) {
    let (word, after_ms) = match cleanup {
        Cleanup::Delete { after_ms } => ("delete", after_ms),
        Cleanup::Compact { after_ms } => ("compact", after_ms),
    };
    (word, i64::try_from(after_ms).unwrap_or(i64::MAX))
}

/// Changes how a topic removes old records.
pub(super) async fn change_cleanup(
    db: &Db,
    topic: &TopicState,
    spec: &TopicSpec,
) -> Result<(), StoreError> {
    let (name, (cleanup, after_ms)) = (spec.name.clone(), columns(spec.cleanup));
    let compacted = matches!(spec.cleanup, Cleanup::Compact { .. });
    let places: Vec<(i64, i64)> = topic
        .partitions
        .iter()
        .map(|partition| (partition.place(0), partition.end()))
        .collect();
    // Before the write, so that no record comes in between with the old mark; a write that
    // fails stops the start of the process anyway.
    topic.set_cleanup(spec.cleanup);
    db.write(move |tx| {
        Box::pin(async move {
            let conn = sqlite(tx.conn());
            sqlx::query("update topics set cleanup = $1, after_ms = $2 where name = $3")
                .bind(cleanup)
                .bind(after_ms)
                .bind(name.as_str())
                .execute(&mut *conn)
                .await?;
            sqlx::query("update partitions set compacted_to = 0 where topic = $1")
                .bind(name.as_str())
                .execute(&mut *conn)
                .await?;
            for (start, end) in places {
                sqlx::query(
                    "update records set compacted = $1
                             where place >= $2 and place < $3 and compacted <> $1",
                )
                .bind(compacted)
                .bind(start)
                .bind(end)
                .execute(&mut *conn)
                .await?;
            }
            Ok(())
        })
    })
    .await
}
