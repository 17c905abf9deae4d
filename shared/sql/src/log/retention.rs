//! Letting go of old records, in pages: a publisher never waits for more than one.

use blocks::bus::TopicPartition;
use chrono::{DateTime, Utc};
use events::Cleanup;

use super::TopicLog;
use super::records::sqlite;
use super::topics::{Partition, TopicState};
use crate::error::StoreError;

/// How many records are looked at in one write.
const PAGE: i64 = 500;

impl TopicLog {
    /// Drops what the topics no longer keep at `now`; answers how many records went.
    ///
    /// # Errors
    /// When the file can't be read or written; what was dropped until then stays dropped.
    pub async fn clean_up(&self, now: DateTime<Utc>) -> Result<u64, StoreError> {
        let mut removed = 0;
        for topic in self.inner.topics.all() {
            for number in 0..topic.partitions.len() {
                let partition = &topic.partitions[number];
                let of_partition = match topic.cleanup() {
                    Cleanup::Delete { after_ms } => {
                        self.drop_old(partition, cutoff(now, after_ms)).await?
                    }
                    Cleanup::Compact { after_ms } => {
                        self.compact(partition, cutoff(now, after_ms)).await?
                    }
                };
                if of_partition > 0 {
                    partition.drop_tail();
                    tell(&topic, number, of_partition);
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
                        let conn = sqlite(tx.conn());
                        sqlx::query(
                            "update partitions set next_offset = max(next_offset, coalesce(
                                (select max(place) - $2 + 1 from records
                                 where place >= $2 and place < $3), 0))
                             where id = $1",
                        )
                        .bind(id)
                        .bind(start)
                        .bind(end)
                        .execute(&mut *conn)
                        .await?;
                        let done = sqlx::query(
                            "delete from records where place in
                                (select place from
                                    (select place, time_ms from records
                                     where place >= $1 and place < $2 order by place limit $3)
                                 where time_ms < $4)",
                        )
                        .bind(start)
                        .bind(end)
                        .bind(PAGE)
                        .bind(cutoff)
                        .execute(&mut *conn)
                        .await?;
                        Ok::<_, StoreError>(done.rows_affected())
                    })
                })
                .await?;
            removed += page;
            if i64::try_from(page).is_ok_and(|page| page < PAGE) {
                return Ok(removed);
            }
        }
    }

    /// Drops old records that a newer one of their key has superseded.
    ///
    /// Only what came since the last time can supersede, so only that is walked through: for each
    /// of its keys, the old records below it go.
    async fn compact(&self, partition: &Partition, cutoff: i64) -> Result<u64, StoreError> {
        let (start, head) = (partition.place(0), partition.place(partition.head()));
        let mut from = partition.place(self.compacted_to(partition.id).await?);
        let walked_from = from;
        let mut removed = 0;
        while from < head {
            let to = (from + PAGE).min(head);
            removed += self
                .inner
                .db
                .write(move |tx| {
                    Box::pin(async move {
                        let done = sqlx::query(
                            "delete from records where place in
                                (select older.place from
                                    (select key, max(place) as place from records
                                     where place >= $1 and place < $2 group by key) as newer
                                 cross join records as older
                                 where older.compacted = 1 and older.key = newer.key
                                   and older.place >= $3 and older.place < newer.place
                                   and older.time_ms < $4)",
                        )
                        .bind(from)
                        .bind(to)
                        .bind(start)
                        .bind(cutoff)
                        .execute(sqlite(tx.conn()))
                        .await?;
                        Ok::<_, StoreError>(done.rows_affected())
                    })
                })
                .await?;
            from = to;
        }
        if walked_from < head {
            self.set_compacted_to(partition, walked_from, head, cutoff)
                .await?;
        }
        Ok(removed)
    }

    async fn compacted_to(&self, id: i64) -> Result<i64, StoreError> {
        let mut reader = self.inner.db.read().await?;
        let conn = sqlite(reader.conn());
        Ok(
            sqlx::query_scalar("select compacted_to from partitions where id = $1")
                .bind(id)
                .fetch_one(conn)
                .await?,
        )
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
                    sqlx::query(
                        "update partitions set compacted_to = coalesce(
                            (select place from records where place >= $2 and place < $3
                             and time_ms >= $4 order by place limit 1), $3) - $5
                         where id = $1",
                    )
                    .bind(id)
                    .bind(from)
                    .bind(head)
                    .bind(cutoff)
                    .bind(start)
                    .execute(sqlite(tx.conn()))
                    .await?;
                    Ok(())
                })
            })
            .await
    }
}

fn cutoff(now: DateTime<Utc>, after_ms: u64) -> i64 {
    now.timestamp_millis().saturating_sub_unsigned(after_ms)
}

fn tell(topic: &TopicState, number: usize, removed: u64) {
    let partition = TopicPartition {
        topic: topic.name.clone(),
        partition: i32::try_from(number).unwrap_or(i32::MAX),
    };
    tracing::debug!(
        topic = partition.topic,
        partition = partition.partition,
        removed,
        "old records removed"
    );
}
