//! The table of records: appending in bulk, reading in order.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use blocks::bus::{Record, Watermarks};
use chrono::DateTime;
use events::{Headers, Message, header};
use futures::TryStreamExt;

use super::topics::{TopicState, size};
use crate::conn::SqliteConn;
use crate::db::Db;
use crate::error::StoreError;
use crate::fetch_all;
use crate::tx::{Conn, Tx};

/// The most bytes of records read at once, unless one alone is larger.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Inserts of 64, 32 … 1 rows: few statements a batch, and few texts for SQLite to remember.
static INSERTS: LazyLock<Vec<(usize, String)>> = LazyLock::new(|| {
    (0..7)
        .rev()
        .map(|power| {
            let rows = 1 << power;
            let values = vec!["(?, ?, ?, ?, ?, ?, ?)"; rows].join(", ");
            let text = format!(
                "insert into records (place, time_ms, compacted, key, version, headers, value)
                 values {values}"
            );
            (rows, text)
        })
        .collect()
});

/// A message with its partition, ready to be written.
pub(super) struct Arrival {
    pub(super) topic: Arc<TopicState>,
    pub(super) partition: usize,
    pub(super) headers: String,
    pub(super) message: Message,
}

/// The connection of a database that [`super::TopicLog::open`] made.
fn sqlite(conn: Conn<'_>) -> &mut SqliteConn {
    match conn {
        Conn::Sqlite(conn) => conn,
        Conn::Postgres(_) => unreachable!("the topic log is a SQLite file"),
    }
}

/// Appends `arrivals` in this write; after its commit they are shown to waiting members.
pub(super) async fn append(tx: &mut Tx, arrivals: Vec<Arrival>) -> Result<(), StoreError> {
    let mut next: BTreeMap<i64, i64> = BTreeMap::new();
    let mut offsets = Vec::with_capacity(arrivals.len());
    for arrival in &arrivals {
        let partition = &arrival.topic.partitions[arrival.partition];
        let next = next.entry(partition.id).or_insert_with(|| partition.next());
        offsets.push(*next);
        *next += 1;
    }
    let conn = sqlite(tx.conn());
    let mut done = 0;
    for (rows, text) in INSERTS.iter() {
        while arrivals.len() - done >= *rows {
            let mut insert = sqlx::query(text.as_str());
            for (arrival, offset) in arrivals[done..].iter().zip(&offsets[done..]).take(*rows) {
                insert = insert
                    .bind(arrival.topic.partitions[arrival.partition].place(*offset))
                    .bind(arrival.message.time.timestamp_millis())
                    .bind(arrival.topic.is_compacted())
                    .bind(arrival.message.key.as_str())
                    .bind(version(&arrival.message.headers))
                    .bind(arrival.headers.as_str())
                    .bind(arrival.message.value.as_slice());
            }
            insert.execute(&mut *conn).await?;
            done += rows;
        }
    }
    for arrival in &arrivals {
        let partition = &arrival.topic.partitions[arrival.partition];
        if let Some(next) = next.get(&partition.id) {
            partition.set_next(*next);
        }
    }
    tx.after_commit(move || show(arrivals, &offsets));
    Ok(())
}

/// A message's version of its key, from its headers; 0 without one.
fn version(headers: &Headers) -> i64 {
    headers
        .iter()
        .find(|(name, _)| name == header::SEQUENCE)
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or_default()
}

fn show(arrivals: Vec<Arrival>, offsets: &[i64]) {
    let mut by_partition: BTreeMap<i64, (Arc<TopicState>, usize, Vec<Record>)> = BTreeMap::new();
    for (arrival, offset) in arrivals.into_iter().zip(offsets) {
        let Arrival {
            topic,
            partition,
            message,
            ..
        } = arrival;
        let id = topic.partitions[partition].id;
        let (_, number, records) = by_partition
            .entry(id)
            .or_insert_with(|| (topic, partition, Vec::new()));
        records.push(Record {
            topic: message.topic,
            partition: i32::try_from(*number).unwrap_or(i32::MAX),
            offset: *offset,
            key: Some(message.key),
            headers: message.headers,
            value: message.value,
            time: message.time,
        });
    }
    let mut topics: BTreeMap<String, Arc<TopicState>> = BTreeMap::new();
    for (topic, number, records) in by_partition.into_values() {
        let first = records.first().map_or(0, |record| record.offset);
        topic.partitions[number].committed(first, records);
        topics.entry(topic.name.clone()).or_insert(topic);
    }
    for topic in topics.values() {
        topic.ring();
    }
}

#[derive(sqlx_macros::FromRow)]
struct Row {
    place: i64,
    time_ms: i64,
    key: String,
    headers: String,
    value: Vec<u8>,
}

/// Reads up to `max` records from `from` on, and not many more bytes than [`READ_BYTES`].
pub(super) async fn read(
    db: &Db,
    topic: &TopicState,
    number: i32,
    from: i64,
    max: usize,
) -> Result<Vec<Record>, StoreError> {
    let Some(partition) = topic.partition(number) else {
        return Ok(Vec::new());
    };
    let mut reader = db.read().await?;
    let mut rows = sqlx::query_as::<_, Row>(
        "select place, time_ms, key, headers, value from records
         where place >= $1 and place < $2 order by place limit $3",
    )
    .bind(partition.place(from.max(0)).min(partition.end()))
    .bind(partition.end())
    .bind(i64::try_from(max).unwrap_or(i64::MAX))
    .fetch(sqlite(reader.conn()));
    let mut records = Vec::new();
    let mut bytes = 0;
    while bytes < READ_BYTES
        && let Some(row) = rows.try_next().await?
    {
        let headers: Headers = serde_json::from_str(&row.headers)?;
        let record = Record {
            topic: topic.name.clone(),
            partition: number,
            offset: partition.offset(row.place),
            key: Some(row.key),
            headers,
            value: row.value,
            time: DateTime::from_timestamp_millis(row.time_ms).unwrap_or_default(),
        };
        bytes += size(&record);
        records.push(record);
    }
    Ok(records)
}

/// The watermarks of each partition of `topic`, by the table.
pub(super) async fn watermarks(db: &Db, topic: &TopicState) -> Result<Vec<Watermarks>, StoreError> {
    let mut reader = db.read().await?;
    let rows: Vec<(i64, Option<i64>, Option<i64>)> = fetch_all!(reader,
        "select next_offset,
            (select min(place) from records where place >= id << 40 and place < (id + 1) << 40),
            (select max(place) from records where place >= id << 40 and place < (id + 1) << 40)
         from partitions where topic = $1 order by partition" => &topic.name)?;
    let watermarks = rows.into_iter().zip(&topic.partitions);
    Ok(watermarks
        .map(|((kept, first, last), partition)| {
            let next = last.map_or(kept, |place| kept.max(partition.offset(place) + 1));
            let oldest = first.map_or(next, |place| partition.offset(place));
            Watermarks { oldest, next }
        })
        .collect())
}
