//! Removes old records, in pages: a publisher never waits for more than one.

use chrono::{DateTime, Utc};
use events::Cleanup;

use super::TopicLog;
use super::topics::Partition;
use crate::error::StoreError;
use crate::tx::Tx;
use crate::{execute, fetch_one, fetch_optional, rows_affected};

/// Number of records visited in one write.
const PAGE: i64 = 500;

impl TopicLog {
    /// Drops the records that the topics no longer keep at `now`; answers how many.
    ///
    /// # Errors
    /// When the file can't be read or written; records dropped until then stay dropped.
    pub async fn clean_up(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut removed = 0;
        for topic in self.inner.topics.all() {
            let (Cleanup::Delete { after_ms } | Cleanup::Compact { after_ms }) = topic.cleanup();
            let cutoff = now.timestamp_millis().saturating_sub_unsigned(after_ms);
            for (number, partition) in topic.partitions.iter().enumerate() {
                let of_partition = if topic.is_compacted() {
                    self.compact(partition, cutoff).await?
                } else {
                    self.drop_old(partition, cutoff).await?
                };
                if of_partition > 0 {
                    partition.drop_tail();
                    let (topic, removed) = (&topic.name, of_partition);
                    tracing::debug!(topic, partition = number, removed, "old records removed");
                }
                removed += of_partition;
            }
        }
        Ok(removed)
    }

    /// Drops old records from the start of a partition, until a page has one that stays.
    async fn drop_old(&self, partition: &Partition, cutoff: i64) -> Result<u64, StoreError> {
        let (id, start, end) = (partition.id, partition.place(0), partition.end());
        let mut removed = 0;
        loop {
            let page = self
                .inner
                .db
                .write(move |tx| {
                    Box::pin(async move {
                        execute!(tx,
                            "update partitions set next_offset = max(next_offset, coalesce(
                                (select max(place) - $2 + 1 from records
                                 where place >= $2 and place < $3), 0))
                             where id = $1" => id, start, end)?;
                        rows_affected!(tx,
                            "delete from records where place in
                                (select place from
                                    (select place, time_ms from records
                                     where place >= $1 and place < $2 order by place limit $3)
                                 where time_ms < $4)" => start, end, PAGE, cutoff)
                    })
                })
                .await?;
            removed += page;
            if i64::try_from(page).is_ok_and(|page| page < PAGE) {
                return Ok(removed);
            }
        }
    }

    /// Drops old records that a later version of their key has superseded; of the same version, the last
    /// record counts.
    ///
    /// A pair of records of one key is compared when the walk reaches the later one, so only records since
    /// the last time are visited.
    async fn compact(&self, partition: &Partition, cutoff: i64) -> Result<u64, StoreError> {
        let head = partition.place(partition.head());
        let walked_from = partition.place(self.compacted_to(partition.id).await?);
        let mut from = walked_from;
        let mut removed = 0;
        while from < head {
            let walk = Walk {
                from,
                to: (from + PAGE).min(head),
                start: partition.place(0),
                end: partition.end(),
                cutoff,
            };
            let (moved, dropped) = self
                .inner
                .db
                .write(move |tx| {
                    Box::pin(async move {
                        let moved = keep_the_end(tx, &walk).await?;
                        Ok::<_, StoreError>((moved, drop_superseded(tx, &walk).await?))
                    })
                })
                .await?;
            removed += u64::from(moved) + dropped;
            // A key may have more records than fit in a page: then these keys are visited again.
            if i64::try_from(dropped).is_ok_and(|dropped| dropped < PAGE) {
                from = walk.to;
            }
        }
        if walked_from < head {
            self.set_compacted_to(partition, walked_from, head, cutoff)
                .await?;
        }
        Ok(removed)
    }

    async fn compacted_to(&self, id: i64) -> Result<i64, StoreError> {
        let mut reader = self.inner.db.read().await?;
        fetch_one!(reader, scalar "select compacted_to from partitions where id = $1" => id)
    }

    /// Begins the next time at the first record that was still too young to go.
    async fn set_compacted_to(
        &self,
        partition: &Partition,
        from: i64,
        head: i64,
        cutoff: i64,
    ) -> Result<(), StoreError> {
        let (id, start) = (partition.id, partition.place(0));
        self.inner
            .db
            .write(move |tx| {
                Box::pin(async move {
                    execute!(tx,
                        "update partitions set compacted_to = coalesce(
                            (select place from records where place >= $2 and place < $3
                             and time_ms >= $4 order by place limit 1), $3) - $5
                         where id = $1" => id, from, head, cutoff, start)
                })
            })
            .await
    }
}

/// A page of a partition on its way through compaction, in places.
#[derive(Clone, Copy)]
struct Walk {
    /// The keys of the records from here …
    from: i64,
    /// … to here are checked,
    to: i64,
    /// among all records of the partition, from here …
    start: i64,
    /// … to here.
    end: i64,
    /// Only records older than this go.
    cutoff: i64,
}

/// Keeps a partition from ending in a hole: where its last record has to go, the latest version of that key
/// takes its place. A group has read everything when it stands behind the last record. True if there was
/// one to replace.
async fn keep_the_end(tx: &mut Tx, walk: &Walk) -> Result<bool, StoreError> {
    let last: Option<(i64, i64, Option<i64>)> = fetch_optional!(tx,
        "select last.place, last.time_ms,
            (select latest.place from records as latest
             where latest.compacted = 1 and latest.key = last.key
               and latest.place >= $1 and latest.place < $2
             order by latest.version desc, latest.place desc limit 1)
         from records as last where last.place >= $1 and last.place < $2
         order by last.place desc limit 1" => walk.start, walk.end)?;
    let Some((last, time_ms, Some(latest))) = last else {
        return Ok(false);
    };
    if latest == last || time_ms >= walk.cutoff {
        return Ok(false);
    }
    execute!(tx, "delete from records where place = $1" => last)?;
    execute!(tx, "update records set place = $1 where place = $2" => last, latest)?;
    Ok(true)
}

/// Drops up to a page of superseded records of the keys of `walk`; answers how many.
async fn drop_superseded(tx: &mut Tx, walk: &Walk) -> Result<u64, StoreError> {
    rows_affected!(tx,
        "delete from records where place in
            (select older.place from
                (select touched.key,
                    (select latest.place from records as latest
                     where latest.compacted = 1 and latest.key = touched.key
                       and latest.place >= $3 and latest.place < $4
                     order by latest.version desc, latest.place desc limit 1) as place
                 from (select distinct key from records
                       where place >= $1 and place < $2) as touched) as latest
             cross join records as older
             where older.compacted = 1 and older.key = latest.key
               and older.place >= $3 and older.place < $4 and older.place <> latest.place
               and older.time_ms < $5
             limit $6)" => walk.from, walk.to, walk.start, walk.end, walk.cutoff, PAGE)
}
