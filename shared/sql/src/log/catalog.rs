//! The topics as the file keeps them.

use std::collections::BTreeMap;

use blocks::bus::TopicSpec;
use events::Cleanup;

use super::topics::TopicState;
use crate::db::Db;
use crate::error::StoreError;
use crate::tx::Tx;
use crate::{execute, fetch_all, fetch_one};

/// Makes topics with their partitions, all or none.
pub(super) async fn make(
    tx: &mut Tx,
    wanted: BTreeMap<String, TopicSpec>,
) -> Result<Vec<TopicState>, StoreError> {
    let mut made = Vec::with_capacity(wanted.len());
    for spec in wanted.into_values() {
        let (cleanup, after_ms) = columns(spec.cleanup);
        let count = i32::from(spec.partitions);
        execute!(tx,
            "insert into topics (name, partitions, cleanup, after_ms) values ($1, $2, $3, $4)"
            => &spec.name, count, cleanup, after_ms)?;
        let mut partitions = Vec::with_capacity(spec.partitions.into());
        for partition in 0..count {
            let id: i64 = fetch_one!(tx, scalar
                "insert into partitions (topic, partition) values ($1, $2) returning id"
                => &spec.name, partition)?;
            partitions.push((id, 0));
        }
        made.push(TopicState::new(spec.name, spec.cleanup, &partitions));
    }
    Ok(made)
}

/// Loads the topics from the file.
pub(super) async fn load(db: &Db) -> Result<Vec<TopicState>, StoreError> {
    let mut reader = db.read().await?;
    let topics: Vec<(String, String, i64)> =
        fetch_all!(reader, "select name, cleanup, after_ms from topics")?;
    let partitions: Vec<(String, i64, i64)> = fetch_all!(
        reader,
        "select topic, id, max(next_offset, coalesce(1 - (id << 40) +
            (select max(place) from records where place >= id << 40 and place < (id + 1) << 40), 0))
         from partitions order by topic, partition"
    )?;
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
            execute!(tx, "update topics set cleanup = $1, after_ms = $2 where name = $3"
                => cleanup, after_ms, &name)?;
            execute!(tx, "update partitions set compacted_to = 0 where topic = $1" => &name)?;
            for (start, end) in places {
                execute!(tx,
                    "update records set compacted = $1
                     where place >= $2 and place < $3 and compacted <> $1"
                    => compacted, start, end)?;
            }
            Ok(())
        })
    })
    .await
}
